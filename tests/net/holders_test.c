/*
 * Who has a socket open, on real processes: children that are made here, in namespaces of their
 * own. Exit code 77: no network namespace may be made here.
 */
#include <grp.h>
#include <linux/io_uring.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>

#include "private.h"
#include "tidewait/holders.h"
#include "tidewait/namespaces.h"
#include "tidewait/process.h"

#define NOBODY      65534
#define MANY        15000
#define MANY_COPIES 5

/* In a child cmocka cannot be used: a failure ends it with 1, which the parent asserts on. */
#define CHECK(condition)                                                                         \
    do {                                                                                         \
        if (!(condition)) {                                                                      \
            fprintf(stderr, "%s:%d: %s: %s\n", __func__, __LINE__, #condition, strerror(errno)); \
            _exit(1);                                                                            \
        }                                                                                        \
    } while (0)

static const enum tw_holders_method methods[] = {TW_HOLDERS_BPF, TW_HOLDERS_PROC};

/* --- children ------------------------------------------------------------------------------------
 */

static int new_socket(void)
{
    return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static uint32_t inode_of(int fd)
{
    struct stat st;

    return fstat(fd, &st) ? 0 : (uint32_t)st.st_ino;
}

struct child {
    int pid;
    uint32_t inode; /* what it reported */
    int fd;
};

/* Tells the parent of a socket and sleeps until it is killed. */
static void report_and_sleep(int pipe, int fd)
{
    struct child report = {.pid = getpid(), .inode = fd < 0 ? 0 : inode_of(fd), .fd = fd};

    CHECK(write(pipe, &report, sizeof(report)) == sizeof(report));
    for (;;)
        pause();
}

/* Runs `life` in a child, until it reports. */
static struct child start(void (*life)(int pipe, int argument), int argument)
{
    struct child child = {0};
    int ends[2], pid;

    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        life(ends[1], argument);
        _exit(0);
    }
    close(ends[1]);
    assert_int_equal(read(ends[0], &child, sizeof(child)), sizeof(child));
    close(ends[0]);
    child.pid = pid;
    return child;
}

static void stop(const struct child *child)
{
    assert_int_equal(kill(child->pid, SIGKILL), 0);
    assert_int_equal(waitpid(child->pid, NULL, 0), child->pid);
}

/* Runs `life` in a child to its end, which must be good. */
static void run(void (*life)(int argument), int argument)
{
    int pid = fork(), status;

    assert_true(pid >= 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        life(argument);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SKIP)
        skip();
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* Root of a user namespace has a map of its own; that of the host has all users. */
static bool is_root_of_host(void)
{
    unsigned long first = 1, outside = 1, count = 0;
    char map[128] = "", *rest;
    int fd = open("/proc/self/uid_map", O_RDONLY | O_CLOEXEC);

    if (fd >= 0 && read(fd, map, sizeof(map) - 1) > 0) {
        first = strtoul(map, &rest, 10);
        outside = strtoul(rest, &rest, 10);
        count = strtoul(rest, NULL, 10);
    }
    close(fd);
    return geteuid() == 0 && first == 0 && outside == 0 && count > NOBODY;
}

static void need_root(void)
{
    if (is_root_of_host())
        return;
    printf("skipped: needs root of the whole host\n");
    skip();
}

/* --- asking --------------------------------------------------------------------------------------
 */

/* False, with the reason printed, when BPF cannot be used here. */
static bool usable(enum tw_holders_method method)
{
    struct tw_holders holders;
    struct tw_error error = {0};
    uint32_t none = 1;

    if (tw_holders_find(&none, 1, method, &holders, &error)) {
        printf("left out: %s\n", error.text);
        return false;
    }
    tw_holders_fini(&holders);
    return true;
}

static struct tw_holders ask(const uint32_t *inodes, size_t count, enum tw_holders_method method)
{
    struct tw_holders holders;
    struct tw_error error = {0};

    if (tw_holders_find(inodes, count, method, &holders, &error))
        fail_msg("%s", error.text);
    assert_int_equal(holders.method, method);
    return holders;
}

static bool has(const struct tw_holders *holders, uint32_t inode, int pid, int fd)
{
    size_t count;
    const struct tw_holding *first = tw_holders_of(holders, inode, &count);

    for (size_t i = 0; i < count; i++)
        if (first[i].pid == pid && (fd < 0 || first[i].fd == fd))
            return true;
    return false;
}

static void hold(int pipe, int fd)
{
    report_and_sleep(pipe, fd < 0 ? new_socket() : fd);
}

/* --- tw_holders_find()
 * ----------------------------------------------------------------------------- */

static void all_holders_are_found(void **state)
{
    int own = new_socket(), other = new_socket(), copy = fcntl(own, F_DUPFD_CLOEXEC, 50);
    uint32_t inodes[] = {inode_of(other), inode_of(own)};
    struct child first = start(hold, own), second = start(hold, own);

    (void)state;
    close(other);
    for (size_t i = 0; i < 2; i++) {
        struct tw_holders holders;
        size_t count;

        if (!usable(methods[i]))
            continue;
        holders = ask(inodes, 2, methods[i]);
        tw_holders_of(&holders, inodes[1], &count);
        assert_int_equal(count, 6); /* this process and two children, the copy in each */
        assert_true(has(&holders, inodes[1], getpid(), own));
        assert_true(has(&holders, inodes[1], getpid(), copy));
        assert_true(has(&holders, inodes[1], first.pid, own));
        assert_true(has(&holders, inodes[1], second.pid, copy));
        assert_true(has(&holders, inodes[0], first.pid, other));
        assert_false(has(&holders, inodes[0], getpid(), -1));
        assert_int_equal(holders.count, 8);
        for (size_t j = 1; j < holders.count; j++)
            assert_true(holders.items[j - 1].inode <= holders.items[j].inode);
        tw_holders_fini(&holders);
        assert_null(holders.items);
    }
    stop(&first);
    stop(&second);
    close(own);
    close(copy);
}

static void socket_of_nobody_has_no_holder(void **state)
{
    int fd = new_socket();
    uint32_t inode = inode_of(fd);
    size_t count = 1;

    (void)state;
    close(fd);
    for (size_t i = 0; i < 2; i++) {
        struct tw_holders holders;

        if (!usable(methods[i]))
            continue;
        holders = ask(&inode, 1, methods[i]);
        assert_null(tw_holders_of(&holders, inode, &count));
        assert_int_equal(count, 0);
        tw_holders_fini(&holders);
    }
}

/* A file that is no socket but looks like one by its mode, and one whose inode is the same. */
static void name_of_a_unix_socket_is_no_socket(void **state)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), name;
    uint32_t inode;

    (void)state;
    snprintf(address.sun_path, sizeof(address.sun_path), "/tmp/tidewait-holders-%d", getpid());
    assert_int_equal(bind(fd, (struct sockaddr *)(void *)&address, sizeof(address)), 0);
    name = open(address.sun_path, O_PATH | O_CLOEXEC);
    unlink(address.sun_path);
    assert_true(name >= 0);
    inode = inode_of(name);
    for (size_t i = 0; i < 2; i++) {
        struct tw_holders holders;

        if (!usable(methods[i]))
            continue;
        holders = ask(&inode, 1, methods[i]);
        assert_false(has(&holders, inode, getpid(), name));
        tw_holders_fini(&holders);
    }
    close(name);
    close(fd);
}

