/*
 * verdict.h - a verdict as text for people and as JSON for programs.
 */
#ifndef REPORT_VERDICT_H
#define REPORT_VERDICT_H

#include <stdio.h>

#include "tidewait/message.h"
#include "tidewait/verdict.h"

/* The answer in one sentence, then cause, holders, evidence, remedies, and what could not be seen.
 * `brief` leaves out cause and evidence. */
void report_verdict(const struct tw_verdict *verdict, bool brief, bool color, FILE *out);

/* What a pasted message means. */
void report_message(const struct tw_message *message, bool color, FILE *out);

/* Writes the object {"schema":"tidewait.verdict/1", ...} on one line. `message` may be NULL; so
 * may the verdict, then "answer" is null. Returns 0, -ENOMEM, or -EIO when out fails. */
int report_verdict_json(const struct tw_verdict *verdict, const struct tw_message *message,
                        FILE *out);

#endif
