/*
 * limits.h - the kernel's limits that decide how many connections this host can open.
 *
 * Plain values, read once; nothing to free. What cannot be read (an old kernel, a hidden /proc)
 * is TW_LIMIT_UNKNOWN and never guessed. Limits of IP are those of the calling thread's network
 * namespace. Any thread may call, also after fork().
 */
#ifndef TIDEWAIT_LIMITS_H
#define TIDEWAIT_LIMITS_H

#include <stdint.h>

#include "tidewait/ports.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TW_LIMIT_UNKNOWN (-1)

/* How long a closed connection stays in TIME_WAIT at most. The kernel's constant is 60 s
 * (TCP_TIMEWAIT_LEN); its timer wheel rounds that up. Measured on 6.18: 60.1 to 62.2 s. No sysctl
 * changes it; tcp_fin_timeout does not. */
#define TW_TIME_WAIT_NS 62200000000ULL

struct tw_limits {
    uint16_t port_first;       /* ip_local_port_range: the ports that the kernel chooses from */
    uint16_t port_last;        /* 0 when it cannot be read */
    struct tw_ports reserved;  /* ip_local_reserved_ports: the kernel never chooses these itself */
    int64_t tw_reuse;          /* tcp_tw_reuse: 0 off, 1 on, 2 loopback only */
    int64_t timestamps;        /* tcp_timestamps: 0 off, 1 on with random offset, 2 on */
    int64_t fin_timeout_s;     /* tcp_fin_timeout: orphans in FIN_WAIT_2, not TIME_WAIT */
    int64_t max_tw_buckets;    /* tcp_max_tw_buckets: TIME_WAITs beyond it are dropped */
    int64_t tw_reuse_delay_ms; /* tcp_tw_reuse_delay: TIME_WAITs younger than it are not
                                * reused; 1000 where the kernel has no such setting */
    int64_t autobind_reuse;    /* ip_autobind_reuse: bind() to port 0 shares ports */
    int64_t unprivileged_port_start; /* ip_unprivileged_port_start: ports below it need
                                      * CAP_NET_BIND_SERVICE */
    int64_t conntrack_count;         /* nf_conntrack_count: connections tracked in this network */
    int64_t conntrack_max;           /* nf_conntrack_max; both unknown without conntrack */
    int64_t somaxconn;               /* the most connections that wait in one accept queue */
    int64_t syn_backlog;             /* tcp_max_syn_backlog */
    int64_t files_soft;              /* RLIMIT_NOFILE of this process */
    int64_t files_hard;
    int64_t files_system; /* fs.file-max */
};

void tw_limits_read(struct tw_limits *out);

/* The ports that the kernel itself may choose for connect(): the range less the reserved ports. */
void tw_limits_ephemeral(const struct tw_limits *limits, struct tw_ports *out);

/* Raises the soft limit of descriptors of this process to its hard limit; returns the soft limit.
 */
int64_t tw_limits_raise_files(void);

#ifdef __cplusplus
}
#endif
#endif
