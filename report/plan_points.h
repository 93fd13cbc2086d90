/*
 * plan_points.h - occupancy of a lane over time: the points of a curve, and a drawing of it.
 */
#ifndef PLAN_POINTS_H
#define PLAN_POINTS_H

#include "plan_report.h"

struct plan_point {
    double at_s;
    double in_use;    /* of a lane's tuples, by the formula and without a limit */
    double simulated; /* with the limit; NAN: no simulation */
};

/* Evenly spaced from an idle start until it has settled, or until a while after the first refusal;
 * of a simulation as long as it went. Returns how many. */
size_t plan_points(const struct report_plan *plan, struct plan_point out[REPORT_PLAN_POINTS]);

/* Draws them, with the lane's tuples and half of them as lines. Nothing where so few are in use
 * that there is nothing to see. */
void plan_plot(const struct report_plan *plan, const struct report_plan_style *style, FILE *out);

#endif
