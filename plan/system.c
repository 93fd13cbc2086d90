#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "plan.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Above 1023 all ports can be had without a privilege. */
#define PORTS_UNPRIVILEGED 64512.0
#define PORTS_WINDOWS      64511.0 /* its range begins at 1025 at the lowest */

/* The kernel's own defaults of nf_conntrack_tcp_timeout_time_wait and _close. */
#define CONNTRACK_TIME_WAIT_S 120.0
#define CONNTRACK_CLOSE_S     10.0

/* More than any gateway has; a larger number is a mistake. */
#define NAT_PORTS_MAX 100000000

/* What is the same of every system on which no connections are tracked. */
#define UNTRACKED                                                      \
    .conntrack = INFINITY, .conntrack_close_s = CONNTRACK_TIME_WAIT_S, \
    .conntrack_reset_s = CONNTRACK_CLOSE_S

/* One port for one connection, no TIME_WAIT is ever taken over, nothing else is limited. */
#define PLAIN                                                                                     \
    .reuse_s = INFINITY, .reuse_possible_s = INFINITY, .time_waits = INFINITY, .files = INFINITY, \
    .accept_queue = INFINITY, UNTRACKED

static const struct plan_system systems[] = {
    {
        .name = "linux",
        .note = "Linux 5.4 and later to other hosts: 32768-60999, tcp_tw_reuse=2 (loopback only), "
                "somaxconn 4096 (kernel, ip-sysctl); 524288 files (systemd)",
        .ports = 28232,
        .ports_possible = PORTS_UNPRIVILEGED,
        .ports_setting = "ip_local_port_range",
        .ports_shared = true,
        .halves = true,
        .time_wait_s = PLAN_TIME_WAIT_S,
        .reuse_s = INFINITY,
        .reuse_possible_s = 1,
        .takeover = true,
        .time_waits = 262144,
        .files = 524288,
        .accept_queue = 4096,
        UNTRACKED,
    },
    {
        .name = "linux-4.1",
        .note = "Linux up to 4.1: 32768-61000, tcp_tw_reuse=0, somaxconn 128, 4096 files "
                "(kernel, ip-sysctl)",
        .ports = 28233,
        .ports_possible = PORTS_UNPRIVILEGED,
        .ports_setting = "ip_local_port_range",
        .ports_shared = true,
        .time_wait_s = 60,
        .reuse_s = INFINITY,
        .reuse_possible_s = 1,
        .takeover = true,
        .time_waits = 262144,
        .files = 4096,
        .accept_queue = 128,
        UNTRACKED,
    },
    {
        .name = "windows",
        .note =
            "Windows Vista, Server 2008 and later: 49152-65535, TIME_WAIT 240 s (Microsoft, "
            "\"Troubleshoot port exhaustion\"); ports are shared in an AutoReusePortRange only, "
            "which is off",
        .ports = 16384,
        .ports_setting = "netsh int ipv4 set dynamicport tcp",
        .time_wait_s = 240,
        .time_wait_possible_s = 30,
        .time_wait_setting = "TcpTimedWaitDelay",
        .ports_possible = PORTS_WINDOWS,
        PLAIN,
    },
    {
        .name = "windows-2003",
        .note = "Windows Server 2003: 1025-5000 (Microsoft KB 929851), TcpTimedWaitDelay 120 s "
                "(its registry reference)",
        .ports = 3976,
        .ports_setting = "MaxUserPort",
        .time_wait_s = 120,
        .time_wait_possible_s = 30,
        .time_wait_setting = "TcpTimedWaitDelay",
        .ports_possible = PORTS_WINDOWS,
        PLAIN,
    },
    {
        .name = "windows-xp",
        .note = "Windows 2000 and XP: 1025-5000 (Microsoft KB 929851), TcpTimedWaitDelay 240 s "
                "(registry reference of Windows 2000)",
        .ports = 3976,
        .ports_setting = "MaxUserPort",
        .time_wait_s = 240,
        .time_wait_possible_s = 30,
        .time_wait_setting = "TcpTimedWaitDelay",
        .ports_possible = PORTS_WINDOWS,
        PLAIN,
    },
    {
        .name = "freebsd",
        .note = "FreeBSD 14 and later: 10000-65535 (netinet/in.h), msl 30 s (tcp(4)); connect() "
                "shares ports between destinations since 13",
        .ports = 55536,
        .ports_setting = "net.inet.ip.portrange.first and .last",
        .ports_shared = true,
        .time_wait_s = 60,
        .time_wait_possible_s = 2,
        .time_wait_setting = "net.inet.tcp.msl",
        .ports_possible = PORTS_UNPRIVILEGED,
        PLAIN,
    },
    {
        .name = "macos",
        .note =
            "macOS: 49152-65535 (xnu, in_pcb.c), msl 15 s (tcp_timer.h); connect() takes a port "
            "for all destinations",
        .ports = 16384,
        .ports_setting = "net.inet.ip.portrange.first and .last",
        .time_wait_s = 30,
        .time_wait_possible_s = 2,
        .time_wait_setting = "net.inet.tcp.msl",
        .ports_possible = PORTS_UNPRIVILEGED,
        PLAIN,
    },
};

