/* Advice that is repeated everywhere: what the kernel has to say about it. */
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "rush.h"
#include "tidewait/verdict.h"
#include "wire.h"

#define SERVICE    80
#define FIRST_PORT 40000
#define FEW        8

static const char *outcome(int code)
{
    return code ? tw_errno_name(code) : "success";
}

/* A connection on this port that the given side closes first, up to the last ACK. */
static void leave_time_wait(struct stage *stage, int listener, uint16_t port, bool client_first)
{
    struct pair pair = stage_pair(stage, stage_left(stage), listener, 0);
    int *first = client_first ? &pair.client : &pair.server;
    int *second = client_first ? &pair.server : &pair.client;
    struct host *host = client_first ? stage_left(stage) : stage_right(stage);

    close_fd(first);
    wait_readable(stage, *second);
    close_fd(second);
    host_says(host, "close() first");
    if (!until_state(stage, host, port, !client_first, TCP_TIME_WAIT, 5000))
        stage_broken(stage, "no TIME-WAIT after the close");
}

/* A new server: bind() and, if that works, listen(). The socket is closed again. */
static int try_server(struct host *host, uint16_t port, unsigned with)
{
    int fd = host_socket(host, with), code = try_bind(fd, NULL, port);

    code = code ? code : try_listen(fd);
    host_says(host, "new server on %u%s: %s", port, with & WITH_REUSEADDR ? ", SO_REUSEADDR" : "",
              outcome(code));
    close_fd(&fd);
    return code;
}

/* --- folklore-fin-timeout --------------------------------------------------------------------- */

static void play_fin_timeout(struct stage *stage)
{
    struct host *client, *server;
    struct tw_socket_row row = {0};
    struct pair orphan;
    int listeners[2];
    bool gone;

    stage_hosts(stage, "client", "server");
    client = stage_left(stage);
    server = stage_right(stage);
    listeners[0] = host_listen(server, SERVICE, 0);
    listeners[1] = host_listen(server, SERVICE + 1, 0);
    host_set(client, "net.ipv4.tcp_fin_timeout", "2");
    host_says(client, "tcp_fin_timeout = %lld",
              (long long)host_get(client, "net.ipv4.tcp_fin_timeout"));
    leave_time_wait(stage, listeners[0], SERVICE, true);
    row_of(client, SERVICE, false, &row);
    host_says(client, "TIME-WAIT, to end in %u ms", row.expires_ms);
    stage_expect(stage, row.state == TCP_TIME_WAIT && row.expires_ms > 50000,
                 "TIME-WAIT has its 60 s all the same: %u ms", row.expires_ms);
    orphan = stage_pair(stage, client, listeners[1], 0);
    close_fd(&orphan.client);
    host_says(client, "close(); the server keeps its end open");
    until_state(stage, client, SERVICE + 1, false, TCP_FIN_WAIT2, 2000);
    row_of(client, SERVICE + 1, false, &row);
    host_says(client, "FIN-WAIT-2, to end in %u ms", row.expires_ms);
    stage_expect(stage, row.state == TCP_FIN_WAIT2 && row.expires_ms < 10000,
                 "FIN-WAIT-2 without an owner is what it shortens: %u ms", row.expires_ms);
    gone = until_state(stage, client, SERVICE + 1, false, -1, 20000);
    host_says(client, "FIN-WAIT-2 has ended, TIME-WAIT has not");
    stage_expect(stage, gone && state_of(client, SERVICE, false) == TCP_TIME_WAIT,
                 "FIN-WAIT-2 has ended, the older TIME-WAIT has not");
}

/* --- folklore-tw-recycle ---------------------------------------------------------------------- */

static int file_errno(struct host *host, const char *path)
{
    int code;

    host_enter(host);
    code = access(path, F_OK) ? errno : 0;
    host_says(host, "%s: %s", strrchr(path, '/') + 1, code ? "no such file" : "is there");
    return code;
}