static void hold_many(int pipe, int count)
{
    struct rlimit limit;
    int fd = -1;

    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    limit.rlim_cur = limit.rlim_max;
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    for (int i = 0; i < count; i++)
        CHECK((fd = new_socket()) >= 0);
    for (int i = 1; i < MANY_COPIES; i++) {
        int pid = fork();

        CHECK(pid >= 0);
        if (pid == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            for (;;)
                pause();
        }
    }
    report_and_sleep(pipe, fd);
}

/* 75,000 descriptors: more than one process has in a buffer of the kernel, and more than the first
 * run of the BPF program has room for. */
static void none_of_many_is_lost(void **state)
{
    struct rlimit limit;
    struct child child;

    (void)state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    if (limit.rlim_max < MANY + 100) {
        printf("skipped: only %lu descriptors are allowed here\n", (unsigned long)limit.rlim_max);
        skip();
    }
    child = start(hold_many, MANY);
    for (size_t i = 0; i < 2; i++) {
        size_t in_child = 0, copies;
        struct tw_holders holders;

        if (!usable(methods[i]))
            continue;
        holders = ask(NULL, 0, methods[i]);
        for (size_t j = 0; j < holders.count; j++)
            in_child += holders.items[j].pid == child.pid;
        assert_true(in_child >= MANY);
        tw_holders_of(&holders, child.inode, &copies);
        assert_int_equal(copies, MANY_COPIES);
        assert_true(holders.count >= MANY * MANY_COPIES);
        tw_holders_fini(&holders);
    }
    stop(&child);
}

