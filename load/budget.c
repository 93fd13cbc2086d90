#include "budget.h"

#include <math.h>
#include <stdio.h>

/* A TIME_WAIT lasts 60 s, and then until the next step of the kernel's timer wheel. */
#define TIME_WAIT_MEAN_S 61.0

static const char *closing_name(enum closing closing)
{
    static const char *const names[] = {
        [CLOSING_CLIENT] = "the client closes first",
        [CLOSING_SERVER] = "the server closes first",
        [CLOSING_RESET] = "connections end by reset",
        [CLOSING_HALF] = "the client half-closes first",
    };

    return names[closing];
}

/* tcp_tw_reuse=2 looks at the addresses, not at the device. */
static bool is_loopback(const struct tw_endpoint *endpoint)
{
    return endpoint->sa.sa_family == AF_INET6
               ? IN6_IS_ADDR_LOOPBACK(&endpoint->v6.sin6_addr)
               : ntohl(endpoint->v4.sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
}

/* Whether connect() reuses a TIME_WAIT when it chooses the port. */
static bool kernel_reuses(const struct workload *workload)
{
    bool loopback = true;

    for (size_t t = 0; t < workload->target_count; t++)
        loopback &= is_loopback(&workload->targets[t].endpoint);
    return workload->limits.timestamps != 0 &&
           (workload->limits.tw_reuse == 1 || (workload->limits.tw_reuse == 2 && loopback));
}

static void limit_of_kernel(const struct workload *workload, struct budget *out)
{
    bool reuses = kernel_reuses(workload);
    double cooling_s = reuses ? (double)workload->limits.tw_reuse_delay_ms / 1e3 : TIME_WAIT_MEAN_S;

    out->per_s = (double)out->tuples / cooling_s;
    out->limited_by = "time-wait";
    snprintf(out->reason, sizeof(out->reason),
             reuses ? "%s, and connect() reuses a TIME_WAIT that is %g s old (tcp_tw_reuse)"
                    : "%s, and connect() does not find a tuple again before its TIME_WAIT has "
                      "ended, after %g s on average",
             closing_name(workload->closing), cooling_s);
    snprintf(out->advice, sizeof(out->advice),
             "do without --ports kernel (then our own TIME_WAITs are taken over), let the server "
             "close first (--close server), %s or use more addresses (--from: the same again for "
             "each)",
             reuses ? "lower net.ipv4.tcp_tw_reuse_delay" : "set net.ipv4.tcp_tw_reuse=1");
}

/* Ports that this workload leaves unused: what a wider --ports could win. */
static uint32_t ports_spare(const struct workload *workload)
{
    uint32_t possible = 65535 - 1024 + 1;

    return workload->port_count < possible ? possible - workload->port_count : 0;
}

static void advise_time_wait(const struct workload *workload, struct budget *out)
{
    const char *clock = workload->limits.timestamps == 0
                            ? "turn TCP timestamps on at both ends (net.ipv4.tcp_timestamps=1)"
                            : "turn TCP timestamps on at the server as well";

    if (ports_spare(workload))
        snprintf(out->advice, sizeof(out->advice),
                 "let the server close first (--close server), %s, use more ports (--ports "
                 "1024-65535: %.0f/s) or more addresses (--from: the same again for each)",
                 clock, out->per_s * 64512 / workload->port_count);
    else
        snprintf(out->advice, sizeof(out->advice),
                 "let the server close first (--close server), %s, or use more addresses (--from: "
                 "the same again for each)",
                 clock);
}

void budget_compute(const struct workload *workload, struct budget *out)
{
    bool ours = workload->closing == CLOSING_CLIENT || workload->closing == CLOSING_HALF;

    *out = (struct budget){
        .per_s = INFINITY,
        .lanes = workload->lane_count,
        .ports_per_lane = workload->port_count,
        .tuples = (uint64_t)workload->lane_count * workload->port_count,
        .limited_by = "none",
    };
    if (!ours) {
        snprintf(out->reason, sizeof(out->reason),
                 "%s, so no TIME_WAIT stays here and a tuple is free again at once",
                 closing_name(workload->closing));
    } else if (workload->kernel_ports) {
        limit_of_kernel(workload, out);
    } else if (workload->takeover) {
        snprintf(
            out->reason, sizeof(out->reason),
            "%s; with TCP timestamps and bound ports our own TIME_WAITs are taken over at once",
            closing_name(workload->closing));
    } else {
        out->per_s = (double)out->tuples / ((double)TW_TIME_WAIT_NS / 1e9);
        out->limited_by = "time-wait";
        snprintf(
            out->reason, sizeof(out->reason),
            "%s and each tuple rests in TIME_WAIT for up to 62.2 s, because without TCP timestamps "
            "it cannot be taken over",
            closing_name(workload->closing));
        advise_time_wait(workload, out);
    }
}
