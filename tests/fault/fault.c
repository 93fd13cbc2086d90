/*
 * fault.so - makes one call of a libc function fail, for a program started with LD_PRELOAD.
 *
 *     FAULT=connect:3:ENOBUFS    the third call fails, all others work
 *     FAULT=connect:3+:ENOBUFS   the third and every later one
 *     FAULT_LOG=FILE             at the end "calls N" (of the function, also without failure) is
 * appended, and a line "leak FD -> WHAT" for each descriptor still open that the program did not
 * have when it started
 *
 * close() is only ever counted. Calls inside libc do not come by here, except those for memory.
 */
/* open() and fopen() here are to be the functions of these names, not other names of open64(). */
#undef _FILE_OFFSET_BITS

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define DESCRIPTORS_MAX 4096

static struct {
    char function[32];
    unsigned long first;
    bool onwards;
    int code;
    atomic_ulong calls;
    atomic_bool armed;
    bool inherited[DESCRIPTORS_MAX];
} fault;

static const struct {
    const char *name;
    int code;
} codes[] = {
    {"EACCES", EACCES},
    {"EADDRINUSE", EADDRINUSE},
    {"EADDRNOTAVAIL", EADDRNOTAVAIL},
    {"EAGAIN", EAGAIN},
    {"EBADF", EBADF},
    {"ECONNREFUSED", ECONNREFUSED},
    {"ECONNRESET", ECONNRESET},
    {"EINTR", EINTR},
    {"EINVAL", EINVAL},
    {"EIO", EIO},
    {"EMFILE", EMFILE},
    {"ENETUNREACH", ENETUNREACH},
    {"ENFILE", ENFILE},
    {"ENOBUFS", ENOBUFS},
    {"ENOMEM", ENOMEM},
    {"ENOPROTOOPT", ENOPROTOOPT},
    {"ENOSPC", ENOSPC},
    {"ENOSYS", ENOSYS},
    {"ENOTCONN", ENOTCONN},
    {"EPERM", EPERM},
    {"EPIPE", EPIPE},
    {"ETIMEDOUT", ETIMEDOUT},
};

static void refuse_setting(const char *setting)
{
    dprintf(STDERR_FILENO, "fault.so: FAULT='%s' is not FUNCTION:N:ERRNO\n", setting);
    _exit(99);
}

static void parse(const char *setting)
{
    const char *number = strchr(setting, ':');
    char *code = NULL;
    size_t len = number ? (size_t)(number - setting) : 0;

    if (len == 0 || len >= sizeof(fault.function))
        refuse_setting(setting);
    memcpy(fault.function, setting, len);
    fault.first = strtoul(number + 1, &code, 10);
    fault.onwards = *code == '+';
    code += fault.onwards;
    for (size_t i = 0; *code == ':' && i < sizeof(codes) / sizeof(codes[0]); i++)
        if (strcmp(codes[i].name, code + 1) == 0)
            fault.code = codes[i].code;
    if (!fault.code)
        refuse_setting(setting);
}

/* Calls visit for each open descriptor but the one that reads the list. */
static void each_descriptor(void (*visit)(int fd))
{
    DIR *dir = opendir("/proc/self/fd");
    struct dirent *entry;

    while (dir && (entry = readdir(dir))) {
        int fd = (int)strtol(entry->d_name, NULL, 10);

        if (entry->d_name[0] != '.' && fd != dirfd(dir))
            visit(fd);
    }
    if (dir)
        closedir(dir);
}

static void inherit(int fd)
{
    if (fd < DESCRIPTORS_MAX)
        fault.inherited[fd] = true;
}

__attribute__((constructor)) static void begin(void)
{
    const char *setting = getenv("FAULT");

    each_descriptor(inherit);
    if (setting) {
        parse(setting);
        atomic_store(&fault.armed, true);
    }
}

static int log_fd = -1;

static void log_leak(int fd)
{
    char path[64], what[256];
    ssize_t len;

    if (fd == log_fd || (fd < DESCRIPTORS_MAX && fault.inherited[fd]))
        return;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    len = readlink(path, what, sizeof(what) - 1);
    what[len < 0 ? 0 : len] = 0;
    dprintf(log_fd, "leak %d -> %s\n", fd, what);
}

