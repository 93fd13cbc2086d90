/* What ledger.h says, sentence by sentence. ledger_model_test.c checks the same at random. */
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

#define START (1000 * TW_NS_PER_S)
#define TW    TW_TIME_WAIT_NS

enum { PORTS_MAX = 65535 };

/* Port i + 1 at place i. */
static uint16_t all_ports[PORTS_MAX];

static int setup(void **state)
{
    (void)state;
    for (unsigned i = 0; i < PORTS_MAX; i++)
        all_ports[i] = (uint16_t)(i + 1);
    return 0;
}

/* What is 0 in the options becomes: the ports from 1 on, 1 lane, the TIME_WAIT of Linux. */
static struct tw_ledger *make(struct tw_ledger_opts opts)
{
    struct tw_error error = {0};
    struct tw_ledger *ledger;

    opts.size = sizeof(opts);
    opts.ports = all_ports;
    opts.lanes = opts.lanes ? opts.lanes : 1;
    opts.time_wait_ns = opts.time_wait_ns ? opts.time_wait_ns : TW;
    ledger = tw_ledger_new(&opts, &error);
    assert_non_null(ledger);
    assert_int_equal(error.code, 0);
    return ledger;
}

static struct tw_tuple take(struct tw_ledger *ledger, uint32_t lane, uint64_t now_ns)
{
    struct tw_tuple tuple = {.lane = UINT32_MAX};
    uint64_t until_ns = 77;

    assert_int_equal(tw_ledger_take(ledger, lane, now_ns, &tuple, &until_ns), 0);
    assert_int_equal(until_ns, 77);
    assert_int_equal(tuple.lane, lane);
    return tuple;
}

/* Nothing can be taken; returns until when. */
static uint64_t take_nothing(struct tw_ledger *ledger, uint32_t lane, uint64_t now_ns)
{
    struct tw_tuple tuple = {.port = 77};
    uint64_t until_ns = 0;

    assert_int_equal(tw_ledger_take(ledger, lane, now_ns, &tuple, &until_ns), -EAGAIN);
    assert_int_equal(tuple.port, 77);
    return until_ns;
}

static void give(struct tw_ledger *ledger, struct tw_tuple tuple, enum tw_outcome outcome,
                 uint64_t now_ns)
{
    tw_ledger_give(ledger, &tuple, outcome, now_ns);
}

static void check_count(const struct tw_ledger *ledger, struct tw_ledger_count expect)
{
    struct tw_ledger_count count;

    tw_ledger_count(ledger, &count);
    assert_memory_equal(&count, &expect, sizeof(count));
}

static void test_bad_opts(void **state)
{
    const struct tw_ledger_opts good = {
        .size = sizeof(good), .ports = all_ports, .port_count = 4, .lanes = 1, .slices = 2};
    struct {
        struct tw_ledger_opts opts;
        const char *text;
    } rows[7];

    (void)state;
    for (size_t i = 0; i < 7; i++)
        rows[i].opts = good;
    rows[0].opts.size = sizeof(good) - 1, rows[0].text = "opts.size";
    rows[1].opts.port_count = 0, rows[1].text = "0 ports";
    rows[2].opts.port_count = 65536, rows[2].text = "65536 ports";
    rows[3].opts.lanes = 0, rows[3].text = "0 lanes";
    rows[4].opts.slice = 2, rows[4].text = "slice 2 of 2";
    rows[5].opts.slices = 0, rows[5].opts.slice = 1, rows[5].text = "slice 1 of 0";
    rows[6].opts.ports = NULL, rows[6].text = "0 ports";
    for (size_t i = 0; i < 7; i++) {
        struct tw_error error = {0};

        assert_null(tw_ledger_new(&rows[i].opts, &error));
        assert_int_equal(error.code, EINVAL);
        assert_non_null(strstr(error.text, rows[i].text));
        assert_null(tw_ledger_new(&rows[i].opts, NULL));
    }
    tw_ledger_free(NULL);
}

