#include "tidewait/socket.h"

#include <errno.h>
#include <limits.h>
#include <unistd.h>

static int fail(int fd, int code, const struct tw_endpoint *local, const char *call,
                struct tw_error *error)
{
    char text[TW_ENDPOINT_TEXT_MAX];

    if (fd >= 0)
        close(fd);
    return tw_error_set(error, code, "%s on %s: %s", call, tw_endpoint_format(local, text),
                        strerror(code));
}

int tw_listen(const struct tw_endpoint *local, const struct tw_listen_opts *opts,
              struct tw_error *error)
{
    int type = SOCK_STREAM | SOCK_CLOEXEC | (opts->nonblocking ? SOCK_NONBLOCK : 0);
    int fd = socket(local->sa.sa_family, type, 0);
    int on = 1;

    if (fd < 0)
        return fail(fd, errno, local, "socket", error);
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) ||
        (opts->share && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on))) ||
        (opts->free_bind && setsockopt(fd, IPPROTO_IP, IP_FREEBIND, &on, sizeof(on))) ||
        (local->sa.sa_family == AF_INET6 &&
         setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on))))
        return fail(fd, errno, local, "setsockopt", error);
    if (bind(fd, &local->sa, tw_endpoint_len(local)))
        return fail(fd, errno, local, "bind", error);
    /* The kernel cuts the backlog to somaxconn by itself. */
    if (listen(fd, opts->backlog ? opts->backlog : INT_MAX))
        return fail(fd, errno, local, "listen", error);
    return fd;
}
