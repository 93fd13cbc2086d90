/*
 * bind() on trial beside real sockets in a private network. Run by root it becomes other users; by
 * anybody else it has a user namespace with one user. Exit code 77: no namespace may be made here.
 */
#include <linux/capability.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "private.h"
#include "tidewait/trial.h"

#define NOBODY 65534u

/* Only root can become somebody else. */
static void need_users(void)
{
    struct tw_trial trial = {.protocol = IPPROTO_UDP, .as_other = true, .uid = NOBODY};
    struct tw_error error = {0};
    bool tried;

    trial.local = at("127.0.0.1", 0);
    tw_trial_bind(&trial, &tried, &error);
    if (!tried) {
        print_message("skipped: %s\n", error.text);
        skip();
    }
}

struct holder {
    const char *address;
    uint16_t port;
    int type;
    bool reuseaddr;
    bool reuseport;
    bool v6only;
    bool listens;
};

static int hold(const struct holder *holder)
{
    struct tw_endpoint local = at(holder->address, holder->port);
    int fd = socket(local.sa.sa_family, holder->type | SOCK_CLOEXEC, 0);
    int reuseaddr = holder->reuseaddr, reuseport = holder->reuseport, v6only = holder->v6only;

    assert_true(fd >= 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &reuseaddr, sizeof(int)), 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &reuseport, sizeof(int)), 0);
    if (local.sa.sa_family == AF_INET6)
        assert_int_equal(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6only, sizeof(int)), 0);
    assert_int_equal(bind(fd, &local.sa, tw_endpoint_len(&local)), 0);
    if (holder->listens)
        assert_int_equal(listen(fd, 1), 0);
    return fd;
}

static int ask(struct tw_trial trial, const char *address, uint16_t port)
{
    bool tried;
    int rc;

    if (!trial.protocol)
        trial.protocol = IPPROTO_TCP;
    trial.local = at(address, port);
    rc = tw_trial_bind(&trial, &tried, NULL);
    assert_true(tried);
    return rc;
}

static void trial_gives_the_port_back(void **state)
{
    const struct tw_trial plain = {0}, udp = {.protocol = IPPROTO_UDP};
    const struct holder tcp_holder = {"127.0.0.1", 4001, SOCK_STREAM, .listens = true};
    const struct holder udp_holder = {"127.0.0.1", 4001, SOCK_DGRAM, .listens = false};
    int fd = dup(0), next;

    (void)state;
    close(fd);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(ask(plain, "127.0.0.1", 4001), 0);
        assert_int_equal(ask(udp, "127.0.0.1", 4001), 0);
        assert_int_equal(ask(plain, "::1", 4001), 0);
    }
    /* Neither a port nor a descriptor is left. */
    close(hold(&tcp_holder));
    close(hold(&udp_holder));
    next = dup(0);
    assert_int_equal(next, fd);
    close(next);
}

static void trial_says_what_bind_says(void **state)
{
    static const struct {
        struct holder holder;
        struct tw_trial trial;
        const char *address;
        int rc;
    } cases[] = {
        {{"127.0.0.1", 4002, SOCK_STREAM, .listens = true}, {0}, "127.0.0.1", -EADDRINUSE},
        {{"127.0.0.1", 4002, SOCK_STREAM, .listens = true}, {0}, "0.0.0.0", -EADDRINUSE},
        {{"127.0.0.1", 4002, SOCK_STREAM, .listens = true}, {0}, "127.0.0.2", 0},
        {{"127.0.0.1", 4002, SOCK_STREAM, .reuseaddr = true}, {.reuseaddr = true}, "127.0.0.1", 0},
        {{"127.0.0.1", 4002, SOCK_STREAM, .reuseaddr = true}, {0}, "127.0.0.1", -EADDRINUSE},
        {{"127.0.0.1", 4002, SOCK_STREAM, .reuseport = true, .listens = true},
         {.reuseport = true},
         "127.0.0.1",
         0},
        {{"127.0.0.1", 4002, SOCK_STREAM, .listens = true}, {.v6only = false}, "::", -EADDRINUSE},
        {{"127.0.0.1", 4002, SOCK_STREAM, .listens = true}, {.v6only = true}, "::", 0},
        {{"127.0.0.1", 4002, SOCK_DGRAM, .listens = false}, {0}, "127.0.0.1", 0},
        {{"127.0.0.1", 4002, SOCK_DGRAM, .listens = false},
         {.protocol = IPPROTO_UDP},
         "127.0.0.1",
         -EADDRINUSE},
        {{"127.0.0.1", 4002, SOCK_STREAM, .listens = false}, {0}, "192.0.2.1", -EADDRNOTAVAIL},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int fd = hold(&cases[i].holder);
        int rc = ask(cases[i].trial, cases[i].address, 4002);

        if (rc != cases[i].rc)
            fail_msg("case %zu: %d, not %d", i, rc, cases[i].rc);
        close(fd);
    }
}

