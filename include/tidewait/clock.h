/*
 * clock.h - the one clock of tidewait: CLOCK_MONOTONIC in nanoseconds.
 *
 * It never goes back and is not touched by changes of the date. Any thread may call it, before and
 * after fork(); about 25 ns.
 */
#ifndef TIDEWAIT_CLOCK_H
#define TIDEWAIT_CLOCK_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TW_NS_PER_US 1000ULL
#define TW_NS_PER_MS 1000000ULL
#define TW_NS_PER_S  1000000000ULL

/* "No time at all": later than any other. */
#define TW_NEVER UINT64_MAX

uint64_t tw_clock_ns(void);

#ifdef __cplusplus
}
#endif
#endif
