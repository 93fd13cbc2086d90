/*
 * Where a journal lies, whose it is, and what is made of one that is damaged. Exit code 77: there
 * can be no private network here. With the argument "user": in a user namespace.
 */
#include "journal_kit.h"

/* --- eras and network namespaces --- */

static bool rebooted_at(const struct journal_place *place)
{
    struct journal_report report;
    struct tw_error error = {0};
    bool rebooted;

    if (journal_check(place, &report, &error))
        fail_msg("%s", error.text);
    rebooted = report.rebooted;
    journal_report_fini(&report);
    return rebooted;
}

static void after_a_reboot(void **state)
{
    (void)state;
    apply_three("kept\n");
    assert_false(rebooted_at(&host));
    assert_int_equal(shell("sed -i 's/\"boot_id\": \"[0-9a-f]/\"boot_id\": \"x/' " JOURNAL), 0);
    assert_true(rebooted_at(&host));
    /* One value came back by the kept file, the others are the kernel's own. */
    set_value(RANGE, "32768 60999");
    set_value(RESERVED, "40000,40002-40004");
    undo_as(false, "WWRR");
}

static void namespace_made_anew(void **state)
{
    const struct journal_place place = {.root = "", .netns = "blue"};
    struct changes changes = three_changes();
    struct journal_report report;
    struct picture before;
    pid_t pid = fork();
    int status;

    (void)state;
    assert_true(pid >= 0);
    if (pid == 0) {
        if (unshare(CLONE_NEWNET) || journal_apply(&place, &changes, NULL, NULL))
            _exit(1);
        _exit(rebooted_at(&place));
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_true(there(STATE_FOLDER "/tune-blue.json"));
    assert_false(there(JOURNAL));
    assert_true(rebooted_at(&place));

    /* Its former values were those of another namespace. */
    set_value(REUSE, "0");
    before = picture();
    apply_at(&place, &changes, NULL);
    assert_false(rebooted_at(&place));
    assert_int_equal(journal_undo(&place, false, &report, NULL), 0);
    journal_report_fini(&report);
    assert_same(&before);
    changes_fini(&changes);
}

static void names_of_namespaces(void **state)
{
    static const char *const bad[] = {"", ".", "..", "../x", "a/b", "/", "a\nb", ".hidden"};
    struct changes changes = three_changes();
    struct picture before = picture();

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        const struct journal_place place = {.root = "", .netns = bad[i]};
        struct tw_error error = {0};
        struct journal_report report;

        assert_refused(journal_apply(&place, &changes, NULL, &error), EINVAL, &error, "namespace");
        assert_int_equal(journal_undo(&place, true, &report, NULL), -EINVAL);
        assert_int_equal(journal_check(&place, &report, NULL), -EINVAL);
    }
    assert_same(&before);
    changes_fini(&changes);
}

/* --- images --- */

