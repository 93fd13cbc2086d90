#include "plan_host.h"

#include <ctype.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"
#include "tidewait/sockets.h"
#include "tidewait/text.h"

#define LINE_QUOTED 48

/* The kernel's defaults on a large machine, and systemd's of descriptors, as the system "linux" of
 * plan_system_named() has them. */
static const struct tw_limits linux_defaults = {
    .port_first = 32768,
    .port_last = 60999,
    .tw_reuse = 2,
    .timestamps = 1,
    .fin_timeout_s = 60,
    .max_tw_buckets = 262144,
    .tw_reuse_delay_ms = 1000,
    .autobind_reuse = 0,
    .unprivileged_port_start = 1024,
    .conntrack_count = TW_LIMIT_UNKNOWN,
    .conntrack_max = TW_LIMIT_UNKNOWN,
    .somaxconn = 4096,
    .syn_backlog = 4096,
    .files_soft = 1024,
    .files_hard = 524288,
    .files_system = TW_LIMIT_UNKNOWN,
};

/* --- values ----------------------------------------------------------------------------------- */

static int store_number(struct tw_view text, uint64_t max, int64_t *out, struct tw_error *error)
{
    uint64_t value = 0;
    int rc = tw_parse_number(text, "value", 0, max, &value, error);

    if (rc == 0)
        *out = (int64_t)value;
    return rc;
}

/* 1024-65535, or as the kernel writes it 1024 65535. */
static int store_range(struct tw_view text, struct tw_limits *limits, struct tw_error *error)
{
    struct tw_port_range range;
    char buf[32];
    size_t len = 0;
    int rc;

    for (size_t i = 0; i < text.len && len < sizeof(buf); i++) {
        if (!isblank((unsigned char)text.data[i]))
            buf[len++] = text.data[i];
        else if (len && buf[len - 1] != '-')
            buf[len++] = '-';
    }
    rc = tw_parse_ports((struct tw_view){buf, len}, &range, error);
    if (rc)
        return rc;
    limits->port_first = range.first;
    limits->port_last = range.last;
    return 0;
}

static int store_reserved(struct tw_view text, struct tw_limits *limits, struct tw_error *error)
{
    struct tw_ports reserved = {0};
    int rc = tw_ports_parse(text, &reserved, error);

    if (rc == 0)
        limits->reserved = reserved;
    return rc;
}

static int store_tw_reuse(struct tw_view text, struct tw_limits *limits, struct tw_error *error)
{
    return store_number(text, 2, &limits->tw_reuse, error);
}

static int store_delay(struct tw_view text, struct tw_limits *limits, struct tw_error *error)
{
    uint64_t ms = 0;
    int rc = tw_parse_number(text, "delay (ms)", 1, 60000, &ms, error);

    if (rc == 0)
        limits->tw_reuse_delay_ms = (int64_t)ms;
    return rc;
}

static int store_delay_time(struct tw_view text, struct tw_limits *limits, struct tw_error *error)
{
    uint64_t ns = 0;
    int rc = tw_parse_duration(text, &ns, error);

    if (rc == 0 && (ns < 1000000 || ns > 60000000000))
        rc = tw_error_set(error, ERANGE, "time '%.*s' is outside 1ms..60s",
                          (int)(text.len < 40 ? text.len : 40), text.data);
    if (rc == 0)
        limits->tw_reuse_delay_ms = (int64_t)(ns / 1000000);
    return rc;
}

static int store_timestamps(struct tw_view text, struct tw_limits *limits, struct tw_error *error)
{
    if (tw_view_equals(text, "on") || tw_view_equals(text, "off")) {
        limits->timestamps = tw_view_equals(text, "on");
        return 0;
    }
    if (store_number(text, 2, &limits->timestamps, NULL))
        return tw_error_set(error, EINVAL, "'%.*s' is neither on nor off",
                            (int)(text.len < 40 ? text.len : 40), text.data);
    return 0;
}

