/*
 * journal_kit.h - for tests of the journal: a network, /etc and /var/lib of their own, so that real
 * settings and real files can be changed, and pictures of them to compare.
 */
#ifndef JOURNAL_KIT_H
#define JOURNAL_KIT_H

#include "private.h"

#include <sys/stat.h>

#include "journal.h"

#define STATE_FOLDER "/var/lib/tidewait"
#define JOURNAL      STATE_FOLDER "/tune.json"
#define KEEP_FOLDER  "/etc/sysctl.d"

#define REUSE    "net.ipv4.tcp_tw_reuse"
#define RANGE    "net.ipv4.ip_local_port_range"
#define RESERVED "net.ipv4.ip_local_reserved_ports"
#define FIN      "net.ipv4.tcp_fin_timeout"
#define FLOOR    "net.ipv4.ip_unprivileged_port_start"

static const struct journal_place host = {.root = "", .netns = NULL};

/* Returns 0, or EXIT_SKIP after it has said why. With `user` in a user namespace, even as root. */
static inline int enter_private_world(bool user)
{
    int rc;

    if (user && !enter_user_namespace(0, 0)) {
        printf("skipped: no user namespace may be made here: %s\n", strerror(errno));
        return EXIT_SKIP;
    }
    if ((rc = enter_private_network()))
        return rc;
    if (mount("etc", "/etc", "tmpfs", 0, "mode=755") ||
        mount("lib", "/var/lib", "tmpfs", 0, "mode=755")) {
        printf("skipped: no private /etc and /var/lib: %s\n", strerror(errno));
        return EXIT_SKIP;
    }
    return 0;
}

/* --- settings, not by way of what is tested --- */

/* Room for a list of ports of several pages. */
#define VALUE_MAX 32768

static inline void sysctl_path(const char *name, char out[128])
{
    snprintf(out, 128, "/proc/sys/%s", name);
    for (char *c = out; *c; c++)
        if (*c == '.')
            *c = '/';
}

static inline void get_value(const char *name, char out[VALUE_MAX])
{
    char path[128];
    ssize_t got;
    int fd;

    sysctl_path(name, path);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    got = fd < 0 ? -1 : read(fd, out, VALUE_MAX - 1);
    if (got < 0)
        fail_msg("%s: %s", path, strerror(errno));
    close(fd);
    out[got] = 0;
}

static inline void set_value(const char *name, const char *value)
{
    size_t len = strlen(value), done = 0;
    char path[128];
    int fd;

    sysctl_path(name, path);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    /* A long list is taken in pieces. */
    while (done < len) {
        ssize_t put = write(fd, value + done, len - done);

        if (put <= 0)
            fail_msg("%s: %s", path, strerror(errno));
        done += (size_t)put;
    }
    close(fd);
}

#define ASSERT_VALUE(name, expected)                \
    do {                                            \
        char value_[VALUE_MAX];                     \
                                                    \
        get_value(name, value_);                    \
        assert_string_equal(value_, expected "\n"); \
    } while (0)

/* --- changes --- */

static inline void change(struct changes *changes, const char *name, const char *after)
{
    const struct setting *setting = setting_find(tw_view_of(name));

    assert_non_null(setting);
    assert_int_equal(changes_add(changes, setting, "", after, "a test"), 0);
}

/* --- pictures of all that may change --- */

struct picture_file {
    bool exists;
    char bytes[16384];
    size_t len;
    mode_t mode;
    uid_t uid;
    gid_t gid;
};

static inline struct picture_file picture_file(const char *path)
{
    struct picture_file file = {.exists = false};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat status;
    ssize_t len;

    if (fd < 0) {
        assert_int_equal(errno, ENOENT);
        return file;
    }
    assert_int_equal(fstat(fd, &status), 0);
    len = read(fd, file.bytes, sizeof(file.bytes));
    assert_true(len >= 0 && len < (ssize_t)sizeof(file.bytes));
    close(fd);
    file.exists = true;
    file.len = (size_t)len;
    file.mode = status.st_mode;
    file.uid = status.st_uid;
    file.gid = status.st_gid;
    return file;
}

static const char *const pictured[] = {REUSE, RANGE, RESERVED, FIN, FLOOR};

#define PICTURED (sizeof(pictured) / sizeof(pictured[0]))

struct picture {
    char values[PICTURED][VALUE_MAX];
    struct picture_file keep;
};

