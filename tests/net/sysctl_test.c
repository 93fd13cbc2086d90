/*
 * Settings of a real kernel: the table's defaults and bounds against a new network namespace, and
 * what is read, written and refused. Exit code 77: no namespace may be made here.
 */
#include <pthread.h>
#include <sys/resource.h>
#include <sys/utsname.h>

#include "private.h"
#include "sysctl.h"

#define RANGE     "net.ipv4.ip_local_port_range"
#define RESERVED  "net.ipv4.ip_local_reserved_ports"
#define TIMEOUT   "net.ipv4.tcp_fin_timeout"
#define PRIV_PORT "net.ipv4.ip_unprivileged_port_start"

/* Of somebody who is not root: what sysctl_writable() said of the namespace that is not ours. */
static int foreign_rc;

static const struct setting *named(const char *name)
{
    const struct setting *setting = setting_find(tw_view_of(name));

    assert_non_null(setting);
    return setting;
}

/* A network that nobody has changed yet. */
static int make_fresh(void **state)
{
    (void)state;
    return unshare(CLONE_NEWNET);
}

static char *value_of(const struct setting *setting)
{
    struct tw_error error = {0};
    char *value = NULL;

    if (sysctl_read(setting, &value, &error))
        fail_msg("%s", error.text);
    return value;
}

static void check_value(const char *name, const char *expected)
{
    char *value = value_of(named(name));

    assert_string_equal(value, expected);
    free(value);
}

static void write_value(const char *name, const char *value)
{
    struct tw_error error = {0};

    if (sysctl_write(named(name), value, &error))
        fail_msg("%s", error.text);
}

/* Refused with this error and these words; what it was it still is. */
static void expect_refused(const char *name, const char *value, int rc, const char *words)
{
    struct tw_error error = {0};
    char *before = value_of(named(name));

    assert_int_equal(sysctl_write(named(name), value, &error), rc);
    if (!strstr(error.text, words) || !strstr(error.text, name))
        fail_msg("%s: no '%s' in: %s", name, words, error.text);
    check_value(name, before);
    free(before);
}

static bool is_here(const struct setting *setting)
{
    struct tw_error error = {0};
    char *value = NULL;
    int rc = sysctl_read(setting, &value, &error);

    free(value);
    if (rc == -ENOENT)
        print_message("not here: %s\n", error.text);
    else if (rc)
        fail_msg("%s", error.text);
    return rc == 0;
}

/* --- the table and the kernel ----------------------------------------------------------------- */

static bool kernel_is_at_least(unsigned major, unsigned minor)
{
    unsigned at_major = 0, at_minor = 0;
    struct utsname kernel;

    /* NOLINTNEXTLINE(cert-err34-c): no number in a release is too large */
    assert_true(uname(&kernel) == 0 && sscanf(kernel.release, "%u.%u", &at_major, &at_minor) == 2);
    return at_major > major || (at_major == major && at_minor >= minor);
}

/* Those without a default in the table depend on memory (buckets, backlog of SYNs, conntrack), or
 * come from the first namespace (tcp_rmem, tcp_wmem). */
static void test_defaults(void **state)
{
    size_t compared = 0;

    (void)state;
    for (const struct setting *setting = settings; setting->name; setting++) {
        char *value;

        if (!setting->per_netns || !setting->preset || !is_here(setting))
            continue;
        value = value_of(setting);
        if (!setting_equal(setting, value, setting->preset))
            fail_msg("%s is %s in a new namespace, not %s", setting->name, value, setting->preset);
        free(value);
        compared++;
    }
    assert_true(compared >= 15);
}

/* What belongs to the namespace can be written there; the rest is the host's, or hidden. */
static void test_whose_it_is(void **state)
{
    (void)state;
    for (const struct setting *setting = settings; setting->name; setting++) {
        struct tw_error error = {0};
        int rc;

        if (strncmp(setting->name, "net.", 4) != 0 || (setting->per_netns && !is_here(setting)))
            continue;
        rc = sysctl_writable(setting, &error);
        if (setting->per_netns ? rc != 0 : rc != -ENOENT && rc != -EACCES && rc != -EPERM)
            fail_msg("%s: %d: %s", setting->name, rc, error.text);
    }
}

