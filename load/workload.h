/*
 * workload.h - what `load` is asked to do, as plain data. cmd/load.c fills it from the command
 * line; the engine only reads it, from all threads at once.
 *
 * Owner: the struct owns every pointer in it; workload_fini() frees them.
 */
#ifndef WORKLOAD_H
#define WORKLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "distribution.h"
#include "tidewait/address.h"
#include "tidewait/error.h"
#include "tidewait/limits.h"
#include "tidewait/ports.h"

/* Descriptors that a run leaves to the rest of the process: files, epoll, standard streams. */
#define WORKLOAD_FILES_SPARE 64

/* Who ends a connection, and how. */
enum closing {
    CLOSING_CLIENT, /* we close first and keep TIME_WAIT */
    CLOSING_SERVER, /* the server closes first and keeps TIME_WAIT */
    CLOSING_RESET,  /* we reset: no TIME_WAIT anywhere */
    CLOSING_HALF,   /* we send our EOF right behind the request and read on until the server's */
};

enum protocol { PROTOCOL_HTTP, PROTOCOL_TCP };

struct target {
    enum protocol protocol;
    struct tw_endpoint endpoint;
    char *text;    /* as typed, for reports */
    char *request; /* the bytes of a request that keeps the connection; may be NULL for tcp */
    size_t request_len;
    char *last_request; /* of the last request on a connection */
    size_t last_request_len;
    unsigned weight;
    uint32_t lane_first; /* its lanes: lane_first .. lane_first + lane_count - 1 */
    uint32_t lane_count;
};

/* One source address towards one target. */
struct lane {
    struct tw_endpoint source;
    uint32_t target;
};

struct workload {
    struct target *targets;
    size_t target_count;
    uint32_t *turns; /* targets in the order of their turns, by weight */
    size_t turn_count;
    struct lane *lanes;
    size_t lane_count;
    size_t source_count;
    bool routed;     /* no --from: the sources are what the routing table says */
    uint16_t *ports; /* the ports that may be used on each lane */
    uint32_t port_count;
    bool kernel_ports; /* connect() chooses among them, as for every ordinary program */
    enum closing closing;
    uint64_t connections; /* closed loop: in flight; open loop: at most in flight */
    double rate_per_s;    /* 0: closed loop */
    bool poisson;
    double ramp_from_per_s; /* with ramp_ns: the rate climbs from here to rate_per_s */
    uint64_t ramp_ns;
    bool peak;                    /* raise the rate step by step until a limit is passed */
    struct distribution requests; /* a connection */
    struct distribution think;    /* between requests */
    double abort_share;
    uint64_t duration_ns; /* 0: no limit (then count is set) */
    uint64_t count;       /* connections in all; 0: no limit */
    uint64_t warmup_ns;
    uint64_t timeout_ns; /* of each of: connect, a reply, the close */
    uint32_t threads;
    bool spread;
    bool free_bind;
    char *expect; /* tcp: the reply must begin with these bytes; NULL: anything will do */
    size_t expect_len;
    uint64_t seed;
    bool takeover; /* by the limits read: TIME_WAIT of ours can be taken over */
    struct tw_limits limits;
};

/* Adds a target: http://host[:port][/path], tcp://host:port, either with #weight=N behind it.
 * Resolves the name. `family` is AF_UNSPEC, AF_INET or AF_INET6. */
int workload_add_target(struct workload *workload, const char *text, int family,
                        struct tw_error *error);

/* Makes the requests and, from the sources (none: what the routing table says) and the targets, the
 * lanes. The endpoints' ports are left out of the ring of ports, lest a robot connects to itself;
 * where the kernel chooses the port nobody can keep it from that. */
int workload_prepare(struct workload *workload, const struct tw_endpoint *sources,
                     size_t source_count, struct tw_ports *ports, const char *send, size_t send_len,
                     struct tw_error *error);

void workload_fini(struct workload *workload);

#endif
