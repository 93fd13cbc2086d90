/*
 * propose.h - the least change of settings that lets a host sustain a workload.
 *
 * Gentle before rough: tcp_tw_reuse, then a range as wide as is needed and no wider (the ports of
 * services reserved, what is reserved already kept), then both, then a shorter tcp_tw_reuse_delay,
 * then all of it; and whatever else would end it: tcp_max_tw_buckets, nf_conntrack_max,
 * descriptors. Each step is put to the arithmetic of plan.h, and none of a proposal that suffices
 * could be left out.
 *
 * Enough is what is enough for arrivals at random times too, also when the workload's are evenly
 * spaced: no client is quite that even, and TIME_WAITs last 60 to 62 s.
 *
 * When no settings suffice, the changes are those that help, as far as they go: the rate that they
 * sustain is in answer_after. They are no remedy, and nobody should make them without having read
 * that: suffices is false. What would be a remedy are the cures. Those outside settings that
 * suffice with the settings as they are stand there alone; where there are none, those that come on
 * top of the changes (cures_on_top), each with its answer.
 *
 * Never proposed: somaxconn, which is the server's and works only with a longer backlog of its
 * listen(); nf_conntrack_buckets, without which conntrack is slower, but not smaller.
 */
#ifndef PROPOSE_H
#define PROPOSE_H

#include "change.h"
#include "cures.h"
#include "services.h"

struct propose_opts {
    const struct plan_workload *workload;
    bool loopback; /* all destinations are on this host */
    const struct services *services;
    double share; /* refused at most, with arrivals at random times; 0: 1e-6 */
};

struct proposal {
    struct changes changes; /* empty: nothing has to be changed, or no setting helps */
    bool suffices;          /* when the program has the descriptors that it needs */
    char needs_files[200];  /* descriptors that the program itself must be given; or empty */
    struct plan_system before, after;
    struct plan_answer answer_before, answer_after;
    struct plan_cure cures[PLAN_CURES]; /* when it does not suffice: what no setting can do */
    size_t cure_count;
    bool cures_on_top; /* the cures are meant together with the changes */
};

/* Reads the settings of this network namespace. 0; -ENOENT when one that is needed does not exist
 * on this kernel; -ENOMEM. proposal_fini() frees. */
int propose(const struct propose_opts *opts, struct proposal *out, struct tw_error *error);
void proposal_fini(struct proposal *proposal);

/* What propose() reads. */
struct propose_host {
    struct tw_limits limits;
    int64_t nr_open;  /* fs.nr_open; TW_LIMIT_UNKNOWN */
    bool reuse_delay; /* the kernel has tcp_tw_reuse_delay */
};

/* The same of a host that is told: asks no kernel. */
int propose_for(const struct propose_opts *opts, const struct propose_host *host,
                struct proposal *out, struct tw_error *error);

#endif
