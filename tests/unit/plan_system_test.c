/* The systems and gateways of plan.h: their documented figures, their names, a host's own limits.
 */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "plan.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#define assert_same(a, b) assert_true(isinf(b) ? isinf(a) : fabs((a) - (b)) < 1e-9)

static void test_systems(void **state)
{
    static const struct {
        const char *name;
        double first, last, time_wait_s;
        bool shared, takeover;
    } rows[] = {
        {"linux", 32768, 60999, PLAN_TIME_WAIT_S, true, true},
        {"linux-4.1", 32768, 61000, 60, true, true},
        {"windows", 49152, 65535, 240, false, false},
        {"windows-2003", 1025, 5000, 120, false, false},
        {"windows-xp", 1025, 5000, 240, false, false},
        {"freebsd", 10000, 65535, 60, true, false},
        {"macos", 49152, 65535, 30, false, false},
    };
    struct tw_error error = {0};
    struct plan_system system;

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        assert_int_equal(plan_system_named(rows[i].name, &system, &error), 0);
        assert_same(system.ports, rows[i].last - rows[i].first + 1);
        assert_same(system.time_wait_s, rows[i].time_wait_s);
        assert_int_equal(system.ports_shared, rows[i].shared);
        assert_int_equal(system.takeover, rows[i].takeover);
        assert_string_equal(plan_system_at(i)->name, rows[i].name);
    }
    assert_null(plan_system_at(COUNT(rows)));
    assert_null(plan_system_at(SIZE_MAX));
    assert_int_equal(plan_system_named("solaris\n", &system, &error), -EINVAL);
    for (size_t i = 0; i < COUNT(rows); i++)
        assert_non_null(strstr(error.text, rows[i].name));
}

/* Whatever is added to the table. */
static void test_system_sane(void **state)
{
    const struct plan_system *system;

    (void)state;
    for (size_t i = 0; (system = plan_system_at(i)); i++) {
        assert_true(system->ports > 0 && system->ports <= system->ports_possible);
        assert_true(system->ports_possible <= 64512);
        assert_same(system->ports_lost, 0.0);
        assert_non_null(system->ports_setting);
        assert_true(system->time_wait_s > 0 && isfinite(system->time_wait_s));
        assert_int_equal(system->time_wait_possible_s > 0, system->time_wait_setting != NULL);
        assert_true(system->time_wait_possible_s < system->time_wait_s);
        assert_true(system->reuse_possible_s <= system->reuse_s);
        assert_true(system->files > 0 && system->time_waits > 0 && system->accept_queue > 0);
        assert_true(isinf(system->conntrack));
        assert_same(system->conntrack_close_s, 120.0);
        assert_same(system->conntrack_reset_s, 10.0);
        /* Whole, not cut off by its array. */
        assert_true(memchr(system->note, 0, sizeof(system->note)) != NULL);
        assert_true(strlen(system->note) > 40);
    }
}

static void test_gateways(void **state)
{
    static const struct {
        const char *name;
        double ports, hold_s, hold_reset_s;
    } rows[] = {
        {"aws", 55000, 60, 60},      {"gcp", 64, 120, 120},     {"azure", 50000, 65, 16},
        {"azure-lb", 1024, 240, 15}, {"linux", 64512, 120, 10},
    };
    struct plan_nat nat;

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        assert_int_equal(plan_nat_named(rows[i].name, &nat, NULL), 0);
        assert_string_equal(nat.name, rows[i].name);
        assert_string_equal(plan_nat_at(i)->name, rows[i].name);
        assert_same(nat.ports, rows[i].ports);
        assert_same(nat.hold_s, rows[i].hold_s);
        assert_same(nat.hold_reset_s, rows[i].hold_reset_s);
        assert_true(memchr(nat.note, 0, sizeof(nat.note)) != NULL);
        assert_true(strlen(nat.note) > 40);
    }
    assert_null(plan_nat_at(COUNT(rows)));
}

