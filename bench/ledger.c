/*
 * What a take and a give of the ledger cost, and how much memory a tuple takes, by how full the
 * lanes are. "Full" is the share of a lane's tuples that is in use while the pair is timed; the
 * pairs walk through what is left of the lanes in turn, so that they meet memory as cold as in a
 * long run.
 *
 * ns per pair: the median of ROUNDS rounds of PAIRS pairs, with a clock of our own (no system
 * call).
 */
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tidewait/clock.h"
#include "tidewait/ledger.h"
#include "tidewait/limits.h"

enum {
    PORTS = 28232, /* of ip_local_port_range as Linux comes */
    ROUNDS = 9,
    PAIRS = 400000,
    /* Tuples of a lane that take turns while others are in use; all that are free when they are
       fewer. */
    TURNS_OF_MANY = 64,
};

struct scene {
    struct tw_ledger *ledger;
    uint32_t lanes;
    uint32_t in_use; /* a lane */
    uint64_t now_ns;
};

static const double fills[] = {0, 0.5, 0.9, 0.99, 0.999};

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void take_or_die(struct scene *scene, uint32_t lane, struct tw_tuple *tuple)
{
    uint64_t until_ns;

    scene->now_ns += TW_NS_PER_US;
    if (tw_ledger_take(scene->ledger, lane, scene->now_ns, tuple, &until_ns)) {
        fprintf(stderr, "bench ledger: nothing safe in lane %u\n", lane);
        exit(1);
    }
}

/* Takes one tuple from each lane after the other until each has `count` more in use. */
static void fill(struct scene *scene, uint32_t count)
{
    struct tw_tuple tuple;

    for (uint32_t i = 0; i < count; i++)
        for (uint32_t lane = 0; lane < scene->lanes; lane++)
            take_or_die(scene, lane, &tuple);
}

/* Uses `count` free tuples of each lane and gives them back: from then on they take turns. */
static void start_turns(struct scene *scene, uint32_t count)
{
    struct tw_tuple *tuples = calloc(count, sizeof(*tuples));

    if (!tuples)
        exit(1);
    for (uint32_t lane = 0; lane < scene->lanes; lane++) {
        for (uint32_t i = 0; i < count; i++)
            take_or_die(scene, lane, &tuples[i]);
        for (uint32_t i = 0; i < count; i++)
            tw_ledger_give(scene->ledger, &tuples[i], TW_OUTCOME_PEER_FIRST, scene->now_ns);
    }
    free(tuples);
}

static double time_pairs(struct scene *scene)
{
    double rounds[ROUNDS];
    uint32_t lane = 0;

    for (int round = 0; round < ROUNDS; round++) {
        uint64_t begin_ns = tw_clock_ns();

        for (int i = 0; i < PAIRS; i++) {
            struct tw_tuple tuple;

            take_or_die(scene, lane, &tuple);
            tw_ledger_give(scene->ledger, &tuple, TW_OUTCOME_PEER_FIRST, scene->now_ns);
            /* A large step: neighbours in time are no neighbours in memory. */
            lane = (lane + 1597) % scene->lanes;
        }
        rounds[round] = (double)(tw_clock_ns() - begin_ns) / PAIRS;
    }
    qsort(rounds, ROUNDS, sizeof(rounds[0]), compare);
    return rounds[ROUNDS / 2];
}

static void measure(const uint16_t *ports, uint32_t lanes, double share)
{
    struct tw_ledger_opts opts = {.size = sizeof(opts),
                                  .ports = ports,
                                  .port_count = PORTS,
                                  .lanes = lanes,
                                  .time_wait_ns = TW_TIME_WAIT_NS,
                                  .takeover = true,
                                  .seed = 1};
    struct scene scene = {.lanes = lanes, .now_ns = tw_clock_ns()};
    uint32_t in_use = (uint32_t)(share * PORTS), turns = PORTS - in_use;
    struct tw_error error = {0};
    struct tw_ledger_count count;
    double pair_ns;

    scene.ledger = tw_ledger_new(&opts, &error);
    if (!scene.ledger) {
        fprintf(stderr, "bench ledger: %s\n", error.text);
        exit(1);
    }
    if (lanes > 1 && turns > TURNS_OF_MANY)
        turns = TURNS_OF_MANY;
    fill(&scene, in_use);
    start_turns(&scene, turns);
    pair_ns = time_pairs(&scene);
    tw_ledger_count(scene.ledger, &count);
    printf("%7u %7.1f %% %12" PRIu64 " %12" PRIu64 " %10.1f", lanes, share * 100, count.in_use,
           count.in_use + count.safe, pair_ns);
    if (count.in_use)
        printf(" %13.1f\n", (double)tw_ledger_bytes(scene.ledger) / (double)count.in_use);
    else
        printf(" %13s\n", "-");
    fflush(stdout);
    tw_ledger_free(scene.ledger);
}

/* Whether the free memory holds the nodes, of which the ledger has at most twice as many. */
static bool fits(uint32_t lanes, double share)
{
    double need = (share * PORTS + TURNS_OF_MANY) * lanes * 2 * TW_LEDGER_TUPLE_BYTES;
    double have = (double)sysconf(_SC_AVPHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);

    if (need > have)
        printf("%7u %7.1f %% skipped: needs up to %.1f GB of memory, %.1f GB are free\n", lanes,
               share * 100, need / 1e9, have / 1e9);
    return need <= have;
}

int main(void)
{
    static const uint32_t lanes[] = {1, 4000};
    static uint16_t ports[PORTS];

    for (uint32_t i = 0; i < PORTS; i++)
        ports[i] = (uint16_t)(32768 + i);
    printf("%7s %9s %12s %12s %10s %13s\n", "lanes", "full", "in use", "ever used", "ns a pair",
           "bytes/in use");
    for (size_t i = 0; i < sizeof(lanes) / sizeof(lanes[0]); i++)
        for (size_t j = 0; j < sizeof(fills) / sizeof(fills[0]); j++)
            if (fits(lanes[i], fills[j]))
                measure(ports, lanes[i], fills[j]);
    return 0;
}
