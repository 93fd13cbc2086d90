#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>

#include "owner.h"
#include "parts.h"

#include "tidewait/interface.h"
#include "tidewait/limits.h"
#include "tidewait/sockets.h"
#include "tidewait/trial.h"

/* A range smaller than this is a trap even while it is not full: the default has 28,232 ports. */
#define RANGE_SMALL 1024

/* conntrack drops new connections when its table is full; from here on it is suspected. */
#define CONNTRACK_FULL_PERCENT 95

/* More sockets than this: asking for all holders at once is cheaper. */
#define INODES_MAX 4096

/* One lane: the sockets to one destination from one source address. */
struct lane_case {
    struct draft *draft;
    struct tw_endpoint source; /* port 0 when the kernel chooses */
    struct tw_endpoint destination;
    struct tw_limits limits;
    struct tw_ports ephemeral;
    struct tw_ports polluting; /* ports on which some socket is bound */
    struct tw_ports elsewhere; /* that have connections, to whatever destination */
    struct tw_socket_row *rows;
    size_t count, room;
    uint32_t first_expiry_ms; /* of its TIME_WAITs; 0: none */
    uint32_t *bound_inodes;   /* of the polluting sockets */
    size_t bound_count, bound_room;
    struct tw_rules_lane lane;
};

static bool append(void **items, size_t *count, size_t *room, const void *item, size_t size)
{
    if (*count == *room) {
        size_t more = *room ? *room * 2 : 256;
        void *bigger = realloc(*items, more * size);

        if (!bigger)
            return false;
        *items = bigger;
        *room = more;
    }
    memcpy((char *)*items + size * (*count)++, item, size);
    return true;
}

static int keep_lane(const struct tw_socket_row *row, void *context)
{
    struct lane_case *lane = context;
    struct tw_endpoint local = tw_endpoint_unmap(&row->local);

    if (!tw_endpoint_same_address(&local, &lane->source))
        return 0;
    if (row->state == TCP_TIME_WAIT && row->expires_ms &&
        (!lane->first_expiry_ms || row->expires_ms < lane->first_expiry_ms))
        lane->first_expiry_ms = row->expires_ms;
    return append((void **)&lane->rows, &lane->count, &lane->room, row, sizeof(*row)) ? 0 : -ENOMEM;
}

static int keep_bound(const struct tw_socket_row *row, void *context)
{
    struct lane_case *lane = context;
    uint16_t port = tw_endpoint_port(&row->local);

    if (!tw_ports_has(&lane->ephemeral, port))
        return 0;
    if (row->protocol == IPPROTO_TCP && row->state != TCP_LISTEN && row->state != TCP_CLOSE) {
        tw_ports_add(&lane->elsewhere, port);
        return 0;
    }
    tw_ports_add(&lane->polluting, port);
    return append((void **)&lane->bound_inodes, &lane->bound_count, &lane->bound_room, &row->inode,
                  sizeof(row->inode))
               ? 0
               : -ENOMEM;
}

static int look(struct lane_case *lane, struct tw_error *error)
{
    uint8_t protocol = lane->draft->verdict.question.protocol;
    struct tw_sockets_query to = {
        .protocol = protocol,
        .remote_port = tw_endpoint_port(&lane->destination),
        .remote = &lane->destination,
        .blind = &lane->draft->blind,
    };
    struct tw_sockets_query every = {.protocol = protocol, .blind = &lane->draft->blind};
    int rc = tw_sockets_each(&to, keep_lane, lane, error);

    return rc ? rc : tw_sockets_each(&every, keep_bound, lane, error);
}

/* --- who fills it ----------------------------------------------------------------------------- */

/* Processes in the order of how many of these sockets they have. */
struct share {
    int pid;
    uint32_t inode; /* one of them */
    int fd;
    size_t sockets;
};

static int by_pid(const void *a, const void *b)
{
    const struct share *x = a, *y = b;

    return x->pid - y->pid;
}

static int by_sockets(const void *a, const void *b)
{
    const struct share *x = a, *y = b;

    return (y->sockets > x->sockets) - (y->sockets < x->sockets);
}

