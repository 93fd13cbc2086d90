/* Connections that end in good order, and listening sockets that go. */
#include "scenario_closing.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "tidewait/verdict.h"
#include "wire.h"

#define PORT       80
#define OTHER_PORT 81

/* --- what is shared --------------------------------------------------------------------------- */

static const char *state_text(int state)
{
    return state < 0 ? "nothing left" : tw_state_name(IPPROTO_TCP, (uint8_t)state);
}

void expect_state(struct host *host, uint16_t port, bool server_side, int state)
{
    bool held = until_state(host->stage, host, port, server_side, state, PATIENCE_MS);

    if (held)
        stage_expect(host->stage, true, "the %s: %s", host->name, state_text(state));
    else
        stage_expect(host->stage, false, "the %s: %s expected, but it is %s", host->name,
                     state_text(state), state_text(state_of(host, port, server_side)));
}

void expect_time_wait(struct host *host, uint16_t port, bool server_side)
{
    struct tw_socket_row row = {0};

    expect_state(host, port, server_side, TCP_TIME_WAIT);
    row_of(host, port, server_side, &row);
    stage_expect(host->stage, row.expires_ms > 40000 && row.expires_ms <= 65000,
                 "TIME-WAIT of the %s ends after about a minute: in %.1f s", host->name,
                 row.expires_ms / 1000.0);
}

void expect_bind(struct host *host, uint16_t port, unsigned with, int code)
{
    const char *option = with & WITH_REUSEADDR ? "with" : "without";
    int fd = host_socket(host, with), got = try_bind(fd, NULL, port);
    char what[STORY_TEXT_MAX];

    host_says(host, "bind() %s SO_REUSEADDR: %s", option, got ? tw_errno_name(got) : "success");
    snprintf(what, sizeof(what), "bind() to port %u %s SO_REUSEADDR", port, option);
    expect_errno(host->stage, what, got, code);
    close_fd(&fd);
}

bool has_news(void *context)
{
    struct pollfd waiting = {.fd = *(int *)context, .events = POLLIN};

    return poll(&waiting, 1, 0) == 1;
}

static const char *recv_text(int got, char *buf, size_t size)
{
    if (got < 0)
        snprintf(buf, size, "%s", tw_errno_name(-got));
    else
        snprintf(buf, size, got ? "%d bytes" : "0, end of file", got);
    return buf;
}

void expect_recv(struct host *host, int fd, int expected)
{
    char data[4096], got_text[32], expected_text[32];
    int got;

    stage_until(host->stage, PATIENCE_MS, has_news, &fd);
    got = read_some(fd, data, sizeof(data));
    host_says(host, "recv(): %s", recv_text(got, got_text, sizeof(got_text)));
    if (got == expected)
        stage_expect(host->stage, true, "recv() of the %s: %s as expected", host->name, got_text);
    else
        stage_expect(host->stage, false, "recv() of the %s: %s expected, but it was %s", host->name,
                     recv_text(expected, expected_text, sizeof(expected_text)), got_text);
}

void host_sends(struct host *host, int fd, const char *text)
{
    host_says(host, "send(), %zu bytes", strlen(text));
    send_text(fd, text);
}

void host_closes(struct host *host, int *fd, const char *what)
{
    host_says(host, "close()%s%s", what ? " of " : "", what ? what : "");
    close_fd(fd);
}

static void shut_down(struct host *host, int fd, int how, const char *text)
{
    host_says(host, "%s", text);
    if (shutdown(fd, how))
        stage_broken(host->stage, "%s: %s", text, strerror(errno));
}

/* Client and server joined by veth, a listener on PORT without SO_REUSEADDR. */
static int open_stage(struct stage *stage, struct host **client, struct host **server)
{
    stage_hosts(stage, "client", "server");
    *client = stage_left(stage);
    *server = stage_right(stage);
    stage_watch(stage, PORT, true);
    host_says(*server, "listen() on port %d", PORT);
    return host_listen(*server, PORT, 0);
}

