/*
 * place.h - where the hosts of a list are: their addresses, asked for all at once, and the lanes to
 * them.
 *
 * One thread; those that ask are the C library's (getaddrinfo_a(3)).
 */
#ifndef PLACE_H
#define PLACE_H

#include <stdint.h>

#include "hosts.h"
#include "tidewait/address.h"
#include "tidewait/error.h"

/* So long after the asking hosts whose addresses have not come should keep the others waiting, for
 * the order's sake. */
#define PLACE_IN_ORDER_NS (200 * TW_NS_PER_MS)

struct place {
    struct tw_endpoint to;
    uint32_t lane; /* the same for all hosts that are at the same place; below the hosts' number */
};

struct places;

/* Asks, and does not wait. `port` is for hosts that name none; a name has limit_ns from the moment
 * when it is first looked for (0: no limit). The hosts have to stay. Returns 0 or -ENOMEM with
 * *error. */
int places_new(const struct hosts *hosts, uint16_t port, uint64_t limit_ns, struct places **out,
               struct tw_error *error);
void places_free(struct places *places);

/* The place of a host of the list. Returns 0; -EAGAIN: not known yet, and it is for all to wait;
 * -EBUSY: not known yet; -ENXIO, -ETIMEDOUT: it has none; -ENOMEM. The latter with *error. */
int places_find(struct places *places, const struct host *host, const struct place **out,
                struct tw_error *error);

#endif
