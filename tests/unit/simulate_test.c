/* The simulation against the formulas where there are some, and at the edges of what it takes. All
 * seeds are fixed: a test that passes passes always. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "simulate.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define MS           1000000ULL

/* Initializers of a struct distribution. */
#define CONSTANT(ns)      DISTRIBUTION_CONSTANT, (ns), 0
#define EXPONENTIAL(ns)   DISTRIBUTION_EXPONENTIAL, (ns), 0
#define UNIFORM(from, to) DISTRIBUTION_UNIFORM, (from), (to)

static struct plan_answer lane(double tuples, double rate, double cooling_s)
{
    return (struct plan_answer){
        .lanes = 1, .tuples = tuples, .connections_per_s = rate, .cooling_s = cooling_s};
}

static void run(const struct plan_answer *answer, const struct plan_workload *workload,
                uint64_t seed, double duration_s, struct simulate_result *out)
{
    struct simulate_opts opts = {.seed = seed, .duration_s = duration_s};
    struct tw_error error = {0};

    if (simulate(answer, workload, &opts, out, &error))
        fail_msg("simulate: %s", error.text);
}

static void assert_close(const char *what, double is, double expected, double within)
{
    if (!(fabs(is - expected) <= within))
        fail_msg("%s is %.15g, not %.15g +- %.3g", what, is, expected, within);
}

/* --- formulas --------------------------------------------------------------------------------- */

#define SEEDS 16

struct estimate {
    double mean, error; /* standard error of the mean */
};

static struct estimate estimate(const double samples[SEEDS])
{
    struct estimate result = {0};
    double squares = 0;

    for (int i = 0; i < SEEDS; i++)
        result.mean += samples[i] / SEEDS;
    for (int i = 0; i < SEEDS; i++)
        squares += (samples[i] - result.mean) * (samples[i] - result.mean);
    result.error = sqrt(squares / (SEEDS - 1) / SEEDS);
    return result;
}

/* Within four standard errors, which must be small enough for that to mean something. */
static void assert_estimate(const char *what, const double samples[SEEDS], double expected)
{
    struct estimate is = estimate(samples);

    if (is.error > 0.02 * expected)
        fail_msg("%s: an error of %g says nothing of %g", what, is.error, expected);
    assert_close(what, is.mean, expected, 4 * is.error);
}

static const struct {
    struct distribution hold;
    double cooling_s;
} holds[] = {
    {{CONSTANT(100 * MS)}, 0},   {{EXPONENTIAL(100 * MS)}, 0},
    {{UNIFORM(0, 200 * MS)}, 0}, {{EXPONENTIAL(50 * MS)}, 0.05},
    {{CONSTANT(0)}, 0.1},        {{UNIFORM(5 * MS, 15 * MS)}, 0.09},
};

/* The formula asks for the mean of the time alone; the simulation must find that out. */
static void test_erlang_b(void **state)
{
    static const double loads[] = {0.8, 1.5};
    static struct simulate_result result;
    double tuples = 20;

    (void)state;
    for (size_t i = 0; i < COUNT(holds); i++) {
        for (size_t j = 0; j < COUNT(loads); j++) {
            double in_use = loads[j] * tuples, rate = in_use / 0.1;
            double share = plan_erlang_b(tuples, in_use);
            struct plan_answer answer = lane(tuples, rate, holds[i].cooling_s);
            struct plan_workload workload = {.poisson = true, .hold = holds[i].hold};
            double shares[SEEDS], rates[SEEDS], means[SEEDS];

            for (int seed = 0; seed < SEEDS; seed++) {
                run(&answer, &workload, (uint64_t)seed, 0, &result);
                shares[seed] = result.refused_share;
                rates[seed] = result.sustained_per_s;
                means[seed] = result.in_use_mean;
            }
            assert_estimate("refused", shares, share);
            assert_estimate("sustained", rates, rate * (1 - share));
            assert_estimate("in use", means, in_use * (1 - share));
        }
    }
}

