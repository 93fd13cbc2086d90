/* The simulation against a model that is too plain to be wrong: it keeps every connection, and
 * looks at all of them for each figure. Both draw the same random numbers, so all must be equal. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "simulate.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define MS           1000000ULL

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

enum {
    MODEL_TUPLES = 12,
    MODEL_CONNECTIONS = 1000,
    ROUNDS = 1500,
};

struct model {
    /* Of each connection that was opened. */
    uint64_t start[MODEL_CONNECTIONS], end[MODEL_CONNECTIONS];
    bool waited[MODEL_CONNECTIONS];
    size_t opened;
    uint64_t refused_at[MODEL_CONNECTIONS];
    size_t refused;
    uint64_t waiting, longest_wait, first_refused, until, settle;
};

static void model_arrive(struct model *model, uint64_t free_at[], size_t tuples, uint64_t arrival,
                         const struct plan_workload *workload, uint64_t cooling,
                         struct random *random)
{
    size_t tuple = 0;
    uint64_t start, wait;

    for (size_t i = 1; i < tuples; i++)
        tuple = free_at[i] < free_at[tuple] ? i : tuple;
    start = free_at[tuple] > arrival ? free_at[tuple] : arrival;
    if (start > arrival && model->first_refused == UINT64_MAX)
        model->first_refused = arrival;
    if (start > arrival && workload->ports != PLAN_PORTS_MANAGED) {
        model->refused_at[model->refused++] = arrival;
        return;
    }
    wait = (start < model->until ? start : model->until) - arrival;
    model->longest_wait = wait > model->longest_wait ? wait : model->longest_wait;
    if (start >= model->until) {
        model->waiting++;
        return;
    }
    free_at[tuple] = start + distribution_draw(&workload->hold, random) + cooling;
    model->waited[model->opened] = start > arrival;
    model->start[model->opened] = start;
    model->end[model->opened++] = free_at[tuple];
}

static void model_run(struct model *model, const struct plan_answer *answer,
                      const struct plan_workload *workload, uint64_t seed, double duration_s)
{
    uint64_t free_at[MODEL_TUPLES] = {0}, arrival, longest = workload->hold.a;
    double due = 0, interval = 1e9 / answer->connections_per_s;
    struct random random;

    memset(model, 0, sizeof(*model));
    random_seed(&random, seed);
    model->first_refused = UINT64_MAX;
    model->until = (uint64_t)llround(duration_s * 1e9);
    if (workload->hold.kind == DISTRIBUTION_EXPONENTIAL)
        longest = 8 * workload->hold.a;
    if (workload->hold.kind == DISTRIBUTION_UNIFORM)
        longest = workload->hold.b;
    model->settle = longest + (uint64_t)llround(answer->cooling_s * 1e9);
    if (model->settle >= model->until)
        model->settle = 0;
    for (size_t n = 0;; n++) {
        due =
            workload->poisson ? due + random_exponential(&random, interval) : (double)n * interval;
        arrival = (uint64_t)llround(due);
        if (arrival >= model->until)
            return;
        assert_true(n < MODEL_CONNECTIONS);
        model_arrive(model, free_at, (size_t)answer->tuples, arrival, workload,
                     (uint64_t)llround(answer->cooling_s * 1e9), &random);
    }
}

static size_t model_in_use(const struct model *model, uint64_t at)
{
    size_t count = 0;

    for (size_t i = 0; i < model->opened; i++)
        count += model->start[i] <= at && model->end[i] > at;
    return count;
}

