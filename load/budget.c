#include "budget.h"

#include <math.h>
#include <stdio.h>

#include "plan.h"

#define TIME_WAIT_S ((double)TW_TIME_WAIT_NS / 1e9)

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

/* How long a tuple rests after we closed first, by the arithmetic of `plan`. */
static double cooling_s(const struct workload *workload)
{
    struct plan_workload asked = {.requests = 1,
                                  .ports = PLAN_PORTS_KERNEL,
                                  .closing = PLAN_CLOSING_CLIENT,
                                  .sources = 1,
                                  .destinations = 1};
    struct plan_nat none = {0};
    struct plan_system system;
    struct plan_answer answer;
    bool loopback = true;

    for (size_t t = 0; t < workload->target_count; t++)
        loopback &= tw_endpoint_is_loopback(&workload->targets[t].endpoint);
    plan_system_of_limits(&workload->limits, loopback, &system);
    plan_answer(&system, &none, &asked, &answer);
    return answer.cooling_s;
}

static void limit_of_kernel(const struct workload *workload, struct budget *out)
{
    double cooling = cooling_s(workload);
    bool reuses = cooling < PLAN_TIME_WAIT_S;

    out->per_s = (double)out->tuples / cooling;
    out->limited_by = "time-wait";
    snprintf(out->reason, sizeof(out->reason),
             reuses ? "%s, and connect() reuses a TIME_WAIT that is %g s old (tcp_tw_reuse)"
                    : "%s, and connect() does not find a tuple again before its TIME_WAIT has "
                      "ended, after up to %g s",
             closing_name(workload->closing), cooling);
    snprintf(out->advice, sizeof(out->advice),
             "%s, let the server close first (--close server) or use more addresses (--from: the "
             "same again for each)",
             workload->limits.timestamps == 0
                 ? "turn TCP timestamps on at both ends (net.ipv4.tcp_timestamps=1)"
             : reuses ? "do without --ports kernel (then our own TIME_WAITs are taken over), lower "
                        "net.ipv4.tcp_tw_reuse_delay"
                      : "do without --ports kernel (then our own TIME_WAITs are taken over), set "
                        "net.ipv4.tcp_tw_reuse=1");
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
        out->per_s = (double)out->tuples / TIME_WAIT_S;
        out->limited_by = "time-wait";
        snprintf(
            out->reason, sizeof(out->reason),
            "%s and each tuple rests in TIME_WAIT for up to 62.2 s, because without TCP timestamps "
            "it cannot be taken over",
            closing_name(workload->closing));
        advise_time_wait(workload, out);
    }
}
