/* What is said of lines: a corpus of recipes with the verdict of each line, lines that touch one
 * another, and the kernel's own word on values and names. Arguments: the folders of the corpus. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "guard.h"
#include "lint.h"
#include "lint_judge.h"
#include "scenario.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* At least so many recipes belong to the corpus. */
#define RECIPES 25

static const char *corpus;

static struct lint_report report_of(const char *text)
{
    struct lint_text one = {.text = tw_view_of(text)};
    struct lint_report report;

    assert_int_equal(lint(&one, 1, NULL, &report), 0);
    return report;
}

/* --- the corpus ------------------------------------------------------------------------------- */

static char *slurp(const char *path)
{
    char *text = calloc(1, 65536);
    FILE *file = fopen(path, "re");

    assert_non_null(text);
    if (!file) {
        fail_msg("%s: %s", path, strerror(errno));
        return text;
    }
    assert_true(fread(text, 1, 65535, file) < 65535);
    fclose(file);
    return text;
}

static void check_recipe(const char *path, const char *expected_path)
{
    char *text = slurp(path), *expected = slurp(expected_path), said[65536] = "";
    struct lint_report report = report_of(text);
    size_t used = 0;

    for (size_t i = 0; i < report.count; i++) {
        const struct lint_line *line = &report.lines[i];

        used +=
            (size_t)snprintf(said + used, sizeof(said) - used, "%zu\t%s\t%s\t%s\n", line->number,
                             line->name[0] ? line->name : "-", lint_verdict_names[line->verdict],
                             line->scenario ? line->scenario : "-");
        if (lint_is_complaint(line->verdict))
            assert_true(line->reason[0]);
    }
    if (strcmp(said, expected) != 0)
        fail_msg("%s\n--- said\n%s--- expected\n%s", path, said, expected);
    lint_fini(&report);
    free(text);
    free(expected);
}

static void corpus_has_the_expected_verdicts(void **state)
{
    DIR *directory = opendir(corpus);
    struct dirent *entry;
    size_t count = 0;

    (void)state;
    assert_non_null(directory);
    while ((entry = readdir(directory))) {
        const char *dot = strrchr(entry->d_name, '.');
        char path[4096], expected[4096];

        if (!dot || entry->d_name[0] == '.' || strcmp(dot, ".expected") == 0)
            continue;
        snprintf(path, sizeof(path), "%s/%s", corpus, entry->d_name);
        snprintf(expected, sizeof(expected), "%s/%.*s.expected", corpus, (int)(dot - entry->d_name),
                 entry->d_name);
        check_recipe(path, expected);
        count++;
    }
    closedir(directory);
    assert_true(count >= RECIPES);
}

/* --- the rules themselves --------------------------------------------------------------------- */

static bool is_scenario(const char *name)
{
    for (size_t i = 0; scenarios[i]; i++)
        if (strcmp(scenarios[i]->name, name) == 0)
            return true;
    return false;
}

static void rules_fit_and_name_scenarios_that_exist(void **state)
{
    (void)state;
    for (const struct lint_rule *rule = lint_rules; rule->name; rule++) {
        if (rule->scenario && !is_scenario(rule->scenario))
            fail_msg("%s: the lab has no '%s'", rule->name, rule->scenario);
        assert_true(strlen(rule->reason) < sizeof(((struct lint_line *)0)->reason) - 100);
        assert_true(!rule->instead ||
                    strlen(rule->instead) < sizeof(((struct lint_line *)0)->instead));
        assert_true(rule->verdict == LINT_FOREIGN || rule->reason[0]);
    }
}

/* A rule behind one that always fits is never reached. */
static void rules_are_all_reached(void **state)
{
    (void)state;
    for (const struct lint_rule *rule = lint_rules; rule->name; rule++)
        for (const struct lint_rule *later = rule + 1; later->name; later++) {
            size_t len = strlen(rule->name);
            bool covers = rule->name[len - 1] == '*'
                              ? strncmp(rule->name, later->name, len - 1) == 0
                              : strcmp(rule->name, later->name) == 0;

            if (rule->test == LINT_ANY && covers)
                fail_msg("%s: a rule behind the one for all values", later->name);
        }
}