static void image(void **state)
{
    const struct journal_place place = {.root = "/etc/image", .netns = NULL};
    struct picture before = picture();
    struct changes changes = three_changes();
    struct journal_report report;
    struct tw_error error = {0};
    struct stat status;
    mode_t mask = umask(077);

    (void)state;
    assert_int_equal(mkdir("/etc/image", 0755), 0);
    assert_refused(journal_apply(&place, &changes, NULL, &error), EINVAL, &error, "--persist");
    apply_at(&place, &changes, "kept\n");
    umask(mask);
    assert_same(&before);
    assert_false(there(STATE_FOLDER));
    assert_int_equal(stat("/etc/image/etc/sysctl.d", &status), 0);
    assert_int_equal(status.st_mode & 07777, 0755);
    assert_int_equal(stat("/etc/image" JOURNAL_KEEP_FILE, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0644);
    assert_int_equal(journal_undo(&place, false, &report, &error), 0);
    assert_int_equal(report.count, 1);
    assert_int_equal(report.entries[0].outcome, JOURNAL_RESTORED);
    journal_report_fini(&report);
    assert_false(there("/etc/image" JOURNAL_KEEP_FILE));
    assert_false(there("/etc/image" JOURNAL));

    /* A link that leads out of the image is not followed. */
    assert_int_equal(shell("rm -r /etc/image/etc/sysctl.d && mkdir " KEEP_FOLDER
                           " && ln -s " KEEP_FOLDER " /etc/image/etc/sysctl.d"),
                     0);
    error = (struct tw_error){0};
    assert_refused(journal_apply(&place, &changes, "kept\n", &error), ENOTDIR, &error,
                   "symbolic link");
    assert_false(there(JOURNAL_KEEP_FILE));
    assert_int_equal(shell("rm -r /etc/image"), 0);
    changes_fini(&changes);
}

/* The disk of another system: its settings are not those of this kernel. */
static void journal_of_an_image(void **state)
{
    const struct journal_place place = {.root = "/etc/image", .netns = NULL};
    struct journal_report report;

    (void)state;
    apply_three("kept\n");
    assert_int_equal(shell("mkdir -p /etc/image/var/lib /etc/image/etc && mv " STATE_FOLDER
                           " /etc/image/var/lib && mv " KEEP_FOLDER " /etc/image/etc"),
                     0);
    assert_int_equal(journal_undo(&place, false, &report, NULL), 0);
    assert_int_equal(report.count, 4);
    assert_int_equal(report.entries[0].outcome, JOURNAL_FAILED);
    assert_int_equal(report.entries[0].error.code, EOPNOTSUPP);
    assert_int_equal(report.entries[3].outcome, JOURNAL_RESTORED);
    journal_report_fini(&report);
    assert_applied();
    assert_true(there("/etc/image" JOURNAL));
    assert_int_equal(shell("rm -r /etc/image"), 0);
}

/* --- damage --- */

/* What sed makes of a good journal; each must be refused. */
static const struct damage {
    const char *sed;
    const char *words;
} damages[] = {
    {"$d", "cut"},
    {"2,$d", "cut"},
    {"1,$d", "cut"},
    {"1s/^/[]/", "cut"},
    {"s/journal.1/journal.2/", "schema"},
    {"/\"schema\"/d", "text is missing"},
    {"s/\"netns\": null/\"netns\": \"..\\/x\"/", "another network namespace"},
    {"s/\"netns\": null/\"netns\": 3/", "no text"},
    {"s/\"boot_id\": \"/&0123456789/", "boot_id"},
    {"s/\"netns_inode\": /&-/", "number"},
    {"s/\"netns_cookie\": .*/\"netns_cookie\": 1.5,/", "number"},
    {"s/net.ipv4.tcp_tw_reuse/kernel.core_pattern/", "setting"},
    {"s/net.ipv4.tcp_tw_reuse/net.ipv4.ip_local_port_range/", "twice"},
    {"s/net.ipv4.tcp_tw_reuse/tcp_tw_reuse/", "setting"},
    {"s/net.ipv4.tcp_tw_reuse/..\\/..\\/etc\\/passwd/", "setting"},
    {"s/net.ipv4.tcp_tw_reuse/limit.nofile/", "setting"},
    {"s/\"former\": \"2\"/\"former\": \"2\\\\n3\"/", "value"},
    {"s/\"former\": \"2\"/\"former\": \"2\\\\u0000\"/", "cut"},
    {"s/\"former\": \"2\"/\"former\": 2/", "no text"},
    {"s/\"former\": \"2\"/\"former\": null/", "no text"},
    {"s/\"applied\": \"1\"/\"applied\": [\"1\"]/", "no text"},
    {"s/\"settings\": .*/\"settings\": [], \"settings\": [/", "cut"},
    {"s/\"settings\"/\"seatings\"/", "missing"},
    {"s/\"kept_file\"/\"kept_fire\"/", "missing"},
    {"s/kept%2/kept%/", "bytes"},
    {"s/kept%/kept%g0/", "bytes"},
    {"s/\"mode\": 420/\"mode\": 65535/", "number"},
    {"s/\"uid\": 0/\"uid\": 4294967295/", "number"},
};

static void assert_damaged(const char *words)
{
    struct changes changes = three_changes();
    struct journal_report report;
    struct tw_error error = {0};

    assert_refused(journal_check(&host, &report, &error), EBADMSG, &error, words);
    assert_int_equal(report.count, 0);
    refuse_undo(EBADMSG, words);
    refuse_apply(&changes, "more\n", EBADMSG, words);
    changes_fini(&changes);
}

static void damaged_journal(void **state)
{
    struct picture_file good, bad, after;
    struct picture before;
    char command[256];

    (void)state;
    apply_three("kept%\n");
    before = picture();
    good = picture_file(JOURNAL);
    for (size_t i = 0; i < sizeof(damages) / sizeof(damages[0]); i++) {
        snprintf(command, sizeof(command), "sed -i '%s' " JOURNAL, damages[i].sed);
        assert_int_equal(shell(command), 0);
        bad = picture_file(JOURNAL);
        if (!file_difference(&good, &bad))
            fail_msg("'%s' does no damage", damages[i].sed);
        assert_damaged(damages[i].words);
        after = picture_file(JOURNAL);
        assert_null(file_difference(&bad, &after));
        assert_same(&before);
        good.bytes[good.len] = 0;
        write_file(JOURNAL, good.bytes);
    }
    undo_as(false, "RRRR");
}

/* Cut after each byte. */
static void cut_journal(void **state)
{
    struct picture_file good;
    struct picture before;

    (void)state;
    apply_three("kept\n");
    before = picture();
    good = picture_file(JOURNAL);
    for (size_t len = 0; len + 1 < good.len; len += 7) {
        assert_int_equal(truncate(JOURNAL, (off_t)len), 0);
        refuse_undo(EBADMSG, "damaged");
        good.bytes[good.len] = 0;
        write_file(JOURNAL, good.bytes);
    }
    assert_same(&before);
    undo_as(false, "RRRR");
}

int main(int argc, char **argv)
{
#define TEST(name) cmocka_unit_test_setup(name, begin_test)
    const struct CMUnitTest tests[] = {
        TEST(after_a_reboot), TEST(namespace_made_anew), TEST(names_of_namespaces),
        TEST(image),          TEST(journal_of_an_image), TEST(damaged_journal),
        TEST(cut_journal),
    };
    int rc = enter_private_world(argc > 1 && strcmp(argv[1], "user") == 0);

    return rc ? rc : cmocka_run_group_tests(tests, NULL, NULL);
}
