#include "tidewait/holders.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "holders_private.h"

static int by_number(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

static int by_place(const void *a, const void *b)
{
    const struct tw_holding *x = a, *y = b;

    if (x->inode != y->inode)
        return x->inode < y->inode ? -1 : 1;
    if (x->pid != y->pid)
        return x->pid < y->pid ? -1 : 1;
    return (x->fd > y->fd) - (x->fd < y->fd);
}

bool holders_wants(const struct holders_search *search, uint32_t inode)
{
    return search->count == 0 ||
           bsearch(&inode, search->wanted, search->count, sizeof(inode), by_number) != NULL;
}

int holders_keep(struct holders_search *search, const struct tw_holding *holding)
{
    struct tw_holders *out = search->out;

    if (!holders_wants(search, holding->inode))
        return 0;
    if (out->count == search->room) {
        size_t room = search->room ? search->room * 2 : 64;
        struct tw_holding *more = realloc(out->items, room * sizeof(*more));

        if (!more)
            return tw_error_set(search->error, ENOMEM, "no memory for the list of open sockets");
        out->items = more;
        search->room = room;
    }
    out->items[out->count++] = *holding;
    return 0;
}

/* Threads that share a table whose first owner has ended report the same descriptors. */
static void sort_and_thin(struct tw_holders *holders)
{
    size_t kept = 0;

    if (holders->count == 0)
        return;
    qsort(holders->items, holders->count, sizeof(*holders->items), by_place);
    for (size_t i = 1; i < holders->count; i++)
        if (by_place(&holders->items[kept], &holders->items[i]) != 0)
            holders->items[++kept] = holders->items[i];
    holders->count = kept + 1;
}

static int run(struct holders_search *search, enum tw_holders_method method)
{
    search->out->method = method;
    return method == TW_HOLDERS_BPF ? holders_by_bpf(search) : holders_by_proc(search);
}

/* Whatever keeps BPF from working (rights, kernel, memory): /proc answers as well. */
static int run_best(struct holders_search *search)
{
    struct tw_error *error = search->error;
    int rc;

    search->error = NULL;
    rc = run(search, TW_HOLDERS_BPF);
    search->error = error;
    if (rc == 0)
        return 0;
    search->out->count = 0;
    search->out->blind = 0;
    return run(search, TW_HOLDERS_PROC);
}

int tw_holders_find(const uint32_t *inodes, size_t count, enum tw_holders_method method,
                    struct tw_holders *out, struct tw_error *error)
{
    uint32_t *wanted = NULL;
    struct tw_holders found = {0};
    struct holders_search search = {.count = count, .out = &found, .error = error};
    int rc;

    if (count) {
        wanted = malloc(count * sizeof(*wanted));
        if (!wanted)
            return tw_error_set(error, ENOMEM, "no memory for %zu sockets", count);
        memcpy(wanted, inodes, count * sizeof(*wanted));
        qsort(wanted, count, sizeof(*wanted), by_number);
        search.wanted = wanted;
    }
    rc = method == TW_HOLDERS_AUTO ? run_best(&search) : run(&search, method);
    free(wanted);
    if (rc) {
        tw_holders_fini(&found);
        return rc;
    }
    sort_and_thin(&found);
    *out = found;
    return 0;
}

void tw_holders_fini(struct tw_holders *holders)
{
    free(holders->items);
    *holders = (struct tw_holders){0};
}

const struct tw_holding *tw_holders_of(const struct tw_holders *holders, uint32_t inode,
                                       size_t *count)
{
    size_t first = 0, end = holders->count;

    while (first < end) {
        size_t middle = first + (end - first) / 2;

        if (holders->items[middle].inode < inode)
            first = middle + 1;
        else
            end = middle;
    }
    for (end = first; end < holders->count && holders->items[end].inode == inode;)
        end++;
    *count = end - first;
    return *count ? &holders->items[first] : NULL;
}
