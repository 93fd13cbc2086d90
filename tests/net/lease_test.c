/*
 * Leases of the library: who is kept out of a port and who is let in, on real sockets of a private
 * network. Exit code 77: none may be made here.
 */
#include "private.h"
#include "tidewait/lease.h"
#include "tidewait/limits.h"

#define PORT 20000

/* Where and how somebody may bind. */
static const struct place {
    const char *address;
    int type;
    bool v6only;
} places[] = {
    {"0.0.0.0", SOCK_STREAM, false},  {"127.0.0.1", SOCK_STREAM, false},
    {"::", SOCK_STREAM, false},       {"::", SOCK_STREAM, true},
    {"::1", SOCK_STREAM, false},      {"0.0.0.0", SOCK_DGRAM, false},
    {"127.0.0.1", SOCK_DGRAM, false}, {"::", SOCK_DGRAM, false},
    {"::", SOCK_DGRAM, true},         {"::1", SOCK_DGRAM, false},
};
#define PLACES (sizeof(places) / sizeof(places[0]))

/* 0 or the errno of bind() and listen(); `option` is SO_REUSEADDR, SO_REUSEPORT or 0. */
static int try_port(const struct place *place, uint16_t port, int option)
{
    struct tw_endpoint local = at(place->address, port);
    int fd = socket(local.sa.sa_family, place->type | SOCK_CLOEXEC, 0), on = 1, code = 0;
    int v6only = place->v6only;

    assert_true(fd >= 0);
    if (option)
        assert_int_equal(setsockopt(fd, SOL_SOCKET, option, &on, sizeof(on)), 0);
    if (local.sa.sa_family == AF_INET6)
        assert_int_equal(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6only, sizeof(v6only)), 0);
    if (bind(fd, &local.sa, tw_endpoint_len(&local)) ||
        (place->type == SOCK_STREAM && listen(fd, 1)))
        code = errno;
    close(fd);
    return code;
}

static struct tw_ports only(uint16_t first, uint16_t last)
{
    struct tw_ports ports = {{0}};

    tw_ports_add_range(&ports, (struct tw_port_range){first, last});
    return ports;
}

static struct tw_lease lease_of(uint16_t port)
{
    struct tw_ports ports = only(port, port);
    struct tw_error error = {0};
    struct tw_lease lease;

    if (tw_lease_take(&ports, 1, &lease, &error))
        fail_msg("%s", error.text);
    assert_int_equal(lease.port, port);
    return lease;
}

static void expect_not_taken(uint16_t port)
{
    struct tw_ports ports = only(port, port);
    struct tw_lease lease;

    assert_int_equal(tw_lease_take(&ports, 1, &lease, NULL), -EADDRINUSE);
}

