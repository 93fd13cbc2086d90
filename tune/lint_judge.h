/*
 * lint_judge.h - what a setting by itself is worth: rules as a const table, the first that fits.
 */
#ifndef LINT_JUDGE_H
#define LINT_JUDGE_H

#include <stdint.h>

#include "lint.h"
#include "lint_read.h"

enum lint_test { LINT_ANY, LINT_IS, LINT_BELOW, LINT_ABOVE };

struct lint_rule {
    const char *name; /* ends with '*': all that begin so */
    enum lint_test test;
    int64_t than;
    unsigned field; /* which of several numbers, from 0 */
    enum lint_verdict verdict;
    const char *reason;
    const char *instead;  /* or NULL */
    const char *scenario; /* or NULL */
};

/* Those of one name stand together, the special before the general; ends with a NULL name. */
extern const struct lint_rule lint_rules[];

#define LINT_NUMBERS_MAX 4

struct lint_numbers {
    int64_t items[LINT_NUMBERS_MAX];
    size_t count;
};

/* Whole numbers with blanks or ':' between them. False when it is something else. */
bool lint_numbers(struct tw_view text, struct lint_numbers *out);

/* As printf, made harmless, into a text of the line: behind what stands there already. */
void lint_say(char *buf, size_t size, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Verdict, reason, what to do instead and scenario of an item whose name the line has already. */
void lint_judge(const struct lint_item *item, struct lint_line *line);

#endif
