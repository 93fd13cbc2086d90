#include "tidewait/rules.h"

#include <netinet/tcp.h>

#include "mini.h"

/* Nominal life of a TIME_WAIT; what is left of it tells its age. */
#define TIME_WAIT_MS 60000

/* The bits of a word of tw_ports that stand for even ports. */
#define EVEN_PORTS 0x5555555555555555ULL

/* What stands on the ports of one lane. */
struct lane_sets {
    struct tw_ports connected;
    struct tw_ports time_wait;
    struct tw_ports reusable;
};

static bool same_end(const struct tw_endpoint *a, const struct tw_endpoint *b)
{
    struct tw_endpoint x = tw_endpoint_unmap(a), y = tw_endpoint_unmap(b);

    return tw_endpoint_same_address(&x, &y) && tw_endpoint_port(&x) == tw_endpoint_port(&y);
}

static bool from_source(const struct tw_endpoint *source, const struct tw_endpoint *local)
{
    struct tw_endpoint x = tw_endpoint_unmap(source), y = tw_endpoint_unmap(local);

    return x.sa.sa_family == AF_UNSPEC || tw_endpoint_is_wildcard(&x) ||
           tw_endpoint_same_address(&x, &y);
}

static uint32_t scope_of(const struct tw_endpoint *endpoint)
{
    return endpoint->sa.sa_family == AF_INET6 ? endpoint->v6.sin6_scope_id : 0;
}

/* A connection that is bound to a device is met by those bound to the same one only, as link-local
 * addresses bind them. */
static bool on_device(const struct tw_socket_row *socket, const struct tw_endpoint *source,
                      const struct tw_endpoint *destination)
{
    return !socket->device || socket->device == scope_of(source) ||
           socket->device == scope_of(destination);
}

struct tw_rules_answer tw_rules_tuple(const struct tw_endpoint *source,
                                      const struct tw_endpoint *destination, bool reusable,
                                      const struct tw_socket_row *sockets, size_t count)
{
    struct tw_rules_answer answer = {.outcome = TW_RULES_FREE};

    for (size_t i = 0; i < count; i++) {
        const struct tw_socket_row *socket = &sockets[i];

        /* One that is only bound may still show whom it was connected to. */
        if (socket->protocol != IPPROTO_TCP || socket->state == TCP_CLOSE ||
            !same_end(&socket->local, source) || !same_end(&socket->remote, destination) ||
            !on_device(socket, source, destination) || (reusable && is_mini(socket)))
            continue;
        if (answer.conflicts++ == 0)
            answer.blocker = i;
        answer.outcome = TW_RULES_IN_USE;
    }
    return answer;
}

static bool old_enough(const struct tw_rules_lane_request *request,
                       const struct tw_socket_row *socket)
{
    uint32_t left = socket->expires_ms;

    return request->tw_reuse && left < TIME_WAIT_MS && TIME_WAIT_MS - left > request->reuse_ms;
}

static void add_socket(struct lane_sets *sets, const struct tw_rules_lane_request *request,
                       const struct tw_socket_row *socket)
{
    uint16_t port = tw_endpoint_port(&socket->local);

    if (socket->protocol != request->protocol ||
        !same_end(&socket->remote, &request->destination) ||
        !from_source(&request->source, &socket->local) ||
        !on_device(socket, &request->source, &request->destination))
        return;
    if (socket->state != TCP_TIME_WAIT)
        tw_ports_add(&sets->connected, port);
    else if (old_enough(request, socket))
        tw_ports_add(&sets->reusable, port);
    else
        tw_ports_add(&sets->time_wait, port);
}

/* Counts those of *left that are in `word`, and takes them out. */
static uint32_t take(uint64_t *left, uint64_t word)
{
    uint32_t count = (uint32_t)__builtin_popcountll(*left & word);

    *left &= ~word;
    return count;
}

struct tw_rules_lane tw_rules_lane(const struct tw_rules_lane_request *request,
                                   const struct tw_ports *polluting,
                                   const struct tw_socket_row *sockets, size_t count)
{
    struct tw_rules_lane lane = {.ports = (uint32_t)tw_ports_count(request->ephemeral)};
    uint64_t first = request->first % 2 ? ~EVEN_PORTS : EVEN_PORTS;
    struct lane_sets sets = {0};

    /* UDP takes ports in random order. */
    if (request->protocol == IPPROTO_UDP)
        first = ~0ULL;
    for (size_t i = 0; i < count; i++)
        add_socket(&sets, request, &sockets[i]);
    for (size_t i = 0; i < sizeof(polluting->bits) / sizeof(polluting->bits[0]); i++) {
        uint64_t left = request->ephemeral->bits[i], usable;

        /* The kernel passes a polluted port by without a look at its connections. */
        lane.polluted += take(&left, polluting->bits[i]);
        lane.connected += take(&left, sets.connected.bits[i]);
        lane.time_wait += take(&left, sets.time_wait.bits[i]);
        usable = left;
        lane.reusable += take(&left, sets.reusable.bits[i]);
        lane.reusable_first += (uint32_t)__builtin_popcountll(usable & ~left & first);
        lane.free_first += (uint32_t)__builtin_popcountll(left & first);
        lane.free += (uint32_t)__builtin_popcountll(left);
    }
    return lane;
}
