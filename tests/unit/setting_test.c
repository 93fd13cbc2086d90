/*
 * The table of settings: every row is whole, fits where it is printed and names a scenario that
 * exists; and what is a value of a setting, when two mean the same, and which change is unsafe.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "scenario.h"
#include "setting.h"

#define BRIEF_MAX  36
#define EFFECT_MAX 76
/* Reasons of lint are of this size, with something before them. */
#define SAYING_MAX 300

static const struct setting *named(const char *name)
{
    const struct setting *setting = setting_find(tw_view_of(name));

    if (!setting)
        fail_msg("there is no %s", name);
    return setting;
}

/* --- the table -------------------------------------------------------------------------------- */

static void check_text(const char *name, const char *what, const char *text, size_t max)
{
    if (!text || !*text || strlen(text) > max)
        fail_msg("%s: %s: '%s'", name, what, text ? text : "missing");
    for (const char *c = text; c && *c; c++)
        if (*c < ' ' || *c > '~')
            fail_msg("%s: %s: an odd byte in '%s'", name, what, text);
}

static void check_effect(const struct setting *setting)
{
    const char *second = strchr(setting->effect, '\n');
    char first[EFFECT_MAX + 2] = "";

    if (!second)
        fail_msg("%s: one line of effect", setting->name);
    snprintf(first, sizeof(first), "%.*s", (int)(second - setting->effect), setting->effect);
    check_text(setting->name, "effect, line 1", first, EFFECT_MAX);
    check_text(setting->name, "effect, line 2", second + 1, EFFECT_MAX);
}

static void check_scenario(const struct setting *setting)
{
    if (!setting->scenario)
        return;
    for (size_t i = 0; scenarios[i] && scenarios[i]->name; i++)
        if (strcmp(scenarios[i]->name, setting->scenario) == 0)
            return;
    fail_msg("%s: the lab has no scenario '%s'", setting->name, setting->scenario);
}

static void check_since(const struct setting *setting)
{
    unsigned major, minor, patch;
    char again[32];
    /* NOLINTNEXTLINE(cert-err34-c): compared with what was read */
    int got = sscanf(setting->since, "%u.%u.%u", &major, &minor, &patch);

    snprintf(again, sizeof(again), got == 3 ? "%u.%u.%u" : "%u.%u", major, minor, patch);
    if (got < 2 || strcmp(again, setting->since) != 0)
        fail_msg("%s: since '%s'", setting->name, setting->since);
}

static void test_rows_are_whole(void **state)
{
    size_t count = 0;

    (void)state;
    for (const struct setting *setting = settings; setting->name; setting++, count++) {
        struct tw_error error = {0};

        check_text(setting->name, "name", setting->name, 60);
        check_text(setting->name, "group", setting->group, 20);
        check_text(setting->name, "brief", setting->brief, BRIEF_MAX);
        check_effect(setting);
        check_since(setting);
        check_scenario(setting);
        if (setting->risk)
            check_text(setting->name, "risk", setting->risk, SAYING_MAX);
        if (setting->folklore)
            check_text(setting->name, "folklore", setting->folklore, SAYING_MAX);
        assert_non_null(setting->unit);
        assert_int_equal(!setting->loss, setting->danger == DANGER_NONE);
        if (setting->loss)
            check_text(setting->name, "loss", setting->loss, SAYING_MAX);
        if (setting->min < 0 || setting->min >= setting->max)
            fail_msg("%s: bounds", setting->name);
        if (setting->preset && setting_check(setting, tw_view_of(setting->preset), &error))
            fail_msg("default of %s", error.text);
    }
    assert_in_range(count, 30, 45);
}

static void test_names_and_groups(void **state)
{
    (void)state;
    for (const struct setting *a = settings; a->name; a++)
        for (const struct setting *b = a + 1; b->name; b++) {
            if (strcmp(strrchr(a->name, '.'), strrchr(b->name, '.')) == 0)
                fail_msg("%s and %s have one last part", a->name, b->name);
            if (strcmp(a->group, b->group) == 0 && strcmp(b->group, b[-1].group) != 0)
                fail_msg("group %s is in two pieces", a->group);
        }
}

