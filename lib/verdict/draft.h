/*
 * draft.h - a verdict while it is being written. Everything in it is freed with it, so nobody has
 * to keep track of texts; when memory runs out that is remembered and told once, at the end.
 */
#ifndef DRAFT_H
#define DRAFT_H

#include "tidewait/verdict.h"

struct draft_piece;

struct draft {
    struct tw_verdict verdict; /* first: tw_verdict_free() is given its address */
    struct draft_piece *pieces;
    unsigned blind; /* enum tw_blind, told in `hidden` by draft_finish() */
    bool no_memory;
};

#define LIKE_PRINTF(n) __attribute__((format(printf, n, (n) + 1)))

/* A copy that lives as long as the verdict; what a terminal would obey is
 * escaped. Never NULL. */
const char *draft_text(struct draft *draft, const char *format, ...) LIKE_PRINTF(2);

/* A copy as it is, for calls to the kernel. */
const char *draft_copy(struct draft *draft, const char *text);

/* `cause` is one of tw_cause_name(). */
void draft_answer(struct draft *draft, enum tw_answer answer, int code, const char *cause);
void draft_summary(struct draft *draft, const char *format, ...) LIKE_PRINTF(2);
void draft_evidence(struct draft *draft, const char *kind, const char *format, ...) LIKE_PRINTF(3);
void draft_socket(struct draft *draft, const struct tw_socket_row *row);
/* False when memory ran out: the holder is not in the list then. */
bool draft_holder(struct draft *draft, const struct tw_verdict_holder *holder);
void draft_remedy(struct draft *draft, const char *what, const char *command, bool safe,
                  const char *why);
void draft_hidden(struct draft *draft, const char *format, ...) LIKE_PRINTF(2);

/* "www-data", or the number when it has no name. */
const char *draft_user(struct draft *draft, uint32_t uid);

/* Turns the blind spots into sentences. Returns the verdict, or NULL when memory ran out. */
struct tw_verdict *draft_finish(struct draft *draft, struct tw_error *error);

#endif