static void test_gateway_text(void **state)
{
    static const struct {
        const char *text;
        int rc;
        double ports, hold_s;
        const char *says;
    } rows[] = {
        {"ports=55000", 0, 55000, 0, NULL},
        {"ports=1", 0, 1, 0, NULL},
        {"ports=55000,hold=120s", 0, 55000, 120, NULL},
        {"hold=1.5s,ports=64", 0, 64, 1.5, NULL},
        {"ports=0", -ERANGE, 0, 0, "'0'"},
        {"ports=", -EINVAL, 0, 0, "missing"},
        {"ports=many", -EINVAL, 0, 0, "'many'"},
        {"ports=-1", -EINVAL, 0, 0, "'-1'"},
        {"ports=100000001", -ERANGE, 0, 0, "'100000001'"},
        {"hold=120s", -EINVAL, 0, 0, "ports=N"},
        {"ports=5,hold=120", -EINVAL, 0, 0, "'120'"},
        {"ports=5,hold=", -EINVAL, 0, 0, "''"},
        {"ports=5,", -EINVAL, 0, 0, "''"},
        {"ports=5,colour=red", -EINVAL, 0, 0, "'colour'"},
        {"=", -EINVAL, 0, 0, "''"},
        {"oracle", -EINVAL, 0, 0, "aws, gcp, azure, azure-lb, linux and ports=N"},
        {"", -EINVAL, 0, 0, "''"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct plan_nat nat = {.name = "untouched"};
        struct tw_error error = {0};

        if (plan_nat_named(rows[i].text, &nat, &error) != rows[i].rc)
            fail_msg("'%s': %s", rows[i].text, error.text);
        if (rows[i].rc) {
            if (!strstr(error.text, rows[i].says))
                fail_msg("'%s': '%s' lacks %s", rows[i].text, error.text, rows[i].says);
            assert_string_equal(nat.name, "untouched");
            continue;
        }
        assert_same(nat.ports, rows[i].ports);
        assert_same(nat.hold_s, rows[i].hold_s);
        assert_same(nat.hold_reset_s, rows[i].hold_s);
    }
}

static struct tw_limits usual_limits(void)
{
    struct tw_limits limits = {
        .port_first = 32768,
        .port_last = 60999,
        .tw_reuse = 2,
        .timestamps = 1,
        .max_tw_buckets = 131072,
        .tw_reuse_delay_ms = 250,
        .conntrack_count = 36,
        .conntrack_max = 65536,
        .somaxconn = 4096,
        .files_soft = 1024,
        .files_hard = 524288,
    };

    tw_ports_add_range(&limits.reserved, (struct tw_port_range){40000, 40099});
    tw_ports_add_range(&limits.reserved, (struct tw_port_range){8080, 8080});
    return limits;
}

static void test_limits(void **state)
{
    struct tw_limits limits = usual_limits();
    struct plan_system system;

    (void)state;
    plan_system_of_limits(&limits, false, &system);
    assert_same(system.ports, 28232.0 - 100);
    assert_same(system.ports_possible, 64512.0 - 101);
    assert_same(system.ports_lost, 0.0);
    assert_true(system.ports_shared && system.halves && system.takeover);
    assert_same(system.time_wait_s, PLAN_TIME_WAIT_S);
    assert_same(system.time_wait_possible_s, 0.0);
    assert_same(system.time_waits, 131072.0);
    assert_same(system.files, 524288.0);
    assert_same(system.conntrack, 65500.0);
    assert_same(system.accept_queue, 4096.0);
    assert_string_equal(system.note, "");
}

static void test_limits_reuse(void **state)
{
    static const struct {
        int64_t tw_reuse, timestamps;
        bool loopback;
        double reuse_s, possible_s;
        bool takeover;
    } rows[] = {
        {0, 1, true, INFINITY, 0.25, true},
        {0, 0, true, INFINITY, INFINITY, false},
        {1, 1, false, 0.25, 0.25, true},
        {1, 0, false, INFINITY, INFINITY, false},
        {1, 2, false, 0.25, 0.25, true},
        {2, 1, false, INFINITY, 0.25, true},
        {2, 1, true, 0.25, 0.25, true},
        {2, 0, true, INFINITY, INFINITY, false},
        {TW_LIMIT_UNKNOWN, 1, true, INFINITY, 0.25, true},
        {1, TW_LIMIT_UNKNOWN, true, INFINITY, INFINITY, false},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct tw_limits limits = usual_limits();
        struct plan_system system;

        limits.tw_reuse = rows[i].tw_reuse;
        limits.timestamps = rows[i].timestamps;
        plan_system_of_limits(&limits, rows[i].loopback, &system);
        assert_same(system.reuse_s, rows[i].reuse_s);
        assert_same(system.reuse_possible_s, rows[i].possible_s);
        assert_int_equal(system.takeover, rows[i].takeover);
        assert_int_equal(strstr(system.note, "tcp_tw_reuse") != NULL, rows[i].tw_reuse < 0);
        assert_int_equal(strstr(system.note, "tcp_timestamps") != NULL, rows[i].timestamps < 0);
    }
}

/* What cannot be read does not limit. */
static void test_limits_unknown(void **state)
{
    struct tw_limits limits = {
        .tw_reuse = TW_LIMIT_UNKNOWN,
        .timestamps = TW_LIMIT_UNKNOWN,
        .max_tw_buckets = TW_LIMIT_UNKNOWN,
        .tw_reuse_delay_ms = TW_LIMIT_UNKNOWN,
        .conntrack_count = TW_LIMIT_UNKNOWN,
        .conntrack_max = TW_LIMIT_UNKNOWN,
        .somaxconn = TW_LIMIT_UNKNOWN,
        .files_hard = TW_LIMIT_UNKNOWN,
    };
    struct plan_system system;

    (void)state;
    plan_system_of_limits(&limits, true, &system);
    assert_true(isinf(system.ports) && isinf(system.time_waits) && isinf(system.files));
    assert_true(isinf(system.conntrack) && isinf(system.accept_queue) && isinf(system.reuse_s));
    assert_string_equal(system.note, "ip_local_port_range cannot be read; "
                                     "tcp_tw_reuse cannot be read: taken for 0; "
                                     "tcp_timestamps cannot be read: taken for off");
    limits = usual_limits();
    limits.tw_reuse_delay_ms = TW_LIMIT_UNKNOWN; /* a kernel without the setting */
    limits.conntrack_count = 70000;              /* its maximum was lowered */
    plan_system_of_limits(&limits, true, &system);
    assert_same(system.reuse_s, 1.0);
    assert_same(system.conntrack, 0.0);
    limits.conntrack_count = 0; /* loaded, but nobody asked it to track */
    plan_system_of_limits(&limits, true, &system);
    assert_true(isinf(system.conntrack));
    assert_non_null(strstr(system.note, "conntrack"));
    limits.conntrack_count = TW_LIMIT_UNKNOWN; /* told of another host */
    plan_system_of_limits(&limits, true, &system);
    assert_same(system.conntrack, 65536.0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_systems),        cmocka_unit_test(test_system_sane),
        cmocka_unit_test(test_gateways),       cmocka_unit_test(test_gateway_text),
        cmocka_unit_test(test_limits),         cmocka_unit_test(test_limits_reuse),
        cmocka_unit_test(test_limits_unknown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
