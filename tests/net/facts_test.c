/*
 * The facts on real kernel objects: each test makes sockets or addresses in a private network
 * namespace and asks the library about them. Exit code 77: no namespace may be made here.
 */
#include <arpa/inet.h>
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <sys/utsname.h>

#include "private.h"
#include "tidewait/clock.h"
#include "tidewait/counters.h"
#include "tidewait/interface.h"
#include "tidewait/limits.h"
#include "tidewait/sockets.h"

/* --- kernel objects
 * ------------------------------------------------------------------------------- */

/* A socket bound to an address; with port 0 the kernel's choice is written back. */
static int bound_socket(struct tw_endpoint *local, bool v6only)
{
    int fd = socket(local->sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int only = v6only;
    socklen_t len = tw_endpoint_len(local);

    assert_true(fd >= 0);
    if (local->sa.sa_family == AF_INET6)
        assert_int_equal(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof(only)), 0);
    assert_int_equal(bind(fd, &local->sa, len), 0);
    assert_int_equal(getsockname(fd, &local->sa, &len), 0);
    return fd;
}

static int listener(struct tw_endpoint *local, bool v6only)
{
    int fd = bound_socket(local, v6only);

    assert_int_equal(listen(fd, 8), 0);
    return fd;
}

struct connection {
    int client;
    int server;
    struct tw_endpoint client_end;
    struct tw_endpoint server_end;
};

static struct connection connection_to(int listening, const struct tw_endpoint *to)
{
    struct connection c = {.server_end = *to};
    socklen_t len = sizeof(c.client_end);

    c.client = socket(to->sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(c.client >= 0);
    assert_int_equal(connect(c.client, &to->sa, tw_endpoint_len(to)), 0);
    c.server = accept(listening, NULL, NULL);
    assert_true(c.server >= 0);
    assert_int_equal(getsockname(c.client, &c.client_end.sa, &len), 0);
    return c;
}

/* Ends the connection so that the client keeps TIME_WAIT. */
static void close_client_first(const struct connection *c)
{
    char byte;

    close(c->client);
    assert_int_equal(read(c->server, &byte, 1), 0);
    close(c->server);
}

static bool same(const struct tw_endpoint *a, const struct tw_endpoint *b)
{
    return tw_endpoint_same_address(a, b) && tw_endpoint_port(a) == tw_endpoint_port(b);
}

/* --- tw_sockets_each()
 * ---------------------------------------------------------------------------- */

#define ROWS_MAX 64

struct rows {
    struct tw_socket_row row[ROWS_MAX];
    size_t count;
};

static int keep(const struct tw_socket_row *row, void *context)
{
    struct rows *rows = context;

    assert_true(rows->count < ROWS_MAX);
    rows->row[rows->count++] = *row;
    return 0;
}

static struct rows rows_of(int family, unsigned mask, uint16_t port)
{
    struct rows rows = {.count = 0};
    struct tw_error error = {0};
    struct tw_sockets_query query = {.family = family, .state_mask = mask, .local_port = port};
    int rc = tw_sockets_each(&query, keep, &rows, &error);

    if (rc)
        fail_msg("%s", error.text);
    return rows;
}

/* The row in this state from `local`; waits up to 2 s for it, since the peer's ACK comes later. */
static struct tw_socket_row await_row(const struct tw_endpoint *local, uint8_t state)
{
    uint64_t deadline = tw_clock_ns() + 2 * TW_NS_PER_S;

