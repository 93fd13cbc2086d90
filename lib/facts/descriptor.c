#include <errno.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tidewait/process.h"

int tw_descriptor_borrow(int pid, int fd)
{
    /* By number: a C library may be older than these calls. */
    int process = (int)syscall(SYS_pidfd_open, pid, 0), copy;

    if (process < 0)
        return -errno;
    copy = (int)syscall(SYS_pidfd_getfd, process, fd, 0);
    if (copy < 0)
        copy = -errno;
    close(process);
    return copy;
}

static int option(int fd, int name, int *value)
{
    socklen_t len = sizeof(*value);

    return getsockopt(fd, SOL_SOCKET, name, value, &len) ? -errno : 0;
}

int tw_descriptor_options(int fd, struct tw_socket_row *row)
{
    int reuseaddr, reuseport, device, rc;

    if ((rc = option(fd, SO_REUSEADDR, &reuseaddr)) ||
        (rc = option(fd, SO_REUSEPORT, &reuseport)) || (rc = option(fd, SO_BINDTOIFINDEX, &device)))
        return rc;
    row->reuseaddr = reuseaddr ? TW_YES : TW_NO;
    row->reuseport = reuseport ? TW_YES : TW_NO;
    row->device = (uint32_t)device;
    return 0;
}
