/*
 * kept.h - the settings that an earlier --persist keeps: a new one must not lose them.
 */
#ifndef KEPT_H
#define KEPT_H

#include "change.h"

/* Fills *out with what JOURNAL_KEEP_FILE below `root` sets, and then with the changes, which win. A
 * line that is no setting of ours is left out. 0, -ENOMEM, or -errno when there is a file that
 * cannot be read. The caller frees with changes_fini(), also after an error. */
int kept_merge(const char *root, const struct changes *changes, struct changes *out,
               struct tw_error *error);

#endif