static void play_tw_recycle(struct stage *stage)
{
    struct rush rush;
    int code = 0;

    stage_hosts(stage, "client", "server");
    rush = rush_to(stage, SERVICE);
    expect_errno(stage, "/proc/sys/net/ipv4/tcp_tw_recycle",
                 file_errno(rush.client, "/proc/sys/net/ipv4/tcp_tw_recycle"), ENOENT);
    expect_errno(stage, "/proc/sys/net/ipv4/tcp_tw_reuse",
                 file_errno(rush.client, "/proc/sys/net/ipv4/tcp_tw_reuse"), 0);
    for (unsigned i = 0; i < 20 && !code; i++) {
        int fd = host_socket(rush.client, WITH_REUSEADDR);

        code = try_bind(fd, NULL, FIRST_PORT);
        code = code ? code : rush_connect(&rush, fd);
        stage_wait(stage, 5);
    }
    host_says(rush.client, "20 connections from port %u: %s", FIRST_PORT, outcome(code));
    expect_errno(stage, "20 in a row on one tuple without it", code, 0);
}

/* --- folklore-tw-reuse-server ----------------------------------------------------------------- */

static void play_tw_reuse_server(struct stage *stage)
{
    struct host *server;
    int listener;

    stage_hosts(stage, "client", "server");
    server = stage_right(stage);
    host_set(server, "net.ipv4.tcp_tw_reuse", "1");
    host_says(server, "tcp_tw_reuse = %lld", (long long)host_get(server, "net.ipv4.tcp_tw_reuse"));
    listener = host_listen(server, SERVICE, 0);
    leave_time_wait(stage, listener, SERVICE, false);
    close_fd(&listener);
    host_says(server, "the server on %u ends", SERVICE);
    stage_wait(stage, 1200);
    expect_errno(stage, "bind() 1.2 s later, tcp_tw_reuse=1", try_server(server, SERVICE, 0),
                 EADDRINUSE);
    expect_errno(stage, "with SO_REUSEADDR, which the old one had not",
                 try_server(server, SERVICE, WITH_REUSEADDR), EADDRINUSE);
    host_set(server, "net.ipv4.tcp_tw_reuse", "0");
    host_says(server, "tcp_tw_reuse = %lld", (long long)host_get(server, "net.ipv4.tcp_tw_reuse"));
    listener = host_listen(server, SERVICE + 1, WITH_REUSEADDR);
    leave_time_wait(stage, listener, SERVICE + 1, false);
    close_fd(&listener);
    host_says(server, "the server on %u ends, it had SO_REUSEADDR", SERVICE + 1);
    expect_errno(stage, "SO_REUSEADDR on both, tcp_tw_reuse=0",
                 try_server(server, SERVICE + 1, WITH_REUSEADDR), 0);
}

/* --- folklore-wide-range ---------------------------------------------------------------------- */

/* Even ports, which the kernel takes first. */
static const uint16_t services[] = {3306, 5432, 5672, 8000, 8080, 9090, 9092, 9200};

enum { SERVICES = sizeof(services) / sizeof(services[0]) };

static bool is_service(uint16_t port)
{
    for (unsigned i = 0; i < SERVICES; i++)
        if (services[i] == port)
            return true;
    return false;
}

/* Connects until the kernel chooses the port of a service; that connection stays. Returns its
 * descriptor or -1. */
static int steal(struct rush *rush, unsigned most, unsigned *tries)
{
    struct stage *stage = rush->client->stage;

    for (*tries = 1; *tries <= most; (*tries)++) {
        int fd = host_socket(rush->client, 0), code = finish_connect(stage, fd, &rush->to), other;

        if (code)
            stage_broken(stage, "connect(): %s", outcome(code));
        if (is_service(port_of(fd)))
            return fd;
        other = stage_accept(stage, rush->listener);
        close_with_reset(&fd);
        close_fd(&other);
    }
    return -1;
}

