#include "distribution.h"

#include <errno.h>
#include <math.h>

static uint64_t rotate(uint64_t x, int by)
{
    return x << by | x >> (64 - by);
}

void random_seed(struct random *random, uint64_t seed)
{
    /* SplitMix64, as the authors of xoshiro advise. */
    for (int i = 0; i < 4; i++) {
        uint64_t x = seed += 0x9e3779b97f4a7c15ULL;

        x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ULL;
        x = (x ^ x >> 27) * 0x94d049bb133111ebULL;
        random->state[i] = x ^ x >> 31;
    }
}

uint64_t random_next(struct random *random)
{
    uint64_t *s = random->state;
    uint64_t result = rotate(s[0] + s[3], 23) + s[0], t = s[1] << 17;

    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate(s[3], 45);
    return result;
}

double random_unit(struct random *random)
{
    return (double)(random_next(random) >> 11) * 0x1p-53;
}

double random_exponential(struct random *random, double mean)
{
    return -mean * log1p(-random_unit(random));
}

static int parse_one(struct tw_view text, enum distribution_unit unit, uint64_t *out,
                     struct tw_error *error)
{
    switch (unit) {
    case DISTRIBUTION_SIZE:
        return tw_parse_size(text, out, error);
    case DISTRIBUTION_TIME_NS:
        return tw_parse_duration(text, out, error);
    default:
        return tw_parse_number(text, "number", 0, UINT32_MAX, out, error);
    }
}

int distribution_parse(struct tw_view text, enum distribution_unit unit, struct distribution *out,
                       struct tw_error *error)
{
    struct distribution result = {.kind = DISTRIBUTION_CONSTANT};
    struct tw_view rest = text, kind = tw_view_cut(&rest, ':'), first;
    int rc;

    if (!rest.data) {
        rest = text;
    } else if (tw_view_equals(kind, "exp")) {
        result.kind = DISTRIBUTION_EXPONENTIAL;
    } else if (tw_view_equals(kind, "uniform")) {
        result.kind = DISTRIBUTION_UNIFORM;
    } else if (tw_view_equals(kind, "zipf") && unit == DISTRIBUTION_NUMBER) {
        result.kind = DISTRIBUTION_ZIPF;
    } else if (!tw_view_equals(kind, "const")) {
        return tw_error_set(error, EINVAL,
                            "'%.*s' is no distribution; known are exp:MEAN, uniform:FROM-TO%s",
                            (int)(text.len < 60 ? text.len : 60), text.data,
                            unit == DISTRIBUTION_NUMBER ? ", zipf:MAX" : "");
    }
    first = result.kind == DISTRIBUTION_UNIFORM ? tw_view_cut(&rest, '-') : rest;
    if ((rc = parse_one(first, unit, &result.a, error)))
        return rc;
    if (result.kind == DISTRIBUTION_UNIFORM) {
        if ((rc = parse_one(rest, unit, &result.b, error)))
            return rc;
        if (result.b < result.a)
            return tw_error_set(error, EINVAL, "uniform range '%.*s' is reversed",
                                (int)(text.len < 60 ? text.len : 60), text.data);
    }
    if (result.kind == DISTRIBUTION_ZIPF && (result.a < 1 || result.a > 1000000))
        return tw_error_set(error, ERANGE, "zipf:%llu is outside 1..1000000",
                            (unsigned long long)result.a);
    *out = result;
    return 0;
}

/* Draws from the continuous 1/x law on 1..n+1 and rounds down, which is within a few per cent of
 * the discrete one and needs no table. */
static uint64_t draw_zipf(uint64_t n, struct random *random)
{
    uint64_t k = (uint64_t)exp(random_unit(random) * log((double)n + 1));

    return k < 1 ? 1 : k > n ? n : k;
}

uint64_t distribution_draw(const struct distribution *distribution, struct random *random)
{
    switch (distribution->kind) {
    case DISTRIBUTION_EXPONENTIAL:
        return (uint64_t)llround(random_exponential(random, (double)distribution->a));
    case DISTRIBUTION_UNIFORM:
        return distribution->a +
               (uint64_t)(random_unit(random) * (double)(distribution->b - distribution->a + 1));
    case DISTRIBUTION_ZIPF:
        return draw_zipf(distribution->a, random);
    default:
        return distribution->a;
    }
}

double distribution_mean(const struct distribution *distribution)
{
    double n = (double)distribution->a;

    switch (distribution->kind) {
    case DISTRIBUTION_UNIFORM:
        return ((double)distribution->a + (double)distribution->b) / 2;
    case DISTRIBUTION_ZIPF: {
        /* E[floor(x)] = sum of ln((k+1)/k) * k / ln(n+1) = (n ln(n+1) - ln n!) / ln(n+1) */
        return n - lgamma(n + 1) / log(n + 1);
    }
    default:
        return n;
    }
}
