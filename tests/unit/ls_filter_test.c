/* Filters of `ls` as typed, on rows made by hand; what of them the kernel is asked; and the formats
 * of what other people wrote. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ls_filter.h"
#include "ls_out.h"
#include "tidewait/text.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define WORDS        4

static struct tw_endpoint at(const char *address, uint16_t port)
{
    struct tw_endpoint endpoint;

    assert_int_equal(tw_address_parse(tw_view_of(address), &endpoint, NULL), 0);
    tw_endpoint_set_port(&endpoint, port);
    return endpoint;
}

static struct tw_socket_row row(uint8_t state, const char *local, uint16_t lport,
                                const char *remote, uint16_t rport)
{
    return (struct tw_socket_row){
        .protocol = IPPROTO_TCP,
        .state = state,
        .local = at(local, lport),
        .remote = at(remote, rport),
        .uid = 33,
        .inode = state == TCP_TIME_WAIT ? 0 : 77,
    };
}

static struct ls_filter filter_of(const char *const words[WORDS])
{
    struct ls_filter filter = {0};
    struct tw_error error = {0};

    for (int i = 0; i < WORDS && words[i]; i++)
        if (ls_filter_add(&filter, words[i], &error))
            fail_msg("'%s': %s", words[i], error.text);
    return filter;
}

static void join(const char *const words[WORDS], char buf[200])
{
    buf[0] = 0;
    for (int i = 0; i < WORDS && words[i]; i++)
        snprintf(buf + strlen(buf), 200 - strlen(buf), "%s ", words[i]);
}

/* --- rows of TCP and UDP --- */

enum { CLIENT, SERVER, LISTENER, WAITING, MAPPED, SIX, ROWS };

static const char row_letters[ROWS + 1] = "CSLWM6";

static void make_rows(struct tw_socket_row rows[ROWS])
{
    rows[CLIENT] = row(TCP_ESTABLISHED, "10.0.0.9", 40000, "10.0.0.5", 5432);
    rows[SERVER] = row(TCP_CLOSE_WAIT, "10.0.0.9", 8080, "10.1.0.1", 50000);
    rows[LISTENER] = row(TCP_LISTEN, "0.0.0.0", 8080, "0.0.0.0", 0);
    rows[WAITING] = row(TCP_TIME_WAIT, "10.0.0.9", 40001, "10.0.0.5", 5432);
    rows[MAPPED] = row(TCP_ESTABLISHED, "::ffff:10.0.0.9", 80, "::ffff:10.2.0.1", 50001);
    rows[SIX] = row(TCP_ESTABLISHED, "fd00::1", 80, "fd00:1::2", 50002);
    rows[SIX].protocol = IPPROTO_UDP;
    rows[WAITING].uid = 0;
}

