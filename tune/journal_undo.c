#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "journal_session.h"
#include "sysctl.h"

/* --- the report --- */

void journal_report_fini(struct journal_report *report)
{
    for (size_t i = 0; i < report->count; i++) {
        struct journal_entry *entry = &report->entries[i];

        free(entry->former);
        free(entry->applied);
        free(entry->now);
    }
    free(report->entries);
    *report = (struct journal_report){.count = 0};
}

static bool entry_fill(struct journal_entry *entry, const struct setting *setting,
                       const char *former, const char *applied)
{
    entry->setting = setting;
    entry->former = former ? strdup(former) : NULL;
    entry->applied = strdup(applied);
    return entry->applied && (entry->former || !former);
}

/* Entries in the order of the journal's items, the kept file last. */
static int report_fill(struct journal_report *out, const struct journal_session *session,
                       struct tw_error *error)
{
    const struct journal *journal = &session->journal;
    struct journal_era now;
    bool done;

    *out = (struct journal_report){.count = 0};
    out->entries = calloc(journal->count + 1, sizeof(*out->entries));
    done = out->entries;
    for (size_t i = 0; done && i < journal->count; i++) {
        const struct journal_item *item = &journal->items[i];

        done = entry_fill(&out->entries[out->count++], item->setting, item->former, item->applied);
    }
    if (done && journal->keeps)
        done = entry_fill(&out->entries[out->count++], NULL, journal->former.bytes,
                          journal->applied.bytes);
    if (!done)
        return tw_error_set(error, ENOMEM, "no memory for what the journal holds");
    journal_era_now(&now);
    /* An image has no kernel of its own. */
    out->rebooted = !session->place->root[0] && !journal_era_same(&journal->era, &now);
    return 0;
}

/* Fills entry->now. */
static int read_setting(const struct journal_session *session, struct journal_entry *entry)
{
    if (session->place->root[0])
        return tw_error_set(&entry->error, EOPNOTSUPP,
                            "%s belongs to the kernel that runs %s: put it back there",
                            entry->setting->name, session->place->root);
    return sysctl_read(entry->setting, &entry->now, &entry->error);
}

static int read_keep(const struct keep_folder *folder, struct journal_entry *entry,
                     struct keep_file *now)
{
    int rc = keep_file_read(folder, JOURNAL_KEEP_NAME, now, &entry->error);

    if (rc == 0 && now->exists && !(entry->now = strdup(now->bytes)))
        rc = tw_error_set(&entry->error, ENOMEM, "no memory for " JOURNAL_KEEP_FILE);
    return rc;
}

/* --- undo --- */

struct undo {
    struct journal_session session;
    struct keep_folder keep_folder;
    struct keep_file keep_now;
    bool force;
};

/* What is to be done about an entry: JOURNAL_RESTORED stands for "put it back". */
static enum journal_outcome judge_setting(const struct undo *undo, size_t at,
                                          struct journal_entry *entry)
{
    int rc = read_setting(&undo->session, entry);

    if (rc == -ENOENT && undo->force)
        return JOURNAL_GONE;
    if (rc)
        return JOURNAL_FAILED;
    if (setting_equal(entry->setting, entry->now, entry->former))
        return JOURNAL_WAS_SO;
    return undo->force || journal_owns(&undo->session.journal.items[at], entry->now)
               ? JOURNAL_RESTORED
               : JOURNAL_FOREIGN;
}

static enum journal_outcome judge_keep(struct undo *undo, struct journal_entry *entry)
{
    const struct journal *journal = &undo->session.journal;
    const struct keep_file *now = &undo->keep_now;

    if (read_keep(&undo->keep_folder, entry, &undo->keep_now))
        return JOURNAL_FAILED;
    if (keep_file_same(now, &journal->former))
        return JOURNAL_WAS_SO;
    /* A file that was removed is no file of ours. */
    if (undo->force || (now->exists && (keep_file_same_bytes(now, &journal->applied) ||
                                        keep_file_same_bytes(now, &journal->earlier))))
        return JOURNAL_RESTORED;
    return JOURNAL_FOREIGN;
}

/* Judges all, and looks whether those to be put back can be: who may not is told before anything is
 * done. */
static int judge(struct undo *undo, struct journal_report *out, struct tw_error *error)
{
    for (size_t i = 0; i < out->count; i++) {
        struct journal_entry *entry = &out->entries[i];
        int rc;

        entry->outcome = entry->setting ? judge_setting(undo, i, entry) : judge_keep(undo, entry);
        if (entry->setting && entry->outcome == JOURNAL_RESTORED &&
            (rc = sysctl_writable(entry->setting, error)))
            return rc;
    }
    return 0;
}

