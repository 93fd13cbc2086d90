/* mini.h - which sockets the kernel has shrunk to what it keeps for a TIME_WAIT. */
#ifndef LIB_RULES_MINI_H
#define LIB_RULES_MINI_H

#include <netinet/tcp.h>

#include "tidewait/socket_row.h"

/* close() in FIN_WAIT_2 leaves the same small record as TIME_WAIT does, without inode and user. */
static inline bool is_mini(const struct tw_socket_row *socket)
{
    return socket->state == TCP_TIME_WAIT ||
           (socket->state == TCP_FIN_WAIT2 && !socket->inode && !socket->uid);
}

#endif
