#include "why_lane.h"

#include <assert.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "table.h"
#include "tidewait/holders.h"
#include "tidewait/limits.h"
#include "tidewait/sockets.h"

/* An item of the table: its key comes first. */
struct lane {
    struct tw_endpoint source, destination;
    uint64_t sockets;
};

static_assert(offsetof(struct lane, sockets) % 8 == 0, "keys of a table are compared in words");

struct census {
    struct tw_ports ephemeral;
    struct table lanes;
    uint32_t *inodes; /* sorted; NULL: all sockets count */
    size_t inode_count;
};

static int by_value(const void *a, const void *b)
{
    const uint32_t *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

static int count_row(const struct tw_socket_row *row, void *context)
{
    struct census *census = context;
    struct lane key = {.source = tw_endpoint_unmap(&row->local),
                       .destination = tw_endpoint_unmap(&row->remote)};
    struct lane *lane;

    if (!tw_ports_has(&census->ephemeral, tw_endpoint_port(&row->local)))
        return 0;
    if (census->inodes && !bsearch(&row->inode, census->inodes, census->inode_count,
                                   sizeof(*census->inodes), by_value))
        return 0;
    tw_endpoint_set_port(&key.source, 0);
    lane = table_find(&census->lanes, &key);
    if (!lane)
        return -ENOMEM;
    lane->sockets++;
    return 0;
}

static int read_inodes(int pid, struct census *census, struct tw_error *error)
{
    struct tw_holders holders;
    int rc = tw_holders_find(NULL, 0, TW_HOLDERS_AUTO, &holders, error);

    if (rc)
        return rc;
    census->inodes = calloc(holders.count + 1, sizeof(*census->inodes));
    for (size_t i = 0; census->inodes && i < holders.count; i++)
        if (holders.items[i].pid == pid)
            census->inodes[census->inode_count++] = holders.items[i].inode;
    tw_holders_fini(&holders);
    if (!census->inodes)
        return tw_error_set(error, ENOMEM, "no memory for the sockets of pid %d", pid);
    qsort(census->inodes, census->inode_count, sizeof(*census->inodes), by_value);
    return 0;
}

int fullest_lane_find(int pid, struct fullest_lane *out, struct tw_error *error)
{
    struct tw_sockets_query query = {
        .state_mask = TW_STATES_ALL & ~(TW_STATE_MASK(TCP_LISTEN) | TW_STATE_MASK(TCP_CLOSE)),
    };
    struct census census = {
        .lanes = {.item_size = sizeof(struct lane), .key_size = offsetof(struct lane, sockets)},
    };
    struct tw_limits limits;
    int rc = pid ? read_inodes(pid, &census, error) : 0;

    tw_limits_read(&limits);
    tw_limits_ephemeral(&limits, &census.ephemeral);
    if (!rc)
        rc = tw_sockets_each(&query, count_row, &census, error);
    *out = (struct fullest_lane){0};
    for (size_t i = 0; !rc && i < census.lanes.count; i++) {
        const struct lane *lane = (const struct lane *)census.lanes.items + i;

        if (lane->sockets > out->sockets)
            *out = (struct fullest_lane){lane->source, lane->destination, lane->sockets};
    }
    table_fini(&census.lanes);
    free(census.inodes);
    return rc;
}
