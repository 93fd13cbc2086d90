/* Targets as typed, requests as sent, turns, lanes; and the arithmetic of the budget and the search
 * for the peak. Only numeric hosts are used: no name server is asked. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "budget.h"
#include "peak.h"
#include "workload.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define TEN          "0123456789"
#define HUNDRED      TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN

static void add_target(struct workload *workload, const char *text)
{
    struct tw_error error = {0};

    if (workload_add_target(workload, text, AF_UNSPEC, &error))
        fail_msg("'%s': %s", text, error.text);
}

static struct tw_endpoint source(const char *address)
{
    struct tw_endpoint endpoint;

    assert_int_equal(tw_address_parse(tw_view_of(address), &endpoint, NULL), 0);
    return endpoint;
}

/* --- targets ---------------------------------------------------------------------------------- */

static void test_targets(void **state)
{
    static const struct {
        const char *text;
        enum protocol protocol;
        const char *endpoint;
        unsigned weight;
        const char *request; /* line and Host; NULL: none */
    } samples[] = {
        {"http://10.0.0.1", PROTOCOL_HTTP, "10.0.0.1:80", 1, "GET / HTTP/1.1\r\nHost: 10.0.0.1"},
        {"http://10.0.0.1/", PROTOCOL_HTTP, "10.0.0.1:80", 1, "GET / HTTP/1.1\r\nHost: 10.0.0.1"},
        {"http://10.0.0.1:8080/a/b?c=d&e#weight=3", PROTOCOL_HTTP, "10.0.0.1:8080", 3,
         "GET /a/b?c=d&e HTTP/1.1\r\nHost: 10.0.0.1:8080"},
        {"http://10.0.0.1?q", PROTOCOL_HTTP, "10.0.0.1:80", 1,
         "GET /?q HTTP/1.1\r\nHost: 10.0.0.1"},
        {"http://10.0.0.1:1/a:b@c", PROTOCOL_HTTP, "10.0.0.1:1", 1,
         "GET /a:b@c HTTP/1.1\r\nHost: 10.0.0.1:1"},
        {"http://[::1]", PROTOCOL_HTTP, "[::1]:80", 1, "GET / HTTP/1.1\r\nHost: [::1]"},
        {"http://[fd00::2]:65535/x", PROTOCOL_HTTP, "[fd00::2]:65535", 1,
         "GET /x HTTP/1.1\r\nHost: [fd00::2]:65535"},
        {"tcp://127.0.0.1:9", PROTOCOL_TCP, "127.0.0.1:9", 1, NULL},
        {"tcp://[::1]:9#weight=1000", PROTOCOL_TCP, "[::1]:9", 1000, NULL},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(samples); i++) {
        struct workload workload = {.closing = CLOSING_CLIENT};
        char text[TW_ENDPOINT_TEXT_MAX], *request;

        add_target(&workload, samples[i].text);
        assert_int_equal(workload.target_count, 1);
        assert_int_equal(workload.targets->protocol, samples[i].protocol);
        assert_string_equal(tw_endpoint_format(&workload.targets->endpoint, text),
                            samples[i].endpoint);
        assert_int_equal(workload.targets->weight, samples[i].weight);
        assert_string_equal(workload.targets->text, samples[i].text);
        if (samples[i].request) {
            assert_true(
                asprintf(&request, "%s\r\nUser-Agent: tidewait\r\n\r\n", samples[i].request) > 0);
            assert_int_equal(workload.targets->request_len, strlen(request));
            assert_string_equal(workload.targets->request, request);
            free(request);
        } else {
            assert_null(workload.targets->request);
        }
        workload_fini(&workload);
    }
}

