/* connect(): which source port. See shim.h for why it is done in this way. */
#include <fcntl.h>
#include <netinet/tcp.h>
#include <string.h>

#include "kernel.h"
#include "options.h"
#include "probe.h"
#include "shim.h"

enum {
    TRIES = 64,        /* ports that cost system calls; those set aside cost none */
    FROM_TRIES = 16,   /* source addresses */
    FREE_TRIES = 8,    /* of a tuple that is free and refused all the same: it has another reason */
    LEARN_EVERY = 256, /* routes and peers change */
    PAUSE_FIRST_NS = 1000000,
};

/* NO_PORT: all are taken, which passes. NO_WAY: nothing can be chosen here (no route, no descriptor
 * left or no netlink for a probe, an address that is not ours); to wait would not help, and the
 * kernel is to say what it says without us. */
enum outcome { CONNECTED, FAILED, NEXT_PORT, NO_PORT, NO_WAY };

struct attempt {
    const struct shim *shim;
    const struct outgoing *out;
    int family;            /* of the socket */
    struct endpoint to;    /* where the kernel goes */
    struct endpoint local; /* what it is bound to; any address: the kernel chooses */
    struct ring_search search;
};

static int plain(const struct outgoing *out)
{
    return next_connect(out->fd, out->address, out->len);
}

static bool set_range(int fd, uint16_t port)
{
    return kernel_set(fd, IPPROTO_IP, IP_LOCAL_PORT_RANGE, (int)((uint32_t)port << 16 | port)) == 0;
}

static uint32_t range_of(int fd)
{
    int range;

    return kernel_get(fd, IPPROTO_IP, IP_LOCAL_PORT_RANGE, &range) ? 0 : (uint32_t)range;
}

/* The kernel has begun or made a connection. */
static bool is_under_way(int result)
{
    return result == 0 || errno == EINPROGRESS || errno == EINTR;
}

/* The source address and the timestamps of a connection, for the probes of the next ones. Before
 * the peer has answered nothing is known of timestamps. */
