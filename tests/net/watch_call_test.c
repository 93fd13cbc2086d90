/*
 * Watching programs: which calls are seen, what of them, and that the kernel decides after us.
 */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/utsname.h>

#include "watch_test.h"

/* --- what is seen ------------------------------------------------------------------------------
 */

static void bind_and_listen_are_seen(void **state)
{
    struct seen seen = {.count = 0};

    (void)state;
    assert_int_equal(run_words(&seen, WORDS("tcp4", "bind=127.0.0.1:7001", "listen")), 0);
    assert_int_equal(seen.count, 2);
    assert_int_equal(seen.calls[0].op, TW_OP_BIND);
    assert_int_equal(seen.calls[0].protocol, IPPROTO_TCP);
    assert_endpoint(&seen.calls[0].local, "127.0.0.1:7001");
    assert_true(is_empty(&seen.calls[0].remote));
    assert_int_equal(seen.calls[0].uid, geteuid());
    assert_true(seen.calls[0].borrowed);
    assert_false(seen.calls[0].bound);
    assert_false(seen.calls[0].reuseaddr);
    assert_false(seen.calls[0].reuseport);
    assert_string_equal(seen.calls[0].device, "");
    assert_int_equal(seen.calls[1].op, TW_OP_LISTEN);
    assert_endpoint(&seen.calls[1].local, "127.0.0.1:7001");
    assert_true(seen.calls[1].bound);
    assert_int_equal(seen.calls[1].pid, seen.calls[0].pid);
    assert_int_equal(seen.calls[1].fd, seen.calls[0].fd);
}

static void options_are_seen(void **state)
{
    struct seen seen = {.count = 0};

    (void)state;
    assert_int_equal(
        run_words(&seen, WORDS("tcp6", "reuseaddr", "v6only", "bind=:::7002", "udp4", "reuseport",
                               "device=lo", "bind=127.0.0.1:7003", "tcp6", "bind=::1:7004")),
        0);
    assert_int_equal(seen.count, 3);
    assert_endpoint(&seen.calls[0].local, "[::]:7002");
    assert_true(seen.calls[0].reuseaddr);
    assert_true(seen.calls[0].v6only);
    assert_false(seen.calls[0].reuseport);
    assert_int_equal(seen.calls[1].protocol, IPPROTO_UDP);
    assert_false(seen.calls[1].reuseaddr);
    assert_true(seen.calls[1].reuseport);
    assert_string_equal(seen.calls[1].device, "lo");
    assert_false(seen.calls[2].v6only);
}

static void second_bind_is_seen(void **state)
{
    struct seen seen = {.count = 0};

    (void)state;
    assert_int_equal(run_words(&seen, WORDS("tcp4", "bind=127.0.0.1:7005", "bind=127.0.0.1:7006")),
                     EINVAL);
    assert_int_equal(seen.count, 2);
    assert_false(seen.calls[0].bound);
    assert_true(seen.calls[1].bound);
    assert_endpoint(&seen.calls[1].local, "127.0.0.1:7006");
}

static void connect_is_seen(void **state)
{
    struct seen seen = {.count = 0};

    (void)state;
    assert_int_equal(run_words(&seen, WORDS("tcp4", "bind=127.0.0.2:7007", "connect=127.0.0.1:9")),
                     ECONNREFUSED);
    assert_int_equal(seen.count, 2);
    assert_int_equal(seen.calls[1].op, TW_OP_CONNECT);
    assert_endpoint(&seen.calls[1].local, "127.0.0.2:7007");
    assert_endpoint(&seen.calls[1].remote, "127.0.0.1:9");
    seen.count = 0;
    assert_int_equal(run_words(&seen, WORDS("tcp4", "connect=127.0.0.1:9")), ECONNREFUSED);
    assert_int_equal(seen.count, 1);
    assert_true(is_empty(&seen.calls[0].local));
    assert_false(seen.calls[0].bound);
}

