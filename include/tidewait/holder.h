/*
 * holder.h - which process owns a listening port, as far as this user may see. Plain values,
 * nothing to free; any thread may call.
 */
#ifndef TIDEWAIT_HOLDER_H
#define TIDEWAIT_HOLDER_H

#include <stdint.h>

#include "tidewait/address.h"

#ifdef __cplusplus
extern "C" {
#endif

struct tw_holder {
    uint8_t state;            /* of the blocking socket: TCP_LISTEN, TCP_CLOSE (bound only), ... */
    struct tw_endpoint local; /* what it is bound to */
    uint32_t uid;
    int pid;       /* 0: no process can be named (hidden, or nobody has it open) */
    char comm[32]; /* its command; empty without pid */
};

/* Finds a socket that keeps `local` from being bound and listened on, and its process. Returns 0;
 * -ENOENT when no such socket can be seen; -errno when the kernel would not answer. */
int tw_holder_find(const struct tw_endpoint *local, struct tw_holder *out);

#ifdef __cplusplus
}
#endif
#endif
