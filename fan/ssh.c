#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "job.h"
#include "quote.h"
#include "tidewait/clock.h"

/* ssh ends with it when it failed itself. */
#define EXIT_OF_SSH 255

/* Runs around the command at the other end, as an argument of its sh. It writes the mark, and keeps
 * a process that reads the connection's stdin, on which nothing is ever written: when it ends while
 * the command has not, the connection has gone, and the command, which sshd would let run on, is
 * ended with all of its process group. That process is in the group itself, so its number cannot
 * have become somebody else's. What sh itself says of a command that was killed is nothing that the
 * command wrote. */
static const char on_leash[] =
    "echo %s >&2; exec 3<&0 </dev/null; "
    "(trap \"\" TERM HUP INT; cat <&3; kill -0 $$ && "
    "{ kill -TERM -$$ || kill -TERM $$; sleep 1; kill -KILL -$$; }) >/dev/null 2>&1 & "
    "exec 3<&- 4>&2 2>/dev/null; " QUOTE_RUN "; exit $?";

/* With an input of its own the command has no leash. */
static const char on_input[] = "echo %s >&2; exec 4>&2 2>/dev/null; " QUOTE_RUN "; exit $?";

void ssh_way_init(struct ssh_way *way, bool plain)
{
    way->plain = plain;
    mark_make(way->mark);
}

/* What is given to ssh as the command. */
static char *wrap(const struct ssh_way *way, const char *command, bool has_input)
{
    char *word, *wrapped = NULL, script[sizeof(on_leash) + sizeof(way->mark)];

    if (way->plain)
        return strdup(command);
    /* NOLINTNEXTLINE(clang-diagnostic-format-nonliteral): one of the two above */
    snprintf(script, sizeof(script), has_input ? on_input : on_leash, way->mark);
    word = quote_word(command);
    if (word && asprintf(&wrapped, "exec sh -c '%s' %s", script, word) < 0)
        wrapped = NULL;
    free(word);
    return wrapped;
}

static int run(const struct fan_command *command, const struct host *host, struct attempt *attempt,
               char *line, struct tw_error *error, bool leash)
{
    const char *user = host->user ? host->user : command->user;
    enum child_input kind = child_input_of(command, host);
    char time_limit[48], port[16];
    const char *argv[16] = {"ssh", "-T", "-o", "BatchMode=yes"};
    int count = 4;

    if (command->connect_ns) {
        snprintf(time_limit, sizeof(time_limit), "ConnectTimeout=%llu",
                 (unsigned long long)((command->connect_ns + TW_NS_PER_S - 1) / TW_NS_PER_S));
        argv[count++] = "-o";
        argv[count++] = time_limit;
    }
    if (host->port) {
        snprintf(port, sizeof(port), "%u", host->port);
        argv[count++] = "-p";
        argv[count++] = port;
    }
    if (user) {
        argv[count++] = "-l";
        argv[count++] = user;
    }
    argv[count++] = "--";
    argv[count++] = host->address;
    argv[count] = line;
    if (leash && kind == CHILD_NO_INPUT)
        kind = CHILD_LEASH;
    return child_start(attempt, (char *const *)argv, kind, command->input, error);
}

static int start(void *context, const struct fan_command *command, struct job *job,
                 uint64_t *until_ns, struct tw_error *error)
{
    const struct ssh_way *way = context;
    bool has_input = child_input_of(command, job->host) == CHILD_FILE;
    char *line = wrap(way, command->text, has_input);
    int rc;

    (void)until_ns;
    if (!line)
        return tw_error_set(error, ENOMEM, "no memory");
    rc = run(command, job->host, job->attempt, line, error, !way->plain);
    free(line);
    job->attempt->mark = way->plain ? NULL : way->mark;
    return rc;
}

/* Whoever ended there was not the command. */
static void tell_not_begun(struct job *job)
{
    char text[120];
    int len = snprintf(text, sizeof(text),
                       "the login shell there ended before the command began, with exit status %d; "
                       "see --plain",
                       job->exit);

    job_tell(job, text, (size_t)len);
    job->cause = CAUSE_START;
    job->exit = -1;
}

/* 255 is ssh's own failure, or the command's exit status. */
static void ended(void *context, struct job *job)
{
    const struct attempt *attempt = job->attempt;
    const struct ssh_way *way = context;
    const char *line = attempt->words;
    size_t len = attempt->word_len;
    enum fan_cause cause;

    if (job->exit >= 0 && job->exit != EXIT_OF_SSH && attempt->mark)
        tell_not_begun(job);
    if (job->exit != EXIT_OF_SSH || attempt->ended)
        return;
    if (!way->plain && !attempt->mark) {
        if (cause_is_lost(attempt->words, attempt->word_len)) {
            job->cause = CAUSE_LOST;
            job->exit = -1;
        }
        return;
    }
    cause = cause_of_ssh(attempt->words, attempt->word_len, &line, &len);
    if (way->plain && cause == CAUSE_NONE)
        return;
    while (len && (line[len - 1] == '\n' || line[len - 1] == '\r'))
        len--;
    if (len)
        job_tell(job, line, len);
    job->cause = cause ? cause : CAUSE_CONNECT;
    job->exit = -1;
}

const struct transport transport_ssh = {.name = "ssh", .start = start, .ended = ended};