static void presets_are_idle(void **state)
{
    (void)state;
    for (const struct setting *setting = settings; setting->name; setting++) {
        char text[200];
        struct lint_report report;

        if (!setting->preset || !setting->preset[0] || setting->kind == SETTING_LIMIT)
            continue;
        snprintf(text, sizeof(text), "%s = %s", setting->name, setting->preset);
        report = report_of(text);
        assert_int_equal(report.count, 1);
        if (report.lines[0].verdict != LINT_IDLE)
            fail_msg("%s: %s", text, lint_verdict_names[report.lines[0].verdict]);
        lint_fini(&report);
    }
}

/* --- reading ---------------------------------------------------------------------------------- */

static const struct {
    const char *line;
    const char *name; /* NULL: no line at all; "": nothing that is set */
    enum lint_verdict verdict;
} forms[] = {
    {"", NULL, 0},
    {"   \t\r", NULL, 0},
    {"# net.ipv4.tcp_tw_recycle = 1", NULL, 0},
    {"; net.ipv4.tcp_tw_recycle = 1", NULL, 0},
    {"// nothing", NULL, 0},
    {"net.ipv4.tcp_tw_recycle=1", "net.ipv4.tcp_tw_recycle", LINT_GONE},
    {"  net.ipv4.tcp_tw_recycle \t = \t 1\r", "net.ipv4.tcp_tw_recycle", LINT_GONE},
    {"-net.ipv4.tcp_tw_recycle = 1", "net.ipv4.tcp_tw_recycle", LINT_GONE},
    {"net/ipv4/tcp_tw_recycle = 1", "net.ipv4.tcp_tw_recycle", LINT_GONE},
    {"net/ipv4/conf/eth0.1/forwarding = 1", "net.ipv4.conf.eth0/1.forwarding", LINT_FOREIGN},
    {"\"net.core.somaxconn\": \"16384\",", "net.core.somaxconn", LINT_FINE},
    {"net.core.somaxconn: 16384", "net.core.somaxconn", LINT_FINE},
    {"net.core.somaxconn = 16384 # a comment", "net.core.somaxconn", LINT_FINE},
    {"net.core.somaxconn = 16384 65", "net.core.somaxconn", LINT_BAD},
    {"net.core.somaxconn =", "net.core.somaxconn", LINT_BAD},
    {"net.core.somaxconn 16384", "net.core.somaxconn", LINT_BAD},
    {"net.core.somaxconn is short by default", "", LINT_FOREIGN},
    {"net.core.somaxconn", "", LINT_FOREIGN},
    {"net.", "", LINT_FOREIGN},
    {"net.=1", "", LINT_FOREIGN},
    {"sysctl net.core.somaxconn", "", LINT_FOREIGN},
    {"sysctl -n net.core.somaxconn", "", LINT_FOREIGN},
    {"# sysctl -w net.core.somaxconn=16384", NULL, 0},
    {"$ sudo sysctl -qw net.core.somaxconn=16384;", "net.core.somaxconn", LINT_FINE},
    {"RUN sysctl -w 'net.core.somaxconn=16384'", "net.core.somaxconn", LINT_FINE},
    {"sysctl -w net.core.somaxconn='16384' && date", "net.core.somaxconn", LINT_FINE},
    {"--sysctl=net.core.somaxconn=16384", "net.core.somaxconn", LINT_FINE},
    {"--sysctl net.core.somaxconn=16384 \\", "net.core.somaxconn", LINT_FINE},
    {"echo 16384 > /proc/sys/net/core/somaxconn", "net.core.somaxconn", LINT_FINE},
    {"date; echo 16384>/proc/sys/net/core/somaxconn", "net.core.somaxconn", LINT_FINE},
    {"printf '16384\\n' | tee /proc/sys/net/core/somaxconn", "net.core.somaxconn", LINT_FINE},
    {"echo > /proc/sys/net/core/somaxconn", "net.core.somaxconn", LINT_BAD},
    {"cat x > /proc/sys/net/core/somaxconn", "", LINT_FOREIGN},
    {"cat /proc/sys/net/core/somaxconn", "", LINT_FOREIGN},
    {"echo 'net.core.somaxconn = 16384' >> /etc/sysctl.conf", "net.core.somaxconn", LINT_FINE},
    {"echo net.core.somaxconn = 16384 >> /etc/sysctl.conf", "net.core.somaxconn", LINT_FINE},
    {"net.core.somaxconn = $BACKLOG", "net.core.somaxconn", LINT_FOREIGN},
    {"net.core.somaxconn = {{ backlog }}", "net.core.somaxconn", LINT_FOREIGN},
    {"net.ipv4.ip_local_reserved_ports =", "net.ipv4.ip_local_reserved_ports", LINT_IDLE},
    {"https://www.kernel.org/doc/html/latest/", "", LINT_FOREIGN},
    {"ulimit -n 4096", LINT_ULIMIT, LINT_FINE},
    {"ulimit -S -n 4096 && exec server", LINT_ULIMIT, LINT_FINE},
    {"ulimit -n", "", LINT_FOREIGN},
    {"ulimit -c unlimited", "", LINT_FOREIGN},
    {"ulimit -n many", LINT_ULIMIT, LINT_BAD},
    {"* - nofile 4096", LINT_PAM, LINT_FINE},
    {"nofile 4096", "", LINT_FOREIGN},
    {"docker run --ulimit nofile=1024:4096 x", LINT_CONTAINER, LINT_FINE},
    {"LimitNOFILE=4096", LINT_UNIT, LINT_FINE},
    {"LimitNOFILE=", "", LINT_FOREIGN},
    {"MaxUserPort", "", LINT_FOREIGN},
    {"netsh int ipv4 set dynamicport tcp", LINT_NETSH, LINT_BAD},
    {"netsh int ipv4 set dynamicport tcp start=1025 num=64511", LINT_NETSH, LINT_RISKY},
    {"netsh int ipv4 set dynamicport tcp start=1025 num=64512", LINT_NETSH, LINT_BAD},
    {"netsh int ipv4 set dynamicport tcp start=50000 num=254", LINT_NETSH, LINT_BAD},
};

