#include <errno.h>
#include <string.h>

#include "options.h"
#include "tidewait/process.h"
#include "why.h"
#include "why_lane.h"

static struct tw_verdict *ask_connect(const struct why_config *config, uint8_t protocol,
                                      const struct tw_endpoint *source,
                                      const struct tw_endpoint *destination, struct tw_error *error)
{
    struct tw_question question = why_question(config, TW_OP_CONNECT);

    question.protocol = protocol;
    question.local = *source;
    question.remote = *destination;
    return tw_verdict_new(&question, error);
}

static struct tw_verdict *ask_fullest(const struct why_config *config, int pid,
                                      struct tw_error *error)
{
    struct fullest_lane lane;

    if (fullest_lane_find(pid, &lane, error) || !lane.sockets)
        return NULL;
    return ask_connect(config, IPPROTO_TCP, &lane.source, &lane.destination, error);
}

/* The question behind the message; NULL without an error when the message names no address. */
static struct tw_verdict *ask(const struct why_config *config, const struct tw_message *message,
                              struct tw_error *error)
{
    struct target target = {.protocol = message->protocol};

    if (message->op == TW_MESSAGE_CONNECT) {
        struct tw_endpoint source = {0};

        if (!message->has_remote || message->port_only || !tw_endpoint_port(&message->remote))
            return ask_fullest(config, 0, error);
        if (message->has_local && !tw_endpoint_is_wildcard(&message->local))
            source = message->local;
        return ask_connect(config, message->protocol, &source, &message->remote, error);
    }
    if (message->path[0]) {
        target.path = message->path;
        return why_bind(config, &target, error);
    }
    if (!message->has_local)
        return message->code == EADDRNOTAVAIL ? ask_fullest(config, 0, error) : NULL;
    target.endpoint = message->local;
    target.has_address = !message->port_only;
    return why_bind(config, &target, error);
}

int why_message(const struct why_config *config, const struct tw_message *message, FILE *out)
{
    struct tw_error error = {0};
    struct tw_verdict *verdict = ask(config, message, &error);
    bool talks = !config->quiet && !config->json;
    int code;

    if (error.code)
        return why_refuse(&error);
    code = why_print(config, verdict, message, out);
    if (!verdict && talks)
        fprintf(out, message->op == TW_MESSAGE_CONNECT
                         ? "No connection from an ephemeral port is open here now.\n"
                         : "The message does not name the port: 'tidewait why PORT' looks who has "
                           "it.\n");
    return code;
}

int why_process(const struct why_config *config)
{
    struct tw_error error = {0};
    struct tw_process process;
    struct tw_verdict *verdict;

    if (tw_process_read((int)config->pid, &process, &error))
        return why_refuse(&error);
    verdict = ask_fullest(config, process.pid, &error);
    if (error.code)
        return why_refuse(&error);
    if (!verdict && !config->json && !config->quiet)
        printf("pid %d has no connection from an ephemeral port open, as far as can be seen.\n",
               process.pid);
    return why_print(config, verdict, NULL, stdout);
}
