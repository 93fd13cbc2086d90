/*
 * sockets.h - what the tests of tw_sockets_each() and its relatives share: sockets in a private
 * network namespace, and their rows.
 */
#ifndef TIDEWAIT_TESTS_SOCKETS_H
#define TIDEWAIT_TESTS_SOCKETS_H

#include <netinet/tcp.h>
#include <sys/stat.h>

#include "../unit/guard.h"
#include "private.h"
#include "tidewait/clock.h"
#include "tidewait/sockets.h"

/* --- sockets
 * ------------------------------------------------------------------------------------- */

static inline bool same(const struct tw_endpoint *a, const struct tw_endpoint *b)
{
    return tw_endpoint_same_address(a, b) && tw_endpoint_port(a) == tw_endpoint_port(b);
}

static inline struct tw_endpoint local_of(int fd)
{
    struct tw_endpoint out = {0};
    socklen_t len = sizeof(out);

    assert_int_equal(getsockname(fd, &out.sa, &len), 0);
    return out;
}

static inline uint32_t inode_of(int fd)
{
    struct stat st;

    assert_int_equal(fstat(fd, &st), 0);
    return (uint32_t)st.st_ino;
}

/* A socket bound to an address; with port 0 the kernel chooses. */
static inline int bound(int type, int protocol, const char *address, bool v6only)
{
    struct tw_endpoint local = at(address, 0);
    int fd = socket(local.sa.sa_family, type | SOCK_CLOEXEC, protocol), only = v6only;

    assert_true(fd >= 0);
    if (local.sa.sa_family == AF_INET6)
        assert_int_equal(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof(only)), 0);
    assert_int_equal(bind(fd, &local.sa, tw_endpoint_len(&local)), 0);
    return fd;
}

static inline int listener(const char *address, bool v6only)
{
    int fd = bound(SOCK_STREAM, 0, address, v6only);

    assert_int_equal(listen(fd, 8), 0);
    return fd;
}

/* A connection whose ends are `client` and `server`. */
struct pair {
    int listener, client, server;
};

static inline struct pair make_pair(const char *address)
{
    struct pair pair = {.listener = listener(address, true)};
    struct tw_endpoint to = local_of(pair.listener);

    pair.client = socket(to.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(pair.client >= 0);
    assert_int_equal(connect(pair.client, &to.sa, tw_endpoint_len(&to)), 0);
    pair.server = accept4(pair.listener, NULL, NULL, SOCK_CLOEXEC);
    assert_true(pair.server >= 0);
    return pair;
}

static inline void close_pair(const struct pair *pair)
{
    close(pair->client);
    close(pair->server);
    close(pair->listener);
}

/* --- rows
 * ---------------------------------------------------------------------------------------- */

#define ROWS_MAX 64

struct rows {
    struct tw_socket_row row[ROWS_MAX];
    size_t count;
};

static inline int keep(const struct tw_socket_row *row, void *context)
{
    struct rows *rows = context;

    assert_true(rows->count < ROWS_MAX);
    rows->row[rows->count++] = *row;
    return 0;
}

static inline struct rows ask(struct tw_sockets_query query)
{
    struct rows rows = {.count = 0};
    struct tw_error error = {0};

    if (tw_sockets_each(&query, keep, &rows, &error))
        fail_msg("%s", error.text);
    return rows;
}

/* The row of the socket with this local endpoint and state; waits up to 2 s for it, since what the
 * peer sends comes later. With `known` it waits until `opened` is known, too. */
static inline struct tw_socket_row await(uint8_t protocol, const struct tw_endpoint *local,
                                         uint8_t state, bool known)
{
    struct tw_sockets_query query = {.protocol = protocol,
                                     .state_mask = TW_STATE_MASK(state),
                                     .local_port = tw_endpoint_port(local),
                                     .opened = known};
    uint64_t deadline = tw_clock_ns() + 2 * TW_NS_PER_S;

    do {
        struct rows rows = ask(query);

        for (size_t i = 0; i < rows.count; i++)
            if (same(&rows.row[i].local, local) && rows.row[i].state == state &&
                (!known || rows.row[i].opened != TW_UNKNOWN))
                return rows.row[i];
        usleep(1000);
    } while (tw_clock_ns() < deadline);
    fail_msg("no %s on port %d", tw_state_name(protocol, state), tw_endpoint_port(local));
    return (struct tw_socket_row){0};
}

static inline struct tw_socket_row row_of(int fd, uint8_t state)
{
    struct tw_endpoint local = local_of(fd);

    return await(IPPROTO_TCP, &local, state, false);
}

static inline void set_lo(bool up)
{
    assert_int_equal(set_link("lo", up), 0);
}

#endif
