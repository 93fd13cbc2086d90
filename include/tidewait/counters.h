/*
 * counters.h - the kernel's counters of TCP (/proc/net/netstat and /proc/net/snmp) that tell why
 * connections failed. They count for the whole network namespace of the calling thread since it was
 * made: read them before and after, and take the difference. Plain values; any thread may call,
 * also after fork().
 */
#ifndef TIDEWAIT_COUNTERS_H
#define TIDEWAIT_COUNTERS_H

#include <stddef.h>
#include <stdint.h>

#include "tidewait/error.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TW_COUNTERS 16

struct tw_counters {
    int64_t values[TW_COUNTERS]; /* -1: this kernel does not have it */
};

/* The kernel's name of counter `index` (ListenOverflows, TCPTimeWaitOverflow, ...) and what it
 * means in a few words; NULL from the index on where there are no more. */
const char *tw_counter_name(size_t index);
const char *tw_counter_meaning(size_t index);

int tw_counters_read(struct tw_counters *out, struct tw_error *error);

#ifdef __cplusplus
}
#endif
#endif
