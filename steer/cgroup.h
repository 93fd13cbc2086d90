/*
 * cgroup.h - a cgroup v2 of our own, below the one that we are in: limits and the BPF programs of
 * those above go on to hold for what runs in it.
 *
 * The name begins with "tidewait-exec-". The maker keeps its folder locked, so an unlocked one was
 * left behind by a maker that died; it is removed when it is empty.
 */
#ifndef CGROUP_H
#define CGROUP_H

#include "tidewait/error.h"

struct cgroup {
    int home;  /* the folder above: its path may be another process's */
    int fd;    /* the folder, locked */
    int procs; /* cgroup.procs, to write to */
    char name[48];
};

/* Removes what dead makers left, too. */
int cgroup_make(struct cgroup *cgroup, struct tw_error *error);

/* Async-signal-safe. */
int cgroup_enter(const struct cgroup *cgroup);

/* -EBUSY: processes are left in it; it stays. */
int cgroup_remove(struct cgroup *cgroup, struct tw_error *error);

#endif
