/*
 * plan_seen.h - the book that `plan --now` keeps of the connections it sees: which lane they are
 * of, when they came, and what they left. No calls to the kernel.
 */
#ifndef PLAN_SEEN_H
#define PLAN_SEEN_H

#include <stdbool.h>
#include <stdint.h>

#include "table.h"
#include "tidewait/ports.h"
#include "tidewait/socket_row.h"

/* What makes a lane; bytes that no address uses are zero. */
struct seen_key {
    struct tw_endpoint source; /* port 0 */
    struct tw_endpoint destination;
};

struct seen_lane {
    struct seen_key key;
    uint64_t born;     /* seen first after the first look */
    uint64_t open_sum; /* over all looks but the first */
    uint32_t open;     /* at the last look; likewise the next */
    uint32_t time_waits;
    uint32_t lasting;    /* open at every look */
    uint32_t ended_here; /* of those that ended while we looked: they left a TIME_WAIT */
    uint32_t ended_there;
};

struct seen {
    struct table lanes;       /* of struct seen_lane */
    struct table connections; /* one item a connection, by its cookie */
    struct tw_ports listening;
    uint32_t look; /* 1: the first */
    bool no_memory;
};

void seen_init(struct seen *seen);
void seen_fini(struct seen *seen);

/* Begins a look at all sockets. Then come all listeners, then all connections, then TIME_WAITs:
 * in this order none slips through while it changes its state. */
void seen_begin(struct seen *seen);
void seen_listener(struct seen *seen, const struct tw_socket_row *row);

/* A connection or TIME_WAIT; those that somebody else opened are passed over. */
void seen_row(struct seen *seen, const struct tw_socket_row *row);

/* After the last row of a look. */
void seen_end(struct seen *seen);

/* After the last look: fills lasting, ended_here and ended_there. */
void seen_finish(struct seen *seen);

#endif
