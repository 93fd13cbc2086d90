/*
 * lease.h - ports that nobody else takes: neither the kernel for bind(0) or connect(), nor another
 * lease.
 *
 * A lease is a port number with the descriptors that keep it: plain values, owned by the caller,
 * all of them close-on-exec. It is given back by tw_lease_release(), or by the end of the last
 * process that has them open. Functions return 0 or -errno. Any thread may call, and a child after
 * fork() has the lease too; the network namespace is that of the calling thread.
 *
 * What excludes whom:
 *
 * - `name`, an abstract Unix socket, keeps out other leases of this network namespace and nobody
 *   else.
 * - `tcp` and `udp`, bound to the wildcards of IPv4 and IPv6, keep out everybody, until they are
 *   shared or yielded.
 *
 * The kernel chooses ports of ip_local_port_range alone. So on all others the name is enough: what
 * remains is a program that asks for this very number.
 */
#ifndef TIDEWAIT_LEASE_H
#define TIDEWAIT_LEASE_H

#include <stddef.h>
#include <stdint.h>

#include "tidewait/error.h"
#include "tidewait/ports.h"

#ifdef __cplusplus
extern "C" {
#endif

struct tw_lease {
    uint16_t port;
    int name; /* each descriptor is -1 when it was given up */
    int tcp;  /* bound to [::] for both families (0.0.0.0 without IPv6); not listening */
    int udp;
};

/* The ports for leases where nobody asks for others: from 10000 on, less those that the kernel
 * chooses from, ip_local_reserved_ports, and those of /etc/services. May be empty. */
void tw_lease_pool(struct tw_ports *out);

/* Takes `count` ports of the pool on which there is nothing, neither of TCP nor of UDP, not even a
 * TIME_WAIT; in rising order, from a random one on. All or none. As long as nobody but leases takes
 * ports of the pool, it fails only when there really are not enough. -EADDRINUSE: not enough are
 * free; -EACCES: those below ip_unprivileged_port_start need CAP_NET_BIND_SERVICE; -EMFILE: a lease
 * needs three descriptors. */
int tw_lease_take(const struct tw_ports *pool, size_t count, struct tw_lease *out,
                  struct tw_error *error);

/* Lets in who binds with SO_REUSEADDR, or as the same user with SO_REUSEPORT, to listen by TCP; the
 * kernel's choice and all others stay out. The UDP socket is closed: it would take datagrams, and
 * bind(0) with SO_REUSEADDR does choose ports of UDP sockets that have it too. */
int tw_lease_share(struct tw_lease *lease);

/* Closes the sockets and keeps the name: whoever asks for the number gets it. */
void tw_lease_yield(struct tw_lease *lease);

/* Leaves the port in TIME_WAIT, on 127.0.0.1 and ::1, and closes all: for 60 s it is as if shared,
 * without a process. bind(0) to another address of this host may take it, and UDP has no TIME_WAIT.
 * -ENETUNREACH: the loopback interface is down; -ENOBUFS: tcp_max_tw_buckets is reached. On failure
 * nothing is parked and the lease is as after tw_lease_share(). */
int tw_lease_park(struct tw_lease *lease, struct tw_error *error);

/* Closes what is open. Nothing is done to a lease that was given back already. */
void tw_lease_release(struct tw_lease *lease);

#ifdef __cplusplus
}
#endif
#endif