static void forms_are_read(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(forms); i++) {
        struct lint_report report = report_of(forms[i].line);

        if (report.count != (forms[i].name != NULL))
            fail_msg("'%s': %zu lines", forms[i].line, report.count);
        if (report.count && forms[i].name &&
            (strcmp(report.lines[0].name, forms[i].name) != 0 ||
             report.lines[0].verdict != forms[i].verdict))
            fail_msg("'%s': '%s' %s: %s", forms[i].line, report.lines[0].name,
                     lint_verdict_names[report.lines[0].verdict], report.lines[0].reason);
        lint_fini(&report);
    }
}

/* Each prefix of each form, with a page behind it that nobody may touch. */
static void forms_are_read_to_their_end_and_no_further(void **state)
{
    struct guard guard;

    (void)state;
    guard_init(&guard, 4096);
    for (size_t i = 0; i < COUNT(forms); i++)
        for (size_t len = 0; len <= strlen(forms[i].line); len++) {
            struct lint_text text = {.text = guard_view(&guard, forms[i].line, len)};
            struct lint_report report;

            assert_int_equal(lint(&text, 1, NULL, &report), 0);
            lint_fini(&report);
        }
    guard_fini(&guard);
}

static void texts_are_made_harmless(void **state)
{
    struct lint_report report = report_of("net.core.som\033[2Jaxconn = 1\n"
                                          "net.ipv4.tcp_fin_timeout = \033[31m\n"
                                          "\xff\xfe plain\tbytes\n");

    (void)state;
    assert_int_equal(report.count, 3);
    for (size_t i = 0; i < report.count; i++) {
        assert_null(strpbrk(report.lines[i].text, "\033\t\xff"));
        assert_null(strchr(report.lines[i].reason, '\033'));
        assert_null(strchr(report.lines[i].name, '\033'));
    }
    assert_int_equal(report.lines[1].verdict, LINT_BAD);
    assert_string_equal(report.lines[2].text, "\\xff\\xfe plain bytes");
    lint_fini(&report);
}

