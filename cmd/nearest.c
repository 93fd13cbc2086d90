#include "nearest.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* Longer words are nobody's mistyped name. */
#define WORD_MAX 64

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* How many letters have to be added, removed or changed to make one of the other. */
static size_t distance_of(const char *a, const char *b)
{
    size_t a_len = strlen(a), b_len = strlen(b), row[WORD_MAX + 1], corner, above;

    if (a_len > WORD_MAX || b_len > WORD_MAX)
        return SIZE_MAX;
    for (size_t j = 0; j <= b_len; j++)
        row[j] = j;
    for (size_t i = 1; i <= a_len; i++) {
        corner = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b_len; j++) {
            above = row[j];
            row[j] = least(least(above, row[j - 1]) + 1, corner + (a[i - 1] != b[j - 1]));
            corner = above;
        }
    }
    return row[b_len];
}

void nearest_offer(struct nearest *nearest, const char *typed, const char *name)
{
    size_t distance = distance_of(typed, name), at;

    /* A piece of a name is as good as one wrong letter. */
    if (strlen(typed) > 2 && strstr(name, typed))
        distance = least(distance, 1);
    if (distance > 1 + strlen(typed) / 3)
        return;
    for (size_t i = 0; i < nearest->count; i++)
        if (strcmp(nearest->names[i], name) == 0)
            return;
    at = nearest->count < NEAREST_MAX ? nearest->count++ : NEAREST_MAX;
    for (; at > 0 && nearest->distances[at - 1] > distance; at--)
        if (at < NEAREST_MAX) {
            nearest->names[at] = nearest->names[at - 1];
            nearest->distances[at] = nearest->distances[at - 1];
        }
    if (at < NEAREST_MAX) {
        nearest->names[at] = name;
        nearest->distances[at] = distance;
    }
}

void nearest_print(const struct nearest *nearest, char *text, size_t size)
{
    size_t used = 0;

    text[0] = 0;
    for (size_t i = 0; i < nearest->count && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%s%s",
                                 i == 0                    ? "; did you mean "
                                 : i + 1 == nearest->count ? " or "
                                                           : ", ",
                                 nearest->names[i], i + 1 == nearest->count ? "?" : "");
}
