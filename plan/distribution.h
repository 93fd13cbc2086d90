/*
 * distribution.h - random quantities as people write them: 1KiB, exp:13KiB, uniform:1KiB-64KiB,
 * zipf:64. The generator is xoshiro256++, seeded, one a thread: a run can be repeated.
 */
#ifndef DISTRIBUTION_H
#define DISTRIBUTION_H

#include <stdbool.h>
#include <stdint.h>

#include "tidewait/parse.h"

struct random {
    uint64_t state[4];
};

void random_seed(struct random *random, uint64_t seed);
uint64_t random_next(struct random *random);
double random_unit(struct random *random); /* 0 <= x < 1 */
double random_exponential(struct random *random, double mean);

enum distribution_kind {
    DISTRIBUTION_CONSTANT,
    DISTRIBUTION_EXPONENTIAL, /* a is the mean */
    DISTRIBUTION_UNIFORM,     /* a..b, both included */
    DISTRIBUTION_ZIPF,        /* 1..a, with weights 1/k */
};

struct distribution {
    enum distribution_kind kind;
    uint64_t a;
    uint64_t b;
};

/* What the numbers are. */
enum distribution_unit {
    DISTRIBUTION_NUMBER,  /* 10, uniform:1-10, zipf:64 */
    DISTRIBUTION_SIZE,    /* 1KiB, exp:13KiB, uniform:1KiB-64KiB */
    DISTRIBUTION_TIME_NS, /* 10ms, exp:10ms, uniform:1ms-5ms */
};

int distribution_parse(struct tw_view text, enum distribution_unit unit, struct distribution *out,
                       struct tw_error *error);
uint64_t distribution_draw(const struct distribution *distribution, struct random *random);
double distribution_mean(const struct distribution *distribution);

static inline bool distribution_is_zero(const struct distribution *distribution)
{
    return distribution->kind == DISTRIBUTION_CONSTANT && distribution->a == 0;
}

#endif
