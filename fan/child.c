#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "job.h"
#include "tidewait/text.h"

#define CHILD_FDS_MAX (3 + CHILD_CALL_FDS)

enum child_input child_input_of(const struct fan_command *command, const struct host *host)
{
    if (command->input < 0 || (command->input_for && command->input_for != host))
        return CHILD_NO_INPUT;
    return CHILD_FILE;
}

void job_tell(struct job *job, const char *text, size_t len)
{
    char *detail = malloc(4 * len + 1);

    if (detail)
        detail[tw_text_safe(detail, 4 * len, text, len)] = 0;
    free(job->detail);
    job->detail = detail;
}

/* The other ends of the pipes: what the child has as 0, 1 and 2. */
struct ends {
    int fds[3];
};

static void close_all(const int *fds, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (fds[i] >= 0)
            close(fds[i]);
}

static int open_input(struct attempt *attempt, enum child_input kind, int input, int *end)
{
    char path[32];
    int pipes[2];

    if (kind == CHILD_LEASH) {
        if (pipe2(pipes, O_CLOEXEC))
            return -errno;
        *end = pipes[0];
        attempt->leash = pipes[1];
        return 0;
    }
    /* Opened anew, so that each has a place of its own in the file. */
    snprintf(path, sizeof(path), "/proc/self/fd/%d", input);
    *end = open(kind == CHILD_FILE ? path : "/dev/null", O_RDONLY | O_CLOEXEC);
    return *end < 0 ? -errno : 0;
}

static int open_pipes(struct attempt *attempt, enum child_input kind, int input, struct ends *ends)
{
    int rc;

    *ends = (struct ends){{-1, -1, -1}};
    attempt->process = attempt->leash = attempt->pipes[0] = attempt->pipes[1] = -1;
    rc = open_input(attempt, kind, input, &ends->fds[0]);

    for (int i = 0; rc == 0 && i < STREAMS; i++) {
        int pipes[2];

        if (pipe2(pipes, O_CLOEXEC)) {
            rc = -errno;
            break;
        }
        attempt->pipes[i] = pipes[0];
        ends->fds[1 + i] = pipes[1];
        fcntl(pipes[0], F_SETFL, O_NONBLOCK);
    }
    return rc;
}

static int spawn(char *const argv[], const struct ends *ends, pid_t *pid)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, defaults;
    int rc = 0;

    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    sigemptyset(&none);
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGPIPE);
    for (int i = 0; rc == 0 && i < 3; i++)
        rc = posix_spawn_file_actions_adddup2(&actions, ends->fds[i], i);
    if (rc == 0)
        rc = posix_spawnattr_setsigdefault(&attributes, &defaults);
    if (rc == 0)
        rc = posix_spawnattr_setsigmask(&attributes, &none);
    /* Without our terminal nobody can ask a question on it. */
    if (rc == 0)
        rc = posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK |
                                                       POSIX_SPAWN_SETSID);
    if (rc == 0)
        rc = posix_spawnp(pid, argv[0], &actions, &attributes, argv, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return -rc;
}

/* In the child. The descriptors go out of the way first, so that none overwrites another. */
static void take_descriptors(const struct ends *ends, const int *fds, int fd_count)
{
    int away[CHILD_FDS_MAX], count = 3 + fd_count;

    for (int i = 0; i < count; i++)
        away[i] = fcntl(i < 3 ? ends->fds[i] : fds[i - 3], F_DUPFD, CHILD_FDS_MAX);
    for (int i = 0; i < count; i++)
        if (dup2(away[i], i) < 0)
            _exit(255);
    close_range((unsigned)count, ~0u, 0);
}

static int call(int (*body)(void *), void *context, const struct ends *ends, const int *fds,
                int fd_count, pid_t *pid)
{
    static const int handled[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE, SIGCHLD, SIGWINCH};
    pid_t parent = getpid();
    sigset_t all, before;

    /* None of our handlers runs in the child. */
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    *pid = fork();
    if (*pid == 0) {
        for (size_t i = 0; i < sizeof(handled) / sizeof(handled[0]); i++)
            signal(handled[i], SIG_DFL);
        sigemptyset(&all);
        sigprocmask(SIG_SETMASK, &all, NULL);
        setsid();
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        if (getppid() != parent)
            _exit(255);
        take_descriptors(ends, fds, fd_count);
        _exit(body(context));
    }
    sigprocmask(SIG_SETMASK, &before, NULL);
    return *pid < 0 ? -errno : 0;
}

/* Watches the child that was made, or was not. */
static int watch(struct attempt *attempt, int rc, const char *name, struct tw_error *error)
{
    if (rc == 0) {
        attempt->process = (int)syscall(SYS_pidfd_open, attempt->pid, 0);
        rc = attempt->process < 0 ? -errno : 0;
        if (rc) {
            kill(attempt->pid, SIGKILL);
            while (waitpid(attempt->pid, NULL, 0) < 0 && errno == EINTR)
                ;
        }
    }
    if (rc == 0)
        return 0;
    close_all(attempt->pipes, STREAMS);
    close_all(&attempt->leash, 1);
    return tw_error_set(error, -rc, "cannot run %.60s: %s", name, strerror(-rc));
}

int child_start(struct attempt *attempt, char *const argv[], enum child_input kind, int input,
                struct tw_error *error)
{
    struct ends ends;
    int rc = open_pipes(attempt, kind, input, &ends);

    if (rc == 0)
        rc = spawn(argv, &ends, &attempt->pid);
    close_all(ends.fds, 3);
    return watch(attempt, rc, argv[0], error);
}

int child_call(struct attempt *attempt, int (*body)(void *), void *context, const int *fds,
               int fd_count, enum child_input kind, int input, struct tw_error *error)
{
    struct ends ends;
    int rc = open_pipes(attempt, kind, input, &ends);

    if (rc == 0)
        rc = call(body, context, &ends, fds, fd_count, &attempt->pid);
    close_all(ends.fds, 3);
    return watch(attempt, rc, "a process of ours", error);
}
