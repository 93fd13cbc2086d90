#include "ls_owners.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct ls_process {
    struct tw_process facts;
    int unit_pid; /* 0: not looked for yet */
};

struct ls_user {
    uint32_t uid;
    char name[36];
};

int ls_owners_find(struct ls_owners *owners, struct tw_error *error)
{
    return tw_holders_find(NULL, 0, TW_HOLDERS_AUTO, &owners->holders, error);
}

void ls_owners_fini(struct ls_owners *owners)
{
    for (size_t i = 0; i < owners->process_room; i++)
        free(owners->processes[i]);
    free(owners->processes);
    free(owners->users);
    tw_holders_fini(&owners->holders);
    *owners = (struct ls_owners){0};
}

const struct tw_holding *ls_owners_of(const struct ls_owners *owners, uint32_t inode, size_t *count)
{
    *count = 0;
    return inode ? tw_holders_of(&owners->holders, inode, count) : NULL;
}

/* --- processes --- */

static void read_comm(int pid, struct tw_process *out)
{
    char path[32];
    ssize_t len;
    int fd;

    snprintf(path, sizeof(path), "/proc/%d/comm", pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    len = read(fd, out->comm, sizeof(out->comm) - 1);
    close(fd);
    /* The last byte is a newline; one before it would be the command's own. */
    out->comm[len > 0 ? len - 1 : 0] = 0;
}

/* The place of a pid: its entry, or the hole where it belongs. */
static struct ls_process **place_of(struct ls_process **processes, size_t room, int pid)
{
    size_t at = (uint32_t)pid * 2654435761u & (room - 1);

    while (processes[at] && processes[at]->facts.pid != pid)
        at = (at + 1) & (room - 1);
    return &processes[at];
}

static bool make_room(struct ls_owners *owners)
{
    size_t room = owners->process_room ? owners->process_room * 2 : 256;
    struct ls_process **processes;

    if (owners->process_count < owners->process_room / 2)
        return true;
    processes = calloc(room, sizeof(struct ls_process *));
    if (!processes)
        return false;
    for (size_t i = 0; i < owners->process_room; i++)
        if (owners->processes[i])
            *place_of(processes, room, owners->processes[i]->facts.pid) = owners->processes[i];
    free(owners->processes);
    owners->processes = processes;
    owners->process_room = room;
    return true;
}

/* NULL when memory runs out. */
static struct ls_process *find_process(struct ls_owners *owners, int pid)
{
    struct ls_process **place, *process;

    if (!make_room(owners))
        return NULL;
    place = place_of(owners->processes, owners->process_room, pid);
    process = *place;
    if (process)
        return process;
    process = calloc(1, sizeof(*process));
    if (!process)
        return NULL;
    if (!owners->full)
        read_comm(pid, &process->facts);
    else if (tw_process_read(pid, &process->facts, NULL))
        process->facts = (struct tw_process){0};
    process->facts.pid = pid;
    *place = process;
    owners->process_count++;
    return process;
}

const struct tw_process *ls_owners_process(struct ls_owners *owners, int pid)
{
    const struct ls_process *found = find_process(owners, pid);

    if (found)
        return &found->facts;
    owners->spare = (struct tw_process){.pid = pid};
    return &owners->spare;
}

int ls_owners_unit(struct ls_owners *owners, int pid)
{
    struct ls_process *process = find_process(owners, pid);

    if (!process)
        return pid;
    for (size_t i = 0; i < owners->process_room && !process->unit_pid; i++) {
        const struct ls_process *other = owners->processes[i];

        if (other && other->unit_pid == other->facts.pid &&
            other->facts.user_unit == process->facts.user_unit &&
            strcmp(other->facts.unit, process->facts.unit) == 0)
            process->unit_pid = other->facts.pid;
    }
    if (!process->unit_pid)
        process->unit_pid = pid;
    return process->unit_pid;
}

/* --- users --- */

const char *ls_owners_user(struct ls_owners *owners, uint32_t uid)
{
    struct ls_user *more;
    const struct passwd *user;

    for (size_t i = 0; i < owners->user_count; i++) {
        size_t at = (owners->user_last + i) % owners->user_count;

        if (owners->users[at].uid == uid) {
            owners->user_last = at;
            return owners->users[at].name;
        }
    }
    more = realloc(owners->users, (owners->user_count + 1) * sizeof(*more));
    if (!more)
        return "?";
    owners->users = more;
    owners->user_last = owners->user_count++;
    more += owners->user_last;
    more->uid = uid;
    user = getpwuid(uid);
    if (user)
        snprintf(more->name, sizeof(more->name), "%s", user->pw_name);
    else
        snprintf(more->name, sizeof(more->name), "%u", uid);
    return more->name;
}
