/*
 * sockets_query.h - a query with its defaults filled in, for both ways of answering it.
 */
#ifndef SOCKETS_QUERY_H
#define SOCKETS_QUERY_H

#include "tidewait/sockets.h"

struct listing {
    uint8_t protocol;
    unsigned state_mask;
    uint16_t local_port;
    uint16_t remote_port;
    struct tw_endpoint remote; /* unmapped; AF_UNSPEC: any */
    bool opened;
    tw_socket_visit *visit;
    void *context;
    struct tw_error *error;
};

/* Whether a row is one that was asked for. */
bool listing_wants(const struct listing *listing, const struct tw_socket_row *row);

#endif