static int restore(const struct undo *undo, struct journal_entry *entry)
{
    int rc;

    entry->error = (struct tw_error){0};
    if (entry->setting)
        rc = journal_write(entry->setting, entry->former, true, &entry->error);
    else
        rc = keep_file_put(&undo->keep_folder, JOURNAL_KEEP_NAME, &undo->session.journal.former,
                           &entry->error);
    if (rc)
        entry->outcome = JOURNAL_FAILED;
    return rc;
}

/* The last first. The kernel may refuse a value as long as another is not back (the range of ports
 * must not reach below the privileged ones), and after several applies no order need be right: so
 * those that were refused are tried again as long as that gets on. */
static void restore_all(const struct undo *undo, struct journal_report *out, bool *todo)
{
    bool progress = true;

    while (progress) {
        progress = false;
        for (size_t i = out->count; i-- > 0;) {
            if (!todo[i] || restore(undo, &out->entries[i]))
                continue;
            out->entries[i].outcome = JOURNAL_RESTORED;
            todo[i] = false;
            progress = true;
        }
    }
}

/* Removes the journal when all is back. */
static int finish(const struct undo *undo, const struct journal_report *out, struct tw_error *error)
{
    const struct keep_file none = {.exists = false};
    const struct journal_session *session = &undo->session;

    for (size_t i = 0; i < out->count; i++)
        if (out->entries[i].outcome == JOURNAL_FOREIGN || out->entries[i].outcome == JOURNAL_FAILED)
            return 0;
    return keep_file_put(&session->folder, session->name, &none, error);
}

static int undo_locked(struct undo *undo, struct journal_report *out, struct tw_error *error)
{
    bool *todo;
    int rc = report_fill(out, &undo->session, error);

    if (rc || (rc = judge(undo, out, error)))
        return rc;
    if (!(todo = calloc(out->count + 1, sizeof(*todo))))
        return tw_error_set(error, ENOMEM, "no memory for what the journal holds");
    for (size_t i = 0; i < out->count; i++)
        todo[i] = out->entries[i].outcome == JOURNAL_RESTORED;
    restore_all(undo, out, todo);
    free(todo);
    return finish(undo, out, error);
}

int journal_undo(const struct journal_place *place, bool force, struct journal_report *out,
                 struct tw_error *error)
{
    struct undo undo = {.keep_folder.fd = -1, .force = force};
    int rc = journal_session_begin(&undo.session, place, false, error);

    *out = (struct journal_report){.count = 0};
    /* An apply that died before it wrote a journal may have left a staged file there, too. */
    if (undo.session.lock >= 0 && (rc == 0 || rc == -ENOENT)) {
        bool keeps = undo.session.journal.keeps;
        int opened = keep_folder_open(&undo.keep_folder, place->root, JOURNAL_KEEP_FOLDER, keeps,
                                      rc == 0 && keeps ? error : NULL);

        if (opened == 0)
            keep_file_unstage(&undo.keep_folder, JOURNAL_KEEP_NAME);
        else if (keeps)
            rc = opened;
    }
    if (rc == 0)
        rc = undo_locked(&undo, out, error);
    if (rc)
        journal_report_fini(out);
    keep_file_fini(&undo.keep_now);
    keep_folder_close(&undo.keep_folder);
    journal_session_end(&undo.session);
    return rc;
}

/* --- check --- */

static enum journal_outcome check_keep(const struct journal_session *session,
                                       struct journal_entry *entry)
{
    struct keep_folder folder = {.fd = -1};
    struct keep_file now = {0};
    enum journal_outcome outcome = JOURNAL_FAILED;
    int rc =
        keep_folder_open(&folder, session->place->root, JOURNAL_KEEP_FOLDER, false, &entry->error);

    if (rc == -ENOENT)
        outcome = JOURNAL_FOREIGN; /* removed, with its folder */
    else if (rc == 0 && read_keep(&folder, entry, &now) == 0)
        outcome = keep_file_same_bytes(&now, &session->journal.applied) ? JOURNAL_WAS_SO
                                                                        : JOURNAL_FOREIGN;
    keep_file_fini(&now);
    keep_folder_close(&folder);
    return outcome;
}

static enum journal_outcome check_setting(const struct journal_session *session,
                                          struct journal_entry *entry)
{
    if (read_setting(session, entry))
        return JOURNAL_FAILED;
    return setting_equal(entry->setting, entry->now, entry->applied) ? JOURNAL_WAS_SO
                                                                     : JOURNAL_FOREIGN;
}

int journal_check(const struct journal_place *place, struct journal_report *out,
                  struct tw_error *error)
{
    struct journal_session session;
    int rc = journal_session_look(&session, place, error);

    *out = (struct journal_report){.count = 0};
    if (rc == 0)
        rc = report_fill(out, &session, error);
    for (size_t i = 0; rc == 0 && i < out->count; i++) {
        struct journal_entry *entry = &out->entries[i];

        entry->outcome =
            entry->setting ? check_setting(&session, entry) : check_keep(&session, entry);
    }
    if (rc)
        journal_report_fini(out);
    journal_session_end(&session);
    return rc;
}
