/*
 * exec_summary.h - what a run of `exec` came to.
 */
#ifndef EXEC_SUMMARY_H
#define EXEC_SUMMARY_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "shared.h"

struct exec_summary {
    uint64_t counters[SHIM_COUNTERS];
    uint32_t ports_used; /* different ones, whatever the destination */
    uint32_t ports;      /* that there were */
    uint32_t lanes_used;
    uint64_t explained;
    bool watched; /* who closed first */
    int status;   /* of the program, as of waitpid() */
};

void exec_summary_read(const struct shim_shared *shared, struct exec_summary *out);

/* A few lines, or the object {"schema":"tidewait.exec/1", ...} on one. */
void exec_summary_text(const struct exec_summary *summary, FILE *out);
int exec_summary_json(const struct exec_summary *summary, FILE *out);

#endif
