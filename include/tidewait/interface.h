/*
 * interface.h - the addresses of this host's network interfaces.
 *
 * Adding and removing need CAP_NET_ADMIN. Any thread may call; the network namespace is that of the
 * calling thread.
 */
#ifndef TIDEWAIT_INTERFACE_H
#define TIDEWAIT_INTERFACE_H

#include <stddef.h>

#include "tidewait/address.h"
#include "tidewait/error.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The addresses of one interface (no IPv6 link-local ones, unless there are no others). Allocates
 * *out with malloc; the caller frees it. Returns their number, 0 when it has none, -ENODEV without
 * such an interface, or -errno. */
int tw_interface_addresses(const char *name, struct tw_endpoint **out, struct tw_error *error);

/* True when some interface has this address, or it belongs to a range that is local as a whole
 * (127.0.0.0/8): bind() to it would work without IP_FREEBIND. */
bool tw_address_is_local(const struct tw_endpoint *address);

/* Adds an address (as /32 or /128) to an interface, or removes it. Adding one that is there already
 * is -EEXIST, removing one that is not -EADDRNOTAVAIL. */
int tw_interface_add(const char *name, const struct tw_endpoint *address, struct tw_error *error);
int tw_interface_remove(const char *name, const struct tw_endpoint *address,
                        struct tw_error *error);

#ifdef __cplusplus
}
#endif
#endif
