#include "free_plan.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tidewait/clock.h"
#include "tidewait/kernel_sockets.h"
#include "tidewait/systemd.h"
#include "tidewait/text.h"
#include "tidewait/trial.h"

struct planner {
    const struct plan_how *how;
    const struct tw_verdict *verdict;
    const struct obstacles *obstacles;
    struct tw_process own; /* this process */
    struct plan *plan;
};

/* --- steps ------------------------------------------------------------------------------------ */

static struct step *add(struct planner *planner, enum step_kind kind, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* NULL without memory, which the plan remembers. */
static struct step *add(struct planner *planner, enum step_kind kind, const char *format, ...)
{
    struct plan *plan = planner->plan;
    struct step *more = realloc(plan->steps, (plan->count + 1) * sizeof(*more)), *step;
    va_list args;

    if (!more) {
        plan->no_memory = true;
        return NULL;
    }
    plan->steps = more;
    step = &more[plan->count++];
    *step = (struct step){.kind = kind, .instead = NO_STEP, .pidfd = -1};
    va_start(args, format);
    /* Names of processes may hold anything; a terminal would obey it. */
    tw_text_format(step->text, sizeof(step->text), format, args);
    va_end(args);
    return step;
}

static void refuse(struct planner *planner, int code, const char *text)
{
    struct plan *plan = planner->plan;
    struct step *step;

    /* Many sockets, one reason. */
    for (size_t i = 0; i < plan->count; i++)
        if (plan->steps[i].kind == STEP_REFUSE && strcmp(plan->steps[i].text, text) == 0)
            return;
    step = add(planner, STEP_REFUSE, "%s", text);
    if (step)
        step->code = code;
    plan->refused = true;
}

static size_t find_named(const struct plan *plan, enum step_kind kind, const char *name)
{
    for (size_t i = 0; i < plan->count; i++)
        if (plan->steps[i].kind == kind && strcmp(plan->steps[i].name, name) == 0)
            return i;
    return NO_STEP;
}

static void set_name(struct step *step, const char *name)
{
    if (step)
        snprintf(step->name, sizeof(step->name), "%s", name);
}

/* --- who must not be ended ---------------------------------------------------------------------
 */

static bool is_ancestor(const struct planner *planner, int pid)
{
    struct tw_process process = planner->own;

    while (process.parent > 0) {
        if (process.parent == pid)
            return true;
        if (tw_process_read(process.parent, &process, NULL))
            return false;
    }
    return false;
}

/* True, with the reason in the plan, when ending the process is out of the question. */
static bool is_untouchable(struct planner *planner, const struct tw_process *process)
{
    char text[400];

    if (process->pid == planner->own.pid)
        snprintf(text, sizeof(text),
                 "tidewait itself has the socket open: the program that started "
                 "it left it open; close it there");
    else if (process->pid == 1)
        snprintf(text, sizeof(text), "%s is pid 1, and the system or container would end with it",
                 process->comm);
    else if (process->kernel_thread)
        snprintf(text, sizeof(text), "%s (pid %d) is a thread of the kernel", process->comm,
                 process->pid);
    else if (is_ancestor(planner, process->pid))
        snprintf(text, sizeof(text),
                 "%s (pid %d) has started this tidewait, which is never ended "
                 "from within: run it from somewhere else, or end %s yourself",
                 process->comm, process->pid, process->comm);
    else
        return false;
    refuse(planner, EXIT_NO, text);
    return true;
}

/* --- processes that have the socket open --------------------------------------------------------
 */

/* A unit that tidewait runs in itself (a terminal in the browser, a CI runner) is not stopped. */
static bool is_other_service(const struct planner *planner, const struct tw_process *process)
{
    return tw_process_is_service(process) && strcmp(process->unit, planner->own.unit) != 0;
}

static const char *container_tool(const struct planner *planner, const struct tw_process *process)
{
    static const char *const tools[][2] = {{"docker", "docker"},     {"podman", "podman"},
                                           {"containerd", "crictl"}, {"kubernetes", "crictl"},
                                           {"crio", "crictl"},       {"lxc", "lxc-stop"}};

    if (strcmp(process->container, planner->own.container) == 0)
        return NULL;
    for (size_t i = 0; i < sizeof(tools) / sizeof(tools[0]); i++)
        if (strcmp(process->runtime, tools[i][0]) == 0)
            return tools[i][1];
    return NULL;
}

static void stop_socket_unit(struct planner *planner, const struct tw_process *process,
                             const struct tw_socket_row *row)
{
    const char *path = planner->how->target->path;
    char unit[TW_UNIT_MAX];
    bool user = process->pid != 1;
    struct step *step;

    if (tw_systemd_socket_unit("", path ? 0 : row->protocol, &row->local, path, unit)) {
        refuse(planner, EXIT_NO,
               "systemd listens for a .socket unit whose name is not known: "
               "'systemctl list-sockets' shows it, 'systemctl stop' ends it");
        return;
    }
    if (find_named(planner->plan, STEP_UNIT, unit) != NO_STEP)
        return;
    step = add(planner, STEP_UNIT, "stop the socket unit: systemctl %sstop %s",
               user ? "--user " : "", unit);
    set_name(step, unit);
    if (step)
        step->user_unit = user;
}

static void end_process(struct planner *planner, const struct tw_process *process, uint32_t inode,
                        size_t instead)
{
    char force[64] = "";
    struct step *step;

    for (size_t i = 0; i < planner->plan->count; i++)
        if (planner->plan->steps[i].kind == STEP_END &&
            planner->plan->steps[i].process.pid == process->pid)
            return;
    if (planner->how->force)
        snprintf(force, sizeof(force), ", KILL after %.3g s",
                 (double)planner->how->timeout_ns / 1e9);
    step = add(planner, STEP_END, "%sTERM to %s (pid %d)%s: %.200s",
               instead == NO_STEP ? "" : "if that fails, ", process->comm, process->pid, force,
               process->cmdline);
    if (step) {
        step->process = *process;
        step->inode = inode;
        step->instead = instead;
    }
}

/* Each returns the index of its step, one for all processes of the unit or container. */
static size_t stop_container(struct planner *planner, const struct tw_process *process,
                             const char *tool)
{
    size_t at = find_named(planner->plan, STEP_CONTAINER, process->container);
    struct step *step;

    if (at != NO_STEP)
        return at;
    at = planner->plan->count;
    step = add(planner, STEP_CONTAINER, "stop the %s container %.12s of %s (pid %d)",
               process->runtime, process->container, process->comm, process->pid);
    set_name(step, process->container);
    if (step)
        step->tool = tool;
    return at;
}

static size_t stop_service(struct planner *planner, const struct tw_process *process)
{
    size_t at = find_named(planner->plan, STEP_UNIT, process->unit);
    struct step *step;

    if (at != NO_STEP)
        return at;
    at = planner->plan->count;
    step = add(planner, STEP_UNIT, "stop the service of %s (pid %d): systemctl %sstop %s",
               process->comm, process->pid, process->user_unit ? "--user " : "", process->unit);
    set_name(step, process->unit);
    if (step)
        step->user_unit = process->user_unit;
    return at;
}

/* It says where the container is, but not its name: docker has to be asked. */
static void stop_published(struct planner *planner, const struct tw_socket_row *row)
{
    char port[24];

    snprintf(port, sizeof(port), "%u/%s", tw_endpoint_port(&row->local),
             row->protocol == IPPROTO_UDP ? "udp" : "tcp");
    if (find_named(planner->plan, STEP_PROXY, port) == NO_STEP)
        set_name(add(planner, STEP_PROXY,
                     "stop the container that publishes the port: docker ps -q --filter "
                     "publish=%s, docker stop",
                     port),
                 port);
}

/* Ends the hold of one process in the gentlest way there is. */
static void end_hold(struct planner *planner, const struct tw_process *process,
                     const struct tw_socket_row *row)
{
    const char *tool = container_tool(planner, process);
    size_t by_tool = NO_STEP;

    if (tw_process_is_systemd(process)) {
        stop_socket_unit(planner, process, row);
        return;
    }
    if (is_untouchable(planner, process))
        return;
    if (strcmp(process->comm, "docker-proxy") == 0) {
        stop_published(planner, row);
        return;
    }
    if (process->container[0] && tool)
        by_tool = stop_container(planner, process, tool);
    else if (is_other_service(planner, process))
        by_tool = stop_service(planner, process);
    end_process(planner, process, row->inode, by_tool);
}

/* --- sockets -----------------------------------------------------------------------------------
 */

/* No process has it open, as far as can be seen. */
static void without_holder(struct planner *planner, const struct tw_socket_row *row)
{
    char kernel[TW_KERNEL_SOCKET_MAX], text[400];
    struct tw_process process;
    bool sure = false;
    int pid = 0;

    if (!planner->how->target->path &&
        tw_kernel_socket_find(row->protocol, tw_endpoint_port(&row->local), kernel) == 0) {
        snprintf(text, sizeof(text),
                 "the socket belongs to the kernel (%s): there is no process "
                 "to end",
                 kernel);
        refuse(planner, EXIT_NO, text);
        return;
    }
    if (tw_holders_in_flight(row->inode, &pid, &sure, NULL) == 0 && sure &&
        tw_process_read(pid, &process, NULL) == 0) {
        end_hold(planner, &process, row);
        return;
    }
    if (planner->obstacles->holders.blind & TW_BLIND_TO_PROCESSES) {
        snprintf(text, sizeof(text),
                 "the process that has the socket, of uid %u, is hidden from "
                 "you: try as root",
                 row->uid);
        refuse(planner, EXIT_DENIED, text);
        return;
    }
    planner->plan->may_pass = true;
    refuse(planner, EXIT_NO,
           "no process has the socket open: it travels in a message, or an "
           "io_uring has it");
}

/* All processes that have the socket: it lives on as long as one of them does. */
static void end_holders(struct planner *planner, const struct tw_socket_row *row)
{
    size_t count = 0, before = planner->plan->count;
    const struct tw_holding *list = tw_holders_of(&planner->obstacles->holders, row->inode, &count);
    struct tw_process process;

    for (size_t i = 0; i < count; i++)
        if ((i == 0 || list[i].pid != list[i - 1].pid) &&
            tw_process_read(list[i].pid, &process, NULL) == 0)
            end_hold(planner, &process, row);
    if (count == 0 && before == planner->plan->count)
        without_holder(planner, row);
}

static bool was_reset(const struct planner *planner, uint32_t inode)
{
    for (size_t i = 0; i < planner->how->reset_count; i++)
        if (planner->how->reset[i] == inode)
            return true;
    return false;
}

static bool same_endpoints(const struct tw_socket_row *row)
{
    return tw_endpoint_same_address(&row->local, &row->remote) &&
           tw_endpoint_port(&row->local) == tw_endpoint_port(&row->remote);
}

/* A client is never ended for the port that it happens to use. */
static void refuse_client(struct planner *planner, const struct tw_socket_row *row)
{
    char remote[TW_ENDPOINT_TEXT_MAX], who[64] = "a process", text[400];
    const struct tw_holding *list;
    struct tw_process process;
    size_t count = 0;

    list = tw_holders_of(&planner->obstacles->holders, row->inode, &count);
    if (count && tw_process_read(list[0].pid, &process, NULL) == 0)
        snprintf(who, sizeof(who), "%s (pid %d)", process.comm, process.pid);
    tw_endpoint_format(&row->remote, remote);
    if (row->opened == TW_YES || row->protocol == IPPROTO_UDP || same_endpoints(row)) {
        snprintf(text, sizeof(text),
                 "%s is a client, which is not ended: %u is the source port of its connection to "
                 "%s; --destroy resets this connection",
                 who, tw_endpoint_port(&row->local), remote);
    } else {
        planner->plan->may_pass = true;
        snprintf(text, sizeof(text),
                 "whether %s is the server or the client of the connection to %s cannot be seen, "
                 "so it is not ended; --destroy resets this connection",
                 who, remote);
    }
    refuse(planner, EXIT_NO, text);
}

/* --- what time alone ends ------------------------------------------------------------------------
 */

/* Whether SO_REUSEADDR would get the address now. */
static bool reuseaddr_helps(const struct planner *planner)
{
    const struct tw_question *question = &planner->verdict->question;
    struct tw_trial trial = {
        .protocol = question->protocol, .local = question->local, .reuseaddr = true};
    bool tried = false;

    return !question->reuseaddr && tw_trial_bind(&trial, &tried, NULL) == 0 && tried;
}

/* Connections that no process has. `unknown`: the kernel has set no end to some of them. */
static void wait_for(struct planner *planner, size_t count, uint64_t expires_ms, bool unknown)
{
    uint64_t timeout_ns = planner->how->timeout_ns;
    /* The kernel's timers for long times are late by up to an eighth. */
    uint64_t late_ns = expires_ms * TW_NS_PER_MS * 9 / 8 + TW_NS_PER_S / 2;
    char text[400];
    struct step *step;

    if (expires_ms * TW_NS_PER_MS > timeout_ns) {
        snprintf(text, sizeof(text),
                 "%zu closed connection%s, the last one gone in %.1f s: --timeout %us waits for "
                 "that, --destroy drops %s now (as root)%s",
                 count, count == 1 ? "" : "s", (double)expires_ms / 1e3,
                 (unsigned)(expires_ms / 1000 + 1), count == 1 ? "it" : "them",
                 reuseaddr_helps(planner) ? "; a server that sets SO_REUSEADDR can have it now"
                                          : "");
        refuse(planner, EXIT_NO, text);
        return;
    }
    step = unknown ? add(planner, STEP_WAIT,
                         "wait for %zu connection%s that no process has, %.3g "
                         "s at most",
                         count, count == 1 ? "" : "s", (double)timeout_ns / 1e9)
                   : add(planner, STEP_WAIT, "wait %.1f s for %zu closed connection%s",
                         (double)expires_ms / 1e3, count, count == 1 ? "" : "s");
    if (step)
        step->wait_ns = unknown && timeout_ns > late_ns ? timeout_ns : late_ns;
}

static void plan_connections(struct planner *planner)
{
    const struct obstacles *obstacles = planner->obstacles;
    uint64_t expires_ms = 0;
    size_t orphans = 0;
    bool unknown = false;

    if (planner->how->destroy) {
        add(planner, STEP_DESTROY, "drop %zu connection%s by SOCK_DESTROY", obstacles->count,
            obstacles->count == 1 ? "" : "s");
        for (size_t i = 0; i < obstacles->count; i++)
            if (obstacles->rows[i].inode)
                planner->plan->harmless = false;
        return;
    }
    for (size_t i = 0; i < obstacles->count; i++) {
        const struct tw_socket_row *row = &obstacles->rows[i];

        if (row->inode == 0) {
            orphans++;
            unknown |= row->expires_ms == 0;
            if (row->expires_ms > expires_ms)
                expires_ms = row->expires_ms;
        } else if (row->opened == TW_NO && !same_endpoints(row)) {
            end_holders(planner, row);
        } else {
            refuse_client(planner, row);
        }
    }
    /* With their processes gone they are looked at again. */
    if (orphans && planner->plan->count == 0)
        wait_for(planner, orphans, expires_ms, unknown);
}

/* --- the plan ----------------------------------------------------------------------------------
 */

bool is_dead_file(const struct tw_verdict *verdict)
{
    struct stat file;

    /* The remedy is safe when the verdict has made sure that no socket is bound to the file. */
    return verdict->cause && strcmp(verdict->cause, "unix-stale") == 0 && verdict->remedy_count &&
           verdict->remedies[0].safe && lstat(verdict->question.path, &file) == 0 &&
           S_ISSOCK(file.st_mode);
}

static void plan_unix(struct planner *planner)
{
    const char *path = planner->how->target->path;
    const struct tw_verdict *verdict = planner->verdict;
    bool dead = is_dead_file(verdict);

    for (size_t i = 0; i < planner->obstacles->count; i++)
        end_holders(planner, &planner->obstacles->rows[i]);
    if (dead)
        add(planner, STEP_REMOVE, "remove the file %s, to which no socket is bound", path);
    else if (planner->plan->count && path[0] != '@')
        add(planner, STEP_REMOVE, "remove the file %s if it is left behind", path);
    planner->plan->harmless = dead;
}

static bool is_harmless(const struct plan *plan)
{
    for (size_t i = 0; i < plan->count; i++)
        if (plan->steps[i].kind != STEP_WAIT && plan->steps[i].kind != STEP_DESTROY)
            return false;
    return true;
}

/* The verdict is all that there is to say. */
static void refuse_all(struct planner *planner)
{
    const struct tw_verdict *verdict = planner->verdict;

    if (verdict->code == EACCES || verdict->code == EPERM)
        refuse(planner, EXIT_DENIED, "nobody holds it up: it is not permitted");
    else if (verdict->code != EADDRINUSE)
        refuse(planner, EXIT_NO, "nobody holds it up: there is nothing to free");
    else if (verdict->cause && strcmp(verdict->cause, "unix-stale") == 0)
        refuse(planner, EXIT_NO,
               "the file is not removed: it is no socket, or it cannot be seen "
               "whether one is bound to it");
    else
        refuse(planner, geteuid() ? EXIT_DENIED : EXIT_NO,
               geteuid() ? "no process can be seen that has it: try as root"
                         : "no process can be seen that has it");
}

int plan_make(const struct plan_how *how, const struct tw_verdict *verdict,
              const struct obstacles *obstacles, struct plan *out)
{
    struct planner planner = {.how = how, .verdict = verdict, .obstacles = obstacles, .plan = out};

    plan_fini(out);
    if (tw_process_read(getpid(), &planner.own, NULL))
        planner.own = (struct tw_process){.pid = getpid(), .parent = getppid()};
    out->harmless = true;
    out->later = obstacles->left_out;
    if (how->target->path)
        plan_unix(&planner);
    else if (obstacles->connections)
        plan_connections(&planner);
    else
        for (size_t i = 0; i < obstacles->count; i++)
            if (was_reset(&planner, obstacles->rows[i].inode))
                refuse(&planner, EXIT_NO,
                       "a client whose connection was reset is still bound to "
                       "the port, and clients are not ended");
            else
                end_holders(&planner, &obstacles->rows[i]);
    if (out->count == 0 && !out->no_memory)
        refuse_all(&planner);
    if (!how->target->path)
        out->harmless &= is_harmless(out);
    return out->no_memory ? -ENOMEM : 0;
}

void plan_fini(struct plan *plan)
{
    for (size_t i = 0; i < plan->count; i++)
        if (plan->steps[i].pidfd >= 0)
            close(plan->steps[i].pidfd);
    free(plan->steps);
    *plan = (struct plan){0};
}
