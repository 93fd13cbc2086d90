#include "exec_events.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "shared.h"
#include "tidewait/address.h"
#include "tidewait/clock.h"
#include "tidewait/process.h"
#include "tidewait/text.h"
#include "tidewait/verdict.h"

#define TEXT_MAX       4096
#define SERVED_AT_ONCE 16

/* One refusal, as told and as found. */
struct refusal {
    struct shim_event event;
    struct tw_endpoint local, remote; /* family AF_UNSPEC: none */
    struct tw_process process;
    char comm[4 * sizeof(((struct tw_process *)0)->comm)]; /* harmless */
};

/* --- what was asked ----------------------------------------------------------------------------
 */

static const char *call_name(const struct shim_event *event)
{
    return event->call == SHIM_BIND ? "bind" : event->call == SHIM_LISTEN ? "listen" : "connect";
}

static struct tw_endpoint read_endpoint(const uint8_t bytes[28])
{
    struct tw_endpoint endpoint = {0};

    memcpy(&endpoint.v6, bytes, sizeof(endpoint.v6));
    if (endpoint.sa.sa_family != AF_INET && endpoint.sa.sa_family != AF_INET6)
        endpoint = (struct tw_endpoint){0};
    return endpoint;
}

/* Of connect() a source is told only when it was chosen: any address of another family and any port
 * say nothing. */
static void tidy_source(struct refusal *refusal)
{
    uint16_t port = tw_endpoint_port(&refusal->local);

    if (refusal->event.call != SHIM_CONNECT || refusal->local.sa.sa_family == AF_UNSPEC)
        return;
    if (tw_endpoint_is_wildcard(&refusal->local) &&
        (!port || refusal->local.sa.sa_family != refusal->remote.sa.sa_family)) {
        refusal->local = (struct tw_endpoint){.sa.sa_family = refusal->remote.sa.sa_family};
        tw_endpoint_set_port(&refusal->local, port);
        if (!port)
            refusal->local = (struct tw_endpoint){0};
    }
}

static struct tw_verdict *ask(const struct refusal *refusal, struct tw_error *error)
{
    const struct shim_event *event = &refusal->event;
    struct tw_question question = {
        .op = event->call == SHIM_BIND     ? TW_OP_BIND
              : event->call == SHIM_LISTEN ? TW_OP_LISTEN
                                           : TW_OP_CONNECT,
        .protocol = event->protocol,
        .local = refusal->local,
        .remote = refusal->remote,
        .reuseaddr = event->reuseaddr,
        .reuseport = event->reuseport,
        .v6only = event->v6only,
        .as_other = event->uid != geteuid(),
        .uid = event->uid,
        .pid = event->pid,
        .scope = TW_NETNS_OWN,
    };

    return tw_verdict_new(&question, error);
}

/* --- two lines ---------------------------------------------------------------------------------
 */

static void print_what(const struct refusal *refusal, const struct tw_verdict *verdict,
                       const struct tw_error *error, FILE *out)
{
    const struct shim_event *event = &refusal->event;
    const struct tw_endpoint *address =
        event->call == SHIM_CONNECT ? &refusal->remote : &refusal->local;
    char text[TW_ENDPOINT_TEXT_MAX];

    fprintf(out, "tidewait: %s[%d] %s %s: %s", refusal->comm, event->pid, call_name(event),
            tw_endpoint_format(address, text), tw_errno_name(event->code));
    if (!verdict)
        fprintf(out, ": it cannot be told why: %s", error->text);
    else if (verdict->answer == TW_ANSWER_FREE)
        fputs(": in the meantime it is free", out);
    else
        fprintf(out, ", %s: %s", verdict->cause, verdict->summary);
    fputc('\n', out);
}

static void print_hidden(const struct tw_verdict *verdict, FILE *out)
{
    for (size_t i = 0; i < verdict->hidden_count; i++)
        fprintf(out, "%s%s", i ? "; " : " (not seen: ", verdict->hidden[i]);
    if (verdict->hidden_count)
        fputc(')', out);
}

static void print_remedy(const struct refusal *refusal, const struct tw_verdict *verdict, FILE *out)
{
    const struct tw_verdict_remedy *first =
        verdict && verdict->remedy_count ? verdict->remedies : NULL;

    fputs("tidewait:   ", out);
    if (refusal->event.wait_ns)
        fprintf(out, "tried again for up to %.4g s; ", (double)refusal->event.wait_ns / 1e9);
    if (first)
        fprintf(out, "try: %s%s%s", first->what, first->command ? ":  " : "",
                first->command ? first->command : "");
    else if (verdict && verdict->answer == TW_ANSWER_FREE)
        fputs("try: once more; whoever had it has let it go", out);
    else
        fputs("try: 'tidewait why' with that address, as root, tells more", out);
    if (verdict)
        print_hidden(verdict, out);
    fputc('\n', out);
}

/* --- once per cause and interval ---------------------------------------------------------------
 */

static uint64_t hash(uint64_t key, const void *data, size_t len)
{
    const unsigned char *bytes = data;

    for (size_t i = 0; i < len; i++)
        key = (key ^ bytes[i]) * 0x100000001b3ULL;
    return key;
}

