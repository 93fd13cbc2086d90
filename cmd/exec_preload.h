/*
 * exec_preload.h - the library that `exec` puts in front of a program, and the environment that
 * does it.
 */
#ifndef EXEC_PRELOAD_H
#define EXEC_PRELOAD_H

#include <limits.h>

#include "tidewait/error.h"

/* The path of libtidewait-shim.so: TIDEWAIT_SHIM_LIBRARY of the environment, else the build tree of
 * this program, else where it was installed. Returns 0; -EOPNOTSUPP when it is nowhere. */
int exec_preload_find(char path[PATH_MAX], struct tw_error *error);

/* Changes our own environment, which the program inherits. What the user has in LD_PRELOAD stays
 * behind ours. Returns 0 or -ENOMEM. */
int exec_preload_set(const char *library, const char *shared, struct tw_error *error);

#endif
