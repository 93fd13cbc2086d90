/* tw_why_bind(): each kind of socket whose own bind() or listen() has just failed. */
#include "private.h"

#include <sys/un.h>

#include "tidewait/socket.h"
#include "tidewait/verdict.h"

static int new_socket(int family, int type, bool reuseaddr)
{
    int fd = socket(family, type | SOCK_CLOEXEC, 0), on = 1;

    assert_true(fd >= 0);
    if (reuseaddr)
        assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)), 0);
    return fd;
}

static int bind_to(int fd, const struct tw_endpoint *local)
{
    return bind(fd, &local->sa, tw_endpoint_len(local)) ? errno : 0;
}

static void check(struct tw_verdict *verdict, const struct tw_error *error, enum tw_op op, int code,
                  const char *cause)
{
    if (!verdict) {
        fail_msg("no verdict: %s", error->text);
        return;
    }
    if (verdict->question.op != op || verdict->code != code || verdict->disagrees ||
        strcmp(verdict->cause ? verdict->cause : "", cause) != 0)
        fail_msg("%s, %s, %s: %s", tw_op_name(verdict->question.op), tw_errno_name(verdict->code),
                 verdict->cause, verdict->summary);
    tw_verdict_free(verdict);
}

static void expect(int fd, const struct tw_endpoint *local, int code, const char *cause)
{
    struct tw_error error = {0};

    check(tw_why_bind(fd, &local->sa, tw_endpoint_len(local), &error), &error, TW_OP_BIND, code,
          cause);
}

/* A process that has the address, so that it is not our own. */
static pid_t start_holder(const struct tw_endpoint *local, int type)
{
    int ready[2];
    pid_t pid;
    char byte;

    assert_int_equal(pipe(ready), 0);
    pid = fork();
    if (pid == 0) {
        int fd = socket(local->sa.sa_family, type, 0);
        bool done = fd >= 0 && bind(fd, &local->sa, tw_endpoint_len(local)) == 0 &&
                    (type == SOCK_DGRAM || listen(fd, 1) == 0);

        if (done && write(ready[1], "", 1) == 1)
            pause();
        _exit(1);
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    return pid;
}

static void end_holder(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

/* Takes the address, lets one of ours fail and asks why; afterwards it is free. */
static void check_taken(const struct tw_endpoint *theirs, const struct tw_endpoint *ours, int type,
                        const char *cause)
{
    pid_t holder = start_holder(theirs, type);
    int fd = new_socket(ours->sa.sa_family, type, false);

    assert_int_equal(bind_to(fd, ours), EADDRINUSE);
    expect(fd, ours, EADDRINUSE, cause);
    end_holder(holder);
    expect(fd, ours, 0, "");
    /* It was left as it was: it can still have the address. */
    assert_int_equal(bind_to(fd, ours), 0);
    close(fd);
}

static void test_taken(void **state)
{
    struct tw_endpoint one = at("127.0.0.1", 8080), all = at("0.0.0.0", 8080);

    (void)state;
    check_taken(&one, &one, SOCK_STREAM, "listener");
    check_taken(&one, &all, SOCK_STREAM, "listener-wildcard");
    check_taken(&one, &one, SOCK_DGRAM, "udp-bound");
    need(access("/proc/sys/net/ipv6", F_OK) == 0, "this kernel has no IPv6");
    struct tw_endpoint all6 = at("::", 8080);
    check_taken(&all6, &one, SOCK_STREAM, "listener-dualstack");
}

/* The options are those of the socket: IPV6_V6ONLY makes the difference here. */
static void test_options_are_read(void **state)
{
    int on = 1, fd;
    struct tw_endpoint one = at("127.0.0.1", 8080), all6;
    pid_t holder;

    (void)state;
    need(access("/proc/sys/net/ipv6", F_OK) == 0, "this kernel has no IPv6");
    all6 = at("::", 8080);
    holder = start_holder(&one, SOCK_STREAM);
    fd = new_socket(AF_INET6, SOCK_STREAM, true);
    assert_int_equal(bind_to(fd, &all6), EADDRINUSE);
    expect(fd, &all6, EADDRINUSE, "listener-dualstack");
    assert_int_equal(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)), 0);
    expect(fd, &all6, 0, "");
    close(fd);
    end_holder(holder);
}

static void test_own_and_bound(void **state)
{
    struct tw_endpoint one = at("127.0.0.1", 8080);
    int mine = new_socket(AF_INET, SOCK_STREAM, false);
    int fd = new_socket(AF_INET, SOCK_STREAM, false);

    (void)state;
    assert_int_equal(bind_to(mine, &one), 0);
    assert_int_equal(bind_to(fd, &one), EADDRINUSE);
    expect(fd, &one, EADDRINUSE, "same-process");
    assert_int_equal(bind_to(mine, &one), EINVAL);
    expect(mine, &one, EINVAL, "already-bound");
    close(mine);
    close(fd);
}

