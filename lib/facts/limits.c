#include "tidewait/limits.h"

#include <stdlib.h>
#include <sys/resource.h>

#include "text.h"

/* The longest file is ip_local_reserved_ports: 65,536 ports as text take at most 384 KiB. */
#define RESERVED_SIZE ((size_t)384 * 1024)

static void read_port_range(struct tw_limits *limits)
{
    char buf[64], *rest, *end;
    struct tw_view text;
    unsigned long first, last;

    if (!facts_read_text("/proc/sys/net/ipv4/ip_local_port_range", buf, sizeof(buf) - 1, &text))
        return;
    buf[text.len] = 0;
    first = strtoul(buf, &rest, 10);
    last = strtoul(rest, &end, 10);
    if (end != rest && first <= last && last <= 65535) {
        limits->port_first = (uint16_t)first;
        limits->port_last = (uint16_t)last;
    }
}

static void read_reserved(struct tw_limits *limits)
{
    char *buf = malloc(RESERVED_SIZE);
    struct tw_view text;

    if (buf &&
        facts_read_text("/proc/sys/net/ipv4/ip_local_reserved_ports", buf, RESERVED_SIZE, &text)) {
        /* The kernel takes 0-1023 for an answer; there is no port 0. */
        if (text.len > 1 && text.data[0] == '0' && text.data[1] == '-')
            buf[0] = '1';
        tw_ports_parse(text, &limits->reserved, NULL);
    }
    free(buf);
}

static int64_t from_rlim(rlim_t limit)
{
    return limit == RLIM_INFINITY || limit > INT64_MAX ? INT64_MAX : (int64_t)limit;
}

void tw_limits_read(struct tw_limits *out)
{
    struct rlimit files;

    *out = (struct tw_limits){
        .tw_reuse = facts_read_number("/proc/sys/net/ipv4/tcp_tw_reuse"),
        .timestamps = facts_read_number("/proc/sys/net/ipv4/tcp_timestamps"),
        .fin_timeout_s = facts_read_number("/proc/sys/net/ipv4/tcp_fin_timeout"),
        .max_tw_buckets = facts_read_number("/proc/sys/net/ipv4/tcp_max_tw_buckets"),
        .tw_reuse_delay_ms = facts_read_number("/proc/sys/net/ipv4/tcp_tw_reuse_delay"),
        .autobind_reuse = facts_read_number("/proc/sys/net/ipv4/ip_autobind_reuse"),
        .unprivileged_port_start =
            facts_read_number("/proc/sys/net/ipv4/ip_unprivileged_port_start"),
        .conntrack_count = facts_read_number("/proc/sys/net/netfilter/nf_conntrack_count"),
        .conntrack_max = facts_read_number("/proc/sys/net/netfilter/nf_conntrack_max"),
        .somaxconn = facts_read_number("/proc/sys/net/core/somaxconn"),
        .syn_backlog = facts_read_number("/proc/sys/net/ipv4/tcp_max_syn_backlog"),
        .files_soft = TW_LIMIT_UNKNOWN,
        .files_hard = TW_LIMIT_UNKNOWN,
        .files_system = facts_read_number("/proc/sys/fs/file-max"),
    };
    /* Kernels without this setting wait for 1 s. */
    if (out->tw_reuse != TW_LIMIT_UNKNOWN && out->tw_reuse_delay_ms == TW_LIMIT_UNKNOWN)
        out->tw_reuse_delay_ms = 1000;
    read_port_range(out);
    read_reserved(out);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        out->files_soft = from_rlim(files.rlim_cur);
        out->files_hard = from_rlim(files.rlim_max);
    }
}

void tw_limits_ephemeral(const struct tw_limits *limits, struct tw_ports *out)
{
    *out = (struct tw_ports){0};
    if (limits->port_last) {
        struct tw_port_range range = {limits->port_first, limits->port_last};

        tw_ports_add_range(out, range);
        tw_ports_remove_all(out, &limits->reserved);
    }
}

int64_t tw_limits_raise_files(void)
{
    struct rlimit files;

    if (getrlimit(RLIMIT_NOFILE, &files))
        return TW_LIMIT_UNKNOWN;
    if (files.rlim_cur < files.rlim_max) {
        struct rlimit raised = {files.rlim_max, files.rlim_max};

        if (setrlimit(RLIMIT_NOFILE, &raised) == 0)
            files = raised;
    }
    return from_rlim(files.rlim_cur);
}
