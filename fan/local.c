#include <errno.h>
#include <stdlib.h>

#include "job.h"
#include "quote.h"

static int start(void *context, const struct fan_command *command, struct job *job,
                 uint64_t *until_ns, struct tw_error *error)
{
    const struct local_way *way = context;
    char *line = quote_fill(way->line ? way->line : command->text, job->host, command->user,
                            way->line ? command->text : NULL);
    char sh[] = "sh", flag[] = "-c";
    char *argv[] = {sh, flag, line, NULL};
    int rc;

    (void)until_ns;
    if (!line)
        return tw_error_set(error, ENOMEM, "no memory");
    rc = child_start(job->attempt, argv, child_input_of(command, job->host), command->input, error);
    free(line);
    return rc;
}

const struct transport transport_local = {.name = "local", .start = start};
