#include "budget.h"

#include <math.h>
#include <stdio.h>

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
