/*
 * Settings changed and put back by way of the journal, on the real /proc/sys of a private network
 * namespace. Exit code 77: there can be none here. With the argument "user": in a user namespace.
 */
#include "journal_kit.h"

#include <sys/file.h>

#include "sysctl.h"

/* --- sysctl_write(), which can be made to fail (the linker's --wrap) --- */

static struct {
    unsigned calls;
    unsigned fail; /* a bit each, the first call is bit 0 */
} writes;

int __real_sysctl_write(const struct setting *setting, const char *value, struct tw_error *error);
int __wrap_sysctl_write(const struct setting *setting, const char *value, struct tw_error *error);

int __wrap_sysctl_write(const struct setting *setting, const char *value, struct tw_error *error)
{
    if (writes.fail >> writes.calls++ & 1)
        return tw_error_set(error, EIO, "%s: refused by the test", setting->name);
    return __real_sysctl_write(setting, value, error);
}

static int begin(void **state)
{
    writes.fail = writes.calls = 0;
    return begin_test(state);
}

/* --- there and back --- */

static void there_and_back(void **state)
{
    struct picture before = picture();
    struct stat status;

    (void)state;
    apply_three("net.ipv4.tcp_tw_reuse = 1\n");
    assert_applied();
    assert_string_equal(picture_file(JOURNAL_KEEP_FILE).bytes, "net.ipv4.tcp_tw_reuse = 1\n");
    assert_int_equal(stat(JOURNAL, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0644);
    undo_as(false, "RRRR");
    assert_same(&before);
    refuse_undo(ENOENT, "no journal");
}

static void kept_file_comes_back(void **state)
{
    static const char odd[] = "a\0b\xff%41\xc3\xa4\t\r\n\x7f no newline";
    struct picture before;
    int fd;

    (void)state;
    assert_int_equal(mkdir(KEEP_FOLDER, 0755), 0);
    fd = open(JOURNAL_KEEP_FILE, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, odd, sizeof(odd)), sizeof(odd));
    assert_int_equal(fchmod(fd, 0640), 0);
    if (fchown(fd, 1, 2))
        assert_int_equal(errno, EINVAL); /* a user namespace of one user */
    close(fd);
    before = picture();
    apply_three("one\n");
    /* What nobody else could read stays so. */
    assert_int_equal(picture_file(JOURNAL).mode & 07777, 0600);
    assert_int_equal(picture_file(JOURNAL_KEEP_FILE).mode & 07777, 0644);
    apply_three("two\n");
    assert_string_equal(picture_file(JOURNAL_KEEP_FILE).bytes, "two\n");
    undo_as(false, "RRRR");
    assert_same(&before);
}

/* The same bytes with another mode are not the same file. */
static void kept_file_of_equal_bytes(void **state)
{
    struct picture before;

    (void)state;
    assert_int_equal(mkdir(KEEP_FOLDER, 0755), 0);
    write_file(JOURNAL_KEEP_FILE, "same\n");
    assert_int_equal(chmod(JOURNAL_KEEP_FILE, 0600), 0);
    before = picture();
    apply_three("same\n");
    assert_int_equal(picture_file(JOURNAL_KEEP_FILE).mode & 07777, 0644);
    undo_as(false, "RRRR");
    assert_same(&before);
}

static void oldest_value_is_kept(void **state)
{
    struct picture before = picture();
    struct changes changes = {0};

    (void)state;
    apply_three(NULL);
    change(&changes, REUSE, "0");
    change(&changes, FIN, "30");
    apply_at(&host, &changes, "kept\n");
    ASSERT_VALUE(REUSE, "0");
    ASSERT_VALUE(RANGE, "5000\t60999");
    changes_fini(&changes);
    undo_as(false, "RRRRR");
    assert_same(&before);
}

/* The range may not reach below the privileged ports. So in whatever order the applies were made,
 * undo has to find one that the kernel takes. */
static void order_of_several_applies(void **state)
{
    struct picture before = picture();
    struct changes first = {0}, second = {0};

    (void)state;
    change(&first, FLOOR, "80");
    change(&first, RANGE, "90 60999");
    apply_at(&host, &first, NULL);
    change(&second, FLOOR, "70");
    apply_at(&host, &second, NULL);
    undo_as(false, "RR");
    assert_same(&before);
    changes_fini(&first);
    changes_fini(&second);
}

