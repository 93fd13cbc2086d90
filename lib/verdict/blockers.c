#include "blockers.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tidewait/sockets.h"

/* Keeps a socket that is in the way, or would be by options that are not known yet. */
static int consider(const struct tw_socket_row *row, void *context)
{
    struct blockers *blockers = context;
    struct tw_socket_row *more;
    enum tw_rules_reason reason;

    if (tw_rules_conflict(&blockers->request, row, &reason) == TW_RULES_FREE)
        return 0;
    if (row->expires_ms > blockers->expires_ms)
        blockers->expires_ms = row->expires_ms;
    if (!row->expires_ms)
        blockers->lasting++;
    if (blockers->by_state[row->state & 15]++ >= BLOCKERS_PER_STATE)
        return 0;
    more = realloc(blockers->rows, (blockers->count + 1) * sizeof(*more));
    if (!more)
        return -ENOMEM;
    blockers->rows = more;
    blockers->rows[blockers->count++] = *row;
    return 0;
}

static void forget(struct blockers *blockers)
{
    struct tw_rules_request request = blockers->request;

    blockers_fini(blockers);
    blockers->request = request;
}

static int ask(struct draft *draft, struct blockers *blockers, unsigned states,
               struct tw_error *error)
{
    struct tw_sockets_query query = {
        .protocol = blockers->request.protocol,
        .state_mask = states,
        .local_port = tw_endpoint_port(&blockers->request.local),
        /* Who opened a connection tells a client's port from a server's. */
        .opened = blockers->request.protocol == IPPROTO_TCP && states != TW_STATE_MASK(TCP_LISTEN),
        .blind = &draft->blind,
    };

    return tw_sockets_each(&query, consider, blockers, error);
}

/* What the kernel does not say of a foreign socket, the socket itself does. */
static void read_options(struct blockers *blockers)
{
    for (size_t i = 0; i < blockers->count; i++) {
        struct tw_socket_row *row = &blockers->rows[i];
        size_t count = 0;
        const struct tw_holding *holding = tw_holders_of(&blockers->holders, row->inode, &count);

        for (size_t j = 0; row->inode && j < count; j++) {
            int fd = tw_descriptor_borrow(holding[j].pid, holding[j].fd);

            if (fd < 0)
                continue;
            tw_descriptor_options(fd, row);
            close(fd);
            break;
        }
    }
}

static int find_holders(struct blockers *blockers, struct tw_error *error)
{
    uint32_t *inodes = malloc((blockers->count + 1) * sizeof(*inodes));
    size_t count = 0;
    int rc = 0;

    if (!inodes)
        return tw_error_set(error, ENOMEM, "no memory for %zu sockets", blockers->count);
    for (size_t i = 0; i < blockers->count; i++)
        if (blockers->rows[i].inode)
            inodes[count++] = blockers->rows[i].inode;
    if (count)
        rc = tw_holders_find(inodes, count, TW_HOLDERS_AUTO, &blockers->holders, error);
    free(inodes);
    return rc;
}

/* The kernel's figures tell who opened a connection once it has been quiet for 20 ms. */
static bool is_too_young(const struct blockers *blockers)
{
    for (size_t i = 0; i < blockers->count; i++)
        if (blockers->rows[i].inode && !blockers->rows[i].opened &&
            (blockers->rows[i].state == TCP_ESTABLISHED ||
             blockers->rows[i].state == TCP_CLOSE_WAIT))
            return true;
    return false;
}

static int ask_beyond_listeners(struct draft *draft, struct blockers *blockers,
                                struct tw_error *error)
{
    enum { ROUNDS = 3, PAUSE_NS = 25000000 };
    bool tcp = blockers->request.protocol == IPPROTO_TCP;
    unsigned states = tcp ? TW_STATES_ALL & ~TW_STATE_MASK(TCP_LISTEN) : TW_STATES_ALL;
    int rc = ask(draft, blockers, states, error);

    for (int round = 1; tcp && !rc && round < ROUNDS && is_too_young(blockers); round++) {
        nanosleep(&(struct timespec){.tv_nsec = PAUSE_NS}, NULL);
        forget(blockers);
        rc = ask(draft, blockers, states, error);
    }
    return rc;
}

int blockers_find(struct draft *draft, const struct tw_rules_request *request, bool listens,
                  struct blockers *out, struct tw_error *error)
{
    int rc = 0;

    *out = (struct blockers){.request = *request};
    if (request->protocol == IPPROTO_TCP)
        rc = ask(draft, out, TW_STATE_MASK(TCP_LISTEN), error);
    if (!rc && !out->count)
        rc = ask_beyond_listeners(draft, out, error);
    if (!rc && out->count)
        rc = find_holders(out, error);
    if (rc)
        return rc;
    read_options(out);
    out->answer = listens ? tw_rules_listen(request, out->rows, out->count)
                          : tw_rules_bind(request, out->rows, out->count);
    return 0;
}

void blockers_fini(struct blockers *blockers)
{
    free(blockers->rows);
    tw_holders_fini(&blockers->holders);
    *blockers = (struct blockers){0};
}
