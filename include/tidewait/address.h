/*
 * address.h - endpoints (address and port) and ranges of addresses, IPv4 and IPv6.
 *
 * All structs are plain values: copy them, nothing to free. Parsers write their result only on
 * success and return 0, or -EINVAL or -ERANGE with a text in *error. Any thread may call these
 * functions, also after fork().
 */
#ifndef TIDEWAIT_ADDRESS_H
#define TIDEWAIT_ADDRESS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "tidewait/error.h"
#include "tidewait/parse.h"

#ifdef __cplusplus
extern "C" {
#endif

/* An address with a port, in the form that bind() and connect() take: pass &e.sa and
 * tw_endpoint_len(&e). The family is AF_INET, AF_INET6 or, when empty, AF_UNSPEC. */
struct tw_endpoint {
    union {
        struct sockaddr sa;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    };
};

/* Long enough for every text that tw_endpoint_format() makes, its NUL included. */
#define TW_ENDPOINT_TEXT_MAX 80

static inline socklen_t tw_endpoint_len(const struct tw_endpoint *endpoint)
{
    return endpoint->sa.sa_family == AF_INET6 ? sizeof(endpoint->v6) : sizeof(endpoint->v4);
}

static inline uint16_t tw_endpoint_port(const struct tw_endpoint *endpoint)
{
    return ntohs(endpoint->sa.sa_family == AF_INET6 ? endpoint->v6.sin6_port
                                                    : endpoint->v4.sin_port);
}

static inline void tw_endpoint_set_port(struct tw_endpoint *endpoint, uint16_t port)
{
    if (endpoint->sa.sa_family == AF_INET6)
        endpoint->v6.sin6_port = htons(port);
    else
        endpoint->v4.sin_port = htons(port);
}

bool tw_endpoint_same_address(const struct tw_endpoint *a, const struct tw_endpoint *b);
bool tw_endpoint_is_wildcard(const struct tw_endpoint *endpoint);

/* 127.0.0.0/8, ::1, or the former as ::ffff:a.b.c.d. */
bool tw_endpoint_is_loopback(const struct tw_endpoint *endpoint);

/* Writes 127.0.0.1:80, [::1]:80, or the bare address when the port is 0. Returns buf. */
const char *tw_endpoint_format(const struct tw_endpoint *endpoint, char buf[TW_ENDPOINT_TEXT_MAX]);

/* A numeric address: 10.0.0.1, ::1, [::1], fe80::1%eth0, or * for 0.0.0.0. The port becomes 0. */
int tw_address_parse(struct tw_view text, struct tw_endpoint *out, struct tw_error *error);

/* `count` addresses that follow one another, beginning with `first`. */
struct tw_address_range {
    struct tw_endpoint first;
    uint32_t count;
};

/* The most addresses that one range may name: as many as an IPv4 /12 has. */
#define TW_ADDRESS_RANGE_MAX (1u << 20)

/* 10.0.0.1, 10.0.0.1-10.0.0.50, 10.0.0.1-50 or 10.0.0.0/24 (a network of IPv4 without its network
 * and broadcast address, unless it is a /31 or /32); likewise for IPv6. */
int tw_address_range_parse(struct tw_view text, struct tw_address_range *out,
                           struct tw_error *error);

/* The address at `index` (0 .. count-1) of the range, with port 0. */
struct tw_endpoint tw_address_range_at(const struct tw_address_range *range, uint32_t index);

/* ADDR[-ADDR]:PORT[-PORT], [V6]:PORT, :PORT or PORT (both on `fallback`). */
struct tw_listen_range {
    struct tw_address_range addresses;
    struct tw_port_range ports;
};
int tw_listen_range_parse(struct tw_view text, const struct tw_endpoint *fallback,
                          struct tw_listen_range *out, struct tw_error *error);

/* The same for one endpoint: 127.0.0.1:80, [::1]:80, and :80 or 80 on 0.0.0.0. */
int tw_endpoint_parse(struct tw_view text, struct tw_endpoint *out, struct tw_error *error);

#ifdef __cplusplus
}
#endif
#endif