/* Of those that wait, Erlang's C formula, for exponential holds. */
static void test_erlang_c(void **state)
{
    static const double loads[] = {0.8, 0.9};
    static struct simulate_result result;
    double tuples = 20;

    (void)state;
    for (size_t i = 0; i < COUNT(loads); i++) {
        double share = plan_erlang_b(tuples, loads[i] * tuples);
        struct plan_answer answer = lane(tuples, loads[i] * tuples / 0.1, 0);
        struct plan_workload workload = {
            .poisson = true, .hold = {EXPONENTIAL(100 * MS)}, .ports = PLAN_PORTS_MANAGED};
        double shares[SEEDS], means[SEEDS];

        for (int seed = 0; seed < SEEDS; seed++) {
            run(&answer, &workload, (uint64_t)seed, 2000, &result);
            assert_int_equal(result.refused, 0);
            shares[seed] = result.waited_share;
            means[seed] = result.in_use_mean;
        }
        assert_estimate("waited", shares, share / (1 - loads[i] * (1 - share)));
        assert_estimate("in use", means, loads[i] * tuples);
    }
}

/* Evenly spaced arrivals and a constant hold: exactly what plan_answer() says. */
static void test_even(void **state)
{
    static const struct {
        double tuples, rate;
        uint64_t hold_ms;
        double cooling_s;
    } samples[] = {
        {100, 200, 1000, 0},   {100, 125, 1000, 0}, {28232, 1000, 200, 60},
        {1, 1000, 10, 0},      {1, 2, 0, 60},       {30, 300, 400, 0},
        {100, 100, 1000, 0},   {100, 50, 1000, 0},  {7, 1000, 3, 4.0 / 1000},
        {28232, 470, 0, 60.2}, {500, 300, 2000, 0},
    };
    static struct simulate_result result;

    (void)state;
    for (size_t i = 0; i < COUNT(samples); i++) {
        struct plan_answer answer = lane(samples[i].tuples, samples[i].rate, samples[i].cooling_s);
        struct plan_workload workload = {.hold = {CONSTANT(samples[i].hold_ms * MS)}};
        double occupied_s = samples[i].cooling_s + (double)samples[i].hold_ms / 1000;
        double in_use = round(samples[i].rate * occupied_s);
        double most = in_use < samples[i].tuples ? in_use : samples[i].tuples;

        run(&answer, &workload, 1, 0, &result);
        assert_close("refused", result.refused_share, 1 - most / in_use, 1e-12);
        assert_close("sustained", result.sustained_per_s, most / occupied_s, 1e-6);
        assert_close("mean", result.in_use_mean, most, 1e-6 * most);
        assert_close("most", result.in_use_max, most, 0);
        if (in_use > samples[i].tuples)
            assert_close("first", result.first_refused_s, samples[i].tuples / samples[i].rate,
                         1e-9);
        else
            assert_true(isinf(result.first_refused_s) && result.refused == 0);
    }
}

/* The arithmetic and the simulation, from the same system and workload. */
static void test_plan(void **state)
{
    struct plan_system system;
    struct plan_nat nat = {.name = "none"};
    struct plan_workload workload = {.rate_per_s = 4000,
                                     .hold = {CONSTANT(500 * MS)},
                                     .requests = 2,
                                     .sources = 2,
                                     .destinations = 2,
                                     .closing = PLAN_CLOSING_SERVER};
    static struct simulate_result result;
    struct plan_answer answer;

    (void)state;
    assert_int_equal(plan_system_named("linux", &system, NULL), 0);
    system.ports = 100;
    plan_answer(&system, &nat, &workload, &answer);
    run(&answer, &workload, 1, 0, &result);
    assert_true(answer.refused_share > 0.1);
    assert_close("refused", result.refused_share, answer.refused_share, 1e-12);
    assert_close("first", result.first_refused_s, answer.bounds[PLAN_LIMIT_TUPLES].exhausted_s,
                 1e-9);
    assert_close("sustained", result.sustained_per_s,
                 answer.bounds[PLAN_LIMIT_TUPLES].sustainable_per_s / answer.lanes, 1e-6);
}