static void nothing_to_change(void **state)
{
    struct changes none = {0};

    (void)state;
    apply_at(&host, &none, NULL);
    assert_false(there(STATE_FOLDER));
}

/* --- refused --- */

static void refused_in_the_middle(void **state)
{
    struct picture before = picture();
    struct changes changes = {0};
    struct picture_file journal;

    (void)state;
    change(&changes, RANGE, "5000 60999");
    change(&changes, FIN, "30");
    change(&changes, REUSE, "7");
    refuse_apply(&changes, "kept\n", EINVAL, "nothing was changed");
    assert_same(&before);
    assert_false(there(JOURNAL));
    assert_false(there(JOURNAL_KEEP_FILE ".new"));

    apply_three(NULL);
    before = picture();
    journal = picture_file(JOURNAL);
    refuse_apply(&changes, "kept\n", EINVAL, "nothing was changed");
    assert_same(&before);
    assert_memory_equal(picture_file(JOURNAL).bytes, journal.bytes, journal.len);
    changes_fini(&changes);
}

static void cannot_be_taken_back(void **state)
{
    struct picture before = picture();
    struct changes changes = three_changes();

    (void)state;
    writes.fail = 1U << 2 | 1U << 3; /* the third change, and taking back the second */
    refuse_apply(&changes, NULL, EIO, "--undo' may put back: " RANGE);
    ASSERT_VALUE(RANGE, "5000\t60999");
    ASSERT_VALUE(RESERVED, "40000,40002-40004");
    assert_true(there(JOURNAL));
    undo_as(false, "WRW");
    assert_same(&before);
    changes_fini(&changes);
}

static void undo_fails_for_one(void **state)
{
    struct picture before = picture();

    (void)state;
    apply_three(NULL);
    writes.calls = 0;
    writes.fail = 1U << 1 | 1U << 3; /* the second, and when it is tried again */
    undo_as(false, "RXR");
    ASSERT_VALUE(RANGE, "5000\t60999");
    undo_as(false, "WRW");
    assert_same(&before);
}

static const char *missing_setting(void)
{
    char path[128];

    for (const struct setting *setting = settings; setting->name; setting++) {
        sysctl_path(setting->name, path);
        if (setting->kind != SETTING_LIMIT && !there(path))
            return setting->name;
    }
    need(false, "this kernel has every setting here");
    return NULL;
}

static void missing_here(void **state)
{
    struct picture before = picture();
    struct changes changes = three_changes();

    (void)state;
    change(&changes, missing_setting(), "1");
    refuse_apply(&changes, "kept\n", ENOENT, missing_setting());
    assert_same(&before);
    assert_false(there(STATE_FOLDER));
    assert_false(there(KEEP_FOLDER));
    changes_fini(&changes);
}

static void read_only_kernel(void **state)
{
    struct picture before = picture();
    struct changes changes = three_changes();

    (void)state;
    apply_three(NULL);
    need(mount("/proc/sys", "/proc/sys", NULL, MS_BIND | MS_REC, NULL) == 0, "no bind mount");
    if (mount(NULL, "/proc/sys", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL)) {
        umount2("/proc/sys", MNT_DETACH);
        need(false, "/proc/sys cannot be made read-only here");
    }
    refuse_undo(EROFS, "");
    assert_applied();
    refuse_apply(&changes, NULL, EROFS, "");
    assert_int_equal(umount2("/proc/sys", MNT_DETACH), 0);
    assert_applied();
    undo_as(false, "RRR");
    assert_same(&before);
    changes_fini(&changes);
}

