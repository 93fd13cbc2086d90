/* What a scenario cannot do without: looked for before it is played. */
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "stage_private.h"
#include "tidewait/sockets.h"

#define SOME_USER 65534

static void check_tun(struct stage *stage)
{
    int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

    if (fd < 0)
        stage_lacking(stage, "/dev/net/tun cannot be opened: %s%s", strerror(errno),
                      errno == EACCES ? " (its mode keeps users out)"
                                      : " (the module tun may not be loaded)");
    close(fd);
}

/* Users and their sockets exist beside one another only for root of the whole host, or of a
 * container that has more than one. */
static void check_users(struct stage *stage)
{
    int code = become_user(SOME_USER);

    if (code)
        stage_lacking(stage, "becoming another user: %s (it takes root of the whole host)",
                      strerror(code));
    code = become_user(0);
    if (code)
        stage_broken(stage, "becoming root again: %s", strerror(code));
}

static int keep_row(const struct tw_socket_row *row, void *context)
{
    *(struct tw_socket_row *)context = *row;
    return 1;
}

/* Tries it on a listening socket. The network of the stage itself has no host, and nobody else. */
static void check_destroy(struct stage *stage)
{
    struct tw_sockets_query query = {.state_mask = TW_STATE_MASK(TCP_LISTEN)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), rc;
    struct tw_error error = {0};
    struct tw_socket_row row;

    if (fd < 0 || listen(fd, 1))
        stage_broken(stage, "a socket to be destroyed: %s", strerror(errno));
    rc = tw_sockets_each(&query, keep_row, &row, &error);
    if (rc == 1)
        rc = tw_socket_destroy(&row, &error);
    if (rc)
        stage_lacking(stage, "SOCK_DESTROY: %s", error.text);
    close(fd);
}

static void check_io_uring(struct stage *stage)
{
    struct io_uring_params params = {0};
    int fd = (int)syscall(SYS_io_uring_setup, 1, &params);

    if (fd < 0)
        stage_lacking(stage, "io_uring: %s%s", strerror(errno),
                      errno == EPERM ? " (sysctl kernel.io_uring_disabled, or seccomp)" : "");
    close(fd);
}

/* Hosts turn it on themselves where it is only turned off. */
static void check_ipv6(struct stage *stage)
{
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        stage_lacking(stage, "IPv6: %s (the kernel has none, or was started with ipv6.disable)",
                      strerror(errno));
    close(fd);
}

void stage_check_needs(struct stage *stage, unsigned needs)
{
    static const struct {
        unsigned need;
        void (*check)(struct stage *stage);
    } checks[] = {
        {NEEDS_TUN, check_tun},         {NEEDS_USERS, check_users},
        {NEEDS_DESTROY, check_destroy}, {NEEDS_IO_URING, check_io_uring},
        {NEEDS_IPV6, check_ipv6},
    };

    for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]); i++)
        if (needs & checks[i].need)
            checks[i].check(stage);
}
