/* Who may have a port: reservations, clients that take it, and the two families. */
#include <errno.h>
#include <netinet/tcp.h>

#include "servers.h"
#include "stage.h"

#define PORT    8080
#define SOON_MS 5000

/* A range so small that a few sockets fill it; the server's port is in it. */
#define RANGE       "40000 40003"
#define RANGE_PORTS 4
#define RANGE_PORT  40001
#define RESERVED    "40001"

/* --- a reservation ---------------------------------------------------------------------------- */

#define OTHER_PORT 80

/* A port out of the range that is left in TIME_WAIT: the kernel chooses it, and one connection to
 * ourselves, closed by the accepting side first, keeps it from everybody's automatic choice. */
static uint16_t park(struct stage *stage, struct host *host)
{
    int listener = host_socket(host, WITH_REUSEADDR), code = try_bind(listener, "127.0.0.1", 0);
    struct pair pair;
    uint16_t port;

    if (code || (code = try_listen(listener)))
        stage_broken(stage, "a port to be reserved: errno %d", code);
    port = port_of(listener);
    host_says(host, "bind(0) with SO_REUSEADDR: port %u; listen(), connect() to itself", port);
    pair = stage_pair(stage, host, listener, 0);
    close_fd(&pair.server);
    stage_expect(stage, until_state(stage, host, port, false, TCP_CLOSE_WAIT, SOON_MS),
                 "the accepted side closes first");
    close_fd(&pair.client);
    close_fd(&listener);
    stage_expect(stage, until_state(stage, host, port, true, TCP_TIME_WAIT, SOON_MS),
                 "port %u is in TIME-WAIT and nobody listens there", port);
    host_says(host, "all closed: port %u is parked", port);
    return port;
}

/* What sockets got that left the choice to the kernel. */
struct choice {
    unsigned count; /* that got a port */
    bool hit;       /* one of them got the port in question */
    int code;       /* of the first that got none */
};

static struct choice choose_by_bind(struct host *host, uint16_t port)
{
    struct choice choice = {0};
    int fds[RANGE_PORTS];

    for (unsigned i = 0; i < RANGE_PORTS; i++) {
        int code;

        fds[i] = host_socket(host, WITH_REUSEADDR);
        code = try_bind(fds[i], "127.0.0.1", 0);
        choice.count += !code;
        choice.hit |= !code && port_of(fds[i]) == port;
        if (!choice.code)
            choice.code = code;
    }
    for (unsigned i = 0; i < RANGE_PORTS; i++)
        close_fd(&fds[i]);
    host_says(host, "%d times bind(0): %u get a port", RANGE_PORTS, choice.count);
    return choice;
}

static struct choice choose_by_connect(struct stage *stage, struct host *host, uint16_t port)
{
    struct tw_endpoint to = host_at(host, OTHER_PORT);
    struct choice choice = {0};
    int fds[RANGE_PORTS];

    for (unsigned i = 0; i < RANGE_PORTS; i++) {
        int code;

        fds[i] = host_socket(host, 0);
        code = finish_connect(stage, fds[i], &to);
        choice.count += !code;
        choice.hit |= !code && port_of(fds[i]) == port;
        if (!choice.code)
            choice.code = code;
    }
    for (unsigned i = 0; i < RANGE_PORTS; i++)
        close_with_reset(&fds[i]);
    host_says(host, "%d times connect() to port %d: %u get a port", RANGE_PORTS, OTHER_PORT,
              choice.count);
    return choice;
}

static void play_parked(struct stage *stage)
{
    struct tw_endpoint to;
    struct choice choice;
    struct host *host;
    uint16_t port;
    int fd;

    stage_loopback(stage, "host");
    host = stage_left(stage);
    host_set(host, "net.ipv4.ip_local_port_range", RANGE);
    host_set(host, "net.ipv4.ip_autobind_reuse", "0");
    host_listen(host, OTHER_PORT, WITH_REUSEADDR);
    port = park(stage, host);
    choice = choose_by_bind(host, port);
    stage_expect(stage, choice.count == RANGE_PORTS - 1 && !choice.hit,
                 "bind(0) hands out the other %d ports of the range, not this one: %u",
                 RANGE_PORTS - 1, choice.count);
    expect_errno(stage, "bind(0) when the parked port alone is left", choice.code, EADDRINUSE);
    choice = choose_by_connect(stage, host, port);
    stage_expect(stage, choice.count == RANGE_PORTS - 1 && !choice.hit,
                 "connect() hands out the other %d ports too, not this one: %u", RANGE_PORTS - 1,
                 choice.count);
    expect_errno(stage, "connect() when the parked port alone is left", choice.code, EADDRNOTAVAIL);
    expect_errno(stage, "bind() to the parked port without SO_REUSEADDR",
                 try_serve(host, "server", "127.0.0.1", port, 0, &fd), EADDRINUSE);
    expect_errno(stage, "bind() to the parked port with SO_REUSEADDR",
                 try_serve(host, "server", "127.0.0.1", port, WITH_REUSEADDR, &fd), 0);
    to = host_at(host, port);
    expect_errno(stage, "a client's connect() to it", try_reach(host, &to), 0);
}

