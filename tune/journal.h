/*
 * journal.h - changes settings so that every former value can be had back: also after a crash in
 * the middle, a power failure or a reboot.
 *
 * Before the first change the journal holds, on the disk, the exact former value of each setting
 * and the former bytes of the file that keeps them. It goes only when all of it was put back. A
 * second apply keeps the oldest former value of each. Two at a time are kept apart by a lock.
 *
 * Files, all below `root`:
 *     /var/lib/tidewait/tune.json            the journal; tune-NETNS.json for a network namespace
 *     /var/lib/tidewait/lock                 locked while settings are changed or put back
 *     /etc/sysctl.d/99-tidewait.conf         what --persist keeps
 */
#ifndef JOURNAL_H
#define JOURNAL_H

#include "change.h"

#define JOURNAL_KEEP_FILE "/etc/sysctl.d/99-tidewait.conf"

struct journal_place {
    const char *root;  /* "" or the folder of an image: then /proc/sys is left alone and only the
                        * file  that keeps the settings is written */
    const char *netns; /* NULL: the host. Only names the journal: the calling thread is in the
                        * network namespace already. */
};

/* Makes the changes; keep_text, unless NULL, becomes the whole of JOURNAL_KEEP_FILE. All or
 * nothing: when one is refused, those made before are taken back. Errors: -EACCES or -EPERM,
 * -EROFS, -ENOENT (no such setting), -EINVAL (refused by the kernel), -EBUSY (another tidewait is
 * at it), -EBADMSG (a journal is there and damaged), -ENOSPC, ..; nothing is changed then, or the
 * text says what could not be taken back. */
int journal_apply(const struct journal_place *place, const struct changes *changes,
                  const char *keep_text, struct tw_error *error);

/* What became of one entry of the journal. */
enum journal_outcome {
    JOURNAL_RESTORED,
    JOURNAL_WAS_SO,  /* it had its former value already (a reboot, a crash before the change) */
    JOURNAL_FOREIGN, /* somebody has changed it since: left alone without `force` */
    JOURNAL_GONE,   /* `force` only: this kernel has no such setting (any more), so nothing to do */
    JOURNAL_FAILED, /* the error tells */
};

struct journal_entry {
    const struct setting *setting; /* NULL: the kept file */
    char *former, *applied;        /* former NULL: there was no such file */
    char *now;                     /* as it was found; NULL: cannot be read, or no such file */
    enum journal_outcome outcome;
    struct tw_error error;
};

struct journal_report {
    struct journal_entry *entries; /* in the order in which they were made */
    size_t count;
    bool rebooted; /* since the changes were made, or the network namespace was made anew */
};

/* Puts back what the journal holds, the last first, and removes it when all is back: 0, and the
 * outcomes tell. Entries that are foreign or failed keep the journal. Errors leave the report
 * empty; nothing was touched then, unless the text says that the journal cannot be removed.
 * -ENOENT: there is no journal. -EACCES, -EROFS, -EBUSY, -EBADMSG: as above. */
int journal_undo(const struct journal_place *place, bool force, struct journal_report *out,
                 struct tw_error *error);

/* Compares the kernel with what was applied, and the kept file with what was written. Outcomes:
 * JOURNAL_WAS_SO (as applied), JOURNAL_FOREIGN (drifted) or JOURNAL_FAILED (cannot be read).
 * -ENOENT: there is no journal. */
int journal_check(const struct journal_place *place, struct journal_report *out,
                  struct tw_error *error);

void journal_report_fini(struct journal_report *report);

#endif
