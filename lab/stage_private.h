/*
 * stage_private.h - what the files that make up a stage share.
 */
#ifndef STAGE_PRIVATE_H
#define STAGE_PRIVATE_H

#include "stage.h"
#include "stage_play.h"

#define WATCHES_MAX  8
#define CHILDREN_MAX 16

struct watch {
    uint16_t server_port;
    bool client_is_left;
    int client_state, server_state; /* as last drawn; -1: none or gone */
};

struct stage {
    struct story *story;
    struct stage_settings settings;
    int parent;          /* with which this process dies; 0: with none */
    struct host left;    /* netns is -1 until the hosts are made */
    struct host right;   /* likewise, and for good when there is one host */
    struct host *inside; /* where this process is; NULL: on no host */
    struct wire *wire;   /* NULL: none */
    uint64_t start_ns;
    uint64_t calm_ns; /* since when neither the plot nor a watched connection has done anything */
    struct watch watches[WATCHES_MAX];
    size_t watch_count;
    int children[CHILDREN_MAX];
    size_t child_count;
};

/* The stage that this process is, for functions that are given none. */
struct stage *stage_here(void);

uint64_t stage_now_ns(const struct stage *stage);

/* Draws the states of the watched connections that have changed. */
void stage_sample(struct stage *stage);

/* Breaks the stage, or ends it as lacking, by the kind of errno: a right or a part of the kernel
 * that is not there is no fault of the scenario. */
void stage_refused(struct stage *stage, int code, const char *text) __attribute__((noreturn));

/* Goes to a host and returns where the process was, for host_return(). */
struct host *host_visit(struct host *host);
void host_return(struct stage *stage, struct host *before);

/* The process is killed when its parent ends. The kernel forgets that at each change of user, so it
 * is said again then. Ends the process when the parent has ended already. */
void stage_die_with(int parent);

/* Ends the stage as lacking when something that the scenario needs is not there. */
void stage_check_needs(struct stage *stage, unsigned needs);

/* Becomes a user, or root again (0), and still dies with its parent. 0 or a positive errno. */
int become_user(uint32_t uid);

/* Ends the children that are left, and waits for them. */
void stage_end_children(struct stage *stage);

#endif
