/*
 * tw_sockets_each() on real sockets in a private network namespace: every state, who opened a
 * connection, fields and filters, UDP, MPTCP. Exit code 77: no namespace may be made here.
 */
#include "sockets.h"

#include <fcntl.h>
#include <sys/utsname.h>

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

/* Writes until the peer's window and the own buffer are full. */
static void fill(int fd)
{
    static const char block[65536];

    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    for (int quiet = 0; quiet < 5;) {
        if (send(fd, block, sizeof(block), MSG_NOSIGNAL) > 0) {
            quiet = 0;
            continue;
        }
        assert_int_equal(errno, EAGAIN);
        usleep(2000);
        quiet++;
    }
}

/* Whether this kernel can list bound sockets; prints the reason when not. Its release tells, not
 * the code under test: a fault of that must fail the test and not skip it. */
static bool lists_bound_sockets(void)
{
    unsigned major = 0, minor = 0;
    struct utsname kernel;

    assert_int_equal(uname(&kernel), 0);
    /* No number in a release is too large for it. NOLINTNEXTLINE(cert-err34-c) */
    assert_int_equal(sscanf(kernel.release, "%u.%u", &major, &minor), 2);
    if (major > 6 || (major == 6 && minor >= 8))
        return true;
    print_message("skipped: Linux %s does not list bound sockets, 6.8 does\n", kernel.release);
    return false;
}

/* --- states and who opened
 * ----------------------------------------------------------------------- */

/* Both ends of one connection are in these states, and each knows whether it was opened here. */
static void check_ends(const struct pair *pair, uint8_t client_state, uint8_t server_state)
{
    struct tw_endpoint client = local_of(pair->client), server = local_of(pair->server);
    struct tw_socket_row row = await(IPPROTO_TCP, &client, client_state, true);

    assert_int_equal(row.opened, TW_YES);
    assert_true(same(&row.remote, &server));
    assert_int_equal(row.inode, inode_of(pair->client));
    assert_int_equal(row.uid, getuid());
    assert_int_not_equal(row.cookie, 0);
    row = await(IPPROTO_TCP, &server, server_state, true);
    assert_int_equal(row.opened, TW_NO);
    assert_true(same(&row.remote, &client));
    assert_int_equal(row.inode, inode_of(pair->server));
}

static void check_conversation(const char *address)
{
    struct pair pair = make_pair(address);
    char buf[4096] = "";

    check_ends(&pair, TCP_ESTABLISHED, TCP_ESTABLISHED);
    for (int i = 1; i < 9; i++) {
        assert_int_equal(send(pair.client, buf, (size_t)i, 0), i);
        assert_int_equal(recv(pair.server, buf, (size_t)i, MSG_WAITALL), i);
        check_ends(&pair, TCP_ESTABLISHED, TCP_ESTABLISHED);
        assert_int_equal(send(pair.server, buf, (size_t)(3 * i), 0), 3 * i);
        check_ends(&pair, TCP_ESTABLISHED, TCP_ESTABLISHED);
    }
    assert_int_equal(row_of(pair.client, TCP_ESTABLISHED).receive_queue, 3 * 36);
    close_pair(&pair);
}

static void conversation(void **state)
{
    (void)state;
    check_conversation("127.0.0.1");
    check_conversation("::1");
}

static void half_closed(void **state)
{
    struct pair pair = make_pair("127.0.0.1");

    (void)state;
    assert_int_equal(send(pair.client, "x", 1, 0), 1);
    assert_int_equal(shutdown(pair.client, SHUT_WR), 0);
    check_ends(&pair, TCP_FIN_WAIT2, TCP_CLOSE_WAIT);
    assert_int_equal(send(pair.server, "abc", 3, 0), 3);
    check_ends(&pair, TCP_FIN_WAIT2, TCP_CLOSE_WAIT);
    close_pair(&pair);

    pair = make_pair("127.0.0.1");
    assert_int_equal(shutdown(pair.server, SHUT_WR), 0);
    check_ends(&pair, TCP_CLOSE_WAIT, TCP_FIN_WAIT2);
    close_pair(&pair);
}

/* Data that was not sent, and a FIN behind it. */
static void stuck(void **state)
{
    struct pair pair = make_pair("127.0.0.1");

    (void)state;
    fill(pair.client);
    check_ends(&pair, TCP_ESTABLISHED, TCP_ESTABLISHED);
    assert_true(row_of(pair.client, TCP_ESTABLISHED).send_queue > 0);
    assert_true(row_of(pair.server, TCP_ESTABLISHED).receive_queue > 0);
    assert_int_equal(shutdown(pair.client, SHUT_WR), 0);
    check_ends(&pair, TCP_FIN_WAIT1, TCP_ESTABLISHED);
    assert_int_equal(shutdown(pair.server, SHUT_WR), 0);
    check_ends(&pair, TCP_CLOSING, TCP_FIN_WAIT2);
    close_pair(&pair);

    pair = make_pair("127.0.0.1");
    fill(pair.server);
    assert_int_equal(shutdown(pair.client, SHUT_WR), 0);
    assert_int_equal(shutdown(pair.server, SHUT_WR), 0);
    check_ends(&pair, TCP_FIN_WAIT2, TCP_LAST_ACK);
    close_pair(&pair);
}

