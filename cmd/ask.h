/*
 * ask.h - puts the question behind an address as people type it.
 */
#ifndef ASK_H
#define ASK_H

#include "target.h"
#include "tidewait/verdict.h"

/* Asks for the target; the rest of the question is `how`. A port alone is asked for on IPv4 and
 * then on IPv6. NULL with *error. */
struct tw_verdict *ask_for(const struct tw_question *how, const struct target *target,
                           struct tw_error *error);

#endif
