/*
 * lint.h - reads settings that people hand around, and says of each line what it is worth.
 *
 * Understands files of sysctl.d(5) and sysctl.conf(5), shell lines (sysctl -w, echo N >
 * /proc/sys/.., tee), `docker --sysctl`, lists of Kubernetes and Ansible, ulimit and limits.conf(5)
 * lines about nofile, systemd's LimitNOFILE=, and the registry and netsh lines that are told about
 * Windows.
 */
#ifndef LINT_H
#define LINT_H

#include "setting.h"

enum lint_verdict {
    LINT_FINE,     /* does what it is for */
    LINT_IDLE,     /* the default anyway, or of no effect on what it is used for */
    LINT_FOLKLORE, /* does not do what is said of it */
    LINT_RISKY,    /* works, at a price that is said */
    LINT_UNSAFE,   /* may lose or mix up data */
    LINT_GONE,     /* no kernel of today has it */
    LINT_BAD,      /* the value is refused by the kernel, or the line cannot be read */
    LINT_FOREIGN,  /* about something else: not judged */
    LINT_VERDICTS,
};
extern const char *const lint_verdict_names[LINT_VERDICTS]; /* "fine", "idle", ... */

/* Whether it is something to complain of: folklore, risky, unsafe, gone, bad. */
bool lint_is_complaint(enum lint_verdict verdict);

/* Texts that are applied one after another, as the files of sysctl.d are. */
struct lint_text {
    const char *name; /* what its lines are named after; NULL: the number of the line alone */
    struct tw_view text;
};

struct lint_line {
    size_t from;    /* which of the texts */
    size_t number;  /* from 1 */
    char text[200]; /* the line, harmless, cut at the end */
    char name[80];  /* of the setting, as sysctl writes it; may be empty */
    enum lint_verdict verdict;
    char reason[400];
    char instead[200];    /* what to do instead; or empty */
    const char *scenario; /* of `tidewait lab`, which proves it; or NULL */
    size_t winner;        /* index of the line that sets it again, to something else; or SIZE_MAX */
};

struct lint_report {
    struct lint_line *lines; /* blank lines and comments are left out; a line that sets several
                              * settings is there several times */
    size_t count;
    size_t verdicts[LINT_VERDICTS];
};

/* What is known of the host that the settings are for. */
struct lint_context {
    bool (*service_on)(uint16_t port, void *context); /* NULL: not known */
    void *context;
};

/* 0 or -ENOMEM. lint_fini() frees. Lines are judged together where they touch one another, also
 * those of different texts: a wide range with and without reserved ports, tcp_tw_reuse with
 * timestamps off, a value set twice. `context` may be NULL. */
int lint(const struct lint_text *texts, size_t count, const struct lint_context *context,
         struct lint_report *out);
void lint_fini(struct lint_report *report);

#endif
