/* The hosts of a stage: network namespaces, their addresses and sysctls. */
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "network.h"
#include "stage_private.h"
#include "tidewait/clock.h"
#include "tidewait/interface.h"
#include "wire.h"
#include "wire_private.h"

#define VETH_NAME    "net0"
#define PREFIX_V4    16
#define PREFIX_V6    64
#define SYSCTL_ROOT  "/proc/sys/"
#define SYSCTL_BYTES 256

/* --- going there ------------------------------------------------------------------------------ */

void host_enter(struct host *host)
{
    if (host->stage->inside == host)
        return;
    if (setns(host->netns, CLONE_NEWNET))
        stage_broken(host->stage, "entering host %s: %s", host->name, strerror(errno));
    host->stage->inside = host;
}

struct host *host_visit(struct host *host)
{
    struct host *before = host->stage->inside;

    host_enter(host);
    return before;
}

void host_return(struct stage *stage, struct host *before)
{
    if (before && before != stage->inside)
        host_enter(before);
}

struct host *stage_left(struct stage *stage)
{
    return &stage->left;
}

struct host *stage_right(struct stage *stage)
{
    return stage->right.netns >= 0 ? &stage->right : &stage->left;
}

struct tw_endpoint host_at(const struct host *host, uint16_t port)
{
    struct tw_endpoint endpoint = host->address;

    tw_endpoint_set_port(&endpoint, port);
    return endpoint;
}

/* --- sysctls ---------------------------------------------------------------------------------- */

/* Settings of the network alone, which the kernel keeps for each namespace; no way out by "..". */
static bool is_network_setting(const char *name)
{
    return (strncmp(name, "net.", 4) == 0 || strncmp(name, "net/", 4) == 0) &&
           !strstr(name, "..") && !strstr(name, "./") && !strstr(name, "/.");
}

/* Both net.ipv4.x and net/ipv4/x are in use; so interface names with dots can be written too. */
static void put_path(struct stage *stage, const char *name, char path[SYSCTL_BYTES])
{
    size_t len = strlen(name);
    bool has_slashes = strchr(name, '/') != NULL;

    if (!is_network_setting(name) || len + sizeof(SYSCTL_ROOT) > SYSCTL_BYTES)
        stage_broken(stage, "sysctl %s: not one of the network (net.*)", name);
    snprintf(path, SYSCTL_BYTES, SYSCTL_ROOT "%s", name);
    for (char *c = path + sizeof(SYSCTL_ROOT) - 1; *c && !has_slashes; c++)
        if (*c == '.')
            *c = '/';
}

static void sysctl_refused(struct stage *stage, const char *verb, const char *name, int code)
{
    char text[sizeof(stage->story->reason)];

    snprintf(text, sizeof(text), "%s sysctl %s: %s", verb, name,
             code == ENOENT ? "this kernel has no such setting for a private network"
                            : strerror(code));
    stage_refused(stage, code, text);
}

/* 0 or a positive errno. */
static int write_sysctl(struct stage *stage, const char *name, const char *value)
{
    char path[SYSCTL_BYTES];
    int code = 0, fd;

    put_path(stage, name, path);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return errno;
    if (write(fd, value, strlen(value)) < 0)
        code = errno;
    close(fd);
    return code;
}

static int read_sysctl(struct stage *stage, const char *name, int64_t *value)
{
    char path[SYSCTL_BYTES], text[64] = "", *end;
    ssize_t got;
    int fd;

    put_path(stage, name, path);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno;
    got = read(fd, text, sizeof(text) - 1);
    close(fd);
    if (got < 0)
        return EIO;
    *value = strtoll(text, &end, 10);
    return end == text ? EINVAL : 0;
}

/* The --set of this name, or NULL. */
static const char *override_of(const struct stage *stage, const char *name)
{
    size_t len = strlen(name);

    for (size_t i = stage->settings.set_count; i > 0; i--) {
        const char *set = stage->settings.set[i - 1];
        size_t at = 0;

        while (at < len && (set[at] == name[at] || (set[at] == '/' && name[at] == '.') ||
                            (set[at] == '.' && name[at] == '/')))
            at++;
        if (at == len && set[at] == '=')
            return set + at + 1;
    }
    return NULL;
}

