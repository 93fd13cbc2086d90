/* How ports run out, become slow or go to the wrong one, and full queues. */
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>

#include "rush.h"
#include "tidewait/clock.h"
#include "tidewait/verdict.h"

#define SERVICE    80
#define FIRST_PORT 40000
#define FEW        8

static const char *outcome(int code)
{
    return code ? tw_errno_name(code) : "success";
}

/* --- bind-before-connect ---------------------------------------------------------------------- */

/* Binds the client's address without a port and connects, again and again; the connections stay.
 * Returns how many were made. *call is the one that refused the next, with *code. */
static unsigned bind_and_connect(struct host *client, const struct tw_endpoint *to, unsigned with,
                                 const char **call, int *code)
{
    struct stage *stage = client->stage;
    unsigned made = 0;

    for (*code = 0; made <= 2 * FEW; made++) {
        int fd = host_socket(client, with);

        *call = "bind()";
        *code = try_bind(fd, "10.77.0.1", 0);
        if (!*code) {
            *call = "connect()";
            *code = finish_connect(stage, fd, to);
        }
        if (*code)
            break;
    }
    host_says(client, "to port %u: %u, then %s: %s", tw_endpoint_port(to), made, *call,
              outcome(*code));
    return made;
}

static void play_bind_before_connect(struct stage *stage)
{
    struct host *client, *server;
    struct tw_endpoint to[4];
    const char *call;
    unsigned made;
    int code;

    stage_hosts(stage, "client", "server");
    client = stage_left(stage);
    server = stage_right(stage);
    for (unsigned i = 0; i < 4; i++) {
        to[i] = host_at(server, (uint16_t)(SERVICE + i));
        host_listen(server, (uint16_t)(SERVICE + i), 0);
    }
    host_set_range(client, FIRST_PORT, FEW);
    host_says(client, "bind(10.77.0.1, 0), IP_BIND_ADDRESS_NO_PORT");
    made = bind_and_connect(client, &to[0], WITH_NO_PORT, &call, &code);
    stage_expect(stage, made == FEW && code == EADDRNOTAVAIL && call[0] == 'c',
                 "first destination: %u of %u ports, then %s at %s", made, FEW, outcome(code),
                 call);
    made = bind_and_connect(client, &to[1], WITH_NO_PORT, &call, &code);
    stage_expect(stage, made == FEW && code == EADDRNOTAVAIL,
                 "second destination: the same %u ports once more", made);
    host_set_range(client, FIRST_PORT + FEW, FEW);
    host_says(client, "another %u ports; bind(10.77.0.1, 0) alone", FEW);
    made = bind_and_connect(client, &to[2], 0, &call, &code);
    stage_expect(stage, made == FEW && code == EADDRINUSE && call[0] == 'b',
                 "bind() alone, first destination: %u ports, then %s at %s", made, outcome(code),
                 call);
    made = bind_and_connect(client, &to[3], 0, &call, &code);
    stage_expect(stage, made == 0 && code == EADDRINUSE,
                 "bind() alone, second destination: %u ports are left, %s", made, outcome(code));
}

/* --- half-full-cliff -------------------------------------------------------------------------- */

#define CLIFF_RANGE  8000
#define CLIFF_SAMPLE 400

/* What so many connections take, as the median, and how many of their ports are odd. */
static uint64_t measure(struct rush *rush, bool is_explicit, unsigned *odd)
{
    uint64_t took[CLIFF_SAMPLE];

    *odd = 0;
    for (unsigned i = 0; i < CLIFF_SAMPLE; i++) {
        int fd = host_socket(rush->client, rush->with);
        int code = is_explicit ? try_bind(fd, NULL, (uint16_t)(FIRST_PORT + 7 * i)) : 0;

        code = code ? code : rush_connect(rush, fd);
        if (code)
            stage_broken(rush->client->stage, "connection %u of a sample: %s", i, outcome(code));
        took[i] = rush->connect_ns;
        *odd += rush->port & 1;
    }
    return median_of(took, CLIFF_SAMPLE) / TW_NS_PER_US;
}