static const struct plan_nat gateways[] = {
    {
        .name = "aws",
        .note =
            "AWS NAT gateway, one address of up to 8: 55,000 connections to one destination, or "
            "about 900 new ones a second, so a port rests for about 60 s (VPC user guide)",
        .ports = 55000,
        .hold_s = 60,
        .hold_reset_s = 60,
    },
    {
        .name = "gcp",
        .note = "Google Cloud NAT: 64 ports for a machine unless told otherwise; TIME_WAIT 120 s, "
                "for gateways made since autumn 2026 30 s (after a reset: the same is assumed)",
        .ports = 64,
        .hold_s = 120,
        .hold_reset_s = 120,
    },
    {
        .name = "azure",
        .note =
            "Azure NAT gateway, one address of up to 16: 50,000 connections to one destination; "
            "a port rests 65 s after FIN, 16 s after RST (its resource page)",
        .ports = 50000,
        .hold_s = 65,
        .hold_reset_s = 16,
    },
    {
        .name = "azure-lb",
        .note =
            "Azure load balancer, default allocation: 1,024 ports for each of up to 50 machines; "
            "a port rests 240 s after FIN, 15 s after RST (its outbound connections page)",
        .ports = 1024,
        .hold_s = 240,
        .hold_reset_s = 15,
    },
    {
        .name = "linux",
        .note =
            "Linux masquerade with one address: ports 1024-65535, for as long as conntrack keeps "
            "the connection: 120 s after FIN, 10 s after RST (nf_conntrack-sysctl)",
        .ports = PORTS_UNPRIVILEGED,
        .hold_s = CONNTRACK_TIME_WAIT_S,
        .hold_reset_s = CONNTRACK_CLOSE_S,
    },
};

const struct plan_system *plan_system_at(size_t index)
{
    return index < COUNT(systems) ? &systems[index] : NULL;
}

const struct plan_nat *plan_nat_at(size_t index)
{
    return index < COUNT(gateways) ? &gateways[index] : NULL;
}

/* Appends to a list such as "linux, windows". */
static void append(char *list, size_t size, const char *separator, const char *text)
{
    size_t len = strlen(list);

    snprintf(list + len, size - len, "%s%.60s", len ? separator : "", text);
}

int plan_system_named(const char *name, struct plan_system *out, struct tw_error *error)
{
    char names[160] = "";

    for (size_t i = 0; i < COUNT(systems); i++) {
        if (strcmp(systems[i].name, name) == 0) {
            *out = systems[i];
            return 0;
        }
        append(names, sizeof(names), ", ", systems[i].name);
    }
    return tw_error_set(error, EINVAL, "'%.40s' is no system that is known; known are %s", name,
                        names);
}

/* ports=N[,hold=TIME] */
static int parse_gateway(struct tw_view rest, struct plan_nat *out, struct tw_error *error)
{
    struct plan_nat nat = {.name = "gateway"};
    uint64_t ports = 0, hold_ns;
    int rc;

    while (rest.data) {
        struct tw_view value = tw_view_cut(&rest, ','), key = tw_view_cut(&value, '=');

        if (tw_view_equals(key, "ports")) {
            rc = tw_parse_number(value, "ports", 1, NAT_PORTS_MAX, &ports, error);
        } else if (tw_view_equals(key, "hold")) {
            rc = tw_parse_duration(value, &hold_ns, error);
            nat.hold_s = nat.hold_reset_s = rc ? 0 : (double)hold_ns / 1e9;
        } else {
            rc = tw_error_set(error, EINVAL, "'%.*s' is neither ports=N nor hold=TIME",
                              (int)(key.len < 40 ? key.len : 40), key.data);
        }
        if (rc)
            return rc;
    }
    if (!ports)
        return tw_error_set(error, EINVAL,
                            "a gateway needs ports=N before hold=TIME means a thing");
    nat.ports = (double)ports;
    *out = nat;
    return 0;
}

