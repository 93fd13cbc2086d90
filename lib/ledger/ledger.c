#include "tidewait/ledger.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tidewait/clock.h"

/*
 * A tuple is a node from its first use on; before that it is only a number in the permutation of
 * its lane. Each node that is not in use stands in exactly one queue of its lane. All nodes of one
 * queue wait equally long from the moment they joined it, so the head is always the first to be
 * due: that is what makes every operation O(1) without a heap.
 */
#define NIL UINT32_MAX

/* Queues of refused tuples: those of queue i are tried again 1 s << i after the refusal. */
#define ASIDE_QUEUES  8
#define ASIDE_UNIT_NS TW_NS_PER_S

/* One refusal may be somebody else's doing; this many in a row on our own TIME_WAITs are a rule. */
#define DOUBTS_MAX 3

struct node {
    uint64_t at_ns; /* when it joined the queue it is in, or was last in */
    uint32_t next;
    uint16_t port;
    uint8_t refusals : 7; /* in a row */
    uint8_t ours : 1;     /* its last connection left a TIME_WAIT on our side at at_ns */
    uint8_t taken;
};

_Static_assert(sizeof(struct node) == TW_LEDGER_TUPLE_BYTES, "the header promises this size");

struct queue {
    uint32_t head;
    uint32_t tail;
};

struct lane {
    struct queue rested; /* given back unused: they have had their rest before they were taken */
    struct queue safe;
    struct queue cooling;
    struct queue aside[ASIDE_QUEUES];
    uint32_t unused_next; /* how many of the permutation were taken */
    uint32_t start;       /* where this lane enters the ring of ports */
    uint8_t doubts;
    bool takeover;
};

struct tw_ledger {
    struct lane *lanes;
    uint32_t lane_count;
    uint16_t *ports;
    uint32_t port_count;
    uint32_t slice;
    uint32_t slices;
    uint32_t slice_ports; /* ports a lane has in this slice */
    uint32_t stride;      /* coprime to port_count: steps through the ring visit every port once */
    uint64_t time_wait_ns;
    uint64_t rest_ns;
    bool spread;
    struct node *nodes;
    uint32_t node_count;
    uint32_t node_room;
    struct tw_ledger_count count;
};

static uint32_t greatest_common_divisor(uint32_t a, uint32_t b)
{
    while (b) {
        uint32_t rest = a % b;

        a = b;
        b = rest;
    }
    return a;
}

/* Spreads the bits of a seed (the finalizer of SplitMix64). */
static uint64_t mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15ULL;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ULL;
    x = (x ^ x >> 27) * 0x94d049bb133111ebULL;
    return x ^ x >> 31;
}

/* A step near the golden section of the ring, moved on until it is coprime to the ring's length:
 * neighbours in the order of taking lie far apart, so a block of foreign ports is not met in a row.
 */
static uint32_t choose_stride(uint32_t n, uint64_t seed)
{
    uint32_t stride = (uint32_t)((double)n * 0.6180339887) + (uint32_t)(mix(seed) % (n / 16 + 1));

    stride = stride % n ? stride % n : 1;
    while (greatest_common_divisor(stride, n) != 1)
        stride = stride + 1 < n ? stride + 1 : 1;
    return stride;
}

static void queue_push(struct tw_ledger *ledger, struct queue *queue, uint32_t id)
{
    ledger->nodes[id].next = NIL;
    if (queue->head == NIL)
        queue->head = id;
    else
        ledger->nodes[queue->tail].next = id;
    queue->tail = id;
}

static uint32_t queue_pop(struct tw_ledger *ledger, struct queue *queue)
{
    uint32_t id = queue->head;

    queue->head = ledger->nodes[id].next;
    return id;
}

/* Puts a node among the cooling where its at_ns belongs. Only a tuple that was refused, or given
 * back unused by a lane that learns, has closed before the tail; such tuples are the oldest, so the
 * walk is short. */
