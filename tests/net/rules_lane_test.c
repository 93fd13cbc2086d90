/*
 * The rules of connect() and of automatic ports against the kernel, with ranges so small that each
 * port counts. Exit code 77: no network namespace may be made here.
 */
#include "rules_net.h"

#include <time.h>

#define FIRST  40000
#define CLEAN  42000 /* a range on which no test leaves a TIME_WAIT */
#define PORTS  16
#define SERVER 9000 /* the destination that the lane is about */
#define OTHER  9001 /* another destination */

struct server {
    int main;
    int other;
};

/* The connections of a lane, as rows and as the descriptors that hold them. */
struct fill {
    struct tw_socket_row rows[PORTS];
    int fds[PORTS];
    size_t count;
};

static int listen_at(const char *address, uint16_t port)
{
    struct tw_endpoint local = at(address, port);
    int fd = socket(local.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    assert_int_equal(bind(fd, &local.sa, tw_endpoint_len(&local)), 0);
    assert_int_equal(listen(fd, 4096), 0);
    return fd;
}

static struct server serve(void)
{
    return (struct server){listen_at("127.0.0.1", SERVER), listen_at("127.0.0.1", OTHER)};
}

static void stop(struct server server)
{
    close(server.main);
    close(server.other);
}

static void set_range(unsigned first, unsigned last, const char *reserved)
{
    char text[32];

    snprintf(text, sizeof(text), "%u %u", first, last);
    write_sysctl("ipv4/ip_local_port_range", text);
    /* An empty write would leave the list as it is. */
    snprintf(text, sizeof(text), "%s\n", reserved);
    write_sysctl("ipv4/ip_local_reserved_ports", text);
}

/* A connection from a port of 127.0.0.1 (0: the kernel's choice) to one of the servers. Returns the
 * descriptor or -errno, bind() apart. */
static int connect_from(uint16_t source, uint16_t to, uint32_t device)
{
    struct tw_endpoint local = at("127.0.0.1", source), remote = at("127.0.0.1", to);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), code;

    assert_true(fd >= 0);
    set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (device)
        set_option(fd, SOL_SOCKET, SO_BINDTOIFINDEX, (int)device);
    if (source)
        assert_int_equal(bind(fd, &local.sa, tw_endpoint_len(&local)), 0);
    if (connect(fd, &remote.sa, tw_endpoint_len(&remote)) == 0)
        return fd;
    code = errno;
    close(fd);
    return -code;
}

static struct tw_socket_row row_of(int fd, uint16_t to, int state)
{
    return (struct tw_socket_row){
        .protocol = IPPROTO_TCP,
        .state = (uint8_t)state,
        .local = name_of(fd),
        .remote = at("127.0.0.1", to),
        .inode = 1,
    };
}

static struct tw_ports ports_of(unsigned first, unsigned last)
{
    struct tw_ports ports = {0};

    tw_ports_add_range(&ports, (struct tw_port_range){(uint16_t)first, (uint16_t)last});
    return ports;
}

static struct tw_rules_lane lane_of(const struct tw_ports *ephemeral, unsigned first,
                                    const struct tw_ports *polluting, const struct fill *fill)
{
    struct tw_rules_lane_request request = {
        .protocol = IPPROTO_TCP,
        .source = at("127.0.0.1", 0),
        .destination = at("127.0.0.1", SERVER),
        .ephemeral = ephemeral,
        .first = (uint16_t)first,
    };

    return tw_rules_lane(&request, polluting, fill->rows, fill->count);
}

static void drop_all(struct fill *fill)
{
    for (size_t i = 0; i < fill->count; i++)
        drop(fill->fds[i]);
    fill->count = 0;
}

/* Connects until the kernel refuses. Before each connect() the lane has to tell whether there is a
 * port, and of which parity. Returns how many there were. */