static int store_files(struct tw_view text, struct tw_limits *limits, struct tw_error *error)
{
    return store_number(text, INT64_MAX, &limits->files_hard, error);
}

static int store_file_max(struct tw_view text, struct tw_limits *limits, struct tw_error *error)
{
    return store_number(text, INT64_MAX, &limits->files_system, error);
}

static int store_time_waits(struct tw_view text, struct tw_limits *limits, struct tw_error *error)
{
    return store_number(text, INT32_MAX, &limits->max_tw_buckets, error);
}

static int store_somaxconn(struct tw_view text, struct tw_limits *limits, struct tw_error *error)
{
    return store_number(text, INT32_MAX, &limits->somaxconn, error);
}

static int store_tracked(struct tw_view text, struct tw_limits *limits, struct tw_error *error)
{
    return store_number(text, INT32_MAX, &limits->conntrack_count, error);
}

static int store_conntrack(struct tw_view text, struct tw_limits *limits, struct tw_error *error)
{
    return store_number(text, INT32_MAX, &limits->conntrack_max, error);
}

static int store_conntrack_left(struct tw_view text, struct tw_limits *limits,
                                struct tw_error *error)
{
    limits->conntrack_count = TW_LIMIT_UNKNOWN;
    return store_conntrack(text, limits, error);
}

typedef int store_limit(struct tw_view text, struct tw_limits *limits, struct tw_error *error);

/* --- a file of limits ------------------------------------------------------------------------- */

/* As in /proc/sys; a line may also have the last part of the name alone. */
static const struct {
    const char *name;
    store_limit *store;
} file_settings[] = {
    {"net.ipv4.ip_local_port_range", store_range},
    {"net.ipv4.ip_local_reserved_ports", store_reserved},
    {"net.ipv4.tcp_tw_reuse", store_tw_reuse},
    {"net.ipv4.tcp_tw_reuse_delay", store_delay},
    {"net.ipv4.tcp_timestamps", store_timestamps},
    {"net.ipv4.tcp_max_tw_buckets", store_time_waits},
    {"net.core.somaxconn", store_somaxconn},
    {"net.netfilter.nf_conntrack_count", store_tracked},
    {"net.netfilter.nf_conntrack_max", store_conntrack},
    {"fs.file-max", store_file_max},
    {"nofile", store_files},
};

static struct tw_view trim(struct tw_view text)
{
    while (text.len && isspace((unsigned char)text.data[0]))
        text = (struct tw_view){text.data + 1, text.len - 1};
    while (text.len && isspace((unsigned char)text.data[text.len - 1]))
        text.len--;
    return text;
}

/* net.ipv4.tcp_tw_reuse, net/ipv4/tcp_tw_reuse or tcp_tw_reuse. */
static bool is_named(struct tw_view name, const char *setting)
{
    const char *last = strrchr(setting, '.');
    size_t len = strlen(setting);

    if (last && tw_view_equals(name, last + 1))
        return true;
    if (name.len != len)
        return false;
    for (size_t i = 0; i < len; i++)
        if (name.data[i] != setting[i] && !(name.data[i] == '/' && setting[i] == '.'))
            return false;
    return true;
}

/* One line; *known counts those that matter. Others are a host's business, and passed over. */
static int read_line(struct tw_view line, struct tw_limits *limits, size_t *known,
                     struct tw_error *error)
{
    struct tw_view value = trim(line), name;

    if (value.len == 0 || value.data[0] == '#' || value.data[0] == ';')
        return 0;
    name = trim(tw_view_cut(&value, '='));
    if (name.len && name.data[0] == '-')
        name = (struct tw_view){name.data + 1, name.len - 1};
    if (!value.data || name.len == 0)
        return tw_error_set(error, EINVAL, "this is not NAME = VALUE");
    value = trim(value);
    for (size_t i = 0; i < sizeof(file_settings) / sizeof(file_settings[0]); i++) {
        if (!is_named(name, file_settings[i].name))
            continue;
        ++*known;
        return file_settings[i].store(value, limits, error);
    }
    return 0;
}

