#include "tidewait/holder.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tidewait/sockets.h"

/* How good an explanation a socket is: the lower the better. */
enum rank {
    RANK_LISTEN,     /* blocks whatever options the two sockets have, SO_REUSEPORT apart */
    RANK_BOUND,      /* bound only: blocks unless both have SO_REUSEADDR */
    RANK_LEFTOVER,   /* a connection on this port that a process has open */
    RANK_ORPHAN,     /* one that nobody has open: TIME_WAIT, FIN_WAIT_2, not accepted yet */
    RANK_DUAL_STACK, /* a socket on [::], asked for IPv4: blocks unless it is IPV6_V6ONLY */
    RANK_DUAL_CHILD, /* a connection to ::ffff:a.b.c.d: comes from such a socket, so name that */
    RANK_NONE,
};

struct search {
    struct tw_endpoint wanted; /* as IPv4 when it can be */
    enum rank rank;            /* of best */
    struct tw_socket_row best;
};

static bool overlaps(const struct tw_endpoint *a, const struct tw_endpoint *b)
{
    return a->sa.sa_family == b->sa.sa_family &&
           (tw_endpoint_same_address(a, b) || tw_endpoint_is_wildcard(a) ||
            tw_endpoint_is_wildcard(b));
}

static enum rank rank_of(const struct search *search, const struct tw_socket_row *row)
{
    struct tw_endpoint local = tw_endpoint_unmap(&row->local);
    bool is_open = row->state == TCP_LISTEN || row->state == TCP_CLOSE;

    if (overlaps(&search->wanted, &local)) {
        if (is_open)
            return row->state == TCP_LISTEN ? RANK_LISTEN : RANK_BOUND;
        if (row->local.sa.sa_family != local.sa.sa_family)
            return RANK_DUAL_CHILD;
        return row->inode ? RANK_LEFTOVER : RANK_ORPHAN;
    }
    if (is_open && search->wanted.sa.sa_family == AF_INET && local.sa.sa_family == AF_INET6 &&
        tw_endpoint_is_wildcard(&local))
        return RANK_DUAL_STACK;
    return RANK_NONE;
}

static int consider(const struct tw_socket_row *row, void *context)
{
    struct search *search = context;
    enum rank rank = rank_of(search, row);

    if (rank < search->rank) {
        search->rank = rank;
        search->best = *row;
    }
    return rank == RANK_LISTEN;
}

/* From the cheapest question to the dearest, until one has a plain answer. Returns 0 or -errno. */
static int find_socket(struct search *search)
{
    static const unsigned masks[] = {
        TW_STATE_MASK(TCP_LISTEN),
        TW_STATE_MASK(TCP_CLOSE),
        TW_STATES_ALL & ~(TW_STATE_MASK(TCP_LISTEN) | TW_STATE_MASK(TCP_CLOSE)),
    };
    static const int families[] = {AF_INET, AF_INET6};
    uint16_t port = tw_endpoint_port(&search->wanted);

    for (size_t i = 0; i < sizeof(masks) / sizeof(masks[0]); i++) {
        for (size_t j = 0; j < sizeof(families) / sizeof(families[0]); j++) {
            struct tw_sockets_query query = {
                .family = families[j], .state_mask = masks[i], .local_port = port};
            int rc = tw_sockets_each(&query, consider, search, NULL);

            if (rc < 0)
                return rc;
        }
        if (search->rank < RANK_DUAL_STACK)
            break;
    }
    return 0;
}

/* Whether the process of this folder of /proc has the socket open. One that may not be looked into,
 * or ends meanwhile, has not. */
static bool has_open(int proc, const char *pid, const char *link)
{
    char path[64], target[64];
    struct dirent *entry;
    bool found = false;
    DIR *dir;
    int fd;

    snprintf(path, sizeof(path), "%.20s/fd", pid);
    fd = openat(proc, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return false;
    dir = fdopendir(fd);
    if (!dir) {
        close(fd);
        return false;
    }
    while (!found && (entry = readdir(dir))) {
        ssize_t len = readlinkat(fd, entry->d_name, target, sizeof(target) - 1);

        if (len < 0)
            continue;
        target[len] = 0;
        found = strcmp(target, link) == 0;
    }
    closedir(dir);
    return found;
}

static void read_comm(int proc, const char *pid, struct tw_holder *out)
{
    char path[64];
    ssize_t len;
    int fd;

    snprintf(path, sizeof(path), "%.20s/comm", pid);
    fd = openat(proc, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    len = read(fd, out->comm, sizeof(out->comm) - 1);
    close(fd);
    while (len > 0 && out->comm[len - 1] == '\n')
        len--;
    out->comm[len > 0 ? len : 0] = 0;
}

/* Fills pid and comm with the first process that has the socket open; leaves them empty when none
 * may be seen. About 4 us a descriptor of the whole system up to the one that is found. */
static void find_process(uint32_t inode, struct tw_holder *out)
{
    DIR *proc = opendir("/proc");
    struct dirent *entry;
    char link[32];

    if (!proc)
        return;
    snprintf(link, sizeof(link), "socket:[%u]", inode);
    while ((entry = readdir(proc))) {
        if (!isdigit((unsigned char)entry->d_name[0]) ||
            !has_open(dirfd(proc), entry->d_name, link))
            continue;
        out->pid = (int)strtol(entry->d_name, NULL, 10);
        read_comm(dirfd(proc), entry->d_name, out);
        break;
    }
    closedir(proc);
}

int tw_holder_find(const struct tw_endpoint *local, struct tw_holder *out)
{
    struct search search = {.wanted = tw_endpoint_unmap(local), .rank = RANK_NONE};
    struct tw_holder holder;
    int rc;

    /* With port 0 the kernel would choose a free one: nothing can be in the way. */
    if (tw_endpoint_port(local) == 0)
        return -ENOENT;
    if ((rc = find_socket(&search)))
        return rc;
    if (search.rank == RANK_NONE)
        return -ENOENT;
    holder = (struct tw_holder){
        .state = search.best.state, .local = search.best.local, .uid = search.best.uid};
    if (search.best.inode)
        find_process(search.best.inode, &holder);
    *out = holder;
    return 0;
}
