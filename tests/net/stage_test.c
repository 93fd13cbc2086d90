/*
 * The stage of the lab, on the real kernel: hosts, sysctls, states, processes, users, needs.
 * Exit code 77: nobody may make private networks here.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>

#include "stage_kit.h"
#include "wire.h"

static void must_pass(void (*plot)(struct stage *stage))
{
    must_pass_with(plot, NEEDS_NOTHING, &plain);
}

/* --- hosts ------------------------------------------------------------------------------------ */

static bool has_text(void *context)
{
    struct pollfd waiting = {.fd = *(int *)context, .events = POLLIN};

    return poll(&waiting, 1, 0) == 1;
}

static void expect_text(struct stage *stage, int fd, const char *text)
{
    char buf[64] = "";

    if (stage_until(stage, 5000, has_text, &fd))
        read_some(fd, buf, sizeof(buf) - 1);
    stage_expect(stage, strcmp(buf, text) == 0, "\"%s\" is read, it was \"%s\"", text, buf);
}

static void converse(struct stage *stage, unsigned with)
{
    int listener = host_listen(stage_right(stage), 80, with);
    struct pair pair = stage_pair(stage, stage_left(stage), listener, with);

    send_text(pair.client, "ping");
    expect_text(stage, pair.server, "ping");
    send_text(pair.server, "pong");
    expect_text(stage, pair.client, "pong");
    close_with_reset(&pair.client);
    close_fd(&pair.server);
    close_fd(&listener);
}

static void plot_veth(struct stage *stage)
{
    stage_hosts(stage, "client", "server");
    converse(stage, 0);
    converse(stage, WITH_IPV6);
}

static void hosts_talk(void **state)
{
    (void)state;
    must_pass_with(plot_veth, NEEDS_IPV6, &plain);
}

static void plot_loopback(struct stage *stage)
{
    stage_loopback(stage, "host");
    stage_expect(stage, stage_left(stage) == stage_right(stage), "there is one host");
    converse(stage, 0);
    converse(stage, WITH_IPV6);
}

static void loopback_talks(void **state)
{
    (void)state;
    must_pass_with(plot_loopback, NEEDS_IPV6, &plain);
}

static void plot_wire(struct stage *stage)
{
    stage_hosts_on_wire(stage, "client", "server");
    converse(stage, 0);
}

static void wire_talks(void **state)
{
    struct story *story = new_story();

    (void)state;
    play_as(geteuid(), plot_wire, NEEDS_TUN, &plain, story);
    assert_passed(story);
}

static void plot_addresses(struct stage *stage)
{
    struct tw_endpoint to;
    int listener, client;

    stage_hosts(stage, "client", "server");
    host_add_address(stage_right(stage), "10.77.9.9");
    host_add_address(stage_left(stage), "fd77::9");
    listener = host_socket(stage_right(stage), 0);
    expect_errno(stage, "bind()", try_bind(listener, "10.77.9.9", 80), 0);
    expect_errno(stage, "listen()", try_listen(listener), 0);
    to = at("10.77.9.9", 80);
    client = host_socket(stage_left(stage), 0);
    expect_errno(stage, "connect()", finish_connect(stage, client, &to), 0);
    stage_accept(stage, listener);
    client = host_socket(stage_left(stage), WITH_IPV6);
    expect_errno(stage, "bind() on the left", try_bind(client, "fd77::9", 0), 0);
    client = host_socket(stage_right(stage), WITH_IPV6);
    expect_errno(stage, "bind() on the right", try_bind(client, "fd77::9", 0), EADDRNOTAVAIL);
}

static void addresses_are_added(void **state)
{
    (void)state;
    must_pass_with(plot_addresses, NEEDS_IPV6, &plain);
}

/* --- sysctls ---------------------------------------------------------------------------------- */

static void expect_sysctl(struct host *host, const char *name, int64_t expected)
{
    int64_t value = host_get(host, name);

    stage_expect(host->stage, value == expected, "%s of %s is %lld, it was %lld", name, host->name,
                 (long long)expected, (long long)value);
}