static void test_inet(void **state)
{
    static const struct {
        const char *words[WORDS];
        const char *fit; /* the letters of the rows */
    } samples[] = {
        {{NULL}, "CSLWM6"},
        {{"8080"}, "SL"},
        {{":8080"}, "SL"},
        {{"port=8080"}, "SL"},
        {{"5432"}, "CW"},
        {{"8080", "5432"}, "CSLW"},
        {{"8080,5432"}, "CSLW"},
        {{"sport=8080"}, "SL"},
        {{"dport=8080"}, ""},
        {{"dport=5432,50001"}, "CWM"},
        {{"sport=40000-40001"}, "CW"},
        {{"sport=1-100", "dport=50002"}, "6"},
        {{"50000-50002"}, "SM6"},
        {{"10.0.0.5"}, "CW"},
        {{"10.0.0.9"}, "CSWM"},
        {{"::ffff:10.0.0.9"}, "CSWM"},
        {{"10.0.0.9:80"}, "M"},
        {{"10.0.0.9:5432"}, ""},
        {{"10.0.0.5:5432"}, "CW"},
        {{"10.0.0.5:5000-6000"}, "CW"},
        {{"10.0.0.5:1-5431"}, ""},
        {{"10.1.0.0/16"}, "S"},
        {{"10.1.255.255/16"}, "S"},
        {{"10.0.0.0/13"}, "CSWM"},
        {{"10.0.0.4/31"}, "CW"},
        {{"10.0.0.6/31"}, ""},
        {{"0.0.0.0/0"}, "CSLWM"},
        {{"0.0.0.0"}, "L"},
        {{"*"}, "L"},
        {{"::/0"}, "6"},
        {{"fd00::1"}, "6"},
        {{"[fd00::1]:80"}, "6"},
        {{"[fd00::1]:81"}, ""},
        {{"[fd00::1]"}, "6"},
        {{"fd00::/32"}, "6"},
        {{"[fd00:1::]/33"}, "6"},
        {{"[fd00:1::]/33:50002"}, "6"},
        {{"fd00:1:8000::/33"}, ""},
        {{"src=10.0.0.9"}, "CSWM"},
        {{"dst=10.0.0.9"}, ""},
        {{"dst=10.0.0.5:5432"}, "CW"},
        {{"dst=10.0.0.0/8"}, "CSWM"},
        {{"addr=10.0.0.5,10.1.0.1"}, "CSW"},
        {{"10.0.0.5", "10.1.0.1"}, "CSW"},
        {{"10.0.0.9", "8080"}, "S"},
        {{"10.0.0.9", "8080", "5432"}, "CSW"},
        {{"state=listen"}, "L"},
        {{"state=LISTEN"}, "L"},
        {{"state=TIME_WAIT"}, "W"},
        {{"state=time-wait,close-wait"}, "SW"},
        {{"state=connected"}, "CSWM6"},
        {{"state=bound"}, ""},
        {{"state=connected", "sport=80"}, "M6"},
        {{"proto=udp"}, "6"},
        {{"proto=tcp", "80"}, "M"},
        {{"proto=unix"}, ""},
        {{"user=33"}, "CSLM6"},
        {{"user=0"}, ""}, /* of TIME_WAIT the user is not known */
        {{"unix:/run"}, ""},
    };
    struct tw_socket_row rows[ROWS];

    (void)state;
    make_rows(rows);
    for (size_t i = 0; i < COUNT(samples); i++) {
        struct ls_filter filter = filter_of(samples[i].words);
        char fit[ROWS + 1] = "", words[200];
        size_t used = 0;

        join(samples[i].words, words);
        for (size_t j = 0; j < ROWS; j++)
            if (ls_filter_inet(&filter, &rows[j]))
                fit[used++] = row_letters[j];
        if (strcmp(fit, samples[i].fit) != 0)
            fail_msg("%slets '%s' pass instead of '%s'", words, fit, samples[i].fit);
        ls_filter_fini(&filter);
    }
}

/* --- Unix sockets --- */

static void test_unix(void **state)
{
    static const struct {
        const char *words[WORDS];
        bool file, abstract;
    } samples[] = {
        {{NULL}, true, true},
        {{"unix:"}, true, true},
        {{"unix:/run/x.sock"}, true, false},
        {{"unix:/run"}, true, false},
        {{"unix:/run/x.sock1"}, false, false},
        {{"unix:@na"}, false, true},
        {{"unix:@name"}, false, true},
        {{"unix:@names"}, false, false},
        {{"unix:/run", "unix:@name"}, true, true},
        {{"unix:/run", "state=listen"}, true, false},
        {{"state=bound"}, false, true},
        {{"proto=unix"}, true, true},
        {{"proto=tcp"}, false, false},
        {{"user=5"}, true, false},
        {{"8080"}, false, false},
        {{"0.0.0.0/0"}, false, false},
    };
    struct tw_unix_row file = {
        .state = TCP_LISTEN, .path = "/run/x.sock", .path_len = 11, .uid = 5};
    struct tw_unix_row abstract = {.state = TCP_CLOSE, .path = "\0name", .path_len = 5};

    (void)state;
    for (size_t i = 0; i < COUNT(samples); i++) {
        struct ls_filter filter = filter_of(samples[i].words);
        char words[200];

        join(samples[i].words, words);
        if (ls_filter_unix(&filter, &file) != samples[i].file ||
            ls_filter_unix(&filter, &abstract) != samples[i].abstract)
            fail_msg("%s: not as expected", words);
        ls_filter_fini(&filter);
    }
}

/* --- processes and namespaces --- */

static void test_process(void **state)
{
    static const struct {
        const char *words[WORDS];
        bool fits;
    } samples[] = {
        {{NULL}, true},
        {{"pid=42"}, true},
        {{"pid=43"}, false},
        {{"pid=43,42"}, true},
        {{"comm=nginx"}, true},
        {{"comm=ngin"}, false},
        {{"comm=nginx2"}, false},
        {{"unit=nginx.service"}, true},
        {{"unit=nginx"}, true},
        {{"unit=ngin"}, false},
        {{"unit=nginx.socket"}, false},
        {{"container=0123abcd"}, true},
        {{"container=0123abcdef"}, true},
        {{"container=123"}, false},
        {{"comm=nginx", "pid=42"}, true},
        {{"comm=nginx", "pid=43"}, false},
        {{"comm=java", "comm=nginx"}, true},
        {{"8080"}, true}, /* is asked of the row */
    };
    struct tw_process nginx = {
        .pid = 42, .comm = "nginx", .unit = "nginx.service", .container = "0123abcdef"};
    struct tw_process cut = {.comm = "a-very-long-nam"};
    const char *const name[WORDS] = {"comm=a-very-long-name"}, *const other[WORDS] = {
                                                                   "comm=a-very"};
    struct ls_filter filter;

    (void)state;
    for (size_t i = 0; i < COUNT(samples); i++) {
        char words[200];

        filter = filter_of(samples[i].words);
        join(samples[i].words, words);
        /* What is asked of the row is not asked of the process. */
        if (ls_filter_process(&filter, &nginx) != samples[i].fits)
            fail_msg("%s: not as expected", words);
        ls_filter_fini(&filter);
    }
    filter = filter_of(name);
    assert_true(ls_filter_process(&filter, &cut));
    ls_filter_fini(&filter);
    filter = filter_of(other);
    assert_false(ls_filter_process(&filter, &cut));
    ls_filter_fini(&filter);
}

