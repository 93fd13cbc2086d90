/*
 * threshold.h - conditions under which a run counts as failed: p99>5ms, first_byte.p50>=1ms,
 * errors>0, refused>10, rate<1000/s.
 */
#ifndef THRESHOLD_H
#define THRESHOLD_H

#include "run.h"
#include "tidewait/error.h"
#include "tidewait/parse.h"

enum metric {
    METRIC_LATENCY, /* a percentile, the mean or the maximum of a stage, in ns */
    METRIC_ERRORS,  /* all failed attempts, or one class */
    METRIC_RATE,    /* completed connections a second */
    METRIC_PORT_WAITS,
};

struct threshold {
    const char *text; /* as typed; not owned */
    enum metric metric;
    enum stage stage;
    double share;         /* of METRIC_LATENCY: 0.99; 1 for the maximum, -1 for the mean */
    enum failure failure; /* of METRIC_ERRORS: FAILURE_NONE for all */
    bool above;           /* fails when above the limit (otherwise below) */
    bool or_equal;
    double limit;
};

int threshold_parse(const char *text, struct threshold *out, struct tw_error *error);

/* What the run has for the metric, in the limit's unit. */
double threshold_value(const struct threshold *threshold, const struct run *run);
bool threshold_missed(const struct threshold *threshold, const struct run *run);

#endif
