/*
 * schedule.h - when connections are due in an open loop: at a constant rate or as a Poisson
 * process, with a ramp in front. Pure arithmetic on nanoseconds since the start; no clock is read.
 */
#ifndef SCHEDULE_H
#define SCHEDULE_H

#include <math.h>
#include <stdatomic.h>

#include "distribution.h"

/* A ramp climbs in this many equal steps, so that each step is long enough to be measured. */
#define RAMP_STEPS 10

/* The offered rate of the whole run. `per_s` may be changed while the run goes on (--peak). */
struct offer {
    _Atomic double per_s;
    _Atomic unsigned changes; /* how often that was done */
    double ramp_from_per_s;
    double ramp_s; /* 0: no ramp */
};

/* The rate that is due at a time since the start. */
double offer_at(const struct offer *offer, double at_s);

/* One thread's part of the offer: every threads'th connection, beginning with the thread'th. */
struct schedule {
    const struct offer *offer;
    struct random *random;
    bool poisson;
    uint32_t thread, threads;
    double next_s; /* when the next one is due */
};

void schedule_init(struct schedule *schedule, const struct offer *offer, bool poisson,
                   uint32_t thread, uint32_t threads, struct random *random);

/* Nanoseconds since the start at which the next connection is due. */
static inline uint64_t schedule_next_ns(const struct schedule *schedule)
{
    return (uint64_t)llround(schedule->next_s * 1e9);
}

/* Begins anew at a time since the start, with the rate that holds then. */
void schedule_restart(struct schedule *schedule, double at_s);

/* The one that was next has been launched or given up. */
void schedule_advance(struct schedule *schedule);

#endif
