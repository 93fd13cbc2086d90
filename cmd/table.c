#include "table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static size_t hash(const void *key, size_t size)
{
    const unsigned char *bytes = key;
    uint64_t value = 0x9e3779b97f4a7c15u, word;

    for (; size >= sizeof(word); size -= sizeof(word), bytes += sizeof(word)) {
        memcpy(&word, bytes, sizeof(word));
        value = (value ^ word) * 0xff51afd7ed558ccdu;
        value ^= value >> 32;
    }
    return (size_t)value;
}

static uint32_t *slot_of(const struct table *table, const void *key)
{
    size_t mask = 2 * table->room - 1, at = hash(key, table->key_size) & mask;

    while (table->slots[at] &&
           memcmp((char *)table->items + (table->slots[at] - 1) * table->item_size, key,
                  table->key_size) != 0)
        at = (at + 1) & mask;
    return &table->slots[at];
}

static int grow(struct table *table)
{
    size_t room = table->room ? table->room * 2 : 64;
    void *items = room < UINT32_MAX ? realloc(table->items, room * table->item_size) : NULL;
    uint32_t *slots;

    if (!items)
        return -ENOMEM;
    table->items = items;
    slots = calloc(2 * room, sizeof(*slots));
    if (!slots)
        return -ENOMEM;
    free(table->slots);
    table->slots = slots;
    table->room = room;
    for (size_t i = 0; i < table->count; i++)
        *slot_of(table, (char *)items + i * table->item_size) = (uint32_t)i + 1;
    return 0;
}

void *table_find(struct table *table, const void *key)
{
    uint32_t *slot;
    char *item;

    if (table->count == table->room && grow(table))
        return NULL;
    slot = slot_of(table, key);
    if (*slot)
        return (char *)table->items + (*slot - 1) * table->item_size;
    item = (char *)table->items + table->count * table->item_size;
    memset(item, 0, table->item_size);
    memcpy(item, key, table->key_size);
    *slot = (uint32_t)++table->count;
    return item;
}

void table_fini(struct table *table)
{
    free(table->items);
    free(table->slots);
    table->items = NULL;
    table->slots = NULL;
}
