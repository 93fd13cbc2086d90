/*
 * servers.h - servers that start and may be refused, as scenarios about bind() need them.
 */
#ifndef SERVERS_H
#define SERVERS_H

#include <stdint.h>

#include "stage.h"

/* "success", or the name of the errno. */
const char *outcome_text(int code);

/* socket, bind and listen, told in the host's column: 0 or the positive errno of bind() or
 * listen(). *fd is the listening socket, or -1 when it was refused. `address` NULL: the wildcard.
 */
int try_serve(struct host *host, const char *who, const char *address, uint16_t port, unsigned with,
              int *fd);

/* Closes what try_serve() made, if it made it. */
void end_server(int *fd);

/* Connects and, once that worked, ends the connection by a reset: 0 or a positive errno. The
 * connection stays in the queue of the listener that got it. */
int try_reach(struct host *from, const struct tw_endpoint *to);

/* Accepts and closes what waits: how many there were. */
unsigned accept_all(int listener);

#endif