static void long_lines_are_cut(void **state)
{
    struct lint_report report;
    static char text[400000];
    size_t used = (size_t)snprintf(text, sizeof(text), "net.ipv4.ip_local_reserved_ports = 1");

    (void)state;
    for (unsigned port = 2; port < 60000; port++)
        used += (size_t)snprintf(text + used, sizeof(text) - used, ",%u", port);
    snprintf(text + used, sizeof(text) - used, "\nnet.ipv4.ip_local_port_range = 1024 65535\n");
    report = report_of(text);
    assert_int_equal(report.count, 2);
    assert_int_equal(report.lines[0].verdict, LINT_FINE);
    assert_int_equal(report.lines[1].verdict, LINT_FINE);
    assert_true(strlen(report.lines[0].text) < sizeof(report.lines[0].text));
    lint_fini(&report);
}

/* --- lines that touch one another ------------------------------------------------------------- */

static void the_last_of_several_texts_wins(void **state)
{
    const struct lint_text texts[] = {
        {"10-a.conf", tw_view_of("net.core.somaxconn = 1024\nnet.ipv4.tcp_timestamps = 0\n")},
        {"20-b.conf", tw_view_of("\nnet.core.somaxconn = 8192\n")},
        {"30-c.conf", tw_view_of("net.core.somaxconn = 8192\nnet.core.somaxconn = x\n"
                                 "net.ipv4.tcp_tw_reuse = 1\n")},
    };
    struct lint_report report;

    (void)state;
    assert_int_equal(lint(texts, COUNT(texts), NULL, &report), 0);
    assert_int_equal(report.count, 6);
    assert_int_equal(report.lines[0].verdict, LINT_IDLE);
    assert_non_null(strstr(report.lines[0].reason, "30-c.conf:1"));
    assert_int_equal(report.lines[0].winner, 3);
    assert_int_equal(report.lines[1].verdict, LINT_UNSAFE);
    assert_non_null(strstr(report.lines[1].reason, "30-c.conf:3"));
    /* The same again is no contradiction, and what is refused does not win. */
    assert_int_equal(report.lines[2].verdict, LINT_FINE);
    assert_int_equal(report.lines[2].winner, SIZE_MAX);
    assert_int_equal(report.lines[4].verdict, LINT_BAD);
    assert_int_equal(report.lines[5].verdict, LINT_IDLE);
    assert_non_null(strstr(report.lines[5].reason, "10-a.conf:2"));
    assert_int_equal(report.verdicts[LINT_IDLE], 2);
    lint_fini(&report);
}

static bool has_service(uint16_t port, void *context)
{
    (void)context;
    return port == 8080 || port == 5432;
}

static void check_services(const char *text, enum lint_verdict verdict, const char *says,
                           const char *says_not)
{
    const struct lint_context context = {.service_on = has_service};
    struct lint_text one = {.text = tw_view_of(text)};
    struct lint_report report;

    assert_int_equal(lint(&one, 1, &context, &report), 0);
    assert_int_equal(report.lines[0].verdict, verdict);
    assert_non_null(strstr(report.lines[0].reason, says));
    assert_null(strstr(report.lines[0].reason, says_not));
    lint_fini(&report);
}

static void services_of_the_host_are_named(void **state)
{
    (void)state;
    check_services("net.ipv4.ip_local_port_range = 1024 65535", LINT_RISKY, "5432, 8080", "see");
    check_services("net.ipv4.ip_local_port_range = 1024 65535\n"
                   "net.ipv4.ip_local_reserved_ports = 5000-6000\n",
                   LINT_RISKY, "8080", "5432");
    check_services("net.ipv4.ip_local_port_range = 1024 65535\n"
                   "net.ipv4.ip_local_reserved_ports = 5432,8080\n",
                   LINT_FINE, "line 2", "8080");
}

/* --- the kernel's own word -------------------------------------------------------------------- */

/* In a process of its own, in a private network where one may be made. */
static bool enter_network(void)
{
    return unshare(CLONE_NEWNET) == 0 || unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0;
}

static int write_setting(const char *name, const char *value)
{
    char path[200] = "/proc/sys/";
    size_t base = strlen(path);
    int fd, rc;

    snprintf(path + base, sizeof(path) - base, "%s", name);
    for (char *c = path + base; *c; c++)
        if (*c == '.')
            *c = '/';
    fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    rc = write(fd, value, strlen(value)) < 0 ? -errno : 0;
    close(fd);
    return rc;
}

