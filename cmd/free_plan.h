/*
 * free_plan.h - what `free` is going to do, step by step, and what it refuses to do.
 */
#ifndef FREE_PLAN_H
#define FREE_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "free_find.h"
#include "options.h"
#include "target.h"
#include "tidewait/process.h"
#include "tidewait/verdict.h"

enum step_kind {
    STEP_UNIT,      /* systemctl stop `name` */
    STEP_CONTAINER, /* docker stop `name`, and its like */
    STEP_PROXY,     /* docker stop whatever publishes the port `name` */
    STEP_END,       /* TERM to the process */
    STEP_WAIT,
    STEP_DESTROY, /* SOCK_DESTROY of the obstacles */
    STEP_REMOVE,  /* the file of a Unix socket */
    STEP_REFUSE,  /* the reason why nothing is done */
};

enum step_result {
    RESULT_PLANNED,
    RESULT_DONE,
    RESULT_NEEDLESS, /* by the time it was its turn */
    RESULT_FAILED,
    RESULT_DENIED,
    RESULT_UNSUPPORTED,
};

#define NO_STEP SIZE_MAX

struct step {
    enum step_kind kind;
    char text[400]; /* what is to be done; safe on a terminal */
    char name[128];
    const char *tool; /* of a container */
    bool user_unit;
    struct tw_process process;
    uint32_t inode; /* a socket of it that stands in the way */
    size_t instead; /* done only when that step fails; else NO_STEP */
    uint64_t wait_ns;
    int code;  /* of STEP_REFUSE: exit code */
    int pidfd; /* while the process is being ended; else -1 */
    enum step_result result;
    char detail[256]; /* what came of it */
};

struct plan {
    struct step *steps;
    size_t count;
    size_t later;  /* connections that may be left in the way when all is done */
    bool refused;  /* one step is a refusal: nothing is to be done */
    bool may_pass; /* the refusal may be different in a moment */
    bool harmless; /* nobody loses anything: waiting, and removing what is dead */
    bool no_memory;
};

/* What the plan depends on. */
struct plan_how {
    const struct target *target;
    uint64_t timeout_ns;
    bool force;
    bool destroy;
    const uint32_t *reset; /* sockets whose connections were reset before */
    size_t reset_count;
};

/* Frees what an earlier call made. Returns 0 or -ENOMEM. */
int plan_make(const struct plan_how *how, const struct tw_verdict *verdict,
              const struct obstacles *obstacles, struct plan *out);
void plan_fini(struct plan *plan);

/* Whether the verdict is about the dead file of a socket, which may be removed. */
bool is_dead_file(const struct tw_verdict *verdict);

#endif
