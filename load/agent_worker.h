/*
 * agent_worker.h - inside the answering side: one worker thread, its connections and its listeners.
 *
 * A connection belongs to one worker from accept to close. The short life (accept, request, reply,
 * close) touches neither epoll nor a list; a connection that has to wait is registered once,
 * edge-triggered, and stands in exactly one queue. The limits of a queue's members are equal, so
 * the queue is in the order of their ends and each operation on it is O(1).
 */
#ifndef AGENT_WORKER_H
#define AGENT_WORKER_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "agent.h"
#include "heap.h"
#include "http.h"

/* The body of every reply is this many bytes again and again; all workers read one copy. */
#define AGENT_PATTERN_BYTES 65536
/* What one sendmsg() may carry: 1 MiB and the head. */
#define AGENT_PARTS 17
/* Reads or sends in a row of one connection before it is the others' turn. */
#define AGENT_TURNS     64
#define AGENT_HEAD_ROOM 256

/* What an event of epoll belongs to; the first member of each such struct. */
enum agent_source { SOURCE_CONN, SOURCE_LISTENER, SOURCE_WAKE };

enum agent_phase {
    PHASE_READING,   /* HTTP: a request's head or body is to come */
    PHASE_THINKING,  /* the reply is due later */
    PHASE_SENDING,   /* the reply did not go out whole */
    PHASE_ECHOING,   /* --raw echo */
    PHASE_AWAIT_EOF, /* discards until the peer's EOF; ours is not sent yet */
    PHASE_DRAINING,  /* our EOF is sent; discards until the peer's */
    PHASE_RESETTING, /* a reset is due when the reply has left the send buffer */
    PHASE_GONE,      /* closed while thinking: the heap still points here */
};

enum agent_queue_name { QUEUE_NONE, QUEUE_IDLE, QUEUE_LINGER, QUEUE_RESET, QUEUE_THINK, QUEUES };

struct agent_conn {
    uint8_t source; /* SOURCE_CONN */
    uint8_t phase;
    uint8_t queue;   /* enum agent_queue_name */
    bool registered; /* in epoll */
    bool wants_out;  /* with EPOLLOUT */
    bool peer_done;  /* the peer's EOF is announced: read up to it */
    bool unparsed;   /* the stash may hold a whole request */
    bool in_body;
    bool wants_close; /* the client asked for the end of the connection */
    bool last;        /* the reply under way is the last one */
    bool head_only;   /* it answers HEAD */
    bool http10;
    bool bad;            /* it is a 400 */
    bool lingers;        /* AWAIT_EOF: limited by --linger, not --idle */
    uint16_t head_bytes; /* of the reply's head */
    int fd;
    uint32_t stash_len, stash_room;
    struct agent_conn *prev, *next; /* in its queue, or `next` in the free list */
    uint64_t due_ns;
    uint64_t served; /* replies begun */
    uint64_t size;   /* of the reply's body */
    uint64_t sent;   /* of the reply, head included */
    uint64_t reset_by_ns;
    struct http_body body; /* of the request under way */
    char *stash;           /* input that was read and cannot be used yet */
};

struct agent_queue {
    struct agent_conn *first, *last;
    uint64_t limit_ns;
};

struct agent_listener {
    uint8_t source; /* SOURCE_LISTENER */
    bool resting;
    uint8_t burst; /* how many to accept in a row */
    int fd;
    uint64_t until_ns; /* the end of its rest */
    uint64_t turn;     /* when it last had an event */
};

/* As struct agent_counts, written by one thread and read by others. */
enum agent_counter {
    COUNT_ACCEPTED,
    COUNT_REQUESTS,
    COUNT_200,
    COUNT_400,
    COUNT_BYTES_IN,
    COUNT_BYTES_OUT,
    COUNT_CLOSED_CLIENT,
    COUNT_CLOSED_SERVER,
    COUNT_RESET_BY_US,
    COUNT_RESET_BY_PEER,
    COUNT_IDLE,
    COUNT_LINGER,
    COUNT_INCOMPLETE,
    COUNT_NO_FILES,
    COUNT_ACCEPT_ERRORS,
    COUNT_OTHER_ERRORS,
    COUNTERS,
};

