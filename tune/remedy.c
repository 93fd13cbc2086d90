#include "remedy.h"

#include <math.h>
#include <netinet/in.h>
#include <stdint.h>

#define PORT_FLOOR 1024

/* Help that does not suffice must be worth its while. */
#define WORTH 1.01

/* What may be changed, and in the end is. */
struct steps {
    bool reuse; /* tcp_tw_reuse, with what it needs */
    bool widen;
    bool delay;
};

/* Gentle before rough: what comes first and suffices is taken. Since every part of a row stands
 * alone or in smaller company further up, none can be left out. */
static const struct steps order[] = {
    {.reuse = true},
    {.widen = true},
    {.reuse = true, .widen = true},
    {.delay = true},
    {.reuse = true, .delay = true},
    {.widen = true, .delay = true},
    {.reuse = true, .widen = true, .delay = true},
};
#define ORDER_COUNT (sizeof(order) / sizeof(order[0]))

/* Beyond so many at once, chance adds less than this. */
#define MANY   1e7
#define CHANCE 1.01

/* --- the arithmetic ----------------------------------------------------------------------------
 */

static const struct plan_nat no_nat;

static size_t services_between(const struct remedy_case *c, const struct tw_limits *limits,
                               unsigned first, unsigned last, bool tcp)
{
    size_t count = 0;

    for (size_t i = 0; i < c->services->count; i++) {
        const struct service *service = &c->services->items[i];

        count += service->port >= first && service->port <= last &&
                 (!tcp || service->protocol == IPPROTO_TCP) &&
                 !tw_ports_has(&limits->reserved, service->port);
    }
    return count;
}

void remedy_system(const struct remedy_case *c, const struct tw_limits *limits,
                   struct plan_system *out)
{
    plan_system_of_limits(limits, c->loopback, out);
    out->ports_lost =
        (double)services_between(c, limits, limits->port_first, limits->port_last, true);
    out->ports_possible -= (double)services_between(c, limits, PORT_FLOOR, UINT16_MAX, false);
}

static bool enough_at_once(double capacity, double offered, double share)
{
    if (offered > MANY)
        return capacity >= CHANCE * offered;
    return plan_erlang_b(capacity, offered) <= share;
}

bool remedy_holds(const struct remedy_case *c, const struct plan_answer *answer,
                  enum plan_limit limit)
{
    const struct plan_bound *bound = &answer->bounds[limit];
    double rate = answer->connections_per_s;

    if (rate > bound->sustainable_per_s)
        return false;
    /* Ports are drawn lane by lane, all else from one stock. */
    if (limit == PLAN_LIMIT_TUPLES)
        return answer->refused_random <= c->share;
    return isinf(bound->sustainable_per_s) ||
           enough_at_once(bound->capacity, rate * bound->occupied_s, c->share);
}

double remedy_need(const struct remedy_case *c, const struct plan_answer *answer,
                   enum plan_limit limit, double most)
{
    double offered = answer->connections_per_s * answer->bounds[limit].occupied_s;

    if (offered > MANY)
        return fmin(most, CHANCE * offered);
    return fmin(most, plan_erlang_b_servers(offered, c->share));
}

static void answer_with(const struct remedy_case *c, const struct tw_limits *limits,
                        struct plan_answer *answer)
{
    struct plan_system system;

    remedy_system(c, limits, &system);
    plan_answer(&system, &no_nat, c->workload, answer);
}

static bool enough(const struct remedy_case *c, const struct tw_limits *limits)
{
    struct plan_answer answer;

    answer_with(c, limits, &answer);
    return remedy_holds(c, &answer, PLAN_LIMIT_TUPLES);
}

static double rate_with(const struct remedy_case *c, const struct tw_limits *limits)
{
    struct plan_answer answer;

    answer_with(c, limits, &answer);
    return answer.bounds[PLAN_LIMIT_TUPLES].sustainable_per_s;
}

/* --- TIME_WAIT ---------------------------------------------------------------------------------
 */

static bool reuses(const struct remedy_case *c, const struct tw_limits *limits)
{
    return limits->timestamps > 0 &&
           (limits->tw_reuse == 1 || (limits->tw_reuse == 2 && c->loopback));
}

/* What lets TIME_WAITs be taken over: of ports that the kernel chooses tcp_tw_reuse, of explicit
 * ones timestamps alone. False when there is nothing to be done, or no such setting. */
static bool make_reuse(const struct remedy_case *c, struct tw_limits *limits)
{
    enum plan_ports ports = c->workload->ports;
    bool kernel = ports == PLAN_PORTS_KERNEL;

    if (c->workload->closing != PLAN_CLOSING_CLIENT || ports == PLAN_PORTS_BIND ||
        limits->timestamps == TW_LIMIT_UNKNOWN || (kernel && limits->tw_reuse == TW_LIMIT_UNKNOWN))
        return false;
    if (kernel ? reuses(c, limits) : limits->timestamps > 0)
        return false;
    if (limits->timestamps == 0)
        limits->timestamps = 1;
    /* On loopback the default is enough, and says nothing about the world outside. */
    if (kernel && !reuses(c, limits))
        limits->tw_reuse = c->loopback ? 2 : 1;
    return true;
}

