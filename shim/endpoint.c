#include "endpoint.h"

#include <arpa/inet.h>
#include <stddef.h>
#include <string.h>

enum { V6_LEN_MIN = offsetof(struct sockaddr_in6, sin6_scope_id) }; /* as the kernel has it */

static const uint8_t mapped_prefix[12] = {[10] = 0xff, [11] = 0xff};

bool endpoint_read(struct endpoint *endpoint, const struct sockaddr *address, socklen_t len)
{
    union socket_address copy = {0};

    *endpoint = (struct endpoint){0};
    if (!address || len < sizeof(copy.v4))
        return false;
    memcpy(&copy, address, len < sizeof(copy) ? len : sizeof(copy));
    if (copy.sa.sa_family == AF_INET) {
        endpoint->family = AF_INET;
        endpoint->port = ntohs(copy.v4.sin_port);
        memcpy(endpoint->address, &copy.v4.sin_addr, sizeof(copy.v4.sin_addr));
        return true;
    }
    if (copy.sa.sa_family != AF_INET6 || len < V6_LEN_MIN)
        return false;
    endpoint->port = ntohs(copy.v6.sin6_port);
    if (memcmp(&copy.v6.sin6_addr, mapped_prefix, sizeof(mapped_prefix)) == 0) {
        endpoint->family = AF_INET;
        memcpy(endpoint->address, copy.v6.sin6_addr.s6_addr + sizeof(mapped_prefix), 4);
        return true;
    }
    endpoint->family = AF_INET6;
    endpoint->scope = copy.v6.sin6_scope_id;
    memcpy(endpoint->address, &copy.v6.sin6_addr, sizeof(copy.v6.sin6_addr));
    return true;
}

socklen_t endpoint_write(const struct endpoint *endpoint, int family, union socket_address *out)
{
    *out = (union socket_address){0};
    if (family == AF_INET6) {
        out->v6.sin6_family = AF_INET6;
        out->v6.sin6_port = htons(endpoint->port);
        out->v6.sin6_scope_id = endpoint->scope;
        if (endpoint->family == AF_INET6) {
            memcpy(&out->v6.sin6_addr, endpoint->address, sizeof(endpoint->address));
        } else {
            memcpy(&out->v6.sin6_addr, mapped_prefix, sizeof(mapped_prefix));
            memcpy(out->v6.sin6_addr.s6_addr + sizeof(mapped_prefix), endpoint->address, 4);
        }
        return sizeof(out->v6);
    }
    if (endpoint->family != AF_INET)
        return 0;
    out->v4.sin_family = AF_INET;
    out->v4.sin_port = htons(endpoint->port);
    memcpy(&out->v4.sin_addr, endpoint->address, sizeof(out->v4.sin_addr));
    return sizeof(out->v4);
}

bool endpoint_is_any(const struct endpoint *endpoint)
{
    static const uint8_t any[sizeof(endpoint->address)];

    return memcmp(endpoint->address, any, sizeof(any)) == 0;
}
