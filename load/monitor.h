/*
 * monitor.h - collects what the workers did second by second, while the run goes on. Each worker
 * publishes a second once, under a lock; a second is ready when all of them have.
 */
#ifndef MONITOR_H
#define MONITOR_H

#include <pthread.h>

#include "run.h"

struct monitor_row {
    struct second second;
    struct histogram *total; /* until the row is ready */
    uint32_t reports;
};

struct monitor {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint32_t workers;
    uint32_t finished; /* workers that have ended */
    struct monitor_row *rows;
    size_t count, room, ready;
};

int monitor_init(struct monitor *monitor, uint32_t workers);
void monitor_fini(struct monitor *monitor);

/* Adds one worker's part of second `index` (counted from the end of the warm-up). A worker's
 * seconds come in order. Lack of memory loses that worker's part of the row, not of the run's
 * totals. */
void monitor_publish(struct monitor *monitor, size_t index, const struct second *second,
                     const struct histogram *total);

/* The worker has ended after so many published seconds; the others need not wait for more of it. */
void monitor_finish(struct monitor *monitor, size_t published);

/* Waits up to timeout_ns for row `index`. 1: it is in *second, with its histogram in *total if that
 * is not NULL; 0: not yet; -1: all workers have ended and there is no such row. */
int monitor_wait(struct monitor *monitor, size_t index, uint64_t timeout_ns, struct second *second,
                 struct histogram *total);

#endif
