#include "watch_call.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "tidewait/process.h"

/* In <linux/in.h>, which does not go with <netinet/in.h>; glibc has it since 2.32. */
#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

/* Any address that a call may name. `len` counts what was given. */
struct name {
    socklen_t len;
    union {
        struct sockaddr sa;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
        struct sockaddr_un un;
        struct sockaddr_storage any;
    };
};

/* The second and third argument of bind() and connect(). Returns 0, 1 when the kernel will refuse
 * them anyway, or -errno. */
static int read_name(const struct seccomp_notif *request, struct name *out)
{
    uint64_t len = (uint32_t)request->data.args[2];
    char path[32];
    ssize_t got;
    int fd, rc;

    *out = (struct name){0};
    if (len < sizeof(sa_family_t) || len > sizeof(out->any))
        return 1;
    /* Unlike process_vm_readv(2), this is not on the lists of what containers may not do. */
    snprintf(path, sizeof(path), "/proc/%u/mem", request->pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    got = pread(fd, &out->any, len, (off_t)request->data.args[1]);
    /* An address that is not the program's: EFAULT is on its way. */
    rc = got == (ssize_t)len ? 0 : 1;
    close(fd);
    out->len = (socklen_t)len;
    return rc;
}

/* Whether it is long enough for what it says it is. */
static bool is_whole(const struct name *name)
{
    switch (name->sa.sa_family) {
    case AF_INET:
        return name->len >= sizeof(name->v4);
    case AF_INET6:
        /* Without the scope it is as old as RFC 2133, and still taken. */
        return name->len >= offsetof(struct sockaddr_in6, sin6_scope_id);
    case AF_UNIX:
        /* Without a path: the kernel makes one up, in bind(). */
        return name->len > offsetof(struct sockaddr_un, sun_path);
    default:
        return false;
    }
}

static struct tw_endpoint to_endpoint(const struct name *name)
{
    struct tw_endpoint endpoint = {.v6 = {.sin6_family = AF_UNSPEC}};

    if (name->sa.sa_family == AF_INET)
        endpoint.v4 = name->v4;
    else if (name->sa.sa_family == AF_INET6)
        endpoint.v6 = name->v6;
    return endpoint;
}

/* A relative path is relative to where the process is, or was when it bound the socket, which
 * nobody knows any more. */
static void set_path(struct watch_call *call, const struct name *name)
{
    size_t room = sizeof(call->path) - 1, len = name->len - offsetof(struct sockaddr_un, sun_path);
    char link[32], folder[sizeof(call->path)];
    ssize_t folder_len;

    if (len > room)
        len = room;
    memcpy(call->path, name->un.sun_path, len);
    if (call->path[0] == 0) {
        /* An abstract name may hold any byte; it is shown as ss(8) does. */
        for (size_t i = 0; i < len; i++)
            if (call->path[i] == 0)
                call->path[i] = '@';
        return;
    }
    len = strlen(call->path);
    snprintf(link, sizeof(link), "/proc/%d/cwd", call->pid);
    if (call->path[0] == '/' || (folder_len = readlink(link, folder, sizeof(folder))) <= 1 ||
        (size_t)folder_len + 1 + len > room)
        return;
    memmove(call->path + folder_len + 1, call->path, len + 1);
    memcpy(call->path, folder, (size_t)folder_len);
    call->path[folder_len] = '/';
}

/* The notification names a thread. Returns 0 or -errno. */
static int read_owner(uint32_t thread, struct watch_call *out)
{
    char path[40], text[1024];
    const char *group, *uid;
    ssize_t len;
    int fd;

    snprintf(path, sizeof(path), "/proc/%u/status", thread);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    len = read(fd, text, sizeof(text) - 1);
    close(fd);
    text[len > 0 ? len : 0] = 0;
    group = strstr(text, "\nTgid:\t");
    uid = strstr(text, "\nUid:\t");
    uid = uid ? strchr(uid + strlen("\nUid:\t"), '\t') : NULL; /* real, then effective */
    if (!group || !uid)
        return -ESRCH;
    out->pid = (int)strtol(group + strlen("\nTgid:\t"), NULL, 10);
    out->uid = (uint32_t)strtoul(uid, NULL, 10);
    return 0;
}

/* 0 when it is none; IP only. */
static uint8_t protocol_of(int number)
{
    switch (number) {
    case IPPROTO_TCP:
    case IPPROTO_MPTCP: /* Go listens with it; its address is a TCP socket's */
        return IPPROTO_TCP;
    case IPPROTO_UDP:
        return IPPROTO_UDP;
    default:
        return 0;
    }
}

static int option(int fd, int level, int name)
{
    int value = 0;
    socklen_t len = sizeof(value);

    return getsockopt(fd, level, name, &value, &len) == 0 ? value : 0;
}

/* Asks the socket itself. Returns 0, or 1 when it is none of ours. */
static int ask_socket(int fd, struct watch_call *out, struct name *own)
{
    int domain = option(fd, SOL_SOCKET, SO_DOMAIN);
    socklen_t len = sizeof(out->device); /* the kernel takes no less; a NUL is in it */

    if (domain != AF_INET && domain != AF_INET6 && domain != AF_UNIX)
        return 1;
    if (domain != AF_UNIX) {
        out->protocol = protocol_of(option(fd, SOL_SOCKET, SO_PROTOCOL));
        if (!out->protocol)
            return 1;
    }
    out->borrowed = true;
    out->reuseaddr = option(fd, SOL_SOCKET, SO_REUSEADDR);
    out->reuseport = option(fd, SOL_SOCKET, SO_REUSEPORT);
    out->v6only = domain == AF_INET6 && option(fd, IPPROTO_IPV6, IPV6_V6ONLY);
    if (getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, out->device, &len))
        out->device[0] = 0;
    own->len = sizeof(own->any);
    if (getsockname(fd, &own->sa, &own->len))
        *own = (struct name){0};
    return 0;
}

