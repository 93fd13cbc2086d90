#include "options.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

int option_flag(struct tw_view text, const struct option_row *row, void *field,
                struct tw_error *error)
{
    (void)text, (void)row, (void)error;
    *(bool *)field = true;
    return 0;
}

int option_number(struct tw_view text, const struct option_row *row, void *field,
                  struct tw_error *error)
{
    char what[64];

    snprintf(what, sizeof(what), "--%s", row->name);
    return tw_parse_number(text, what, row->min, row->max, field, error);
}

int option_size(struct tw_view text, const struct option_row *row, void *field,
                struct tw_error *error)
{
    (void)row;
    return tw_parse_size(text, field, error);
}

int option_time(struct tw_view text, const struct option_row *row, void *field,
                struct tw_error *error)
{
    (void)row;
    return tw_parse_duration(text, field, error);
}

int option_rate(struct tw_view text, const struct option_row *row, void *field,
                struct tw_error *error)
{
    (void)row;
    return tw_parse_rate(text, field, error);
}

int option_share(struct tw_view text, const struct option_row *row, void *field,
                 struct tw_error *error)
{
    (void)row;
    return tw_parse_share(text, field, error);
}

int option_text(struct tw_view text, const struct option_row *row, void *field,
                struct tw_error *error)
{
    if (text.len == 0)
        return tw_error_set(error, EINVAL, "--%s needs a value", row->name);
    *(const char **)field = text.data;
    return 0;
}

int option_repeat(struct tw_view text, const struct option_row *row, void *field,
                  struct tw_error *error)
{
    struct option_list *list = field;

    if (text.len == 0)
        return tw_error_set(error, EINVAL, "--%s needs a value", row->name);
    if (list->count == OPTION_LIST_MAX)
        return tw_error_set(error, EINVAL, "--%s was given more than %d times", row->name,
                            OPTION_LIST_MAX);
    list->items[list->count++] = text.data;
    return 0;
}

int option_choice(struct tw_view text, const struct option_row *row, void *field,
                  struct tw_error *error)
{
    struct tw_view rest = tw_view_of(row->choices);

    for (int i = 0; rest.data; i++) {
        struct tw_view word = tw_view_cut(&rest, '|');

        if (word.len == text.len && memcmp(word.data, text.data, text.len) == 0) {
            *(int *)field = i;
            return 0;
        }
    }
    return tw_error_set(error, EINVAL, "--%s '%.60s' is not one of %s", row->name, text.data,
                        row->choices);
}

static const struct option_row *find_row(const struct command *command, struct tw_view name)
{
    for (const struct option_row *row = command->options; row->name; row++)
        if (tw_view_equals(name, row->name) ||
            (name.len == 1 && row->letter && name.data[0] == row->letter))
            return row;
    return NULL;
}

static int store(const struct option_row *row, struct tw_view value, void *config,
                 struct tw_error *error)
{
    struct tw_error inner = {0};
    int rc = row->parse(value, row, (char *)config + row->offset, &inner);

    if (rc && strncmp(inner.text, "--", 2) == 0)
        return tw_error_set(error, inner.code, "%s", inner.text);
    return rc ? tw_error_set(error, inner.code, "--%s: %s", row->name, inner.text) : 0;
}

/* One option at argv[*at], of the form --name, --name=value, -x or -xVALUE; the value may be the
 * next argument. A letter that is a flag may be followed by further letters. */
static int parse_option(const struct command *command, int argc, char **argv, int *at, void *config,
                        struct tw_error *error)
{
    const char *arg = argv[*at];
    bool is_long = arg[1] == '-';
    struct tw_view value = tw_view_of(arg + 2), name = {arg + 1, 1};
    const struct option_row *row;

    if (is_long)
        name = tw_view_cut(&value, '=');
    row = find_row(command, name);
    if (!row || (!is_long && row->letter != arg[1]) ||
        (is_long && !tw_view_equals(name, row->name)))
        return tw_error_set(error, EINVAL, "unknown option '%.60s'; try 'tidewait %s --help'", arg,
                            command->name);
    if (!row->metavar) {
        if (is_long ? value.data != NULL : arg[2] != 0) {
            if (is_long)
                return tw_error_set(error, EINVAL, "--%s takes no value, got '%.60s'", row->name,
                                    value.data);
            /* -qv: the rest are letters of their own. */
            argv[*at]++;
            argv[*at][0] = '-';
            --*at;
        }
        return store(row, tw_view_of(""), config, error);
    }
    if (is_long ? !value.data : value.len == 0) {
        if (*at + 1 >= argc)
            return tw_error_set(error, EINVAL, "%s needs a value (%s)", arg, row->metavar);
        value = tw_view_of(argv[++*at]);
    }
    return store(row, value, config, error);
}

int options_parse(const struct command *command, int argc, char **argv, void *config, int *operands,
                  struct tw_error *error)
{
    bool only_operands = false;
    int count = 0, rc;

    for (const struct option_row *row = command->options; row->name; row++)
        if (row->preset && (rc = store(row, tw_view_of(row->preset), config, error)))
            return rc;
    for (int i = 1; i < argc; i++) {
        char *arg = argv[i];

        if (only_operands || arg[0] != '-' || arg[1] == 0) {
            argv[++count] = arg;
            only_operands = only_operands || command->ends_options;
        } else if (strcmp(arg, "--") == 0) {
            only_operands = true;
            if (command->keeps_dashes)
                argv[++count] = arg;
        } else if (strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0) {
            return 1;
        } else if ((rc = parse_option(command, argc, argv, &i, config, error))) {
            return rc;
        }
    }
    /* Operands were moved down; a command line among them ends here. */
    argv[count + 1] = NULL;
    *operands = count;
    return 0;
}

/* Prints text in lines of at most 96 columns, each indented, the first already begun at `column`.
 */
static void print_wrapped(FILE *out, const char *text, int indent, int column)
{
    while (*text) {
        int word = (int)strcspn(text, " ");

        if (column + 1 + word > 96) {
            fprintf(out, "\n%*s", indent, "");
            column = indent;
        } else if (column > indent) {
            fputc(' ', out);
            column++;
        }
        fprintf(out, "%.*s", word, text);
        column += word;
        text += word + (text[word] == ' ');
    }
    fputc('\n', out);
}

void options_help(const struct command *command, FILE *out)
{
    enum { INDENT = 30 };

    fprintf(out, "Usage: tidewait %s [OPTION...] %s\n\n", command->name, command->operands);
    print_wrapped(out, command->summary, 0, 0);
    fprintf(out, "\nOptions:\n");
    for (const struct option_row *row = command->options; row->name; row++) {
        char head[96], letter[8] = "    ", text[512];
        int column;

        if (row->letter)
            snprintf(letter, sizeof(letter), "-%c, ", row->letter);
        snprintf(head, sizeof(head), "  %s--%s%s%s", letter, row->name, row->metavar ? " " : "",
                 row->metavar ? row->metavar : "");
        column = fprintf(out, "%-*s", INDENT, head);
        if (strlen(head) > INDENT - 2) {
            fprintf(out, "\n%*s", INDENT, "");
            column = INDENT;
        }
        snprintf(text, sizeof(text), "%s%s%s%s", row->help, row->preset ? " [" : "",
                 row->preset ? row->preset : "", row->preset ? "]" : "");
        print_wrapped(out, text, INDENT, column);
    }
    fprintf(out, "  -h, --help                  Show this help.\n");
    if (command->details)
        fprintf(out, "\n%s", command->details);
}
