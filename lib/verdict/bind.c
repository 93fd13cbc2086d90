#include <errno.h>
#include <linux/capability.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bind.h"
#include "owner.h"
#include "parts.h"

#include "tidewait/trial.h"

/* --- the kernel's own answer ------------------------------------------------------------------ */

static struct tw_trial trial_of(const struct tw_question *question)
{
    return (struct tw_trial){
        .protocol = question->protocol,
        .local = question->local,
        .reuseaddr = question->reuseaddr,
        .reuseport = question->reuseport,
        .v6only = question->v6only,
        .device = question->device,
        .as_other = question->as_other,
        .uid = question->uid,
    };
}

/* Whether the question is about a bind(): that of a client too, which names its source port. */
static bool is_tried(const struct tw_question *question)
{
    if (question->no_trial || question->bound)
        return false;
    return question->op == TW_OP_BIND ||
           (question->op == TW_OP_CONNECT && tw_endpoint_port(&question->local));
}

static void try_it(struct draft *draft)
{
    struct tw_verdict *verdict = &draft->verdict;
    struct tw_trial trial = trial_of(&verdict->question);
    struct tw_error error = {0};
    int rc;

    if (!is_tried(&verdict->question))
        return;
    /* Beside a UDP socket that shares its port the trial would be given datagrams meant for it. */
    if (trial.protocol == IPPROTO_UDP && (trial.reuseaddr || trial.reuseport)) {
        draft_hidden(draft,
                     "what the kernel says to this very bind(): a UDP socket that shares the "
                     "port would take datagrams from the other, so it was not tried");
        return;
    }
    rc = tw_trial_bind(&trial, &verdict->tried, &error);
    if (verdict->tried)
        verdict->trial_code = -rc;
    else
        draft_hidden(draft, "what the kernel says to this very bind(): %s", error.text);
}

/* Whether the same bind() with SO_REUSEADDR succeeds at this moment. */
static bool reuseaddr_helps(const struct tw_question *question)
{
    struct tw_trial trial = trial_of(question);
    bool tried = false;

    /* Not with SO_REUSEPORT: a bind() that succeeds by it makes the kernel let others in as well.
     */
    trial.reuseaddr = true;
    trial.reuseport = false;
    return !question->reuseaddr && !question->no_trial &&
           tw_trial_bind(&trial, &tried, NULL) == 0 && tried;
}

/* --- the cause -------------------------------------------------------------------------------- */

static bool is_connection(uint8_t state)
{
    return state == TCP_ESTABLISHED || state == TCP_CLOSE_WAIT || state == TCP_SYN_SENT ||
           state == TCP_SYN_RECV;
}

static bool same_endpoint(const struct tw_endpoint *a, const struct tw_endpoint *b)
{
    return tw_endpoint_same_address(a, b) && tw_endpoint_port(a) == tw_endpoint_port(b);
}

/* A reservation is a TIME_WAIT on the loopback, left on purpose: by a socket that was connected to
 * itself (tw_lease_park), or, as others do it, by a connection closed at once: then nothing else is
 * on the port, which is of the ephemeral range. */
static bool is_parked(const struct bind_case *bind, const struct tw_socket_row *row)
{
    uint16_t port = tw_endpoint_port(&row->local);

    if (!tw_endpoint_is_loopback(&row->local) || !tw_endpoint_is_loopback(&row->remote))
        return false;
    return same_endpoint(&row->local, &row->remote) ||
           (bind->blockers.count == 1 && port >= bind->limits.port_first &&
            port <= bind->limits.port_last);
}

static const char *cause_of_listener(const struct bind_case *bind, const struct tw_socket_row *row)
{
    struct tw_endpoint ours = tw_endpoint_unmap(&bind->request.local);
    struct tw_endpoint theirs = tw_endpoint_unmap(&row->local);

    if (row->protocol == IPPROTO_UDP)
        return "udp-bound";
    if (ours.sa.sa_family != theirs.sa.sa_family)
        return "listener-dualstack";
    return tw_endpoint_same_address(&ours, &theirs) ? "listener" : "listener-wildcard";
}

/* While a connection is busy its figures do not tell who opened it; then the port has to: clients
 * have ports of the ephemeral range. */
