/*
 * deadline.h - time limits that may be TW_NEVER, and what poll(2) takes for them.
 */
#ifndef DEADLINE_H
#define DEADLINE_H

#include <limits.h>

#include "tidewait/clock.h"

static inline uint64_t deadline_after(uint64_t timeout_ns)
{
    uint64_t now = tw_clock_ns();

    return timeout_ns > TW_NEVER - now ? TW_NEVER : now + timeout_ns;
}

/* Milliseconds that are left, rounded up; 0: it has passed. */
static inline int deadline_poll_ms(uint64_t deadline_ns)
{
    uint64_t now = tw_clock_ns();
    uint64_t left_ms = deadline_ns > now ? (deadline_ns - now) / TW_NS_PER_MS + 1 : 0;

    return left_ms > INT_MAX ? INT_MAX : (int)left_ms;
}

#endif
