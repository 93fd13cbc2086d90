#include "ring.h"

#include <string.h>

enum {
    USED = 1 << 15,
    REFUSED_SHIFT = 12,
    REFUSED_MAX = 7,
    SECOND_MASK = (1 << REFUSED_SHIFT) - 1,
    ASIDE_MAX_S = 130,
    CLAIM_S = 2, /* longer than any connect() takes until the kernel knows the tuple */
};

static struct shim_lane *lane_at(const struct ring *ring, uint32_t index)
{
    return (struct shim_lane *)(ring->shared->lanes + index * shim_lane_size(ring->port_count));
}

bool ring_init(struct ring *ring, struct shim_shared *shared, size_t size)
{
    if (size < sizeof(*shared) || shared->magic != SHIM_MAGIC || shared->version != SHIM_VERSION)
        return false;
    *ring = (struct ring){shared, shared->lane_count, shared->port_count};
    return ring->lane_count > 0 && ring->lane_count <= SHIM_LANES_MAX &&
           (ring->lane_count & (ring->lane_count - 1)) == 0 && ring->port_count <= SHIM_PORTS_MAX &&
           shim_size(ring->lane_count, ring->port_count) <= size;
}

static uint64_t mix(uint64_t hash, uint64_t word)
{
    hash = (hash ^ word) * 0x9e3779b97f4a7c15u;
    return hash ^ hash >> 29;
}

static uint64_t mix_endpoint(uint64_t hash, const struct endpoint *endpoint)
{
    uint64_t words[2];

    memcpy(words, endpoint->address, sizeof(words));
    return mix(mix(mix(hash, words[0]), words[1]), (uint64_t)endpoint->family << 16);
}

void ring_begin(struct ring_search *search, const struct ring *ring, const struct endpoint *to,
                const struct endpoint *source)
{
    uint64_t hash = mix(mix_endpoint(mix_endpoint(0, to), source), to->port);

    *search = (struct ring_search){
        .ring = ring,
        .lane = lane_at(ring, (uint32_t)hash & (ring->lane_count - 1)),
        .owner = (uint32_t)(hash >> 32) | 1,
    };
}

static uint16_t mark_of(bool used, uint16_t refused, uint32_t until_s)
{
    uint32_t low = (uint32_t)refused << REFUSED_SHIFT | (until_s & SECOND_MASK);

    /* All 0 means at once. */
    return (uint16_t)((used ? USED : 0) | (low ? low : 1));
}

/* The second is known modulo 4096 only; what would be later than anything can be set aside is over.
 */
static bool is_aside(uint16_t mark, uint32_t now_s)
{
    uint32_t left = ((mark & SECOND_MASK) - now_s) & SECOND_MASK;

    return (mark & ~USED) != 0 && left > 0 && left <= ASIDE_MAX_S;
}

bool ring_take(struct ring_search *search, struct ring_place *place)
{
    const struct ring *ring = search->ring;

    while (search->looked < ring->port_count) {
        uint32_t index = atomic_fetch_add_explicit(&search->lane->cursor, 1, memory_order_relaxed) %
                         ring->port_count;
        uint16_t port = ring->shared->ports[index];
        _Atomic uint16_t *mark = &search->lane->marks[index];
        uint16_t seen = atomic_load_explicit(mark, memory_order_relaxed);

        search->looked++;
        if (port == 0 || port == search->avoid || is_aside(seen, search->now_s))
            continue;
        if (search->first != 0 && (port < search->first || port > search->last))
            continue;
        *place = (struct ring_place){
            .mark = mark,
            .refused = (uint16_t)(seen >> REFUSED_SHIFT & REFUSED_MAX),
            .port = port,
            .used = (seen & USED) != 0,
        };
        place->mine = mark_of(place->used, place->refused, search->now_s + CLAIM_S);
        if (atomic_compare_exchange_strong_explicit(mark, &seen, place->mine, memory_order_acquire,
                                                    memory_order_relaxed))
            return true;
    }
    return false;
}

/* Not when the claim ran out and somebody else has it. */
static void give_back(const struct ring_place *place, uint16_t mark)
{
    uint16_t mine = place->mine;

    atomic_compare_exchange_strong_explicit(place->mark, &mine, mark, memory_order_release,
                                            memory_order_relaxed);
}

void ring_done(const struct ring_place *place)
{
    give_back(place, USED);
}

void ring_refuse(const struct ring_search *search, const struct ring_place *place, uint32_t seconds)
{
    uint16_t refused = place->refused < REFUSED_MAX ? (uint16_t)(place->refused + 1) : REFUSED_MAX;

    if (seconds == 0)
        seconds = 1u << place->refused;
    else if (seconds > ASIDE_MAX_S)
        seconds = ASIDE_MAX_S;
    give_back(place, mark_of(true, refused, search->now_s + seconds));
}

bool ring_known(const struct ring_search *search, uint8_t family, struct endpoint *source,
                enum shim_takeover *takeover)
{
    struct shim_lane *lane = search->lane;
    uint64_t words[2];

    if (atomic_load_explicit(&lane->owner, memory_order_acquire) != search->owner)
        return false;
    for (int i = 0; i < 2; i++)
        words[i] = atomic_load_explicit(&lane->source[i], memory_order_relaxed);
    *takeover = atomic_load_explicit(&lane->takeover, memory_order_relaxed);
    *source = (struct endpoint){.family = family};
    memcpy(source->address, words, sizeof(words));
    /* Another lane may have written in between. */
    atomic_thread_fence(memory_order_acquire);
    return atomic_load_explicit(&lane->owner, memory_order_relaxed) == search->owner;
}

void ring_learn(const struct ring_search *search, const struct endpoint *source,
                enum shim_takeover takeover)
{
    struct shim_lane *lane = search->lane;
    uint64_t words[2];

    memcpy(words, source->address, sizeof(words));
    atomic_store_explicit(&lane->owner, 0, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
    for (int i = 0; i < 2; i++)
        atomic_store_explicit(&lane->source[i], words[i], memory_order_relaxed);
    atomic_store_explicit(&lane->takeover, takeover, memory_order_relaxed);
    atomic_store_explicit(&lane->owner, search->owner, memory_order_release);
}
