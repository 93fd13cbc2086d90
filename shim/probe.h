/*
 * probe.h - what the kernel has on one tuple, asked by a socket of its own that is closed again: no
 * descriptor stays that a program could close, count or be handed (sock_diag(7); without
 * privilege).
 */
#ifndef PROBE_H
#define PROBE_H

#include "endpoint.h"

enum probe_answer {
    PROBE_FREE,      /* nothing, or a listener, which is bind()'s affair */
    PROBE_TIME_WAIT, /* connect() takes it over when the ends have timestamps */
    PROBE_CLOSING,   /* a connection on its way out; FIN_WAIT2 too: to take it over costs a second,
                      * and   the peer a reset */
    PROBE_TAKEN,     /* a connection */
    PROBE_UNKNOWN,   /* no descriptor left, or netlink is forbidden */
};

struct probe {
    enum probe_answer answer;
    uint32_t left_s;      /* of TIME_WAIT, rounded up */
    bool timestamps_told; /* a connection, with what it negotiated */
    bool timestamps;
};

/* `device`: the interface that the asker's socket is bound to; 0: none. */
struct probe probe_tuple(const struct endpoint *local, const struct endpoint *remote, int device,
                         bool want_timestamps);

/* The source address that the kernel chooses for the way to `remote`. */
bool probe_source(const struct endpoint *remote, struct endpoint *source);

#endif