static bool is_taken(const struct setting *setting, int64_t number)
{
    char text[96], *value;
    bool equal;
    int rc;

    if (setting->kind == SETTING_NUMBERS)
        snprintf(text, sizeof(text), "%lld %lld %lld", (long long)number, (long long)number,
                 (long long)number);
    else
        snprintf(text, sizeof(text), "%lld", (long long)number);
    rc = sysctl_write(setting, text, NULL);
    if (rc == -EINVAL)
        return false;
    assert_int_equal(rc, 0);
    value = value_of(setting);
    equal = setting_equal(setting, value, text);
    if (!equal)
        fail_msg("%s: wrote %s, reads %s", setting->name, text, value);
    free(value);
    return equal;
}

/* The kernel takes any int here, though less than none means nothing. */
static bool takes_negative(const struct setting *setting)
{
    static const char *const names[] = {"tcp_max_tw_buckets", "tcp_max_syn_backlog",
                                        "tcp_fastopen"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (setting == named(names[i]))
            return true;
    return strcmp(setting->unit, "s") == 0;
}

static void check_bounds(const struct setting *setting)
{
    /* Times are kept in ticks: how many seconds go into an int depends on their length. */
    int64_t beyond = strcmp(setting->unit, "s") == 0 ? (int64_t)INT32_MAX + 1 : setting->max + 1;
    char *before = value_of(setting);

    if (!is_taken(setting, setting->min))
        fail_msg("%s: the least, %lld, is refused", setting->name, (long long)setting->min);
    if (!is_taken(setting, setting->max))
        fail_msg("%s: the most, %lld, is refused", setting->name, (long long)setting->max);
    /* Older kernels check less. */
    if (kernel_is_at_least(6, 18)) {
        if (!takes_negative(setting) && is_taken(setting, setting->min - 1))
            fail_msg("%s: less than %lld is taken", setting->name, (long long)setting->min);
        if (is_taken(setting, beyond))
            fail_msg("%s: %lld is taken", setting->name, (long long)beyond);
    }
    assert_int_equal(sysctl_write(setting, before, NULL), 0);
    free(before);
}

static void test_bounds(void **state)
{
    size_t tried = 0;

    (void)state;
    /* It may not be above the first port of the range. */
    write_value(RANGE, "65535 65535");
    for (const struct setting *setting = settings; setting->name; setting++)
        if (setting->per_netns && is_here(setting) &&
            (setting->kind == SETTING_NUMBER || setting->kind == SETTING_NUMBERS)) {
            check_bounds(setting);
            tried++;
        }
    assert_true(tried >= 15);
}

static void test_bounds_of_ports(void **state)
{
    (void)state;
    expect_refused(RANGE, "1 65535", -EINVAL, "'1 65535'");
    write_value(PRIV_PORT, "0");
    write_value(RANGE, "1 65535");
    check_value(RANGE, "1\t65535");
    write_value(RANGE, "65535 65535");
    expect_refused(RANGE, "0 65535", -EINVAL, "'0'");
    expect_refused(RANGE, "1 65536", -EINVAL, "'65536'");
    expect_refused(RANGE, "40000 39999", -EINVAL, "'40000 39999'");
    write_value(RESERVED, "0-65535");
    check_value(RESERVED, "0-65535");
    expect_refused(RESERVED, "65536", -EINVAL, "'65536'");
}

/* --- reading and writing ---------------------------------------------------------------------- */

static void test_exact_value(void **state)
{
    (void)state;
    check_value(RANGE, "32768\t60999");
    write_value(RANGE, "40000 40009");
    check_value(RANGE, "40000\t40009");
    check_value(RESERVED, "");
    write_value(RESERVED, "80,81,82,9000");
    check_value(RESERVED, "80-82,9000");
    write_value(RESERVED, "");
    check_value(RESERVED, "");
    /* The kernel would take the beginning of these. */
    expect_refused(RANGE, "50000 50009 7", -EINVAL, "'50000 50009 7'");
    expect_refused(TIMEOUT, "5 6", -EINVAL, "'5 6'");
    expect_refused("net.ipv4.tcp_rmem", "5000", -EINVAL, "'5000'");
    /* Out of the table's bounds, but what the kernel had is put back. */
    write_value("net.ipv4.tcp_max_tw_buckets", "-5");
    check_value("net.ipv4.tcp_max_tw_buckets", "-5");
    expect_refused(TIMEOUT, "", -EINVAL, "refuses ''");
    expect_refused(TIMEOUT, "soon", -EINVAL, "refuses 'soon'");
}

/* As long as a list can be: the kernel takes it by pages, and gives it in one read only. */
static void test_longest_list(void **state)
{
    char *list = malloc(SYSCTL_VALUE_MAX), *bad = malloc(SYSCTL_VALUE_MAX);
    size_t len = 0;

    (void)state;
    assert_true(list && bad);
    for (unsigned port = 1; port < 65536; port += 2)
        len += (size_t)snprintf(list + len, SYSCTL_VALUE_MAX - len, "%s%u", len ? "," : "", port);
    assert_true(len > 100000);
    write_value(RESERVED, list);
    check_value(RESERVED, list);
    /* Wrong at its end, when much of it would be in force. */
    snprintf(bad, SYSCTL_VALUE_MAX, "%s,65536", list);
    write_value(RESERVED, "8080");
    expect_refused(RESERVED, bad, -EINVAL, "65536");
    free(list);
    free(bad);
}

static void test_limit(void **state)
{
    const struct setting *limit = named("limit.nofile");
    struct rlimit files, lower;
    struct tw_error error = {0};
    char expected[64];

    (void)state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
    lower = (struct rlimit){files.rlim_max > 300 ? 300 : files.rlim_max - 1, files.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &lower), 0);
    snprintf(expected, sizeof(expected), "%llu %llu", (unsigned long long)lower.rlim_cur,
             (unsigned long long)lower.rlim_max);
    check_value("limit.nofile", expected);
    assert_int_equal(sysctl_write(limit, "500 500", &error), -EOPNOTSUPP);
    assert_non_null(strstr(error.text, "LimitNOFILE="));
    assert_int_equal(sysctl_writable(limit, NULL), -EOPNOTSUPP);
    check_value("limit.nofile", expected);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &files), 0);
}

