/* Connections that end because a process or a host does, or by a reset. */
#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "scenario_closing.h"
#include "tidewait/verdict.h"
#include "wire.h"

#define PORT         80
#define OTHER_PORT   81
#define TIMEOUT_PORT 82
#define CHUNK        16384
#define QUEUE_BYTES  65536

static void set_option(struct stage *stage, int fd, int level, int name, int value)
{
    if (setsockopt(fd, level, name, &value, sizeof(value)))
        stage_broken(stage, "setting socket option %d: %s", name, strerror(errno));
}

static void expect_no_time_wait(struct stage *stage)
{
    size_t client = count_in(stage_left(stage), TCP_TIME_WAIT, 0);
    size_t server = count_in(stage_right(stage), TCP_TIME_WAIT, 0);

    stage_expect(stage, client + server == 0, "no TIME-WAIT: %zu on the client, %zu on the server",
                 client, server);
}

static double seconds_since(const struct stage *stage, uint64_t begin_ms)
{
    return (double)(stage_now_ms(stage) - begin_ms) / 1000;
}

/* --- killed ----------------------------------------------------------------------------------- */

/* The server's process: it has inherited what the server has open. The client's end is not its. */
static void be_server(void *context)
{
    close(*(int *)context);
    for (;;)
        pause();
}

static void play_killed_connected(struct stage *stage)
{
    struct host *client, *server;
    struct tw_socket_row row = {.inode = 1};
    struct pair pair;
    int listener, pid;

    stage_hosts(stage, "client", "server");
    client = stage_left(stage);
    server = stage_right(stage);
    stage_watch(stage, PORT, true);
    host_says(server, "listen() on port %d, SO_REUSEADDR", PORT);
    listener = host_listen(server, PORT, WITH_REUSEADDR);
    pair = stage_pair(stage, client, listener, 0);
    pid = host_fork(server, be_server, &pair.client);
    host_sends(server, pair.server, "hello");
    close_fd(&listener);
    close_fd(&pair.server);
    expect_state(server, PORT, true, TCP_ESTABLISHED);
    host_says(server, "the process is killed (SIGKILL)");
    stage_kill(stage, pid);
    expect_state(server, PORT, true, TCP_FIN_WAIT2);
    row_of(server, PORT, true, &row);
    stage_expect(stage, row.inode == 0, "no process has the server's end any more: inode %u",
                 row.inode);
    expect_state(client, PORT, false, TCP_CLOSE_WAIT);
    expect_recv(client, pair.client, 5);
    expect_recv(client, pair.client, 0);
    host_closes(client, &pair.client, NULL);
    expect_time_wait(server, PORT, true);
    expect_state(client, PORT, false, -1);
    expect_bind(server, PORT, 0, EADDRINUSE);
    expect_bind(server, PORT, WITH_REUSEADDR, 0);
}

const struct scenario scenario_killed_connected = {
    .name = "killed-connected",
    .group = "closing",
    .title = "SIGKILL of a server closes its connections as close() does",
    .expected = "The client reads what had been sent, then the end of file, no error. The server's "
                "host, having closed first, keeps TIME-WAIT, which blocks a restart without "
                "SO_REUSEADDR.",
    .lesson = "The kernel closes the sockets of a process that dies, whatever it dies of, and goes "
              "on with the connection to its regular end. So a crash leaves TIME_WAIT on the "
              "server's port, and the client cannot tell it from a normal close.",
    .rule = "exit_files(), tcp_close(); RFC 9293, 3.6",
    .play = play_killed_connected,
};

static void play_killed_pending(struct stage *stage)
{
    struct host *client, *server;
    struct tw_socket_row row = {.inode = 1};
    struct tw_endpoint to;
    int listener, fd, pid, code;

    stage_hosts(stage, "client", "server");
    client = stage_left(stage);
    server = stage_right(stage);
    stage_watch(stage, PORT, true);
    host_says(server, "listen() on port %d", PORT);
    listener = host_listen(server, PORT, 0);
    fd = host_socket(client, 0);
    pid = host_fork(server, be_server, &fd);
    close_fd(&listener);
    to = host_at(server, PORT);
    host_says(client, "connect()");
    code = finish_connect(stage, fd, &to);
    expect_errno(stage, "connect(), with nobody to accept it", code, 0);
    expect_state(server, PORT, true, TCP_ESTABLISHED);
    row_of(server, PORT, true, &row);
    stage_expect(stage, row.inode == 0, "it is established and no process has it: inode %u",
                 row.inode);
    expect_bind(server, PORT, 0, EADDRINUSE);
    host_says(server, "the process is killed (SIGKILL)");
    stage_kill(stage, pid);
    expect_recv(client, fd, -ECONNRESET);
    expect_state(server, PORT, true, -1);
    expect_state(client, PORT, false, -1);
    expect_bind(server, PORT, 0, 0);
}

