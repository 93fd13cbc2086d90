#include "tidewait/socket.h"

#include <errno.h>
#include <linux/sockios.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "deadline.h"

/* Reads and discards until EOF, a reset or the deadline. */
static enum tw_closer drain(int fd, uint64_t deadline_ns, enum tw_closer at_eof)
{
    char scrap[4096];

    for (;;) {
        int left_ms = deadline_poll_ms(deadline_ns);
        struct pollfd wait = {.fd = fd, .events = POLLIN};
        ssize_t got;

        if (left_ms == 0)
            return TW_CLOSER_NONE;
        if (poll(&wait, 1, left_ms) <= 0)
            continue;
        got = recv(fd, scrap, sizeof(scrap), MSG_DONTWAIT);
        if (got == 0)
            return at_eof;
        if (got < 0 && errno != EAGAIN && errno != EINTR)
            return TW_CLOSER_RESET;
    }
}

enum tw_closer tw_close_politely(int fd, uint64_t timeout_ns)
{
    uint64_t deadline = deadline_after(timeout_ns);
    struct pollfd state = {.fd = fd, .events = POLLRDHUP};
    /* RDHUP before our own EOF: the peer was first. */
    bool peer_first = poll(&state, 1, 0) == 1 && (state.revents & POLLRDHUP);
    enum tw_closer closer = TW_CLOSER_RESET;

    if (shutdown(fd, SHUT_WR) == 0)
        closer = drain(fd, deadline, peer_first ? TW_CLOSER_PEER : TW_CLOSER_US);
    close(fd);
    return closer;
}

enum tw_closer tw_close_after_peer(int fd, uint64_t timeout_ns)
{
    enum tw_closer closer = drain(fd, deadline_after(timeout_ns), TW_CLOSER_PEER);

    close(fd);
    return closer == TW_CLOSER_NONE ? TW_CLOSER_US : closer;
}

void tw_close_reset(int fd)
{
    struct linger now = {.l_onoff = 1, .l_linger = 0};

    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    close(fd);
}

bool tw_has_unread(int fd)
{
    int unread = 0;

    return ioctl(fd, SIOCINQ, &unread) == 0 && unread > 0;
}
