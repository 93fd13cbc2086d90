/*
 * tuple.h - a connection from a port of the ledger, made and closed in one call each.
 *
 * For clients that may block. Those with an event loop of their own take from the ledger and give
 * back themselves, as ledger.h shows.
 *
 *     int fd = tw_tuple_connect(ledger, 0, NULL, &server, 5 * TW_NS_PER_S, &tuple, &error);
 *
 *     if (fd >= 0) {
 *         ... talk ...
 *         tw_tuple_close(ledger, &tuple, fd, TW_NS_PER_S);
 *     }
 *
 * Threads and fork(): as the ledger. Nothing but the ledger is changed.
 */
#ifndef TIDEWAIT_TUPLE_H
#define TIDEWAIT_TUPLE_H

#include <stdint.h>

#include "tidewait/address.h"
#include "tidewait/error.h"
#include "tidewait/ledger.h"
#include "tidewait/socket.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Takes the tuple of the lane that has been safe longest, waits for one if need be, and connects
 * from its port on `source` (NULL: the address that the route has) to `destination`. When the
 * kernel refuses the port or the tuple the next one is tried, 64 in a row at most. Returns a
 * blocking, close-on-exec descriptor with *tuple set; or -errno, and then no tuple is taken:
 * ETIMEDOUT when timeout_ns passed without an answer, EAGAIN when no tuple became safe within
 * timeout_ns or all are in use, EADDRINUSE or EADDRNOTAVAIL when 64 were refused or the source is
 * not on this host, and what connect(2) says, ECONNREFUSED for one. Blocks for timeout_ns at most;
 * a signal does not end it. TW_NEVER is no limit but the kernel's own. */
int tw_tuple_connect(struct tw_ledger *ledger, uint32_t lane, const struct tw_endpoint *source,
                     const struct tw_endpoint *destination, uint64_t timeout_ns,
                     struct tw_tuple *tuple, struct tw_error *error);

/* tw_close_politely() on its descriptor; then the tuple goes back to the ledger, with who closed
 * first. */
enum tw_closer tw_tuple_close(struct tw_ledger *ledger, const struct tw_tuple *tuple, int fd,
                              uint64_t timeout_ns);

#ifdef __cplusplus
}
#endif
#endif
