#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "options.h"

#ifndef TIDEWAIT_VERSION
#define TIDEWAIT_VERSION "unknown"
#endif

extern const struct command command_completion, command_exec, command_fan, command_free,
    command_lab, command_lease, command_load, command_ls, command_plan, command_serve, command_tune,
    command_why;

/* clang-format off */
const struct command *const commands[] = {
    &command_why,
    &command_ls,
    &command_free,
    &command_exec,
    &command_lease,
    &command_serve,
    &command_load,
    &command_plan,
    &command_tune,
    &command_lab,
    &command_fan,
    &command_completion,
    NULL,
};
/* clang-format on */

static void print_usage(FILE *out)
{
    fprintf(
        out,
        "Usage: tidewait COMMAND [OPTION...] [ARGUMENT...]\n\n"
        "Everything around \"Address already in use\" and \"Cannot assign requested address\".\n\n"
        "Commands:\n");
    for (const struct command *const *command = commands; *command; command++)
        fprintf(out, "  %-12s %s\n", (*command)->name, (*command)->summary);
    fprintf(out, "\n'tidewait COMMAND --help' shows the options of a command.\n");
}

static const struct command *find_command(const char *name)
{
    for (const struct command *const *command = commands; *command; command++)
        if (strcmp((*command)->name, name) == 0)
            return *command;
    return NULL;
}

static int run_command(const struct command *command, int argc, char **argv)
{
    struct tw_error error = {0};
    int operands = 0, rc;
    void *config = calloc(1, command->config_size);

    if (!config) {
        fprintf(stderr, "tidewait: no memory\n");
        return EXIT_OURS;
    }
    rc = options_parse(command, argc, argv, config, &operands, &error);
    if (rc > 0) {
        options_help(command, stdout);
        rc = EXIT_YES;
    } else if (rc < 0) {
        fprintf(stderr, "tidewait %s: %s\n", command->name, error.text);
        rc = EXIT_USAGE;
    } else {
        rc = command->run(config, operands, argv + 1);
    }
    free(config);
    return rc;
}

/* A stream that we were started without: a file or socket of ours would get its number, and with it
 * what we print. What is opened instead cannot be read or written, so that nothing seems to be well
 * that is not; errors alone go nowhere. */
static void fill_streams(void)
{
    static const int modes[] = {O_WRONLY, O_RDONLY, O_WRONLY};

    for (int i = 0; i < 3; i++)
        if (fcntl(i, F_GETFD) < 0 && errno == EBADF)
            (void)!open("/dev/null", modes[i]);
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : NULL;
    const struct command *command;

    fill_streams();

    if (!name) {
        print_usage(stderr);
        return EXIT_USAGE;
    }
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
        command = argc > 2 ? find_command(argv[2]) : NULL;
        if (command)
            options_help(command, stdout);
        else
            print_usage(stdout);
        return EXIT_YES;
    }
    if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0) {
        printf("tidewait %s\n", TIDEWAIT_VERSION);
        return EXIT_YES;
    }
    command = find_command(name);
    if (!command) {
        fprintf(stderr, "tidewait: there is no command '%s'; try 'tidewait --help'\n", name);
        return EXIT_USAGE;
    }
    return run_command(command, argc - 1, argv + 1);
}
