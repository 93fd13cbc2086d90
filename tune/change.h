/*
 * change.h - a setting, the value it has and the value it is to have, with the reason.
 */
#ifndef CHANGE_H
#define CHANGE_H

#include "setting.h"

struct change {
    const struct setting *setting;
    char *before; /* as the kernel writes it */
    char *after;
    char *why; /* one line */
};

/* In the order in which they must be made: ports are reserved before the range reaches them.
 * Undoing goes the other way. Zeroed it is empty; changes_fini() frees all. */
struct changes {
    struct change *items;
    size_t count;
};

/* Copies the texts. 0 or -ENOMEM. */
int changes_add(struct changes *changes, const struct setting *setting, const char *before,
                const char *after, const char *why);
void changes_fini(struct changes *changes);

#endif