static void cooling_insert(struct tw_ledger *ledger, struct lane *lane, uint32_t id)
{
    struct node *nodes = ledger->nodes;
    struct queue *queue = &lane->cooling;
    uint32_t *link = &queue->head;

    if (queue->head == NIL || nodes[queue->tail].at_ns <= nodes[id].at_ns) {
        queue_push(ledger, queue, id);
        return;
    }
    while (nodes[*link].at_ns <= nodes[id].at_ns)
        link = &nodes[*link].next;
    nodes[id].next = *link;
    *link = id;
}

/* When the head of the queue is due, given how long its members wait; TW_NEVER when it is empty. */
static uint64_t queue_due(const struct tw_ledger *ledger, const struct queue *queue,
                          uint64_t wait_ns)
{
    return queue->head == NIL ? TW_NEVER : ledger->nodes[queue->head].at_ns + wait_ns;
}

static int check_opts(const struct tw_ledger_opts *opts, struct tw_error *error)
{
    if (opts->size != sizeof(*opts))
        return tw_error_set(error, EINVAL, "ledger: opts.size is %zu, this library expects %zu",
                            opts->size, sizeof(*opts));
    if (!opts->ports || opts->port_count == 0 || opts->port_count > 65535 || opts->lanes == 0)
        return tw_error_set(error, EINVAL,
                            "ledger: %u ports and %u lanes; it takes 1..65535 ports and a lane",
                            opts->ports ? opts->port_count : 0, opts->lanes);
    if (opts->slice && opts->slice >= opts->slices)
        return tw_error_set(error, EINVAL, "ledger: slice %u of %u does not exist", opts->slice,
                            opts->slices);
    return 0;
}

static void init_lane(struct lane *lane, const struct tw_ledger_opts *opts, uint32_t index)
{
    lane->rested.head = lane->safe.head = lane->cooling.head = NIL;
    for (int i = 0; i < ASIDE_QUEUES; i++)
        lane->aside[i].head = NIL;
    lane->start = (uint32_t)(mix(opts->seed + index) % opts->port_count);
    lane->takeover = opts->takeover;
}

struct tw_ledger *tw_ledger_new(const struct tw_ledger_opts *opts, struct tw_error *error)
{
    struct tw_ledger *ledger;

    if (check_opts(opts, error))
        return NULL;
    ledger = calloc(1, sizeof(*ledger));
    if (ledger) {
        ledger->lanes = calloc(opts->lanes, sizeof(*ledger->lanes));
        ledger->ports = calloc(opts->port_count, sizeof(*ledger->ports));
    }
    if (!ledger || !ledger->lanes || !ledger->ports) {
        tw_error_set(error, ENOMEM, "ledger: no memory for %u lanes", opts->lanes);
        tw_ledger_free(ledger);
        return NULL;
    }
    memcpy(ledger->ports, opts->ports, opts->port_count * sizeof(*ledger->ports));
    ledger->lane_count = opts->lanes;
    ledger->port_count = opts->port_count;
    ledger->slice = opts->slice;
    ledger->slices = opts->slices ? opts->slices : 1;
    /* The slice has the numbers slice, slice + slices, ... below port_count: none when it begins
     * beyond. */
    if (ledger->slice < ledger->port_count)
        ledger->slice_ports = (ledger->port_count - ledger->slice - 1) / ledger->slices + 1;
    ledger->stride = choose_stride(opts->port_count, opts->seed);
    ledger->time_wait_ns = opts->time_wait_ns;
    ledger->rest_ns = opts->rest_ns;
    ledger->spread = opts->spread;
    for (uint32_t i = 0; i < opts->lanes; i++)
        init_lane(&ledger->lanes[i], opts, i);
    ledger->count.unused = (uint64_t)ledger->slice_ports * opts->lanes;
    return ledger;
}

void tw_ledger_free(struct tw_ledger *ledger)
{
    if (!ledger)
        return;
    free(ledger->lanes);
    free(ledger->ports);
    free(ledger->nodes);
    free(ledger);
}

