/*
 * lab_differential.h - `lab --differential`: random calls, predicted by the rules, made by the
 * kernel.
 */
#ifndef LAB_DIFFERENTIAL_H
#define LAB_DIFFERENTIAL_H

#include <stdbool.h>
#include <stdint.h>

struct lab_differential {
    uint64_t for_ns; /* 0: no limit, or the preset one when there is no count either */
    uint64_t count;  /* of calls; 0: no limit */
    uint64_t seed;   /* 0: another one each time */
    bool quiet;      /* print nothing but a difference */
};

/* Returns an exit code. */
int lab_differential(const struct lab_differential *settings);

#endif
