/*
 * exec_shared.h - makes the file that the shims of one run share, and fills it.
 *
 * It stands in a folder of its own in /dev/shm. A process of the run may have changed its user, so
 * the file is for everybody who knows its path; the folder cannot be listed, the name cannot be
 * guessed, and only the environment of the run tells it. The folder is locked as long as we live:
 * what a killed `exec` has left is removed by the next one.
 */
#ifndef EXEC_SHARED_H
#define EXEC_SHARED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shared.h"
#include "tidewait/error.h"
#include "tidewait/ports.h"

/* What the run is to do. */
struct exec_plan {
    struct shim_rule rules[SHIM_RULES];
    size_t rule_count;
    bool has_ports; /* --ports; else the kernel's range without its reserved ports */
    struct tw_ports ports;
    uint64_t interval_ns;
    bool explain;
    bool watch_closes;
};

struct exec_shared {
    struct shim_shared *map;
    size_t size;
    char folder[64];
    char path[128];
    int lock;
};

/* Returns 0 or -errno with *error; then nothing is left behind. */
int exec_shared_make(const struct exec_plan *plan, struct exec_shared *out, struct tw_error *error);

/* Removes the file and unmaps it; processes that have it mapped keep it. */
void exec_shared_remove(struct exec_shared *shared);

#endif
