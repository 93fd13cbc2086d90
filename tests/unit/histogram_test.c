/* The histogram against exact values: its buckets, its error bound, its percentiles and merging. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "histogram.h"

#define MILLION 1000000

/* SplitMix64: any sequence that is the same in each run will do. */
static uint64_t next_random(uint64_t *state)
{
    uint64_t x = *state += 0x9e3779b97f4a7c15ULL;

    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ULL;
    x = (x ^ x >> 27) * 0x94d049bb133111ebULL;
    return x ^ x >> 31;
}

/* Values of all magnitudes, each magnitude as often as another. */
static uint64_t next_value(uint64_t *state)
{
    uint64_t value = next_random(state);

    return value >> (next_random(state) % 60 + 4);
}

static struct histogram *new_histogram(void)
{
    struct histogram *histogram = calloc(1, sizeof(*histogram));

    assert_non_null(histogram);
    return histogram;
}

/* The end of a value's bucket: not below it, nor 1/128 of it above. */
static void check_value(uint64_t value)
{
    size_t bucket = histogram_bucket(value);
    uint64_t end = histogram_bucket_end(bucket);

    if (bucket >= HISTOGRAM_BUCKETS || end < value || (end != value && (end - value) > value / 128))
        fail_msg("%llu: bucket %zu ends at %llu", (unsigned long long)value, bucket,
                 (unsigned long long)end);
}

static void test_exact_below_256(void **state)
{
    (void)state;
    for (uint64_t value = 0; value < 256; value++) {
        assert_int_equal(histogram_bucket(value), value);
        assert_true(histogram_bucket_end(value) == value);
    }
    assert_int_equal(histogram_bucket(256), 256);
    assert_int_equal(histogram_bucket(257), 256);
    assert_int_equal(histogram_bucket(258), 257);
}

/* The end of the last bucket in use may be a value that never was. */
static void test_never_above_max(void **state)
{
    struct histogram *histogram = new_histogram();

    (void)state;
    histogram_record(histogram, 1000);
    histogram_record(histogram, 1000);
    assert_true(histogram_bucket_end(histogram_bucket(1000)) == 1003);
    assert_true(histogram_percentile(histogram, 0.5) == 1000);
    free(histogram);
}

/* Each bucket begins where the one before ends, up to the last value that there is. */
static void test_buckets_join(void **state)
{
    uint64_t begin = 0;

    (void)state;
    for (size_t bucket = 0; bucket < HISTOGRAM_BUCKETS; bucket++) {
        uint64_t end = histogram_bucket_end(bucket);

        assert_true(end >= begin);
        assert_int_equal(histogram_bucket(begin), bucket);
        assert_int_equal(histogram_bucket(end), bucket);
        check_value(begin);
        begin = end + 1;
    }
    assert_true(begin == 0);
}

static void test_powers_of_two(void **state)
{
    (void)state;
    for (int shift = 0; shift < 64; shift++) {
        uint64_t power = 1ULL << shift;

        check_value(power - 1);
        check_value(power);
        check_value(power + 1);
        if (shift >= 8)
            assert_true(histogram_bucket(power) == histogram_bucket(power - 1) + 1);
    }
    check_value(UINT64_MAX);
    assert_int_equal(histogram_bucket(UINT64_MAX), HISTOGRAM_BUCKETS - 1);
}

static void test_largest_value(void **state)
{
    struct histogram *histogram = new_histogram();

    (void)state;
    histogram_record(histogram, UINT64_MAX);
    assert_true(histogram_percentile(histogram, 0.5) == UINT64_MAX);
    histogram_record(histogram, 0);
    assert_true(histogram->min == 0 && histogram->max == UINT64_MAX);
    assert_true(histogram_percentile(histogram, 0.5) == 0);
    assert_true(histogram_percentile(histogram, 0.51) == UINT64_MAX);
    free(histogram);
}

