#include "differential.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "differential_parts.h"
#include "tidewait/clock.h"

/* --- running ------------------------------------------------------------------------------------
 */

/* How often a program is tried that showed its difference again at once, and one that did not. */
#define TRIES      2
#define TRIES_RARE 30

/* What a difference looks like when it is as short as can be. Returns 0 or -errno; result->program
 * stays as it was found when it does not come again. */
static int report(struct lab *lab, struct program *program, int count, struct tw_error *error)
{
    struct differential_result *result = lab->result;
    char text[DIFFERENTIAL_PROGRAM_MAX];
    uint32_t calls;
    int rc;

    result->differences = 1;
    program->count = (size_t)count;
    lab->patience_ms = PATIENCE_SHRINKING_MS;
    rc = world_run(lab, program, NULL, 0, NULL, error);
    if (rc >= 0)
        rc = program_shrink(lab, program, rc > 0 ? TRIES : TRIES_RARE, error);
    lab->patience_ms = PATIENCE_MS;
    for (int i = 0; i < TRIES_RARE && rc == 0; i++) {
        rc = world_run(lab, program, text, sizeof(text), &calls, error);
        if (rc > 0) {
            memcpy(result->program, text, sizeof(text));
            result->calls = calls;
        }
    }
    return rc < 0 ? rc : 0;
}

static bool is_over(const struct lab *lab, uint64_t began)
{
    const struct differential_opts *opts = lab->opts;

    return (opts->stop && atomic_load(opts->stop)) ||
           (opts->operations && lab->result->operations >= opts->operations) ||
           (opts->for_ns && tw_clock_ns() - began >= opts->for_ns);
}

int differential_run(const struct differential_opts *opts, struct differential_result *out,
                     struct tw_error *error)
{
    struct lab lab = {.opts = opts, .result = out, .patience_ms = PATIENCE_MS};
    uint64_t began = tw_clock_ns();
    int rc;

    *out = (struct differential_result){.seed = opts->seed};
    if ((!opts->operations && !opts->for_ns) || opts->break_clause > DIFFERENTIAL_CLAUSES)
        return tw_error_set(error, EINVAL, "the differential test: %s",
                            opts->break_clause > DIFFERENTIAL_CLAUSES
                                ? "there is no clause of this number"
                                : "neither a number of operations nor a time was given");
    rc = net_make(&lab.net, error);
    out->users = lab.net.has_users;
    while (rc == 0 && !out->differences && !is_over(&lab, began)) {
        struct program program;

        out->world = out->worlds++;
        program_make(&program, opts->seed, out->world, lab.net.has_users);
        rc = world_run(&lab, &program, out->program, sizeof(out->program), &out->calls, error);
        if (rc > 0)
            rc = report(&lab, &program, rc, error);
    }
    if (!out->differences) {
        out->program[0] = '\0';
        out->calls = 0;
    }
    return rc;
}

/* --- in a child ---------------------------------------------------------------------------------
 */

struct shared {
    int rc;
    struct differential_result result;
    struct tw_error error;
};

static int enter_private(struct tw_error *error)
{
    /* Root stays root of the whole host, so that it can act as another user. */
    int flags = geteuid() == 0 ? CLONE_NEWNET : CLONE_NEWUSER | CLONE_NEWNET;

    if (unshare(flags) == 0 || unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0)
        return 0;
    return tw_error_set(error, EPERM,
                        "making a private network: %s; try as root, or allow user namespaces",
                        strerror(errno));
}

static void run_child(const struct differential_opts *opts, struct shared *shared, pid_t parent)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        return;
    shared->rc = enter_private(&shared->error);
    if (shared->rc == 0)
        shared->rc = differential_run(opts, &shared->result, &shared->error);
}

static int take_result(pid_t child, const struct shared *shared, struct differential_result *out,
                       struct tw_error *error)
{
    int status = 0;

    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return tw_error_set(error, errno, "waiting for the differential test: %s",
                                strerror(errno));
    if (!WIFEXITED(status) || WEXITSTATUS(status))
        return tw_error_set(error, ECHILD, "the process of the differential test was ended by %s",
                            WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : "itself");
    *out = shared->result;
    return shared->rc ? tw_error_set(error, -shared->rc, "%s", shared->error.text) : 0;
}

int differential_fork(const struct differential_opts *opts, struct differential_result *out,
                      struct tw_error *error)
{
    struct shared *shared =
        mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t parent = getpid(), child;
    int rc;

    if (shared == MAP_FAILED)
        return tw_error_set(error, errno, "shared memory for the differential test: %s",
                            strerror(errno));
    child = fork();
    if (child == 0) {
        run_child(opts, shared, parent);
        _exit(0);
    }
    rc = child < 0
             ? tw_error_set(error, errno, "starting the differential test: %s", strerror(errno))
             : take_result(child, shared, out, error);
    munmap(shared, sizeof(*shared));
    return rc;
}
