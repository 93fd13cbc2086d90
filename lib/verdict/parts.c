#include "parts.h"

#include <errno.h>
#include <netinet/tcp.h>

#include "owner.h"

#include "tidewait/namespaces.h"
#include "tidewait/sockets.h"

void parts_ipv6_disabled(struct draft *draft, const char *address)
{
    draft_answer(draft, TW_ANSWER_UNAVAILABLE, EADDRNOTAVAIL, "ipv6-disabled");
    draft_summary(draft, "%s cannot be had: IPv6 is switched off in this network namespace.",
                  address);
    draft_evidence(draft, "sysctl",
                   "net.ipv6.conf.*.disable_ipv6 = 1 takes every IPv6 address away, "
                   "::1 too");
    draft_remedy(draft, "use IPv4", NULL, true, "127.0.0.1 and 0.0.0.0 are not touched by it");
    draft_remedy(draft, "switch IPv6 on",
                 "sysctl -w net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.lo.disable_ipv6=0",
                 false, "interfaces get their IPv6 addresses back");
}

void parts_widen_range(struct draft *draft, const struct tw_limits *limits)
{
    unsigned first = limits->port_first, last = limits->port_last;
    unsigned wide_first = first && first < 10000 ? first : 10000;
    unsigned wide_last = last < 60999 ? 60999 : last;

    if (wide_first < first || wide_last > last)
        draft_remedy(draft, "widen the range",
                     draft_text(draft, "sysctl -w net.ipv4.ip_local_port_range='%u %u'", wide_first,
                                wide_last),
                     false,
                     "services that listen on a port of the new range should be named in "
                     "net.ipv4.ip_local_reserved_ports");
}

void parts_autobind(struct draft *draft)
{
    struct tw_limits limits;
    struct tw_ports ephemeral;

    tw_limits_read(&limits);
    tw_limits_ephemeral(&limits, &ephemeral);
    draft_answer(draft, TW_ANSWER_IN_USE, EADDRINUSE, "autobind-exhausted");
    draft_summary(draft,
                  "bind() to port 0 finds no port: all %zu of the ephemeral range are taken.",
                  tw_ports_count(&ephemeral));
    draft_evidence(draft, "sysctl", "net.ipv4.ip_local_port_range = %u %u", limits.port_first,
                   limits.port_last);
    draft_evidence(draft, "rule",
                   "bind() with port 0 takes a port for every destination; "
                   "connect() without bind() shares it between destinations");
    draft_remedy(draft, "let clients connect() without bind()", NULL, true,
                 "or set IP_BIND_ADDRESS_NO_PORT, which keeps the source address and chooses the "
                 "port at connect()");
    draft_remedy(draft, "see who has them", "tidewait ls --by holder", true,
                 "one program usually has most of them");
    parts_widen_range(draft, &limits);
}

/* --- other network namespaces ------------------------------------------------------------------
 */

struct elsewhere {
    const struct tw_question *question;
    struct tw_netns netns;
    struct tw_socket_row row;
};

static int same_address(const struct tw_socket_row *row, void *context)
{
    struct elsewhere *elsewhere = context;

    if (!tw_rules_overlap(&elsewhere->question->local, elsewhere->question->v6only, &row->local,
                          row->v6only))
        return 0;
    elsewhere->row = *row;
    return 1;
}

static int look_into(const struct tw_netns *netns, void *context)
{
    struct elsewhere *elsewhere = context;
    bool tcp = elsewhere->question->protocol == IPPROTO_TCP;
    struct tw_sockets_query query = {
        .protocol = elsewhere->question->protocol,
        .state_mask = tcp ? TW_STATE_MASK(TCP_LISTEN) : TW_STATES_ALL,
        .local_port = tw_endpoint_port(&elsewhere->question->local),
    };

    if (netns->own || tw_sockets_each(&query, same_address, elsewhere, NULL) != 1)
        return 0;
    elsewhere->netns = *netns;
    return 1;
}

void parts_other_netns(struct draft *draft, const struct tw_question *question)
{
    struct elsewhere found = {.question = question};
    unsigned blind = 0;
    int rc;
    struct tw_holders holders = {0};
    char local[TW_ENDPOINT_TEXT_MAX];
    struct owner owner;
    const char *where;

    if (question->scope == TW_NETNS_OWN || !tw_endpoint_port(&question->local))
        return;
    rc = tw_netns_each(look_into, &found, &blind, NULL);
    if (question->scope == TW_NETNS_ALL)
        draft->blind |= blind;
    if (rc != 1)
        return;
    tw_holders_find(&found.row.inode, 1, TW_HOLDERS_AUTO, &holders, NULL);
    owner = owner_find(draft, &found.row, NULL, &holders);
    tw_holders_fini(&holders);
    where = found.netns.name[0]
                ? draft_text(draft, "the network namespace '%s'", found.netns.name)
                : draft_text(draft, "the network namespace of pid %d", found.netns.pid);
    tw_endpoint_format(&found.row.local, local);
    draft->verdict.cause = "other-netns";
    draft_summary(draft, "%s In %s it is in use: %s, by %s.", draft->verdict.summary, where, local,
                  owner.name);
    draft_socket(draft, &found.row);
    draft_evidence(draft, "rule",
                   "each network namespace has ports of its own: a program in a "
                   "container meets only those of its container");
    draft_remedy(draft, "ask there",
                 found.netns.name[0] ? draft_text(draft, "tidewait why -N %s %u", found.netns.name,
                                                  tw_endpoint_port(&question->local))
                                     : draft_text(draft, "tidewait why -N %d %u", found.netns.pid,
                                                  tw_endpoint_port(&question->local)),
                 true, "if the program that failed runs there");
}