static void await_retransmission(int fd)
{
    uint64_t deadline = tw_clock_ns() + 5 * TW_NS_PER_S;
    struct tcp_info info = {0};
    socklen_t len = sizeof(info);

    while (info.tcpi_total_retrans == 0 && tw_clock_ns() < deadline) {
        usleep(10000);
        assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len), 0);
    }
    assert_true(info.tcpi_total_retrans > 0);
}

/* Sent, not acknowledged and sent again, from either end: the network is away for a while. */
static void retransmitted(void **state)
{
    for (int from_server = 0; from_server < 2; from_server++) {
        struct pair pair = make_pair("127.0.0.1");
        int from = from_server ? pair.server : pair.client;

        set_lo(false);
        assert_int_equal(send(from, "hello", 5, 0), 5);
        assert_int_equal(row_of(from, TCP_ESTABLISHED).send_queue, 5);
        check_ends(&pair, TCP_ESTABLISHED, TCP_ESTABLISHED);
        await_retransmission(from);
        check_ends(&pair, TCP_ESTABLISHED, TCP_ESTABLISHED);
        assert_int_equal(shutdown(from, SHUT_WR), 0);
        check_ends(&pair, from_server ? TCP_ESTABLISHED : TCP_FIN_WAIT1,
                   from_server ? TCP_FIN_WAIT1 : TCP_ESTABLISHED);
        set_lo(true);
        check_ends(&pair, from_server ? TCP_CLOSE_WAIT : TCP_FIN_WAIT2,
                   from_server ? TCP_FIN_WAIT2 : TCP_CLOSE_WAIT);
        close_pair(&pair);
    }
    (void)state;
}

/* A descriptor that is used again after connect(AF_UNSPEC) begins anew. */
static void used_again(void **state)
{
    struct sockaddr none = {.sa_family = AF_UNSPEC};
    struct pair pair = make_pair("127.0.0.1");
    struct tw_endpoint to = local_of(pair.listener);

    (void)state;
    assert_int_equal(send(pair.client, "hello", 5, 0), 5);
    assert_int_equal(connect(pair.client, &none, sizeof(none)), 0);
    close(pair.server);
    assert_int_equal(connect(pair.client, &to.sa, tw_endpoint_len(&to)), 0);
    pair.server = accept4(pair.listener, NULL, NULL, SOCK_CLOEXEC);
    assert_true(pair.server >= 0);
    check_ends(&pair, TCP_ESTABLISHED, TCP_ESTABLISHED);
    close_pair(&pair);
}

/* A listener that defers: the client is through, the server waits for data. */
static void handshakes(void **state)
{
    int fd = listener("127.0.0.1", true), client, seconds = 30;
    struct tw_endpoint to = local_of(fd), end;
    struct tw_socket_row row;

    (void)state;
    assert_int_equal(setsockopt(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &seconds, sizeof(seconds)), 0);
    client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(client, &to.sa, tw_endpoint_len(&to)), 0);
    row = await(IPPROTO_TCP, &to, TCP_SYN_RECV, true);
    assert_int_equal(row.opened, TW_NO);
    assert_int_equal(row.inode, 0);
    assert_int_equal(row.expires_ms, 0);
    close(client);
    close(fd);

    set_lo(false);
    client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    end = at("127.0.0.1", 0);
    assert_int_equal(bind(client, &end.sa, tw_endpoint_len(&end)), 0);
    assert_int_equal(connect(client, &to.sa, tw_endpoint_len(&to)), -1);
    assert_int_equal(errno, EINPROGRESS);
    end = local_of(client);
    assert_int_equal(await(IPPROTO_TCP, &end, TCP_SYN_SENT, true).opened, TW_YES);
    assert_int_equal(row_of(client, TCP_SYN_SENT).opened, TW_UNKNOWN); /* not asked for */
    close(client);
    set_lo(true);
}

static void leftovers(void **state)
{
    struct pair pair = make_pair("127.0.0.1");
    struct tw_endpoint client = local_of(pair.client);
    struct tw_socket_row row;
    char byte;

    (void)state;
    close(pair.client);
    row = await(IPPROTO_TCP, &client, TCP_FIN_WAIT2, false); /* an orphan, of tcp_fin_timeout */
    assert_int_equal(row.inode, 0);
    assert_in_range(row.expires_ms, 50001, 62000);
    assert_int_equal(read(pair.server, &byte, 1), 0);
    close(pair.server);
    row = await(IPPROTO_TCP, &client, TCP_TIME_WAIT, false);
    assert_int_equal(row.inode, 0);
    assert_in_range(row.expires_ms, 55000, 62200);
    assert_int_equal(row.opened, TW_UNKNOWN);
    close(pair.listener);
}

