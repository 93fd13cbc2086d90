#include "landing.h"

#include <netinet/tcp.h>
#include <stdlib.h>

#include "tidewait/interface.h"
#include "tidewait/sockets.h"

/* Endpoints in order, to be searched for by each of maybe 100,000 rows. */
struct ordered {
    struct tw_endpoint *items;
    size_t count;
};

struct tally_of_rows {
    struct ordered sources; /* with port 0 */
    struct ordered targets;
    int64_t client, server;
};

static int compare(const void *a, const void *b)
{
    const struct tw_endpoint *x = a, *y = b;

    if (x->sa.sa_family != y->sa.sa_family)
        return x->sa.sa_family < y->sa.sa_family ? -1 : 1;
    if (tw_endpoint_port(x) != tw_endpoint_port(y))
        return tw_endpoint_port(x) < tw_endpoint_port(y) ? -1 : 1;
    return x->sa.sa_family == AF_INET6
               ? memcmp(&x->v6.sin6_addr, &y->v6.sin6_addr, sizeof(x->v6.sin6_addr))
               : memcmp(&x->v4.sin_addr, &y->v4.sin_addr, sizeof(x->v4.sin_addr));
}

static bool has(const struct ordered *set, struct tw_endpoint endpoint, bool any_port)
{
    if (any_port)
        tw_endpoint_set_port(&endpoint, 0);
    return bsearch(&endpoint, set->items, set->count, sizeof(*set->items), compare) != NULL;
}

static int visit(const struct tw_socket_row *row, void *context)
{
    struct tally_of_rows *tally = context;

    if (has(&tally->targets, row->remote, false) && has(&tally->sources, row->local, true))
        tally->client++;
    else if (has(&tally->targets, row->local, false) && has(&tally->sources, row->remote, true))
        tally->server++;
    return 0;
}

void landing_count(const struct workload *workload, int64_t *client, int64_t *server)
{
    struct tw_sockets_query query = {.state_mask = TW_STATE_MASK(TCP_TIME_WAIT)};
    struct tally_of_rows tally = {0};
    bool server_here = false, failed;

    tally.sources.items = calloc(workload->lane_count, sizeof(struct tw_endpoint));
    tally.targets.items = calloc(workload->target_count, sizeof(struct tw_endpoint));
    failed = !tally.sources.items || !tally.targets.items;
    if (!failed) {
        for (size_t i = 0; i < workload->lane_count; i++)
            tally.sources.items[tally.sources.count++] = workload->lanes[i].source;
        for (size_t i = 0; i < workload->target_count; i++) {
            tally.targets.items[tally.targets.count++] = workload->targets[i].endpoint;
            server_here |= tw_address_is_local(&workload->targets[i].endpoint);
        }
        qsort(tally.sources.items, tally.sources.count, sizeof(struct tw_endpoint), compare);
        qsort(tally.targets.items, tally.targets.count, sizeof(struct tw_endpoint), compare);
        failed = tw_sockets_each(&query, visit, &tally, NULL) != 0;
    }
    *client = failed ? -1 : tally.client;
    *server = failed || !server_here ? -1 : tally.server;
    free(tally.sources.items);
    free(tally.targets.items);
}
