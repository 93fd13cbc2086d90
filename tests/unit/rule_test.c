/* The rules of `exec`: what each line means, written out in full; what is wrong with others; every
 * prefix of each stands before a page without access. */
#include "guard.h"

#include <arpa/inet.h>
#include <stdlib.h>

#include "exec_rules.h"

/* As `exec` makes them without options, and with all of them. */
static const struct rule_presets bare = {
    .out = {.managed = true, .late = true},
    .in = {.reuseaddr = true},
};
static const struct rule_presets full = {
    .out = {.managed = true, .late = true, .wait_ns = 1000},
    .in = {.reuseaddr = true, .reuseport = true, .free_bind = true, .wait_ns = 1000},
    .in_udp = {.free_bind = true, .wait_ns = 1000},
};
static const struct rule_presets none;
static const struct rule_presets *presets = &bare;

static char *add(char *at, const char *format, ...)
{
    va_list args;
    size_t len = strlen(at);

    va_start(args, format);
    vsnprintf(at + len, SAMPLE_TEXT_MAX - len, format, args);
    va_end(args);
    return at;
}

static void add_address(char *out, const char *what, uint8_t family, const uint8_t *bytes)
{
    char text[INET6_ADDRSTRLEN];

    if (family)
        add(out, "%s%s", what, inet_ntop(family, bytes, text, sizeof(text)));
}

/* "out tcp 10.0.0.0-10.255.255.255:5432 managed late" */
static int parse(struct tw_view text, char out[SAMPLE_TEXT_MAX], struct tw_error *error)
{
    struct shim_rule rule, untouched;
    int rc;

    memset(&rule, 0x5a, sizeof(rule));
    memset(&untouched, 0x5a, sizeof(untouched));
    rc = rule_parse(text, presets, &rule, error);
    snprintf(out, SAMPLE_TEXT_MAX, "untouched");
    if (rc) {
        assert_memory_equal(&rule, &untouched, sizeof(rule));
        /* The tables know EINVAL and ERANGE; nothing at all is a case of its own. */
        if (rc == -ENOENT && error)
            error->code = EINVAL;
        return rc == -ENOENT ? -EINVAL : rc;
    }
    snprintf(out, SAMPLE_TEXT_MAX, "%s %s", rule.direction == RULE_IN ? "in" : "out",
             rule.protocol == IPPROTO_TCP ? "tcp" : "udp");
    add_address(out, " ", rule.family, rule.first);
    add_address(out, "-", rule.family, rule.last);
    if (rule.port_first)
        add(out, " :%u-%u", rule.port_first, rule.port_last);
    if (rule.leave)
        add(out, " leave");
    add(out, "%s%s%s%s%s", rule.managed ? " managed" : "", rule.late ? " late" : "",
        rule.reuseaddr ? " reuseaddr" : "", rule.reuseport ? " reuseport" : "",
        rule.free_bind ? " free-bind" : "");
    add_address(out, " from ", rule.from_family, rule.from_first);
    if (rule.from_count)
        add(out, "+%u", rule.from_count);
    if (rule.source_first)
        add(out, " ports %u-%u", rule.source_first, rule.source_last);
    add_address(out, " listen ", rule.listen_family, rule.listen_address);
    if (rule.listen_port)
        add(out, " listen-port %u", rule.listen_port);
    if (rule.wait_ns)
        add(out, " wait %llu", (unsigned long long)rule.wait_ns);
    return 0;
}