/* V6ONLY is that of the question, whatever the system's default is. */
static void trial_sets_v6only_either_way(void **state)
{
    const struct holder holder = {"127.0.0.1", 4003, SOCK_STREAM, .listens = true};
    int fd = hold(&holder);

    (void)state;
    need(access("/proc/sys/net/ipv6/bindv6only", W_OK) == 0, "bindv6only cannot be written");
    write_file("/proc/sys/net/ipv6/bindv6only", "1");
    assert_int_equal(ask((struct tw_trial){.v6only = false}, "::", 4003), -EADDRINUSE);
    write_file("/proc/sys/net/ipv6/bindv6only", "0");
    assert_int_equal(ask((struct tw_trial){.v6only = true}, "::", 4003), 0);
    close(fd);
}

static void trial_goes_by_the_device(void **state)
{
    const struct holder holder = {"127.0.0.1", 4004, SOCK_STREAM, .listens = true};
    struct tw_trial trial = {.protocol = IPPROTO_TCP, .device = "lo"};
    int fd;

    (void)state;
    assert_int_equal(ask(trial, "127.0.0.1", 4004), 0);
    fd = hold(&holder);
    assert_int_equal(ask(trial, "127.0.0.1", 4004), -EADDRINUSE);
    close(fd);
    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "lo", 2), 0);
    struct tw_endpoint local = at("127.0.0.1", 4004);
    assert_int_equal(bind(fd, &local.sa, tw_endpoint_len(&local)), 0);
    if (shell("ip link add twdev0 type dummy 2>/dev/null || ip link add twdev0 type veth peer "
              "twdev1"))
        print_message("not tried: two devices: none can be made here\n");
    else
        assert_int_equal(ask((struct tw_trial){.device = "twdev0"}, "127.0.0.1", 4004), 0);
    shell("ip link del twdev0 2>/dev/null");
    close(fd);
}

static void question_that_cannot_be_put(void **state)
{
    struct tw_trial trial = {.protocol = IPPROTO_TCP, .device = "no-such-if"};
    struct tw_error error = {0};
    bool tried = true;

    (void)state;
    trial.local = at("127.0.0.1", 4005);
    assert_int_equal(tw_trial_bind(&trial, &tried, &error), -ENODEV);
    assert_false(tried);
    assert_non_null(strstr(error.text, "SO_BINDTODEVICE"));
    trial.device = NULL;
    trial.protocol = IPPROTO_SCTP;
    tried = true;
    assert_int_equal(tw_trial_bind(&trial, &tried, NULL), -EINVAL);
    assert_false(tried);
    trial.protocol = IPPROTO_TCP;
    trial.as_other = true;
    trial.uid = UINT32_MAX;
    tried = true;
    assert_int_equal(tw_trial_bind(&trial, &tried, NULL), -EINVAL);
    assert_false(tried);
}

