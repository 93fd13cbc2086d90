/* bind() and listen(): with the options and the address of the rule, and again while the address is
 * in use; and the port that is chosen late. */
#include <string.h>

#include "kernel.h"
#include "options.h"
#include "shim.h"

enum { PAUSE_FIRST_NS = 50000000 };

uint8_t protocol_of(int fd)
{
    int protocol;

    if (kernel_get(fd, SOL_SOCKET, SO_PROTOCOL, &protocol))
        return 0;
    if (protocol == IPPROTO_TCP || protocol == IPPROTO_MPTCP)
        return IPPROTO_TCP;
    return protocol == IPPROTO_UDP ? IPPROTO_UDP : 0;
}

bool local_of(int fd, struct endpoint *local, int *family)
{
    union socket_address address;
    socklen_t len = sizeof(address);

    if (kernel(SYS_getsockname, fd, &address, &len) != 0)
        return false;
    *family = address.sa.sa_family;
    return endpoint_read(local, &address.sa, len);
}

bool patience_wait(struct patience *patience, uint64_t wait_ns)
{
    enum { SECOND = 1000000000 };
    struct timespec now, pause;
    uint64_t now_ns;

    kernel(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
    now_ns = (uint64_t)now.tv_sec * SECOND + (uint64_t)now.tv_nsec;
    if (patience->until_ns == 0)
        patience->until_ns = now_ns + wait_ns;
    if (now_ns >= patience->until_ns)
        return false;
    if (patience->pause_ns > patience->until_ns - now_ns)
        patience->pause_ns = patience->until_ns - now_ns;
    pause.tv_sec = (time_t)(patience->pause_ns / SECOND);
    pause.tv_nsec = (long)(patience->pause_ns % SECOND);
    /* A signal shortens one pause and no more. */
    kernel(SYS_nanosleep, &pause, NULL);
    patience->pause_ns = patience->pause_ns < SECOND / 2 ? patience->pause_ns * 3 / 2 : SECOND / 2;
    return true;
}

/* What is in the way may go: once more until the time of the rule is over. */
static bool try_again(const struct shim *shim, struct patience *patience, enum shim_call call,
                      int fd, const struct endpoint *local, const struct shim_rule *rule)
{
    if (errno != EADDRINUSE || rule->wait_ns == 0)
        return false;
    if (patience->until_ns == 0)
        event_tell(shim, call, fd, EADDRINUSE, rule->wait_ns, local, NULL);
    if (!patience_wait(patience, rule->wait_ns))
        return false;
    shim_count(shim, SHIM_BIND_RETRIES);
    return true;
}

static void set_options(const struct incoming *in)
{
    const struct shim_rule *rule = in->rule;

    if (rule->reuseport)
        kernel_set(in->fd, SOL_SOCKET, SO_REUSEPORT, 1);
    if (rule->free_bind)
        kernel_set(in->fd, IPPROTO_IP, IP_FREEBIND, 1);
}

/* Two sockets that are bound with SO_REUSEADDR and do not listen yet both have the port, so
 * programs that hold one as a lock would no longer exclude each other. Hence bind() without it
 * first; what stays behind of the socket needs it, and gets it from listen() and connect(), for
 * which a mark is left. */
static int bind_reuse(const struct incoming *in)
{
    int on, range, result;

    /* With port 0 it would only change which half of the range the kernel looks at first. */
    if (!in->rule->reuseaddr || in->protocol != IPPROTO_TCP || in->local.port == 0 ||
        kernel_get(in->fd, SOL_SOCKET, SO_REUSEADDR, &on) || on)
        return next_bind(in->fd, in->address, in->len);
    if (kernel_get(in->fd, IPPROTO_IP, IP_LOCAL_PORT_RANGE, &range) == 0 && range == 0 &&
        kernel_set(in->fd, IPPROTO_IP, IP_LOCAL_PORT_RANGE, RANGE_REUSE) == 0) {
        result = next_bind(in->fd, in->address, in->len);
        if (result == 0)
            return 0;
        kernel_set(in->fd, IPPROTO_IP, IP_LOCAL_PORT_RANGE, 0);
        if (errno != EADDRINUSE)
            return result;
    }
    kernel_set(in->fd, SOL_SOCKET, SO_REUSEADDR, 1);
    return next_bind(in->fd, in->address, in->len);
}

void reuse_now(int fd)
{
    int range;

    if (kernel_get(fd, IPPROTO_IP, IP_LOCAL_PORT_RANGE, &range) || (uint32_t)range != RANGE_REUSE)
        return;
    kernel_set(fd, IPPROTO_IP, IP_LOCAL_PORT_RANGE, 0);
    kernel_set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
}

int bind_incoming(const struct shim *shim, const struct incoming *in)
{
    const struct shim_rule *rule = in->rule;
    struct incoming other = *in;
    union socket_address address;
    struct patience patience = {.pause_ns = PAUSE_FIRST_NS};
    struct endpoint unused;
    int result, family = 0;

    shim_count(shim, SHIM_BINDS);
    if (rule->listen_family != 0) {
        other.local = (struct endpoint){.family = rule->listen_family, .port = in->local.port};
        memcpy(other.local.address, rule->listen_address, sizeof(rule->listen_address));
    }
    if (rule->listen_port != 0)
        other.local.port = rule->listen_port;
    if (rule->listen_family != 0 || rule->listen_port != 0) {
        local_of(in->fd, &unused, &family);
        other.len = endpoint_write(&other.local, family, &address);
        other.address = &address.sa;
        if (other.len == 0) /* v6 for a socket of v4 */
            other = *in;
    }
    set_options(&other);
    do
        result = bind_reuse(&other);
    while (result != 0 && try_again(shim, &patience, SHIM_BIND, other.fd, &other.local, rule));
    if (result != 0) {
        shim_count(shim, SHIM_BIND_FAILED);
        event_tell(shim, SHIM_BIND, other.fd, errno, 0, &other.local, NULL);
    }
    return result;
}

int listen_incoming(const struct shim *shim, int fd, int backlog, const struct endpoint *local,
                    const struct shim_rule *rule)
{
    struct patience patience = {.pause_ns = PAUSE_FIRST_NS};
    int result;

    shim_count(shim, SHIM_LISTENS);
    do
        result = next_listen(fd, backlog);
    while (result != 0 && try_again(shim, &patience, SHIM_LISTEN, fd, local, rule));
    if (result != 0) {
        shim_count(shim, SHIM_BIND_FAILED);
        event_tell(shim, SHIM_LISTEN, fd, errno, 0, local, NULL);
    }
    return result;
}

bool bind_late(int fd, const struct sockaddr *address, socklen_t len)
{
    int no_port, range;

    /* A program that knows these options does well without us; an old kernel lacks the mark. */
    if (kernel_get(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &no_port) || no_port ||
        kernel_get(fd, IPPROTO_IP, IP_LOCAL_PORT_RANGE, &range) || range != 0)
        return false;
    if (kernel_set(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1))
        return false;
    if (kernel(SYS_bind, fd, address, len) == 0 &&
        kernel_set(fd, IPPROTO_IP, IP_LOCAL_PORT_RANGE, RANGE_LATE) == 0)
        return true;
    kernel_set(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 0);
    return false;
}

bool bind_now(int fd)
{
    union socket_address address;
    socklen_t len = sizeof(address);
    int range;

    if (kernel_get(fd, IPPROTO_IP, IP_LOCAL_PORT_RANGE, &range) || (uint32_t)range != RANGE_LATE ||
        kernel(SYS_getsockname, fd, &address, &len) != 0)
        return false;
    kernel_set(fd, IPPROTO_IP, IP_LOCAL_PORT_RANGE, 0);
    kernel_set(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 0);
    return kernel(SYS_bind, fd, &address, len) == 0;
}
