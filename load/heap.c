#include "heap.h"

#include <errno.h>
#include <stdlib.h>

int heap_push(struct heap *heap, uint64_t at_ns, void *what)
{
    size_t at = heap->count;

    if (heap->count == heap->room) {
        size_t room = heap->room ? heap->room * 2 : 64;
        struct heap_item *items = reallocarray(heap->items, room, sizeof(*items));

        if (!items)
            return -ENOMEM;
        heap->items = items;
        heap->room = room;
    }
    heap->count++;
    while (at > 0 && heap->items[(at - 1) / 2].at_ns > at_ns) {
        heap->items[at] = heap->items[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    heap->items[at] = (struct heap_item){at_ns, what};
    return 0;
}

struct heap_item heap_pop(struct heap *heap)
{
    struct heap_item first = heap->items[0], last = heap->items[--heap->count];
    size_t at = 0, child;

    while ((child = 2 * at + 1) < heap->count) {
        if (child + 1 < heap->count && heap->items[child + 1].at_ns < heap->items[child].at_ns)
            child++;
        if (heap->items[child].at_ns >= last.at_ns)
            break;
        heap->items[at] = heap->items[child];
        at = child;
    }
    heap->items[at] = last;
    return first;
}

void heap_fini(struct heap *heap)
{
    free(heap->items);
    *heap = (struct heap){0};
}