struct agent_worker {
    uint8_t wake_source; /* SOURCE_WAKE */
    bool stopping;
    const struct agent_settings *settings;
    const char *pattern;
    int epoll;
    int wake; /* an eventfd: the stop request */
    int error;
    atomic_bool ended;
    pthread_t thread;
    const atomic_ullong *stop_by_ns; /* 0: go on */
    struct agent_listener *listeners;
    size_t listener_count;
    size_t resting;  /* listeners that rest */
    uint64_t turns;  /* of the loop */
    uint64_t now_ns; /* of this turn of the loop */
    struct agent_queue queues[QUEUES];
    struct heap thoughts;
    struct agent_conn *spare;
    struct random random;
    time_t date_s;
    char date[32];
    char head[AGENT_HEAD_ROOM];
    atomic_ullong counters[COUNTERS];
    char buffer[65536]; /* input of whichever connection is being read */
};

/* One writer, so no locked instruction is needed. */
static inline void agent_bump(struct agent_worker *worker, enum agent_counter which, uint64_t by)
{
    atomic_ullong *counter = &worker->counters[which];

    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + by,
                          memory_order_relaxed);
}

/* --- agent_worker.c --- */

int agent_worker_init(struct agent_worker *worker, const struct agent_settings *settings,
                      const char *pattern, uint32_t index, size_t listener_room,
                      struct tw_error *error);
void agent_worker_fini(struct agent_worker *worker);
void *agent_worker_run(void *argument); /* a pthread start routine; the worker */

/* --- agent_conn.c: the life of a connection ---
 * Functions that return bool say whether the connection is still there. */

/* The seam for other transports: as recv() and sendmsg(), but the result is -errno, and counted. */
ssize_t agent_conn_recv(struct agent_worker *worker, struct agent_conn *conn, void *buf,
                        size_t len);
ssize_t agent_conn_send(struct agent_worker *worker, struct agent_conn *conn, struct iovec *parts,
                        int count, bool more);

struct agent_conn *agent_conn_new(struct agent_worker *worker, int fd); /* NULL: no memory */

/* Closes the descriptor, counts the end under `how` and frees the connection. */
void agent_conn_end(struct agent_worker *worker, struct agent_conn *conn, enum agent_counter how);
void agent_conn_reset(struct agent_worker *worker, struct agent_conn *conn);

/* Sleeps until an event comes or the queue's limit is over. `out`: also until more can be sent. */
bool agent_conn_wait(struct agent_worker *worker, struct agent_conn *conn,
                     enum agent_queue_name queue, bool out);

/* Lets others have their turn: the next epoll_wait() reports the connection again. */
bool agent_conn_yield(struct agent_worker *worker, struct agent_conn *conn,
                      enum agent_queue_name queue);
void agent_conn_unqueue(struct agent_worker *worker, struct agent_conn *conn);

/* Keeps input for later. */
bool agent_conn_stash(struct agent_worker *worker, struct agent_conn *conn, const char *data,
                      size_t len);

/* The last reply is sent: ends the connection by the close policy. */
bool agent_conn_finish(struct agent_worker *worker, struct agent_conn *conn);

/* Reads on in PHASE_AWAIT_EOF and PHASE_DRAINING. */
bool agent_conn_drain(struct agent_worker *worker, struct agent_conn *conn);

/* PHASE_RESETTING: resets if the reply has left, or else looks again a millisecond later. */
bool agent_conn_try_reset(struct agent_worker *worker, struct agent_conn *conn);

/* Ends what waits too long in its queue. */
void agent_conn_expire(struct agent_worker *worker, struct agent_conn *conn);

/* --- agent_dialog.c: requests and replies --- */

/* Begins with a connection that has just been accepted. */
bool agent_dialog_begin(struct agent_worker *worker, struct agent_conn *conn);

/* Goes on after an event. */
bool agent_dialog_go_on(struct agent_worker *worker, struct agent_conn *conn);

/* The time to think is over. */
bool agent_dialog_reply(struct agent_worker *worker, struct agent_conn *conn);

#endif
