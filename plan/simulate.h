/*
 * simulate.h - one lane, connection by connection, by a seeded generator: where arrivals or holds
 * are random and no formula gives the answer (the time of the first refusal, say).
 *
 * Event driven, without events for the ends: at each arrival all tuples are given back that have
 * become free by then. Open connections are in a heap by their end, cooling tuples in a ring (all
 * cool equally long, so the first to begin is the first to be free); of a constant hold all are in
 * the ring. Time is in whole nanoseconds. Lanes are independent when arrivals are random, so one
 * stands for all.
 *
 * A connect() that finds no tuple is refused and gone. With PLAN_PORTS_MANAGED it waits instead,
 * and those that wait are served in the order of arrival; none is refused then.
 *
 * Memory: at most 16 bytes for each tuple of the lane. Any thread may call.
 */
#ifndef SIMULATE_H
#define SIMULATE_H

#include <stdatomic.h>

#include "plan.h"

#define SIMULATE_POINTS          256
#define SIMULATE_TUPLES_MAX      65536 /* there are no more source ports */
#define SIMULATE_CONNECTIONS_MAX 1e9   /* about a minute */

struct simulate_opts {
    uint64_t seed;
    double duration_s; /* of simulated time; 0: five times as long as settling takes, and at least
                        * 100,000 connections */
    atomic_int *stop;  /* ends it early when it becomes non-zero; may be NULL. Looked at after each
                        * 4096 connections */
};

struct simulate_result {
    double duration_s; /* simulated */
    bool interrupted;
    uint64_t attempted;    /* refused, open once, or waiting at the end */
    uint64_t refused;      /* 0 with managed ports */
    uint64_t waited;       /* had to wait and were then opened; 0 with other ports */
    uint64_t waiting;      /* at the end; not told of a run that was interrupted */
    double longest_wait_s; /* until opened or until the end */
    double
        first_refused_s; /* arrival of the first that was refused or had to wait; INFINITY: none */

    /* From here on: of the time from measured_from_s to the end. Until then the lane fills: for
     * cooling and the longest hold, or 8 mean holds where there is no longest. 0 when it ended
     * before. */
    double measured_from_s;
    double refused_share;   /* of those that were opened or refused */
    double waited_share;    /* likewise */
    double sustained_per_s; /* opened a second, of one lane */
    double in_use_mean;     /* over time */

    /* Of the whole time. */
    double in_use_max;
    double point_s; /* in_use[i] was so at i x point_s; from 0 to the duration asked for */
    size_t points;  /* all SIMULATE_POINTS unless interrupted */
    double in_use[SIMULATE_POINTS];
};

/* 0, -ENOMEM, or -EINVAL when the rate, the number of tuples or the duration is beyond what can be
 * simulated. Of the answer it takes lanes, tuples, connections_per_s and cooling_s, of the workload
 * poisson, hold and ports. */
int simulate(const struct plan_answer *answer, const struct plan_workload *workload,
             const struct simulate_opts *opts, struct simulate_result *out, struct tw_error *error);

#endif
