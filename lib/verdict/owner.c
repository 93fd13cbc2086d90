#include "owner.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tidewait/kernel_sockets.h"
#include "tidewait/systemd.h"

/* Programs that listen for a container whose own socket is in another namespace. comm is cut at 15
 * characters. */
static bool is_container_proxy(const struct tw_process *process)
{
    static const char *const names[] = {"docker-proxy", "rootlessport", "rootlesskit",
                                        "slirp4netns",  "pasta",        "pasta.avx2"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strcmp(process->comm, names[i]) == 0)
            return true;
    return false;
}

static const char *process_name(struct draft *draft, const struct tw_process *process)
{
    const char *where = process->container[0] ? draft_text(draft, ", %s container %.12s",
                                                           process->runtime, process->container)
                        : process->unit[0]    ? draft_text(draft, ", %s", process->unit)
                                              : "";

    return draft_text(draft, "%s (pid %d%s)", process->comm[0] ? process->comm : "a process",
                      process->pid, where);
}

/* The value behind a flag of docker-proxy's command line: "-container-ip 172.17.0.2". */
static const char *flag_value(struct draft *draft, const char *cmdline, const char *flag)
{
    const char *at = strstr(cmdline, flag);
    size_t len;

    if (!at)
        return "";
    at += strlen(flag);
    at += strspn(at, " =");
    len = strcspn(at, " ");
    return draft_text(draft, "%.*s", (int)len, at);
}

static const char *proxy_name(struct draft *draft, const struct tw_process *process)
{
    const char *address = flag_value(draft, process->cmdline, "-container-ip");
    const char *port = flag_value(draft, process->cmdline, "-container-port");

    return *address ? draft_text(draft, "%s (pid %d) for the container at %s port %s",
                                 process->comm, process->pid, address, port)
                    : draft_text(draft, "%s (pid %d) for a container", process->comm, process->pid);
}

/* The holder from which the others have the socket: the parent of one and the child of none; else
 * the oldest. The list begins at `from`. */
static const struct tw_process *eldest(const struct tw_verdict *verdict, size_t from)
{
    const struct tw_process *best = &verdict->holders[from].process;

    for (size_t i = from + 1; i < verdict->holder_count; i++) {
        const struct tw_process *other = &verdict->holders[i].process;

        if (other->pid == best->parent || (best->pid != other->parent && other->pid != best->pid &&
                                           other->start_ticks < best->start_ticks))
            best = other;
    }
    return best;
}

/* Adds the processes to the verdict; a process that ended meanwhile is left out. Returns how many
 * different ones there are. */
static size_t add_holders(struct draft *draft, const struct tw_socket_row *row, uint32_t inode,
                          const struct tw_holders *holders)
{
    size_t count = 0, processes = 0;
    const struct tw_holding *list = tw_holders_of(holders, inode, &count);

    for (size_t i = 0; i < count; i++) {
        struct tw_verdict_holder holder = {.inode = inode, .fd = list[i].fd, .socket = *row};

        int rc;

        /* One process may have the socket twice; it is named once. */
        if (i && list[i].pid == list[i - 1].pid)
            continue;
        rc = tw_process_read(list[i].pid, &holder.process, NULL);
        if (rc == -ESRCH)
            continue;
        /* It is there, but /proc does not tell of it. */
        if (rc) {
            holder.process = (struct tw_process){.pid = list[i].pid, .uid = row->uid};
            draft->blind |= TW_BLIND_PROC;
        }
        processes += draft_holder(draft, &holder);
    }
    return processes;
}

static struct owner of_nobody(struct draft *draft, const struct tw_socket_row *row,
                              const char *path)
{
    char kernel[96];
    bool sure = false;
    int pid = 0;

    if (!path && tw_kernel_socket_find(row->protocol, tw_endpoint_port(&row->local), kernel) == 0)
        return (struct owner){OWNER_KERNEL, draft_text(draft, "the kernel (%s)", kernel), NULL};
    if (tw_holders_in_flight(row->inode, &pid, &sure, NULL) == 0 &&
        (sure || !(draft->blind & TW_BLIND_TO_PROCESSES))) {
        struct tw_verdict_holder holder = {.inode = row->inode, .fd = -1, .socket = *row};

        if (tw_process_read(pid, &holder.process, NULL) == 0 && draft_holder(draft, &holder)) {
            return (struct owner){OWNER_IN_FLIGHT,
                                  draft_text(draft, "%s%s", sure ? "" : "probably ",
                                             process_name(draft, &holder.process)),
                                  NULL};
        }
    }
    if (draft->blind & TW_BLIND_TO_PROCESSES)
        return (struct owner){OWNER_HIDDEN,
                              draft_text(draft, "a process of %s that is hidden from you",
                                         draft_user(draft, row->uid)),
                              NULL};
    return (struct owner){OWNER_IN_FLIGHT, "no process", NULL};
}

static struct owner of_systemd(struct draft *draft, const struct tw_socket_row *row,
                               const char *path)
{
    char unit[128];
    struct owner owner = {OWNER_SYSTEMD, "systemd (a .socket unit)", NULL};

    if (tw_systemd_socket_unit("", path ? 0 : row->protocol, &row->local, path, unit) == 0) {
        owner.unit = draft_text(draft, "%s", unit);
        owner.name = draft_text(draft, "systemd for %s", unit);
    }
    return owner;
}

