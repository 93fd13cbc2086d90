/*
 * plan.h - how many connections a host can open, as pure arithmetic.
 *
 * A system (what the limits are) and a workload (what is asked of them) give an answer. Nothing
 * here asks the kernel: plan_system_of_limits() takes what limits.h read, plan_system_named() takes
 * what the makers of other systems document.
 *
 * A lane is a source address, a destination address and a destination port. Each of its tuples is
 * occupied from connect() until its source port may be used for the same destination again:
 *     occupied = hold + cooling,
 * where cooling is what the closing leaves here: TIME_WAIT when we closed first, nothing when the
 * peer did or after a reset. From that all follows (Little's law):
 *     sustainable rate of a lane = tuples / occupied
 *     tuples in use in the long run, without a limit = rate x occupied (erlangs)
 * and, of connect() at random times, the share refused is Erlang's B formula, which holds for any
 * distribution of hold.
 *
 * All structs are plain values; nothing to free. Any thread may call.
 */
#ifndef PLAN_H
#define PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "distribution.h"
#include "tidewait/error.h"
#include "tidewait/limits.h"

/* A TIME_WAIT lasts from 60 s to 62.05 s: the timer wheel of a kernel with HZ=250 rounds up to its
 * steps of 2.048 s. So TIME_WAITs end in heaps, and just before a step those of the last 62.05 s
 * are all there: this, not the mean, is what the rate depends on. Measured on 6.18: 2,000 ports
 * sustain 32.2/s and not 32.4/s. With HZ=1000 the step is 4.096 s. */
#define PLAN_TIME_WAIT_S 62.05

/* How long a managed port rests before it is taken again: TW_LEDGER_REST_NS of ledger.h. */
#define PLAN_REST_S 0.001

/* Who chooses the source port. */
enum plan_ports {
    PLAN_PORTS_KERNEL,  /* connect() alone, or after IP_BIND_ADDRESS_NO_PORT */
    PLAN_PORTS_BIND,    /* bind() to port 0, then connect(): the port is lost for all destinations,
                         * and a TIME_WAIT on it is never taken over */
    PLAN_PORTS_MANAGED, /* bind() to an explicit port with SO_REUSEADDR, in the order in which the
                         * ports became safe (ledger.h): our own TIME_WAIT is taken over */
};

enum plan_closing { PLAN_CLOSING_CLIENT, PLAN_CLOSING_SERVER, PLAN_CLOSING_RESET };

/* What is not known, or no limit, is INFINITY. */
struct plan_system {
    char name[64];         /* "this host", "windows-vista", ... */
    char note[200];        /* versions, and where the figures are from; may be empty */
    double ports;          /* that the system chooses from: the range less the reserved ones */
    double ports_lost;     /* of these, taken for every destination by others at present */
    double ports_possible; /* the widest range that services would leave: what a setting can win */
    const char *ports_setting; /* the name of the setting behind it; NULL: none */
    bool ports_shared;         /* one port serves several destinations at once (Linux) */
    bool halves;        /* connect() searches one half of the range before the other (Linux) */
    double time_wait_s; /* mean length */
    double time_wait_possible_s; /* what a setting can make of it; 0: there is none (Linux) */
    const char *time_wait_setting;
    double reuse_s;           /* age at which connect() takes a TIME_WAIT over by itself; INFINITY:
                               * never */
    double reuse_possible_s;  /* what reuse_s could be by a setting; INFINITY: no such setting */
    bool takeover;            /* an explicit bind() takes over our own TIME_WAIT (timestamps) */
    double time_waits;        /* tcp_max_tw_buckets */
    double files;             /* descriptors of one process */
    double conntrack;         /* entries left for these connections */
    double conntrack_close_s; /* how long an entry stays after the end: nf_conntrack_tcp_timeout_
                               * time_wait, 120 s; after a reset ..._close, 10 s */
    double conntrack_reset_s;
    double accept_queue; /* of the server: min(backlog, somaxconn) */
};

/* A gateway that translates addresses, on the path. */
struct plan_nat {
    char name[32];
    char note[200];
    double ports;        /* for one destination, for all hosts behind it; 0: there is no gateway */
    double hold_s;       /* how long a port rests after an orderly end */
    double hold_reset_s; /* and after a reset */
};

