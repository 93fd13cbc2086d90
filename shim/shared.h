/*
 * shared.h - what `tidewait exec` and the shims in the processes that it runs have in common: one
 * file in /dev/shm, mapped by all.
 *
 * The kernel decides about every tuple; what stands here only says where to look next. So nothing
 * can be lost by a crash, there is no lock, and a value that is torn or stale costs a second try at
 * most.
 *
 * `tidewait exec` fills all but the atomics before the first process starts; shims change only
 * those. The file must have shim_size() bytes before it is mapped, and must never become shorter
 * (SIGBUS); unlink() is harmless. A file that is missing, too short or of another version: the shim
 * lets every call pass.
 */
#ifndef SHARED_H
#define SHARED_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rule.h"

#define SHIM_MAGIC     0x74776169u
#define SHIM_VERSION   1
#define SHIM_PORTS_MAX 65535
#define SHIM_LANES     256 /* what `exec` takes: 15 MB of addresses with the default range of ports */
#define SHIM_LANES_MAX 65536
#define SHIM_RULES     64
#define SHIM_TOLD      256
#define SHIM_ENV       "TIDEWAIT_SHIM" /* the path of the file */

/*
 * The ports of one lane: a hash of its addresses. Two lanes that collide share the ring and its
 * marks, which costs tries and nothing else.
 *
 * A mark: bit 15, the port was used in this run (or the kernel refused it), so its tuple may be in
 * TIME_WAIT; bits 12-14, how often it was refused in a row; bits 0-11, the second since `started`,
 * modulo 4096, until which nobody else may try it. Bits 0-14 all 0: at once.
 */
struct shim_lane {
    _Atomic uint32_t cursor; /* into the ring, modulo port_count */
    _Atomic uint32_t
        owner; /* whose source and takeover stand here: another hash of the lane; 0: nobody's */
    _Atomic uint64_t
        source[2]; /* the address that the kernel takes for it, learnt from a connection */
    _Atomic uint32_t takeover; /* enum shim_takeover */
    _Atomic uint32_t recent;   /* a port that was used lately; 0: none */
    _Atomic uint16_t marks[];  /* by place in the ring */
};

/* Whether connect() takes our own TIME_WAIT over: only when both ends use timestamps. */
enum shim_takeover { SHIM_TAKEOVER_UNKNOWN, SHIM_TAKEOVER_YES, SHIM_TAKEOVER_NO };

enum shim_counter {
    SHIM_CONNECTS,   /* connect() of TCP to an address, that a rule fits */
    SHIM_MANAGED,    /* of these with a port of ours */
    SHIM_PORT_TRIES, /* a port was passed over: taken, closing, or refused by the kernel */
    SHIM_TAKEN_OVER, /* connections in place of an own TIME_WAIT; left to itself the kernel refuses
                      * these, or waits 1 s where tcp_tw_reuse allows it */
    SHIM_CONNECT_FAILED, /* EADDRNOTAVAIL, EADDRINUSE, EACCES that the program got all the same */
    SHIM_BINDS,          /* bind() of TCP and UDP that a rule fits */
    SHIM_BIND_RETRIES,
    SHIM_BIND_FAILED,
    SHIM_LISTENS,
    /* Only with `watch_closes`: who closed first, as it looks at each close() of a TCP connection.
     * A connection that several descriptors share is counted for each. */
    SHIM_CLOSED_BY_US,
    SHIM_CLOSED_BY_PEER,
    SHIM_CLOSED_BEFORE, /* over already: reset, or shut down by both ends */
    SHIM_COUNTERS,
};

struct shim_shared {
    uint32_t magic, version;
    uint64_t started_ns; /* CLOCK_MONOTONIC */
    char events[64];     /* abstract name of the supervisor's datagram socket; empty: tell nobody */
    uint64_t interval_ns; /* an explanation once per cause and interval; 0: every time */
    bool watch_closes;
    uint16_t kernel_first, kernel_last; /* ip_local_port_range */
    uint32_t rule_count;
    struct shim_rule rules[SHIM_RULES];
    uint32_t lane_count;                /* a power of two, SHIM_LANES_MAX at most */
    uint32_t port_count;                /* 0: no port is managed */
    uint16_t ports[SHIM_PORTS_MAX];     /* the ring: a permutation, in the order of the tries */
    _Atomic uint32_t turns[SHIM_RULES]; /* of the `from` addresses */
    _Atomic uint64_t told[SHIM_TOLD];   /* hash of the cause, and the second when it was told */
    _Atomic uint64_t counters[SHIM_COUNTERS];
    _Alignas(64) unsigned char lanes[]; /* shim_lane_size() bytes each */
};

static inline size_t shim_lane_size(uint32_t port_count)
{
    return (sizeof(struct shim_lane) + port_count * sizeof(uint16_t) + 63) / 64 * 64;
}

static inline size_t shim_size(uint32_t lane_count, uint32_t port_count)
{
    return offsetof(struct shim_shared, lanes) + lane_count * shim_lane_size(port_count);
}

/* What a shim tells the supervisor when an address is refused (SOCK_DGRAM); it waits up to 1 s for
 * one byte back, so that the explanation stands before what the program writes itself. */
struct shim_event {
    uint32_t size;
    int32_t pid;
    int32_t fd;
    uint8_t call;     /* enum shim_call */
    uint8_t protocol; /* IPPROTO_TCP, IPPROTO_UDP */
    int32_t code;     /* errno */
    uint32_t uid;
    uint64_t
        wait_ns; /* not refused yet: tried again for so long; 0: the program gets the error now */
    bool reuseaddr, reuseport, v6only;
    uint8_t local[28], remote[28]; /* struct sockaddr_in or _in6; family 0: none */
};

enum shim_call { SHIM_BIND, SHIM_LISTEN, SHIM_CONNECT };

#endif
