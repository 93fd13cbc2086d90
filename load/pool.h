/*
 * pool.h - the robots' way into the kernel's TCP: source ports from the ledger, and descriptors
 * that stay bound to their port from one connection to the next.
 *
 * Making a socket anew for each connection costs a third of the client's CPU time (socket, options,
 * bind, epoll registration, close). So a connection that has ended leaves its descriptor in the
 * pool; when its tuple's turn comes again in the ledger, connect(AF_UNSPEC) and connect() begin the
 * next one. Before that the last ACK must have come, otherwise the kernel would answer it with a
 * reset: ended connections wait for it in a list, in the order in which they ended.
 *
 * With --ports kernel there is neither: connect() chooses the port, which goes with the descriptor
 * when the connection ends, as with every ordinary program.
 *
 * A second transport (TLS, a TCP of our own) would take the place of pool_*, send and recv here and
 * in exchange.c. One thread at a time.
 */
#ifndef POOL_H
#define POOL_H

#include "conn.h"
#include "workload.h"

struct pool {
    const struct workload *workload;
    struct tw_ledger *ledger; /* NULL: the kernel chooses the ports */
    struct tally *tally;      /* where refusals and opened descriptors are counted */
    int epoll;
    struct conn **kept; /* by tuple id: the slot whose descriptor is bound to its port, or NULL */
    size_t kept_room;
    struct conn_list idle;    /* slots whose tuple is in the ledger; the longest idle first */
    struct conn_list closing; /* ended, but the last ACK may not have come */
    struct conn_list empty;   /* slots without a descriptor */
    struct conn_list retired; /* likewise, but events of this turn may still name them */
    size_t open, open_max;    /* slots with a descriptor; beyond the maximum idle ones are closed */
    struct conn **chunks;
    size_t chunk_count;
};

int pool_init(struct pool *pool, const struct workload *workload, uint32_t slice, int epoll,
              struct tally *tally, struct tw_error *error);
void pool_fini(struct pool *pool);

/* Begins a connection on the lane: takes a tuple and calls connect(). Returns 0 with the slot in
 * *out, in PHASE_CONNECTING and in no list; -EAGAIN when no port is safe before *until_ns; or
 * -errno with the class of the failure in *failure. */
int pool_open(struct pool *pool, uint32_t lane, uint64_t now_ns, struct conn **out,
              uint64_t *until_ns, enum failure *failure);

/* Ends a connection that was closed in both directions, as far as this side can see. */
void pool_finish(struct pool *pool, struct conn *conn, enum tw_outcome outcome, uint64_t now_ns);

/* Ends a connection with a reset, or one that never came about. */
void pool_reset(struct pool *pool, struct conn *conn, uint64_t now_ns);

/* Gives tuples whose last ACK has come back to the ledger; returns how many still wait for it. */
size_t pool_settle(struct pool *pool, uint64_t now_ns);

/* To be called between two turns of the event loop: retired slots may be used again. */
void pool_turn(struct pool *pool);

enum failure failure_of_errno(int code);

#endif