/* Whether a shorter delay could matter. */
static bool can_delay(const struct remedy_case *c, const struct tw_limits *limits)
{
    return c->has_delay && limits->tw_reuse_delay_ms > 1 && reuses(c, limits) &&
           c->workload->closing == PLAN_CLOSING_CLIENT && c->workload->ports == PLAN_PORTS_KERNEL;
}

/* The longest delay that is enough; false when there is none. */
static bool fit_delay(const struct remedy_case *c, struct tw_limits *limits)
{
    int64_t low = 1, high = limits->tw_reuse_delay_ms;

    limits->tw_reuse_delay_ms = low;
    if (!enough(c, limits))
        return false;
    /* low is enough, high is not. */
    while (high - low > 1) {
        limits->tw_reuse_delay_ms = low + (high - low) / 2;
        if (enough(c, limits))
            low = limits->tw_reuse_delay_ms;
        else
            high = limits->tw_reuse_delay_ms;
    }
    limits->tw_reuse_delay_ms = low;
    return true;
}

/* --- the range ---------------------------------------------------------------------------------
 */

/* Never among the privileged ports; the kernel refuses that as well. */
static unsigned floor_of(const struct tw_limits *limits)
{
    int64_t floor = limits->unprivileged_port_start;

    if (floor < PORT_FLOOR)
        floor = PORT_FLOOR;
    return floor < limits->port_first ? (unsigned)floor : limits->port_first;
}

/* Sets a range, and reserves the ports of services in it: also those that lie in the range of now,
 * since they may be given away too. */
static void set_range(const struct remedy_case *c, struct tw_limits *limits, unsigned first,
                      unsigned last)
{
    limits->port_first = (uint16_t)first;
    limits->port_last = (uint16_t)last;
    limits->reserved = c->limits->reserved;
    for (size_t i = 0; i < c->services->count; i++)
        if (c->services->items[i].port >= first && c->services->items[i].port <= last)
            tw_ports_add(&limits->reserved, c->services->items[i].port);
}

static bool widest(const struct remedy_case *c, struct tw_limits *limits)
{
    unsigned floor = floor_of(c->limits);

    set_range(c, limits, floor, UINT16_MAX);
    return floor < c->limits->port_first || c->limits->port_last < UINT16_MAX;
}

/* The kernel wants one end even and the other odd: connect() tries one half of the ports first. */
static void mend_parity(const struct remedy_case *c, struct tw_limits *limits)
{
    unsigned first = limits->port_first, last = limits->port_last;

    if (((first ^ last) & 1) != 0)
        return;
    if (last < UINT16_MAX)
        last++;
    else if (first > floor_of(c->limits))
        first--;
    set_range(c, limits, first, last);
}

/* The narrowest range that is enough, of those that have the range of now within: first up to the
 * last port, then down. False when there is none. */
static bool fit_range(const struct remedy_case *c, struct tw_limits *limits)
{
    unsigned first = c->limits->port_first, near = c->limits->port_last, far = UINT16_MAX;
    bool up;

    if (!widest(c, limits) || !enough(c, limits))
        return false;
    set_range(c, limits, first, UINT16_MAX);
    up = near < UINT16_MAX && enough(c, limits);
    if (!up) {
        near = first;
        far = floor_of(c->limits);
    }
    /* far is enough, near is not (or is the range of now). */
    while ((up ? far - near : near - far) > 1) {
        unsigned middle = up ? near + (far - near) / 2 : far + (near - far) / 2;

        set_range(c, limits, up ? first : middle, up ? middle : UINT16_MAX);
        if (enough(c, limits))
            far = middle;
        else
            near = middle;
    }
    set_range(c, limits, up ? first : far, up ? far : UINT16_MAX);
    mend_parity(c, limits);
    return true;
}

/* --- all together ------------------------------------------------------------------------------
 */

static bool try_steps(const struct remedy_case *c, struct steps steps, struct tw_limits *limits)
{
    *limits = *c->limits;
    if (steps.reuse && !make_reuse(c, limits))
        return false;
    if (steps.delay && !can_delay(c, limits))
        return false;
    if (steps.delay) {
        if (steps.widen && !widest(c, limits))
            return false;
        if (!fit_delay(c, limits))
            return false;
    }
    return steps.widen ? fit_range(c, limits) : enough(c, limits);
}

/* All that helps, as far as it goes. */
static void come_near(const struct remedy_case *c, struct tw_limits *out)
{
    struct tw_limits limits = *c->limits;
    double rate;

    *out = *c->limits;
    rate = rate_with(c, out);
    if (make_reuse(c, &limits) && rate_with(c, &limits) > WORTH * rate)
        *out = limits;
    limits = *out;
    rate = rate_with(c, out);
    if (widest(c, &limits) && rate_with(c, &limits) > WORTH * rate)
        *out = limits;
    limits = *out;
    rate = rate_with(c, out);
    if (can_delay(c, &limits)) {
        limits.tw_reuse_delay_ms = 1;
        if (rate_with(c, &limits) > WORTH * rate)
            *out = limits;
    }
}

bool remedy_find(const struct remedy_case *c, struct tw_limits *out)
{
    *out = *c->limits;
    if (enough(c, out))
        return true;
    for (size_t i = 0; i < ORDER_COUNT; i++)
        if (try_steps(c, order[i], out))
            return true;
    come_near(c, out);
    return false;
}
