/*
 * The choice of ports in shared memory, and which rule fits. No sockets: the memory is the test's
 * own.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <cmocka.h>

#include "ring.h"
#include "rule_match.h"

enum { LANES = 4, PORTS = 100, FIRST = 5000 };

static struct shim_shared *shared;
static struct ring ring;

static int set_up(void **state)
{
    size_t size = shim_size(LANES, PORTS);

    (void)state;
    shared = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(shared, MAP_FAILED);
    shared->magic = SHIM_MAGIC;
    shared->version = SHIM_VERSION;
    shared->lane_count = LANES;
    shared->port_count = PORTS;
    for (int i = 0; i < PORTS; i++)
        shared->ports[i] = (uint16_t)(FIRST + i);
    assert_true(ring_init(&ring, shared, size));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    return munmap(shared, shim_size(LANES, PORTS));
}

static struct endpoint at(const char *text, uint16_t port)
{
    struct endpoint endpoint = {.port = port};

    endpoint.family = strchr(text, ':') ? AF_INET6 : AF_INET;
    assert_int_equal(inet_pton(endpoint.family, text, endpoint.address), 1);
    return endpoint;
}

static struct ring_search search_at(uint32_t now_s)
{
    struct endpoint to = at("10.0.0.1", 80), any = at("0.0.0.0", 0);
    struct ring_search search;

    ring_begin(&search, &ring, &to, &any);
    search.now_s = now_s;
    return search;
}

/* How many ports can be had at this time; each is given back as it was used. */
static int count_at(uint32_t now_s)
{
    struct ring_search search = search_at(now_s);
    struct ring_place place;
    int count = 0;

    for (; ring_take(&search, &place); count++)
        ring_done(&place);
    return count;
}

static struct ring_place take_port(struct ring_search *search, uint16_t port)
{
    struct ring_place place;

    for (;;) {
        assert_true(ring_take(search, &place));
        if (place.port == port)
            return place;
        ring_done(&place);
    }
}

static void every_port_comes_once(void **state)
{
    struct ring_search search = search_at(10);
    bool seen[PORTS] = {false};
    struct ring_place place;

    (void)state;
    for (int i = 0; i < PORTS; i++) {
        assert_true(ring_take(&search, &place));
        assert_in_range(place.port, FIRST, FIRST + PORTS - 1);
        assert_false(seen[place.port - FIRST]);
        assert_false(place.used);
        seen[place.port - FIRST] = true;
        ring_done(&place);
    }
    assert_false(ring_take(&search, &place));
    search = search_at(10);
    assert_true(ring_take(&search, &place));
    assert_true(place.used);
}

static void a_claim_is_nobody_elses_and_runs_out(void **state)
{
    struct ring_search search = search_at(10);
    struct ring_place place;

    (void)state;
    assert_true(ring_take(&search, &place));
    assert_int_equal(count_at(10), PORTS - 1);
    assert_int_equal(count_at(11), PORTS - 1);
    assert_int_equal(count_at(12), PORTS);
    /* The late owner changes nothing that is another's by now. */
    search = search_at(12);
    place = take_port(&search, FIRST);
    assert_true(place.used);
    place.mine ^= 1;
    ring_done(&place);
    assert_int_equal(count_at(13), PORTS - 1);
}

static void refusals_double_the_time(void **state)
{
    uint32_t now_s = 4000; /* crosses the end of the marks' clock, 4096 s, on the way */
    struct ring_place place;

    (void)state;
    assert_int_equal(count_at(now_s), PORTS);
    for (int wait_s = 1; wait_s <= 128; wait_s *= 2) {
        struct ring_search search = search_at(now_s);

        place = take_port(&search, FIRST + 7);
        ring_refuse(&search, &place, 0);
        assert_int_equal(count_at(now_s + (uint32_t)wait_s - 1), PORTS - 1);
        now_s += (uint32_t)wait_s;
    }
    assert_int_equal(count_at(now_s), PORTS);
}

static void a_time_is_kept_and_bounded(void **state)
{
    struct ring_search search = search_at(20);
    struct ring_place place;

    (void)state;
    assert_true(ring_take(&search, &place));
    ring_refuse(&search, &place, 60);
    assert_int_equal(count_at(79), PORTS - 1);
    assert_int_equal(count_at(80), PORTS);
    search = search_at(100);
    assert_true(ring_take(&search, &place));
    ring_refuse(&search, &place, 4000);
    assert_int_equal(count_at(229), PORTS - 1);
    assert_int_equal(count_at(230), PORTS);
}

static void some_ports_are_left_out(void **state)
{
    struct ring_search search = search_at(1);
    struct ring_place place;
    int count = 0;

    (void)state;
    search.first = FIRST + 10;
    search.last = FIRST + 19;
    search.avoid = FIRST + 15;
    for (; ring_take(&search, &place); count++) {
        assert_in_range(place.port, FIRST + 10, FIRST + 19);
        assert_int_not_equal(place.port, FIRST + 15);
    }
    assert_int_equal(count, 9);
}

static void what_is_known_is_of_the_lane(void **state)
{
    struct endpoint source = at("10.0.0.9", 0), to = at("10.0.0.1", 81), any = at("0.0.0.0", 0),
                    got;
    struct ring_search search = search_at(1), other;
    enum shim_takeover takeover;

    (void)state;
    assert_false(ring_known(&search, AF_INET, &got, &takeover));
    ring_learn(&search, &source, SHIM_TAKEOVER_NO);
    assert_true(ring_known(&search, AF_INET, &got, &takeover));
    assert_int_equal(takeover, SHIM_TAKEOVER_NO);
    assert_memory_equal(got.address, source.address, sizeof(got.address));
    ring_begin(&other, &ring, &to, &any);
    other.lane = search.lane; /* as if they collided */
    assert_false(ring_known(&other, AF_INET, &got, &takeover));
}