/* What was given back first is taken first, whatever the order of the first use. */
static void test_fifo(void **state)
{
    static const enum tw_outcome outcomes[] = {TW_OUTCOME_UNUSED, TW_OUTCOME_RESET,
                                               TW_OUTCOME_PEER_FIRST, TW_OUTCOME_WE_FIRST};
    static const unsigned order[] = {2, 0, 3, 1};
    struct tw_tuple tuples[4];

    (void)state;
    for (size_t i = 0; i < 8; i++) {
        bool takeover = i >= 4;
        struct tw_ledger *ledger =
            make((struct tw_ledger_opts){.port_count = 4, .takeover = takeover});

        for (unsigned j = 0; j < 4; j++)
            tuples[j] = take(ledger, 0, START);
        assert_int_equal(take_nothing(ledger, 0, START), TW_NEVER);
        for (unsigned j = 0; j < 4; j++)
            give(ledger, tuples[order[j]], outcomes[i % 4], START + j);
        for (unsigned j = 0; j < 4; j++)
            assert_int_equal(take(ledger, 0, START + 2 * TW).port, tuples[order[j]].port);
        tw_ledger_free(ledger);
    }
}

/* How long a tuple cannot be taken after it was given back, by outcome: exactly that. */
static void test_wait(void **state)
{
    static const struct {
        enum tw_outcome outcome;
        bool takeover;
        uint64_t rest_ns, wait_ns;
    } rows[] = {
        {TW_OUTCOME_UNUSED, false, 0, 0},
        {TW_OUTCOME_UNUSED, true, 0, 0},
        {TW_OUTCOME_UNUSED, true, TW_LEDGER_REST_NS, 0},
        {TW_OUTCOME_RESET, false, 0, 0},
        {TW_OUTCOME_RESET, false, TW_LEDGER_REST_NS, TW_LEDGER_REST_NS},
        {TW_OUTCOME_RESET, true, TW_LEDGER_REST_NS, TW_LEDGER_REST_NS},
        {TW_OUTCOME_PEER_FIRST, false, 0, 0},
        {TW_OUTCOME_PEER_FIRST, true, 1, 1},
        {TW_OUTCOME_PEER_FIRST, true, TW_LEDGER_REST_NS, TW_LEDGER_REST_NS},
        {TW_OUTCOME_WE_FIRST, true, 0, 0},
        {TW_OUTCOME_WE_FIRST, true, TW_LEDGER_REST_NS, TW_LEDGER_REST_NS},
        {TW_OUTCOME_WE_FIRST, false, 0, TW},
        {TW_OUTCOME_WE_FIRST, false, TW_LEDGER_REST_NS, TW},
        {TW_OUTCOME_PORT_TAKEN, false, TW_LEDGER_REST_NS, TW_NS_PER_S},
        {TW_OUTCOME_PORT_TAKEN, true, 0, TW_NS_PER_S},
        {TW_OUTCOME_TUPLE_TAKEN, false, 0, TW_NS_PER_S},
        {TW_OUTCOME_TUPLE_TAKEN, true, TW_LEDGER_REST_NS, TW_NS_PER_S},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct tw_ledger *ledger = make((struct tw_ledger_opts){
            .port_count = 1, .takeover = rows[i].takeover, .rest_ns = rows[i].rest_ns});
        uint64_t given = START + 7, due = given + rows[i].wait_ns;

        give(ledger, take(ledger, 0, START), rows[i].outcome, given);
        if (rows[i].wait_ns) {
            assert_int_equal(take_nothing(ledger, 0, given), due);
            assert_int_equal(take_nothing(ledger, 0, due - 1), due);
        }
        take(ledger, 0, due);
        assert_int_equal(take_nothing(ledger, 0, due), TW_NEVER);
        tw_ledger_free(ledger);
    }
}

/* A tuple given back unused had its rest before; one that rests does not stand in its way. */
static void test_unused_at_once(void **state)
{
    struct tw_ledger *ledger = make((struct tw_ledger_opts){.port_count = 2, .rest_ns = 100});
    struct tw_tuple a = take(ledger, 0, START), b = take(ledger, 0, START);

    (void)state;
    give(ledger, a, TW_OUTCOME_RESET, START + 10);
    give(ledger, b, TW_OUTCOME_UNUSED, START + 11);
    assert_int_equal(take(ledger, 0, START + 11).port, b.port);
    assert_int_equal(take_nothing(ledger, 0, START + 11), START + 110);
    tw_ledger_free(ledger);
}

