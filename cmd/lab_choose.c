#include "lab_choose.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define ALL "all"

/* Longer words are nobody's mistyped name. */
#define WORD_MAX 48

#define OFFERED_MAX 3

/* The best offers so far, the nearest first. */
struct offers {
    const char *names[OFFERED_MAX];
    size_t distances[OFFERED_MAX];
    size_t count;
};

size_t scenario_count(void)
{
    size_t count = 0;

    while (scenarios[count] && scenarios[count]->name)
        count++;
    return count;
}

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

static void offer(struct offers *offers, const char *word, const char *name)
{
    size_t distance = distance_of(word, name), at;

    /* A piece of a name is as good as one wrong letter. */
    if (strlen(word) > 2 && strstr(name, word))
        distance = least(distance, 1);
    if (distance > 1 + strlen(word) / 3)
        return;
    for (size_t i = 0; i < offers->count; i++)
        if (strcmp(offers->names[i], name) == 0)
            return;
    at = offers->count < OFFERED_MAX ? offers->count++ : OFFERED_MAX;
    for (; at > 0 && offers->distances[at - 1] > distance; at--)
        if (at < OFFERED_MAX) {
            offers->names[at] = offers->names[at - 1];
            offers->distances[at] = offers->distances[at - 1];
        }
    if (at < OFFERED_MAX) {
        offers->names[at] = name;
        offers->distances[at] = distance;
    }
}

static int unknown(const char *word, struct tw_error *error)
{
    struct offers offers = {.count = 0};
    char names[128] = "";
    size_t used = 0;

    offer(&offers, word, ALL);
    for (size_t i = 0; i < scenario_count(); i++) {
        offer(&offers, word, scenarios[i]->name);
        offer(&offers, word, scenarios[i]->group);
    }
    for (size_t i = 0; i < offers.count && used < sizeof(names); i++)
        used += (size_t)snprintf(names + used, sizeof(names) - used, "%s%s",
                                 i == 0                  ? ""
                                 : i + 1 == offers.count ? " or "
                                                         : ", ",
                                 offers.names[i]);
    if (offers.count)
        return tw_error_set(error, EINVAL, "there is no scenario '%.60s'; did you mean %s?", word,
                            names);
    return tw_error_set(error, EINVAL, "there is no scenario '%.60s'; 'tidewait lab' lists them",
                        word);
}

int scenario_choose(const char *word, bool *chosen, bool *by_name, struct tw_error *error)
{
    bool found = false;

    for (size_t i = 0; i < scenario_count(); i++) {
        bool named = strcmp(word, scenarios[i]->name) == 0;

        if (!named && strcmp(word, scenarios[i]->group) != 0 && strcmp(word, ALL) != 0)
            continue;
        found = chosen[i] = true;
        if (!named)
            *by_name = false;
    }
    return found ? 0 : unknown(word, error);
}