static void fill(struct rush *rush, unsigned count)
{
    int code;

    if (rush_many(rush, count, &code) < count)
        stage_broken(rush->client->stage, "filling the range: %s", outcome(code));
}

static void play_cliff(struct stage *stage)
{
    unsigned odd_below, odd_above, odd;
    uint64_t below, above, chosen;
    struct rush rush;

    stage_hosts(stage, "client", "server");
    rush = rush_to(stage, SERVICE);
    rush.with = WITH_REUSEADDR; /* so that the TIME_WAITs let bind() in */
    host_set_range(rush.client, FIRST_PORT, CLIFF_RANGE);
    fill(&rush, 3000);
    below = measure(&rush, false, &odd_below);
    host_says(rush.client, "40 %% full: connect() takes %llu us", (unsigned long long)below);
    fill(&rush, 800);
    above = measure(&rush, false, &odd_above);
    host_says(rush.client, "55 %% full: connect() takes %llu us", (unsigned long long)above);
    chosen = measure(&rush, true, &odd);
    host_says(rush.client, "the same with a port of our own: %llu us", (unsigned long long)chosen);
    stage_expect(stage, odd_below == 0, "below the half only even ports are taken: %u odd of %u",
                 odd_below, CLIFF_SAMPLE);
    stage_expect(stage, odd_above == CLIFF_SAMPLE, "above it only odd ones: %u of %u", odd_above,
                 CLIFF_SAMPLE);
    stage_expect(stage, above >= 3 * below,
                 "above the half connect() takes at least 3 times as long: %llu us, not %llu us",
                 (unsigned long long)above, (unsigned long long)below);
    stage_expect(stage, above >= 3 * chosen, "a port of our own costs no such search: %llu us",
                 (unsigned long long)chosen);
}

/* --- bucket-pollution ------------------------------------------------------------------------- */

/* Connections to the service that stay, as many as there are ports. */
static unsigned connect_all(struct host *client, const struct tw_endpoint *to, int fds[FEW + 1],
                            int *code)
{
    unsigned made = 0;

    for (*code = 0; !*code && made <= FEW; made += !*code) {
        fds[made] = host_socket(client, 0);
        *code = finish_connect(client->stage, fds[made], to);
        if (*code)
            close_fd(&fds[made]);
    }
    host_says(client, "connect(): %u times, then %s", made, outcome(*code));
    return made;
}

/* One binder on an address that has nothing to do with the connections. */
static void pollute(struct stage *stage, const struct tw_endpoint *to, unsigned with,
                    const char *address)
{
    struct host *client = stage_left(stage);
    int fds[FEW + 1], binder = host_socket(client, with), explicit_fd, code;
    unsigned made;

    code = try_bind(binder, address, FIRST_PORT + 3);
    host_says(client, "bind(%s, %u): %s", address, FIRST_PORT + 3, outcome(code));
    made = connect_all(client, to, fds, &code);
    stage_expect(stage, made == FEW - 1 && code == EADDRNOTAVAIL,
                 "bound on %s it costs a port everywhere: %u of %u, then %s", address, made, FEW,
                 outcome(code));
    explicit_fd = host_socket(client, 0);
    code = try_bind(explicit_fd, "10.77.0.1", FIRST_PORT + 3);
    if (!code)
        code = finish_connect(stage, explicit_fd, to);
    host_says(client, "bind(10.77.0.1, %u), connect(): %s", FIRST_PORT + 3, outcome(code));
    expect_errno(stage, "the same port when asked for by bind()", code, 0);
    close_with_reset(&explicit_fd);
    close_fd(&binder);
    fds[made] = host_socket(client, 0);
    code = finish_connect(stage, fds[made], to);
    host_says(client, "the other one closes; connect(): %s", outcome(code));
    expect_errno(stage, "connect() when the other one has closed", code, 0);
    for (unsigned i = 0; i <= made; i++)
        close_with_reset(&fds[i]);
}

