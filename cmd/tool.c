#include "tool.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tidewait/clock.h"

/* How long a program that was told to end may take before it is killed. */
#define GRACE_MS 1000

static int spawn(char *const argv[], int out, pid_t *pid)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t defaults;
    int rc;

    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGPIPE);
    rc = posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    if (rc == 0)
        rc = posix_spawn_file_actions_adddup2(&actions, out, 1);
    /* What catch_signals() ignores would be ignored by the program as well. */
    if (rc == 0)
        rc = posix_spawnattr_setsigdefault(&attributes, &defaults);
    if (rc == 0)
        rc = posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
    if (rc == 0)
        rc = posix_spawnp(pid, argv[0], &actions, &attributes, argv, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return -rc;
}

/* Takes what is there; the rest is read and thrown away, so that the program never waits for us. */
static void take(int in, char *out, size_t size, size_t *used)
{
    char rest[512] = "";
    ssize_t got;

    for (;;) {
        size_t room = size - 1 - *used;

        got = read(in, room ? out + *used : rest, room ? room : sizeof(rest));
        if (got <= 0)
            return;
        if (room)
            *used += (size_t)got;
    }
}

/* Until it has ended: 0, -ETIMEDOUT or -EINTR. */
static int watch(int process, int in, uint64_t timeout_ns, const atomic_int *stop, char *out,
                 size_t size)
{
    struct pollfd events[2] = {{process, POLLIN, 0}, {in, POLLIN, 0}};
    uint64_t deadline = tw_clock_ns() + timeout_ns;
    size_t used = 0;
    int rc = 0;

    while (events[0].revents == 0) {
        uint64_t now = tw_clock_ns();

        if (atomic_load(stop) || now >= deadline) {
            rc = atomic_load(stop) ? -EINTR : -ETIMEDOUT;
            break;
        }
        /* At most a tenth of a second: a signal may come just before poll(). */
        if (poll(events, 2,
                 deadline - now < TW_NS_PER_S / 10 ? 1 + (int)((deadline - now) / TW_NS_PER_MS)
                                                   : 100) < 0)
            events[0].revents = events[1].revents = 0;
        take(in, out, size, &used);
        if (events[1].revents & POLLHUP)
            events[1].fd = -1;
    }
    take(in, out, size, &used);
    out[used] = 0;
    return rc;
}

int tool_run(char *const argv[], uint64_t timeout_ns, const atomic_int *stop, char *out,
             size_t size)
{
    int pipes[2], process, status, rc;
    pid_t pid = 0;

    if (pipe2(pipes, O_CLOEXEC))
        return -errno;
    fcntl(pipes[0], F_SETFL, O_NONBLOCK);
    rc = spawn(argv, pipes[1], &pid);
    close(pipes[1]);
    if (rc) {
        close(pipes[0]);
        return rc;
    }
    process = (int)syscall(SYS_pidfd_open, pid, 0);
    rc = process < 0 ? -errno : watch(process, pipes[0], timeout_ns, stop, out, size);
    if (rc) {
        struct pollfd end = {process, POLLIN, 0};

        kill(pid, SIGTERM);
        if (process < 0 || poll(&end, 1, GRACE_MS) <= 0)
            kill(pid, SIGKILL);
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    close(pipes[0]);
    if (process >= 0)
        close(process);
    if (rc)
        return rc;
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}
