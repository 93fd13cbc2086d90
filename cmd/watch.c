#include "watch.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "watch_call.h"
#include "watch_start.h"

/* How much of stderr is kept: long stack traces end within it. */
#define KEEP_BYTES 65536

/* Reads of stderr after the end, so that a descendant that writes without end cannot hold us. A
 * pipe holds no more, unless root made it larger. */
#define LAST_READS 16

/* Later kernels may have longer structs than our header; ID and flags stay where they are. */
union request {
    struct seccomp_notif notif;
    char room[512];
};
union response {
    struct seccomp_notif_resp notif;
    char room[512];
};

struct watch {
    int pid;
    int listener; /* -1: nobody is left who could call */
    int errors;   /* stderr of the program; -1: nobody is left who could write */
    int signals;  /* signalfd */
    bool ended;   /* the program itself */
    int status;   /* of it */
    unsigned unseen;
    char *text; /* room for 2 * KEEP_BYTES and a NUL */
    size_t text_len;
    void (*before)(const struct watch_call *call, void *context);
    void *context;
};

/* What is put back at the end. */
struct former {
    sigset_t mask;
    struct sigaction child, pipe;
    int subreaper;
};

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* --- stderr ------------------------------------------------------------------------------------
 */

static int write_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t put = write(fd, data, len);
        struct pollfd wait = {.fd = fd, .events = POLLOUT};

        if (put >= 0) {
            data += put;
            len -= (size_t)put;
        } else if (errno == EAGAIN) {
            /* Somebody who shares our stderr made it non-blocking. */
            (void)poll(&wait, 1, -1);
        } else if (errno != EINTR) {
            return -errno;
        }
    }
    return 0;
}

static void trim(struct watch *watch)
{
    if (watch->text_len <= KEEP_BYTES)
        return;
    memmove(watch->text, watch->text + watch->text_len - KEEP_BYTES, KEEP_BYTES);
    watch->text_len = KEEP_BYTES;
}

/* Passes on and keeps what is there. Whether there may be more. */
static bool pass_errors(struct watch *watch)
{
    ssize_t got;

    if (watch->errors < 0)
        return false;
    trim(watch);
    got = read(watch->errors, watch->text + watch->text_len, KEEP_BYTES);
    if (got < 0)
        return false;
    /* With the reader of our stderr gone the program must get SIGPIPE, as without us. Other errors
     * (a full disk) concern nobody but our copy. */
    if (got == 0 || write_all(STDERR_FILENO, watch->text + watch->text_len, (size_t)got) == -EPIPE)
        close_fd(&watch->errors);
    watch->text_len += (size_t)got;
    return watch->errors >= 0;
}

/* --- calls -------------------------------------------------------------------------------------
 */

/* Whether the kernel has notifications, and none that are too long for us. */
static int check_kernel(struct tw_error *error)
{
    struct seccomp_notif_sizes sizes;

    if (syscall(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 0, &sizes))
        return tw_error_set(error, errno == EINVAL ? ENOSYS : errno,
                            "watching the program: this kernel has no seccomp notifications (Linux "
                            "5.5 with CONFIG_SECCOMP_FILTER), or a sandbox forbids them: %s; run "
                            "the program by itself and ask about its address",
                            strerror(errno));
    if (sizes.seccomp_notif > sizeof(union request) ||
        sizes.seccomp_notif_resp > sizeof(union response))
        return tw_error_set(error, ENOSYS,
                            "watching the program: the seccomp notifications of this kernel are "
                            "longer than tidewait knows");
    return 0;
}

static void show_call(struct watch *watch, const struct seccomp_notif *request)
{
    uint64_t id = request->id;
    struct watch_call call;
    int rc = watch_call_read(request, &call);

    /* Killed meanwhile: its number may be another process's already. */
    if (ioctl(watch->listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &id))
        return;
    if (rc < 0)
        watch->unseen++;
    else if (rc == 0)
        watch->before(&call, watch->context);
}

static void serve_call(struct watch *watch)
{
    union request request = {.room = {0}};
    union response response = {.room = {0}};

    /* ENOENT: the caller was killed between poll() and here. */
    if (ioctl(watch->listener, SECCOMP_IOCTL_NOTIF_RECV, &request.notif))
        return;
    /* What the program wrote before it called comes before what before() may write. */
    (void)pass_errors(watch);
    if (watch->before)
        show_call(watch, &request.notif);
    response.notif.id = request.notif.id;
    response.notif.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
    /* Fails when the caller was killed meanwhile; then nobody waits for it. */
    (void)ioctl(watch->listener, SECCOMP_IOCTL_NOTIF_SEND, &response.notif);
}

/* --- signals -----------------------------------------------------------------------------------
 */

static void reap(struct watch *watch)
{
    int pid, status;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid == watch->pid) {
            watch->ended = true;
            watch->status = status;
        }
    }
}

static void serve_signal(struct watch *watch)
{
    struct signalfd_siginfo info;

    if (read(watch->signals, &info, sizeof(info)) != sizeof(info))
        return;
    if (info.ssi_signo == SIGCHLD)
        reap(watch);
    /* The terminal's (SI_KERNEL) reach the program by themselves. */
    else if (info.ssi_code <= 0 && !watch->ended)
        (void)kill(watch->pid, (int)info.ssi_signo);
}