struct thread_task {
    int pipe;
    bool own_table;
};

static void *hold_in_thread(void *context)
{
    struct thread_task *task = context;

    if (task->own_table)
        CHECK(unshare(CLONE_FILES) == 0);
    report_and_sleep(task->pipe, new_socket());
    return NULL;
}

static void *sleep_in_thread(void *unused)
{
    for (;;)
        pause();
    return unused;
}

static void hold_by_thread(int pipe, int own_table)
{
    struct thread_task *task = malloc(sizeof(*task));
    pthread_t thread;

    CHECK(task != NULL);
    *task = (struct thread_task){.pipe = pipe, .own_table = own_table};
    CHECK(pthread_create(&thread, NULL, sleep_in_thread, NULL) == 0);
    CHECK(pthread_create(&thread, NULL, hold_in_thread, task) == 0);
    if (!own_table)
        syscall(SYS_exit, 0); /* the first thread alone: the process goes on without it */
    for (;;)
        pause();
}

static void socket_of_a_thread_is_found(int own_table)
{
    struct child child = start(hold_by_thread, own_table);

    for (size_t i = 0; i < 2; i++) {
        struct tw_holders holders;

        if (!usable(methods[i]))
            continue;
        holders = ask(&child.inode, 1, methods[i]);
        assert_int_equal(holders.count, 1);
        assert_int_equal(holders.items[0].pid, child.pid);
        assert_int_equal(holders.items[0].fd, child.fd);
        tw_holders_fini(&holders);
    }
    stop(&child);
}

static void thread_with_its_own_table_is_seen(void **state)
{
    (void)state;
    socket_of_a_thread_is_found(true);
}

static void process_without_its_first_thread_is_seen(void **state)
{
    (void)state;
    socket_of_a_thread_is_found(false);
}

/* --- what is not seen
 * ------------------------------------------------------------------------------ */

static void become_nobody(void)
{
    CHECK(setgroups(0, NULL) == 0);
    CHECK(setresgid(NOBODY, NOBODY, NOBODY) == 0);
    CHECK(setresuid(NOBODY, NOBODY, NOBODY) == 0);
    /* Changing users made /proc/self root's. */
    CHECK(prctl(PR_SET_DUMPABLE, 1) == 0);
}

