#include "histogram.h"

#include <math.h>
#include <string.h>

void histogram_clear(struct histogram *histogram)
{
    memset(histogram, 0, sizeof(*histogram));
}

void histogram_add(struct histogram *into, const struct histogram *from)
{
    if (from->count == 0)
        return;
    if (into->count == 0 || from->min < into->min)
        into->min = from->min;
    if (from->max > into->max)
        into->max = from->max;
    into->count += from->count;
    into->sum += from->sum;
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++)
        into->buckets[i] += from->buckets[i];
}

uint64_t histogram_bucket_end(size_t bucket)
{
    size_t shift = bucket >> HISTOGRAM_HALF_BITS;

    /* The first two halves are the exact values 0..255. */
    shift = shift > 1 ? shift - 1 : 0;
    return ((uint64_t)(bucket - (shift << HISTOGRAM_HALF_BITS) + 1) << shift) - 1;
}

uint64_t histogram_percentile(const struct histogram *histogram, double share)
{
    /* 0.07 is a little more than 7 % as a double: without nextafter() 7 % of 100 were 8. */
    uint64_t rank = (uint64_t)ceil(nextafter(share, 0) * (double)histogram->count), seen = 0;

    if (histogram->count == 0)
        return 0;
    if (rank < 1)
        rank = 1;
    if (rank >= histogram->count)
        return histogram->max;
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += histogram->buckets[i];
        if (seen >= rank) {
            uint64_t end = histogram_bucket_end(i);

            return end < histogram->max ? end : histogram->max;
        }
    }
    return histogram->max;
}

double histogram_mean(const struct histogram *histogram)
{
    return histogram->count ? (double)histogram->sum / (double)histogram->count : 0;
}