const struct scenario scenario_parked = {
    .name = "parked",
    .group = "restart",
    .title = "A port left in TIME-WAIT is a reservation: only who asks for it by number gets it",
    .expected = "bind(0) and connect() of others never choose the parked port. bind() to it with "
                "SO_REUSEADDR works at once.",
    .lesson = "A test harness can choose a free port, park it in TIME-WAIT and hand its number to "
              "a server that sets SO_REUSEADDR. Choosing a port and closing it leaves a gap in "
              "which anybody may get it.",
    .rule = "inet_csk_find_open_port(), __inet_hash_connect()",
    .play = play_parked,
};

/* --- clients that take the server's port ------------------------------------------------------ */

#define DATABASE_PORT 5432

/* Connections to the database from ports of the kernel's choice, as many as the range has. */
struct clients {
    int fds[RANGE_PORTS];
    int codes[RANGE_PORTS];
    int thief; /* index of the one with the server's port; -1: none */
};

static struct clients connect_clients(struct stage *stage)
{
    struct tw_endpoint to = host_at(stage_right(stage), DATABASE_PORT);
    struct host *host = stage_left(stage);
    struct clients clients = {.thief = -1};

    for (int i = 0; i < RANGE_PORTS; i++) {
        clients.fds[i] = host_socket(host, 0);
        clients.codes[i] = finish_connect(stage, clients.fds[i], &to);
        if (clients.codes[i]) {
            host_says(host, "client: connect(): %s", outcome_text(clients.codes[i]));
            continue;
        }
        host_says(host, "client: connect(): from port %u", port_of(clients.fds[i]));
        if (port_of(clients.fds[i]) == RANGE_PORT)
            clients.thief = i;
    }
    return clients;
}

/* The server's host has this range, and the server, which listened there, has ended. */
static void open_database(struct stage *stage, const char *reserved)
{
    struct host *host;
    int fd;

    stage_hosts(stage, "host", "database");
    host = stage_left(stage);
    host_set(host, "net.ipv4.ip_local_port_range", RANGE);
    host_set(host, "net.ipv4.ip_local_reserved_ports", reserved);
    host_listen(stage_right(stage), DATABASE_PORT, WITH_REUSEADDR);
    expect_errno(stage, "the server's first bind()",
                 try_serve(host, "server", NULL, RANGE_PORT, WITH_REUSEADDR, &fd), 0);
    host_says(host, "server: ends");
    end_server(&fd);
}

static void play_port_lost(struct stage *stage)
{
    struct clients clients;
    struct host *host;
    int fd;

    open_database(stage, "");
    host = stage_left(stage);
    clients = connect_clients(stage);
    stage_expect(stage, clients.thief >= 0, "a client's connect() was given the server's port %d",
                 RANGE_PORT);
    expect_errno(stage, "the server's bind() with SO_REUSEADDR",
                 try_serve(host, "server", NULL, RANGE_PORT, WITH_REUSEADDR, &fd), EADDRINUSE);
    if (clients.thief < 0)
        return;
    host_says(host, "client: ends the connection from port %d by a reset", RANGE_PORT);
    close_with_reset(&clients.fds[clients.thief]);
    expect_errno(stage, "bind() when the client has ended",
                 try_serve(host, "server", NULL, RANGE_PORT, WITH_REUSEADDR, &fd), 0);
}

const struct scenario scenario_port_lost_to_client = {
    .name = "port-lost-to-client",
    .group = "restart",
    .title = "A client's connect() takes the port of a server that restarts",
    .expected = "The server's port is in ip_local_port_range. While it is down the kernel gives "
                "its port to a client, and bind() fails with EADDRINUSE.",
    .lesson = "A service with a port in the ephemeral range can lose it to any outgoing "
              "connection of its host. SO_REUSEADDR of the server does not help: the client's "
              "socket has not got it.",
    .rule = "RFC 6056, 3.2; __inet_hash_connect()",
    .play = play_port_lost,
};