static void look_as_nobody(int inode)
{
    uint32_t wanted = (uint32_t)inode;
    struct tw_holders holders;
    struct tw_error error = {0};
    int own;

    become_nobody();
    CHECK(tw_holders_find(&wanted, 1, TW_HOLDERS_AUTO, &holders, &error) == 0);
    CHECK(error.code == 0);
    CHECK(holders.method == TW_HOLDERS_PROC);
    CHECK(holders.blind & TW_BLIND_PROCESSES);
    CHECK(holders.count == 0);
    tw_holders_fini(&holders);
    CHECK((own = new_socket()) >= 0);
    wanted = inode_of(own);
    CHECK(tw_holders_find(&wanted, 1, TW_HOLDERS_AUTO, &holders, &error) == 0);
    CHECK(has(&holders, wanted, getpid(), own));
    tw_holders_fini(&holders);
    CHECK(tw_holders_find(&wanted, 1, TW_HOLDERS_BPF, &holders, &error) < 0);
    CHECK(strstr(error.text, "BPF"));
}

static void processes_of_others_are_a_blind_spot(void **state)
{
    struct child child;

    (void)state;
    need_root();
    child = start(hold, -1);
    run(look_as_nobody, (int)child.inode);
    stop(&child);
}

/* In a new pid namespace, as its process 1. `mounted`: with a /proc of its own. */
static void look_from_pid_namespace(int mounted)
{
    int fd = new_socket();
    uint32_t inode = inode_of(fd);

    CHECK(getpid() == 1);
    if (mounted)
        CHECK(mount("proc", "/proc", "proc", 0, NULL) == 0);
    for (size_t i = 0; i < 2; i++) {
        struct tw_holders holders;
        bool sees = methods[i] == TW_HOLDERS_BPF || mounted;

        if (!usable(methods[i]))
            continue;
        CHECK(tw_holders_find(&inode, 1, methods[i], &holders, NULL) == 0);
        CHECK(holders.count == (sees ? 1 : 0));
        CHECK(!sees || has(&holders, inode, 1, fd));
        CHECK(holders.blind == (sees ? TW_BLIND_PID_NAMESPACE : TW_BLIND_PROC));
        tw_holders_fini(&holders);
    }
}

static void look_from_new_pid_namespace(int mounted)
{
    int pid, status;

    CHECK(unshare(CLONE_NEWNS | CLONE_NEWPID) == 0);
    CHECK(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
    pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        look_from_pid_namespace(mounted);
        _exit(0);
    }
    CHECK(waitpid(pid, &status, 0) == pid);
    CHECK(status == 0);
}

static void pid_namespace_counts_its_own_way(void **state)
{
    (void)state;
    need_root();
    run(look_from_new_pid_namespace, true);
}

static void proc_of_another_pid_namespace_is_not_used(void **state)
{
    (void)state;
    need_root();
    run(look_from_new_pid_namespace, false);
}

static void look_past_hidepid(int inode)
{
    uint32_t wanted = (uint32_t)inode;
    struct tw_holders holders;

    CHECK(unshare(CLONE_NEWNS) == 0);
    CHECK(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
    CHECK(mount("proc", "/proc", "proc", 0, "hidepid=2") == 0);
    CHECK(tw_holders_find(&wanted, 1, TW_HOLDERS_PROC, &holders, NULL) == 0);
    CHECK(!(holders.blind & TW_BLIND_HIDEPID));
    CHECK(holders.count == 1);
    tw_holders_fini(&holders);
    become_nobody();
    CHECK(tw_holders_find(&wanted, 1, TW_HOLDERS_AUTO, &holders, NULL) == 0);
    CHECK(holders.blind & TW_BLIND_HIDEPID);
    CHECK(holders.count == 0);
    tw_holders_fini(&holders);
}

static void hidepid_is_a_blind_spot(void **state)
{
    struct child child;

    (void)state;
    need_root();
    child = start(hold, -1);
    run(look_past_hidepid, (int)child.inode);
    stop(&child);
}

/* --- sockets on their way
 * -------------------------------------------------------------------------- */

static void hold_in_ring(int pipe, int unused)
{
    struct io_uring_params params = {0};
    int ring = (int)syscall(SYS_io_uring_setup, 8, &params), fd = new_socket();
    int files[] = {-1, fd};
    struct child report = {.inode = inode_of(fd), .fd = -1};

    (void)unused;
    if (ring < 0 || syscall(SYS_io_uring_register, ring, IORING_REGISTER_FILES, files, 2))
        report.inode = 0;
    close(fd);
    CHECK(write(pipe, &report, sizeof(report)) == sizeof(report));
    for (;;)
        pause();
}

static void hold_in_message(int pipe, int unused)
{
    int fd = new_socket(), ends[2];
    struct child report = {.inode = inode_of(fd), .fd = -1};
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(fd))] = {0};
    char byte = 0;
    struct iovec data = {&byte, 1};
    struct msghdr message = {.msg_iov = &data,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = sizeof(control)};
    struct cmsghdr *rights = CMSG_FIRSTHDR(&message);

    (void)unused;
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    *rights = (struct cmsghdr){
        .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(fd))};
    memcpy(CMSG_DATA(rights), &fd, sizeof(fd));
    CHECK(sendmsg(ends[0], &message, 0) == 1);
    close(fd);
    CHECK(write(pipe, &report, sizeof(report)) == sizeof(report));
    for (;;)
        pause();
}

