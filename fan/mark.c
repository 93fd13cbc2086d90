#include "mark.h"

#include <stdint.h>
#include <stdio.h>
#include <sys/random.h>

#include "tidewait/clock.h"

void mark_make(char mark[MARK_MAX])
{
    uint64_t number = 0;

    if (getrandom(&number, sizeof(number), GRND_NONBLOCK) != sizeof(number))
        number = tw_clock_ns();
    snprintf(mark, MARK_MAX, "tidewait-%016llx", (unsigned long long)number);
}
