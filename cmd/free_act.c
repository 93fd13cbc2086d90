#include "free_act.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ask.h"
#include "tidewait/clock.h"
#include "tidewait/sockets.h"
#include "tidewait/text.h"
#include "tool.h"

/* docker waits for as long as it is told and then needs a moment more; so do the others. */
#define TOOL_GRACE_NS (5 * TW_NS_PER_S)
/* How long a process may take to end when its manager says that it has ended it. */
#define RELEASE_NS (2 * TW_NS_PER_S)
/* How long the peers of an ended process are given to acknowledge that it closes. */
#define CLOSING_MS   200
#define KILL_WAIT_NS (5 * TW_NS_PER_S)

static void end_step(struct step *step, enum step_result result, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void end_step(struct step *step, enum step_result result, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    tw_text_format(step->detail, sizeof(step->detail), format, args);
    va_end(args);
    step->result = result;
}

static bool is_stopped(const struct act_how *how)
{
    return atomic_load(how->stop) > 0;
}

static double seconds_since(uint64_t start_ns)
{
    return (double)(tw_clock_ns() - start_ns) / 1e9;
}

/* --- systemctl, docker and the like -------------------------------------------------------------
 */

static bool run_step(struct step *step, char *const argv[], const struct act_how *how, char *out,
                     size_t size)
{
    uint64_t start = tw_clock_ns();
    int rc = tool_run(argv, how->timeout_ns + TOOL_GRACE_NS, how->stop, out, size);

    if (rc == 0)
        end_step(step, RESULT_DONE, "%s did it in %.2f s", argv[0], seconds_since(start));
    else if (rc == -ENOENT)
        end_step(step, RESULT_FAILED, "there is no %s here", argv[0]);
    else if (rc == -ETIMEDOUT)
        end_step(step, RESULT_FAILED, "%s was not done after %.1f s", argv[0],
                 seconds_since(start));
    else if (rc == -EINTR)
        end_step(step, RESULT_FAILED, "interrupted");
    else if (rc < 0)
        end_step(step, RESULT_FAILED, "%s cannot be run: %s", argv[0], strerror(-rc));
    else
        end_step(step, RESULT_FAILED, "%s ended with status %d", argv[0], rc);
    /* A service that takes long to stop is stopping all the same; nobody is ended on top of that.
     */
    return rc == 0 || rc == -ETIMEDOUT || rc == -EINTR;
}

static void stop_unit(struct step *step, const struct act_how *how, bool *over)
{
    char *argv[5] = {0}, out[256];
    size_t count = 0;

    argv[count++] = "systemctl";
    if (step->user_unit)
        argv[count++] = "--user";
    argv[count++] = "stop";
    argv[count++] = step->name;
    *over = run_step(step, argv, how, out, sizeof(out));
}

static bool stop_container(struct step *step, const char *tool, char *id, const struct act_how *how)
{
    char seconds[24], out[256];
    char *argv[6] = {0};
    size_t count = 0;

    snprintf(seconds, sizeof(seconds), "%llu",
             (unsigned long long)((how->timeout_ns + TW_NS_PER_S - 1) / TW_NS_PER_S));
    argv[count++] = (char *)tool;
    if (strcmp(tool, "lxc-stop") != 0)
        argv[count++] = "stop";
    argv[count++] = "-t";
    argv[count++] = seconds;
    argv[count++] = id;
    return run_step(step, argv, how, out, sizeof(out));
}

/* docker-proxy says where the container is, but not its name. */
static void stop_published(struct step *step, const struct act_how *how)
{
    char filter[160], out[1024], *rest = out, *id;
    char *argv[] = {"docker", "ps", "-q", "--filter", filter, NULL};
    bool any = false;

    snprintf(filter, sizeof(filter), "publish=%s", step->name);
    run_step(step, argv, how, out, sizeof(out));
    if (step->result != RESULT_DONE)
        return;
    while ((id = strsep(&rest, " \n")))
        if (*id) {
            any = true;
            stop_container(step, "docker", id, how);
            if (step->result != RESULT_DONE)
                return;
        }
    if (!any)
        end_step(step, RESULT_FAILED, "docker knows no container that publishes %s", step->name);
}

/* --- processes ---------------------------------------------------------------------------------
 */

static int signal_to(const struct step *step, int signal)
{
    return syscall(SYS_pidfd_send_signal, step->pidfd, signal, NULL, 0) ? -errno : 0;
}

static void let_go(struct step *step)
{
    close(step->pidfd);
    step->pidfd = -1;
}

/* The number may be another process's by now: only once there is a pidfd it stays the same one, and
 * then it must be the one of the plan, and must have the socket still. */
static void send_term(struct step *step)
{
    struct tw_process now;
    int rc;

    step->pidfd = (int)syscall(SYS_pidfd_open, step->process.pid, 0);
    if (step->pidfd < 0) {
        end_step(step, errno == ESRCH ? RESULT_NEEDLESS : RESULT_FAILED, "%s",
                 errno == ESRCH ? "it has ended by itself" : strerror(errno));
        return;
    }
    if (tw_process_read(step->process.pid, &now, NULL) ||
        now.start_ticks != step->process.start_ticks)
        end_step(step, RESULT_NEEDLESS, "it has ended by itself; the pid is another process's now");
    else if (!holds_socket(step->process.pid, step->inode))
        end_step(step, RESULT_NEEDLESS, "it has given the socket up by itself");
    else if ((rc = signal_to(step, SIGTERM)) == -ESRCH)
        end_step(step, RESULT_NEEDLESS, "it has ended by itself");
    else if (rc)
        end_step(step, rc == -EPERM ? RESULT_DENIED : RESULT_FAILED, "TERM to %s (pid %d): %s",
                 step->process.comm, step->process.pid,
                 rc == -EPERM ? "not permitted; it belongs to another user" : strerror(-rc));
    if (step->result != RESULT_PLANNED)
        let_go(step);
}

/* Waits until none of the processes in the plan that were signalled holds its socket any more.
 * Returns how many still do. */
static size_t await_ends(struct plan *plan, const char *signal, uint64_t timeout_ns,
                         const struct act_how *how)
{
    uint64_t start = tw_clock_ns(), look_ns = TW_NS_PER_S / 20, next = start + look_ns;

    for (;;) {
        uint64_t now = tw_clock_ns();
        bool look = now >= next || now - start >= timeout_ns;
        size_t left = 0;

        /* Looking into all descriptors costs; it is done ever more rarely. */
        if (look)
            next = now + (look_ns *= 2);
        for (size_t i = 0; i < plan->count; i++) {
            struct step *step = &plan->steps[i];
            struct pollfd event = {step->pidfd, POLLIN, 0};

            if (step->pidfd < 0)
                continue;
            if (poll(&event, 1, 0) > 0)
                end_step(step, RESULT_DONE, "%s, ended after %.2f s", signal, seconds_since(start));
            else if (look && !holds_socket(step->process.pid, step->inode))
                end_step(step, RESULT_DONE, "%s, gave the socket up after %.2f s and runs on",
                         signal, seconds_since(start));
            else
                left++;
            if (step->result == RESULT_DONE)
                let_go(step);
        }
        if (left == 0 || now - start >= timeout_ns || is_stopped(how))
            return left;
        poll(NULL, 0, 10);
    }
}

static void send_kill(struct plan *plan)
{
    for (size_t i = 0; i < plan->count; i++) {
        struct step *step = &plan->steps[i];

        /* The pidfd is still the same process, but does it still have the socket? */
        if (step->pidfd >= 0 && holds_socket(step->process.pid, step->inode))
            signal_to(step, SIGKILL);
    }
}

static void end_processes(struct plan *plan, const struct act_how *how)
{
    size_t left, ended = 0;

    for (size_t i = 0; i < plan->count; i++) {
        struct step *step = &plan->steps[i];

        if (step->kind == STEP_END && step->result == RESULT_PLANNED && !is_stopped(how))
            send_term(step);
    }
    left = await_ends(plan, "TERM", how->timeout_ns, how);
    if (left && how->force && !is_stopped(how)) {
        send_kill(plan);
        left = await_ends(plan, "KILL", KILL_WAIT_NS, how);
    }
    for (size_t i = 0; i < plan->count; i++)
        ended += plan->steps[i].kind == STEP_END && plan->steps[i].result == RESULT_DONE;
    /* Its connections are being closed; what of them stays is known when the peers have answered.
     */
    if (ended)
        poll(NULL, 0, CLOSING_MS);
    for (size_t i = 0; left && i < plan->count; i++) {
        struct step *step = &plan->steps[i];

        if (step->pidfd < 0)
            continue;
        if (is_stopped(how))
            end_step(step, RESULT_FAILED, "interrupted; TERM was sent");
        else
            end_step(step, RESULT_FAILED, "%s (pid %d) has not ended within %.3g s%s",
                     step->process.comm, step->process.pid, (double)how->timeout_ns / 1e9,
                     how->force ? ", nor by KILL" : " of TERM: --force sends KILL after that");
        let_go(step);
    }
}

/* --- sockets and files ---------------------------------------------------------------------------
 */

static void wait_until_free(struct step *step, const struct act_how *how)
{
    uint64_t start = tw_clock_ns(), pause_ms = 10;

    for (;;) {
        struct tw_verdict *verdict = ask_for(how->question, how->target, NULL);
        bool free = verdict && verdict->answer == TW_ANSWER_FREE;
        uint64_t gone = tw_clock_ns() - start;

        tw_verdict_free(verdict);
        if (free) {
            end_step(step, RESULT_DONE, "gone after %.1f s", (double)gone / 1e9);
            return;
        }
        if (gone >= step->wait_ns || is_stopped(how)) {
            end_step(step, RESULT_FAILED, "%s after %.1f s",
                     is_stopped(how) ? "interrupted" : "not all of them are gone",
                     (double)gone / 1e9);
            return;
        }
        poll(NULL, 0, (int)pause_ms);
        pause_ms = pause_ms < 250 ? pause_ms * 2 : 500;
    }
}

static void destroy(struct step *step, const struct obstacles *obstacles, const struct act_how *how)
{
    size_t done = 0, gone = 0;

    for (size_t i = 0; i < obstacles->count && !is_stopped(how); i++) {
        struct tw_error error = {0};
        int rc = tw_socket_destroy(&obstacles->rows[i], &error);

        if (rc && rc != -ENOENT) {
            end_step(step,
                     rc == -EPERM || rc == -EACCES ? RESULT_DENIED
                     : rc == -EOPNOTSUPP           ? RESULT_UNSUPPORTED
                                                   : RESULT_FAILED,
                     "%zu dropped, then: %s", done, error.text);
            return;
        }
        done += rc == 0;
        gone += rc == -ENOENT;
    }
    end_step(step, is_stopped(how) ? RESULT_FAILED : RESULT_DONE, "%s%zu dropped%s",
             is_stopped(how) ? "interrupted; " : "", done,
             gone ? ", the others were gone already" : "");
}

/* Asks again: since the plan was made somebody may have bound a socket to it. */
static void remove_file(struct step *step, const struct act_how *how)
{
    struct tw_error error = {0};
    struct tw_verdict *verdict = ask_for(how->question, how->target, &error);

    if (!verdict)
        end_step(step, RESULT_FAILED, "%s", error.text);
    else if (verdict->answer == TW_ANSWER_FREE)
        end_step(step, RESULT_NEEDLESS, "nobody has left it behind");
    else if (!is_dead_file(verdict))
        end_step(step, RESULT_FAILED, "not removed: %s", verdict->summary);
    else if (unlink(how->target->path))
        end_step(step, errno == EACCES || errno == EPERM ? RESULT_DENIED : RESULT_FAILED,
                 "cannot remove it: %s", strerror(errno));
    else
        end_step(step, RESULT_DONE, "removed");
    tw_verdict_free(verdict);
}

/* --- all of it ----------------------------------------------------------------------------------
 */

/* A tool may be back a moment before the process has let go of the socket; the next look must not
 * take it for a holder of its own. */
static void await_release(const struct step *step, const struct act_how *how)
{
    uint64_t end = tw_clock_ns() + RELEASE_NS;

    while (holds_socket(step->process.pid, step->inode) && tw_clock_ns() < end && !is_stopped(how))
        poll(NULL, 0, 20);
}

static void use_tools(struct plan *plan, const struct act_how *how)
{
    for (size_t i = 0; i < plan->count && !is_stopped(how); i++) {
        struct step *step = &plan->steps[i];
        bool over = true;

        if (step->kind == STEP_UNIT)
            stop_unit(step, how, &over);
        else if (step->kind == STEP_CONTAINER)
            over = stop_container(step, step->tool, step->name, how);
        else if (step->kind == STEP_PROXY)
            stop_published(step, how);
        for (size_t j = 0; over && j < plan->count; j++)
            if (plan->steps[j].instead == i) {
                if (step->result == RESULT_DONE)
                    await_release(&plan->steps[j], how);
                end_step(&plan->steps[j], RESULT_NEEDLESS, "not needed");
            }
    }
}

static bool all_well(const struct plan *plan)
{
    for (size_t i = 0; i < plan->count; i++) {
        bool replaced = false;

        if (plan->steps[i].result == RESULT_DONE || plan->steps[i].result == RESULT_NEEDLESS)
            continue;
        for (size_t j = 0; j < plan->count; j++)
            replaced |= plan->steps[j].instead == i && plan->steps[j].result == RESULT_DONE;
        if (!replaced)
            return false;
    }
    return true;
}

bool act(struct plan *plan, const struct obstacles *obstacles, const struct act_how *how)
{
    use_tools(plan, how);
    end_processes(plan, how);
    for (size_t i = 0; i < plan->count; i++) {
        struct step *step = &plan->steps[i];

        if (step->result == RESULT_PLANNED && is_stopped(how))
            end_step(step, RESULT_FAILED, "not begun");
        else if (step->kind == STEP_WAIT)
            wait_until_free(step, how);
        else if (step->kind == STEP_DESTROY)
            destroy(step, obstacles, how);
        else if (step->kind == STEP_REMOVE && step->result == RESULT_PLANNED)
            remove_file(step, how);
    }
    return all_well(plan);
}
