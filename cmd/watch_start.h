/*
 * watch_start.h - starts a program under the filter of watch.h.
 */
#ifndef WATCH_START_H
#define WATCH_START_H

#include <signal.h>

#include "tidewait/error.h"

struct watch_start {
    char *const *argv;
    int error_output;       /* becomes its stderr */
    sigset_t mask;          /* becomes its signal mask */
    struct sigaction child; /* becomes its SIGCHLD */
};

struct watch_started {
    int pid;
    int listener;    /* of seccomp's notifications */
    int exit_status; /* when it could not be executed: 126 or 127; else 0 */
};

/* Returns when the program runs: 0, or -errno with *error set and no process left. exit_status is
 * set in any case. */
int watch_start(const struct watch_start *start, struct watch_started *out, struct tw_error *error);

#endif