static const struct {
    const char *text;
    const char *expect;
} bad_targets[] = {
    {"", "'' is not a target"},
    {"10.0.0.1:80", "'10.0.0.1:80' is not a target"},
    {"ftp://10.0.0.1", "'ftp://10.0.0.1' is not a target"},
    {"HTTP://10.0.0.1", "is not a target"},
    {"http:/10.0.0.1", "is not a target"},
    {"https://10.0.0.1/", "TLS is not supported yet"},
    {"http://", "names no host"},
    {"http:///x", "names no host"},
    {"http://:80/", "names no host"},
    {"http://[]:80/", "names no host"},
    {"http://" HUNDRED HUNDRED HUNDRED "/", "names no host"},
    {"tcp://10.0.0.1", "'tcp://10.0.0.1' lacks a port"},
    {"tcp://[::1]", "lacks a port"},
    {"tcp://10.0.0.1:", "a number is missing"},
    {"tcp://10.0.0.1:80/", "a tcp target has no path"},
    {"tcp://10.0.0.1:80?x", "a tcp target has no path"},
    {"http://10.0.0.1:70000", "port '70000' is outside 1..65535"},
    {"http://10.0.0.1:0/", "port '0' is outside"},
    {"http://10.0.0.1:-1/", "port '-1'"},
    {"http://10.0.0.1:x/", "port 'x' is not a number"},
    {"http://::1/", "write an IPv6 address in brackets"},
    {"http://::1:80/", "write an IPv6 address in brackets"},
    {"http://[::1/", "write an IPv6 address in brackets"},
    {"http://10.0.0.1:80:80/", "write an IPv6 address in brackets"},
    {"http://user@10.0.0.1/", "user names and passwords are not supported"},
    {"http://user:secret@10.0.0.1:80/", "user names and passwords are not supported"},
    {"tcp://user@10.0.0.1:80", "user names and passwords are not supported"},
    {"http://10.0.0.1/a b", "contains a blank or control character"},
    {"http:// 10.0.0.1/", "contains a blank or control character"},
    {"http://10.0.0.1/\r\nX: y", "contains a blank or control character"},
    {"http://10.0.0.1/\x7f", "contains a blank or control character"},
    {"http://10.0.0.1/#top", "only weight=N is known"},
    {"http://10.0.0.1/#", "only weight=N is known"},
    {"http://10.0.0.1/#weight", "missing"},
    {"http://10.0.0.1/#weight=", "missing"},
    {"http://10.0.0.1/#weight=0", "weight '0' is outside 1..1000"},
    {"http://10.0.0.1/#weight=1001", "weight '1001' is outside"},
    {"http://10.0.0.1/#weight=-1", "weight '-1'"},
    {"http://10.0.0.1/#weight=1#weight=2", "weight '1#weight=2'"},
    {"http://10.0.0.1/#weight= 1", "weight ' 1'"},
};

static void test_bad_targets(void **state)
{

    (void)state;
    for (size_t i = 0; i < COUNT(bad_targets); i++) {
        struct workload workload = {0};
        struct tw_error error = {0};
        int rc = workload_add_target(&workload, bad_targets[i].text, AF_UNSPEC, &error);

        if (rc != -EINVAL || !strstr(error.text, bad_targets[i].expect) || strchr(error.text, '\n'))
            fail_msg("'%s': %d '%s'", bad_targets[i].text, rc, error.text);
        assert_int_equal(workload.target_count, 0);
        workload_fini(&workload);
    }
}

/* A host of the other family than -4 or -6 asks for. */
static void test_family(void **state)
{
    struct workload workload = {0};
    struct tw_error error = {0};

    (void)state;
    assert_int_equal(workload_add_target(&workload, "http://[::1]/", AF_INET, &error), -EINVAL);
    assert_non_null(strstr(error.text, "'::1' cannot be resolved"));
    assert_int_equal(workload_add_target(&workload, "http://127.0.0.1/", AF_INET6, NULL), -EINVAL);
    assert_int_equal(workload_add_target(&workload, "http://127.0.0.1/", AF_INET, NULL), 0);
    assert_int_equal(workload_add_target(&workload, "http://[::1]/", AF_INET6, NULL), 0);
    assert_int_equal(workload.target_count, 2);
    workload_fini(&workload);
}