static bool is_outbound(const struct bind_case *bind, const struct tw_socket_row *row)
{
    uint16_t port = tw_endpoint_port(&row->local);

    if (row->opened != TW_UNKNOWN)
        return row->opened == TW_YES;
    return port >= bind->limits.port_first && port <= bind->limits.port_last;
}

/* What the socket itself says, whoever has it. */
static const char *cause_of_socket(const struct bind_case *bind, const struct tw_socket_row *row)
{
    if (row->device || bind->request.device)
        return "device-bound";
    if (bind->request.reuseport && !row->expires_ms)
        return "reuseport-mismatch";
    if (row->protocol == IPPROTO_UDP || row->state == TCP_LISTEN)
        return cause_of_listener(bind, row);
    if (row->state == TCP_CLOSE)
        return "bound-not-listening";
    if (row->state == TCP_TIME_WAIT)
        return is_parked(bind, row) ? "parked" : "time-wait";
    if (same_endpoint(&row->local, &row->remote))
        return "self-connect";
    if (is_connection(row->state) && is_outbound(bind, row))
        return "outbound-connection";
    return is_connection(row->state) ? "leftover-connection" : "closing";
}

/* Who has it outweighs how it is bound, where that changes what to do. */
static const char *cause_of(const struct bind_case *bind, const struct tw_socket_row *row,
                            const struct owner *owner)
{
    const char *cause = cause_of_socket(bind, row);

    if (bind->question->op == TW_OP_LISTEN)
        return "second-listen";
    switch (owner->kind) {
    case OWNER_ASKER:
        return "same-process";
    case OWNER_SYSTEMD:
        return "systemd-socket";
    case OWNER_CONTAINER:
        return "container-proxy";
    case OWNER_KERNEL:
        return "kernel-socket";
    case OWNER_IN_FLIGHT:
        return "in-flight-fd";
    case OWNER_HIDDEN:
        return "hidden-owner";
    case OWNER_SEVERAL:
        return strcmp(cause, "listener") == 0 || strcmp(cause, "bound-not-listening") == 0 ||
                       strcmp(cause, "udp-bound") == 0
                   ? "inherited-fd"
                   : cause;
    default:
        return cause;
    }
}

/* --- the words -------------------------------------------------------------------------------- */

static const char *what_it_does(const struct tw_socket_row *row)
{
    if (row->protocol == IPPROTO_UDP)
        return "has bound the UDP socket";
    if (row->state == TCP_LISTEN)
        return "listens on";
    if (row->state == TCP_CLOSE)
        return "has bound, without listening on it,";
    return NULL;
}

static void summarize(const struct bind_case *bind, const char *wanted, const struct owner *owner)
{
    struct draft *draft = bind->draft;
    const struct blockers *blockers = &bind->blockers;
    const struct tw_socket_row *row = blockers_first(blockers);
    char local[TW_ENDPOINT_TEXT_MAX], remote[TW_ENDPOINT_TEXT_MAX];
    const char *does = what_it_does(row);

    tw_endpoint_format(&row->local, local);
    tw_endpoint_format(&row->remote, remote);
    if (row->state == TCP_TIME_WAIT)
        draft_summary(draft,
                      "%s is kept by %u closed connection%s in TIME_WAIT; the last one is gone in "
                      "%.1f s.",
                      wanted, blockers->by_state[TCP_TIME_WAIT],
                      blockers->by_state[TCP_TIME_WAIT] == 1 ? "" : "s",
                      blockers->expires_ms / 1e3);
    else if (does && owner->kind == OWNER_IN_FLIGHT && !draft->verdict.holder_count)
        draft_summary(draft, "A socket that no process has open %s %s.", does, local);
    else if (does)
        draft_summary(draft, "%s %s %s.", owner->name, does, local);
    else if (same_endpoint(&row->local, &row->remote))
        draft_summary(draft, "%s is connected to itself on %s.", owner->name, local);
    else if (is_connection(row->state) && is_outbound(bind, row))
        draft_summary(draft, "%s uses %s as the source port of its connection to %s.", owner->name,
                      local, remote);
    else if (owner->kind == OWNER_NONE)
        draft_summary(draft,
                      "%s is kept by a connection to %s that no process has open any more "
                      "(%s).",
                      wanted, remote, tw_state_name(row->protocol, row->state));
    else
        draft_summary(draft, "%s still has a connection of %s open, to %s (%s).", owner->name,
                      local, remote, tw_state_name(row->protocol, row->state));
}

