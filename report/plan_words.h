/*
 * plan_words.h - numbers of a plan for people.
 */
#ifndef PLAN_WORDS_H
#define PLAN_WORDS_H

#define PLAN_WORD_MAX 40

/* 28,232, 0.3; "no limit" for INFINITY. Each returns its buffer. */
const char *plan_count(double value, char buf[PLAN_WORD_MAX]);

/* 200 ms, 5.65 s, 10 min, 12 h, 40 days, and 100 years for all beyond; "never" for INFINITY. */
const char *plan_time(double seconds, char buf[PLAN_WORD_MAX]);

/* 462/s, 0.51/s, 4.2/h; "any rate" for INFINITY. */
const char *plan_rate(double per_s, char buf[PLAN_WORD_MAX]);

/* 90.8 %, 0.02 %, "less than 0.01 %", "none". */
const char *plan_share(double share, char buf[PLAN_WORD_MAX]);

#endif
