/*
 * socket_row.h - one TCP or UDP socket as the kernel reported it: plain data, no calls to the
 * kernel.
 *
 * Rows are values: copy them, nothing to free. What the kernel did not say is 0 or TW_UNKNOWN and
 * never guessed. Any thread may call the functions, also after fork().
 */
#ifndef TIDEWAIT_SOCKET_ROW_H
#define TIDEWAIT_SOCKET_ROW_H

#include <stdbool.h>
#include <stdint.h>

#include "tidewait/address.h"

#ifdef __cplusplus
extern "C" {
#endif

/* States as in tcp(7) and <netinet/tcp.h> (TCP_ESTABLISHED = 1 .. TCP_CLOSING = 11), as a mask. */
#define TW_STATE_MASK(state) (1u << (state))
#define TW_STATES_ALL        0xffeu

/* A yes or no that may not be visible to this user or on this kernel. */
enum tw_known { TW_UNKNOWN, TW_NO, TW_YES };

struct tw_socket_row {
    uint8_t protocol; /* IPPROTO_TCP or IPPROTO_UDP */
    uint8_t state; /* TCP_ESTABLISHED ..; TCP_CLOSE: bound, but neither listening nor connected */
    uint8_t
        reuseaddr; /* enum tw_known: SO_REUSEADDR; the kernel tells only through the descriptor */
    uint8_t reuseport; /* enum tw_known: SO_REUSEPORT; likewise */
    uint8_t opened;    /* enum tw_known: this end called connect(), it did not accept(); only when
                        * the query asked for it, and only when it is certain: not of one
                        * that sent or was acknowledged within the last 20 ms */
    bool v6only;       /* IPV6_V6ONLY of an IPv6 socket */
    bool mptcp;        /* a subflow of an MPTCP socket, or its listener; inode is that of the MPTCP
                        * socket. One that is only bound is not marked */
    struct tw_endpoint local;
    struct tw_endpoint remote; /* of LISTEN and of bound sockets: the wildcard, port 0 (after a
                                * failed or reset connection: whom it was connected to) */
    uint32_t device;           /* SO_BINDTODEVICE as interface index; 0: none */
    uint32_t uid;
    uint32_t inode;         /* 0: no process has it (TIME_WAIT, orphan, not accepted yet) */
    uint32_t expires_ms;    /* of TIME_WAIT and of orphans in FIN_WAIT_2: until it is gone; else 0,
                             * and 0 while an orphan's tcp_fin_timeout has more than 60 s to go */
    uint32_t receive_queue; /* bytes not read yet; of LISTEN: connections that wait for accept() */
    uint32_t send_queue;    /* bytes not acknowledged; of LISTEN: the backlog */
    uint64_t cookie;        /* names this very socket for as long as it lives; 0 when not known */
};

/* "LISTEN", "TIME-WAIT", ... as ss(8) and RFC 9293 write them; TCP_CLOSE of TCP is "BOUND", of UDP
 * "UNCONN". Never NULL. */
const char *tw_state_name(uint8_t protocol, uint8_t state);

/* The same endpoint with ::ffff:a.b.c.d written as a.b.c.d, which is how the kernel compares it. */
struct tw_endpoint tw_endpoint_unmap(const struct tw_endpoint *endpoint);

#ifdef __cplusplus
}
#endif
#endif