const struct scenario scenario_killed_pending = {
    .name = "killed-pending",
    .group = "closing",
    .title = "SIGKILL while a connection waits for accept(): it is reset, the port is free",
    .expected = "The client gets ECONNRESET, nothing is left at either end, and bind() without "
                "SO_REUSEADDR works at once.",
    .lesson = "What a server had not accepted yet dies with its listener by a reset, and a reset "
              "leaves no TIME_WAIT. Only connections that were accepted can keep the port from the "
              "next server.",
    .rule = "inet_csk_listen_stop()",
    .play = play_killed_pending,
};

/* --- vanished --------------------------------------------------------------------------------- */

/* Client and server on a wire, as in the other scenarios without it. */
static void open_wire(struct stage *stage, struct host **client, struct host **server)
{
    stage_hosts_on_wire(stage, "client", "server");
    *client = stage_left(stage);
    *server = stage_right(stage);
    stage_watch(stage, PORT, true);
}

static struct pair pair_on(struct stage *stage, uint16_t port)
{
    int listener = host_listen(stage_right(stage), port, 0);
    struct pair pair = stage_pair(stage, stage_left(stage), listener, 0);

    close_fd(&listener);
    return pair;
}

static void cut_wire(struct stage *stage)
{
    stage_wait(stage, 50); /* what is on its way arrives */
    stage_note(stage, "the wire is cut: the client has vanished");
    wire_cut(stage_left(stage)->wire, true);
}

/* How often the kernel has asked whether the peer is there, since it last heard of it. */
static unsigned questions_asked(struct stage *stage, int fd)
{
    struct tcp_info info = {0};
    socklen_t len = sizeof(info);

    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len))
        stage_broken(stage, "getsockopt(TCP_INFO): %s", strerror(errno));
    return (unsigned)info.tcpi_probes + info.tcpi_retransmits + info.tcpi_unacked;
}

/* The connection of this descriptor ends by itself, in about `seconds`. */
static void expect_timeout(struct host *server, int fd, const char *by, double seconds,
                           uint64_t begin_ms)
{
    struct stage *stage = server->stage;
    bool ended = stage_until(stage, 30000, has_news, &fd);
    double after = seconds_since(stage, begin_ms);

    host_says(server, "%s: %s after %.1f s", by, ended ? "ended" : "not ended", after);
    stage_expect(stage, ended && after > seconds / 2 && after < seconds + 20,
                 "%s ends it after about %.0f s: %s after %.1f s", by, seconds,
                 ended ? "ended" : "not ended", after);
    expect_recv(server, fd, -ETIMEDOUT);
}

