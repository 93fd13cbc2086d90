#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "options.h"
#include "watch.h"
#include "why.h"

/* The last refusals are told; a program that tries port after port is not listed in full. */
#define VERDICTS_MAX 3

/* What was seen of a command while it ran. */
struct seen {
    const struct why_config *config;
    struct tw_verdict *verdicts[VERDICTS_MAX]; /* the latest last */
    size_t count;
    struct watch_call connect; /* the last one */
    bool connected;
    uint64_t calls;
};

static void keep(struct seen *seen, struct tw_verdict *verdict)
{
    if (seen->count == VERDICTS_MAX) {
        tw_verdict_free(seen->verdicts[0]);
        memmove(seen->verdicts, seen->verdicts + 1, sizeof(seen->verdicts[0]) * --seen->count);
    }
    seen->verdicts[seen->count++] = verdict;
}

static struct tw_verdict *ask(const struct seen *seen, const struct watch_call *call)
{
    struct tw_question question = why_question(seen->config, call->op);

    question.protocol = call->protocol;
    question.local = call->local;
    question.remote = call->remote;
    question.path = call->protocol ? NULL : call->path;
    question.reuseaddr = call->reuseaddr;
    question.reuseport = call->reuseport;
    question.v6only = call->v6only;
    question.bound = call->op == TW_OP_BIND && call->bound;
    question.device = call->device[0] ? call->device : NULL;
    question.as_other = call->uid != geteuid();
    question.uid = call->uid;
    question.pid = call->pid;
    question.scope = TW_NETNS_OWN;
    return tw_verdict_new(&question, NULL);
}

/* The program waits in the kernel meanwhile, so what is found is what it is about to meet. */
static void before(const struct watch_call *call, void *context)
{
    struct seen *seen = context;
    struct tw_verdict *verdict;

    seen->calls++;
    if (call->op == TW_OP_CONNECT) {
        seen->connect = *call;
        seen->connected = true;
        return;
    }
    /* A bound socket without SO_REUSEADDR cannot have met another one: bind() would have failed. */
    if (call->op == TW_OP_LISTEN && !call->reuseaddr)
        return;
    verdict = ask(seen, call);
    if (verdict && verdict->code)
        keep(seen, verdict);
    else
        tw_verdict_free(verdict);
}

static void explain(struct seen *seen, const struct watch_end *end)
{
    const struct why_config *config = seen->config;
    struct tw_view text = {end->text, end->text_len};
    struct tw_message message;
    bool recognised = tw_message_recognise(text, &message) == 0;
    struct tw_verdict *verdict = NULL;

    /* A lane that is full stays full for a while: it can be looked at now. */
    if (seen->connected && !seen->count && seen->connect.protocol)
        verdict = ask(seen, &seen->connect);
    if (verdict && verdict->answer != TW_ANSWER_FREE) {
        why_print(config, verdict, recognised ? &message : NULL, stderr);
        return;
    }
    tw_verdict_free(verdict);
    for (size_t i = 0; i < seen->count; i++) {
        why_print(config, seen->verdicts[i], i == 0 && recognised ? &message : NULL, stderr);
        seen->verdicts[i] = NULL;
    }
    if (!seen->count && recognised)
        why_message(config, &message, stderr);
    else if (!seen->count && !config->quiet && !config->json)
        fprintf(stderr,
                "tidewait why: none of the %llu calls of bind, listen and connect that were seen "
                "met an address error; %u could not be looked at\n",
                (unsigned long long)seen->calls, end->unseen);
}

int why_command(const struct why_config *config, char **argv)
{
    struct seen seen = {.config = config};
    struct watch_end end = {0};
    struct tw_error error = {0};
    int rc = watch_run(argv, before, &seen, &end, &error), code;

    if (rc && !end.status)
        return why_refuse(&error);
    if (rc)
        fprintf(stderr, "tidewait why: %s\n", error.text);
    code = WIFSIGNALED(end.status) ? 128 + WTERMSIG(end.status) : WEXITSTATUS(end.status);
    if (!rc && code)
        explain(&seen, &end);
    for (size_t i = 0; i < seen.count; i++)
        tw_verdict_free(seen.verdicts[i]);
    free(end.text);
    return code;
}
