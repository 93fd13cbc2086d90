/*
 * The journal against kill -9: apply and undo run in a child that is killed before its first,
 * second, third .. system call, until it comes to its end. After each an undo must give back every
 * byte. And against a loss of power: the order in which it writes, syncs and renames. Exit code 77:
 * there can be no private network here. With the argument "user": in a user namespace.
 */
#include "journal_kit.h"

#include <dirent.h>
#include <limits.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

/* --- what is run --- */

static struct changes wide, on_top, refused;
static char list_before[VALUE_MAX], list_after[VALUE_MAX];

/* Every other port from `first` on: two pages and more, so that the kernel takes it in pieces. */
static void make_list(char out[VALUE_MAX], unsigned first)
{
    size_t used = 0;

    for (unsigned i = 0; i < 1700; i++)
        used += (size_t)snprintf(out + used, VALUE_MAX - used, "%s%u", i ? "," : "", first + 2 * i);
    assert_true(used > 8192 && used + 1 < VALUE_MAX);
}

static int make_changes(void **state)
{
    (void)state;
    make_list(list_before, 20001);
    make_list(list_after, 10000);
    change(&wide, RESERVED, list_after);
    change(&wide, RANGE, "5000 60999");
    change(&wide, REUSE, "1");
    change(&on_top, FIN, "30");
    change(&on_top, REUSE, "0");
    change(&on_top, RESERVED, "8080");
    change(&refused, RANGE, "6000 60999");
    change(&refused, RESERVED, "9090");
    change(&refused, REUSE, "7");
    return 0;
}

static int free_changes(void **state)
{
    (void)state;
    changes_fini(&wide);
    changes_fini(&on_top);
    changes_fini(&refused);
    return 0;
}

static int apply_wide(void)
{
    return journal_apply(&host, &wide, "wide\n", NULL);
}

static int apply_on_top(void)
{
    return journal_apply(&host, &on_top, "on top\n", NULL);
}

static int apply_refused(void)
{
    return journal_apply(&host, &refused, "refused\n", NULL) == -EINVAL ? 0 : -EIO;
}

static int undo(void)
{
    struct journal_report report;
    int rc = journal_undo(&host, false, &report, NULL);

    journal_report_fini(&report);
    return rc;
}

/* --- the child, system call by system call --- */

/* One line for each call that touches a file: "write PATH", "rename PATH" (the new one) .. */
struct log {
    char text[16384];
    size_t used;
};

static void log_call(struct log *log, const char *what, const char *path)
{
    log->used += (size_t)snprintf(log->text + log->used, sizeof(log->text) - log->used, "%s %s\n",
                                  what, path);
    assert_true(log->used < sizeof(log->text));
}

static void path_of_descriptor(pid_t pid, uint64_t fd, char out[PATH_MAX])
{
    char link[64];
    ssize_t len;

    snprintf(link, sizeof(link), "/proc/%d/fd/%d", (int)pid, (int)fd);
    len = readlink(link, out, PATH_MAX - 1);
    out[len < 0 ? 0 : len] = 0;
}

/* A name in the child's memory, below a folder that it has open. */
static void path_of_name(pid_t pid, uint64_t folder, uint64_t name, char out[PATH_MAX])
{
    char memory[64];
    size_t used;
    ssize_t len;
    int fd;

    path_of_descriptor(pid, folder, out);
    used = strlen(out);
    out[used++] = '/';
    snprintf(memory, sizeof(memory), "/proc/%d/mem", (int)pid);
    fd = open(memory, O_RDONLY | O_CLOEXEC);
    len = pread(fd, out + used, PATH_MAX - used - 1, (off_t)name);
    close(fd);
    out[used + (size_t)(len < 0 ? 0 : len)] = 0;
}

static void log_entry(struct log *log, pid_t pid, uint64_t call, const uint64_t *args)
{
    char path[PATH_MAX];

    if (call == SYS_write || call == SYS_fsync) {
        path_of_descriptor(pid, args[0], path);
        log_call(log, call == SYS_write ? "write" : "fsync", path);
    } else if (call == SYS_renameat2
#ifdef SYS_renameat
               || call == SYS_renameat
#endif
    ) {
        path_of_name(pid, args[2], args[3], path);
        log_call(log, "rename", path);
    } else if (call == SYS_unlinkat) {
        path_of_name(pid, args[0], args[1], path);
        log_call(log, "unlink", path);
    }
}

