/*
 * fan_progress.h - how far a run is: a line that changes on a terminal, and what Ctrl-C does.
 */
#ifndef FAN_PROGRESS_H
#define FAN_PROGRESS_H

#include <stdatomic.h>

#include "fan_out.h"

struct fan_progress {
    struct fan_out *out;
    const struct job *jobs;
    atomic_int *stop;
    bool shows; /* stderr is a terminal */
    uint64_t begin_ns, shown_ns;
    int interrupts;        /* those that were seen */
    uint64_t interrupt_ns; /* the last of them */
};

/* Lets SIGINT be counted, SIGTERM and SIGHUP raise *stop, unless they are ignored; and SIGPIPE do
 * nothing. */
void fan_progress_init(struct fan_progress *progress, struct fan_out *out, const struct job *jobs,
                       atomic_int *stop);
void fan_progress_tick(struct fan_progress *progress, const struct fan_count *count);

#endif
