/*
 * Watching programs: that they run as without us, and what is left of them at the end.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>

#include "watch_test.h"

#define KEEP_BYTES 65536

/* --- the end -----------------------------------------------------------------------------------
 */

static void status_is_kept(void **state)
{
    struct seen seen = {.count = 0};
    struct watch_end end;

    (void)state;
    end = run(&seen, WORDS("sh", "-c", "exit 42"));
    assert_int_equal(end.status, 42 << 8);
    assert_string_equal(end.text, "");
    free(end.text);
    end = run(&seen, WORDS("sh", "-c", "kill -USR2 $$"));
    assert_true(WIFSIGNALED(end.status));
    assert_int_equal(WTERMSIG(end.status), SIGUSR2);
    free(end.text);
}

static void check_exec(const char *name, int code, int exit_code, const char *words)
{
    struct seen seen = {.count = 0};
    struct tw_error error = {0};
    struct watch_end end;
    FILE *file = tmpfile();

    assert_non_null(file);
    assert_int_equal(run_into(file, WORDS(name), &seen, &end, &error), -code);
    assert_int_equal(end.status, exit_code << 8);
    assert_null(end.text);
    assert_int_equal(error.code, code);
    assert_string_equal(error.text, words);
    assert_int_equal(ftell(file), 0);
    fclose(file);
}

static void what_cannot_be_executed(void **state)
{
    (void)state;
    check_exec("tw-no-such-program", ENOENT, 127, "tw-no-such-program: command not found");
    check_exec("/tmp/tw/no/such", ENOENT, 127, "/tmp/tw/no/such: No such file or directory");
    check_exec("/etc/passwd", EACCES, 126, "/etc/passwd: Permission denied");
    check_exec("/tmp", EACCES, 126, "/tmp: Permission denied");
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
}

static void say_called(const struct watch_call *call, void *argument)
{
    (void)call;
    (void)argument;
    assert_int_equal(write(STDERR_FILENO, "called\n", 7), 7);
}

static void stderr_is_passed_on_in_order(void **state)
{
    static const char expected[] = "before\ncalled\nafter\n";
    struct seen seen = {.hook = say_called};
    struct tw_error error = {0};
    struct watch_end end;
    FILE *file = tmpfile();
    char text[64];

    (void)state;
    assert_non_null(file);
    assert_int_equal(
        run_into(file,
                 WORDS(watched, "tcp4", "error=before\n", "bind=127.0.0.1:7030", "error=after\n"),
                 &seen, &end, &error),
        0);
    assert_int_equal(pread(fileno(file), text, sizeof(text), 0), strlen(expected));
    assert_memory_equal(text, expected, strlen(expected));
    assert_string_equal(end.text, "before\nafter\n");
    assert_int_equal(end.text_len, strlen(end.text));
    free(end.text);
    fclose(file);
}

/* 3,000 numbered lines of 100 bytes: all are passed on, the last 64 KiB are kept. */
static void last_of_stderr_is_kept(void **state)
{
    enum { LINES = 3000, BYTES = LINES * 100 };
    struct seen seen = {.count = 0};
    struct tw_error error = {0};
    struct watch_end end;
    FILE *file = tmpfile();
    char *text = malloc(BYTES + 1), line[101];

    (void)state;
    assert_non_null(file);
    assert_non_null(text);
    assert_int_equal(run_into(file, WORDS(watched, "noise=300000"), &seen, &end, &error), 0);
    assert_int_equal(end.status, 0);
    assert_int_equal(pread(fileno(file), text, BYTES + 1, 0), BYTES);
    for (int i = 0; i < LINES; i++) {
        snprintf(line, sizeof(line), "%099d\n", i);
        assert_memory_equal(text + 100 * i, line, 100);
    }
    assert_int_equal(end.text_len, KEEP_BYTES);
    assert_memory_equal(end.text, text + BYTES - KEEP_BYTES, KEEP_BYTES);
    assert_int_equal(end.text[KEEP_BYTES], 0);
    free(end.text);
    free(text);
    fclose(file);
}

