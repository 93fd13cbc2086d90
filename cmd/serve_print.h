/*
 * serve_print.h - what `tidewait serve` says: why an address cannot be had, the live line, the
 * totals.
 */
#ifndef SERVE_PRINT_H
#define SERVE_PRINT_H

#include <stdio.h>

#include "agent.h"

/* The totals with what belongs to them. */
struct serve_totals {
    struct agent_counts counts;
    size_t agents;
    uint32_t workers;
    double duration_s;
    double user_s, system_s; /* of the whole process */
};

/* Why `endpoint` cannot be had (`code` is a positive errno), who has it as far as can be seen, and
 * what to try. Several lines. */
void serve_print_refusal(const struct tw_endpoint *endpoint, int code, bool color, FILE *out);

/* One second: the difference of two counts. `repaint` overwrites the terminal's line. */
void serve_print_live(const struct agent_counts *now, const struct agent_counts *before,
                      double at_s, double seconds, bool repaint, bool color, FILE *out);

void serve_print_totals(const struct serve_totals *totals, FILE *out);

/* As one JSON object on one line. 0 or -errno. */
int serve_print_json(const struct serve_totals *totals, FILE *out);

#endif
