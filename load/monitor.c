#include "monitor.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "tidewait/clock.h"

int monitor_init(struct monitor *monitor, uint32_t workers)
{
    pthread_condattr_t attributes;

    *monitor = (struct monitor){.workers = workers};
    pthread_mutex_init(&monitor->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&monitor->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    return 0;
}

void monitor_fini(struct monitor *monitor)
{
    for (size_t i = 0; i < monitor->count; i++)
        free(monitor->rows[i].total);
    free(monitor->rows);
    pthread_cond_destroy(&monitor->changed);
    pthread_mutex_destroy(&monitor->lock);
}

/* Rows up to `index`; false without memory. Called with the lock held. */
static bool grow(struct monitor *monitor, size_t index)
{
    if (index >= monitor->room) {
        size_t room = (index + 1) * 2;
        struct monitor_row *rows = reallocarray(monitor->rows, room, sizeof(*rows));

        if (!rows)
            return false;
        monitor->rows = rows;
        monitor->room = room;
    }
    for (; monitor->count <= index; monitor->count++)
        monitor->rows[monitor->count] = (struct monitor_row){
            .second = {.at_s = (uint32_t)monitor->count},
            .total = calloc(1, sizeof(struct histogram)),
            .reports = monitor->finished, /* they owe nothing any more */
        };
    return true;
}

static void add(struct second *into, const struct second *from)
{
    into->target_per_s += from->target_per_s;
    into->opened += from->opened;
    into->completed += from->completed;
    into->failed += from->failed;
    into->in_flight += from->in_flight;
    into->ports_free += from->ports_free;
    into->ports_cooling += from->ports_cooling;
    into->port_waits += from->port_waits;
    into->starved |= from->starved;
    into->kernel_ports |= from->kernel_ports;
}

static void move_ready(struct monitor *monitor)
{
    while (monitor->ready < monitor->count &&
           monitor->rows[monitor->ready].reports >= monitor->workers)
        monitor->ready++;
}

void monitor_publish(struct monitor *monitor, size_t index, const struct second *second,
                     const struct histogram *total)
{
    pthread_mutex_lock(&monitor->lock);
    if (grow(monitor, index)) {
        struct monitor_row *row = &monitor->rows[index];

        add(&row->second, second);
        if (row->total)
            histogram_add(row->total, total);
        row->reports++;
        if (row->total) {
            row->second.p50_ns = histogram_percentile(row->total, 0.5);
            row->second.p99_ns = histogram_percentile(row->total, 0.99);
        }
        move_ready(monitor);
        pthread_cond_broadcast(&monitor->changed);
    }
    pthread_mutex_unlock(&monitor->lock);
}

void monitor_finish(struct monitor *monitor, size_t published)
{
    pthread_mutex_lock(&monitor->lock);
    for (size_t i = published; i < monitor->count; i++)
        monitor->rows[i].reports++;
    move_ready(monitor);
    if (++monitor->finished == monitor->workers)
        monitor->ready = monitor->count; /* also the rows that lack a part for want of memory */
    pthread_cond_broadcast(&monitor->changed);
    pthread_mutex_unlock(&monitor->lock);
}

int monitor_wait(struct monitor *monitor, size_t index, uint64_t timeout_ns, struct second *second,
                 struct histogram *total)
{
    uint64_t until = tw_clock_ns() + timeout_ns;
    struct timespec deadline = {(time_t)(until / TW_NS_PER_S), (long)(until % TW_NS_PER_S)};
    int rc = 0;

    pthread_mutex_lock(&monitor->lock);
    while (monitor->ready <= index && monitor->finished < monitor->workers && rc == 0)
        rc = pthread_cond_timedwait(&monitor->changed, &monitor->lock, &deadline);
    rc = 0;
    if (monitor->ready > index) {
        struct monitor_row *row = &monitor->rows[index];

        *second = row->second;
        if (total && row->total)
            *total = *row->total;
        else if (total)
            histogram_clear(total);
        free(row->total);
        row->total = NULL;
        rc = 1;
    } else if (monitor->finished == monitor->workers) {
        rc = -1;
    }
    pthread_mutex_unlock(&monitor->lock);
    return rc;
}
