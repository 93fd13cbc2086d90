/* Thresholds: what is understood, what is refused and how, and how a run is judged by them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "threshold.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void test_good(void **state)
{
    static const struct threshold samples[] = {
        {"p99>5ms", METRIC_LATENCY, STAGE_TOTAL, 0.99, FAILURE_NONE, true, false, 5e6},
        {"p50<1us", METRIC_LATENCY, STAGE_TOTAL, 0.50, FAILURE_NONE, false, false, 1e3},
        {"p999>=1.5s", METRIC_LATENCY, STAGE_TOTAL, 0.999, FAILURE_NONE, true, true, 1.5e9},
        {"p9999<=7ns", METRIC_LATENCY, STAGE_TOTAL, 0.9999, FAILURE_NONE, false, true, 7},
        {"p05>0", METRIC_LATENCY, STAGE_TOTAL, 0.05, FAILURE_NONE, true, false, 0},
        {"mean>1ms", METRIC_LATENCY, STAGE_TOTAL, -1, FAILURE_NONE, true, false, 1e6},
        {"max>1ms", METRIC_LATENCY, STAGE_TOTAL, 1, FAILURE_NONE, true, false, 1e6},
        {"port_wait.max>0", METRIC_LATENCY, STAGE_PORT_WAIT, 1, FAILURE_NONE, true, false, 0},
        {"connect.p50>1ms", METRIC_LATENCY, STAGE_CONNECT, 0.5, FAILURE_NONE, true, false, 1e6},
        {"first_byte.p90>=1ms", METRIC_LATENCY, STAGE_FIRST_BYTE, 0.9, FAILURE_NONE, true, true,
         1e6},
        {"last_byte.mean>1ms", METRIC_LATENCY, STAGE_LAST_BYTE, -1, FAILURE_NONE, true, false, 1e6},
        {"close.p99<1ms", METRIC_LATENCY, STAGE_CLOSE, 0.99, FAILURE_NONE, false, false, 1e6},
        {"total.p99>1m", METRIC_LATENCY, STAGE_TOTAL, 0.99, FAILURE_NONE, true, false, 60e9},
        {"errors>0", METRIC_ERRORS, STAGE_TOTAL, 0, FAILURE_NONE, true, false, 0},
        {"refused>10", METRIC_ERRORS, STAGE_TOTAL, 0, FAILURE_REFUSED, true, false, 10},
        {"in_use_bind>=1", METRIC_ERRORS, STAGE_TOTAL, 0, FAILURE_IN_USE_BIND, true, true, 1},
        {"other>0", METRIC_ERRORS, STAGE_TOTAL, 0, FAILURE_OTHER, true, false, 0},
        {"rate<1000/s", METRIC_RATE, STAGE_TOTAL, 0, FAILURE_NONE, false, false, 1000},
        {"rate<=1.5k/s", METRIC_RATE, STAGE_TOTAL, 0, FAILURE_NONE, false, true, 1500},
        {"port_waits>0", METRIC_PORT_WAITS, STAGE_TOTAL, 0, FAILURE_NONE, true, false, 0},
    };

    (void)state;
    for (const struct threshold *want = samples; want < samples + COUNT(samples); want++) {
        struct threshold got;
        struct tw_error error = {0};

        memset(&got, 0x5a, sizeof(got));
        if (threshold_parse(want->text, &got, &error))
            fail_msg("'%s': %s", want->text, error.text);
        assert_ptr_equal(got.text, want->text);
        if (got.metric != want->metric || got.stage != want->stage ||
            fabs(got.share - want->share) > 1e-12 || got.failure != want->failure ||
            got.above != want->above || got.or_equal != want->or_equal || got.limit != want->limit)
            fail_msg("'%s': metric %d stage %d share %g failure %d above %d equal %d limit %g",
                     want->text, got.metric, got.stage, got.share, got.failure, got.above,
                     got.or_equal, got.limit);
    }
}

static const struct {
    const char *text;
    int rc;
    const char *expect; /* in the error */
} refused[] = {
    {"", -EINVAL, "'' has neither > nor <"},
    {"p99", -EINVAL, "'p99' has neither > nor <"},
    {"p99=5ms", -EINVAL, "'p99=5ms' has neither"},
    {">5ms", -EINVAL, "'>5ms': '' is no metric"},
    {"p>5ms", -EINVAL, "'p' is no metric"},
    {"p5>5ms", -EINVAL, "'p5' is no metric"},
    {"p100>5ms", -EINVAL, "'p100' is no metric"},
    {"p500>5ms", -EINVAL, "'p500' is no metric"},
    {"p99.9>5ms", -EINVAL, "'p99.9' is no metric"},
    {"p9999999>5ms", -EINVAL, "'p9999999' is no metric"},
    {"P99>5ms", -EINVAL, "'P99' is no metric"},
    {"p9x>5ms", -EINVAL, "'p9x' is no metric"},
    {" p99>5ms", -EINVAL, "' p99' is no metric"},
    {"p99 >5ms", -EINVAL, "'p99 ' is no metric"},
    {"p99=>5ms", -EINVAL, "'p99=' is no metric"},
    {"none>0", -EINVAL, "'none' is no metric"},
    {"nothing>0", -EINVAL, "'nothing' is no metric"},
    {"refuse>0", -EINVAL, "'refuse' is no metric"},
    {"refused.p99>0", -EINVAL, "'refused.p99' is no metric"},
    {"connect>1ms", -EINVAL, "'connect' is no metric"},
    {"connect.>1ms", -EINVAL, "'connect.' is no metric"},
    {".p99>1ms", -EINVAL, "'.p99' is no metric"},
    {"connect.p50.p50>1ms", -EINVAL, "'connect.p50.p50' is no metric"},
    {"p99>", -EINVAL, "''"},
    {"p99>5", -EINVAL, "'5' lacks a unit"},
    {"p99> 5ms", -EINVAL, "' 5ms'"},
    {"p99>>5ms", -EINVAL, "'>5ms'"},
    {"p99>=<5ms", -EINVAL, "'<5ms'"},
    {"p99>-5ms", -EINVAL, "'-5ms'"},
    {"p99>5/s", -EINVAL, "'/s'"},
    {"p99>9000h", -ERANGE, "'9000h'"},
    {"errors>1%", -EINVAL, "'1%' is not a number"},
    {"errors>", -EINVAL, "missing"},
    {"errors>-1", -EINVAL, "'-1'"},
    {"errors>18446744073709551615", -ERANGE, "'18446744073709551615'"},
    {"port_waits>1ms", -EINVAL, "'1ms'"},
    {"rate<1000", -EINVAL, "'1000' lacks a unit"},
    {"rate<0/s", -ERANGE, "'0/s'"},
};

