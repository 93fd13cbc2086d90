/*
 * free_act.h - carries out a plan of `free`.
 */
#ifndef FREE_ACT_H
#define FREE_ACT_H

#include <stdatomic.h>

#include "free_plan.h"

struct act_how {
    const struct target *target;
    const struct tw_question *question; /* but for the address */
    uint64_t timeout_ns;                /* of each gentle step */
    bool force;
    const atomic_int *stop;
};

/* Does the steps in their order, waits for what they are to bring about, and writes result and
 * detail of each. Returns whether all went well; a step for which another was done instead counts
 * as well. */
bool act(struct plan *plan, const struct obstacles *obstacles, const struct act_how *how);

#endif
