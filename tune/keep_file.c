#include "keep_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Larger than any journal: a few values of 384 KiB and the kept file, each escaped. */
#define FILE_MAX ((size_t)16 * 1024 * 1024)

#define PERMISSIONS 07777

/* --- folders --- */

/* What is on the disk of a folder is its list of names. */
static int sync_folder(const struct keep_folder *folder, struct tw_error *error)
{
    /* EINVAL: a file system whose folders need no fsync(). */
    if (fsync(folder->fd) && errno != EINVAL)
        return tw_error_set(error, errno, "%s: fsync: %s", folder->path, strerror(errno));
    return 0;
}

static int make_folder(const struct keep_folder *in, const char *name, struct tw_error *error)
{
    if (mkdirat(in->fd, name, 0755) == 0)
        /* Whatever the umask: anybody may ask whether settings have drifted. */
        return fchmodat(in->fd, name, 0755, 0) == 0 ? sync_folder(in, error) : -errno;
    return errno == EEXIST ? 0 : -errno;
}

/* Goes on to the folder `name` in *folder. */
static int step(struct keep_folder *folder, const char *name, bool make, int flags,
                struct tw_error *error)
{
    size_t used = strlen(folder->path);
    int fd = openat(folder->fd, name, flags), rc = fd < 0 ? -errno : 0;

    if (rc == -ENOENT && make) {
        rc = make_folder(folder, name, error);
        if (rc == 0 && (fd = openat(folder->fd, name, flags)) < 0)
            rc = -errno;
    }
    snprintf(folder->path + used, sizeof(folder->path) - used, "/%s", name);
    if (rc == -ENOTDIR || rc == -ELOOP)
        return tw_error_set(
            error, -rc,
            "%s: is a symbolic link or no folder, and what is below it would not be "
            "in its place",
            folder->path);
    if (rc)
        return tw_error_set(error, -rc, "%s: %s", folder->path, strerror(-rc));
    close(folder->fd);
    folder->fd = fd;
    return 0;
}

int keep_folder_open(struct keep_folder *out, const char *root, const char *path, bool make,
                     struct tw_error *error)
{
    int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC | (root[0] ? O_NOFOLLOW : 0);
    int len = snprintf(out->path, sizeof(out->path), "%s", root), rc = 0;
    char parts[128], *rest = parts, *name;

    out->fd = -1;
    /* So that the whole path, and a name below it, has room. */
    if ((size_t)len + strlen(path) + NAME_MAX >= sizeof(out->path) || strlen(path) >= sizeof(parts))
        return tw_error_set(error, ENAMETOOLONG, "%.100s..: the path is too long", root);
    out->fd = open(root[0] ? root : "/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (out->fd < 0)
        return tw_error_set(error, errno, "%s: %s", root[0] ? root : "/", strerror(errno));
    snprintf(parts, sizeof(parts), "%s", path);
    while (rc == 0 && (name = strsep(&rest, "/")))
        if (name[0])
            rc = step(out, name, make, flags, error);
    if (rc)
        keep_folder_close(out);
    return rc;
}

void keep_folder_close(struct keep_folder *folder)
{
    if (folder->fd >= 0)
        close(folder->fd);
    folder->fd = -1;
}

/* --- reading --- */

static int read_all(int fd, struct keep_file *out)
{
    size_t room = 4096;
    ssize_t got;

    if (!(out->bytes = malloc(room)))
        return -ENOMEM;
    /* One byte is left for the NUL. */
    while ((got = read(fd, out->bytes + out->len, room - 1 - out->len))) {
        char *more;

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -errno;
        out->len += (size_t)got;
        if (out->len + 1 < room)
            continue;
        if (room > FILE_MAX)
            return -EFBIG;
        if (!(more = realloc(out->bytes, room *= 2)))
            return -ENOMEM;
        out->bytes = more;
    }
    out->bytes[out->len] = 0;
    return 0;
}

static int read_open(int fd, struct keep_file *out, const char **why)
{
    struct stat status;

    if (fstat(fd, &status))
        return -errno;
    if (!S_ISREG(status.st_mode)) {
        *why = "is no plain file; move it out of the way";
        return -EINVAL;
    }
    out->exists = true;
    out->mode = status.st_mode & PERMISSIONS;
    out->uid = status.st_uid;
    out->gid = status.st_gid;
    return read_all(fd, out);
}

int keep_file_read(const struct keep_folder *folder, const char *name, struct keep_file *out,
                   struct tw_error *error)
{
    const char *why = NULL;
    int fd, rc;