/* Before fork(): nothing may be missed, and SIGCHLD must not be ignored, or the status is lost. */
static int take_signals(struct watch *watch, struct former *former, struct tw_error *error)
{
    const struct sigaction preset = {.sa_handler = SIG_DFL};
    sigset_t wanted;

    sigemptyset(&wanted);
    sigaddset(&wanted, SIGCHLD);
    sigaddset(&wanted, SIGINT);
    sigaddset(&wanted, SIGQUIT);
    sigaddset(&wanted, SIGTERM);
    sigaddset(&wanted, SIGHUP);
    sigprocmask(SIG_BLOCK, &wanted, &former->mask);
    sigaction(SIGCHLD, &preset, &former->child);
    sigaction(SIGPIPE, NULL, &former->pipe);
    prctl(PR_GET_CHILD_SUBREAPER, &former->subreaper);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    watch->signals = signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK);
    return watch->signals < 0
               ? tw_error_set(error, errno, "watching the program: signalfd: %s", strerror(errno))
               : 0;
}

static void give_signals_back(const struct former *former)
{
    prctl(PR_SET_CHILD_SUBREAPER, former->subreaper);
    sigaction(SIGCHLD, &former->child, NULL);
    sigaction(SIGPIPE, &former->pipe, NULL);
    sigprocmask(SIG_SETMASK, &former->mask, NULL);
}

/* --- the loop ----------------------------------------------------------------------------------
 */

static void turn(struct watch *watch)
{
    struct pollfd fds[] = {
        {.fd = watch->errors, .events = POLLIN},
        {.fd = watch->signals, .events = POLLIN},
        {.fd = watch->listener, .events = POLLIN},
    };

    if (poll(fds, sizeof(fds) / sizeof(fds[0]), -1) < 0)
        return;
    if (fds[0].revents)
        (void)pass_errors(watch);
    if (fds[1].revents)
        serve_signal(watch);
    if (fds[2].revents & POLLIN)
        serve_call(watch);
    else if (fds[2].revents)
        close_fd(&watch->listener);
}

/* Whether a descendant lives that the kernel would ask us about. */
static bool is_needed(struct watch *watch)
{
    struct pollfd fd = {.fd = watch->listener, .events = POLLIN};

    if (watch->listener >= 0 && poll(&fd, 1, 0) == 1 && fd.revents & POLLHUP)
        close_fd(&watch->listener);
    return watch->listener >= 0 || watch->errors >= 0;
}

/* Closes all that is not needed, so that nobody waits for the end of our files because of it. */
static void keep_alone(const struct watch *watch)
{
    int a = watch->listener, b = watch->errors, null = open("/dev/null", O_RDWR | O_CLOEXEC);
    unsigned low = (unsigned)(a < b ? a : b), high = (unsigned)(a < b ? b : a);

    (void)dup2(null, STDIN_FILENO);
    (void)dup2(null, STDOUT_FILENO);
    if (a < 0 || b < 0)
        low = high; /* only one of them */
    if (low > 3)
        (void)close_range(3, low - 1, 0);
    if (low + 1 < high)
        (void)close_range(low + 1, high - 1, 0);
    (void)close_range(high + 1, ~0u, 0);
}

/* The signals that would end it stay blocked: its end would break the programs that it serves. */
static void leave_keeper(struct watch *watch)
{
    if (fork() != 0)
        return;
    (void)setsid();
    (void)chdir("/");
    (void)prctl(PR_SET_NAME, "tidewait-keeper");
    close_fd(&watch->signals);
    keep_alone(watch);
    watch->before = NULL;
    while (watch->listener >= 0 || watch->errors >= 0) {
        if (watch->errors < 0)
            close(STDERR_FILENO);
        turn(watch);
    }
    _exit(0);
}

static void run_loop(struct watch *watch, struct watch_end *end)
{
    const struct sigaction ignore = {.sa_handler = SIG_IGN};

    sigaction(SIGPIPE, &ignore, NULL);
    while (!watch->ended)
        turn(watch);
    for (int i = 0; i < LAST_READS && pass_errors(watch); i++)
        ;
    if (is_needed(watch))
        leave_keeper(watch);
    trim(watch);
    watch->text[watch->text_len] = 0;
    *end = (struct watch_end){.status = watch->status,
                              .text = watch->text,
                              .text_len = watch->text_len,
                              .unseen = watch->unseen};
    watch->text = NULL;
}

/* Starts the program and stays with it. */
static int start_and_watch(struct watch *watch, struct watch_start *start, struct watch_end *end,
                           struct tw_error *error)
{
    struct watch_started started;
    int errors[2], rc;

    if (pipe2(errors, O_CLOEXEC))
        return tw_error_set(error, errno, "watching the program: pipe: %s", strerror(errno));
    watch->errors = errors[0];
    (void)fcntl(errors[0], F_SETFL, O_NONBLOCK);
    start->error_output = errors[1];
    rc = watch_start(start, &started, error);
    close(errors[1]);
    end->status = started.exit_status << 8;
    if (rc)
        return rc;
    watch->pid = started.pid;
    watch->listener = started.listener;
    run_loop(watch, end);
    return 0;
}

int watch_run(char *const argv[], void (*before)(const struct watch_call *call, void *context),
              void *context, struct watch_end *end, struct tw_error *error)
{
    struct watch watch = {.listener = -1,
                          .errors = -1,
                          .signals = -1,
                          .before = before,
                          .context = context,
                          .text = malloc(2 * KEEP_BYTES + 1)};
    struct former former;
    int rc;

    *end = (struct watch_end){0};
    if (!watch.text)
        return tw_error_set(error, ENOMEM, "watching the program: no memory");
    if ((rc = check_kernel(error)) == 0) {
        rc = take_signals(&watch, &former, error);
        if (rc == 0) {
            struct watch_start start = {.argv = argv, .mask = former.mask, .child = former.child};

            rc = start_and_watch(&watch, &start, end, error);
        }
        give_signals_back(&former);
    }
    close_fd(&watch.listener);
    close_fd(&watch.errors);
    close_fd(&watch.signals);
    free(watch.text);
    return rc;
}
