/*
 * waiting.h - jobs that wait for their time: another attempt, an address, a port.
 *
 * A queue for those that wait equally long, so that the head of each is the first of it to be due:
 * no heap, whatever their number.
 */
#ifndef WAITING_H
#define WAITING_H

#include "job.h"
#include "tidewait/clock.h"

/* A wait of step n is 2^n times the shortest: 8 ms to 32 s. */
#define WAITING_SHORTEST_NS (8 * TW_NS_PER_MS)
#define WAITING_SECOND      7 /* the step of a second */
#define WAITING_LONGEST     12

struct waiting {
    struct {
        struct job *first, **end;
    } queues[WAITING_LONGEST + 1];
};

void waiting_init(struct waiting *waiting);

/* Beyond the longest step it is that one. Sets job->due_ns. */
void waiting_add(struct waiting *waiting, struct job *job, unsigned step, uint64_t now_ns);

/* The one that is due first, or NULL. */
struct job *waiting_first(const struct waiting *waiting);

/* Takes the first away. */
void waiting_leave(struct waiting *waiting);

#endif
