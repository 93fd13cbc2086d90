#include "tidewait/rules.h"

#include <netinet/tcp.h>

#include "mini.h"

/* 127.0.0.6, LOOPBACK4_IPV6 of the kernel. */
#define STAND_IN 0x7f000006u

/* The possible answers to one question about a socket whose options may not all be known. */
struct possible {
    bool free;
    bool in_use;
};

bool tw_rules_overlap(const struct tw_endpoint *a, bool a_v6only, const struct tw_endpoint *b,
                      bool b_v6only)
{
    struct tw_endpoint x = tw_endpoint_unmap(a), y = tw_endpoint_unmap(b);

    if (x.sa.sa_family == y.sa.sa_family)
        return tw_endpoint_is_wildcard(&x) || tw_endpoint_is_wildcard(&y) ||
               tw_endpoint_same_address(&x, &y);
    /* Of two families only [::] reaches into the other one. */
    if (x.sa.sa_family == AF_INET6)
        return tw_endpoint_is_wildcard(&x) && !a_v6only;
    return tw_endpoint_is_wildcard(&y) && !b_v6only;
}

/* bind() or connect() with a link-local address ties the socket to the interface of its scope. */
static uint32_t device_of(const struct tw_endpoint *endpoint, uint32_t device)
{
    if (!device && endpoint->sa.sa_family == AF_INET6 &&
        IN6_IS_ADDR_LINKLOCAL(&endpoint->v6.sin6_addr))
        return endpoint->v6.sin6_scope_id;
    return device;
}

static bool devices_meet(const struct tw_rules_request *request, const struct tw_socket_row *socket)
{
    uint32_t asked = device_of(&request->local, request->device);
    uint32_t held = device_of(&socket->local, socket->device);

    return !asked || !held || asked == held;
}

/* The kernel files an IPv6 connection under the IPv4 address 127.0.0.6 as well. Unless the socket
 * is v6only, as it became by bind() to one IPv6 address, requests for 0.0.0.0 run into it, and
 * those of UDP for that very address. sock_diag tells v6only of bound and listening sockets alone.
 */
static bool shadows_ipv4(const struct tw_rules_request *request, const struct tw_socket_row *socket)
{
    struct tw_endpoint held = tw_endpoint_unmap(&socket->local);
    uint32_t asked;

    if (request->local.sa.sa_family != AF_INET || held.sa.sa_family != AF_INET6 || socket->v6only ||
        tw_endpoint_is_wildcard(&held) || socket->state == TCP_LISTEN)
        return false;
    asked = ntohl(request->local.v4.sin_addr.s_addr);
    return asked == INADDR_ANY || (asked == STAND_IN && request->protocol == IPPROTO_UDP);
}

/* Whether the options let both live. */
static bool may_share(const struct tw_rules_request *request, const struct tw_socket_row *socket,
                      bool reuseaddr, bool reuseport)
{
    bool udp = request->protocol == IPPROTO_UDP;

    if (request->reuseaddr && reuseaddr && (udp || socket->state != TCP_LISTEN))
        return true;
    if (!request->reuseport || !reuseport)
        return false;
    return socket->uid == request->uid || (!udp && is_mini(socket));
}

static struct possible try_options(const struct tw_rules_request *request,
                                   const struct tw_socket_row *socket)
{
    struct possible possible = {.free = false};

    for (int bits = 0; bits < 4; bits++) {
        bool reuseaddr = bits & 1, reuseport = bits & 2;

        if (socket->reuseaddr == (reuseaddr ? TW_NO : TW_YES) ||
            socket->reuseport == (reuseport ? TW_NO : TW_YES))
            continue;
        if (may_share(request, socket, reuseaddr, reuseport))
            possible.free = true;
        else
            possible.in_use = true;
    }
    return possible;
}

static enum tw_rules_reason reason_of(const struct tw_rules_request *request,
                                      const struct tw_socket_row *socket)
{
    bool listens = request->protocol == IPPROTO_TCP && socket->state == TCP_LISTEN;

    /* Another user's socket could not be shared either if its option were known. */
    if (request->reuseport && socket->reuseport != TW_NO && socket->uid != request->uid &&
        !is_mini(socket))
        return TW_REASON_OTHER_USER;
    if (listens)
        return TW_REASON_LISTENS;
    if (request->reuseaddr)
        return TW_REASON_BLOCKER_NO_REUSE;
    return request->reuseport ? TW_REASON_BLOCKER_NO_SHARE : TW_REASON_REQUEST_NO_REUSE;
}

enum tw_rules_outcome tw_rules_conflict(const struct tw_rules_request *request,
                                        const struct tw_socket_row *socket,
                                        enum tw_rules_reason *reason)
{
    bool overlap =
        tw_rules_overlap(&request->local, request->v6only, &socket->local, socket->v6only);
    bool shadow = !overlap && shadows_ipv4(request, socket);
    struct possible possible;

    *reason = TW_REASON_NONE;
    /* A handshake that waits for its last ACK is not on the list of those who hold the port. */
    if (socket->state == TCP_SYN_RECV || !(overlap || shadow) || !devices_meet(request, socket))
        return TW_RULES_FREE;
    possible = try_options(request, socket);
    if (!possible.in_use)
        return TW_RULES_FREE;
    if (possible.free || shadow) {
        *reason = TW_REASON_UNKNOWN_OPTIONS;
        return TW_RULES_DEPENDS;
    }
    *reason = reason_of(request, socket);
    return TW_RULES_IN_USE;
}

/* How much a socket explains: who listens is the answer, a TIME_WAIT only if there is no other. */
static int weight_of(const struct tw_socket_row *socket)
{
    switch (socket->state) {
    case TCP_LISTEN:
        return 3;
    case TCP_CLOSE:
        return 2;
    case TCP_TIME_WAIT:
        return 0;
    default:
        return 1;
    }
}

/* Adds one socket's outcome to the answer: certainty goes before weight, the first before others.
 */
static void add_outcome(struct tw_rules_answer *answer, enum tw_rules_outcome outcome,
                        enum tw_rules_reason reason, const struct tw_socket_row *sockets,
                        size_t index)
{
    bool better;

    if (outcome == TW_RULES_FREE ||
        (outcome == TW_RULES_DEPENDS && answer->outcome == TW_RULES_IN_USE))
        return;
    better = answer->outcome != outcome;
    if (better)
        answer->conflicts = 0;
    answer->conflicts++;
    if (!better && weight_of(&sockets[index]) <= weight_of(&sockets[answer->blocker]))
        return;
    answer->outcome = outcome;
    answer->reason = reason;
    answer->blocker = index;
}

struct tw_rules_answer tw_rules_bind(const struct tw_rules_request *request,
                                     const struct tw_socket_row *sockets, size_t count)
{
    struct tw_rules_answer answer = {.outcome = TW_RULES_FREE};
    uint16_t port = tw_endpoint_port(&request->local);

    for (size_t i = 0; i < count; i++) {
        enum tw_rules_outcome outcome;
        enum tw_rules_reason reason;

        if (sockets[i].protocol != request->protocol || tw_endpoint_port(&sockets[i].local) != port)
            continue;
        outcome = tw_rules_conflict(request, &sockets[i], &reason);
        add_outcome(&answer, outcome, reason, sockets, i);
    }
    return answer;
}

struct tw_rules_answer tw_rules_listen(const struct tw_rules_request *request,
                                       const struct tw_socket_row *sockets, size_t count)
{
    /* listen() claims the port once more by the rule of bind(). It can fail where bind() went well
     * because the other socket has begun to listen since. */
    return tw_rules_bind(request, sockets, count);
}
