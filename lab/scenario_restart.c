/* A server comes back while something of its former connections is left. */
#include <errno.h>
#include <netinet/tcp.h>

#include "servers.h"
#include "stage.h"
#include "tidewait/sockets.h"

#define PORT       8080
#define OTHER_PORT 8081
#define SOON_MS    5000 /* the other host is told within this time, however busy the machine is */

/* A connection to a listening socket that is then closed: what a server leaves behind when it ends.
 * `with` are its options, and so those of the connection. */
static struct pair leave_connection(struct stage *stage, uint16_t port, unsigned with)
{
    struct host *server = stage_right(stage);
    int listener = host_listen(server, port, with);
    struct pair pair;

    host_says(server, "old server: listens on port %u %s SO_REUSEADDR", port,
              with & WITH_REUSEADDR ? "with" : "without");
    stage_watch(stage, port, true);
    pair = stage_pair(stage, stage_left(stage), listener, 0);
    host_says(server, "old server: close() of the listening socket");
    close_fd(&listener);
    return pair;
}

/* The server closes first, so TIME_WAIT stays with it. */
static void leave_time_wait(struct stage *stage, uint16_t port, unsigned with)
{
    struct host *client = stage_left(stage), *server = stage_right(stage);
    struct pair pair = leave_connection(stage, port, with);

    host_says(server, "old server: close() of the connection");
    close_fd(&pair.server);
    stage_expect(stage, until_state(stage, client, port, false, TCP_CLOSE_WAIT, SOON_MS),
                 "the client learns that the server has closed");
    host_says(client, "close()");
    close_fd(&pair.client);
    stage_expect(stage, until_state(stage, server, port, true, TCP_TIME_WAIT, SOON_MS),
                 "the server, which closed first, is in TIME-WAIT");
}

static int restart(struct stage *stage, uint16_t port, unsigned with, int *fd)
{
    return try_serve(stage_right(stage), "new server", NULL, port, with, fd);
}

static void expect_reachable(struct stage *stage, uint16_t port, int listener)
{
    struct tw_endpoint to = host_at(stage_right(stage), port);
    int code = try_reach(stage_left(stage), &to);

    expect_errno(stage, "the client's connect() to the new server", code, 0);
    stage_expect(stage, accept_all(listener) == 1, "the new server accepts that connection");
}

/* --- TIME_WAIT -------------------------------------------------------------------------------- */

static void play_plain(struct stage *stage)
{
    struct tw_socket_row row = {0};
    bool known;
    int fd;

    stage_hosts(stage, "client", "server");
    leave_time_wait(stage, PORT, 0);
    expect_errno(stage, "the new server's bind()", restart(stage, PORT, 0, &fd), EADDRINUSE);
    stage_expect(stage, count_in(stage_right(stage), TCP_LISTEN, PORT) == 0,
                 "nobody listens on port %u", PORT);
    known = row_of(stage_right(stage), PORT, true, &row);
    stage_expect(stage, known && row.expires_ms > 30000 && row.expires_ms < 63000 && row.inode == 0,
                 "TIME-WAIT has no process (inode %u) and goes on for about 60 s (%u ms)",
                 row.inode, row.expires_ms);
    expect_errno(stage, "another port", restart(stage, OTHER_PORT, 0, &fd), 0);
    expect_errno(stage, "the port on 127.0.0.1, which that connection did not use",
                 try_serve(stage_right(stage), "new server", "127.0.0.1", PORT, 0, &fd), 0);
}

const struct scenario scenario_restart_plain = {
    .name = "restart-plain",
    .group = "restart",
    .title = "A server that closed first cannot bind its port again for a minute",
    .expected = "The connection that the server closed is in TIME-WAIT on the server. bind() to "
                "its port fails with EADDRINUSE although nobody listens.",
    .lesson = "Without SO_REUSEADDR one connection in TIME-WAIT is enough to keep a server from "
              "its port. No process has that socket, so there is nothing to kill.",
    .rule = "RFC 9293, 3.6; inet_csk_bind_conflict()",
    .play = play_plain,
};

static void play_new_only(struct stage *stage)
{
    int fd;

    stage_hosts(stage, "client", "server");
    leave_time_wait(stage, PORT, 0);
    expect_errno(stage, "bind() with SO_REUSEADDR", restart(stage, PORT, WITH_REUSEADDR, &fd),
                 EADDRINUSE);
    expect_errno(stage, "bind() with SO_REUSEADDR and SO_REUSEPORT",
                 restart(stage, PORT, WITH_REUSEADDR | WITH_REUSEPORT, &fd), EADDRINUSE);
    expect_errno(stage, "bind() with SO_REUSEADDR to another port",
                 restart(stage, OTHER_PORT, WITH_REUSEADDR, &fd), 0);
}

