#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "journal_session.h"
#include "sysctl.h"

/* One apply under way. */
struct apply {
    const struct changes *changes;
    struct journal_session session;
    struct keep_folder keep_folder;
    struct keep_file keep_now, keep_new; /* keep_new exists when the kept file is to be written */
    char **now;                          /* of each change, before it */
    struct journal next;
    bool keep_touched;
};

/* --- before anything is written --- */

static bool is_changed(const struct changes *changes, size_t end, const struct setting *setting)
{
    for (size_t i = 0; i < end; i++)
        if (changes->items[i].setting == setting)
            return true;
    return false;
}

/* No folder nor file is made for a request that cannot be done. */
static int check_request(const struct changes *changes, struct tw_error *error)
{
    for (size_t i = 0; i < changes->count; i++) {
        const struct change *change = &changes->items[i];
        int rc = sysctl_writable(change->setting, error);

        if (rc)
            return rc;
        if (is_changed(changes, i, change->setting))
            return tw_error_set(error, EINVAL, "%s is to be changed twice", change->setting->name);
        if (!journal_value_ok(change->after))
            return tw_error_set(error, EINVAL, "%s cannot be '%.60s'", change->setting->name,
                                change->after);
    }
    return 0;
}

static int read_values(struct apply *apply, struct tw_error *error)
{
    const struct changes *changes = apply->changes;
    int rc = 0;

    apply->now = calloc(changes->count + 1, sizeof(*apply->now));
    if (!apply->now)
        return tw_error_set(error, ENOMEM, "no memory for the values of the settings");
    for (size_t i = 0; rc == 0 && i < changes->count; i++)
        rc = sysctl_read(changes->items[i].setting, &apply->now[i], error);
    return rc;
}

/* --- the next journal: the one that is there with the changes on top --- */

static const struct journal_item *find_item(const struct journal *journal,
                                            const struct setting *setting)
{
    for (size_t i = 0; i < journal->count; i++)
        if (journal->items[i].setting == setting)
            return &journal->items[i];
    return NULL;
}

static int merge_settings(struct apply *apply)
{
    static const struct journal none;
    const struct journal *old = &apply->session.journal;
    const struct changes *changes = apply->changes;
    int rc = 0;

    /* The values of a network namespace end with it, and were never those of the next one of that
     * name. Those of a host come back with it, by the kept file. */
    if (apply->session.place->netns && !journal_era_same(&old->era, &apply->next.era))
        old = &none;
    /* What is changed anew goes to the end, since undo goes backwards. */
    for (size_t i = 0; rc == 0 && i < old->count; i++) {
        const struct journal_item *item = &old->items[i];

        if (!is_changed(changes, changes->count, item->setting))
            rc = journal_add(&apply->next, item->setting, item->former, item->applied,
                             item->earlier);
    }
    for (size_t i = 0; rc == 0 && i < changes->count; i++) {
        const struct change *change = &changes->items[i];
        const struct journal_item *item = find_item(old, change->setting);

        const char *now = apply->now[i];

        /* After a crash before the change, what is there is to be known for ours; what somebody
         * else has set is not. */
        rc = journal_add(&apply->next, change->setting, item ? item->former : now, change->after,
                         item && journal_owns(item, now) ? now : NULL);
    }
    return rc;
}

static int copy_file(struct keep_file *to, const struct keep_file *from)
{
    *to = *from;
    if (!from->exists)
        return 0;
    to->bytes = malloc(from->len + 1);
    if (!to->bytes) {
        *to = (struct keep_file){0};
        return -ENOMEM;
    }
    memcpy(to->bytes, from->bytes, from->len + 1);
    return 0;
}

static int merge_keep(struct apply *apply)
{
    const struct journal *old = &apply->session.journal;
    const struct keep_file *now = &apply->keep_now;
    struct journal *next = &apply->next;
    bool writes = apply->keep_new.exists, ours;
    int rc;

    if (!writes && !old->keeps)
        return 0;
    next->keeps = true;
    if ((rc = copy_file(&next->former, old->keeps ? &old->former : now)) ||
        (rc = copy_file(&next->applied, writes ? &apply->keep_new : &old->applied)))
        return rc;
    if (!writes)
        return copy_file(&next->earlier, &old->earlier);
    ours = old->keeps &&
           (keep_file_same_bytes(now, &old->applied) || keep_file_same_bytes(now, &old->earlier));
    return ours ? copy_file(&next->earlier, now) : 0;
}

static int write_journal(struct apply *apply, struct tw_error *error)
{
    struct journal_session *session = &apply->session;
    struct keep_file file = {0};
    int rc;

    journal_era_now(&apply->next.era);
    if ((rc = merge_settings(apply)) == 0)
        rc = merge_keep(apply);
    if (rc == 0)
        rc = journal_format(&apply->next, session->place, &file);
    if (rc)
        return tw_error_set(error, -rc, "no memory for the journal");
    rc = keep_file_put(&session->folder, session->name, &file, error);
    keep_file_fini(&file);
    return rc;
}

/* --- the changes --- */