static void stdin_and_stdout_are_ours(void **state)
{
    int in[2], out[2], saved_in = dup(STDIN_FILENO), saved_out = dup(STDOUT_FILENO);
    struct seen seen = {.count = 0};
    struct watch_end end;
    char text[16];

    (void)state;
    fflush(stdout);
    assert_int_equal(pipe2(in, O_CLOEXEC), 0);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    assert_int_equal(write(in[1], "hello", 5), 5);
    close(in[1]);
    dup2(in[0], STDIN_FILENO);
    dup2(out[1], STDOUT_FILENO);
    end = run(&seen, WORDS("cat"));
    dup2(saved_in, STDIN_FILENO);
    dup2(saved_out, STDOUT_FILENO);
    close(out[1]);
    assert_int_equal(read(out[0], text, sizeof(text)), 5);
    assert_int_equal(read(out[0], text + 5, 1), 0); /* nobody else has it open */
    assert_memory_equal(text, "hello", 5);
    assert_int_equal(end.status, 0);
    free(end.text);
    close(in[0]);
    close(out[0]);
    close(saved_in);
    close(saved_out);
}

/* --- signals -----------------------------------------------------------------------------------
 */

static void signal_us(const struct watch_call *call, void *argument)
{
    (void)call;
    assert_int_equal(kill(getpid(), *(int *)argument), 0);
}

static void signals_are_passed_on(void **state)
{
    static const int signals[] = {SIGTERM, SIGHUP, SIGINT, SIGQUIT};
    sigset_t before, after;

    (void)state;
    sigprocmask(SIG_SETMASK, NULL, &before);
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
        int signo = signals[i];
        struct seen seen = {.hook = signal_us, .argument = &signo};
        char block[32], await[32];

        snprintf(block, sizeof(block), "block=%d", signo);
        snprintf(await, sizeof(await), "await=%d", signo);
        assert_int_equal(run_words(&seen, WORDS(block, "tcp4", "bind=127.0.0.1:7040", await)),
                         100 + signo);
    }
    sigprocmask(SIG_SETMASK, NULL, &after);
    for (int i = 1; i < SIGRTMIN; i++)
        assert_int_equal(sigismember(&before, i), sigismember(&after, i));
}

/* Two lines of /proc/self/status. */
static void own_signals(char out[256])
{
    FILE *status = fopen("/proc/self/status", "re");
    char line[128];
    size_t len = 0;

    assert_non_null(status);
    out[0] = 0;
    while (fgets(line, sizeof(line), status))
        if (strncmp(line, "SigBlk", 6) == 0 || strncmp(line, "SigIgn", 6) == 0)
            len += (size_t)snprintf(out + len, 256 - len, "%s", line);
    fclose(status);
}

/* The program's mask and dispositions are those that we had. */
static void program_inherits_signals(void **state)
{
    const struct sigaction ignore = {.sa_handler = SIG_IGN};
    struct sigaction former;
    struct seen seen = {.count = 0};
    struct watch_end end;
    char own[256];

    (void)state;
    sigaction(SIGCHLD, &ignore, NULL);
    own_signals(own);
    /* No shell: those have their own mind about SIGCHLD. */
    end = run(&seen,
              WORDS("awk", "/^Sig(Blk|Ign)/ { print > \"/dev/stderr\" }", "/proc/self/status"));
    assert_int_equal(end.status, 0); /* known although SIGCHLD was ignored */
    assert_string_equal(end.text, own);
    free(end.text);
    sigaction(SIGCHLD, NULL, &former);
    assert_ptr_equal(former.sa_handler, SIG_IGN);
    signal(SIGCHLD, SIG_DFL);
}

static void press_ctrl_c(const struct watch_call *call, void *argument)
{
    (void)call;
    if (write(*(int *)argument, "\003", 1) != 1)
        abort();
}

/* In a session of its own whose terminal is a pty. Returns the exit code. */
static int watch_on_terminal(int master)
{
    const char *slave = ptsname(master);
    struct seen seen = {.hook = press_ctrl_c, .argument = &master};
    char block[32], await[32];
    char *argv[] = {(char *)watched, block, "tcp4", "bind=127.0.0.1:7041", await, NULL};
    struct watch_end end;

    snprintf(block, sizeof(block), "block=%d", SIGINT);
    snprintf(await, sizeof(await), "await=%d", SIGINT);
    if (setsid() < 0 || !slave || open(slave, O_RDWR) < 0)
        return 1;
    if (watch_run(argv, note, &seen, &end, NULL))
        return 2;
    free(end.text);
    return WIFEXITED(end.status) ? WEXITSTATUS(end.status) : 3;
}