/* Only where the server is to close first does the last request ask for it. */
static void test_last_request(void **state)
{
#define BEGIN "GET /x HTTP/1.1\r\nHost: 10.0.0.1:8080\r\nUser-Agent: tidewait\r\n"
    static const char *const last[] = {
        [CLOSING_CLIENT] = BEGIN "\r\n",
        [CLOSING_SERVER] = BEGIN "Connection: close\r\n\r\n",
        [CLOSING_RESET] = BEGIN "\r\n",
        [CLOSING_HALF] = BEGIN "\r\n",
    };

    (void)state;
    for (size_t i = 0; i < COUNT(last); i++) {
        struct workload workload = {.closing = (enum closing)i};

        add_target(&workload, "http://10.0.0.1:8080/x");
        assert_string_equal(workload.targets->request, BEGIN "\r\n");
        assert_string_equal(workload.targets->last_request, last[i]);
        assert_int_equal(workload.targets->last_request_len, strlen(last[i]));
        workload_fini(&workload);
    }
#undef BEGIN
}

/* --- turns, lanes, ports ---------------------------------------------------------------------- */

static void prepare(struct workload *workload, const struct tw_endpoint *sources, size_t count,
                    const char *ports)
{
    struct tw_ports *set = calloc(1, sizeof(*set));
    struct tw_error error = {0};

    assert_non_null(set);
    assert_int_equal(tw_ports_parse(tw_view_of(ports), set, NULL), 0);
    if (workload_prepare(workload, sources, count, set, "hi\0there", 8, &error))
        fail_msg("%s", error.text);
    free(set);
}

static void test_turns(void **state)
{
    static const struct {
        unsigned weights[3];
        const char *turns;
    } samples[] = {
        {{1, 1, 1}, "abc"},     {{1}, "a"},         {{1000}, NULL},   {{2, 1}, "aba"},
        {{5, 1, 1}, "aabacaa"}, {{3, 3}, "ababab"}, {{1, 999}, NULL}, {{4, 3, 2}, "abcabacba"},
    };
    struct tw_endpoint from = source("127.0.0.1");

    (void)state;
    for (size_t i = 0; i < COUNT(samples); i++) {
        struct workload workload = {0};
        unsigned sum = 0, seen[3] = {0};

        for (int t = 0; t < 3 && samples[i].weights[t]; t++) {
            char text[64];

            snprintf(text, sizeof(text), "tcp://127.0.0.1:%d#weight=%u", 80 + t,
                     samples[i].weights[t]);
            add_target(&workload, text);
            sum += samples[i].weights[t];
        }
        prepare(&workload, &from, 1, "1000-1999");
        assert_int_equal(workload.turn_count, sum);
        for (size_t n = 0; n < sum; n++) {
            if (samples[i].turns && workload.turns[n] != (uint32_t)(samples[i].turns[n] - 'a'))
                fail_msg("sample %zu: turn %zu goes to target %u", i, n, workload.turns[n]);
            seen[workload.turns[n]]++;
            /* Smooth: at each turn each target has had its share, within one. */
            for (size_t t = 0; t < workload.target_count; t++)
                assert_true(fabs(seen[t] - (double)(n + 1) * samples[i].weights[t] / sum) <= 1);
        }
        for (int t = 0; t < 3; t++)
            assert_int_equal(seen[t], samples[i].weights[t]);
        workload_fini(&workload);
    }
}

static void test_lanes(void **state)
{
    const struct tw_endpoint sources[] = {source("10.0.0.1"), source("fd00::1"),
                                          source("10.0.0.2")};
    static const struct {
        uint32_t target;
        const char *source;
    } want[] = {{0, "10.0.0.1"}, {0, "10.0.0.2"}, {1, "fd00::1"}, {2, "10.0.0.1"}, {2, "10.0.0.2"}};
    struct workload workload = {0};
    char text[TW_ENDPOINT_TEXT_MAX];

    (void)state;
    add_target(&workload, "http://10.0.0.9:8080/");
    add_target(&workload, "tcp://[fd00::9]:9");
    add_target(&workload, "tcp://10.0.0.9:1025");
    prepare(&workload, sources, COUNT(sources), "1024-1033,8080");
    assert_int_equal(workload.source_count, 3);
    assert_int_equal(workload.lane_count, COUNT(want));
    for (size_t i = 0; i < COUNT(want); i++) {
        assert_int_equal(workload.lanes[i].target, want[i].target);
        assert_string_equal(tw_endpoint_format(&workload.lanes[i].source, text), want[i].source);
    }
    assert_int_equal(workload.targets[0].lane_first, 0);
    assert_int_equal(workload.targets[0].lane_count, 2);
    assert_int_equal(workload.targets[1].lane_first, 2);
    assert_int_equal(workload.targets[1].lane_count, 1);
    assert_int_equal(workload.targets[2].lane_first, 3);
    assert_int_equal(workload.targets[2].lane_count, 2);
    /* 8080 and 1025 are targets: a robot that came from there would talk to itself. */
    assert_int_equal(workload.port_count, 9);
    for (uint32_t i = 0; i < workload.port_count; i++)
        assert_int_equal(workload.ports[i], i ? 1025 + i : 1024);
    /* --send goes to the tcp targets alone. */
    assert_non_null(strstr(workload.targets[0].request, "GET / "));
    for (int t = 1; t < 3; t++) {
        assert_int_equal(workload.targets[t].request_len, 8);
        assert_memory_equal(workload.targets[t].request, "hi\0there", 8);
        assert_int_equal(workload.targets[t].last_request_len, 8);
        assert_memory_equal(workload.targets[t].last_request, "hi\0there", 8);
    }
    workload_fini(&workload);
    assert_null(workload.targets);
}