/* --- fields and filters
 * -------------------------------------------------------------------------- */

static void listener_fields(void **state)
{
    int v4 = listener("0.0.0.0", false), dual = listener("::", false), only = listener("::", true);
    struct tw_endpoint to = local_of(v4);
    int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct tw_socket_row row;

    (void)state;
    assert_int_equal(connect(client, &to.sa, tw_endpoint_len(&to)), 0);
    row = row_of(v4, TCP_LISTEN);
    assert_int_equal(row.protocol, IPPROTO_TCP);
    assert_false(row.v6only);
    assert_false(row.mptcp);
    assert_int_equal(row.receive_queue, 1);
    assert_int_equal(row.send_queue, 8);
    assert_int_equal(row.inode, inode_of(v4));
    assert_int_equal(tw_endpoint_port(&row.remote), 0);
    assert_int_equal(row.device, 0);
    assert_false(row_of(dual, TCP_LISTEN).v6only);
    assert_true(row_of(only, TCP_LISTEN).v6only);
    to = at("127.0.0.1", tw_endpoint_port(&to));
    /* Accepted by nobody yet: no process has it. */
    assert_int_equal(await(IPPROTO_TCP, &to, TCP_ESTABLISHED, false).inode, 0);
    close(client);
    close(v4);
    close(dual);
    close(only);
}

static void device_bound(void **state)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct tw_endpoint local = at("127.0.0.1", 0);

    (void)state;
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3), 0);
    assert_int_equal(bind(fd, &local.sa, tw_endpoint_len(&local)), 0);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(row_of(fd, TCP_LISTEN).device, if_nametoindex("lo"));
    close(fd);
}

static void bound_sockets(void **state)
{
    int a, b, c;
    struct tw_endpoint local;
    struct rows rows;

    (void)state;
    if (!lists_bound_sockets())
        skip();
    a = bound(SOCK_STREAM, 0, "127.0.0.1", false);
    b = bound(SOCK_STREAM, 0, "::", true);
    c = listener("127.0.0.1", false);
    local = local_of(a);
    rows = ask((struct tw_sockets_query){.local_port = tw_endpoint_port(&local)});
    assert_int_equal(rows.count, 1);
    assert_int_equal(rows.row[0].state, TCP_CLOSE);
    assert_int_equal(rows.row[0].inode, inode_of(a));
    assert_true(row_of(b, TCP_CLOSE).v6only);
    rows = ask((struct tw_sockets_query){.state_mask = TW_STATE_MASK(TCP_CLOSE)});
    assert_int_equal(rows.count, 2);
    rows = ask((struct tw_sockets_query){.remote_port = 9});
    assert_int_equal(rows.count, 0);
    close(a);
    close(b);
    close(c);
}

static void filters(void **state)
{
    struct pair one = make_pair("127.0.0.1"), two = make_pair("127.0.0.2"), six = make_pair("::1");
    struct tw_endpoint server = local_of(one.server), client = local_of(one.client);
    struct tw_endpoint second = at("127.0.0.2", 0), v6 = at("::1", 0),
                       mapped = at("::ffff:127.0.0.2", 0);
    struct tw_sockets_query query = {.local_port = tw_endpoint_port(&server)};
    struct rows rows;

    (void)state;
    assert_int_equal(ask(query).count, 2); /* with its listener */
    query.remote_port = tw_endpoint_port(&client);
    assert_int_equal(ask(query).count, 1);
    query.remote = &second;
    assert_int_equal(ask(query).count, 0);
    query = (struct tw_sockets_query){.remote_port = tw_endpoint_port(&server)};
    assert_int_equal(ask(query).count, 1);
    rows = ask(query);
    assert_true(same(&rows.row[0].local, &client));
    query = (struct tw_sockets_query){.remote = &second};
    assert_int_equal(ask(query).count, 1); /* the other end has 127.0.0.1 */
    query.remote = &mapped;
    assert_int_equal(ask(query).count, 1);
    query.remote = &v6;
    assert_int_equal(ask(query).count, 2);
    query.family = AF_INET;
    assert_int_equal(ask(query).count, 0);
    query = (struct tw_sockets_query){.family = AF_INET6};
    assert_int_equal(ask(query).count, 3);
    query = (struct tw_sockets_query){.state_mask = TW_STATE_MASK(TCP_LISTEN)};
    assert_int_equal(ask(query).count, 3);
    close_pair(&one);
    close_pair(&two);
    close_pair(&six);
}