/* Writes in a network of its own; its argument when something went wrong. */
static void *elsewhere(void *context)
{
    char *value = NULL;
    bool well = unshare(CLONE_NEWNET) == 0 && sysctl_write(named(TIMEOUT), "33", NULL) == 0 &&
                sysctl_read(named(TIMEOUT), &value, NULL) == 0 && strcmp(value, "33") == 0;

    free(value);
    return well ? NULL : context;
}

static void test_namespace_of_thread(void **state)
{
    static char name[] = "elsewhere";
    pthread_t thread;
    void *wrong;

    (void)state;
    write_value(TIMEOUT, "44");
    assert_int_equal(pthread_create(&thread, NULL, elsewhere, name), 0);
    assert_int_equal(pthread_join(thread, &wrong), 0);
    assert_null(wrong);
    check_value(TIMEOUT, "44");
}

/* --- what is refused -------------------------------------------------------------------------- */

static void test_read_only(void **state)
{
    const char *sys = "/proc/sys";
    struct tw_error error = {0};

    (void)state;
    need(mount(sys, sys, NULL, MS_BIND, NULL) == 0, "no bind mount may be made here");
    if (mount(NULL, sys, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL)) {
        umount2(sys, MNT_DETACH);
        need(false, "no mount may be made read-only here");
    }
    expect_refused(TIMEOUT, "30", -EROFS, "read-only");
    expect_refused(RESERVED, "80", -EROFS, "read-only");
    assert_int_equal(sysctl_writable(named(TIMEOUT), &error), -EROFS);
    assert_int_equal(umount2(sys, MNT_DETACH), 0);
    assert_int_equal(sysctl_writable(named(TIMEOUT), NULL), 0);
}