static void socket_in_a_ring_is_found(void **state)
{
    struct child child = start(hold_in_ring, 0);
    int pid = 0, rc;
    bool sure = false;

    (void)state;
    rc = child.inode ? tw_holders_in_flight(child.inode, &pid, &sure, NULL) : 0;
    stop(&child);
    if (child.inode == 0) {
        printf("skipped: no io_uring here\n");
        skip();
    }
    assert_int_equal(rc, 0);
    assert_true(sure);
    assert_int_equal(pid, child.pid);
}

static void socket_in_a_message_is_guessed(void **state)
{
    struct child child = start(hold_in_message, 0);
    int pid = 0, rc;
    bool sure = true;

    (void)state;
    rc = tw_holders_in_flight(child.inode, &pid, &sure, NULL);
    stop(&child);
    assert_int_equal(rc, 0);
    assert_false(sure);
    /* It is a guess: another process of this host may have descriptors on their way as well. */
    assert_true(pid > 0);
    if (pid != child.pid)
        printf("another process, %d, has descriptors on their way\n", pid);
}

/* --- tw_descriptor_borrow()
 * ------------------------------------------------------------------------- */

static void hold_with_options(int pipe, int reuse)
{
    int fd = new_socket(), device = 1;

    CHECK(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &reuse, sizeof(reuse)) == 0);
    CHECK(setsockopt(fd, SOL_SOCKET, SO_BINDTOIFINDEX, &device, sizeof(device)) == 0);
    report_and_sleep(pipe, fd);
}

static void options_of_another_process_are_read(void **state)
{
    (void)state;
    for (int reuse = 0; reuse < 2; reuse++) {
        struct child child = start(hold_with_options, reuse);
        struct tw_socket_row row = {.reuseport = TW_UNKNOWN};
        int copy = tw_descriptor_borrow(child.pid, child.fd);

        stop(&child);
        if (copy == -EPERM || copy == -ENOSYS) {
            printf("skipped: %s\n", strerror(-copy));
            skip();
        }
        assert_true(copy >= 0);
        assert_int_equal(inode_of(copy), child.inode);
        assert_int_equal(tw_descriptor_options(copy, &row), 0);
        assert_int_equal(row.reuseaddr, reuse ? TW_YES : TW_NO);
        assert_int_equal(row.reuseport, TW_NO);
        assert_int_equal(row.device, 1);
        close(copy);
    }
    assert_int_equal(tw_descriptor_borrow(getpid(), 9999), -EBADF);
}

/* --- tw_process_read()
 * ------------------------------------------------------------------------------ */

static uint64_t own_netns(void)
{
    struct stat st;

    assert_int_equal(stat("/proc/self/ns/net", &st), 0);
    return st.st_ino;
}