static const char *rule_text(enum tw_rules_reason reason, bool tried)
{
    switch (reason) {
    case TW_REASON_LISTENS:
        return "a listening socket is never shared by SO_REUSEADDR, on either side; only by "
               "SO_REUSEPORT, set by both before bind() and of one user";
    case TW_REASON_REQUEST_NO_REUSE:
        return "two sockets share a port on one address only when both have SO_REUSEADDR, and "
               "yours has not";
    case TW_REASON_BLOCKER_NO_REUSE:
        return "SO_REUSEADDR must be set on the old socket too (connections inherit it from their "
               "listener), and it was not";
    case TW_REASON_OTHER_USER:
        return "SO_REUSEPORT shares a port only among sockets of one effective user";
    case TW_REASON_BLOCKER_NO_SHARE:
        return "SO_REUSEPORT must have been set on the other socket before its bind(), and it was "
               "not";
    case TW_REASON_UNKNOWN_OPTIONS:
        return tried ? "whether the two may share the port depends on options of the other socket "
                       "that are not visible; the kernel refused"
                     : "whether the two may share the port depends on options of the other socket "
                       "that are not visible; the kernel was not asked, so this is a guess";
    case TW_REASON_NONE:
        break;
    }
    return NULL;
}

static void add_evidence(struct bind_case *bind)
{
    enum { SHOWN = 5 };
    const struct blockers *blockers = &bind->blockers;
    const char *rule = rule_text(blockers->answer.reason, bind->draft->verdict.tried);
    unsigned all = 0;

    draft_socket(bind->draft, blockers_first(blockers));
    for (size_t i = 0; i < blockers->count && i < SHOWN; i++)
        if (i != blockers->answer.blocker)
            draft_socket(bind->draft, &blockers->rows[i]);
    for (size_t i = 0; i < 16; i++)
        all += blockers->by_state[i];
    if (all > SHOWN)
        draft_evidence(bind->draft, "socket", "%u sockets are in the way in all", all);
    if (rule)
        draft_evidence(bind->draft, "rule", "%s", rule);
}

/* The address as the commands take it. */
static const char *target(struct draft *draft, const struct tw_question *question)
{
    char text[TW_ENDPOINT_TEXT_MAX];
    const char *suffix = question->protocol == IPPROTO_UDP ? "/udp" : "";

    if (tw_endpoint_is_wildcard(&question->local))
        return draft_text(draft, "%u%s", tw_endpoint_port(&question->local), suffix);
    return draft_text(draft, "%s%s", tw_endpoint_format(&question->local, text), suffix);
}

static void add_socket_remedies(struct bind_case *bind, const struct owner *owner,
                                const char *cause, const char *what)
{
    struct draft *draft = bind->draft;
    const struct blockers *blockers = &bind->blockers;
    bool connections = blockers_first(blockers)->state != TCP_LISTEN &&
                       blockers_first(blockers)->state != TCP_CLOSE &&
                       bind->request.protocol == IPPROTO_TCP;

    if (draft->verdict.free_in_ms >= 0)
        draft_remedy(
            draft, draft_text(draft, "wait %.1f s", (double)draft->verdict.free_in_ms / 1e3),
            draft_text(draft, "sleep %lld", (long long)draft->verdict.free_in_ms / 1000 + 1), true,
            "the kernel gives the address back by itself");
    if (connections && reuseaddr_helps(bind->question))
        draft_remedy(draft, "set SO_REUSEADDR on your socket before bind()", NULL, true,
                     "tried: with it this bind() succeeds now");
    if (connections)
        draft_remedy(draft, "drop these connections",
                     draft_text(draft, "tidewait free %s --destroy -y", what), false,
                     owner->kind == OWNER_NONE
                         ? "the kernel forgets them at once; a late segment of theirs is answered "
                           "by a reset (as root)"
                         : "both ends see a reset; data under way is lost (as root)");
    /* A process that ends leaves its connections behind, to be closed in order. */
    owner_remedies(draft, owner, what,
                   connections ? draft_text(draft, "tidewait free %s --destroy -y; ", what) : "",
                   "");
    if (strcmp(cause, "outbound-connection") == 0 || strcmp(cause, "self-connect") == 0)
        draft_remedy(draft, "keep clients off the port from now on",
                     draft_text(draft, "sysctl -w net.ipv4.ip_local_reserved_ports=%u",
                                tw_endpoint_port(&bind->request.local)),
                     true,
                     "the kernel then never chooses it for a client; add the ports that are "
                     "reserved already, separated by commas");
    if (bind->question->op == TW_OP_CONNECT)
        return;
    if (strcmp(cause, "time-wait") == 0 || strcmp(cause, "leftover-connection") == 0)
        draft_remedy(draft, "let the server set SO_REUSEADDR from its first start on", NULL, true,
                     "connections inherit it from their listener; only then a restart works at "
                     "once");
}

