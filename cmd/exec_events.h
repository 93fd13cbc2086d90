/*
 * exec_events.h - hears from the shims which addresses were refused, and says why in two lines
 * each.
 */
#ifndef EXEC_EVENTS_H
#define EXEC_EVENTS_H

#include <stdint.h>

#include "exec_log.h"
#include "tidewait/error.h"

#define EXEC_TOLD 256

struct exec_events {
    int fd; /* to be polled; -1: nobody is heard */
    const struct exec_log *log;
    uint64_t interval_ns;
    struct {
        uint64_t key, at_ns;
    } told[EXEC_TOLD]; /* what was explained lately; key 0: nothing */
    uint64_t explained;
};

/* `name` is that of the abstract socket. Returns 0 or -errno. */
int exec_events_open(struct exec_events *events, const char *name, const struct exec_log *log,
                     uint64_t interval_ns, struct tw_error *error);

/* Explains all that has come, and answers whoever waits for it. The argument is a struct
 * exec_events. */
void exec_events_serve(void *context);
void exec_events_close(struct exec_events *events);

#endif
