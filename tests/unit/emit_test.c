/*
 * Changes as text for others. What reads YAML here is Python's, where it is installed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "emit.h"

/* Everything that could end a comment, a string or a line somewhere. */
#define NASTY                                                                                     \
    "50 % of \"it\" isn't -- %PATH% %~dp0 | a & b > c ^ # {{ x }} $(id) `id` --> \\\n"            \
    "net.ipv4.tcp_timestamps = 0\r\"MaxUserPort\"=dword:1\x1b[2J \xc2\x85 \xe2\x80\xa8- x: y */ " \
    "; \\"

struct sample {
    const char *name, *before, *after, *why;
};

static const struct sample all[] = {
    {"net.ipv4.tcp_tw_reuse", "2", "1", "5,000 connections/s x 61 s = 305,000 tuples"},
    {"net.ipv4.ip_local_reserved_ports", "", "80,5432,8000-8010", NASTY},
    {"net.ipv4.ip_local_port_range", "32768\t60999", "1024\t65535", NASTY},
    {"net.ipv4.tcp_tw_reuse_delay", "1000", "265", "shorter"},
    {"net.ipv4.tcp_max_tw_buckets", "4096", "28672", "more"},
    {"net.netfilter.nf_conntrack_max", "65536", "131072", NASTY},
    {"fs.file-max", "1000", "2048", NASTY},
    {"limit.nofile", "1024 4096", "9000 9000", NASTY},
};
#define ALL (sizeof(all) / sizeof(all[0]))

/* What the formats of Linux and of containers hold in the end, one per line. */
#define RANGE_AND_REST                                    \
    "net.ipv4.ip_local_reserved_ports=80,5432,8000-8010|" \
    "net.ipv4.ip_local_port_range=1024 65535|"            \
    "net.ipv4.tcp_tw_reuse_delay=265|"                    \
    "net.ipv4.tcp_max_tw_buckets=28672|"
#define OF_CONTAINER "net.ipv4.tcp_tw_reuse=1|" RANGE_AND_REST
#define OF_HOST      OF_CONTAINER "net.netfilter.nf_conntrack_max=131072|fs.file-max=2048|"

static struct changes changes_of(const struct sample *samples, size_t count)
{
    struct changes changes = {0};

    for (size_t i = 0; i < count; i++) {
        const struct setting *setting = setting_find(tw_view_of(samples[i].name));

        assert_non_null(setting);
        assert_int_equal(
            changes_add(&changes, setting, samples[i].before, samples[i].after, samples[i].why), 0);
    }
    return changes;
}

static char *text_of(enum emit_format format, size_t count)
{
    struct changes changes = changes_of(all, count);
    char *text = emit(&changes, format, "tidewait tune: " NASTY);

    assert_non_null(text);
    changes_fini(&changes);
    return text;
}

/* Calls `look` for each line, without its end. */
static void each_line(char *text, const char *end, void (*look)(const char *line, void *context),
                      void *context)
{
    for (char *line = text, *next; *line; line = next) {
        next = strstr(line, end);
        assert_non_null(next);
        *next = 0;
        next += strlen(end);
        for (const char *at = line; *at; at++)
            assert_true(*at >= 0x20 && *at <= 0x7e);
        look(line, context);
    }
}

/* --- lines --------------------------------------------------------------------------------------
 */

struct lines {
    const char *mark; /* of a comment */
    char code[4096];  /* all other lines */
    size_t comments;
};

static void take_line(const char *line, void *context)
{
    struct lines *lines = context;
    size_t len = strlen(lines->code);

    if (strncmp(line, lines->mark, strlen(lines->mark)) == 0)
        lines->comments++;
    else if (*line)
        snprintf(lines->code + len, sizeof(lines->code) - len, "%s|", line);
}

static void check_lines(enum emit_format format, const char *mark, const char *end,
                        const char *expected)
{
    struct lines lines = {.mark = mark};
    char *text = text_of(format, ALL);

    each_line(text, end, take_line, &lines);
    assert_string_equal(lines.code, expected);
    /* The title, and a reason for each. */
    assert_true(lines.comments > ALL);
    free(text);
}

