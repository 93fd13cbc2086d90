/*
 * heap.h - a binary heap of (time, pointer): the earliest first. For waits that differ in length;
 * equal waits stand in plain lists. Zeroed it is empty; heap_fini() frees it. One thread at a time.
 */
#ifndef HEAP_H
#define HEAP_H

#include <stddef.h>
#include <stdint.h>

struct heap_item {
    uint64_t at_ns;
    void *what;
};

struct heap {
    struct heap_item *items;
    size_t count, room;
};

int heap_push(struct heap *heap, uint64_t at_ns, void *what); /* 0 or -ENOMEM */
struct heap_item heap_pop(struct heap *heap);                 /* the heap must not be empty */
void heap_fini(struct heap *heap);

/* The earliest time; UINT64_MAX when the heap is empty. */
static inline uint64_t heap_next_ns(const struct heap *heap)
{
    return heap->count ? heap->items[0].at_ns : UINT64_MAX;
}

#endif