static int read_limits(const char *path, struct tw_limits *limits, struct tw_error *error)
{
    struct tw_error unread = {0};
    size_t len = 0, known = 0, number = 0;
    char *text = read_file(path, &len, &unread), safe[4 * LINE_QUOTED + 1];
    struct tw_view rest = {text, len};
    int rc = 0;

    /* A file that cannot be read is bad input, whatever the reason. */
    if (!text)
        return tw_error_set(error, EINVAL, "--limits: %s", unread.text);
    while (rc == 0 && rest.data) {
        struct tw_view line = tw_view_cut(&rest, '\n');
        struct tw_error inner = {0};

        number++;
        rc = read_line(line, limits, &known, &inner);
        if (rc == 0)
            continue;
        line = trim(line);
        safe[tw_text_safe(safe, sizeof(safe) - 1, line.data,
                          line.len < LINE_QUOTED ? line.len : LINE_QUOTED)] = 0;
        tw_error_set(error, EINVAL, "%.80s:%zu: '%.100s': %.60s", path, number, safe, inner.text);
    }
    free(text);
    if (rc == 0 && known == 0)
        return tw_error_set(error, EINVAL,
                            "%.80s: none of its lines is about ports or connections, as "
                            "net.ipv4.ip_local_port_range = 32768 60999 would be",
                            path);
    return rc;
}

/* --- single limits ---------------------------------------------------------------------------- */

static const struct {
    const char *option;
    size_t offset;
    store_limit *store;
    bool everywhere; /* not a matter of Linux alone */
} single[] = {
    {"range", offsetof(struct plan_host, range), store_range, true},
    {"reserved", offsetof(struct plan_host, reserved), store_reserved, false},
    {"tw-reuse", offsetof(struct plan_host, tw_reuse), store_tw_reuse, false},
    {"tw-reuse-delay", offsetof(struct plan_host, tw_reuse_delay), store_delay_time, false},
    {"timestamps", offsetof(struct plan_host, timestamps), store_timestamps, false},
    {"files", offsetof(struct plan_host, files), store_files, true},
    {"time-waits", offsetof(struct plan_host, time_waits), store_time_waits, false},
    {"conntrack", offsetof(struct plan_host, conntrack), store_conntrack_left, false},
    {"somaxconn", offsetof(struct plan_host, somaxconn), store_somaxconn, true},
};

static int change_single(const struct plan_host *host, const char *other_os,
                         struct tw_limits *limits, struct tw_error *error)
{
    for (size_t i = 0; i < sizeof(single) / sizeof(single[0]); i++) {
        const char *text = *(const char *const *)((const char *)host + single[i].offset);
        struct tw_error inner = {0};

        if (!text)
            continue;
        if (other_os && !single[i].everywhere)
            return tw_error_set(error, EINVAL, "--%s is for Linux as it is today, not for --os %s",
                                single[i].option, other_os);
        if (single[i].store(tw_view_of(text), limits, &inner))
            return tw_error_set(error, EINVAL, "--%s: %s", single[i].option, inner.text);
    }
    return 0;
}

static int change_time_wait(const struct plan_host *host, struct plan_system *system,
                            struct tw_error *error)
{
    struct tw_error inner = {0};
    uint64_t ns = 0;

    if (!host->time_wait)
        return 0;
    if (tw_parse_duration(tw_view_of(host->time_wait), &ns, &inner))
        return tw_error_set(error, EINVAL, "--time-wait: %s", inner.text);
    system->time_wait_s = (double)ns / 1e9;
    return 0;
}

/* A system whose limits are not those of Linux. */
static int change_other(const struct plan_host *host, struct plan_system *system,
                        struct tw_error *error)
{
    struct tw_limits typed = {.files_hard = TW_LIMIT_UNKNOWN, .somaxconn = TW_LIMIT_UNKNOWN};