static size_t fill_lane(const struct tw_ports *ephemeral, unsigned first,
                        const struct tw_ports *polluting, struct fill *fill)
{
    for (;;) {
        struct tw_rules_lane lane = lane_of(ephemeral, first, polluting, fill);
        int fd = connect_from(0, SERVER, 0);
        uint16_t port;

        assert_int_equal(lane.connected, fill->count);
        assert_int_equal(lane.ports, lane.connected + lane.polluted + lane.free);
        if (fd < 0) {
            assert_int_equal(fd, -EADDRNOTAVAIL);
            assert_int_equal(lane.free, 0);
            return fill->count;
        }
        assert_true(lane.free > 0 && fill->count < PORTS);
        fill->fds[fill->count] = fd;
        fill->rows[fill->count] = row_of(fd, SERVER, TCP_ESTABLISHED);
        port = tw_endpoint_port(&fill->rows[fill->count++].local);
        assert_true(tw_ports_has(ephemeral, port) && !tw_ports_has(polluting, port));
        assert_int_equal(port % 2 == first % 2, lane.free_first > 0);
    }
}

static void parity_of_the_first_port_comes_first(void **state)
{
    struct server server = serve();

    (void)state;
    for (unsigned first = FIRST; first < FIRST + 2; first++) {
        struct tw_ports ephemeral = ports_of(first, first + PORTS - 1), none = {0};
        struct fill fill = {.count = 0};
        int fd;

        set_range(first, first + PORTS - 1, "");
        assert_int_equal(fill_lane(&ephemeral, first, &none, &fill), PORTS);
        /* Full for this destination alone. */
        fd = connect_from(0, OTHER, 0);
        assert_true(fd >= 0);
        drop(fd);
        drop_all(&fill);
    }
    stop(server);
}

static void odd_range_may_fail_with_one_port_free(void **state)
{
    struct server server = serve();
    struct tw_ports ephemeral = ports_of(FIRST, FIRST + PORTS - 2), none = {0};

    (void)state;
    set_range(FIRST, FIRST + PORTS - 2, "");
    for (int round = 0; round < 20; round++) {
        struct fill fill = {.count = 0};
        int fd;

        while ((fd = connect_from(0, SERVER, 0)) >= 0) {
            assert_true(fill.count < PORTS - 1);
            fill.fds[fill.count] = fd;
            fill.rows[fill.count++] = row_of(fd, SERVER, TCP_ESTABLISHED);
        }
        assert_int_equal(fd, -EADDRNOTAVAIL);
        assert_true(lane_of(&ephemeral, FIRST, &none, &fill).free <= 1);
        drop_all(&fill);
    }
    stop(server);
}

static void reserved_ports_are_left_out(void **state)
{
    struct server server = serve();
    struct tw_ports ephemeral = ports_of(FIRST, FIRST + PORTS - 1), none = {0};
    struct fill fill = {.count = 0};

    (void)state;
    set_range(FIRST, FIRST + PORTS - 1, "40002,40005-40007");
    tw_ports_remove(&ephemeral, 40002);
    tw_ports_remove(&ephemeral, 40005);
    tw_ports_remove(&ephemeral, 40006);
    tw_ports_remove(&ephemeral, 40007);
    assert_int_equal(fill_lane(&ephemeral, FIRST, &none, &fill), PORTS - 4);
    drop_all(&fill);
    stop(server);
}

/* Closes so that the end given first keeps the TIME_WAIT. */
static void close_in_order(int first, int second)
{
    char byte;

    close(first);
    assert_int_equal(read(second, &byte, 1), 0);
    close(second);
}

