#include <stdio.h>
#include <string.h>

#include "options.h"

/* Completions for the shells, made from the same tables that parse the command line. */

static void print_bash(FILE *out)
{
    fprintf(out, "# bash completion for tidewait; made by 'tidewait completion bash'\n"
                 "_tidewait() {\n"
                 "    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}\n"
                 "    local command=${COMP_WORDS[1]}\n"
                 "    if ((COMP_CWORD == 1)); then\n"
                 "        mapfile -t COMPREPLY < <(compgen -W \"");
    for (const struct command *const *command = commands; *command; command++)
        fprintf(out, "%s ", (*command)->name);
    fprintf(out, "--help --version\" -- \"$word\")\n"
                 "        return\n"
                 "    fi\n"
                 "    case $command:$before in\n");
    for (const struct command *const *command = commands; *command; command++)
        for (const struct option_row *row = (*command)->options; row->name; row++) {
            if (row->choices) {
                fprintf(out, "    %s:--%s) mapfile -t COMPREPLY < <(compgen -W \"",
                        (*command)->name, row->name);
                for (const char *c = row->choices; *c; c++)
                    fputc(*c == '|' ? ' ' : *c, out);
                fprintf(out, "\" -- \"$word\"); return ;;\n");
            } else if (row->metavar && strcmp(row->metavar, "FILE") == 0) {
                fprintf(
                    out,
                    "    %s:--%s) mapfile -t COMPREPLY < <(compgen -f -- \"$word\"); return ;;\n",
                    (*command)->name, row->name);
            }
        }
    fprintf(out, "    esac\n"
                 "    case $command in\n");
    for (const struct command *const *command = commands; *command; command++) {
        fprintf(out, "    %s) mapfile -t COMPREPLY < <(compgen -W \"", (*command)->name);
        for (const struct option_row *row = (*command)->options; row->name; row++)
            fprintf(out, "--%s ", row->name);
        fprintf(out, "--help\" -- \"$word\") ;;\n");
    }
    fprintf(out, "    esac\n"
                 "}\n"
                 "complete -F _tidewait tidewait\n");
}

/* Help texts inside single quotes and brackets of zsh. */
static void print_quoted(const char *text, const char *special, FILE *out)
{
    for (; *text; text++) {
        if (*text == '\'')
            fprintf(out, "'\\''");
        else if (strchr(special, *text))
            fprintf(out, "\\%c", *text);
        else
            fputc(*text, out);
    }
}

static void print_zsh_option(const struct option_row *row, FILE *out)
{
    fprintf(out, "            '--%s%s[", row->name, row->metavar ? "=" : "");
    print_quoted(row->help, "[]:\\", out);
    fprintf(out, "]");
    if (row->metavar) {
        fprintf(out, ":%s:", row->metavar);
        if (row->choices) {
            fputc('(', out);
            for (const char *c = row->choices; *c; c++)
                fputc(*c == '|' ? ' ' : *c, out);
            fputc(')', out);
        } else if (strcmp(row->metavar, "FILE") == 0) {
            fprintf(out, "_files");
        }
    }
    fprintf(out, "' \\\n");
}

static void print_zsh(FILE *out)
{
    fprintf(out, "#compdef tidewait\n"
                 "# zsh completion for tidewait; made by 'tidewait completion zsh'\n"
                 "_tidewait() {\n"
                 "    local -a commands\n"
                 "    commands=(\n");
    for (const struct command *const *command = commands; *command; command++) {
        fprintf(out, "        '%s:", (*command)->name);
        print_quoted((*command)->summary, ":\\", out);
        fprintf(out, "'\n");
    }
    fprintf(out, "    )\n"
                 "    if ((CURRENT == 2)); then\n"
                 "        _describe command commands\n"
                 "        return\n"
                 "    fi\n"
                 "    case $words[2] in\n");
    for (const struct command *const *command = commands; *command; command++) {
        fprintf(out, "    %s)\n        _arguments \\\n", (*command)->name);
        for (const struct option_row *row = (*command)->options; row->name; row++)
            print_zsh_option(row, out);
        fprintf(out, "            '--help[Show the help.]' ;;\n");
    }
    fprintf(out, "    esac\n"
                 "}\n"
                 "_tidewait \"$@\"\n");
}

static void print_fish(FILE *out)
{
    fprintf(out, "# fish completion for tidewait; made by 'tidewait completion fish'\n"
                 "complete -c tidewait -f\n");
    for (const struct command *const *command = commands; *command; command++) {
        fprintf(out, "complete -c tidewait -n __fish_use_subcommand -a %s -d '", (*command)->name);
        print_quoted((*command)->summary, "\\", out);
        fprintf(out, "'\n");
        for (const struct option_row *row = (*command)->options; row->name; row++) {
            fprintf(out, "complete -c tidewait -n '__fish_seen_subcommand_from %s' -l %s",
                    (*command)->name, row->name);
            if (row->letter)
                fprintf(out, " -s %c", row->letter);
            if (row->choices) {
                fprintf(out, " -x -a '");
                for (const char *c = row->choices; *c; c++)
                    fputc(*c == '|' ? ' ' : *c, out);
                fprintf(out, "'");
            } else if (row->metavar) {
                fprintf(out, strcmp(row->metavar, "FILE") == 0 ? " -r -F" : " -x");
            }
            fprintf(out, " -d '");
            print_quoted(row->help, "\\", out);
            fprintf(out, "'\n");
        }
    }
}

static int run_completion(const void *config, int operands, char **operand)
{
    static const struct {
        const char *shell;
        void (*print)(FILE *out);
    } shells[] = {{"bash", print_bash}, {"zsh", print_zsh}, {"fish", print_fish}};

    (void)config;
    for (size_t i = 0; operands == 1 && i < sizeof(shells) / sizeof(shells[0]); i++) {
        if (strcmp(operand[0], shells[i].shell) == 0) {
            shells[i].print(stdout);
            return EXIT_YES;
        }
    }
    fprintf(stderr, "tidewait completion: name one shell: bash, zsh or fish%s%s%s\n",
            operands ? ", not '" : "", operands ? operand[0] : "", operands ? "'" : "");
    return EXIT_USAGE;
}

static const struct option_row completion_options[] = {{0}};

const struct command command_completion = {
    .name = "completion",
    .operands = "bash|zsh|fish",
    .summary = "Print the completions for a shell.",
    .options = completion_options,
    .config_size = 1,
    .run = run_completion,
};