/* Runs it as nobody; false when nobody cannot be had. */
static void as_nobody(void (*run)(void))
{
    int status;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        if (setresgid(65534, 65534, 65534) || setresuid(65534, 65534, 65534))
            _exit(EXIT_SKIP);
        run();
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    need(WIFEXITED(status) && WEXITSTATUS(status) != EXIT_SKIP, "there is no other user here");
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void nobody_tries_all(void)
{
    struct changes changes = three_changes();
    struct journal_report report;
    struct tw_error error = {0};
    bool held =
        journal_apply(&host, &changes, "kept\n", &error) == -EACCES &&
        (error = (struct tw_error){0}, journal_undo(&host, false, &report, &error) == -EACCES) &&
        strstr(error.text, "root may") && journal_check(&host, &report, NULL) == 0;

    if (!held)
        _exit(1);
}

static void nobody_undoes_nothing(void)
{
    struct journal_report report;

    if (journal_undo(&host, false, &report, NULL) != -ENOENT ||
        journal_check(&host, &report, NULL) != -ENOENT)
        _exit(1);
}

static void ordinary_user(void **state)
{
    struct picture before = picture();

    (void)state;
    as_nobody(nobody_undoes_nothing);
    apply_three("kept\n");
    as_nobody(nobody_tries_all);
    assert_applied();
    undo_as(false, "RRRR");
    as_nobody(nobody_undoes_nothing);
    assert_same(&before);
}

static void two_at_a_time(void **state)
{
    struct changes changes = three_changes();
    struct picture before;
    int fd;

    (void)state;
    apply_three(NULL);
    before = picture();
    fd = open(STATE_FOLDER "/lock", O_RDWR | O_CLOEXEC);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    refuse_apply(&changes, "kept\n", EBUSY, "another tidewait");
    refuse_undo(EBUSY, "another tidewait");
    assert_same(&before);
    close(fd);
    undo_as(false, "RRR");
    changes_fini(&changes);
}

static void not_twice_and_no_limits(void **state)
{
    struct changes changes = three_changes();

    (void)state;
    change(&changes, REUSE, "0");
    refuse_apply(&changes, NULL, EINVAL, "twice");
    changes_fini(&changes);
    change(&changes, "limit.nofile", "1024 4096");
    refuse_apply(&changes, NULL, EOPNOTSUPP, "");
    changes_fini(&changes);
    change(&changes, REUSE, "1\n0");
    refuse_apply(&changes, NULL, EINVAL, "cannot be");
    changes_fini(&changes);
    assert_false(there(STATE_FOLDER));
}

static void kept_file_is_a_link(void **state)
{
    struct picture before;
    struct changes changes = three_changes();

    (void)state;
    assert_int_equal(mkdir(KEEP_FOLDER, 0755), 0);
    write_file("/etc/elsewhere", "x");
    assert_int_equal(symlink("/etc/elsewhere", JOURNAL_KEEP_FILE), 0);
    before = picture();
    refuse_apply(&changes, "kept\n", ELOOP, "symbolic link");
    assert_same(&before);
    assert_false(there(JOURNAL));
    changes_fini(&changes);
}

/* --- full disks --- */

static void fill_disk(const char *folder)
{
    static const char zeros[4096];
    char path[64];
    int fd;

    assert_int_equal(mount("small", folder, "tmpfs", 0, "size=64k,mode=755"), 0);
    snprintf(path, sizeof(path), "%s/fill", folder);
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    while (write(fd, zeros, sizeof(zeros)) > 0)
        ;
    assert_int_equal(errno, ENOSPC);
    close(fd);
}

static void full_disk(void **state)
{
    static const char *const folders[] = {"/var/lib", "/etc"};
    struct picture before = picture();
    struct changes changes = three_changes();

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        fill_disk(folders[i]);
        refuse_apply(&changes, "kept\n", ENOSPC, "No space left");
        assert_same(&before);
        assert_false(there(JOURNAL));
        assert_false(there(JOURNAL ".new"));
        assert_false(there(JOURNAL_KEEP_FILE ".new"));
        assert_int_equal(umount2(folders[i], MNT_DETACH), 0);
    }
    changes_fini(&changes);
}

/* With a journal that is there already: it stays as it is. */
static void full_disk_later(void **state)
{
    static const char *const filled = "/var/lib/fill";
    struct picture before = picture();
    struct picture_file journal;
    struct changes changes = {0};

    (void)state;
    assert_int_equal(mount("small", "/var/lib", "tmpfs", 0, "size=64k,mode=755"), 0);
    apply_three(NULL);
    journal = picture_file(JOURNAL);
    assert_int_equal(shell("cat /dev/zero >/var/lib/fill 2>&-"), 1);
    change(&changes, FIN, "30");
    refuse_apply(&changes, NULL, ENOSPC, "nothing was changed");
    assert_null(file_difference(&journal, (struct picture_file[]){picture_file(JOURNAL)}));
    undo_as(false, "RRR");
    assert_same(&before);
    assert_true(there(filled));
    assert_int_equal(umount2("/var/lib", MNT_DETACH), 0);
    changes_fini(&changes);
}

