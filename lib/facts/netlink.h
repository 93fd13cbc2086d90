/*
 * netlink.h - one question to the kernel by netlink, and its answers.
 */
#ifndef FACTS_NETLINK_H
#define FACTS_NETLINK_H

#include <libmnl/libmnl.h>

/* Sends the request on a socket of its own and gives each answer to `visit` (NULL: there are none)
 * until the kernel says that it is done: the request needs NLM_F_ACK or NLM_F_DUMP. A visitor may
 * be called anew from the first answer when a list changed while it was read. Returns 0 or -errno;
 * *step (may be NULL) is then what failed, "" when the kernel understood and refused. */
int facts_netlink_ask(int bus, struct nlmsghdr *request, mnl_cb_t visit, void *context,
                      const char **step);

/* The attribute of this type, of a message whose own header has `header` bytes or within another
 * attribute (NULL: none). NULL when it is not there or has fewer than `least` bytes. */
const struct nlattr *facts_attribute(const struct nlmsghdr *message, size_t header, uint16_t type,
                                     size_t least);
const struct nlattr *facts_nested(const struct nlattr *nest, uint16_t type, size_t least);

#endif
