/* tw_tuple_connect() and tw_tuple_close() against a real server, ports that others have, nobody. */
#include "private.h"

#include <poll.h>
#include <pthread.h>

#include "tidewait/clock.h"
#include "tidewait/limits.h"
#include "tidewait/tuple.h"

enum { SERVER = 8080, FIRST = 40000, OTHERS = 50000 };

static struct tw_ledger *ledger_of(uint16_t first, uint32_t count)
{
    uint16_t ports[128];
    struct tw_ledger_opts opts = {.size = sizeof(opts),
                                  .ports = ports,
                                  .port_count = count,
                                  .lanes = 1,
                                  .time_wait_ns = TW_TIME_WAIT_NS,
                                  .rest_ns = TW_LEDGER_REST_NS,
                                  .takeover = true};
    struct tw_ledger *ledger;

    for (uint32_t i = 0; i < count; i++)
        ports[i] = (uint16_t)(first + i);
    ledger = tw_ledger_new(&opts, NULL);
    assert_non_null(ledger);
    return ledger;
}

static struct tw_ledger *new_ledger(uint32_t count)
{
    return ledger_of(FIRST, count);
}

static struct tw_ledger_count count_of(const struct tw_ledger *ledger)
{
    struct tw_ledger_count count;

    tw_ledger_count(ledger, &count);
    return count;
}

static int listen_at(const char *address)
{
    struct tw_endpoint local = at(address, SERVER);
    struct tw_listen_opts opts = {0};
    int fd = tw_listen(&local, &opts, NULL);

    assert_true(fd >= 0);
    return fd;
}

/* Accepts and closes at once, until the listener is shut down. */
static void *close_all(void *context)
{
    int listener = *(int *)context, fd;

    while ((fd = accept(listener, NULL, NULL)) >= 0)
        tw_close_after_peer(fd, TW_NS_PER_S);
    return NULL;
}

/* Four ports, two hundred connections that we close first. */
static void check_many(const char *address, const struct tw_endpoint *source)
{
    int listener = listen_at(address), rc;
    struct tw_endpoint server = at(address, SERVER);
    struct tw_ledger *ledger = new_ledger(4);
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, close_all, &listener), 0);
    for (int i = 0; i < 200; i++) {
        struct tw_error error = {0};
        struct tw_tuple tuple;
        struct tw_endpoint own = {0};
        socklen_t len = sizeof(own);
        int fd = tw_tuple_connect(ledger, 0, source, &server, 10 * TW_NS_PER_S, &tuple, &error);

        if (fd < 0)
            fail_msg("connection %d: %s", i, error.text);
        assert_int_equal(count_of(ledger).in_use, 1);
        assert_int_equal(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
        assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
        assert_int_equal(getsockname(fd, &own.sa, &len), 0);
        assert_int_equal(tw_endpoint_port(&own), tuple.port);
        assert_true(!source || tw_endpoint_same_address(&own, source));
        assert_int_equal(tw_tuple_close(ledger, &tuple, fd, 10 * TW_NS_PER_S), TW_CLOSER_US);
        assert_int_equal(count_of(ledger).in_use, 0);
    }
    assert_true(tw_ledger_takes_over(ledger, 0));
    shutdown(listener, SHUT_RDWR);
    rc = pthread_join(thread, NULL);
    assert_int_equal(rc, 0);
    close(listener);
    tw_ledger_free(ledger);
}

static void test_many_from_few_ports(void **state)
{
    struct tw_endpoint source = at("127.0.0.7", 0);

    (void)state;
    check_many("127.0.0.1", NULL);
    check_many("127.0.0.1", &source);
    need(access("/proc/sys/net/ipv6", F_OK) == 0, "this kernel has no IPv6");
    check_many("::1", NULL);
}

/* Who closed first is what the ledger is told. */
static void test_peer_first(void **state)
{
    int listener = listen_at("127.0.0.1"), fd, peer;
    struct tw_endpoint server = at("127.0.0.1", SERVER);
    struct tw_ledger *ledger = new_ledger(1);
    struct tw_tuple tuple;
    struct pollfd wait = {.events = POLLRDHUP};

    (void)state;
    fd = tw_tuple_connect(ledger, 0, NULL, &server, TW_NS_PER_S, &tuple, NULL);
    assert_true(fd >= 0);
    peer = accept(listener, NULL, NULL);
    shutdown(peer, SHUT_WR);
    wait.fd = fd;
    assert_int_equal(poll(&wait, 1, 10000), 1);
    assert_int_equal(tw_tuple_close(ledger, &tuple, fd, TW_NS_PER_S), TW_CLOSER_PEER);
    close(peer);

    fd = tw_tuple_connect(ledger, 0, NULL, &server, TW_NEVER, &tuple, NULL);
    assert_true(fd >= 0);
    peer = accept(listener, NULL, NULL);
    tw_close_reset(peer);
    assert_int_equal(poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, 10000), 1);
    assert_int_equal(tw_tuple_close(ledger, &tuple, fd, TW_NS_PER_S), TW_CLOSER_RESET);
    close(listener);
    tw_ledger_free(ledger);
}

