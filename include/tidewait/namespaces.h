/*
 * namespaces.h - the network namespaces of this host: those of its processes and those with a name.
 *
 * Plain values, nothing to free. Any thread may call, also after fork(). A namespace belongs to a
 * thread: while a visitor runs, the calling thread is inside of the namespace visited, and back in
 * its own afterwards.
 */
#ifndef TIDEWAIT_NAMESPACES_H
#define TIDEWAIT_NAMESPACES_H

#include <stdbool.h>
#include <stdint.h>

#include "tidewait/blind.h"
#include "tidewait/error.h"

#ifdef __cplusplus
extern "C" {
#endif

struct tw_netns {
    uint64_t inode; /* as in readlink /proc/PID/ns/net */
    int pid;        /* a process in it; 0: none */
    bool own;       /* the caller's */
    char name[64];  /* as in /run/netns; empty: none */
};

typedef int tw_netns_visit(const struct tw_netns *netns, void *context);

/* Visits each namespace once, the caller's own first. Those that cannot be entered are left out and
 * TW_BLIND_NETNS is added to *blind (may be NULL). Entering needs CAP_SYS_ADMIN. Holds a descriptor
 * of each meanwhile. Returns 0, the visitor's value, or -errno; after an error the thread may have
 * been left in a foreign namespace. */
int tw_netns_each(tw_netns_visit *visit, void *context, unsigned *blind, struct tw_error *error);

/* Moves the calling thread into the namespace of a process, or into a named one when pid is 0.
 * Returns 0; -ESRCH or -ENOENT when there is none, -EPERM or -EACCES when it may not be entered, or
 * -errno. */
int tw_netns_enter(int pid, const char *name, struct tw_error *error);

#ifdef __cplusplus
}
#endif
#endif
