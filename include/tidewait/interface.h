/*
 * interface.h - the addresses of this host's network interfaces, and whether sockets may have them.
 *
 * Adding and removing need CAP_NET_ADMIN. Any thread may call, also after fork(); the network
 * namespace is that of the calling thread.
 */
#ifndef TIDEWAIT_INTERFACE_H
#define TIDEWAIT_INTERFACE_H

#include <stddef.h>

#include "tidewait/address.h"
#include "tidewait/error.h"
#include "tidewait/socket_row.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The addresses of one interface (no IPv6 link-local ones, unless there are no others). Allocates
 * *out with malloc; the caller frees it. Returns their number, 0 when it has none, -ENODEV without
 * such an interface, or -errno. */
int tw_interface_addresses(const char *name, struct tw_endpoint **out, struct tw_error *error);

/* What bind() to an address meets, its port apart. ::ffff:a.b.c.d is asked about as a.b.c.d. */
struct tw_address_status {
    bool local;      /* this host has it, alone or as part of a range that is local as a whole
                      * (127.0.0.0/8), or it is a wildcard or multicast address: bind() works
                      * without IP_FREEBIND, unless one of the following is set */
    bool tentative;  /* IPv6: the search for duplicates is not over; EADDRNOTAVAIL until then */
    bool dad_failed; /* IPv6: somebody else has it; EADDRNOTAVAIL until it is added anew */
    bool is_link_local_without_scope; /* IPv6: EINVAL without an interface (fe80::1%eth0) */
    unsigned prefix_len;              /* IPv6: of the network that it was added with */
    char device[16];                  /* an interface that has it; empty: none has */
};

/* Returns 0 or -errno. */
int tw_address_status(const struct tw_endpoint *address, struct tw_address_status *out);

/* tw_address_status() in short: its `local`, and false when it cannot be had. */
bool tw_address_is_local(const struct tw_endpoint *address);

/* True when sockets may have addresses that this host has not, without IP_FREEBIND (sysctl
 * ip_nonlocal_bind of AF_INET or AF_INET6). */
bool tw_nonlocal_bind_allowed(int family);

/* Whether IPv6 works: TW_NO when the kernel has none, or when it is turned off on the interface
 * (sysctl disable_ipv6; on "lo" that takes ::1 away). With NULL the setting for all interfaces
 * counts; a single interface may have it on again. TW_UNKNOWN without such an interface. */
enum tw_known tw_ipv6_enabled(const char *device);

/* Adds an address (as /32 or /128) to an interface, or removes it. Adding one that is there already
 * is -EEXIST, removing one that is not -EADDRNOTAVAIL. */
int tw_interface_add(const char *name, const struct tw_endpoint *address, struct tw_error *error);
int tw_interface_remove(const char *name, const struct tw_endpoint *address,
                        struct tw_error *error);

#ifdef __cplusplus
}
#endif
#endif
