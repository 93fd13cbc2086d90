/*
 * cause.h - why a host failed. Names never change: programs read them.
 */
#ifndef CAUSE_H
#define CAUSE_H

#include <stdbool.h>
#include <stddef.h>

enum fan_cause {
    CAUSE_NONE,
    CAUSE_EXIT,           /* the command ended with another status than 0 */
    CAUSE_SIGNAL,         /* a signal ended it */
    CAUSE_REFUSED,        /* nobody listens there */
    CAUSE_TIMEOUT,        /* not connected in time */
    CAUSE_UNREACHABLE,    /* no way there */
    CAUSE_ADDRESS,        /* EADDRNOTAVAIL, EADDRINUSE: we have no port or address for it */
    CAUSE_CLOSED,         /* the other end closed before the command ran */
    CAUSE_UNKNOWN_HOST,   /* the name has no address */
    CAUSE_HOST_KEY,       /* the key of the host is not the one that is known, or not known */
    CAUSE_AUTHENTICATION, /* it does not let us in */
    CAUSE_CONNECT,        /* not connected for another reason */
    CAUSE_LOST,           /* the connection broke while the command ran */
    CAUSE_TIME_LIMIT,     /* the command took too long */
    CAUSE_DEADLINE,       /* the run as a whole took too long */
    CAUSE_INTERRUPTED,    /* we were told to end */
    CAUSE_START,          /* no program for it here, or no shell there that began with it */
    CAUSES,
};

extern const char *const cause_names[CAUSES];

/* Whether it is worth another attempt: nothing was run, and the next moment may be better. */
bool cause_is_of_connect(enum fan_cause cause);

/* What ssh meant by what it wrote on stderr; CAUSE_NONE when none of it is known. The line that
 * tells is put to *line (NULL: not wanted), its length to *len. */
enum fan_cause cause_of_ssh(const char *text, size_t text_len, const char **line, size_t *len);

/* The same for a connection that broke while the command ran. */
bool cause_is_lost(const char *text, size_t text_len);

/* What rshd meant by the line with which it refuses. */
enum fan_cause cause_of_rshd(const char *line);

/* Of a call that failed; `other` when the errno does not tell. */
enum fan_cause cause_of_errno(int code, enum fan_cause other);

#endif
