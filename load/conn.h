/*
 * conn.h - one connection slot of the engine, and the lists slots stand in.
 *
 * A slot belongs to a pool (pool.h) and keeps its descriptor, bound to one source port, from
 * connection to connection. At each time it stands in exactly one list.
 */
#ifndef CONN_H
#define CONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "http.h"
#include "run.h"
#include "tidewait/ledger.h"

enum phase {
    PHASE_IDLE, /* not in flight; stray events are ignored */
    PHASE_CONNECTING,
    PHASE_SENDING, /* the request did not go out whole */
    PHASE_REPLY,   /* waiting for the reply or reading it */
    PHASE_THINKING,
    PHASE_AWAIT_EOF, /* the reply is complete; the server is to close */
    PHASE_CLOSING,   /* our EOF is sent; waiting for the server's */
};

struct conn {
    struct conn *prev, *next;
    int fd;
    uint8_t phase;
    bool fresh;    /* the descriptor can connect without being renewed first */
    bool counted;  /* its attempt falls into the measured time */
    bool last;     /* the request under way is the last one */
    bool to_abort; /* by --abort: reset at the first byte of the reply */
    bool replied;  /* the first byte of the reply has come */
    bool in_body;
    bool half_closed;     /* our EOF went out with the request */
    enum failure failure; /* of a reply that is complete all the same (HTTP status) */
    struct tw_tuple tuple;
    enum tw_outcome outcome; /* while in the closing list */
    uint32_t target;
    uint32_t requests_left;
    uint64_t scheduled_ns;
    uint64_t phase_ns; /* begin of the current stage: connect, request, close */
    uint64_t deadline_ns;
    size_t sent; /* bytes of the request */
    size_t got;  /* tcp: bytes of the reply */
    char *head;  /* beginning of a head that came in pieces; NULL as a rule */
    size_t head_len;
    struct http_body body;
};

/* A first-in-first-out list of slots; zeroed it is empty. */
struct conn_list {
    struct conn *head, *tail;
    size_t count;
};

static inline void conn_list_push(struct conn_list *list, struct conn *conn)
{
    conn->next = NULL;
    conn->prev = list->tail;
    if (list->tail)
        list->tail->next = conn;
    else
        list->head = conn;
    list->tail = conn;
    list->count++;
}

static inline void conn_list_remove(struct conn_list *list, struct conn *conn)
{
    if (conn->prev)
        conn->prev->next = conn->next;
    else
        list->head = conn->next;
    if (conn->next)
        conn->next->prev = conn->prev;
    else
        list->tail = conn->prev;
    list->count--;
}

#endif
