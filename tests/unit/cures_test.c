/* The cures of cures.h: each is what plan.h says of the changed host or workload, better than the
 * patient, the least that suffices, changed in one place, and told with the right numbers. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cures.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

struct case_ {
    struct plan_system system;
    struct plan_nat nat;
    struct plan_workload workload;
    struct plan_answer answer;
    struct plan_cure cures[PLAN_CURES];
    size_t count;
};

static void run_case(struct case_ *c)
{
    plan_answer(&c->system, &c->nat, &c->workload, &c->answer);
    c->count = plan_cures(&c->system, &c->nat, &c->workload, c->cures);
    assert_true(c->count <= PLAN_CURES);
}

static double sustained(const struct plan_answer *answer, const struct plan_workload *workload)
{
    return answer->sustainable_per_s * fmax(1, workload->requests);
}

static bool same(double a, double b)
{
    return a >= b && a <= b;
}

/* --- what was changed ---------------------------------------------------------------------------
 */

/* Every field that a cure may change, of a system, a gateway and a workload. */
enum field {
    F_PORTS,
    F_TIME_WAIT,
    F_REUSE,
    F_REUSE_POSSIBLE,
    F_TIME_WAITS,
    F_FILES,
    F_CONNTRACK,
    F_NAT_PORTS,
    F_REQUESTS,
    F_HOLD,
    F_CLOSING,
    F_CHOICE,
    F_SOURCES,
    F_DESTINATIONS,
    FIELDS,
};

static void list_fields(const struct plan_system *system, const struct plan_nat *nat,
                        const struct plan_workload *workload, double out[FIELDS])
{
    out[F_PORTS] = system->ports;
    out[F_TIME_WAIT] = system->time_wait_s;
    out[F_REUSE] = system->reuse_s;
    out[F_REUSE_POSSIBLE] = system->reuse_possible_s;
    out[F_TIME_WAITS] = system->time_waits;
    out[F_FILES] = system->files;
    out[F_CONNTRACK] = system->conntrack;
    out[F_NAT_PORTS] = nat->ports;
    out[F_REQUESTS] = workload->requests;
    out[F_HOLD] = distribution_mean(&workload->hold);
    out[F_CLOSING] = workload->closing;
    out[F_CHOICE] = workload->ports;
    out[F_SOURCES] = workload->sources;
    out[F_DESTINATIONS] = workload->destinations;
}

#define BIT(field) (1U << (field))

/* The number of a cure: which field, whether more of it is better, and how the text gives it. */
static const struct {
    const char *name;
    unsigned changes;
    enum field number; /* FIELDS: none */
    double in_text;    /* times the field */
} expected[PLAN_CURES] = {
    [PLAN_CURE_KEEP_ALIVE] = {"keep-alive", BIT(F_REQUESTS) | BIT(F_HOLD), F_REQUESTS, 1},
    [PLAN_CURE_SERVER_CLOSES] = {"server-closes", BIT(F_CLOSING), FIELDS, 1},
    [PLAN_CURE_MANAGED_PORTS] = {"managed-ports", BIT(F_CHOICE), FIELDS, 1},
    [PLAN_CURE_NO_PORT] = {"no-port", BIT(F_CHOICE), FIELDS, 1},
    [PLAN_CURE_TW_REUSE] = {"tw-reuse", BIT(F_REUSE), FIELDS, 1},
    [PLAN_CURE_REUSE_DELAY] = {"reuse-delay", BIT(F_REUSE) | BIT(F_REUSE_POSSIBLE), F_REUSE, 1e3},
    [PLAN_CURE_TIME_WAIT] = {"time-wait", BIT(F_TIME_WAIT), F_TIME_WAIT, 1},
    [PLAN_CURE_RANGE] = {"range", BIT(F_PORTS), F_PORTS, 1},
    [PLAN_CURE_SOURCES] = {"sources", BIT(F_SOURCES), F_SOURCES, 1},
    [PLAN_CURE_DESTINATIONS] = {"destinations", BIT(F_DESTINATIONS), F_DESTINATIONS, 1},
    [PLAN_CURE_FILES] = {"files", BIT(F_FILES), F_FILES, 1},
    [PLAN_CURE_TIME_WAITS] = {"time-waits", BIT(F_TIME_WAITS), F_TIME_WAITS, 1},
    [PLAN_CURE_CONNTRACK] = {"conntrack", BIT(F_CONNTRACK), F_CONNTRACK, 1},
    [PLAN_CURE_NAT] = {"nat", BIT(F_NAT_PORTS), F_NAT_PORTS, 1},
};

