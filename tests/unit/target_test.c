/* The address as people type it: samples, and each prefix of each of them. */
#include "guard.h"

#include "target.h"

#include "tidewait/address.h"

#define DIGITS_20 "11111111111111111111"
#define PATH_40   "/0123456789012345678901234567890123456789"

/* "tcp 0.0.0.0:80" for a port alone, "tcp =0.0.0.0:80" when an address was named. */
static void print_target(const struct target *target, char out[SAMPLE_TEXT_MAX])
{
    char address[TW_ENDPOINT_TEXT_MAX];
    struct tw_endpoint bare = target->endpoint;

    if (!target->protocol) {
        snprintf(out, SAMPLE_TEXT_MAX, "unix %s", target->path);
        return;
    }
    tw_endpoint_set_port(&bare, 0);
    snprintf(out, SAMPLE_TEXT_MAX, "%s %s%s %u%s", target->protocol == IPPROTO_UDP ? "udp" : "tcp",
             target->has_address ? "=" : "", tw_endpoint_format(&bare, address),
             tw_endpoint_port(&target->endpoint), target->path ? " with a path" : "");
}

/* target_parse() reads up to a NUL: the view's text with the NUL as the last byte before a page
 * without access. A refusal must leave the result alone. */
static int target(struct tw_view text, char out[SAMPLE_TEXT_MAX], struct tw_error *error)
{
    struct target result, untouched;
    struct guard guard;
    char *copy;
    int rc;

    guard_init(&guard, text.len + 1);
    copy = guard.room + guard.size - text.len - 1;
    memcpy(copy, text.data, text.len);
    copy[text.len] = 0;
    memset(&result, 0xa5, sizeof(result));
    untouched = result;
    rc = target_parse(copy, &result, error);
    snprintf(out, SAMPLE_TEXT_MAX, "untouched");
    if (rc == 0)
        print_target(&result, out);
    /* Padding counts: nothing at all may be written.
     * NOLINTNEXTLINE(bugprone-suspicious-memory-comparison) */
    else if (memcmp(&result, &untouched, sizeof(result)) != 0)
        snprintf(out, SAMPLE_TEXT_MAX, "touched");
    guard_fini(&guard);
    return rc;
}

static void test_ports(void **state)
{
    static const struct sample samples[] = {
        {SAMPLE("8080"), "tcp 0.0.0.0 8080", 0},
        {SAMPLE(":8080"), "tcp 0.0.0.0 8080", 0},
        {SAMPLE("1"), "tcp 0.0.0.0 1", 0},
        {SAMPLE("65535"), "tcp 0.0.0.0 65535", 0},
        {SAMPLE("0000000000000080"), "tcp 0.0.0.0 80", 0},
        {SAMPLE("0"), "tcp 0.0.0.0 0", 0},
        {SAMPLE(":0"), "tcp 0.0.0.0 0", 0},
        {SAMPLE("0/udp"), "udp 0.0.0.0 0", 0},
        {SAMPLE("53/udp"), "udp 0.0.0.0 53", 0},
        {SAMPLE(":53/udp"), "udp 0.0.0.0 53", 0},
        {SAMPLE("80/tcp"), "tcp 0.0.0.0 80", 0},
        {SAMPLE("65536"), "'65536'", -ERANGE},
        {SAMPLE(DIGITS_20), "'" DIGITS_20 "'", -ERANGE},
        {SAMPLE("-1"), "'-1'", -EINVAL},
        {SAMPLE("+80"), "'+80'", -EINVAL},
        {SAMPLE(" 80"), "' 80'", -EINVAL},
        {SAMPLE("80 "), "'80 '", -EINVAL},
        {SAMPLE("0x50"), "'0x50'", -EINVAL},
        {SAMPLE("80/sctp"), "'80/sctp'", -EINVAL},
        {SAMPLE("80/UDP"), "'80/UDP'", -EINVAL},
        {SAMPLE("80/udp/udp"), "80/udp", -EINVAL},
        {SAMPLE("80/"), "'80/'", -EINVAL},
        {SAMPLE("/udp"), "'/udp'", -EINVAL},
        {SAMPLE("80-90"), "'80-90' is a range", -EINVAL},
        {SAMPLE("80-80"), "tcp 0.0.0.0 80", 0},
        {SAMPLE("90-80"), "'90-80'", -EINVAL},
        {SAMPLE(""), "''", -EINVAL},
        {SAMPLE(":"), "", -EINVAL},
    };

    (void)state;
    SAMPLE_RUN(samples, target, "untouched");
}