static void test_find(void **state)
{
    static const char *const found[] = {
        "net.ipv4.tcp_tw_reuse",
        "net/ipv4/tcp_tw_reuse",
        "/proc/sys/net/ipv4/tcp_tw_reuse",
        "tcp_tw_reuse",
    };
    static const char *const unknown[] = {
        "",
        "tcp_tw_reus",
        "tcp_tw_reuse ",
        "ipv4.tcp_tw_reuse",
        "net.ipv6.tcp_tw_reuse",
        "net.ipv4.",
        ".tcp_tw_reuse",
        "/proc/sys/",
        "TCP_TW_REUSE",
        "net.ipv4.tcp_tw_recycle",
        "/etc/sys/net/ipv4/tcp_tw_reuse",
    };
    struct tw_view piece = {"tcp_tw_reuse_delay", strlen("tcp_tw_reuse")};

    (void)state;
    for (size_t i = 0; i < sizeof(found) / sizeof(found[0]); i++)
        assert_string_equal(named(found[i])->name, "net.ipv4.tcp_tw_reuse");
    for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++)
        if (setting_find(tw_view_of(unknown[i])))
            fail_msg("'%s' is taken for a setting", unknown[i]);
    assert_string_equal(setting_find(piece)->name, "net.ipv4.tcp_tw_reuse");
    for (const struct setting *setting = settings; setting->name; setting++)
        assert_ptr_equal(named(setting->name), setting);
}

/* --- values ----------------------------------------------------------------------------------- */

