/*
 * remedy.h - the least change of limits with which a workload is sustained: a pure search, each
 * step of it put to the arithmetic of plan.h.
 */
#ifndef REMEDY_H
#define REMEDY_H

#include "plan.h"
#include "services.h"

/* What stands fast. */
struct remedy_case {
    const struct plan_workload *workload;
    const struct tw_limits *limits; /* as they are; the range of ports is known */
    const struct services *services;
    bool loopback;
    bool has_delay; /* the kernel has tcp_tw_reuse_delay */
    double share;   /* refused at most, with arrivals at random times */
};

/* The system that limits make. A port on which a service listens is lost to connect() unless it is
 * reserved, and no range will have it. */
void remedy_system(const struct remedy_case *c, const struct tw_limits *limits,
                   struct plan_system *out);

/* Whether a bound of an answer is enough, also with arrivals at random times. */
bool remedy_holds(const struct remedy_case *c, const struct plan_answer *answer,
                  enum plan_limit limit);

/* How many of what this bound limits a workload takes, so that no more than the share is refused;
 * `most` at most. */
double remedy_need(const struct remedy_case *c, const struct plan_answer *answer,
                   enum plan_limit limit, double most);

/* Fills *out with the limits as they should be: ports and TIME_WAIT alone. False when no such
 * limits suffice: then *out has those that come nearest, where they help at all. */
bool remedy_find(const struct remedy_case *c, struct tw_limits *out);

#endif