/* The tuple that has been safe longest, though others rest or cool in other queues. */
static void test_safe_longest(void **state)
{
    struct tw_ledger *ledger = make((struct tw_ledger_opts){.port_count = 3, .rest_ns = 100});
    struct tw_tuple a = take(ledger, 0, START), b = take(ledger, 0, START),
                    c = take(ledger, 0, START);

    (void)state;
    give(ledger, a, TW_OUTCOME_WE_FIRST, START);
    give(ledger, b, TW_OUTCOME_PEER_FIRST, START + TW - 101);
    give(ledger, c, TW_OUTCOME_PEER_FIRST, START + TW - 99);
    assert_int_equal(take(ledger, 0, START + 2 * TW).port, b.port);
    assert_int_equal(take(ledger, 0, START + 2 * TW).port, a.port);
    assert_int_equal(take(ledger, 0, START + 2 * TW).port, c.port);
    tw_ledger_free(ledger);
}

/* The first of several that will be safe decides until when. */
static void test_until(void **state)
{
    struct tw_ledger *ledger = make((struct tw_ledger_opts){.port_count = 4, .rest_ns = 100});
    struct tw_tuple tuples[4];

    (void)state;
    for (unsigned i = 0; i < 4; i++)
        tuples[i] = take(ledger, 0, START);
    assert_int_equal(take_nothing(ledger, 0, START), TW_NEVER);
    give(ledger, tuples[0], TW_OUTCOME_WE_FIRST, START);
    assert_int_equal(take_nothing(ledger, 0, START), START + TW);
    give(ledger, tuples[1], TW_OUTCOME_TUPLE_TAKEN, START + 5);
    assert_int_equal(take_nothing(ledger, 0, START + 5), START + 5 + TW_NS_PER_S);
    give(ledger, tuples[2], TW_OUTCOME_PORT_TAKEN, START + 6);
    assert_int_equal(take_nothing(ledger, 0, START + 6), START + 5 + TW_NS_PER_S);
    give(ledger, tuples[3], TW_OUTCOME_RESET, START + 7);
    assert_int_equal(take_nothing(ledger, 0, START + 7), START + 107);
    assert_int_equal(take(ledger, 0, START + 107).port, tuples[3].port);
    assert_int_equal(take(ledger, 0, START + 5 + TW_NS_PER_S).port, tuples[1].port);
    assert_int_equal(take_nothing(ledger, 0, START + 5 + TW_NS_PER_S), START + 6 + TW_NS_PER_S);
    tw_ledger_free(ledger);
}

/* 1, 2, 4 .. 128 s, then 128 s for ever; after a success 1 s again. */
static void test_aside(void **state)
{
    static const enum tw_outcome refusals[] = {TW_OUTCOME_PORT_TAKEN, TW_OUTCOME_TUPLE_TAKEN};
    static const enum tw_outcome successes[] = {TW_OUTCOME_UNUSED, TW_OUTCOME_RESET,
                                                TW_OUTCOME_PEER_FIRST, TW_OUTCOME_WE_FIRST};
    static const uint64_t seconds[] = {1, 2, 4, 8, 16, 32, 64, 128, 128, 128};
    struct tw_ledger *ledger = make((struct tw_ledger_opts){.port_count = 1});
    struct tw_tuple tuple = take(ledger, 0, START);
    uint64_t now_ns = START;

    (void)state;
    for (size_t round = 0; round < 8; round++) {
        for (size_t i = 0; i < sizeof(seconds) / sizeof(seconds[0]); i++) {
            uint64_t due = now_ns + seconds[i] * TW_NS_PER_S;

            give(ledger, tuple, refusals[(round + i) % 2], now_ns);
            check_count(ledger, (struct tw_ledger_count){.aside = 1});
            assert_int_equal(take_nothing(ledger, 0, due - 1), due);
            tuple = take(ledger, 0, due);
            now_ns = due;
        }
        give(ledger, tuple, successes[round % 4], now_ns);
        now_ns += TW;
        tuple = take(ledger, 0, now_ns);
    }
    tw_ledger_free(ledger);
}

