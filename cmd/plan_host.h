/*
 * plan_host.h - which system a plan is for: this host, one whose limits stand in a file, or one by
 * its documented defaults; each with single limits changed.
 */
#ifndef PLAN_HOST_H
#define PLAN_HOST_H

#include "options.h"
#include "plan.h"

/* What was typed; NULL: not given. */
struct plan_host {
    const char *os;
    const char *limits; /* a file */
    const char *range;
    const char *reserved;
    const char *tw_reuse;
    const char *tw_reuse_delay;
    const char *time_wait;
    const char *timestamps;
    const char *files;
    const char *time_waits;
    const char *conntrack;
    const char *somaxconn;
    const char *nat;
};

/* clang-format off */
#define PLAN_HOST_ROW(at, member, option, values, text)                                            \
    {.name = (option), .metavar = (values), .parse = option_text,                                  \
     .offset = (at) + offsetof(struct plan_host, member), .help = (text)}

/* Rows for an option table whose config struct has a `struct plan_host` at this offset. */
#define PLAN_HOST_ROWS(at)                                                                         \
    PLAN_HOST_ROW(at, os, "os", "NAME",                                                            \
                  "Plan for another system with its documented defaults: linux, windows, "         \
                  "freebsd, macos, ..."),                                                          \
    PLAN_HOST_ROW(at, limits, "limits", "FILE",                                                    \
                  "Plan for another Linux host: lines such as net.ipv4.tcp_tw_reuse = 1, as "      \
                  "'sysctl -a' prints them; what is not there has the kernel's default."),         \
    PLAN_HOST_ROW(at, range, "range", "RANGE", "With this ip_local_port_range: 1024-65535."),      \
    PLAN_HOST_ROW(at, reserved, "reserved", "LIST",                                                \
                  "With these ip_local_reserved_ports: 3306,8080-8090."),                          \
    PLAN_HOST_ROW(at, tw_reuse, "tw-reuse", "0|1|2",                                               \
                  "With this tcp_tw_reuse: 0 off, 1 on, 2 on the loopback only."),                 \
    PLAN_HOST_ROW(at, tw_reuse_delay, "tw-reuse-delay", "TIME",                                    \
                  "With this tcp_tw_reuse_delay: 1ms to 60s."),                                    \
    PLAN_HOST_ROW(at, time_wait, "time-wait", "TIME",                                              \
                  "With a TIME_WAIT of this length; on Linux no setting changes it."),             \
    PLAN_HOST_ROW(at, timestamps, "timestamps", "on|off", "With these tcp_timestamps."),           \
    PLAN_HOST_ROW(at, files, "files", "N", "With so many descriptors for one process."),           \
    PLAN_HOST_ROW(at, time_waits, "time-waits", "N", "With this tcp_max_tw_buckets."),             \
    PLAN_HOST_ROW(at, conntrack, "conntrack", "N",                                                 \
                  "With so many entries of connection tracking left for these connections."),      \
    PLAN_HOST_ROW(at, somaxconn, "somaxconn", "N",                                                 \
                  "With an accept queue of this length at the server."),                           \
    PLAN_HOST_ROW(at, nat, "nat", "NAME|ports=N[,hold=TIME]",                                      \
                  "Through a gateway that translates addresses: aws, gcp, azure, or its ports "    \
                  "for one destination and how long one rests.")
/* clang-format on */

/* `loopback`: every destination is on the same host. *is_here says that it is this host, so that
 * its sockets count. Returns 0, or -errno with the option's or the file's name and the offending
 * text. */
int plan_host_system(const struct plan_host *host, bool loopback, struct plan_system *out,
                     bool *is_here, struct tw_error *error);

/* No gateway without --nat. */
int plan_host_nat(const struct plan_host *host, struct plan_nat *out, struct tw_error *error);

/* Counts the ports of this host's range on which a socket is bound other than by connect(): they
 * are lost for every destination. Subtracts them in *system, and tells their number. */
int plan_host_count_lost(const struct plan_host *host, struct plan_system *system,
                         struct tw_error *error);

#endif