static inline struct picture picture(void)
{
    struct picture picture = {.values = {""}};

    for (size_t i = 0; i < PICTURED; i++)
        get_value(pictured[i], picture.values[i]);
    picture.keep = picture_file(JOURNAL_KEEP_FILE);
    return picture;
}

/* What differs, or NULL. */
static inline const char *file_difference(const struct picture_file *a,
                                          const struct picture_file *b)
{
    if (a->exists != b->exists)
        return "one of the files does not exist";
    if (a->len != b->len || memcmp(a->bytes, b->bytes, a->len) != 0)
        return "the bytes of the file";
    if (a->exists && (a->mode != b->mode || a->uid != b->uid || a->gid != b->gid))
        return "mode or owner of the file";
    return NULL;
}

static inline const char *difference(const struct picture *a, const struct picture *b)
{
    for (size_t i = 0; i < PICTURED; i++)
        if (strcmp(a->values[i], b->values[i]) != 0)
            return pictured[i];
    return file_difference(&a->keep, &b->keep);
}

static inline void assert_same(const struct picture *before)
{
    struct picture now = picture();
    const char *what = difference(before, &now);

    if (what)
        fail_msg("not as before: %s", what);
}

static inline void remove_all(void)
{
    assert_int_equal(shell("rm -rf /etc/* " STATE_FOLDER), 0);
}

/* --- each test starts with these values, and no files --- */

static inline int begin_test(void **state)
{
    (void)state;
    remove_all();
    set_value(FLOOR, "1024");
    set_value(RANGE, "32768 60999");
    set_value(RESERVED, "40000,40002-40004");
    set_value(REUSE, "2");
    set_value(FIN, "60");
    return 0;
}

static inline struct changes three_changes(void)
{
    struct changes changes = {0};

    change(&changes, RESERVED, "8080,40000,40002-40004");
    change(&changes, RANGE, "5000 60999");
    change(&changes, REUSE, "1");
    return changes;
}

static inline void assert_applied(void)
{
    ASSERT_VALUE(RESERVED, "8080,40000,40002-40004");
    ASSERT_VALUE(RANGE, "5000\t60999");
    ASSERT_VALUE(REUSE, "1");
}

static inline void apply_at(const struct journal_place *place, const struct changes *changes,
                            const char *keep)
{
    struct tw_error error = {0};

    if (journal_apply(place, changes, keep, &error))
        fail_msg("apply: %s", error.text);
}

static inline void apply_three(const char *keep)
{
    struct changes changes = three_changes();

    apply_at(&host, &changes, keep);
    changes_fini(&changes);
}

/* The text holds `words`. */
static inline void assert_refused(int rc, int code, const struct tw_error *error, const char *words)
{
    if (rc != -code || error->code != code || !strstr(error->text, words))
        fail_msg("%d instead of %d (%s): '%s'", rc, -code, words, error->text);
}

static inline void refuse_apply(const struct changes *changes, const char *keep, int code,
                                const char *words)
{
    struct tw_error error = {0};

    assert_refused(journal_apply(&host, changes, keep, &error), code, &error, words);
}

static inline void refuse_undo(int code, const char *words)
{
    struct journal_report report;
    struct tw_error error = {0};

    assert_refused(journal_undo(&host, false, &report, &error), code, &error, words);
    assert_int_equal(report.count, 0);
}

static inline bool there(const char *path)
{
    return access(path, F_OK) == 0;
}

/* Undoes; the outcomes are a letter each: R W F G X (failed), in the order of the journal. */
static inline void undo_as(bool force, const char *outcomes)
{
    static const char letters[] = "RWFGX";
    struct journal_report report;
    struct tw_error error = {0};

    if (journal_undo(&host, force, &report, &error))
        fail_msg("undo: %s", error.text);
    assert_int_equal(report.count, strlen(outcomes));
    for (size_t i = 0; i < report.count; i++)
        if (letters[report.entries[i].outcome] != outcomes[i])
            fail_msg("entry %zu (%s): %c instead of %c: %s", i,
                     report.entries[i].setting ? report.entries[i].setting->name : "kept file",
                     letters[report.entries[i].outcome], outcomes[i], report.entries[i].error.text);
    assert_int_equal(there(JOURNAL), strpbrk(outcomes, "FX") != NULL);
    journal_report_fini(&report);
}

#endif