const struct scenario scenario_restart_reuseaddr_new_only = {
    .name = "restart-reuseaddr-new-only",
    .group = "restart",
    .title = "SO_REUSEADDR on the new server alone does not help",
    .expected = "The old server did not set SO_REUSEADDR, so its TIME-WAIT has not got it "
                "either. bind() fails with EADDRINUSE whatever the new server sets.",
    .lesson = "Both sockets must have SO_REUSEADDR, and a TIME-WAIT has what its listening socket "
              "had. The first restart after you add the option still fails.",
    .rule = "inet_csk_bind_conflict(): sk->sk_reuse && sk2->sk_reuse",
    .play = play_new_only,
};

static void play_both(struct stage *stage)
{
    int fd;

    stage_hosts(stage, "client", "server");
    leave_time_wait(stage, PORT, WITH_REUSEADDR);
    expect_errno(stage, "bind() without SO_REUSEADDR", restart(stage, PORT, 0, &fd), EADDRINUSE);
    expect_errno(stage, "bind() with SO_REUSEADDR", restart(stage, PORT, WITH_REUSEADDR, &fd), 0);
    stage_expect(stage, count_in(stage_right(stage), TCP_TIME_WAIT, PORT) == 1,
                 "TIME-WAIT is still there beside the new server");
    if (fd >= 0)
        expect_reachable(stage, PORT, fd);
}

const struct scenario scenario_restart_reuseaddr_both = {
    .name = "restart-reuseaddr-both",
    .group = "restart",
    .title = "With SO_REUSEADDR on the old and the new server a restart works at once",
    .expected = "TIME-WAIT stays, and the new server listens and accepts beside it.",
    .lesson = "Set SO_REUSEADDR before bind() in every server, always. It does not end TIME-WAIT, "
              "which goes on protecting the old connection; it only lets bind() pass by.",
    .rule = "RFC 9293, 3.6; inet_csk_bind_conflict()",
    .play = play_both,
};

/* --- other leftovers -------------------------------------------------------------------------- */

static bool has_come(void *context)
{
    char byte;

    return read_some(*(int *)context, &byte, 1) == 1;
}

static void play_leftover(struct stage *stage)
{
    struct pair without, with;
    int fd;

    stage_hosts(stage, "client", "server");
    without = leave_connection(stage, PORT, 0);
    with = leave_connection(stage, OTHER_PORT, WITH_REUSEADDR);
    expect_errno(stage, "beside a connection without SO_REUSEADDR",
                 restart(stage, PORT, WITH_REUSEADDR, &fd), EADDRINUSE);
    expect_errno(stage, "beside a connection with SO_REUSEADDR",
                 restart(stage, OTHER_PORT, WITH_REUSEADDR, &fd), 0);
    if (fd >= 0)
        expect_reachable(stage, OTHER_PORT, fd);
    host_says(stage_left(stage), "send() on the old connection to port %u", OTHER_PORT);
    send_text(with.client, "x");
    stage_expect(stage, stage_until(stage, SOON_MS, has_come, &with.server),
                 "the old connection to port %u still carries data", OTHER_PORT);
    host_says(stage_left(stage), "ends the connection to port %u by a reset", PORT);
    close_with_reset(&without.client);
    stage_expect(stage, until_state(stage, stage_right(stage), PORT, true, -1, SOON_MS),
                 "a reset takes the connection away");
    expect_errno(stage, "and then bind()", restart(stage, PORT, WITH_REUSEADDR, &fd), 0);
}

const struct scenario scenario_restart_leftover_connection = {
    .name = "restart-leftover-connection",
    .group = "restart",
    .title = "A connection that outlives its listening socket keeps the port",
    .expected = "A worker of the old server still has a connection. bind() with SO_REUSEADDR fails "
                "beside it, unless the old listening socket had SO_REUSEADDR too.",
    .lesson = "Closing the listening socket frees the port only when no connection is left that "
              "was accepted without SO_REUSEADDR. Such a connection may live for days.",
    .rule = "inet_csk_bind_conflict(); accepted sockets inherit sk_reuse",
    .play = play_leftover,
};

static void play_fin_wait_2(struct stage *stage)
{
    struct host *server;
    struct pair without, with;
    int fd;

    stage_hosts(stage, "client", "server");
    server = stage_right(stage);
    host_set(server, "net.ipv4.tcp_fin_timeout", "60");
    without = leave_connection(stage, PORT, 0);
    with = leave_connection(stage, OTHER_PORT, WITH_REUSEADDR);
    host_says(server, "old server: is killed, both connections are closed");
    close_fd(&without.server);
    close_fd(&with.server);
    stage_expect(stage, until_state(stage, server, PORT, true, TCP_FIN_WAIT2, SOON_MS),
                 "the client does not close: FIN-WAIT-2 on port %u", PORT);
    stage_expect(stage, until_state(stage, server, OTHER_PORT, true, TCP_FIN_WAIT2, SOON_MS),
                 "and on port %u", OTHER_PORT);
    expect_errno(stage, "beside FIN-WAIT-2 without SO_REUSEADDR",
                 restart(stage, PORT, WITH_REUSEADDR, &fd), EADDRINUSE);
    expect_errno(stage, "beside FIN-WAIT-2 with SO_REUSEADDR",
                 restart(stage, OTHER_PORT, WITH_REUSEADDR, &fd), 0);
}