/* A refused tuple that we had closed cools for the rest of its TIME_WAIT, in the order of closing,
 * whether its lane still takes over or learnt otherwise while the tuple was in use. */
static void test_refused_own(void **state)
{
    (void)state;
    for (int learnt = 0; learnt < 2; learnt++) {
        struct tw_ledger *ledger = make((struct tw_ledger_opts){.port_count = 3, .takeover = true});
        struct tw_tuple t[3];

        for (unsigned i = 0; i < 3; i++)
            t[i] = take(ledger, 0, START);
        for (unsigned i = 0; i < 3; i++)
            give(ledger, t[i], TW_OUTCOME_WE_FIRST, START + i);
        for (unsigned i = 0; i < 3; i++)
            t[i] = take(ledger, 0, START + 10);
        if (learnt)
            tw_ledger_learn(ledger, 0, START + 11);
        give(ledger, t[1], TW_OUTCOME_TUPLE_TAKEN, START + 12);
        give(ledger, t[0], TW_OUTCOME_TUPLE_TAKEN, START + 13);
        check_count(ledger, (struct tw_ledger_count){.in_use = 1, .cooling = 2});
        assert_int_equal(tw_ledger_takes_over(ledger, 0), !learnt);
        assert_int_equal(take_nothing(ledger, 0, START + TW - 1), START + TW);
        assert_int_equal(take(ledger, 0, START + TW).port, t[0].port);
        assert_int_equal(take_nothing(ledger, 0, START + TW), START + TW + 1);
        assert_int_equal(take(ledger, 0, START + TW + 1).port, t[1].port);
        give(ledger, t[2], TW_OUTCOME_TUPLE_TAKEN, START + TW + 2); /* over: not by our TIME_WAIT */
        check_count(ledger, (struct tw_ledger_count){.in_use = 2, .aside = 1});
        tw_ledger_free(ledger);
    }
}

/* Refused tuples are tried again only when there is nothing better. */
static void test_aside_last(void **state)
{
    struct tw_ledger *ledger = make((struct tw_ledger_opts){.port_count = 2});
    struct tw_tuple a = take(ledger, 0, START), b;

    (void)state;
    give(ledger, a, TW_OUTCOME_PORT_TAKEN, START);
    b = take(ledger, 0, START + TW);
    assert_int_not_equal(b.port, a.port);
    give(ledger, b, TW_OUTCOME_WE_FIRST, START + TW);
    assert_int_equal(take(ledger, 0, START + 2 * TW).port, b.port);
    assert_int_equal(take(ledger, 0, START + 2 * TW).port, a.port);
    tw_ledger_free(ledger);
}

/* One step: takes what is there and gives it back. */
struct step {
    uint64_t after_ns;
    enum tw_outcome outcome;
};

enum { STEPS_MAX = 12 };