/* --- foreign values --- */

static void foreign_is_left_alone(void **state)
{
    struct picture before = picture();

    (void)state;
    apply_three("kept\n");
    set_value(REUSE, "0");
    write_file(JOURNAL_KEEP_FILE, "somebody's\n");
    undo_as(false, "RRFF");
    ASSERT_VALUE(REUSE, "0");
    undo_as(false, "WWFF");
    undo_as(true, "WWRR");
    assert_same(&before);
}

static void removed_kept_file(void **state)
{
    struct picture before;

    (void)state;
    apply_three("kept\n");
    assert_int_equal(unlink(JOURNAL_KEEP_FILE), 0);
    undo_as(false, "RRRW");

    write_file(JOURNAL_KEEP_FILE, "theirs\n");
    before = picture();
    apply_three("kept\n");
    assert_int_equal(unlink(JOURNAL_KEEP_FILE), 0);
    undo_as(false, "RRRF");
    undo_as(true, "WWWR");
    assert_same(&before);
}

static void former_by_other_means(void **state)
{
    (void)state;
    apply_three(NULL);
    set_value(REUSE, "2");
    undo_as(false, "RRW");
}

static void setting_is_gone(void **state)
{
    char text[512];

    (void)state;
    apply_three(NULL);
    snprintf(text, sizeof(text), "sed -i 's/%s/%s/' " JOURNAL, REUSE, missing_setting());
    assert_int_equal(shell(text), 0);
    undo_as(false, "RRX");
    undo_as(true, "WWG");
}

static void check_tells_drift(void **state)
{
    static const enum journal_outcome expected[] = {JOURNAL_WAS_SO, JOURNAL_FOREIGN, JOURNAL_WAS_SO,
                                                    JOURNAL_WAS_SO};
    struct journal_report report;

    (void)state;
    assert_int_equal(journal_check(&host, &report, NULL), -ENOENT);
    apply_three("kept\n");
    set_value(RANGE, "32768 60999");
    assert_int_equal(journal_check(&host, &report, NULL), 0);
    assert_int_equal(report.count, 4);
    assert_false(report.rebooted);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(report.entries[i].outcome, expected[i]);
    assert_string_equal(report.entries[1].now, "32768\t60999");
    assert_string_equal(report.entries[1].applied, "5000 60999");
    journal_report_fini(&report);
    assert_int_equal(unlink(JOURNAL_KEEP_FILE), 0);
    assert_int_equal(journal_check(&host, &report, NULL), 0);
    assert_int_equal(report.entries[3].outcome, JOURNAL_FOREIGN);
    journal_report_fini(&report);
    undo_as(false, "RWRW");
}

int main(int argc, char **argv)
{
#define TEST(name) cmocka_unit_test_setup(name, begin)
    const struct CMUnitTest tests[] = {
        TEST(there_and_back),
        TEST(kept_file_comes_back),
        TEST(kept_file_of_equal_bytes),
        TEST(oldest_value_is_kept),
        TEST(order_of_several_applies),
        TEST(nothing_to_change),
        TEST(refused_in_the_middle),
        TEST(cannot_be_taken_back),
        TEST(undo_fails_for_one),
        TEST(missing_here),
        TEST(read_only_kernel),
        TEST(ordinary_user),
        TEST(two_at_a_time),
        TEST(not_twice_and_no_limits),
        TEST(kept_file_is_a_link),
        TEST(full_disk),
        TEST(full_disk_later),
        TEST(foreign_is_left_alone),
        TEST(removed_kept_file),
        TEST(former_by_other_means),
        TEST(setting_is_gone),
        TEST(check_tells_drift),
    };
    int rc = enter_private_world(argc > 1 && strcmp(argv[1], "user") == 0);

    return rc ? rc : cmocka_run_group_tests(tests, NULL, NULL);
}
