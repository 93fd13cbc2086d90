/*
 * How many connections a second `simulate()` goes through on one core, by how long they hold their
 * tuples, beside the plainest way to do the same: one binary heap with all tuples in use, by the
 * time when each is free. Both draw the same random numbers, so both must refuse the same number of
 * connections; if they do not, this ends with an error.
 *
 * The median of ROUNDS rounds of CONNECTIONS connections.
 */
#include <inttypes.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "simulate.h"
#include "tidewait/clock.h"

enum {
    TUPLES = 28232, /* of ip_local_port_range as Linux comes */
    ROUNDS = 5,
    CONNECTIONS = 2000000,
};

struct scene {
    const char *name;
    struct distribution hold;
    double cooling_s;
    double load; /* tuples in use, were there no limit, as a share of those that there are */
};

static const struct scene scenes[] = {
    {"constant 200 ms, cooling 61 s", {DISTRIBUTION_CONSTANT, 200000000, 0}, 61, 0.9},
    {"constant 200 ms, cooling 61 s, half refused", {DISTRIBUTION_CONSTANT, 200000000, 0}, 61, 2},
    {"exponential 200 ms, cooling 61 s", {DISTRIBUTION_EXPONENTIAL, 200000000, 0}, 61, 0.9},
    {"exponential 200 ms, cooling 61 s, half refused",
     {DISTRIBUTION_EXPONENTIAL, 200000000, 0},
     61,
     2},
    {"exponential 200 ms, no cooling", {DISTRIBUTION_EXPONENTIAL, 200000000, 0}, 0, 0.9},
    {"exponential 200 ms, no cooling, half refused",
     {DISTRIBUTION_EXPONENTIAL, 200000000, 0},
     0,
     2},
    {"uniform 0-400 ms, no cooling", {DISTRIBUTION_UNIFORM, 0, 400000000}, 0, 0.9},
};

struct heap {
    uint64_t keys[TUPLES];
    size_t count;
};

static void push(struct heap *heap, uint64_t key)
{
    size_t at = heap->count++;

    for (; at && heap->keys[(at - 1) / 2] > key; at = (at - 1) / 2)
        heap->keys[at] = heap->keys[(at - 1) / 2];
    heap->keys[at] = key;
}

static void pop(struct heap *heap)
{
    uint64_t key = heap->keys[--heap->count];
    size_t at = 0, child;

    while ((child = 2 * at + 1) < heap->count) {
        if (child + 1 < heap->count && heap->keys[child + 1] < heap->keys[child])
            child++;
        if (heap->keys[child] >= key)
            break;
        heap->keys[at] = heap->keys[child];
        at = child;
    }
    heap->keys[at] = key;
}

/* Returns how many were refused. */
static uint64_t simulate_plainly(const struct scene *scene, double rate, double duration_s,
                                 uint64_t *attempted)
{
    static struct heap heap;
    uint64_t refused = 0, cooling_ns = (uint64_t)(scene->cooling_s * 1e9);
    struct random random;
    double due_ns = 0;

    heap.count = 0;
    *attempted = 0;
    random_seed(&random, 1);
    for (;;) {
        uint64_t now_ns;

        due_ns += random_exponential(&random, 1e9 / rate);
        now_ns = (uint64_t)llround(due_ns);
        if (now_ns >= (uint64_t)llround(duration_s * 1e9))
            return refused;
        ++*attempted;
        while (heap.count && heap.keys[0] <= now_ns)
            pop(&heap);
        if (heap.count == TUPLES)
            refused++;
        else
            push(&heap, now_ns + distribution_draw(&scene->hold, &random) + cooling_ns);
    }
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double median(double *rounds)
{
    qsort(rounds, ROUNDS, sizeof(rounds[0]), compare);
    return rounds[ROUNDS / 2];
}

static void measure(const struct scene *scene)
{
    double occupied_s = scene->cooling_s + distribution_mean(&scene->hold) / 1e9;
    double rate = scene->load * TUPLES / occupied_s;
    struct plan_answer answer = {
        .lanes = 1, .tuples = TUPLES, .connections_per_s = rate, .cooling_s = scene->cooling_s};
    struct plan_workload workload = {.poisson = true, .hold = scene->hold};
    struct simulate_opts opts = {.seed = 1, .duration_s = CONNECTIONS / rate};
    double ours[ROUNDS], plain[ROUNDS], fast, slow;
    static struct simulate_result result;
    struct tw_error error = {0};

    for (int round = 0; round < ROUNDS; round++) {
        uint64_t begin_ns = tw_clock_ns(), middle_ns, refused, attempted;

        if (simulate(&answer, &workload, &opts, &result, &error)) {
            fprintf(stderr, "bench simulate: %s\n", error.text);
            exit(1);
        }
        middle_ns = tw_clock_ns();
        refused = simulate_plainly(scene, rate, opts.duration_s, &attempted);
        plain[round] = (double)attempted / (double)(tw_clock_ns() - middle_ns) * 1e3;
        ours[round] = (double)result.attempted / (double)(middle_ns - begin_ns) * 1e3;
        if (result.attempted != attempted || result.refused != refused) {
            fprintf(stderr,
                    "bench simulate: %s: %" PRIu64 " of %" PRIu64 " refused, plainly %" PRIu64
                    " of %" PRIu64 "\n",
                    scene->name, result.refused, result.attempted, refused, attempted);
            exit(1);
        }
    }
    fast = median(ours);
    slow = median(plain);
    printf("%-48s %10.1f %10.1f %7.1f\n", scene->name, fast, slow, fast / slow);
    fflush(stdout);
}

int main(void)
{
    printf("%-48s %10s %10s %7s\n", "hold; millions of connections a second", "simulate", "plainly",
           "ratio");
    for (size_t i = 0; i < sizeof(scenes) / sizeof(scenes[0]); i++)
        measure(&scenes[i]);
    return 0;
}