static void we_outlive_ctrl_c(void **state)
{
    int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC), status;
    pid_t pid;

    (void)state;
    if (master < 0 || grantpt(master) || unlockpt(master)) {
        print_message("skipped: no pseudo-terminal: %s\n", strerror(errno));
        skip();
    }
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(watch_on_terminal(master));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, (100 + SIGINT) << 8);
    close(master);
}

/* --- what is left behind -----------------------------------------------------------------------
 */

static int await_byte(int fd)
{
    struct pollfd poller = {.fd = fd, .events = POLLIN};
    unsigned char byte;

    assert_int_equal(poll(&poller, 1, 20000), 1);
    return read(fd, &byte, 1) == 1 ? byte : -1;
}

/* Runs a daemon whose stderr ends in this pipe, and returns when watch_run() does. */
static void leave_daemon(const int errors[2], char *const argv[])
{
    int saved = dup(STDERR_FILENO), rc;
    struct seen seen = {.count = 0};
    struct watch_end end;

    dup2(errors[1], STDERR_FILENO);
    rc = watch_run(argv, note, &seen, &end, NULL);
    dup2(saved, STDERR_FILENO);
    close(saved);
    close(errors[1]);
    assert_int_equal(rc, 0);
    assert_int_equal(end.status, 0);
    assert_int_equal(seen.count, 0);
    free(end.text);
}

/* Its first words come out after watch_run() has returned; when it closes its stderr, so does the
 * keeper; and at last the kernel must still bind for it. */
static void daemon_can_bind_later(void **state)
{
    int speak[2], go[2], result[2], errors[2], children = 0, status;
    char wait[32], wait_again[32], tell[32], text[8];
    char *argv[] = {(char *)watched,       "daemon",  tell,       wait,
                    "error=late\n",        "close=2", wait_again, "tcp4",
                    "bind=127.0.0.1:7050", NULL};

    (void)state;
    assert_int_equal(pipe(speak), 0);
    assert_int_equal(pipe(go), 0);
    assert_int_equal(pipe(result), 0);
    assert_int_equal(pipe2(errors, O_CLOEXEC), 0);
    /* The daemon must not keep the other ends open. */
    assert_int_equal(fcntl(speak[1], F_SETFD, FD_CLOEXEC), 0);
    assert_int_equal(fcntl(go[1], F_SETFD, FD_CLOEXEC), 0);
    snprintf(wait, sizeof(wait), "wait=%d", speak[0]);
    snprintf(wait_again, sizeof(wait_again), "wait=%d", go[0]);
    snprintf(tell, sizeof(tell), "tell=%d", result[1]);
    leave_daemon(errors, argv);
    close(result[1]);
    close(speak[1]);
    for (const char *expected = "late\n"; *expected; expected++)
        assert_int_equal(await_byte(errors[0]), *expected);
    assert_int_equal(await_byte(errors[0]), -1);
    close(go[1]);
    assert_int_equal(await_byte(result[0]), 0);
    /* The keeper, our child as the orphan is, ends with it and holds no file of ours until then. */
    assert_int_equal(read(result[0], text, 1), 0);
    while (waitpid(-1, &status, 0) > 0) {
        assert_int_equal(status, 0);
        children++;
    }
    assert_int_equal(children, 2);
    close(errors[0]);
    close(result[0]);
    close(speak[0]);
    close(go[0]);
}

static void nobody_is_left_behind(void **state)
{
    struct seen seen = {.count = 0};

    (void)state;
    assert_int_equal(run_words(&seen, WORDS("tcp4", "bind=127.0.0.1:7051")), 0);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
}

/* --- main --- */

static int run_group(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(status_is_kept),
        cmocka_unit_test(what_cannot_be_executed),
        cmocka_unit_test(stderr_is_passed_on_in_order),
        cmocka_unit_test(last_of_stderr_is_kept),
        cmocka_unit_test(stdin_and_stdout_are_ours),
        cmocka_unit_test(signals_are_passed_on),
        cmocka_unit_test(program_inherits_signals),
        cmocka_unit_test(we_outlive_ctrl_c),
        cmocka_unit_test(daemon_can_bind_later),
        cmocka_unit_test(nobody_is_left_behind),
    };

    return cmocka_run_group_tests_name("watch_run", tests, NULL, NULL);
}

int main(int argc, char **argv)
{
    return watch_tests(argc, argv, run_group);
}