/* What takes a port out for every destination, and what does not. */
static void polluted_ports_are_left_out(void **state)
{
    struct server server = serve();
    struct tw_ports ephemeral = ports_of(FIRST, FIRST + PORTS - 1), polluting = {0};
    struct fill fill = {.count = 0};
    int fds[8], listener;
    struct tw_endpoint local = at("::1", FIRST), to = at("127.0.0.2", FIRST + 3);

    (void)state;
    set_range(FIRST, FIRST + PORTS - 1, "");
    tw_ports_add_range(&polluting, (struct tw_port_range){FIRST, FIRST + 4});
    fds[0] = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0); /* bound only, to another family */
    assert_int_equal(bind(fds[0], &local.sa, tw_endpoint_len(&local)), 0);
    fds[1] = listen_at("127.0.0.2", FIRST + 1);
    fds[2] = connect_from(FIRST + 2, OTHER, 0); /* an explicit port, another destination */
    listener = listen_at("127.0.0.2", FIRST + 3);
    fds[3] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    set_range(50000, 50001, "");
    assert_int_equal(connect(fds[3], &to.sa, tw_endpoint_len(&to)), 0);
    fds[4] = accept(listener, NULL, NULL); /* accepted, its listener gone */
    close(listener);
    fds[5] = connect_from(FIRST + 4, OTHER, 0); /* an explicit port's TIME_WAIT */
    for (int i = 0; i < 2; i++)
        fds[6 + i] = accept(server.other, NULL, NULL);
    close_in_order(fds[5], fds[7]);
    set_range(FIRST + 5, FIRST + 5, "");
    fds[5] = connect_from(0, OTHER, 0); /* the kernel's choice pollutes nothing */
    assert_true(fds[5] >= 0);
    set_range(FIRST, FIRST + PORTS - 1, "");
    assert_int_equal(fill_lane(&ephemeral, FIRST, &polluting, &fill), PORTS - 5);
    assert_int_equal(lane_of(&ephemeral, FIRST, &polluting, &fill).polluted, 5);
    drop_all(&fill);
    for (int i = 0; i < 7; i++)
        drop(fds[i]);
    stop(server);
}

static uint64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* A lane full of TIME_WAITs: tcp_tw_reuse gives them back when they are old enough. */
static void time_waits_come_back(void **state)
{
    static const struct {
        bool reuse;
        uint32_t delay;
        bool connects;
    } cases[] = {{false, 1, false}, {true, 60000, false}, {true, 1, true}};
    struct server server = serve();
    struct fill fill = {.count = 0};
    struct tw_ports ephemeral = ports_of(FIRST + 100, FIRST + 107), none = {0};
    uint64_t began;
    int fd;

    (void)state;
    if (access("/proc/sys/net/ipv4/tcp_tw_reuse_delay", F_OK)) {
        print_message("skipped: this kernel has no tcp_tw_reuse_delay\n");
        stop(server);
        skip();
    }
    set_range(FIRST + 100, FIRST + 107, "");
    write_sysctl("ipv4/tcp_tw_reuse", "0");
    began = now_ms();
    while ((fd = connect_from(0, SERVER, 0)) >= 0) {
        assert_true(fill.count < 8);
        fill.rows[fill.count++] = row_of(fd, SERVER, TCP_TIME_WAIT);
        close_in_order(fd, accept(server.main, NULL, NULL));
    }
    usleep(50000);
    for (size_t i = 0; i < fill.count; i++) {
        fill.rows[i].inode = 0;
        fill.rows[i].expires_ms = (uint32_t)(60000 - (now_ms() - began));
    }
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tw_rules_lane_request request = {
            .protocol = IPPROTO_TCP,
            .destination = at("127.0.0.1", SERVER),
            .ephemeral = &ephemeral,
            .first = FIRST + 100,
            .tw_reuse = cases[i].reuse,
            .reuse_ms = cases[i].delay,
        };
        struct tw_rules_lane lane = tw_rules_lane(&request, &none, fill.rows, fill.count);
        char delay[16];

        snprintf(delay, sizeof(delay), "%u", cases[i].delay);
        write_sysctl("ipv4/tcp_tw_reuse", cases[i].reuse ? "1" : "0");
        write_sysctl("ipv4/tcp_tw_reuse_delay", delay);
        assert_int_equal(lane.free, 0);
        assert_int_equal(lane.reusable, cases[i].connects ? 8 : 0);
        assert_int_equal(lane.reusable_first, cases[i].connects ? 4 : 0);
        assert_int_equal(lane.time_wait, cases[i].connects ? 0 : 8);
        fd = connect_from(0, SERVER, 0);
        assert_int_equal(fd < 0 ? fd : 0, cases[i].connects ? 0 : -EADDRNOTAVAIL);
        drop(fd);
    }
    stop(server);
}