/* --- normal close ----------------------------------------------------------------------------- */

static void play_close(struct stage *stage, bool server_first)
{
    struct host *client, *server, *first, *second;
    int listener = open_stage(stage, &client, &server), *first_fd, *second_fd;
    struct pair pair = stage_pair(stage, client, listener, 0);

    first = server_first ? server : client;
    second = server_first ? client : server;
    first_fd = server_first ? &pair.server : &pair.client;
    second_fd = server_first ? &pair.client : &pair.server;
    host_closes(first, first_fd, NULL);
    expect_state(first, PORT, server_first, TCP_FIN_WAIT2);
    expect_state(second, PORT, !server_first, TCP_CLOSE_WAIT);
    expect_recv(second, *second_fd, 0);
    host_closes(second, second_fd, NULL);
    expect_time_wait(first, PORT, server_first);
    expect_state(second, PORT, !server_first, -1);
    host_closes(server, &listener, "the listener");
    expect_bind(server, PORT, 0, server_first ? EADDRINUSE : 0);
}

static void play_close_client(struct stage *stage)
{
    play_close(stage, false);
}

static void play_close_server(struct stage *stage)
{
    play_close(stage, true);
}

const struct scenario scenario_close_client = {
    .name = "close-client",
    .group = "closing",
    .title = "The client closes first and keeps TIME_WAIT; the server's port is free",
    .expected = "The client goes through FIN-WAIT-2 to TIME-WAIT, the server through CLOSE-WAIT to "
                "nothing. Without its listener the server's port can be bound at once.",
    .lesson = "The side that closes first keeps TIME_WAIT, and the other side keeps nothing. When "
              "clients close first, a server can be restarted without any option.",
    .rule = "RFC 9293, 3.6 (figure 12)",
    .play = play_close_client,
};

const struct scenario scenario_close_server = {
    .name = "close-server",
    .group = "closing",
    .title = "The server closes first and keeps TIME_WAIT, on its own port",
    .expected = "The server goes through FIN-WAIT-2 to TIME-WAIT, the client through CLOSE-WAIT to "
                "nothing. TIME-WAIT keeps a new server without SO_REUSEADDR from binding.",
    .lesson = "A server that closes first keeps TIME_WAIT on the very port that it needs after a "
              "restart. This is the common \"Address already in use\", and it passes after a "
              "minute.",
    .rule = "RFC 9293, 3.6 (figure 12); inet_csk_bind_conflict()",
    .play = play_close_server,
};

/* --- both at once ----------------------------------------------------------------------------- */

/* FINs and ACKs of either side wait until they are released, and so do those that are sent again:
 * such a FIN would acknowledge the other one and end CLOSING. */
static void hold_ends(struct wire *wire)
{
    for (int to_right = 0; to_right < 2; to_right++) {
        wire_rule(wire, to_right, TH_FIN, 0, WIRE_HOLD);
        wire_rule(wire, to_right, SEGMENT_PURE, 0, WIRE_HOLD);
    }
}

static bool holds_two(void *context)
{
    return wire_held(context, 1) != NULL;
}

/* What each side has sent reaches the other. */
static void cross(struct stage *stage, const char *what)
{
    struct wire *wire = stage_left(stage)->wire;

    if (!stage_until(stage, PATIENCE_MS, holds_two, wire))
        stage_broken(stage, "the wire does not hold the %s of both sides", what);
    stage_note(stage, "the %s cross", what);
    wire_release(wire, 0);
}

