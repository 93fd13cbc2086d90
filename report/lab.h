/*
 * lab.h - what the lab played, as text for people, as Markdown for the manual and as JSON for
 * programs.
 *
 * Stories come from processes that may have died in the middle of a sentence, so nothing in them is
 * trusted: counts are cut, and bytes that a terminal would obey are shown as '?'.
 */
#ifndef REPORT_LAB_H
#define REPORT_LAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "scenario.h"
#include "story.h"

struct report_play {
    const struct scenario *scenario;
    const struct story *story;
    uint64_t ms; /* how long it took */
};

/* One line: how it ended, how long it took, its name, and the reason if it was not played. */
void report_play_line(const struct report_play *play, bool color, FILE *out);

/* In full: expectation, figure, checks, lesson, rule. */
void report_play_text(const struct report_play *play, bool color, FILE *out);

/* All of them as a page: the same in sections, group by group. `kernel` is what they ran on. */
void report_lab_markdown(const struct report_play *plays, size_t count, const char *kernel,
                         FILE *out);

/* Writes {"schema":"tidewait.lab/1", "scenarios":[...]} on one line. Returns 0, -ENOMEM, or -EIO
 * when out fails. */
int report_lab_json(const struct report_play *plays, size_t count, FILE *out);

#endif
