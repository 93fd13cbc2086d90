#include "waiting.h"

#include <stddef.h>

void waiting_init(struct waiting *waiting)
{
    for (int i = 0; i <= WAITING_LONGEST; i++) {
        waiting->queues[i].first = NULL;
        waiting->queues[i].end = &waiting->queues[i].first;
    }
}

void waiting_add(struct waiting *waiting, struct job *job, unsigned step, uint64_t now_ns)
{
    step = step < WAITING_LONGEST ? step : WAITING_LONGEST;
    job->due_ns = now_ns + (WAITING_SHORTEST_NS << step);
    job->next = NULL;
    *waiting->queues[step].end = job;
    waiting->queues[step].end = &job->next;
}

struct job *waiting_first(const struct waiting *waiting)
{
    struct job *first = NULL;

    for (int i = 0; i <= WAITING_LONGEST; i++) {
        struct job *job = waiting->queues[i].first;

        if (job && (!first || job->due_ns < first->due_ns))
            first = job;
    }
    return first;
}

void waiting_leave(struct waiting *waiting)
{
    const struct job *job = waiting_first(waiting);

    for (int i = 0; i <= WAITING_LONGEST; i++) {
        if (waiting->queues[i].first != job)
            continue;
        waiting->queues[i].first = job->next;
        if (!job->next)
            waiting->queues[i].end = &waiting->queues[i].first;
        return;
    }
}