static void expect_failure(struct tw_ledger *ledger, const struct tw_endpoint *source,
                           const struct tw_endpoint *server, uint64_t timeout_ns, int code,
                           const char *text)
{
    struct tw_error error = {0};
    struct tw_tuple tuple;
    int rc = tw_tuple_connect(ledger, 0, source, server, timeout_ns, &tuple, &error);

    assert_int_equal(rc, -code);
    assert_int_equal(error.code, code);
    if (!strstr(error.text, text))
        fail_msg("'%s' does not say '%s'", error.text, text);
}

/* Each failure gives its tuple back. */
static void test_failures(void **state)
{
    struct tw_endpoint server = at("127.0.0.1", SERVER), foreign = at("192.0.2.1", 0);
    struct tw_ledger *ledger = new_ledger(8);
    struct tw_tuple tuple;
    int listener, fd;

    (void)state;
    expect_failure(ledger, NULL, &server, TW_NS_PER_S, ECONNREFUSED, "Connection refused");
    expect_failure(ledger, &foreign, &server, TW_NS_PER_S, EADDRNOTAVAIL, "127.0.0.1:8080");
    assert_int_equal(count_of(ledger).in_use, 0);
    assert_int_equal(count_of(ledger).aside, 0);
    tw_ledger_free(ledger);

    /* All in use: nobody could give one back meanwhile, so there is nothing to wait for. */
    ledger = new_ledger(1);
    listener = listen_at("127.0.0.1");
    fd = tw_tuple_connect(ledger, 0, NULL, &server, TW_NS_PER_S, &tuple, NULL);
    assert_true(fd >= 0);
    expect_failure(ledger, NULL, &server, TW_NEVER, EAGAIN, "no source port is safe");
    close(fd);
    close(listener);
    tw_ledger_free(ledger);
}

/* A listener whose queue is full lets a SYN wait. */
static void test_no_answer(void **state)
{
    struct tw_endpoint server = at("127.0.0.1", SERVER);
    struct tw_listen_opts opts = {.backlog = 1};
    struct tw_ledger *ledger = new_ledger(100);
    int listener = tw_listen(&server, &opts, NULL), count = 0, fds[16], rc = 0;
    struct tw_error error = {0};
    struct tw_tuple tuple;

    (void)state;
    assert_true(listener >= 0);
    while (count < 16) {
        rc = tw_tuple_connect(ledger, 0, NULL, &server, 100 * TW_NS_PER_MS, &tuple, &error);
        if (rc < 0)
            break;
        fds[count++] = rc;
    }
    assert_int_equal(rc, -ETIMEDOUT);
    assert_int_equal(count_of(ledger).in_use, count);
    while (count)
        close(fds[--count]);
    close(listener);
    tw_ledger_free(ledger);
}

/* Ports that others have cost the next one, and are set aside. */
static void test_ports_of_others(void **state)
{
    struct tw_endpoint server = at("127.0.0.1", SERVER);
    struct tw_ledger *ledger = ledger_of(OTHERS, 128);
    int listener = listen_at("127.0.0.1"), taken[128], fd;
    struct tw_tuple tuple;

    (void)state;
    for (uint16_t i = 0; i < 128; i++) {
        struct tw_endpoint local = at("127.0.0.1", (uint16_t)(OTHERS + i));

        taken[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(bind(taken[i], &local.sa, tw_endpoint_len(&local)), 0);
    }
    expect_failure(ledger, NULL, &server, TW_NEVER, EADDRINUSE, "64 source ports");
    assert_int_equal(count_of(ledger).aside, 64);
    assert_int_equal(count_of(ledger).in_use, 0);
    for (int i = 0; i < 128; i++)
        close(taken[i]);
    fd = tw_tuple_connect(ledger, 0, NULL, &server, TW_NS_PER_S, &tuple, NULL);
    assert_true(fd >= 0);
    close(fd);
    close(listener);
    tw_ledger_free(ledger);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_many_from_few_ports),
        cmocka_unit_test(test_peer_first),
        cmocka_unit_test(test_failures),
        cmocka_unit_test(test_no_answer),
        cmocka_unit_test(test_ports_of_others),
    };
    int rc = enter_private_network();

    return rc ? rc : cmocka_run_group_tests(tests, NULL, NULL);
}