__attribute__((destructor)) static void end(void)
{
    const char *path = getenv("FAULT_LOG");

    atomic_store(&fault.armed, false);
    if (!path)
        return;
    log_fd =
        (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (log_fd < 0)
        return;
    dprintf(log_fd, "calls %lu\n", atomic_load(&fault.calls));
    each_descriptor(log_leak);
}

/* Counts a call of the function; true, with errno set, when it is to fail. */
static bool fails(const char *function)
{
    unsigned long call;

    if (!atomic_load_explicit(&fault.armed, memory_order_relaxed) ||
        strcmp(fault.function, function) != 0)
        return false;
    call = atomic_fetch_add(&fault.calls, 1) + 1;
    if (call != fault.first && !(fault.onwards && call > fault.first))
        return false;
    errno = fault.code;
    return true;
}

/* Goes on to the next function of that name: libc's. `bad` is what a failure returns. The
 * two lists bring their own parentheses: NOLINTBEGIN(bugprone-macro-parentheses) */
#define WRAP(type, bad, name, parameters, arguments)   \
    type name parameters                               \
    {                                                  \
        static type(*next) parameters;                 \
                                                       \
        if (!next)                                     \
            *(void **)&next = dlsym(RTLD_NEXT, #name); \
        return fails(#name) ? bad : next arguments;    \
    }
/* NOLINTEND(bugprone-macro-parentheses) */

#pragma GCC diagnostic ignored "-Wmissing-prototypes"
#pragma GCC diagnostic ignored "-Wredundant-decls"

WRAP(int, -1, socket, (int family, int type, int protocol), (family, type, protocol))
WRAP(int, -1, bind, (int fd, const struct sockaddr *address, socklen_t len), (fd, address, len))
WRAP(int, -1, connect, (int fd, const struct sockaddr *address, socklen_t len), (fd, address, len))
WRAP(int, -1, shutdown, (int fd, int how), (fd, how))
WRAP(ssize_t, -1, send, (int fd, const void *bytes, size_t len, int flags), (fd, bytes, len, flags))
WRAP(ssize_t, -1, recv, (int fd, void *bytes, size_t len, int flags), (fd, bytes, len, flags))
WRAP(int, -1, setsockopt, (int fd, int level, int name, const void *value, socklen_t len),
     (fd, level, name, value, len))
WRAP(int, -1, getsockopt, (int fd, int level, int name, void *value, socklen_t *len),
     (fd, level, name, value, len))
WRAP(int, -1, getpeername, (int fd, struct sockaddr *address, socklen_t *len), (fd, address, len))
WRAP(int, -1, epoll_create1, (int flags), (flags))
WRAP(int, -1, epoll_ctl, (int epoll, int what, int fd, struct epoll_event *event),
     (epoll, what, fd, event))
WRAP(int, -1, epoll_pwait2,
     (int epoll, struct epoll_event *events, int max, const struct timespec *timeout,
      const sigset_t *mask),
     (epoll, events, max, timeout, mask))
WRAP(FILE *, NULL, fopen, (const char *path, const char *mode), (path, mode))
WRAP(ssize_t, -1, read, (int fd, void *bytes, size_t len), (fd, bytes, len))
WRAP(ssize_t, -1, write, (int fd, const void *bytes, size_t len), (fd, bytes, len))
WRAP(int, errno, pthread_create,
     (pthread_t * thread, const pthread_attr_t *attributes, void *(*start)(void *), void *argument),
     (thread, attributes, start, argument))

/* The large-file names are the same functions; a build has one or the other. */
FILE *fopen64(const char *path, const char *mode)
{
    return fopen(path, mode);
}

int open(const char *path, int flags, ...)
{
    static int (*next)(const char *, int, ...);
    unsigned mode = 0;
    va_list args;

    if (!next)
        *(void **)&next = dlsym(RTLD_NEXT, "open");
    va_start(args, flags);
    if (flags & (O_CREAT | O_TMPFILE))
        mode = va_arg(args, unsigned);
    va_end(args);
    return fails("open") ? -1 : next(path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
    unsigned mode = 0;
    va_list args;

    va_start(args, flags);
    if (flags & (O_CREAT | O_TMPFILE))
        mode = va_arg(args, unsigned);
    va_end(args);
    return open(path, flags, mode);
}

int close(int fd)
{
    if (atomic_load(&fault.armed) && strcmp(fault.function, "close") == 0)
        atomic_fetch_add(&fault.calls, 1);
    return (int)syscall(SYS_close, fd);
}

/* dlsym() itself needs memory, so these go to glibc by its own names. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);

void *malloc(size_t size)
{
    return fails("malloc") ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    return fails("calloc") ? NULL : __libc_calloc(count, size);
}

void *realloc(void *old, size_t size)
{
    return fails("realloc") ? NULL : __libc_realloc(old, size);
}

void *reallocarray(void *old, size_t count, size_t size)
{
    if (fails("reallocarray"))
        return NULL;
    if (size && count > SIZE_MAX / size) {
        errno = ENOMEM;
        return NULL;
    }
    return __libc_realloc(old, count * size);
}
