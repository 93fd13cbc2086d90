/*
 * load.h - a whole run of `load`: starts the workers, watches them, and merges what they recorded.
 */
#ifndef LOAD_H
#define LOAD_H

#include <stdatomic.h>

#include "run.h"
#include "threshold.h"
#include "worker.h"
#include "workload.h"

/* Called from the thread that called load_run(), once for every second that is complete. */
struct load_watch {
    void (*second)(void *context, const struct second *second, const struct histogram *total);
    void *context;
};

/* Runs the workload and fills *out, also when it was stopped early by *stop (enum stop; may be set
 * by a signal handler). `limits` are what --peak tests its steps against. Returns 0 or -errno when
 * it could not start. run_fini() frees what *out holds. */
int load_run(const struct workload *workload, const struct threshold *limits, size_t limit_count,
             const struct load_watch *watch, atomic_int *stop, struct run *out,
             struct tw_error *error);

void run_fini(struct run *run);

#endif
