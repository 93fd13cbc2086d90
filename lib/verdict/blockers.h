/*
 * blockers.h - the sockets that stand in the way of one bind(), and the processes that have them.
 */
#ifndef BLOCKERS_H
#define BLOCKERS_H

#include "draft.h"

#include "tidewait/holders.h"

/* Of each state at most this many sockets are kept; the rest are counted. A server's port may have
 * 100,000 TIME_WAITs, and the first few say as much as all of them. */
#define BLOCKERS_PER_STATE 64

struct blockers {
    struct tw_rules_request request;
    struct tw_socket_row *rows; /* by number, what may conflict */
    size_t count;
    unsigned by_state[16]; /* how many there are of each state */
    uint32_t expires_ms;   /* when the last TIME_WAIT or orphan of them is gone */
    unsigned lasting;      /* how many of them no timer ends */
    struct tw_rules_answer answer;
    struct tw_holders holders; /* of all rows */
};

/* Asks the kernel, from the smallest question to the largest: listeners first, then all states.
 * Then looks for processes and their socket options, as far as somebody is in the way. `listens`:
 * the question is listen() on a socket bound already. Returns 0 or -errno; blockers_fini() in
 * either case. */
int blockers_find(struct draft *draft, const struct tw_rules_request *request, bool listens,
                  struct blockers *out, struct tw_error *error);
void blockers_fini(struct blockers *blockers);

/* The socket that says most; only when the answer is not free. */
static inline const struct tw_socket_row *blockers_first(const struct blockers *blockers)
{
    return &blockers->rows[blockers->answer.blocker];
}

#endif
