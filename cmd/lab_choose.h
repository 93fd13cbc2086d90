/*
 * lab_choose.h - which scenarios the words of a command line mean.
 */
#ifndef LAB_CHOOSE_H
#define LAB_CHOOSE_H

#include <stdbool.h>
#include <stddef.h>

#include "scenario.h"
#include "tidewait/error.h"

size_t scenario_count(void);

/* Sets chosen[i] for each scenario that the word means: its name, its group, or "all". *by_name
 * becomes false when the word is not the name of one. Returns 0, or -EINVAL with the nearest names.
 */
int scenario_choose(const char *word, bool *chosen, bool *by_name, struct tw_error *error);

#endif
