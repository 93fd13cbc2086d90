#include "tidewait/clock.h"

#include <time.h>

uint64_t tw_clock_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * TW_NS_PER_S + (uint64_t)now.tv_nsec;
}