static void test_meaning(void **state)
{
    static const struct sample samples[] = {
        {SAMPLE("out to 10.0.0.0/8:5432 : from 10.1.0.1-10.1.0.9, ports 20000-40000"),
         "out tcp 10.0.0.0-10.255.255.255 :5432-5432 managed late from 10.1.0.1+9 ports "
         "20000-40000",
         0},
        {SAMPLE("out to :443            : leave"), "out tcp :443-443 leave", 0},
        {SAMPLE("in 0.0.0.0:8080 : listen 127.0.0.1:9090, reuseport, wait 30s"),
         "in tcp 0.0.0.0-0.0.0.0 :8080-8080 reuseaddr reuseport listen 127.0.0.1 listen-port 9090 "
         "wait 30000000000",
         0},
        {SAMPLE("in udp :53 : leave"), "in udp :53-53 leave", 0},
        {SAMPLE("in 8080: listen 9090"), "in tcp :8080-8080 reuseaddr listen-port 9090", 0},
        {SAMPLE("in : leave"), "in tcp leave", 0},
        {SAMPLE("out : no-manage"), "out tcp late", 0},
        {SAMPLE("out : manage, no-late"), "out tcp managed", 0},
        {SAMPLE("in tcp * : no-reuseaddr"), "in tcp", 0},
        {SAMPLE("in *:80-90 : reuseport"), "in tcp :80-90 reuseaddr reuseport", 0},
        {SAMPLE("in udp : reuseport,free-bind"), "in udp reuseport free-bind", 0},
        {SAMPLE("in udp : reuseaddr"), "in udp reuseaddr", 0},
        {SAMPLE("\t in\t80 :\twait  1.5s , reuseport \t# and why"),
         "in tcp :80-80 reuseaddr reuseport wait 1500000000", 0},
        {SAMPLE("in 80 : leave\r"), "in tcp :80-80 leave", 0},
        {SAMPLE("in [::1]:80 : listen [::]:81"),
         "in tcp ::1-::1 :80-80 reuseaddr listen :: listen-port 81", 0},
        {SAMPLE("in ::1 : listen ::2"), "in tcp ::1-::1 reuseaddr listen ::2", 0},
        {SAMPLE("in ::: leave"), "in tcp ::-:: leave", 0},
        {SAMPLE("in :: : leave"), "in tcp ::-:: leave", 0},
        {SAMPLE("out to [fd00::/8]:443 : leave"),
         "out tcp fd00::-fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff :443-443 leave", 0},
        {SAMPLE("out to fd00::1-fd00::9 : leave"), "out tcp fd00::1-fd00::9 leave", 0},
        {SAMPLE("out to [::ffff:10.0.0.1]:80 : leave"), "out tcp 10.0.0.1-10.0.0.1 :80-80 leave",
         0},
        {SAMPLE("out to 10.0.0.1-10.0.0.9:1-65535 : leave"),
         "out tcp 10.0.0.1-10.0.0.9 :1-65535 leave", 0},
        {SAMPLE("out to 0.0.0.0/0 : leave"), "out tcp 0.0.0.0-255.255.255.255 leave", 0},
        {SAMPLE("out to 10.1.2.3/13 : leave"), "out tcp 10.0.0.0-10.7.255.255 leave", 0},
        {SAMPLE("out to 10.1.2.3/32 : leave"), "out tcp 10.1.2.3-10.1.2.3 leave", 0},
        /* The source says which destinations. */
        {SAMPLE("out to :80 : from 10.0.0.0/30"),
         "out tcp 0.0.0.0-255.255.255.255 :80-80 managed late from 10.0.0.1+2", 0},
        {SAMPLE("out : from fd00::1-fd00::3"),
         "out tcp ::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff managed late from fd00::1+3", 0},
        {SAMPLE("in 80 : listen 10.0.0.1"), "in tcp :80-80 reuseaddr listen 10.0.0.1", 0},
        {SAMPLE("in 80 : listen :81"), "in tcp :80-80 reuseaddr listen-port 81", 0},
    };

    (void)state;
    presets = &bare;
    SAMPLE_RUN(samples, parse, "untouched");
}

/* What the options of the command line say holds where a rule says nothing else. */
static void test_presets(void **state)
{
    static const struct sample all[] = {
        {SAMPLE("out : ports 5-6"), "out tcp managed late ports 5-6 wait 1000", 0},
        {SAMPLE("out : wait 0"), "out tcp managed late", 0},
        {SAMPLE("in : no-free-bind"), "in tcp reuseaddr reuseport wait 1000", 0},
        {SAMPLE("in udp : reuseport"), "in udp reuseport free-bind wait 1000", 0},
        {SAMPLE("in : leave"), "in tcp leave", 0},
        {SAMPLE("out udp : leave"), "out udp leave", 0},
    };
    static const struct sample nothing[] = {
        {SAMPLE("out : manage, ports 5"), "out tcp managed ports 5-5", 0},
        {SAMPLE("in : reuseaddr"), "in tcp reuseaddr", 0},
        {SAMPLE("out : ports 5-6"), "'ports' needs 'manage'", -EINVAL},
        {SAMPLE("out : from 10.0.0.1"), "'from' needs 'manage'", -EINVAL},
    };

    (void)state;
    presets = &full;
    SAMPLE_RUN(all, parse, "untouched");
    presets = &none;
    SAMPLE_RUN(nothing, parse, "untouched");
    presets = &bare;
}

