/*
 * plan_report.h - what `plan` found, as text for people, as JSON and as CSV. It computes nothing
 * but the points of a curve.
 */
#ifndef PLAN_REPORT_H
#define PLAN_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "cures.h"
#include "simulate.h"
#include "tidewait/address.h"

/* Points of occupancy over time when there is no simulation, which has its own. */
#define REPORT_PLAN_POINTS SIMULATE_POINTS

struct report_plan {
    const struct plan_system *system;
    const struct plan_nat *nat; /* ports 0: none */
    const struct plan_workload *workload;
    const struct plan_answer *answer;
    const struct plan_cure *cures;
    size_t cure_count;
    const struct simulate_result *simulation; /* NULL: not asked for */
    bool lost_counted; /* system->ports_lost is what sockets of this host really have */
    const char *like;  /* what the workload was taken from, in a few words; NULL: it was typed */
};

/* A lane as it was seen at work. */
struct report_plan_lane {
    struct tw_endpoint source, destination;
    double opened_per_s;
    double open;       /* on average, those that lasted the whole time apart */
    double lasting;    /* connections that were there from beginning to end */
    double time_waits; /* at the end */
    bool closing_seen; /* else it is taken for the client's */
    struct plan_system system;
    struct plan_workload workload;
    struct plan_answer answer;
};

struct report_plan_now {
    double seconds;
    bool interrupted;
    unsigned looks;          /* at all sockets */
    double opened_per_s;     /* by the kernel's counter; negative: not known */
    double attributed_per_s; /* to lanes, those not shown included */
    size_t lanes_seen;       /* with a connection or a TIME_WAIT */
    size_t lanes_opening;    /* of these, with connections that were opened meanwhile */
    double lost;             /* ports that are lost for every destination */
    const struct report_plan_lane *lanes;
    size_t lane_count;
    unsigned blind; /* enum tw_blind */
};

struct report_plan_style {
    bool color;
    bool blocks; /* the terminal shows U+2581..2588 */
};

void report_plan_text(const struct report_plan *plan, const struct report_plan_style *style,
                      FILE *out);
void report_plan_now_text(const struct report_plan_now *now, const struct report_plan_style *style,
                          FILE *out);

/* {"schema":"tidewait.plan/1", ...}. Returns 0, -ENOMEM, or -EIO when out fails. */
int report_plan_json(const struct report_plan *plan, FILE *out);
int report_plan_now_json(const struct report_plan_now *now, FILE *out);

/* Occupancy over time: a head, then a line a point. Returns 0 or -EIO. */
int report_plan_csv(const struct report_plan *plan, FILE *out);

#endif
