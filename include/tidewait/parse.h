/*
 * parse.h - reads the quantities people type: numbers, times, sizes, rates, shares, port ranges.
 *
 * Every parser takes a view (pointer and length; no NUL needed), writes its result only on success,
 * and returns 0 or -EINVAL / -ERANGE with a text in *error that quotes the offending input. No
 * allocation, no locale, no global state; any thread may call them, also after fork().
 */
#ifndef TIDEWAIT_PARSE_H
#define TIDEWAIT_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "tidewait/error.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A piece of somebody else's text. It owns nothing. */
struct tw_view {
    const char *data;
    size_t len;
};

static inline struct tw_view tw_view_of(const char *text)
{
    struct tw_view view = {text, strlen(text)};

    return view;
}

/* Cuts *rest at the first `separator`: returns what stands before it and leaves in *rest what
 * stands behind it. Without a separator returns all of it and leaves *rest empty with data == NULL.
 */
struct tw_view tw_view_cut(struct tw_view *rest, char separator);
bool tw_view_equals(struct tw_view view, const char *text);

/* The view without the characters of `set` at both of its ends. */
struct tw_view tw_view_trim(struct tw_view view, const char *set);

/* Takes the first word off *rest, words being parted by characters of `set`; what is left there is
 * trimmed. Empty when there is none. */
struct tw_view tw_view_word(struct tw_view *rest, const char *set);

/* A decimal number within min..max. `what` names it in the error ("port", "--threads"). */
int tw_parse_number(struct tw_view text, const char *what, uint64_t min, uint64_t max,
                    uint64_t *out, struct tw_error *error);

/* 200ms, 10s, 5m, 2h, 50us, 0; a fraction is fine (1.5s). A bare number other than 0 is refused. */
int tw_parse_duration(struct tw_view text, uint64_t *out_ns, struct tw_error *error);

/* 13KiB, 1MiB, 64B, 512; powers of 1024 (KiB) and of 1000 (kB, KB). */
int tw_parse_size(struct tw_view text, uint64_t *out_bytes, struct tw_error *error);

/* 5000/s, 300/m, 1.5k/s; more than 0. */
int tw_parse_rate(struct tw_view text, double *out_per_s, struct tw_error *error);

/* 5% or 0.05, within 0..1. */
int tw_parse_share(struct tw_view text, double *out, struct tw_error *error);

/* An inclusive range of ports: 3000-30000 or, as in Web Polygraph, 3000:30000, or one port. */
struct tw_port_range {
    uint16_t first;
    uint16_t last;
};
int tw_parse_ports(struct tw_view text, struct tw_port_range *out, struct tw_error *error);

#ifdef __cplusplus
}
#endif
#endif
