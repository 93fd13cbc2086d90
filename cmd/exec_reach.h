/*
 * exec_reach.h - whether LD_PRELOAD has an effect in a program, before it is started.
 */
#ifndef EXEC_REACH_H
#define EXEC_REACH_H

#include "tidewait/error.h"

/* Looks for the program as execvp() does and follows scripts to what runs them. Returns 0 when
 * LD_PRELOAD reaches it, or when it cannot be told (no such program, not readable: execvp() will
 * have its say); -EOPNOTSUPP with the reason in one sentence. Programs that it starts in turn are
 * not looked at. */
int exec_reach(const char *name, struct tw_error *error);

#endif