static void play_reserved(struct stage *stage)
{
    struct clients clients;
    unsigned connected = 0;
    int fd;

    open_database(stage, RESERVED);
    clients = connect_clients(stage);
    for (int i = 0; i < RANGE_PORTS; i++)
        connected += !clients.codes[i];
    stage_expect(stage, clients.thief < 0, "no client is given the server's port");
    stage_expect(stage, connected == RANGE_PORTS - 1, "the other %d ports are given away: %u",
                 RANGE_PORTS - 1, connected);
    expect_errno(stage, "connect() of the last client", clients.codes[RANGE_PORTS - 1],
                 EADDRNOTAVAIL);
    expect_errno(stage, "the server's bind()",
                 try_serve(stage_left(stage), "server", NULL, RANGE_PORT, WITH_REUSEADDR, &fd), 0);
}

const struct scenario scenario_reserved_ports = {
    .name = "reserved-ports",
    .group = "restart",
    .title = "ip_local_reserved_ports keeps clients off a server's port",
    .expected = "The port is in the range, but reserved. connect() fails rather than take it, and "
                "the server's explicit bind() works.",
    .lesson =
        "Name the ports of your services in net.ipv4.ip_local_reserved_ports when they lie in "
        "the ephemeral range. It concerns the kernel's choice alone, never an explicit bind().",
    .rule = "inet_is_local_reserved_port()",
    .play = play_reserved,
};

/* --- the two families ------------------------------------------------------------------------- */

static void expect_reach(struct stage *stage, const char *what, struct tw_endpoint to, int listener)
{
    char text[TW_ENDPOINT_TEXT_MAX];
    unsigned got;
    int code;

    tw_endpoint_set_port(&to, PORT);
    code = try_reach(stage_left(stage), &to);
    got = listener >= 0 ? accept_all(listener) : 0;
    host_says(stage_left(stage), "connect(%s): %s, accepted: %u", tw_endpoint_format(&to, text),
              outcome_text(code), got);
    stage_expect(stage, !code && got == 1, "%s (%s, %u accepted)", what, outcome_text(code), got);
}

static void play_dual_stack(struct stage *stage)
{
    const unsigned v4 = WITH_REUSEADDR, v6 = WITH_REUSEADDR | WITH_IPV6;
    struct host *host;
    int first, second;

    stage_loopback(stage, "host");
    host = stage_left(stage);
    if (host->address6.sa.sa_family == AF_UNSPEC)
        stage_lacking(stage, "no IPv6 on the loopback interface");
    host_set(host, "net.ipv6.bindv6only", "0");

    expect_errno(stage, "[::] first", try_serve(host, "v6", NULL, PORT, v6, &first), 0);
    expect_errno(stage, "0.0.0.0 beside [::]", try_serve(host, "v4", NULL, PORT, v4, &second),
                 EADDRINUSE);
    expect_reach(stage, "[::] accepts IPv4", host->address, first);
    end_server(&first);

    expect_errno(stage, "0.0.0.0 first", try_serve(host, "v4", NULL, PORT, v4, &first), 0);
    expect_errno(stage, "[::] beside 0.0.0.0", try_serve(host, "v6", NULL, PORT, v6, &second),
                 EADDRINUSE);
    expect_errno(stage, "[::] with IPV6_V6ONLY beside 0.0.0.0",
                 try_serve(host, "v6", NULL, PORT, v6 | WITH_V6ONLY, &second), 0);
    expect_reach(stage, "IPv4 goes to 0.0.0.0", host->address, first);
    expect_reach(stage, "IPv6 goes to [::]", host->address6, second);
}

const struct scenario scenario_dual_stack = {
    .name = "dual-stack",
    .group = "restart",
    .title = "[::] claims IPv4 as well, unless it has IPV6_V6ONLY",
    .expected = "0.0.0.0 and [::] on one port refuse each other, whichever comes first. With "
                "IPV6_V6ONLY on [::] both listen, each for its own family.",
    .lesson = "One server on [::] serves both families and so blocks the port for both. Set "
              "IPV6_V6ONLY when another server, or another socket of yours, shall have IPv4.",
    .rule = "RFC 3493, 5.3; ipv6_rcv_saddr_equal()",
    .needs = NEEDS_IPV6,
    .play = play_dual_stack,
};
