/*
 * The ledger against a reference that is too simple to be wrong: one array of tuples a lane,
 * searched from end to end. Random takes, gives, learns and steps of the clock; after each of them
 * both must agree on the tuple, on the time until which nothing is safe, and on the counts.
 *
 * Each seed is one run with options of its own. `ledger_model_test SEED` replays one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tidewait/clock.h"
#include "tidewait/ledger.h"
#include "tidewait/limits.h"

enum {
    SEEDS = 320,
    OPERATIONS = 50000, /* a seed */
    LANES_MAX = 4,
    PORTS_MAX = 24,
    OUTCOMES = 6,
};

enum place { UNUSED, IN_USE, RESTED, SAFE, COOLING, ASIDE, PLACES };

struct ref_tuple {
    enum place place;
    uint16_t port;
    bool known; /* id is set */
    bool ours;  /* closed by us at at_ns, nothing came after */
    uint32_t id;
    uint32_t refusals;
    uint64_t at_ns; /* of the last thing that happened to it, other than that it was not used */
    uint64_t order; /* in which it came to its place */
};

struct ref_lane {
    struct ref_tuple tuples[PORTS_MAX];
    uint32_t doubts;
    bool takeover;
};

struct model {
    uint64_t seed, random, now_ns, order;
    uint64_t operation;
    struct tw_ledger_opts opts;
    uint32_t tuples; /* a lane */
    uint32_t weights[OUTCOMES];
    uint16_t ports[PORTS_MAX];
    struct ref_lane lanes[LANES_MAX];
    struct tw_ledger *ledger;
};

/* Totals over all seeds, to show that each case was met. */
static struct {
    uint64_t operations, taken, waited, learnt, by_itself, outcomes[OUTCOMES], from[PLACES];
} met;

static uint64_t only_seed; /* 0: all */

#define CHECK(model, condition)                                                                    \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fail_msg("seed %llu, operation %llu: not true: %s", (unsigned long long)(model)->seed, \
                     (unsigned long long)(model)->operation, #condition);                          \
            abort(); /* fail_msg() does not return, which not every tool knows */                  \
        }                                                                                          \
    } while (0)

/* xorshift64*; below `limit`. */
static uint64_t below(struct model *model, uint64_t limit)
{
    model->random ^= model->random >> 12;
    model->random ^= model->random << 25;
    model->random ^= model->random >> 27;
    return (model->random * 0x2545f4914f6cdd1dULL >> 16) % limit;
}

static uint64_t ref_due(const struct model *model, const struct ref_tuple *tuple)
{
    switch (tuple->place) {
    case RESTED:
        return 0;
    case SAFE:
        return tuple->at_ns + model->opts.rest_ns;
    case COOLING:
        return tuple->at_ns + model->opts.time_wait_ns;
    case ASIDE:
        return tuple->at_ns + (TW_NS_PER_S << (tuple->refusals < 8 ? tuple->refusals - 1 : 7));
    default:
        return TW_NEVER;
    }
}

/* First in, first out; among the cooling, first closed. */
static bool ref_before(const struct ref_tuple *a, const struct ref_tuple *b)
{
    if (a->place == COOLING && a->at_ns != b->at_ns)
        return a->at_ns < b->at_ns;
    return a->order < b->order;
}

/* The first in its place that is due, or NULL; of the refused ones those that wait shortest. */
static struct ref_tuple *ref_first(struct model *model, struct ref_lane *lane, enum place place)
{
    struct ref_tuple *first = NULL;

    for (uint32_t i = 0; i < model->tuples; i++) {
        struct ref_tuple *tuple = &lane->tuples[i];
        uint32_t patience = tuple->refusals < 8 ? tuple->refusals : 8;
        uint32_t least = first && first->refusals < 8 ? first->refusals : 8;

        if (tuple->place != place || ref_due(model, tuple) > model->now_ns)
            continue;
        if (!first ||
            (place == ASIDE && patience != least ? patience < least : ref_before(tuple, first)))
            first = tuple;
    }
    return first;
}

/* Which tuple has to come; NULL: one that was never used when *unused, else none. */
static struct ref_tuple *ref_choose(struct model *model, struct ref_lane *lane, bool *unused)
{
    struct ref_tuple *rested, *safe, *cooling;

    *unused = false;
    for (uint32_t i = 0; i < model->tuples; i++)
        *unused |= lane->tuples[i].place == UNUSED;
    if (*unused && model->opts.spread)
        return NULL;
    rested = ref_first(model, lane, RESTED);
    safe = ref_first(model, lane, SAFE);
    cooling = ref_first(model, lane, COOLING);
    if (rested)
        return rested;
    if (safe && (!cooling || ref_due(model, safe) <= ref_due(model, cooling)))
        return safe;
    if (cooling)
        return cooling;
    return *unused ? NULL : ref_first(model, lane, ASIDE);
}