static void unix_sockets_are_seen(void **state)
{
    char folder[] = "/tmp/watch_test.XXXXXX", path[128], cd[64], full[128], word[160];
    struct seen seen = {.count = 0};

    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/x.sock", folder);
    snprintf(cd, sizeof(cd), "cd=%s", folder);
    assert_int_equal(run_words(&seen, WORDS(cd, "unix", "bind=x.sock", "listen", "unix",
                                            "connect=x.sock", "unix", "bind=@twt@x")),
                     0);
    assert_int_equal(seen.count, 4);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(seen.calls[i].protocol, 0);
        assert_true(is_empty(&seen.calls[i].local));
        assert_string_equal(seen.calls[i].path, path);
    }
    assert_false(seen.calls[0].bound);
    assert_true(seen.calls[1].bound);
    assert_string_equal(seen.calls[3].path, "@twt@x");
    /* A path that fills sun_path has no NUL. */
    memset(full, 'a', 108);
    memcpy(full, path, strlen(folder) + 1);
    full[108] = 0;
    snprintf(word, sizeof(word), "bind=%s", full);
    seen.count = 0;
    assert_int_equal(run_words(&seen, WORDS("unix", word)), 0);
    assert_string_equal(seen.calls[0].path, full);
    unlink(path);
    unlink(full);
    rmdir(folder);
}

static void other_calls_are_passed_by(void **state)
{
    struct seen seen = {.count = 0};

    (void)state;
    /* An IPv4 address that is too short, AF_UNSPEC, netlink, and a pointer to nowhere. */
    static const char script[] =
        "import socket, ctypes, os\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "s = socket.socket()\n"
        "def call(name, data, length):\n"
        "    r = getattr(libc, name)(s.fileno(), data, length)\n"
        "    return ctypes.get_errno() if r else 0\n"
        "assert call('bind', b'\\2\\0\\0\\0', 4) == 22\n"
        "assert call('connect', b'\\0' * 16, 16) == 0\n"
        "assert call('bind', None, 16) == 14\n"
        "n = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)\n"
        "n.bind((0, 0))\n"
        "assert libc.bind(999, b'\\2\\0' + b'\\0' * 14, 16) and ctypes.get_errno() == 9\n";
    struct watch_end end = run(&seen, WORDS("python3", "-c", script));

    if (WEXITSTATUS(end.status))
        print_message("%s\n", end.text);
    assert_int_equal(end.status, 0);
    assert_int_equal(end.unseen, 0);
    assert_int_equal(seen.count, 0);
    free(end.text);
}

static void descendants_are_seen(void **state)
{
    struct seen seen = {.count = 0};

    (void)state;
    assert_int_equal(run_words(&seen, WORDS("tcp4", "bind=127.0.0.1:0", "thread", "tcp4",
                                            "bind=127.0.0.1:7010")),
                     0);
    assert_int_equal(seen.count, 2);
    assert_endpoint(&seen.calls[1].local, "127.0.0.1:7010");
    assert_int_equal(seen.calls[1].pid, seen.calls[0].pid); /* the process, not the thread */
    assert_true(seen.calls[1].borrowed);
    seen.count = 0;
    assert_int_equal(
        run_words(&seen, WORDS("tcp4", "bind=127.0.0.1:0", "fork", "tcp4", "bind=127.0.0.1:7011")),
        0);
    assert_int_equal(seen.count, 2);
    assert_endpoint(&seen.calls[1].local, "127.0.0.1:7011");
    assert_int_not_equal(seen.calls[1].pid, seen.calls[0].pid);
}

static void static_program_is_seen(void **state)
{
    struct seen seen = {.count = 0};
    struct watch_end end;

    (void)state;
    if (access(watched_static, X_OK)) {
        print_message("skipped: there is no static program\n");
        skip();
    }
    end = run(&seen, WORDS(watched_static, "tcp4", "thread", "bind=127.0.0.1:7012"));
    free(end.text);
    assert_int_equal(end.status, 0);
    assert_int_equal(seen.count, 1);
    assert_endpoint(&seen.calls[0].local, "127.0.0.1:7012");
}