static void explain_blockers(struct bind_case *bind)
{
    struct draft *draft = bind->draft;
    const struct blockers *blockers = &bind->blockers;
    const struct tw_socket_row *row = blockers_first(blockers);
    const char *what = target(draft, bind->question);
    struct owner owner = owner_find(draft, row, NULL, &blockers->holders);
    const char *cause = cause_of(bind, row, &owner);

    draft_answer(draft, TW_ANSWER_IN_USE, EADDRINUSE, cause);
    if (!blockers->lasting)
        draft->verdict.free_in_ms = blockers->expires_ms;
    if (row->inode && is_connection(row->state) && row->opened == TW_UNKNOWN &&
        row->protocol == IPPROTO_TCP)
        draft_hidden(draft,
                     "which end opened the connection: it is too busy to tell; by its port "
                     "it was taken for a %s's",
                     is_outbound(bind, row) ? "client" : "server");
    if (blockers->answer.reason == TW_REASON_UNKNOWN_OPTIONS)
        draft->blind |= TW_BLIND_OPTIONS;
    summarize(bind, what, &owner);
    add_evidence(bind);
    add_socket_remedies(bind, &owner, cause, what);
}

/* --- prediction and verdict ---------------------------------------------------------------------
 */

/* What the facts and rules say, in the order in which the kernel looks: 0 or an errno; -1 when it
 * depends on what is hidden. */
static int predict(struct bind_case *bind)
{
    const struct tw_address_status *address = &bind->address;
    bool is_v6 = bind->request.local.sa.sa_family == AF_INET6;
    bool wildcard = tw_endpoint_is_wildcard(&bind->request.local);
    int code = 0;

    if (address->is_link_local_without_scope || bind_is_mapped_v6only(bind))
        code = EINVAL;
    else if (!wildcard && bind->address_known &&
             (!address->local || address->tentative || address->dad_failed) &&
             !tw_nonlocal_bind_allowed(bind->request.local.sa.sa_family))
        code = EADDRNOTAVAIL;
    /* IPv6 looks at the privilege first, IPv4 at the address. */
    if (bind->denied && (is_v6 || !code))
        return EACCES;
    if (code && !(bind->question->bound && is_v6))
        return code;
    if (bind->question->bound)
        return EINVAL;
    switch (bind->blockers.answer.outcome) {
    case TW_RULES_IN_USE:
        return EADDRINUSE;
    case TW_RULES_DEPENDS:
        return -1;
    case TW_RULES_FREE:
        break;
    }
    return 0;
}

static int look(struct bind_case *bind, struct tw_error *error)
{
    blockers_fini(&bind->blockers);
    if (tw_endpoint_port(&bind->request.local) == 0)
        return 0;
    return blockers_find(bind->draft, &bind->request, bind->question->op == TW_OP_LISTEN,
                         &bind->blockers, error);
}

static bool has_bind_capability(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {0};

    return syscall(SYS_capget, &header, data) == 0 &&
           data[0].effective & 1u << CAP_NET_BIND_SERVICE;
}

/* Looks and asks the kernel; where they differ, once more: a socket may have come or gone in
 * between. Returns the errno that the asker gets, or -errno with *error. */
