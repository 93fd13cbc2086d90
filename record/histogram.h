/*
 * histogram.h - counts of times in a full-range log-linear histogram, in the layout of HdrHistogram
 * with 2 significant digits and a unit of 1 ns.
 *
 * Values below 256 have a bucket of their own. Each power of two above is split into 128 equal
 * buckets, so a bucket of values around v is at most v/128 wide, and a percentile, which is told as
 * the upper end of its bucket (never more than the exact maximum), is too high by less than 1/128 =
 * 0.8 % of its value, never too low. Mean, minimum, maximum and count are exact. Every 64-bit value
 * has a bucket: no sample is dropped.
 *
 * A plain struct; zeroed it is empty. Recording takes a few nanoseconds. No locking.
 */
#ifndef HISTOGRAM_H
#define HISTOGRAM_H

#include <stddef.h>
#include <stdint.h>

#define HISTOGRAM_HALF_BITS 7
#define HISTOGRAM_HALF      (1u << HISTOGRAM_HALF_BITS)
#define HISTOGRAM_BUCKETS   ((64 - HISTOGRAM_HALF_BITS + 1) * HISTOGRAM_HALF)

struct histogram {
    uint64_t count;
    uint64_t sum;
    uint64_t min;
    uint64_t max;
    uint64_t buckets[HISTOGRAM_BUCKETS];
};

static inline size_t histogram_bucket(uint64_t value)
{
    unsigned shift =
        63 - HISTOGRAM_HALF_BITS - (unsigned)__builtin_clzll(value | (2 * HISTOGRAM_HALF - 1));

    return ((size_t)shift << HISTOGRAM_HALF_BITS) + (size_t)(value >> shift);
}

static inline void histogram_record(struct histogram *histogram, uint64_t value)
{
    histogram->buckets[histogram_bucket(value)]++;
    histogram->sum += value;
    if (histogram->count++ == 0 || value < histogram->min)
        histogram->min = value;
    if (value > histogram->max)
        histogram->max = value;
}

void histogram_clear(struct histogram *histogram);
void histogram_add(struct histogram *into, const struct histogram *from);

/* The value that a share (0..1) of the samples does not exceed; 0 without samples. */
uint64_t histogram_percentile(const struct histogram *histogram, double share);
double histogram_mean(const struct histogram *histogram);

/* The largest value that falls into the bucket. */
uint64_t histogram_bucket_end(size_t bucket);

#endif