static void test_addresses(void **state)
{
    static const struct sample samples[] = {
        {SAMPLE("127.0.0.1:8080"), "tcp =127.0.0.1 8080", 0},
        {SAMPLE("127.0.0.1:0"), "tcp =127.0.0.1 0", 0},
        {SAMPLE("127.0.0.1:53/udp"), "udp =127.0.0.1 53", 0},
        {SAMPLE("255.255.255.255:65535"), "tcp =255.255.255.255 65535", 0},
        {SAMPLE("0.0.0.0:80"), "tcp =0.0.0.0 80", 0},
        {SAMPLE("*:80"), "tcp =0.0.0.0 80", 0},
        {SAMPLE("*:0"), "tcp =0.0.0.0 0", 0},
        {SAMPLE("[::1]:8080"), "tcp =::1 8080", 0},
        {SAMPLE("[::1]:0"), "tcp =::1 0", 0},
        {SAMPLE("[::]:80"), "tcp =:: 80", 0},
        {SAMPLE("[::]:53/udp"), "udp =:: 53", 0},
        {SAMPLE("[::ffff:127.0.0.1]:80"), "tcp =::ffff:127.0.0.1 80", 0},
        {SAMPLE("[2001:db8:1111:2222:3333:4444:5555:6666]:65535/tcp"),
         "tcp =2001:db8:1111:2222:3333:4444:5555:6666 65535", 0},
        {SAMPLE("[fe80::1%lo]:80"), "tcp =fe80::1%lo 80", 0},
        {SAMPLE("[fe80::1%nosuchif]:80"), "nosuchif", -EINVAL},
        {SAMPLE("127.0.0.1"), "'127.0.0.1'", -EINVAL},
        {SAMPLE("256.0.0.1:80"), "'256.0.0.1'", -EINVAL},
        {SAMPLE("127.0.0.1:80:90"), "127.0.0.1:80", -EINVAL},
        {SAMPLE("127.0.0.1:65536"), "'65536'", -ERANGE},
        {SAMPLE("127.0.0.1:"), "", -EINVAL},
        {SAMPLE("127.0.0.1:80/udp "), "80/udp ", -EINVAL},
        {SAMPLE("[::1]"), "'[::1]'", -EINVAL},
        {SAMPLE("[::g]:80"), "'[::g]'", -EINVAL},
        {SAMPLE("[]:80"), "'[]'", -EINVAL},
        {SAMPLE("x:0"), "'x'", -EINVAL},
        {SAMPLE("127.0.0.1-127.0.0.2:80"), "is a range", -EINVAL},
        {SAMPLE("127.0.0.1:80-90"), "is a range", -EINVAL},
        {SAMPLE("10.0.0.0/30:80"), "is a range", -EINVAL},
        {SAMPLE("10.0.0.1-10.0.0.1:80"), "tcp =10.0.0.1 80", 0},
    };

    (void)state;
    SAMPLE_RUN(samples, target, "untouched");
}

static void test_localhost(void **state)
{
    static const struct sample samples[] = {
        {SAMPLE("localhost:3000"), "tcp =127.0.0.1 3000", 0},
        {SAMPLE("localhost:0"), "tcp =127.0.0.1 0", 0},
        {SAMPLE("localhost:53/udp"), "udp =127.0.0.1 53", 0},
        {SAMPLE("localhost"), "'localhost'", -EINVAL},
        {SAMPLE("localhost:"), "localhost", -EINVAL},
        {SAMPLE("localhost:x"), "'x'", -EINVAL},
        {SAMPLE("localhost:65536"), "'65536'", -ERANGE},
        {SAMPLE("localhost:80-90"), "range", -EINVAL},
        {SAMPLE("localhost:127.0.0.2:80"), "localhost", -EINVAL},
        {SAMPLE("localhost::80"), "localhost", -EINVAL},
        {SAMPLE("localhost.:80"), "'localhost.'", -EINVAL},
        {SAMPLE("Localhost:80"), "'Localhost'", -EINVAL},
    };

    (void)state;
    SAMPLE_RUN(samples, target, "untouched");
}

static void test_unix(void **state)
{
    static const struct sample samples[] = {
        {SAMPLE("unix:/run/x.sock"), "unix /run/x.sock", 0},
        {SAMPLE("unix:@name"), "unix @name", 0},
        {SAMPLE("unix:x"), "unix x", 0},
        {SAMPLE("unix:/a b:80/udp"), "unix /a b:80/udp", 0},
        {SAMPLE("unix:" PATH_40 PATH_40 PATH_40), "unix " PATH_40 PATH_40 PATH_40, 0},
        {SAMPLE("unix:"), "'unix:'", -EINVAL},
        {SAMPLE("unix"), "'unix'", -EINVAL},
        {SAMPLE("Unix:/x"), "Unix", -EINVAL},
        {SAMPLE("/run/x.sock"), "'/run/x.sock'", -EINVAL},
        {SAMPLE("@name"), "'@name'", -EINVAL},
    };

    (void)state;
    SAMPLE_RUN(samples, target, "untouched");
}

/* The text of an error goes to a terminal. */
static void test_control_characters(void **state)
{
    static const char *const texts[] = {"\033[31m", "\033[31m:80", "80\n", "a\rb:0", "[\007]:80"};

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct tw_error error = {0};
        struct target result;

        assert_int_equal(target_parse(texts[i], &result, &error), -EINVAL);
        for (const char *c = error.text; *c; c++)
            if ((unsigned char)*c < ' ')
                fail_msg("control character %d in '%s'", *c, error.text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ports),
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_localhost),
        cmocka_unit_test(test_unix),
        cmocka_unit_test(test_control_characters),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
