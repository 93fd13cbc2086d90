#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/kcmp.h>
#include <mntent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "holders_private.h"
#include "proc.h"

/* The first pid namespace has the same inode on every host (PROC_PID_INIT_INO). */
#define FIRST_PID_NAMESPACE 0xEFFFFFFCu

/* A folder /proc/PID/task with one thread has this many links. */
#define TASK_LINKS_ALONE 3

struct walk {
    struct holders_search *search;
    int proc;
    int pid; /* under way */
};

static int fail(const struct walk *walk, int rc, const char *path)
{
    return tw_error_set(walk->search->error, -rc,
                        "finding the processes of sockets: cannot read /proc/%s: %s", path,
                        strerror(-rc));
}

static int look_at_descriptor(int dir, const char *name, void *context)
{
    struct walk *walk = context;
    struct tw_holding holding = {.pid = walk->pid};
    char link[64];
    ssize_t len = proc_readlink(dir, name, link, sizeof(link));

    /* What may not be read once may not be read at all in this process. */
    if (len < 0)
        return proc_refused((int)len) ? (int)len : 0;
    holding.inode = (uint32_t)proc_link_inode(link, "socket");
    if (holding.inode == 0)
        return 0;
    holding.fd = (int)strtol(name, NULL, 10);
    return holders_keep(walk->search, &holding);
}

/* The descriptors in the folder `path`. Returns 0 or -errno. */
static int look_at_table(struct walk *walk, const char *path)
{
    int rc = proc_each_at(walk->proc, path, look_at_descriptor, walk);

    if (proc_refused(rc)) {
        walk->search->out->blind |= TW_BLIND_PROCESSES;
        return 0;
    }
    return rc == 0 || proc_gone(rc) ? 0 : fail(walk, rc, path);
}

static int look_at_thread(int dir, const char *name, void *context)
{
    struct walk *walk = context;
    long thread = strtol(name, NULL, 10);
    char path[PROC_PATH_MAX];

    (void)dir;
    /* 0: the same table as the process. Without kcmp() (a kernel built so, or no right) it is taken
     * to be. */
    if (thread == walk->pid || syscall(SYS_kcmp, walk->pid, thread, KCMP_FILES, 0, 0) <= 0)
        return 0;
    snprintf(path, sizeof(path), "%d/task/%ld/fd", walk->pid, thread);
    return look_at_table(walk, path);
}

static int look_at_process(int dir, const char *name, void *context)
{
    struct walk *walk = context;
    char path[PROC_PATH_MAX];
    struct stat st;
    int rc;

    walk->pid = (int)strtol(name, NULL, 10);
    snprintf(path, sizeof(path), "%s/fd", name);
    if ((rc = look_at_table(walk, path)))
        return rc;
    snprintf(path, sizeof(path), "%s/task", name);
    if (fstatat(dir, path, &st, 0) || st.st_nlink <= TASK_LINKS_ALONE)
        return 0;
    rc = proc_each_at(dir, path, look_at_thread, walk);
    return rc == 0 || proc_gone(rc) || proc_refused(rc) ? 0 : rc;
}

static bool may_trace(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {0};

    return syscall(SYS_capget, &header, data) == 0 && data[0].effective & 1u << CAP_SYS_PTRACE;
}

/* Whether the caller is in the group that the mount option gid= exempts; without it that of root.
 */
static bool in_group(const struct mntent *mount)
{
    const char *option = hasmntopt(mount, "gid");
    gid_t group = option ? (gid_t)strtoul(option + strlen("gid="), NULL, 10) : 0, *groups;
    int count = getgroups(0, NULL);
    bool found = getegid() == group;

    if (count <= 0 || !(groups = malloc((size_t)count * sizeof(*groups))))
        return found;
    count = getgroups(count, groups);
    for (int i = 0; i < count; i++)
        found |= groups[i] == group;
    free(groups);
    return found;
}

/* Whether /proc is mounted so that the processes of others are not in it. */
static bool is_hiding(const struct mntent *mount)
{
    const char *option = hasmntopt(mount, "hidepid");

    if (!option || may_trace())
        return false;
    option += strlen("hidepid=");
    if (*option == '2' || strncmp(option, "invisible", 9) == 0)
        return !in_group(mount);
    return *option == '4' || strncmp(option, "ptraceable", 10) == 0;
}

static bool is_hidden(int proc)
{
    FILE *mounts;
    struct mntent mount;
    char buf[4096];
    bool hidden = false;

    /* Every pid namespace has a process 1. */
    if (faccessat(proc, "1", F_OK, 0))
        return true;
    mounts = setmntent("/proc/self/mounts", "re");
    if (!mounts)
        return false;
    while (getmntent_r(mounts, &mount, buf, sizeof(buf)))
        if (strcmp(mount.mnt_dir, "/proc") == 0)
            hidden = is_hiding(&mount); /* the last one covers the others */
    endmntent(mounts);
    return hidden;
}

int holders_by_proc(struct holders_search *search)
{
    struct walk walk = {.search = search, .proc = proc_open()};
    struct stat st;
    int rc;

    if (walk.proc < 0) {
        search->out->blind |= TW_BLIND_PROC;
        return 0;
    }
    if (fstatat(walk.proc, "self/ns/pid", &st, 0) == 0 && st.st_ino != FIRST_PID_NAMESPACE)
        search->out->blind |= TW_BLIND_PID_NAMESPACE;
    if (is_hidden(walk.proc))
        search->out->blind |= TW_BLIND_HIDEPID;
    rc = proc_each(walk.proc, look_at_process, &walk);
    close(walk.proc);
    return rc;
}