/* In a process of its own: what it gives up does not come back. */
static void nobody_may_not_become_others(void **state)
{
    pid_t child;
    int status;

    (void)state;
    need_users();
    child = fork();
    if (child == 0) {
        struct tw_trial trial = {.protocol = IPPROTO_TCP, .as_other = true, .uid = 1};
        bool tried = true, ok;

        trial.local = at("127.0.0.1", 80);
        ok = setresuid(NOBODY, NOBODY, NOBODY) == 0 &&
             tw_trial_bind(&trial, &tried, NULL) == -EPERM && !tried;
        trial.uid = 0;
        tried = true;
        ok = ok && tw_trial_bind(&trial, &tried, NULL) == -EPERM && !tried;
        /* Oneself one may be. */
        trial.uid = NOBODY;
        ok = ok && tw_trial_bind(&trial, &tried, NULL) == -EACCES && tried;
        trial.as_other = false;
        ok = ok && tw_trial_bind(&trial, &tried, NULL) == -EACCES && tried;
        _exit(ok ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void other_user_has_no_capabilities(void **state)
{
    (void)state;
    need_users();
    assert_int_equal(ask((struct tw_trial){.as_other = true, .uid = NOBODY}, "127.0.0.1", 80),
                     -EACCES);
    assert_int_equal(ask((struct tw_trial){.as_other = true, .uid = NOBODY}, "127.0.0.1", 8080), 0);
    assert_int_equal(ask((struct tw_trial){.as_other = true, .uid = 0}, "127.0.0.1", 80), 0);
}

/* A user who was given capabilities, as by setcap(8), asks for somebody without. In a process of
 * its own, which becomes that user for good. */
static bool capable_user_asks(void)
{
    const uint32_t caps = 1u << CAP_SETUID | 1u << CAP_NET_BIND_SERVICE;
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    const struct __user_cap_data_struct data[2] = {{.effective = caps, .permitted = caps}};
    struct tw_trial trial = {.protocol = IPPROTO_TCP, .uid = 1};
    bool tried;

    trial.local = at("127.0.0.1", 80);
    if (prctl(PR_SET_KEEPCAPS, 1) || setresuid(NOBODY, NOBODY, NOBODY) ||
        syscall(SYS_capset, &header, data) || tw_trial_bind(&trial, &tried, NULL))
        return false;
    trial.as_other = true;
    if (tw_trial_bind(&trial, &tried, NULL) != -EACCES || !tried)
        return false;
    trial.uid = NOBODY;
    if (tw_trial_bind(&trial, &tried, NULL) != -EACCES || !tried)
        return false;
    /* Root would have more than these two: there is no answer. */
    trial.uid = 0;
    if (tw_trial_bind(&trial, &tried, NULL) != -EPERM || tried)
        return false;
    trial.as_other = false;
    return tw_trial_bind(&trial, &tried, NULL) == 0;
}

static void given_capabilities_do_not_count(void **state)
{
    pid_t child;
    int status;

    (void)state;
    need_users();
    child = fork();
    if (child == 0)
        _exit(capable_user_asks() ? 0 : 1);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void reuseport_goes_by_the_user(void **state)
{
    const struct tw_trial nobody = {.as_other = true, .uid = NOBODY, .reuseport = true};
    const struct tw_trial daemon = {.as_other = true, .uid = 1, .reuseport = true};
    const struct tw_trial root = {.reuseport = true};
    const struct holder holder = {"127.0.0.1", 4006, SOCK_STREAM, .reuseport = true,
                                  .listens = true};
    int fd;

    (void)state;
    need_users();
    fd = hold(&holder);
    assert_int_equal(ask(root, "127.0.0.1", 4006), 0);
    assert_int_equal(ask(nobody, "127.0.0.1", 4006), -EADDRINUSE);
    close(fd);
    assert_int_equal(seteuid(NOBODY), 0);
    fd = hold(&holder);
    assert_int_equal(seteuid(0), 0);
    assert_int_equal(ask(nobody, "127.0.0.1", 4006), 0);
    assert_int_equal(ask(daemon, "127.0.0.1", 4006), -EADDRINUSE);
    assert_int_equal(ask(root, "127.0.0.1", 4006), -EADDRINUSE);
    close(fd);
}

static void caller_stays_who_it_was(void **state)
{
    char before[4096] = "", after[4096] = "";
    uid_t real, effective, saved;
    sigset_t mask;

    (void)state;
    need_users();
    assert_int_equal(prctl(PR_SET_DUMPABLE, 1), 0);
    for (int round = 0; round < 2; round++) {
        /* Uid to CapAmb: ids, groups, signal masks and capabilities of the calling thread. */
        char *text = round ? after : before;
        FILE *file;
        char line[512];

        if (round)
            ask((struct tw_trial){.as_other = true, .uid = NOBODY}, "127.0.0.1", 80);
        file = fopen("/proc/thread-self/status", "re");
        assert_non_null(file);
        while (fgets(line, sizeof(line), file))
            if (strncmp(line, "Uid", 3) == 0 || strncmp(line, "Gid", 3) == 0 ||
                strncmp(line, "Cap", 3) == 0 || strncmp(line, "Sig", 3) == 0 ||
                strncmp(line, "Threads", 7) == 0)
                strncat(text, line, sizeof(before) - strlen(text) - 1);
        fclose(file);
    }
    assert_non_null(strstr(before, "CapEff"));
    assert_string_equal(before, after);
    assert_int_equal(getresuid(&real, &effective, &saved), 0);
    assert_int_equal(real + effective + saved, 0);
    assert_int_equal(prctl(PR_GET_DUMPABLE), 1);
    assert_int_equal(pthread_sigmask(SIG_SETMASK, NULL, &mask), 0);
    assert_false(sigismember(&mask, SIGTERM));
    assert_int_equal(ask((struct tw_trial){0}, "127.0.0.1", 80), 0);
}

static void udp_connect_tells_the_source(void **state)
{
    struct tw_endpoint remote = at("127.0.0.1", 9), source = at("127.0.0.5", 0), chosen;
    struct tw_endpoint away = at("192.0.2.1", 9), foreign = at("192.0.2.7", 0);
    struct tw_endpoint expected = at("127.0.0.1", 0), remote6 = at("::1", 9);

    (void)state;
    assert_int_equal(tw_trial_connect_udp(&remote, NULL, &chosen), 0);
    assert_true(tw_endpoint_same_address(&chosen, &expected));
    assert_int_not_equal(tw_endpoint_port(&chosen), 0);
    assert_int_equal(tw_trial_connect_udp(&remote, &source, &chosen), 0);
    assert_true(tw_endpoint_same_address(&chosen, &source));
    assert_int_equal(tw_trial_connect_udp(&remote6, NULL, &chosen), 0);
    assert_true(tw_endpoint_same_address(&chosen, &remote6));
    assert_int_equal(tw_trial_connect_udp(&away, NULL, &chosen), -ENETUNREACH);
    assert_int_equal(tw_trial_connect_udp(&remote, &foreign, &chosen), -EADDRNOTAVAIL);
}

static void udp_exhaustion_is_eagain(void **state)
{
    const char *range = "/proc/sys/net/ipv4/ip_local_port_range";
    const struct holder one = {"127.0.0.1", 50000, SOCK_DGRAM, .listens = false};
    const struct holder two = {"127.0.0.1", 50001, SOCK_DGRAM, .listens = false};
    struct tw_endpoint remote = at("127.0.0.1", 9), source = at("127.0.0.1", 0), chosen;
    int first, second;

    (void)state;
    write_file(range, "50000 50001");
    first = hold(&one);
    assert_int_equal(tw_trial_connect_udp(&remote, NULL, &chosen), 0);
    assert_int_equal(tw_endpoint_port(&chosen), 50001);
    second = hold(&two);
    assert_int_equal(tw_trial_connect_udp(&remote, NULL, &chosen), -EAGAIN);
    assert_int_equal(tw_trial_connect_udp(&remote, &source, &chosen), -EADDRINUSE);
    close(first);
    close(second);
    write_file(range, "32768 60999");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trial_gives_the_port_back),
        cmocka_unit_test(trial_says_what_bind_says),
        cmocka_unit_test(trial_sets_v6only_either_way),
        cmocka_unit_test(trial_goes_by_the_device),
        cmocka_unit_test(question_that_cannot_be_put),
        cmocka_unit_test(nobody_may_not_become_others),
        cmocka_unit_test(other_user_has_no_capabilities),
        cmocka_unit_test(given_capabilities_do_not_count),
        cmocka_unit_test(reuseport_goes_by_the_user),
        cmocka_unit_test(caller_stays_who_it_was),
        cmocka_unit_test(udp_connect_tells_the_source),
        cmocka_unit_test(udp_exhaustion_is_eagain),
    };
    int rc = enter_private_network();

    return rc ? rc : cmocka_run_group_tests_name("trial", tests, NULL, NULL);
}