static void check_changes(const struct case_ *c, const struct plan_cure *cure)
{
    double before[FIELDS], after[FIELDS];

    list_fields(&c->system, &c->nat, &c->workload, before);
    list_fields(&cure->system, &cure->nat, &cure->workload, after);
    for (int i = 0; i < FIELDS; i++) {
        if (expected[cure->kind].changes & BIT(i))
            continue;
        if (!same(before[i], after[i]))
            fail_msg("'%s' changed field %d as well", cure->name, i);
    }
    /* Each request takes as long as before. */
    assert_true(fabs(after[F_HOLD] * before[F_REQUESTS] - before[F_HOLD] * after[F_REQUESTS]) <=
                1e-6 * after[F_HOLD] * before[F_REQUESTS] + 1e3);
    if (cure->kind == PLAN_CURE_NO_PORT)
        assert_int_equal(c->workload.ports, PLAN_PORTS_BIND);
    if (cure->kind == PLAN_CURE_SERVER_CLOSES)
        assert_int_equal(c->workload.closing, PLAN_CLOSING_CLIENT);
    assert_true(same(cure->workload.rate_per_s, c->workload.rate_per_s));
    assert_true(same(cure->workload.idle, c->workload.idle));
    assert_true(same(cure->system.ports_lost, c->system.ports_lost));
}

/* --- what is told -------------------------------------------------------------------------------
 */

/* Whether a number stands in the text, to the six digits that it gives at least. */
static bool tells(const char *text, double number)
{
    while (*text) {
        char *end;
        double value = strtod(text, &end);

        if (end == text) {
            text++;
            continue;
        }
        if (fabs(value - number) <= 1e-5 * fabs(number))
            return true;
        text = end;
    }
    return false;
}

static void check_text(const struct case_ *c, const struct plan_cure *cure)
{
    double before[FIELDS], after[FIELDS];
    enum field number = expected[cure->kind].number;

    assert_string_equal(cure->name, expected[cure->kind].name);
    assert_true(strlen(cure->what) > 10 && strlen(cure->what) < sizeof(cure->what) - 1);
    assert_true(strlen(cure->cost) > 10 && strlen(cure->cost) < sizeof(cure->cost) - 1);
    assert_null(strpbrk(cure->what, "\n\t"));
    assert_null(strstr(cure->what, "inf"));
    list_fields(&c->system, &c->nat, &c->workload, before);
    list_fields(&cure->system, &cure->nat, &cure->workload, after);
    if (number == FIELDS) {
        if (cure->kind == PLAN_CURE_TW_REUSE)
            assert_true(tells(cure->what, after[F_REUSE]));
        return;
    }
    if (!tells(cure->what, after[number] * expected[cure->kind].in_text) ||
        !tells(cure->what, before[number] * expected[cure->kind].in_text))
        fail_msg("'%s': not %g instead of %g", cure->what, after[number], before[number]);
}

/* --- what it is worth ---------------------------------------------------------------------------
 */

static void check_answer(const struct case_ *c, const struct plan_cure *cure)
{
    struct plan_answer answer;

    plan_answer(&cure->system, &cure->nat, &cure->workload, &answer);
    assert_true(same(answer.sustainable_per_s, cure->answer.sustainable_per_s));
    assert_true(same(answer.exhausted_s, cure->answer.exhausted_s));
    assert_true(same(answer.refused_random, cure->answer.refused_random));
    assert_int_equal(answer.suffices, cure->answer.suffices);
    assert_int_equal(answer.limited_by, cure->answer.limited_by);
    if (cure->kind == PLAN_CURE_TIME_WAITS)
        assert_true(answer.bounds[PLAN_LIMIT_TIME_WAITS].sustainable_per_s >
                    c->answer.bounds[PLAN_LIMIT_TIME_WAITS].sustainable_per_s);
    else
        assert_true(sustained(&answer, &cure->workload) > sustained(&c->answer, &c->workload));
    if (c->answer.suffices)
        assert_true(answer.suffices);
}