static void test_netns(void **state)
{
    char self[32];
    const char *const own[WORDS] = {self}, *const inode[WORDS] = {"netns=4026531999"};
    struct ls_filter filter = {0};
    struct stat file;

    (void)state;
    assert_true(ls_filter_netns(&filter, 4026531999));
    filter = filter_of(inode);
    assert_true(ls_filter_netns(&filter, 4026531999));
    assert_false(ls_filter_netns(&filter, 4026531998));
    ls_filter_fini(&filter);
    if (stat("/proc/self/ns/net", &file))
        return;
    snprintf(self, sizeof(self), "netns=%d", (int)getpid());
    filter = filter_of(own);
    assert_true(ls_filter_netns(&filter, file.st_ino));
    assert_false(ls_filter_netns(&filter, file.st_ino + 1));
    ls_filter_fini(&filter);
}

/* --- what the kernel is asked --- */

static void test_query(void **state)
{
    static const struct {
        const char *words[WORDS];
        unsigned passes;
        uint16_t local_port, remote_port; /* of the first pass */
        bool remote;
    } samples[] = {
        {{NULL}, 1, 0, 0, false},
        {{"8080"}, 2, 8080, 0, false},
        {{"8080", "8081"}, 1, 0, 0, false},
        {{"8080-8081"}, 1, 0, 0, false},
        {{"8080-8080"}, 2, 8080, 0, false},
        {{"sport=80"}, 1, 80, 0, false},
        {{"sport=80,81"}, 1, 0, 0, false},
        {{"dport=80"}, 1, 0, 80, false},
        {{"sport=1", "dport=80"}, 1, 1, 80, false},
        {{"sport=1", "80"}, 1, 1, 0, false},
        {{"dst=10.0.0.1"}, 1, 0, 0, true},
        {{"dst=10.0.0.1:80"}, 1, 0, 0, true},
        {{"dst=10.0.0.1", "dst=10.0.0.2"}, 1, 0, 0, false},
        {{"dst=10.0.0.0/24"}, 1, 0, 0, false},
        {{"src=10.0.0.1"}, 1, 0, 0, false},
        {{"10.0.0.1:80"}, 1, 0, 0, false},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(samples); i++) {
        struct ls_filter filter = filter_of(samples[i].words);
        struct tw_sockets_query query = {0};
        uint16_t seen = 1;
        char words[200];
        unsigned pass = 1;

        join(samples[i].words, words);
        assert_true(ls_filter_query(&filter, 0, &query, &seen));
        if (query.local_port != samples[i].local_port ||
            query.remote_port != samples[i].remote_port || !!query.remote != samples[i].remote ||
            seen != 0)
            fail_msg("%s: asks for ports %u, %u", words, query.local_port, query.remote_port);
        for (; ls_filter_query(&filter, pass, &query, &seen); pass++) {
            assert_int_equal(query.local_port, 0);
            assert_int_equal(query.remote_port, samples[i].local_port);
            assert_int_equal(seen, samples[i].local_port);
        }
        assert_int_equal(pass, samples[i].passes);
        ls_filter_fini(&filter);
    }
}

/* --- what is refused --- */