const struct scenario scenario_restart_fin_wait_2 = {
    .name = "restart-fin-wait-2",
    .group = "restart",
    .title = "A client that does not close keeps the server from its port: FIN-WAIT-2",
    .expected = "bind() with SO_REUSEADDR fails beside FIN-WAIT-2 of a server without "
                "SO_REUSEADDR and works beside one with it.",
    .lesson = "The server closed first and waits for the client's FIN, as long as "
              "tcp_fin_timeout says; that is not TIME-WAIT. SO_REUSEADDR cures both alike.",
    .rule = "RFC 9293, 3.6; inet_csk_bind_conflict()",
    .play = play_fin_wait_2,
};

/* What is left of it is gone within 1 s by the setting; as long as this it takes on no machine. */
#define EXPIRED_MS 15000

static void play_fin_wait_2_expires(struct stage *stage)
{
    struct host *server;
    struct pair pair;
    int fd;

    stage_hosts(stage, "client", "server");
    server = stage_right(stage);
    host_set(server, "net.ipv4.tcp_fin_timeout", "1");
    pair = leave_connection(stage, PORT, 0);
    host_says(server, "old server: close(), and tcp_fin_timeout is 1 s");
    close_fd(&pair.server);
    stage_expect(stage, until_state(stage, stage_left(stage), PORT, false, TCP_CLOSE_WAIT, SOON_MS),
                 "the client is in CLOSE-WAIT and does not close");
    stage_expect(stage, until_state(stage, server, PORT, true, -1, EXPIRED_MS),
                 "FIN-WAIT-2 is gone within %d s, and no TIME-WAIT follows", EXPIRED_MS / 1000);
    expect_errno(stage, "then bind() without SO_REUSEADDR", restart(stage, PORT, 0, &fd), 0);
    stage_expect(stage, state_of(stage_left(stage), PORT, false) == TCP_CLOSE_WAIT,
                 "the client is in CLOSE-WAIT still");
}

const struct scenario scenario_restart_fin_timeout = {
    .name = "restart-fin-timeout",
    .group = "restart",
    .title = "tcp_fin_timeout ends an orphan in FIN-WAIT-2, and then the port is free",
    .expected = "With a tcp_fin_timeout of 1 s the port can be had again soon, without "
                "SO_REUSEADDR, while the client keeps its end open.",
    .lesson = "This is the one state that tcp_fin_timeout shortens. TIME-WAIT it does not touch.",
    .rule = "tcp_fin_time(), tcp_time_wait(sk, TCP_FIN_WAIT2, ...)",
    .play = play_fin_wait_2_expires,
};

static int destroy(struct stage *stage, uint16_t port)
{
    struct tw_error error = {0};
    struct tw_socket_row row;
    int rc;

    if (!row_of(stage_right(stage), port, true, &row))
        stage_broken(stage, "no connection on port %u to be destroyed", port);
    host_enter(stage_right(stage));
    host_says(stage_right(stage), "SOCK_DESTROY of %s on port %u",
              tw_state_name(row.protocol, row.state), port);
    rc = tw_socket_destroy(&row, &error);
    return -rc;
}

static bool is_reset(void *context)
{
    char byte;

    return read_some(*(int *)context, &byte, 1) == -ECONNRESET;
}

static void play_destroy(struct stage *stage)
{
    struct pair pair;
    int fd;

    stage_hosts(stage, "client", "server");
    leave_time_wait(stage, PORT, 0);
    pair = leave_connection(stage, OTHER_PORT, 0);
    expect_errno(stage, "beside TIME-WAIT", restart(stage, PORT, WITH_REUSEADDR, &fd), EADDRINUSE);
    expect_errno(stage, "beside ESTAB", restart(stage, OTHER_PORT, WITH_REUSEADDR, &fd),
                 EADDRINUSE);
    expect_errno(stage, "SOCK_DESTROY of TIME-WAIT", destroy(stage, PORT), 0);
    expect_errno(stage, "SOCK_DESTROY of ESTAB", destroy(stage, OTHER_PORT), 0);
    expect_errno(stage, "bind() after TIME-WAIT", restart(stage, PORT, 0, &fd), 0);
    expect_errno(stage, "bind() after ESTAB", restart(stage, OTHER_PORT, 0, &fd), 0);
    stage_expect(stage, stage_until(stage, SOON_MS, is_reset, &pair.client),
                 "the client of the connection reads ECONNRESET");
}

const struct scenario scenario_restart_destroy = {
    .name = "restart-destroy",
    .group = "restart",
    .title = "SOCK_DESTROY takes the leftovers away and frees the port",
    .expected = "TIME-WAIT and an established connection, both without SO_REUSEADDR, block bind(). "
                "After SOCK_DESTROY bind() works at once, even without SO_REUSEADDR.",
    .lesson = "An administrator can end the sockets that block a port (ss -K, tidewait free) "
              "without waiting. It cuts connections that are alive, and a TIME-WAIT loses its "
              "protection.",
    .rule = "tcp_abort(), SOCK_DESTROY of sock_diag(7)",
    .needs = NEEDS_DESTROY,
    .play = play_destroy,
};