static void play_wide_range(struct stage *stage)
{
    struct host *here;
    struct rush rush;
    unsigned tries;
    uint16_t port;
    int fd;

    stage_hosts(stage, "here", "elsewhere");
    rush = rush_to(stage, SERVICE);
    here = rush.client;
    host_set(here, "net.ipv4.ip_local_port_range", "1024 65535");
    host_says(here, "ip_local_port_range = 1024 65535");
    fd = steal(&rush, 500000, &tries);
    stage_expect(stage, fd >= 0,
                 "a client of something else gets a service's port, by connection %u", tries);
    if (fd < 0)
        return;
    port = port_of(fd);
    host_says(here, "connection %u: from port %u", tries, port);
    expect_errno(stage, "the service starts, with SO_REUSEADDR",
                 try_server(here, port, WITH_REUSEADDR), EADDRINUSE);
    close_with_reset(&fd);
    host_set(here, "net.ipv4.ip_local_reserved_ports", "3306,5432,5672,8000,8080,9090,9092,9200");
    host_says(here, "these ports in ip_local_reserved_ports");
    fd = steal(&rush, 30000, &tries);
    host_says(here, "%u connections, none from such a port", tries - 1);
    stage_expect(stage, fd < 0, "with the ports reserved none of %u connections gets one",
                 tries - 1);
    expect_errno(stage, "bind() to a reserved port", try_server(here, port, 0), 0);
}

/* --- folklore-tw-buckets ---------------------------------------------------------------------- */

static bool has_reset(const struct host *client)
{
    struct segment segment;

    return wire_last(client->wire, true, TH_RST, &segment);
}

/* The client ends first, and its last ACK is lost: the server sends its FIN again. False when the
 * server never comes to an end. */
static bool lose_last_ack(struct stage *stage, int listener, uint16_t port)
{
    struct host *client = stage_left(stage), *server = stage_right(stage);
    struct pair pair = stage_pair(stage, client, listener, 0);
    bool ended;

    stage_watch(stage, port, true);
    host_says(client, "shutdown(SHUT_WR)");
    shutdown(pair.client, SHUT_WR);
    until_state(stage, client, port, false, TCP_FIN_WAIT2, 2000);
    wire_rule(client->wire, true, SEGMENT_PURE, 1, WIRE_DROP);
    host_says(server, "close()");
    close_fd(&pair.server);
    ended = until_state(stage, server, port, true, -1, 20000);
    close_fd(&pair.client);
    return ended;
}

static void play_tw_buckets(struct stage *stage)
{
    struct host *client, *server;
    int listeners[2];
    int64_t dropped;
    size_t waits;
    bool ended;

    stage_hosts_on_wire(stage, "client", "server");
    client = stage_left(stage);
    server = stage_right(stage);
    listeners[0] = host_listen(server, SERVICE, 0);
    listeners[1] = host_listen(server, SERVICE + 1, 0);
    host_set(client, "net.ipv4.tcp_max_tw_buckets", "1");
    stage_note(stage, "tcp_max_tw_buckets = %lld on the client",
               (long long)host_get(client, "net.ipv4.tcp_max_tw_buckets"));
    stage_note(stage, "first connection: it gets the one TIME-WAIT");
    ended = lose_last_ack(stage, listeners[0], SERVICE);
    stage_expect(stage, ended && !has_reset(client),
                 "with TIME-WAIT the server's second FIN gets an ACK, and no reset");
    stage_note(stage, "second connection: there is no TIME-WAIT left for it");
    ended = lose_last_ack(stage, listeners[1], SERVICE + 1);
    stage_expect(stage, ended && has_reset(client),
                 "without TIME-WAIT the server's second FIN gets a reset");
    waits = count_in(client, TCP_TIME_WAIT, 0);
    stage_expect(stage, waits == 1, "of two connections one left a TIME-WAIT: %zu", waits);
    dropped = host_counter(client, "TCPTimeWaitOverflow");
    stage_expect(stage, dropped == 1, "the kernel counts the other: TCPTimeWaitOverflow %lld",
                 (long long)dropped);
}

/* --- folklore-client-reuseaddr ---------------------------------------------------------------- */

static int connect_from(struct rush *rush, uint16_t port, unsigned with)
{
    int fd = host_socket(rush->client, with), code = try_bind(fd, NULL, port);

    if (code)
        close_fd(&fd);
    else
        code = rush_connect(rush, fd);
    host_says(rush->client, "port %u%s: %s", port, with ? ", SO_REUSEADDR" : "", outcome(code));
    return code;
}