/* Adds the processes with most of the sockets to the verdict's holders. */
static void add_fillers(struct draft *draft, const uint32_t *inodes, size_t count)
{
    enum { SHOWN = 3 };
    struct tw_holders holders = {0};
    struct share *shares = NULL;
    size_t used = 0, room = 0, merged = 0;

    if (!count ||
        tw_holders_find(inodes, count <= INODES_MAX ? count : 0, TW_HOLDERS_AUTO, &holders, NULL))
        return;
    draft->blind |= holders.blind;
    for (size_t i = 0; i < count; i++) {
        size_t found = 0;
        const struct tw_holding *list =
            inodes[i] ? tw_holders_of(&holders, inodes[i], &found) : NULL;
        struct share share = {.inode = inodes[i], .sockets = 1};

        if (!found)
            continue;
        share.pid = list->pid;
        share.fd = list->fd;
        if (!append((void **)&shares, &used, &room, &share, sizeof(share)))
            draft->no_memory = true;
    }
    tw_holders_fini(&holders);
    if (used)
        qsort(shares, used, sizeof(*shares), by_pid);
    for (size_t i = 0; i < used; i++) {
        if (merged && shares[merged - 1].pid == shares[i].pid)
            shares[merged - 1].sockets++;
        else
            shares[merged++] = shares[i];
    }
    if (merged)
        qsort(shares, merged, sizeof(*shares), by_sockets);
    for (size_t i = 0; i < merged && i < SHOWN; i++) {
        struct tw_verdict_holder holder = {.inode = shares[i].inode, .fd = shares[i].fd};

        if (tw_process_read(shares[i].pid, &holder.process, NULL))
            continue;
        draft_holder(draft, &holder);
        draft_evidence(draft, "process", "%s (pid %d) has %zu of them", holder.process.comm,
                       shares[i].pid, shares[i].sockets);
    }
    free(shares);
}

static void add_lane_fillers(struct lane_case *lane)
{
    uint32_t *inodes = malloc((lane->count + 1) * sizeof(*inodes));
    size_t count = 0;

    if (!inodes) {
        lane->draft->no_memory = true;
        return;
    }
    for (size_t i = 0; i < lane->count; i++)
        if (lane->rows[i].inode)
            inodes[count++] = lane->rows[i].inode;
    add_fillers(lane->draft, inodes, count);
    free(inodes);
}

/* --- the words -------------------------------------------------------------------------------- */

static const char *endpoint_text(struct draft *draft, const struct tw_endpoint *endpoint)
{
    char text[TW_ENDPOINT_TEXT_MAX];

    return draft_text(draft, "%s", tw_endpoint_format(endpoint, text));
}

static void add_lane_evidence(struct lane_case *lane)
{
    struct draft *draft = lane->draft;
    const struct tw_rules_lane *counts = &lane->lane;

    draft_evidence(draft, "sysctl",
                   "net.ipv4.ip_local_port_range = %u %u: %u ports less the "
                   "reserved ones",
                   lane->limits.port_first, lane->limits.port_last, counts->ports);
    draft_evidence(draft, "lane",
                   "from %s: %u connected, %u in TIME_WAIT (%u more may be taken "
                   "over), %u taken by bound sockets, %u free",
                   endpoint_text(draft, &lane->source), counts->connected, counts->time_wait,
                   counts->reusable, counts->polluted, counts->free);
    if (lane->limits.tw_reuse != TW_LIMIT_UNKNOWN)
        draft_evidence(draft, "sysctl",
                       "net.ipv4.tcp_tw_reuse = %lld, net.ipv4.tcp_timestamps = "
                       "%lld",
                       (long long)lane->limits.tw_reuse, (long long)lane->limits.timestamps);
}

static void add_lane_remedies(struct lane_case *lane)
{
    struct draft *draft = lane->draft;
    const struct tw_rules_lane *counts = &lane->lane;

    draft_remedy(draft, "keep connections open and use them again", NULL, true,
                 "keep-alive or a pool of connections needs one port for many requests");
    if (counts->time_wait && lane->limits.tw_reuse != 1 && lane->limits.timestamps != 0)
        draft_remedy(draft, "let connect() take over TIME_WAITs older than a second",
                     "sysctl -w net.ipv4.tcp_tw_reuse=1", true,
                     "safe with timestamps at both ends, which decide between old and new "
                     "segments");
    if (counts->time_wait)
        draft_remedy(draft, "let the other end close first", NULL, true,
                     "TIME_WAIT stays with whoever closes first, and a server does not run out of "
                     "ports");
    parts_widen_range(draft, &lane->limits);
    draft_remedy(draft, "use more addresses", NULL, true,
                 "each further source or destination address has as many ports again");
}

