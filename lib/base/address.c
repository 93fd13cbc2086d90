#include "tidewait/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <stdio.h>

#include "quote.h"

bool tw_endpoint_same_address(const struct tw_endpoint *a, const struct tw_endpoint *b)
{
    if (a->sa.sa_family != b->sa.sa_family)
        return false;
    if (a->sa.sa_family == AF_INET6)
        return memcmp(&a->v6.sin6_addr, &b->v6.sin6_addr, sizeof(a->v6.sin6_addr)) == 0;
    return a->v4.sin_addr.s_addr == b->v4.sin_addr.s_addr;
}

bool tw_endpoint_is_wildcard(const struct tw_endpoint *endpoint)
{
    if (endpoint->sa.sa_family == AF_INET6)
        return IN6_IS_ADDR_UNSPECIFIED(&endpoint->v6.sin6_addr);
    return endpoint->v4.sin_addr.s_addr == htonl(INADDR_ANY);
}

bool tw_endpoint_is_loopback(const struct tw_endpoint *endpoint)
{
    const struct in6_addr *v6 = &endpoint->v6.sin6_addr;

    if (endpoint->sa.sa_family == AF_INET6)
        return IN6_IS_ADDR_LOOPBACK(v6) || (IN6_IS_ADDR_V4MAPPED(v6) && v6->s6_addr[12] == 127);
    return endpoint->sa.sa_family == AF_INET &&
           ntohl(endpoint->v4.sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
}

const char *tw_endpoint_format(const struct tw_endpoint *endpoint, char buf[TW_ENDPOINT_TEXT_MAX])
{
    char host[INET6_ADDRSTRLEN] = "?", scope[IF_NAMESIZE + 1] = "";
    unsigned port = tw_endpoint_port(endpoint);

    if (endpoint->sa.sa_family == AF_INET6) {
        inet_ntop(AF_INET6, &endpoint->v6.sin6_addr, host, sizeof(host));
        if (endpoint->v6.sin6_scope_id) {
            scope[0] = '%';
            if (!if_indextoname(endpoint->v6.sin6_scope_id, scope + 1))
                scope[0] = 0;
        }
        if (port)
            snprintf(buf, TW_ENDPOINT_TEXT_MAX, "[%s%s]:%u", host, scope, port);
        else
            snprintf(buf, TW_ENDPOINT_TEXT_MAX, "%s%s", host, scope);
    } else {
        inet_ntop(AF_INET, &endpoint->v4.sin_addr, host, sizeof(host));
        if (port)
            snprintf(buf, TW_ENDPOINT_TEXT_MAX, "%s:%u", host, port);
        else
            snprintf(buf, TW_ENDPOINT_TEXT_MAX, "%s", host);
    }
    return buf;
}

int tw_address_parse(struct tw_view text, struct tw_endpoint *out, struct tw_error *error)
{
    struct tw_endpoint endpoint = {0};
    struct tw_view rest = text;
    char host[INET6_ADDRSTRLEN + 1], scope[IF_NAMESIZE];

    if (rest.len >= 2 && rest.data[0] == '[' && rest.data[rest.len - 1] == ']') {
        rest.data++;
        rest.len -= 2;
    }
    struct tw_view address = tw_view_cut(&rest, '%');

    if (tw_view_equals(address, "*"))
        address = tw_view_of("0.0.0.0");
    if (address.len == 0 || address.len >= sizeof(host) || rest.len >= sizeof(scope) ||
        memchr(text.data, 0, text.len))
        return tw_error_set(error, EINVAL, "'%.*s' is not an address", QUOTE(text));
    memcpy(host, address.data, address.len);
    host[address.len] = 0;
    if (inet_pton(AF_INET, host, &endpoint.v4.sin_addr) == 1 && !rest.data) {
        endpoint.v4.sin_family = AF_INET;
    } else if (inet_pton(AF_INET6, host, &endpoint.v6.sin6_addr) == 1) {
        endpoint.v6.sin6_family = AF_INET6;
        if (rest.data) {
            memcpy(scope, rest.data, rest.len);
            scope[rest.len] = 0;
            endpoint.v6.sin6_scope_id = if_nametoindex(scope);
            if (endpoint.v6.sin6_scope_id == 0)
                return tw_error_set(error, EINVAL, "'%.*s': there is no interface '%s'",
                                    QUOTE(text), scope);
        }
    } else {
        return tw_error_set(error, EINVAL, "'%.*s' is not an address", QUOTE(text));
    }
    *out = endpoint;
    return 0;
}

/* The address as a pointer to its bytes, most significant first. */
static uint8_t *address_bytes(struct tw_endpoint *endpoint, size_t *len)
{
    *len = endpoint->sa.sa_family == AF_INET6 ? 16 : 4;
    return endpoint->sa.sa_family == AF_INET6 ? endpoint->v6.sin6_addr.s6_addr
                                              : (uint8_t *)&endpoint->v4.sin_addr;
}

struct tw_endpoint tw_address_range_at(const struct tw_address_range *range, uint32_t index)
{
    struct tw_endpoint endpoint = range->first;
    size_t len;
    uint8_t *bytes = address_bytes(&endpoint, &len);
    uint64_t carry = index;

    for (size_t i = len; i-- > 0 && carry;) {
        carry += bytes[i];
        bytes[i] = (uint8_t)carry;
        carry >>= 8;
    }
    return endpoint;
}

/* A network ADDR/BITS: all its addresses that a host may have. */
static int parse_network(struct tw_view text, struct tw_endpoint *base, struct tw_view prefix,
                         struct tw_address_range *out, struct tw_error *error)
{
    size_t len;
    uint8_t *bytes = address_bytes(base, &len);
    uint64_t bits, host_bits;
    int rc = tw_parse_number(prefix, "prefix length", 1, len * 8, &bits, error);

    if (rc)
        return rc;
    host_bits = len * 8 - bits;
    if (host_bits > 20)
        return tw_error_set(error, EINVAL, "'%.*s' names more than %u addresses", QUOTE(text),
                            TW_ADDRESS_RANGE_MAX);
    for (size_t i = 0; i < len; i++) {
        uint64_t keep = bits > i * 8 ? bits - i * 8 : 0;

        if (keep < 8)
            bytes[i] &= (uint8_t)(0xff00 >> keep);
    }
    out->first = *base;
    out->count = 1u << host_bits;
    if (host_bits >= 2) {
        /* IPv4 keeps the first for the network and the last for broadcast; IPv6 the first for the
         * subnet-router anycast address (RFC 4291, 2.6.1). */
        out->first = tw_address_range_at(out, 1);
        out->count -= len == 4 ? 2 : 1;
    }
    return 0;
}

/* FIRST-LAST, where LAST may be the last number of an IPv4 address alone. */
static int parse_span(struct tw_view text, struct tw_endpoint *first, struct tw_view tail,
                      struct tw_address_range *out, struct tw_error *error)
{
    struct tw_endpoint last = *first;
    size_t len;
    uint64_t low = 0, high = 0, octet;
    int rc;

    if (first->sa.sa_family == AF_INET && !memchr(tail.data, '.', tail.len)) {
        if ((rc = tw_parse_number(tail, "last address", 0, 255, &octet, error)))
            return rc;
        ((uint8_t *)&last.v4.sin_addr)[3] = (uint8_t)octet;
    } else if ((rc = tw_address_parse(tail, &last, error))) {
        return rc;
    }
    if (last.sa.sa_family != first->sa.sa_family)
        return tw_error_set(error, EINVAL, "'%.*s' mixes IPv4 and IPv6", QUOTE(text));

    uint8_t *a = address_bytes(first, &len), *b = address_bytes(&last, &len);
    /* Only the last 8 bytes may differ: anything wider is more than TW_ADDRESS_RANGE_MAX anyway. */
    size_t wide = len > 8 ? len - 8 : 0;

    for (size_t i = wide; i < len; i++) {
        low = low << 8 | a[i];
        high = high << 8 | b[i];
    }
    if (memcmp(a, b, len) > 0)
        return tw_error_set(error, EINVAL, "address range '%.*s' is reversed", QUOTE(text));
    if (memcmp(a, b, wide) != 0 || high - low >= TW_ADDRESS_RANGE_MAX)
        return tw_error_set(error, EINVAL, "'%.*s' names more than %u addresses", QUOTE(text),
                            TW_ADDRESS_RANGE_MAX);
    out->first = *first;
    out->count = (uint32_t)(high - low) + 1;
    return 0;
}

int tw_address_range_parse(struct tw_view text, struct tw_address_range *out,
                           struct tw_error *error)
{
    struct tw_view rest = text, network = text;
    struct tw_view head = tw_view_cut(&network, '/');
    struct tw_endpoint first = {0};
    int rc;

    /* An interface may have a minus in its name: fe80::1%br-lan. */
    if (!network.data && tw_address_parse(text, &first, NULL) != 0)
        head = tw_view_cut(&rest, '-');
    else
        rest.data = NULL;
    if ((rc = tw_address_parse(head, &first, error)))
        return rc;
    if (network.data)
        return parse_network(text, &first, network, out, error);
    if (rest.data)
        return parse_span(text, &first, rest, out, error);
    out->first = first;
    out->count = 1;
    return 0;
}

int tw_listen_range_parse(struct tw_view text, const struct tw_endpoint *fallback,
                          struct tw_listen_range *out, struct tw_error *error)
{
    struct tw_listen_range range = {.addresses = {.first = *fallback, .count = 1}};
    struct tw_view address = {NULL, 0}, ports = text;
    const char *colon = text.len ? memrchr(text.data, ':', text.len) : NULL;
    int rc;

    if (text.len && text.data[text.len - 1] == ']')
        return tw_error_set(error, EINVAL, "'%.*s' lacks a port; write it as %.*s:8080",
                            QUOTE(text), QUOTE(text));
    if (!colon && text.len && memchr(text.data, '.', text.len))
        return tw_error_set(error, EINVAL, "'%.*s' lacks a port; write it as %.*s:8080",
                            QUOTE(text), QUOTE(text));
    if (colon) {
        address = (struct tw_view){text.data, (size_t)(colon - text.data)};
        ports = (struct tw_view){colon + 1, text.len - address.len - 1};
        if (address.len && address.data[0] != '[' && memchr(address.data, ':', address.len))
            return tw_error_set(error, EINVAL,
                                "'%.*s' is ambiguous; write an IPv6 address as [::1]:8080",
                                QUOTE(text));
    }
    if (address.len && (rc = tw_address_range_parse(address, &range.addresses, error)))
        return rc;
    if ((rc = tw_parse_ports(ports, &range.ports, error)))
        return rc;
    *out = range;
    return 0;
}

int tw_endpoint_parse(struct tw_view text, struct tw_endpoint *out, struct tw_error *error)
{
    struct tw_endpoint anywhere = {.v4 = {.sin_family = AF_INET}};
    struct tw_listen_range range = {.ports = {0, 0}};
    int rc = tw_listen_range_parse(text, &anywhere, &range, error);

    if (rc)
        return rc;
    if (range.addresses.count != 1 || range.ports.first != range.ports.last)
        return tw_error_set(error, EINVAL, "'%.*s' is more than one endpoint", QUOTE(text));
    *out = range.addresses.first;
    tw_endpoint_set_port(out, range.ports.first);
    return 0;
}