static void test_check(void **state)
{
    static const struct {
        const char *name, *value;
        int rc;
        const char *quoted;
    } rows[] = {
        {"tcp_tw_reuse", "0", 0, NULL},
        {"tcp_tw_reuse", " 2\n", 0, NULL},
        {"tcp_tw_reuse", "3", -ERANGE, "'3'"},
        {"tcp_tw_reuse", "-1", -EINVAL, "'-1'"},
        {"tcp_tw_reuse", "", -EINVAL, "tcp_tw_reuse"},
        {"tcp_tw_reuse", "1 1", -EINVAL, "'1 1'"},
        {"tcp_tw_reuse", "yes", -EINVAL, "'yes'"},
        {"tcp_tw_reuse_delay", "0", -ERANGE, "'0'"},
        {"tcp_tw_reuse_delay", "60000", 0, NULL},
        {"tcp_tw_reuse_delay", "60001", -ERANGE, "'60001'"},
        {"tcp_fin_timeout", "010", -EINVAL, "'010'"}, /* 8 to the kernel */
        {"tcp_fin_timeout", "0x10", -EINVAL, "'0x10'"},
        {"tcp_fin_timeout", "30", 0, NULL},
        {"somaxconn", "99999999999999999999999", -ERANGE, "9999"},
        {"file-max", "9223372036854775807", 0, NULL},
        {"file-max", "9223372036854775808", -ERANGE, "9223372036854775808"},
        {"ip_local_port_range", "1024 65535", 0, NULL},
        {"ip_local_port_range", "1024\t65535", 0, NULL},
        {"ip_local_port_range", "5 5", 0, NULL},
        {"ip_local_port_range", "65535 1024", -EINVAL, "'65535 1024'"},
        {"ip_local_port_range", "0 65535", -ERANGE, "'0'"},
        {"ip_local_port_range", "1 65536", -ERANGE, "'65536'"},
        {"ip_local_port_range", "1024", -EINVAL, "'1024' is not two numbers"},
        {"ip_local_port_range", "1024-65535", -EINVAL,
         "'1024-65535' is not two numbers with a blank between them, as in '1024 65535'"},
        {"ip_local_port_range", "1024 65535x", -EINVAL, "as in '1024 65535'"},
        {"ip_local_port_range", "-1 65535", -EINVAL, "as in '1024 65535'"},
        {"ip_local_port_range", "", -EINVAL, "as in '1024 65535'"},
        {"ip_local_port_range", "1024 2000 3000", -EINVAL, "'1024 2000 3000'"},
        {"ip_local_reserved_ports", "", 0, NULL},
        {"ip_local_reserved_ports", "8080,9000-9100", 0, NULL},
        {"ip_local_reserved_ports", "0", 0, NULL},
        {"ip_local_reserved_ports", "0-65535", 0, NULL},
        {"ip_local_reserved_ports", "80,", 0, NULL},
        {"ip_local_reserved_ports", ",80", -EINVAL, "ip_local_reserved_ports"},
        {"ip_local_reserved_ports", "80,,90", -EINVAL, "ip_local_reserved_ports"},
        {"ip_local_reserved_ports", "80, 90", -EINVAL, "' 90'"},
        {"ip_local_reserved_ports", "80 ", -EINVAL, "'80 '"},
        {"ip_local_reserved_ports", "80 90", -EINVAL, "'80 90'"},
        {"ip_local_reserved_ports", "80:90", -EINVAL, "'80:90'"},
        {"ip_local_reserved_ports", "90-80", -EINVAL, "90-80"},
        {"ip_local_reserved_ports", "80-", -EINVAL, "ip_local_reserved_ports"},
        {"ip_local_reserved_ports", "65536", -ERANGE, "'65536'"},
        {"tcp_rmem", "4096 131072 6291456", 0, NULL},
        {"tcp_rmem", "4096\t131072\t6291456", 0, NULL},
        {"tcp_rmem", "4096 131072", -EINVAL, "'4096 131072'"},
        {"tcp_rmem", "4096 131072 6291456 1", -EINVAL, "6291456 1'"},
        {"tcp_rmem", "0 1 2", -ERANGE, "'0'"},
        {"tcp_rmem", "4096,131072,6291456", -EINVAL, "as in '4096 131072 6291456'"},
        {"nofile", "65535", 0, NULL},
        {"nofile", "1024 65535", 0, NULL},
        {"nofile", "65535 1024", -EINVAL, "'65535 1024'"},
        {"nofile", "1 2 3", -EINVAL, "'1 2 3' is not one number, or two"},
        {"nofile", "", -EINVAL, "limit.nofile"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct tw_error error = {0};
        int rc = setting_check(named(rows[i].name), tw_view_of(rows[i].value), &error);

        if (rc != rows[i].rc || error.code != -rc)
            fail_msg("%s '%s': %d: %s", rows[i].name, rows[i].value, rc, error.text);
        if (rows[i].quoted && !strstr(error.text, rows[i].quoted))
            fail_msg("%s '%s': no %s in: %s", rows[i].name, rows[i].value, rows[i].quoted,
                     error.text);
    }
}

static void test_equal(void **state)
{
    static const struct {
        const char *name, *a, *b;
        bool equal;
    } rows[] = {
        {"ip_local_port_range", "32768\t60999", "32768 60999", true},
        {"ip_local_port_range", "32768\t60999", " 32768   60999\n", true},
        {"ip_local_port_range", "32768 60999", "32768 60998", false},
        {"ip_local_port_range", "32768 60999", "32768", false},
        {"tcp_fin_timeout", "60", "60", true},
        {"tcp_fin_timeout", "60", "6", false},
        {"tcp_fin_timeout", "-1", "-1", true},
        {"tcp_fin_timeout", "-1", "1", false},
        {"tcp_fin_timeout", "", "0", false},
        {"tcp_rmem", "4096\t131072\t6291456", "4096 131072 6291456", true},
        {"tcp_rmem", "4096\t131072\t6291456", "4096 131072", false},
        {"ip_local_reserved_ports", "", "", true},
        {"ip_local_reserved_ports", "", "\n", true},
        {"ip_local_reserved_ports", "", "80", false},
        {"ip_local_reserved_ports", "80,81,82", "80-82", true},
        {"ip_local_reserved_ports", "82,80-81,80", "80-82", true},
        {"ip_local_reserved_ports", "80-82", "80-83", false},
        {"ip_local_reserved_ports", "0", "", false},
        {"ip_local_reserved_ports", "x", "x", true},
        {"ip_local_reserved_ports", "x", "", false},
        {"nofile", "1024 4096", "1024 4096", true},
        {"nofile", "1024 unlimited", "1024 unlimited", true},
        {"nofile", "1024 unlimited", "1024 4096", false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct setting *setting = named(rows[i].name);

        if (setting_equal(setting, rows[i].a, rows[i].b) != rows[i].equal ||
            setting_equal(setting, rows[i].b, rows[i].a) != rows[i].equal)
            fail_msg("%s: '%s' and '%s'", rows[i].name, rows[i].a, rows[i].b);
    }
}

static void test_unsafe(void **state)
{
    static const struct {
        const char *name, *before, *after;
        bool unsafe;
    } rows[] = {
        {"tcp_max_tw_buckets", "131072", "131071", true},
        {"tcp_max_tw_buckets", "131072", "131072", false},
        {"tcp_max_tw_buckets", "131072", "262144", false},
        {"tcp_max_tw_buckets", "9", "10", false}, /* by number, not by letter */
        {"tcp_max_tw_buckets", "131072", "-1", true},
        {"tcp_max_tw_buckets", "", "262144", true}, /* nobody knows */
        {"tcp_max_orphans", "8192", "4096", true},
        {"tcp_timestamps", "1", "0", true},
        {"tcp_timestamps", "2", "0", true},
        {"tcp_timestamps", "2", "1", false},
        {"tcp_timestamps", "0", "0", false},
        {"tcp_timestamps", "0", "1", false},
        {"tcp_fin_timeout", "60", "0", false},
        {"ip_local_port_range", "32768 60999", "1024 1025", false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (setting_is_unsafe(named(rows[i].name), rows[i].before, rows[i].after) != rows[i].unsafe)
            fail_msg("%s: from '%s' to '%s'", rows[i].name, rows[i].before, rows[i].after);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows_are_whole), cmocka_unit_test(test_names_and_groups),
        cmocka_unit_test(test_find),           cmocka_unit_test(test_check),
        cmocka_unit_test(test_equal),          cmocka_unit_test(test_unsafe),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