static void explain_exhausted(struct lane_case *lane)
{
    struct draft *draft = lane->draft;
    const struct tw_rules_lane *counts = &lane->lane;
    bool polluted = counts->polluted > counts->connected + counts->time_wait;
    const char *to = endpoint_text(draft, &lane->destination);

    draft_answer(draft, TW_ANSWER_UNAVAILABLE, EADDRNOTAVAIL,
                 polluted ? "bucket-polluted" : "lane-exhausted");
    if (polluted)
        draft_summary(draft,
                      "No source port is left for %s: sockets that are bound, whatever "
                      "their address, take %u of %u ports from every destination.",
                      to, counts->polluted, counts->ports);
    else
        draft_summary(draft,
                      "No source port is left for %s: %u of %u are connected to it and %u "
                      "in TIME_WAIT.",
                      to, counts->connected, counts->ports, counts->time_wait);
    if (!polluted && counts->time_wait && lane->first_expiry_ms)
        draft->verdict.free_in_ms = lane->first_expiry_ms;
    add_lane_evidence(lane);
    if (polluted) {
        draft_evidence(draft, "rule",
                       "connect() never chooses a port on which a socket is bound, "
                       "not even one bound to another address");
        add_fillers(draft, lane->bound_inodes, lane->bound_count);
        draft_remedy(draft, "bind without a port", NULL, true,
                     "IP_BIND_ADDRESS_NO_PORT keeps the source address and lets connect() choose a "
                     "port that other destinations may share");
    } else {
        add_lane_fillers(lane);
    }
    add_lane_remedies(lane);
}

static void explain_half_full(struct lane_case *lane)
{
    struct draft *draft = lane->draft;
    const struct tw_rules_lane *counts = &lane->lane;

    draft_answer(draft, TW_ANSWER_SLOW, 0, "lane-half-full");
    draft_summary(draft,
                  "connect() to %s works but is slow: all ports of the parity that the kernel "
                  "tries first are taken, %u of %u are free.",
                  endpoint_text(draft, &lane->destination), counts->free, counts->ports);
    add_lane_evidence(lane);
    draft_evidence(draft, "rule",
                   "the kernel scans one half of the range first: when it is full, "
                   "each connect() tries every port of it in vain");
    add_lane_fillers(lane);
    draft_remedy(draft, "choose the ports in the program", NULL, true,
                 "bind() with SO_REUSEADDR to an explicit port takes the same time at every fill");
    add_lane_remedies(lane);
}

/* A port that a program bound before connect() is lost for every destination, one that the kernel
 * chose is not, and nobody but the kernel knows which it was. */
static void hint_at_bound_connections(struct lane_case *lane)
{
    struct tw_ports used = lane->elsewhere;
    size_t count;

    for (size_t i = 0; i < lane->count; i++)
        tw_ports_remove(&used, tw_endpoint_port(&lane->rows[i].local));
    tw_ports_remove_all(&used, &lane->polluting);
    count = tw_ports_count(&used);
    if (count * 2 >= lane->lane.free && count)
        draft_hidden(lane->draft,
                     "which of %zu ports with connections to other destinations were bound before "
                     "connect(): those are not free, so there may be fewer than %u",
                     count, lane->lane.free);
}

static void explain_free(struct lane_case *lane)
{
    struct draft *draft = lane->draft;
    const char *to = endpoint_text(draft, &lane->destination);

    draft_answer(draft, TW_ANSWER_FREE, 0, NULL);
    if (!lane->limits.port_last) {
        draft_summary(draft, "How many source ports are left for %s cannot be told.", to);
        draft_hidden(draft, "the range of source ports: /proc/sys/net cannot be read");
        draft->blind |= TW_BLIND_PROC;
        return;
    }
    draft_summary(draft, "%u of %u source ports are free for %s.", lane->lane.free,
                  lane->lane.ports, to);
    add_lane_evidence(lane);
    hint_at_bound_connections(lane);
    if (lane->lane.ports < RANGE_SMALL) {
        draft->verdict.cause = "range-too-small";
        draft_summary(draft,
                      "%u of %u source ports are free for %s; a range of %u ports does not "
                      "last long.",
                      lane->lane.free, lane->lane.ports, to, lane->lane.ports);
        add_lane_remedies(lane);
    } else if (lane->lane.connected || lane->lane.time_wait) {
        add_lane_fillers(lane);
    }
}

static int count_syn_sent(const struct lane_case *lane)
{
    int waiting = 0;

    for (size_t i = 0; i < lane->count; i++)
        waiting += lane->rows[i].state == TCP_SYN_SENT;
    return waiting;
}

