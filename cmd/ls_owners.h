/*
 * ls_owners.h - who has a socket: its processes and its user. Reading about a process is the slow
 * part of `ls`, so each is read once, when the first of its sockets is shown.
 */
#ifndef LS_OWNERS_H
#define LS_OWNERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tidewait/error.h"
#include "tidewait/holders.h"
#include "tidewait/process.h"

struct ls_process;
struct ls_user;

struct ls_owners {
    bool full; /* all of tw_process; else pid and comm alone, which is ten times as fast */
    struct tw_holders holders;
    struct ls_process **processes; /* a hash by pid */
    size_t process_room;           /* a power of two */
    size_t process_count;
    struct ls_user *users;
    size_t user_count;
    size_t user_last;
    struct tw_process spare; /* when memory runs out */
};

/* Finds the holders of all sockets. 0 or -errno. Without it nobody has anything. */
int ls_owners_find(struct ls_owners *owners, struct tw_error *error);
void ls_owners_fini(struct ls_owners *owners);

/* The descriptors of a socket, sorted by pid; NULL with *count 0 when there are none. */
const struct tw_holding *ls_owners_of(const struct ls_owners *owners, uint32_t inode,
                                      size_t *count);

/* Never NULL; of a process that is gone only the pid is known. Valid until ls_owners_fini(). */
const struct tw_process *ls_owners_process(struct ls_owners *owners, int pid);

/* The pid of the first process read that has the same unit: it stands for the unit. */
int ls_owners_unit(struct ls_owners *owners, int pid);

/* The user's name, or the number when there is none. */
const char *ls_owners_user(struct ls_owners *owners, uint32_t uid);

#endif
