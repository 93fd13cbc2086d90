/*
 * wire_private.h - what the stage does with a wire, and scenarios do not.
 */
#ifndef WIRE_PRIVATE_H
#define WIRE_PRIVATE_H

#include <poll.h>

#include "wire.h"

/* Joins two hosts: an interface WIRE_INTERFACE in the namespace of each, up, with its IPv4 address
 * as one of a /16, so that the other and what is added later in it are reached. Of the hosts it
 * needs `stage`, `name`, `netns` and `address`, and leaves the process on the right one
 * (host_enter()). Events have their time from `start_ns` on (tw_clock_ns()). Never NULL: without
 * TUN it ends the stage by stage_lacking(), otherwise by stage_broken(). */
struct wire *wire_new(struct host *left, struct host *right, struct story *story,
                      uint64_t start_ns);

/* NULL is nothing to free. The interfaces are gone with it. */
void wire_free(struct wire *wire);

/* Fills in what to wait for before wire_pump(); returns how many, 2. */
int wire_poll_fds(const struct wire *wire, struct pollfd fds[2]);

/* Moves all that waits, and what comes in answer to it at once. It returns although there is more
 * after some thousands of segments, so that the stage sees its clock. */
void wire_pump(struct wire *wire);

#endif