/* Texts that people write, put to the kernel: refused is what is called bad, and only that. */
static void what_is_bad_is_refused_by_the_kernel(void **state)
{
    static const char *const names[] = {"net.ipv4.tcp_tw_reuse",
                                        "net.ipv4.tcp_syn_retries",
                                        "net.ipv4.tcp_keepalive_probes",
                                        "net.core.somaxconn",
                                        "net.ipv4.tcp_retries2",
                                        "net.ipv4.ip_autobind_reuse",
                                        "net.ipv4.tcp_sack",
                                        "net.ipv4.ip_local_port_range",
                                        "net.ipv4.tcp_orphan_retries",
                                        "net.ipv4.ip_local_reserved_ports"};
    static const char *const values[] = {
        "1",          "2",          "15s",        "yes",        "300",       "1,2",       "1000000",
        "1024 65535", "60000 2000", "1000 65535", "1024-65535", "8080 9090", "2147483648"};
    size_t refused = 0;

    (void)state;
    if (!enter_network()) {
        print_message("skipped: no private network: %s\n", strerror(errno));
        skip();
    }
    for (size_t i = 0; i < COUNT(names); i++)
        for (size_t j = 0; j < COUNT(values); j++) {
            bool range = strstr(names[i], "range") != NULL;
            bool blank = strchr(values[j], ' ') != NULL;
            struct lint_report report;
            char text[200];
            int rc;

            /* The kernel takes the first of several numbers, and the first half of a range. */
            if ((blank && !range && !strstr(names[i], "ports")) || (range && !blank))
                continue;
            rc = write_setting(names[i], values[j]);
            if (rc == -ENOENT || rc == -EACCES)
                continue;
            snprintf(text, sizeof(text), "%s = %s", names[i], values[j]);
            report = report_of(text);
            if ((report.lines[0].verdict == LINT_BAD) != (rc != 0))
                fail_msg("%s: the kernel says %d, and lint %s: %s", text, rc,
                         lint_verdict_names[report.lines[0].verdict], report.lines[0].reason);
            refused += rc != 0;
            lint_fini(&report);
        }
    assert_true(refused > 20);
}

static void each_name(const char *folder, void (*look)(const char *name))
{
    char path[200];
    struct dirent *entry;
    DIR *directory;

    snprintf(path, sizeof(path), "/proc/sys/%s", folder);
    directory = opendir(path);
    if (!directory)
        return;
    while ((entry = readdir(directory)))
        if (entry->d_type == DT_REG) {
            char name[300];

            snprintf(name, sizeof(name), "%s/%s", folder, entry->d_name);
            look(name);
        }
    closedir(directory);
}

static void check_name(const char *name)
{
    char text[400];
    struct lint_report report;

    snprintf(text, sizeof(text), "%s = 1", name);
    report = report_of(text);
    assert_int_equal(report.count, 1);
    if (report.lines[0].verdict == LINT_GONE ||
        strcmp(report.lines[0].reason, "No kernel has a setting of this name.") == 0)
        fail_msg("%s: %s, but this kernel has it", name,
                 lint_verdict_names[report.lines[0].verdict]);
    lint_fini(&report);
}

/* What this kernel has is neither gone nor a slip of the finger. */
static void names_of_this_kernel_are_known_to_exist(void **state)
{
    (void)state;
    each_name("net/ipv4", check_name);
    each_name("net/core", check_name);
    each_name("net/netfilter", check_name);
    each_name("net/ipv6", check_name);
    each_name("fs", check_name);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(corpus_has_the_expected_verdicts),
        cmocka_unit_test(rules_fit_and_name_scenarios_that_exist),
        cmocka_unit_test(rules_are_all_reached),
        cmocka_unit_test(presets_are_idle),
        cmocka_unit_test(forms_are_read),
        cmocka_unit_test(forms_are_read_to_their_end_and_no_further),
        cmocka_unit_test(texts_are_made_harmless),
        cmocka_unit_test(long_lines_are_cut),
        cmocka_unit_test(the_last_of_several_texts_wins),
        cmocka_unit_test(services_of_the_host_are_named),
        cmocka_unit_test(names_of_this_kernel_are_known_to_exist),
        cmocka_unit_test(what_is_bad_is_refused_by_the_kernel),
    };

    corpus = argc > 1 ? argv[1] : "tests/lint";
    return cmocka_run_group_tests(tests, NULL, NULL);
}
