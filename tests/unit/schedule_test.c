/* When connections are due, what is drawn at random, and the heap of waits. All seeds are fixed, so
 * a mean that is within three standard errors once is so for ever. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "heap.h"
#include "schedule.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define NS_PER_S     1000000000ULL
#define THREADS_MAX  7

/* All threads of one offer. */
struct crew {
    struct offer offer;
    uint32_t threads;
    struct random random[THREADS_MAX];
    struct schedule schedules[THREADS_MAX];
};

static void crew_init(struct crew *crew, double per_s, double ramp_from, double ramp_s,
                      bool poisson, uint32_t threads)
{
    assert_true(threads <= THREADS_MAX);
    crew->threads = threads;
    atomic_init(&crew->offer.per_s, per_s);
    crew->offer.ramp_from_per_s = ramp_from;
    crew->offer.ramp_s = ramp_s;
    for (uint32_t i = 0; i < threads; i++) {
        random_seed(&crew->random[i], 2000 + i);
        schedule_init(&crew->schedules[i], &crew->offer, poisson, i, threads, &crew->random[i]);
    }
}

/* The next connection of whichever thread has it first. */
static uint64_t crew_next_ns(struct crew *crew)
{
    struct schedule *first = &crew->schedules[0];
    uint64_t due;

    for (uint32_t i = 1; i < crew->threads; i++)
        if (crew->schedules[i].next_s < first->next_s)
            first = &crew->schedules[i];
    due = schedule_next_ns(first);
    schedule_advance(first);
    return due;
}

/* How many connections are due before a time; leaves the schedules there. */
static uint64_t crew_count_before(struct crew *crew, uint64_t end_ns)
{
    uint64_t count = 0;

    for (uint32_t i = 0; i < crew->threads; i++)
        for (; schedule_next_ns(&crew->schedules[i]) < end_ns; count++)
            schedule_advance(&crew->schedules[i]);
    return count;
}

static const uint32_t thread_counts[] = {1, 3, 7};

/* The threads' connections together are those of one thread, none twice and none missing. Sums of
 * doubles in another order differ by some 1e-12 of the time. */
static void test_split(void **state)
{
    static const struct {
        double per_s, ramp_from, ramp_s;
    } offers[] = {{1, 0, 0},     {3, 0, 0},         {200, 0, 0},     {333.3, 0, 0},
                  {1e5, 0, 0},   {1.0 / 60, 0, 0},  {1000, 100, 10}, {1000, 0, 10},
                  {10, 1000, 5}, {500, 1.0 / 60, 2}};

    (void)state;
    for (size_t o = 0; o < COUNT(offers); o++) {
        for (size_t t = 0; t < COUNT(thread_counts); t++) {
            struct crew one, many;

            crew_init(&one, offers[o].per_s, offers[o].ramp_from, offers[o].ramp_s, false, 1);
            crew_init(&many, offers[o].per_s, offers[o].ramp_from, offers[o].ramp_s, false,
                      thread_counts[t]);
            for (int i = 0; i < 20000; i++) {
                uint64_t want = crew_next_ns(&one), got = crew_next_ns(&many);
                uint64_t slack = 1 + want / 1000000000000;

                if (got > want + slack || want > got + slack)
                    fail_msg("offer %zu, %u threads, connection %d: %llu instead of %llu", o,
                             thread_counts[t], i, (unsigned long long)got,
                             (unsigned long long)want);
            }
        }
    }
}

static void test_exact_count(void **state)
{
    static const struct {
        double per_s;
        uint64_t seconds, count;
    } samples[] = {{200, 30, 6000},     {1, 30, 30}, {3, 100, 300},         {7, 3600, 25200},
                   {10000, 60, 600000}, {0.5, 9, 5}, {1.0 / 3600, 7200, 2}, {100000, 10, 1000000}};

    (void)state;
    for (size_t i = 0; i < COUNT(samples); i++) {
        for (size_t t = 0; t < COUNT(thread_counts); t++) {
            struct crew crew;
            uint64_t count;

            crew_init(&crew, samples[i].per_s, 0, 0, false, thread_counts[t]);
            count = crew_count_before(&crew, samples[i].seconds * NS_PER_S);
            if (count != samples[i].count)
                fail_msg("%g/s for %llu s on %u threads: %llu instead of %llu", samples[i].per_s,
                         (unsigned long long)samples[i].seconds, thread_counts[t],
                         (unsigned long long)count, (unsigned long long)samples[i].count);
        }
    }
}

