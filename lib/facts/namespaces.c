#include "tidewait/namespaces.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proc.h"

#define NAMED_DIR "/run/netns"

/* A namespace and an open descriptor of it, so that it is still there when its turn comes. */
struct item {
    struct tw_netns netns;
    int fd;
};

struct list {
    struct item *items; /* [0] is the caller's own */
    size_t count;
    size_t room;
    bool blind;
};

static bool is_netns(int fd)
{
    return ioctl(fd, NS_GET_NSTYPE) == CLONE_NEWNET;
}

static struct item *find(const struct list *list, uint64_t inode)
{
    for (size_t i = 0; i < list->count; i++)
        if (list->items[i].netns.inode == inode)
            return &list->items[i];
    return NULL;
}

/* Takes over the descriptor; closes it when the namespace is known or is none. Returns its item,
 * NULL without error when it is none, or NULL with *rc set. */
static struct item *add(struct list *list, int fd, int *rc)
{
    struct item *item = NULL;
    struct stat st;

    *rc = 0;
    if (!is_netns(fd) || fstat(fd, &st)) {
        close(fd);
        return NULL;
    }
    if ((item = find(list, st.st_ino))) {
        close(fd);
        return item;
    }
    if (list->count == list->room) {
        size_t room = list->room ? list->room * 2 : 16;
        struct item *more = realloc(list->items, room * sizeof(*more));

        if (!more) {
            close(fd);
            *rc = -ENOMEM;
            return NULL;
        }
        list->items = more;
        list->room = room;
    }
    item = &list->items[list->count++];
    *item = (struct item){.netns = {.inode = st.st_ino}, .fd = fd};
    return item;
}

/* A namespace that may not be opened, or for which no descriptor is left, is not seen. */
static void note_blind(struct list *list, int code)
{
    if (code != ENOENT && code != ESRCH && code != ENOTDIR)
        list->blind = true;
}

/* The namespaces bound to the files of a folder; `named`: their names are those of "ip netns". */
static int add_folder(struct list *list, const char *path, bool named)
{
    DIR *dir = opendir(path);
    const struct dirent *entry;
    int rc = 0;

    if (!dir) {
        note_blind(list, errno);
        return 0;
    }
    while (rc == 0 && (entry = readdir(dir))) {
        struct item *item;
        int fd;

        if (entry->d_name[0] == '.')
            continue;
        fd = openat(dirfd(dir), entry->d_name, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        if (fd < 0) {
            note_blind(list, errno);
            continue;
        }
        item = add(list, fd, &rc);
        if (item && named && !item->netns.name[0] &&
            strlen(entry->d_name) < sizeof(item->netns.name))
            memcpy(item->netns.name, entry->d_name, strlen(entry->d_name) + 1);
    }
    closedir(dir);
    return rc;
}

static int add_process(int dir, const char *name, void *context)
{
    struct list *list = context;
    struct item *item;
    char path[PROC_PATH_MAX], link[64];
    ssize_t len;
    int fd, rc = 0;

    snprintf(path, sizeof(path), "%s/ns/net", name);
    len = proc_readlink(dir, path, link, sizeof(link));
    if (len < 0) {
        note_blind(list, (int)-len);
        return 0;
    }
    item = find(list, proc_link_inode(link, "net"));
    if (!item) {
        fd = openat(dir, path, O_RDONLY | O_CLOEXEC);
        if (fd < 0) {
            note_blind(list, errno);
            return 0;
        }
        item = add(list, fd, &rc);
    }
    if (item && item->netns.pid == 0)
        item->netns.pid = (int)strtol(name, NULL, 10);
    return rc;
}

/* Lists all namespaces that can be opened, the caller's own first. */
static int collect(struct list *list, struct tw_error *error)
{
    int own = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC), proc, rc;
    struct item *item;

    if (own < 0)
        return tw_error_set(error, errno, "cannot open this network namespace: /proc: %s",
                            strerror(errno));
    item = add(list, own, &rc);
    if (!item)
        return tw_error_set(error, rc ? -rc : ENOSYS, "cannot list network namespaces: %s",
                            rc ? "no memory" : "/proc is not that of Linux");
    item->netns.own = true;
    item->netns.pid = getpid();
    if ((rc = add_folder(list, NAMED_DIR, true)) == 0)
        rc = add_folder(list, "/run/docker/netns", false);
    proc = proc_open();
    if (proc < 0) {
        list->blind = true;
    } else {
        if (rc == 0)
            rc = proc_each(proc, add_process, list);
        close(proc);
    }
    return rc ? tw_error_set(error, -rc, "cannot list network namespaces: %s", strerror(-rc)) : 0;
}

