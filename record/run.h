/*
 * run.h - what a run of `load` measured: plain counts and histograms that merge without loss, so
 * that threads (and later machines) keep a record each and add them up at the end.
 */
#ifndef RUN_H
#define RUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "histogram.h"
#include "tidewait/counters.h"

/* The stages of a connection that are timed apart. */
enum stage {
    STAGE_PORT_WAIT,  /* from the scheduled start until the ledger had a port; 0: at once */
    STAGE_CONNECT,    /* connect() until established */
    STAGE_FIRST_BYTE, /* request sent until the first byte of its reply; one sample a request */
    STAGE_LAST_BYTE,  /* request sent until the last byte of its reply; one sample a request */
    STAGE_CLOSE,      /* last byte until the connection has ended in both directions */
    STAGE_TOTAL,      /* scheduled start until the connection has ended */
    STAGES,
};
extern const char *const stage_names[STAGES];

/* Why an attempt failed: each failed attempt is in exactly one class. */
enum failure {
    FAILURE_NONE,
    FAILURE_IN_USE_BIND,           /* EADDRINUSE from bind */
    FAILURE_NOT_AVAILABLE_BIND,    /* EADDRNOTAVAIL from bind: the address is not on this host */
    FAILURE_NOT_AVAILABLE_CONNECT, /* EADDRNOTAVAIL from connect: no free tuple */
    FAILURE_NO_DESCRIPTORS,        /* EMFILE, ENFILE */
    FAILURE_REFUSED,
    FAILURE_RESET,
    FAILURE_TIMEOUT,
    FAILURE_UNREACHABLE,
    FAILURE_HTTP_STATUS, /* a complete reply with a status of 400 or more */
    FAILURE_MALFORMED,   /* not HTTP, or not what --expect says */
    FAILURE_SHORT,       /* the peer closed before the reply was complete */
    FAILURE_INTERRUPTED, /* in flight when the user ended the run */
    FAILURE_OTHER,       /* ENOBUFS, EPERM (a firewall), ...; last_errno tells */
    FAILURES,
};
extern const char *const failure_names[FAILURES];

/* No port, or no tuple, or not this host's address. */
static inline bool failure_is_of_address(enum failure failure)
{
    return failure >= FAILURE_IN_USE_BIND && failure <= FAILURE_NOT_AVAILABLE_CONNECT;
}

enum closer { CLOSER_CLIENT, CLOSER_SERVER, CLOSER_RESET, CLOSERS };

/* Counts. attempted = opened + not_opened; opened = completed + aborted + every class of failure.
 */
struct tally {
    uint64_t attempted; /* due within the run */
    uint64_t opened;    /* got a port; connect() was called or failed */
    uint64_t completed;
    uint64_t in_time; /* of those completed: before the last launch was due; what the rate counts */
    uint64_t aborted; /* on purpose, by --abort */
    uint64_t failures[FAILURES];
    int last_errno;                  /* of FAILURE_OTHER */
    uint64_t first_address_error_ns; /* since the end of the warm-up; 0: there was none */
    uint64_t requests;
    uint64_t bytes_in;
    uint64_t bytes_out;
    uint64_t closed_by[CLOSERS]; /* of those completed, as seen from here */
    struct {
        uint64_t count;
        uint64_t total_ns;
        uint64_t max_ns;
    } port_waits;
    uint64_t first_port_wait_ns; /* likewise: when a launch first found no port */
    /* Refusals of the kernel that cost another port and no attempt. */
    uint64_t refused_bind;
    uint64_t refused_connect;
    uint32_t refused_lane; /* the last of them, if there was one */
    uint16_t refused_port;
    uint64_t descriptors_opened;
    uint64_t late;        /* launched more than 1 ms behind schedule, not for want of a port */
    uint64_t late_max_ns; /* the worst of these */
    uint64_t slept_ns;    /* how long the event loops had nothing to do */
};

void tally_add(struct tally *into, const struct tally *from);
uint64_t tally_failed(const struct tally *tally);

/* One second of the run. */
struct second {
    uint32_t at_s;       /* since the start */
    double target_per_s; /* offered rate; 0 in a closed loop */
    uint64_t opened;
    uint64_t completed;
    uint64_t failed;
    uint64_t in_flight; /* at the end of the second, likewise the next two */
    uint64_t ports_free;
    uint64_t ports_cooling;
    uint64_t port_waits; /* launches in it that had waited for a port */
    bool starved;        /* there was no port for a launch that was due */
    uint64_t p50_ns;     /* of the total latency of those completed in it */
    uint64_t p99_ns;
    bool kernel_ports; /* the kernel chooses them: ports_free and ports_cooling are not known */
};

/* What a sum of ports, addresses, destinations and manner of closing can sustain. */
struct budget {
    double per_s; /* INFINITY: ports are no limit */
    uint64_t lanes;
    uint64_t ports_per_lane;
    uint64_t tuples;
    const char *limited_by; /* a short name: none, time-wait */
    char reason[256];
    char advice[320]; /* what would raise it; empty when nothing limits */
};

struct run {
    double duration_s; /* the time in which connections were launched, without the warm-up */
    bool interrupted;
    int broken; /* the errno that ended a thread early; 0: none */
    struct tally tally;
    struct histogram stages[STAGES];
    struct second *series;
    size_t series_count;
    struct budget budget;
    int64_t time_wait_client; /* TIME_WAITs on the lanes used after the run; -1: not known */
    int64_t time_wait_server; /* of servers on this host */
    struct tw_counters kernel_before, kernel_after;
    bool kernel_known;
    double user_s, system_s;
    uint64_t ledger_bytes, memory_bytes;
    uint64_t ports_aside;
    bool takeover_lost; /* a lane learnt that its own TIME_WAIT cannot be taken over */
    double peak_per_s;  /* --peak: the highest rate held; 0: not asked for or none */
};

/* Completed connections a second of the duration. */
static inline double run_rate_per_s(const struct run *run)
{
    return run->duration_s > 0 ? (double)run->tally.in_time / run->duration_s : 0;
}

#endif
