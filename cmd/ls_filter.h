/*
 * ls_filter.h - which sockets `ls` shows: the operands as typed, and the test of a row.
 *
 * Each operand is a condition, or several with commas between them. Conditions of one kind are
 * alternatives; of each kind that was named one has to hold. Pure but for names of users and of
 * namespaces, which are looked up when they are added.
 */
#ifndef LS_FILTER_H
#define LS_FILTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tidewait/address.h"
#include "tidewait/parse.h"
#include "tidewait/process.h"
#include "tidewait/sockets.h"
#include "tidewait/unix_sockets.h"

enum ls_kind {
    LS_PORT,    /* of either end */
    LS_SPORT,   /* of the local end */
    LS_DPORT,   /* of the remote end */
    LS_ADDRESS, /* of either end, perhaps with its port */
    LS_SRC,
    LS_DST,
    LS_STATE,
    LS_PROTO,
    LS_USER,
    LS_NETNS,
    LS_PATH, /* of a Unix socket */
    /* From here on of a process that has the socket open. */
    LS_PID,
    LS_COMM,
    LS_UNIT,
    LS_CONTAINER,
    LS_KINDS,
};

#define LS_KIND_MASK(kind) (1u << (kind))
#define LS_OF_PROCESS                                                       \
    (LS_KIND_MASK(LS_PID) | LS_KIND_MASK(LS_COMM) | LS_KIND_MASK(LS_UNIT) | \
     LS_KIND_MASK(LS_CONTAINER))

enum {
    LS_TCP = 1 << 0,
    LS_UDP = 1 << 1,
    LS_UNIX = 1 << 2,
};

struct ls_condition {
    enum ls_kind kind;
    struct tw_endpoint address; /* its host part zeroed */
    unsigned prefix;            /* bits of the address that count */
    struct tw_port_range ports;
    uint64_t number;     /* pid, uid, inode of a namespace, mask of states or protocols */
    struct tw_view text; /* of the operand */
};

/* Zeroed it lets everything pass. */
struct ls_filter {
    struct ls_condition *items; /* sorted by kind */
    size_t count;
    unsigned kinds;      /* LS_KIND_MASK()s of those named */
    unsigned state_mask; /* of LS_STATE; 0: any */
    unsigned protocols;  /* of LS_PROTO, or what a path implies; 0: any */
};

/* Adds an operand, whose text must outlive the filter. 0, or -EINVAL, -ERANGE, -ENOENT, -ENOMEM
 * with a text that quotes it. */
int ls_filter_add(struct ls_filter *filter, const char *operand, struct tw_error *error);
void ls_filter_fini(struct ls_filter *filter);

/* What the kernel can be asked for instead of everything, in pass 0, 1, ...; false when there are
 * no more passes. Rows whose local port is *seen were in an earlier pass; 0: none were. */
bool ls_filter_query(const struct ls_filter *filter, unsigned pass, struct tw_sockets_query *query,
                     uint16_t *seen);

/* All conditions but those on namespace and process. */
bool ls_filter_inet(const struct ls_filter *filter, const struct tw_socket_row *row);
bool ls_filter_unix(const struct ls_filter *filter, const struct tw_unix_row *row);

bool ls_filter_netns(const struct ls_filter *filter, uint64_t inode);

/* The conditions on a process, all on this one. */
bool ls_filter_process(const struct ls_filter *filter, const struct tw_process *process);

/* The kernel forgets the user of a socket that nobody has open. */
static inline bool ls_has_user(const struct tw_socket_row *row)
{
    return row->inode != 0;
}

#endif
