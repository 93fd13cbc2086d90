/* The arithmetic of plan.h: against tables, direct sums, numeric integrals and its own identities.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "plan.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Within a relative (and, below 1, absolute) error. */
static bool near(double a, double b, double error)
{
    if (isinf(a) || isinf(b))
        return isinf(a) && isinf(b);
    return fabs(a - b) <= error * fmax(1, fmax(fabs(a), fabs(b)));
}

#define assert_near(a, b, error)                                             \
    do {                                                                     \
        double near_a = (a), near_b = (b);                                   \
                                                                             \
        if (!near(near_a, near_b, error))                                    \
            fail_msg("%s is %.12g and %s is %.12g", #a, near_a, #b, near_b); \
    } while (0)

static struct distribution constant(double s)
{
    return (struct distribution){DISTRIBUTION_CONSTANT, (uint64_t)llround(s * 1e9), 0};
}

static struct distribution exponential(double s)
{
    return (struct distribution){DISTRIBUTION_EXPONENTIAL, (uint64_t)llround(s * 1e9), 0};
}

static struct distribution uniform(double from, double to)
{
    return (struct distribution){DISTRIBUTION_UNIFORM, (uint64_t)llround(from * 1e9),
                                 (uint64_t)llround(to * 1e9)};
}

/* 1,000 ports, TIME_WAIT of 60 s, nothing else limited. */
static struct plan_system small_system(void)
{
    return (struct plan_system){
        .name = "small",
        .ports = 1000,
        .ports_possible = 64512,
        .ports_shared = true,
        .halves = true,
        .time_wait_s = 60,
        .reuse_s = INFINITY,
        .reuse_possible_s = 1,
        .takeover = true,
        .time_waits = INFINITY,
        .files = INFINITY,
        .conntrack = INFINITY,
        .conntrack_close_s = 120,
        .conntrack_reset_s = 10,
        .accept_queue = INFINITY,
    };
}

static struct plan_workload small_workload(void)
{
    return (struct plan_workload){
        .rate_per_s = 100,
        .hold = constant(0.5),
        .requests = 1,
        .sources = 1,
        .destinations = 1,
    };
}

static const struct plan_nat no_nat;

static struct plan_answer answer_of(const struct plan_system *system, const struct plan_nat *nat,
                                    const struct plan_workload *workload)
{
    struct plan_answer answer;

    plan_answer(system, nat ? nat : &no_nat, workload, &answer);
    return answer;
}

/* --- one lane -----------------------------------------------------------------------------------
 */

/* What the closing leaves behind, by who chose the port. */
static void test_cooling(void **state)
{
    static const struct {
        enum plan_closing closing;
        enum plan_ports ports;
        double reuse_s;
        bool takeover;
        double cooling_s;
    } rows[] = {
        {PLAN_CLOSING_CLIENT, PLAN_PORTS_KERNEL, INFINITY, true, 60},
        {PLAN_CLOSING_CLIENT, PLAN_PORTS_KERNEL, 1, true, 1},
        {PLAN_CLOSING_CLIENT, PLAN_PORTS_KERNEL, 90, true, 60},
        {PLAN_CLOSING_CLIENT, PLAN_PORTS_BIND, 1, true, 60},
        {PLAN_CLOSING_CLIENT, PLAN_PORTS_MANAGED, INFINITY, true, 0.001},
        {PLAN_CLOSING_CLIENT, PLAN_PORTS_MANAGED, 1, false, 60},
        {PLAN_CLOSING_SERVER, PLAN_PORTS_KERNEL, INFINITY, true, 0},
        {PLAN_CLOSING_SERVER, PLAN_PORTS_BIND, INFINITY, false, 0},
        {PLAN_CLOSING_RESET, PLAN_PORTS_KERNEL, INFINITY, true, 0},
        {PLAN_CLOSING_RESET, PLAN_PORTS_MANAGED, INFINITY, true, 0.001},
        {PLAN_CLOSING_SERVER, PLAN_PORTS_MANAGED, INFINITY, false, 0.001},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct plan_system system = small_system();
        struct plan_workload workload = small_workload();
        struct plan_answer answer;

        system.reuse_s = rows[i].reuse_s;
        system.takeover = rows[i].takeover;
        workload.closing = rows[i].closing;
        workload.ports = rows[i].ports;
        answer = answer_of(&system, NULL, &workload);
        assert_near(answer.cooling_s, rows[i].cooling_s, 0);
        assert_near(answer.occupied_s, 0.5 + rows[i].cooling_s, 1e-12);
        assert_near(answer.sustainable_per_s, 1000 / answer.occupied_s, 1e-12);
        assert_near(answer.in_use, 100 * answer.occupied_s, 1e-12);
    }
}

static void test_lanes(void **state)
{
    static const struct {
        bool shared;
        enum plan_ports ports;
        double sources, destinations, lost, idle, lanes, tuples;
    } rows[] = {
        {true, PLAN_PORTS_KERNEL, 1, 1, 0, 0, 1, 1000},
        {true, PLAN_PORTS_KERNEL, 2, 5, 0, 0, 10, 1000},
        {true, PLAN_PORTS_MANAGED, 2, 5, 10, 50, 10, 985},
        {true, PLAN_PORTS_BIND, 2, 5, 0, 50, 2, 975},
        {false, PLAN_PORTS_KERNEL, 3, 5, 0, 0, 3, 1000},
        {true, PLAN_PORTS_KERNEL, 1, 3, 0, 100, 3, 966},
        {true, PLAN_PORTS_KERNEL, 1, 1, 600, 600, 1, 0},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct plan_system system = small_system();
        struct plan_workload workload = small_workload();
        struct plan_answer answer;

        system.ports_shared = rows[i].shared;
        system.ports_lost = rows[i].lost;
        workload.ports = rows[i].ports;
        workload.sources = rows[i].sources;
        workload.destinations = rows[i].destinations;
        workload.idle = rows[i].idle;
        answer = answer_of(&system, NULL, &workload);
        assert_near(answer.lanes, rows[i].lanes, 0);
        assert_near(answer.tuples, rows[i].tuples, 0);
    }
}

/* P(hold + cooling > s) */
static double survival(const struct distribution *hold, double cooling, double s)
{
    double x = s - cooling, a = (double)hold->a / 1e9, b = (double)hold->b / 1e9;

    if (x < 0)
        return 1;
    switch (hold->kind) {
    case DISTRIBUTION_EXPONENTIAL:
        return exp(-x / a);
    case DISTRIBUTION_UNIFORM:
        return x < a ? 1 : x > b ? 0 : (b - x) / (b - a);
    default:
        return x < a ? 1 : 0;
    }
}

/* In use after t: the integral of rate x survival over 0..t. */
static void test_in_use(void **state)
{
    const struct distribution holds[] = {constant(3), exponential(2), uniform(1, 5), uniform(4, 4),
                                         constant(0)};
    static const double coolings[] = {0, 1, 7};

    (void)state;
    for (size_t i = 0; i < COUNT(holds); i++) {
        for (size_t k = 0; k < COUNT(coolings); k++) {
            struct plan_system system = small_system();
            struct plan_workload workload = small_workload();
            struct plan_answer answer;
            double sum = 0, step = 1e-3;

            system.time_wait_s = coolings[k];
            workload.hold = holds[i];
            workload.destinations = 2;
            answer = answer_of(&system, NULL, &workload);
            for (int n = 0; n < 30000; n++) {
                if (n % 500 == 0)
                    assert_near(plan_in_use_at(&answer, &workload, n * step), sum, 1e-3);
                sum += 50 * step * survival(&holds[i], coolings[k], (n + 0.5) * step);
            }
            assert_near(plan_in_use_at(&answer, &workload, INFINITY), answer.in_use, 1e-12);
        }
    }
}

/* Worked out by hand: 1,000 tuples at 100/s. */
static void test_exhausted(void **state)
{
    const struct {
        struct distribution hold;
        double cooling_s, exhausted_s, half_full_s;
    } rows[] = {
        {constant(0.5), 60, 10, 5},
        {exponential(2), 60, 10, 5},
        {constant(10), 0, INFINITY, 5}, /* just so many */
        {constant(10.001), 0, 10, 5},
        {constant(1), 0, INFINITY, INFINITY},
        {exponential(20), 0, 20 * M_LN2, -20 * log(0.75)},
        {exponential(20), 2, 2 - 20 * log1p(-8 / 20.0), 2 - 20 * log1p(-3 / 20.0)},
        /* x - (x - 5)^2 / 20 = 9.5 at x = 15 - sqrt(10) */
        {uniform(5, 15), 0.5, 0.5 + 15 - sqrt(10), 5},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct plan_system system = small_system();
        struct plan_workload workload = small_workload();
        struct plan_answer answer;

        system.time_wait_s = rows[i].cooling_s;
        workload.hold = rows[i].hold;
        answer = answer_of(&system, NULL, &workload);
        assert_near(answer.exhausted_s, rows[i].exhausted_s, 1e-9);
        assert_near(answer.half_full_s, rows[i].half_full_s, 1e-9);
        assert_int_equal(answer.suffices, isinf(rows[i].exhausted_s));
        if (isfinite(answer.exhausted_s))
            assert_near(plan_in_use_at(&answer, &workload, answer.exhausted_s), 1000, 1e-9);
    }
}

static void test_half_full(void **state)
{
    struct plan_system system = small_system();
    struct plan_workload workload = small_workload();

    (void)state;
    system.ports_lost = 100;
    workload.idle = 50;
    assert_near(answer_of(&system, NULL, &workload).half_full_s, (450 - 50) / 100.0, 1e-12);
    workload.idle = 500;
    assert_near(answer_of(&system, NULL, &workload).half_full_s, 0, 0);
    workload.idle = 0;
    workload.ports = PLAN_PORTS_BIND;
    assert_true(isinf(answer_of(&system, NULL, &workload).half_full_s));
    workload.ports = PLAN_PORTS_MANAGED;
    assert_true(isinf(answer_of(&system, NULL, &workload).half_full_s));
    workload.ports = PLAN_PORTS_KERNEL;
    system.halves = false;
    assert_true(isinf(answer_of(&system, NULL, &workload).half_full_s));
}

static void test_refused(void **state)
{
    struct plan_system system = small_system();
    struct plan_workload workload = small_workload();
    struct plan_answer answer = answer_of(&system, NULL, &workload);

    (void)state;
    assert_near(answer.refused_share, 1 - 1000 / 6050.0, 1e-12);
    assert_near(answer.refused_random, plan_erlang_b(1000, 6050), 1e-12);
    /* What gets through is what is sustained. */
    assert_near(answer.connections_per_s * (1 - answer.refused_share), answer.sustainable_per_s,
                1e-12);
    workload.rate_per_s = 16;
    answer = answer_of(&system, NULL, &workload);
    assert_near(answer.refused_share, 0, 0);
    assert_true(answer.refused_random > 0 && answer.refused_random < 0.02);
    workload.requests = 4;
    answer = answer_of(&system, NULL, &workload);
    assert_near(answer.connections_per_s, 4, 0);
    assert_near(answer.in_use, 4 * 60.5, 1e-12);
}

/* --- the other bounds ---------------------------------------------------------------------------
 */

static void test_files(void **state)
{
    struct plan_system system = small_system();
    struct plan_workload workload = small_workload();
    struct plan_answer answer;

    (void)state;
    system.files = 60;
    workload.idle = 20;
    workload.closing = PLAN_CLOSING_SERVER;
    answer = answer_of(&system, NULL, &workload);
    assert_int_equal(answer.limited_by, PLAN_LIMIT_FILES);
    assert_near(answer.bounds[PLAN_LIMIT_FILES].capacity, 40, 0);
    assert_near(answer.bounds[PLAN_LIMIT_FILES].occupied_s, 0.5, 0);
    assert_near(answer.sustainable_per_s, 80, 1e-12);
    assert_near(answer.exhausted_s, 0.4, 1e-12);
    assert_false(answer.suffices);
    workload.idle = 100;
    answer = answer_of(&system, NULL, &workload);
    assert_near(answer.sustainable_per_s, 0, 0);
    assert_near(answer.exhausted_s, 0, 0);
}

static struct plan_bound bound_of(const struct plan_system *system,
                                  const struct plan_workload *workload, enum plan_limit limit)
{
    return answer_of(system, NULL, workload).bounds[limit];
}

static void assert_no_bound(struct plan_bound bound)
{
    assert_true(isinf(bound.exhausted_s) && isinf(bound.sustainable_per_s));
}

/* Beyond their maximum TIME_WAITs are dropped: told, and no refusal. */
static void test_time_waits(void **state)
{
    struct plan_system system = small_system();
    struct plan_workload workload = small_workload();
    struct plan_answer answer;
    struct plan_bound bound;

    (void)state;
    system.time_waits = 300;
    workload.rate_per_s = 10;
    answer = answer_of(&system, NULL, &workload);
    assert_true(answer.suffices);
    assert_int_equal(answer.limited_by, PLAN_LIMIT_TUPLES);
    assert_true(isinf(answer.exhausted_s));
    bound = bound_of(&system, &workload, PLAN_LIMIT_TIME_WAITS);
    assert_near(bound.capacity, 300, 0);
    assert_near(bound.occupied_s, 60, 0);
    assert_near(bound.sustainable_per_s, 5, 1e-12);
    assert_near(bound.exhausted_s, 30.5, 1e-9);
    /* No more of them than tuples. */
    system.time_waits = 1000;
    assert_no_bound(bound_of(&system, &workload, PLAN_LIMIT_TIME_WAITS));
    system.time_waits = 300;
    workload.closing = PLAN_CLOSING_SERVER;
    assert_no_bound(bound_of(&system, &workload, PLAN_LIMIT_TIME_WAITS));
}

static void test_conntrack(void **state)
{
    struct plan_system system = small_system();
    struct plan_workload workload = small_workload();
    struct plan_bound bound;

    (void)state;
    system.conntrack = 600;
    workload.closing = PLAN_CLOSING_SERVER;
    workload.idle = 100;
    assert_int_equal(answer_of(&system, NULL, &workload).limited_by, PLAN_LIMIT_CONNTRACK);
    bound = bound_of(&system, &workload, PLAN_LIMIT_CONNTRACK);
    assert_near(bound.occupied_s, 120.5, 1e-12);
    assert_near(bound.sustainable_per_s, 500 / 120.5, 1e-12);
    assert_near(bound.exhausted_s, 5, 1e-12);
    workload.closing = PLAN_CLOSING_RESET;
    bound = bound_of(&system, &workload, PLAN_LIMIT_CONNTRACK);
    assert_near(bound.occupied_s, 10.5, 1e-12);
    /* A tuple used again has its entry already: 900 tuples need no more than 900 entries. */
    system.conntrack = 1000;
    assert_no_bound(bound_of(&system, &workload, PLAN_LIMIT_CONNTRACK));
}

static void test_nat(void **state)
{
    struct plan_system system = small_system();
    struct plan_workload workload = small_workload();
    struct plan_nat nat = {.name = "x", .ports = 64, .hold_s = 120, .hold_reset_s = 4};
    struct plan_answer answer;

    (void)state;
    /* For each destination, and shared by all sources. */
    workload.sources = 3;
    workload.destinations = 2;
    workload.idle = 8;
    answer = answer_of(&system, &nat, &workload);
    assert_int_equal(answer.limited_by, PLAN_LIMIT_NAT);
    assert_near(answer.bounds[PLAN_LIMIT_NAT].capacity, 120, 0);
    assert_near(answer.sustainable_per_s, 120 / 120.5, 1e-12);
    assert_near(answer.exhausted_s, 1.2, 1e-12);
    workload.closing = PLAN_CLOSING_RESET;
    answer = answer_of(&system, &nat, &workload);
    assert_near(answer.bounds[PLAN_LIMIT_NAT].occupied_s, 4.5, 1e-12);
    nat.ports = 0;
    answer = answer_of(&system, &nat, &workload);
    assert_true(isinf(answer.bounds[PLAN_LIMIT_NAT].capacity));
}

static void test_stall(void **state)
{
    struct plan_system system = small_system();
    struct plan_workload workload = small_workload();

    (void)state;
    assert_true(isinf(answer_of(&system, NULL, &workload).stall_s));
    system.accept_queue = 50;
    assert_near(answer_of(&system, NULL, &workload).stall_s, 0.5, 1e-12);
    workload.destinations = 4; /* each has a queue of its own */
    assert_near(answer_of(&system, NULL, &workload).stall_s, 2, 1e-12);
    workload.rate_per_s = 0;
    assert_true(isinf(answer_of(&system, NULL, &workload).stall_s));
}

/* --- at random ----------------------------------------------------------------------------------
 */

static double pick(struct random *random, const double *of, size_t count)
{
    return of[random_next(random) % count];
}

#define PICK(random, ...)                       \
    pick(random, (const double[]){__VA_ARGS__}, \
         sizeof((const double[]){__VA_ARGS__}) / sizeof(double))

static void draw(struct random *random, struct plan_system *system, struct plan_nat *nat,
                 struct plan_workload *workload)
{
    double hold = PICK(random, 0, 1e-6, 0.003, 0.2, 7, 3600, 1e6);

    *system = (struct plan_system){
        .ports = PICK(random, 0, 1, 2, 100, 28232, 64512, INFINITY),
        .ports_lost = PICK(random, 0, 0, 1, 50, 70000),
        .ports_possible = PICK(random, 64512, 64000, INFINITY),
        .ports_shared = random_next(random) & 1,
        .halves = random_next(random) & 1,
        .time_wait_s = PICK(random, 0, 1, 30, 61, 240, INFINITY),
        .time_wait_possible_s = PICK(random, 0, 2, 30),
        .reuse_s = PICK(random, 0, 0.001, 1, INFINITY),
        .reuse_possible_s = PICK(random, 0.001, 1, INFINITY),
        .takeover = random_next(random) & 1,
        .time_waits = PICK(random, 0, 1, 16384, 262144, INFINITY),
        .files = PICK(random, 0, 3, 1024, 524288, INFINITY),
        .conntrack = PICK(random, 0, 1, 65536, 262144, INFINITY),
        .conntrack_close_s = PICK(random, 0, 120, INFINITY),
        .conntrack_reset_s = PICK(random, 0, 10),
        .accept_queue = PICK(random, 0, 128, 4096, INFINITY),
    };
    *nat = (struct plan_nat){
        .ports = PICK(random, 0, 0, 64, 55000, INFINITY),
        .hold_s = PICK(random, 0, 65, 120, INFINITY),
        .hold_reset_s = PICK(random, 0, 16),
    };
    *workload = (struct plan_workload){
        .rate_per_s = PICK(random, 0, 1e-9, 0.5, 100, 5000, 1e6, 1e9),
        .poisson = random_next(random) & 1,
        .requests = PICK(random, 1, 1, 3, 1.5, 1000),
        .closing = (enum plan_closing)(random_next(random) % 3),
        .ports = (enum plan_ports)(random_next(random) % 3),
        .sources = PICK(random, 1, 1, 2, 100),
        .destinations = PICK(random, 1, 1, 3, 1000),
        .idle = PICK(random, 0, 0, 1, 1000, 1e6),
    };
    switch (random_next(random) % 3) {
    case 0:
        workload->hold = constant(hold);
        break;
    case 1:
        workload->hold = exponential(hold);
        break;
    default:
        workload->hold = uniform(hold / 3, hold);
        break;
    }
}

static void check_no_nan(const struct plan_answer *answer)
{
    const double *const values[] = {
        &answer->lanes,
        &answer->tuples,
        &answer->connections_per_s,
        &answer->hold_s,
        &answer->cooling_s,
        &answer->occupied_s,
        &answer->in_use,
        &answer->sustainable_per_s,
        &answer->exhausted_s,
        &answer->half_full_s,
        &answer->refused_share,
        &answer->refused_random,
        &answer->stall_s,
    };

    for (size_t i = 0; i < COUNT(values); i++)
        assert_true(*values[i] >= 0);
    assert_true(answer->refused_share <= 1 && answer->refused_random <= 1);
    for (int i = 0; i < PLAN_LIMITS; i++) {
        assert_true(answer->bounds[i].capacity >= 0);
        assert_true(answer->bounds[i].occupied_s >= 0);
        assert_true(answer->bounds[i].sustainable_per_s >= 0);
        assert_true(answer->bounds[i].exhausted_s >= 0);
    }
}

/* The rate that is sustained is the edge of what suffices. */
static void check_edge(const struct plan_system *system, const struct plan_nat *nat,
                       const struct plan_workload *workload, const struct plan_answer *answer)
{
    struct plan_workload asked = *workload;
    double requests = fmax(1, workload->requests);

    if (isinf(answer->sustainable_per_s) || answer->sustainable_per_s == 0)
        return;
    asked.rate_per_s = 0.999 * answer->sustainable_per_s * requests;
    assert_true(answer_of(system, nat, &asked).suffices);
    asked.rate_per_s = 1.001 * answer->sustainable_per_s * requests;
    assert_false(answer_of(system, nat, &asked).suffices);
}

static void test_random(void **state)
{
    struct random random;

    (void)state;
    random_seed(&random, 1);
    for (int i = 0; i < 20000; i++) {
        struct plan_system system;
        struct plan_nat nat;
        struct plan_workload workload;
        struct plan_answer answer;
        double lowest = INFINITY;

        draw(&random, &system, &nat, &workload);
        /* Erlang's recursion takes a step for each tuple; in most rounds few will do. */
        if (i % 16 && isfinite(system.ports))
            system.ports = fmin(system.ports, 500);
        answer = answer_of(&system, &nat, &workload);
        check_no_nan(&answer);
        for (int k = 0; k < PLAN_LIMITS; k++) {
            const struct plan_bound *bound = &answer.bounds[k];

            if (k == PLAN_LIMIT_TIME_WAITS)
                continue;
            lowest = fmin(lowest, bound->sustainable_per_s);
            assert_true(bound->exhausted_s >= answer.exhausted_s);
            if (bound->capacity > 0)
                assert_int_equal(isinf(bound->exhausted_s) != 0,
                                 answer.connections_per_s <=
                                     bound->sustainable_per_s * (1 + 1e-12));
        }
        assert_near(answer.sustainable_per_s, lowest, 0);
        assert_near(answer.bounds[answer.limited_by].sustainable_per_s, lowest, 0);
        assert_int_equal(answer.suffices, answer.connections_per_s <= lowest);
        if (isfinite(answer.tuples) && answer.tuples > 0 && isfinite(answer.occupied_s) &&
            answer.occupied_s > 0)
            assert_near(answer.bounds[PLAN_LIMIT_TUPLES].sustainable_per_s * answer.occupied_s,
                        answer.lanes * answer.tuples, 1e-9);
        check_edge(&system, &nat, &workload, &answer);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cooling),   cmocka_unit_test(test_lanes),
        cmocka_unit_test(test_in_use),    cmocka_unit_test(test_exhausted),
        cmocka_unit_test(test_half_full), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_files),     cmocka_unit_test(test_time_waits),
        cmocka_unit_test(test_conntrack), cmocka_unit_test(test_nat),
        cmocka_unit_test(test_stall),     cmocka_unit_test(test_random),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
