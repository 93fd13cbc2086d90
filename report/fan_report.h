/*
 * fan_report.h - what many hosts wrote and how they ended, as text and as JSON.
 */
#ifndef REPORT_FAN_REPORT_H
#define REPORT_FAN_REPORT_H

#include <stdbool.h>
#include <stdio.h>

#include "job.h"
#include "lines.h"
#include "spool.h"

#define FAN_HOW_MAX 80

/* How a job ended: "exit 3", "signal 9", "refused"; "ok". Returns buf. */
const char *report_fan_how(const struct job *job, char buf[FAN_HOW_MAX]);

/* One line, or a piece of one, with a prefix (NULL: none). What is not a whole line has a line
 * behind it that begins with a backslash and says so. `safe`: control characters are escaped. */
void report_fan_line(const char *prefix, const char *text, size_t len, enum line_end end, bool safe,
                     FILE *out);

/* All that a spool has kept, line by line; behind it what was not kept. */
void report_fan_spool(const char *prefix, const struct spool *spool, bool safe, FILE *out);

/* The head of what hosts have in common. */
void report_fan_head(const char *hosts, size_t count, const struct job *sample, FILE *out);

/* "web13: refused: ssh: connect to host ..." */
void report_fan_failure(const struct job *job, FILE *out);

/* One object on one line, without the newline; spools are those of the two streams. */
void report_fan_json(const struct job *job, const struct spool *spools, FILE *out);

/* A text as a JSON string; what is no UTF-8 in it becomes '?'. */
void report_fan_json_text(const char *text, FILE *out);

#endif
