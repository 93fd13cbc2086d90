/*
 * free_print.h - what `free` found, is going to do, has done and achieved: as text and as JSON.
 */
#ifndef FREE_PRINT_H
#define FREE_PRINT_H

#include <stdbool.h>
#include <stdio.h>

#include "builder.h"
#include "free_plan.h"
#include "tidewait/verdict.h"

/* The whole of one address: the JSON object {"schema":"tidewait.free/1", ...} while it grows. */
struct free_report {
    struct builder builder;
    json_t *root;
    json_t *steps;
};

void free_report_begin(struct free_report *report, const char *address);
void free_report_verdict(struct free_report *report, const char *key,
                         const struct tw_verdict *verdict);
void free_report_plan(struct free_report *report, const struct plan *plan);
/* Writes the object to `out` (NULL: nowhere) and frees it. Returns 0, -ENOMEM or -EIO. */
int free_report_end(struct free_report *report, const char *result, int code, FILE *out);

/* What stands in the way, and the plan or why there is none. */
void free_print_verdict(const struct tw_verdict *verdict, bool color, FILE *out);
void free_print_plan(const struct plan *plan, bool color, FILE *out);
void free_print_done(const struct plan *plan, bool color, FILE *out);

#endif