static void play_client_reuseaddr(struct stage *stage)
{
    struct rush rush;
    unsigned made;
    int code;

    stage_hosts(stage, "client", "server");
    rush = rush_to(stage, SERVICE);
    rush.with = WITH_REUSEADDR;
    host_set_range(rush.client, FIRST_PORT, FEW);
    made = rush_many(&rush, FEW + 1, &code);
    host_says(rush.client, "SO_REUSEADDR, the kernel's choice of %u: %u", FEW, made);
    host_says(rush.client, "connection %u: %s", made + 1, outcome(code));
    stage_expect(stage, made == FEW && code == EADDRNOTAVAIL,
                 "with SO_REUSEADDR and a port of the kernel's choice: %u, then %s", made,
                 outcome(code));
    expect_errno(stage, "an explicit port with SO_REUSEADDR",
                 connect_from(&rush, FIRST_PORT + 1, WITH_REUSEADDR), 0);
    expect_errno(stage, "an explicit port without it", connect_from(&rush, FIRST_PORT + 2, 0),
                 EADDRINUSE);
}

/* --- folklore-reuseaddr-steals ---------------------------------------------------------------- */

/* Two UDP sockets on one port: which gets a datagram? Says so and returns 1 or 2, or 0 for none. */
static int who_gets(struct stage *stage, int first, int second)
{
    struct host *client = stage_left(stage), *server = stage_right(stage);
    struct tw_endpoint to = host_at(server, SERVICE);
    int fd = host_socket(client, WITH_UDP), who = 0;
    char byte;

    if (try_connect(fd, &to))
        stage_broken(stage, "connect() of UDP failed");
    send_text(fd, "x");
    stage_wait(stage, 200);
    if (read_some(first, &byte, 1) == 1)
        who = 1;
    else if (read_some(second, &byte, 1) == 1)
        who = 2;
    host_says(server, "the datagram came to UDP socket %d", who);
    close_fd(&fd);
    return who;
}

static void play_reuseaddr_steals(struct stage *stage)
{
    struct host *server;
    int fds[2], udp[2], code;

    stage_hosts(stage, "client", "server");
    server = stage_right(stage);
    fds[0] = host_listen(server, SERVICE, WITH_REUSEADDR);
    host_says(server, "a server listens on %u, SO_REUSEADDR", SERVICE);
    expect_errno(stage, "a second server with SO_REUSEADDR",
                 try_server(server, SERVICE, WITH_REUSEADDR), EADDRINUSE);
    close_fd(&fds[0]);
    for (int i = 0; i < 2; i++) {
        fds[i] = host_socket(server, WITH_REUSEADDR);
        code = try_bind(fds[i], NULL, SERVICE);
        host_says(server, "bind() of socket %d, none listens: %s", i + 1, outcome(code));
        expect_errno(stage, i ? "bind() of the second" : "bind() of the first", code, 0);
    }
    expect_errno(stage, "listen() of the first", try_listen(fds[0]), 0);
    code = try_listen(fds[1]);
    host_says(server, "listen() of socket 2, after 1: %s", outcome(code));
    expect_errno(stage, "listen() of the second", code, EADDRINUSE);
    for (int i = 0; i < 2; i++) {
        udp[i] = host_socket(server, WITH_UDP | WITH_REUSEADDR);
        code = try_bind(udp[i], NULL, SERVICE);
        host_says(server, "UDP bind() of socket %d: %s", i + 1, outcome(code));
        if (code)
            stage_broken(stage, "UDP bind(): %s", outcome(code));
    }
    stage_expect(stage, who_gets(stage, udp[0], udp[1]) == 2,
                 "true of UDP: the last one bound gets the datagrams");
}

/* --- folklore-linger-zero --------------------------------------------------------------------- */

/* As much as the kernel takes: what the reader's window has no room for waits on our side. */
static size_t send_all_it_takes(struct stage *stage, int fd)
{
    static const char chunk[16384];
    size_t sent = 0;

    for (int idle = 0; idle < 20; idle++) {
        ssize_t now;

        while ((now = send(fd, chunk, sizeof(chunk), MSG_NOSIGNAL)) > 0) {
            sent += (size_t)now;
            idle = 0;
        }
        stage_wait(stage, 5);
    }
    return sent;
}

/* Until EOF or an error, which *code tells. */
static size_t read_all(struct stage *stage, int fd, int *code)
{
    static char buf[65536];
    size_t size = 0;
    int got;

    while (wait_readable(stage, fd) && (got = read_some(fd, buf, sizeof(buf))) != 0) {
        if (got < 0 && got != -EAGAIN) {
            *code = -got;
            return size;
        }
        size += got > 0 ? (size_t)got : 0;
    }
    *code = 0;
    return size;
}