static void plot_sysctl(struct stage *stage)
{
    stage_hosts(stage, "client", "server");
    host_set(stage_left(stage), "net.ipv4.tcp_fin_timeout", "11");
    host_set(stage_right(stage), "net.ipv4.tcp_fin_timeout", "22");
    expect_sysctl(stage_left(stage), "net.ipv4.tcp_fin_timeout", 11);
    expect_sysctl(stage_right(stage), "net.ipv4.tcp_fin_timeout", 22);
}

static int64_t own_sysctl(const char *path)
{
    char text[32] = "";
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    assert_true(fd >= 0);
    assert_true(read(fd, text, sizeof(text) - 1) > 0);
    close(fd);
    return strtoll(text, NULL, 10);
}

static void sysctls_are_each_hosts(void **state)
{
    const char *path = "/proc/sys/net/ipv4/tcp_fin_timeout";
    int64_t before = own_sysctl(path);

    (void)state;
    must_pass(plot_sysctl);
    assert_int_equal(own_sysctl(path), before);
}

static void plot_override(struct stage *stage)
{
    stage_hosts(stage, "client", "server");
    expect_sysctl(stage_left(stage), "net.ipv4.tcp_fin_timeout", 33);
    expect_sysctl(stage_right(stage), "net.ipv4.tcp_syn_retries", 3);
    host_set(stage_right(stage), "net.ipv4.tcp_fin_timeout", "22");
    expect_sysctl(stage_right(stage), "net.ipv4.tcp_fin_timeout", 33);
    host_set(stage_right(stage), "net.ipv4.tcp_syn_retries", "5");
    expect_sysctl(stage_right(stage), "net.ipv4.tcp_syn_retries", 3);
    host_set(stage_right(stage), "net.ipv4.tcp_synack_retries", "4");
    expect_sysctl(stage_right(stage), "net.ipv4.tcp_synack_retries", 4);
}

static void set_of_the_user_wins(void **state)
{
    const char *const set[] = {"net.ipv4.tcp_fin_timeout=33", "net/ipv4/tcp_syn_retries=3"};
    const struct stage_settings settings = {.set = set, .set_count = 2, .pcap_fd = -1};

    (void)state;
    must_pass_with(plot_override, NEEDS_NOTHING, &settings);
}

static void plot_speed(struct stage *stage)
{
    stage_loopback(stage, "host");
    expect_sysctl(stage_left(stage), "net.ipv4.tcp_fin_timeout", 6);
    host_set(stage_left(stage), "net.ipv4.tcp_fin_timeout", "60");
    expect_sysctl(stage_left(stage), "net.ipv4.tcp_fin_timeout", 60);
}

static void speed_shrinks_waits(void **state)
{
    const struct stage_settings settings = {.speed = 10, .pcap_fd = -1};

    (void)state;
    must_pass_with(plot_speed, NEEDS_NOTHING, &settings);
}

static void plot_one_host(struct stage *stage)
{
    stage_loopback(stage, "host");
}

