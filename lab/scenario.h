/*
 * scenario.h - the situations that the lab can play.
 *
 * A scenario is one const row: what it shows, what is expected, and a function that plays it on a
 * stage. Each is played by a process of its own in a network of its own; whatever goes wrong there
 * ends that process and nothing else.
 */
#ifndef SCENARIO_H
#define SCENARIO_H

#include <stdbool.h>
#include <stdint.h>

struct stage;

/* What a scenario cannot do without. */
enum scenario_needs {
    NEEDS_NOTHING = 0,
    NEEDS_TUN = 1 << 0,     /* /dev/net/tun, for a wire */
    NEEDS_USERS = 1 << 1,   /* a second user: root of the whole host */
    NEEDS_DESTROY = 1 << 2, /* SOCK_DESTROY */
    NEEDS_IO_URING = 1 << 3,
    NEEDS_LONG_WAIT = 1 << 4, /* waits for a TIME_WAIT to end: about 65 s */
    NEEDS_IPV6 = 1 << 5,
};

struct scenario {
    const char *name;  /* "close-active" */
    const char *group; /* "closing", "restart", "exhaustion", "time-wait", "hijack", "folklore" */
    const char *title; /* one line: "The side that closes first keeps TIME_WAIT" */
    const char *expected; /* one or two sentences */
    const char *lesson;   /* two sentences */
    const char *rule;     /* "RFC 9293, 3.6", "inet_csk_bind_conflict()" */
    unsigned needs;
    void (*play)(struct stage *stage);
};

/* All scenarios, group by group, ending with a NULL name. */
extern const struct scenario *const scenarios[];

#endif