static void program_of_a_shell_is_seen(void **state)
{
    struct seen seen = {.count = 0};
    struct watch_end end;

    (void)state;
    end = run(&seen, WORDS("sh", "-c", "\"$0\" tcp4 bind=127.0.0.1:7013; exit 3", watched));
    free(end.text);
    assert_int_equal(end.status, 3 << 8);
    assert_int_equal(seen.count, 1);
}

static void hidden_process_goes_on_unseen(void **state)
{
    struct seen seen = {.count = 0};
    struct watch_end end;

    (void)state;
    end = run(&seen, WORDS(watched, "hide", "tcp4", "bind=127.0.0.1:7014", "listen"));
    free(end.text);
    assert_int_equal(end.status, 0);
    /* Who may trace everything may look into it all the same. */
    assert_int_equal(seen.count + end.unseen, 2);
    if (powerless)
        assert_int_equal(end.unseen, 2);
}

static void two_thousand_connects(void **state)
{
    struct seen seen = {.count = 0};

    (void)state;
    assert_int_equal(run_words(&seen, WORDS("connects=2000:127.0.0.1:9")), 0);
    assert_int_equal(seen.count, 2000);
    assert_endpoint(&seen.calls[0].remote, "127.0.0.1:9");
}

/* --- the kernel decides, after us --------------------------------------------------------------
 */

static void failures_are_the_kernels(void **state)
{
    struct tw_endpoint taken = at("127.0.0.1", 7020);
    struct seen seen = {.count = 0};
    int fd = listener(&taken);

    (void)state;
    assert_int_equal(run_words(&seen, WORDS("tcp4", "bind=127.0.0.1:7020")), EADDRINUSE);
    assert_int_equal(run_words(&seen, WORDS("tcp4", "bind=10.1.2.3:7020")), EADDRNOTAVAIL);
    assert_int_equal(run_words(&seen, WORDS("tcp4", "bind=127.0.0.1:80")), geteuid() ? EACCES : 0);
    assert_int_equal(seen.count, 3);
    close(fd);
}

static void take_port(const struct watch_call *call, void *argument)
{
    *(int *)argument = listener(&call->local);
}

static void before_comes_before(void **state)
{
    int fd = -1;
    struct seen seen = {.hook = take_port, .argument = &fd};

    (void)state;
    assert_int_equal(run_words(&seen, WORDS("tcp4", "bind=127.0.0.1:7021")), EADDRINUSE);
    assert_true(fd >= 0);
    close(fd);
    seen.hook = NULL;
    assert_int_equal(run_words(&seen, WORDS("tcp4", "bind=127.0.0.1:7021")), 0);
}

static void send_usr1(const struct watch_call *call, void *argument)
{
    (void)argument;
    assert_int_equal(kill(call->pid, SIGUSR1), 0);
    usleep(50000); /* for the handler to run, if it could */
}

static void signal_does_not_interrupt_a_call(void **state)
{
    struct seen seen = {.hook = send_usr1};
    unsigned major = 0, minor = 0;
    char handle[32], handled[32];
    struct utsname kernel;

    (void)state;
    assert_int_equal(uname(&kernel), 0);
    /* No number in a release is too large for it. NOLINTNEXTLINE(cert-err34-c) */
    assert_int_equal(sscanf(kernel.release, "%u.%u", &major, &minor), 2);
    if (major < 5 || (major == 5 && minor < 19)) {
        print_message("skipped: Linux %s lets signals interrupt, 5.19 does not\n", kernel.release);
        skip();
    }
    snprintf(handle, sizeof(handle), "handle=%d", SIGUSR1);
    snprintf(handled, sizeof(handled), "handled=%d", SIGUSR1);
    assert_int_equal(run_words(&seen, WORDS(handle, "tcp4", "bind=127.0.0.1:7022", handled)), 0);
    assert_int_equal(seen.count, 1);
}