/* An IPv4 client of a dual-stack listener is found by its IPv4 address. */
static void mapped_remote(void **state)
{
    int fd = listener("::", false), client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), server;
    struct tw_endpoint local = local_of(fd), to, from, plain;
    struct rows rows;

    (void)state;
    to = at("127.0.0.1", tw_endpoint_port(&local));
    from = at("127.0.0.7", 0);
    assert_int_equal(bind(client, &from.sa, tw_endpoint_len(&from)), 0);
    assert_int_equal(connect(client, &to.sa, tw_endpoint_len(&to)), 0);
    server = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
    rows = ask((struct tw_sockets_query){.remote = &from});
    assert_int_equal(rows.count, 1);
    assert_int_equal(rows.row[0].local.sa.sa_family, AF_INET6);
    plain = tw_endpoint_unmap(&rows.row[0].local);
    assert_true(same(&plain, &to));
    close(server);
    close(client);
    close(fd);
}

static void udp(void **state)
{
    int a = bound(SOCK_DGRAM, 0, "127.0.0.1", false), b = bound(SOCK_DGRAM, 0, "::1", true);
    struct tw_endpoint a_end = local_of(a), b_end = local_of(b), to = at("127.0.0.1", 9);
    struct tw_socket_row row = await(IPPROTO_UDP, &a_end, TCP_CLOSE, false);

    (void)state;
    assert_int_equal(row.protocol, IPPROTO_UDP);
    assert_int_equal(row.inode, inode_of(a));
    assert_int_equal(tw_endpoint_port(&row.remote), 0);
    assert_true(await(IPPROTO_UDP, &b_end, TCP_CLOSE, false).v6only);
    assert_int_equal(connect(a, &to.sa, tw_endpoint_len(&to)), 0);
    row = await(IPPROTO_UDP, &a_end, TCP_ESTABLISHED, false);
    assert_true(same(&row.remote, &to));
    assert_int_equal(ask((struct tw_sockets_query){.protocol = IPPROTO_UDP}).count, 2);
    assert_int_equal(
        ask((struct tw_sockets_query){.protocol = IPPROTO_UDP, .remote_port = 9}).count, 1);
    close(a);
    close(b);
}

static void mptcp(void **state)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_MPTCP), client, server, plain;
    struct tw_endpoint to = at("127.0.0.1", 0);
    struct tw_socket_row row;

    (void)state;
    if (fd < 0) {
        print_message("skipped: no MPTCP here: %s\n", strerror(errno));
        skip();
    }
    plain = listener("127.0.0.1", false);
    assert_int_equal(bind(fd, &to.sa, tw_endpoint_len(&to)), 0);
    assert_int_equal(listen(fd, 4), 0);
    to = local_of(fd);
    client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_MPTCP);
    assert_int_equal(connect(client, &to.sa, tw_endpoint_len(&to)), 0);
    server = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
    row = row_of(fd, TCP_LISTEN);
    assert_true(row.mptcp);
    assert_int_equal(row.inode, inode_of(fd));
    row = row_of(client, TCP_ESTABLISHED);
    assert_true(row.mptcp);
    assert_int_equal(row.inode, inode_of(client));
    row = row_of(server, TCP_ESTABLISHED);
    assert_true(row.mptcp);
    assert_int_equal(row.inode, inode_of(server));
    assert_false(row_of(plain, TCP_LISTEN).mptcp);
    close(plain);
    close(client);
    close(server);
    close(fd);
}

static void wrong_queries(void **state)
{
    struct tw_sockets_query query = {.protocol = IPPROTO_ICMP};
    struct tw_error error = {0};

    (void)state;
    assert_int_equal(tw_sockets_each(&query, keep, NULL, &error), -EPROTONOSUPPORT);
    assert_int_equal(error.code, EPROTONOSUPPORT);
    query = (struct tw_sockets_query){.family = AF_UNIX};
    assert_int_equal(tw_sockets_each(&query, keep, NULL, NULL), -EAFNOSUPPORT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(conversation),  cmocka_unit_test(half_closed),
        cmocka_unit_test(stuck),         cmocka_unit_test(retransmitted),
        cmocka_unit_test(used_again),    cmocka_unit_test(handshakes),
        cmocka_unit_test(leftovers),     cmocka_unit_test(listener_fields),
        cmocka_unit_test(device_bound),  cmocka_unit_test(bound_sockets),
        cmocka_unit_test(filters),       cmocka_unit_test(mapped_remote),
        cmocka_unit_test(udp),           cmocka_unit_test(mptcp),
        cmocka_unit_test(wrong_queries),
    };
    int rc = enter_private_network();

    return rc ? rc : cmocka_run_group_tests_name("sockets", tests, NULL, NULL);
}