static const struct {
    const char *what;
    bool takes_over;
    struct step steps[STEPS_MAX];
} learning[] = {
#define WE                     \
    {                          \
        0, TW_OUTCOME_WE_FIRST \
    }
#define DOUBT                     \
    {                             \
        0, TW_OUTCOME_TUPLE_TAKEN \
    }
#define END         \
    {               \
        TW_NEVER, 0 \
    }
    {"nothing happened", true, {END}},
    {"three doubts", false, {WE, WE, WE, DOUBT, DOUBT, DOUBT, END}},
    {"two doubts", true, {WE, WE, DOUBT, DOUBT, END}},
    {"two doubts, a success, two doubts",
     true,
     {WE, WE, WE, WE, WE, DOUBT, DOUBT, WE, DOUBT, DOUBT, END}},
    {"a reset is a success as well",
     true,
     {WE, WE, WE, WE, WE, DOUBT, DOUBT, {0, TW_OUTCOME_RESET}, DOUBT, DOUBT, END}},
    {"two doubts, nothing sent, a doubt",
     false,
     {WE, WE, WE, DOUBT, DOUBT, {0, TW_OUTCOME_UNUSED}, DOUBT, END}},
    {"a port taken is no doubt", true, {WE, WE, WE, DOUBT, DOUBT, {0, TW_OUTCOME_PORT_TAKEN}, END}},
    {"nor does it end the row",
     false,
     {WE, WE, WE, WE, DOUBT, DOUBT, {0, TW_OUTCOME_PORT_TAKEN}, DOUBT, END}},
    {"tuples that the peer closed",
     true,
     {{0, TW_OUTCOME_PEER_FIRST},
      {0, TW_OUTCOME_PEER_FIRST},
      {0, TW_OUTCOME_RESET},
      DOUBT,
      DOUBT,
      DOUBT,
      END}},
    {"tuples whose TIME_WAIT is over",
     true,
     {WE, WE, WE, {TW, TW_OUTCOME_TUPLE_TAKEN}, DOUBT, DOUBT, END}},
    {"tuples whose TIME_WAIT is nearly over",
     false,
     {WE, WE, WE, {TW - 1, TW_OUTCOME_TUPLE_TAKEN}, DOUBT, DOUBT, END}},
#undef WE
#undef DOUBT
#undef END
};

/* The ring is as long as the first run of steps that close, so that what follows meets our own
 * TIME_WAITs in their order. */
static uint32_t first_run(const struct step *steps)
{
    uint32_t count = 0;

    while (count < STEPS_MAX && steps[count].after_ns == 0 &&
           steps[count].outcome != TW_OUTCOME_TUPLE_TAKEN)
        count++;
    return count ? count : 1;
}

static void test_doubts(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(learning) / sizeof(learning[0]); i++) {
        struct tw_ledger *ledger =
            make((struct tw_ledger_opts){.port_count = first_run(learning[i].steps),
                                         .lanes = 2,
                                         .takeover = true,
                                         .spread = true});
        uint64_t now_ns = START;

        for (const struct step *step = learning[i].steps; step->after_ns != TW_NEVER; step++) {
            now_ns += step->after_ns;
            give(ledger, take(ledger, 1, now_ns), step->outcome, now_ns);
        }
        if (tw_ledger_takes_over(ledger, 1) != learning[i].takes_over)
            fail_msg("%s: takes over: %d", learning[i].what, !learning[i].takes_over);
        assert_true(tw_ledger_takes_over(ledger, 0));
        tw_ledger_free(ledger);
    }
}

/* Only those whose TIME_WAIT is still here go back to cooling, for the rest of it. */
static void test_learn(void **state)
{
    struct tw_ledger *ledger =
        make((struct tw_ledger_opts){.port_count = 5, .lanes = 2, .takeover = true});
    struct tw_tuple t[5], other;
    uint64_t now_ns = START + TW;

    (void)state;
    for (unsigned i = 0; i < 5; i++)
        t[i] = take(ledger, 0, START);
    other = take(ledger, 1, START);
    give(ledger, t[0], TW_OUTCOME_WE_FIRST, START);       /* over by now */
    give(ledger, t[1], TW_OUTCOME_WE_FIRST, START + 1);   /* nearly over */
    give(ledger, t[2], TW_OUTCOME_PEER_FIRST, START + 2); /* was never here */
    give(ledger, t[3], TW_OUTCOME_WE_FIRST, now_ns - TW_NS_PER_S);
    give(ledger, other, TW_OUTCOME_WE_FIRST, now_ns);
    check_count(ledger, (struct tw_ledger_count){.unused = 4, .in_use = 1, .safe = 5});
    assert_true(tw_ledger_takes_over(ledger, 0));
    for (int again = 0; again < 2; again++) {
        tw_ledger_learn(ledger, 0, now_ns);
        assert_false(tw_ledger_takes_over(ledger, 0));
        assert_true(tw_ledger_takes_over(ledger, 1));
        check_count(ledger,
                    (struct tw_ledger_count){.unused = 4, .in_use = 1, .safe = 3, .cooling = 2});
    }
    assert_int_equal(take(ledger, 0, now_ns).port, t[0].port);
    assert_int_equal(take(ledger, 0, now_ns).port, t[2].port);
    assert_int_equal(take_nothing(ledger, 0, now_ns), now_ns + 1);
    assert_int_equal(take(ledger, 0, now_ns + 1).port, t[1].port);
    assert_int_equal(take_nothing(ledger, 0, now_ns + 1), now_ns - TW_NS_PER_S + TW);
    take(ledger, 1, now_ns);
    give(ledger, t[4], TW_OUTCOME_WE_FIRST, now_ns); /* was in use, and cools now */
    check_count(ledger, (struct tw_ledger_count){.unused = 4, .in_use = 4, .cooling = 2});
    tw_ledger_free(ledger);
}