/* Ten steps of 2 s each from FROM on, then TO. */
static void check_ramp(double from, double to, uint32_t threads, bool poisson)
{
    struct crew crew;

    crew_init(&crew, to, from, 20, poisson, threads);
    for (int step = 0; step < RAMP_STEPS + 3; step++) {
        int climbed = step < RAMP_STEPS ? step : RAMP_STEPS;
        double rate = from + (to - from) * climbed / RAMP_STEPS;
        double slack = poisson ? 3 * sqrt(2 * rate) : 1;
        uint64_t count = crew_count_before(&crew, (uint64_t)(step + 1) * 2 * NS_PER_S);

        assert_true(fabs(offer_at(&crew.offer, step * 2 + 0.001) - rate) < 1e-9);
        assert_true(fabs(offer_at(&crew.offer, step * 2 + 1.999) - rate) < 1e-9);
        if (fabs((double)count - 2 * rate) > slack)
            fail_msg("%g..%g/s, step %d: %llu connections instead of %g", from, to, step,
                     (unsigned long long)count, 2 * rate);
    }
}

static void test_ramp(void **state)
{
    (void)state;
    for (size_t t = 0; t < COUNT(thread_counts); t++) {
        check_ramp(100, 1100, thread_counts[t], false);
        check_ramp(1100, 100, thread_counts[t], false);
        check_ramp(0, 1000, thread_counts[t], false);
        check_ramp(0.001, 1000, thread_counts[t], false);
        check_ramp(100, 1100, thread_counts[t], true);
        check_ramp(0, 1000, thread_counts[t], true);
    }
}

static void test_poisson(void **state)
{
    static const double rates[] = {0.5, 200, 30000};
    const int samples = 100000;

    (void)state;
    for (size_t r = 0; r < COUNT(rates); r++) {
        for (size_t t = 0; t < COUNT(thread_counts); t++) {
            double sum = 0, squares = 0, mean, last = 0, want = 1 / rates[r];
            struct crew crew;

            crew_init(&crew, rates[r], 0, 0, true, thread_counts[t]);
            for (int i = 0; i < samples; i++) {
                double at = (double)crew_next_ns(&crew) / 1e9;

                assert_true(at >= last);
                sum += at - last;
                squares += (at - last) * (at - last);
                last = at;
            }
            mean = sum / samples;
            /* Of an exponential law the mean is the standard deviation, and the variance of the
             * sample variance is 8 / n of its square. */
            if (fabs(mean - want) > 3 * want / sqrt(samples) ||
                fabs(squares / samples - mean * mean - want * want) >
                    3 * want * want * sqrt(8.0 / samples))
                fail_msg("%g/s on %u threads: mean %g, variance %g", rates[r], thread_counts[t],
                         mean, squares / samples - mean * mean);
        }
    }
}

static void test_offer_changes(void **state)
{
    (void)state;
    for (size_t t = 0; t < COUNT(thread_counts); t++) {
        struct crew crew;
        uint64_t slack = thread_counts[t]; /* a gap under way is kept */

        crew_init(&crew, 200, 0, 0, false, thread_counts[t]);
        assert_int_equal(crew_count_before(&crew, 5 * NS_PER_S), 1000);
        atomic_store(&crew.offer.per_s, 4000);
        assert_in_range(crew_count_before(&crew, 10 * NS_PER_S), 20000 - 20 * slack, 20000 + slack);
        atomic_store(&crew.offer.per_s, 100);
        assert_in_range(crew_count_before(&crew, 15 * NS_PER_S), 500 - slack, 500 + slack);
        assert_true(offer_at(&crew.offer, 15) == 100);
    }
}

/* --- distributions ---------------------------------------------------------------------------- */