static bool explain_conntrack(struct lane_case *lane)
{
    struct draft *draft = lane->draft;
    int64_t count = lane->limits.conntrack_count, max = lane->limits.conntrack_max;

    if (count < 0 || max <= 0 || count * 100 < max * CONNTRACK_FULL_PERCENT)
        return false;
    draft_answer(draft, TW_ANSWER_UNAVAILABLE, ETIMEDOUT, "nat-suspected");
    draft_summary(draft,
                  "Connections to %s are likely to time out: the connection tracking table "
                  "is full (%lld of %lld).",
                  endpoint_text(draft, &lane->destination), (long long)count, (long long)max);
    draft_evidence(draft, "sysctl",
                   "net.netfilter.nf_conntrack_count = %lld, "
                   "net.netfilter.nf_conntrack_max = %lld",
                   (long long)count, (long long)max);
    draft_evidence(draft, "socket", "%d connections of this lane wait in SYN-SENT",
                   count_syn_sent(lane));
    draft_evidence(draft, "rule",
                   "a packet for which no entry can be made is dropped without a "
                   "word");
    add_lane_evidence(lane);
    draft_remedy(
        draft, "make the table larger",
        draft_text(draft, "sysctl -w net.netfilter.nf_conntrack_max=%lld", (long long)max * 2),
        true, "an entry takes about 300 bytes");
    return true;
}

static const char *process_of(struct draft *draft, const struct tw_socket_row *row)
{
    struct tw_holders holders = {0};
    struct owner owner;

    if (row->inode)
        tw_holders_find(&row->inode, 1, TW_HOLDERS_AUTO, &holders, NULL);
    owner = owner_find(draft, row, NULL, &holders);
    tw_holders_fini(&holders);
    return owner.name;
}

/* connect() from an explicit port: first the tuple, then whatever bind() has against the port. */
static int explain_tuple(struct lane_case *lane, struct tw_error *error)
{
    struct draft *draft = lane->draft;
    bool reusable = lane->limits.timestamps > 0;
    struct tw_rules_answer answer =
        tw_rules_tuple(&lane->source, &lane->destination, reusable, lane->rows, lane->count);
    const struct tw_socket_row *row;

    if (answer.outcome == TW_RULES_FREE) {
        draft->verdict.question.reuseaddr = true;
        return verdict_bind(draft, error);
    }
    row = &lane->rows[answer.blocker];
    draft_answer(draft, TW_ANSWER_UNAVAILABLE, EADDRNOTAVAIL, "tuple-in-use");
    draft_summary(draft, "%s has a connection from %s to %s already (%s).",
                  row->inode ? process_of(draft, row) : "The kernel",
                  endpoint_text(draft, &lane->source), endpoint_text(draft, &lane->destination),
                  tw_state_name(row->protocol, row->state));
    draft_socket(draft, row);
    if (row->expires_ms)
        draft->verdict.free_in_ms = row->expires_ms;
    draft_evidence(draft, "rule",
                   "source and destination, address and port, name a connection: "
                   "there is one of each");
    draft_remedy(draft, "let the kernel choose the source port", NULL, true,
                 "bind() with port 0 or not at all");
    if (row->expires_ms)
        draft_remedy(draft, "wait", draft_text(draft, "sleep %u", row->expires_ms / 1000 + 1), true,
                     "TIME_WAIT ends by itself");
    if (draft->verdict.holder_count)
        draft_remedy(draft, "end the process",
                     draft_text(draft, "kill %d", draft->verdict.holders[0].process.pid), false,
                     "its connection ends with it");
    return 0;
}

static void explain_udp(struct lane_case *lane)
{
    struct draft *draft = lane->draft;

    draft_answer(draft, TW_ANSWER_UNAVAILABLE, EAGAIN, "udp-exhausted");
    draft_summary(draft, "No UDP source port is left: each of the %zu ports of the range is bound.",
                  tw_ports_count(&lane->ephemeral));
    draft_evidence(draft, "sysctl", "net.ipv4.ip_local_port_range = %u %u", lane->limits.port_first,
                   lane->limits.port_last);
    draft_evidence(draft, "rule",
                   "UDP does not share a port between destinations, and says EAGAIN "
                   "when none is left");
    add_fillers(draft, lane->bound_inodes, lane->bound_count);
    if (draft->verdict.holder_count)
        draft_remedy(draft, "end the process that has most of them",
                     draft_text(draft, "kill %d", draft->verdict.holders[0].process.pid), false,
                     "its sockets are closed with it");
    parts_widen_range(draft, &lane->limits);
}

/* --- the verdict ------------------------------------------------------------------------------ */

/* The source address that the kernel would choose, or the one that is asked for, if there is a way
 * from it. A UDP socket asks the routes without sending anything; it knows of no device. Returns 0,
 * or the errno that connect() would give. */