    *out = (struct keep_file){0};
    /* A pipe of that name must not keep us waiting. */
    fd = openat(folder->fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return 0;
    if (fd >= 0) {
        rc = read_open(fd, out, &why);
        close(fd);
    } else {
        rc = -errno;
        if (rc == -ELOOP)
            why = "is a symbolic link, which would be lost; move it out of the way";
    }
    if (rc == 0)
        return 0;
    keep_file_fini(out);
    return tw_error_set(error, -rc, "%s/%s: %s", folder->path, name, why ? why : strerror(-rc));
}

void keep_file_fini(struct keep_file *file)
{
    free(file->bytes);
    *file = (struct keep_file){0};
}

bool keep_file_same_bytes(const struct keep_file *a, const struct keep_file *b)
{
    return a->exists == b->exists &&
           (!a->exists || (a->len == b->len && memcmp(a->bytes, b->bytes, a->len) == 0));
}

bool keep_file_same(const struct keep_file *a, const struct keep_file *b)
{
    return keep_file_same_bytes(a, b) &&
           (!a->exists || (a->mode == b->mode && a->uid == b->uid && a->gid == b->gid));
}

/* --- replacing --- */

static void staged_name(char out[NAME_MAX + 1], const char *name)
{
    /* sysctl.d(5) reads nothing but what ends in .conf. */
    snprintf(out, NAME_MAX + 1, "%s.new", name);
}

static int write_all(int fd, const char *bytes, size_t len)
{
    while (len) {
        ssize_t written = write(fd, bytes, len);

        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return -errno;
        bytes += written;
        len -= (size_t)written;
    }
    return 0;
}

static int fill(int fd, const struct keep_file *file)
{
    struct stat status;
    int rc = write_all(fd, file->bytes, file->len);

    if (rc)
        return rc;
    if (fstat(fd, &status))
        return -errno;
    /* Only where there is something to change, since in a user namespace some owners cannot be
     * given. The mode comes second: a change of owner takes bits away. */
    if ((status.st_uid != file->uid || status.st_gid != file->gid) &&
        fchown(fd, file->uid, file->gid))
        return -errno;
    return fchmod(fd, file->mode) || fsync(fd) ? -errno : 0;
}

int keep_file_stage(const struct keep_folder *folder, const char *name,
                    const struct keep_file *file, struct tw_error *error)
{
    char staged[NAME_MAX + 1];
    int fd, rc;

    staged_name(staged, name);
    keep_file_unstage(folder, name);
    fd = openat(folder->fd, staged, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    rc = fd < 0 ? -errno : fill(fd, file);
    if (fd >= 0 && close(fd) && rc == 0)
        rc = -errno;
    if (rc == 0)
        return 0;
    if (fd >= 0)
        keep_file_unstage(folder, name);
    return tw_error_set(error, -rc, "cannot write %s/%s: %s", folder->path, staged, strerror(-rc));
}

int keep_file_commit(const struct keep_folder *folder, const char *name, struct tw_error *error)
{
    char staged[NAME_MAX + 1];

    staged_name(staged, name);
    if (renameat(folder->fd, staged, folder->fd, name))
        return tw_error_set(error, errno, "cannot replace %s/%s: %s", folder->path, name,
                            strerror(errno));
    return sync_folder(folder, error);
}

void keep_file_unstage(const struct keep_folder *folder, const char *name)
{
    char staged[NAME_MAX + 1];

    staged_name(staged, name);
    unlinkat(folder->fd, staged, 0);
}

int keep_file_put(const struct keep_folder *folder, const char *name, const struct keep_file *file,
                  struct tw_error *error)
{
    int rc;

    if (file->exists) {
        rc = keep_file_stage(folder, name, file, error);
        return rc ? rc : keep_file_commit(folder, name, error);
    }
    if (unlinkat(folder->fd, name, 0) && errno != ENOENT)
        return tw_error_set(error, errno, "cannot remove %s/%s: %s", folder->path, name,
                            strerror(errno));
    return sync_folder(folder, error);
}
