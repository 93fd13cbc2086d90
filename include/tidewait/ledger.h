/*
 * ledger.h - hands out source ports, lane by lane, in the order in which they became safe to use.
 *
 * A lane is a source address, a destination address and a destination port: the tuples that differ
 * in source port alone. A lane is what runs out. The ledger knows nothing of sockets and makes no
 * system call: you take a tuple, bind() to its port and connect(), and give it back together with
 * how the connection ended. The ledger decides from that when the tuple is safe again.
 *
 *     struct tw_ledger *ledger = tw_ledger_new(&opts, &error);
 *     struct tw_tuple tuple;
 *     uint64_t until_ns;
 *
 *     if (tw_ledger_take(ledger, lane, tw_clock_ns(), &tuple, &until_ns) == 0) {
 *         ... bind to tuple.port with SO_REUSEADDR, connect, talk, close ...
 *         tw_ledger_give(ledger, &tuple, TW_OUTCOME_PEER_FIRST, tw_clock_ns());
 *     } else {
 *         ... nothing is safe before until_ns: wait, do not fail ...
 *     }
 *
 * Cost: take and give are O(1) whatever the fill (the one exception: the moment in which a lane
 * learns that takeover does not work, see tw_ledger_learn). Memory: TW_LEDGER_TUPLE_BYTES for each
 * tuple ever used, at most twice that while the table grows, and about 100 bytes a lane.
 *
 * Owner: the caller, from new to free. Threads: one thread at a time; give each thread a ledger
 * with a slice of its own instead of sharing one. After fork() parent and child must not both go
 * on.
 */
#ifndef TIDEWAIT_LEDGER_H
#define TIDEWAIT_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tidewait/error.h"

#ifdef __cplusplus
extern "C" {
#endif

struct tw_ledger;

#define TW_LEDGER_TUPLE_BYTES 16
#define TW_LEDGER_REST_NS     1000000ULL

struct tw_ledger_opts {
    size_t size;           /* sizeof(struct tw_ledger_opts) */
    const uint16_t *ports; /* the ports that may be used, each once; copied */
    uint32_t port_count;   /* 1..65535 */
    uint32_t lanes;        /* how many lanes there are; they are numbered from 0 */
    /* How long a tuple that we closed first stays in TIME_WAIT: TW_TIME_WAIT_NS of limits.h. */
    uint64_t time_wait_ns;
    /* The kernel lets a new connection take over our own TIME_WAIT at once. True on Linux when the
     * port is bound explicitly with SO_REUSEADDR and both ends use TCP timestamps (measured on
     * 6.18, with tcp_tw_reuse at any value). A lane on which that proves false learns it. */
    bool takeover;
    /* A tuple given back rests at least this long before it is taken again, however it ended.
     * Without a rest the peer may still be busy with the last segment of the old connection when
     * the SYN of the new one comes, and drop it: a loss that costs 1 s. Measured on 6.18, veth,
     * 30,000 connections/s: without a rest 17 SYNs in 1,260,000 were lost, with 1 ms none in
     * 1,450,000. A longer rest keeps more sockets going round, and they leave the processor's
     * cache. TW_LEDGER_REST_NS is a good value; 0 is none. */
    uint64_t rest_ns;
    /* Walk the whole ring of ports instead of using few of them again and again. */
    bool spread;
    /* This ledger has every slices'th port, beginning with the slice'th. 0 slices counts as 1.
     * Ledgers with equal ports and seed and different slices never give the same tuple. */
    uint32_t slice;
    uint32_t slices;
    uint64_t seed; /* of the order in which unused ports are taken */
};

/* How a connection ended, or why there was none. */
enum tw_outcome {
    TW_OUTCOME_UNUSED,      /* nothing was sent from it: safe at once */
    TW_OUTCOME_RESET,       /* ended by a reset, in either direction: safe after its rest */
    TW_OUTCOME_PEER_FIRST,  /* the peer closed first and keeps TIME_WAIT: safe after its rest */
    TW_OUTCOME_WE_FIRST,    /* we closed first, or both at once: TIME_WAIT is here */
    TW_OUTCOME_PORT_TAKEN,  /* bind() refused: somebody else has the port; set aside */
    TW_OUTCOME_TUPLE_TAKEN, /* connect() refused with EADDRNOTAVAIL: the tuple exists; set aside */
};

struct tw_tuple {
    uint32_t lane;
    uint32_t id; /* small and dense; the same lane and port always have the same id */
    uint16_t port;
};

/* Where the tuples of all lanes are. The sum never changes: lanes x ports of the slice. */
struct tw_ledger_count {
    uint64_t unused;  /* never taken yet */
    uint64_t in_use;  /* taken and not given back */
    uint64_t safe;    /* given back; may be taken, if need be after the rest */
    uint64_t cooling; /* in TIME_WAIT on our side */
    uint64_t aside;   /* refused by the kernel, to be tried again later */
};

/* NULL with *error on bad options (EINVAL) or lack of memory (ENOMEM). */
struct tw_ledger *tw_ledger_new(const struct tw_ledger_opts *opts, struct tw_error *error);
void tw_ledger_free(struct tw_ledger *ledger);

/* Takes the tuple of the lane that has been safe longest. Returns 0; or -EAGAIN when none is safe,
 * with the time of the first that will be in *until_ns (TW_NEVER when all are in use); or -ENOMEM.
 */
int tw_ledger_take(struct tw_ledger *ledger, uint32_t lane, uint64_t now_ns, struct tw_tuple *out,
                   uint64_t *until_ns);

/* Gives back a tuple that was taken. Refused tuples are set aside for 1, 2, 4 .. 128 s, twice as
 * long after each refusal in a row; but when connect() refuses one that we had closed less than a
 * TIME_WAIT ago, it cools until that is over. */
void tw_ledger_give(struct tw_ledger *ledger, const struct tw_tuple *tuple, enum tw_outcome outcome,
                    uint64_t now_ns);

/* Tells the ledger that our own TIME_WAIT cannot be taken over on this lane (say, TCP_INFO shows a
 * connection without timestamps). Tuples of it that were thought safe go back to cooling. The
 * ledger comes to the same conclusion by itself after three TW_OUTCOME_TUPLE_TAKEN in a row on
 * tuples that we had closed. */
void tw_ledger_learn(struct tw_ledger *ledger, uint32_t lane, uint64_t now_ns);

/* False once the lane has learnt that our own TIME_WAIT cannot be taken over. */
bool tw_ledger_takes_over(const struct tw_ledger *ledger, uint32_t lane);

void tw_ledger_count(const struct tw_ledger *ledger, struct tw_ledger_count *out);

/* Heap bytes that the ledger holds now. */
size_t tw_ledger_bytes(const struct tw_ledger *ledger);

#ifdef __cplusplus
}
#endif
#endif