/* --- explicit tuples ---------------------------------------------------------------------------
 */

/* Brings the first connection of a tuple to a state, then connects on the same tuple. */
static void tuple_of(struct server server, uint16_t port, int state, bool open_fd, bool timestamps)
{
    struct tw_endpoint source = at("127.0.0.1", port), destination = at("127.0.0.1", SERVER);
    int fd, peer, again;
    struct tw_socket_row row;
    bool in_use;

    write_sysctl("ipv4/tcp_timestamps", timestamps ? "1" : "0");
    fd = connect_from(port, SERVER, 0);
    peer = accept(server.main, NULL, NULL);
    assert_true(fd >= 0 && peer >= 0);
    row = row_of(fd, SERVER, state);
    if (state != TCP_ESTABLISHED) {
        shutdown(fd, SHUT_WR);
        await_state(fd, TCP_FIN_WAIT2);
    }
    if (state == TCP_TIME_WAIT) {
        shutdown(peer, SHUT_WR);
        await_state(fd, TCP_CLOSE);
    }
    if (!open_fd) {
        close(fd);
        row.inode = 0;
        fd = -1;
    }
    in_use = tw_rules_tuple(&source, &destination, timestamps, &row, 1).outcome == TW_RULES_IN_USE;
    again = connect_from(port, SERVER, 0);
    assert_int_equal(again < 0 ? again : 0, in_use ? -EADDRNOTAVAIL : 0);
    drop(again);
    drop(fd);
    drop(peer);
    close(accept(server.main, NULL, NULL));
}

static void tuples(void **state)
{
    struct server server = serve();
    uint16_t port = 30000;

    (void)state;
    fcntl(server.main, F_SETFL, O_NONBLOCK);
    for (int timestamps = 0; timestamps < 2; timestamps++) {
        tuple_of(server, port++, TCP_ESTABLISHED, true, timestamps);
        tuple_of(server, port++, TCP_FIN_WAIT2, true, timestamps);
        tuple_of(server, port++, TCP_FIN_WAIT2, false, timestamps);
        tuple_of(server, port++, TCP_TIME_WAIT, false, timestamps);
    }
    write_sysctl("ipv4/tcp_timestamps", "1");
    stop(server);
}

static void devices_part_tuples(void **state)
{
    static const uint32_t lo = 1;
    struct tw_endpoint source = at("127.0.0.1", 31000), destination = at("127.0.0.1", SERVER);
    struct server server = serve();
    int old = connect_from(31000, SERVER, lo), new;
    struct tw_socket_row row = row_of(old, SERVER, TCP_ESTABLISHED);

    (void)state;
    row.device = lo;
    assert_int_equal(tw_rules_tuple(&source, &destination, false, &row, 1).outcome, TW_RULES_FREE);
    new = connect_from(31000, SERVER, 0);
    assert_true(new >= 0);
    drop(new);
    drop(old);
    stop(server);
}

/* --- exhaustion of bind(0) and of UDP ----------------------------------------------------------
 */

/* Whether bind() to port 0 finds one of the ports, by the rule. */
static bool finds_port(struct tw_rules_request request, const struct fill *fill)
{
    bool tcp = request.protocol == IPPROTO_TCP;

    if (tcp)
        request.reuseaddr = request.reuseport = false;
    for (uint16_t port = CLEAN; port < CLEAN + PORTS; port++) {
        tw_endpoint_set_port(&request.local, port);
        if (tw_rules_bind(&request, fill->rows, fill->count).outcome == TW_RULES_FREE)
            return true;
    }
    return false;
}