static void test_refused(void **state)
{
    static const struct {
        const char *operand;
        const char *says;
    } samples[] = {
        {"", "no port, no address"},
        {"foo", "no port, no address"},
        {"0", "'0'"},
        {"65536", "65536"},
        {"9-8", "reversed"},
        {"80,", "no port"},
        {",80", "no port"},
        {"80,10.0.0.1", "one list"},
        {":", "lacks"},
        {"10.0.0", "10.0.0"},
        {"10.0.0.1/33", "33"},
        {"10.0.0.1/", "prefix"},
        {"10.0.0.1:", "lacks"},
        {"10.0.0.1:x", "'x'"},
        {"[::1", "[::1"},
        {"[::1]:70000", "70000"},
        {"::1/129", "129"},
        {"=80", "no key ''"},
        {"sprot=80", "no key 'sprot'"},
        {"sport=", "missing"},
        {"sport=80,", "missing"},
        {"sport=http", "http"},
        {"dst=", "missing"},
        {"dst=example.org", "example.org"},
        {"state=", "missing"},
        {"state=open", "'open' is no state"},
        {"state=listening", "time-wait"},
        {"proto=sctp", "tcp, udp, unix"},
        {"pid=0", "0"},
        {"pid=x", "'x'"},
        {"user=no-such-user-here", "no user"},
        {"user=4294967296", "4294967296"},
        {"netns=no-such-netns", "no network namespace"},
        {"netns=../x", "no name"},
        {"netns=2147483647", "process 2147483647"},
        {"comm=", "missing"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(samples); i++) {
        struct ls_filter filter = {0};
        struct tw_error error = {0};
        int rc = ls_filter_add(&filter, samples[i].operand, &error);

        if (rc >= 0 || error.code != -rc || strchr(error.text, '\n') ||
            !strstr(error.text, samples[i].operand) || !strstr(error.text, samples[i].says))
            fail_msg("'%s': %d, '%s'", samples[i].operand, rc, error.text);
        ls_filter_fini(&filter);
    }
}

/* --- formats --- */

static void test_safe(void **state)
{
    static const struct {
        const char *text, *safe;
    } samples[] = {
        {"nginx: master", "nginx: master"},
        {"a\033[31mb\n", "a\\x1b[31mb\\x0a"},
        {"\x7f", "\\x7f"},
        {"gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f"},
        {"\xc2\x9b"
         "31m",
         "\\xc2\\x9b31m"}, /* CSI as one character */
        {"\xff\xc3", "\\xff\\xc3"},
        {"\xc0\xaf", "\\xc0\\xaf"},          /* overlong */
        {"\xed\xa0\x80", "\\xed\\xa0\\x80"}, /* a surrogate */
        {"\xe2\x80\xae", "\\xe2\\x80\\xae"}, /* right to left */
        {"\xf0\x9f\x8c\x8a", "\xf0\x9f\x8c\x8a"},
        {"\xf5\x80\x80\x80", "\\xf5\\x80\\x80\\x80"},
    };
    char buf[64];

    (void)state;
    for (size_t i = 0; i < COUNT(samples); i++) {
        size_t len = tw_text_safe(buf, sizeof(buf), samples[i].text, strlen(samples[i].text));

        if (len != strlen(samples[i].safe) || memcmp(buf, samples[i].safe, len) != 0)
            fail_msg("sample %zu: '%.*s'", i, (int)len, buf);
    }
    /* Never half a character. */
    assert_int_equal(tw_text_safe(buf, 3, "ab\xc3\xbc", 4), 2);
    assert_int_equal(tw_text_safe(buf, 3, "\n", 1), 0);
    assert_int_equal(ls_cut_columns("a\xc3\xbc"
                                    "b",
                                    4, 2),
                     3);
    assert_int_equal(ls_cut_columns("ab", 2, 5), 2);
}

static void test_endpoints(void **state)
{
    static const struct {
        const char *address;
        uint16_t port;
    } samples[] = {
        {"0.0.0.0", 1}, {"255.255.255.255", 65535}, {"10.0.0.1", 80},     {"100.20.3.0", 1234},
        {"::", 22},     {"fd00::1", 443},           {"::ffff:1.2.3.4", 9}};
    char expect[TW_ENDPOINT_TEXT_MAX], buf[TW_ENDPOINT_TEXT_MAX];

    (void)state;
    for (size_t i = 0; i < COUNT(samples); i++) {
        struct tw_endpoint endpoint = at(samples[i].address, samples[i].port);
        size_t len = ls_format_endpoint(buf, &endpoint);

        tw_endpoint_format(&endpoint, expect);
        assert_int_equal(len, strlen(expect));
        assert_memory_equal(buf, expect, len);
        tw_endpoint_set_port(&endpoint, 0);
        len = ls_format_endpoint(buf, &endpoint);
        assert_memory_equal(buf + len - 2, ":*", 2);
    }
    assert_int_equal(ls_format_number(buf, UINT64_MAX), 20);
    assert_memory_equal(buf, "18446744073709551615", 20);
    assert_int_equal(ls_format_number(buf, 0), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_inet),    cmocka_unit_test(test_unix),
        cmocka_unit_test(test_process), cmocka_unit_test(test_netns),
        cmocka_unit_test(test_query),   cmocka_unit_test(test_refused),
        cmocka_unit_test(test_safe),    cmocka_unit_test(test_endpoints),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
