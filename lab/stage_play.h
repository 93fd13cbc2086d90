/*
 * stage_play.h - playing a scenario: what the runner needs.
 *
 * A stage is a process: its namespaces, its sockets, its children. So there is one stage in a
 * process, it is not freed, and nothing here is for a process with threads.
 */
#ifndef STAGE_PLAY_H
#define STAGE_PLAY_H

#include <stddef.h>

#include "scenario.h"
#include "story.h"

struct stage_settings {
    const char *const
        *set; /* "net.ipv4.tcp_tw_reuse=1", for every new host; wins over host_set() */
    size_t set_count;
    unsigned speed; /* divides the waits that sysctls set; 0 and 1: real time */
    int pcap_fd;    /* what passes on a wire is written there; -1: nowhere */
};

/* Takes this process into a private network without any host yet, for good. When that cannot be,
 * the story says so (STORY_LACKING) and the process ends. */
struct stage *stage_new(struct story *shared, const struct stage_settings *settings);

/* To be called in a new child of the runner. Takes it into a private network, looks for what the
 * scenario needs, plays it, sets the end of the story, and ends the process. It is killed when the
 * thread that forked it ends (PR_SET_PDEATHSIG). */
void stage_play(const struct scenario *scenario, struct story *shared,
                const struct stage_settings *settings) __attribute__((noreturn));

#endif