static void sysctl_file(void **state)
{
    (void)state;
    check_lines(EMIT_SYSCTL, "#", "\n",
                "net.ipv4.tcp_tw_reuse = 1|"
                "net.ipv4.ip_local_reserved_ports = 80,5432,8000-8010|"
                "net.ipv4.ip_local_port_range = 1024 65535|"
                "net.ipv4.tcp_tw_reuse_delay = 265|"
                "net.ipv4.tcp_max_tw_buckets = 28672|"
                "net.netfilter.nf_conntrack_max = 131072|"
                "fs.file-max = 2048|");
}

static void sysctl_file_in_full(void **state)
{
    struct changes changes = changes_of(all, 1);
    char *text = emit(&changes, EMIT_SYSCTL, "made by tidewait");

    (void)state;
    assert_string_equal(text, "# made by tidewait\n\n"
                              "# 5,000 connections/s x 61 s = 305,000 tuples\n"
                              "net.ipv4.tcp_tw_reuse = 1\n");
    free(text);
    changes_fini(&changes);
}

static void netsh_lines(void **state)
{
    (void)state;
    check_lines(EMIT_NETSH, "rem ", "\r\n",
                "netsh int ipv4 add excludedportrange protocol=tcp startport=80 "
                "numberofports=1 store=persistent|"
                "netsh int ipv6 add excludedportrange protocol=tcp startport=80 "
                "numberofports=1 store=persistent|"
                "netsh int ipv4 add excludedportrange protocol=tcp startport=5432 "
                "numberofports=1 store=persistent|"
                "netsh int ipv6 add excludedportrange protocol=tcp startport=5432 "
                "numberofports=1 store=persistent|"
                "netsh int ipv4 add excludedportrange protocol=tcp startport=8000 "
                "numberofports=11 store=persistent|"
                "netsh int ipv6 add excludedportrange protocol=tcp startport=8000 "
                "numberofports=11 store=persistent|"
                "netsh int ipv4 set dynamicport tcp start=1025 num=64511 store=persistent|"
                "netsh int ipv6 set dynamicport tcp start=1025 num=64511 store=persistent|");
}

/* rem still expands variables, and some shells read operators behind it. */
static void batch_comments_are_words(void **state)
{
    char *text = text_of(EMIT_NETSH, ALL);

    (void)state;
    assert_null(strpbrk(text, "&|<>^"));
    for (const char *at = text; (at = strchr(at, '%')); at += 2)
        assert_int_equal(at[1], '%');
    free(text);
}

static void registry_file(void **state)
{
    char *text = text_of(EMIT_REG, ALL);

    (void)state;
    /* The head must be the first line, the second one empty. */
    assert_memory_equal(text, "Windows Registry Editor Version 5.00\r\n\r\n", 40);
    free(text);
    check_lines(EMIT_REG, ";", "\r\n",
                "Windows Registry Editor Version 5.00|"
                "[HKEY_LOCAL_MACHINE\\SYSTEM\\CurrentControlSet\\Services\\Tcpip\\Parameters]|"
                "\"TcpTimedWaitDelay\"=dword:0000001e|"
                /* "80-80", "5432-5432", "8000-8010", and the end. */
                "\"ReservedPorts\"=hex(7):38,00,30,00,2d,00,38,00,30,00,00,00,"
                "35,00,34,00,33,00,32,00,2d,00,35,00,34,00,33,00,32,00,00,00,"
                "38,00,30,00,30,00,30,00,2d,00,38,00,30,00,31,00,30,00,00,00,00,00|"
                "\"MaxUserPort\"=dword:0000fffe|");
}

static void freebsd_file(void **state)
{
    (void)state;
    check_lines(EMIT_FREEBSD, "#", "\n",
                "net.inet.ip.portrange.first=1024|net.inet.ip.portrange.last=65535|"
                "kern.maxfiles=2048|");
}

