/*
 * budget.h - how many connections a second a sum of lanes, ports and a manner of closing can
 * sustain. Pure arithmetic, told before a run and checked by it.
 *
 * A tuple that must cool after each use serves one connection per TIME_WAIT, so
 *     per_s = lanes x ports / (TIME_WAIT + time in use),
 * where TIME_WAIT is TW_TIME_WAIT_NS. Where the kernel chooses the port it is the mean of TIME_WAIT
 * instead, or, with tcp_tw_reuse, the age at which connect() reuses one. Tuples that are safe at
 * once do not limit the rate.
 */
#ifndef BUDGET_H
#define BUDGET_H

#include "run.h"
#include "workload.h"

void budget_compute(const struct workload *workload, struct budget *out);

#endif
