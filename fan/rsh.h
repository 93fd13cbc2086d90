/*
 * rsh.h - the rsh transport: each command takes two reserved ports, which ledgers hand out.
 *
 * A source port goes to the first connection; a port that listens awaits the second one, in which
 * stderr comes. A source port is good for many destinations at once, each of which is a lane of its
 * own; a port that listens is good for one command, and cannot be a source port meanwhile. So a
 * quarter of the ports are source ports and the others listen.
 */
#ifndef RSH_H
#define RSH_H

#include <stdbool.h>
#include <stdint.h>

#include "job.h"
#include "tidewait/ports.h"

struct rsh_opts {
    const struct tw_ports
        *ports;                /* to be used: two at least, all between RCMD_PORT_FIRST and LAST */
    const struct hosts *hosts; /* has to stay */
    const char *local_user;    /* as the other end is told; has to stay */
    bool plain;                /* the command as it is; no exit status comes back */
    bool takeover;             /* see ledger.h */
    uint64_t resolve_ns;       /* for the name of a host; 0: no limit */
};

struct rsh_way;

/* Asks for the addresses of all hosts, and does not wait for them. Returns 0, or -EACCES when we
 * may not have reserved ports, -EINVAL, -ENOMEM, with *error. */
int rsh_way_new(const struct rsh_opts *opts, struct rsh_way **out, struct tw_error *error);
void rsh_way_free(struct rsh_way *way);

/* How many commands can run at a time. */
unsigned rsh_way_window(const struct rsh_way *way);

/* The reserved ports that no service has by name (services(5)), so that we do not stand in the way
 * of one that starts. */
void rsh_usual_ports(struct tw_ports *ports);

/* The context is a struct rsh_way. */
extern const struct transport transport_rsh;

#endif