static void play_pollution(struct stage *stage)
{
    struct tw_endpoint to;

    stage_hosts(stage, "client", "server");
    to = host_at(stage_right(stage), SERVICE);
    host_listen(stage_right(stage), SERVICE, 0);
    host_set_range(stage_left(stage), FIRST_PORT, FEW);
    stage_note(stage, "the kernel may choose from %u ports", FEW);
    pollute(stage, &to, 0, "127.0.0.2");
    pollute(stage, &to, WITH_IPV6 | WITH_V6ONLY, "::1");
}

/* --- self-connect ----------------------------------------------------------------------------- */

/* Retries a port on which nobody listens; returns the descriptor that got there, or -1. */
static int retry(struct host *host, const struct tw_endpoint *to, unsigned most, unsigned *tries)
{
    for (*tries = 1; *tries <= most; (*tries)++) {
        int fd = host_socket(host, 0), code = finish_connect(host->stage, fd, to);

        if (!code)
            return fd;
        if (code != ECONNREFUSED)
            stage_broken(host->stage, "connect(): %s", outcome(code));
        close_fd(&fd);
    }
    return -1;
}

static int try_server(struct host *host, const char *when)
{
    int fd = host_socket(host, WITH_REUSEADDR), code = try_bind(fd, NULL, FIRST_PORT);

    code = code ? code : try_listen(fd);
    host_says(host, "the server, %s: %s", when, outcome(code));
    close_fd(&fd);
    return code;
}

static void play_self_connect(struct stage *stage)
{
    struct tw_endpoint to, peer = {0};
    socklen_t len = sizeof(peer);
    struct host *host;
    unsigned tries;
    int fd;

    stage_loopback(stage, "host");
    host = stage_left(stage);
    to = host_at(host, FIRST_PORT);
    host_set(host, "net.ipv4.ip_local_port_range", "32768 60999");
    host_says(host, "a client retries 127.0.0.1:%u, where nobody listens yet", FIRST_PORT);
    fd = retry(host, &to, 500000, &tries);
    stage_expect(stage, fd >= 0, "after %u tries connect() succeeds without a server", tries);
    if (fd < 0)
        return;
    host_says(host, "try %u: connected, from port %u to itself", tries, port_of(fd));
    getpeername(fd, &peer.sa, &len);
    stage_expect(stage, port_of(fd) == tw_endpoint_port(&peer), "both ends are one socket, port %u",
                 tw_endpoint_port(&peer));
    expect_errno(stage, "the server's bind()", try_server(host, "with SO_REUSEADDR"), EADDRINUSE);
    close_with_reset(&fd);
    expect_errno(stage, "bind() when the client is gone", try_server(host, "later"), 0);
    host_set(host, "net.ipv4.ip_local_reserved_ports", "40000");
    fd = retry(host, &to, 60000, &tries);
    host_says(host, "ip_local_reserved_ports=%u: %u tries, all refused", FIRST_PORT, tries - 1);
    stage_expect(stage, fd < 0, "with the port reserved %u tries do not get there", tries - 1);
}

/* --- udp-exhausted ---------------------------------------------------------------------------- */

