/*
 * shim.c - libtidewait-shim.so: what `tidewait exec` puts between a program and the C library.
 *
 * A call that is not about an inet socket of TCP or UDP, or that no rule fits, goes on unchanged;
 * so does every call when there is no file of a run.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <linux/tcp.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "kernel.h"
#include "shim.h"

#define EXPORT __attribute__((visibility("default")))

/* Written once, by the constructor; threads that others' constructors have started may be here
 * already. */
static struct shim state;
static _Atomic bool is_ready;
static int (*_Atomic real_bind)(int, const struct sockaddr *, socklen_t);
static int (*_Atomic real_listen)(int, int);
static int (*_Atomic real_connect)(int, const struct sockaddr *, socklen_t);
static int (*_Atomic real_getsockname)(int, struct sockaddr *, socklen_t *);
static int (*_Atomic real_close)(int);

/* <netinet/tcp.h> has these and an old tcp_info, <linux/tcp.h> the new one without these. */
enum {
    STATE_ESTABLISHED = 1,
    STATE_FIN_WAIT1 = 4,
    STATE_FIN_WAIT2 = 5,
    STATE_CLOSE = 7,
    STATE_CLOSE_WAIT = 8,
    STATE_LAST_ACK = 9,
    STATE_CLOSING = 11,
};

static const struct shim *shim_get(void)
{
    return atomic_load_explicit(&is_ready, memory_order_acquire) ? &state : NULL;
}

/* A program whose memory is limited must not fail for want of what we take of it. */
static bool fits_memory(off_t size)
{
    struct rlimit limit;

    return kernel(SYS_prlimit64, 0, RLIMIT_AS, NULL, &limit) != 0 ||
           limit.rlim_cur == RLIM_INFINITY || (rlim_t)size <= limit.rlim_cur / 8;
}

static void map_shared(const char *path)
{
    struct stat status;
    void *shared;
    long fd = kernel(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0);

    if (fd < 0)
        return;
    if (fstat((int)fd, &status) == 0 && S_ISREG(status.st_mode) &&
        status.st_size >= (off_t)sizeof(struct shim_shared) && fits_memory(status.st_size)) {
        shared = mmap(NULL, (size_t)status.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, (int)fd, 0);
        if (shared != MAP_FAILED && ring_init(&state.ring, shared, (size_t)status.st_size)) {
            state.shared = shared;
            atomic_store_explicit(&is_ready, true, memory_order_release);
        } else if (shared != MAP_FAILED) {
            munmap(shared, (size_t)status.st_size);
        }
    }
    kernel(SYS_close, fd);
}

__attribute__((constructor)) static void start(void)
{
    const char *path = secure_getenv(SHIM_ENV);
    int code = errno;

    /* Here, since dlsym() may allocate and lock. */
    real_bind = (int (*)(int, const struct sockaddr *, socklen_t))dlsym(RTLD_NEXT, "bind");
    real_listen = (int (*)(int, int))dlsym(RTLD_NEXT, "listen");
    real_connect = (int (*)(int, const struct sockaddr *, socklen_t))dlsym(RTLD_NEXT, "connect");
    real_getsockname =
        (int (*)(int, struct sockaddr *, socklen_t *))dlsym(RTLD_NEXT, "getsockname");
    real_close = (int (*)(int))dlsym(RTLD_NEXT, "close");
    if (path)
        map_shared(path);
    errno = code;
}

int next_bind(int fd, const struct sockaddr *address, socklen_t len)
{
    int (*real)(int, const struct sockaddr *, socklen_t) = real_bind;

    return real ? real(fd, address, len) : (int)syscall(SYS_bind, fd, address, len);
}

int next_listen(int fd, int backlog)
{
    int (*real)(int, int) = real_listen;

    return real ? real(fd, backlog) : (int)syscall(SYS_listen, fd, backlog);
}

int next_connect(int fd, const struct sockaddr *address, socklen_t len)
{
    int (*real)(int, const struct sockaddr *, socklen_t) = real_connect;

    return real ? real(fd, address, len) : (int)syscall(SYS_connect, fd, address, len);
}

static int next_getsockname(int fd, struct sockaddr *address, socklen_t *len)
{
    int (*real)(int, struct sockaddr *, socklen_t *) = real_getsockname;

    return real ? real(fd, address, len) : (int)syscall(SYS_getsockname, fd, address, len);
}

static int next_close(int fd)
{
    int (*real)(int) = real_close;

    return real ? real(fd) : (int)syscall(SYS_close, fd);
}

uint32_t shim_now_s(const struct shim *shim)
{
    struct timespec now = {0};
    uint64_t now_ns;

    /* From the vDSO: 5 ns. */
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    now_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    return (uint32_t)((now_ns - shim->shared->started_ns) / 1000000000u);
}