/* Makes a node of the next port that this lane never used. Returns its id, or NIL without memory.
 */
static uint32_t first_use(struct tw_ledger *ledger, struct lane *lane)
{
    uint64_t number, place;

    if (ledger->node_count == ledger->node_room) {
        uint32_t room =
            ledger->node_room ? ledger->node_room * 2 : 256; /* 0: more than ids can name */
        struct node *nodes = room ? reallocarray(ledger->nodes, room, sizeof(*nodes)) : NULL;

        if (!nodes)
            return NIL;
        ledger->nodes = nodes;
        ledger->node_room = room;
    }
    number = (uint64_t)lane->unused_next * ledger->slices + ledger->slice;
    place = (number * ledger->stride + lane->start) % ledger->port_count;
    ledger->nodes[ledger->node_count] = (struct node){.port = ledger->ports[place], .next = NIL};
    lane->unused_next++;
    ledger->count.unused--;
    return ledger->node_count++;
}

/* The queue whose head may be taken now, not counting refused tuples; NULL when there is none. */
static struct queue *queue_ready(struct tw_ledger *ledger, struct lane *lane, uint64_t now_ns,
                                 uint64_t **counter)
{
    uint64_t rested = queue_due(ledger, &lane->safe, ledger->rest_ns);
    uint64_t cooled = queue_due(ledger, &lane->cooling, ledger->time_wait_ns);

    *counter = &ledger->count.safe;
    if (lane->rested.head != NIL)
        return &lane->rested;
    if (rested <= now_ns && rested <= cooled)
        return &lane->safe;
    *counter = &ledger->count.cooling;
    return cooled <= now_ns ? &lane->cooling : NULL;
}

/* The queue of refused tuples whose head may be tried again; NULL, with the time until which
 * everything has to wait, when there is none. */
static struct queue *queue_retry(struct tw_ledger *ledger, struct lane *lane, uint64_t now_ns,
                                 uint64_t *until_ns)
{
    uint64_t until = queue_due(ledger, &lane->cooling, ledger->time_wait_ns);
    uint64_t rested = queue_due(ledger, &lane->safe, ledger->rest_ns);

    if (rested < until)
        until = rested;
    for (unsigned i = 0; i < ASIDE_QUEUES; i++) {
        uint64_t due = queue_due(ledger, &lane->aside[i], ASIDE_UNIT_NS << i);

        if (due <= now_ns)
            return &lane->aside[i];
        if (due < until)
            until = due;
    }
    *until_ns = until;
    return NULL;
}

int tw_ledger_take(struct tw_ledger *ledger, uint32_t lane_index, uint64_t now_ns,
                   struct tw_tuple *out, uint64_t *until_ns)
{
    struct lane *lane = &ledger->lanes[lane_index];
    bool unused = lane->unused_next < ledger->slice_ports;
    struct queue *queue = NULL;
    uint64_t *counter = NULL;
    uint32_t id;

    if (!ledger->spread || !unused)
        queue = queue_ready(ledger, lane, now_ns, &counter);
    if (!queue && !unused) {
        counter = &ledger->count.aside;
        queue = queue_retry(ledger, lane, now_ns, until_ns);
        if (!queue)
            return -EAGAIN;
    }
    if (queue) {
        id = queue_pop(ledger, queue);
        --*counter;
    } else if ((id = first_use(ledger, lane)) == NIL) {
        return -ENOMEM;
    }
    ledger->nodes[id].taken = 1;
    ledger->count.in_use++;
    *out = (struct tw_tuple){.lane = lane_index, .id = id, .port = ledger->nodes[id].port};
    return 0;
}

static void set_aside(struct tw_ledger *ledger, struct lane *lane, uint32_t id, uint64_t now_ns)
{
    struct node *node = &ledger->nodes[id];
    unsigned queue = node->refusals < ASIDE_QUEUES ? node->refusals : ASIDE_QUEUES - 1;

    if (node->refusals < ASIDE_QUEUES)
        node->refusals++;
    node->at_ns = now_ns;
    node->ours = 0;
    queue_push(ledger, &lane->aside[queue], id);
    ledger->count.aside++;
}

