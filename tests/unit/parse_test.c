/* Samples for every parser of parse.h. */
#include "guard.h"

#include <inttypes.h>

/* What the place for a result holds before the parser runs. */
#define UNTOUCHED      123456789
#define UNTOUCHED_TEXT "123456789"

#define DIGITS_50  "11111111111111111111111111111111111111111111111111"
#define DIGITS_400 DIGITS_50 DIGITS_50 DIGITS_50 DIGITS_50 DIGITS_50 DIGITS_50 DIGITS_50 DIGITS_50
#define ZEROS_20   "00000000000000000000"

static int print_number(int rc, uint64_t value, char *out)
{
    snprintf(out, SAMPLE_TEXT_MAX, "%" PRIu64, value);
    return rc;
}

static int print_decimal(int rc, double value, char *out)
{
    snprintf(out, SAMPLE_TEXT_MAX, "%.10g", value);
    return rc;
}

static int number(struct tw_view text, char out[SAMPLE_TEXT_MAX], struct tw_error *error)
{
    uint64_t value = UNTOUCHED;
    int rc = tw_parse_number(text, "--threads", 2, 65535, &value, error);

    return print_number(rc, value, out);
}

static void test_number(void **state)
{
    static const struct sample samples[] = {
        {SAMPLE("2"), "2", 0},
        {SAMPLE("65535"), "65535", 0},
        {SAMPLE("0000000000000000000000000080"), "80", 0},
        {SAMPLE(""), "--threads: a number is missing", -EINVAL},
        {SAMPLE("1"), "--threads '1' is outside 2..65535", -ERANGE},
        {SAMPLE("0"), "'0'", -ERANGE},
        {SAMPLE("65536"), "'65536'", -ERANGE},
        {SAMPLE("70000"), "'70000'", -ERANGE},
        {SAMPLE("18446744073709551616"), "'18446744073709551616'", -ERANGE},
        {SAMPLE("18446744073709551618"), "'18446744073709551618'", -ERANGE}, /* 2 beyond 2^64 */
        {SAMPLE(DIGITS_400), DIGITS_50, -ERANGE},
        {SAMPLE("-1"), "'-1' is not a number", -EINVAL},
        {SAMPLE("+5"), "'+5'", -EINVAL},
        {SAMPLE(" 5"), "' 5'", -EINVAL},
        {SAMPLE("5 "), "'5 '", -EINVAL},
        {SAMPLE("5\n"), "'5\\x0a'", -EINVAL},
        {SAMPLE("5\0006"), "'5", -EINVAL},
        {SAMPLE("0x10"), "'0x10'", -EINVAL},
        {SAMPLE("1e3"), "'1e3'", -EINVAL},
        {SAMPLE("\xd9\xa1"), "'\xd9\xa1'", -EINVAL},
        {SAMPLE("99999999999999999999x"), "'99999999999999999999x' is not", -EINVAL},
    };

    (void)state;
    SAMPLE_RUN(samples, number, UNTOUCHED_TEXT);
}

static int any_number(struct tw_view text, char out[SAMPLE_TEXT_MAX], struct tw_error *error)
{
    uint64_t value = UNTOUCHED;
    int rc = tw_parse_number(text, "n", 0, UINT64_MAX, &value, error);

    return print_number(rc, value, out);
}

static void test_any_number(void **state)
{
    static const struct sample samples[] = {
        {SAMPLE("0"), "0", 0},
        {SAMPLE("18446744073709551615"), "18446744073709551615", 0},
        {SAMPLE("18446744073709551616"), "'18446744073709551616'", -ERANGE},
        {SAMPLE("184467440737095516150"), "'184467440737095516150'", -ERANGE},
        {SAMPLE(DIGITS_400), DIGITS_50, -ERANGE},
    };

    (void)state;
    SAMPLE_RUN(samples, any_number, UNTOUCHED_TEXT);
}

static int duration(struct tw_view text, char out[SAMPLE_TEXT_MAX], struct tw_error *error)
{
    uint64_t value = UNTOUCHED;
    int rc = tw_parse_duration(text, &value, error);

    return print_number(rc, value, out);
}