static void macos_script(void **state)
{
    (void)state;
    check_lines(EMIT_MACOS, "#", "\n",
                "sysctl -w net.inet.ip.portrange.first=1024|"
                "sysctl -w net.inet.ip.portrange.last=65535|"
                "sysctl -w kern.maxfiles=2048|");
}

/* What is not there is said: each setting is named in each format. */
static void nothing_is_left_out(void **state)
{
    (void)state;
    for (int format = 0; format < EMIT_FORMATS; format++) {
        char *text = text_of((enum emit_format)format, ALL);

        for (size_t i = 0; i < ALL; i++)
            if (!strstr(text, all[i].name))
                fail_msg("%s says nothing about %s", emit_names[format], all[i].name);
        free(text);
    }
}

/* No line of the reasons has become one of its own. */
static void no_reason_becomes_a_setting(void **state)
{
    (void)state;
    for (int format = 0; format < EMIT_FORMATS; format++) {
        char *text = text_of((enum emit_format)format, ALL);

        assert_null(strstr(text, "\nnet.ipv4.tcp_timestamps"));
        assert_null(strstr(text, "\n\"MaxUserPort\"=dword:1\r"));
        assert_null(strchr(text, 0x1b));
        assert_int_equal(text[strlen(text) - 1], '\n');
        free(text);
    }
}

static void without_changes(void **state)
{
    struct changes none = {0};

    (void)state;
    for (int format = 0; format < EMIT_FORMATS; format++) {
        char *text = emit(&none, (enum emit_format)format, "nothing to do");

        assert_non_null(text);
        assert_non_null(strstr(text, "nothing to do"));
        free(text);
    }
}

static void small_ranges_of_windows(void **state)
{
    static const struct sample small[] = {
        {"net.ipv4.ip_local_port_range", "32768\t60999", "40000\t40099", "few"}};
    struct changes changes = changes_of(small, 1);
    char *text = emit(&changes, EMIT_NETSH, "x");

    (void)state;
    assert_null(strstr(text, "\nnetsh"));
    assert_non_null(strstr(text, "fewer than 255"));
    free(text);
    text = emit(&changes, EMIT_REG, "x");
    assert_non_null(strstr(text, "\"MaxUserPort\"=dword:00009ca3\r\n"));
    free(text);
    changes_fini(&changes);
}

static void safety_of_pods_is_told(void **state)
{
    char *text = text_of(EMIT_KUBERNETES, ALL);

    (void)state;
    assert_non_null(strstr(text, "--allowed-unsafe-sysctls=net.ipv4.tcp_tw_reuse\n"));
    assert_null(strstr(text, "--allowed-unsafe-sysctls=net.ipv4.ip_local_port_range"));
    assert_non_null(strstr(text, "since Kubernetes 1.27."));
    assert_non_null(strstr(text, "#   fs.file-max = 2048\n"));
    free(text);
}

/* --- YAML ---------------------------------------------------------------------------------------
 */

/* Prints name=value| of each setting, whichever of the three formats it is. */
static const char reader[] =
    "import sys, yaml\n"
    "d = yaml.safe_load(open(sys.argv[1], newline=''))\n"
    "if isinstance(d, list):\n"
    "    r = [(t['ansible.posix.sysctl']['name'], t['ansible.posix.sysctl']['value']) for t in d]\n"
    "elif 'services' in d:\n"
    "    r = list(d['services']['app']['sysctls'].items())\n"
    "else:\n"
    "    r = [(s['name'], s['value']) for s in d['spec']['securityContext']['sysctls']]\n"
    "assert all(isinstance(v, str) for _, v in r)\n"
    "sys.stdout.write(''.join(f'{k}={v}|' for k, v in r))\n";

