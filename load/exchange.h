/*
 * exchange.h - the conversation on one connection: request, reply, next request, close. Driven by
 * the events of its descriptor; reports through worker_*().
 */
#ifndef EXCHANGE_H
#define EXCHANGE_H

#include "worker.h"

/* What epoll said about the connection. */
void exchange_event(struct worker *worker, struct conn *conn, uint32_t events);

/* The pause between two requests is over. */
void exchange_resume(struct worker *worker, struct conn *conn, uint64_t now_ns);

#endif