/* When in_use is not whole, a tuple is idle from its end to the next arrival. */
static void test_even_not_whole(void **state)
{
    struct plan_answer answer = lane(10, 100, 0);
    struct plan_workload workload = {.hold = {CONSTANT(234 * MS)}};
    static struct simulate_result result;

    (void)state;
    /* Each tuple is used by every 24th arrival. */
    run(&answer, &workload, 1, 0.24 * 1000, &result);
    assert_close("refused", result.refused_share, 1 - 10.0 / 24, 1e-4);
}

/* Managed ports beyond what they sustain: all are served as fast as tuples come, the rest waits. */
static void test_waiting(void **state)
{
    struct plan_answer answer = lane(100, 200, 0);
    struct plan_workload workload = {.hold = {CONSTANT(1000 * MS)}, .ports = PLAN_PORTS_MANAGED};
    static struct simulate_result result;

    (void)state;
    run(&answer, &workload, 1, 100, &result);
    assert_int_equal(result.attempted, 20000);
    assert_int_equal(result.refused, 0);
    assert_close("refused", result.refused_share, 0, 0);
    assert_close("sustained", result.sustained_per_s, 100, 1e-9);
    assert_int_equal(result.waiting, 10000);
    assert_int_equal(result.waited, 9900);
    assert_close("first", result.first_refused_s, 0.5, 0);
    assert_close("longest", result.longest_wait_s, 50, 0.01);
    assert_close("mean", result.in_use_mean, 100, 1e-6);
}

/* --- the rest --------------------------------------------------------------------------------- */

static void test_seeds(void **state)
{
    struct plan_answer answer = lane(50, 500, 0);
    struct plan_workload workload = {.poisson = true, .hold = {EXPONENTIAL(100 * MS)}};
    static struct simulate_result one, again, other;

    (void)state;
    run(&answer, &workload, 42, 100, &one);
    run(&answer, &workload, 42, 100, &again);
    run(&answer, &workload, 43, 100, &other);
    assert_memory_equal(&one, &again, sizeof(one));
    assert_true(one.attempted != other.attempted || one.refused != other.refused);
    assert_memory_not_equal(one.in_use, other.in_use, sizeof(one.in_use));
}

/* The rate is shared by the lanes. */
static void test_lanes(void **state)
{
    struct plan_answer answer = lane(50, 500, 0);
    struct plan_workload workload = {.poisson = true, .hold = {EXPONENTIAL(100 * MS)}};
    static struct simulate_result one, of_ten;

    (void)state;
    run(&answer, &workload, 1, 10, &one);
    answer.lanes = 10;
    answer.connections_per_s = 5000;
    run(&answer, &workload, 1, 10, &of_ten);
    assert_memory_equal(&one, &of_ten, sizeof(one));
}

/* The flag is looked at after 4096 connections, so one that is up from the start stops there. */
static void test_stop(void **state)
{
    struct plan_answer answer = lane(50, 100, 0);
    struct plan_workload workload = {.hold = {CONSTANT(1000 * MS)}};
    atomic_int stop = 1;
    struct simulate_opts opts = {.seed = 1, .duration_s = 100, .stop = &stop};
    static struct simulate_result part, whole;

    (void)state;
    assert_int_equal(simulate(&answer, &workload, &opts, &part, NULL), 0);
    assert_true(part.interrupted);
    assert_int_equal(part.attempted, 4096);
    assert_close("duration", part.duration_s, 40.95, 0);
    assert_close("measured from", part.measured_from_s, 1, 0);
    /* From 1 s on: 3996 arrivals in nearly 40 rounds of 50 opened and 50 refused. */
    assert_close("refused", part.refused_share, 0.5, 50.0 / 3996);
    assert_close("mean", part.in_use_mean, 50, 1e-9);
    assert_close("first", part.first_refused_s, 0.5, 0);

    atomic_store(&stop, 0);
    assert_int_equal(simulate(&answer, &workload, &opts, &whole, NULL), 0);
    assert_false(whole.interrupted);
    assert_int_equal(whole.attempted, 10000);
    /* The points that it came to are those of the whole run. */
    assert_int_equal(part.points, (size_t)(40.95 / part.point_s) + 1);
    assert_close("step", part.point_s, whole.point_s, 0);
    assert_memory_equal(part.in_use, whole.in_use, part.points * sizeof(part.in_use[0]));
}