static void test_empty(void **state)
{
    struct histogram *histogram = new_histogram(), *other = new_histogram();

    (void)state;
    assert_true(histogram_percentile(histogram, 0) == 0);
    assert_true(histogram_percentile(histogram, 0.5) == 0);
    assert_true(histogram_percentile(histogram, 1) == 0);
    assert_true(histogram_mean(histogram) == 0);
    histogram_add(histogram, other);
    assert_memory_equal(histogram, other, sizeof(*histogram));
    /* An empty one must not make the minimum 0. */
    histogram_record(other, 7);
    histogram_add(other, histogram);
    assert_true(other->min == 7 && other->max == 7 && other->count == 1);
    histogram_add(histogram, other);
    assert_memory_equal(histogram, other, sizeof(*histogram));
    histogram_clear(other);
    assert_true(other->count == 0 && histogram_percentile(other, 1) == 0);
    free(histogram);
    free(other);
}

/* The p-th percentile of n samples is the smallest that ceil(p n / 100) of them do not exceed: in
 * whole numbers, as doubles would have it that 7 % of 100 are more than 7. */
static void test_ranks(void **state)
{
    struct histogram *histogram = new_histogram();

    (void)state;
    for (uint64_t n = 1; n <= 250; n++) {
        histogram_record(histogram, n - 1); /* 0 .. n-1, each in a bucket of its own */
        for (uint64_t p = 0; p <= 100; p++) {
            uint64_t rank = (p * n + 99) / 100, want = rank ? rank - 1 : 0;
            uint64_t got = histogram_percentile(histogram, (double)p / 100);

            if (got != want)
                fail_msg("p%llu of 0..%llu: %llu instead of %llu", (unsigned long long)p,
                         (unsigned long long)n - 1, (unsigned long long)got,
                         (unsigned long long)want);
        }
    }
    free(histogram);
}

static int compare(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

/* Shares in ten-thousandths: p0 .. p100 and the nines. */
static void check_share(const struct histogram *histogram, const uint64_t *sorted,
                        uint64_t share_10000)
{
    uint64_t rank = (share_10000 * MILLION + 9999) / 10000;
    uint64_t truth = sorted[rank ? rank - 1 : 0];
    uint64_t got = histogram_percentile(histogram, (double)share_10000 / 10000);

    if (got < truth || got > histogram->max || (got - truth) > truth / 128)
        fail_msg("p%.2f: %llu for %llu", (double)share_10000 / 100, (unsigned long long)got,
                 (unsigned long long)truth);
}

static void test_error_bound(void **state)
{
    struct histogram *histogram = new_histogram();
    uint64_t *values = calloc(MILLION, sizeof(*values)), seed = 1, sum = 0;

    (void)state;
    assert_non_null(values);
    for (size_t i = 0; i < MILLION; i++) {
        values[i] = next_value(&seed);
        sum += values[i] >>= 4; /* so that the sum of all fits */
        check_value(values[i]);
        histogram_record(histogram, values[i]);
    }
    qsort(values, MILLION, sizeof(*values), compare);
    for (uint64_t p = 0; p <= 100; p++)
        check_share(histogram, values, p * 100);
    check_share(histogram, values, 9990);
    check_share(histogram, values, 9999);
    assert_true(histogram->min == values[0]);
    assert_true(histogram->max == values[MILLION - 1]);
    assert_true(histogram->count == MILLION);
    assert_true(histogram->sum == sum);
    assert_true(fabs(histogram_mean(histogram) - (double)sum / MILLION) <= (double)sum * 1e-15);
    free(values);
    free(histogram);
}

static void test_merge(void **state)
{
    struct histogram *parts[3], *sum = new_histogram(), *together = new_histogram();
    uint64_t seed = 2;

    (void)state;
    for (int i = 0; i < 3; i++)
        parts[i] = new_histogram();
    for (int i = 0; i < 30000; i++) {
        uint64_t value = next_value(&seed);

        histogram_record(parts[next_random(&seed) % 3], value);
        histogram_record(together, value);
    }
    for (int i = 0; i < 3; i++) {
        assert_true(parts[i]->count > 0);
        histogram_add(sum, parts[i]);
        free(parts[i]);
    }
    assert_memory_equal(sum, together, sizeof(*sum));
    free(sum);
    free(together);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exact_below_256), cmocka_unit_test(test_never_above_max),
        cmocka_unit_test(test_buckets_join),    cmocka_unit_test(test_powers_of_two),
        cmocka_unit_test(test_largest_value),   cmocka_unit_test(test_empty),
        cmocka_unit_test(test_ranks),           cmocka_unit_test(test_error_bound),
        cmocka_unit_test(test_merge),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