static void test_routed_source(void **state)
{
    struct workload workload = {0};
    char text[TW_ENDPOINT_TEXT_MAX];

    (void)state;
    add_target(&workload, "tcp://127.0.0.1:9");
    prepare(&workload, NULL, 0, "1024-1033");
    assert_int_equal(workload.source_count, 1);
    assert_int_equal(workload.lane_count, 1);
    assert_string_equal(tw_endpoint_format(&workload.lanes->source, text), "127.0.0.1");
    workload_fini(&workload);
}

static void test_nothing_to_use(void **state)
{
    const struct tw_endpoint from = source("10.0.0.1");
    struct tw_ports *ports = calloc(1, sizeof(*ports));
    struct workload workload = {0};
    struct tw_error error = {0};

    (void)state;
    assert_non_null(ports);
    add_target(&workload, "tcp://[fd00::9]:9");
    tw_ports_add(ports, 9);
    assert_int_equal(workload_prepare(&workload, &from, 1, ports, NULL, 0, &error), -EINVAL);
    assert_non_null(strstr(error.text, "no source port is left"));
    error.code = 0;
    tw_ports_add(ports, 10);
    assert_int_equal(workload_prepare(&workload, &from, 1, ports, NULL, 0, &error), -EINVAL);
    assert_non_null(strstr(error.text, "no --from address is of the family of tcp://[fd00::9]:9"));
    workload_fini(&workload);
    free(ports);
}

/* --- budget ----------------------------------------------------------------------------------- */

static void test_budget(void **state)
{
    static const struct {
        enum closing closing;
        bool takeover;
        int64_t timestamps;
        uint32_t ports;
        double per_s; /* of 4 lanes */
        const char *reason, *advice;
    } samples[] = {
        {CLOSING_CLIENT, false, 0, 27001, 4 * 27001 / 62.2, "the client closes first",
         "net.ipv4.tcp_timestamps=1"},
        {CLOSING_HALF, false, 1, 27001, 4 * 27001 / 62.2, "the client half-closes first",
         "at the server as well"},
        {CLOSING_CLIENT, false, 1, 622, 40, "62.2 s", "--ports 1024-65535: 4149/s"},
        {CLOSING_CLIENT, false, 1, 64512, 4 * 64512 / 62.2, "62.2 s", "or use more addresses"},
        {CLOSING_CLIENT, true, 1, 27001, INFINITY, "taken over at once", ""},
        {CLOSING_HALF, true, 1, 27001, INFINITY, "taken over at once", ""},
        {CLOSING_SERVER, false, 0, 27001, INFINITY, "the server closes first", ""},
        {CLOSING_SERVER, true, 1, 27001, INFINITY, "the server closes first", ""},
        {CLOSING_RESET, false, 0, 27001, INFINITY, "connections end by reset", ""},
        {CLOSING_RESET, true, 1, 27001, INFINITY, "connections end by reset", ""},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(samples); i++) {
        struct workload workload = {.closing = samples[i].closing,
                                    .takeover = samples[i].takeover,
                                    .limits = {.timestamps = samples[i].timestamps},
                                    .lane_count = 4,
                                    .port_count = samples[i].ports};
        struct budget budget;
        bool limited = isfinite(samples[i].per_s);

        budget_compute(&workload, &budget);
        assert_int_equal(budget.lanes, 4);
        assert_int_equal(budget.ports_per_lane, samples[i].ports);
        assert_true(budget.tuples == 4ULL * samples[i].ports);
        assert_true(limited ? fabs(budget.per_s - samples[i].per_s) < 1e-6
                            : budget.per_s == INFINITY);
        assert_string_equal(budget.limited_by, limited ? "time-wait" : "none");
        if (!strstr(budget.reason, samples[i].reason) ||
            !strstr(budget.advice, samples[i].advice) || limited != (budget.advice[0] != 0))
            fail_msg("sample %zu: '%s' '%s'", i, budget.reason, budget.advice);
    }
}