void host_set(struct host *host, const char *name, const char *value)
{
    struct host *before = host_visit(host);
    int code = override_of(host->stage, name) ? 0 : write_sysctl(host->stage, name, value);

    if (code)
        sysctl_refused(host->stage, "setting", name, code);
    host_return(host->stage, before);
}

int64_t host_get(struct host *host, const char *name)
{
    struct host *before = host_visit(host);
    int64_t value = 0;
    int code = read_sysctl(host->stage, name, &value);

    if (code)
        sysctl_refused(host->stage, "reading", name, code);
    host_return(host->stage, before);
    return value;
}

/* What --speed divides, with the least value that the kernel takes. */
static const struct {
    const char *name;
    int64_t least;
} waits[] = {
    {"net.ipv4.tcp_fin_timeout", 1},     {"net.ipv4.tcp_tw_reuse_delay", 1},
    {"net.ipv4.tcp_rto_max_ms", 1000},   {"net.ipv4.tcp_keepalive_time", 1},
    {"net.ipv4.tcp_keepalive_intvl", 1},
};

/* Kernels without one of them just wait longer. */
static void speed_up(struct stage *stage)
{
    unsigned speed = stage->settings.speed;

    for (size_t i = 0; speed > 1 && i < sizeof(waits) / sizeof(waits[0]); i++) {
        char text[24];
        int64_t value = 0;

        if (read_sysctl(stage, waits[i].name, &value))
            continue;
        value /= speed;
        snprintf(text, sizeof(text), "%" PRId64, value > waits[i].least ? value : waits[i].least);
        write_sysctl(stage, waits[i].name, text);
    }
}

static void apply_settings(struct host *host)
{
    struct stage *stage = host->stage;

    host_enter(host);
    speed_up(stage);
    for (size_t i = 0; i < stage->settings.set_count; i++) {
        const char *set = stage->settings.set[i], *equals = strchr(set, '=');
        char name[SYSCTL_BYTES];
        int code;

        if (!equals || (size_t)(equals - set) >= sizeof(name))
            stage_broken(stage, "--set %s: not of the form name=value", set);
        snprintf(name, sizeof(name), "%.*s", (int)(equals - set), set);
        code = write_sysctl(stage, name, equals + 1);
        if (code)
            sysctl_refused(stage, "setting", name, code);
    }
}

/* --- making them ------------------------------------------------------------------------------ */

static void need_done(struct stage *stage, int rc, const struct tw_error *error)
{
    if (rc)
        stage_refused(stage, -rc, error->text);
}

static struct tw_endpoint parse_address(struct stage *stage, const char *text)
{
    struct tw_error error = {0};
    struct tw_endpoint address;

    if (tw_address_parse(tw_view_of(text), &address, &error))
        stage_broken(stage, "%s", error.text);
    return address;
}

/* A namespace of its own with loopback up; the process is inside then. IPv6 is on, whatever new
 * namespaces inherit here. */
static void make_host(struct stage *stage, struct host *host, const char *name)
{
    struct tw_error error = {0};

    if (host->netns >= 0)
        stage_broken(stage, "the hosts of a stage are made once");
    host->stage = stage;
    snprintf(host->name, sizeof(host->name), "%s", name);
    if (unshare(CLONE_NEWNET))
        stage_lacking(stage, "no network namespace for host %s: %s", name, strerror(errno));
    host->netns = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    if (host->netns < 0)
        stage_lacking(stage, "no descriptor of the network of host %s: %s", name, strerror(errno));
    stage->inside = host;
    write_sysctl(stage, "net.ipv6.conf.all.disable_ipv6", "0");
    write_sysctl(stage, "net.ipv6.conf.default.disable_ipv6", "0");
    need_done(stage, network_bring_up("lo", &error), &error);
}