/* With one less it would not suffice. Those of which less is better are asked for one more. */
static void check_least(const struct case_ *c, const struct plan_cure *cure)
{
    struct plan_cure less = *cure;
    double *numbers[PLAN_CURES] = {
        [PLAN_CURE_REUSE_DELAY] = &less.system.reuse_s,
        [PLAN_CURE_RANGE] = &less.system.ports,
        [PLAN_CURE_SOURCES] = &less.workload.sources,
        [PLAN_CURE_DESTINATIONS] = &less.workload.destinations,
        [PLAN_CURE_FILES] = &less.system.files,
        [PLAN_CURE_TIME_WAITS] = &less.system.time_waits,
        [PLAN_CURE_CONNTRACK] = &less.system.conntrack,
        [PLAN_CURE_NAT] = &less.nat.ports,
    };
    double *number = numbers[cure->kind];

    if (!number)
        return;
    if (cure->kind == PLAN_CURE_REUSE_DELAY)
        assert_true(*number >= 0.001);
    else if (cure->kind != PLAN_CURE_NAT)
        assert_true(same(*number, floor(*number)));
    if (cure->kind == PLAN_CURE_RANGE)
        assert_true(*number <= c->system.ports_possible);
    *number -= cure->kind == PLAN_CURE_NAT           ? c->nat.ports
               : cure->kind == PLAN_CURE_REUSE_DELAY ? -0.001
                                                     : 1;
    plan_answer(&less.system, &less.nat, &less.workload, &less.answer);
    if (cure->kind == PLAN_CURE_TIME_WAITS)
        assert_true(less.answer.bounds[PLAN_LIMIT_TIME_WAITS].sustainable_per_s <
                    fmin(less.answer.connections_per_s, less.answer.sustainable_per_s));
    else if (cure->answer.suffices && !c->answer.suffices)
        assert_false(less.answer.suffices);
}

static void check_order(const struct case_ *c)
{
    for (size_t i = 1; i < c->count; i++) {
        const struct plan_cure *a = &c->cures[i - 1], *b = &c->cures[i];

        assert_true(a->answer.suffices || !b->answer.suffices);
        assert_int_not_equal(a->kind, b->kind);
        if (c->answer.suffices || !a->answer.suffices)
            assert_true(sustained(&a->answer, &a->workload) >= sustained(&b->answer, &b->workload));
    }
}

static double pick(struct random *random, const double *of, size_t count)
{
    return of[random_next(random) % count];
}

#define PICK(random, ...)                       \
    pick(random, (const double[]){__VA_ARGS__}, \
         sizeof((const double[]){__VA_ARGS__}) / sizeof(double))

static void draw(struct random *random, struct case_ *c)
{
    double hold = PICK(random, 0, 1e6, 2e8, 5e9, 3e11);

    c->system = (struct plan_system){
        .ports = PICK(random, 1, 100, 300),
        .ports_lost = PICK(random, 0, 0, 7, 1000),
        .ports_possible = PICK(random, 0, 400, 1000),
        .ports_shared = random_next(random) & 1,
        .halves = true,
        .time_wait_s = PICK(random, 30, 61, 240),
        .time_wait_possible_s = PICK(random, 0, 0, 2, 30),
        .reuse_s = PICK(random, 0.02, 1, INFINITY, INFINITY),
        .reuse_possible_s = PICK(random, 0.02, 1, INFINITY),
        .takeover = random_next(random) & 1,
        .time_waits = PICK(random, 10, 500, INFINITY, INFINITY),
        .files = PICK(random, 3, 100, INFINITY, INFINITY),
        .conntrack = PICK(random, 10, 1000, INFINITY, INFINITY),
        .conntrack_close_s = 120,
        .conntrack_reset_s = 10,
        .accept_queue = INFINITY,
    };
    c->nat = (struct plan_nat){
        .ports = PICK(random, 0, 0, 64, 1000),
        .hold_s = PICK(random, 0, 65),
        .hold_reset_s = PICK(random, 0, 16),
    };
    c->workload = (struct plan_workload){
        .rate_per_s = PICK(random, 0, 0.01, 1, 5, 20, 100, 3000),
        .hold = {(enum distribution_kind)(random_next(random) % 3), (uint64_t)hold,
                 (uint64_t)hold * 3},
        .requests = PICK(random, 1, 1, 2.5, 10),
        .closing = (enum plan_closing)(random_next(random) % 4 % 3),
        .ports = (enum plan_ports)(random_next(random) % 3),
        .sources = PICK(random, 1, 1, 3),
        .destinations = PICK(random, 1, 1, 4),
        .idle = PICK(random, 0, 0, 20),
    };
}

