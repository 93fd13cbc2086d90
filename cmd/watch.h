/*
 * watch.h - runs a program and tells of each bind(), listen() and connect() just before the kernel
 * does it. Without privileges and without ptrace.
 *
 * A seccomp filter in the program hands these three calls to us; we look at them while the caller
 * waits in the kernel, and then the kernel does the call itself. Nothing is decided here, so a
 * program that changes the address meanwhile fools the report at most. The filter is inherited:
 * threads, children and programs that they execute are watched as well, static ones and Go too.
 *
 * Not seen: bind and connect by io_uring, calls of 32-bit and x32 programs, and what a process does
 * into which we may not look (`unseen`).
 *
 * What the program may notice:
 * - Its stderr is a pipe, even when ours is a terminal: it may leave out colours, or buffer. Each
 *   piece is passed on at once and in its order, but the order with stdout is lost where both go to
 *   the same place. stdin and stdout are ours as they are.
 * - Without CAP_SYS_ADMIN it runs with no_new_privs: setuid programs (sudo, ping) and file
 *   capabilities that it executes have no effect.
 * - Orphaned descendants become our children and not those of init, since Yama lets us look into
 *   descendants only.
 * - It cannot be watched a second time: `tidewait why` inside of it fails.
 *
 * Signals: what the terminal sends (Ctrl-C, Ctrl-\) reaches the program by itself, since it is in
 * our process group; we outlive it. SIGINT, SIGQUIT, SIGTERM and SIGHUP that a process sends to us
 * are passed on to the program; no handler of ours runs for them meanwhile.
 *
 * The end: watch_run() returns when the program that it started has ended. What that one left in
 * the background is served by a small child of ours, "tidewait-keeper", which lets every call
 * go on, passes stderr on, and ends with the last of them. Were nobody there, the kernel would fail
 * these calls with ENOSYS; this is also what happens when we or the keeper are killed by SIGKILL.
 * So a daemon that goes to the background before it binds should be kept in the foreground.
 */
#ifndef WATCH_H
#define WATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tidewait/address.h"
#include "tidewait/error.h"
#include "tidewait/verdict.h"

/* A call that a watched program is about to make. */
struct watch_call {
    enum tw_op op;
    int pid;                   /* the process that calls, not the thread */
    uint32_t uid;              /* its effective user */
    int fd;                    /* the socket's number there */
    uint8_t protocol;          /* IPPROTO_TCP (of MPTCP too), IPPROTO_UDP; 0: Unix */
    struct tw_endpoint local;  /* bind: the wanted address; listen, connect: what the socket is
                                * bound to; AF_UNSPEC: nothing, or not to be seen */
    struct tw_endpoint remote; /* connect: the destination; else AF_UNSPEC */
    char path[109];            /* Unix: wanted, listened on or connected to; abstract: begins with
                                * '@'. A relative one is made absolute when there is room */
    bool bound;                /* the socket has a port or path already */
    bool borrowed;             /* the socket itself could be asked. When not (a container without
                                * pidfd_getfd(2)), what follows and `bound` are false, whatever is
                                * true */
    bool reuseaddr;
    bool reuseport;
    bool v6only;
    char device[16]; /* SO_BINDTODEVICE; empty: none */
};

/* How it ended. */
struct watch_end {
    int status;      /* as of waitpid(). When the program could not be executed: as if it had ended
                      * with 127 (not found) or 126, as shells do; 0 after all other errors */
    char *text;      /* the last 64 KiB of its stderr with a NUL behind, from malloc */
    size_t text_len; /* without the NUL */
    unsigned unseen; /* calls that could not be looked at */
};

/*
 * Runs argv[0], looked for in PATH, until it has ended. before() is called while the calling thread
 * waits in the kernel, for one call at a time; NULL: nobody wants to know. It may take its time,
 * but all other calls and stderr wait too. It must not leave a child of its own unreaped. Call from
 * a program with one thread.
 *
 * Returns 0 when the program was run, whatever became of it; the caller frees end->text. Else
 * -errno with *error set: of exec (then end->status is set), or of the kernel that does not let us
 * watch: -ENOSYS (too old, or built without), -EPERM (a policy forbids it), -EBUSY (somebody else
 * watches it already). Nothing is to be freed then.
 */
int watch_run(char *const argv[], void (*before)(const struct watch_call *call, void *context),
              void *context, struct watch_end *end, struct tw_error *error);

#endif
