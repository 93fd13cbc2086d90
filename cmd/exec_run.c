#include "exec_run.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common.h"

static const int passed_on[] = {SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, SIGALRM};

/* What the program inherits as if we were not there. */
struct former {
    sigset_t mask;
    struct sigaction child, pipe;
};

struct child {
    int pid;
    int signals; /* signalfd */
    bool ended;
    int status;
};

/* --- signals -----------------------------------------------------------------------------------
 */

/* Before fork(): none may be missed, and SIGCHLD must not be ignored, or the status is lost. */
static int take_signals(struct former *former, struct tw_error *error)
{
    const struct sigaction preset = {.sa_handler = SIG_DFL}, ignore = {.sa_handler = SIG_IGN};
    sigset_t wanted;
    int fd;

    sigemptyset(&wanted);
    sigaddset(&wanted, SIGCHLD);
    for (size_t i = 0; i < sizeof(passed_on) / sizeof(passed_on[0]); i++)
        sigaddset(&wanted, passed_on[i]);
    sigprocmask(SIG_BLOCK, &wanted, &former->mask);
    sigaction(SIGCHLD, &preset, &former->child);
    /* Nobody may read our stderr any more. */
    sigaction(SIGPIPE, &ignore, &former->pipe);
    fd = signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK);
    return fd < 0 ? tw_error_set(error, errno, "signalfd: %s", strerror(errno)) : fd;
}

static void give_signals_back(const struct former *former)
{
    sigaction(SIGCHLD, &former->child, NULL);
    sigaction(SIGPIPE, &former->pipe, NULL);
    sigprocmask(SIG_SETMASK, &former->mask, NULL);
}

static void serve_signal(struct child *child)
{
    struct signalfd_siginfo info;

    if (read(child->signals, &info, sizeof(info)) != sizeof(info))
        return;
    if (info.ssi_signo == SIGCHLD)
        child->ended = child->ended || waitpid(child->pid, &child->status, WNOHANG) == child->pid;
    /* The terminal's (SI_KERNEL) reach the program by themselves. */
    else if (info.ssi_code <= 0 && !child->ended)
        (void)kill(child->pid, (int)info.ssi_signo);
}

/* --- the program -------------------------------------------------------------------------------
 */

static _Noreturn void become_program(const struct exec_run *run, int parent,
                                     const struct former *former, int channel)
{
    int code = run->steer ? -steer_enter(run->steer) : 0;

    /* Its end is ours to tell; when we cannot any more, it must not go on unseen. */
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(127);
    give_signals_back(former);
    if (code == 0) {
        execvp(run->argv[0], run->argv);
        code = errno;
    }
    (void)!write(channel, &code, sizeof(code));
    _exit(127);
}

/* Returns when the program runs, or does not. */
static int start(const struct exec_run *run, const struct former *former, struct child *child,
                 int *status, struct tw_error *error)
{
    int channel[2], code = 0, parent = getpid();
    ssize_t got;

    if (pipe2(channel, O_CLOEXEC))
        return tw_error_set(error, errno, "pipe: %s", strerror(errno));
    child->pid = fork();
    if (child->pid == 0)
        become_program(run, parent, former, channel[1]);
    close(channel[1]);
    if (child->pid < 0) {
        close(channel[0]);
        return tw_error_set(error, errno, "fork: %s", strerror(errno));
    }
    /* The channel ends by itself when the program begins. */
    do
        got = read(channel[0], &code, sizeof(code));
    while (got < 0 && errno == EINTR);
    close(channel[0]);
    if (got != sizeof(code))
        return 0;
    (void)waitpid(child->pid, NULL, 0);
    *status = exec_failure(run->argv[0], code, error) << 8;
    return -code;
}

static void stay(const struct exec_run *run, struct child *child)
{
    struct pollfd fds[] = {
        {.fd = child->signals, .events = POLLIN},
        {.fd = run->fd, .events = POLLIN},
    };

    while (!child->ended) {
        if (poll(fds, sizeof(fds) / sizeof(fds[0]), -1) < 0)
            continue;
        /* What is told came before the end. */
        if (fds[1].revents)
            run->serve(run->context);
        if (fds[0].revents)
            serve_signal(child);
    }
    if (run->fd >= 0)
        run->serve(run->context);
}

int exec_run(const struct exec_run *run, int *status, struct tw_error *error)
{
    struct former former;
    struct child child = {.signals = take_signals(&former, error)};
    int rc = child.signals;

    *status = 0;
    if (rc >= 0)
        rc = start(run, &former, &child, status, error);
    if (rc == 0) {
        stay(run, &child);
        *status = child.status;
    }
    give_signals_back(&former);
    if (child.signals >= 0)
        close(child.signals);
    return rc;
}

int exec_end(int status)
{
    const struct rlimit none = {0};
    int number = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    sigset_t only;

    if (!number)
        return WEXITSTATUS(status);
    (void)fflush(NULL);
    (void)setrlimit(RLIMIT_CORE, &none);
    (void)signal(number, SIG_DFL);
    sigemptyset(&only);
    sigaddset(&only, number);
    sigprocmask(SIG_UNBLOCK, &only, NULL);
    (void)kill(getpid(), number);
    return 128 + number;
}