/* Ports that connect() chooses: TIME_WAIT is waited for, or reused when it is old enough. */
static void test_budget_of_kernel(void **state)
{
    static const struct {
        enum closing closing;
        int64_t tw_reuse, timestamps, delay_ms;
        const char *target;
        double per_s; /* of 2 lanes x 1,241 ports */
    } samples[] = {
        {CLOSING_CLIENT, 0, 1, 1000, "tcp://127.0.0.1:9", 40},
        {CLOSING_HALF, 2, 1, 1000, "tcp://10.0.0.1:9", 40},
        {CLOSING_CLIENT, 1, 0, 1000, "tcp://10.0.0.1:9", 40},
        {CLOSING_CLIENT, 1, 1, 1000, "tcp://10.0.0.1:9", 2482},
        {CLOSING_CLIENT, 1, 1, 500, "tcp://10.0.0.1:9", 4964},
        {CLOSING_CLIENT, 2, 1, 1000, "tcp://127.1.2.3:9", 2482},
        {CLOSING_CLIENT, 2, 1, 1000, "tcp://[::1]:9", 2482},
        {CLOSING_CLIENT, 2, 1, 1000, "tcp://[::2]:9", 40},
        {CLOSING_SERVER, 0, 1, 1000, "tcp://10.0.0.1:9", INFINITY},
        {CLOSING_RESET, 0, 0, 1000, "tcp://10.0.0.1:9", INFINITY},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(samples); i++) {
        struct workload workload = {.closing = samples[i].closing,
                                    .kernel_ports = true,
                                    .limits = {.timestamps = samples[i].timestamps,
                                               .tw_reuse = samples[i].tw_reuse,
                                               .tw_reuse_delay_ms = samples[i].delay_ms},
                                    .lane_count = 2,
                                    .port_count = 1241};
        struct budget budget;

        add_target(&workload, samples[i].target);
        budget_compute(&workload, &budget);
        if (isfinite(samples[i].per_s) ? fabs(budget.per_s - samples[i].per_s) > 1e-6
                                       : isfinite(budget.per_s))
            fail_msg("sample %zu: %g (%s)", i, budget.per_s, budget.reason);
        assert_true(isfinite(budget.per_s) == (budget.advice[0] != 0));
        workload_fini(&workload);
    }
}

/* --- the search for the peak ------------------------------------------------------------------ */

/* A server that does what it can. Beyond its capacity it is slow, drops or refuses. */
struct server {
    double capacity;
    enum { LAGS, REFUSES, GETS_SLOW } beyond;
    double opened, completed; /* the fractions of a connection carried over */
};

static struct second serve(struct server *server, double rate, struct histogram *total)
{
    double done = server->beyond == GETS_SLOW ? rate : fmin(rate, server->capacity);
    struct second second = {.target_per_s = rate};

    server->opened += rate;
    server->completed += done;
    second.opened = (uint64_t)server->opened;
    second.completed = (uint64_t)server->completed;
    if (server->beyond == REFUSES && rate > server->capacity)
        second.failed = (uint64_t)ceil(rate - server->capacity);
    server->opened -= (double)second.opened;
    server->completed -= (double)second.completed;
    histogram_clear(total);
    histogram_record(total, rate > server->capacity ? 50000000 : 500000);
    return second;
}

