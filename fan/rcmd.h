/*
 * rcmd.h - the client's side of the rsh protocol, as rcmd(3) and rshd(8) speak it (4.2BSD; there is
 * no RFC of it, RFC 1282 describes its brother rlogin).
 *
 * It runs in a child process of its own. The parent has bound and begun what needs a port:
 *
 *     us                                     rshd
 *     first connection, from a reserved port
 *     "1001" NUL                             connects to our port 1001, from a reserved port of its
 * own local user NUL, user NUL, command NUL NUL, or a byte 1 and what is wrong stdin (until we
 * close that direction)  stdout, on the first connection a byte: a signal for the command stderr,
 * on the second one
 *
 * Who closes first keeps TIME_WAIT. As long as we do not close our direction it is the other end.
 */
#ifndef RCMD_H
#define RCMD_H

#include <stdbool.h>
#include <stdint.h>

#include "cause.h"
#include "tidewait/address.h"

/* The ports that rshd takes connections from: IPPORT_RESERVED / 2 and up, below IPPORT_RESERVED. */
#define RCMD_PORT_FIRST 512
#define RCMD_PORT_LAST  1023

/* Descriptors of the child, beside 0, 1 and 2. */
enum { RCMD_FIRST = 3, RCMD_LISTENER = 4 };

/* In memory that parent and child share; the texts belong to the parent. */
struct rcmd {
    struct tw_endpoint to;
    uint16_t source_port, second_port;
    const char *local_user, *user, *command;
    const char *mark; /* a line for stderr as soon as the command runs; behind it, from the other
                       * end, mark:N is the exit status */
    bool sends_input; /* what 0 has is for the command; our end closes first */
    bool plain;       /* no exit status comes */
    /* What the child tells. */
    bool connected;
    bool closed_first;    /* it has closed our direction before the other end did */
    enum fan_cause cause; /* CAUSE_NONE: the command ran and its exit status is the child's */
};

/* The body of the child. `context` is a struct rcmd. Returns the exit status of the child. */
int rcmd_run(void *context);

#endif
