#include "lab_choose.h"

#include <errno.h>
#include <string.h>

#include "nearest.h"

#define ALL "all"

size_t scenario_count(void)
{
    size_t count = 0;

    while (scenarios[count] && scenarios[count]->name)
        count++;
    return count;
}

static int unknown(const char *word, struct tw_error *error)
{
    struct nearest nearest = {.count = 0};
    char names[160];

    nearest_offer(&nearest, word, ALL);
    for (size_t i = 0; i < scenario_count(); i++) {
        nearest_offer(&nearest, word, scenarios[i]->name);
        nearest_offer(&nearest, word, scenarios[i]->group);
    }
    nearest_print(&nearest, names, sizeof(names));
    return tw_error_set(error, EINVAL, "there is no scenario '%.60s'%s", word,
                        nearest.count ? names : "; 'tidewait lab' lists them");
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