static void play_vanished(struct stage *stage)
{
    struct host *client, *server;
    struct pair idle, keepalive, timeout;
    uint64_t begin_ms;
    unsigned asked;

    open_wire(stage, &client, &server);
    host_set(server, "net.ipv4.tcp_keepalive_time", "1");
    host_set(server, "net.ipv4.tcp_keepalive_intvl", "1");
    host_set(server, "net.ipv4.tcp_keepalive_probes", "2");
    stage_note(stage, "three connections: idle, with SO_KEEPALIVE, with TCP_USER_TIMEOUT");
    idle = pair_on(stage, PORT);
    keepalive = pair_on(stage, OTHER_PORT);
    timeout = pair_on(stage, TIMEOUT_PORT);
    cut_wire(stage);
    begin_ms = stage_now_ms(stage);
    set_option(stage, keepalive.server, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_option(stage, timeout.server, IPPROTO_TCP, TCP_USER_TIMEOUT, 1000);
    host_sends(server, timeout.server, "hello");
    expect_timeout(server, timeout.server, "TCP_USER_TIMEOUT of 1 s", 1, begin_ms);
    expect_timeout(server, keepalive.server, "SO_KEEPALIVE", 3, begin_ms);
    stage_wait(stage, 1000);
    asked = questions_asked(stage, idle.server);
    host_says(server, "the idle one: %u probes in %.1f s", asked, seconds_since(stage, begin_ms));
    stage_expect(stage, asked == 0,
                 "the idle connection does not ask whether the client is there: %u probes", asked);
    expect_state(server, PORT, true, TCP_ESTABLISHED);
    expect_bind(server, PORT, 0, EADDRINUSE);
    expect_no_time_wait(stage);
}

const struct scenario scenario_peer_vanished = {
    .name = "peer-vanished",
    .group = "closing",
    .title = "A connection whose peer has vanished stays for ever, unless somebody asks",
    .expected = "SO_KEEPALIVE ends an idle connection after the probes, TCP_USER_TIMEOUT one with "
                "data on its way, both with ETIMEDOUT. The idle one without them stays in ESTAB "
                "and blocks the port.",
    .lesson = "An idle connection sends nothing, so it never learns that the other host is gone. "
              "Servers should set SO_KEEPALIVE with short times, or have a time limit of their "
              "own.",
    .rule = "RFC 9293, 3.8.4; RFC 5482; tcp_keepalive_timer()",
    .needs = NEEDS_TUN,
    .play = play_vanished,
};

/* Closes the server's end and returns for how many seconds the orphan tries. */
static double orphan_seconds(struct host *server, int *fd, uint16_t port, const char *retries)
{
    struct stage *stage = server->stage;
    uint64_t begin_ms = stage_now_ms(stage);
    struct tw_socket_row row = {.inode = 1};
    double seconds;

    host_set(server, "net.ipv4.tcp_orphan_retries", retries);
    host_says(server, "close(), tcp_orphan_retries %s", retries);
    close_fd(fd);
    expect_state(server, port, true, TCP_FIN_WAIT1);
    row_of(server, port, true, &row);
    stage_expect(stage, row.inode == 0, "it is an orphan, no process has it: inode %u", row.inode);
    expect_bind(server, port, 0, EADDRINUSE);
    if (!until_state(stage, server, port, true, -1, 30000))
        stage_note(stage, "the orphan is still there");
    seconds = seconds_since(stage, begin_ms);
    host_says(server, "the orphan ended after %.1f s", seconds);
    expect_state(server, port, true, -1);
    return seconds;
}

static void play_vanished_fin(struct stage *stage)
{
    struct host *client, *server;
    struct pair first, second;
    double few, many;

    open_wire(stage, &client, &server);
    stage_watch(stage, OTHER_PORT, true);
    first = pair_on(stage, PORT);
    second = pair_on(stage, OTHER_PORT);
    cut_wire(stage);
    /* The end comes with the first timer after the limit, so a slow handshake, which makes timers
     * longer, may halve a time: neighbouring numbers of retries can last equally long. */
    few = orphan_seconds(server, &first.server, PORT, "2");
    many = orphan_seconds(server, &second.server, OTHER_PORT, "4");
    stage_expect(stage, many > 1.3 * few, "more retries, longer: %.1f s by 2, %.1f s by 4", few,
                 many);
    expect_no_time_wait(stage);
    expect_bind(server, PORT, 0, 0);
    expect_state(client, PORT, false, TCP_ESTABLISHED);
}

const struct scenario scenario_peer_vanished_fin = {
    .name = "peer-vanished-fin",
    .group = "closing",
    .title = "close() towards a peer that has vanished: an orphan in FIN_WAIT_1",
    .expected = "The kernel sends the FIN again for a time that follows from tcp_orphan_retries, "
                "and the port is in use until then. Then nothing is left, no TIME-WAIT either.",
    .lesson = "After close() the kernel goes on alone and nobody owns the socket that blocks the "
              "port. tcp_orphan_retries limits it; 0, the default, stands for 8 retries.",
    .rule = "tcp_orphan_retries(), tcp_write_timeout()",
    .needs = NEEDS_TUN,
    .play = play_vanished_fin,
};

/* --- reset ------------------------------------------------------------------------------------ */

/* Writes until neither queue takes any more. */
static size_t fill_queues(struct stage *stage, int fd)
{
    char chunk[CHUNK] = {0};
    size_t all = 0, before;
    ssize_t sent;

    do {
        before = all;
        while ((sent = send(fd, chunk, sizeof(chunk), MSG_NOSIGNAL)) > 0)
            all += (size_t)sent;
        if (errno != EAGAIN)
            stage_broken(stage, "send(): %s", strerror(errno));
        stage_wait(stage, 200);
    } while (all > before);
    return all;
}

/* Reads to the end: 0 at the end of file, or -errno. */
static int read_all(struct stage *stage, int fd, size_t *all)
{
    char chunk[CHUNK];
    int got;

    *all = 0;
    while (stage_until(stage, PATIENCE_MS, has_news, &fd) &&
           (got = read_some(fd, chunk, sizeof(chunk))) != 0) {
        if (got < 0)
            return got;
        *all += (size_t)got;
    }
    return 0;
}

/* The client fills the queues and closes; the server reads. Returns what recv() said last. */
static int close_full(struct stage *stage, int *client_fd, int server_fd, bool reset, size_t *sent,
                      size_t *received)
{
    struct host *client = stage_left(stage), *server = stage_right(stage);
    int code;

    set_option(stage, *client_fd, SOL_SOCKET, SO_SNDBUF, QUEUE_BYTES);
    *sent = fill_queues(stage, *client_fd);
    host_says(client, "send(), %zu bytes taken by the kernel", *sent);
    host_says(client, reset ? "SO_LINGER of 0 s, close()" : "close()");
    if (reset)
        close_with_reset(client_fd);
    else
        close_fd(client_fd);
    stage_wait(stage, 50);
    code = read_all(stage, server_fd, received);
    host_says(server, "recv(): %zu bytes, then %s", *received,
              code ? tw_errno_name(-code) : "end of file");
    return code;
}

static void play_reset_linger(struct stage *stage)
{
    struct host *client, *server;
    struct pair pair, other;
    size_t sent, received;
    int listener, code;

    stage_hosts(stage, "client", "server");
    client = stage_left(stage);
    server = stage_right(stage);
    stage_watch(stage, PORT, true);
    listener = host_listen(server, PORT, 0);
    pair = stage_pair(stage, client, listener, 0);
    code = close_full(stage, &pair.client, pair.server, true, &sent, &received);
    expect_errno(stage, "recv() in the end", -code, ECONNRESET);
    stage_expect(stage, received > 0, "what had arrived is read before the error: %zu bytes",
                 received);
    stage_expect(stage, received < sent, "what waited in the send queue is lost: %zu of %zu bytes",
                 sent - received, sent);
    expect_no_time_wait(stage);
    stage_note(stage, "for comparison: another connection, plain close()");
    other = stage_pair(stage, client, listener, 0);
    code = close_full(stage, &other.client, other.server, false, &sent, &received);
    expect_errno(stage, "recv() in the end, after a plain close()", -code, 0);
    stage_expect(stage, received == sent, "a plain close() loses nothing: %zu of %zu bytes arrive",
                 received, sent);
    host_closes(server, &other.server, NULL);
    expect_time_wait(client, PORT, false);
}

const struct scenario scenario_reset_linger = {
    .name = "reset-linger",
    .group = "closing",
    .title = "SO_LINGER of 0 resets: no TIME_WAIT anywhere, and unsent data is lost",
    .expected = "The server reads what had arrived and then gets ECONNRESET; the rest is lost, and "
                "neither end keeps TIME-WAIT. After a plain close() all arrives.",
    .lesson = "A reset avoids TIME_WAIT by giving up what TIME_WAIT protects, and it throws away "
              "the send queue. It is the right end for connections that have failed, not a way to "
              "save ports.",
    .rule = "RFC 9293, 3.10.5 (ABORT); tcp_disconnect()",
    .play = play_reset_linger,
};

/* The server closes without having read all; `lost`: its reply is lost on the way. */
static void close_unread(struct stage *stage, struct pair *pair, bool lost)
{
    struct host *client = stage_left(stage), *server = stage_right(stage);
    struct segment reset = {0};
    uint16_t port = port_of(pair->client);

    host_sends(client, pair->client, "a question and more");
    if (!stage_until(stage, PATIENCE_MS, has_news, &pair->server))
        stage_broken(stage, "the question has not arrived");
    if (lost)
        wire_rule(client->wire, false, SEGMENT_DATA, 0, WIRE_DROP);
    host_sends(server, pair->server, "reply");
    host_says(server, "close(), nothing read");
    close_fd(&pair->server);
    if (!lost)
        expect_recv(client, pair->client, 5);
    expect_recv(client, pair->client, -ECONNRESET);
    stage_expect(stage,
                 wire_last(client->wire, false, TH_RST, &reset) && reset.destination_port == port,
                 "the server sends RST to this client, port %u: last RST to port %u", port,
                 reset.destination_port);
    wire_clear(client->wire);
    expect_state(client, PORT, false, -1);
    expect_state(server, PORT, true, -1);
    close_fd(&pair->client);
}

static void play_close_unread(struct stage *stage)
{
    struct host *client, *server;
    struct pair pair;

    open_wire(stage, &client, &server);
    stage_note(stage, "the reply arrives before the reset");
    pair = pair_on(stage, PORT);
    close_unread(stage, &pair, false);
    stage_note(stage, "once more, and the reply is lost on the way");
    pair = pair_on(stage, PORT);
    close_unread(stage, &pair, true);
    expect_no_time_wait(stage);
    expect_bind(server, PORT, 0, 0);
}

const struct scenario scenario_close_unread = {
    .name = "close-unread",
    .group = "closing",
    .title = "close() with unread data resets, and the reply may be lost",
    .expected = "The server's close() sends RST instead of FIN. A reply that arrived before is "
                "read first, then ECONNRESET; one that was lost on the way is not sent again.",
    .lesson = "Whoever closes without having read all tells the peer by a reset that data was "
              "thrown away. A server that wants its reply to arrive calls shutdown(SHUT_WR), reads "
              "to the end of file, and closes then.",
    .rule = "RFC 1122, 4.2.2.13; RFC 2525, 2.17; tcp_close()",
    .needs = NEEDS_TUN,
    .play = play_close_unread,
};
