/*
 * kernel.h - system calls that the shim adds to those of the program.
 *
 * The program's own call goes on to the next definition of its symbol (see shim.h), so that a
 * sanitizer, another preload and thread cancellation see what they would see without us. What we
 * add goes to the kernel directly: no other preload takes it for the program's, nothing here is a
 * cancellation point, and it works in signal handlers, after vfork() and before any constructor.
 */
#ifndef KERNEL_H
#define KERNEL_H

#include <errno.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* What the call returned, or -errno; errno itself stays as it was. */
#define kernel(...)                                \
    ({                                             \
        int kernel_errno = errno;                  \
        long kernel_result = syscall(__VA_ARGS__); \
        if (kernel_result < 0)                     \
            kernel_result = -errno;                \
        errno = kernel_errno;                      \
        kernel_result;                             \
    })

static inline int kernel_get(int fd, int level, int name, int *value)
{
    socklen_t len = sizeof(*value);

    return (int)kernel(SYS_getsockopt, fd, level, name, value, &len);
}

static inline int kernel_set(int fd, int level, int name, int value)
{
    return (int)kernel(SYS_setsockopt, fd, level, name, &value, sizeof(value));
}

#endif
