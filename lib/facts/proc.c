#include "proc.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

/* The kernel fills what it gets; 1,300 descriptors take one call. */
#define DIR_BYTES 32768

#define NAME_DIGITS 10

int proc_open(void)
{
    int fd = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct statfs fs;
    char self[16];

    if (fd < 0)
        return -errno;
    /* "self" names the reader in the numbers of this /proc; they must be those of getpid(). */
    if (fstatfs(fd, &fs) || fs.f_type != PROC_SUPER_MAGIC ||
        proc_readlink(fd, "self", self, sizeof(self)) < 0 ||
        strtol(self, NULL, 10) != (long)getpid()) {
        close(fd);
        return -ENODEV;
    }
    return fd;
}

static bool is_number(const char *name)
{
    size_t len = 0;

    while (isdigit((unsigned char)name[len]))
        len++;
    return len > 0 && len <= NAME_DIGITS && name[len] == 0;
}

int proc_each(int dir, proc_visit *visit, void *context)
{
    _Alignas(struct dirent64) char buf[DIR_BYTES];
    ssize_t len;

    while ((len = getdents64(dir, buf, sizeof(buf))) > 0) {
        for (ssize_t at = 0; at < len;) {
            const struct dirent64 *entry = (const struct dirent64 *)(const void *)(buf + at);
            int rc;

            at += entry->d_reclen;
            if (is_number(entry->d_name) && (rc = visit(dir, entry->d_name, context)))
                return rc;
        }
    }
    return len < 0 ? -errno : 0;
}

int proc_each_at(int dir, const char *path, proc_visit *visit, void *context)
{
    int fd = openat(dir, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc;

    if (fd < 0)
        return -errno;
    rc = proc_each(fd, visit, context);
    close(fd);
    return rc;
}

ssize_t proc_read(int dir, const char *path, char *buf, size_t size)
{
    int fd = openat(dir, path, O_RDONLY | O_CLOEXEC);
    size_t len = 0;
    ssize_t got = 0;
    int code;

    if (fd < 0)
        return -errno;
    while (len < size - 1 && (got = read(fd, buf + len, size - 1 - len)) > 0)
        len += (size_t)got;
    code = errno;
    close(fd);
    if (got < 0)
        return -code;
    buf[len] = 0;
    return (ssize_t)len;
}

uint64_t proc_link_inode(const char *link, const char *type)
{
    size_t len = strlen(type);

    if (strncmp(link, type, len) != 0 || strncmp(link + len, ":[", 2) != 0)
        return 0;
    return strtoull(link + len + 2, NULL, 10);
}

ssize_t proc_readlink(int dir, const char *path, char *buf, size_t size)
{
    ssize_t len = readlinkat(dir, path, buf, size - 1);

    if (len < 0)
        return -errno;
    buf[len] = 0;
    return len;
}

bool proc_refused(int rc)
{
    return rc == -EACCES || rc == -EPERM;
}

bool proc_gone(int rc)
{
    return rc == -ENOENT || rc == -ESRCH || rc == -EINVAL;
}
