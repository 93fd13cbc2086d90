#include "ask.h"

#include <errno.h>

struct tw_verdict *ask_for(const struct tw_question *how, const struct target *target,
                           struct tw_error *error)
{
    struct tw_question question = *how;
    struct tw_endpoint any_v6 = {.v6 = {.sin6_family = AF_INET6}};
    struct tw_verdict *verdict, *v6;

    question.protocol = target->protocol;
    question.local = target->endpoint;
    question.path = target->path;
    verdict = tw_verdict_new(&question, error);
    if (!verdict || verdict->code || target->has_address || target->path)
        return verdict;
    /* Free on IPv4. A server on [::] would meet IPv6 sockets too, where there is IPv6 at all. */
    question.local = any_v6;
    question.scope = TW_NETNS_OWN;
    tw_endpoint_set_port(&question.local, tw_endpoint_port(&target->endpoint));
    v6 = tw_verdict_new(&question, NULL);
    if (!v6 || v6->code != EADDRINUSE) {
        tw_verdict_free(v6);
        return verdict;
    }
    tw_verdict_free(verdict);
    return v6;
}
