#include <errno.h>
#include <net/if.h>
#include <stddef.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "tidewait/verdict.h"

/* In <linux/in.h>, which does not go with <netinet/in.h>; glibc has it since 2.32. */
#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

/* What the question points to while it is put. */
struct texts {
    char path[sizeof(((struct sockaddr_un *)0)->sun_path) + 1];
    char device[IFNAMSIZ];
};

static int option(int fd, int level, int name)
{
    int value = 0;
    socklen_t len = sizeof(value);

    return getsockopt(fd, level, name, &value, &len) == 0 ? value : 0;
}

/* As tw_listen() makes it. */
static void assume_listener(struct tw_question *question, sa_family_t family)
{
    question->protocol = family == AF_UNIX ? 0 : IPPROTO_TCP;
    question->reuseaddr = true;
    question->v6only = family == AF_INET6;
}

/* Asks the socket itself for all but the address. Returns 0 or -errno. */
static int ask_socket(int fd, struct tw_question *question, struct texts *texts)
{
    socklen_t len = sizeof(int), device_len = sizeof(texts->device);
    int domain, protocol = option(fd, SOL_SOCKET, SO_PROTOCOL);

    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len))
        return -errno;
    if (domain == AF_UNIX)
        return 0;
    if (domain != AF_INET && domain != AF_INET6)
        return -EAFNOSUPPORT;
    /* The address of an MPTCP socket is that of its TCP socket. */
    question->protocol = (uint8_t)(protocol == IPPROTO_MPTCP ? IPPROTO_TCP : protocol);
    question->reuseaddr = option(fd, SOL_SOCKET, SO_REUSEADDR);
    question->reuseport = option(fd, SOL_SOCKET, SO_REUSEPORT);
    question->v6only = domain == AF_INET6 && option(fd, IPPROTO_IPV6, IPV6_V6ONLY);
    if (getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, texts->device, &device_len) == 0 &&
        texts->device[0])
        question->device = texts->device;
    return 0;
}

/* An abstract name may hold any byte; it is written as ss(8) does. */
static int set_path(const struct sockaddr *address, socklen_t len, struct tw_question *question,
                    struct texts *texts)
{
    size_t path_len = len - offsetof(struct sockaddr_un, sun_path);

    if (len <= offsetof(struct sockaddr_un, sun_path) || path_len >= sizeof(texts->path))
        return -EINVAL;
    memcpy(texts->path, (const char *)address + offsetof(struct sockaddr_un, sun_path), path_len);
    if (texts->path[0] == 0)
        for (size_t i = 0; i < path_len; i++)
            if (texts->path[i] == 0)
                texts->path[i] = '@';
    question->path = texts->path;
    return 0;
}

/* Any address that bind() may be given. Returns 0 or -errno. */
static int set_address(const struct sockaddr *address, socklen_t len, struct tw_question *question,
                       struct texts *texts)
{
    sa_family_t family = len >= sizeof(family) ? address->sa_family : AF_UNSPEC;

    if (family == AF_UNIX)
        return question->protocol ? -EAFNOSUPPORT : set_path(address, len, question, texts);
    if (!question->protocol || (family != AF_INET && family != AF_INET6))
        return -EAFNOSUPPORT;
    if (family == AF_INET && len >= sizeof(struct sockaddr_in))
        memcpy(&question->local.v4, address, sizeof(struct sockaddr_in));
    /* Without the scope it is as old as RFC 2133, and still taken. */
    else if (family == AF_INET6 && len >= offsetof(struct sockaddr_in6, sin6_scope_id))
        memcpy(&question->local.v6, address,
               len < sizeof(struct sockaddr_in6) ? len : sizeof(struct sockaddr_in6));
    else
        return -EINVAL;
    return 0;
}

/* Whether the socket has an address already; of IP, whether it has a port. */
static bool is_bound(const struct sockaddr_storage *own, socklen_t len)
{
    struct tw_endpoint endpoint;

    if (own->ss_family == AF_UNIX)
        return len > offsetof(struct sockaddr_un, sun_path);
    memcpy(&endpoint, own, sizeof(endpoint));
    return tw_endpoint_port(&endpoint) != 0;
}

/* Returns 0 or -errno. */
static int ask(int fd, const struct sockaddr *address, socklen_t len, struct tw_question *question,
               struct texts *texts)
{
    struct sockaddr_storage own = {0};
    socklen_t own_len = sizeof(own);
    bool bound;
    int rc;

    if (fd < 0) {
        if (!address)
            return -EINVAL;
        assume_listener(question, len >= sizeof(sa_family_t) ? address->sa_family : AF_UNSPEC);
        return set_address(address, len, question, texts);
    }
    if ((rc = ask_socket(fd, question, texts)))
        return rc;
    if (getsockname(fd, (struct sockaddr *)&own, &own_len))
        return -errno;
    bound = is_bound(&own, own_len);
    if (address) {
        question->bound = bound;
        return set_address(address, len, question, texts);
    }
    /* listen() on a socket without a port binds it to one first. */
    question->op = bound ? TW_OP_LISTEN : TW_OP_BIND;
    return set_address((struct sockaddr *)&own, own_len, question, texts);
}

struct tw_verdict *tw_why_bind(int fd, const struct sockaddr *address, socklen_t len,
                               struct tw_error *error)
{
    struct tw_question question = {.op = TW_OP_BIND, .pid = getpid()};
    struct texts texts = {{0}, {0}};
    int rc = ask(fd, address, len, &question, &texts);

    if (!rc)
        return tw_verdict_new(&question, error);
    tw_error_set(error, -rc, "no question can be made of descriptor %d and its address: %s", fd,
                 strerror(-rc));
    return NULL;
}
