/* The monitor: seconds that workers publish, in whatever order, become rows that are complete. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sched.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>

#include "monitor.h"
#include "tidewait/clock.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define WORKERS      4
#define SECONDS      200
/* A wait that ends long before, or the test has failed. */
#define PATIENCE_NS (30 * TW_NS_PER_S)

/* What a worker did in a second: different for each. */
static struct second second_of(uint64_t worker, uint64_t index)
{
    uint64_t x = worker * 1000 + index + 1;

    return (struct second){
        .at_s = 77, /* the row's own number is what counts */
        .target_per_s = (double)x * 0.5,
        .opened = x,
        .completed = 2 * x,
        .failed = 3 * x,
        .in_flight = 5 * x,
        .ports_free = 7 * x,
        .ports_cooling = 11 * x,
        .port_waits = 13 * x,
        .starved = worker == 2 && index % 3 == 0,
    };
}

static void publish(struct monitor *monitor, uint64_t worker, size_t index)
{
    static _Thread_local struct histogram total;
    struct second second = second_of(worker, index);

    histogram_clear(&total);
    for (uint64_t i = 0; i <= worker; i++)
        histogram_record(&total, 100 * (worker + 1));
    monitor_publish(monitor, index, &second, &total);
}

/* A row that the workers first .. WORKERS-1 have published. */
static void check_row(const struct second *row, const struct histogram *total, size_t index,
                      uint64_t first)
{
    uint64_t sum = 0, samples = 0;

    for (uint64_t worker = first; worker < WORKERS; worker++) {
        sum += second_of(worker, index).opened;
        samples += worker + 1;
    }
    assert_int_equal(row->at_s, index);
    assert_true(row->target_per_s == (double)sum * 0.5);
    assert_true(row->opened == sum && row->completed == 2 * sum && row->failed == 3 * sum);
    assert_true(row->in_flight == 5 * sum && row->ports_free == 7 * sum);
    assert_true(row->ports_cooling == 11 * sum && row->port_waits == 13 * sum);
    assert_int_equal(row->starved, first <= 2 && second_of(2, index).starved);
    assert_true(total->count == samples && total->max == 100 * WORKERS);
    assert_true(row->p50_ns == histogram_percentile(total, 0.5));
    assert_true(row->p99_ns == 100 * WORKERS);
}

struct publisher {
    struct monitor *monitor;
    uint64_t worker;
    pthread_t thread;
};

/* Sometimes hurries ahead of the others and sometimes lets them go first. */
static void *publish_all(void *argument)
{
    struct publisher *publisher = argument;

    for (size_t index = 0; index < SECONDS; index++) {
        for (uint64_t n = (index / 16 + publisher->worker) % WORKERS * 3; n; n--)
            sched_yield();
        publish(publisher->monitor, publisher->worker, index);
    }
    monitor_finish(publisher->monitor, SECONDS);
    return NULL;
}

static void test_rows(void **state)
{
    struct publisher publishers[WORKERS];
    struct histogram *total = malloc(sizeof(*total));
    struct monitor monitor;
    struct second row;

    (void)state;
    assert_non_null(total);
    assert_int_equal(monitor_init(&monitor, WORKERS), 0);
    for (uint64_t i = 0; i < WORKERS; i++) {
        publishers[i] = (struct publisher){.monitor = &monitor, .worker = i};
        assert_int_equal(pthread_create(&publishers[i].thread, NULL, publish_all, &publishers[i]),
                         0);
    }
    for (size_t index = 0; index < SECONDS; index++) {
        assert_int_equal(monitor_wait(&monitor, index, PATIENCE_NS, &row, total), 1);
        check_row(&row, total, index, 0);
    }
    assert_int_equal(monitor_wait(&monitor, SECONDS, PATIENCE_NS, &row, total), -1);
    for (int i = 0; i < WORKERS; i++)
        pthread_join(publishers[i].thread, NULL);
    monitor_fini(&monitor);
    free(total);
}

/* Two workers, a and b. A small letter publishes that worker's next second, a capital one ends it;
 * the digit behind it says how many rows are complete then. */
static void test_orders(void **state)
{
    static const char *const scripts[] = {
        "a0b1a1b2A2B2",     "a0a0a0b1b2b3B3A3", "b0b0a1a2B2A2",   "A0b1b2b3B3",
        "a0a0A0b1b2b3b4B4", "a0a0a0b1B3a4a5A5", "b0b0b0A3b4B4",   "A0B0",
        "B0a1A1",           "a0b1A1b2b3B3",     "a0a0a0a0B4a5A5",
    };

    (void)state;
    for (size_t i = 0; i < COUNT(scripts); i++) {
        size_t published[2] = {0}, rows = 0;
        struct monitor monitor;
        struct second row;

        monitor_init(&monitor, 2);
        for (const char *c = scripts[i]; *c; c += 2) {
            int worker = (*c | 0x20) == 'b';

            if (*c >= 'a')
                publish(&monitor, (uint64_t)worker, published[worker]++);
            else
                monitor_finish(&monitor, published[worker]);
            while (monitor_wait(&monitor, rows, 0, &row, NULL) == 1)
                assert_int_equal(row.at_s, rows++);
            if (rows != (size_t)(c[1] - '0'))
                fail_msg("%s at %c: %zu rows", scripts[i], *c, rows);
        }
        assert_int_equal(monitor_wait(&monitor, rows, PATIENCE_NS, &row, NULL), -1);
        monitor_fini(&monitor);
    }
}

struct survivor {
    struct monitor monitor;
    sem_t seen;
    pthread_t thread;
};

/* Ends only when its rows have been seen. */
static void *survive(void *argument)
{
    struct survivor *survivor = argument;

    for (size_t index = 0; index < 10; index++)
        publish(&survivor->monitor, 3, index);
    sem_wait(&survivor->seen);
    monitor_finish(&survivor->monitor, 10);
    return NULL;
}

static void *break_down(void *argument)
{
    struct survivor *survivor = argument;

    for (size_t index = 0; index < 3; index++)
        publish(&survivor->monitor, 2, index);
    monitor_finish(&survivor->monitor, 3);
    return NULL;
}

/* One of two workers ends after three seconds: the other one's rows come while it goes on. */
static void test_early_end(void **state)
{
    struct histogram *total = malloc(sizeof(*total));
    struct survivor survivor;
    struct second row;
    pthread_t other;

    (void)state;
    assert_non_null(total);
    monitor_init(&survivor.monitor, 2);
    sem_init(&survivor.seen, 0, 0);
    assert_int_equal(pthread_create(&survivor.thread, NULL, survive, &survivor), 0);
    assert_int_equal(pthread_create(&other, NULL, break_down, &survivor), 0);
    for (size_t index = 0; index < 10; index++) {
        assert_int_equal(monitor_wait(&survivor.monitor, index, PATIENCE_NS, &row, total), 1);
        check_row(&row, total, index, index < 3 ? 2 : 3);
    }
    assert_int_equal(monitor_wait(&survivor.monitor, 10, TW_NS_PER_MS, &row, total), 0);
    sem_post(&survivor.seen);
    assert_int_equal(monitor_wait(&survivor.monitor, 10, PATIENCE_NS, &row, total), -1);
    pthread_join(other, NULL);
    pthread_join(survivor.thread, NULL);
    sem_destroy(&survivor.seen);
    monitor_fini(&survivor.monitor);
    free(total);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_orders),
        cmocka_unit_test(test_early_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