    do {
        struct rows rows =
            rows_of(local->sa.sa_family, TW_STATE_MASK(state), tw_endpoint_port(local));

        for (size_t i = 0; i < rows.count; i++)
            if (same(&rows.row[i].local, local))
                return rows.row[i];
        usleep(1000);
    } while (tw_clock_ns() < deadline);
    fail_msg("no row in state %d on port %d", state, tw_endpoint_port(local));
    return (struct tw_socket_row){0};
}

static void check_listener(const char *address)
{
    struct tw_endpoint local = at(address, 0);
    int fd = listener(&local, true);
    struct rows rows = rows_of(local.sa.sa_family, TW_STATE_MASK(TCP_LISTEN), 0);

    assert_int_equal(rows.count, 1);
    assert_int_equal(rows.row[0].state, TCP_LISTEN);
    assert_true(same(&rows.row[0].local, &local));
    assert_int_equal(tw_endpoint_port(&rows.row[0].remote), 0);
    assert_int_equal(rows.row[0].uid, getuid());
    assert_int_not_equal(rows.row[0].inode, 0);
    assert_int_equal(rows.row[0].expires_ms, 0);
    assert_int_equal(rows_of(local.sa.sa_family, TW_STATE_MASK(TCP_ESTABLISHED), 0).count, 0);
    close(fd);
    assert_int_equal(rows_of(local.sa.sa_family, TW_STATE_MASK(TCP_LISTEN), 0).count, 0);
}

static void listener_is_seen(void **state)
{
    (void)state;
    check_listener("127.0.0.1");
    check_listener("0.0.0.0");
    check_listener("::1");
    check_listener("::");
}

static void check_connection(const char *address)
{
    struct tw_endpoint local = at(address, 0);
    int fd = listener(&local, true);
    struct connection c = connection_to(fd, &local);
    struct tw_socket_row row = await_row(&c.client_end, TCP_ESTABLISHED);

    assert_true(same(&row.remote, &local));
    assert_int_not_equal(row.inode, 0);
    assert_int_equal(row.expires_ms, 0);
    row = await_row(&local, TCP_ESTABLISHED);
    assert_true(same(&row.remote, &c.client_end));

    close_client_first(&c);
    row = await_row(&c.client_end, TCP_TIME_WAIT);
    assert_int_equal(row.state, TCP_TIME_WAIT);
    assert_true(same(&row.remote, &local));
    assert_int_equal(row.inode, 0);
    assert_in_range(row.expires_ms, 1, TW_TIME_WAIT_NS / TW_NS_PER_MS);
    /* It has just begun: a value in other units than milliseconds would not be near 60 s. */
    assert_true(row.expires_ms > 55000);
    close(fd);
}

static void connection_and_time_wait_are_seen(void **state)
{
    (void)state;
    check_connection("127.0.0.1");
    check_connection("::1");
}

static void local_port_filters(void **state)
{
    struct tw_endpoint first = at("127.0.0.1", 0), second = first;
    int a = listener(&first, true), b = listener(&second, true);
    struct connection c = connection_to(a, &first);
    uint16_t port = tw_endpoint_port(&first);
    struct rows rows = rows_of(AF_INET, TW_STATES_ALL, port);

    (void)state;
    /* The listener and the accepted end; the client's end has the port as its remote one. */
    assert_int_equal(rows.count, 2);
    for (size_t i = 0; i < rows.count; i++)
        assert_int_equal(tw_endpoint_port(&rows.row[i].local), port);
    assert_int_equal(rows_of(AF_INET6, TW_STATES_ALL, port).count, 0);
    assert_int_equal(rows_of(AF_INET, TW_STATE_MASK(TCP_LISTEN), 0).count, 2);
    assert_int_equal(rows_of(AF_INET, TW_STATE_MASK(TCP_LISTEN), 9).count, 0);
    close(c.client);
    close(c.server);
    close(a);
    close(b);
}

static int stop_at_second(const struct tw_socket_row *row, void *context)
{
    int *seen = context;

    (void)row;
    return ++*seen == 2 ? 42 : 0;
}

static void visitor_stops(void **state)
{
    struct tw_sockets_query query = {.family = AF_INET, .state_mask = TW_STATE_MASK(TCP_LISTEN)};
    struct tw_endpoint local[3];
    int fds[3], seen = 0;

    (void)state;
    for (int i = 0; i < 3; i++) {
        local[i] = at("127.0.0.1", 0);
        fds[i] = listener(&local[i], true);
    }
    assert_int_equal(tw_sockets_each(&query, stop_at_second, &seen, NULL), 42);
    assert_int_equal(seen, 2);
    for (int i = 0; i < 3; i++)
        close(fds[i]);
}

static void wrong_family_is_refused(void **state)
{
    struct tw_sockets_query query = {.family = AF_UNIX};
    struct tw_error error = {0};

    (void)state;
    assert_int_equal(tw_sockets_each(&query, keep, NULL, &error), -EAFNOSUPPORT);
    assert_int_equal(error.code, EAFNOSUPPORT);
}

static int count_row(const struct tw_socket_row *row, void *context)
{
    size_t *count = context;

    (void)row;
    ++*count;
    return 0;
}

/* More rows than one netlink datagram holds (about 400), all of them exactly once. */
static void long_list_is_whole(void **state)
{
    enum { SOCKETS = 900 };
    struct tw_sockets_query query = {.family = AF_INET, .state_mask = TW_STATE_MASK(TCP_LISTEN)};
    int fds[SOCKETS];
    size_t count = 0;

    (void)state;
    for (int i = 0; i < SOCKETS; i++) {
        struct tw_endpoint local = at("127.0.0.1", (uint16_t)(10000 + i));

        fds[i] = listener(&local, true);
    }
    assert_int_equal(tw_sockets_each(&query, count_row, &count, NULL), 0);
    assert_int_equal(count, SOCKETS);
    for (int i = 0; i < SOCKETS; i++)
        close(fds[i]);
}

/* Whether this kernel can list bound sockets; prints the reason when not. Its release tells, not
 * the code under test: a fault of that must fail the test and not skip it. */
static bool lists_bound_sockets(void)
{
    unsigned major = 0, minor = 0;
    struct utsname kernel;

    assert_int_equal(uname(&kernel), 0);
    /* No number in a release is too large for it. NOLINTNEXTLINE(cert-err34-c) */
    assert_int_equal(sscanf(kernel.release, "%u.%u", &major, &minor), 2);
    if (major > 6 || (major == 6 && minor >= 8))
        return true;
    print_message("skipped: Linux %s does not list bound sockets, 6.8 does\n", kernel.release);
    return false;
}

static void bound_socket_is_seen(void **state)
{
    struct tw_endpoint local = at("127.0.0.1", 0), other = local;
    struct rows rows;
    int a, b;

    (void)state;
    if (!lists_bound_sockets())
        skip();
    a = bound_socket(&local, true);
    b = bound_socket(&other, true);
    /* The kernel's plain filter lets every bound socket through; only the one asked for may come.
     */
    rows = rows_of(AF_INET, TW_STATE_MASK(TCP_CLOSE), tw_endpoint_port(&local));
    assert_int_equal(rows.count, 1);
    assert_int_equal(rows.row[0].state, TCP_CLOSE);
    assert_true(same(&rows.row[0].local, &local));
    assert_int_not_equal(rows.row[0].inode, 0);
    assert_int_equal(rows_of(AF_INET, TW_STATE_MASK(TCP_LISTEN), 0).count, 0);
    close(a);
    close(b);
}

/* --- tw_counters_read()
 * --------------------------------------------------------------------------- */

static int64_t counter(const char *name)
{
    struct tw_counters counters;
    struct tw_error error = {0};

    if (tw_counters_read(&counters, &error))
        fail_msg("%s", error.text);
    for (size_t i = 0; tw_counter_name(i); i++)
        if (strcmp(tw_counter_name(i), name) == 0)
            return counters.values[i];
    fail_msg("no counter %s", name);
    return -1;
}

static void counters_have_names_and_values(void **state)
{
    struct tw_counters counters;
    size_t i;

    (void)state;
    assert_int_equal(tw_counters_read(&counters, NULL), 0);
    for (i = 0; tw_counter_name(i); i++) {
        assert_true(strlen(tw_counter_meaning(i)) > 10);
        if (counters.values[i] < 0)
            print_message("this kernel has no %s\n", tw_counter_name(i));
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(tw_counter_name(i), tw_counter_name(j));
    }
    assert_int_equal(i, TW_COUNTERS);
    assert_null(tw_counter_meaning(i));
    assert_true(counter("AttemptFails") >= 0);
    assert_true(counter("ListenOverflows") >= 0);
}

static void refused_connection_counts(void **state)
{
    struct tw_endpoint nobody = at("127.0.0.1", 9);
    int64_t fails = counter("AttemptFails"), resets = counter("OutRsts");
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)state;
    assert_int_equal(connect(fd, &nobody.sa, tw_endpoint_len(&nobody)), -1);
    assert_int_equal(errno, ECONNREFUSED);
    close(fd);
    assert_int_equal(counter("AttemptFails"), fails + 1);
    assert_int_equal(counter("OutRsts"), resets + 1);
}

