/*
 * cures.h - what would help, the most valuable first. Each cure is the same system or workload with
 * one thing changed, put to the same arithmetic.
 */
#ifndef CURES_H
#define CURES_H

#include "plan.h"

enum plan_cure_kind {
    PLAN_CURE_KEEP_ALIVE,    /* several requests a connection */
    PLAN_CURE_SERVER_CLOSES, /* the server closes first and keeps TIME_WAIT */
    PLAN_CURE_MANAGED_PORTS, /* explicit ports with SO_REUSEADDR: tidewait load, exec, ledger.h */
    PLAN_CURE_NO_PORT,       /* IP_BIND_ADDRESS_NO_PORT instead of bind() to port 0 */
    PLAN_CURE_TW_REUSE,      /* tcp_tw_reuse=1 */
    PLAN_CURE_REUSE_DELAY,   /* tcp_tw_reuse_delay */
    PLAN_CURE_TIME_WAIT,     /* a shorter TIME_WAIT, on systems with a setting for it (not Linux) */
    PLAN_CURE_RANGE,         /* a wider ip_local_port_range, with services' ports reserved */
    PLAN_CURE_SOURCES,       /* more source addresses */
    PLAN_CURE_DESTINATIONS,  /* more destination endpoints */
    PLAN_CURE_FILES,
    PLAN_CURE_TIME_WAITS, /* raise tcp_max_tw_buckets */
    PLAN_CURE_CONNTRACK,
    PLAN_CURE_NAT, /* more ports at the gateway, by addresses or by its settings */
    PLAN_CURES,
};

struct plan_cure {
    enum plan_cure_kind kind;
    const char *name;          /* "keep-alive", "server-closes", ...; stable */
    char what[160];            /* "12 requests a connection instead of 1" */
    char cost[160];            /* what it asks for, or risks */
    struct plan_system system; /* what was changed, to be looked at or changed further */
    struct plan_nat nat;
    struct plan_workload workload;
    struct plan_answer answer; /* by the same arithmetic */
};

/* Fills up to PLAN_CURES; returns how many. Cures that change nothing for this workload are left
 * out. In the order: those that suffice alone before those that do not, of these the gentlest first
 * (a change of the program, a setting, something to buy); then by the rate they sustain. A cure
 * with a number in it (requests, sources, ports) has the smallest that suffices, or the most that
 * is possible. When the workload suffices as it is, they are by the rate alone, with the smallest
 * number that doubles it. */
size_t plan_cures(const struct plan_system *system, const struct plan_nat *nat,
                  const struct plan_workload *workload, struct plan_cure out[PLAN_CURES]);

#endif