struct plan_workload {
    double rate_per_s;        /* requests a second */
    bool poisson;             /* arrivals at random times; else evenly spaced */
    struct distribution hold; /* how long a connection is open, ns */
    double requests;          /* a connection; at least 1 */
    enum plan_closing closing;
    enum plan_ports ports;
    double sources;      /* source addresses; at least 1 */
    double destinations; /* endpoints: address and port; at least 1 */
    double idle;         /* connections kept open besides, over all lanes */
};

/* What can end it, in the order of enum plan_limit. */
enum plan_limit {
    PLAN_LIMIT_TUPLES,     /* connect(): EADDRNOTAVAIL; of PLAN_PORTS_BIND bind(): EADDRINUSE */
    PLAN_LIMIT_FILES,      /* socket(): EMFILE */
    PLAN_LIMIT_TIME_WAITS, /* TIME_WAITs beyond tcp_max_tw_buckets are dropped: no refusal, but
                            * a port is free before it is safe; the other bounds are
                            * reckoned as if it stayed */
    PLAN_LIMIT_CONNTRACK,  /* SYNs are dropped: time-outs */
    PLAN_LIMIT_NAT,        /* likewise */
    PLAN_LIMITS,
};
extern const char *const plan_limit_names[PLAN_LIMITS]; /* "tuples", "files", ... */

struct plan_bound {
    double capacity;          /* how many at once; INFINITY: no limit */
    double occupied_s;        /* how long one connection takes one of them */
    double sustainable_per_s; /* connections a second, over all lanes */
    double exhausted_s; /* seconds from an idle start until the first refusal; INFINITY: never */
};

struct plan_answer {
    double lanes;
    double tuples;            /* of one lane, after ports lost and idle connections */
    double connections_per_s; /* that the workload makes: rate / requests */
    double hold_s;            /* mean */
    double cooling_s;
    double occupied_s;          /* hold + cooling */
    double in_use;              /* tuples of a lane in use in the long run, were there no limit */
    double sustainable_per_s;   /* connections a second: the lowest of the bounds that refuse */
    enum plan_limit limited_by; /* which bound that is, also when the rate is below it */
    bool suffices;              /* the rate is sustained without end */
    double exhausted_s;         /* of the bound that refuses first; INFINITY: never */
    double half_full_s;    /* when half of a lane's ports are in use and connect() becomes slow;
                            * INFINITY: never, or not of these ports (PLAN_PORTS_MANAGED) */
    double refused_share;  /* of the connections, in the long run: refused (or, with managed
                            * ports, kept waiting) with evenly spaced arrivals */
    double refused_random; /* the same with arrivals at random times: Erlang's B formula */
    double stall_s;        /* how long the server may pause before its accept queue overflows */
    struct plan_bound bounds[PLAN_LIMITS];
};

void plan_answer(const struct plan_system *system, const struct plan_nat *nat,
                 const struct plan_workload *workload, struct plan_answer *out);

/* Mean number of tuples of a lane in use t seconds after an idle start, were there no limit. */
double plan_in_use_at(const struct plan_answer *answer, const struct plan_workload *workload,
                      double t_s);

/* Erlang's B formula: the share of calls lost when `offered` erlangs meet `servers` (rounded down
 * to a whole number). Computed by the recursion over 1/B, one step a server, which neither
 * overflows nor cancels. */
double plan_erlang_b(double servers, double offered);

/* The smallest whole number of servers at which no more than `share` is refused. */
double plan_erlang_b_servers(double offered, double share);

/* --- systems ---------------------------------------------------------------------------------- */

/* From the limits of a Linux host. `loopback`: the destinations are on it (tcp_tw_reuse=2). */
void plan_system_of_limits(const struct tw_limits *limits, bool loopback, struct plan_system *out);

/* The documented defaults of a system: "linux", "windows", "windows-xp", "freebsd", "macos", ...
 * -EINVAL with the list of names. */
int plan_system_named(const char *name, struct plan_system *out, struct tw_error *error);

/* "aws", "gcp", "azure", ... or "ports=55000", "ports=55000,hold=120s". */
int plan_nat_named(const char *text, struct plan_nat *out, struct tw_error *error);

/* The tables behind them, for help texts and completions; NULL from the index on where there are no
 * more. */
const struct plan_system *plan_system_at(size_t index);
const struct plan_nat *plan_nat_at(size_t index);

#endif