static uint64_t ref_until(const struct model *model, const struct ref_lane *lane)
{
    uint64_t until_ns = TW_NEVER;

    for (uint32_t i = 0; i < model->tuples; i++) {
        uint64_t due = ref_due(model, &lane->tuples[i]);

        if (due < until_ns)
            until_ns = due;
    }
    return until_ns;
}

static void ref_put(struct model *model, struct ref_tuple *tuple, enum place place)
{
    tuple->place = place;
    tuple->order = ++model->order;
}

static void ref_learn(struct model *model, struct ref_lane *lane)
{
    static const enum place places[] = {SAFE, RESTED};

    if (!lane->takeover)
        return;
    lane->takeover = false;
    met.learnt++;
    for (size_t i = 0; i < 2; i++) {
        for (;;) {
            struct ref_tuple *first = NULL;

            for (uint32_t j = 0; j < model->tuples; j++) {
                struct ref_tuple *tuple = &lane->tuples[j];

                if (tuple->place == places[i] && tuple->ours &&
                    model->now_ns < tuple->at_ns + model->opts.time_wait_ns &&
                    (!first || tuple->order < first->order))
                    first = tuple;
            }
            if (!first)
                break;
            ref_put(model, first, COOLING);
        }
    }
}

static void ref_refused(struct model *model, struct ref_lane *lane, struct ref_tuple *tuple,
                        enum tw_outcome outcome)
{
    bool own = tuple->ours && model->now_ns < tuple->at_ns + model->opts.time_wait_ns;

    if (outcome == TW_OUTCOME_TUPLE_TAKEN && own) {
        ref_put(model, tuple, COOLING);
        if (lane->takeover && ++lane->doubts == 3) {
            ref_learn(model, lane);
            met.by_itself++;
        }
        return;
    }
    tuple->ours = false;
    tuple->refusals++;
    tuple->at_ns = model->now_ns;
    ref_put(model, tuple, ASIDE);
}

static void ref_give(struct model *model, struct ref_lane *lane, struct ref_tuple *tuple,
                     enum tw_outcome outcome)
{
    if (outcome == TW_OUTCOME_PORT_TAKEN || outcome == TW_OUTCOME_TUPLE_TAKEN) {
        ref_refused(model, lane, tuple, outcome);
        return;
    }
    tuple->refusals = 0;
    if (outcome == TW_OUTCOME_UNUSED) {
        bool here = tuple->ours && model->now_ns < tuple->at_ns + model->opts.time_wait_ns;

        tuple->ours = here;
        ref_put(model, tuple, here && !lane->takeover ? COOLING : RESTED);
        return;
    }
    if (tuple->ours)
        lane->doubts = 0;
    tuple->ours = outcome == TW_OUTCOME_WE_FIRST;
    tuple->at_ns = model->now_ns;
    ref_put(model, tuple, tuple->ours && !lane->takeover ? COOLING : SAFE);
}

static void check_count(struct model *model)
{
    uint64_t places[PLACES] = {0};
    struct tw_ledger_count count;

    for (uint32_t lane = 0; lane < model->opts.lanes; lane++)
        for (uint32_t i = 0; i < model->tuples; i++)
            places[model->lanes[lane].tuples[i].place]++;
    tw_ledger_count(model->ledger, &count);
    CHECK(model, count.unused == places[UNUSED]);
    CHECK(model, count.in_use == places[IN_USE]);
    CHECK(model, count.safe == places[SAFE] + places[RESTED]);
    CHECK(model, count.cooling == places[COOLING]);
    CHECK(model, count.aside == places[ASIDE]);
    CHECK(model, count.unused + count.in_use + count.safe + count.cooling + count.aside ==
                     (uint64_t)model->opts.lanes * model->tuples);
}

/* The tuple with this port. In a slice it is not known beforehand which ports there are: the first
 * use of one claims a free place. */
static struct ref_tuple *ref_find(struct model *model, struct ref_lane *lane, uint16_t port)
{
    struct ref_tuple *unused = NULL;

    for (uint32_t i = 0; i < model->tuples; i++) {
        if (lane->tuples[i].place == UNUSED)
            unused = &lane->tuples[i];
        else if (lane->tuples[i].port == port)
            return &lane->tuples[i];
    }
    return unused;
}

static bool is_own_port(const struct model *model, uint16_t port)
{
    for (uint32_t i = 0; i < model->opts.port_count; i++)
        if (model->ports[i] == port)
            return true;
    return false;
}