/* Whether a refusal is most likely due to our own TIME_WAIT: we had closed the tuple, not long ago.
 */
static bool is_own_time_wait(const struct tw_ledger *ledger, const struct node *node,
                             uint64_t now_ns)
{
    return node->ours && now_ns < node->at_ns + ledger->time_wait_ns;
}

void tw_ledger_give(struct tw_ledger *ledger, const struct tw_tuple *tuple, enum tw_outcome outcome,
                    uint64_t now_ns)
{
    struct lane *lane = &ledger->lanes[tuple->lane];
    struct node *node = &ledger->nodes[tuple->id];
    bool refused = outcome == TW_OUTCOME_PORT_TAKEN || outcome == TW_OUTCOME_TUPLE_TAKEN;

    if (!node->taken) /* given twice: a slip of the caller that must not tie a queue into a loop */
        return;
    node->taken = 0;
    ledger->count.in_use--;
    if (outcome == TW_OUTCOME_TUPLE_TAKEN && is_own_time_wait(ledger, node, now_ns)) {
        /* It ends when that does. A lane that has learnt meanwhile has nothing left to learn. */
        cooling_insert(ledger, lane, tuple->id);
        ledger->count.cooling++;
        if (++lane->doubts == DOUBTS_MAX)
            tw_ledger_learn(ledger, tuple->lane, now_ns);
        return;
    }
    if (refused) {
        set_aside(ledger, lane, tuple->id, now_ns);
        return;
    }
    node->refusals = 0;
    if (outcome != TW_OUTCOME_UNUSED) {
        if (node->ours)
            lane->doubts = 0;
        node->ours = outcome == TW_OUTCOME_WE_FIRST;
        node->at_ns = now_ns;
    } else if (now_ns >= node->at_ns + ledger->time_wait_ns) {
        node->ours = 0; /* the TIME_WAIT it was taken over from is gone by itself */
    }
    if (node->ours && !lane->takeover) {
        cooling_insert(ledger, lane, tuple->id);
        ledger->count.cooling++;
    } else {
        queue_push(ledger, outcome == TW_OUTCOME_UNUSED ? &lane->rested : &lane->safe, tuple->id);
        ledger->count.safe++;
    }
}

/* Moves those of the queue whose TIME_WAIT is here to the cooling; the others stay in order. */
static void cool(struct tw_ledger *ledger, struct lane *lane, struct queue *queue, uint64_t now_ns)
{
    uint32_t id = queue->head;

    queue->head = NIL;
    while (id != NIL) {
        struct node *node = &ledger->nodes[id];
        uint32_t next = node->next;

        if (node->ours && now_ns < node->at_ns + ledger->time_wait_ns) {
            cooling_insert(ledger, lane, id);
            ledger->count.safe--;
            ledger->count.cooling++;
        } else {
            queue_push(ledger, queue, id);
        }
        id = next;
    }
}

void tw_ledger_learn(struct tw_ledger *ledger, uint32_t lane_index, uint64_t now_ns)
{
    struct lane *lane = &ledger->lanes[lane_index];

    if (!lane->takeover)
        return;
    lane->takeover = false;
    cool(ledger, lane, &lane->safe, now_ns);
    cool(ledger, lane, &lane->rested, now_ns);
}

bool tw_ledger_takes_over(const struct tw_ledger *ledger, uint32_t lane)
{
    return ledger->lanes[lane].takeover;
}

void tw_ledger_count(const struct tw_ledger *ledger, struct tw_ledger_count *out)
{
    *out = ledger->count;
}

size_t tw_ledger_bytes(const struct tw_ledger *ledger)
{
    return sizeof(*ledger) + ledger->lane_count * sizeof(*ledger->lanes) +
           ledger->port_count * sizeof(*ledger->ports) + ledger->node_room * sizeof(*ledger->nodes);
}
