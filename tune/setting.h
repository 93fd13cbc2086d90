/*
 * setting.h - the settings of the kernel that decide how many connections a host can open, and what
 * each really does. One const row a setting; all that is said about one stands in its row.
 */
#ifndef SETTING_H
#define SETTING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tidewait/error.h"
#include "tidewait/parse.h"

enum setting_kind {
    SETTING_NUMBER,
    SETTING_NUMBERS, /* three in one file: "4096 131072 6291456" */
    SETTING_RANGE,   /* ip_local_port_range */
    SETTING_PORTS,   /* a list of ports and ranges */
    SETTING_LIMIT,   /* of this process: RLIMIT_NOFILE as "soft hard" */
};

/* What is unsafe to do with it. */
enum setting_danger {
    DANGER_NONE,
    DANGER_LOWER, /* below the value it has */
    DANGER_ZERO,  /* off */
};

struct setting {
    const char *name;  /* "net.ipv4.tcp_tw_reuse"; "limit.nofile" for SETTING_LIMIT */
    const char *group; /* "ports", "TIME_WAIT", ..; those of a group stand together */
    enum setting_kind kind;
    const char *preset;   /* the kernel's default as text; NULL: it depends on memory or version */
    int64_t min, max;     /* of each number, as the kernel refuses what is beyond; where it takes
                           * numbers that mean nothing too, those that mean something */
    const char *unit;     /* "s", "ms", "ports", "bytes"; "" */
    const char *since;    /* kernel version, "2.2" */
    const char *brief;    /* what it is for, in at most 36 characters */
    const char *effect;   /* what it really does: two lines of at most 76 characters, with \n */
    const char *risk;     /* what may go wrong when it is changed; NULL: nothing known */
    const char *folklore; /* what it does not do, though it is often said; NULL */
    const char *scenario; /* of `tidewait lab`, which shows it; NULL */
    enum setting_danger danger;
    const char *loss; /* what may be lost by the danger; NULL without one */
    bool per_netns;   /* each network namespace has its own */
};

/* In the order in which they are shown; ends with a NULL name. */
extern const struct setting settings[];

/* By its full name, with dots or slashes, as a file of /proc/sys, or by the last part alone
 * ("tcp_tw_reuse"). NULL. */
const struct setting *setting_find(struct tw_view name);

/* Checks that a text could be a value of it: -EINVAL with a text that quotes it, -ERANGE likewise.
 * Numbers are decimal: what begins with 0 is octal to the kernel. Of SETTING_LIMIT one number is
 * both soft and hard. */
int setting_check(const struct setting *setting, struct tw_view value, struct tw_error *error);

/* Whether two values mean the same ("32768\t60999" and "32768 60999"; lists of ports as sets). */
bool setting_equal(const struct setting *setting, const char *a, const char *b);

/* Whether going from `before` to `after` is the danger of the row. */
bool setting_is_unsafe(const struct setting *setting, const char *before, const char *after);

#endif
