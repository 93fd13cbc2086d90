/*
 * differential.h - our rules against the kernel: random programs of socket calls, run by the kernel
 * and predicted by lib/rules.
 *
 * A world is a short random program on two hosts: some sockets, a window of eight ports. A model
 * keeps a row for each socket that ought to exist and asks the rules what each call returns; then
 * the kernel makes the call. The errno of every call is compared, the states of the sockets that it
 * touches, and twice a world all rows that sock_diag shows. A difference is shrunk to the shortest
 * program that still shows one. World n of a seed is the same program always.
 */
#ifndef DIFFERENTIAL_H
#define DIFFERENTIAL_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "tidewait/error.h"

enum op_kind {
    OP_SOCKET,
    OP_SETSOCKOPT,
    OP_BIND,
    OP_LISTEN,
    OP_CONNECT,
    OP_ACCEPT,
    OP_SHUTDOWN,
    OP_CLOSE,
    OP_KINDS,
};

struct differential_opts {
    uint64_t seed;
    uint64_t operations; /* stop after so many calls; 0: no such limit */
    uint64_t for_ns;     /* stop after this time; 0: no such limit. One of the two must be there */
    unsigned break_clause; /* n: the n'th clause of the rules is left out, to prove that the test
                            * finds it; 0: none */
    atomic_int *stop;      /* not 0: stop soon; may be NULL. In differential_fork() it must be in
                            * memory that processes share */
};

/* A clause of the rules that can be left out. */
struct differential_clause {
    const char *text; /* "SO_REUSEPORT shares with the same user only" */
    int needs_users;  /* can be noticed by root of the whole host alone */
};

#define DIFFERENTIAL_CLAUSES 21

/* Clause n is at n - 1. */
extern const struct differential_clause differential_clauses[DIFFERENTIAL_CLAUSES];

#define DIFFERENTIAL_PROGRAM_MAX 16384

/* Plain data without pointers: it may be in memory that processes share. */
struct differential_result {
    uint64_t operations;      /* calls whose errno was compared */
    uint64_t kinds[OP_KINDS]; /* the same for each kind */
    uint64_t refused;         /* of them those that failed, as predicted */
    uint64_t in_use;          /* of them EADDRINUSE and EADDRNOTAVAIL */
    uint64_t let_in;          /* binds that the rules refuse and the kernel lets in by its shortcut
                               * for SO_REUSEPORT, as predicted from what the port has seen */
    uint64_t comparisons;     /* of all rows of a host with sock_diag */
    uint64_t rows;            /* that were compared by then */
    uint64_t worlds;
    uint64_t differences; /* 0 or 1: the first one ends the run */
    uint64_t seed;
    uint64_t world;                         /* where the difference is: this world of the seed */
    uint32_t calls;                         /* of the shortest program */
    int users;                              /* whether there was a second user */
    char program[DIFFERENTIAL_PROGRAM_MAX]; /* the shortest program, one call a line; "" if none */
};

const char *op_kind_name(enum op_kind kind);

/* Runs in the calling process, which must be in a network namespace of its own with the right to
 * make others (root, or a user namespace): it moves between two more of them and does not come
 * back. A difference is no error: returns 0, or -errno with the reason when the test could not be
 * done. */
int differential_run(const struct differential_opts *opts, struct differential_result *out,
                     struct tw_error *error);

/* The same in a child process in namespaces of its own, so that this one stays where it is; the
 * kernel takes all away with the child, which ends with its parent. -EPERM: no namespaces may be
 * made here. */
int differential_fork(const struct differential_opts *opts, struct differential_result *out,
                      struct tw_error *error);

#endif
