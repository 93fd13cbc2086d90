/* The parts of fan that are told by their input alone: lines, spools, fingerprints, causes, quotes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cause.h"
#include "lines.h"
#include "quote.h"
#include "spool.h"

/* --- lines ------------------------------------------------------------------------------------ */

/* What was taken: each piece with how it ended. */
static void take(void *context, const char *text, size_t len, enum line_end end)
{
    static const char marks[] = {[LINE_WHOLE] = '\n', [LINE_GOES_ON] = '+', [LINE_CUT] = '.'};
    FILE *out = context;

    if (len)
        fwrite(text, 1, len, out);
    fputc(marks[end], out);
}

static char *cut(const char *text, size_t len, size_t step)
{
    struct lines lines = {.held = NULL};
    char *taken = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&taken, &size);

    assert_non_null(out);
    for (size_t at = 0; at < len; at += step)
        lines_add(&lines, text + at, len - at < step ? len - at : step, take, out);
    lines_end(&lines, take, out);
    assert_int_equal(fclose(out), 0);
    assert_null(lines.held);
    return taken;
}

static void test_lines(void **state)
{
    static const struct {
        const char *text, *taken;
    } samples[] = {
        {"", ""},
        {"a", "a."},
        {"a\n", "a\n"},
        {"\n\n", "\n\n"},
        {"a\nbc\n", "a\nbc\n"},
        {"a\n\nbc", "a\n\nbc."},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++)
        for (size_t step = 1; step < 8; step++) {
            char *taken = cut(samples[i].text, strlen(samples[i].text), step);

            assert_string_equal(taken, samples[i].taken);
            free(taken);
        }
}

/* Whatever the pieces that it comes in, a long line is cut at the same places. */
static void test_long_lines(void **state)
{
    static const size_t lens[] = {LINE_MAX_LEN - 1, LINE_MAX_LEN, LINE_MAX_LEN + 1,
                                  3 * LINE_MAX_LEN};
    static const size_t steps[] = {1000, 4096, LINE_MAX_LEN, 4 * LINE_MAX_LEN};
    char *text = malloc(3 * LINE_MAX_LEN + 3);

    (void)state;
    assert_non_null(text);
    for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++)
        for (size_t j = 0; j < sizeof(steps) / sizeof(steps[0]); j++) {
            size_t pieces = (lens[i] + LINE_MAX_LEN - 1) / LINE_MAX_LEN;
            char *taken;

            memset(text, 'x', lens[i]);
            text[lens[i]] = '\n';
            text[lens[i] + 1] = 'y';
            taken = cut(text, lens[i] + 2, steps[j]);
            assert_int_equal(strlen(taken), lens[i] + pieces + 2);
            for (size_t piece = 1; piece < pieces; piece++)
                assert_int_equal(taken[piece * (LINE_MAX_LEN + 1) - 1], '+');
            assert_string_equal(taken + lens[i] + pieces - 1, "\ny.");
            free(taken);
        }
    free(text);
}

/* --- spools ----------------------------------------------------------------------------------- */

static void fill(char *data, size_t len, unsigned seed)
{
    for (size_t i = 0; i < len; i++)
        data[i] = (char)('a' + (i * 7 + i / 251 + seed) % 26);
}

static void assert_holds(const struct spool *spool, const char *data, size_t len)
{
    char buffer[777];
    uint64_t at = 0;
    long got;

    while ((got = spool_read(spool, at, buffer, sizeof(buffer))) > 0) {
        assert_true(at + (uint64_t)got <= len);
        assert_memory_equal(buffer, data + at, (size_t)got);
        at += (uint64_t)got;
    }
    assert_int_equal(got, 0);
    assert_int_equal(at, len);
}

static void add_in_steps(struct spool *spool, const char *data, size_t len, size_t step)
{
    for (size_t at = 0; at < len; at += step)
        spool_add(spool, data + at, len - at < step ? len - at : step);
    spool_end(spool);
}

static void test_spool(void **state)
{
    static const size_t lens[] = {
        0, 1, SPOOL_BLOCK - 1, SPOOL_BLOCK, SPOOL_BLOCK + 1, 5 * SPOOL_BLOCK + 17};
    size_t max = 5 * SPOOL_BLOCK + 17;
    struct spool spools[2][6];
    struct spill spill;
    char *data = malloc(max);

    (void)state;
    assert_non_null(data);
    fill(data, max, 0);
    /* The second round goes to the file, whatever its size, and has the blocks of the first. */
    for (size_t memory_max = 1 << 20, round = 0; round < 3; round++, memory_max = 0) {
        spill_init(&spill, memory_max);
        for (size_t again = 0; again < 2; again++) {
            for (size_t i = 0; i < 6; i++) {
                spool_init(&spools[again][i], &spill, UINT64_MAX);
                add_in_steps(&spools[again][i], data, lens[i], 1000 + again * 50000);
                assert_int_equal(spools[again][i].failed, 0);
            }
            for (size_t i = 0; i < 6; i++)
                assert_holds(&spools[again][i], data, lens[i]);
        }
        if (round)
            assert_int_equal(spill.memory, 0);
        for (size_t i = 0; i < 6; i++)
            spool_fini(&spools[0][i]);
        for (size_t i = 0; i < 6; i++)
            assert_holds(&spools[1][i], data, lens[i]);
        for (size_t i = 0; i < 6; i++)
            spool_fini(&spools[1][i]);
        assert_int_equal(spill.memory, 0);
        assert_int_equal(spill.unused_count, spill.blocks);
        spill_fini(&spill);
    }
    free(data);
}