static void test_random(void **state)
{
    struct random random;
    int seen[PLAN_CURES] = {0}, cured[PLAN_CURES] = {0};

    (void)state;
    random_seed(&random, 7);
    for (int i = 0; i < 3000; i++) {
        struct case_ c;

        draw(&random, &c);
        run_case(&c);
        check_order(&c);
        for (size_t k = 0; k < c.count; k++) {
            check_changes(&c, &c.cures[k]);
            check_text(&c, &c.cures[k]);
            check_answer(&c, &c.cures[k]);
            check_least(&c, &c.cures[k]);
            seen[c.cures[k].kind]++;
            cured[c.cures[k].kind] += c.cures[k].answer.suffices && !c.answer.suffices;
        }
    }
    for (int kind = 0; kind < PLAN_CURES; kind++) {
        if (seen[kind] < 10 || (cured[kind] < 3 && kind != PLAN_CURE_TIME_WAITS))
            fail_msg("'%s': only %d and %d", expected[kind].name, seen[kind], cured[kind]);
    }
}

/* --- by hand ------------------------------------------------------------------------------------
 */

static void usual(struct case_ *c, double rate)
{
    assert_int_equal(plan_system_named("linux", &c->system, NULL), 0);
    c->nat = (struct plan_nat){0};
    c->workload = (struct plan_workload){
        .rate_per_s = rate,
        .hold = {DISTRIBUTION_CONSTANT, 200000000, 0},
        .requests = 1,
        .sources = 1,
        .destinations = 1,
    };
}

static void check_names(struct case_ *c, const char *const *names, const bool *suffices)
{
    size_t count = 0;

    run_case(c);
    while (names[count])
        count++;
    assert_int_equal(c->count, count);
    for (size_t i = 0; i < count; i++) {
        assert_string_equal(c->cures[i].name, names[i]);
        assert_int_equal(c->cures[i].answer.suffices, suffices[i]);
    }
}

static const struct plan_cure *find(const struct case_ *c, enum plan_cure_kind kind)
{
    for (size_t i = 0; i < c->count; i++) {
        if (c->cures[i].kind == kind)
            return &c->cures[i];
    }
    fail_msg("no cure '%s'", expected[kind].name);
    return NULL;
}

/* 5,000/s to one endpoint: 28,232 tuples for 62.25 s each are 454/s. */
static void test_usual(void **state)
{
    static const char *const names[] = {"server-closes", "managed-ports", "keep-alive", "tw-reuse",
                                        "sources",       "destinations",  "range",      NULL};
    static const bool suffices[] = {true, true, true, true, true, true, false};
    struct case_ c;

    (void)state;
    usual(&c, 5000);
    check_names(&c, names, suffices);
    /* 5000 x (0.2 + 62.05 / 12) = 26,854; with 11 it were 29,205. */
    assert_string_equal(find(&c, PLAN_CURE_KEEP_ALIVE)->what,
                        "12 requests a connection instead of 1");
    assert_int_equal(find(&c, PLAN_CURE_KEEP_ALIVE)->workload.hold.a, 2400000000);
    assert_string_equal(find(&c, PLAN_CURE_SOURCES)->what, "12 source addresses instead of 1");
    assert_string_equal(find(&c, PLAN_CURE_TW_REUSE)->what,
                        "tcp_tw_reuse=1: connect() takes over a TIME_WAIT that is 1 s old");
    assert_string_equal(find(&c, PLAN_CURE_RANGE)->what,
                        "a range of 64512 ports instead of 28232 (ip_local_port_range)");
}

/* Two destinations with bind() to port 0: the port is lost for both. */
static void test_bind(void **state)
{
    static const char *const names[] = {"managed-ports", "server-closes", "no-port", "keep-alive",
                                        "range",         "sources",       NULL};
    static const bool suffices[] = {true, true, true, true, true, true};
    struct case_ c;

    (void)state;
    usual(&c, 900);
    c.workload.ports = PLAN_PORTS_BIND;
    c.workload.destinations = 2;
    check_names(&c, names, suffices);
    /* 900 x 62.25 */
    assert_string_equal(find(&c, PLAN_CURE_RANGE)->what,
                        "a range of 56025 ports instead of 28232 (ip_local_port_range)");
}

