/*
 * story.h - what happened on a stage: a time line in two columns, and what was expected of it.
 *
 * A story lives in memory that is shared between the process that plays a scenario and the one that
 * tells it, so it has no pointers and is of fixed size. Later events beyond the room are counted.
 */
#ifndef STORY_H
#define STORY_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define STORY_EVENTS_MAX 400
#define STORY_CHECKS_MAX 64
#define STORY_TEXT_MAX   112

/* Where an event belongs in the figure. */
enum story_place {
    STORY_LEFT,     /* the left host did or became something */
    STORY_RIGHT,    /* the right host */
    STORY_TO_RIGHT, /* a segment on its way from left to right */
    STORY_TO_LEFT,
    STORY_LOST_TO_RIGHT, /* one that was dropped or held back */
    STORY_LOST_TO_LEFT,
    STORY_NOTE, /* about the whole */
};

struct story_event {
    uint64_t at_ns; /* since the story began */
    uint8_t place;
    char text[STORY_TEXT_MAX];
};

struct story_check {
    bool held;
    char text[STORY_TEXT_MAX]; /* what was expected, and when it did not hold what came instead */
};

enum story_end {
    STORY_UNFINISHED, /* the process that played it was killed */
    STORY_PLAYED,     /* to the end: the checks say how it went */
    STORY_BROKEN,     /* something that is no part of the plot failed: `reason` */
    STORY_LACKING,    /* the kernel, or the right, for it is not there: `reason` */
};

struct story {
    uint8_t end;
    char reason[256];
    char left[24], right[24]; /* names of the hosts */
    uint32_t event_count, events_lost;
    uint32_t check_count;
    struct story_event events[STORY_EVENTS_MAX];
    struct story_check checks[STORY_CHECKS_MAX];
};

#define STORY_PRINTF(n) __attribute__((format(printf, n, (n) + 1)))

/* Only one process at a time writes; what it had written stays whole when it is killed. Texts are
 * cut to their room, and control characters in them become '?'. */
void story_begin(struct story *story, const char *left, const char *right);
void story_add_event(struct story *story, uint64_t at_ns, enum story_place place,
                     const char *format, ...) STORY_PRINTF(4);

/* False without room: a check that is lost might be the one that did not hold. */
bool story_add_check(struct story *story, bool held, const char *format, ...) STORY_PRINTF(3);

/* The first end wins. */
void story_set_end(struct story *story, enum story_end end, const char *format, ...)
    STORY_PRINTF(3);

/* Whether it went as expected: played to the end, with at least one check, and all of them held. */
bool story_passed(const struct story *story);

#endif