static void reset_at_close_counts(void **state)
{
    struct tw_endpoint local = at("127.0.0.1", 0);
    int fd = listener(&local, true);
    struct connection c = connection_to(fd, &local);
    int64_t aborts = counter("TCPAbortOnData"), resets = counter("EstabResets");
    struct linger now = {.l_onoff = 1, .l_linger = 0};

    (void)state;
    assert_int_equal(setsockopt(c.client, SOL_SOCKET, SO_LINGER, &now, sizeof(now)), 0);
    close(c.client);
    assert_int_equal(counter("TCPAbortOnData"), aborts + 1);
    assert_true(counter("EstabResets") > resets);
    close(c.server);
    close(fd);
}

/* Twice the same tuple, by an explicit port: the second connection takes over the TIME_WAIT. */
static void time_wait_takeover_counts(void **state)
{
    struct tw_endpoint local = at("127.0.0.1", 0);
    int fd = listener(&local, true), on = 1;
    int64_t taken_over = counter("TWRecycled");
    struct tw_endpoint source = at("127.0.0.1", 31000);
    struct connection c = {.server_end = local, .client_end = source};

    (void)state;
    for (int round = 0; round < 2; round++) {
        c.client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(setsockopt(c.client, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)), 0);
        assert_int_equal(bind(c.client, &source.sa, tw_endpoint_len(&source)), 0);
        assert_int_equal(connect(c.client, &local.sa, tw_endpoint_len(&local)), 0);
        c.server = accept(fd, NULL, NULL);
        close_client_first(&c);
        await_row(&source, TCP_TIME_WAIT);
    }
    assert_int_equal(counter("TWRecycled"), taken_over + 1);
    close(fd);
}

