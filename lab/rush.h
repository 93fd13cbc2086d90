/*
 * rush.h - connections one after another, as fast as they go, and the range of ports that they use
 * up.
 *
 * Part of the scenarios: what goes wrong without being asked for ends the stage.
 */
#ifndef RUSH_H
#define RUSH_H

#include <stdbool.h>
#include <stdint.h>

#include "stage.h"

struct rush {
    struct host *client;
    int listener;
    struct tw_endpoint to;
    bool server_first;   /* the server closes first; else the client does */
    unsigned with;       /* options of the client's socket */
    uint64_t connect_ns; /* what the last connect() took, or how long it took to be refused */
    uint64_t mean_ns;    /* what a connection of the last rush_many() took as a whole */
    uint16_t port;       /* source port of the last connection */
};

/* To this port of the stage's right host, which listens from now on. The process is on the client's
 * host afterwards. */
struct rush rush_to(struct stage *stage, uint16_t port);

/* Connects and closes both ends in order. Takes the descriptor over, whatever comes of it. Returns
 * 0 or the errno of connect(). */
int rush_connect(struct rush *rush, int fd);

/* The same with a new socket, again and again until `most` connections are made or one is refused.
 * Returns how many were made, and in *code why there are no more: 0 or an errno. */
unsigned rush_many(struct rush *rush, unsigned most, int *code);

/* Until there is data or EOF to be read; false when none comes. */
bool wait_readable(struct stage *stage, int fd);

/* ip_local_port_range. */
void host_set_range(struct host *host, unsigned first, unsigned count);
unsigned host_range(struct host *host); /* how many ports the kernel may choose from */

/* One of the kernel's counters (counters.h) on a host. */
int64_t host_counter(struct host *host, const char *name);

uint64_t median_of(uint64_t *values, unsigned count); /* sorts them */

#endif