/* Before it has settled, what there is is told of the whole. */
static void test_stop_early(void **state)
{
    struct plan_answer answer = lane(50, 1e6, 0);
    struct plan_workload workload = {.hold = {CONSTANT(1000 * MS)}};
    atomic_int stop = 1;
    struct simulate_opts opts = {.duration_s = 10, .stop = &stop};
    static struct simulate_result result;

    (void)state;
    assert_int_equal(simulate(&answer, &workload, &opts, &result, NULL), 0);
    assert_true(result.interrupted);
    assert_close("measured from", result.measured_from_s, 0, 0);
    assert_close("refused", result.refused_share, (4096 - 50) / 4096.0, 1e-12);
    assert_int_equal(result.points, 1);
}

/* It settles at the very end or would later: the same. */
static void test_short(void **state)
{
    static const double durations[] = {1, 0.999};
    struct plan_answer answer = lane(50, 100, 0);
    struct plan_workload workload = {.hold = {CONSTANT(1000 * MS)}};
    static struct simulate_result result;

    (void)state;
    for (size_t i = 0; i < COUNT(durations); i++) {
        run(&answer, &workload, 1, durations[i], &result);
        assert_close("measured from", result.measured_from_s, 0, 0);
        assert_close("refused", result.refused_share, 0.5, 1e-12);
        assert_close("sustained", result.sustained_per_s, 50 / durations[i], 1e-9);
    }
}

static void test_points(void **state)
{
    struct plan_answer answer = lane(100, 80, 0.5);
    struct plan_workload workload = {.hold = {CONSTANT(500 * MS)}};
    static struct simulate_result result;
    double sum = 0;

    (void)state;
    /* One arrival a point and 80 in use in the end, of which the last begins at 79/80 s. */
    run(&answer, &workload, 1, 255.0 / 80, &result);
    assert_int_equal(result.points, SIMULATE_POINTS);
    assert_close("step", result.point_s, 1.0 / 80, 1e-12);
    for (size_t i = 0; i < 255; i++)
        assert_close("point", result.in_use[i], i < 80 ? (double)i + 1 : 80, 1);
    assert_close("last", result.in_use[255], 80, 1);

    workload = (struct plan_workload){.poisson = true, .hold = {EXPONENTIAL(500 * MS)}};
    run(&answer, &workload, 1, 10000, &result);
    for (size_t i = 1; i < result.points; i++) {
        assert_true(result.in_use[i] <= result.in_use_max);
        sum += result.in_use[i];
    }
    /* Independent samples of what is nearly a Poisson distribution of 80. */
    assert_close("mean of points", sum / 255, result.in_use_mean, 4 * sqrt(80.0 / 255));
    assert_close("mean", result.in_use_mean, 80 * (1 - plan_erlang_b(100, 80)), 0.5);
}

static void test_default_duration(void **state)
{
    static const struct {
        double rate, cooling_s;
        struct distribution hold;
        double duration_s;
    } samples[] = {
        {500, 61, {CONSTANT(1000 * MS)}, 310},
        {500, 61, {UNIFORM(0, 1000 * MS)}, 310},
        {500, 52, {EXPONENTIAL(1000 * MS)}, 300},
        {100, 0, {CONSTANT(1000 * MS)}, 1000},  /* 100,000 connections */
        {100, 0, {CONSTANT(300 * MS)}, 1000.2}, /* in whole rounds */
        {100, 0, {CONSTANT(0)}, 1000},
    };
    static struct simulate_result result;

    (void)state;
    for (size_t i = 0; i < COUNT(samples); i++) {
        struct plan_answer answer = lane(1000, samples[i].rate, samples[i].cooling_s);
        struct plan_workload workload = {.hold = samples[i].hold};

        run(&answer, &workload, 1, 0, &result);
        assert_close("duration", result.duration_s, samples[i].duration_s, 1e-9);
        assert_true(result.attempted >= 100000);
    }
}

