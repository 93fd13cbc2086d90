#include <errno.h>
#include <pwd.h>

#include "builder.h"
#include "verdict.h"

static json_t *address_or_null(const struct tw_endpoint *endpoint)
{
    struct tw_endpoint bare = *endpoint;
    char text[TW_ENDPOINT_TEXT_MAX];

    if (endpoint->sa.sa_family == AF_UNSPEC)
        return json_null();
    tw_endpoint_set_port(&bare, 0);
    return json_string(tw_endpoint_format(&bare, text));
}

static void set_endpoint(struct builder *b, json_t *object, const char *address, const char *port,
                         const struct tw_endpoint *endpoint)
{
    if (endpoint->sa.sa_family == AF_UNSPEC)
        return;
    set(b, object, address, address_or_null(endpoint));
    set(b, object, port, count(tw_endpoint_port(endpoint)));
}

static json_t *user_or_null(uint32_t uid)
{
    const struct passwd *user = getpwuid(uid);

    return user ? text_or_null(user->pw_name) : json_null();
}

static const char *protocol_name(uint8_t protocol)
{
    return protocol == IPPROTO_TCP ? "tcp" : protocol == IPPROTO_UDP ? "udp" : "unix";
}

static json_t *question_object(struct builder *b, const struct tw_question *question)
{
    json_t *object = json_object();

    set(b, object, "op", json_string(tw_op_name(question->op)));
    set(b, object, "proto", json_string(protocol_name(question->protocol)));
    if (question->path)
        set(b, object, "path", text_or_null(question->path));
    set_endpoint(b, object, "laddr", "lport", &question->local);
    set_endpoint(b, object, "raddr", "rport", &question->remote);
    set(b, object, "reuseaddr", json_boolean(question->reuseaddr));
    set(b, object, "reuseport", json_boolean(question->reuseport));
    set(b, object, "v6only", json_boolean(question->v6only));
    if (question->device)
        set(b, object, "device", text_or_null(question->device));
    if (question->as_other)
        set(b, object, "uid", count(question->uid));
    if (question->pid)
        set(b, object, "pid", count((uint64_t)question->pid));
    return object;
}

static json_t *known(uint8_t value)
{
    return value == TW_UNKNOWN ? json_null() : json_boolean(value == TW_YES);
}

static json_t *socket_object(struct builder *b, const struct tw_socket_row *row)
{
    json_t *object = json_object();

    set(b, object, "proto", json_string(protocol_name(row->protocol)));
    set(b, object, "family", json_string(row->local.sa.sa_family == AF_INET6 ? "ipv6" : "ipv4"));
    set(b, object, "state", json_string(tw_state_name(row->protocol, row->state)));
    set_endpoint(b, object, "laddr", "lport", &row->local);
    set_endpoint(b, object, "raddr", "rport", &row->remote);
    set(b, object, "uid", count(row->uid));
    set(b, object, "inode", count(row->inode));
    set(b, object, "reuseaddr", known(row->reuseaddr));
    set(b, object, "reuseport", known(row->reuseport));
    set(b, object, "opened", known(row->opened));
    set(b, object, "expires_ms", row->expires_ms ? count(row->expires_ms) : json_null());
    return object;
}

static json_t *text_if_any(const char *text)
{
    return text_or_null(text[0] ? text : NULL);
}

static json_t *holders_array(struct builder *b, const struct tw_verdict *verdict)
{
    json_t *array = json_array();

    for (size_t i = 0; i < verdict->holder_count; i++) {
        const struct tw_verdict_holder *holder = &verdict->holders[i];
        const struct tw_process *process = &holder->process;
        json_t *object = json_object();

        set(b, object, "pid", count((uint64_t)process->pid));
        set(b, object, "comm", text_or_null(process->comm));
        set(b, object, "cmdline", text_or_null(process->cmdline));
        set(b, object, "uid", count(process->uid));
        set(b, object, "user", user_or_null(process->uid));
        set(b, object, "age_ms", count(process->age_ms));
        set(b, object, "unit", text_if_any(process->unit));
        set(b, object, "container", text_if_any(process->container));
        set(b, object, "runtime", text_if_any(process->runtime));
        set(b, object, "netns", process->netns ? count(process->netns) : json_null());
        set(b, object, "inode", count(holder->inode));
        set(b, object, "fd", known_or_null(holder->fd));
        append(b, array, object);
    }
    return array;
}

