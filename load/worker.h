/*
 * worker.h - one thread of the engine: an event loop that launches connections when they are due,
 * drives them (exchange.c) and records what happened. Workers share nothing but the const workload,
 * the offered rate and the stop flag; records are merged when all are done.
 */
#ifndef WORKER_H
#define WORKER_H

#include <stdatomic.h>

#include "heap.h"
#include "monitor.h"
#include "pool.h"
#include "schedule.h"

enum stop {
    STOP_NOT,
    STOP_SOON, /* launch no more, let those in flight finish for a moment */
    STOP_NOW,
};

/* What the workers of a run have in common. */
struct crew {
    const struct workload *workload;
    const atomic_int *stop; /* enum stop */
    atomic_bool broken;     /* a worker broke down: the others end as well */
    struct offer offer;
    struct monitor monitor;
    uint64_t start_ns;   /* the first launch */
    uint64_t measure_ns; /* the end of the warm-up */
    uint64_t end_ns;     /* no launch from here on */
};

/* The times at which the places of a closed loop became free, oldest first. */
struct places {
    uint64_t *since_ns;
    size_t head, count, room;
};

struct worker {
    struct crew *crew;
    const struct workload *workload;
    uint32_t index;
    int epoll;
    int error; /* -errno that ended the worker early */
    struct pool pool;
    struct random random;
    struct schedule schedule;
    unsigned offer_change; /* the last change of the offered rate that was heeded */
    struct places places;
    uint64_t launches_left; /* of --count */
    size_t in_flight, in_flight_max;
    struct conn_list flying;   /* all that wait for the network, by rising deadline */
    struct conn_list thinking; /* all that think */
    struct heap thoughts;      /* when they have finished */
    size_t turn;               /* in workload->turns */
    uint32_t *lane_turn;       /* by target */
    uint64_t retry_ns;         /* no port before this time */
    uint64_t starved_ns;       /* when a launch last found no port */
    uint64_t stop_ns;          /* when the stop flag was first seen */
    uint64_t over_ns;          /* when launching was over */
    uint32_t seconds;          /* published to the monitor */
    struct tally tally;
    struct histogram stages[STAGES];
    struct second second; /* of the second under way */
    struct histogram second_total;
    struct tw_ledger_count ports; /* at the end */
    size_t ledger_bytes;
    bool takeover_lost;
    char buffer[65536];
};

/* How a connection ended, for the tuple and for the tally. */
enum ending {
    ENDED_BY_US,
    ENDED_BY_PEER,
    ENDED_BY_RESET, /* by either side; ours is sent now if the connection is still open */
};

int worker_init(struct worker *worker, struct crew *crew, uint32_t index, struct tw_error *error);
void worker_fini(struct worker *worker);
void *worker_run(void *argument); /* a pthread start routine, of a struct worker */

/* --- used by exchange.c --- */

/* The connection is over: counted, timed, its place and tuple free again. FAILURE_NONE: completed.
 */
void worker_done(struct worker *worker, struct conn *conn, enum ending ending, enum failure failure,
                 uint64_t now_ns);

/* The same for one that --abort ended. */
void worker_aborted(struct worker *worker, struct conn *conn, uint64_t now_ns);

/* Enters a phase, with a new time limit. */
void worker_enter(struct worker *worker, struct conn *conn, enum phase phase, uint64_t now_ns);

/* Puts the connection to sleep between two requests. */
void worker_think(struct worker *worker, struct conn *conn, uint64_t until_ns);

static inline void worker_sample(struct worker *worker, const struct conn *conn, enum stage stage,
                                 uint64_t ns)
{
    if (conn->counted)
        histogram_record(&worker->stages[stage], ns);
}

#endif
