/*
 * engine.h - one command on many hosts, a sliding window of them at a time.
 *
 * One thread. Memory and descriptors grow with the window, but for a struct job a host. What the
 * hosts write goes to the sink in pieces as they come and is not kept here.
 */
#ifndef ENGINE_H
#define ENGINE_H

#include <stdatomic.h>

#include "job.h"

#define FAN_WINDOW_MAX      4096
#define FAN_DESCRIPTORS_JOB 5 /* of one that runs, with a moment's more */

struct fan_count {
    size_t total;
    size_t waiting;
    size_t running;
    size_t done; /* with those that failed */
    size_t failed;
};

/* Who wants to know. All are called from fan_run(); each may be NULL. */
struct fan_sink {
    void *context;
    /* Before the first attempt. */
    void (*begin)(void *context, struct job *job);
    /* Bytes that a command wrote: those of each stream in their order. */
    void (*data)(void *context, struct job *job, enum fan_stream stream, const char *data,
                 size_t len);
    /* Nothing more will come of it. */
    void (*done)(void *context, struct job *job);
    /* Nothing can be started before a time (TW_NEVER: before one of them has ended), and why. */
    void (*pause)(void *context, const char *why, uint64_t until_ns);
    /* Ten times a second and more. */
    void (*tick)(void *context, const struct fan_count *count);
};

struct fan_opts {
    const struct transport *transport;
    void *transport_context;
    const struct fan_command *command;
    unsigned window;        /* 1 .. FAN_WINDOW_MAX */
    unsigned retry;         /* more attempts after failures to connect */
    uint64_t command_ns;    /* for the command, once it runs; 0: no limit */
    uint64_t deadline_ns;   /* for all; 0: no limit */
    const atomic_int *stop; /* 1 ends all that runs, 2 at once */
    const struct fan_sink *sink;
};

/* Runs the command on all hosts; jobs[i] is that of hosts->items[i]. Returns 0, whatever became of
 * them, or -errno with *error. The caller gives jobs back to fan_fini() in any case. */
int fan_run(const struct fan_opts *opts, const struct hosts *hosts, struct job *jobs,
            struct tw_error *error);
void fan_fini(struct job *jobs, size_t count);

#endif