static void play_udp(struct stage *stage)
{
    struct host *client;
    struct tw_endpoint to, elsewhere;
    int fds[FEW + 1], code = 0, other;
    unsigned made = 0;

    stage_hosts(stage, "client", "server");
    client = stage_left(stage);
    to = host_at(stage_right(stage), 53);
    elsewhere = host_at(stage_right(stage), 54);
    host_set_range(client, FIRST_PORT, FEW);
    for (; !code && made <= FEW; made += !code) {
        fds[made] = host_socket(client, WITH_UDP);
        code = try_connect(fds[made], &to);
    }
    host_says(client, "UDP connect(): %u times, then %s", made, outcome(code));
    stage_expect(stage, made == FEW && code == EAGAIN, "%u of %u ports, then %s", made, FEW,
                 outcome(code));
    other = host_socket(client, WITH_UDP);
    code = try_connect(other, &elsewhere);
    host_says(client, "to another port: %s", outcome(code));
    expect_errno(stage, "UDP to another destination", code, EAGAIN);
    code = sendto(other, "x", 1, 0, &to.sa, tw_endpoint_len(&to)) < 0 ? errno : 0;
    host_says(client, "sendto() without connect(): %s", outcome(code));
    expect_errno(stage, "sendto()", code, EAGAIN);
    close_fd(&fds[0]);
    code = try_connect(other, &elsewhere);
    host_says(client, "one is closed, and again: %s", outcome(code));
    expect_errno(stage, "UDP as soon as one is closed", code, 0);
}

/* --- accept-queue-full ------------------------------------------------------------------------ */

/* What a socket is waiting for. */
struct waiter {
    struct stage *stage;
    int fd;
};

static struct tcp_info info_of(const struct waiter *waiter)
{
    struct tcp_info info = {0};
    socklen_t len = sizeof(info);

    if (getsockopt(waiter->fd, IPPROTO_TCP, TCP_INFO, &info, &len))
        stage_broken(waiter->stage, "getsockopt(TCP_INFO): %s", outcome(errno));
    return info;
}

static bool has_sent_again(void *context)
{
    return info_of(context).tcpi_total_retrans > 0;
}

static bool is_established(void *context)
{
    return info_of(context).tcpi_state == TCP_ESTABLISHED;
}

static void play_accept_queue(struct stage *stage)
{
    struct waiter waiter = {.stage = stage};
    struct host *client, *server;
    struct tw_endpoint to;
    uint64_t start_ms;
    bool sent_again;
    int listener;

    stage_hosts(stage, "client", "server");
    client = stage_left(stage);
    server = stage_right(stage);
    to = host_at(server, SERVICE);
    host_set(server, "net.core.somaxconn", "1");
    listener = host_listen(server, SERVICE, 0);
    host_says(server, "listen(), somaxconn 1, and no accept()");
    for (unsigned i = 1; i <= 2; i++)
        host_says(client, "connect() %u: %s", i,
                  outcome(finish_connect(stage, host_socket(client, 0), &to)));
    waiter.fd = host_socket(client, 0);
    start_ms = stage_now_ms(stage);
    expect_errno(stage, "a third connect() is not refused", try_connect(waiter.fd, &to), 0);
    sent_again = stage_until(stage, 10000, has_sent_again, &waiter);
    stage_expect(stage, sent_again, "nothing comes back, and its SYN is sent again after %llu ms",
                 (unsigned long long)(stage_now_ms(stage) - start_ms));
    host_says(client, "connect() 3: in %s, its SYN sent again",
              tw_state_name(IPPROTO_TCP, info_of(&waiter).tcpi_state));
    stage_expect(stage, info_of(&waiter).tcpi_state == TCP_SYN_SENT, "the third is in %s",
                 tw_state_name(IPPROTO_TCP, info_of(&waiter).tcpi_state));
    stage_expect(stage, host_counter(server, "ListenOverflows") > 0,
                 "the server counts it alone: ListenOverflows %lld",
                 (long long)host_counter(server, "ListenOverflows"));
    stage_accept(stage, listener);
    host_says(server, "accept()");
    stage_expect(stage, stage_until(stage, 20000, is_established, &waiter),
                 "after one accept() the third gets in with its next SYN");
    host_says(client, "connect() 3: %s after %llu ms",
              tw_state_name(IPPROTO_TCP, info_of(&waiter).tcpi_state),
              (unsigned long long)(stage_now_ms(stage) - start_ms));
}

