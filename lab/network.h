/*
 * network.h - links and addresses of the calling process's network namespace, by rtnetlink.
 *
 * Functions return 0 or -errno with the words in *error.
 */
#ifndef NETWORK_H
#define NETWORK_H

#include "tidewait/address.h"
#include "tidewait/error.h"

/* A pair of interfaces of this name, one here and one in the namespace of the descriptor. */
int network_add_veth(const char *name, int peer_netns, struct tw_error *error);

int network_bring_up(const char *name, struct tw_error *error);

/* Sees to it that an interface that has just got its carrier can send: until the kernel has
 * noticed, which takes up to a second, what is sent is dropped. To ask for the link makes it notice
 * (6.8; linkwatch_sync_dev()). */
int network_settle(const char *name, struct tw_error *error);

/* An address with its network; usable at once, also of IPv6. */
int network_add_address(const char *name, const struct tw_endpoint *address, unsigned prefix_len,
                        struct tw_error *error);

#endif
