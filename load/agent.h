/*
 * agent.h - the answering side: listening endpoints (agents) served by worker threads.
 *
 * Each worker has its own event loop and its own listening socket for every agent; nothing is
 * shared between workers but the const settings and the stop request. A worker counts in counters
 * of its own, which any thread may read at any time.
 *
 *     struct agents *agents = agents_new(&settings, endpoints, count, &error);
 *     for (size_t i = 0; i < count; i++)
 *         agents_listen(agents, i, &error);
 *     agents_start(agents, &error);
 *     ... agents_count(agents, &counts) as often as wanted ...
 *     agents_stop(agents, TW_NS_PER_S);
 *     agents_free(agents);
 *
 * Owner: the caller, from new to free. All functions are for one thread, the one that made it.
 */
#ifndef AGENT_H
#define AGENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "distribution.h"
#include "tidewait/address.h"
#include "tidewait/error.h"

/* What an agent does with a connection. */
enum agent_mode {
    AGENT_HTTP,
    AGENT_ECHO,    /* sends back what comes, until EOF */
    AGENT_DISCARD, /* reads until EOF */
    AGENT_SEND,    /* sends one reply at once, without waiting for a request */
};

/* How a connection ends when it is to end. */
enum agent_closing {
    AGENT_CLOSE_CLIENT, /* we wait for the peer's EOF: TIME_WAIT stays there */
    AGENT_CLOSE_SERVER, /* our EOF goes out with the last data: TIME_WAIT stays here */
    AGENT_CLOSE_RESET,  /* a reset as soon as the reply is sent: no TIME_WAIT */
    AGENT_CLOSE_HALF,   /* our EOF goes out with the last data; we read on until the peer's */
};

struct agent_settings {
    enum agent_mode mode;
    enum agent_closing closing;
    uint32_t workers;
    struct distribution size;     /* of a reply's body, in bytes */
    struct distribution think_ns; /* before each reply */
    uint64_t requests;            /* on one connection at most; 0: no limit */
    uint64_t idle_ns;             /* without progress an open connection is closed; 0: never */
    uint64_t linger_ns;           /* the longest wait for the peer's EOF */
    uint64_t seed;
};

/* How often accept() met a lack of descriptors or memory, and how long it then rests. */
#define AGENT_ACCEPT_REST_NS 10000000ULL

/* Totals since the start. Every connection accepted is open or in one of the four closed_ counts.
 */
struct agent_counts {
    uint64_t accepted;
    uint64_t open;
    uint64_t requests; /* complete requests */
    uint64_t replies_200;
    uint64_t replies_400; /* to malformed requests */
    uint64_t bytes_in;
    uint64_t bytes_out;
    uint64_t closed_client; /* the peer's EOF came before ours */
    uint64_t closed_server;
    uint64_t closed_reset_by_us;
    uint64_t closed_reset_by_peer;
    uint64_t timeouts_idle;
    uint64_t timeouts_linger; /* the peer's EOF did not come in time */
    uint64_t incomplete;      /* the peer closed in the middle of a request */
    uint64_t no_files;        /* accept() had no descriptor or memory left, and rested */
    uint64_t accept_errors;   /* other failures of accept() */
    uint64_t other_errors;    /* no memory, epoll_ctl() and the like */
};

struct agents;

/* Copies settings and endpoints. NULL with *error: overlapping endpoints (EINVAL), lack of memory.
 */
struct agents *agents_new(const struct agent_settings *settings,
                          const struct tw_endpoint *endpoints, size_t count,
                          struct tw_error *error);
void agents_free(struct agents *agents);

/* Opens the listening sockets of agent `index`, one a worker. With several workers the address is
 * first tried without SO_REUSEPORT, so that we never join another server of the same user in
 * silence. Returns 0 or -errno; then the agent holds nothing, and it is left out unless tried
 * again. */
int agents_listen(struct agents *agents, size_t index, struct tw_error *error);

/* Moves agent `index` to the next higher port that no other agent wants and nobody holds, and
 * listens there. At most `tries` ports. Returns 0 or -errno of the last try, with the agent where
 * it was. */
int agents_listen_next(struct agents *agents, size_t index, unsigned tries, struct tw_error *error);

/* Where agent `index` is or wants to be, and whether it listens. */
struct tw_endpoint agents_endpoint(const struct agents *agents, size_t index);
bool agents_is_listening(const struct agents *agents, size_t index);
size_t agents_listening(const struct agents *agents); /* how many do */

/* Starts the workers. Signals that the caller has blocked stay blocked in them. */
int agents_start(struct agents *agents, struct tw_error *error);

/* Stops accepting at once, closes idle connections, lets replies under way finish for at most
 * grace_ns, and returns when all workers have ended: 0, or -errno of the first one that broke down.
 */
int agents_stop(struct agents *agents, uint64_t grace_ns);

/* True when a worker has ended by itself, which is a breakdown: agents_stop() tells the errno. */
bool agents_are_broken(const struct agents *agents);

void agents_count(const struct agents *agents, struct agent_counts *out);

#endif
