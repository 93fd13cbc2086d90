#include "story.h"

#include <stdarg.h>
#include <string.h>

#include "tidewait/text.h"

/* The compiler must not move the text behind the count that announces it. */
static void set_count(uint32_t *count, uint32_t value)
{
    __atomic_store_n(count, value, __ATOMIC_RELEASE);
}

void story_begin(struct story *story, const char *left, const char *right)
{
    snprintf(story->left, sizeof(story->left), "%s", left);
    snprintf(story->right, sizeof(story->right), "%s", right);
}

void story_add_event(struct story *story, uint64_t at_ns, enum story_place place,
                     const char *format, ...)
{
    struct story_event *event = &story->events[story->event_count];
    va_list args;

    if (story->event_count == STORY_EVENTS_MAX) {
        set_count(&story->events_lost, story->events_lost + 1);
        return;
    }
    event->at_ns = at_ns;
    event->place = (uint8_t)place;
    va_start(args, format);
    tw_text_format(event->text, sizeof(event->text), format, args);
    va_end(args);
    set_count(&story->event_count, story->event_count + 1);
}

bool story_add_check(struct story *story, bool held, const char *format, ...)
{
    struct story_check *check = &story->checks[story->check_count];
    va_list args;

    if (story->check_count == STORY_CHECKS_MAX)
        return false;
    check->held = held;
    va_start(args, format);
    tw_text_format(check->text, sizeof(check->text), format, args);
    va_end(args);
    set_count(&story->check_count, story->check_count + 1);
    return true;
}

void story_set_end(struct story *story, enum story_end end, const char *format, ...)
{
    va_list args;

    if (story->end != STORY_UNFINISHED)
        return;
    va_start(args, format);
    tw_text_format(story->reason, sizeof(story->reason), format, args);
    va_end(args);
    __atomic_store_n(&story->end, (uint8_t)end, __ATOMIC_RELEASE);
}

bool story_passed(const struct story *story)
{
    if (story->end != STORY_PLAYED || story->check_count == 0)
        return false;
    for (uint32_t i = 0; i < story->check_count; i++)
        if (!story->checks[i].held)
            return false;
    return true;
}
