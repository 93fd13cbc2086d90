/*
 * report.h - a finished run as text for people, as JSON for programs, and as a HdrHistogram log.
 * Nothing here measures; everything comes from the record and from what the caller says of the
 * workload.
 */
#ifndef REPORT_H
#define REPORT_H

#include <stdbool.h>
#include <stdio.h>

#include "run.h"
#include "threshold.h"
#include "tidewait/error.h"

/* What the run was asked to do, in the words of the command line. Owns nothing. */
struct report_workload {
    const char *const *targets;
    size_t target_count;
    size_t sources;
    const char *closing;  /* client, server, reset, half */
    const char *arrivals; /* closed, constant, poisson */
    uint64_t connections;
    double rate_per_s; /* 0: closed loop */
    double ramp_from_per_s, ramp_s;
    double duration_s, warmup_s, timeout_s;
    uint64_t count;
    unsigned threads;
    const char *ports;            /* "3000-30000" */
    const char *requests, *think; /* as typed; NULL: not given */
    double abort_share;
    bool spread, peak;
    uint64_t seed;
};

/* How the run is judged: what was missed, in words; empty when all was met. */
struct verdict_line {
    char text[160];
};

void report_budget_line(const struct budget *budget, FILE *out);

/* The head of the table of seconds, and the line of one; with colour errors are red. */
void report_second_head(FILE *out);
void report_second(const struct second *second, bool color, FILE *out);

void report_text(const struct report_workload *workload, const struct run *run,
                 const struct verdict_line *missed, size_t missed_count, bool color, FILE *out);

/* Writes the object {"schema":"tidewait.run/1", ...}. Returns 0, -ENOMEM, or -EIO when out fails.
 */
int report_json(const struct report_workload *workload, const struct run *run,
                const struct verdict_line *missed, size_t missed_count, FILE *out);

/* A HdrHistogram log (format 1.3; values in ns, 2 significant digits): one interval of total
 * latencies a second while the run goes on, and at the end one of each stage over the whole run,
 * tagged with the stage's name. */
void report_hdr_begin(double start_epoch_s, FILE *out);
int report_hdr_interval(const char *tag, double at_s, double length_s,
                        const struct histogram *histogram, FILE *out);

#endif