static json_t *evidence_array(struct builder *b, const struct tw_verdict *verdict)
{
    json_t *array = json_array();

    for (size_t i = 0; i < verdict->evidence_count; i++) {
        json_t *object = json_object();

        set(b, object, "kind", json_string(verdict->evidence[i].kind));
        set(b, object, "text", text_or_null(verdict->evidence[i].text));
        if (verdict->evidence[i].socket)
            set(b, object, "socket", socket_object(b, verdict->evidence[i].socket));
        append(b, array, object);
    }
    return array;
}

static json_t *remedies_array(struct builder *b, const struct tw_verdict *verdict)
{
    json_t *array = json_array();

    for (size_t i = 0; i < verdict->remedy_count; i++) {
        json_t *object = json_object();

        set(b, object, "do", text_or_null(verdict->remedies[i].what));
        set(b, object, "command", text_or_null(verdict->remedies[i].command));
        set(b, object, "safe", json_boolean(verdict->remedies[i].safe));
        set(b, object, "why", text_or_null(verdict->remedies[i].why));
        append(b, array, object);
    }
    return array;
}

static json_t *hidden_array(struct builder *b, const struct tw_verdict *verdict)
{
    json_t *array = json_array();

    for (size_t i = 0; i < verdict->hidden_count; i++)
        append(b, array, text_or_null(verdict->hidden[i]));
    return array;
}

static json_t *lane_or_null(struct builder *b, const struct tw_rules_lane *lane)
{
    json_t *object;

    if (!lane->ports)
        return json_null();
    object = json_object();
    set(b, object, "ports", count(lane->ports));
    set(b, object, "connected", count(lane->connected));
    set(b, object, "time_wait", count(lane->time_wait));
    set(b, object, "reusable", count(lane->reusable));
    set(b, object, "polluted", count(lane->polluted));
    set(b, object, "free", count(lane->free));
    set(b, object, "free_first_parity", count(lane->free_first));
    return object;
}

static json_t *message_object(struct builder *b, const struct tw_message *message)
{
    json_t *object = json_object();

    set(b, object, "program", json_string(message->program));
    set(b, object, "errno", json_string(tw_errno_name(message->code)));
    set(b, object, "meaning", json_string(message->meaning));
    return object;
}

static json_t *verdict_object(struct builder *b, const struct tw_verdict *verdict,
                              const struct tw_message *message)
{
    json_t *root = json_object();

    set(b, root, "schema", json_string("tidewait.verdict/1"));
    if (message)
        set(b, root, "message", message_object(b, message));
    if (!verdict) {
        set(b, root, "answer", json_null());
        return root;
    }
    set(b, root, "question", question_object(b, &verdict->question));
    set(b, root, "answer", json_string(tw_answer_name(verdict->answer)));
    set(b, root, "errno", verdict->code ? json_string(tw_errno_name(verdict->code)) : json_null());
    set(b, root, "cause", verdict->cause ? json_string(verdict->cause) : json_null());
    set(b, root, "summary", text_or_null(verdict->summary));
    set(b, root, "holders", holders_array(b, verdict));
    set(b, root, "evidence", evidence_array(b, verdict));
    set(b, root, "remedies", remedies_array(b, verdict));
    set(b, root, "free_in_ms", known_or_null(verdict->free_in_ms));
    set(b, root, "lane", lane_or_null(b, &verdict->lane));
    set(b, root, "trial",
        verdict->tried
            ? json_string(verdict->trial_code ? tw_errno_name(verdict->trial_code) : "succeeded")
            : json_null());
    set(b, root, "disagrees", json_boolean(verdict->disagrees));
    set(b, root, "hidden", hidden_array(b, verdict));
    return root;
}

int report_verdict_json(const struct tw_verdict *verdict, const struct tw_message *message,
                        FILE *out)
{
    struct builder builder = {false};
    json_t *root = verdict_object(&builder, verdict, message);
    /* Written at once: half an object is worse than none, and jansson may run out of memory too. */
    char *text = builder.bad ? NULL : json_dumps(root, JSON_ENSURE_ASCII);
    int rc = text ? 0 : -ENOMEM;

    if (text && (fputs(text, out) == EOF || fputc('\n', out) == EOF || fflush(out)))
        rc = -EIO;
    free(text);
    json_decref(root);
    return rc;
}