/* Takes from the lane; false when nothing is safe. */
static bool take(struct model *model, uint32_t index, uint64_t *until_ns)
{
    struct ref_lane *lane = &model->lanes[index];
    bool unused;
    struct ref_tuple *expect = ref_choose(model, lane, &unused), *tuple;
    struct tw_tuple taken = {0};
    int rc = tw_ledger_take(model->ledger, index, model->now_ns, &taken, until_ns);

    if (!expect && !unused) {
        CHECK(model, rc == -EAGAIN);
        CHECK(model, *until_ns == ref_until(model, lane));
        CHECK(model, *until_ns > model->now_ns);
        met.waited++;
        return false;
    }
    CHECK(model, rc == 0);
    CHECK(model, taken.lane == index && is_own_port(model, taken.port));
    tuple = ref_find(model, lane, taken.port);
    CHECK(model, tuple && tuple->place != IN_USE);
    CHECK(model, expect ? tuple == expect : tuple->place == UNUSED);
    CHECK(model, !tuple->known || tuple->id == taken.id);
    CHECK(model, taken.id < model->opts.lanes * model->tuples);
    met.taken++;
    met.from[tuple->place]++;
    tuple->known = true;
    tuple->id = taken.id;
    tuple->port = taken.port;
    tuple->place = IN_USE;
    return true;
}

static enum tw_outcome any_outcome(struct model *model)
{
    uint32_t sum = 0, at;
    int outcome = 0;

    for (int i = 0; i < OUTCOMES; i++)
        sum += model->weights[i];
    at = (uint32_t)below(model, sum);
    while (at >= model->weights[outcome])
        at -= model->weights[outcome++];
    return (enum tw_outcome)outcome;
}

/* Gives back any tuple of the lane; one that is not in use must be ignored. */
static void give(struct model *model, uint32_t index)
{
    struct ref_lane *lane = &model->lanes[index];
    struct ref_tuple *tuple = &lane->tuples[below(model, model->tuples)];
    enum tw_outcome outcome = any_outcome(model);
    struct tw_tuple given = {.lane = index, .id = tuple->id, .port = tuple->port};

    if (!tuple->known)
        return;
    tw_ledger_give(model->ledger, &given, outcome, model->now_ns);
    if (tuple->place == IN_USE) {
        ref_give(model, lane, tuple, outcome);
        met.outcomes[outcome]++;
    }
}

static void step_clock(struct model *model)
{
    static const uint64_t steps[] = {1,      1,        100,         1000,
                                     100000, 10000000, TW_NS_PER_S, 30 * TW_NS_PER_S};

    model->now_ns += below(model, steps[below(model, sizeof(steps) / sizeof(steps[0]))] + 1);
    if (below(model, 2000) == 0)
        model->now_ns += 200 * TW_NS_PER_S;
}

/* Takes, and when nothing is safe now and then waits: 1 ns too short, then exactly long enough. */
static void take_or_wait(struct model *model, uint32_t index)
{
    uint64_t until_ns = 0, again_ns;

    if (take(model, index, &until_ns) || until_ns == TW_NEVER || below(model, 4))
        return;
    model->now_ns = until_ns - 1;
    CHECK(model, !take(model, index, &again_ns));
    CHECK(model, again_ns == until_ns);
    model->now_ns = until_ns;
    CHECK(model, take(model, index, &again_ns));
}

static void operate(struct model *model)
{
    uint32_t index = (uint32_t)below(model, model->opts.lanes);
    uint64_t what = below(model, 1000);

    if (what < 400)
        take_or_wait(model, index);
    else if (what < 850)
        give(model, index);
    else if (what < 999)
        step_clock(model);
    else if (below(model, 8) == 0)
        tw_ledger_learn(model->ledger, index, model->now_ns),
            ref_learn(model, &model->lanes[index]);
    CHECK(model, tw_ledger_takes_over(model->ledger, index) == model->lanes[index].takeover);
    check_count(model);
    model->operation++;
    met.operations++;
}

/* A new ledger with options from the seed; called again within a seed, so that lanes that learnt
 * are young again. */
