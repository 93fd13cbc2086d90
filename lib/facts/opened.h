/*
 * opened.h - which end of a connection called connect().
 */
#ifndef OPENED_H
#define OPENED_H

#include <stddef.h>
#include <stdint.h>

#include "tidewait/socket_row.h"

/* From the kernel's struct tcp_info, which may be shorter than ours (older kernels) or NULL; the
 * row has state and send_queue. TW_UNKNOWN unless it is certain. */
enum tw_known opened_by_us(const struct tw_socket_row *row, const void *info, size_t len);

#endif
