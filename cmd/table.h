/*
 * table.h - a hash of items that begin with their key, in the order in which they came.
 */
#ifndef TABLE_H
#define TABLE_H

#include <stddef.h>
#include <stdint.h>

/* To begin with all is zero but the sizes. Keys are compared as bytes, padding included; their size
 * is a multiple of eight. */
struct table {
    void *items;
    size_t count;
    size_t room;
    size_t item_size;
    size_t key_size;
    uint32_t *slots; /* index + 1 into items; twice as many as there is room */
};

/* The item with this key, made and zeroed if need be; NULL without memory. It may move when the
 * next is made. */
void *table_find(struct table *table, const void *key);
void table_fini(struct table *table);

#endif