/* Both bound with SO_REUSEADDR; the second listen() fails. */
static void test_listen(void **state)
{
    struct tw_endpoint one = at("127.0.0.1", 8080);
    struct tw_error error = {0};
    int first = new_socket(AF_INET, SOCK_STREAM, true);
    int fd = new_socket(AF_INET, SOCK_STREAM, true);

    (void)state;
    assert_int_equal(bind_to(first, &one), 0);
    assert_int_equal(bind_to(fd, &one), 0);
    assert_int_equal(listen(first, 1), 0);
    assert_int_equal(listen(fd, 1), -1);
    assert_int_equal(errno, EADDRINUSE);
    check(tw_why_bind(fd, NULL, 0, &error), &error, TW_OP_LISTEN, EADDRINUSE, "second-listen");
    close(first);
    check(tw_why_bind(fd, NULL, 0, &error), &error, TW_OP_LISTEN, 0, "");
    assert_int_equal(listen(fd, 1), 0);
    close(fd);
}

/* Without a descriptor the socket is one of tw_listen(). */
static void test_without_descriptor(void **state)
{
    struct tw_endpoint one = at("127.0.0.1", 8080), foreign = at("192.0.2.1", 80);
    struct tw_listen_opts opts = {0};
    pid_t holder = start_holder(&one, SOCK_STREAM);

    (void)state;
    assert_int_equal(tw_listen(&one, &opts, NULL), -EADDRINUSE);
    expect(-1, &one, EADDRINUSE, "listener");
    end_holder(holder);
    assert_int_equal(tw_listen(&foreign, &opts, NULL), -EADDRNOTAVAIL);
    expect(-1, &foreign, EADDRNOTAVAIL, "address-not-local");
}

static void check_unix(const char *path, size_t path_len, const char *cause)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + path_len);
    int theirs = new_socket(AF_UNIX, SOCK_STREAM, false);
    int fd = new_socket(AF_UNIX, SOCK_STREAM, false);
    struct tw_error error = {0};

    memcpy(address.sun_path, path, path_len);
    assert_int_equal(bind(theirs, (struct sockaddr *)&address, len), 0);
    assert_int_equal(listen(theirs, 1), 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, len), -1);
    check(tw_why_bind(fd, (struct sockaddr *)&address, len, &error), &error, TW_OP_BIND, EADDRINUSE,
          "unix-live");
    close(theirs);
    if (cause) {
        assert_int_equal(bind(fd, (struct sockaddr *)&address, len), -1);
        check(tw_why_bind(fd, (struct sockaddr *)&address, len, &error), &error, TW_OP_BIND,
              EADDRINUSE, cause);
        unlink(path);
    }
    close(fd);
}

static void test_unix(void **state)
{
    char path[sizeof(((struct sockaddr_un *)0)->sun_path)] = "", folder[] = "/tmp/why_bind.XXXXXX";

    (void)state;
    check_unix("\0tidewait-why-bind", 18, NULL);
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/socket", folder);
    check_unix(path, strlen(path) + 1, "unix-stale");
    rmdir(folder);
}

static void refuse(int fd, const struct sockaddr *address, socklen_t len, int code)
{
    struct tw_error error = {0};

    assert_null(tw_why_bind(fd, address, len, &error));
    assert_int_equal(error.code, code);
    assert_true(*error.text);
}

static void test_no_question(void **state)
{
    struct tw_endpoint one = at("127.0.0.1", 8080);
    struct sockaddr_un path = {.sun_family = AF_UNIX};
    int fd = new_socket(AF_INET, SOCK_STREAM, false),
        file = open("/dev/null", O_RDONLY | O_CLOEXEC);
    int local = new_socket(AF_UNIX, SOCK_STREAM, false), other;

    (void)state;
    refuse(12345, &one.sa, tw_endpoint_len(&one), EBADF);
    refuse(file, &one.sa, tw_endpoint_len(&one), ENOTSOCK);
    refuse(fd, &one.sa, 1, EAFNOSUPPORT);
    refuse(fd, &one.sa, 4, EINVAL);
    refuse(fd, (struct sockaddr *)&path, sizeof(path), EAFNOSUPPORT);
    refuse(local, &one.sa, tw_endpoint_len(&one), EAFNOSUPPORT);
    refuse(local, (struct sockaddr *)&path, sizeof(sa_family_t), EINVAL);
    refuse(-1, NULL, 0, EINVAL);
    other = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0);
    refuse(other, &one.sa, tw_endpoint_len(&one), EAFNOSUPPORT);
    close(other);
    close(local);
    close(file);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_taken),         cmocka_unit_test(test_options_are_read),
        cmocka_unit_test(test_own_and_bound), cmocka_unit_test(test_listen),
        cmocka_unit_test(test_unix),          cmocka_unit_test(test_without_descriptor),
        cmocka_unit_test(test_no_question),
    };
    int rc = enter_private_network();

    return rc ? rc : cmocka_run_group_tests(tests, NULL, NULL);
}