/* Processes that take and give back at once, one of them killed: never one port for two, and
 * nothing stays away. */
static void processes_do_not_meet(void **state)
{
    enum { PROCESSES = 4, ROUNDS = 20000 };
    _Atomic int *held = mmap(NULL, PORTS * sizeof(*held), PROT_READ | PROT_WRITE,
                             MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t pids[PROCESSES];
    int status;

    (void)state;
    assert_ptr_not_equal(held, MAP_FAILED);
    for (int p = 0; p < PROCESSES; p++) {
        pids[p] = fork();
        assert_true(pids[p] >= 0);
        for (int i = 0; pids[p] == 0 && (i < ROUNDS || p == 0); i++) {
            struct ring_search search = search_at(5);
            struct ring_place place;

            if (!ring_take(&search, &place))
                _exit(2);
            if (atomic_fetch_add(&held[place.port - FIRST], 1) != 0)
                _exit(3);
            atomic_fetch_sub(&held[place.port - FIRST], 1);
            ring_done(&place);
        }
        if (pids[p] == 0)
            _exit(0);
    }
    for (int p = PROCESSES - 1; p >= 0; p--) {
        if (p == 0)
            kill(pids[0], SIGKILL);
        assert_int_equal(waitpid(pids[p], &status, 0), pids[p]);
        if (p != 0)
            assert_int_equal(status, 0);
        else
            assert_true(WIFSIGNALED(status));
    }
    assert_int_equal(count_at(8), PORTS);
    munmap(held, PORTS * sizeof(*held));
}

static void a_bad_file_is_refused(void **state)
{
    size_t size = shim_size(LANES, PORTS);
    struct ring other;

    (void)state;
    assert_false(ring_init(&other, shared, size - 1));
    shared->lane_count = 3;
    assert_false(ring_init(&other, shared, size));
    shared->lane_count = 0x80000000u;
    assert_false(ring_init(&other, shared, size));
    shared->lane_count = LANES;
    shared->version++;
    assert_false(ring_init(&other, shared, size));
    shared->version--;
    assert_true(ring_init(&other, shared, size));
}

static void the_first_rule_that_fits_decides(void **state)
{
    struct endpoint inside = at("10.1.2.3", 443), outside = at("10.3.0.1", 443),
                    v6 = at("2001:db8::1", 22);
    struct shim_rule *rules = shared->rules;

    (void)state;
    rules[0] = (struct shim_rule){.direction = RULE_OUT,
                                  .family = AF_INET,
                                  .first = {10, 1},
                                  .last = {10, 2, 255, 255},
                                  .port_first = 400,
                                  .port_last = 500};
    rules[1] = (struct shim_rule){
        .direction = RULE_OUT, .port_first = 443, .port_last = 443, .leave = true};
    rules[2] =
        (struct shim_rule){.direction = RULE_IN | RULE_OUT, .protocol = IPPROTO_TCP, .late = true};
    shared->rule_count = 3;
    assert_ptr_equal(rule_find(shared, RULE_OUT, IPPROTO_TCP, &inside), &rules[0]);
    assert_null(rule_find(shared, RULE_OUT, IPPROTO_TCP, &outside));
    assert_ptr_equal(rule_find(shared, RULE_IN, IPPROTO_TCP, &inside), &rules[2]);
    assert_ptr_equal(rule_find(shared, RULE_OUT, IPPROTO_TCP, &v6), &rules[2]);
    assert_null(rule_find(shared, RULE_OUT, IPPROTO_UDP, &v6));
    inside.port = 399;
    assert_ptr_equal(rule_find(shared, RULE_OUT, IPPROTO_TCP, &inside), &rules[2]);
    assert_false(rule_wants_late(shared));
    rules[0].late = true;
    assert_true(rule_wants_late(shared));
    rules[0].leave = true;
    assert_true(rule_wants_late(shared)); /* of the last */
}

static void addresses_have_one_form(void **state)
{
    struct sockaddr_in6 mapped = {.sin6_family = AF_INET6, .sin6_port = htons(7)};
    union socket_address address;
    struct endpoint got, v4 = at("192.0.2.1", 7), v6 = at("fe80::1", 7);

    (void)state;
    inet_pton(AF_INET6, "::ffff:192.0.2.1", &mapped.sin6_addr);
    assert_true(endpoint_read(&got, (struct sockaddr *)&mapped, sizeof(mapped)));
    assert_memory_equal(&got, &v4, sizeof(got));
    assert_int_equal(endpoint_write(&got, AF_INET6, &address), sizeof(mapped));
    assert_memory_equal(&address.v6, &mapped, sizeof(mapped));
    assert_int_equal(endpoint_write(&v6, AF_INET, &address), 0);
    assert_false(endpoint_read(&got, (struct sockaddr *)&mapped, 16));
    assert_false(endpoint_read(&got, NULL, 28));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_port_comes_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_claim_is_nobody_elses_and_runs_out, set_up, tear_down),
        cmocka_unit_test_setup_teardown(refusals_double_the_time, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_time_is_kept_and_bounded, set_up, tear_down),
        cmocka_unit_test_setup_teardown(some_ports_are_left_out, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_known_is_of_the_lane, set_up, tear_down),
        cmocka_unit_test_setup_teardown(processes_do_not_meet, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_bad_file_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_first_rule_that_fits_decides, set_up, tear_down),
        cmocka_unit_test(addresses_have_one_form),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