static void start(struct model *model)
{
    struct tw_error error = {0};

    memset(model->lanes, 0, sizeof(model->lanes));
    model->opts = (struct tw_ledger_opts){
        .size = sizeof(model->opts),
        .ports = model->ports,
        .port_count = (uint32_t)below(model, below(model, 3) ? 6 : PORTS_MAX) + 1,
        .lanes = (uint32_t)below(model, LANES_MAX) + 1,
        .time_wait_ns = below(model, 3) ? TW_TIME_WAIT_NS : 1000,
        .takeover = below(model, 2),
        .spread = below(model, 2),
        .slices = (uint32_t)below(model, 4),
        .seed = below(model, 1000),
    };
    if (below(model, 2))
        model->opts.rest_ns = model->opts.time_wait_ns > TW_LEDGER_REST_NS ? TW_LEDGER_REST_NS : 50;
    if (model->opts.slices)
        model->opts.slice = (uint32_t)below(model, model->opts.slices);
    for (uint32_t i = 0; i < PORTS_MAX; i++)
        model->ports[i] = (uint16_t)(1000 + 7 * i);
    model->tuples = 0;
    for (uint32_t i = model->opts.slice; i < model->opts.port_count;
         i += model->opts.slices ? model->opts.slices : 1)
        model->tuples++;
    for (uint32_t i = 0; i < LANES_MAX; i++)
        model->lanes[i].takeover = model->opts.takeover;
    for (int i = 0; i < OUTCOMES; i++)
        model->weights[i] = (uint32_t)below(model, 4) ? (uint32_t)below(model, 8) : 0;
    model->weights[TW_OUTCOME_WE_FIRST] += 1;
    model->now_ns = 1000 * TW_NS_PER_S + below(model, TW_NS_PER_S);
    model->ledger = tw_ledger_new(&model->opts, &error);
    CHECK(model, model->ledger);
}

/* Everything back, time for everything to be safe: then each port of each lane exactly once. */
static void finish(struct model *model)
{
    uint64_t until_ns = 0;

    for (uint32_t index = 0; index < model->opts.lanes; index++) {
        for (uint32_t i = 0; i < model->tuples; i++) {
            struct ref_tuple *tuple = &model->lanes[index].tuples[i];
            struct tw_tuple given = {.lane = index, .id = tuple->id, .port = tuple->port};

            if (tuple->place == IN_USE) {
                enum tw_outcome outcome = any_outcome(model);

                tw_ledger_give(model->ledger, &given, outcome, model->now_ns);
                ref_give(model, &model->lanes[index], tuple, outcome);
            }
        }
    }
    check_count(model);
    model->now_ns += 300 * TW_NS_PER_S;
    for (uint32_t index = 0; index < model->opts.lanes; index++) {
        for (uint32_t i = 0; i < model->tuples; i++)
            CHECK(model, take(model, index, &until_ns)); /* which CHECKs that it was not in use */
        CHECK(model, !take(model, index, &until_ns) && until_ns == TW_NEVER);
    }
    check_count(model);
    tw_ledger_free(model->ledger);
}

static void run_seed(uint64_t seed)
{
    static struct model model;

    model = (struct model){.seed = seed, .random = seed * 0x9e3779b97f4a7c15ULL | 1};
    do {
        start(&model);
        if (model.tuples) {
            uint64_t end = model.operation + 200 + below(&model, 2000);

            while (model.operation < end)
                operate(&model);
        }
        finish(&model);
    } while (model.operation < OPERATIONS);
}

static void test_model(void **state)
{
    uint64_t first = only_seed ? only_seed : 1, last = only_seed ? only_seed : SEEDS;

    (void)state;
    print_message("seeds %llu..%llu\n", (unsigned long long)first, (unsigned long long)last);
    for (uint64_t seed = first; seed <= last; seed++)
        run_seed(seed);
    print_message(
        "%llu operations; %llu tuples taken (never used %llu, rested %llu, safe %llu, cooled "
        "%llu, set aside %llu); nothing safe %llu times; learnt %llu times, %llu of them by "
        "itself\n",
        (unsigned long long)met.operations, (unsigned long long)met.taken,
        (unsigned long long)met.from[UNUSED], (unsigned long long)met.from[RESTED],
        (unsigned long long)met.from[SAFE], (unsigned long long)met.from[COOLING],
        (unsigned long long)met.from[ASIDE], (unsigned long long)met.waited,
        (unsigned long long)met.learnt, (unsigned long long)met.by_itself);
    if (only_seed)
        return;
    assert_true(met.operations >= 5000000);
    assert_true(met.waited && met.by_itself && met.learnt > met.by_itself);
    for (int place = 0; place < PLACES; place++)
        assert_true(place == IN_USE || met.from[place] > 1000);
    for (int outcome = 0; outcome < OUTCOMES; outcome++)
        assert_true(met.outcomes[outcome] > 1000);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_model)};

    if (argc > 1 && (only_seed = strtoull(argv[1], NULL, 10)) == 0) {
        print_error("usage: %s [SEED]\n", argv[0]);
        return 2;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
