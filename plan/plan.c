#include "plan.h"

#include <math.h>

#define NS_PER_S 1e9

/* In the order of enum plan_limit. */
const char *const plan_limit_names[PLAN_LIMITS] = {
    "tuples", "files", "time-waits", "conntrack", "nat",
};

/* What is not there times however much: nothing (and not NaN). */
static double product(double a, double b)
{
    return a == 0 || b == 0 ? 0 : a * b;
}

static double difference_or_0(double from, double less)
{
    return isinf(from) ? from : fmax(0, from - less);
}

/* E[min(hold, x)] in seconds. */
static double hold_until(const struct distribution *hold, double x)
{
    double mean = distribution_mean(hold) / NS_PER_S;
    double a = (double)hold->a / NS_PER_S, b = (double)hold->b / NS_PER_S;

    switch (hold->kind) {
    case DISTRIBUTION_EXPONENTIAL:
        return mean > 0 ? -mean * expm1(-x / mean) : 0;
    case DISTRIBUTION_UNIFORM:
        if (x <= a)
            return x;
        return x < b ? x - (x - a) * (x - a) / (2 * (b - a)) : mean;
    default:
        return fmin(x, mean);
    }
}

/* E[min(hold + cooling, t)]: how long a connection that began t ago has been in use, on average. */
static double occupied_until(const struct distribution *hold, double cooling, double t)
{
    return t <= cooling ? t : cooling + hold_until(hold, t - cooling);
}

/* When rate x occupied_until() reaches `capacity`. */
static double time_to_reach(const struct distribution *hold, double cooling, double rate,
                            double capacity)
{
    double mean = distribution_mean(hold) / NS_PER_S;
    double early, late;

    if (capacity <= 0)
        return 0;
    if (product(rate, mean + cooling) <= capacity)
        return INFINITY;
    /* None ends before this time, and in doubled steps it is soon behind us. */
    early = late = capacity / rate;
    while (rate * occupied_until(hold, cooling, late) < capacity) {
        early = late;
        late *= 2;
        if (isinf(late))
            return INFINITY;
    }
    for (int i = 0; i < 100 && late - early > 1e-12 * late; i++) {
        double middle = early + (late - early) / 2;

        if (rate * occupied_until(hold, cooling, middle) < capacity)
            early = middle;
        else
            late = middle;
    }
    return late;
}

static double cooling_of(const struct plan_system *system, const struct plan_workload *workload)
{
    bool closed_first = workload->closing == PLAN_CLOSING_CLIENT;

    switch (workload->ports) {
    case PLAN_PORTS_KERNEL:
        return closed_first ? fmin(system->time_wait_s, system->reuse_s) : 0;
    case PLAN_PORTS_MANAGED:
        return closed_first && !system->takeover ? system->time_wait_s : PLAN_REST_S;
    default:
        return closed_first ? system->time_wait_s : 0;
    }
}

/* `after`: how long a place stays taken after the end of the connection. */
static struct plan_bound bound_of(const struct plan_workload *workload, double rate,
                                  double capacity, double after)
{
    double hold = distribution_mean(&workload->hold) / NS_PER_S;
    struct plan_bound bound = {.capacity = capacity, .occupied_s = hold + after};

    if (capacity <= 0)
        bound.sustainable_per_s = 0;
    else if (isinf(capacity) || bound.occupied_s == 0)
        bound.sustainable_per_s = INFINITY;
    else
        bound.sustainable_per_s = capacity / bound.occupied_s;
    bound.exhausted_s = time_to_reach(&workload->hold, after, rate, capacity);
    return bound;
}

static void never_reached(struct plan_bound *bound)
{
    bound->sustainable_per_s = bound->exhausted_s = INFINITY;
}

/* TIME_WAITs alone, without the connections that are still open. */
static struct plan_bound time_waits_bound(const struct plan_system *system,
                                          const struct plan_workload *workload, double rate,
                                          double tuples)
{
    struct plan_workload closed = *workload;
    struct plan_bound bound;

    closed.hold = (struct distribution){.kind = DISTRIBUTION_CONSTANT};
    bound = bound_of(&closed, rate, system->time_waits, system->time_wait_s);
    /* The first of them appears when the first connection ends. */
    bound.exhausted_s += distribution_mean(&workload->hold) / NS_PER_S;
    /* A tuple that is reused takes its TIME_WAIT along: there are never more than tuples. */
    if (workload->closing != PLAN_CLOSING_CLIENT || tuples <= system->time_waits)
        never_reached(&bound);
    return bound;
}

