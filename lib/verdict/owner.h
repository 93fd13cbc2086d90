/*
 * owner.h - what part of the system has a socket: a process and its kin, a unit, a container, the
 * kernel, somebody hidden, or nobody; and how to make it let go.
 */
#ifndef OWNER_H
#define OWNER_H

#include "draft.h"

#include "tidewait/holders.h"

enum owner_kind {
    OWNER_NONE,      /* no process can have it: TIME_WAIT, an orphan */
    OWNER_PROCESS,   /* one process */
    OWNER_SEVERAL,   /* several processes have the same socket open */
    OWNER_ASKER,     /* the process that asks */
    OWNER_SYSTEMD,   /* a .socket unit */
    OWNER_CONTAINER, /* docker-proxy and its like */
    OWNER_KERNEL,
    OWNER_IN_FLIGHT, /* no process: in a message or an io_uring */
    OWNER_HIDDEN,    /* a process that this user may not see */
};

struct owner {
    enum owner_kind kind;
    const char *name; /* "nginx (pid 812, nginx.service)", "the kernel (vxlan device vx0)" */
    const char *unit; /* of OWNER_SYSTEMD: the .socket unit, when it is known */
};

/* Finds who has the socket and adds its processes to the verdict's holders. `path` of a Unix
 * socket, else NULL (then `row` is used). */
struct owner owner_find(struct draft *draft, const struct tw_socket_row *row, const char *path,
                        const struct tw_holders *holders);

/* Adds the ways to end the owner's hold, the gentlest first. `what` is what has to be freed, as
 * typed
 * ("8080", "53/udp", "unix:/run/x.sock"). Ending the processes may not be enough: `before` and
 * `after` stand around that command ("" when it is). */
void owner_remedies(struct draft *draft, const struct owner *owner, const char *what,
                    const char *before, const char *after);

#endif