int plan_nat_named(const char *text, struct plan_nat *out, struct tw_error *error)
{
    char names[80] = "";

    for (size_t i = 0; i < COUNT(gateways); i++) {
        if (strcmp(gateways[i].name, text) == 0) {
            *out = gateways[i];
            return 0;
        }
        append(names, sizeof(names), ", ", gateways[i].name);
    }
    if (strchr(text, '='))
        return parse_gateway(tw_view_of(text), out, error);
    return tw_error_set(error, EINVAL,
                        "'%.40s' is no gateway that is known; known are %s and "
                        "ports=N[,hold=TIME]",
                        text, names);
}

static double known_or_none(int64_t value)
{
    return value == TW_LIMIT_UNKNOWN ? INFINITY : (double)value;
}

static double conntrack_left(const struct tw_limits *limits)
{
    if (limits->conntrack_max == TW_LIMIT_UNKNOWN || limits->conntrack_count == 0)
        return INFINITY;
    if (limits->conntrack_count == TW_LIMIT_UNKNOWN)
        return (double)limits->conntrack_max;
    return fmax(0, (double)(limits->conntrack_max - limits->conntrack_count));
}

/* What a range over all unprivileged ports would have. */
static double ports_possible(const struct tw_limits *limits)
{
    struct tw_ports all = {0};

    tw_ports_add_range(&all, (struct tw_port_range){1024, 65535});
    tw_ports_remove_all(&all, &limits->reserved);
    return (double)tw_ports_count(&all);
}

/* What is not known is never guessed, and says so. */
static void note_unknown(const struct tw_limits *limits, struct plan_system *out)
{
    const struct {
        bool true_here;
        const char *text;
    } notes[] = {
        {limits->port_last == 0, "ip_local_port_range cannot be read"},
        {limits->tw_reuse == TW_LIMIT_UNKNOWN, "tcp_tw_reuse cannot be read: taken for 0"},
        {limits->timestamps == TW_LIMIT_UNKNOWN, "tcp_timestamps cannot be read: taken for off"},
        {limits->conntrack_count == 0, "conntrack counts no connection, so it is taken for unused"},
    };

    for (size_t i = 0; i < COUNT(notes); i++) {
        if (notes[i].true_here)
            append(out->note, sizeof(out->note), "; ", notes[i].text);
    }
}

void plan_system_of_limits(const struct tw_limits *limits, bool loopback, struct plan_system *out)
{
    struct tw_ports ephemeral;
    bool timestamps = limits->timestamps > 0;
    bool reuse = limits->tw_reuse == 1 || (limits->tw_reuse == 2 && loopback);
    double delay_s = limits->tw_reuse_delay_ms > 0 ? (double)limits->tw_reuse_delay_ms / 1e3 : 1;

    tw_limits_ephemeral(limits, &ephemeral);
    *out = (struct plan_system){
        .name = "this host",
        .ports = limits->port_last ? (double)tw_ports_count(&ephemeral) : INFINITY,
        .ports_possible = ports_possible(limits),
        .ports_setting = "ip_local_port_range",
        .ports_shared = true,
        .halves = true,
        .time_wait_s = PLAN_TIME_WAIT_S,
        .reuse_s = reuse && timestamps ? delay_s : INFINITY,
        .reuse_possible_s = timestamps ? delay_s : INFINITY,
        .takeover = timestamps,
        .time_waits = known_or_none(limits->max_tw_buckets),
        .files = known_or_none(limits->files_hard),
        .conntrack = conntrack_left(limits),
        .conntrack_close_s = CONNTRACK_TIME_WAIT_S,
        .conntrack_reset_s = CONNTRACK_CLOSE_S,
        .accept_queue = known_or_none(limits->somaxconn),
    };
    note_unknown(limits, out);
}
