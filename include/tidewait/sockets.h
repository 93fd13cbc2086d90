/*
 * sockets.h - the TCP and UDP sockets of this network namespace as the kernel reports them
 * (sock_diag(7)).
 *
 * Works without privilege. Rows are values given to a callback; nothing to free. Any thread may
 * call, also after fork(); the network namespace is that of the calling thread. Where netlink is
 * refused (seccomp) the text of /proc/net is read instead, and TW_BLIND_SOCK_DIAG says so.
 */
#ifndef TIDEWAIT_SOCKETS_H
#define TIDEWAIT_SOCKETS_H

#include "tidewait/blind.h"
#include "tidewait/error.h"
#include "tidewait/socket_row.h"

#ifdef __cplusplus
extern "C" {
#endif

/* All zero asks for every TCP socket. */
struct tw_sockets_query {
    uint8_t protocol;                 /* IPPROTO_UDP, or IPPROTO_TCP (0 is the same) */
    int family;                       /* AF_INET, AF_INET6; 0: both */
    unsigned state_mask;              /* TW_STATE_MASK()s; 0: TW_STATES_ALL */
    uint16_t local_port;              /* 0: any */
    uint16_t remote_port;             /* 0: any */
    const struct tw_endpoint *remote; /* only those to this address, whatever its port; NULL: any.
                                       * ::ffff:a.b.c.d and a.b.c.d are the same */
    bool opened;                      /* fill row.opened: the kernel writes tcp_info for each row */
    unsigned *blind;                  /* enum tw_blind flags are added here; may be NULL */
};

/* Return 0 to go on, anything else to stop; that value is then returned by tw_sockets_each(). */
typedef int tw_socket_visit(const struct tw_socket_row *row, void *context);

/* Visits every socket that fits the query; the kernel filters where it can. Returns 0, the
 * visitor's value, or -errno. Cost measured on 6.18: LISTEN of one port 40 us, of one family 27 us;
 * 100,000 TIME_WAITs 30 ms. */
int tw_sockets_each(const struct tw_sockets_query *query, tw_socket_visit *visit, void *context,
                    struct tw_error *error);

/* Ends exactly this socket (SOCK_DESTROY): a connection is reset, a TIME_WAIT is dropped. By
 * cookie, so that a newer socket on the same tuple is never hit. Needs CAP_NET_ADMIN. Returns 0;
 * -ENOENT when it is gone already; -EBUSY when it shares its address with others (SO_REUSEPORT) and
 * the kernel finds one of those; -EINVAL for one that is only bound or has no cookie; -EPERM;
 * -EOPNOTSUPP when the kernel lacks CONFIG_INET_DIAG_DESTROY. */
int tw_socket_destroy(const struct tw_socket_row *row, struct tw_error *error);

#ifdef __cplusplus
}
#endif
#endif