static void test_bad(void **state)
{

    (void)state;
    for (size_t i = 0; i < COUNT(refused); i++) {
        struct threshold got, before;
        struct tw_error error = {0};
        int rc;

        memset(&got, 0x5a, sizeof(got));
        before = got;
        rc = threshold_parse(refused[i].text, &got, &error);
        if (rc != refused[i].rc || error.code != -rc || !strstr(error.text, refused[i].expect))
            fail_msg("'%s': %d '%s', where %d '%s' was expected", refused[i].text, rc, error.text,
                     refused[i].rc, refused[i].expect);
        assert_memory_equal(&got, &before, sizeof(got));
        assert_int_equal(threshold_parse(refused[i].text, &got, NULL), rc);
    }
}

/* Totals of 1..100 ns, so that each percentile is its own number; connects of 7 ns; 3 refused and
 * 2 timeouts; 500 connections in 4 s; 9 waits for a port. */
static struct run *made_up_run(void)
{
    struct run *run = calloc(1, sizeof(*run));

    assert_non_null(run);
    for (uint64_t ns = 1; ns <= 100; ns++)
        histogram_record(&run->stages[STAGE_TOTAL], ns);
    histogram_record(&run->stages[STAGE_CONNECT], 7);
    run->tally.failures[FAILURE_REFUSED] = 3;
    run->tally.failures[FAILURE_TIMEOUT] = 2;
    run->tally.completed = 700; /* 200 of them after the last launch */
    run->tally.in_time = 500;
    run->tally.port_waits.count = 9;
    run->duration_s = 4;
    return run;
}

static void test_judge(void **state)
{
    static const struct {
        const char *text;
        double value;
        bool missed;
    } samples[] = {
        {"p99>98ns", 99, true},     {"p99>99ns", 99, false},      {"p99>=99ns", 99, true},
        {"p99>=100ns", 99, false},  {"p99<99ns", 99, false},      {"p99<=99ns", 99, true},
        {"p99<100ns", 99, true},    {"p99<=98ns", 99, false},     {"p50>50ns", 50, false},
        {"p07>=7ns", 7, true},      {"p07>7ns", 7, false},        {"max>=100ns", 100, true},
        {"max>100ns", 100, false},  {"p999>=100ns", 100, true},   {"mean>50ns", 50.5, true},
        {"mean>51ns", 50.5, false}, {"total.p50<51ns", 50, true}, {"connect.p50>=7ns", 7, true},
        {"close.p99>0", 0, false},  {"close.p99>=0", 0, true},    {"errors>4", 5, true},
        {"errors>5", 5, false},     {"refused>2", 3, true},       {"timeout<=2", 2, true},
        {"reset>0", 0, false},      {"rate<125/s", 125, false},   {"rate<=125/s", 125, true},
        {"rate<126/s", 125, true},  {"rate>124/s", 125, true},    {"port_waits>8", 9, true},
        {"port_waits>9", 9, false},
    };
    struct run *run = made_up_run();

    (void)state;
    for (size_t i = 0; i < COUNT(samples); i++) {
        struct threshold threshold;

        assert_int_equal(threshold_parse(samples[i].text, &threshold, NULL), 0);
        if (threshold_value(&threshold, run) != samples[i].value ||
            threshold_missed(&threshold, run) != samples[i].missed)
            fail_msg("'%s': value %g, missed %d", samples[i].text, threshold_value(&threshold, run),
                     threshold_missed(&threshold, run));
    }
    free(run);
}

/* A run that was over before it began has no rate, and no division by zero. */
static void test_no_duration(void **state)
{
    struct run *run = made_up_run();
    struct threshold threshold;

    (void)state;
    run->duration_s = 0;
    assert_int_equal(threshold_parse("rate<1/s", &threshold, NULL), 0);
    assert_true(threshold_value(&threshold, run) == 0);
    assert_true(threshold_missed(&threshold, run));
    free(run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_bad),
        cmocka_unit_test(test_judge),
        cmocka_unit_test(test_no_duration),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
