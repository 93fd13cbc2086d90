/*
 * guard.h - input at the edge: bytes whose last one stands before a page without access, so that a
 * parser that reads one byte too many dies; and tables of samples that are fed that way.
 */
#ifndef TIDEWAIT_TESTS_GUARD_H
#define TIDEWAIT_TESTS_GUARD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tidewait/error.h"
#include "tidewait/parse.h"

struct guard {
    char *room;
    size_t size; /* of the room; the page without access comes on top */
};

static inline void guard_init(struct guard *guard, size_t room)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    void *map;

    guard->size = (room / page + 1) * page;
    map =
        mmap(NULL, guard->size + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(map, MAP_FAILED);
    guard->room = map;
    assert_int_equal(mprotect(guard->room + guard->size, page, PROT_NONE), 0);
}

static inline void guard_fini(struct guard *guard)
{
    munmap(guard->room, guard->size + (size_t)sysconf(_SC_PAGESIZE));
}

/* The bytes at the end of the room, until the next call. What stands before them is 0xa5. */
static inline struct tw_view guard_view(struct guard *guard, const char *data, size_t len)
{
    struct tw_view view = {guard->room + guard->size - len, len};

    assert_true(len <= guard->size);
    memset(guard->room, 0xa5, guard->size - len);
    memcpy(guard->room + guard->size - len, data, len);
    return view;
}

#define SAMPLE_TEXT_MAX 256
#define SAMPLE(text)    text, sizeof(text) - 1

/* Runs a parser and prints its result, or the untouched place for it, to `out`. */
typedef int sample_parse(struct tw_view text, char out[SAMPLE_TEXT_MAX], struct tw_error *error);

struct sample {
    const char *text;
    size_t len;
    const char *expect; /* rc 0: the result as printed; otherwise what the error text contains */
    int rc;
};

static inline void sample_check_failure(const struct sample *sample, size_t len, int rc,
                                        const struct tw_error *error)
{
    if ((rc != -EINVAL && rc != -ERANGE) || error->code != -rc || !error->text[0] ||
        strchr(error->text, '\n'))
        fail_msg("the first %zu bytes of '%s': %d, error %d '%s'", len, sample->text, rc,
                 error->code, error->text);
}

static inline void sample_check(const struct sample *sample, sample_parse *parse,
                                const char *untouched, struct tw_view text)
{
    struct tw_error error = {0};
    char out[SAMPLE_TEXT_MAX], again[SAMPLE_TEXT_MAX];
    int rc = parse(text, out, &error);

    if (rc != sample->rc)
        fail_msg("'%s': %d instead of %d; '%s' '%s'", sample->text, rc, sample->rc, out,
                 error.text);
    assert_int_equal(parse(text, again, NULL), rc);
    assert_string_equal(out, again);
    if (rc == 0) {
        assert_string_equal(out, sample->expect);
        assert_int_equal(error.code, 0);
        return;
    }
    sample_check_failure(sample, text.len, rc, &error);
    assert_string_equal(out, untouched);
    if (!strstr(error.text, sample->expect))
        fail_msg("'%s': '%s' does not contain '%s'", sample->text, error.text, sample->expect);
}

/* Each sample whole, with its outcome; then each of its prefixes, whatever the outcome. */
static inline void sample_run(const struct sample *samples, size_t count, sample_parse *parse,
                              const char *untouched)
{
    struct guard guard;

    guard_init(&guard, 4096);
    for (const struct sample *sample = samples; sample < samples + count; sample++) {
        sample_check(sample, parse, untouched, guard_view(&guard, sample->text, sample->len));
        for (size_t len = 0; len < sample->len; len++) {
            struct tw_error error = {0};
            char out[SAMPLE_TEXT_MAX];
            int rc = parse(guard_view(&guard, sample->text, len), out, &error);

            if (rc == 0)
                continue;
            sample_check_failure(sample, len, rc, &error);
            assert_string_equal(out, untouched);
        }
    }
    guard_fini(&guard);
}

#define SAMPLE_RUN(samples, parse, untouched) \
    sample_run(samples, sizeof(samples) / sizeof((samples)[0]), parse, untouched)

#endif