/* Tuples that were given back unused, before and after the lane learnt, still cool from the time at
 * which they were closed. */
static void test_learn_unused(void **state)
{
    struct tw_ledger *ledger = make((struct tw_ledger_opts){.port_count = 4, .takeover = true});
    struct tw_tuple t[4];

    (void)state;
    for (unsigned i = 0; i < 4; i++)
        t[i] = take(ledger, 0, START);
    for (unsigned i = 0; i < 4; i++)
        give(ledger, t[i], TW_OUTCOME_WE_FIRST, START + i);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(take(ledger, 0, START + 10).id, t[i].id);
    give(ledger, t[1], TW_OUTCOME_UNUSED, START + 11);
    tw_ledger_learn(ledger, 0, START + 12);
    check_count(ledger, (struct tw_ledger_count){.in_use = 2, .cooling = 2});
    assert_int_equal(take_nothing(ledger, 0, START + 12), START + 1 + TW);
    give(ledger, t[2], TW_OUTCOME_UNUSED, START + 13);
    give(ledger, t[0], TW_OUTCOME_UNUSED, START + 14);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(take_nothing(ledger, 0, START + TW + i - 1), START + TW + i);
        assert_int_equal(take(ledger, 0, START + TW + i).id, t[i].id);
    }
    tw_ledger_free(ledger);
}

/* Marks every port that the lane has; each must be new and of the given ones. */
static uint32_t take_all(struct tw_ledger *ledger, uint32_t lane, uint32_t port_count, bool *seen)
{
    struct tw_ledger_count before, count;
    uint32_t taken = 0;
    struct tw_tuple tuple;
    uint64_t until_ns;

    tw_ledger_count(ledger, &before);
    while (tw_ledger_take(ledger, lane, START, &tuple, &until_ns) == 0) {
        assert_true(tuple.port >= 1 && tuple.port <= port_count);
        assert_false(seen[tuple.port]);
        seen[tuple.port] = true;
        taken++;
    }
    assert_int_equal(until_ns, TW_NEVER);
    tw_ledger_count(ledger, &count);
    assert_int_equal(count.in_use - before.in_use, taken);
    assert_int_equal(before.unused - count.unused, taken);
    return taken;
}

/* Slices are disjoint and together complete. */
static void test_slices(void **state)
{
    static const struct {
        uint32_t ports, slices;
    } rows[] = {{1, 1}, {1, 4}, {3, 8}, {10, 3}, {12, 4}, {97, 10}, {1000, 7}, {65535, 16}, {5, 0}};
    static bool seen[PORTS_MAX + 1];

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        for (uint32_t lane = 0; lane < 2; lane++) {
            uint32_t taken = 0;

            memset(seen, 0, sizeof(seen));
            for (uint32_t slice = 0; slice < (rows[i].slices ? rows[i].slices : 1); slice++) {
                struct tw_ledger *ledger = make((struct tw_ledger_opts){.port_count = rows[i].ports,
                                                                        .lanes = 2,
                                                                        .seed = 99,
                                                                        .slice = slice,
                                                                        .slices = rows[i].slices});

                taken += take_all(ledger, lane, rows[i].ports, seen);
                tw_ledger_free(ledger);
            }
            assert_int_equal(taken, rows[i].ports);
        }
    }
}