static void play_simultaneous(struct stage *stage)
{
    struct host *client, *server;
    struct pair pair;
    int listener;

    stage_hosts_on_wire(stage, "client", "server");
    client = stage_left(stage);
    server = stage_right(stage);
    listener = host_listen(server, PORT, 0);
    stage_watch(stage, PORT, true);
    pair = stage_pair(stage, client, listener, 0);
    stage_wait(stage, 20); /* the last ACK of the handshake arrives */
    stage_note(stage, "FINs and their ACKs are held on the wire");
    hold_ends(client->wire);
    host_closes(client, &pair.client, NULL);
    host_closes(server, &pair.server, NULL);
    expect_state(client, PORT, false, TCP_FIN_WAIT1);
    expect_state(server, PORT, true, TCP_FIN_WAIT1);
    cross(stage, "FINs");
    expect_state(client, PORT, false, TCP_CLOSING);
    expect_state(server, PORT, true, TCP_CLOSING);
    cross(stage, "ACKs");
    wire_clear(client->wire);
    expect_time_wait(client, PORT, false);
    expect_time_wait(server, PORT, true);
    host_closes(server, &listener, "the listener");
    expect_bind(server, PORT, 0, EADDRINUSE);
}

const struct scenario scenario_close_simultaneous = {
    .name = "close-simultaneous",
    .group = "closing",
    .title = "Both sides close at once, and both keep TIME_WAIT",
    .expected = "FINs that cross lead both sides through CLOSING to TIME-WAIT. The server's port "
                "cannot be bound without SO_REUSEADDR.",
    .lesson = "When the FINs cross, each side has closed first in its own eyes, and both keep "
              "TIME_WAIT. A protocol that lets the client close first can still leave TIME_WAIT at "
              "a server that closes on a timer.",
    .rule = "RFC 9293, 3.6 (figure 13)",
    .needs = NEEDS_TUN,
    .play = play_simultaneous,
};

/* --- half close ------------------------------------------------------------------------------- */

static void play_half_close(struct stage *stage)
{
    struct host *client, *server;
    int listener = open_stage(stage, &client, &server);
    struct pair pair = stage_pair(stage, client, listener, 0);
    struct tw_socket_row row = {.inode = 1};

    host_sends(client, pair.client, "question");
    shut_down(client, pair.client, SHUT_WR, "shutdown(SHUT_WR)");
    expect_state(client, PORT, false, TCP_FIN_WAIT2);
    expect_recv(server, pair.server, 8);
    expect_recv(server, pair.server, 0);
    expect_errno(stage, "send() of the client after its shutdown", try_send(pair.client, "more"),
                 EPIPE);
    host_sends(server, pair.server, "one");
    expect_recv(client, pair.client, 3);
    host_sends(server, pair.server, "three");
    expect_recv(client, pair.client, 5);
    expect_state(server, PORT, true, TCP_CLOSE_WAIT);
    host_closes(server, &pair.server, NULL);
    expect_recv(client, pair.client, 0);
    expect_time_wait(client, PORT, false);
    row_of(client, PORT, false, &row);
    stage_expect(stage, row.inode == 0,
                 "no process has it although the client's descriptor is open: inode %u", row.inode);
    expect_state(server, PORT, true, -1);
    host_closes(client, &pair.client, NULL);
    expect_state(client, PORT, false, TCP_TIME_WAIT);
}

const struct scenario scenario_half_close = {
    .name = "half-close",
    .group = "closing",
    .title = "After shutdown(SHUT_WR) the other side may go on sending",
    .expected = "The client, in FIN-WAIT-2, still reads what the server, in CLOSE-WAIT, sends. At "
                "the server's FIN the client is in TIME-WAIT before it has called close().",
    .lesson = "shutdown(SHUT_WR) ends one direction, and the other stays open for as long as both "
              "sides keep their descriptors. TIME_WAIT belongs to the kernel and to no process, "
              "even while a descriptor of the connection is still open.",
    .rule = "RFC 9293, 3.6; RFC 1122, 4.2.2.13; tcp_time_wait()",
    .play = play_half_close,
};

/* --- listening sockets ------------------------------------------------------------------------ */

static void expect_refused(struct host *client, struct host *server)
{
    struct tw_endpoint to = host_at(server, PORT);
    int fd = host_socket(client, 0), code = finish_connect(client->stage, fd, &to);

    host_says(client, "connect(): %s", code ? tw_errno_name(code) : "success");
    expect_errno(client->stage, "connect()", code, ECONNREFUSED);
    close_fd(&fd);
}

