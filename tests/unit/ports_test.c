/* Samples for the sets of ports.h. */
#include "guard.h"

#include "tidewait/ports.h"

/* Prints the set as ranges. */
static void print_set(const struct tw_ports *set, char out[SAMPLE_TEXT_MAX])
{
    size_t len = 0;

    out[0] = 0;
    for (unsigned first = 0; first < 65536 && len < SAMPLE_TEXT_MAX - 16; first++) {
        unsigned last = first;

        if (!tw_ports_has(set, (uint16_t)first))
            continue;
        while (last < 65535 && tw_ports_has(set, (uint16_t)(last + 1)))
            last++;
        len += (size_t)snprintf(out + len, SAMPLE_TEXT_MAX - len, "%s%u-%u", len ? "," : "", first,
                                last);
        first = last;
    }
}

/* Adds to a set that has port 7. */
static int list(struct tw_view text, char out[SAMPLE_TEXT_MAX], struct tw_error *error)
{
    struct tw_ports set = {0};
    int rc;

    tw_ports_add(&set, 7);
    rc = tw_ports_parse(text, &set, error);
    print_set(&set, out);
    return rc;
}

static void test_parse(void **state)
{
    static const struct sample samples[] = {
        {SAMPLE(""), "7-7", 0},
        {SAMPLE("3000"), "7-7,3000-3000", 0},
        {SAMPLE("3000-30000,40000:41000,50000"), "7-7,3000-30000,40000-41000,50000-50000", 0},
        {SAMPLE("8080,9148"), "7-7,8080-8080,9148-9148", 0},
        {SAMPLE("1-65535"), "1-65535", 0},
        {SAMPLE("65535"), "7-7,65535-65535", 0},
        {SAMPLE("10-20,15-30"), "7-7,10-30", 0},
        {SAMPLE("8,6,7"), "6-8", 0},
        {SAMPLE("70000"), "'70000'", -ERANGE},
        {SAMPLE("80,70000"), "'70000'", -ERANGE},
        {SAMPLE("80,0"), "'0'", -ERANGE},
        {SAMPLE("80,90-85"), "'90-85'", -EINVAL},
        {SAMPLE("80,"), "''", -EINVAL},
        {SAMPLE(",80"), "''", -EINVAL},
        {SAMPLE(","), "''", -EINVAL},
        {SAMPLE("80,,81"), "''", -EINVAL},
        {SAMPLE("80, 81"), "' 81'", -EINVAL},
        {SAMPLE("80;81"), "'80;81'", -EINVAL},
        {SAMPLE("80\n"), "'80\\x0a'", -EINVAL},
        {SAMPLE("http"), "'http'", -EINVAL},
    };

    (void)state;
    SAMPLE_RUN(samples, list, "7-7");
}

static void test_one_by_one(void **state)
{
    static const uint16_t ports[] = {0, 1, 63, 64, 65, 32767, 32768, 65534, 65535};
    enum { COUNT = sizeof(ports) / sizeof(ports[0]) };
    struct tw_ports set = {0};
    uint16_t listed[COUNT];

    (void)state;
    assert_int_equal(tw_ports_count(&set), 0);
    for (size_t i = COUNT; i-- > 0;) {
        assert_false(tw_ports_has(&set, ports[i]));
        tw_ports_add(&set, ports[i]);
        tw_ports_add(&set, ports[i]);
        assert_true(tw_ports_has(&set, ports[i]));
        assert_int_equal(tw_ports_count(&set), COUNT - i);
    }
    tw_ports_list(&set, listed);
    assert_memory_equal(listed, ports, sizeof(ports));
    for (size_t i = 0; i < COUNT; i++) {
        tw_ports_remove(&set, ports[i]);
        tw_ports_remove(&set, ports[i]);
        assert_false(tw_ports_has(&set, ports[i]));
        assert_int_equal(tw_ports_count(&set), COUNT - i - 1);
    }
}

static void test_ranges(void **state)
{
    static const struct {
        struct tw_port_range range;
        size_t count;
    } rows[] = {
        {{0, 65535}, 65536}, {{1, 65535}, 65535}, {{65535, 65535}, 1}, {{0, 0}, 1},
        {{63, 64}, 2},       {{64, 127}, 64},     {{100, 99}, 0},      {{32768, 60999}, 28232},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct tw_ports set = {0};

        tw_ports_add_range(&set, rows[i].range);
        assert_int_equal(tw_ports_count(&set), rows[i].count);
        for (unsigned port = 0; port < 65536; port++)
            assert_int_equal(tw_ports_has(&set, (uint16_t)port),
                             port >= rows[i].range.first && port <= rows[i].range.last);
    }
}

static void test_remove_all(void **state)
{
    struct tw_ports set = {0}, others = {0};
    char text[SAMPLE_TEXT_MAX];

    (void)state;
    tw_ports_add_range(&set, (struct tw_port_range){100, 200});
    tw_ports_remove_all(&set, &others);
    assert_int_equal(tw_ports_count(&set), 101);
    tw_ports_add_range(&others, (struct tw_port_range){150, 300});
    tw_ports_remove_all(&set, &others);
    print_set(&set, text);
    assert_string_equal(text, "100-149");
    tw_ports_remove_all(&set, &set);
    assert_int_equal(tw_ports_count(&set), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_one_by_one),
        cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_remove_all),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
