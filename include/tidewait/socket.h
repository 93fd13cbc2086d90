/*
 * socket.h - listening, connecting and closing done right.
 *
 * Functions return a descriptor or 0, or -errno with a text in *error that names the address. The
 * caller owns every descriptor returned. All descriptors are close-on-exec. Any thread may call,
 * also after fork(); descriptors are shared with the child like any other.
 */
#ifndef TIDEWAIT_SOCKET_H
#define TIDEWAIT_SOCKET_H

#include <stdbool.h>
#include <stdint.h>

#include "tidewait/address.h"
#include "tidewait/error.h"

#ifdef __cplusplus
extern "C" {
#endif

/* --- listening ----------------------------------------------------------------------------- */

struct tw_listen_opts {
    int backlog;    /* 0: as much as the kernel allows (somaxconn) */
    bool share;     /* SO_REUSEPORT: several sockets of one user share the port, one a thread */
    bool free_bind; /* IP_FREEBIND: the address need not be on this host yet */
    bool nonblocking;
};

/* A listening TCP socket. SO_REUSEADDR is set, so a TIME_WAIT of an earlier server does not block,
 * and the connections accepted from this socket will not block the next server; on Linux it does
 * not let two servers listen on one endpoint. IPV6_V6ONLY is set: [::] does not claim IPv4 as well.
 * Errors: EADDRINUSE, EADDRNOTAVAIL, EACCES, and those of socket(2). */
int tw_listen(const struct tw_endpoint *local, const struct tw_listen_opts *opts,
              struct tw_error *error);

/* --- connecting ------------------------------------------------------------------------------ */

struct tw_source_opts {
    bool free_bind; /* IP_FREEBIND: the address need not be configured on an interface */
    bool lean;      /* the handshake's last ACK travels with the first data (one segment fewer) */
    /* connect() chooses the port: the socket is bound to the address alone
     * (IP_BIND_ADDRESS_NO_PORT), to a wildcard not at all, and SO_REUSEADDR is not set. It takes
     * over no TIME_WAIT but as tcp_tw_reuse says, and is good for one connection. */
    bool kernel_port;
};

/* A non-blocking TCP socket bound to `local` with SO_REUSEADDR, ready for connect(). With an
 * explicit port this is what lets the kernel take over our own TIME_WAIT on the tuple. No text is
 * made: on the hot path the errno is the answer (EADDRINUSE: somebody holds the port;
 * EADDRNOTAVAIL: the address is not on this host; EMFILE, ENFILE: no descriptors). */
int tw_source_open(const struct tw_endpoint *local, const struct tw_source_opts *opts);

/* Whether the kernel is done with the last connection of this socket, its last ACK included: only
 * then may tw_source_renew() follow without a stray reset. */
bool tw_source_is_closed(int fd);

/* Takes the socket back to the state after tw_source_open(), its port still bound unless it was 0
 * (the kernel gives up a port that it chose itself): connect() may follow at once. A connection
 * that is still open is ended by a reset. Returns 0 or -errno. */
int tw_source_renew(int fd);

/* --- closing --------------------------------------------------------------------------------- */

/* Who ended a connection; the one who closes first keeps TIME_WAIT. */
enum tw_closer {
    TW_CLOSER_NONE,  /* not ended within the time limit */
    TW_CLOSER_PEER,  /* the peer's EOF had come before we closed */
    TW_CLOSER_US,    /* we closed first, then the peer's EOF came */
    TW_CLOSER_RESET, /* ended by a reset */
};

/* Closes without losing data: sends our EOF, reads (and discards) until the peer's EOF or until
 * timeout_ns have passed, then closes the descriptor in any case. Blocks at most that long. Leaving
 * unread data behind would turn the close into a reset that destroys what we sent. */
enum tw_closer tw_close_politely(int fd, uint64_t timeout_ns);

/* Waits for the peer to close first, then closes: TIME_WAIT stays with the peer. After timeout_ns
 * without its EOF closes all the same and returns TW_CLOSER_US. Data read meanwhile is discarded.
 */
enum tw_closer tw_close_after_peer(int fd, uint64_t timeout_ns);

/* Closes with a reset: no TIME_WAIT on either side; data that the peer has not received is lost. */
void tw_close_reset(int fd);

/* True when the kernel holds data that was not read yet: closing now would send a reset. */
bool tw_has_unread(int fd);

#ifdef __cplusplus
}
#endif
#endif
