/*
 * budget.h - how many connections a second a sum of lanes, ports and a manner of closing can
 * sustain. Pure arithmetic, told before a run and checked by it.
 *
 * A tuple that must cool after each use serves one connection per TIME_WAIT, so
 *     per_s = lanes x ports / (TIME_WAIT + time in use),
 * where TIME_WAIT is TW_TIME_WAIT_NS or, where the kernel chooses the port and tcp_tw_reuse allows
 * it, the age at which connect() reuses one. Its longest time counts, not its mean: TIME_WAITs end
 * in heaps, one a step of the timer wheel, and just before a step the most tuples are in use.
 * Tuples that are safe at once do not limit the rate.
 */
#ifndef BUDGET_H
#define BUDGET_H

#include "run.h"
#include "workload.h"

void budget_compute(const struct workload *workload, struct budget *out);

#endif