static void test_beyond(void **state)
{
    static const struct {
        double lanes, tuples, rate, cooling_s, duration_s;
        const char *expect;
    } samples[] = {
        {1, NAN, 1, 0, 1, "lane of nan tuples"},
        {1, INFINITY, 1, 0, 1, "lane of inf tuples"},
        {1, -1, 1, 0, 1, "lane of -1 tuples"},
        {1, 65537, 1, 0, 1, "lane of 65537 tuples"},
        {0, 1, 1, 0, 1, "one of 0 lanes"},
        {NAN, 1, 1, 0, 1, "one of nan lanes"},
        {INFINITY, 1, 1, 0, 1, "one of inf lanes"},
        {1, 1, 0, 0, 1, "0 connections a second"},
        {1, 1, -5, 0, 1, "-5 connections a second"},
        {1, 1, NAN, 0, 1, "nan connections a second"},
        {1, 1, INFINITY, 0, 1, "inf connections a second"},
        {1, 1, 1, -1, 1, "cool for -1 s"},
        {1, 1, 1, NAN, 1, "cool for nan s"},
        {1, 1, 1, 0, -1, "cannot simulate -1 s"},
        {1, 1, 1, 0, NAN, "cannot simulate nan s"},
        {1, 1, 1, 0, INFINITY, "cannot simulate inf s"},
        {1, 1, 1, 0, 1e30, "cannot simulate 1e+30 s"},
        {1, 1, 1e9, 61, 0, "takes too long (1e+09 is the most)"},
        {1, 1, 1e300, 0, 1, "takes too long"},
        {1, 1, 100, INFINITY, 0, "takes too long"},
    };
    struct plan_workload workload = {.hold = {CONSTANT(0)}};
    static struct simulate_result result;

    (void)state;
    for (size_t i = 0; i < COUNT(samples); i++) {
        struct plan_answer answer = lane(samples[i].tuples, samples[i].rate, samples[i].cooling_s);
        struct simulate_opts opts = {.duration_s = samples[i].duration_s};
        struct tw_error error = {0};

        answer.lanes = samples[i].lanes;
        workload.poisson = i % 2;
        assert_int_equal(simulate(&answer, &workload, &opts, &result, &error), -EINVAL);
        if (!strstr(error.text, samples[i].expect))
            fail_msg("'%s' lacks '%s'", error.text, samples[i].expect);
        assert_int_equal(simulate(&answer, &workload, &opts, &result, NULL), -EINVAL);
    }
}