/* glibc gives its parameters reserved names. NOLINTBEGIN(readability-inconsistent-*) */
EXPORT int connect(int fd, const struct sockaddr *address, socklen_t len)
{
    const struct shim *shim = shim_get();
    struct outgoing out = {.fd = fd, .address = address, .len = len};
    struct endpoint local;
    int result, code = errno;

    /* What is left alone costs no system call: a sandbox (seccomp) may end the program for it. */
    if (!shim || !endpoint_read(&out.to, address, len) ||
        !(out.rule = rule_find(shim->shared, RULE_OUT, IPPROTO_TCP, &out.to)) ||
        protocol_of(fd) != IPPROTO_TCP)
        return next_connect(fd, address, len);
    shim_count(shim, SHIM_CONNECTS);
    result = connect_outgoing(shim, &out);
    if (result == 0) {
        errno = code; /* a port that was refused on the way has left its mark */
        return 0;
    }
    code = errno;
    if (code == EADDRNOTAVAIL || code == EADDRINUSE || code == EACCES) {
        shim_count(shim, SHIM_CONNECT_FAILED);
        event_tell(shim, SHIM_CONNECT, fd, code, 0, local_of(fd, &local, &(int){0}) ? &local : NULL,
                   &out.to);
    }
    errno = code;
    return result;
}

EXPORT int bind(int fd, const struct sockaddr *address, socklen_t len)
{
    const struct shim *shim = shim_get();
    struct incoming in = {.fd = fd, .address = address, .len = len};
    int result, code = errno;

    if (!shim || !endpoint_read(&in.local, address, len) || (in.protocol = protocol_of(fd)) == 0)
        return next_bind(fd, address, len);
    if (in.protocol == IPPROTO_TCP && rule_wants_late(shim->shared)) {
        /* The second bind() of a socket is refused; it must not become the first. */
        bool was_late = bind_now(fd);

        if (!was_late && in.local.port == 0 && bind_late(fd, address, len))
            return 0;
    }
    in.rule = rule_find(shim->shared, RULE_IN, in.protocol, &in.local);
    if (!in.rule)
        return next_bind(fd, address, len);
    result = bind_incoming(shim, &in);
    if (result == 0)
        errno = code;
    return result;
}

EXPORT int listen(int fd, int backlog)
{
    const struct shim *shim = shim_get();
    const struct shim_rule *rule;
    struct endpoint local;
    int result, code = errno;

    if (!shim || protocol_of(fd) != IPPROTO_TCP)
        return next_listen(fd, backlog);
    reuse_now(fd);
    if (!local_of(fd, &local, &(int){0}) ||
        !(rule = rule_find(shim->shared, RULE_IN, IPPROTO_TCP, &local)))
        return next_listen(fd, backlog);
    result = listen_incoming(shim, fd, backlog, &local, rule);
    if (result == 0)
        errno = code;
    return result;
}

EXPORT int getsockname(int fd, struct sockaddr *address, socklen_t *len)
{
    const struct shim *shim = shim_get();
    socklen_t room = shim && len ? *len : 0;
    struct endpoint local;
    int result = next_getsockname(fd, address, len);

    /* A program that asks for its port before it connects is to see one. */
    if (!shim || !len || result != 0 ||
        !endpoint_read(&local, address, room < *len ? room : *len) || local.port != 0 ||
        !bind_now(fd))
        return result;
    *len = room;
    return next_getsockname(fd, address, len);
}

/* Who closed first, as it looks now. */
static void count_close(const struct shim *shim, int fd)
{
    struct tcp_info info = {0};
    socklen_t len = sizeof(info);

    if (protocol_of(fd) != IPPROTO_TCP ||
        kernel(SYS_getsockopt, fd, IPPROTO_TCP, TCP_INFO, &info, &len) != 0)
        return;
    switch (info.tcpi_state) {
    case STATE_ESTABLISHED:
    case STATE_FIN_WAIT1:
    case STATE_FIN_WAIT2:
    case STATE_CLOSING:
        shim_count(shim, SHIM_CLOSED_BY_US);
        break;
    case STATE_CLOSE_WAIT:
    case STATE_LAST_ACK:
        shim_count(shim, SHIM_CLOSED_BY_PEER);
        break;
    case STATE_CLOSE:
        /* The SYN counts as a byte: 0 never was a connection. */
        if (info.tcpi_bytes_acked > 0)
            shim_count(shim, SHIM_CLOSED_BEFORE);
        break;
    default:
        break;
    }
}

EXPORT int close(int fd)
{
    const struct shim *shim = shim_get();

    if (shim && shim->shared->watch_closes)
        count_close(shim, fd);
    return next_close(fd);
}
/* NOLINTEND(readability-inconsistent-*) */