static int weigh(struct bind_case *bind, struct tw_error *error)
{
    struct tw_verdict *verdict = &bind->draft->verdict;
    int predicted = 0, rc;

    for (int round = 0; round < 2; round++) {
        struct tw_error blind = {0};

        rc = look(bind, &blind);
        predicted = rc ? -1 : predict(bind);
        try_it(bind->draft);
        if (rc && !verdict->tried)
            return tw_error_set(error, -rc, "%s", blind.text);
        /* Without a list of sockets the kernel's own answer is still one. */
        if (rc)
            draft_hidden(bind->draft, "all sockets: %s", blind.text);
        if (rc && access("/proc/self", F_OK))
            bind->draft->blind |= TW_BLIND_PROC;
        if (!verdict->tried || predicted == verdict->trial_code)
            return predicted < 0 ? EADDRINUSE : predicted;
        if (predicted < 0)
            return verdict->trial_code;
    }
    /* Policies are not among the rules; nor can sockets be counted that nobody may list. */
    verdict->disagrees = tw_endpoint_port(&bind->request.local) && verdict->trial_code != EPERM &&
                         verdict->trial_code != EACCES &&
                         !(verdict->trial_code == EADDRNOTAVAIL && !bind->address_known) &&
                         !(verdict->trial_code == EADDRINUSE &&
                           bind->draft->blind & (TW_BLIND_BOUND | TW_BLIND_SOCK_DIAG));
    return verdict->trial_code;
}

static void explain_in_use(struct bind_case *bind)
{
    struct draft *draft = bind->draft;

    if (tw_endpoint_port(&bind->request.local) == 0) {
        parts_autobind(draft);
        return;
    }
    if (bind->blockers.count) {
        explain_blockers(bind);
        return;
    }
    draft_answer(draft, TW_ANSWER_IN_USE, EADDRINUSE, "hidden-owner");
    draft_summary(draft, "The kernel refuses %s as in use, but no socket on it can be seen.",
                  target(draft, bind->question));
}

static void explain(struct bind_case *bind, int code)
{
    struct draft *draft = bind->draft;

    switch (code) {
    case 0:
        draft_answer(draft, TW_ANSWER_FREE, 0, NULL);
        draft_summary(draft, "%s is free.", target(draft, bind->question));
        break;
    case EADDRINUSE:
        explain_in_use(bind);
        break;
    case EADDRNOTAVAIL:
        bind_address(bind);
        break;
    case EINVAL:
        bind_invalid(bind);
        break;
    case EACCES:
        if (bind->denied ||
            tw_endpoint_port(&bind->request.local) < bind->limits.unprivileged_port_start) {
            bind_privilege(bind);
            break;
        }
        bind_policy(bind, code);
        break;
    default:
        bind_policy(bind, code);
        break;
    }
}

static void tell_trial(struct draft *draft)
{
    struct tw_verdict *verdict = &draft->verdict;

    if (!verdict->tried)
        return;
    draft_evidence(
        draft, "trial", "bind() as %s%s%s, tried just now: %s",
        draft_user(draft, verdict->question.as_other ? verdict->question.uid : geteuid()),
        verdict->question.reuseaddr ? " with SO_REUSEADDR" : "",
        verdict->question.reuseport ? " with SO_REUSEPORT" : "",
        verdict->trial_code ? tw_errno_name(verdict->trial_code) : "it succeeded");
}

int verdict_bind(struct draft *draft, struct tw_error *error)
{
    const struct tw_question *question = &draft->verdict.question;
    struct bind_case bind = {
        .draft = draft,
        .question = question,
        .request = {.protocol = question->protocol,
                    .local = question->local,
                    .reuseaddr = question->reuseaddr,
                    .reuseport = question->reuseport,
                    .v6only = question->v6only,
                    .uid = question->as_other ? question->uid : geteuid(),
                    .device = question->device ? if_nametoindex(question->device) : 0},
    };
    uint16_t port = tw_endpoint_port(&question->local);
    int code;

    if (question->device && !bind.request.device)
        return tw_error_set(error, ENODEV, "there is no network device '%s'", question->device);
    tw_limits_read(&bind.limits);
    bind.denied = port && port < bind.limits.unprivileged_port_start &&
                  (question->as_other ? question->uid != 0 : !has_bind_capability());
    bind.address_known = tw_address_status(&question->local, &bind.address) == 0;
    code = weigh(&bind, error);
    if (code >= 0) {
        explain(&bind, code);
        tell_trial(draft);
        if (!draft->verdict.code)
            parts_other_netns(draft, question);
    }
    blockers_fini(&bind.blockers);
    return code < 0 ? code : 0;
}