/* What /proc tells of a socket that may not be borrowed: its protocol alone. Returns 0, 1 or
 * -errno. */
static int ask_proc(struct watch_call *out)
{
    static const struct {
        const char *name;
        uint8_t protocol;
    } known[] = {
        {"TCP", IPPROTO_TCP},
        {"TCPv6", IPPROTO_TCP},
        {"UDP", IPPROTO_UDP},
        {"UDPv6", IPPROTO_UDP},
        {"MPTCP", IPPROTO_TCP},
        {"MPTCPv6", IPPROTO_TCP},
        {"UNIX", 0},
        {"UNIX-STREAM", 0},
    };
    char path[48], name[32];
    ssize_t len;

    snprintf(path, sizeof(path), "/proc/%d/fd/%d", out->pid, out->fd);
    len = getxattr(path, "system.sockprotoname", name, sizeof(name) - 1);
    if (len < 0)
        return errno == EACCES || errno == EPERM ? -errno : 1;
    name[len] = 0;
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (strcmp(name, known[i].name) == 0) {
            out->protocol = known[i].protocol;
            return 0;
        }
    }
    return 1;
}

/* Fills in what the socket knows. Returns 0, 1 when it is none of ours or no socket, or -errno. */
static int look_at_socket(struct watch_call *out, struct name *own)
{
    int fd = tw_descriptor_borrow(out->pid, out->fd), rc;

    if (fd == -EBADF)
        return 1;
    if (fd < 0)
        return ask_proc(out);
    rc = ask_socket(fd, out, own);
    close(fd);
    return rc;
}

/* What the socket is bound to: nothing as long as it has neither port nor address. */
static void set_own(struct watch_call *out, const struct name *own)
{
    struct tw_endpoint endpoint = to_endpoint(own);

    if (own->sa.sa_family == AF_UNIX) {
        out->bound = is_whole(own);
        if (out->bound && out->op == TW_OP_LISTEN)
            set_path(out, own);
    } else if (own->sa.sa_family != AF_UNSPEC) {
        out->bound = tw_endpoint_port(&endpoint) != 0;
        if (out->op != TW_OP_BIND && (out->bound || !tw_endpoint_is_wildcard(&endpoint)))
            out->local = endpoint;
    }
}

static enum tw_op op_of(int number)
{
    return number == __NR_bind ? TW_OP_BIND : number == __NR_listen ? TW_OP_LISTEN : TW_OP_CONNECT;
}

int watch_call_read(const struct seccomp_notif *request, struct watch_call *out)
{
    struct name named = {0}, own = {0};
    int rc;

    *out = (struct watch_call){.op = op_of(request->data.nr), .fd = (int)request->data.args[0]};
    if (out->op != TW_OP_LISTEN) {
        if ((rc = read_name(request, &named)))
            return rc;
        if (!is_whole(&named))
            return 1;
    }
    if ((rc = read_owner(request->pid, out)) || (rc = look_at_socket(out, &own)))
        return rc;
    if (out->op != TW_OP_LISTEN && (named.sa.sa_family == AF_UNIX) != (out->protocol == 0))
        return 1; /* EAFNOSUPPORT is on its way */
    if (named.sa.sa_family == AF_UNIX)
        set_path(out, &named);
    else if (out->op == TW_OP_BIND)
        out->local = to_endpoint(&named);
    else if (out->op == TW_OP_CONNECT)
        out->remote = to_endpoint(&named);
    set_own(out, &own);
    return 0;
}
