/*
 * common.h - what several commands do alike.
 */
#ifndef COMMON_H
#define COMMON_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "tidewait/error.h"

/* Moves this thread, and those it starts, into a network namespace: a name of `ip netns`, or that
 * of a process by its number. Returns an exit code. NULL is no namespace at all. */
int enter_netns(const char *name, struct tw_error *error);

/* A user by name or number. 0, or -EINVAL with a text. */
int user_parse(const char *text, uint32_t *uid, struct tw_error *error);

/* Lets SIGINT, SIGTERM and SIGHUP count up *stop, up to 2, and SIGPIPE do nothing. */
void catch_signals(atomic_int *stop);

/* A whole file in memory from malloc; a NUL stands behind it, not counted in *len. NULL with
 * *error. */
char *read_file(const char *path, size_t *len, struct tw_error *error);

/* Why exec() of a program failed with `code`. Returns the exit status that a shell would have: 127
 * or 126. */
int exec_failure(const char *name, int code, struct tw_error *error);

/* How many processors this process may use. */
unsigned usable_cores(void);

#endif