/* As far as it goes: an end in bounded time, and nothing that is not a number. */
static void test_extreme(void **state)
{
    static const struct {
        double tuples, rate, cooling_s, duration_s;
        struct distribution hold;
    } samples[] = {
        {1, 1e9, 0, 1e-3, {CONSTANT(0)}},
        {1, 1e9, 0, 0, {CONSTANT(0)}},
        {1, 1e9, 61, 1e-3, {CONSTANT(200 * MS)}},
        {1, 1e9, 0, 1e-3, {EXPONENTIAL(1)}},
        {0, 1e6, 61, 0.1, {CONSTANT(200 * MS)}},
        {0, 1e6, 0, 0.1, {EXPONENTIAL(200 * MS)}},
        {0.9, 1e6, 0, 0.1, {CONSTANT(0)}},
        {65536, 1e6, 61, 0.1, {CONSTANT(0)}},
        {65536, 1e6, 0, 0.1, {EXPONENTIAL(200 * MS)}},
        {10, 1e-300, 61, 100, {CONSTANT(0)}},
        {10, 1e-300, 61, 0, {EXPONENTIAL(200 * MS)}},
        {10, 1000, INFINITY, 100, {CONSTANT(0)}},
        {10, 1000, INFINITY, 100, {EXPONENTIAL(200 * MS)}},
        {10, 1000, 0, 100, {CONSTANT(UINT64_MAX)}},
        {10, 1000, 0, 100, {EXPONENTIAL(UINT64_MAX)}},
        {10, 1000, 1e300, 100, {UNIFORM(UINT64_MAX - 1000, UINT64_MAX - 1)}},
        {10, 1000, 0, 100, {UNIFORM(UINT64_MAX - 1000, UINT64_MAX - 1)}},
        {10, 1000, 61, 1e-300, {CONSTANT(0)}},
        {10, 0.01, 61, 1e8, {CONSTANT(0)}},
    };
    static struct simulate_result result;

    (void)state;
    for (size_t i = 0; i < COUNT(samples) * 6; i++) {
        struct plan_answer answer =
            lane(samples[i / 6].tuples, samples[i / 6].rate, samples[i / 6].cooling_s);
        struct plan_workload workload = {
            .poisson = i % 2, .hold = samples[i / 6].hold, .ports = i % 3};

        run(&answer, &workload, i, samples[i / 6].duration_s, &result);
        /* The first of even arrivals is at 0, and what is held for ever is held once. */
        assert_true(result.attempted > 0 || workload.poisson);
        if (samples[i / 6].hold.a >= UINT64_MAX - 1000 || isinf(samples[i / 6].cooling_s))
            assert_int_equal(result.attempted - result.refused - result.waiting, 10);
        assert_true(result.duration_s > 0 && isfinite(result.duration_s));
        assert_true(result.refused_share >= 0 && result.refused_share <= 1);
        assert_true(result.waited_share >= 0 && result.waited_share <= 1);
        assert_true(result.sustained_per_s >= 0 && isfinite(result.sustained_per_s));
        assert_true(result.in_use_max <= samples[i / 6].tuples);
        assert_true(result.in_use_mean >= 0 &&
                    result.in_use_mean <= floor(samples[i / 6].tuples) + 1e-6);
        assert_true(result.refused + result.waiting + result.waited <= result.attempted);
        assert_int_equal(result.points, SIMULATE_POINTS);
    }
}

static void test_nothing_held(void **state)
{
    struct plan_answer answer = lane(1, 1e9, 0);
    struct plan_workload workload = {.poisson = true, .hold = {CONSTANT(0)}};
    static struct simulate_result result;

    (void)state;
    run(&answer, &workload, 1, 0, &result);
    assert_int_equal(result.refused, 0);
    assert_true(isinf(result.first_refused_s));
    assert_close("mean", result.in_use_mean, 0, 0);
    assert_close("most", result.in_use_max, 1, 0);

    answer.tuples = 0;
    run(&answer, &workload, 1, 0, &result);
    assert_true(result.attempted > 0 && result.refused == result.attempted);
    assert_close("refused", result.refused_share, 1, 0);
    workload.ports = PLAN_PORTS_MANAGED;
    run(&answer, &workload, 1, 0, &result);
    assert_true(result.attempted > 0 && result.waiting == result.attempted);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_erlang_b),
        cmocka_unit_test(test_erlang_c),
        cmocka_unit_test(test_even),
        cmocka_unit_test(test_plan),
        cmocka_unit_test(test_even_not_whole),
        cmocka_unit_test(test_waiting),
        cmocka_unit_test(test_seeds),
        cmocka_unit_test(test_lanes),
        cmocka_unit_test(test_stop),
        cmocka_unit_test(test_stop_early),
        cmocka_unit_test(test_short),
        cmocka_unit_test(test_points),
        cmocka_unit_test(test_default_duration),
        cmocka_unit_test(test_beyond),
        cmocka_unit_test(test_extreme),
        cmocka_unit_test(test_nothing_held),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