/* An old kernel, as far as can be seen: nothing where the settings should be. */
static void expect_missing(const char *folder, const char *name, const char *words)
{
    struct tw_error read_error = {0}, write_error = {0}, ask_error = {0};
    char *value = NULL;
    int rc[3];

    need(mount("none", folder, "tmpfs", 0, NULL) == 0, "no tmpfs may be mounted here");
    rc[0] = sysctl_read(named(name), &value, &read_error);
    rc[1] = sysctl_write(named(name), "1", &write_error);
    rc[2] = sysctl_writable(named(name), &ask_error);
    assert_int_equal(umount2(folder, MNT_DETACH), 0);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(rc[i], -ENOENT);
    assert_null(value);
    assert_non_null(strstr(read_error.text, words));
    assert_string_equal(write_error.text, read_error.text);
    assert_string_equal(ask_error.text, read_error.text);
}

static void test_missing(void **state)
{
    (void)state;
    expect_missing("/proc/sys/net", "net.ipv4.tcp_tw_reuse_delay", "came with Linux 6.14");
    expect_missing("/proc/sys/net", "net.netfilter.nf_conntrack_max", "the host alone");
    expect_missing("/proc", "net.ipv4.tcp_tw_reuse", "is /proc mounted?");
    expect_missing("/proc", "fs.file-max", "is /proc mounted?");
}

static void test_host_only(void **state)
{
    const struct setting *setting = named("net.core.rmem_max");
    struct tw_error error = {0};
    int rc = sysctl_writable(setting, &error);

    (void)state;
    need(rc != -ENOENT, "this kernel hides what is the host's in other network namespaces");
    assert_true(rc == -EACCES || rc == -EPERM);
    assert_non_null(strstr(error.text, "nobody may change it here"));
    assert_int_equal(sysctl_write(setting, "4194304", NULL), rc);
}

/* 0 when somebody without rights is refused, and told so. */
static int refused_to_nobody(void)
{
    struct tw_error error = {0};
    int rc;

    if (setresuid(65534, 65534, 65534))
        return 1;
    rc = sysctl_write(named(TIMEOUT), "30", &error);
    if ((rc != -EACCES && rc != -EPERM) || sysctl_writable(named(TIMEOUT), NULL) != rc)
        return 2;
    if (!strstr(error.text, TIMEOUT) || !strstr(error.text, "CAP_NET_ADMIN"))
        return 3;
    return 0;
}

static void test_unprivileged(void **state)
{
    int status;
    pid_t child;

    (void)state;
    /* In a user namespace of one user nobody else can be; the host's settings serve as well. */
    if (foreign_rc) {
        assert_true(foreign_rc == -EACCES || foreign_rc == -EPERM);
        return;
    }
    child = fork();
    assert_true(child >= 0);
    if (child == 0)
        _exit(refused_to_nobody());
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    check_value(TIMEOUT, "60");
}

#define fresh_test(name) cmocka_unit_test_setup(name, make_fresh)

int main(void)
{
    const struct CMUnitTest tests[] = {
        fresh_test(test_defaults),    fresh_test(test_whose_it_is),
        fresh_test(test_bounds),      fresh_test(test_bounds_of_ports),
        fresh_test(test_exact_value), fresh_test(test_longest_list),
        fresh_test(test_limit),       fresh_test(test_namespace_of_thread),
        fresh_test(test_read_only),   fresh_test(test_missing),
        fresh_test(test_host_only),   fresh_test(test_unprivileged),
    };
    int rc;

    if (geteuid() != 0)
        foreign_rc = sysctl_writable(named(TIMEOUT), NULL);
    rc = enter_private_network();
    return rc ? rc : cmocka_run_group_tests(tests, NULL, NULL);
}