const struct scenario scenario_bind_before_connect = {
    .name = "bind-before-connect",
    .group = "exhaustion",
    .title = "bind() without a port takes one for every destination",
    .expected =
        "With IP_BIND_ADDRESS_NO_PORT two destinations get all 8 ports each. Without it bind() "
        "takes the port at once: the second destination gets none, and bind() says EADDRINUSE.",
    .lesson =
        "bind(address, 0) must choose a port that no socket has, since it cannot know the "
        "destination yet. Set IP_BIND_ADDRESS_NO_PORT and the choice waits for connect(), which "
        "shares ports between destinations.",
    .rule = "inet_csk_get_port(), __inet_hash_connect(), ip(7)",
    .play = play_bind_before_connect,
};

const struct scenario scenario_half_full_cliff = {
    .name = "half-full-cliff",
    .group = "exhaustion",
    .title = "connect() becomes slow when half of the ports are used",
    .expected =
        "Below 50 % connect() finds a port at once, and only even ones. Above, it looks at every "
        "even port in vain before it tries the odd ones; an explicit port costs the same as "
        "ever.",
    .lesson =
        "The kernel tries the ports of one parity first and the others only when all of those are "
        "taken, so half of the range is all that is quick. Make the range twice as wide as you "
        "need, or choose the port yourself.",
    .rule = "__inet_hash_connect()",
    .play = play_cliff,
};

const struct scenario scenario_bucket_pollution = {
    .name = "bucket-pollution",
    .group = "exhaustion",
    .title = "One socket bound on any address takes its port from every connect()",
    .expected =
        "A socket bound on 127.0.0.2, or on [::1], costs connections from 10.77.0.1 a port. The "
        "port can still be had by bind(), and is back when the socket closes.",
    .lesson =
        "When connect() chooses a port it skips each one that somebody has bound, on whatever "
        "address and in either family. Keep services, and sockets that are only bound, out of "
        "ip_local_port_range.",
    .rule = "__inet_hash_connect(): tb->fastreuse >= 0",
    .needs = NEEDS_IPV6,
    .play = play_pollution,
};

const struct scenario scenario_self_connect = {
    .name = "self-connect",
    .group = "exhaustion",
    .title = "A client that retries a local port ends by connecting to itself",
    .expected =
        "The kernel some day chooses the very port that is tried: the SYN meets its own socket "
        "and both ends are one. Then the server cannot bind; with the port reserved it never "
        "happens.",
    .lesson =
        "TCP lets two ends open at once, and here both are the same socket. A service on the "
        "loopback belongs below the range or into ip_local_reserved_ports; a client can compare "
        "getsockname() with getpeername().",
    .rule = "RFC 9293, 3.5 (simultaneous open), ip_local_reserved_ports",
    .play = play_self_connect,
};

const struct scenario scenario_udp_exhausted = {
    .name = "udp-exhausted",
    .group = "exhaustion",
    .title = "UDP says EAGAIN when ports run out, and shares none of them",
    .expected = "8 sockets take 8 ports; the next connect() or sendto() fails with EAGAIN, to any "
                "destination. One close() cures it at once.",
    .lesson =
        "A UDP socket takes its port for every destination, and the error says \"try again\" "
        "although only a close helps. UDP has no TIME-WAIT, so a closed port is free at once.",
    .rule = "udp_lib_get_port(), inet_autobind()",
    .play = play_udp,
};

const struct scenario scenario_accept_queue_full = {
    .name = "accept-queue-full",
    .group = "exhaustion",
    .title = "A full accept queue refuses nobody: the SYN is dropped, sent again",
    .expected =
        "With somaxconn 1 two connections wait for accept(). The third stays in SYN-SENT and "
        "sends its SYN again after a second; it gets in when the server has accepted one.",
    .lesson =
        "Connections that take a second or several to be made are those whose SYN met a full "
        "queue. "
        "Accept quicker or raise the backlog and somaxconn; the server's ListenOverflows counts "
        "them.",
    .rule = "tcp_conn_request(), tcp_abort_on_overflow, RFC 6298",
    .play = play_accept_queue,
};
