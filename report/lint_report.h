/*
 * lint_report.h - what is said of the lines of a recipe, as text for people and as JSON for
 * programs.
 */
#ifndef REPORT_LINT_REPORT_H
#define REPORT_LINT_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "lint.h"

/* Text by text and line by line, at most 100 columns wide; lines that were not judged are drawn
 * together. At the end the sum in one sentence. */
void report_lint_text(const struct lint_report *report, const struct lint_text *texts, size_t count,
                      bool color, FILE *out);

/* Writes {"schema":"tidewait.lint/1", "files":[..], "lines":[..], "counts":{..}} on one line.
 * Returns 0, -ENOMEM, or -EIO when out fails. */
int report_lint_json(const struct lint_report *report, const struct lint_text *texts, size_t count,
                     FILE *out);

#endif
