#include <errno.h>
#include <math.h>

#include "builder.h"
#include "lab.h"

static const char *const ends[] = {
    [STORY_UNFINISHED] = "unfinished",
    [STORY_PLAYED] = "played",
    [STORY_BROKEN] = "broken",
    [STORY_LACKING] = "lacking",
};

static const char *const places[] = {
    [STORY_LEFT] = "left",
    [STORY_RIGHT] = "right",
    [STORY_TO_RIGHT] = "to-right",
    [STORY_TO_LEFT] = "to-left",
    [STORY_LOST_TO_RIGHT] = "lost-to-right",
    [STORY_LOST_TO_LEFT] = "lost-to-left",
    [STORY_NOTE] = "note",
};

#define NAME_OF(names, value) \
    ((size_t)(value) < sizeof(names) / sizeof((names)[0]) ? (names)[value] : "?")

/* A text of a story, which may lack its NUL. */
static json_t *told(const char *text, size_t size)
{
    char *copy = strndup(text, size);
    json_t *value = copy ? text_or_null(copy) : NULL;

    free(copy);
    return value;
}

#define TOLD(array) told(array, sizeof(array))

static json_t *events_of(struct builder *b, const struct story *story)
{
    json_t *array = json_array();

    for (uint32_t i = 0; i < story->event_count && i < STORY_EVENTS_MAX; i++) {
        const struct story_event *event = &story->events[i];
        json_t *object = json_object();

        /* In ms, with all that is known of it. */
        set(b, object, "at_ms", json_real(round((double)event->at_ns / 1e3) / 1e3));
        set(b, object, "place", json_string(NAME_OF(places, event->place)));
        set(b, object, "text", TOLD(event->text));
        append(b, array, object);
    }
    return array;
}

static json_t *checks_of(struct builder *b, const struct story *story)
{
    json_t *array = json_array();

    for (uint32_t i = 0; i < story->check_count && i < STORY_CHECKS_MAX; i++) {
        json_t *object = json_object();

        set(b, object, "held", json_boolean(story->checks[i].held));
        set(b, object, "text", TOLD(story->checks[i].text));
        append(b, array, object);
    }
    return array;
}

static json_t *play_object(struct builder *b, const struct report_play *play)
{
    const struct story *story = play->story;
    json_t *object = json_object();

    set(b, object, "name", json_string(play->scenario->name));
    set(b, object, "group", json_string(play->scenario->group));
    set(b, object, "title", json_string(play->scenario->title));
    set(b, object, "passed", json_boolean(story_passed(story)));
    set(b, object, "end", json_string(NAME_OF(ends, story->end)));
    set(b, object, "reason", story->reason[0] ? TOLD(story->reason) : json_null());
    set(b, object, "ms", count(play->ms));
    set(b, object, "left", TOLD(story->left));
    set(b, object, "right", story->right[0] ? TOLD(story->right) : json_null());
    set(b, object, "events", events_of(b, story));
    set(b, object, "events_lost", count(story->events_lost));
    set(b, object, "checks", checks_of(b, story));
    return object;
}

int report_lab_json(const struct report_play *plays, size_t play_count, FILE *out)
{
    struct builder b = {0};
    json_t *object = json_object(), *array = json_array();
    int rc = 0;

    for (size_t i = 0; i < play_count; i++)
        append(&b, array, play_object(&b, &plays[i]));
    set(&b, object, "schema", json_string("tidewait.lab/1"));
    set(&b, object, "scenarios", array);
    if (b.bad || !object)
        rc = -ENOMEM;
    else if (json_dumpf(object, out, JSON_COMPACT | JSON_REAL_PRECISION(15)) ||
             fputc('\n', out) == EOF || fflush(out))
        rc = -EIO;
    json_decref(object);
    return rc;
}
