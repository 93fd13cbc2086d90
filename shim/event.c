/* Tells the supervisor about a refusal, and waits until it has explained it. */
#include <poll.h>
#include <string.h>
#include <sys/un.h>

#include "kernel.h"
#include "shim.h"

enum { ANSWER_WAIT_S = 1 };

static uint32_t hash_of(const struct shim_event *event)
{
    uint32_t hash = 2166136261u;

    /* Not pid, descriptor and user: a cause is told once, whoever meets it. */
    hash = (hash ^ event->call) * 16777619u;
    hash = (hash ^ (uint32_t)event->code) * 16777619u;
    hash = (hash ^ (event->wait_ns != 0)) * 16777619u;
    for (size_t i = 0; i < sizeof(event->local); i++)
        hash = (hash ^ event->local[i]) * 16777619u;
    for (size_t i = 0; i < sizeof(event->remote); i++)
        hash = (hash ^ event->remote[i]) * 16777619u;
    return hash;
}

/* Whether it is due; then it is told for this interval. */
static bool is_due(const struct shim *shim, const struct shim_event *event)
{
    uint32_t hash = hash_of(event);
    _Atomic uint64_t *told = &shim->shared->told[hash % SHIM_TOLD];
    uint64_t seen = atomic_load_explicit(told, memory_order_relaxed);
    uint64_t now_s = shim_now_s(shim) + 1u; /* 0 is never */

    if (seen >> 32 == hash && (uint32_t)seen != 0 &&
        (now_s - (uint32_t)seen) * 1000000000u < shim->shared->interval_ns)
        return false;
    /* Of several at once one tells. */
    return atomic_compare_exchange_strong_explicit(told, &seen, (uint64_t)hash << 32 | now_s,
                                                   memory_order_relaxed, memory_order_relaxed);
}

static void send_and_wait(const struct shim *shim, const struct shim_event *event)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    struct timespec left = {.tv_sec = ANSWER_WAIT_S};
    const char *events = shim->shared->events;
    size_t len = strnlen(events, sizeof(shim->shared->events));
    long fd = kernel(SYS_socket, AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct pollfd answer = {.fd = (int)fd, .events = POLLIN};
    char byte;

    if (fd < 0)
        return;
    memcpy(name.sun_path + 1, events, len);
    /* A name of its own, so that it can be answered; never for long, should the other hang. */
    if (kernel(SYS_bind, fd, &name, sizeof(name.sun_family)) == 0 &&
        kernel(SYS_connect, fd, &name, offsetof(struct sockaddr_un, sun_path) + 1 + len) == 0 &&
        kernel(SYS_sendto, fd, event, sizeof(*event), MSG_NOSIGNAL | MSG_DONTWAIT, NULL, 0) > 0 &&
        kernel(SYS_ppoll, &answer, 1, &left, NULL, 0) > 0)
        kernel(SYS_recvfrom, fd, &byte, sizeof(byte), MSG_DONTWAIT, NULL, NULL);
    kernel(SYS_close, fd);
}

void event_tell(const struct shim *shim, enum shim_call call, int fd, int code, uint64_t wait_ns,
                const struct endpoint *local, const struct endpoint *remote)
{
    struct shim_event event;
    union socket_address address;
    int value;

    if ((code != EADDRINUSE && code != EADDRNOTAVAIL && code != EACCES) ||
        shim->shared->events[0] == '\0')
        return;
    /* Padding is hashed by nobody but sent. */
    memset(&event, 0, sizeof(event));
    event.size = sizeof(event);
    event.pid = (int32_t)kernel(SYS_getpid);
    event.fd = fd;
    event.call = (uint8_t)call;
    event.protocol = protocol_of(fd);
    event.code = code;
    event.uid = (uint32_t)kernel(SYS_geteuid);
    event.wait_ns = wait_ns;
    event.reuseaddr = kernel_get(fd, SOL_SOCKET, SO_REUSEADDR, &value) == 0 && value;
    event.reuseport = kernel_get(fd, SOL_SOCKET, SO_REUSEPORT, &value) == 0 && value;
    event.v6only = kernel_get(fd, IPPROTO_IPV6, IPV6_V6ONLY, &value) == 0 && value;
    if (local && endpoint_write(local, local->family, &address))
        memcpy(event.local, &address, sizeof(event.local));
    if (remote && endpoint_write(remote, remote->family, &address))
        memcpy(event.remote, &address, sizeof(event.remote));
    if (is_due(shim, &event))
        send_and_wait(shim, &event);
}
