/*
 * ls_group.h - sockets of `ls` counted instead of listed: only the groups are kept.
 */
#ifndef LS_GROUP_H
#define LS_GROUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ls_print.h"
#include "table.h"
#include "tidewait/ports.h"

enum ls_by {
    LS_BY_NOTHING,
    LS_BY_STATE,
    LS_BY_LANE,
    LS_BY_HOLDER,
    LS_BY_PORT,
    LS_BY_USER,
    LS_BY_UNIT,
    LS_BY_NETNS,
};

struct ls_groups {
    enum ls_by by;
    struct ls_owners *owners;
    struct tw_ports listening; /* ports of this namespace's listeners: what comes in there */
    struct tw_ports ephemeral; /* the ports that it gives to clients */
    struct tw_netns *netns;    /* those met */
    size_t netns_count;
    struct table groups;
    struct table shares; /* how many of a lane's connections a process has */
};

void ls_groups_init(struct ls_groups *groups, enum ls_by by, struct ls_owners *owners);
void ls_groups_fini(struct ls_groups *groups);

/* Whether the groups rest on processes, and whether on directions: then the listeners of a
 * namespace must be told before its other sockets. */
bool ls_groups_need_holders(enum ls_by by);
bool ls_groups_need_listeners(enum ls_by by);

/* A namespace begins; NULL when there is only one. 0 or -ENOMEM. */
int ls_groups_enter(struct ls_groups *groups, const struct tw_netns *netns);
void ls_groups_listener(struct ls_groups *groups, const struct tw_socket_row *row);

/* Counts one socket. 0 or -ENOMEM. */
int ls_groups_add(struct ls_groups *groups, const struct ls_item *item);

/* The biggest first, `limit` at most (0: all). Nothing can be added any more. */
void ls_groups_print(struct ls_groups *groups, struct ls_printer *printer, uint64_t limit);

#endif