/* Of all lanes together. */
static void fill_bounds(const struct plan_system *system, const struct plan_nat *nat,
                        const struct plan_workload *workload, struct plan_answer *out)
{
    bool reset = workload->closing == PLAN_CLOSING_RESET;
    double rate = out->connections_per_s, tuples = product(out->lanes, out->tuples);
    double conntrack = difference_or_0(system->conntrack, workload->idle);
    struct plan_bound *bounds = out->bounds;

    bounds[PLAN_LIMIT_TUPLES] = bound_of(workload, rate, tuples, out->cooling_s);
    bounds[PLAN_LIMIT_FILES] =
        bound_of(workload, rate, difference_or_0(system->files, workload->idle), 0);
    bounds[PLAN_LIMIT_TIME_WAITS] = time_waits_bound(system, workload, rate, tuples);
    bounds[PLAN_LIMIT_CONNTRACK] = bound_of(
        workload, rate, conntrack, reset ? system->conntrack_reset_s : system->conntrack_close_s);
    /* A new connection on a tuple whose entry is still there takes the entry over. */
    if (tuples <= conntrack)
        never_reached(&bounds[PLAN_LIMIT_CONNTRACK]);
    bounds[PLAN_LIMIT_NAT] =
        bound_of(workload, rate,
                 nat->ports > 0
                     ? difference_or_0(product(nat->ports, workload->destinations), workload->idle)
                     : INFINITY,
                 reset ? nat->hold_reset_s : nat->hold_s);
}

/* A port that others hold is as likely in the half that is tried first as in the other one. */
static double half_full(const struct plan_system *system, const struct plan_workload *workload,
                        const struct plan_answer *answer)
{
    double half = (system->ports - system->ports_lost) / 2 - workload->idle / answer->lanes;

    if (!system->halves || workload->ports != PLAN_PORTS_KERNEL || isinf(system->ports))
        return INFINITY;
    return time_to_reach(&workload->hold, answer->cooling_s,
                         answer->connections_per_s / answer->lanes, half);
}

void plan_answer(const struct plan_system *system, const struct plan_nat *nat,
                 const struct plan_workload *workload, struct plan_answer *out)
{
    bool shared = system->ports_shared && workload->ports != PLAN_PORTS_BIND;
    double rate = workload->rate_per_s / fmax(1, workload->requests);

    *out = (struct plan_answer){
        .lanes = workload->sources * (shared ? workload->destinations : 1),
        .connections_per_s = rate,
        .hold_s = distribution_mean(&workload->hold) / NS_PER_S,
        .cooling_s = cooling_of(system, workload),
        .sustainable_per_s = INFINITY,
        .exhausted_s = INFINITY,
    };
    out->tuples =
        floor(difference_or_0(system->ports, system->ports_lost + workload->idle / out->lanes));
    out->occupied_s = out->hold_s + out->cooling_s;
    out->in_use = product(rate / out->lanes, out->occupied_s);
    fill_bounds(system, nat, workload, out);
    for (int i = 0; i < PLAN_LIMITS; i++) {
        if (i == PLAN_LIMIT_TIME_WAITS)
            continue;
        if (out->bounds[i].sustainable_per_s < out->sustainable_per_s) {
            out->sustainable_per_s = out->bounds[i].sustainable_per_s;
            out->limited_by = (enum plan_limit)i;
        }
        out->exhausted_s = fmin(out->exhausted_s, out->bounds[i].exhausted_s);
    }
    out->suffices = rate <= out->sustainable_per_s;
    out->half_full_s = half_full(system, workload, out);
    out->refused_share = out->in_use > out->tuples ? 1 - out->tuples / out->in_use : 0;
    out->refused_random = plan_erlang_b(out->tuples, out->in_use);
    out->stall_s =
        rate > 0 ? product(system->accept_queue, workload->destinations) / rate : INFINITY;
}

double plan_in_use_at(const struct plan_answer *answer, const struct plan_workload *workload,
                      double t_s)
{
    return product(answer->connections_per_s / answer->lanes,
                   occupied_until(&workload->hold, answer->cooling_s, t_s));
}

/* 1/B(n) from 1/B(n - 1). */
static double erlang_step(double inverse, double n, double offered)
{
    return 1 + inverse * n / offered;
}

double plan_erlang_b(double servers, double offered)
{
    double inverse = 1;

    if (offered <= 0 || isinf(servers))
        return 0;
    if (isinf(offered))
        return 1;
    for (double n = 1; n <= servers && !isinf(inverse); n++)
        inverse = erlang_step(inverse, n, offered);
    return 1 / inverse;
}

double plan_erlang_b_servers(double offered, double share)
{
    double inverse = 1, n = 0;

    if (offered <= 0)
        return 0;
    if (isinf(offered) || share <= 0)
        return share < 1 ? INFINITY : 0;
    while (1 / inverse > share)
        inverse = erlang_step(inverse, ++n, offered);
    return n;
}
