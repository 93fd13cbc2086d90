/* Lists of hosts: what they mean, what is refused, and the way back to a short list. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hosts.h"

/* The labels with blanks between them, from malloc. */
static char *labels_of(const struct hosts *hosts)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    assert_non_null(out);
    for (size_t i = 0; i < hosts->count; i++)
        fprintf(out, "%s%s", i ? " " : "", hosts->items[i].label);
    assert_int_equal(fclose(out), 0);
    return text;
}

/* A copy without a NUL behind it, so that a sanitizer sees a byte read too many. */
static struct tw_view view_of(const char *text)
{
    size_t len = strlen(text);
    char *copy = malloc(len ? len : 1);

    assert_non_null(copy);
    /* NOLINTNEXTLINE(bugprone-not-null-terminated-result): that is the point */
    memcpy(copy, text, len);
    return (struct tw_view){copy, len};
}

static void assert_list(const char *list, const char *wanted)
{
    struct hosts hosts = {.count = 0};
    struct tw_error error = {0};
    struct tw_view view = view_of(list);
    char *labels;

    if (hosts_add(&hosts, view, &error))
        fail_msg("'%s': %s", list, error.text);
    labels = labels_of(&hosts);
    assert_string_equal(labels, wanted);
    free(labels);
    free((char *)view.data);
    hosts_fini(&hosts);
}

static void test_lists(void **state)
{
    (void)state;
    assert_list("a", "a");
    assert_list("a,b c\td\n,e", "a b c d e");
    assert_list(" a , b ", "a b");
    assert_list("", "");
    assert_list("b,a,b,a", "b a");
    assert_list("web[1-3]", "web1 web2 web3");
    assert_list("web[01-03]", "web01 web02 web03");
    assert_list("web[8-11]", "web8 web9 web10 web11");
    assert_list("web[08-11]", "web08 web09 web10 web11");
    assert_list("web[099-101]", "web099 web100 web101");
    assert_list("web[1-9/3]", "web1 web4 web7");
    assert_list("web[1,3-4,007,x]b", "web1b web3b web4b web007b webxb");
    assert_list("r[1-2]n[a-c]", "r1na r1nb r1nc r2na r2nb r2nc");
    assert_list("[1-2]", "1 2");
    assert_list("10.0.0.[9-10]", "10.0.0.9 10.0.0.10");
    assert_list("web[0-0]", "web0");
    assert_list("web[1-2,2-3]", "web1 web2 web3");
}

static void test_users_and_ports(void **state)
{
    struct hosts hosts = {.count = 0};

    (void)state;
    assert_list("root@web[1-2]:2222", "root@web1:2222 root@web2:2222");
    assert_list("a,b@a,a:22,b@a:22,a", "a b@a a:22 b@a:22");
    assert_list("::1,[::1],fe80::1%eth0,[fe80::1%eth0]:22,me@[::2]:1",
                "[::1] [fe80::1%eth0] [fe80::1%eth0]:22 me@[::2]:1");
    assert_int_equal(hosts_add(&hosts, tw_view_of("me@[fe80::1%eth0]:22,x"), NULL), 0);
    assert_string_equal(hosts.items[0].address, "fe80::1%eth0");
    assert_string_equal(hosts.items[0].user, "me");
    assert_int_equal(hosts.items[0].port, 22);
    assert_string_equal(hosts.items[1].address, "x");
    assert_null(hosts.items[1].user);
    assert_int_equal(hosts.items[1].port, 0);
    hosts_fini(&hosts);
}

