/*
 * plan_now.h - the connections that this host opens, as it works: who to, how many a second, how
 * long they stay.
 */
#ifndef PLAN_NOW_H
#define PLAN_NOW_H

#include <stdatomic.h>
#include <stdint.h>

#include "plan_host.h"
#include "plan_report.h"

struct plan_now_ask {
    const struct plan_host *host;
    uint64_t for_ns;
    size_t limit; /* lanes */
    enum plan_ports ports;
    const struct plan_nat *nat;
    atomic_int *stop;
};

/* Measures, and answers for the busiest lanes. lanes[] has room for ask->limit. Returns 0 or
 * -errno. */
int plan_now(const struct plan_now_ask *ask, struct report_plan_lane *lanes,
             struct report_plan_now *out, struct tw_error *error);

#endif