static void test_mistakes(void **state)
{
    static const struct sample samples[] = {
        {SAMPLE(""), "no rule", -EINVAL},
        {SAMPLE("   # only why"), "no rule", -EINVAL},
        {SAMPLE("both : leave"), "'both : leave'", -EINVAL},
        {SAMPLE("inn 80 : leave"), "'inn 80 : leave'", -EINVAL},
        {SAMPLE("in 80"), "'80' has no ':'", -EINVAL},
        {SAMPLE("in 80 leave"), "has no ':'", -EINVAL},
        {SAMPLE("in :80"), "has no ':'", -EINVAL},
        {SAMPLE("in 80 :"), "nothing to do", -EINVAL},
        {SAMPLE("in 80 : # leave"), "nothing to do", -EINVAL},
        {SAMPLE("in 80 81 : leave"), "'81' is too much", -EINVAL},
        {SAMPLE("in to 80 : leave"), "'to' is not for", -EINVAL},
        {SAMPLE("out to : leave"), "no destination", -EINVAL},
        {SAMPLE("out 10.0.0.1 : leave"), "'10.0.0.1': 'to' stands before", -EINVAL},
        {SAMPLE("in 0 : leave"), "'0'", -ERANGE},
        {SAMPLE("in 65536 : leave"), "65536", -ERANGE},
        {SAMPLE("in 90-80 : leave"), "'90-80'", -EINVAL},
        {SAMPLE("in localhost:80 : leave"), "'localhost'", -EINVAL},
        {SAMPLE("in 10.0.0.1:http : leave"), "'http'", -EINVAL},
        {SAMPLE("in 10.0.0.1: : leave"), "''", -EINVAL},
        {SAMPLE("in [::1 : leave"), "'[::1'", -EINVAL},
        {SAMPLE("in [::1]80 : leave"), "'[::1]80'", -EINVAL},
        {SAMPLE("in []:80 : leave"), "''", -EINVAL},
        {SAMPLE("in fe80::1%lo : leave"), "interface", -EINVAL},
        {SAMPLE("out to 10.0.0.0/33 : leave"), "'33'", -ERANGE},
        {SAMPLE("out to 10.0.0.0/ : leave"), "prefix length", -EINVAL},
        {SAMPLE("out to 10.0.0.9-10.0.0.1 : leave"), "reversed", -EINVAL},
        {SAMPLE("out to 10.0.0.9-::1 : leave"), "mixes", -EINVAL},
        {SAMPLE("in 80 : restart"), "'restart' is no action", -EINVAL},
        {SAMPLE("in 80 : no-leave"), "'no-leave' is no action", -EINVAL},
        {SAMPLE("in 80 : no-wait"), "'no-wait' is no action", -EINVAL},
        {SAMPLE("in 80 : manage"), "'manage' is not for", -EINVAL},
        {SAMPLE("in 80 : from 10.0.0.1"), "'from' is not for", -EINVAL},
        {SAMPLE("out : reuseaddr"), "'reuseaddr' is not for", -EINVAL},
        {SAMPLE("out udp : ports 5-6"), "'ports' is for TCP", -EINVAL},
        {SAMPLE("in 80 : leave, reuseport"), "'leave' stands alone", -EINVAL},
        {SAMPLE("in 80 : reuseport, no-reuseport"), "twice", -EINVAL},
        {SAMPLE("in 80 : reuseport,"), "missing", -EINVAL},
        {SAMPLE("in 80 : , reuseport"), "missing", -EINVAL},
        {SAMPLE("in 80 : reuseport yes"), "takes no value", -EINVAL},
        {SAMPLE("in 80 : leave reuseport"), "takes no value", -EINVAL},
        {SAMPLE("in 80 : wait"), "'wait' needs a value", -EINVAL},
        {SAMPLE("in 80 : wait 30"), "'30'", -EINVAL},
        {SAMPLE("in 80 : wait 30s reuseport"), "'30s reuseport'", -EINVAL},
        {SAMPLE("in 80 : listen 0"), "0", -ERANGE},
        {SAMPLE("in 80 : listen 10.0.0.1:80-90"), "'80-90'", -EINVAL},
        {SAMPLE("in 80 : listen nowhere:80"), "'nowhere'", -EINVAL},
        {SAMPLE("out : ports 0-5"), "'0'", -ERANGE},
        {SAMPLE("out : ports a"), "'a'", -EINVAL},
        {SAMPLE("out : from 0.0.0.0"), "no source", -EINVAL},
        {SAMPLE("out : from 10.0.0.0/8"), "'10.0.0.0/8'", -EINVAL},
        {SAMPLE("out to ::1 : from 10.0.0.1"), "different families", -EINVAL},
        {SAMPLE("in \0 : leave"), "''", -EINVAL},
    };

    (void)state;
    presets = &bare;
    SAMPLE_RUN(samples, parse, "untouched");
}

static int file(const char *text, size_t room, size_t *count, struct tw_error *error)
{
    static struct shim_rule rules[SAMPLE_TEXT_MAX];

    return rules_parse(tw_view_of(text), "my.rules", &bare, rules, room, count, error);
}

static void test_file(void **state)
{
    struct tw_error error = {0};
    size_t count = 1;

    (void)state;
    assert_int_equal(file("# a\n\nin 80 : leave\r\n  \nout : leave", 3, &count, &error), 0);
    assert_int_equal(count, 3);
    assert_int_equal(file("", 3, &count, &error), 0);
    assert_int_equal(count, 3);
    assert_int_equal(error.code, 0);
    assert_int_equal(file("\n# no room\nin 81 : leave\n", 3, &count, &error), -ERANGE);
    assert_non_null(strstr(error.text, "my.rules:3: "));
    assert_int_equal(count, 3);
}

/* The rules before the mistake are not taken over either. */
static void test_file_mistake(void **state)
{
    struct tw_error error = {0};
    size_t count = 0;

    (void)state;
    assert_int_equal(file("in 80 : leave\n\nin 81 : leaf\n", 9, &count, &error), -EINVAL);
    assert_int_equal(count, 0);
    assert_int_equal(error.code, EINVAL);
    assert_true(strncmp(error.text, "my.rules:3: 'leaf' is no action", 31) == 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_meaning),      cmocka_unit_test(test_presets),
        cmocka_unit_test(test_mistakes),     cmocka_unit_test(test_file),
        cmocka_unit_test(test_file_mistake),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