/* tcp_tw_reuse=1 is set already, and 30,000/s are asked. */
static void test_delay(void **state)
{
    struct case_ c;

    (void)state;
    usual(&c, 30000);
    c.system.reuse_s = 1;
    run_case(&c);
    /* 28232 / 30000 - 0.2 = 0.741 */
    assert_string_equal(find(&c, PLAN_CURE_REUSE_DELAY)->what,
                        "tcp_tw_reuse_delay=741 (ms) instead of 1000");
    for (size_t i = 0; i < c.count; i++)
        assert_int_not_equal(c.cures[i].kind, PLAN_CURE_TW_REUSE);
}

static void test_windows(void **state)
{
    struct case_ c;

    (void)state;
    usual(&c, 5000);
    assert_int_equal(plan_system_named("windows", &c.system, NULL), 0);
    run_case(&c);
    assert_string_equal(find(&c, PLAN_CURE_TIME_WAIT)->what,
                        "TIME_WAIT of 30 s instead of 240 s (TcpTimedWaitDelay)");
    assert_string_equal(find(&c, PLAN_CURE_RANGE)->what,
                        "a range of 64511 ports instead of 16384 (netsh int ipv4 set dynamicport "
                        "tcp)");
    for (size_t i = 0; i < c.count; i++)
        assert_true(c.cures[i].kind != PLAN_CURE_TW_REUSE &&
                    c.cures[i].kind != PLAN_CURE_DESTINATIONS);
}

/* Two bounds at once: what moves one alone goes as far as the other lets it. */
static void test_gateway(void **state)
{
    struct case_ c;

    (void)state;
    usual(&c, 5000);
    assert_int_equal(plan_nat_named("azure", &c.nat, NULL), 0);
    run_case(&c);
    assert_string_equal(find(&c, PLAN_CURE_DESTINATIONS)->what,
                        "12 destination endpoints instead of 1");
    assert_true(find(&c, PLAN_CURE_DESTINATIONS)->answer.suffices);
    /* 50000 / 65.2 = 766.9 a second, for which 28,232 x 2 tuples do, or 47,738. */
    assert_string_equal(find(&c, PLAN_CURE_SOURCES)->what, "2 source addresses instead of 1");
    assert_string_equal(find(&c, PLAN_CURE_RANGE)->what,
                        "a range of 47738 ports instead of 28232 (ip_local_port_range)");
    assert_int_equal(find(&c, PLAN_CURE_RANGE)->answer.limited_by, PLAN_LIMIT_NAT);
    c.workload.closing = PLAN_CLOSING_SERVER;
    run_case(&c);
    assert_string_equal(find(&c, PLAN_CURE_NAT)->what,
                        "7 times the ports at the gateway: 350000 instead of 50000");
}

/* What is enough can be more: each number is the least that doubles it. */
static void test_enough(void **state)
{
    struct case_ c;

    (void)state;
    usual(&c, 100);
    run_case(&c);
    assert_true(c.answer.suffices);
    assert_string_equal(find(&c, PLAN_CURE_SOURCES)->what, "2 source addresses instead of 1");
    assert_string_equal(find(&c, PLAN_CURE_RANGE)->what,
                        "a range of 56464 ports instead of 28232 (ip_local_port_range)");
}

/* Nothing to cure: no limit is in the way. */
static void test_unlimited(void **state)
{
    struct case_ c;

    (void)state;
    usual(&c, 100);
    c.workload.hold = (struct distribution){.kind = DISTRIBUTION_CONSTANT};
    c.workload.closing = PLAN_CLOSING_SERVER;
    run_case(&c);
    assert_true(isinf(c.answer.sustainable_per_s));
    assert_int_equal(c.count, 0);
}

/* 4,500 TIME_WAITs a second of 62.05 s, on ten lanes: more than the host keeps, fewer than tuples.
 */
static void test_time_waits(void **state)
{
    struct case_ c;

    (void)state;
    usual(&c, 4500);
    c.workload.destinations = 10;
    run_case(&c);
    assert_true(c.answer.suffices);
    assert_string_equal(find(&c, PLAN_CURE_TIME_WAITS)->what,
                        "tcp_max_tw_buckets=279225 instead of 262144");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random),     cmocka_unit_test(test_usual),
        cmocka_unit_test(test_bind),       cmocka_unit_test(test_delay),
        cmocka_unit_test(test_windows),    cmocka_unit_test(test_enough),
        cmocka_unit_test(test_gateway),    cmocka_unit_test(test_unlimited),
        cmocka_unit_test(test_time_waits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