/* Binds to port 0 until there is no more. */
static void exhaust_bind(int protocol, bool reuseaddr)
{
    int type = protocol == IPPROTO_TCP ? SOCK_STREAM : SOCK_DGRAM;
    struct tw_rules_request request = {.protocol = (uint8_t)protocol,
                                       .local = at("127.0.0.1", 0),
                                       .reuseaddr = reuseaddr,
                                       .uid = geteuid()};
    struct tw_endpoint local = request.local;
    struct fill fill = {.count = 0};

    set_range(CLEAN, CLEAN + PORTS - 1, "");
    for (;;) {
        int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0), code;
        bool found;

        assert_true(fd >= 0);
        set_option(fd, SOL_SOCKET, SO_REUSEADDR, reuseaddr);
        found = finds_port(request, &fill);
        code = bind(fd, &local.sa, tw_endpoint_len(&local)) ? errno : 0;
        assert_int_equal(code, found ? 0 : EADDRINUSE);
        if (!found) {
            close(fd);
            break;
        }
        assert_true(fill.count < PORTS);
        fill.rows[fill.count] = row_of(fd, 0, TCP_CLOSE);
        fill.rows[fill.count].protocol = (uint8_t)protocol;
        fill.rows[fill.count].reuseaddr = reuseaddr ? TW_YES : TW_NO;
        fill.rows[fill.count].reuseport = TW_NO;
        fill.fds[fill.count++] = fd;
    }
    assert_int_equal(fill.count, PORTS);
    drop_all(&fill);
}

static void bind_to_port_zero_exhausts(void **state)
{
    (void)state;
    exhaust_bind(IPPROTO_TCP, false);
    exhaust_bind(IPPROTO_TCP, true);
    exhaust_bind(IPPROTO_UDP, false);
}

/* connect() of UDP takes a port that no other socket has, whatever the destination. */
static void udp_exhausts(void **state)
{
    struct tw_ports ephemeral = ports_of(FIRST, FIRST + PORTS - 1), polluting = {0};
    struct tw_endpoint bound = at("127.0.0.2", FIRST + 3);
    struct tw_rules_lane_request request = {
        .protocol = IPPROTO_UDP,
        .source = at("0.0.0.0", 0),
        .destination = at("127.0.0.1", SERVER),
        .ephemeral = &ephemeral,
        .first = FIRST,
    };
    struct fill fill = {.count = 0};
    int in_the_way = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    (void)state;
    set_range(FIRST, FIRST + PORTS - 1, "");
    assert_int_equal(bind(in_the_way, &bound.sa, tw_endpoint_len(&bound)), 0);
    tw_ports_add(&polluting, FIRST + 3);
    for (;;) {
        struct tw_rules_lane lane = tw_rules_lane(&request, &polluting, fill.rows, fill.count);
        int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), rc;

        rc = connect(fd, &request.destination.sa, tw_endpoint_len(&request.destination));
        assert_int_equal(rc ? errno : 0, lane.free ? 0 : EAGAIN);
        assert_int_equal(lane.free_first, lane.free);
        if (rc) {
            close(fd);
            break;
        }
        assert_true(fill.count < PORTS);
        fill.rows[fill.count] = row_of(fd, SERVER, TCP_ESTABLISHED);
        fill.rows[fill.count].protocol = IPPROTO_UDP;
        fill.fds[fill.count++] = fd;
    }
    assert_int_equal(fill.count, PORTS - 1);
    drop_all(&fill);
    close(in_the_way);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parity_of_the_first_port_comes_first),
        cmocka_unit_test(odd_range_may_fail_with_one_port_free),
        cmocka_unit_test(reserved_ports_are_left_out),
        cmocka_unit_test(polluted_ports_are_left_out),
        cmocka_unit_test(time_waits_come_back),
        cmocka_unit_test(tuples),
        cmocka_unit_test(devices_part_tuples),
        cmocka_unit_test(bind_to_port_zero_exhausts),
        cmocka_unit_test(udp_exhausts),
    };
    int rc = enter_private_network();

    return rc ? rc : cmocka_run_group_tests_name("rules_lane", tests, NULL, NULL);
}