static void test_distribution_good(void **state)
{
    static const struct {
        const char *text;
        enum distribution_unit unit;
        struct distribution want;
    } samples[] = {
        {"10", DISTRIBUTION_NUMBER, {DISTRIBUTION_CONSTANT, 10, 0}},
        {"const:10", DISTRIBUTION_NUMBER, {DISTRIBUTION_CONSTANT, 10, 0}},
        {"0", DISTRIBUTION_NUMBER, {DISTRIBUTION_CONSTANT, 0, 0}},
        {"exp:10", DISTRIBUTION_NUMBER, {DISTRIBUTION_EXPONENTIAL, 10, 0}},
        {"uniform:1-10", DISTRIBUTION_NUMBER, {DISTRIBUTION_UNIFORM, 1, 10}},
        {"uniform:3-3", DISTRIBUTION_NUMBER, {DISTRIBUTION_UNIFORM, 3, 3}},
        {"zipf:64", DISTRIBUTION_NUMBER, {DISTRIBUTION_ZIPF, 64, 0}},
        {"zipf:1000000", DISTRIBUTION_NUMBER, {DISTRIBUTION_ZIPF, 1000000, 0}},
        {"1KiB", DISTRIBUTION_SIZE, {DISTRIBUTION_CONSTANT, 1024, 0}},
        {"exp:13KiB", DISTRIBUTION_SIZE, {DISTRIBUTION_EXPONENTIAL, 13312, 0}},
        {"uniform:1KiB-64KiB", DISTRIBUTION_SIZE, {DISTRIBUTION_UNIFORM, 1024, 65536}},
        {"10ms", DISTRIBUTION_TIME_NS, {DISTRIBUTION_CONSTANT, 10000000, 0}},
        {"exp:1.5s", DISTRIBUTION_TIME_NS, {DISTRIBUTION_EXPONENTIAL, 1500000000, 0}},
        {"uniform:0-5ms", DISTRIBUTION_TIME_NS, {DISTRIBUTION_UNIFORM, 0, 5000000}},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(samples); i++) {
        struct distribution got;
        struct tw_error error = {0};

        if (distribution_parse(tw_view_of(samples[i].text), samples[i].unit, &got, &error))
            fail_msg("'%s': %s", samples[i].text, error.text);
        assert_int_equal(got.kind, samples[i].want.kind);
        assert_true(got.a == samples[i].want.a && got.b == samples[i].want.b);
    }
}