    if (change_single(host, system->name, &typed, error))
        return -EINVAL;
    if (typed.port_last)
        system->ports = typed.port_last - typed.port_first + 1;
    if (typed.files_hard != TW_LIMIT_UNKNOWN)
        system->files = (double)typed.files_hard;
    if (typed.somaxconn != TW_LIMIT_UNKNOWN)
        system->accept_queue = (double)typed.somaxconn;
    return 0;
}

static int linux_system(const struct plan_host *host, const struct plan_system *named,
                        bool loopback, struct plan_system *out, struct tw_error *error)
{
    struct tw_limits limits = linux_defaults;
    int rc = 0;

    if (!host->limits && !named)
        tw_limits_read(&limits);
    if (host->limits)
        rc = read_limits(host->limits, &limits, error);
    if (rc == 0)
        rc = change_single(host, NULL, &limits, error);
    if (rc)
        return rc;
    if (limits.files_system != TW_LIMIT_UNKNOWN && limits.files_system < limits.files_hard)
        limits.files_hard = limits.files_system;
    plan_system_of_limits(&limits, loopback, out);
    if (named) {
        memcpy(out->name, named->name, sizeof(out->name));
        memcpy(out->note, named->note, sizeof(out->note));
    }
    if (host->limits)
        snprintf(out->name, sizeof(out->name), "the host of %.48s", host->limits);
    return 0;
}

int plan_host_system(const struct plan_host *host, bool loopback, struct plan_system *out,
                     bool *is_here, struct tw_error *error)
{
    struct tw_error inner = {0};
    struct plan_system named = {0};
    bool is_linux = true;
    int rc;

    if (host->os && host->limits)
        return tw_error_set(error, EINVAL, "--os and --limits exclude each other");
    if (host->os && plan_system_named(host->os, &named, &inner))
        return tw_error_set(error, EINVAL, "--os: %s", inner.text);
    *is_here = !host->os && !host->limits;
    if (host->os)
        is_linux = strcmp(named.name, "linux") == 0;
    *out = named;
    rc = is_linux ? linux_system(host, host->os ? &named : NULL, loopback, out, error)
                  : change_other(host, out, error);
    return rc ? rc : change_time_wait(host, out, error);
}

int plan_host_nat(const struct plan_host *host, struct plan_nat *out, struct tw_error *error)
{
    struct tw_error inner = {0};

    *out = (struct plan_nat){0};
    if (host->nat && plan_nat_named(host->nat, out, &inner))
        return tw_error_set(error, EINVAL, "--nat: %s", inner.text);
    return 0;
}

/* --- ports that are lost ---------------------------------------------------------------------- */

static int keep_port(const struct tw_socket_row *row, void *context)
{
    tw_ports_add(context, tw_endpoint_port(&row->local));
    return 0;
}

int plan_host_count_lost(const struct plan_host *host, struct plan_system *system,
                         struct tw_error *error)
{
    struct tw_sockets_query bound = {
        .state_mask = TW_STATE_MASK(TCP_LISTEN) | TW_STATE_MASK(TCP_CLOSE),
    };
    struct tw_ports *sets = calloc(3, sizeof(*sets));
    struct tw_limits limits;
    int rc;

    if (!sets)
        return tw_error_set(error, ENOMEM, "no memory");
    tw_limits_read(&limits);
    rc = change_single(host, NULL, &limits, error);
    if (rc == 0)
        rc = tw_sockets_each(&bound, keep_port, &sets[0], error);
    if (rc == 0) {
        /* Those of the range: the range less what is left of it without them. */
        tw_limits_ephemeral(&limits, &sets[1]);
        sets[2] = sets[1];
        tw_ports_remove_all(&sets[2], &sets[0]);
        system->ports_lost = (double)(tw_ports_count(&sets[1]) - tw_ports_count(&sets[2]));
    }
    free(sets);
    return rc;
}
