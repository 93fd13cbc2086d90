#include "cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "tidewait/process.h"

#define PREFIX "tidewait-exec-"

/* One can be taken away between its making and its locking, or have the name of one from another
 * pid namespace. */
#define TRIES 32

/* A process that has just been reaped may still count for a moment. */
#define REMOVE_TRIES   20
#define REMOVE_REST_NS 5000000L

static int fail(struct tw_error *error, int code, const char *path, const char *step)
{
    const char *what = "";

    if (code == EACCES || code == EPERM)
        what = "; it needs root of the whole system";
    else if (code == EROFS)
        what = "; a container has it read-only: run outside, or let it be mounted read-write";
    return tw_error_set(error, code == EACCES || code == EROFS ? EPERM : code,
                        "--method bpf: %s %s: %s%s", step, path, strerror(code), what);
}

/* --- where we are ----------------------------------------------------------------------------- */

/* Our own cgroup, as a path from the root of what we can see: the line "0::/path". */
static bool read_own(char *own, size_t size)
{
    FILE *file = fopen("/proc/self/cgroup", "re");
    char *line = NULL;
    size_t room = 0;
    bool found = false;

    while (file && !found && getline(&line, &room, file) > 0) {
        found = strncmp(line, "0::/", 4) == 0;
        line[strcspn(line, "\n")] = '\0';
        if (found)
            found = (size_t)snprintf(own, size, "%s", line + 3) < size;
    }
    free(line);
    if (file)
        fclose(file);
    return found;
}

static bool is_cgroup2(const char *path)
{
    struct statfs fs;

    return statfs(path, &fs) == 0 && fs.f_type == CGROUP2_SUPER_MAGIC;
}

/* Where cgroup v2 is mounted for that process, with all of the tree that we can see. "36 35 0:30
 * /root /mount opts - cgroup2 source opts" */
static bool read_mount(int pid, char *mount, size_t size)
{
    char *line = NULL, path[64], root[32] = "";
    size_t room = 0;
    bool found = false;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%d/mountinfo", pid);
    if (pid != getpid())
        snprintf(root, sizeof(root), "/proc/%d/root", pid);
    file = fopen(path, "re");
    while (file && !found && getline(&line, &room, file) > 0) {
        bool wanted = strstr(line, " - cgroup2 ") != NULL;
        const char *fields[5] = {NULL};
        char *rest = line;

        for (int i = 0; i < 5; i++)
            fields[i] = strsep(&rest, " ");
        found = wanted && fields[4] && strcmp(fields[3], "/") == 0 &&
                (size_t)snprintf(mount, size, "%s%s", root, fields[4]) < size && is_cgroup2(mount);
    }
    free(line);
    if (file)
        fclose(file);
    return found;
}

/* `ip netns exec` hides it behind a new /sys, but a process above us has it still. A mount of our
 * own would be no way out: it would take "nsdelegate" away from the whole system. */
static bool find_mount(char *mount, size_t size)
{
    struct tw_process process = {.parent = getpid()};

    do
        if (read_mount(process.parent, mount, size))
            return true;
    while (tw_process_read(process.parent, &process, NULL) == 0 && process.parent > 0);
    return false;
}

static int find_home(char *home, size_t size, struct tw_error *error)
{
    char own[256], mount[128];

    if (!find_mount(mount, sizeof(mount)))
        return tw_error_set(error, EOPNOTSUPP,
                            "--method bpf needs cgroup v2, which is not mounted here; as root: "
                            "mount -t cgroup2 none /sys/fs/cgroup");
    if (!read_own(own, sizeof(own)) || strncmp(own, "/..", 3) == 0)
        return tw_error_set(error, EOPNOTSUPP,
                            "--method bpf: our own cgroup is not in the part of the tree that is "
                            "visible here; run outside of the container");
    if ((size_t)snprintf(home, size, "%s%s", mount, strcmp(own, "/") == 0 ? "" : own) >= size)
        return fail(error, ENAMETOOLONG, mount, "the path of our cgroup in");
    return 0;
}

/* --- making and removing ---------------------------------------------------------------------- */

static void remove_stale(int home)
{
    DIR *folder = fdopendir(openat(home, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    const struct dirent *entry;

    while (folder && (entry = readdir(folder))) {
        int fd;

        if (strncmp(entry->d_name, PREFIX, strlen(PREFIX)) != 0)
            continue;
        fd = openat(home, entry->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
            continue;
        /* With processes in it the kernel keeps it. */
        if (flock(fd, LOCK_EX | LOCK_NB) == 0)
            unlinkat(home, entry->d_name, AT_REMOVEDIR);
        close(fd);
    }
    if (folder)
        closedir(folder);
}

static bool is_there(const struct cgroup *cgroup)
{
    struct stat named, opened;

    return fstatat(cgroup->home, cgroup->name, &named, 0) == 0 && fstat(cgroup->fd, &opened) == 0 &&
           named.st_ino == opened.st_ino;
}

/* Makes one and locks it; -EAGAIN: another name. */
static int make(struct cgroup *cgroup)
{
    int code;

    if (mkdirat(cgroup->home, cgroup->name, 0755))
        return errno == EEXIST ? -EAGAIN : -errno;
    cgroup->fd = openat(cgroup->home, cgroup->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    /* One that starts at this moment may take it for stale: it holds the lock, or has removed it.
     */
    if (cgroup->fd >= 0 && flock(cgroup->fd, LOCK_EX) == 0 && is_there(cgroup)) {
        cgroup->procs = openat(cgroup->fd, "cgroup.procs", O_WRONLY | O_CLOEXEC);
        if (cgroup->procs >= 0)
            return 0;
    }
    code = errno;
    if (cgroup->fd >= 0)
        close(cgroup->fd);
    unlinkat(cgroup->home, cgroup->name, AT_REMOVEDIR);
    return code == ENOENT ? -EAGAIN : -code;
}

int cgroup_make(struct cgroup *cgroup, struct tw_error *error)
{
    char path[400];
    int rc = find_home(path, sizeof(path), error);

    if (rc)
        return rc;
    cgroup->home = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (cgroup->home < 0)
        return fail(error, errno, path, "opening our cgroup");
    remove_stale(cgroup->home);
    rc = -EAGAIN;
    for (int i = 0; rc == -EAGAIN && i < TRIES; i++) {
        snprintf(cgroup->name, sizeof(cgroup->name), PREFIX "%d.%d", (int)getpid(), i);
        rc = make(cgroup);
    }
    if (rc) {
        close(cgroup->home);
        return fail(error, -rc, path, "making a cgroup in");
    }
    return 0;
}

int cgroup_enter(const struct cgroup *cgroup)
{
    return write(cgroup->procs, "0", 1) == 1 ? 0 : -errno;
}

int cgroup_remove(struct cgroup *cgroup, struct tw_error *error)
{
    const struct timespec rest = {.tv_nsec = REMOVE_REST_NS};
    int code = EBUSY;

    for (int i = 0; code == EBUSY && i < REMOVE_TRIES; i++) {
        if (i)
            nanosleep(&rest, NULL);
        code = unlinkat(cgroup->home, cgroup->name, AT_REMOVEDIR) == 0 ? 0 : errno;
    }
    close(cgroup->procs);
    close(cgroup->fd);
    close(cgroup->home);
    if (code == EBUSY)
        return tw_error_set(error, EBUSY,
                            "processes are left in the cgroup %s: from now on they have ports of "
                            "the kernel; the next run after their end removes it",
                            cgroup->name);
    return code && code != ENOENT ? fail(error, code, cgroup->name, "removing the cgroup") : 0;
}