/* What is told of the time after it had settled. */
static void compare_measured(const struct model *model, const struct simulate_result *result)
{
    double opened = 0, refused = 0, waited = 0, area = 0;
    double span = (double)(model->until - model->settle);

    for (size_t i = 0; i < model->opened; i++) {
        uint64_t from = model->start[i] > model->settle ? model->start[i] : model->settle;
        uint64_t to = model->end[i] < model->until ? model->end[i] : model->until;

        opened += model->start[i] >= model->settle;
        waited += model->start[i] >= model->settle && model->waited[i];
        area += to > from ? (double)(to - from) : 0;
    }
    for (size_t i = 0; i < model->refused; i++)
        refused += model->refused_at[i] >= model->settle;
    assert_close("measured from", result->measured_from_s, (double)model->settle / 1e9, 0);
    if (opened + refused > 0) {
        assert_close("refused", result->refused_share, refused / (opened + refused), 1e-12);
        assert_close("waited", result->waited_share, waited / (opened + refused), 1e-12);
    }
    assert_close("sustained", result->sustained_per_s, opened / span * 1e9, 1e-6 * opened);
    assert_close("mean in use", result->in_use_mean, area / span, 1e-6);
}

static void compare(const struct model *model, const struct simulate_result *result)
{
    uint64_t waited = 0;
    size_t most = 0, at_start;

    /* Several may open at one time and end before another does (a hold of 0), so in order. */
    for (size_t i = 0; i < model->opened; i++) {
        at_start = 0;
        for (size_t j = 0; j <= i; j++)
            at_start += j == i || model->end[j] > model->start[i];
        most = at_start > most ? at_start : most;
        waited += model->waited[i];
    }
    assert_false(result->interrupted);
    assert_int_equal(result->attempted, model->opened + model->refused + model->waiting);
    assert_int_equal(result->refused, model->refused);
    assert_int_equal(result->waited, waited);
    assert_int_equal(result->waiting, model->waiting);
    assert_close("longest wait", result->longest_wait_s, (double)model->longest_wait / 1e9, 0);
    if (model->first_refused == UINT64_MAX)
        assert_true(isinf(result->first_refused_s));
    else
        assert_close("first", result->first_refused_s, (double)model->first_refused / 1e9, 0);
    assert_close("duration", result->duration_s, (double)model->until / 1e9, 0);
    assert_close("most in use", result->in_use_max, (double)most, 0);
    assert_int_equal(result->points, SIMULATE_POINTS);
    for (size_t i = 0; i < result->points; i++) {
        uint64_t at = (uint64_t)((double)model->until * (double)i / (SIMULATE_POINTS - 1));

        assert_close("point", result->in_use[i], (double)model_in_use(model, at), 0);
    }
    compare_measured(model, result);
}

/* Lanes of all kinds. Small numbers of ns too, so that many things happen at one time. */
static void test_model(void **state)
{
    static const enum plan_ports ports[] = {PLAN_PORTS_KERNEL, PLAN_PORTS_BIND, PLAN_PORTS_MANAGED};
    static struct model model;
    static struct simulate_result result;
    size_t refusals = 0, waits = 0, waiting = 0;
    struct random random;

    (void)state;
    random_seed(&random, 7);
    for (uint64_t seed = 0; seed < ROUNDS; seed++) {
        uint64_t tick = seed % 2 ? 1 : MS, a = random_next(&random) % 30 * tick;
        uint64_t cooling = random_next(&random) % 3 * (random_next(&random) % 40) * tick;
        struct plan_answer answer =
            lane((double)(1 + random_next(&random) % MODEL_TUPLES),
                 1e9 / (double)tick / (1 + random_unit(&random) * 9), (double)cooling / 1e9);
        struct plan_workload workload = {
            .poisson = random_next(&random) % 2,
            .hold = {.kind = random_next(&random) % DISTRIBUTION_ZIPF,
                     .a = a,
                     .b = a + random_next(&random) % 50 * tick},
            .ports = ports[random_next(&random) % COUNT(ports)],
        };
        double duration_s = (double)(1 + random_next(&random) % 500 * tick) / 1e9;

        model_run(&model, &answer, &workload, seed, duration_s);
        run(&answer, &workload, seed, duration_s, &result);
        compare(&model, &result);
        refusals += model.refused;
        waits += result.waited;
        waiting += model.waiting;
    }
    /* That all of it was tried. */
    assert_true(refusals > 10000 && waits > 5000 && waiting > 5000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
