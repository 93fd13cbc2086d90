#include "journal_session.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "sysctl.h"
#include "tidewait/ports.h"

/* A file, since any user could lock a folder that all may read. It stays: who waits for a lock that
 * was removed and who makes it anew would both have one. */
#define LOCK_NAME "lock"

static int open_session(struct journal_session *session, const struct journal_place *place,
                        bool make, struct tw_error *error)
{
    int rc;

    *session = (struct journal_session){.place = place, .folder.fd = -1, .lock = -1};
    rc = journal_file_name(place, session->name, error);
    return rc ? rc : keep_folder_open(&session->folder, place->root, JOURNAL_FOLDER, make, error);
}

static int no_journal(const struct journal_session *session, struct tw_error *error)
{
    return tw_error_set(error, ENOENT,
                        "there is no journal %s" JOURNAL_FOLDER "/%s: nothing to put back",
                        session->place->root, session->name);
}

static int load(struct journal_session *session, struct tw_error *error)
{
    char path[PATH_MAX + NAME_MAX + 2];
    int rc = keep_file_read(&session->folder, session->name, &session->file, error);

    if (rc || !session->file.exists)
        return rc;
    snprintf(path, sizeof(path), "%s/%s", session->folder.path, session->name);
    return journal_parse(&session->file, session->place, path, &session->journal, error);
}

int journal_session_look(struct journal_session *session, const struct journal_place *place,
                         struct tw_error *error)
{
    struct tw_error trouble = {0};
    int rc = open_session(session, place, false, &trouble);

    if (rc == -ENOENT)
        return no_journal(session, error);
    if (rc)
        return tw_error_set(error, -rc, "%s", trouble.text);
    rc = load(session, error);
    return rc == 0 && !session->file.exists ? no_journal(session, error) : rc;
}

static int take_lock(struct journal_session *session, struct tw_error *error)
{
    const char *path = session->folder.path;
    int code;

    session->lock = openat(session->folder.fd, LOCK_NAME,
                           O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
    if (session->lock < 0)
        return tw_error_set(error, errno, "cannot open %s/" LOCK_NAME ": %s%s", path,
                            strerror(errno), errno == EACCES ? "; root may" : "");
    if (flock(session->lock, LOCK_EX | LOCK_NB) == 0)
        return 0;
    code = errno;
    close(session->lock);
    session->lock = -1;
    if (code == EWOULDBLOCK)
        return tw_error_set(error, EBUSY,
                            "another tidewait is changing settings now (it has locked %s/" LOCK_NAME
                            "): try again when it is done",
                            path);
    return tw_error_set(error, code, "cannot lock %s/" LOCK_NAME ": %s", path, strerror(code));
}

static bool has_journal(const struct journal_session *session)
{
    return faccessat(session->folder.fd, session->name, F_OK, AT_SYMLINK_NOFOLLOW) == 0 ||
           errno != ENOENT;
}

int journal_session_begin(struct journal_session *session, const struct journal_place *place,
                          bool make, struct tw_error *error)
{
    struct tw_error trouble = {0};
    int rc = open_session(session, place, make, &trouble);

    if (rc == -ENOENT && !make)
        return no_journal(session, error);
    if (rc)
        return tw_error_set(error, -rc, "%s", trouble.text);
    if ((rc = take_lock(session, &trouble))) {
        /* Who may not lock is better told that there is nothing to do, if so. */
        if (!make && rc != -EBUSY && !has_journal(session))
            return no_journal(session, error);
        return tw_error_set(error, -rc, "%s", trouble.text);
    }
    keep_file_unstage(&session->folder, session->name);
    rc = load(session, error);
    return rc == 0 && !session->file.exists && !make ? no_journal(session, error) : rc;
}

void journal_session_end(struct journal_session *session)
{
    journal_fini(&session->journal);
    keep_file_fini(&session->file);
    if (session->lock >= 0)
        close(session->lock);
    keep_folder_close(&session->folder);
}

/* The kernel takes a list of ports that is longer than a page piece by piece. Who died in between
 * left the beginning of the list. */
static bool is_beginning(const struct setting *setting, const char *now, const char *list)
{
    enum { PAGE_LEAST = 4096 };
    struct tw_ports wanted = {0}, part = {0};
    struct tw_view rest = tw_view_of(list);
    size_t wanted_count, count = 0;

    if (setting->kind != SETTING_PORTS || rest.len + 1 < PAGE_LEAST ||
        tw_ports_parse(tw_view_of(now), &wanted, NULL))
        return false;
    wanted_count = tw_ports_count(&wanted);
    while (rest.len && count < wanted_count) {
        if (tw_ports_parse(tw_view_cut(&rest, ','), &part, NULL))
            return false;
        count = tw_ports_count(&part);
    }
    return count > 0 && memcmp(&part, &wanted, sizeof(part)) == 0;
}

bool journal_owns(const struct journal_item *item, const char *now)
{
    const char *const values[] = {item->applied, item->earlier, item->former};

    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
        if (values[i] && is_beginning(item->setting, now, values[i]))
            return true;
    return setting_equal(item->setting, now, item->applied) ||
           (item->earlier && setting_equal(item->setting, now, item->earlier));
}

int journal_write(const struct setting *setting, const char *value, bool exact,
                  struct tw_error *error)
{
    int rc = sysctl_write(setting, value, error);
    char *now = NULL;

    if (rc || (rc = sysctl_read(setting, &now, error)))
        return rc;
    if (exact ? strcmp(now, value) != 0 : !setting_equal(setting, now, value))
        rc = tw_error_set(error, EINVAL, "%s: the kernel made '%.60s' of '%.60s'", setting->name,
                          now, value);
    free(now);
    return rc;
}
