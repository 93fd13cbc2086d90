#include "tidewait/socket.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <unistd.h>

static int bind_source(int fd, const struct tw_endpoint *local, const struct tw_source_opts *opts)
{
    int on = 1;

    if (!opts->kernel_port) {
        if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)))
            return -1;
    } else if (tw_endpoint_is_wildcard(local)) {
        return 0;
    } else if (setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on))) {
        return -1;
    }
    return bind(fd, &local->sa, tw_endpoint_len(local));
}

int tw_source_open(const struct tw_endpoint *local, const struct tw_source_opts *opts)
{
    int fd = socket(local->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int on = 1;

    if (fd < 0)
        return -errno;
    /* TCP_DEFER_ACCEPT on a connecting socket holds back the bare ACK of the handshake until the
     * first data carries it. Unlike TCP_QUICKACK 0 it outlives the disconnect of tw_source_renew(),
     * which saves a system call a connection (tcp_rcv_synsent_state_process in Linux 2.6.12
     * to 6.18). */
    if ((opts->lean && setsockopt(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &on, sizeof(on))) ||
        (opts->free_bind && setsockopt(fd, IPPROTO_IP, IP_FREEBIND, &on, sizeof(on))) ||
        bind_source(fd, local, opts)) {
        int code = errno;

        close(fd);
        return -code;
    }
    return fd;
}

bool tw_source_is_closed(int fd)
{
    struct tw_endpoint peer;
    socklen_t len = sizeof(peer);

    /* The cheapest question that tells TCP_CLOSE from every other state. */
    return getpeername(fd, &peer.sa, &len) != 0;
}

int tw_source_renew(int fd)
{
    struct sockaddr none = {.sa_family = AF_UNSPEC};

    return connect(fd, &none, sizeof(none)) ? -errno : 0;
}
