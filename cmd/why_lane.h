/*
 * why_lane.h - the fullest lane: where a shortage of source ports shows first.
 */
#ifndef WHY_LANE_H
#define WHY_LANE_H

#include <stddef.h>
#include <stdint.h>

#include "tidewait/address.h"
#include "tidewait/error.h"

struct fullest_lane {
    struct tw_endpoint source;      /* port 0 */
    struct tw_endpoint destination; /* with its port */
    size_t sockets;                 /* 0: there is no lane at all */
};

/* Counts the connections from ephemeral ports, TIME_WAITs too, lane by lane. With pid not 0 only
 * the sockets that this process has open (TIME_WAITs are nobody's). Returns 0 or -errno. */
int fullest_lane_find(int pid, struct fullest_lane *out, struct tw_error *error);

#endif