/* The cause and the address; not the source port, which differs from try to try. */
static uint64_t key_of(const struct refusal *refusal, const struct tw_verdict *verdict)
{
    const struct shim_event *event = &refusal->event;
    const char *cause = verdict && verdict->cause ? verdict->cause : "";
    uint8_t about[] = {event->call, event->protocol, (uint8_t)event->code, event->wait_ns != 0};
    uint64_t key = hash(0xcbf29ce484222325ULL, cause, strlen(cause));

    key = hash(key, about, sizeof(about));
    if (event->call == SHIM_CONNECT)
        key = hash(key, event->remote, sizeof(event->remote));
    else
        key = hash(key, event->local, sizeof(event->local));
    return key ? key : 1;
}

/* Whether it is time to tell it (again). Of those in the table the oldest makes room. */
static bool is_due(struct exec_events *events, uint64_t key)
{
    uint64_t now = tw_clock_ns();
    size_t place = 0;

    for (size_t i = 0; i < EXEC_TOLD; i++) {
        if (events->told[i].key == key) {
            place = i;
            if (now - events->told[i].at_ns < events->interval_ns)
                return false;
            break;
        }
        if (events->told[i].at_ns < events->told[place].at_ns)
            place = i;
    }
    events->told[place].key = key;
    events->told[place].at_ns = now;
    return true;
}

static void explain(struct exec_events *events, struct refusal *refusal)
{
    struct tw_error error = {0};
    struct tw_verdict *verdict;
    char text[TEXT_MAX] = "";
    FILE *out;

    refusal->local = read_endpoint(refusal->event.local);
    refusal->remote = read_endpoint(refusal->event.remote);
    tidy_source(refusal);
    (void)tw_process_read(refusal->event.pid, &refusal->process, NULL);
    refusal->comm[tw_text_safe(refusal->comm, sizeof(refusal->comm) - 1, refusal->process.comm,
                               strlen(refusal->process.comm))] = 0;
    verdict = ask(refusal, &error);
    out = fmemopen(text, sizeof(text) - 1, "w");
    if (out && is_due(events, key_of(refusal, verdict))) {
        print_what(refusal, verdict, &error, out);
        print_remedy(refusal, verdict, out);
        (void)fclose(out);
        out = NULL;
        if (exec_log_write(events->log, text))
            events->explained++;
    }
    if (out)
        (void)fclose(out);
    tw_verdict_free(verdict);
}

/* --- the socket --------------------------------------------------------------------------------
 */

int exec_events_open(struct exec_events *events, const char *name, const struct exec_log *log,
                     uint64_t interval_ns, struct tw_error *error)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t len = strlen(name);
    int on = 1;

    *events = (struct exec_events){.fd = -1, .log = log, .interval_ns = interval_ns};
    memcpy(address.sun_path + 1, name, len);
    events->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (events->fd < 0 || setsockopt(events->fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) ||
        bind(events->fd, (const struct sockaddr *)&address,
             (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + len))) {
        int code = errno;

        exec_events_close(events);
        return tw_error_set(error, code, "the socket for explanations: %s", strerror(code));
    }
    return 0;
}

/* Anybody in this network namespace may send to an abstract socket, and nobody else, so the
 * question is about the very addresses that we see. Who sent it the kernel tells, by the number
 * that the process has here. */
static bool is_ours(struct msghdr *message, struct shim_event *event)
{
    const struct cmsghdr *header = CMSG_FIRSTHDR(message);
    struct ucred sender;

    if (!header || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_CREDENTIALS)
        return false;
    memcpy(&sender, CMSG_DATA(header), sizeof(sender));
    if (sender.pid > 0)
        event->pid = sender.pid;
    return geteuid() == 0 || sender.uid == geteuid() || sender.uid == 0;
}

/* What a shim sends, and nothing that our own code must not even look at. */
static bool is_sane(const struct shim_event *event)
{
    unsigned char flags[3];

    memcpy(&flags[0], &event->reuseaddr, 1);
    memcpy(&flags[1], &event->reuseport, 1);
    memcpy(&flags[2], &event->v6only, 1);
    return event->size == sizeof(*event) && event->call <= SHIM_CONNECT && event->code > 0 &&
           (event->protocol == IPPROTO_TCP || event->protocol == IPPROTO_UDP) &&
           (flags[0] | flags[1] | flags[2]) <= 1;
}

/* Whether there was one. */
static bool serve_one(struct exec_events *events)
{
    struct refusal refusal = {0};
    struct sockaddr_un from;
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(struct ucred))];
    } control;
    struct iovec data = {.iov_base = &refusal.event, .iov_len = sizeof(refusal.event)};
    struct msghdr message = {.msg_name = &from,
                             .msg_namelen = sizeof(from),
                             .msg_iov = &data,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof(control.room)};
    ssize_t got = recvmsg(events->fd, &message, 0);

    if (got < 0)
        return false;
    if (got == sizeof(refusal.event) && is_sane(&refusal.event) &&
        is_ours(&message, &refusal.event))
        explain(events, &refusal);
    /* It may be gone, or have no name. */
    if (message.msg_namelen)
        (void)sendto(events->fd, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL, &from, message.msg_namelen);
    return true;
}

void exec_events_serve(void *context)
{
    struct exec_events *events = context;

    /* Signals and the end of the program have their turn in between. */
    for (int i = 0; i < SERVED_AT_ONCE && serve_one(events); i++)
        ;
}

void exec_events_close(struct exec_events *events)
{
    if (events->fd >= 0)
        close(events->fd);
    events->fd = -1;
}