/* One client that sends a lot and closes in one way; what of it the server reads. */
static size_t send_and_close(struct stage *stage, int listener, void (*end)(int *fd), size_t *sent,
                             int *code)
{
    struct host *client = stage_left(stage), *server = stage_right(stage);
    struct pair pair = stage_pair(stage, client, listener, 0);
    size_t got;

    *sent = send_all_it_takes(stage, pair.client);
    host_says(client, "send(): %zu bytes, then %s", *sent,
              end == close_fd ? "close()" : "SO_LINGER 0 and close()");
    end(&pair.client);
    stage_wait(stage, 50);
    got = read_all(stage, pair.server, code);
    host_says(server, "recv(): %zu bytes, then %s", got, *code ? outcome(*code) : "EOF");
    close_fd(&pair.server);
    return got;
}

static void play_linger_zero(struct stage *stage)
{
    struct host *client;
    size_t sent, got, waits;
    int listeners[2], code;

    stage_hosts(stage, "client", "server");
    client = stage_left(stage);
    listeners[0] = host_listen(stage_right(stage), SERVICE, 0);
    listeners[1] = host_listen(stage_right(stage), SERVICE + 1, 0);
    got = send_and_close(stage, listeners[0], close_fd, &sent, &code);
    stage_expect(stage, got == sent && !code, "close(): all of %zu bytes arrive, then EOF: %zu",
                 sent, got);
    stage_expect(stage, until_state(stage, client, SERVICE, false, TCP_TIME_WAIT, 5000),
                 "and TIME-WAIT is left on the client");
    got = send_and_close(stage, listeners[1], close_with_reset, &sent, &code);
    stage_expect(stage, got < sent && code == ECONNRESET,
                 "SO_LINGER 0: of %zu bytes that send() took %zu arrive, then %s", sent, got,
                 outcome(code));
    waits = count_in(client, TCP_TIME_WAIT, SERVICE + 1);
    host_says(client, "%zu in TIME-WAIT", waits);
    stage_expect(stage, waits == 0 && state_of(client, SERVICE + 1, false) == -1,
                 "and nothing is left on the client");
}

const struct scenario scenario_folklore_fin_timeout = {
    .name = "folklore-fin-timeout",
    .group = "folklore",
    .title = "\"tcp_fin_timeout shortens TIME_WAIT\": false, it is about FIN_WAIT_2",
    .expected =
        "With tcp_fin_timeout 2 TIME-WAIT still has its 60 s. What is shorter is FIN-WAIT-2 of "
        "a socket that its program has closed.",
    .lesson = "TIME-WAIT lasts 60 s by a constant of the kernel, which no setting changes. "
              "tcp_fin_timeout says how long a closed socket waits for the other side's FIN, which "
              "comes before TIME-WAIT.",
    .rule = "TCP_TIMEWAIT_LEN, tcp_fin_time()",
    .play = play_fin_timeout,
};

const struct scenario scenario_folklore_tw_recycle = {
    .name = "folklore-tw-recycle",
    .group = "folklore",
    .title = "\"Enable tcp_tw_recycle\": impossible, gone since Linux 4.12",
    .expected =
        "There is no such file. What it was wanted for works without it: 20 connections in a "
        "row from one port, each over the TIME-WAIT of the one before.",
    .lesson =
        "tcp_tw_recycle compared timestamps of whole hosts and so dropped clients behind one NAT; "
        "it was removed. An explicit port with SO_REUSEADDR, or tcp_tw_reuse on the client, takes "
        "over TIME-WAITs safely, tuple by tuple.",
    .rule = "Linux commit 4396e46187ca (4.12), RFC 6191",
    .play = play_tw_recycle,
};

