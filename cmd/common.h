/*
 * common.h - what several commands do alike.
 */
#ifndef COMMON_H
#define COMMON_H

#include <stdatomic.h>
#include <stddef.h>

#include "tidewait/error.h"

/* Moves this thread, and those it starts, into the network namespace NAME of `ip netns`. Returns an
 * exit code. NULL is no namespace at all. */
int enter_netns(const char *name, struct tw_error *error);

/* Lets SIGINT, SIGTERM and SIGHUP count up *stop, up to 2, and SIGPIPE do nothing. */
void catch_signals(atomic_int *stop);

/* A whole file in memory from malloc; a NUL stands behind it, not counted in *len. NULL with
 * *error. */
char *read_file(const char *path, size_t *len, struct tw_error *error);

/* How many processors this process may use. */
unsigned usable_cores(void);

#endif
