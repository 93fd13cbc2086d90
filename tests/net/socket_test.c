/*
 * Listening, connecting and closing of the library, on real sockets of the loopback address
 * of a private network. Exit code 77: none may be made here.
 */
#include <netinet/tcp.h>
#include <pthread.h>

#include "private.h"
#include "tidewait/clock.h"
#include "tidewait/socket.h"

/* Long enough never to be over by itself, and short enough to wait for. */
#define LONG_NS  (20 * TW_NS_PER_S)
#define SHORT_NS (20 * TW_NS_PER_MS)

struct pair {
    int ours, peers;
};

static struct tw_endpoint loopback(void)
{
    return at("127.0.0.1", 0);
}

/* A listener on a port of the kernel's choice; *local becomes where it is. */
static int listener_on(struct tw_endpoint *local)
{
    struct tw_listen_opts opts = {0};
    socklen_t len = sizeof(*local);
    int fd = tw_listen(local, &opts, NULL);

    assert_true(fd >= 0);
    assert_int_equal(getsockname(fd, &local->sa, &len), 0);
    return fd;
}

static struct pair connected(void)
{
    struct tw_endpoint local = loopback();
    struct pair pair;
    int listener = listener_on(&local);

    pair.ours = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(pair.ours, &local.sa, tw_endpoint_len(&local)), 0);
    pair.peers = accept(listener, NULL, NULL);
    assert_true(pair.peers >= 0);
    close(listener);
    return pair;
}

/* A peer that answers our EOF with its own. */
static void *close_behind_us(void *fd)
{
    char byte;

    while (read(*(int *)fd, &byte, 1) > 0)
        ;
    close(*(int *)fd);
    return NULL;
}

static void test_politely_we_first(void **state)
{
    struct pair pair = connected();
    pthread_t peer;

    (void)state;
    assert_int_equal(pthread_create(&peer, NULL, close_behind_us, &pair.peers), 0);
    assert_int_equal(tw_close_politely(pair.ours, TW_NEVER), TW_CLOSER_US);
    pthread_join(peer, NULL);
}

static void test_politely_peer_first(void **state)
{
    struct pair pair = connected();

    (void)state;
    assert_int_equal(write(pair.peers, "unread", 6), 6);
    close(pair.peers);
    assert_int_equal(tw_close_politely(pair.ours, TW_NEVER), TW_CLOSER_PEER);
}

static void test_politely_in_vain(void **state)
{
    struct pair pair = connected();

    (void)state;
    assert_int_equal(tw_close_politely(pair.ours, SHORT_NS), TW_CLOSER_NONE);
    assert_int_equal(fcntl(pair.ours, F_GETFD), -1); /* closed all the same */
    close(pair.peers);
}

static void test_reset(void **state)
{
    struct pair pair = connected(), other = connected();

    (void)state;
    tw_close_reset(pair.peers);
    assert_int_equal(tw_close_politely(pair.ours, LONG_NS), TW_CLOSER_RESET);
    tw_close_reset(other.peers);
    assert_int_equal(tw_close_after_peer(other.ours, LONG_NS), TW_CLOSER_RESET);
}

static void test_after_peer(void **state)
{
    struct pair pair = connected(), idle = connected();

    (void)state;
    assert_false(tw_has_unread(pair.ours));
    assert_int_equal(write(pair.peers, "unread", 6), 6);
    assert_true(tw_has_unread(pair.ours));
    close(pair.peers);
    assert_int_equal(tw_close_after_peer(pair.ours, LONG_NS), TW_CLOSER_PEER);
    assert_int_equal(tw_close_after_peer(idle.ours, SHORT_NS), TW_CLOSER_US);
    close(idle.peers);
}

static void test_listen_refused(void **state)
{
    struct tw_endpoint local = loopback();
    struct tw_listen_opts opts = {0};
    struct tw_error error = {0};
    char text[TW_ENDPOINT_TEXT_MAX];
    int listener = listener_on(&local);

    (void)state;
    assert_int_equal(tw_listen(&local, &opts, &error), -EADDRINUSE);
    assert_int_equal(error.code, EADDRINUSE);
    assert_non_null(strstr(error.text, tw_endpoint_format(&local, text)));
    close(listener);
}

/* One descriptor, one port, several connections in a row, the last one cut off by a renewal. */
static void test_source_is_renewed(void **state)
{
    struct tw_endpoint server = loopback(), local = loopback(), seen = {0};
    struct tw_source_opts opts = {0};
    int listener = listener_on(&server), fd;
    socklen_t len;
    char byte;

    (void)state;
    /* A port that is free; the kernel would give up one that it chose itself. */
    close(listener_on(&local));
    fd = tw_source_open(&local, &opts);
    assert_true(fd >= 0);
    for (int i = 0; i < 3; i++) {
        int peer;

        assert_true(tw_source_is_closed(fd));
        assert_true(connect(fd, &server.sa, tw_endpoint_len(&server)) == 0 || errno == EINPROGRESS);
        len = sizeof(seen);
        peer = accept(listener, &seen.sa, &len);
        assert_int_equal(tw_endpoint_port(&seen), tw_endpoint_port(&local));
        assert_false(tw_source_is_closed(fd));
        assert_int_equal(tw_source_renew(fd), 0);
        assert_int_equal(read(peer, &byte, 1), -1);
        assert_int_equal(errno, ECONNRESET);
        close(peer);
    }
    close(fd);
    close(listener);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_politely_we_first), cmocka_unit_test(test_politely_peer_first),
        cmocka_unit_test(test_politely_in_vain),  cmocka_unit_test(test_reset),
        cmocka_unit_test(test_after_peer),        cmocka_unit_test(test_listen_refused),
        cmocka_unit_test(test_source_is_renewed),
    };
    int rc = enter_private_network();

    return rc ? rc : cmocka_run_group_tests(tests, NULL, NULL);
}
