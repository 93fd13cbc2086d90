/*
 * hosts.h - lists of hosts as people type them, and the way back.
 *
 *     web[01-40],db1             ranges with leading zeros
 *     rack[1-3]n[1-9/2,20],x     several brackets; steps; single numbers
 *     web-[a-c]                  letters
 *     root@web1:2222             user and port, which go for the whole pattern
 *     [fe80::1%eth0]:22, ::1     IPv6
 *
 * Commas and blanks separate. The order is kept and what comes twice counts once. Pure code but for
 * the memory.
 */
#ifndef HOSTS_H
#define HOSTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tidewait/error.h"
#include "tidewait/parse.h"

#define HOSTS_MAX      65536
#define HOST_LABEL_MAX 320 /* of [user@]name[:port], its NUL included */

struct host {
    char *label; /* [user@]name[:port], with what was given; unlike all others of the list */
    const char *address; /* name or address alone, IPv6 without brackets; in the block of label */
    const char *user;    /* the same; NULL: not given */
    uint16_t port;       /* 0: not given */
};

/* Zeroed it is empty. It owns its items. */
struct hosts {
    struct host *items;
    size_t count;
    size_t room;
    uint32_t *slots; /* index + 1, by label */
    size_t slot_count;
};

/* Adds a list. Returns 0, -EINVAL, -ERANGE (more than HOSTS_MAX) or -ENOMEM, with *error. After a
 * failure some may have been added. */
int hosts_add(struct hosts *hosts, struct tw_view list, struct tw_error *error);

/* Adds what a file holds: lists, with comments from '#' to the end of the line. */
int hosts_add_text(struct hosts *hosts, struct tw_view text, const char *name,
                   struct tw_error *error);

/* Takes away those that are in the list. One without user and port goes for every user and port. */
int hosts_remove(struct hosts *hosts, struct tw_view list, struct tw_error *error);

/* What is wrong with a name of a user; NULL: nothing. */
const char *host_user_wrong(struct tw_view user);

void hosts_fini(struct hosts *hosts);

/* Writes labels as one short list in rising order, such as web[01-03,7]; hosts_add() reads it. From
 * malloc; NULL without memory. */
char *hosts_fold(const char *const *labels, size_t count);

/* Used among the files of hosts: one name of a pattern, made of user, name and port. */
int hosts_keep(struct hosts *hosts, struct tw_view user, struct tw_view name, uint16_t port,
               struct tw_error *error);
int hosts_expand(struct hosts *hosts, struct tw_view user, struct tw_view pattern, uint16_t port,
                 struct tw_error *error);

#endif
