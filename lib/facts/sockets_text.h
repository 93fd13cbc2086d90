/*
 * sockets_text.h - /proc/net/tcp, tcp6, udp and udp6, for processes that may not use netlink.
 *
 * The text has neither bound sockets nor devices, IPV6_V6ONLY, backlogs or cookies.
 */
#ifndef SOCKETS_TEXT_H
#define SOCKETS_TEXT_H

#include "sockets_query.h"
#include "tidewait/parse.h"

/* Reads one line but the heading. Writes *out on success only; returns 0 or -EINVAL. */
int sockets_text_parse(struct tw_view line, uint8_t protocol, int family, struct tw_socket_row *out,
                       struct tw_error *error);

/* Visits the sockets of one family. Returns 0, the visitor's value, or -errno. */
int sockets_text_each(const struct listing *listing, int family);

#endif
