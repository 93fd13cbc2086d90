/*
 * scenario_closing.h - expectations that many scenarios on closing share. Each tells what it sees
 * in the figure and adds one check with the measured value.
 */
#ifndef SCENARIO_CLOSING_H
#define SCENARIO_CLOSING_H

#include "stage.h"

/* Waits for what is to come; a machine with much to do may take so long. */
#define PATIENCE_MS 10000

/* The connection on this port comes to this state at this end; -1: it goes. */
void expect_state(struct host *host, uint16_t port, bool server_side, int state);

/* The same of TIME_WAIT, and how long it is going to stay. */
void expect_time_wait(struct host *host, uint16_t port, bool server_side);

/* A new socket with these options can be bound to the port, or cannot. It is closed again. */
void expect_bind(struct host *host, uint16_t port, unsigned with, int code);

/* What recv() says, as soon as there is something to say: bytes, 0 (end of file), or -errno. */
void expect_recv(struct host *host, int fd, int expected);

/* Sends a text and tells it. */
void host_sends(struct host *host, int fd, const char *text);

/* Closes a descriptor and tells it: "close() of the listener" when `what` is "the listener"; NULL:
 * the connection. */
void host_closes(struct host *host, int *fd, const char *what);

/* Whether poll() has something to say about the descriptor that context points to. */
bool has_news(void *context);

#endif