static void test_distribution_bad(void **state)
{
    static const struct {
        const char *text;
        enum distribution_unit unit;
        int rc;
        const char *expect;
    } samples[] = {
        {"", DISTRIBUTION_NUMBER, -EINVAL, "missing"},
        {"x", DISTRIBUTION_NUMBER, -EINVAL, "'x'"},
        {"4294967296", DISTRIBUTION_NUMBER, -ERANGE, "'4294967296'"},
        {"1KiB", DISTRIBUTION_NUMBER, -EINVAL, "'1KiB'"},
        {"gauss:1", DISTRIBUTION_NUMBER, -EINVAL, "'gauss:1' is no distribution"},
        {"gauss:1", DISTRIBUTION_NUMBER, -EINVAL, "zipf:MAX"},
        {":1", DISTRIBUTION_NUMBER, -EINVAL, "':1' is no distribution"},
        {"Exp:1", DISTRIBUTION_NUMBER, -EINVAL, "'Exp:1'"},
        {"exp:", DISTRIBUTION_NUMBER, -EINVAL, "missing"},
        {"exp:1:2", DISTRIBUTION_NUMBER, -EINVAL, "'1:2'"},
        {"uniform:", DISTRIBUTION_NUMBER, -EINVAL, "missing"},
        {"uniform:1", DISTRIBUTION_NUMBER, -EINVAL, "missing"},
        {"uniform:1-", DISTRIBUTION_NUMBER, -EINVAL, "missing"},
        {"uniform:-1", DISTRIBUTION_NUMBER, -EINVAL, "missing"},
        {"uniform:1-2-3", DISTRIBUTION_NUMBER, -EINVAL, "'2-3'"},
        {"uniform:2-1", DISTRIBUTION_NUMBER, -EINVAL, "'uniform:2-1' is reversed"},
        {"zipf:0", DISTRIBUTION_NUMBER, -ERANGE, "zipf:0 "},
        {"zipf:1000001", DISTRIBUTION_NUMBER, -ERANGE, "zipf:1000001 "},
        {"zipf:64", DISTRIBUTION_SIZE, -EINVAL, "'zipf:64' is no distribution"},
        {"exp:1s", DISTRIBUTION_SIZE, -EINVAL, "'1s'"},
        {"uniform:64KiB-1KiB", DISTRIBUTION_SIZE, -EINVAL, "reversed"},
        {"10", DISTRIBUTION_TIME_NS, -EINVAL, "'10' lacks a unit"},
        {"uniform:1-5ms", DISTRIBUTION_TIME_NS, -EINVAL, "'1' lacks a unit"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(samples); i++) {
        struct distribution got = {DISTRIBUTION_ZIPF, 111, 222};
        struct tw_error error = {0};
        int rc = distribution_parse(tw_view_of(samples[i].text), samples[i].unit, &got, &error);

        if (rc != samples[i].rc || error.code != -rc || !strstr(error.text, samples[i].expect))
            fail_msg("'%s': %d '%s'", samples[i].text, rc, error.text);
        assert_true(got.kind == DISTRIBUTION_ZIPF && got.a == 111 && got.b == 222);
    }
}

static void test_draws(void **state)
{
    static const struct {
        struct distribution distribution;
        uint64_t min, max;
        double mean; /* by hand */
    } samples[] = {
        {{DISTRIBUTION_CONSTANT, 17, 0}, 17, 17, 17},
        {{DISTRIBUTION_EXPONENTIAL, 0, 0}, 0, 0, 0},
        {{DISTRIBUTION_EXPONENTIAL, 13312, 0}, 0, UINT64_MAX, 13312},
        {{DISTRIBUTION_EXPONENTIAL, 10000000, 0}, 0, UINT64_MAX, 1e7},
        {{DISTRIBUTION_UNIFORM, 3, 3}, 3, 3, 3},
        {{DISTRIBUTION_UNIFORM, 0, 1}, 0, 1, 0.5},
        {{DISTRIBUTION_UNIFORM, 1, 6}, 1, 6, 3.5},
        {{DISTRIBUTION_UNIFORM, 1024, 65536}, 1024, 65536, 33280},
        {{DISTRIBUTION_ZIPF, 1, 0}, 1, 1, 1},
        {{DISTRIBUTION_ZIPF, 2, 0}, 1, 2, 1.36907}, /* ln 2 and ln 3/2 of ln 3 */
        {{DISTRIBUTION_ZIPF, 64, 0}, 1, 64, 14.8507},
    };
    const int draws = 200000;

    (void)state;
    for (size_t i = 0; i < COUNT(samples); i++) {
        double sum = 0, squares = 0, mean = distribution_mean(&samples[i].distribution), variance;
        struct random random;

        random_seed(&random, 42 + i);
        for (int n = 0; n < draws; n++) {
            uint64_t value = distribution_draw(&samples[i].distribution, &random);

            assert_true(value >= samples[i].min && value <= samples[i].max);
            sum += (double)value;
            squares += (double)value * (double)value;
        }
        sum /= draws;
        variance = fmax(squares / draws - sum * sum, 0);
        if (fabs(mean - samples[i].mean) > 1e-4 * mean ||
            fabs(sum - mean) > 3 * sqrt(variance / draws) + 1e-9 * mean)
            fail_msg("sample %zu: mean %g of %g (%g)", i, sum, mean, samples[i].mean);
    }
}

/* Each value as often as it should be, and the smallest and the largest do come. */
static void check_shares(struct distribution distribution, const double *shares, size_t count)
{
    const int draws = 100000;
    uint64_t seen[16] = {0};
    struct random random;

    random_seed(&random, 7);
    for (int n = 0; n < draws; n++)
        seen[distribution_draw(&distribution, &random)]++;
    for (size_t i = 0; i < count; i++) {
        double want = shares[i] * draws;

        if (fabs((double)seen[i] - want) > 4 * sqrt(want))
            fail_msg("kind %d: %zu came %llu times instead of %g", distribution.kind, i,
                     (unsigned long long)seen[i], want);
    }
}

static void test_shares(void **state)
{
    double zipf[11] = {0}, uniform[7] = {0};

    (void)state;
    for (int k = 1; k <= 10; k++)
        zipf[k] = log((k + 1.0) / k) / log(11);
    for (int k = 1; k <= 6; k++)
        uniform[k] = 1.0 / 6;
    check_shares((struct distribution){DISTRIBUTION_ZIPF, 10, 0}, zipf, COUNT(zipf));
    check_shares((struct distribution){DISTRIBUTION_UNIFORM, 1, 6}, uniform, COUNT(uniform));
}

static void test_random(void **state)
{
    /* xoshiro256++ from the state 1, 2, 3, 4: the values of the authors' C code. */
    static const uint64_t want[] = {41943041ULL, 58720359ULL, 3588806011781223ULL,
                                    3591011842654386ULL};
    struct random a = {{1, 2, 3, 4}}, b;

    (void)state;
    for (size_t i = 0; i < COUNT(want); i++)
        assert_true(random_next(&a) == want[i]);
    random_seed(&a, 5);
    random_seed(&b, 5);
    for (int i = 0; i < 1000; i++)
        assert_true(random_next(&a) == random_next(&b));
    random_seed(&b, 6);
    assert_true(random_next(&a) != random_next(&b));
    for (int i = 0; i < 100000; i++) {
        double unit = random_unit(&a);

        assert_true(unit >= 0 && unit < 1);
    }
}

/* --- the heap --------------------------------------------------------------------------------- */

#define ITEMS 100000

static int compare(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

static void test_heap_order(void **state)
{
    uint64_t *times = calloc(ITEMS, sizeof(*times)), *sorted = calloc(ITEMS, sizeof(*sorted));
    struct heap heap = {0};
    struct random random;

    (void)state;
    assert_true(times && sorted);
    random_seed(&random, 9);
    assert_true(heap_next_ns(&heap) == UINT64_MAX);
    for (size_t i = 0; i < ITEMS; i++) {
        /* Many equal ones among them. */
        times[i] = sorted[i] = i % 2 ? random_next(&random) : random_next(&random) % 1000;
        assert_int_equal(heap_push(&heap, times[i], &times[i]), 0);
    }
    qsort(sorted, ITEMS, sizeof(*sorted), compare);
    for (size_t i = 0; i < ITEMS; i++) {
        struct heap_item item;

        assert_true(heap_next_ns(&heap) == sorted[i]);
        item = heap_pop(&heap);
        assert_true(item.at_ns == sorted[i]);
        assert_true(*(uint64_t *)item.what == item.at_ns);
        *(uint64_t *)item.what = UINT64_MAX; /* none comes twice */
    }
    assert_int_equal(heap.count, 0);
    assert_true(heap_next_ns(&heap) == UINT64_MAX);
    heap_fini(&heap);
    assert_null(heap.items);
    free(times);
    free(sorted);
}

/* Waits that come and go, as in a run: nothing pops before its time or behind a later one. */
static void test_heap_turns(void **state)
{
    struct heap heap = {0};
    struct random random;
    uint64_t now = 0, pushed = 0, popped = 0;

    (void)state;
    random_seed(&random, 10);
    while (pushed < ITEMS || heap.count) {
        for (unsigned n = pushed < ITEMS ? random_next(&random) % 4 : 0; n; n--, pushed++)
            assert_int_equal(heap_push(&heap, now + random_next(&random) % 1000, NULL), 0);
        now += random_next(&random) % 10;
        for (uint64_t last = 0; heap_next_ns(&heap) <= now; popped++) {
            struct heap_item item = heap_pop(&heap);

            assert_true(item.at_ns >= last && item.at_ns <= now);
            last = item.at_ns;
        }
    }
    assert_true(pushed == popped);
    heap_fini(&heap);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_split),
        cmocka_unit_test(test_exact_count),
        cmocka_unit_test(test_ramp),
        cmocka_unit_test(test_poisson),
        cmocka_unit_test(test_offer_changes),
        cmocka_unit_test(test_distribution_good),
        cmocka_unit_test(test_distribution_bad),
        cmocka_unit_test(test_draws),
        cmocka_unit_test(test_shares),
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_heap_order),
        cmocka_unit_test(test_heap_turns),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