/* The interface that has the host's address, whoever made it. */
static void find_device(struct host *host)
{
    struct host *before = host_visit(host);
    struct ifaddrs *list = NULL;

    if (getifaddrs(&list))
        stage_broken(host->stage, "listing addresses of host %s: %s", host->name, strerror(errno));
    for (const struct ifaddrs *entry = list; entry && !host->device[0]; entry = entry->ifa_next) {
        struct tw_endpoint own = {0};

        if (!entry->ifa_addr || entry->ifa_addr->sa_family != AF_INET)
            continue;
        memcpy(&own.v4, entry->ifa_addr, sizeof(own.v4));
        if (tw_endpoint_same_address(&own, &host->address))
            snprintf(host->device, sizeof(host->device), "%s", entry->ifa_name);
    }
    freeifaddrs(list);
    if (!host->device[0])
        stage_broken(host->stage, "host %s has no interface with its address", host->name);
    host_return(host->stage, before);
}

static void configure_veth(struct host *host)
{
    struct stage *stage = host->stage;
    struct tw_error error = {0};

    host_enter(host);
    need_done(stage, network_add_address(VETH_NAME, &host->address, PREFIX_V4, &error), &error);
    if (tw_ipv6_enabled(NULL) == TW_YES) {
        host->address6 = parse_address(stage, host == &stage->left ? "fd77::1" : "fd77::2");
        need_done(stage, network_add_address(VETH_NAME, &host->address6, PREFIX_V6, &error),
                  &error);
    }
}

static void make_two(struct stage *stage, const char *left, const char *right)
{
    make_host(stage, &stage->left, left);
    make_host(stage, &stage->right, right);
    stage->left.address = parse_address(stage, "10.77.0.1");
    stage->right.address = parse_address(stage, "10.77.0.2");
    story_begin(stage->story, left, right);
}

/* The last step: the story begins. */
static void open_stage(struct stage *stage)
{
    find_device(&stage->left);
    apply_settings(&stage->left);
    if (stage->right.netns >= 0) {
        find_device(&stage->right);
        apply_settings(&stage->right);
    }
    host_enter(&stage->left);
}

void stage_hosts(struct stage *stage, const char *left, const char *right)
{
    struct tw_error error = {0};

    make_two(stage, left, right);
    host_enter(&stage->left);
    need_done(stage, network_add_veth(VETH_NAME, stage->right.netns, &error), &error);
    need_done(stage, network_bring_up(VETH_NAME, &error), &error);
    host_enter(&stage->right);
    need_done(stage, network_bring_up(VETH_NAME, &error), &error);
    configure_veth(&stage->right);
    configure_veth(&stage->left);
    need_done(stage, network_settle(VETH_NAME, &error), &error);
    open_stage(stage);
    stage->start_ns = tw_clock_ns();
}

void stage_hosts_on_wire(struct stage *stage, const char *left, const char *right)
{
    int rc;

    stage_check_needs(stage, NEEDS_TUN);
    make_two(stage, left, right);
    stage->start_ns = tw_clock_ns();
    stage->wire = wire_new(&stage->left, &stage->right, stage->story, stage->start_ns);
    stage->left.wire = stage->right.wire = stage->wire;
    open_stage(stage);
    if (stage->settings.pcap_fd >= 0 && (rc = wire_pcap(stage->wire, stage->settings.pcap_fd)))
        stage_broken(stage, "writing the pcap file: %s", strerror(-rc));
}

void stage_loopback(struct stage *stage, const char *name)
{
    make_host(stage, &stage->left, name);
    stage->left.address = parse_address(stage, "127.0.0.1");
    if (tw_ipv6_enabled("lo") == TW_YES)
        stage->left.address6 = parse_address(stage, "::1");
    story_begin(stage->story, name, name);
    open_stage(stage);
    stage->start_ns = tw_clock_ns();
}

void host_add_address(struct host *host, const char *address)
{
    struct tw_endpoint endpoint = parse_address(host->stage, address);
    struct host *before = host_visit(host);
    struct tw_error error = {0};

    need_done(host->stage, tw_interface_add(host->device, &endpoint, &error), &error);
    host_return(host->stage, before);
}
