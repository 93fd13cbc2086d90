/*
 * journal_session.h - what apply and undo have in common: the folder, the lock, the journal that is
 * there.
 */
#ifndef JOURNAL_SESSION_H
#define JOURNAL_SESSION_H

#include "journal_file.h"

#define JOURNAL_KEEP_FOLDER "/etc/sysctl.d"
#define JOURNAL_KEEP_NAME   "99-tidewait.conf"

struct journal_session {
    const struct journal_place *place;
    struct keep_folder folder;
    char name[NAME_MAX + 1]; /* of the journal, in the folder */
    int lock;
    struct keep_file file; /* the journal as it lies there */
    struct journal journal;
};

/* Reads the journal without the lock: it is replaced at one stroke. -ENOENT: there is none. */
int journal_session_look(struct journal_session *session, const struct journal_place *place,
                         struct tw_error *error);

/* Takes the lock, removes what a process that died had staged, and reads the journal. With `make`
 * the folder is made and the journal may be missing: then session->file does not exist. */
int journal_session_begin(struct journal_session *session, const struct journal_place *place,
                          bool make, struct tw_error *error);

/* Also after an error. */
void journal_session_end(struct journal_session *session);

/* Whether a value was set by us: it is what was applied, last or before, or what is left of a write
 * that was cut short. */
bool journal_owns(const struct journal_item *item, const char *now);

/* Writes a value and looks whether the kernel took it: `exact`, to the byte, else in meaning. */
int journal_write(const struct setting *setting, const char *value, bool exact,
                  struct tw_error *error);

#endif