/* What is wrong with a --set ends the story in a way that says so. */
static void bad_sets_are_refused(void **state)
{
    static const struct {
        const char *set;
        enum story_end end;
        const char *reason;
    } cases[] = {
        {"net.ipv4.tcp_no_such=1", STORY_LACKING, "no such setting"},
        {"net.ipv4.tcp_fin_timeout=x", STORY_BROKEN, "Invalid argument"},
        {"net.ipv4.tcp_fin_timeout", STORY_BROKEN, "name=value"},
        {"kernel.hostname=x", STORY_BROKEN, "not one of the network"},
        {"net/../kernel/hostname=x", STORY_BROKEN, "not one of the network"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct stage_settings settings = {
            .set = &cases[i].set, .set_count = 1, .pcap_fd = -1};
        struct story *story = new_story();

        play_as(geteuid(), plot_one_host, NEEDS_NOTHING, &settings, story);
        if (!strstr(story->reason, cases[i].reason))
            fail_msg("%s: \"%s\"", cases[i].set, story->reason);
        assert_int_equal(story->end, cases[i].end);
        munmap(story, sizeof(*story));
    }
}

/* --- states ----------------------------------------------------------------------------------- */

static void expect_until(struct stage *stage, struct host *host, bool server_side, int state)
{
    stage_expect(stage, until_state(stage, host, 80, server_side, state, 5000),
                 "state %d of %s, it was %d", state, host->name, state_of(host, 80, server_side));
}

static void plot_states(struct stage *stage)
{
    struct host *client, *server;
    struct tw_socket_row row = {0};
    struct pair pair;
    int listener;

    stage_hosts(stage, "client", "server");
    client = stage_left(stage);
    server = stage_right(stage);
    listener = host_listen(server, 80, 0);
    stage_watch(stage, 80, true);
    stage_expect(stage, state_of(server, 80, true) == -1, "a listener is no connection");
    stage_expect(stage, count_in(server, TCP_LISTEN, 80) == 1, "but it is there");
    pair = stage_pair(stage, client, listener, 0);
    expect_until(stage, client, false, TCP_ESTABLISHED);
    expect_until(stage, server, true, TCP_ESTABLISHED);
    stage_expect(stage,
                 row_of(client, 80, false, &row) &&
                     tw_endpoint_port(&row.local) == port_of(pair.client),
                 "the row is that of the connection");
    stage_expect(stage, count_in(client, TCP_ESTABLISHED, 0) == 1, "one on the client");
    stage_expect(stage, count_in(client, TCP_ESTABLISHED, 81) == 0, "none with another port");
    host_says(client, "close()");
    close_fd(&pair.client);
    expect_until(stage, client, false, TCP_FIN_WAIT2);
    expect_until(stage, server, true, TCP_CLOSE_WAIT);
    host_says(server, "close()");
    close_fd(&pair.server);
    expect_until(stage, client, false, TCP_TIME_WAIT);
    expect_until(stage, server, true, -1);
}

/* States that last as long as a segment travels: on veth it is chance whether they are seen. */
static bool is_passing(const char *text)
{
    return strcmp(text, "SYN-SENT") == 0 || strcmp(text, "SYN-RECV") == 0 ||
           strcmp(text, "FIN-WAIT-1") == 0 || strcmp(text, "LAST-ACK") == 0;
}

/* The texts of one column, in their order. */
static void column_of(const struct story *story, uint8_t place, char *out, size_t size)
{
    size_t len = 0;

    out[0] = 0;
    for (unsigned i = 0; i < story->event_count; i++)
        if (story->events[i].place == place && !is_passing(story->events[i].text) && len < size)
            len += (size_t)snprintf(out + len, size - len, "%s ", story->events[i].text);
}

static void states_are_drawn(void **state)
{
    struct story *story = new_story();
    char left[512], right[512];

    (void)state;
    play_as(geteuid(), plot_states, NEEDS_NOTHING, &plain, story);
    assert_passed(story);
    column_of(story, STORY_LEFT, left, sizeof(left));
    column_of(story, STORY_RIGHT, right, sizeof(right));
    assert_string_equal(left, "ESTAB close() FIN-WAIT-2 TIME-WAIT ");
    assert_string_equal(right, "ESTAB CLOSE-WAIT close() gone ");
    for (unsigned i = 1; i < story->event_count; i++)
        assert_true(story->events[i].at_ns >= story->events[i - 1].at_ns);
    must_pass(plot_states);
}

/* One that works outlives one in TIME_WAIT, whichever the kernel lists first. */
static void plot_most_alive(struct stage *stage)
{
    struct host *host;
    struct pair first, second;
    int listener;

    stage_loopback(stage, "host");
    host = stage_left(stage);
    listener = host_listen(host, 80, 0);
    first = stage_pair(stage, host, listener, 0);
    close_fd(&first.client);
    close_fd(&first.server);
    expect_until(stage, host, false, TCP_TIME_WAIT);
    second = stage_pair(stage, host, listener, 0);
    expect_until(stage, host, false, TCP_ESTABLISHED);
    stage_expect(stage, count_in(host, TCP_ESTABLISHED, 80) == 2, "both ends are counted");
    stage_expect(stage, count_in(host, TCP_TIME_WAIT, 80) == 1, "one in TIME_WAIT");
    close_fd(&second.client);
}

static void most_alive_counts(void **state)
{
    (void)state;
    must_pass(plot_most_alive);
}

/* A connection to itself has the port at both ends of one socket. */
static void plot_self_connect(struct stage *stage)
{
    struct tw_endpoint to;
    int fd;

    stage_loopback(stage, "host");
    to = host_at(stage_left(stage), 4000);
    fd = host_socket(stage_left(stage), 0);
    expect_errno(stage, "bind()", try_bind(fd, NULL, 4000), 0);
    expect_errno(stage, "connect()", finish_connect(stage, fd, &to), 0);
    stage_expect(stage, count_in(stage_left(stage), TCP_ESTABLISHED, 4000) == 1, "counted once");
}

static void self_connection_counts_once(void **state)
{
    (void)state;
    must_pass(plot_self_connect);
}

/* What the plot does has its place behind what happened before, also without a wait between. */
static void plot_order(struct stage *stage)
{
    struct pair pair;
    int listener;

    stage_hosts(stage, "client", "server");
    listener = host_listen(stage_right(stage), 80, 0);
    pair = stage_pair(stage, stage_left(stage), listener, 0);
    stage_watch(stage, 80, true);
    close_with_reset(&pair.client);
    host_says(stage_left(stage), "closed");
}

static void order_is_kept(void **state)
{
    struct story *story = new_story();
    char left[128];

    (void)state;
    play_as(geteuid(), plot_order, NEEDS_NOTHING, &plain, story);
    column_of(story, STORY_LEFT, left, sizeof(left));
    assert_string_equal(left, "ESTAB gone closed ");
}

/* Calls on another host leave the process on the host that it has entered. */
static void plot_enter(struct stage *stage)
{
    struct tw_endpoint own;
    int fd;

    stage_hosts(stage, "client", "server");
    host_enter(stage_left(stage));
    count_in(stage_right(stage), TCP_LISTEN, 0);
    close(host_socket(stage_right(stage), 0));
    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    own = host_at(stage_left(stage), 0);
    expect_errno(stage, "bind() to the left address",
                 bind(fd, &own.sa, tw_endpoint_len(&own)) ? errno : 0, 0);
}

static void entered_host_stays(void **state)
{
    (void)state;
    must_pass(plot_enter);
}

/* --- processes and users ---------------------------------------------------------------------- */

static void connect_and_stay(void *context)
{
    struct stage *stage = context;
    struct tw_endpoint to = host_at(stage_right(stage), 80);
    int fd = host_socket(stage_left(stage), 0);

    finish_connect(stage, fd, &to);
    pause();
}

static void plot_fork(struct stage *stage)
{
    int listener, server, pid;

    stage_hosts(stage, "client", "server");
    listener = host_listen(stage_right(stage), 80, 0);
    pid = host_fork(stage_left(stage), connect_and_stay, stage);
    server = stage_accept(stage, listener);
    expect_until(stage, stage_left(stage), false, TCP_ESTABLISHED);
    stage_kill(stage, pid);
    expect_errno(stage, "the process", kill(pid, 0) ? errno : 0, ESRCH);
    expect_until(stage, stage_right(stage), true, TCP_CLOSE_WAIT);
    expect_until(stage, stage_left(stage), false, TCP_FIN_WAIT2);
    close_fd(&server);
}

static void processes_are_killed(void **state)
{
    (void)state;
    must_pass(plot_fork);
}

static void break_it(void *context)
{
    stage_broken(context, "a child says so");
}

static void plot_breaking_child(struct stage *stage)
{
    stage_loopback(stage, "host");
    stage_expect(stage, true, "a check that holds");
    waitpid(host_fork(stage_left(stage), break_it, stage), NULL, 0);
}

static void child_breaks_the_story(void **state)
{
    struct story *story = new_story();

    (void)state;
    play_as(geteuid(), plot_breaking_child, NEEDS_NOTHING, &plain, story);
    if (story->end == STORY_LACKING)
        skip();
    assert_int_equal(story->end, STORY_BROKEN);
    assert_string_equal(story->reason, "a child says so");
}

struct attempt {
    struct host *host;
    uint16_t port;
    int fd, code;
};

static void bind_as(void *context)
{
    struct attempt *attempt = context;

    attempt->fd = host_socket(attempt->host, WITH_REUSEPORT);
    attempt->code = try_bind(attempt->fd, NULL, attempt->port);
}

static void plot_users(struct stage *stage)
{
    struct attempt first = {.port = 8080}, second = {.port = 8080}, low = {.port = 80};
    int signal_number = 0;

    stage_loopback(stage, "host");
    first.host = second.host = low.host = stage_left(stage);
    as_user(1000, bind_as, &first);
    expect_errno(stage, "bind() of user 1000", first.code, 0);
    as_user(1001, bind_as, &second);
    expect_errno(stage, "bind() of user 1001", second.code, EADDRINUSE);
    as_user(1000, bind_as, &low);
    expect_errno(stage, "bind() to port 80 of user 1000", low.code, EACCES);
    bind_as(&low);
    expect_errno(stage, "bind() to port 80 of root", low.code, 0);
    prctl(PR_GET_PDEATHSIG, &signal_number);
    stage_expect(stage, signal_number == SIGKILL, "it still dies with its parent");
}

static void users_differ(void **state)
{
    struct story *story = new_story();

    (void)state;
    play_as(geteuid(), plot_users, NEEDS_USERS, &plain, story);
    assert_passed(story);
}

static void ordinary_user_has_no_users(void **state)
{
    struct story *story = new_story();

    (void)state;
    play_as(geteuid() ? geteuid() : NOBODY, plot_users, NEEDS_USERS, &plain, story);
    assert_int_equal(story->end, STORY_LACKING);
    /* In a chroot nobody else makes user namespaces, so it does not come that far. */
    if (strstr(story->reason, "no private network")) {
        print_message("skipped: %s\n", story->reason);
        skip();
    }
    assert_non_null(strstr(story->reason, "root of the whole host"));
}

/* --- needs ------------------------------------------------------------------------------------ */

/* Each need alone is either there, or the story says what is not. */
static void needs_are_told(void **state)
{
    static const unsigned needs[] = {NEEDS_TUN, NEEDS_DESTROY, NEEDS_IO_URING, NEEDS_IPV6};
    const unsigned users[] = {geteuid(), NOBODY};

    (void)state;
    for (unsigned i = 0; i < 2 * sizeof(needs) / sizeof(needs[0]); i++) {
        struct story *story = new_story();

        if (i % 2 && geteuid())
            continue;
        play_as(users[i % 2], plot_of_nothing, needs[i / 2], &plain, story);
        if (story->end == STORY_LACKING)
            print_message("lacking as user %u: %s\n", users[i % 2], story->reason);
        else
            assert_passed(story);
        assert_int_equal(story->end == STORY_LACKING, story->reason[0] != 0);
        munmap(story, sizeof(*story));
    }
}

/* Where the kernel lets nobody make networks the story says so. */
static void no_network_is_lacking(void **state)
{
    struct story *story = new_story();
    const struct scenario scenario = {.name = "test", .play = plot_of_nothing};
    int pid = fork(), status;

    (void)state;
    assert_true(pid >= 0);
    if (pid == 0) {
        if (!enter_user_namespace(0, 0) || !write_text("/proc/sys/user/max_net_namespaces", "0"))
            _exit(EXIT_SKIP);
        stage_play(&scenario, story, &plain);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    need(!WIFEXITED(status) || WEXITSTATUS(status) != EXIT_SKIP, "no user namespaces here");
    assert_int_equal(story->end, STORY_LACKING);
    assert_non_null(strstr(story->reason, "no private network"));
}

static int all_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hosts_talk),
        cmocka_unit_test(loopback_talks),
        cmocka_unit_test(wire_talks),
        cmocka_unit_test(addresses_are_added),
        cmocka_unit_test(sysctls_are_each_hosts),
        cmocka_unit_test(set_of_the_user_wins),
        cmocka_unit_test(speed_shrinks_waits),
        cmocka_unit_test(bad_sets_are_refused),
        cmocka_unit_test(states_are_drawn),
        cmocka_unit_test(most_alive_counts),
        cmocka_unit_test(self_connection_counts_once),
        cmocka_unit_test(order_is_kept),
        cmocka_unit_test(entered_host_stays),
        cmocka_unit_test(processes_are_killed),
        cmocka_unit_test(child_breaks_the_story),
        cmocka_unit_test(users_differ),
        cmocka_unit_test(ordinary_user_has_no_users),
        cmocka_unit_test(needs_are_told),
        cmocka_unit_test(no_network_is_lacking),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
    return run_on_stages(all_tests);
}