static pid_t start_traced(int (*run)(void))
{
    pid_t pid = fork();
    void *options;
    int status;

    assert_true(pid >= 0);
    if (pid == 0) {
        if (ptrace(PTRACE_TRACEME, 0, 0, 0) || raise(SIGSTOP))
            _exit(EXIT_SKIP);
        _exit(run() ? 1 : 0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    need(WIFSTOPPED(status), "no process may be traced here");
    /* NOLINTNEXTLINE(performance-no-int-to-ptr): ptrace() takes its options so */
    options = (void *)(uintptr_t)(PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL);
    assert_int_equal(ptrace(PTRACE_SETOPTIONS, pid, 0, options), 0);
    return pid;
}

/* Runs it, kills it before its n-th system call (0: never). Whether it came to its end. */
static bool run_until(int (*run)(void), unsigned n, struct log *log)
{
    pid_t pid = start_traced(run);
    struct __ptrace_syscall_info info;
    unsigned calls = 0;
    int status;

    for (;;) {
        /* It is not there to go on once it was killed. */
        if (ptrace(PTRACE_SYSCALL, pid, 0, 0))
            assert_int_equal(errno, ESRCH);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (!WIFSTOPPED(status))
            break;
        if (WSTOPSIG(status) != (SIGTRAP | 0x80))
            continue;
        assert_true(ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof(info), &info) > 0);
        if (info.op != PTRACE_SYSCALL_INFO_ENTRY)
            continue;
        if (log)
            log_entry(log, pid, info.entry.nr, info.entry.args);
        if (++calls == n)
            kill(pid, SIGKILL);
    }
    if (WIFSIGNALED(status)) {
        assert_int_equal(WTERMSIG(status), SIGKILL);
        return false;
    }
    assert_int_equal(WEXITSTATUS(status), 0);
    return true;
}

/* --- kill it everywhere --- */

static const char odd_file[] = "# kept\xff\0before % 100%\n";

static void begin(bool kept)
{
    remove_all();
    set_value(RANGE, "32768 60999");
    set_value(RESERVED, list_before);
    set_value(REUSE, "2");
    set_value(FIN, "60");
    if (kept) {
        int fd;

        assert_int_equal(mkdir(KEEP_FOLDER, 0755), 0);
        fd = open(JOURNAL_KEEP_FILE, O_WRONLY | O_CREAT | O_CLOEXEC, 0640);
        assert_int_equal(write(fd, odd_file, sizeof(odd_file)), sizeof(odd_file));
        assert_int_equal(fchmod(fd, 0640), 0);
        close(fd);
    }
}

static const char *unexpected_file(const char *folder)
{
    static char name[NAME_MAX + 1];
    DIR *dir = opendir(folder);
    const struct dirent *entry;

    name[0] = 0;
    while (dir && (entry = readdir(dir)))
        if (entry->d_name[0] != '.' && strcmp(entry->d_name, "lock") != 0 &&
            strcmp(entry->d_name, strrchr(JOURNAL_KEEP_FILE, '/') + 1) != 0)
            snprintf(name, sizeof(name), "%s", entry->d_name);
    if (dir)
        closedir(dir);
    return name[0] ? name : NULL;
}

static void assert_undone(const struct picture *before, const char *what, unsigned n)
{
    struct picture now = picture();
    const char *differs = difference(before, &now);

    if (differs)
        fail_msg("%s killed before call %u: not as before: %s", what, n, differs);
    /* Neither a journal nor what was staged. */
    for (size_t i = 0; i < 2; i++) {
        const char *left = unexpected_file(i ? KEEP_FOLDER : STATE_FOLDER);

        if (left)
            fail_msg("%s killed before call %u: %s is left behind", what, n, left);
    }
}

static void undo_now(const char *what, unsigned n)
{
    struct journal_report report;
    struct tw_error error = {0};
    int rc = journal_undo(&host, false, &report, &error);

    if (rc && rc != -ENOENT)
        fail_msg("%s killed before call %u: undo: %s", what, n, error.text);
    journal_report_fini(&report);
}

/* `prepare` runs whole, then `run` is killed before each of its calls; after that `again` may run,
 * and an undo at last. */
static unsigned kill_everywhere(const char *what, bool kept, int (*prepare)(void), int (*run)(void),
                                int (*again)(void))
{
    static struct picture before;
    bool ended = false;
    unsigned n = 0;

    while (!ended) {
        begin(kept);
        before = picture();
        if (prepare)
            assert_int_equal(prepare(), 0);
        ended = run_until(run, ++n, NULL);
        if (again)
            assert_int_equal(again(), 0);
        undo_now(what, n);
        assert_undone(&before, what, n);
    }
    print_message("%s%s: killed before each of %u calls\n", what, kept ? ", with a kept file" : "",
                  n - 1);
    return n - 1;
}

static void both_ways(const char *what, int (*prepare)(void), int (*run)(void), int (*again)(void))
{
    assert_true(kill_everywhere(what, false, prepare, run, again) > 20);
    assert_true(kill_everywhere(what, true, prepare, run, again) > 20);
}

static int wide_and_on_top(void)
{
    return apply_wide() || apply_on_top();
}

static void apply_is_killed(void **state)
{
    (void)state;
    both_ways("apply", NULL, apply_wide, NULL);
}

static void apply_is_killed_and_run_again(void **state)
{
    (void)state;
    both_ways("apply, then again", NULL, apply_wide, apply_wide);
    both_ways("apply, then another", NULL, apply_wide, apply_on_top);
}

static void second_apply_is_killed(void **state)
{
    (void)state;
    both_ways("second apply", apply_wide, apply_on_top, NULL);
    both_ways("second apply, then again", apply_wide, apply_on_top, apply_on_top);
}

static void refused_apply_is_killed(void **state)
{
    (void)state;
    both_ways("refused apply", NULL, apply_refused, NULL);
    both_ways("refused second apply", apply_wide, apply_refused, NULL);
}

static void undo_is_killed(void **state)
{
    (void)state;
    both_ways("undo", apply_wide, undo, NULL);
    both_ways("undo of two", wide_and_on_top, undo, NULL);
}

static void undo_is_killed_and_applied_again(void **state)
{
    (void)state;
    both_ways("undo, then another apply", apply_wide, undo, apply_on_top);
}

/* --- the order on the disk --- */

/* The first line from `at` on that begins so; what was not there fails. */
static const char *find_line(const char *at, const char *line)
{
    const char *found = strstr(at, line);

    if (!found)
        fail_msg("'%s' does not come after:\n%s", line, at);
    return found;
}

static void apply_is_safe_from_power_loss(void **state)
{
    static struct log log;
    const char *at;

    (void)state;
    begin(true);
    log.used = 0;
    assert_true(run_until(apply_wide, 0, &log));
    at = find_line(log.text, "write " JOURNAL ".new\n");
    at = find_line(at, "fsync " JOURNAL ".new\n");
    at = find_line(at, "rename " JOURNAL "\n");
    at = find_line(at, "fsync " STATE_FOLDER "\n");
    /* The very first write to a setting comes later than all of these. */
    assert_true(find_line(log.text, "write /proc/sys/") > at);
    at = find_line(at, "write /proc/sys/net/ipv4/tcp_tw_reuse\n");
    /* The kept file was on the disk under its other name before, so that it has room. */
    assert_true(find_line(log.text, "fsync " JOURNAL_KEEP_FILE ".new\n") <
                find_line(log.text, "write /proc/sys/"));
    at = find_line(at, "rename " JOURNAL_KEEP_FILE "\n");
    find_line(at, "fsync " KEEP_FOLDER "\n");
    undo_now("apply", 0);
}

static void undo_is_safe_from_power_loss(void **state)
{
    static struct log log;
    const char *at;

    (void)state;
    begin(true);
    assert_int_equal(apply_wide(), 0);
    log.used = 0;
    assert_true(run_until(undo, 0, &log));
    at = find_line(log.text, "fsync " JOURNAL_KEEP_FILE ".new\n");
    at = find_line(at, "rename " JOURNAL_KEEP_FILE "\n");
    at = find_line(at, "fsync " KEEP_FOLDER "\n");
    at = find_line(at, "write /proc/sys/net/ipv4/tcp_tw_reuse\n");
    at = find_line(at, "write /proc/sys/net/ipv4/ip_local_port_range\n");
    at = find_line(at, "write /proc/sys/net/ipv4/ip_local_reserved_ports\n");
    at = find_line(at, "unlink " JOURNAL "\n");
    assert_true(find_line(log.text, "unlink " JOURNAL "\n") == at);
    find_line(at, "fsync " STATE_FOLDER "\n");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(apply_is_killed),
        cmocka_unit_test(apply_is_killed_and_run_again),
        cmocka_unit_test(second_apply_is_killed),
        cmocka_unit_test(refused_apply_is_killed),
        cmocka_unit_test(undo_is_killed),
        cmocka_unit_test(undo_is_killed_and_applied_again),
        cmocka_unit_test(apply_is_safe_from_power_loss),
        cmocka_unit_test(undo_is_safe_from_power_loss),
    };
    int rc = enter_private_world(argc > 1 && strcmp(argv[1], "user") == 0);

    return rc ? rc : cmocka_run_group_tests(tests, make_changes, free_changes);
}
