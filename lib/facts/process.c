#include "tidewait/process.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "proc.h"

#define FLAG_KTHREAD 0x00200000u /* PF_KTHREAD: the kernel's own */

/* Longer than any that was seen: 13 hierarchies of cgroup v1, a container in each. */
#define CGROUP_BYTES 8192

/* What is read of "/proc/PID/stat" behind the name, which is field 2 of proc_pid_stat(5). */
enum { FIELD_PARENT = 4, FIELD_FLAGS = 9, FIELD_START = 22 };

static uint64_t age_of(uint64_t start_ticks)
{
    uint64_t ticks = (uint64_t)sysconf(_SC_CLK_TCK), now_ms, start_ms;
    struct timespec now;

    clock_gettime(CLOCK_BOOTTIME, &now);
    now_ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
    start_ms = start_ticks / ticks * 1000 + start_ticks % ticks * 1000 / ticks;
    return now_ms > start_ms ? now_ms - start_ms : 0;
}

/* The name may hold blanks and parentheses: its end is the last one. */
static void parse_stat(const char *text, struct tw_process *out)
{
    const char *name = strchr(text, '('), *end = strrchr(text, ')');
    size_t len;

    if (!name || !end || end < name)
        return;
    name++;
    len = (size_t)(end - name);
    if (len > sizeof(out->comm) - 1)
        len = sizeof(out->comm) - 1;
    memcpy(out->comm, name, len);
    out->comm[len] = 0;
    text = end + 1;
    for (int field = 3; field <= FIELD_START && *text; field++) {
        while (*text == ' ')
            text++;
        if (field == FIELD_PARENT)
            out->parent = (int)strtol(text, NULL, 10);
        else if (field == FIELD_FLAGS)
            out->kernel_thread = strtoul(text, NULL, 10) & FLAG_KTHREAD;
        else if (field == FIELD_START)
            out->start_ticks = strtoull(text, NULL, 10);
        text += strcspn(text, " ");
    }
    out->age_ms = age_of(out->start_ticks);
}

/* "Uid:" is followed by the real and then the effective one. The kernel escapes the name in the
 * first line, so no process can forge another. */
static void parse_status(const char *text, struct tw_process *out)
{
    const char *line = strstr(text, "\nUid:");
    char *end;

    if (!line)
        return;
    strtoul(line + strlen("\nUid:"), &end, 10);
    out->uid = (uint32_t)strtoul(end, NULL, 10);
}

static void read_cmdline(int dir, struct tw_process *out)
{
    ssize_t len = proc_read(dir, "cmdline", out->cmdline, sizeof(out->cmdline));

    while (len > 0 && out->cmdline[len - 1] == 0)
        len--;
    for (ssize_t i = 0; i < len; i++)
        if (out->cmdline[i] == 0)
            out->cmdline[i] = ' ';
    out->cmdline[len > 0 ? len : 0] = 0;
}

/* Everything is read through the open folder, which stays that of one process even when its number
 * goes to another meanwhile. */
static int read_folder(int dir, struct tw_process *out)
{
    char text[CGROUP_BYTES], link[64];
    ssize_t rc = proc_read(dir, "stat", text, sizeof(text));

    if (rc < 0)
        return (int)rc;
    parse_stat(text, out);
    if (proc_read(dir, "status", text, sizeof(text)) > 0)
        parse_status(text, out);
    if (proc_read(dir, "cgroup", text, sizeof(text)) > 0)
        tw_process_parse_cgroup(text, out);
    read_cmdline(dir, out);
    if (proc_readlink(dir, "exe", out->exe, sizeof(out->exe)) < 0)
        out->exe[0] = 0;
    if (proc_readlink(dir, "ns/net", link, sizeof(link)) > 0)
        out->netns = proc_link_inode(link, "net");
    return 0;
}

int tw_process_read(int pid, struct tw_process *out, struct tw_error *error)
{
    int proc = proc_open(), dir, rc;
    char name[16];

    *out = (struct tw_process){.pid = pid};
    if (proc < 0)
        return tw_error_set(error, -proc, "cannot read process %d: /proc is not usable: %s", pid,
                            strerror(-proc));
    snprintf(name, sizeof(name), "%d", pid);
    dir = openat(proc, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    rc = dir < 0 ? -errno : read_folder(dir, out);
    if (dir >= 0)
        close(dir);
    close(proc);
    if (rc == 0)
        return 0;
    *out = (struct tw_process){.pid = pid};
    if (rc == -ENOENT || rc == -ESRCH)
        return tw_error_set(error, ESRCH, "there is no process %d (any more)", pid);
    return tw_error_set(error, -rc, "cannot read process %d: %s", pid, strerror(-rc));
}

bool tw_process_is_systemd(const struct tw_process *process)
{
    return strcmp(process->comm, "systemd") == 0 &&
           (process->pid == 1 || strcmp(process->unit, "init.scope") == 0 ||
            strncmp(process->unit, "user@", 5) == 0);
}

bool tw_process_is_service(const struct tw_process *process)
{
    size_t len = strlen(process->unit);

    return len > 8 && strcmp(process->unit + len - 8, ".service") == 0 &&
           strncmp(process->unit, "user@", 5) != 0;
}
