#include "tidewait/socket_row.h"

#include <netinet/tcp.h>
#include <string.h>

const char *tw_state_name(uint8_t protocol, uint8_t state)
{
    static const char *const names[] = {
        [TCP_ESTABLISHED] = "ESTAB",    [TCP_SYN_SENT] = "SYN-SENT",
        [TCP_SYN_RECV] = "SYN-RECV",    [TCP_FIN_WAIT1] = "FIN-WAIT-1",
        [TCP_FIN_WAIT2] = "FIN-WAIT-2", [TCP_TIME_WAIT] = "TIME-WAIT",
        [TCP_CLOSE] = "BOUND",          [TCP_CLOSE_WAIT] = "CLOSE-WAIT",
        [TCP_LAST_ACK] = "LAST-ACK",    [TCP_LISTEN] = "LISTEN",
        [TCP_CLOSING] = "CLOSING",
    };

    if (protocol == IPPROTO_UDP && state == TCP_CLOSE)
        return "UNCONN";
    return state < sizeof(names) / sizeof(names[0]) && names[state] ? names[state] : "UNKNOWN";
}

struct tw_endpoint tw_endpoint_unmap(const struct tw_endpoint *endpoint)
{
    struct tw_endpoint v4 = {.v4 = {.sin_family = AF_INET, .sin_port = endpoint->v6.sin6_port}};

    if (endpoint->sa.sa_family != AF_INET6 || !IN6_IS_ADDR_V4MAPPED(&endpoint->v6.sin6_addr))
        return *endpoint;
    memcpy(&v4.v4.sin_addr, &endpoint->v6.sin6_addr.s6_addr[12], sizeof(v4.v4.sin_addr));
    return v4;
}
