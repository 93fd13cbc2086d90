#include "free_find.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <unistd.h>

#include "tidewait/sockets.h"

struct search {
    struct obstacles *out;
    struct tw_rules_request request;
    size_t room;
    size_t servers;
};

static bool is_servers(const struct tw_socket_row *row)
{
    return row->protocol == IPPROTO_UDP ? row->state != TCP_ESTABLISHED
                                        : row->state == TCP_LISTEN || row->state == TCP_CLOSE;
}

static int keep(struct search *search, const struct tw_socket_row *row)
{
    struct obstacles *out = search->out;

    if (out->count == search->room) {
        size_t room = search->room ? search->room * 2 : 64;
        struct tw_socket_row *more = realloc(out->rows, room * sizeof(*more));

        if (!more)
            return -ENOMEM;
        out->rows = more;
        search->room = room;
    }
    out->rows[out->count++] = *row;
    return 0;
}

static int consider(const struct tw_socket_row *row, void *context)
{
    struct search *search = context;
    enum tw_rules_reason reason;

    if (tw_rules_conflict(&search->request, row, &reason) == TW_RULES_FREE)
        return 0;
    search->servers += is_servers(row);
    return keep(search, row);
}

static void drop_connections(struct obstacles *out)
{
    size_t kept = 0;

    for (size_t i = 0; i < out->count; i++)
        if (is_servers(&out->rows[i]))
            out->rows[kept++] = out->rows[i];
    out->left_out = out->count - kept;
    out->count = kept;
}

static int find_rows(const struct tw_verdict *verdict, const struct target *target,
                     struct search *search, struct tw_error *error)
{
    struct tw_sockets_query query = {
        .protocol = target->protocol,
        .local_port = tw_endpoint_port(&target->endpoint),
        .opened = target->protocol == IPPROTO_TCP,
    };
    int rc;

    search->request = (struct tw_rules_request){
        .protocol = target->protocol,
        .local = target->endpoint,
        .reuseaddr = verdict->question.reuseaddr,
        .uid = geteuid(),
    };
    /* [::] overlaps every address of both families. */
    if (!target->has_address) {
        search->request.local = (struct tw_endpoint){.v6 = {.sin6_family = AF_INET6}};
        tw_endpoint_set_port(&search->request.local, query.local_port);
    }
    rc = tw_sockets_each(&query, consider, search, error);
    if (rc == 0 && search->servers)
        drop_connections(search->out);
    search->out->connections = !search->servers;
    return rc;
}

static int find_unix(const struct tw_verdict *verdict, struct search *search)
{
    int rc = 0;

    for (size_t i = 0; i < verdict->holder_count && rc == 0; i++)
        if (i == 0 || verdict->holders[i].inode != verdict->holders[i - 1].inode)
            rc = keep(search, &verdict->holders[i].socket);
    return rc;
}

int obstacles_find(const struct tw_verdict *verdict, const struct target *target,
                   struct obstacles *out, struct tw_error *error)
{
    struct search search = {.out = out};
    uint32_t *inodes;
    size_t count = 0;
    int rc;

    *out = (struct obstacles){0};
    rc = target->path ? find_unix(verdict, &search) : find_rows(verdict, target, &search, error);
    if (rc)
        return tw_error_set(error, -rc, "cannot list the sockets on the address");
    inodes = calloc(out->count + 1, sizeof(*inodes));
    if (!inodes)
        return tw_error_set(error, ENOMEM, "no memory for %zu sockets", out->count);
    for (size_t i = 0; i < out->count; i++)
        if (out->rows[i].inode)
            inodes[count++] = out->rows[i].inode;
    if (count)
        rc = tw_holders_find(inodes, count, TW_HOLDERS_AUTO, &out->holders, error);
    free(inodes);
    return rc;
}

void obstacles_fini(struct obstacles *obstacles)
{
    free(obstacles->rows);
    tw_holders_fini(&obstacles->holders);
    *obstacles = (struct obstacles){0};
}

bool holds_socket(int pid, uint32_t inode)
{
    struct tw_holders holders = {0};
    bool found = false, sure = false;
    size_t count = 0;
    int other = 0;

    if (tw_holders_find(&inode, 1, TW_HOLDERS_AUTO, &holders, NULL))
        return false;
    count = holders.count;
    for (size_t i = 0; i < count; i++)
        found |= holders.items[i].pid == pid;
    tw_holders_fini(&holders);
    if (count == 0 && tw_holders_in_flight(inode, &other, &sure, NULL) == 0)
        found = sure && other == pid;
    return found;
}
