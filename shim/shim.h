/*
 * shim.h - what the parts of the shim have in common.
 *
 * Nothing in here allocates, locks, prints, or keeps a descriptor or a table of descriptors: what
 * has to be remembered about a socket is asked of the kernel, so that fork, dup2, exec, vfork and
 * closing everything cannot make it wrong.
 *
 * What the kernel does, measured on Linux 6.18:
 * - A port given to bind() cannot be given up: after connect() was refused (EADDRNOTAVAIL) another
 *   bind() is EINVAL, and neither connect(AF_UNSPEC) nor listen() and disconnecting changes that.
 * So a tuple has to be right before the bind().
 * - IP_LOCAL_PORT_RANGE of one port and connect() without bind() takes exactly that port (if it is
 * in ip_local_port_range, else the option counts for nothing), can be refused in 0.5 us and tried
 * again with another; but it never takes over our own TIME_WAIT (on loopback after 1 s, by
 * tcp_tw_reuse), and is refused for each port that somebody bound explicitly, whatever the
 * destination.
 * - The same with bind() to port 0 in between has no such lock, but is refused for each port on
 * which there is any socket, TIME_WAIT too (unless ip_autobind_reuse is set).
 * - bind(port) with SO_REUSEADDR and connect() takes over our own TIME_WAIT if that has
 * SO_REUSEADDR and timestamps, even one that was made by way of the range.
 * - One exact tuple asked of sock_diag: 1 us, 3.1 us with a socket opened and closed for it.
 * Hence: a port that this run has not used yet goes by way of the range, which is cheaper than
 * bind() and harmless when it is refused. One that was used or refused is asked about, then bound.
 * - After IP_BIND_ADDRESS_NO_PORT and bind(address, 0), both a bind() with the option cleared and
 *   listen() give a real port.
 */
#ifndef SHIM_H
#define SHIM_H

#include <time.h>

#include "ring.h"
#include "rule_match.h"

struct shim {
    struct shim_shared *shared;
    struct ring ring;
};

/* The next definitions of what we interpose; before our constructor ran the kernel itself. */
int next_bind(int fd, const struct sockaddr *address, socklen_t len);
int next_listen(int fd, int backlog);
int next_connect(int fd, const struct sockaddr *address, socklen_t len);

/* The calls themselves, with the rule that fits. errno is as the kernel gave it. */
struct outgoing {
    int fd;
    const struct sockaddr *address;
    socklen_t len;
    struct endpoint to;
    const struct shim_rule *rule;
};

int connect_outgoing(const struct shim *shim, const struct outgoing *out);
struct incoming {
    int fd;
    const struct sockaddr *address;
    socklen_t len;
    struct endpoint local;
    uint8_t protocol;
    const struct shim_rule *rule;
};

int bind_incoming(const struct shim *shim, const struct incoming *in);
int listen_incoming(const struct shim *shim, int fd, int backlog, const struct endpoint *local,
                    const struct shim_rule *rule);

/* bind() of TCP to port 0 that takes the address alone, as a mark on the socket tells. False: not
 * here, or refused; then nothing has changed. */
bool bind_late(int fd, const struct sockaddr *address, socklen_t len);

/* Gives such a socket its port; one that has no mark is left alone. Returns whether it did. */
bool bind_now(int fd);

/* Sets SO_REUSEADDR where bind() has left that for later. */
void reuse_now(int fd);

/* IPPROTO_TCP also for MPTCP; IPPROTO_UDP; 0: neither, or no socket. */
uint8_t protocol_of(int fd);
bool local_of(int fd, struct endpoint *local, int *family);

static inline void shim_count(const struct shim *shim, enum shim_counter counter)
{
    atomic_fetch_add_explicit(&shim->shared->counters[counter], 1, memory_order_relaxed);
}

/* Seconds since the run began; some milliseconds late. */
uint32_t shim_now_s(const struct shim *shim);

/* Waits before the next try: `pause_ns` at first, then longer; false when `wait_ns` are over. */
struct patience {
    uint64_t pause_ns, until_ns;
};
bool patience_wait(struct patience *patience, uint64_t wait_ns);

/* Tells the supervisor about a refusal, or that it is tried again for wait_ns. */
void event_tell(const struct shim *shim, enum shim_call call, int fd, int code, uint64_t wait_ns,
                const struct endpoint *local, const struct endpoint *remote);

#endif