static void play_listener_closed(struct stage *stage)
{
    struct host *client, *server;
    int listener = open_stage(stage, &client, &server);

    expect_bind(server, PORT, 0, EADDRINUSE);
    host_closes(server, &listener, "the listener");
    expect_bind(server, PORT, 0, 0);
    expect_refused(client, server);
    stage_expect(stage, count_in(server, TCP_TIME_WAIT, PORT) == 0,
                 "a listener leaves no TIME-WAIT: %zu on its port",
                 count_in(server, TCP_TIME_WAIT, PORT));
}

const struct scenario scenario_listener_closed = {
    .name = "listener-closed",
    .group = "closing",
    .title = "A listener that is closed leaves nothing: its port is free at once",
    .expected =
        "While it listens bind() fails with EADDRINUSE. After close() the port can be bound "
        "without SO_REUSEADDR, and connect() is refused.",
    .lesson = "A listening socket has no TIME_WAIT and its port is free as soon as the last "
              "descriptor is closed. If the port is still in use, then by connections that the "
              "listener has accepted, or by another descriptor of it.",
    .rule = "RFC 9293, 3.10.4 (LISTEN); inet_csk_listen_stop()",
    .play = play_listener_closed,
};

#define PENDING 3

static void play_closed_pending(struct stage *stage)
{
    struct host *client, *server;
    int listener = open_stage(stage, &client, &server), fds[PENDING];
    struct tw_endpoint to = host_at(server, PORT);
    size_t waiting;

    for (int i = 0; i < PENDING; i++) {
        fds[i] = host_socket(client, 0);
        host_says(client, "connect()");
        if (finish_connect(stage, fds[i], &to))
            stage_broken(stage, "connection %d was not made", i + 1);
    }
    host_sends(client, fds[0], "hello");
    expect_state(server, PORT, true, TCP_ESTABLISHED);
    waiting = count_in(server, TCP_ESTABLISHED, PORT);
    stage_expect(stage, waiting == PENDING, "%d connections wait for accept(): %zu", PENDING,
                 waiting);
    host_closes(server, &listener, "the listener");
    for (int i = 0; i < PENDING; i++)
        expect_recv(client, fds[i], -ECONNRESET);
    expect_state(server, PORT, true, -1);
    expect_state(client, PORT, false, -1);
    expect_bind(server, PORT, 0, 0);
}

const struct scenario scenario_listener_closed_pending = {
    .name = "listener-closed-pending",
    .group = "closing",
    .title = "Connections waiting for accept() are reset when the listener is closed",
    .expected = "Each client gets ECONNRESET, nothing is left at either end, and the port can be "
                "bound without SO_REUSEADDR.",
    .lesson = "To a client a connection is established before the server has accepted it, and it "
              "is reset when the listener goes. So a restart loses what waits in the accept queue, "
              "but these connections never keep the port.",
    .rule = "inet_csk_listen_stop(), RFC 9293, 3.10.4",
    .play = play_closed_pending,
};

static int state_of_descriptor(struct stage *stage, int fd)
{
    struct tcp_info info = {0};
    socklen_t len = sizeof(info);

    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len))
        stage_broken(stage, "getsockopt(TCP_INFO): %s", strerror(errno));
    return info.tcpi_state;
}