static void test_duration(void **state)
{
    static const struct sample samples[] = {
        {SAMPLE("200ms"), "200000000", 0},
        {SAMPLE("10s"), "10000000000", 0},
        {SAMPLE("5m"), "300000000000", 0},
        {SAMPLE("2h"), "7200000000000", 0},
        {SAMPLE("50us"), "50000", 0},
        {SAMPLE("7ns"), "7", 0},
        {SAMPLE("0"), "0", 0},
        {SAMPLE("0.0"), "0", 0},
        {SAMPLE("0s"), "0", 0},
        {SAMPLE("1.5s"), "1500000000", 0},
        {SAMPLE(".5s"), "500000000", 0},
        {SAMPLE("0.1s"), "100000000", 0},
        {SAMPLE("62.2s"), "62200000000", 0},
        {SAMPLE("0.3333333333333333333333333333s"), "333333333", 0},
        {SAMPLE("8760h"), "31536000000000000", 0},
        {SAMPLE("8761h"), "'8761h'", -ERANGE},
        {SAMPLE(DIGITS_400 "s"), DIGITS_50, -ERANGE},
        {SAMPLE("0." DIGITS_400 "s"), "111111111", 0},
        {SAMPLE(DIGITS_400 "." DIGITS_400 "s"), DIGITS_50, -ERANGE},
        {SAMPLE(""), "''", -EINVAL},
        {SAMPLE("10"), "'10' lacks a unit", -EINVAL},
        {SAMPLE("1.5"), "'1.5' lacks a unit", -EINVAL},
        {SAMPLE("10d"), "unknown unit 'd'", -EINVAL},
        {SAMPLE("10 s"), "unknown unit ' s'", -EINVAL},
        {SAMPLE("10S"), "'10S'", -EINVAL},
        {SAMPLE("10ss"), "'10ss'", -EINVAL},
        {SAMPLE("0x"), "'0x'", -EINVAL},
        {SAMPLE("1e3s"), "'1e3s'", -EINVAL},
        {SAMPLE("-1s"), "'-1s'", -EINVAL},
        {SAMPLE("1.2.3s"), "'1.2.3s'", -EINVAL},
        {SAMPLE("1,5s"), "'1,5s'", -EINVAL},
        {SAMPLE("."), "'.'", -EINVAL},
        {SAMPLE(".s"), "'.s'", -EINVAL},
        {SAMPLE("s"), "'s'", -EINVAL},
        {SAMPLE("infs"), "'infs'", -EINVAL},
        {SAMPLE("nan"), "'nan'", -EINVAL},
        {SAMPLE("10s\0"), "unknown unit 's", -EINVAL},
    };

    (void)state;
    SAMPLE_RUN(samples, duration, UNTOUCHED_TEXT);
}

static int size(struct tw_view text, char out[SAMPLE_TEXT_MAX], struct tw_error *error)
{
    uint64_t value = UNTOUCHED;
    int rc = tw_parse_size(text, &value, error);

    return print_number(rc, value, out);
}

static void test_size(void **state)
{
    static const struct sample samples[] = {
        {SAMPLE("13KiB"), "13312", 0},
        {SAMPLE("1MiB"), "1048576", 0},
        {SAMPLE("1GiB"), "1073741824", 0},
        {SAMPLE("64B"), "64", 0},
        {SAMPLE("512"), "512", 0},
        {SAMPLE("0"), "0", 0},
        {SAMPLE("2kB"), "2000", 0},
        {SAMPLE("2KB"), "2000", 0},
        {SAMPLE("2MB"), "2000000", 0},
        {SAMPLE("2GB"), "2000000000", 0},
        {SAMPLE("1K"), "1024", 0},
        {SAMPLE("1M"), "1048576", 0},
        {SAMPLE("1G"), "1073741824", 0},
        {SAMPLE("1.5KiB"), "1536", 0},
        {SAMPLE("1000000000000000"), "1000000000000000", 0},
        {SAMPLE("1000000000000001"), "'1000000000000001'", -ERANGE},
        {SAMPLE("99999999999999999999999GiB"), "'99999999999999999999999GiB'", -ERANGE},
        {SAMPLE(DIGITS_400 "." DIGITS_400), DIGITS_50, -ERANGE},
        {SAMPLE(""), "''", -EINVAL},
        {SAMPLE("KiB"), "'KiB'", -EINVAL},
        {SAMPLE("1TiB"), "unknown unit 'TiB'", -EINVAL},
        {SAMPLE("1kib"), "unknown unit 'kib'", -EINVAL},
        {SAMPLE("1 KiB"), "'1 KiB'", -EINVAL},
        {SAMPLE("-1"), "'-1'", -EINVAL},
        {SAMPLE("1..5"), "'1..5'", -EINVAL},
    };

    (void)state;
    SAMPLE_RUN(samples, size, UNTOUCHED_TEXT);
}

static int rate(struct tw_view text, char out[SAMPLE_TEXT_MAX], struct tw_error *error)
{
    double value = UNTOUCHED;
    int rc = tw_parse_rate(text, &value, error);

    return print_decimal(rc, value, out);
}

