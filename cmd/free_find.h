/*
 * free_find.h - the sockets that stand in the way of an address, all of them, and the processes
 * that have them open.
 */
#ifndef FREE_FIND_H
#define FREE_FIND_H

#include <stdbool.h>
#include <stddef.h>

#include "target.h"
#include "tidewait/holders.h"
#include "tidewait/socket_row.h"
#include "tidewait/verdict.h"

/* While there are sockets of servers (listening, or only bound), connections are left out: most of
 * them end with their server. */
struct obstacles {
    struct tw_socket_row *rows; /* of a Unix socket: inode and uid alone */
    size_t count;
    bool connections; /* the rows are connections, or what is left of them */
    size_t left_out;
    struct tw_holders holders;
};

/* `verdict` says that the target is in use. Returns 0 or -errno; obstacles_fini() in either case.
 */
int obstacles_find(const struct tw_verdict *verdict, const struct target *target,
                   struct obstacles *out, struct tw_error *error);
void obstacles_fini(struct obstacles *obstacles);

/* Whether a process has a socket open at this moment, or an io_uring of it has. */
bool holds_socket(int pid, uint32_t inode);

#endif