static void named_badly(int pipe, int unused)
{
    (void)unused;
    CHECK(prctl(PR_SET_NAME, "a) R 1 (\nUid:\t7") == 0);
    report_and_sleep(pipe, -1);
}

static void process_is_described(void **state)
{
    struct child child = start(named_badly, 0);
    struct tw_process process;
    struct tw_error error = {0};
    int rc = tw_process_read(child.pid, &process, &error);

    (void)state;
    assert_int_equal(rc, 0);
    assert_int_equal(process.pid, child.pid);
    assert_int_equal(process.parent, getpid());
    assert_int_equal(process.uid, geteuid());
    assert_string_equal(process.comm, "a) R 1 (\nUid:\t7");
    assert_false(process.kernel_thread);
    assert_true(process.start_ticks > 0);
    assert_true(process.age_ms < 3600 * 1000);
    assert_true(strstr(process.exe, "holders_test") != NULL);
    assert_true(strstr(process.cmdline, "holders_test") != NULL);
    assert_int_equal(process.netns, own_netns());
    stop(&child);
    assert_int_equal(tw_process_read(child.pid, &process, &error), -ESRCH);
    assert_true(strstr(error.text, "there is no process") != NULL);
    assert_int_equal(process.comm[0], 0);
}

static void kernel_thread_is_told(void **state)
{
    struct tw_process process;

    (void)state;
    if (tw_process_read(2, &process, NULL) || strcmp(process.comm, "kthreadd") != 0) {
        printf("skipped: this pid namespace has no kernel threads\n");
        skip();
    }
    assert_true(process.kernel_thread);
    assert_string_equal(process.cmdline, "");
    assert_string_equal(process.exe, "");
}

/* --- network namespaces
 * ------------------------------------------------------------------------------ */

#define SEEN_MAX 256

struct seen {
    struct tw_netns netns[SEEN_MAX];
    size_t count;
    size_t stop_at; /* 0: never */
};

static int see(const struct tw_netns *netns, void *context)
{
    struct seen *seen = context;

    CHECK(seen->count < SEEN_MAX);
    CHECK(own_netns() == netns->inode);
    seen->netns[seen->count++] = *netns;
    return seen->count == seen->stop_at ? 42 : 0;
}

static void live_apart(int pipe, int unused)
{
    (void)unused;
    CHECK(unshare(CLONE_NEWNET) == 0);
    report_and_sleep(pipe, -1);
}

static void namespaces_are_visited(void **state)
{
    struct child child = start(live_apart, 0);
    uint64_t own = own_netns();
    struct seen seen = {.count = 0}, stopped = {.stop_at = 2};
    size_t found = 0;
    unsigned blind = 0;

    (void)state;
    assert_int_equal(tw_netns_each(see, &seen, &blind, NULL), 0);
    assert_int_equal(own_netns(), own);
    assert_true(seen.count >= 2);
    assert_true(seen.netns[0].own);
    assert_int_equal(seen.netns[0].inode, own);
    for (size_t i = 1; i < seen.count; i++) {
        assert_false(seen.netns[i].own);
        found += seen.netns[i].pid == child.pid;
    }
    assert_int_equal(found, 1);
    assert_int_equal(tw_netns_each(see, &stopped, NULL, NULL), 42);
    assert_int_equal(stopped.count, 2);
    assert_int_equal(own_netns(), own);
    stop(&child);
}

static void visit_as_nobody(int unused)
{
    struct seen seen = {.count = 0};
    unsigned blind = 0;

    (void)unused;
    become_nobody();
    CHECK(tw_netns_each(see, &seen, &blind, NULL) == 0);
    CHECK(seen.count == 1);
    CHECK(seen.netns[0].own);
    CHECK(blind == TW_BLIND_NETNS);
}

static void namespaces_need_rights(void **state)
{
    (void)state;
    need_root();
    run(visit_as_nobody, 0);
}

