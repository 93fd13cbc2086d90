#include "tidewait/verdict.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "parts.h"

static int check(const struct tw_question *question, struct tw_error *error)
{
    bool is_unix = question->protocol == 0;
    sa_family_t family = question->op == TW_OP_CONNECT ? question->remote.sa.sa_family
                                                       : question->local.sa.sa_family;

    if (is_unix && (!question->path || !question->path[0]))
        return tw_error_set(error, EINVAL, "a question about a Unix socket needs its path");
    if (is_unix)
        return 0;
    if (question->protocol != IPPROTO_TCP && question->protocol != IPPROTO_UDP)
        return tw_error_set(error, EINVAL, "protocol %u is neither TCP nor UDP",
                            question->protocol);
    if (family != AF_INET && family != AF_INET6)
        return tw_error_set(error, EINVAL, "the question has no IPv4 or IPv6 address");
    if (question->op == TW_OP_CONNECT && question->local.sa.sa_family != AF_UNSPEC &&
        tw_endpoint_unmap(&question->local).sa.sa_family !=
            tw_endpoint_unmap(&question->remote).sa.sa_family) {
        char local[TW_ENDPOINT_TEXT_MAX], remote[TW_ENDPOINT_TEXT_MAX];

        return tw_error_set(error, EINVAL, "%s and %s are addresses of different families",
                            tw_endpoint_format(&question->local, local),
                            tw_endpoint_format(&question->remote, remote));
    }
    return 0;
}

struct tw_verdict *tw_verdict_new(const struct tw_question *question, struct tw_error *error)
{
    struct draft *draft;
    int rc;

    if (check(question, error))
        return NULL;
    draft = calloc(1, sizeof(*draft));
    if (!draft) {
        tw_error_set(error, ENOMEM, "no memory for the verdict");
        return NULL;
    }
    draft->verdict.question = *question;
    draft->verdict.free_in_ms = -1;
    /* The caller's texts may end before the verdict does. */
    if (question->path)
        draft->verdict.question.path = draft_copy(draft, question->path);
    if (question->device)
        draft->verdict.question.device = draft_copy(draft, question->device);
    if (question->protocol == 0)
        rc = verdict_unix(draft, error);
    else if (question->op == TW_OP_CONNECT)
        rc = verdict_connect(draft, error);
    else
        rc = verdict_bind(draft, error);
    if (rc) {
        tw_verdict_free(&draft->verdict);
        return NULL;
    }
    return draft_finish(draft, error);
}
