/*
 * Changes of settings and what became of them, as they are printed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "builder.h"
#include "tune_change.h"

static char text[4096];

static FILE *open_text(void)
{
    FILE *out;

    memset(text, 0, sizeof(text));
    out = fmemopen(text, sizeof(text) - 1, "w");
    assert_non_null(out);
    return out;
}

static const struct setting *found(const char *name)
{
    const struct setting *setting = setting_find(tw_view_of(name));

    assert_non_null(setting);
    return setting;
}

static void changes_as_text(void **state)
{
    struct changes changes = {0};
    FILE *out = open_text();
    char list[100];

    (void)state;
    memset(list, '1', sizeof(list) - 1);
    list[sizeof(list) - 1] = 0;
    changes_add(&changes, found("ip_local_port_range"), "32768\t60999", "5000 60999", "more ports");
    changes_add(&changes, found("ip_local_reserved_ports"), "", list, "kept free");
    report_changes_text(&changes, false, out);
    fclose(out);
    assert_string_equal(text, "net.ipv4.ip_local_port_range: 32768 60999 -> 5000 60999\n"
                              "    more ports\n"
                              "net.ipv4.ip_local_reserved_ports: (empty) -> "
                              "111111111111111111111111111111111111111111111111111111111111"
                              ".. (99 characters)\n"
                              "    kept free\n");
    out = open_text();
    report_changes_text(&changes, true, out);
    fclose(out);
    assert_non_null(strstr(text, "\033[31m32768 60999\033[0m -> \033[32m5000 60999\033[0m"));
    changes_fini(&changes);
}

static void changes_as_json(void **state)
{
    struct changes changes = {0};
    struct builder builder = {0};
    json_t *array, *expected;

    (void)state;
    changes_add(&changes, found("tcp_tw_reuse"), "2", "1", "for all destinations");
    array = report_changes_array(&builder, &changes);
    expected = json_pack("[{s:s, s:s, s:s, s:s}]", "name", "net.ipv4.tcp_tw_reuse", "before", "2",
                         "after", "1", "why", "for all destinations");
    assert_false(builder.bad);
    assert_true(json_equal(array, expected));
    json_decref(array);
    json_decref(expected);
    changes_fini(&changes);
}

static struct journal_entry entries[6];

static struct journal_report make_report(enum journal_outcome last)
{
    const struct setting *reuse = found("tcp_tw_reuse");

    entries[0] = (struct journal_entry){
        .setting = reuse, .former = (char *)"2", .applied = (char *)"1", .now = (char *)"1"};
    for (size_t i = 1; i < 6; i++)
        entries[i] = entries[0];
    entries[0].outcome = JOURNAL_RESTORED;
    entries[1].outcome = JOURNAL_WAS_SO;
    entries[1].now = (char *)"0";
    entries[2].outcome = JOURNAL_FOREIGN;
    entries[2].now = (char *)"0\033[2J";
    entries[3].outcome = JOURNAL_GONE;
    entries[4].outcome = JOURNAL_FAILED;
    tw_error_set(&entries[4].error, 5, "tcp_tw_reuse: refused");
    entries[5].setting = NULL;
    entries[5].outcome = last;
    return (struct journal_report){.entries = entries, .count = 6, .rebooted = true};
}

static void undo_as_text(void **state)
{
    struct journal_report report = make_report(JOURNAL_RESTORED);
    FILE *out = open_text();

    (void)state;
    report_journal_text(&report, true, false, out);
    fclose(out);
    assert_string_equal(
        text,
        "restored    net.ipv4.tcp_tw_reuse: 1 -> 2\n"
        "was so      net.ipv4.tcp_tw_reuse: 0\n"
        "left alone  net.ipv4.tcp_tw_reuse: 0\\x1b[2J, not 1 as it was applied; it was 2 "
        "before\n"
        "gone        net.ipv4.tcp_tw_reuse: this kernel has no such setting any more; there "
        "is nothing to put back\n"
        "FAILED      net.ipv4.tcp_tw_reuse: tcp_tw_reuse: refused\n"
        "restored    /etc/sysctl.d/99-tidewait.conf: its former text is back\n"
        "The system was restarted, or the network namespace made anew, since the changes were "
        "made.\n"
        "What somebody else has set since was left alone; --force puts back what was before, "
        "all the same.\n"
        "The journal stays until all is back.\n");
}

static void check_as_text(void **state)
{
    struct journal_report report = make_report(JOURNAL_FOREIGN);
    FILE *out = open_text();

    (void)state;
    report.entries += 1;
    report.count = 5;
    report.rebooted = false;
    report_journal_text(&report, false, false, out);
    fclose(out);
    assert_non_null(strstr(text, "as applied  net.ipv4.tcp_tw_reuse: 0\n"));
    assert_non_null(strstr(text, "DRIFTED     net.ipv4.tcp_tw_reuse: 0\\x1b[2J, not 1 as it was "
                                 "applied\n"));
    assert_non_null(strstr(text, "unknown     net.ipv4.tcp_tw_reuse: tcp_tw_reuse: refused\n"));
    assert_non_null(strstr(text, "99-tidewait.conf: somebody has changed it since\n"));
    assert_null(strstr(text, "The "));
}

static void kept_file_in_each_case(void **state)
{
    static const struct {
        enum journal_outcome outcome;
        char *former, *now;
        const char *words;
    } cases[] = {
        {JOURNAL_RESTORED, NULL, "x", "removed, since there was none"},
        {JOURNAL_WAS_SO, NULL, NULL, "not there, as before"},
        {JOURNAL_WAS_SO, "x", "x", "unchanged"},
        {JOURNAL_FOREIGN, "x", NULL, "somebody has removed it"},
        {JOURNAL_FAILED, "x", NULL, "tcp_tw_reuse: refused"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct journal_report report = make_report(cases[i].outcome);
        FILE *out = open_text();

        report.entries += 5;
        report.count = 1;
        report.entries->former = cases[i].former;
        report.entries->now = cases[i].now;
        report.entries->error = entries[4].error;
        report_journal_text(&report, true, false, out);
        fclose(out);
        assert_non_null(strstr(text, cases[i].words));
    }
}

static void journal_as_json(void **state)
{
    struct journal_report report = make_report(JOURNAL_RESTORED);
    FILE *out = open_text();
    json_t *object, *list;

    (void)state;
    assert_int_equal(report_journal_json(&report, true, out), 0);
    fclose(out);
    object = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    list = json_object_get(object, "entries");
    assert_string_equal(json_string_value(json_object_get(object, "schema")),
                        "tidewait.tune-journal/1");
    assert_true(json_is_true(json_object_get(object, "rebooted")));
    assert_int_equal(json_array_size(list), 6);
    for (size_t i = 0; i < 6; i++) {
        static const char *const outcomes[] = {"restored", "was-so", "foreign",
                                               "gone",     "failed", "restored"};
        const json_t *entry = json_array_get(list, i);

        assert_string_equal(json_string_value(json_object_get(entry, "outcome")), outcomes[i]);
        assert_int_equal(json_is_null(json_object_get(entry, "file")), i < 5);
        assert_int_equal(json_is_null(json_object_get(entry, "error")), i != 4);
    }
    json_decref(object);
    out = fopen("/dev/full", "we");
    assert_int_equal(report_journal_json(&report, false, out), -EIO);
    fclose(out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(changes_as_text),        cmocka_unit_test(changes_as_json),
        cmocka_unit_test(undo_as_text),           cmocka_unit_test(check_as_text),
        cmocka_unit_test(kept_file_in_each_case), cmocka_unit_test(journal_as_json),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