static void learn(struct attempt *attempt, const struct ring_place *place, bool connected)
{
    enum shim_takeover known, takeover = SHIM_TAKEOVER_UNKNOWN;
    struct endpoint source;
    struct tcp_info info;
    socklen_t len = sizeof(info);
    bool is_known = ring_known(&attempt->search, attempt->to.family, &source, &known);

    atomic_store_explicit(&attempt->search.lane->recent, place->port, memory_order_relaxed);
    if (is_known && place->port % LEARN_EVERY != 0 &&
        (known != SHIM_TAKEOVER_UNKNOWN || !connected))
        return;
    if (connected &&
        kernel(SYS_getsockopt, attempt->out->fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0)
        takeover = info.tcpi_options & TCPI_OPT_TIMESTAMPS ? SHIM_TAKEOVER_YES : SHIM_TAKEOVER_NO;
    if (takeover == SHIM_TAKEOVER_UNKNOWN && is_known)
        takeover = known;
    if (local_of(attempt->out->fd, &source, &(int){0}))
        ring_learn(&attempt->search, &source, takeover);
}

static enum outcome finish(struct attempt *attempt, const struct ring_place *place, int result)
{
    int code = errno;

    ring_done(place);
    if (is_under_way(result)) {
        shim_count(attempt->shim, SHIM_MANAGED);
        learn(attempt, place, result == 0);
    }
    errno = code;
    return result == 0 ? CONNECTED : FAILED;
}

static enum outcome set_aside(struct attempt *attempt, const struct ring_place *place,
                              uint32_t seconds)
{
    ring_refuse(&attempt->search, place, seconds);
    shim_count(attempt->shim, SHIM_PORT_TRIES);
    return NEXT_PORT;
}

static enum outcome give_up(const struct ring_place *place)
{
    ring_done(place);
    return NO_WAY;
}

/* Where the next connection would come from, and what is known of the lane. */
static bool find_source(struct attempt *attempt, struct endpoint *source,
                        enum shim_takeover *takeover)
{
    const struct endpoint *to = &attempt->to;

    if (ring_known(&attempt->search, to->family, source, takeover))
        return true;
    *takeover = SHIM_TAKEOVER_UNKNOWN;
    if (!endpoint_is_any(&attempt->local))
        *source = attempt->local;
    else if (!probe_source(to, source))
        return false;
    ring_learn(&attempt->search, source, *takeover);
    return true;
}

/* Whether our TIME_WAIT can be taken over. Not knowing, we ask a connection that still stands;
 * without one we assume it, since a peer without timestamps is rare. */
static bool can_take_over(struct attempt *attempt, const struct endpoint *source, int device,
                          enum shim_takeover takeover)
{
    struct endpoint recent = *source;
    struct probe probe;

    if (takeover != SHIM_TAKEOVER_UNKNOWN)
        return takeover == SHIM_TAKEOVER_YES;
    recent.port =
        (uint16_t)atomic_load_explicit(&attempt->search.lane->recent, memory_order_relaxed);
    probe = probe_tuple(&recent, &attempt->to, device, true);
    if (!probe.timestamps_told)
        return true;
    ring_learn(&attempt->search, source, probe.timestamps ? SHIM_TAKEOVER_YES : SHIM_TAKEOVER_NO);
    return probe.timestamps;
}

static long bind_port(const struct attempt *attempt, uint16_t port)
{
    struct endpoint local = attempt->local;
    union socket_address address;
    socklen_t len;

    local.port = port;
    len = endpoint_write(&local, attempt->family, &address);
    return kernel(SYS_bind, attempt->out->fd, &address, len);
}

static bool is_blocking(int fd)
{
    long flags = kernel(SYS_fcntl, fd, F_GETFL, 0);

    return flags >= 0 && !(flags & O_NONBLOCK);
}

/* Somebody else, such as another run, took the tuple between the look and connect(). The socket is
 * bound to the port for good, so it waits until that connection has ended, if it may. */
static int connect_again(const struct attempt *attempt, const struct endpoint *source, int device)
{
    const struct outgoing *out = attempt->out;
    struct patience patience = {.pause_ns = PAUSE_FIRST_NS};
    int free_tries = FREE_TRIES;

    errno = EADDRNOTAVAIL;
    while (is_blocking(out->fd) && patience_wait(&patience, out->rule->wait_ns)) {
        enum probe_answer answer = probe_tuple(source, &attempt->to, device, false).answer;
        int result;

        if (answer == PROBE_TAKEN || answer == PROBE_CLOSING)
            continue;
        result = plain(out);
        if (result == 0 || errno != EADDRNOTAVAIL || answer != PROBE_FREE || --free_tries == 0)
            return result;
    }
    return -1;
}

/* By bind(): takes over our own TIME_WAIT, but there is no way back, so the tuple is looked at
 * first. */
static enum outcome try_bound(struct attempt *attempt, const struct ring_place *place)
{
    const struct outgoing *out = attempt->out;
    enum shim_takeover takeover;
    struct endpoint source;
    struct probe probe;
    int device = 0, result;
    long bound;

    if (!find_source(attempt, &source, &takeover))
        return give_up(place);
    if (kernel_get(out->fd, SOL_SOCKET, SO_BINDTOIFINDEX, &device) || device == 0)
        device = (int)attempt->to.scope;
    source.port = place->port;
    probe = probe_tuple(&source, &attempt->to, device, false);
    if (probe.answer == PROBE_UNKNOWN)
        return give_up(place);
    if (probe.answer == PROBE_CLOSING) {
        ring_done(place);
        shim_count(attempt->shim, SHIM_PORT_TRIES);
        return NEXT_PORT;
    }
    if (probe.answer == PROBE_TAKEN)
        return set_aside(attempt, place, 0);
    if (probe.answer == PROBE_TIME_WAIT && !can_take_over(attempt, &source, device, takeover))
        return set_aside(attempt, place, probe.left_s);

    bound = bind_port(attempt, place->port);
    if (bound == -EADDRINUSE || bound == -EACCES)
        return set_aside(attempt, place, 0);
    if (bound != 0)
        return give_up(place);
    result = plain(out);
    if (result != 0 && errno == EADDRNOTAVAIL)
        result = connect_again(attempt, &source, device);
    if (result != 0 && errno == EADDRNOTAVAIL) {
        set_aside(attempt, place, 0);
        if (probe.answer == PROBE_TIME_WAIT &&
            probe_tuple(&source, &attempt->to, device, false).answer == PROBE_TIME_WAIT)
            ring_learn(&attempt->search, &source, SHIM_TAKEOVER_NO);
        errno = EADDRNOTAVAIL;
        return FAILED;
    }
    if (probe.answer == PROBE_TIME_WAIT && is_under_way(result))
        shim_count(attempt->shim, SHIM_TAKEN_OVER);
    return finish(attempt, place, result);
}

static enum outcome try_port(struct attempt *attempt, const struct ring_place *place)
{
    const struct shim_shared *shared = attempt->shim->shared;

    if (!place->used && place->port >= shared->kernel_first && place->port <= shared->kernel_last &&
        set_range(attempt->out->fd, place->port)) {
        int result = plain(attempt->out);

        if (result == 0 || errno != EADDRNOTAVAIL)
            return finish(attempt, place, result);
    }
    return try_bound(attempt, place);
}

static enum outcome try_lane(struct attempt *attempt)
{
    const struct shim_rule *rule = attempt->out->rule;
    struct endpoint source = attempt->local;
    struct ring_place place;

    /* To no address is to oneself. */
    attempt->to = attempt->out->to;
    if (endpoint_is_any(&attempt->to) && !endpoint_is_any(&source))
        memcpy(attempt->to.address, source.address, sizeof(source.address));
    else if (endpoint_is_any(&attempt->to) && attempt->to.family == AF_INET)
        memcpy(attempt->to.address, (uint8_t[]){127, 0, 0, 1}, 4);
    else if (endpoint_is_any(&attempt->to))
        attempt->to.address[15] = 1;
    /* A socket of v6 that goes to v4 is on the lane of those of v4. */
    if (endpoint_is_any(&source))
        source.family = attempt->to.family;
    ring_begin(&attempt->search, &attempt->shim->ring, &attempt->to, &source);
    attempt->search.now_s = shim_now_s(attempt->shim);
    attempt->search.first = rule->source_first;
    attempt->search.last = rule->source_last;
    /* A client on the port that it connects to may connect to itself. */
    attempt->search.avoid = attempt->to.port;
    for (int i = 0; i < TRIES && ring_take(&attempt->search, &place); i++) {
        enum outcome outcome = try_port(attempt, &place);

        if (outcome != NEXT_PORT)
            return outcome;
    }
    return NO_PORT;
}

static void add_to_address(struct endpoint *endpoint, uint32_t count)
{
    uint64_t carry = count;

    for (int i = endpoint->family == AF_INET ? 3 : 15; i >= 0; i--) {
        carry += endpoint->address[i];
        endpoint->address[i] = (uint8_t)carry;
        carry >>= 8;
    }
}

/* The addresses of the rule in turn; the socket is bound to each without a port. */
static enum outcome try_sources(struct attempt *attempt)
{
    const struct shim_rule *rule = attempt->out->rule;
    struct shim_shared *shared = attempt->shim->shared;
    _Atomic uint32_t *turn = &shared->turns[rule - shared->rules];
    uint32_t tries = rule->from_count < FROM_TRIES ? rule->from_count : FROM_TRIES;
    enum outcome outcome = NO_WAY;
    bool full = false;

    if (rule->from_family != attempt->out->to.family || !endpoint_is_any(&attempt->local))
        return try_lane(attempt);
    for (uint32_t i = 0; i < tries && (outcome == NO_PORT || outcome == NO_WAY); i++) {
        attempt->local = (struct endpoint){.family = rule->from_family};
        memcpy(attempt->local.address, rule->from_first, sizeof(rule->from_first));
        add_to_address(&attempt->local,
                       atomic_fetch_add_explicit(turn, 1, memory_order_relaxed) % rule->from_count);
        kernel_set(attempt->out->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
        outcome = bind_port(attempt, 0) == 0 ? try_lane(attempt) : NO_WAY;
        full = full || outcome == NO_PORT;
    }
    return outcome == NO_WAY && full ? NO_PORT : outcome;
}

static int choose(struct attempt *attempt)
{
    const struct outgoing *out = attempt->out;
    struct patience patience = {.pause_ns = PAUSE_FIRST_NS};
    enum outcome outcome;

    kernel_set(out->fd, SOL_SOCKET, SO_REUSEADDR, 1);
    while ((outcome = try_sources(attempt)) == NO_PORT && out->rule->wait_ns > 0 &&
           is_blocking(out->fd) && patience_wait(&patience, out->rule->wait_ns))
        ;
    if (outcome == CONNECTED || outcome == FAILED)
        return outcome == CONNECTED ? 0 : -1;
    kernel_set(out->fd, IPPROTO_IP, IP_LOCAL_PORT_RANGE, 0);
    return plain(out);
}

int connect_outgoing(const struct shim *shim, const struct outgoing *out)
{
    struct attempt attempt = {.shim = shim, .out = out};
    uint32_t range;
    int result;

    reuse_now(out->fd);
    if (!out->rule->managed || shim->ring.port_count == 0 ||
        !local_of(out->fd, &attempt.local, &attempt.family))
        return plain(out);
    range = range_of(out->fd);
    if (attempt.local.port == 0) {
        /* A range of the program's own is respected. */
        if (range != 0 && range != RANGE_LATE)
            return plain(out);
    } else {
        /* Bound, connected or on its way: as without us. But a port that we chose in an attempt
         * that failed is given back, though the kernel still shows it, and may be another's by now.
         */
        result = plain(out);
        if (result == 0 || errno != EADDRNOTAVAIL || range >> 16 != attempt.local.port ||
            (range & 0xffff) != attempt.local.port)
            return result;
    }
    attempt.local.port = 0;
    return choose(&attempt);
}
