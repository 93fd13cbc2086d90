/*
 * endpoint.h - an address and port of a call, in one form: ::ffff:a.b.c.d is a.b.c.d.
 */
#ifndef ENDPOINT_H
#define ENDPOINT_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

struct endpoint {
    uint8_t family;      /* AF_INET, AF_INET6 */
    uint8_t address[16]; /* network order; of v4 the first four bytes, the rest 0 */
    uint16_t port;       /* host order */
    uint32_t scope;
};

/* What the kernel takes and gives; 28 bytes. */
union socket_address {
    struct sockaddr sa;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

/* False when it is no address of an inet socket, or too short to be one. */
bool endpoint_read(struct endpoint *endpoint, const struct sockaddr *address, socklen_t len);

/* For a socket of this family: v4 becomes ::ffff:a.b.c.d on AF_INET6. Returns its length, 0 when
 * there is no way to write it (v6 on AF_INET). */
socklen_t endpoint_write(const struct endpoint *endpoint, int family, union socket_address *out);

bool endpoint_is_any(const struct endpoint *endpoint);

#endif