static void play_listener_shutdown(struct stage *stage)
{
    struct host *client, *server;
    int listener = open_stage(stage, &client, &server), state;

    shut_down(server, listener, SHUT_RDWR, "shutdown(SHUT_RDWR) of the listener");
    state = state_of_descriptor(stage, listener);
    host_says(server, "TCP_INFO of it: state %d%s", state, state == TCP_CLOSE ? ", CLOSE" : "");
    stage_expect(stage, state == TCP_CLOSE, "the listener is in state CLOSE (%d): %d", TCP_CLOSE,
                 state);
    stage_expect(stage, count_in(server, TCP_LISTEN, PORT) == 0, "nobody listens: %zu listeners",
                 count_in(server, TCP_LISTEN, PORT));
    expect_refused(client, server);
    expect_bind(server, PORT, 0, EADDRINUSE);
    expect_bind(server, PORT, WITH_REUSEADDR, EADDRINUSE);
    host_says(server, "listen() with the old descriptor");
    expect_errno(stage, "listen() with the old descriptor", try_listen(listener), 0);
    shut_down(server, listener, SHUT_RDWR, "shutdown(SHUT_RDWR) again");
    host_closes(server, &listener, "the listener");
    expect_bind(server, PORT, 0, 0);
}

const struct scenario scenario_listener_shutdown = {
    .name = "listener-shutdown",
    .group = "closing",
    .title = "A listener that is shut down but not closed still blocks its port",
    .expected = "After shutdown() it is in state CLOSE and connect() is refused, but bind() of "
                "another socket fails with EADDRINUSE until close().",
    .lesson = "shutdown() ends the listening, not the binding: nobody is seen to listen, and the "
              "port is taken all the same. Only close() of the last descriptor gives it back.",
    .rule = "inet_shutdown(), inet_csk_bind_conflict()",
    .play = play_listener_shutdown,
};

/* --- forgotten -------------------------------------------------------------------------------- */

static void play_close_wait(struct stage *stage)
{
    struct host *client, *server;
    int listener = open_stage(stage, &client, &server);
    int other = host_listen(server, OTHER_PORT, 0);
    struct pair open = stage_pair(stage, client, listener, 0);
    struct pair orphan = stage_pair(stage, client, other, 0);
    uint64_t begin_ms;
    double seconds;

    host_set(client, "net.ipv4.tcp_fin_timeout", "2");
    stage_note(stage, "tcp_fin_timeout is 2 s; the server never closes");
    begin_ms = stage_now_ms(stage);
    shut_down(client, open.client, SHUT_WR, "shutdown(SHUT_WR), descriptor kept");
    host_closes(client, &orphan.client, "another connection, to port 81");
    expect_state(client, OTHER_PORT, false, -1);
    seconds = (double)(stage_now_ms(stage) - begin_ms) / 1000;
    host_says(client, "port 81: FIN-WAIT-2 is gone after %.1f s", seconds);
    stage_expect(stage, seconds > 1, "the closed one stayed for tcp_fin_timeout, 2 s: %.1f s",
                 seconds);
    stage_wait(stage, 2000);
    stage_note(stage, "%.1f s after the FINs", (double)(stage_now_ms(stage) - begin_ms) / 1000);
    expect_state(client, PORT, false, TCP_FIN_WAIT2);
    expect_state(server, PORT, true, TCP_CLOSE_WAIT);
    expect_state(server, OTHER_PORT, true, TCP_CLOSE_WAIT);
    host_closes(server, &listener, "the listener");
    expect_bind(server, PORT, 0, EADDRINUSE);
    host_closes(server, &open.server, NULL);
    expect_state(client, PORT, false, TCP_TIME_WAIT);
    expect_bind(server, PORT, 0, 0);
}

const struct scenario scenario_close_wait_for_ever = {
    .name = "close-wait-for-ever",
    .group = "closing",
    .title = "A server that forgets close(): CLOSE_WAIT has no time limit",
    .expected =
        "tcp_fin_timeout ends the FIN-WAIT-2 whose descriptor was closed, not the one whose "
        "descriptor is open. CLOSE-WAIT stays in both cases, and keeps the port.",
    .lesson = "CLOSE_WAIT waits for the program to call close(), and no setting of the kernel ends "
              "it: many of them are a leak of descriptors. tcp_fin_timeout limits FIN_WAIT_2 of "
              "closed descriptors alone.",
    .rule = "RFC 9293, 3.6; tcp_close(), tcp_fin_timeout",
    .play = play_close_wait,
};