static void test_refusals(void **state)
{
    static const struct {
        const char *list, *says;
    } bad[] = {
        {",", "before a comma"},
        {"a,,b", "before a comma"},
        {"a,", "behind the last"},
        {"web[1-3", "a [ without a ]"},
        {"web1-3]", "a ] without a ["},
        {"web[]", "empty element"},
        {"web[1,]", "empty element"},
        {"web[3-1]", "downwards"},
        {"web[c-a]", "downwards"},
        {"web[a-C]", "numbers or of single letters"},
        {"web[1-]", "numbers or of single letters"},
        {"web[-1]", "numbers or of single letters"},
        {"web[1-2-3]", "numbers or of single letters"},
        {"web[1-3/0]", "no number above 0"},
        {"web[1-3/]", "no number above 0"},
        {"web[1/2]", "a step needs a range"},
        {"web[1[2]]", "a bracket inside"},
        {"web[001-10]", NULL},
        {"web[1-010]", "leading zeros"},
        {"web[1234567890-1234567891]", "more than 9 digits"},
        {"[1-2][1-2][1-2][1-2][1-2][1-2][1-2][1-2][1-2]", "more than 8 brackets"},
        {"-oProxyCommand=x", "letters, digits"},
        {"-web", "begin with a dash"},
        {".", "a dot"},
        {"../x", "letters, digits"},
        {"@a", "no user"},
        {"a@", "no name"},
        {"-l@a", "begin with a dash"},
        {"a b@@c", "letters, digits"},
        {"a;b@c", "a user has"},
        {"a:0", "no port"},
        {"a:65536", "no port"},
        {"a:", "no port"},
        {"a:b:c", "no IPv6"},
        {"[::g]:22", "no IPv6"},
        {"[::1]x", "only :PORT"},
        {"[fe80::1%]", "no IPv6"},
        {"\x1b[31m", "a [ without"},
        {"h\xc3\xb6st", "letters, digits"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct hosts hosts = {.count = 0};
        struct tw_error error = {0};
        struct tw_view view = view_of(bad[i].list);
        int rc = hosts_add(&hosts, view, &error);

        if (bad[i].says && (rc != -EINVAL || !strstr(error.text, bad[i].says)))
            fail_msg("'%s': %d, '%s' lacks '%s'", bad[i].list, rc, error.text, bad[i].says);
        if (!bad[i].says && rc)
            fail_msg("'%s': %s", bad[i].list, error.text);
        free((char *)view.data);
        hosts_fini(&hosts);
    }
}

static void test_limits(void **state)
{
    struct hosts hosts = {.count = 0};
    struct tw_error error = {0};
    char name[300];

    (void)state;
    assert_int_equal(hosts_add(&hosts, tw_view_of("a[1-256]b[1-256]"), &error), 0);
    assert_int_equal(hosts.count, HOSTS_MAX);
    assert_string_equal(hosts.items[HOSTS_MAX - 1].label, "a256b256");
    /* What is there already is not one more. */
    assert_int_equal(hosts_add(&hosts, tw_view_of("a1b1"), &error), 0);
    assert_int_equal(hosts_add(&hosts, tw_view_of("c"), &error), -ERANGE);
    hosts_fini(&hosts);
    /* And nothing is made of what is too much. */
    error.code = 0;
    assert_int_equal(hosts_add(&hosts, tw_view_of("a[0-999999999][0-999999999]"), &error), -ERANGE);
    assert_int_equal(hosts.count, 0);
    memset(name, 'x', sizeof(name));
    assert_int_equal(hosts_add(&hosts, (struct tw_view){name, 254}, NULL), -EINVAL);
    assert_int_equal(hosts_add(&hosts, (struct tw_view){name, 253}, NULL), 0);
    hosts_fini(&hosts);
}

static void test_files(void **state)
{
    static const char text[] = "# all\nweb[1-2] db1 # two and one\n\n\r\nroot@x:22,y\r\n";
    struct hosts hosts = {.count = 0};
    struct tw_error error = {0};
    char *labels;

    (void)state;
    assert_int_equal(hosts_add_text(&hosts, tw_view_of(text), "file", &error), 0);
    labels = labels_of(&hosts);
    assert_string_equal(labels, "web1 web2 db1 root@x:22 y");
    free(labels);
    assert_int_equal(hosts_add_text(&hosts, tw_view_of("a\nb[\n"), "file", &error), -EINVAL);
    assert_non_null(strstr(error.text, "'file', line 2: "));
    hosts_fini(&hosts);
}

static void test_remove(void **state)
{
    static const struct {
        const char *list, *without, *left;
    } samples[] = {
        {"web[1-5]", "web[2-4/2],x", "web1 web3 web5"},
        {"a,u@a,a:1,u@a:1,b", "a", "b"},
        {"a,u@a,a:1,u@a:1,b", "u@a", "a a:1 b"},
        {"a,u@a,a:1,u@a:1,b", "a:1", "a u@a b"},
        {"a,u@a,a:1,u@a:1,b", "u@a:1", "a u@a a:1 b"},
        {"[::1]:22,b", "::1", "b"},
        {"a,b", "a,b", ""},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
        struct hosts hosts = {.count = 0};
        char *labels;

        assert_int_equal(hosts_add(&hosts, tw_view_of(samples[i].list), NULL), 0);
        assert_int_equal(hosts_remove(&hosts, tw_view_of(samples[i].without), NULL), 0);
        labels = labels_of(&hosts);
        assert_string_equal(labels, samples[i].left);
        free(labels);
        /* The set is whole: what was taken away can be added again, once. */
        assert_int_equal(hosts_add(&hosts, tw_view_of(samples[i].list), NULL), 0);
        assert_int_equal(hosts_add(&hosts, tw_view_of(samples[i].list), NULL), 0);
        assert_true(hosts.count >= 2 && hosts.count <= 5);
        hosts_fini(&hosts);
    }
}

static void test_fold(void **state)
{
    static const struct {
        const char *list, *folded;
    } samples[] = {
        {"a", "a"},
        {"web1", "web1"},
        {"web3,web1,web2", "web[1-3]"},
        {"web[01-03],web05", "web[01-03,05]"},
        {"web[8-11]", "web[8-11]"},
        {"web[08-11]", "web[08-11]"},
        {"web1,web01,web2", "web[1,01,2]"},
        {"web1a,web2a,web2b", "web[1-2]a,web2b"},
        {"r1n[1-2],r2n[1-2]", "r1n[1-2],r2n[1-2]"},
        {"10.0.0.[1-3]", "10.0.0.[1-3]"},
        {"web[1-2]:22,web3:23", "web[1-2]:22,web3:23"},
        {"u1@[::1]:2,u1@[::1]:3", "u1@[::1]:2,u1@[::1]:3"},
        {"u1@a,u2@a", "u1@a,u2@a"},
        {"x999999999,x[0-1]", "x[0-1,999999999]"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
        struct hosts hosts = {.count = 0};
        const char *labels[16];
        char *folded;

        assert_int_equal(hosts_add(&hosts, tw_view_of(samples[i].list), NULL), 0);
        for (size_t j = 0; j < hosts.count; j++)
            labels[j] = hosts.items[j].label;
        folded = hosts_fold(labels, hosts.count);
        assert_string_equal(folded, samples[i].folded);
        free(folded);
        hosts_fini(&hosts);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lists),    cmocka_unit_test(test_users_and_ports),
        cmocka_unit_test(test_refusals), cmocka_unit_test(test_limits),
        cmocka_unit_test(test_files),    cmocka_unit_test(test_remove),
        cmocka_unit_test(test_fold),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
