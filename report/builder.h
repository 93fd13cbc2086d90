/*
 * builder.h - JSON put together with jansson, without a test behind every call.
 *
 * Functions that take a json_t steal it, as jansson's _new functions do; a NULL from want of memory
 * makes json_object_set_new() fail, which `bad` remembers.
 */
#ifndef BUILDER_H
#define BUILDER_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct builder {
    bool bad;
};

static inline void set(struct builder *builder, json_t *object, const char *key, json_t *value)
{
    if (json_object_set_new(object, key, value))
        builder->bad = true;
}

static inline void append(struct builder *builder, json_t *array, json_t *value)
{
    if (json_array_append_new(array, value))
        builder->bad = true;
}

static inline json_t *count(uint64_t value)
{
    return json_integer((json_int_t)value);
}

/* Negative is null. */
static inline json_t *known_or_null(int64_t value)
{
    return value >= 0 ? json_integer(value) : json_null();
}

/* Texts from outside need not be UTF-8, as JSON has to be. */
static inline json_t *text_or_null(const char *text)
{
    json_t *value;
    char *ascii;

    if (!text)
        return json_null();
    value = json_string(text);
    ascii = value ? NULL : strdup(text);
    if (!ascii)
        return value;
    for (char *c = ascii; *c; c++)
        if ((unsigned char)*c > 0x7e)
            *c = '?';
    value = json_string(ascii);
    free(ascii);
    return value;
}

#endif
