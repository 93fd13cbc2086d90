#include "sysctl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define FOLDER "/proc/sys/"

/* The file of a setting: the dots of its name become slashes. No name has a dot within a part. */
static void path_of(const struct setting *setting, char *path, size_t size)
{
    snprintf(path, size, FOLDER "%s", setting->name);
    for (char *c = path + sizeof(FOLDER) - 1; *c; c++)
        if (*c == '.')
            *c = '/';
}

static int missing(const struct setting *setting, struct tw_error *error)
{
    if (access(FOLDER, F_OK))
        return tw_error_set(error, ENOENT, "%s: there is no " FOLDER " here: is /proc mounted?",
                            setting->name);
    if (strncmp(setting->name, "net.", 4) == 0 && !setting->per_netns)
        return tw_error_set(error, ENOENT,
                            "%s: this kernel has no such setting, or shows it in the network "
                            "namespace of the host alone",
                            setting->name);
    return tw_error_set(error, ENOENT,
                        "%s: this kernel has no such setting (it came with Linux %s)",
                        setting->name, setting->since);
}

static int cannot_read(const struct setting *setting, int code, struct tw_error *error)
{
    if (code == ENOENT)
        return missing(setting, error);
    return tw_error_set(error, code, "%s: cannot be read: %s", setting->name, strerror(code));
}

static void print_limit(char *text, size_t size, rlim_t limit)
{
    if (limit == RLIM_INFINITY)
        snprintf(text, size, "unlimited");
    else
        snprintf(text, size, "%llu", (unsigned long long)limit);
}

static int read_limit(const struct setting *setting, char **out, struct tw_error *error)
{
    struct rlimit files;
    char soft[24], hard[24];

    if (getrlimit(RLIMIT_NOFILE, &files))
        return cannot_read(setting, errno, error);
    print_limit(soft, sizeof(soft), files.rlim_cur);
    print_limit(hard, sizeof(hard), files.rlim_max);
    if (asprintf(out, "%s %s", soft, hard) < 0)
        return tw_error_set(error, ENOMEM, "%s: no memory", setting->name);
    return 0;
}

/* Reads to the end: a list of ports comes whole or cut off at the size of the first read. */
static ssize_t read_all(int fd, char *buf, size_t size)
{
    size_t len = 0;
    ssize_t got;

    while (len < size && (got = read(fd, buf + len, size - len)) != 0) {
        if (got < 0)
            return -errno;
        len += (size_t)got;
    }
    return (ssize_t)len;
}

int sysctl_read(const struct setting *setting, char **out, struct tw_error *error)
{
    char path[128], *buf, *exact;
    ssize_t len;
    int fd;

    if (setting->kind == SETTING_LIMIT)
        return read_limit(setting, out, error);
    path_of(setting, path, sizeof(path));
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return cannot_read(setting, errno, error);
    buf = malloc(SYSCTL_VALUE_MAX);
    len = buf ? read_all(fd, buf, SYSCTL_VALUE_MAX) : -ENOMEM;
    close(fd);
    if (len > 0 && buf[len - 1] == '\n')
        len--;
    exact = len < 0 ? NULL : strndup(buf, (size_t)len);
    free(buf);
    if (!exact)
        return cannot_read(setting, len < 0 ? (int)-len : ENOMEM, error);
    *out = exact;
    return 0;
}

/* EACCES of root too: the kernel marks what it lets nobody write. */
static bool is_read_only(const char *path)
{
    struct stat file;

    return stat(path, &file) == 0 && (file.st_mode & 0222) == 0;
}

static int cannot_write(const struct setting *setting, const char *path, int code,
                        struct tw_error *error)
{
    if (code == ENOENT)
        return missing(setting, error);
    if (code == EROFS)
        return tw_error_set(error, EROFS,
                            "%s: " FOLDER " is mounted read-only here, as in most containers: set "
                            "it on the host, or when the container is made",
                            setting->name);
    if ((code == EACCES || code == EPERM) && is_read_only(path))
        return tw_error_set(error, code,
                            "%s: nobody may change it here: it is the host's, and read-only in "
                            "other network namespaces",
                            setting->name);
    if (code == EACCES || code == EPERM)
        return tw_error_set(error, code, "%s: only root%s may change it", setting->name,
                            setting->per_netns ? ", or CAP_NET_ADMIN in this network namespace,"
                                               : " of the host");
    return tw_error_set(error, code, "%s: cannot be written: %s", setting->name, strerror(code));
}

/* The file opened for writing, or -errno. Opening changes nothing. */
static int open_file(const struct setting *setting, char *path, size_t size, struct tw_error *error)
{
    int fd;

    if (setting->kind == SETTING_LIMIT)
        return tw_error_set(error, EOPNOTSUPP,
                            "%s: a limit belongs to the process that needs it: set LimitNOFILE= of "
                            "its unit, or ulimit -n where it is started",
                            setting->name);
    path_of(setting, path, size);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    return fd >= 0 ? fd : cannot_write(setting, path, errno, error);
}

int sysctl_writable(const struct setting *setting, struct tw_error *error)
{
    char path[128];
    int fd = open_file(setting, path, sizeof(path), error);

    if (fd < 0)
        return fd;
    close(fd);
    return 0;
}

/* 0 or -errno. The kernel takes a long list of ports in pieces. */
static int write_all(int fd, const char *text, size_t len)
{
    size_t done = 0;

    while (done < len) {
        ssize_t put = write(fd, text + done, len - done);

        if (put < 0)
            return -errno;
        if (put == 0)
            return -EINVAL;
        done += (size_t)put;
    }
    return 0;
}

/* What the kernel would take in part: it heeds as many numbers as it wants and says nothing of the
 * rest, and it meets a mistake in a long list when the beginning is in force already. A single
 * number may be one that is out of our bounds: it was had from the kernel. */
static int check_form(const struct setting *setting, const char *value, struct tw_error *error)
{
    if (setting->kind != SETTING_NUMBER)
        return setting_check(setting, tw_view_of(value), error);
    if (strpbrk(value, " \t\n"))
        return tw_error_set(error, EINVAL, "%s: '%.60s' is not one number", setting->name, value);
    return 0;
}

int sysctl_write(const struct setting *setting, const char *value, struct tw_error *error)
{
    char path[128], *line;
    int fd, rc;

    fd = open_file(setting, path, sizeof(path), error);
    if (fd < 0)
        return fd;
    if (check_form(setting, value, error)) {
        close(fd);
        return -EINVAL;
    }
    /* An empty list is an empty line; no byte at all would change nothing. */
    if (asprintf(&line, "%s\n", value) < 0) {
        close(fd);
        return tw_error_set(error, ENOMEM, "%s: no memory", setting->name);
    }
    rc = write_all(fd, line, strlen(line));
    free(line);
    close(fd);
    if (rc == -EINVAL)
        return tw_error_set(error, EINVAL, "%s: the kernel refuses '%.60s'", setting->name, value);
    return rc ? cannot_write(setting, path, -rc, error) : 0;
}