/* Every port once, for any number of ports and any seed. */
static void test_permutation(void **state)
{
    static const uint32_t more[] = {127,  128,   251,   256,   997,   1000,  1024,
                                    4096, 28232, 32768, 64511, 65521, 65534, 65535};
    static bool seen[PORTS_MAX + 1];

    (void)state;
    for (uint32_t i = 0; i < 100 + sizeof(more) / sizeof(more[0]); i++) {
        uint32_t count = i < 100 ? i + 1 : more[i - 100];

        for (uint64_t seed = 0; seed < (count < 5000 ? 8 : 2); seed++) {
            struct tw_ledger *ledger =
                make((struct tw_ledger_opts){.port_count = count, .lanes = 3, .seed = seed});

            for (uint32_t lane = 0; lane < 3; lane++) {
                memset(seen, 0, sizeof(seen));
                assert_int_equal(take_all(ledger, lane, count, seen), count);
            }
            tw_ledger_free(ledger);
        }
    }
}

/* The seed decides the order. */
static void test_seed(void **state)
{
    struct tw_ledger *a = make((struct tw_ledger_opts){.port_count = 28232, .seed = 5});
    struct tw_ledger *b = make((struct tw_ledger_opts){.port_count = 28232, .seed = 5});
    struct tw_ledger *c = make((struct tw_ledger_opts){.port_count = 28232, .seed = 6});
    unsigned equal = 0;

    (void)state;
    for (unsigned i = 0; i < 1000; i++) {
        uint16_t port = take(a, 0, START).port;

        assert_int_equal(take(b, 0, START).port, port);
        equal += take(c, 0, START).port == port;
    }
    assert_true(equal < 10);
    tw_ledger_free(a);
    tw_ledger_free(b);
    tw_ledger_free(c);
}

/* Spread walks the whole ring before it repeats a port, and then again in the same order; without
 * it one connection at a time needs one port, or as many as rest at once. */
static void test_spread(void **state)
{
    enum { PORTS = 100 };
    static const struct {
        bool spread;
        uint64_t rest_ns;
        unsigned used;
    } rows[] = {{true, 0, PORTS}, {true, 5, PORTS}, {false, 0, 1}, {false, 5, 5}};

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct tw_ledger *ledger = make((struct tw_ledger_opts){
            .port_count = PORTS, .spread = rows[i].spread, .rest_ns = rows[i].rest_ns});
        uint16_t ring[PORTS] = {0};
        struct tw_ledger_count count;

        for (unsigned j = 0; j < 5 * PORTS; j++) {
            struct tw_tuple tuple = take(ledger, 0, START + j);

            if (j < rows[i].used)
                ring[j] = tuple.port;
            assert_int_equal(tuple.port, ring[j % rows[i].used]);
            give(ledger, tuple, TW_OUTCOME_PEER_FIRST, START + j);
        }
        tw_ledger_count(ledger, &count);
        assert_int_equal(count.unused, PORTS - rows[i].used);
        tw_ledger_free(ledger);
    }
}

/* The same lane and port have the same id, another one another; ids are dense. */
static void test_id(void **state)
{
    enum { LANES = 3, PORTS = 50, IDS = LANES * PORTS };
    struct tw_ledger *ledger =
        make((struct tw_ledger_opts){.port_count = PORTS, .lanes = LANES, .spread = true});
    uint32_t ids[LANES][PORTS + 1] = {0};
    bool seen[IDS] = {false};

    (void)state;
    for (unsigned i = 0; i < 10 * IDS; i++) {
        uint32_t lane = i % LANES;
        struct tw_tuple tuple = take(ledger, lane, START + i * TW);

        assert_true(tuple.id < IDS);
        if (i < IDS) {
            assert_false(seen[tuple.id]);
            seen[tuple.id] = true;
            ids[lane][tuple.port] = tuple.id;
        }
        assert_int_equal(ids[lane][tuple.port], tuple.id);
        give(ledger, tuple, i % 7 ? TW_OUTCOME_WE_FIRST : TW_OUTCOME_RESET, START + i * TW);
    }
    tw_ledger_free(ledger);
}

