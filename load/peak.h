/*
 * peak.h - finds the highest rate that is held: doubles the offered rate until a step misses a
 * limit (or halves it until one is held), then halves the gap between the best step and the lowest
 * miss. Decides from the seconds of a run.
 */
#ifndef PEAK_H
#define PEAK_H

#include "run.h"
#include "schedule.h"
#include "threshold.h"

/* A step lasts this long; its first second, in which the rate changes, is not judged. */
#define PEAK_STEP_S 4

/* Halvings after the first miss: the answer is within 1/32 of the gap. */
#define PEAK_HALVINGS 5

/* A search that began too high goes down by halves, but not below this. */
#define PEAK_FLOOR_PER_S 1

/* A step holds its rate when at least this share of its connections was launched and completed. */
#define PEAK_SHARE 0.97

struct peak {
    struct offer *offer;
    const struct threshold *limits;
    size_t limit_count;
    double best_per_s;   /* the highest rate held so far; 0: none */
    double missed_per_s; /* the lowest rate missed so far; 0: none */
    unsigned halvings;
    unsigned second; /* of the step */
    struct run step; /* what the judged seconds of the step add up to */
};

/* Takes in one second. Returns true when the search is over. */
bool peak_second(struct peak *peak, const struct second *second, const struct histogram *total);

#endif