static void test_rate(void **state)
{
    static const struct sample samples[] = {
        {SAMPLE("5000/s"), "5000", 0},
        {SAMPLE("300/m"), "5", 0},
        {SAMPLE("300/min"), "5", 0},
        {SAMPLE("7200/h"), "2", 0},
        {SAMPLE("1.5k/s"), "1500", 0},
        {SAMPLE("0.5/s"), "0.5", 0},
        {SAMPLE("1000000000/s"), "1000000000", 0},
        {SAMPLE("1000000001/s"), "'1000000001/s'", -ERANGE},
        {SAMPLE("0/s"), "'0/s'", -ERANGE},
        {SAMPLE("0"), "'0'", -ERANGE},
        {SAMPLE("0.0k/s"), "'0.0k/s'", -ERANGE},
        {SAMPLE(DIGITS_400 "." DIGITS_400 "/s"), DIGITS_50, -ERANGE},
        {SAMPLE(""), "''", -EINVAL},
        {SAMPLE("/s"), "'/s'", -EINVAL},
        {SAMPLE("5000"), "'5000' lacks a unit", -EINVAL},
        {SAMPLE("5000/"), "unknown unit '/'", -EINVAL},
        {SAMPLE("5000/d"), "unknown unit '/d'", -EINVAL},
        {SAMPLE("5000 /s"), "'5000 /s'", -EINVAL},
        {SAMPLE("-5/s"), "'-5/s'", -EINVAL},
    };

    (void)state;
    SAMPLE_RUN(samples, rate, UNTOUCHED_TEXT);
}

static int share(struct tw_view text, char out[SAMPLE_TEXT_MAX], struct tw_error *error)
{
    double value = UNTOUCHED;
    int rc = tw_parse_share(text, &value, error);

    return print_decimal(rc, value, out);
}

static void test_share(void **state)
{
    static const struct sample samples[] = {
        {SAMPLE("5%"), "0.05", 0},
        {SAMPLE("0.05"), "0.05", 0},
        {SAMPLE("0"), "0", 0},
        {SAMPLE("0%"), "0", 0},
        {SAMPLE("1"), "1", 0},
        {SAMPLE("100%"), "1", 0},
        {SAMPLE("12.5%"), "0.125", 0},
        {SAMPLE("0." ZEROS_20 "5"), "0", 0},
        {SAMPLE("100.1%"), "'100.1%'", -ERANGE},
        {SAMPLE("1.01"), "'1.01'", -ERANGE},
        {SAMPLE("5"), "'5'", -ERANGE},
        {SAMPLE(DIGITS_400 "." DIGITS_400), DIGITS_50, -ERANGE},
        {SAMPLE(DIGITS_400 "." DIGITS_400 "%"), DIGITS_50, -ERANGE},
        {SAMPLE(""), "''", -EINVAL},
        {SAMPLE("%"), "'%'", -EINVAL},
        {SAMPLE("5%%"), "'5%%'", -EINVAL},
        {SAMPLE("5 %"), "'5 %'", -EINVAL},
        {SAMPLE("-5%"), "'-5%'", -EINVAL},
        {SAMPLE("half"), "'half'", -EINVAL},
    };

    (void)state;
    SAMPLE_RUN(samples, share, UNTOUCHED_TEXT);
}

static int ports(struct tw_view text, char out[SAMPLE_TEXT_MAX], struct tw_error *error)
{
    struct tw_port_range range = {11, 22};
    int rc = tw_parse_ports(text, &range, error);

    snprintf(out, SAMPLE_TEXT_MAX, "%u-%u", range.first, range.last);
    return rc;
}

static void test_ports(void **state)
{
    static const struct sample samples[] = {
        {SAMPLE("3000-30000"), "3000-30000", 0},
        {SAMPLE("3000:30000"), "3000-30000", 0},
        {SAMPLE("3000"), "3000-3000", 0},
        {SAMPLE("1-65535"), "1-65535", 0},
        {SAMPLE("80-80"), "80-80", 0},
        {SAMPLE("70000"), "'70000'", -ERANGE},
        {SAMPLE("0"), "'0'", -ERANGE},
        {SAMPLE("0-10"), "'0'", -ERANGE},
        {SAMPLE("3000-70000"), "'70000'", -ERANGE},
        {SAMPLE("3000-18446744073709551617"), "'18446744073709551617'", -ERANGE},
        {SAMPLE("30000-3000"), "'30000-3000' is reversed; write 3000-30000", -EINVAL},
        {SAMPLE("30000:3000"), "'30000:3000'", -EINVAL},
        {SAMPLE(""), "''", -EINVAL},
        {SAMPLE("-"), "'-'", -EINVAL},
        {SAMPLE(":"), "':'", -EINVAL},
        {SAMPLE("3000-"), "'3000-'", -EINVAL},
        {SAMPLE("-3000"), "'-3000'", -EINVAL},
        {SAMPLE("3000--4000"), "'-4000'", -EINVAL},
        {SAMPLE("3000:4000-5000"), "'4000-5000'", -EINVAL},
        {SAMPLE("1-2-3"), "'2-3'", -EINVAL},
        {SAMPLE("http"), "'http'", -EINVAL},
        {SAMPLE("80,443"), "'80,443'", -EINVAL},
        {SAMPLE("80 "), "'80 '", -EINVAL},
    };

    (void)state;
    SAMPLE_RUN(samples, ports, "11-22");
}