static void overflow_of_listener_counts(void **state)
{
    struct tw_endpoint local = at("127.0.0.1", 0);
    int fd = bound_socket(&local, true), clients[8];
    int64_t overflows = counter("ListenOverflows"), drops = counter("ListenDrops");

    (void)state;
    assert_int_equal(listen(fd, 1), 0);
    for (size_t i = 0; i < 8; i++) {
        clients[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        (void)!connect(clients[i], &local.sa, tw_endpoint_len(&local));
    }
    assert_true(counter("ListenOverflows") > overflows);
    assert_true(counter("ListenDrops") > drops);
    for (size_t i = 0; i < 8; i++)
        close(clients[i]);
    close(fd);
}

/* --- interfaces
 * ----------------------------------------------------------------------------------- */

static bool interface_has(const char *name, const struct tw_endpoint *address)
{
    struct tw_endpoint *list;
    int count = tw_interface_addresses(name, &list, NULL);
    bool found = false;

    assert_true(count >= 0);
    for (int i = 0; i < count; i++) {
        assert_int_equal(tw_endpoint_port(&list[i]), 0);
        found = found || tw_endpoint_same_address(&list[i], address);
    }
    free(list);
    return found;
}

static bool can_bind(const struct tw_endpoint *address)
{
    int fd = socket(address->sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int rc = bind(fd, &address->sa, tw_endpoint_len(address));

    close(fd);
    return rc == 0;
}

static void check_add_and_remove(const char *name, const char *text)
{
    struct tw_endpoint address = at(text, 0);
    struct tw_error error = {0};

    assert_false(tw_address_is_local(&address));
    assert_false(can_bind(&address));
    assert_int_equal(tw_interface_remove(name, &address, NULL), -EADDRNOTAVAIL);
    if (tw_interface_add(name, &address, &error))
        fail_msg("%s", error.text);
    assert_true(tw_address_is_local(&address));
    assert_true(can_bind(&address)); /* at once: not tentative */
    assert_true(interface_has(name, &address));
    assert_int_equal(tw_interface_add(name, &address, &error), -EEXIST);
    assert_non_null(strstr(error.text, text));
    assert_int_equal(tw_interface_remove(name, &address, NULL), 0);
    assert_false(tw_address_is_local(&address));
    assert_false(interface_has(name, &address));
    memset(&error, 0, sizeof(error));
    assert_int_equal(tw_interface_remove(name, &address, &error), -EADDRNOTAVAIL);
    assert_non_null(strstr(error.text, text));
}

static void address_is_added_and_removed(void **state)
{
    (void)state;
    check_add_and_remove("lo", "10.77.0.1");
    check_add_and_remove("lo", "fd77::1");
}

/* On lo the kernel never looks for duplicates; on a bridge it does, and the address is tentative
 * until then. */
static void new_address_is_usable_at_once(void **state)
{
    char name[IFNAMSIZ] = "twbr0";
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    (void)state;
    if (ioctl(fd, SIOCBRADDBR, name)) {
        print_message("skipped: no bridge can be made here: %s\n", strerror(errno));
        close(fd);
        skip();
    }
    close(fd);
    assert_int_equal(set_link(name, true), 0);
    check_add_and_remove(name, "10.78.0.1");
    check_add_and_remove(name, "fd78::1");
}

/* An address that the host has under a wider prefix is neither doubled nor taken away. */
static void wider_prefix_is_left_alone(void **state)
{
    struct tw_endpoint home = at("127.0.0.1", 0);

    (void)state;
    assert_int_equal(tw_interface_add("lo", &home, NULL), -EEXIST);
    assert_int_equal(tw_interface_remove("lo", &home, NULL), -EADDRNOTAVAIL);
    assert_true(interface_has("lo", &home));
}

static void bad_requests_are_refused(void **state)
{
    struct tw_endpoint address = at("10.77.0.1", 0), any = at("0.0.0.0", 0);
    struct tw_endpoint *list = NULL;
    struct tw_error error = {0};

    (void)state;
    assert_int_equal(tw_interface_addresses("no-such-if", &list, &error), -ENODEV);
    assert_null(list);
    assert_non_null(strstr(error.text, "no-such-if"));
    assert_int_equal(tw_interface_add("no-such-if", &address, NULL), -ENODEV);
    assert_int_equal(tw_interface_remove("no-such-if", &address, NULL), -ENODEV);
    assert_int_equal(tw_interface_add("lo", &any, NULL), -EINVAL);
}

static void locality(void **state)
{
    static const struct {
        const char *address;
        bool local;
    } cases[] = {
        {"127.0.0.1", true}, {"127.9.8.7", true},  {"0.0.0.0", true},    {"::", true},
        {"::1", true},       {"192.0.2.1", false}, {"128.0.0.1", false}, {"2001:db8::1", false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tw_endpoint address = at(cases[i].address, 0);

        assert_int_equal(tw_address_is_local(&address), cases[i].local);
        assert_int_equal(can_bind(&address), cases[i].local); /* the kernel agrees */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(listener_is_seen),
        cmocka_unit_test(connection_and_time_wait_are_seen),
        cmocka_unit_test(local_port_filters),
        cmocka_unit_test(visitor_stops),
        cmocka_unit_test(wrong_family_is_refused),
        cmocka_unit_test(long_list_is_whole),
        cmocka_unit_test(bound_socket_is_seen),
        cmocka_unit_test(counters_have_names_and_values),
        cmocka_unit_test(refused_connection_counts),
        cmocka_unit_test(reset_at_close_counts),
        cmocka_unit_test(time_wait_takeover_counts),
        cmocka_unit_test(overflow_of_listener_counts),
        cmocka_unit_test(address_is_added_and_removed),
        cmocka_unit_test(new_address_is_usable_at_once),
        cmocka_unit_test(wider_prefix_is_left_alone),
        cmocka_unit_test(bad_requests_are_refused),
        cmocka_unit_test(locality),
    };
    int rc = enter_private_network();

    return rc ? rc : cmocka_run_group_tests_name("facts", tests, NULL, NULL);
}