static void visit_named(int pid)
{
    struct seen seen = {.count = 0};
    struct tw_error error = {0};
    char path[64];
    bool found = false;

    CHECK(unshare(CLONE_NEWNS) == 0);
    CHECK(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
    CHECK(mount("none", "/run", "tmpfs", 0, NULL) == 0);
    CHECK(mkdir("/run/netns", 0755) == 0);
    CHECK(close(open("/run/netns/blue", O_CREAT | O_RDONLY | O_CLOEXEC, 0600)) == 0);
    CHECK(close(open("/run/netns/stale", O_CREAT | O_RDONLY | O_CLOEXEC, 0600)) == 0);
    snprintf(path, sizeof(path), "/proc/%d/ns/net", pid);
    CHECK(mount(path, "/run/netns/blue", NULL, MS_BIND, NULL) == 0);
    CHECK(tw_netns_each(see, &seen, NULL, NULL) == 0);
    for (size_t i = 0; i < seen.count; i++) {
        CHECK(!found || strcmp(seen.netns[i].name, "blue") != 0);
        found |= strcmp(seen.netns[i].name, "blue") == 0 && seen.netns[i].pid == pid;
    }
    CHECK(found);
    CHECK(tw_netns_enter(0, "stale", &error) == -ENOENT);
    CHECK(strstr(error.text, "'stale'; 'ip netns' lists them"));
    CHECK(tw_netns_enter(0, "../netns/blue", NULL) == -ENOENT);
    CHECK(tw_netns_enter(0, "", NULL) == -ENOENT);
    CHECK(tw_netns_enter(0, NULL, NULL) == -EINVAL);
    CHECK(tw_netns_enter(0, "blue", NULL) == 0);
    CHECK(own_netns() != seen.netns[0].inode);
}

static void named_namespaces_are_known(void **state)
{
    struct child child;

    (void)state;
    need_root();
    child = start(live_apart, 0);
    run(visit_named, child.pid);
    stop(&child);
}

static void enter_that_of(int pid)
{
    uint64_t before = own_netns();
    struct tw_error error = {0};

    CHECK(tw_netns_enter(pid, NULL, NULL) == 0);
    CHECK(own_netns() != before);
    CHECK(tw_netns_enter(0x7ffffff0, NULL, &error) == -ESRCH);
    CHECK(strstr(error.text, "there is no process"));
}

static void namespace_of_a_process_is_entered(void **state)
{
    struct child child = start(live_apart, 0);

    (void)state;
    run(enter_that_of, child.pid);
    stop(&child);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_holders_are_found),
        cmocka_unit_test(socket_of_nobody_has_no_holder),
        cmocka_unit_test(name_of_a_unix_socket_is_no_socket),
        cmocka_unit_test(none_of_many_is_lost),
        cmocka_unit_test(thread_with_its_own_table_is_seen),
        cmocka_unit_test(process_without_its_first_thread_is_seen),
        cmocka_unit_test(processes_of_others_are_a_blind_spot),
        cmocka_unit_test(pid_namespace_counts_its_own_way),
        cmocka_unit_test(proc_of_another_pid_namespace_is_not_used),
        cmocka_unit_test(hidepid_is_a_blind_spot),
        cmocka_unit_test(socket_in_a_ring_is_found),
        cmocka_unit_test(socket_in_a_message_is_guessed),
        cmocka_unit_test(options_of_another_process_are_read),
        cmocka_unit_test(process_is_described),
        cmocka_unit_test(kernel_thread_is_told),
        cmocka_unit_test(namespaces_are_visited),
        cmocka_unit_test(namespaces_need_rights),
        cmocka_unit_test(named_namespaces_are_known),
        cmocka_unit_test(namespace_of_a_process_is_entered),
    };
    int rc = enter_private_network();

    return rc ? rc : cmocka_run_group_tests_name("holders", tests, NULL, NULL);
}