static void test_cut(void **state)
{
    static const struct {
        const char *text, *head, *rest; /* rest NULL: there was no separator */
    } rows[] = {
        {"a,b", "a", "b"}, {"a,b,c", "a", "b,c"}, {",b", "", "b"}, {"a,", "a", ""},
        {",", "", ""},     {"abc", "abc", NULL},  {"", "", NULL},
    };
    struct guard guard;

    (void)state;
    guard_init(&guard, 64);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct tw_view rest = guard_view(&guard, rows[i].text, strlen(rows[i].text));
        struct tw_view head = tw_view_cut(&rest, ',');

        assert_true(tw_view_equals(head, rows[i].head));
        assert_int_equal(rest.data != NULL, rows[i].rest != NULL);
        assert_true(tw_view_equals(rest, rows[i].rest ? rows[i].rest : ""));
    }
    guard_fini(&guard);
}

static void test_words(void **state)
{
    static const struct {
        const char *text, *trimmed, *word, *rest;
    } rows[] = {
        {"a b", "a b", "a", "b"}, {"\t a  b c\t", "a  b c", "a", "b c"},
        {"a", "a", "a", ""},      {" \t ", "", "", ""},
        {"", "", "", ""},         {"a\n b", "a\n b", "a\n", "b"},
    };
    struct tw_view nul = {"\0a", 2};
    struct guard guard;

    (void)state;
    guard_init(&guard, 64);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct tw_view rest = guard_view(&guard, rows[i].text, strlen(rows[i].text));

        assert_true(tw_view_equals(tw_view_trim(rest, " \t"), rows[i].trimmed));
        assert_true(tw_view_equals(tw_view_word(&rest, " \t"), rows[i].word));
        assert_true(tw_view_equals(rest, rows[i].rest));
    }
    assert_int_equal(tw_view_trim(nul, " ").len, 2);
    guard_fini(&guard);
}

static void test_equals(void **state)
{
    struct tw_view nothing = {NULL, 0}, inside = {"abcdef", 3};

    (void)state;
    assert_true(tw_view_equals(inside, "abc"));
    assert_false(tw_view_equals(inside, "abcdef"));
    assert_false(tw_view_equals(inside, "ab"));
    assert_false(tw_view_equals(inside, "abd"));
    assert_false(tw_view_equals(inside, ""));
    assert_true(tw_view_equals(nothing, ""));
    assert_false(tw_view_equals(nothing, "a"));
    assert_int_equal(tw_view_of("abc").len, 3);
}

/* error.h: the first error wins; the text is one line; no struct is fine as well. */
static void test_error(void **state)
{
    struct tw_error error = {0};
    char text[600];

    (void)state;
    memset(text, 'x', sizeof(text));
    text[sizeof(text) - 1] = 0;
    assert_int_equal(tw_error_set(NULL, EINVAL, "%s", "nobody listens"), -EINVAL);
    assert_int_equal(tw_error_set(&error, ERANGE, "one\n\033[31m%s", "line"), -ERANGE);
    assert_string_equal(error.text, "one\\x0a\\x1b[31mline");
    assert_int_equal(tw_error_set(&error, EINVAL, "a consequence"), -EINVAL);
    assert_int_equal(error.code, ERANGE);
    assert_string_equal(error.text, "one\\x0a\\x1b[31mline");
    error = (struct tw_error){0};
    tw_error_set(&error, EINVAL, "%s", text);
    assert_int_equal(strlen(error.text), sizeof(error.text) - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_number),   cmocka_unit_test(test_any_number),
        cmocka_unit_test(test_duration), cmocka_unit_test(test_size),
        cmocka_unit_test(test_rate),     cmocka_unit_test(test_share),
        cmocka_unit_test(test_ports),    cmocka_unit_test(test_cut),
        cmocka_unit_test(test_equals),   cmocka_unit_test(test_error),
        cmocka_unit_test(test_words),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
