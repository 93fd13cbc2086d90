/*
 * lab_figure.h - the time line of a story: two columns, and between them what was sent.
 */
#ifndef REPORT_LAB_FIGURE_H
#define REPORT_LAB_FIGURE_H

#include <stdio.h>

#include "story.h"

#define FIGURE_COLUMNS 100

/* Prints `text` from column `at` on, in lines that end before `end`; the first was begun already.
 */
void figure_wrap(const char *text, size_t size, int at, int end, FILE *out);

/* A story whose hosts have one name, or whose right one has none, gets one column. */
void figure_print(const struct story *story, FILE *out);

#endif
