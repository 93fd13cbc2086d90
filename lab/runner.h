/*
 * runner.h - plays scenarios side by side, each in a child process with a story that it shares with
 * us.
 *
 * Whatever happens to a child, its story says how it ended: one that crashed, was killed or took
 * too long is UNFINISHED, with the reason. When the runner returns no child is left, nor what the
 * children started; when the runner is killed the kernel kills them.
 */
#ifndef RUNNER_H
#define RUNNER_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "scenario.h"
#include "stage_play.h"
#include "story.h"
#include "tidewait/error.h"

enum play_state {
    PLAY_WAITING,
    PLAY_UNDER_WAY,
    PLAY_ENDED,   /* `story` tells how */
    PLAY_STOPPED, /* by *stop, before its end */
};

struct play {
    const struct scenario *scenario; /* the only one that the caller fills in */
    enum play_state state;
    struct story *story; /* NULL: never begun */
    uint64_t begun_ns;
    uint64_t ms; /* how long it took */
    pid_t pid;
    int pidfd;
};

struct runner_settings {
    const struct stage_settings *stage;
    unsigned jobs;     /* at most so many at once; 0: all that wait long, and four of the others */
    uint64_t limit_ms; /* one that takes longer is killed */
    const atomic_int *stop; /* not 0: kill what is under way and return; may be NULL */
    /* Called for each as it ends. */
    void (*ended)(const struct play *play, void *context);
    void *context;
};

/* Those that wait long begin first, otherwise in their order. Returns 0, or -errno when a child
 * could not be made; then all are ended too. */
int runner_play(struct play *plays, size_t count, const struct runner_settings *settings,
                struct tw_error *error);

/* Gives back the stories. */
void runner_free(struct play *plays, size_t count);

#endif