static void test_spool_limit(void **state)
{
    struct spill spill;
    struct spool spool, other;
    uint64_t a[2], b[2];
    char data[100];

    (void)state;
    fill(data, sizeof(data), 3);
    spill_init(&spill, 1 << 20);
    spool_init(&spool, &spill, 10);
    spool_init(&other, &spill, 1000);
    add_in_steps(&spool, data, sizeof(data), 7);
    add_in_steps(&other, data, sizeof(data), 100);
    assert_int_equal(spool_total(&spool), sizeof(data));
    assert_holds(&spool, data, 10);
    /* What was not kept counts when outputs are compared. */
    fingerprint_end(&spool.fingerprint, a);
    fingerprint_end(&other.fingerprint, b);
    assert_memory_equal(a, b, sizeof(a));
    spool_fini(&spool);
    spool_fini(&other);
    spill_fini(&spill);
}

static void test_spool_without_a_file(void **state)
{
    struct spill spill;
    struct spool spool;
    char *data = calloc(1, 2 * SPOOL_BLOCK);

    (void)state;
    assert_non_null(data);
    assert_int_equal(setenv("TMPDIR", "/does/not/exist", 1), 0);
    spill_init(&spill, 1 << 20);
    spool_init(&spool, &spill, UINT64_MAX);
    spool_add(&spool, data, 2 * SPOOL_BLOCK);
    spool_end(&spool);
    assert_int_equal(spool.failed, ENOENT);
    assert_int_equal(spool_total(&spool), 2 * SPOOL_BLOCK);
    assert_holds(&spool, data, 0);
    spool_fini(&spool);
    spill_fini(&spill);
    free(data);
    assert_int_equal(unsetenv("TMPDIR"), 0);
}

static void test_binary(void **state)
{
    static const struct {
        const char *text;
        size_t len;
        bool binary;
    } samples[] = {
        {"abc\n", 4, false},
        {"a\0b", 3, false},
        {"\xc3\xa9", 2, false},
        {"\xe2\x82\xac!", 4, false},
        {"\xf0\x9f\x98\x80", 4, false},
        {"\xff", 1, true},
        {"\x80", 1, true},
        {"\xc3", 1, true},
        {"\xc3(", 2, true},
        {"\xe2\x82", 2, true},
        {"\xed\xa0\x80", 3, true},
        {"a\xf0\x9f\x98", 4, true},
        {"\xc0\x80", 2, true},
        {"\xe2(\xa1", 3, true},
        {"\xf0\x9f(\x80", 4, true},
    };
    struct spill spill;

    (void)state;
    spill_init(&spill, 1 << 20);
    for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++)
        for (size_t step = 1; step < 5; step++) {
            struct spool spool;

            spool_init(&spool, &spill, 100);
            add_in_steps(&spool, samples[i].text, samples[i].len, step);
            if (spool.binary != samples[i].binary)
                fail_msg("sample %zu in steps of %zu: %d", i, step, spool.binary);
            spool_fini(&spool);
        }
    spill_fini(&spill);
}

/* --- fingerprints ----------------------------------------------------------------------------- */

/* The vectors of the authors of SipHash, 128 bits: key 00..0f, input 00, 01, ... */
static void test_fingerprint(void **state)
{
    static const struct {
        size_t len;
        unsigned char out[16];
    } vectors[] = {
        {0,
         {0xa3, 0x81, 0x7f, 0x04, 0xba, 0x25, 0xa8, 0xe6, 0x6d, 0xf6, 0x72, 0x14, 0xc7, 0x55, 0x02,
          0x93}},
        {1,
         {0xda, 0x87, 0xc1, 0xd8, 0x6b, 0x99, 0xaf, 0x44, 0x34, 0x76, 0x59, 0x11, 0x9b, 0x22, 0xfc,
          0x45}},
    };
    const uint64_t key[2] = {0x0706050403020100, 0x0f0e0d0c0b0a0908};
    unsigned char data[100];
    uint64_t out[2], pieces[2];

    (void)state;
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (unsigned char)i;
    for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
        struct fingerprint fingerprint;

        fingerprint_begin(&fingerprint, key);
        fingerprint_add(&fingerprint, data, vectors[i].len);
        fingerprint_end(&fingerprint, out);
        assert_memory_equal(out, vectors[i].out, 16);
    }
    for (size_t step = 1; step < 20; step++) {
        struct fingerprint whole, cut_up;

        fingerprint_begin(&whole, key);
        fingerprint_begin(&cut_up, key);
        fingerprint_add(&whole, data, sizeof(data));
        for (size_t at = 0; at < sizeof(data); at += step)
            fingerprint_add(&cut_up, data + at,
                            sizeof(data) - at < step ? sizeof(data) - at : step);
        fingerprint_end(&whole, out);
        fingerprint_end(&cut_up, pieces);
        assert_memory_equal(out, pieces, sizeof(out));
    }
}

