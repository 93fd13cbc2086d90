/*
 * tune_change.h - changes of settings, and what became of those that a journal holds, as text for
 * people and as JSON for programs.
 */
#ifndef REPORT_TUNE_CHANGE_H
#define REPORT_TUNE_CHANGE_H

#include <stdbool.h>
#include <stdio.h>

#include "journal.h"

struct builder;
struct json_t;

/* One line a change, "name: before -> after", and below it the reason. Long values are cut. */
void report_changes_text(const struct changes *changes, bool color, FILE *out);

/* [{"name", "before", "after", "why"}, ..] with the values in full, for a larger object. NULL
 * without memory, which builder remembers too when it is set or appended. */
struct json_t *report_changes_array(struct builder *builder, const struct changes *changes);

/* One line an entry, then what to know about all. `undo`: what became of it; otherwise whether it
 * is still as it was applied. */
void report_journal_text(const struct journal_report *report, bool undo, bool color, FILE *out);

/* Writes {"schema":"tidewait.tune-journal/1", "action":"undo" or "check", ..} on one line. Returns
 * 0, -ENOMEM, or -EIO when out fails. */
int report_journal_json(const struct journal_report *report, bool undo, FILE *out);

#endif
