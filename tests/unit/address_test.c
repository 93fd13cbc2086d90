/* Samples for every parser of address.h, and what its other functions say. */
#include "guard.h"

#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>

#include "tidewait/address.h"

#define LONG_60 "123456789012345678901234567890123456789012345678901234567890"

static struct tw_endpoint endpoint_of(const char *text)
{
    struct tw_endpoint endpoint = {0};

    assert_int_equal(tw_address_parse(tw_view_of(text), &endpoint, NULL), 0);
    return endpoint;
}

static int address(struct tw_view text, char out[SAMPLE_TEXT_MAX], struct tw_error *error)
{
    struct tw_endpoint endpoint = endpoint_of("192.0.2.1");
    int rc = tw_address_parse(text, &endpoint, error);

    tw_endpoint_format(&endpoint, out);
    return rc;
}

static void test_address(void **state)
{
    static const struct sample samples[] = {
        {SAMPLE("10.0.0.1"), "10.0.0.1", 0},
        {SAMPLE("*"), "0.0.0.0", 0},
        {SAMPLE("255.255.255.255"), "255.255.255.255", 0},
        {SAMPLE("::1"), "::1", 0},
        {SAMPLE("[::1]"), "::1", 0},
        {SAMPLE("::"), "::", 0},
        {SAMPLE("2001:DB8::00a"), "2001:db8::a", 0},
        {SAMPLE("1:2:3:4:5:6:7:8"), "1:2:3:4:5:6:7:8", 0},
        {SAMPLE("::ffff:192.168.100.200"), "::ffff:192.168.100.200", 0},
        {SAMPLE("1111:2222:3333:4444:5555:6666:123.123.123.123"),
         "1111:2222:3333:4444:5555:6666:7b7b:7b7b", 0},
        {SAMPLE("fe80::1%lo"), "fe80::1%lo", 0},
        {SAMPLE("[fe80::1%lo]"), "fe80::1%lo", 0},
        {SAMPLE(""), "''", -EINVAL},
        {SAMPLE("[]"), "'[]'", -EINVAL},
        {SAMPLE("["), "'['", -EINVAL},
        {SAMPLE("[::1"), "'[::1'", -EINVAL},
        {SAMPLE("::1]"), "'::1]'", -EINVAL},
        {SAMPLE("%lo"), "'%lo'", -EINVAL},
        {SAMPLE("**"), "'**'", -EINVAL},
        {SAMPLE("10.0.0"), "'10.0.0'", -EINVAL},
        {SAMPLE("10.0.0.256"), "'10.0.0.256'", -EINVAL},
        {SAMPLE("10.0.0.1.2"), "'10.0.0.1.2'", -EINVAL},
        {SAMPLE("10.0.0.01"), "'10.0.0.01'", -EINVAL},
        {SAMPLE("10.0.0.1 "), "'10.0.0.1 '", -EINVAL},
        {SAMPLE("10.0.0.1\0junk"), "'10.0.0.1", -EINVAL},
        {SAMPLE("fe80::1%lo\0junk"), "'fe80::1%lo", -EINVAL},
        {SAMPLE("10.0.0.1:80"), "'10.0.0.1:80'", -EINVAL},
        {SAMPLE("10.0.0.1%lo"), "'10.0.0.1%lo'", -EINVAL},
        {SAMPLE("1::2::3"), "'1::2::3'", -EINVAL},
        {SAMPLE("1:2:3:4:5:6:7:8:9"), "'1:2:3:4:5:6:7:8:9'", -EINVAL},
        {SAMPLE("::12345"), "'::12345'", -EINVAL},
        {SAMPLE("fe80::1%no-such"), "there is no interface 'no-such'", -EINVAL},
        {SAMPLE("fe80::1%"), "'fe80::1%'", -EINVAL},
        {SAMPLE("fe80::1%" LONG_60), "'fe80::1%1234567890", -EINVAL},
        {SAMPLE(LONG_60 LONG_60), LONG_60, -EINVAL},
        {SAMPLE("localhost"), "'localhost'", -EINVAL},
    };

    (void)state;
    SAMPLE_RUN(samples, address, "192.0.2.1");
}