/* --- causes ----------------------------------------------------------------------------------- */

static void test_causes(void **state)
{
    static const struct {
        const char *text;
        enum fan_cause cause;
        const char *line;
    } samples[] = {
        {"ssh: connect to host a port 22: Connection refused\r\n", CAUSE_REFUSED,
         "ssh: connect to host a port 22: Connection refused"},
        {"Warning: x\nssh: connect to host a port 22: Connection timed out\n", CAUSE_TIMEOUT,
         "ssh: connect to host a port 22: Connection timed out"},
        {"Connection timed out during banner exchange\r\n", CAUSE_TIMEOUT, NULL},
        {"ssh: connect to host a port 22: No route to host\n", CAUSE_UNREACHABLE, NULL},
        {"ssh: connect to host a port 22: Network is unreachable\n", CAUSE_UNREACHABLE, NULL},
        {"ssh: connect to host a port 22: Cannot assign requested address\n", CAUSE_ADDRESS, NULL},
        {"ssh: Could not resolve hostname a: Name or service not known\n", CAUSE_UNKNOWN_HOST,
         NULL},
        {"@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\n...\nHost key verification "
         "failed.\n",
         CAUSE_HOST_KEY, "Host key verification failed."},
        {"a@b: Permission denied (publickey).\n", CAUSE_AUTHENTICATION, NULL},
        {"Received disconnect from 1.2.3.4 port 22:2: Too many authentication failures\n"
         "Disconnected from 1.2.3.4 port 22\n",
         CAUSE_AUTHENTICATION, NULL},
        {"kex_exchange_identification: Connection closed by remote host\n"
         "Connection closed by 1.2.3.4 port 22\n",
         CAUSE_CLOSED, NULL},
        {"Unable to negotiate with 1.2.3.4 port 22: no matching cipher found.\n", CAUSE_CONNECT,
         NULL},
        /* Two addresses: the one that answered tells more. */
        {"ssh: connect to host a port 22: Network is unreachable\n"
         "ssh: connect to host a port 22: Connection refused\n",
         CAUSE_REFUSED, NULL},
        {"/bin/sh: Permission denied\n", CAUSE_NONE, NULL},
        {"", CAUSE_NONE, NULL},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
        const char *line = NULL;
        size_t len = 0;
        enum fan_cause cause = cause_of_ssh(samples[i].text, strlen(samples[i].text), &line, &len);

        if (cause != samples[i].cause)
            fail_msg("'%s': %s", samples[i].text, cause_names[cause]);
        if (samples[i].line) {
            assert_int_equal(len, strlen(samples[i].line));
            assert_memory_equal(line, samples[i].line, len);
        }
    }
    for (int i = 0; i < CAUSES; i++)
        assert_non_null(cause_names[i]);
    assert_true(cause_is_of_connect(CAUSE_ADDRESS));
    assert_false(cause_is_of_connect(CAUSE_HOST_KEY));
    assert_false(cause_is_of_connect(CAUSE_AUTHENTICATION));
    assert_false(cause_is_of_connect(CAUSE_EXIT));
}

/* --- quotes ----------------------------------------------------------------------------------- */

static void assert_filled(const char *pattern, const struct host *host, const char *user,
                          const char *command, const char *wanted)
{
    char *text = quote_fill(pattern, host, user, command);

    assert_non_null(text);
    assert_string_equal(text, wanted);
    free(text);
}

static void test_quotes(void **state)
{
    char label[] = "a";
    const struct host host = {.label = label, .address = "a", .user = "bob", .port = 22};
    const struct host bare = {.label = label, .address = "a"};
    char *word = quote_word("it's $x \\");

    (void)state;
    assert_string_equal(word, "'it'\\''s $x \\'");
    free(word);
    assert_filled("{user}@{host}:{port} {x} {command}", &host, "eve", "a 'b'",
                  "'bob'@'a':22 {x} 'a '\\''b'\\'''");
    assert_filled("{user} {port}{", &bare, "eve", "x", "'eve' ''{");
    assert_filled("{user}", &bare, NULL, "x", "''");
    /* What was filled in is not filled again, and without a command {command} is as it is. */
    assert_filled("{command}", &host, NULL, "{host}", "'{host}'");
    assert_filled("{command}", &host, NULL, NULL, "{command}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_long_lines),
        cmocka_unit_test(test_spool),
        cmocka_unit_test(test_spool_limit),
        cmocka_unit_test(test_spool_without_a_file),
        cmocka_unit_test(test_binary),
        cmocka_unit_test(test_fingerprint),
        cmocka_unit_test(test_causes),
        cmocka_unit_test(test_quotes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
