/*
 * holders_private.h - what the two ways to find the holders of sockets share.
 */
#ifndef HOLDERS_PRIVATE_H
#define HOLDERS_PRIVATE_H

#include <stdbool.h>

#include "tidewait/holders.h"

struct holders_search {
    const uint32_t *wanted; /* in ascending order */
    size_t count;           /* 0: all sockets */
    struct tw_holders *out;
    size_t room; /* items that out->items has memory for */
    struct tw_error *error;
};

/* Whether the search asks for this socket. */
bool holders_wants(const struct holders_search *search, uint32_t inode);

/* Adds a descriptor to the list if its socket is wanted. Returns 0 or -ENOMEM. */
int holders_keep(struct holders_search *search, const struct tw_holding *holding);

/* Each adds what it finds to search->out, in any order, perhaps some of it twice, with the blind
 * flags. Returns 0 or -errno. */
int holders_by_bpf(struct holders_search *search);
int holders_by_proc(struct holders_search *search);

#endif
