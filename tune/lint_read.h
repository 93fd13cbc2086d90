/*
 * lint_read.h - finds the settings in a line of somebody's text: what is set, and to what.
 */
#ifndef LINT_READ_H
#define LINT_READ_H

#include <stdbool.h>
#include <stddef.h>

#include "tidewait/parse.h"

/* Names of limits that are no sysctl. */
#define LINT_ULIMIT    "ulimit -n"
#define LINT_PAM       "limits.conf nofile"
#define LINT_UNIT      "LimitNOFILE"
#define LINT_CONTAINER "--ulimit nofile"
#define LINT_NGINX     "worker_rlimit_nofile"
#define LINT_HASHSIZE  "nf_conntrack hashsize"
#define LINT_NETSH     "netsh dynamicport"

enum lint_flaw {
    LINT_NO_FLAW,
    LINT_NO_EQUALS, /* a name and a number, and nothing between them */
    LINT_UNQUOTED,  /* the shell makes two words of the value */
};

enum lint_kind {
    LINT_NOTHING,
    LINT_SYSCTL,
    LINT_FILES,   /* a limit of descriptors, or a size like it */
    LINT_WINDOWS, /* whose value is not looked at, but for netsh */
};

/* Views into the text; names of limits and of Windows into constants. */
struct lint_item {
    enum lint_kind kind;
    struct tw_view name;
    struct tw_view value;
    enum lint_flaw flaw;
    bool container; /* docker run --sysctl */
};

struct lint_reader {
    struct tw_view line; /* without blanks around it */
    size_t at;
    struct tw_view pending; /* a name whose value comes later, as in YAML; it outlives the line */
};

/* False for a blank line or a comment. A zeroed reader begins a text. */
bool lint_read_line(struct lint_reader *reader, struct tw_view line);

/* The next setting of the line; false: no more. */
bool lint_read_item(struct lint_reader *reader, struct lint_item *out);

#endif
