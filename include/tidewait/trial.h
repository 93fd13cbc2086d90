/*
 * trial.h - asks the kernel itself: the very bind() in question, tried and given back at once.
 *
 * Plain values; nothing to free. Any thread may call, also after fork(); the network namespace is
 * that of the calling thread.
 */
#ifndef TIDEWAIT_TRIAL_H
#define TIDEWAIT_TRIAL_H

#include <stdbool.h>
#include <stdint.h>

#include "tidewait/address.h"
#include "tidewait/error.h"

#ifdef __cplusplus
extern "C" {
#endif

struct tw_trial {
    uint8_t protocol; /* IPPROTO_TCP, IPPROTO_UDP */
    struct tw_endpoint local;
    bool reuseaddr;
    bool reuseport;
    bool v6only;        /* set either way on an IPv6 socket, whatever net.ipv6.bindv6only says */
    const char *device; /* SO_BINDTODEVICE; NULL: none */
    bool as_other;      /* ask as user `uid`: without capabilities, unless that is root */
    uint32_t uid;
};

/* Returns 0 when bind() succeeds, else -errno of bind(). When the question could not be put (no
 * socket, no such device, not allowed to become the user) *tried is false and the return value says
 * why. The socket never listens and is closed at once: no client of TCP can reach it, and nothing
 * is left behind. But while it lives, a few microseconds, another bind() to the port may be
 * refused; and a UDP trial that succeeds beside a socket with the same SO_REUSEADDR or SO_REUSEPORT
 * is given datagrams meant for that one, which are lost.
 *
 * To ask as another user a thread is started that becomes that user and ends with the answer; no
 * other thread ever changes. The kernel makes a process undumpable when one of its threads does
 * so; that is undone, unless several threads ask as another user at the same time. */
int tw_trial_bind(const struct tw_trial *trial, bool *tried, struct tw_error *error);

/* The source address, and the port, that the kernel would use for UDP to `remote`, by way of
 * connect(), which sends nothing. `source` (may be NULL) is bound first; its port may be 0. Returns
 * 0 or -errno: ENETUNREACH and EHOSTUNREACH without a route, EADDRNOTAVAIL for a source that is not
 * local, and with all UDP ports in use EAGAIN, or EADDRINUSE when there is a source. *chosen is
 * written only on success. */
int tw_trial_connect_udp(const struct tw_endpoint *remote, const struct tw_endpoint *source,
                         struct tw_endpoint *chosen);

#ifdef __cplusplus
}
#endif
#endif
