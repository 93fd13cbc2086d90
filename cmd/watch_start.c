#include "watch_start.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common.h"

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#else
/* Nobody has tried whether bind() is a system call of its own there. */
#define ARCH 0
#endif

/* Linux 5.19. Not in all headers. */
#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)
#endif

/* --- in the child: the filter and the program --------------------------------------------------
 */

static int seccomp_filter(unsigned long flags)
{
    /* Other architectures have other numbers, and those of x32 have a bit of their own: allowed. */
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCH, 0, 4),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_connect, 3, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_bind, 2, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_listen, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
    };
    const struct sock_fprog program = {.len = sizeof(code) / sizeof(code[0]), .filter = code};

    /* This is no sandbox: kernels before 5.16 would slow it down against Spectre. */
    flags |= SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_SPEC_ALLOW;
    return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
}

/* Returns the listener or -1. */
static int install_filter(void)
{
    /* A signal must not interrupt a call that we are looking at: bind() never fails with EINTR by
     * itself. Older kernels cannot promise that. */
    int listener;

    if (ARCH == 0) {
        errno = ENOSYS;
        return -1;
    }
    listener = seccomp_filter(SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV);
    if (listener < 0 && errno == EINVAL)
        listener = seccomp_filter(0);
    return listener;
}

/* Tells the parent an errno, or 0 with the listener. */
static void tell(int channel, int code, int listener)
{
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {.header = {.cmsg_len = CMSG_LEN(sizeof(int)),
                            .cmsg_level = SOL_SOCKET,
                            .cmsg_type = SCM_RIGHTS}};
    struct iovec data = {.iov_base = &code, .iov_len = sizeof(code)};
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1};

    if (listener >= 0) {
        memcpy(CMSG_DATA(&control.header), &listener, sizeof(listener));
        message.msg_control = &control;
        message.msg_controllen = sizeof(control.room);
    }
    /* When it fails the parent is gone, or sees the channel end without a word. */
    (void)sendmsg(channel, &message, MSG_NOSIGNAL);
}

static _Noreturn void become_program(const struct watch_start *start, int channel)
{
    int listener = install_filter();
    char go;

    /* Whoever may not do it as he is may do it when he renounces privileges for ever. */
    if (listener < 0 && errno == EACCES && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0)
        listener = install_filter();
    tell(channel, listener < 0 ? errno : 0, listener);
    if (listener < 0 || read(channel, &go, sizeof(go)) != sizeof(go))
        _exit(127);
    close(listener);
    if (dup2(start->error_output, STDERR_FILENO) >= 0 &&
        sigaction(SIGCHLD, &start->child, NULL) == 0 &&
        sigprocmask(SIG_SETMASK, &start->mask, NULL) == 0)
        execvp(start->argv[0], start->argv);
    tell(channel, errno, -1);
    _exit(127);
}

/* --- in the parent -----------------------------------------------------------------------------
 */

/* What the child told: 0 or its errno; -1 when it ended without a word. *listener is set when one
 * came along. */
static int hear(int channel, int *listener)
{
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control;
    int code = 0;
    struct iovec data = {.iov_base = &code, .iov_len = sizeof(code)};
    struct msghdr message = {.msg_iov = &data,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof(control.room)};
    const struct cmsghdr *header;

    if (recvmsg(channel, &message, MSG_CMSG_CLOEXEC) != sizeof(code))
        return -1;
    header = CMSG_FIRSTHDR(&message);
    if (header && header->cmsg_type == SCM_RIGHTS)
        memcpy(listener, CMSG_DATA(header), sizeof(*listener));
    return code;
}

static int fail_filter(int code, struct tw_error *error)
{
    switch (code) {
    case EBUSY:
        return tw_error_set(error, EBUSY,
                            "watching the program: somebody else watches already, such as LXC or "
                            "another tidewait; run it outside of that");
    case ENOSYS:
    case EINVAL:
    case EOPNOTSUPP:
        return tw_error_set(error, ENOSYS,
                            "watching the program: this kernel has no seccomp notifications (Linux "
                            "5.5 with CONFIG_SECCOMP_FILTER); run the program by itself and ask "
                            "about its address");
    case EACCES:
    case EPERM:
        return tw_error_set(error, EPERM,
                            "watching the program: seccomp: %s; a sandbox or container profile "
                            "forbids it: run it outside, or run the program by itself and ask "
                            "about its address",
                            strerror(code));
    default:
        return tw_error_set(error, code, "watching the program: seccomp: %s", strerror(code));
    }
}

/* Linux 5.0 to 5.4 have notifications but cannot let a call go on. Asked about a call that does not
 * exist, later ones say that it does not. */
static bool can_continue(int listener)
{
    struct seccomp_notif_resp response = {.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};

    return ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &response) == 0 || errno == ENOENT;
}

/* Leads the child from its filter to its program. */
static int follow(const char *name, int channel, struct watch_started *out, struct tw_error *error)
{
    int code = hear(channel, &out->listener);

    if (code < 0)
        return tw_error_set(error, ECHILD, "watching the program: it was killed before it began");
    if (code > 0)
        return fail_filter(code, error);
    if (out->listener < 0)
        return tw_error_set(error, EMFILE,
                            "watching the program: no descriptor left; raise ulimit -n");
    if (!can_continue(out->listener))
        return fail_filter(ENOSYS, error);
    (void)send(channel, "", 1, MSG_NOSIGNAL);
    /* The channel is closed by a successful exec, or by the death of the child: then waitpid() has
     * more to say than we. */
    code = hear(channel, &out->listener);
    if (code <= 0)
        return 0;
    out->exit_status = exec_failure(name, code, error);
    return -code;
}

int watch_start(const struct watch_start *start, struct watch_started *out, struct tw_error *error)
{
    int channel[2], rc;

    *out = (struct watch_started){.pid = -1, .listener = -1};
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, channel))
        return tw_error_set(error, errno, "watching the program: socketpair: %s", strerror(errno));
    out->pid = fork();
    if (out->pid == 0) {
        close(channel[0]);
        become_program(start, channel[1]);
    }
    rc = out->pid < 0
             ? tw_error_set(error, errno, "starting the program: fork: %s", strerror(errno))
             : 0;
    close(channel[1]);
    if (rc == 0)
        rc = follow(start->argv[0], channel[0], out, error);
    close(channel[0]);
    if (rc && out->listener >= 0)
        close(out->listener);
    if (rc && out->pid >= 0)
        (void)waitpid(out->pid, NULL, 0);
    return rc;
}