struct owner owner_find(struct draft *draft, const struct tw_socket_row *row, const char *path,
                        const struct tw_holders *holders)
{
    const struct tw_verdict *verdict = &draft->verdict;
    size_t from = verdict->holder_count, count;

    draft->blind |= holders->blind;
    if (!row->inode)
        return (struct owner){OWNER_NONE, "no process", NULL};
    count = add_holders(draft, row, row->inode, holders);
    /* Descriptors that were found are what matters; those not seen could only be more of them. */
    if (!count)
        return of_nobody(draft, row, path);
    for (size_t i = from; i < verdict->holder_count; i++) {
        const struct tw_process *process = &verdict->holders[i].process;

        if (verdict->question.pid && process->pid == verdict->question.pid)
            return (struct owner){OWNER_ASKER, process_name(draft, process), NULL};
        if (tw_process_is_systemd(process))
            return of_systemd(draft, row, path);
        if (is_container_proxy(process))
            return (struct owner){OWNER_CONTAINER, proxy_name(draft, process), NULL};
    }
    if (count == 1)
        return (struct owner){OWNER_PROCESS, process_name(draft, &verdict->holders[from].process),
                              NULL};
    return (struct owner){OWNER_SEVERAL,
                          draft_text(draft, "%s and %zu more process%s that have its socket",
                                     process_name(draft, eldest(verdict, from)), count - 1,
                                     count == 2 ? "" : "es"),
                          NULL};
}

/* --- remedies --------------------------------------------------------------------------------- */

static void stop_unit(struct draft *draft, const struct tw_process *process)
{
    draft_remedy(draft, "stop the service",
                 draft_text(draft, "systemctl %sstop %s", process->user_unit ? "--user " : "",
                            process->unit),
                 false, "the service ends in order, and systemd does not start it again at once");
}

static void stop_container(struct draft *draft, const struct tw_process *process)
{
    const char *tool = strcmp(process->runtime, "podman") == 0   ? "podman stop"
                       : strcmp(process->runtime, "docker") == 0 ? "docker stop"
                       : strcmp(process->runtime, "lxc") == 0    ? "lxc-stop -n"
                                                                 : "crictl stop";

    draft_remedy(draft, "stop the container",
                 draft_text(draft, "%s %.64s", tool, process->container), false,
                 "the container ends in order; killing only its process would make it restart");
}

/* TERM to all processes that have the socket; none of them but the holders. */
static void end_processes(struct draft *draft, const char *before, const char *after)
{
    const struct tw_verdict *verdict = &draft->verdict;
    const char *pids = "";

    for (size_t i = 0; verdict->holders && i < verdict->holder_count; i++)
        if (verdict->holders[i].process.pid > 1)
            pids = draft_text(draft, "%s %d", pids, verdict->holders[i].process.pid);
    if (*pids)
        draft_remedy(draft, strchr(pids + 1, ' ') ? "end the processes" : "end the process",
                     draft_text(draft, "%skill%s%s", before, pids, after), false,
                     "TERM lets it end in order; its connections end with it");
}

static void leave_kernel(struct draft *draft, const struct owner *owner)
{
    const char *device = strstr(owner->name, " device ");

    if (device)
        draft_remedy(
            draft, "remove the device",
            draft_text(draft, "ip link del %.*s", (int)strcspn(device + 8, ")"), device + 8), false,
            "its socket goes with it, and so does the network behind it");
    else
        draft_remedy(draft, "stop the service in the kernel", NULL, false,
                     "its own tool ends it: systemctl stop nfs-server, ksmbd.control -s, ...");
}

void owner_remedies(struct draft *draft, const struct owner *owner, const char *what,
                    const char *before, const char *after)
{
    const struct tw_verdict *verdict = &draft->verdict;
    const struct tw_process *process = verdict->holder_count ? &verdict->holders[0].process : NULL;

    switch (owner->kind) {
    case OWNER_SYSTEMD:
        draft_remedy(draft, "stop the socket unit",
                     owner->unit ? draft_text(draft, "systemctl stop %s", owner->unit)
                                 : "systemctl list-sockets",
                     owner->unit == NULL,
                     "systemd lets go of the address; its service keeps what "
                     "it has already");
        break;
    case OWNER_CONTAINER:
        if (process && strcmp(process->comm, "docker-proxy") == 0)
            draft_remedy(draft, "stop the container",
                         draft_text(draft, "docker stop $(docker ps -q --filter publish=%s)", what),
                         false, "docker-proxy ends with its container");
        end_processes(draft, before, after);
        break;
    case OWNER_HIDDEN:
        if (geteuid() != 0)
            draft_remedy(draft, "ask as root", draft_text(draft, "sudo tidewait why %s", what),
                         true, "root sees every process");
        else
            draft_remedy(draft, "ask outside of this container", NULL, true,
                         "its process is in another pid namespace, or /proc hides it");
        break;
    case OWNER_ASKER:
        draft_remedy(draft, "use the socket that the process has, or close it first", NULL, true,
                     "a reload often binds again what is bound already");
        break;
    case OWNER_PROCESS:
    case OWNER_SEVERAL:
    case OWNER_IN_FLIGHT:
        if (process && process->container[0])
            stop_container(draft, process);
        else if (process && tw_process_is_service(process))
            stop_unit(draft, process);
        end_processes(draft, before, after);
        break;
    case OWNER_KERNEL:
        leave_kernel(draft, owner);
        break;
    case OWNER_NONE:
        break;
    }
}
