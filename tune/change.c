#include "change.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void change_fini(struct change *change)
{
    free(change->before);
    free(change->after);
    free(change->why);
}

int changes_add(struct changes *changes, const struct setting *setting, const char *before,
                const char *after, const char *why)
{
    struct change change = {setting, strdup(before), strdup(after), strdup(why)};
    struct change *items = reallocarray(changes->items, changes->count + 1, sizeof(*items));

    if (items)
        changes->items = items;
    if (!items || !change.before || !change.after || !change.why) {
        change_fini(&change);
        return -ENOMEM;
    }
    items[changes->count++] = change;
    return 0;
}

void changes_fini(struct changes *changes)
{
    for (size_t i = 0; i < changes->count; i++)
        change_fini(&changes->items[i]);
    free(changes->items);
    *changes = (struct changes){0};
}