/* The rate that the search finds, or -1 when it does not end in time. */
static double find_peak(struct server server, double from, const struct threshold *limit)
{
    struct histogram *total = malloc(sizeof(*total));
    struct peak *peak = calloc(1, sizeof(*peak));
    struct offer offer = {0};
    double best = -1;

    assert_true(total && peak);
    atomic_init(&offer.per_s, from);
    peak->offer = &offer;
    peak->limits = limit;
    peak->limit_count = limit ? 1 : 0;
    /* 40 doublings, or 40 ways down, and the halvings. */
    for (int i = 0; i < PEAK_STEP_S * (40 + PEAK_HALVINGS + 2) && best < 0; i++) {
        struct second second = serve(&server, atomic_load(&offer.per_s), total);

        if (peak_second(peak, &second, total))
            best = peak->best_per_s;
    }
    free(total);
    free(peak);
    return best;
}

static void test_peak(void **state)
{
    static const double capacities[] = {50, 999, 1000, 1001, 12345, 31000, 1e6};
    static const double starts[] = {1, 10, 1000, 1024, 64000, 5e6};
    struct threshold p99;

    (void)state;
    assert_int_equal(threshold_parse("p99>5ms", &p99, NULL), 0);
    for (size_t c = 0; c < COUNT(capacities); c++) {
        for (size_t s = 0; s < COUNT(starts); s++) {
            for (int beyond = LAGS; beyond <= GETS_SLOW; beyond++) {
                struct server server = {.capacity = capacities[c], .beyond = beyond};
                double best = find_peak(server, starts[s], beyond == GETS_SLOW ? &p99 : NULL);

                if (fabs(best - capacities[c]) > capacities[c] / 16)
                    fail_msg("capacity %g, from %g on, kind %d: %g", capacities[c], starts[s],
                             beyond, best);
            }
        }
    }
}

/* Neither a server that does nothing nor one without a limit keeps the search going for ever. */
static void test_peak_ends(void **state)
{
    (void)state;
    assert_true(find_peak((struct server){.capacity = 0}, 1000, NULL) == 0);
    assert_true(find_peak((struct server){.capacity = 0}, 1e9, NULL) == 0);
    assert_true(find_peak((struct server){.capacity = 0.1}, 0.01, NULL) >= 0);
    assert_true(find_peak((struct server){.capacity = 1e12}, 1000, NULL) > 0.9e12);
}

/* A step's first second, in which the rate changes, is not judged. */
static void test_peak_step(void **state)
{
    struct histogram *total = calloc(1, sizeof(*total));
    struct peak *peak = calloc(1, sizeof(*peak));
    struct second bad = {.failed = 100}, good = {.opened = 100, .completed = 100};
    struct offer offer = {0};

    (void)state;
    assert_true(total && peak);
    atomic_init(&offer.per_s, 100);
    peak->offer = &offer;
    assert_false(peak_second(peak, &bad, total));
    for (int i = 1; i < PEAK_STEP_S; i++) {
        assert_true(atomic_load(&offer.per_s) == 100);
        assert_false(peak_second(peak, &good, total));
    }
    assert_true(atomic_load(&offer.per_s) == 200);
    assert_true(peak->best_per_s == 100 && peak->missed_per_s == 0);
    for (int i = 0; i < PEAK_STEP_S; i++)
        assert_false(peak_second(peak, &good, total)); /* half of what is due */
    assert_true(peak->best_per_s == 100 && peak->missed_per_s == 200);
    assert_true(atomic_load(&offer.per_s) == 150);
    free(total);
    free(peak);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_targets),       cmocka_unit_test(test_bad_targets),
        cmocka_unit_test(test_family),        cmocka_unit_test(test_last_request),
        cmocka_unit_test(test_turns),         cmocka_unit_test(test_lanes),
        cmocka_unit_test(test_routed_source), cmocka_unit_test(test_nothing_to_use),
        cmocka_unit_test(test_budget),        cmocka_unit_test(test_budget_of_kernel),
        cmocka_unit_test(test_peak),          cmocka_unit_test(test_peak_ends),
        cmocka_unit_test(test_peak_step),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
