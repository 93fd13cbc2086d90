/*
 * kernel_sockets.h - sockets that belong to the kernel itself: tunnels, NFS, WireGuard.
 *
 * No process has such a socket open, and none can be ended to free its port. Plain values; nothing
 * to free. Any thread may call, also after fork(); the network namespace is that of the calling
 * thread.
 */
#ifndef TIDEWAIT_KERNEL_SOCKETS_H
#define TIDEWAIT_KERNEL_SOCKETS_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TW_KERNEL_SOCKET_MAX 96

/* What in the kernel has this port of IPPROTO_TCP or IPPROTO_UDP: "vxlan device vx0", "NFS server
 * (nfsd)". It begins with "maybe" when a service that is there usually has the port, but the kernel
 * does not tell. The port of WireGuard is told with CAP_NET_ADMIN alone, those of NFS to root.
 * Returns 0; -ENOENT when nothing is known to have it; or -errno. */
int tw_kernel_socket_find(uint8_t protocol, uint16_t port, char owner[TW_KERNEL_SOCKET_MAX]);

#ifdef __cplusplus
}
#endif
#endif
