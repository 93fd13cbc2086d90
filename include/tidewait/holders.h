/*
 * holders.h - which processes have a socket open.
 *
 * A socket may be open in several processes (a server and its children), in none (TIME_WAIT, a
 * socket of the kernel, one that travels in a message), or in processes that this user may not look
 * into: the blind flags tell the last two apart. Sees the processes of every network namespace that
 * are in the caller's pid namespace or below it; process numbers are those of the caller's. Any
 * thread may call, also after fork().
 */
#ifndef TIDEWAIT_HOLDERS_H
#define TIDEWAIT_HOLDERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tidewait/blind.h"
#include "tidewait/error.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One descriptor of one process. */
struct tw_holding {
    uint32_t inode; /* of the socket */
    int pid;
    int fd;
};

enum tw_holders_method {
    TW_HOLDERS_AUTO, /* BPF when it is allowed and built in, else /proc */
    TW_HOLDERS_BPF,  /* one pass over all descriptor tables inside the kernel (CAP_BPF, CAP_PERFMON,
                      * Linux 5.17): 20 ms with 50,000 descriptors */
    TW_HOLDERS_PROC, /* readlink() of every /proc/PID/fd/N that may be read: 100 ms. Threads with a
                      * table of their own are seen where the kernel has kcmp(2) */
};

/* The list belongs to the struct; tw_holders_fini() frees it. Sorted by inode, pid, fd. */
struct tw_holders {
    struct tw_holding *items;
    size_t count;
    unsigned blind;                /* enum tw_blind */
    enum tw_holders_method method; /* the one used */
};

/* Finds every descriptor of the given sockets; with count 0 those of all sockets. What changes
 * meanwhile may or may not be seen. Returns 0 (also when none is found, and when /proc cannot be
 * used: TW_BLIND_PROC) or -errno. *out is set with 0 alone. */
int tw_holders_find(const uint32_t *inodes, size_t count, enum tw_holders_method method,
                    struct tw_holders *out, struct tw_error *error);
void tw_holders_fini(struct tw_holders *holders);

/* The descriptors of one socket within the list; *count is 0 when there are none. */
const struct tw_holding *tw_holders_of(const struct tw_holders *holders, uint32_t inode,
                                       size_t *count);

/* Where a socket that no process has open may be on its way: a process whose io_uring has it
 * registered, or that has an end of a Unix socket in which descriptors wait to be received. Looks
 * through /proc/PID/fdinfo (about twice the work of TW_HOLDERS_PROC), of the processes that may be
 * read. Returns 0 with *pid set, -ENOENT, or -errno. `sure` is set when the kernel named this very
 * socket: Linux since 6.8 does for io_uring, none for messages. */
int tw_holders_in_flight(uint32_t inode, int *pid, bool *sure, struct tw_error *error);

#ifdef __cplusplus
}
#endif
#endif
