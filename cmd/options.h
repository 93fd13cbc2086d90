/*
 * options.h - command lines as const tables.
 *
 * One row an option: the parser, the help text, the completions and the test of the man pages all
 * read the same row. A row stores through `offset` into the command's config struct.
 */
#ifndef OPTIONS_H
#define OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "tidewait/error.h"
#include "tidewait/parse.h"

/* The exit codes of every command. */
enum {
    EXIT_YES = 0,         /* yes, or done */
    EXIT_NO = 1,          /* no: in use, nothing found, thresholds missed */
    EXIT_USAGE = 2,       /* bad input */
    EXIT_DENIED = 3,      /* not permitted */
    EXIT_UNSUPPORTED = 4, /* not supported by this kernel or build */
    EXIT_PARTLY = 5,      /* some of it failed */
    EXIT_OURS = 70,       /* our own fault */
};

struct option_row {
    const char *name;    /* without the dashes */
    char letter;         /* 0: no short form */
    const char *metavar; /* NULL: a flag without a value */
    /* Stores the value into *field. For flags `text` is empty. */
    int (*parse)(struct tw_view text, const struct option_row *row, void *field,
                 struct tw_error *error);
    size_t offset;
    uint64_t min, max;   /* of numbers */
    const char *choices; /* of option_choice: words separated by '|', stored as an int from 0 */
    const char *preset;  /* the default, parsed as if typed; NULL: the zeroed field stays */
    const char *help;    /* one sentence */
};

/* Up to OPTION_LIST_MAX values of an option that may be repeated; they point into argv. */
#define OPTION_LIST_MAX 64
struct option_list {
    const char *items[OPTION_LIST_MAX];
    size_t count;
};

int option_flag(struct tw_view, const struct option_row *, void *field_bool, struct tw_error *);
int option_number(struct tw_view, const struct option_row *, void *field_u64, struct tw_error *);
int option_size(struct tw_view, const struct option_row *, void *field_u64, struct tw_error *);
int option_time(struct tw_view, const struct option_row *, void *field_u64_ns, struct tw_error *);
int option_rate(struct tw_view, const struct option_row *, void *field_double, struct tw_error *);
int option_share(struct tw_view, const struct option_row *, void *field_double, struct tw_error *);
int option_text(struct tw_view, const struct option_row *, void *field_char_ptr, struct tw_error *);
int option_repeat(struct tw_view, const struct option_row *, void *field_list, struct tw_error *);
int option_choice(struct tw_view, const struct option_row *, void *field_int, struct tw_error *);

struct command {
    const char *name;
    const char *operands;             /* "URL..." */
    const char *summary;              /* one line for the list of commands */
    const char *details;              /* behind the options in the help; may be NULL */
    const struct option_row *options; /* ends with a NULL name */
    size_t config_size;
    bool keeps_dashes; /* "--" begins somebody else's command line: it stays an operand */
    bool ends_options; /* the first operand begins one: no option behind it is ours */
    /* Runs with the parsed config and the operands; returns an exit code. */
    int (*run)(const void *config, int operands, char **operand);
};

/* The commands, ending with NULL; in main.c. */
extern const struct command *const commands[];

/* Parses argv[1..] into config: presets first, then what was typed. Operands are moved to the front
 * of argv + 1 and counted in *operands. Returns 0; 1 when help was asked for; -errno with *error.
 */
int options_parse(const struct command *command, int argc, char **argv, void *config, int *operands,
                  struct tw_error *error);

void options_help(const struct command *command, FILE *out);

#endif