/* What Python reads; NULL when it has no yaml. */
static char *read_yaml(const char *text)
{
    static char out[4096];
    char path[] = "/tmp/twemitXXXXXX", command[2048];
    int fd = mkstemp(path);
    FILE *pipe;
    size_t len;

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
    if (system("python3 -c 'import yaml' 2>/dev/null")) { /* NOLINT(cert-env33-c) */
        unlink(path);
        return NULL;
    }
    snprintf(command, sizeof(command), "python3 -c \"%s\" %s", reader, path);
    pipe = popen(command, "r"); /* NOLINT(cert-env33-c): text of the test */
    assert_non_null(pipe);
    len = fread(out, 1, sizeof(out) - 1, pipe);
    out[len] = 0;
    assert_int_equal(pclose(pipe), 0);
    unlink(path);
    return out;
}

static void check_read(enum emit_format format, const struct changes *changes, const char *expected)
{
    char *text = emit(changes, format, "tidewait tune: " NASTY);
    const char *read = read_yaml(text);

    free(text);
    if (!read) {
        print_message("skipped: python3 has no yaml here\n");
        skip();
    }
    assert_string_equal(read, expected);
}

/* All, what is of the node alone, and nothing: always the same form. */
static void check_yaml(enum emit_format format, const char *expected)
{
    struct changes changes = changes_of(all, ALL);

    check_read(format, &changes, expected);
    changes_fini(&changes);
    check_read(format, &changes, "");
    changes = changes_of(&all[ALL - 2], 2);
    check_read(format, &changes, format == EMIT_ANSIBLE ? "fs.file-max=2048|" : "");
    changes_fini(&changes);
}

/* No kernel writes such a value, but the form would hold. */
static void values_are_quoted(void **state)
{
    static const struct sample odd[] = {{"net.ipv4.tcp_tw_reuse", "2", "a\"b\\c: #d", "x"}};
    struct changes changes = changes_of(odd, 1);

    (void)state;
    check_read(EMIT_KUBERNETES, &changes, "net.ipv4.tcp_tw_reuse=a\"b\\c: #d|");
    check_read(EMIT_ANSIBLE, &changes, "net.ipv4.tcp_tw_reuse=a\"b\\c: #d|");
    changes_fini(&changes);
}

static void ansible_tasks(void **state)
{
    (void)state;
    check_yaml(EMIT_ANSIBLE, OF_HOST);
}

static void kubernetes_pod(void **state)
{
    (void)state;
    check_yaml(EMIT_KUBERNETES, OF_CONTAINER);
}

static void docker_compose(void **state)
{
    char *text = text_of(EMIT_DOCKER, ALL);

    (void)state;
    assert_non_null(strstr(text, "\n# docker run \\\n#   --sysctl 'net.ipv4.tcp_tw_reuse=1' \\\n"));
    assert_non_null(strstr(text, "--sysctl 'net.ipv4.ip_local_port_range=1024 65535' \\\n"));
    free(text);
    check_yaml(EMIT_DOCKER, OF_CONTAINER);
}

/* What the shell makes of the script, but for the calls themselves. */
static void macos_script_is_shell(void **state)
{
    char *text = text_of(EMIT_MACOS, ALL);
    FILE *pipe = popen("sh -n", "w"); /* NOLINT(cert-env33-c): text of the test */

    (void)state;
    assert_non_null(pipe);
    assert_true(fputs(text, pipe) >= 0);
    assert_int_equal(pclose(pipe), 0);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sysctl_file),
        cmocka_unit_test(sysctl_file_in_full),
        cmocka_unit_test(netsh_lines),
        cmocka_unit_test(batch_comments_are_words),
        cmocka_unit_test(registry_file),
        cmocka_unit_test(freebsd_file),
        cmocka_unit_test(macos_script),
        cmocka_unit_test(nothing_is_left_out),
        cmocka_unit_test(no_reason_becomes_a_setting),
        cmocka_unit_test(without_changes),
        cmocka_unit_test(small_ranges_of_windows),
        cmocka_unit_test(safety_of_pods_is_told),
        cmocka_unit_test(values_are_quoted),
        cmocka_unit_test(ansible_tasks),
        cmocka_unit_test(kubernetes_pod),
        cmocka_unit_test(docker_compose),
        cmocka_unit_test(macos_script_is_shell),
    };

    return cmocka_run_group_tests_name("emit", tests, NULL, NULL);
}