static int find_source(struct lane_case *lane)
{
    const struct tw_question *question = &lane->draft->verdict.question;
    struct tw_endpoint asked = tw_endpoint_unmap(&question->local), from = asked;
    bool is_asked = asked.sa.sa_family != AF_UNSPEC;
    int rc;

    if (is_asked) {
        lane->source = asked;
        if (!tw_address_is_local(&asked))
            return EADDRNOTAVAIL;
        if (question->device)
            return 0;
        tw_endpoint_set_port(&from, 0);
    }
    rc = tw_trial_connect_udp(&lane->destination, is_asked ? &from : NULL, &lane->source);
    /* Only UDP minds that UDP has no port left; the route is known all the same without one. */
    if (is_asked && (question->protocol == IPPROTO_TCP || tw_endpoint_port(&asked)) &&
        (rc == -EAGAIN || rc == -EADDRINUSE))
        rc = 0;
    tw_endpoint_set_port(&lane->source, is_asked ? tw_endpoint_port(&asked) : 0);
    return -rc;
}

static int explain_no_source(struct lane_case *lane, int code, struct tw_error *error)
{
    struct draft *draft = lane->draft;
    const char *to = endpoint_text(draft, &lane->destination), *route;
    struct tw_endpoint bare = lane->destination, from = lane->source;

    tw_endpoint_set_port(&bare, 0);
    tw_endpoint_set_port(&from, 0);
    route = draft_text(draft, "ip route get %s", endpoint_text(draft, &bare));
    if (lane->destination.sa.sa_family == AF_INET6 && tw_ipv6_enabled(NULL) == TW_NO) {
        parts_ipv6_disabled(draft, to);
        return 0;
    }
    if (lane->source.sa.sa_family && (code == EADDRNOTAVAIL || code == EADDRINUSE)) {
        draft->verdict.question.local = lane->source;
        return verdict_bind(draft, error);
    }
    if (lane->source.sa.sa_family) {
        route = draft_text(draft, "%s from %s", route, endpoint_text(draft, &from));
        to = draft_text(draft, "%s from %s", to, endpoint_text(draft, &from));
    }
    draft_answer(draft, code == EINVAL ? TW_ANSWER_DENIED : TW_ANSWER_UNAVAILABLE, code, NULL);
    draft_summary(draft, "The kernel has no way to %s: %s.", to, strerrordesc_np(code));
    draft_evidence(draft, "trial", "connect() of a UDP socket, which sends nothing: %s",
                   tw_errno_name(code));
    draft_remedy(draft, "see the route", route, true, "this is no lack of ports");
    return 0;
}

static void weigh(struct lane_case *lane)
{
    struct tw_rules_lane_request request = {
        .protocol = lane->draft->verdict.question.protocol,
        .source = lane->source,
        .destination = lane->destination,
        .ephemeral = &lane->ephemeral,
        .first = lane->limits.port_first,
        .tw_reuse = lane->limits.timestamps > 0 && lane->limits.tw_reuse > 0,
        .reuse_ms =
            lane->limits.tw_reuse_delay_ms > 0 ? (uint32_t)lane->limits.tw_reuse_delay_ms : 1000,
    };

    /* 2 means on the loopback only. */
    if (lane->limits.tw_reuse == 2)
        request.tw_reuse &= tw_endpoint_is_loopback(&lane->destination);
    lane->lane = tw_rules_lane(&request, &lane->polluting, lane->rows, lane->count);
    lane->draft->verdict.lane = lane->lane;
    if (lane->limits.port_last && lane->lane.free + lane->lane.reusable == 0)
        explain_exhausted(lane);
    else if (explain_conntrack(lane))
        return;
    else if (lane->limits.port_last && lane->lane.free_first + lane->lane.reusable_first == 0)
        explain_half_full(lane);
    else
        explain_free(lane);
}

int verdict_connect(struct draft *draft, struct tw_error *error)
{
    struct lane_case lane = {
        .draft = draft,
        .destination = tw_endpoint_unmap(&draft->verdict.question.remote),
    };
    bool is_udp = draft->verdict.question.protocol == IPPROTO_UDP;
    int rc, code;

    tw_limits_read(&lane.limits);
    tw_limits_ephemeral(&lane.limits, &lane.ephemeral);
    code = find_source(&lane);
    if (code && code != EAGAIN)
        return explain_no_source(&lane, code, error);
    rc = look(&lane, error);
    if (rc == 0 && tw_endpoint_port(&lane.source)) {
        rc = explain_tuple(&lane, error);
    } else if (rc == 0 && is_udp && code == EAGAIN) {
        explain_udp(&lane);
    } else if (rc == 0) {
        weigh(&lane);
    }
    free(lane.rows);
    free(lane.bound_inodes);
    return rc < 0 ? rc : 0;
}
