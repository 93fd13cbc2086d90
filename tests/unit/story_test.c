/*
 * Stories: what they have room for, and what passes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "story.h"

static void story_counts_what_is_lost(void **state)
{
    struct story *story = calloc(1, sizeof(*story));

    (void)state;
    for (int i = 0; i < STORY_EVENTS_MAX + 7; i++)
        story_add_event(story, (uint64_t)i, STORY_NOTE, "event %d", i);
    assert_int_equal(story->event_count, STORY_EVENTS_MAX);
    assert_int_equal(story->events_lost, 7);
    assert_string_equal(story->events[STORY_EVENTS_MAX - 1].text, "event 399");
    for (int i = 0; i < STORY_CHECKS_MAX; i++)
        assert_true(story_add_check(story, true, "check"));
    assert_false(story_add_check(story, true, "one too many"));
    assert_int_equal(story->check_count, STORY_CHECKS_MAX);
    free(story);
}

static void story_texts_are_harmless(void **state)
{
    struct story *story = calloc(1, sizeof(*story));
    char text[2 * STORY_TEXT_MAX];

    (void)state;
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = 0;
    story_add_event(story, 0, STORY_LEFT, "a\033[2Jb\nc\177");
    assert_string_equal(story->events[0].text, "a\\x1b[2Jb\\x0ac\\x7f");
    story_add_event(story, 0, STORY_LEFT, "%s", text);
    assert_int_equal(strlen(story->events[1].text), STORY_TEXT_MAX - 1);
    free(story);
}

static void story_passes_by_its_checks(void **state)
{
    struct story *story = calloc(1, sizeof(*story));

    (void)state;
    story_set_end(story, STORY_PLAYED, "%s", "");
    assert_false(story_passed(story));
    story_add_check(story, true, "held");
    assert_true(story_passed(story));
    story_add_check(story, false, "not held");
    assert_false(story_passed(story));
    free(story);
    story = calloc(1, sizeof(*story));
    story_add_check(story, true, "held");
    assert_false(story_passed(story));
    story_set_end(story, STORY_LACKING, "first");
    story_set_end(story, STORY_PLAYED, "second");
    assert_int_equal(story->end, STORY_LACKING);
    assert_string_equal(story->reason, "first");
    free(story);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(story_counts_what_is_lost),
        cmocka_unit_test(story_texts_are_harmless),
        cmocka_unit_test(story_passes_by_its_checks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