static void test_give_twice(void **state)
{
    struct tw_ledger *ledger = make((struct tw_ledger_opts){.port_count = 2});
    struct tw_tuple a = take(ledger, 0, START), b = take(ledger, 0, START);

    (void)state;
    give(ledger, a, TW_OUTCOME_WE_FIRST, START);
    for (int outcome = TW_OUTCOME_UNUSED; outcome <= TW_OUTCOME_TUPLE_TAKEN; outcome++) {
        give(ledger, a, (enum tw_outcome)outcome, START + 1);
        check_count(ledger, (struct tw_ledger_count){.in_use = 1, .cooling = 1});
    }
    give(ledger, b, TW_OUTCOME_RESET, START);
    give(ledger, b, TW_OUTCOME_RESET, START);
    check_count(ledger, (struct tw_ledger_count){.safe = 1, .cooling = 1});
    take(ledger, 0, START);
    assert_int_equal(take_nothing(ledger, 0, START + 1), START + TW);
    tw_ledger_free(ledger);
}

/* Each state is counted in its place, and the sum never changes. */
static void test_count(void **state)
{
    struct tw_ledger *ledger =
        make((struct tw_ledger_opts){.port_count = 11, .lanes = 2, .slice = 1, .slices = 2});
    struct tw_tuple t[5];

    (void)state;
    check_count(ledger, (struct tw_ledger_count){.unused = 10});
    for (unsigned i = 0; i < 5; i++)
        t[i] = take(ledger, 1, START);
    check_count(ledger, (struct tw_ledger_count){.unused = 5, .in_use = 5});
    give(ledger, t[0], TW_OUTCOME_WE_FIRST, START);
    give(ledger, t[1], TW_OUTCOME_RESET, START);
    give(ledger, t[2], TW_OUTCOME_PORT_TAKEN, START);
    give(ledger, t[3], TW_OUTCOME_UNUSED, START);
    check_count(ledger, (struct tw_ledger_count){5, 1, 2, 1, 1});
    take(ledger, 1, START);
    take(ledger, 1, START);
    check_count(ledger, (struct tw_ledger_count){5, 3, 0, 1, 1});
    take_nothing(ledger, 1, START);
    take(ledger, 1, START + TW_NS_PER_S);
    check_count(ledger, (struct tw_ledger_count){5, 4, 0, 1, 0});
    take(ledger, 1, START + TW);
    check_count(ledger, (struct tw_ledger_count){5, 5, 0, 0, 0});
    tw_ledger_free(ledger);
}

/* A tuple costs 16 bytes, at most twice that; what was never used costs nothing. */
static void test_bytes(void **state)
{
    enum { LANES = 1000, PORTS = 28232, ROOM = 4096 };
    struct tw_ledger *ledger = make((struct tw_ledger_opts){.port_count = PORTS, .lanes = LANES});
    size_t empty = tw_ledger_bytes(ledger);

    (void)state;
    assert_true(empty <= PORTS * 2 + LANES * 110 + 1000);
    for (uint64_t used = 1; used <= 50000; used++) {
        size_t bytes;

        take(ledger, (uint32_t)(used % LANES), START);
        bytes = tw_ledger_bytes(ledger) - empty;
        assert_true(bytes >= used * TW_LEDGER_TUPLE_BYTES);
        assert_true(bytes <= 2 * used * TW_LEDGER_TUPLE_BYTES + ROOM);
    }
    tw_ledger_free(ledger);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bad_opts),     cmocka_unit_test(test_fifo),
        cmocka_unit_test(test_wait),         cmocka_unit_test(test_unused_at_once),
        cmocka_unit_test(test_safe_longest), cmocka_unit_test(test_until),
        cmocka_unit_test(test_aside),        cmocka_unit_test(test_aside_last),
        cmocka_unit_test(test_refused_own),  cmocka_unit_test(test_doubts),
        cmocka_unit_test(test_learn),        cmocka_unit_test(test_learn_unused),
        cmocka_unit_test(test_slices),       cmocka_unit_test(test_permutation),
        cmocka_unit_test(test_seed),         cmocka_unit_test(test_spread),
        cmocka_unit_test(test_id),           cmocka_unit_test(test_give_twice),
        cmocka_unit_test(test_count),        cmocka_unit_test(test_bytes),
    };

    return cmocka_run_group_tests(tests, setup, NULL);
}
