/*
 * tune.h - settings of the kernel, their values here and what each is worth, as text for people and
 * as JSON for programs.
 *
 * Values come from the kernel as they are; bytes that a terminal would obey are shown as '?'.
 */
#ifndef REPORT_TUNE_H
#define REPORT_TUNE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "setting.h"

struct report_setting {
    const struct setting *setting;
    const char *value;  /* as the kernel writes it; NULL: it cannot be read */
    bool missing;       /* .. because there is none */
    const char *reason; /* why it cannot be read; NULL when it was */
};

/* A line each, group by group. */
void report_settings_table(const struct report_setting *items, size_t count, bool color, FILE *out);

/* Each in full. */
void report_settings_text(const struct report_setting *items, size_t count, bool color, FILE *out);

/* Writes {"schema":"tidewait.tune/1", "settings":[...]} on one line. Returns 0, -ENOMEM, or -EIO
 * when out fails. */
int report_settings_json(const struct report_setting *items, size_t count, FILE *out);

#endif
