/*
 * plan_like.h - a workload as a record of `load --json` measured it.
 */
#ifndef PLAN_LIKE_H
#define PLAN_LIKE_H

#include "plan.h"

struct plan_like {
    struct plan_workload workload;
    bool loopback;   /* every target is on this host */
    double ports;    /* of a lane; 0: not known */
    char words[200]; /* where it is from, and what was not taken over as it was */
};

/* -EINVAL with the file's name and what is wrong. */
int plan_like_read(const char *path, struct plan_like *out, struct tw_error *error);

#endif