/* Visits what was collected. *away: the thread is in another namespace than at the start. */
static int visit_all(struct list *list, tw_netns_visit *visit, void *context, bool *away)
{
    for (size_t i = 0; i < list->count; i++) {
        int rc;

        if (i > 0 && setns(list->items[i].fd, CLONE_NEWNET)) {
            list->blind = true;
            continue;
        }
        *away = i > 0;
        if ((rc = visit(&list->items[i].netns, context)))
            return rc;
    }
    return 0;
}

int tw_netns_each(tw_netns_visit *visit, void *context, unsigned *blind, struct tw_error *error)
{
    struct list list = {0};
    bool away = false;
    int rc = collect(&list, error);

    if (rc == 0) {
        rc = visit_all(&list, visit, context, &away);
        if (away && setns(list.items[0].fd, CLONE_NEWNET))
            rc = tw_error_set(error, errno,
                              "cannot return to this program's own network namespace: %s",
                              strerror(errno));
    }
    if (list.blind && blind)
        *blind |= TW_BLIND_NETNS;
    for (size_t i = 0; i < list.count; i++)
        close(list.items[i].fd);
    free(list.items);
    return rc;
}

/* Enters and closes it. `what`: for the words. */
static int enter(int fd, const char *what, struct tw_error *error)
{
    int code = setns(fd, CLONE_NEWNET) ? errno : 0;

    close(fd);
    if (code == 0)
        return 0;
    return tw_error_set(error, code, "cannot enter the network namespace %s: %s%s", what,
                        strerror(code), code == EPERM ? "; root may" : "");
}

static int enter_process(int pid, struct tw_error *error)
{
    int proc = proc_open(), fd, code;
    char path[PROC_PATH_MAX], what[32];

    if (proc < 0)
        return tw_error_set(error, -proc,
                            "cannot enter the network namespace of process %d: /proc is not "
                            "usable: %s",
                            pid, strerror(-proc));
    snprintf(path, sizeof(path), "%d/ns/net", pid);
    fd = openat(proc, path, O_RDONLY | O_CLOEXEC);
    code = errno;
    close(proc);
    snprintf(what, sizeof(what), "of process %d", pid);
    if (fd >= 0)
        return enter(fd, what, error);
    if (code == ENOENT || code == ESRCH)
        return tw_error_set(error, ESRCH, "there is no process %d", pid);
    return tw_error_set(error, code, "cannot enter the network namespace %s: %s%s", what,
                        strerror(code), proc_refused(-code) ? "; root may" : "");
}

static int enter_named(const char *name, struct tw_error *error)
{
    char path[300], what[80];
    int fd, code;

    snprintf(path, sizeof(path), NAMED_DIR "/%s", name);
    fd = *name && !strchr(name, '/') ? open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC) : -1;
    code = fd < 0 && *name && !strchr(name, '/') ? errno : ENOENT;
    if (fd >= 0 && !is_netns(fd)) {
        close(fd);
        fd = -1;
    }
    snprintf(what, sizeof(what), "'%.60s'", name);
    if (fd >= 0)
        return enter(fd, what, error);
    if (code == ENOENT)
        return tw_error_set(error, ENOENT,
                            "there is no network namespace %s; 'ip netns' lists them", what);
    return tw_error_set(error, code, "cannot enter the network namespace %s: %s%s", what,
                        strerror(code), proc_refused(-code) ? "; root may" : "");
}

int tw_netns_enter(int pid, const char *name, struct tw_error *error)
{
    if (pid > 0)
        return enter_process(pid, error);
    if (!name)
        return tw_error_set(error, EINVAL, "no network namespace was named");
    return enter_named(name, error);
}