static void kill_it(const struct watch_call *call, void *argument)
{
    (void)argument;
    assert_int_equal(kill(call->pid, SIGKILL), 0);
}

static void killed_while_it_waits(void **state)
{
    struct seen seen = {.hook = kill_it};
    struct watch_end end;

    (void)state;
    end = run(&seen, WORDS(watched, "tcp4", "bind=127.0.0.1:7023"));
    free(end.text);
    assert_true(WIFSIGNALED(end.status));
    assert_int_equal(WTERMSIG(end.status), SIGKILL);
}

/* --- where it may not be watched ---------------------------------------------------------------
 */

static void forbid(int number)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)number, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const struct sock_fprog program = {.len = sizeof(code) / sizeof(code[0]), .filter = code};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
        syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program))
        _exit(90);
}

/* Watches in a child of its own that may not use this system call. Returns what watch_run() does,
 * with the opposite sign; 100 when the call came without its options. */
static int watch_without(int number)
{
    char *argv[] = {(char *)watched, "tcp4", "reuseaddr", "bind=127.0.0.1:7060", NULL};
    pid_t pid = fork();
    int status;

    assert_true(pid >= 0);
    if (pid == 0) {
        struct seen seen = {.count = 0};
        struct tw_error error = {0};
        struct watch_end end;
        int rc;

        forbid(number);
        rc = watch_run(argv, note, &seen, &end, &error);
        free(end.text);
        if (rc)
            _exit(error.code == -rc && error.text[0] ? -rc : 91);
        if (end.status || end.unseen || seen.count != 1 || seen.calls[0].protocol != IPPROTO_TCP ||
            tw_endpoint_port(&seen.calls[0].local) != 7060)
            _exit(92);
        _exit(seen.calls[0].borrowed || seen.calls[0].reuseaddr ? 93 : 100);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void sandbox_is_told(void **state)
{
    (void)state;
    assert_int_equal(watch_without(SYS_seccomp), EPERM);
}

/* As in Docker. */
static void without_the_descriptor(void **state)
{
    (void)state;
    assert_int_equal(watch_without(SYS_pidfd_getfd), 100);
}

/* A watched watcher. */
static void second_watcher_is_refused(void **state)
{
    struct seen seen = {.count = 0};
    struct watch_end end = run(&seen, WORDS("/proc/self/exe", "nested"));

    (void)state;
    assert_int_equal(end.status, EBUSY << 8);
    free(end.text);
}

/* --- main --- */

static int run_group(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bind_and_listen_are_seen),
        cmocka_unit_test(options_are_seen),
        cmocka_unit_test(second_bind_is_seen),
        cmocka_unit_test(connect_is_seen),
        cmocka_unit_test(unix_sockets_are_seen),
        cmocka_unit_test(other_calls_are_passed_by),
        cmocka_unit_test(descendants_are_seen),
        cmocka_unit_test(static_program_is_seen),
        cmocka_unit_test(program_of_a_shell_is_seen),
        cmocka_unit_test(hidden_process_goes_on_unseen),
        cmocka_unit_test(two_thousand_connects),
        cmocka_unit_test(failures_are_the_kernels),
        cmocka_unit_test(before_comes_before),
        cmocka_unit_test(signal_does_not_interrupt_a_call),
        cmocka_unit_test(killed_while_it_waits),
        cmocka_unit_test(sandbox_is_told),
        cmocka_unit_test(without_the_descriptor),
        cmocka_unit_test(second_watcher_is_refused),
    };

    return cmocka_run_group_tests_name("watch_call", tests, NULL, NULL);
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "nested") == 0) {
        char *command[] = {"true", NULL};
        struct watch_end end;

        return -watch_run(command, NULL, NULL, &end, NULL);
    }
    return watch_tests(argc, argv, run_group);
}