/* Lets the kernel choose from this port alone; how often it did, by bind() and connect() of TCP. */
static int chosen_by_kernel(uint16_t port, int option)
{
    struct tw_endpoint server = at("127.0.0.1", 9), server6 = at("::1", 9);
    const struct tw_endpoint *servers[] = {&server, &server6};
    int listeners[2], on = 1, chosen = 0;
    char range[32];

    snprintf(range, sizeof(range), "%u %u", (unsigned)port, (unsigned)port);
    write_file("/proc/sys/net/ipv4/ip_local_port_range", range);
    for (size_t i = 0; i < PLACES; i++)
        chosen += places[i].type == SOCK_STREAM && try_port(&places[i], 0, option) == 0;
    for (size_t i = 0; i < 2; i++) {
        struct linger reset = {.l_onoff = 1};
        int fd = socket(servers[i]->sa.sa_family, SOCK_STREAM, 0);

        listeners[i] = socket(servers[i]->sa.sa_family, SOCK_STREAM, 0);
        setsockopt(listeners[i], SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
        assert_int_equal(bind(listeners[i], &servers[i]->sa, tw_endpoint_len(servers[i])), 0);
        assert_int_equal(listen(listeners[i], 8), 0);
        chosen += connect(fd, &servers[i]->sa, tw_endpoint_len(servers[i])) == 0;
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
        close(fd);
        close(listeners[i]);
    }
    write_file("/proc/sys/net/ipv4/ip_local_port_range", "32768 60999");
    return chosen;
}

/* The other tests of the kernel's choice mean something only if it does choose when it may. */
static void test_kernel_chooses_what_is_free(void **state)
{
    (void)state;
    assert_int_equal(chosen_by_kernel(PORT, 0), 5 + 2);
    assert_int_equal(chosen_by_kernel(PORT, SO_REUSEADDR), 5 + 2);
}

static void test_taken_excludes_all(void **state)
{
    static const int options[] = {0, SO_REUSEADDR, SO_REUSEPORT};
    struct tw_lease lease = lease_of(PORT);

    (void)state;
    for (size_t i = 0; i < PLACES; i++)
        for (size_t j = 0; j < 3; j++)
            assert_int_equal(try_port(&places[i], PORT, options[j]), EADDRINUSE);
    expect_not_taken(PORT);
    assert_int_equal(chosen_by_kernel(PORT, 0), 0);
    assert_int_equal(chosen_by_kernel(PORT, SO_REUSEADDR), 0);
    tw_lease_release(&lease);
    for (size_t i = 0; i < PLACES; i++)
        assert_int_equal(try_port(&places[i], PORT, 0), 0);
}

static void test_shared_lets_in_who_reuses(void **state)
{
    struct tw_lease lease = lease_of(PORT);

    (void)state;
    assert_int_equal(tw_lease_share(&lease), 0);
    for (size_t i = 0; i < PLACES; i++) {
        bool tcp = places[i].type == SOCK_STREAM;

        assert_int_equal(try_port(&places[i], PORT, 0), tcp ? EADDRINUSE : 0);
        assert_int_equal(try_port(&places[i], PORT, SO_REUSEADDR), 0);
        assert_int_equal(try_port(&places[i], PORT, SO_REUSEPORT), 0);
    }
    expect_not_taken(PORT);
    assert_int_equal(chosen_by_kernel(PORT, 0), 0);
    assert_int_equal(chosen_by_kernel(PORT, SO_REUSEADDR), 0);
    tw_lease_release(&lease);
}

/* Without its name a shared lease still keeps the next one out: that binds alone first. */
static void test_shared_needs_no_name(void **state)
{
    struct tw_lease lease = lease_of(PORT);

    (void)state;
    assert_int_equal(tw_lease_share(&lease), 0);
    close(lease.name);
    lease.name = -1;
    expect_not_taken(PORT);
    tw_lease_release(&lease);
    tw_lease_release(&lease); /* does nothing */
}

static void test_yielded_keeps_the_name(void **state)
{
    struct tw_lease lease = lease_of(PORT), next;

    (void)state;
    tw_lease_yield(&lease);
    for (size_t i = 0; i < PLACES; i++)
        assert_int_equal(try_port(&places[i], PORT, 0), 0);
    expect_not_taken(PORT);
    tw_lease_release(&lease);
    next = lease_of(PORT);
    tw_lease_release(&next);
}

static void test_parked(void **state)
{
    struct tw_lease lease = lease_of(PORT + 1);
    struct tw_error error = {0};

    (void)state;
    if (tw_lease_park(&lease, &error))
        fail_msg("%s", error.text);
    assert_true(lease.tcp < 0 && lease.udp < 0 && lease.name < 0);
    expect_not_taken(PORT + 1);
    assert_int_equal(chosen_by_kernel(PORT + 1, 0), 0);
    assert_int_equal(chosen_by_kernel(PORT + 1, SO_REUSEADDR), 0);
    for (size_t i = 0; i < PLACES; i++) {
        bool tcp = places[i].type == SOCK_STREAM;

        assert_int_equal(try_port(&places[i], PORT + 1, 0), tcp ? EADDRINUSE : 0);
        assert_int_equal(try_port(&places[i], PORT + 1, SO_REUSEADDR), 0);
    }
}

static void test_not_parked(void **state)
{
    struct tw_lease lease = lease_of(PORT + 2);
    struct tw_error error = {0};

    (void)state;
    write_file("/proc/sys/net/ipv4/tcp_max_tw_buckets", "0");
    assert_int_equal(tw_lease_park(&lease, &error), -ENOBUFS);
    write_file("/proc/sys/net/ipv4/tcp_max_tw_buckets", "4096");
    assert_non_null(strstr(error.text, "tcp_max_tw_buckets"));
    expect_not_taken(PORT + 2); /* still held */
    assert_int_equal(set_link("lo", false), 0);
    error = (struct tw_error){0};
    assert_int_equal(tw_lease_park(&lease, &error), -ENETUNREACH);
    assert_int_equal(set_link("lo", true), 0);
    expect_not_taken(PORT + 2);
    tw_lease_release(&lease);
}

/* One more than there are: none at all, and the others stay free. */
static void test_all_or_none(void **state)
{
    struct tw_ports ports = only(PORT + 10, PORT + 14);
    struct tw_lease leases[6], one = lease_of(PORT + 12);
    struct tw_error error = {0};

    (void)state;
    assert_int_equal(tw_lease_take(&ports, 5, leases, &error), -EADDRINUSE);
    assert_non_null(strstr(error.text, "1 are leased"));
    assert_int_equal(tw_lease_take(&ports, 4, leases, NULL), 0);
    for (size_t i = 0; i < 4; i++) {
        assert_true(tw_ports_has(&ports, leases[i].port));
        tw_ports_remove(&ports, leases[i].port);
        tw_lease_release(&leases[i]);
    }
    assert_true(tw_ports_has(&ports, PORT + 12)); /* the one that was not theirs */
    tw_lease_release(&one);
}

static void test_what_is_in_use(void **state)
{
    struct tw_error error = {0};
    struct tw_ports ports = only(PORT + 20, PORT + 20);
    struct tw_endpoint local = at("::1", PORT + 20);
    struct tw_lease lease;
    int fd = socket(AF_INET6, SOCK_DGRAM, 0);

    (void)state;
    assert_int_equal(bind(fd, &local.sa, tw_endpoint_len(&local)), 0);
    assert_int_equal(tw_lease_take(&ports, 1, &lease, &error), -EADDRINUSE);
    assert_non_null(strstr(error.text, "something is on 1"));
    close(fd);
    ports = only(0, 0);
    tw_ports_remove(&ports, 0);
    assert_int_equal(tw_lease_take(&ports, 1, &lease, NULL), -EADDRINUSE);
}

static void test_pool(void **state)
{
    struct tw_ports pool, ephemeral;
    struct tw_limits limits;

    (void)state;
    write_file("/proc/sys/net/ipv4/ip_local_reserved_ports", "12345");
    tw_lease_pool(&pool);
    write_file("/proc/sys/net/ipv4/ip_local_reserved_ports", "\n");
    assert_true(tw_ports_count(&pool) > 20000);
    tw_limits_read(&limits);
    tw_limits_ephemeral(&limits, &ephemeral);
    for (unsigned port = 0; port <= UINT16_MAX; port++)
        if (port < 10000 || tw_ports_has(&ephemeral, (uint16_t)port))
            assert_false(tw_ports_has(&pool, (uint16_t)port));
    assert_false(tw_ports_has(&pool, 12345));
    assert_true(tw_ports_has(&pool, 12346));
    write_file("/proc/sys/net/ipv4/ip_local_port_range", "1024 65535");
    tw_lease_pool(&pool);
    write_file("/proc/sys/net/ipv4/ip_local_port_range", "32768 60999");
    assert_int_equal(tw_ports_count(&pool), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kernel_chooses_what_is_free),
        cmocka_unit_test(test_taken_excludes_all),
        cmocka_unit_test(test_shared_lets_in_who_reuses),
        cmocka_unit_test(test_shared_needs_no_name),
        cmocka_unit_test(test_yielded_keeps_the_name),
        cmocka_unit_test(test_parked),
        cmocka_unit_test(test_not_parked),
        cmocka_unit_test(test_all_or_none),
        cmocka_unit_test(test_what_is_in_use),
        cmocka_unit_test(test_pool),
    };
    int status = enter_private_network();

    return status ? status : cmocka_run_group_tests(tests, NULL, NULL);
}
