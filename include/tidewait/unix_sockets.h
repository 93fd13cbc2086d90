/*
 * unix_sockets.h - the Unix sockets of this network namespace (unix(7)).
 *
 * Works without privilege. Rows are values given to a callback; nothing to free. Any thread may
 * call, also after fork().
 */
#ifndef TIDEWAIT_UNIX_SOCKETS_H
#define TIDEWAIT_UNIX_SOCKETS_H

#include <stdbool.h>
#include <stdint.h>

#include "tidewait/blind.h"
#include "tidewait/error.h"

#ifdef __cplusplus
extern "C" {
#endif

struct tw_unix_row {
    uint8_t type;        /* SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET */
    uint8_t state;       /* TCP_LISTEN, TCP_ESTABLISHED, TCP_CLOSE (bound or fresh), TCP_SYN_SENT */
    uint8_t path_len;    /* 0: not bound */
    char path[108];      /* as bound: an abstract one begins with NUL; no NUL at the end */
    uint32_t inode;      /* of the socket, as in /proc/PID/fd */
    uint32_t peer_inode; /* 0: none */
    uint32_t file_device; /* of the file that bind() made: major << 20 | minor of its st_dev, and */
    uint32_t file_inode;  /* st_ino; 0: none */
    uint32_t uid;
    uint32_t receive_queue; /* of a listener: connections that wait for accept() */
    uint32_t send_queue;    /* of a listener: the backlog */
};

typedef int tw_unix_visit(const struct tw_unix_row *row, void *context);

/* Visits every Unix socket; with `listening` only those in LISTEN. Blind spots are added to *blind
 * (may be NULL). Returns 0, the visitor's value, or -errno. */
int tw_unix_sockets_each(bool listening, tw_unix_visit *visit, void *context, unsigned *blind,
                         struct tw_error *error);

#ifdef __cplusplus
}
#endif
#endif