/* Prints FIRST LAST COUNT. */
static void print_range(const struct tw_address_range *range, char *out, size_t size)
{
    struct tw_endpoint last = tw_address_range_at(range, range->count - 1);
    char a[TW_ENDPOINT_TEXT_MAX], b[TW_ENDPOINT_TEXT_MAX];

    snprintf(out, size, "%s %s %u", tw_endpoint_format(&range->first, a),
             tw_endpoint_format(&last, b), range->count);
}

static int range(struct tw_view text, char out[SAMPLE_TEXT_MAX], struct tw_error *error)
{
    struct tw_address_range range = {endpoint_of("192.0.2.1"), 1};
    int rc = tw_address_range_parse(text, &range, error);

    print_range(&range, out, SAMPLE_TEXT_MAX);
    return rc;
}

static void test_range(void **state)
{
    static const struct sample samples[] = {
        {SAMPLE("10.0.0.1"), "10.0.0.1 10.0.0.1 1", 0},
        {SAMPLE("10.0.0.1-10.0.0.50"), "10.0.0.1 10.0.0.50 50", 0},
        {SAMPLE("10.0.0.1-50"), "10.0.0.1 10.0.0.50 50", 0},
        {SAMPLE("10.0.0.1-1"), "10.0.0.1 10.0.0.1 1", 0},
        {SAMPLE("10.0.0.250-10.0.1.5"), "10.0.0.250 10.0.1.5 12", 0},
        {SAMPLE("255.255.255.250-255"), "255.255.255.250 255.255.255.255 6", 0},
        {SAMPLE("0.0.0.0-0.15.255.255"), "0.0.0.0 0.15.255.255 1048576", 0},
        {SAMPLE("10.0.0.0/24"), "10.0.0.1 10.0.0.254 254", 0},
        {SAMPLE("10.0.0.77/24"), "10.0.0.1 10.0.0.254 254", 0},
        {SAMPLE("10.0.0.7/30"), "10.0.0.5 10.0.0.6 2", 0},
        {SAMPLE("10.0.0.7/31"), "10.0.0.6 10.0.0.7 2", 0},
        {SAMPLE("10.0.0.7/32"), "10.0.0.7 10.0.0.7 1", 0},
        {SAMPLE("10.31.0.0/12"), "10.16.0.1 10.31.255.254 1048574", 0},
        {SAMPLE("255.255.255.255/24"), "255.255.255.1 255.255.255.254 254", 0},
        {SAMPLE("::1"), "::1 ::1 1", 0},
        {SAMPLE("[::1]"), "::1 ::1 1", 0},
        {SAMPLE("fe80::1%lo"), "fe80::1%lo fe80::1%lo 1", 0},
        {SAMPLE("fd00::1-fd00::32"), "fd00::1 fd00::32 50", 0},
        {SAMPLE("[fd00::1]-[fd00::32]"), "fd00::1 fd00::32 50", 0},
        {SAMPLE("fd00::fffe-fd00::1:1"), "fd00::fffe fd00::1:1 4", 0},
        {SAMPLE("fd00::/120"), "fd00::1 fd00::ff 255", 0},
        {SAMPLE("fd00::7/127"), "fd00::6 fd00::7 2", 0},
        {SAMPLE("fd00::7/128"), "fd00::7 fd00::7 1", 0},
        {SAMPLE("fd00::/108"), "fd00::1 fd00::f:ffff 1048575", 0},
        {SAMPLE(""), "''", -EINVAL},
        {SAMPLE("/24"), "''", -EINVAL},
        {SAMPLE("10.0.0.0/"), "number is missing", -EINVAL},
        {SAMPLE("10.0.0.0/x"), "'x'", -EINVAL},
        {SAMPLE("10.0.0.0/0"), "'0'", -ERANGE},
        {SAMPLE("10.0.0.0/33"), "'33'", -ERANGE},
        {SAMPLE("10.0.0.0/18446744073709551648"), "'18446744073709551648'", -ERANGE},
        {SAMPLE("10.0.0.0/1"), "'10.0.0.0/1' names more than 1048576", -EINVAL},
        {SAMPLE("10.0.0.0/11"), "'10.0.0.0/11'", -EINVAL},
        {SAMPLE("fd00::/107"), "'fd00::/107'", -EINVAL},
        {SAMPLE("fd00::/1"), "'fd00::/1'", -EINVAL},
        {SAMPLE("fd00::/129"), "'129'", -ERANGE},
        {SAMPLE("10.0.0.0/24/8"), "'24/8'", -EINVAL},
        {SAMPLE("10.0.0.0-10.0.0.9/24"), "'10.0.0.0-10.0.0.9'", -EINVAL},
        {SAMPLE("10.0.0.50-10.0.0.1"), "'10.0.0.50-10.0.0.1' is reversed", -EINVAL},
        {SAMPLE("10.0.0.50-1"), "'10.0.0.50-1' is reversed", -EINVAL},
        {SAMPLE("fd00::2-fd00::1"), "'fd00::2-fd00::1' is reversed", -EINVAL},
        {SAMPLE("fd00:0:0:2::-fd00:0:0:1::"), "reversed", -EINVAL},
        {SAMPLE("0.0.0.0-0.16.0.0"), "'0.0.0.0-0.16.0.0' names more", -EINVAL},
        {SAMPLE("0.0.0.0-255.255.255.255"), "'0.0.0.0-255.255.255.255'", -EINVAL},
        {SAMPLE("::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), "names more", -EINVAL},
        {SAMPLE("fd00::-fd00:0:0:1::"), "'fd00::-fd00:0:0:1::' names more", -EINVAL},
        {SAMPLE("10.0.0.1-256"), "'256'", -ERANGE},
        {SAMPLE("10.0.0.1-"), "number is missing", -EINVAL},
        {SAMPLE("-10.0.0.1"), "''", -EINVAL},
        {SAMPLE("10.0.0.1-x"), "'x'", -EINVAL},
        {SAMPLE("10.0.0.1-10.0.0.300"), "'10.0.0.300'", -EINVAL},
        {SAMPLE("10.0.0.1-fd00::1"), "'fd00::1'", -EINVAL},
        {SAMPLE("fd00::1-10.0.0.1"), "'fd00::1-10.0.0.1' mixes", -EINVAL},
        {SAMPLE("::1-5-6"), "'5-6'", -EINVAL},
    };

    (void)state;
    SAMPLE_RUN(samples, range, "192.0.2.1 192.0.2.1 1");
}

static int listen_range(struct tw_view text, char out[SAMPLE_TEXT_MAX], struct tw_error *error)
{
    struct tw_listen_range range = {{endpoint_of("192.0.2.1"), 1}, {11, 22}};
    struct tw_endpoint fallback = endpoint_of("192.0.2.9");
    int rc = tw_listen_range_parse(text, &fallback, &range, error);
    char addresses[SAMPLE_TEXT_MAX - 20];

    print_range(&range.addresses, addresses, sizeof(addresses));
    snprintf(out, SAMPLE_TEXT_MAX, "%s %u-%u", addresses, range.ports.first, range.ports.last);
    return rc;
}

static void test_listen_range(void **state)
{
    static const struct sample samples[] = {
        {SAMPLE("8080"), "192.0.2.9 192.0.2.9 1 8080-8080", 0},
        {SAMPLE(":8080"), "192.0.2.9 192.0.2.9 1 8080-8080", 0},
        {SAMPLE("8080-8089"), "192.0.2.9 192.0.2.9 1 8080-8089", 0},
        {SAMPLE(":8080-8089"), "192.0.2.9 192.0.2.9 1 8080-8089", 0},
        {SAMPLE("127.0.0.1:80"), "127.0.0.1 127.0.0.1 1 80-80", 0},
        {SAMPLE("*:80"), "0.0.0.0 0.0.0.0 1 80-80", 0},
        {SAMPLE("10.0.0.1-10.0.0.5:80-90"), "10.0.0.1 10.0.0.5 5 80-90", 0},
        {SAMPLE("10.0.0.1-5:80"), "10.0.0.1 10.0.0.5 5 80-80", 0},
        {SAMPLE("10.0.0.0/30:80"), "10.0.0.1 10.0.0.2 2 80-80", 0},
        {SAMPLE("[::1]:8080"), "::1 ::1 1 8080-8080", 0},
        {SAMPLE("[fd00::1]-[fd00::5]:1-65535"), "fd00::1 fd00::5 5 1-65535", 0},
        {SAMPLE("[fe80::1%lo]:80"), "fe80::1%lo fe80::1%lo 1 80-80", 0},
        {SAMPLE(""), "''", -EINVAL},
        {SAMPLE(":"), "''", -EINVAL},
        {SAMPLE(":70000"), "'70000'", -ERANGE},
        {SAMPLE(":0"), "'0'", -ERANGE},
        {SAMPLE("127.0.0.1:"), "''", -EINVAL},
        {SAMPLE("127.0.0.1:90-80"), "'90-80' is reversed", -EINVAL},
        {SAMPLE("127.0.0.1"), "'127.0.0.1' lacks a port", -EINVAL},
        {SAMPLE("[::1]"), "'[::1]' lacks a port", -EINVAL},
        {SAMPLE("::1"), "'::1' is ambiguous", -EINVAL},
        {SAMPLE("::1:8080"), "'::1:8080' is ambiguous", -EINVAL},
        {SAMPLE("::"), "'::' is ambiguous", -EINVAL},
        {SAMPLE("fd00::1-fd00::5:80"), "'fd00::1-fd00::5:80' is ambiguous", -EINVAL},
        {SAMPLE("[::1:80"), "'[::1'", -EINVAL},
        {SAMPLE("[::1]80"), "'[:' is not an address", -EINVAL},
        {SAMPLE("[::1]x:80"), "'[::1]x'", -EINVAL},
        {SAMPLE("localhost:80"), "'localhost'", -EINVAL},
        {SAMPLE("10.0.0.0/1:80"), "'10.0.0.0/1'", -EINVAL},
        {SAMPLE("10.0.0.1:80:90"), "'10.0.0.1:80:90'", -EINVAL},
        {SAMPLE("x"), "'x'", -EINVAL},
    };

    (void)state;
    SAMPLE_RUN(samples, listen_range, "192.0.2.1 192.0.2.1 1 11-22");
}

static int one_endpoint(struct tw_view text, char out[SAMPLE_TEXT_MAX], struct tw_error *error)
{
    struct tw_endpoint endpoint = endpoint_of("192.0.2.1");
    int rc = tw_endpoint_parse(text, &endpoint, error);

    tw_endpoint_format(&endpoint, out);
    return rc;
}

static void test_one_endpoint(void **state)
{
    static const struct sample samples[] = {
        {SAMPLE("127.0.0.1:80"), "127.0.0.1:80", 0},
        {SAMPLE("[::1]:8080"), "[::1]:8080", 0},
        {SAMPLE("*:80"), "0.0.0.0:80", 0},
        {SAMPLE(":80"), "0.0.0.0:80", 0},
        {SAMPLE("80"), "0.0.0.0:80", 0},
        {SAMPLE("127.0.0.1:80-80"), "127.0.0.1:80", 0},
        {SAMPLE("127.0.0.1:80-81"), "'127.0.0.1:80-81' is more than one endpoint", -EINVAL},
        {SAMPLE("10.0.0.1-2:80"), "'10.0.0.1-2:80' is more than one endpoint", -EINVAL},
        {SAMPLE("127.0.0.1"), "'127.0.0.1' lacks a port", -EINVAL},
        {SAMPLE("127.0.0.1:0"), "'0'", -ERANGE},
        {SAMPLE(""), "''", -EINVAL},
    };

    (void)state;
    SAMPLE_RUN(samples, one_endpoint, "192.0.2.1");
}

static void test_at(void **state)
{
    static const struct {
        const char *first;
        uint32_t index;
        const char *at;
    } rows[] = {
        {"10.0.0.1", 0, "10.0.0.1"},
        {"10.0.0.255", 1, "10.0.1.0"},
        {"10.0.255.255", 1, "10.1.0.0"},
        {"10.0.0.0", 0xfffff, "10.15.255.255"},
        {"255.255.255.255", 1, "0.0.0.0"}, /* beyond the last: wraps, stays in bounds */
        {"fd00::ffff", 1, "fd00::1:0"},
        {"fd00::ffff:ffff:ffff:ffff", 1, "fd00:0:0:1::"},
        {"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 1, "::"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct tw_address_range range = {endpoint_of(rows[i].first), 1};
        struct tw_endpoint at = tw_address_range_at(&range, rows[i].index);
        char text[TW_ENDPOINT_TEXT_MAX];

        assert_string_equal(tw_endpoint_format(&at, text), rows[i].at);
        assert_int_equal(tw_endpoint_port(&at), 0);
    }
}

static void test_endpoint(void **state)
{
    static const struct {
        const char *address;
        uint16_t port;
        const char *text;
        socklen_t len;
        bool wildcard;
    } rows[] = {
        {"127.0.0.1", 80, "127.0.0.1:80", sizeof(struct sockaddr_in), false},
        {"127.0.0.1", 0, "127.0.0.1", sizeof(struct sockaddr_in), false},
        {"*", 65535, "0.0.0.0:65535", sizeof(struct sockaddr_in), true},
        {"::1", 80, "[::1]:80", sizeof(struct sockaddr_in6), false},
        {"::1", 0, "::1", sizeof(struct sockaddr_in6), false},
        {"::", 0, "::", sizeof(struct sockaddr_in6), true},
        {"fe80::1%lo", 80, "[fe80::1%lo]:80", sizeof(struct sockaddr_in6), false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct tw_endpoint endpoint = endpoint_of(rows[i].address);
        char text[TW_ENDPOINT_TEXT_MAX];

        assert_int_equal(tw_endpoint_port(&endpoint), 0);
        tw_endpoint_set_port(&endpoint, rows[i].port);
        assert_int_equal(tw_endpoint_port(&endpoint), rows[i].port);
        assert_ptr_equal(tw_endpoint_format(&endpoint, text), text);
        assert_string_equal(text, rows[i].text);
        assert_int_equal(tw_endpoint_len(&endpoint), rows[i].len);
        assert_int_equal(tw_endpoint_is_wildcard(&endpoint), rows[i].wildcard);
    }
}

static void test_loopback(void **state)
{
    static const struct {
        const char *address;
        bool loopback;
    } rows[] = {
        {"127.0.0.1", true},         {"127.255.0.9", true},  {"::1", true},
        {"::ffff:127.0.0.1", true},  {"126.255.0.1", false}, {"128.0.0.1", false},
        {"0.0.0.0", false},          {"::", false},          {"::2", false},
        {"::ffff:128.0.0.1", false}, {"::127.0.0.1", false}, {"7f00::1", false},
    };
    struct tw_endpoint none = {0};

    (void)state;
    assert_false(tw_endpoint_is_loopback(&none));
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct tw_endpoint endpoint = endpoint_of(rows[i].address);

        assert_int_equal(tw_endpoint_is_loopback(&endpoint), rows[i].loopback);
    }
}

static void test_same_address(void **state)
{
    static const struct {
        const char *a, *b;
        bool same;
    } rows[] = {
        {"10.0.0.1", "10.0.0.1", true}, {"10.0.0.1", "10.0.0.2", false},
        {"::1", "[::1]", true},         {"::1", "::2", false},
        {"::", "0.0.0.0", false},       {"::ffff:10.0.0.1", "10.0.0.1", false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct tw_endpoint a = endpoint_of(rows[i].a), b = endpoint_of(rows[i].b);

        tw_endpoint_set_port(&a, 80);
        assert_int_equal(tw_endpoint_same_address(&a, &b), rows[i].same);
        assert_int_equal(tw_endpoint_same_address(&b, &a), rows[i].same);
    }
}

/* An interface may have a minus in its name. The last test: it ends in a network of its own, where
 * lo is called br-lan. */
static void test_minus(void **state)
{
    struct ifreq request = {.ifr_name = "lo", .ifr_newname = "br-lan"};
    struct tw_address_range range;
    int fd;

    (void)state;
    if (unshare(CLONE_NEWNET) && unshare(CLONE_NEWUSER | CLONE_NEWNET)) {
        print_message("skipped: no network namespace of our own: %s\n", strerror(errno));
        skip();
    }
    fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(ioctl(fd, SIOCSIFNAME, &request), 0);
    close(fd);
    assert_int_equal(tw_address_range_parse(tw_view_of("fe80::1%br-lan"), &range, NULL), 0);
    assert_int_equal(range.first.v6.sin6_scope_id, if_nametoindex("br-lan"));
    assert_int_equal(range.count, 1);
    assert_int_equal(tw_address_range_parse(tw_view_of("[fe80::1%br-lan]"), &range, NULL), 0);
    assert_int_equal(tw_address_range_parse(tw_view_of("fe80::1%br-wan"), &range, NULL), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_address),      cmocka_unit_test(test_range),
        cmocka_unit_test(test_listen_range), cmocka_unit_test(test_one_endpoint),
        cmocka_unit_test(test_at),           cmocka_unit_test(test_endpoint),
        cmocka_unit_test(test_loopback),     cmocka_unit_test(test_same_address),
        cmocka_unit_test(test_minus),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
