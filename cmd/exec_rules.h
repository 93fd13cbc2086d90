/*
 * exec_rules.h - reads the rules of `exec`, one a line:
 *
 *     out to 10.0.0.0/8:5432 : from 10.1.0.1-10.1.0.9, ports 20000-40000
 *     out to :443            : leave
 *     in 8080                : listen 127.0.0.1:9090, reuseport, wait 30s
 *     in udp :53             : leave
 *
 * Direction; tcp (which may be left out) or udp; whom it is about, nothing for everybody; a colon
 * with a blank behind it; what to do. `#` begins a comment. Pure code without allocation; the
 * result is written only on success.
 */
#ifndef EXEC_RULES_H
#define EXEC_RULES_H

#include <stddef.h>

#include "rule.h"
#include "tidewait/error.h"
#include "tidewait/parse.h"

/* What a rule does where it says nothing else. */
struct rule_presets {
    struct shim_rule out, in, in_udp; /* only what is to be done counts */
};

/* One rule. Returns 0; -ENOENT when there is none but blanks and a comment; -EINVAL or -ERANGE with
 * a text that quotes what is wrong. */
int rule_parse(struct tw_view text, const struct rule_presets *presets, struct shim_rule *out,
               struct tw_error *error);

/* Adds the rules of a whole file to the *count ones that are there; `rules` has room for `room`.
 * Errors begin with FILE:LINE. Returns 0, -EINVAL or -ERANGE. */
int rules_parse(struct tw_view text, const char *file, const struct rule_presets *presets,
                struct shim_rule *rules, size_t room, size_t *count, struct tw_error *error);

#endif
