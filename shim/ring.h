/*
 * ring.h - which source port is next: the rings in shared memory. No system calls, no locks; any
 * number of threads and processes at once, and any of them may die at any point.
 */
#ifndef RING_H
#define RING_H

#include "endpoint.h"
#include "shared.h"

/* The sizes are copies, checked once: what a stray write changes in the file cannot lead out of it.
 */
struct ring {
    struct shim_shared *shared;
    uint32_t lane_count, port_count;
};

/* One connect() on its way through a ring. */
struct ring_search {
    const struct ring *ring;
    struct shim_lane *lane;
    uint32_t owner;       /* see shim_lane */
    uint16_t first, last; /* of the ring only these ports; both 0: all */
    uint16_t avoid;       /* never this one; 0: none */
    uint32_t now_s;       /* since `started` */
    uint32_t looked;      /* at so many places */
};

/* A port that nobody else tries until ring_done() or ring_refuse(), or for 2 s. */
struct ring_place {
    _Atomic uint16_t *mark;
    uint16_t mine;    /* what the mark is as long as it is ours */
    uint16_t refused; /* in a row, before */
    uint16_t port;
    bool used; /* in this run: its tuple may be in TIME_WAIT */
};

/* False when the file is none of ours or too short for what it says. */
bool ring_init(struct ring *ring, struct shim_shared *shared, size_t size);

/* Begins at the lane of these two; a source without address is one of the kernel's choice. */
void ring_begin(struct ring_search *search, const struct ring *ring, const struct endpoint *to,
                const struct endpoint *source);

/* Takes the next port. False: all have been looked at. */
bool ring_take(struct ring_search *search, struct ring_place *place);

/* The kernel took it, or may take it soon: for everybody again. */
void ring_done(const struct ring_place *place);

/* The kernel refused it: set aside for 1, 2, 4 .. 128 s, twice as long each time; or for `seconds`,
 * if not 0. */
void ring_refuse(const struct ring_search *search, const struct ring_place *place,
                 uint32_t seconds);

/* What is known of the lane. False when that is of another lane with the same ring. */
bool ring_known(const struct ring_search *search, uint8_t family, struct endpoint *source,
                enum shim_takeover *takeover);
void ring_learn(const struct ring_search *search, const struct endpoint *source,
                enum shim_takeover takeover);

#endif