const struct scenario scenario_folklore_tw_reuse_server = {
    .name = "folklore-tw-reuse-server",
    .group = "folklore",
    .title = "\"tcp_tw_reuse lets servers rebind\": false, only connect() heeds it",
    .expected = "With tcp_tw_reuse=1 bind() fails with EADDRINUSE while a TIME-WAIT is there. With "
                "SO_REUSEADDR on the old and the new server it works, whatever tcp_tw_reuse is.",
    .lesson =
        "bind() never looks at tcp_tw_reuse, only connect() does when it chooses a port. A server "
        "needs SO_REUSEADDR, and so did the one before it: the TIME-WAIT has inherited the flag.",
    .rule = "inet_csk_bind_conflict(), tcp_twsk_unique()",
    .play = play_tw_reuse_server,
};

const struct scenario scenario_folklore_wide_range = {
    .name = "folklore-wide-range",
    .group = "folklore",
    .title = "\"Use the range 1024-65535\": only with ip_local_reserved_ports",
    .expected =
        "A client gets the port of a service that is about to start, and the service fails with "
        "EADDRINUSE. With the services' ports reserved no client gets one, and the services can "
        "bind.",
    .lesson =
        "A wide range is a lottery in which your own clients draw the ports of your services. List "
        "those in ip_local_reserved_ports: the kernel does not choose them any more, and an "
        "explicit bind() still works.",
    .rule = "inet_is_local_reserved_port(), __inet_hash_connect()",
    .play = play_wide_range,
};

const struct scenario scenario_folklore_tw_buckets = {
    .name = "folklore-tw-buckets",
    .group = "folklore",
    .title = "\"Lower tcp_max_tw_buckets\": breaks what TIME_WAIT is there for",
    .expected =
        "Of two connections only the first gets a TIME-WAIT. When the last ACK is lost, its "
        "server's second FIN is acknowledged; the other server's is answered by a reset.",
    .lesson =
        "A connection beyond the limit ends without TIME-WAIT: a FIN that is sent again meets a "
        "reset, and an old segment may meet a new connection. The limit protects memory; it is no "
        "way to get ports back.",
    .rule = "RFC 9293, 3.6.1; inet_twsk_alloc(), TCPTimeWaitOverflow",
    .needs = NEEDS_TUN,
    .play = play_tw_buckets,
};

const struct scenario scenario_folklore_client_reuseaddr = {
    .name = "folklore-client-reuseaddr",
    .group = "folklore",
    .title = "\"SO_REUSEADDR helps the client\": only with a port of its choice",
    .expected =
        "When the kernel chooses, 8 ports are 8 connections with SO_REUSEADDR too. bind() to one "
        "of these ports with it works at once, without it not.",
    .lesson =
        "connect() does not look at SO_REUSEADDR when it searches for a port. With bind() to an "
        "explicit port the flag lets bind() pass the TIME-WAIT, and connect() then takes it over.",
    .rule = "__inet_hash_connect(), inet_csk_bind_conflict()",
    .play = play_client_reuseaddr,
};

const struct scenario scenario_folklore_reuseaddr_steals = {
    .name = "folklore-reuseaddr-steals",
    .group = "folklore",
    .title = "\"SO_REUSEADDR lets two servers listen\": not on Linux, but two of UDP",
    .expected =
        "While one listens the second cannot bind. Two that are only bound may share the port "
        "until one listens; listen() of the other fails. Of two UDP sockets the last bound gets "
        "all.",
    .lesson =
        "On Linux SO_REUSEADDR passes over connections and TIME-WAITs, never over a socket that "
        "listens; that takes SO_REUSEPORT on both, by one user. Windows and UDP are where the "
        "claim comes from.",
    .rule = "inet_csk_bind_conflict(), inet_csk_listen_start(), socket(7)",
    .play = play_reuseaddr_steals,
};

const struct scenario scenario_folklore_linger_zero = {
    .name = "folklore-linger-zero",
    .group = "folklore",
    .title = "\"SO_LINGER 0 cures TIME_WAIT\": it does, and loses data",
    .expected =
        "close() delivers all that send() took and leaves TIME-WAIT. With SO_LINGER 0 nothing is "
        "left, the server loses the end of the data and gets ECONNRESET.",
    .lesson =
        "SO_LINGER with 0 turns close() into a reset: what is still in the send buffer is lost, "
        "although send() said it was taken. Use it only when the data no longer matters.",
    .rule = "RFC 9293, 3.10.7 (ABORT), __tcp_close()",
    .play = play_linger_zero,
};