static int make_changes(struct apply *apply, struct tw_error *error)
{
    const struct changes *changes = apply->changes;
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < changes->count; i++)
        rc = journal_write(changes->items[i].setting, changes->items[i].after, false, error);
    if (rc || !apply->keep_new.exists)
        return rc;
    apply->keep_touched = true;
    return keep_file_commit(&apply->keep_folder, JOURNAL_KEEP_NAME, error);
}

/* Gives one setting its value back, if it has another one now. */
static bool take_back(const struct setting *setting, const char *value)
{
    char *now = NULL;
    bool same = sysctl_read(setting, &now, NULL) == 0 && strcmp(now, value) == 0;

    free(now);
    return same || journal_write(setting, value, true, NULL) == 0;
}

static int put_journal_back(const struct journal_session *session)
{
    struct keep_file now = {0};
    int rc = keep_file_read(&session->folder, session->name, &now, NULL);

    /* On a full disk the new one was not written, and the old one could not be. */
    if (rc || !keep_file_same(&now, &session->file))
        rc = keep_file_put(&session->folder, session->name, &session->file, NULL);
    keep_file_fini(&now);
    return rc;
}

/* Takes all back after `cause`, the last first. The error says what could not be: the journal that
 * was written for these changes stays then. */
static int give_up(struct apply *apply, const struct tw_error *cause, struct tw_error *error)
{
    const struct journal_session *session = &apply->session;
    char left[160] = "";
    size_t used = 0;

    if (apply->keep_touched &&
        keep_file_put(&apply->keep_folder, JOURNAL_KEEP_NAME, &apply->keep_now, NULL))
        used += (size_t)snprintf(left, sizeof(left), ", %s", JOURNAL_KEEP_FILE);
    for (size_t i = apply->changes->count; apply->now && i-- > 0;) {
        const struct setting *setting = apply->changes->items[i].setting;

        if (!take_back(setting, apply->now[i]) && used < sizeof(left))
            used += (size_t)snprintf(left + used, sizeof(left) - used, ", %s", setting->name);
    }
    if (used)
        return tw_error_set(error, cause->code,
                            "%.80s; taken back, but for these, which 'tidewait tune --undo' may "
                            "put back: %s%s",
                            cause->text, left + 2, used >= sizeof(left) ? ".." : "");
    if (put_journal_back(session))
        return tw_error_set(error, cause->code,
                            "%.140s; no setting was changed, but the journal stays: 'tidewait tune "
                            "--undo' removes it",
                            cause->text);
    return tw_error_set(error, cause->code, "%.200s; nothing was changed", cause->text);
}

/* --- all of it --- */

static int stage_keep(struct apply *apply, const char *text, struct tw_error *error)
{
    const char *root = apply->session.place->root;
    int rc;

    if (!text)
        return 0;
    rc = keep_folder_open(&apply->keep_folder, root, JOURNAL_KEEP_FOLDER, true, error);
    if (rc == 0)
        rc = keep_file_read(&apply->keep_folder, JOURNAL_KEEP_NAME, &apply->keep_now, error);
    if (rc)
        return rc;
    apply->keep_new = (struct keep_file){
        .exists = true,
        .bytes = strdup(text),
        .len = strlen(text),
        .mode = 0644,
        .uid = geteuid(),
        .gid = getegid(),
    };
    if (!apply->keep_new.bytes) {
        apply->keep_new.exists = false;
        return tw_error_set(error, ENOMEM, "no memory for " JOURNAL_KEEP_FILE);
    }
    return keep_file_stage(&apply->keep_folder, JOURNAL_KEEP_NAME, &apply->keep_new, error);
}

/* With the lock held. */
static int apply_locked(struct apply *apply, const char *keep_text, struct tw_error *error)
{
    struct tw_error cause = {0};
    int rc = read_values(apply, error);

    /* A disk that is full is found out by these two, before the first setting is touched. */
    if (rc || (rc = stage_keep(apply, keep_text, error)))
        return rc;
    if ((rc = write_journal(apply, &cause)) == 0)
        rc = make_changes(apply, &cause);
    return rc ? give_up(apply, &cause, error) : 0;
}

int journal_apply(const struct journal_place *place, const struct changes *changes,
                  const char *keep_text, struct tw_error *error)
{
    static const struct changes none;
    struct apply apply = {.changes = place->root[0] ? &none : changes, .keep_folder.fd = -1};
    int rc;

    if (apply.changes->count == 0 && !keep_text)
        return place->root[0] ? tw_error_set(error, EINVAL,
                                             "below %s only " JOURNAL_KEEP_FILE
                                             " can be written: --persist is missing",
                                             place->root)
                              : 0;
    if ((rc = check_request(apply.changes, error)))
        return rc;
    rc = journal_session_begin(&apply.session, place, true, error);
    if (rc == 0)
        rc = apply_locked(&apply, keep_text, error);
    if (rc && apply.keep_folder.fd >= 0)
        keep_file_unstage(&apply.keep_folder, JOURNAL_KEEP_NAME);
    for (size_t i = 0; apply.now && i < apply.changes->count; i++)
        free(apply.now[i]);
    free(apply.now);
    journal_fini(&apply.next);
    keep_file_fini(&apply.keep_now);
    keep_file_fini(&apply.keep_new);
    keep_folder_close(&apply.keep_folder);
    journal_session_end(&apply.session);
    return rc;
}
