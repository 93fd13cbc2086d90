/*
 * What stands beside tw_sockets_each(): destroying sockets, Unix sockets, and both lists without
 * netlink. Exit code 77: no namespace may be made here.
 */
#include "sockets.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "sockets_text.h"
#include "tidewait/unix_sockets.h"
#include "unix_text.h"

/* --- tw_socket_destroy()
 * ------------------------------------------------------------------------- */

static void destroy(const struct tw_socket_row *row)
{
    struct tw_sockets_query query = {.local_port = tw_endpoint_port(&row->local)};
    struct tw_error error = {0};
    struct rows rows;

    if (tw_socket_destroy(row, &error))
        fail_msg("%s", error.text);
    rows = ask(query);
    for (size_t i = 0; i < rows.count; i++)
        assert_true(rows.row[i].cookie != row->cookie || rows.row[i].state == TCP_CLOSE);
    assert_int_equal(tw_socket_destroy(row, &error), -ENOENT);
    assert_non_null(strstr(error.text, "gone"));
}

static void check_destroy(const char *address)
{
    struct pair pair = make_pair(address);
    struct tw_socket_row row = row_of(pair.server, TCP_ESTABLISHED);
    struct tw_endpoint client;
    char byte;

    destroy(&row);
    assert_int_equal(read(pair.server, &byte, 1), -1);
    assert_int_equal(errno, ECONNABORTED);
    row = row_of(pair.listener, TCP_LISTEN);
    destroy(&row);
    close_pair(&pair);

    pair = make_pair(address);
    client = local_of(pair.client);
    close(pair.client);
    assert_int_equal(read(pair.server, &byte, 1), 0);
    close(pair.server);
    row = await(IPPROTO_TCP, &client, TCP_TIME_WAIT, false);
    destroy(&row);
    close(pair.listener);
}

/* Of two listeners that share an address the kernel finds one; the other is not "gone". */
static void destroying_one_of_two(void **state)
{
    struct tw_endpoint local = at("127.0.0.1", 0);
    struct rows rows;
    int fds[2], yes = 1, refused = 0;

    (void)state;
    for (int i = 0; i < 2; i++) {
        fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(setsockopt(fds[i], SOL_SOCKET, SO_REUSEPORT, &yes, sizeof(yes)), 0);
        assert_int_equal(bind(fds[i], &local.sa, tw_endpoint_len(&local)), 0);
        local = local_of(fds[i]);
        assert_int_equal(listen(fds[i], 1), 0);
    }
    rows = ask((struct tw_sockets_query){.state_mask = TW_STATE_MASK(TCP_LISTEN)});
    assert_int_equal(rows.count, 2);
    for (size_t i = 0; i < rows.count; i++) {
        struct tw_error error = {0};
        int rc = tw_socket_destroy(&rows.row[i], &error);

        if (rc == -EOPNOTSUPP)
            skip();
        if (rc == -EBUSY) {
            refused++;
            assert_non_null(strstr(error.text, "shares its address"));
        } else {
            assert_int_equal(rc, 0);
        }
    }
    assert_in_range(refused, 0, 1); /* when the found one went first, the other is found next */
    rows = ask((struct tw_sockets_query){.state_mask = TW_STATE_MASK(TCP_LISTEN)});
    assert_int_equal(rows.count, refused);
    close(fds[0]);
    close(fds[1]);
}

/* Without the capability: in a user namespace that does not own the network. */
static void destroying_is_refused(void **state)
{
    struct pair pair = make_pair("127.0.0.1");
    struct tw_socket_row row = row_of(pair.server, TCP_ESTABLISHED);
    pid_t child = fork();
    int status;

    (void)state;
    assert_true(child >= 0);
    if (child == 0) {
        struct tw_error error = {0};

        if (unshare(CLONE_NEWUSER))
            _exit(EXIT_SKIP);
        _exit(tw_socket_destroy(&row, &error) == -EPERM && strstr(error.text, "CAP_NET_ADMIN") ? 0
                                                                                               : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    close_pair(&pair);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == EXIT_SKIP) {
        print_message("skipped: no user namespace may be made here\n");
        skip();
    }
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void destroying(void **state)
{
    struct pair pair = make_pair("127.0.0.1");
    struct tw_socket_row row = row_of(pair.server, TCP_ESTABLISHED), other = row;
    struct tw_error error = {0};
    int rc;

    (void)state;
    other.cookie++;
    rc = tw_socket_destroy(&other, &error);
    if (rc == -EOPNOTSUPP) {
        print_message("skipped: %s\n", error.text);
        close_pair(&pair);
        skip();
    }
    assert_int_equal(rc, -ENOENT); /* a newer socket on the same tuple is left alone */
    assert_int_equal(row_of(pair.server, TCP_ESTABLISHED).cookie, row.cookie);
    other.cookie = 0;
    assert_int_equal(tw_socket_destroy(&other, NULL), -EINVAL);
    close_pair(&pair);
    check_destroy("127.0.0.1");
    check_destroy("::1");
}

/* --- Unix sockets
 * -------------------------------------------------------------------------------- */

struct unix_search {
    uint32_t inode;
    struct tw_unix_row row;
    size_t found, all;
};

static int keep_unix(const struct tw_unix_row *row, void *context)
{
    struct unix_search *search = context;

    search->all++;
    if (row->inode == search->inode) {
        search->row = *row;
        search->found++;
    }
    return 0;
}

static struct tw_unix_row unix_row(int fd, bool listening, unsigned *blind)
{
    struct unix_search search = {.inode = inode_of(fd)};

    assert_int_equal(tw_unix_sockets_each(listening, keep_unix, &search, blind, NULL), 0);
    assert_int_equal(search.found, 1);
    return search.row;
}

static int unix_bound(int type, const char *path, size_t len)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

    memcpy(name.sun_path, path, len);
    assert_int_equal(bind(fd, (struct sockaddr *)&name,
                          (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)),
                     0);
    return fd;
}

static void check_unix_listener(const char *path, size_t len)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int fd = unix_bound(SOCK_STREAM, path, len), client = socket(AF_UNIX, SOCK_STREAM, 0);
    struct tw_unix_row row;

    assert_int_equal(listen(fd, 5), 0);
    memcpy(name.sun_path, path, len);
    assert_int_equal(connect(client, (struct sockaddr *)&name,
                             (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)),
                     0);
    row = unix_row(fd, true, NULL);
    assert_int_equal(row.type, SOCK_STREAM);
    assert_int_equal(row.state, TCP_LISTEN);
    assert_int_equal(row.path_len, len);
    assert_memory_equal(row.path, path, len);
    assert_int_equal(row.receive_queue, 1);
    assert_int_equal(row.send_queue, 5);
    assert_int_equal(row.uid, getuid());
    if (path[0]) {
        struct stat st;

        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(row.file_inode, st.st_ino);
        assert_int_equal(row.file_device, major(st.st_dev) << 20 | minor(st.st_dev));
    } else {
        assert_int_equal(row.file_inode, 0);
    }
    assert_int_equal(unix_row(client, false, NULL).state, TCP_ESTABLISHED);
    close(client);
    close(fd);
}

static void unix_sockets(void **state)
{
    char path[] = "/tmp/tidewait-unix-XXXXXX", full[108];
    int pair[2], datagram;
    struct tw_unix_row row;

    (void)state;
    assert_non_null(mkdtemp(path));
    snprintf(full, sizeof(full), "%s/live", path);
    check_unix_listener(full, strlen(full));
    unlink(full);
    memset(full, 'a', sizeof(full)); /* the longest that there is: no NUL at its end */
    /* A name has a length, no NUL. NOLINTNEXTLINE(bugprone-not-null-terminated-result) */
    memcpy(full, path, strlen(path));
    full[strlen(path)] = '/';
    datagram = unix_bound(SOCK_DGRAM, full, sizeof(full));
    row = unix_row(datagram, false, NULL);
    assert_int_equal(row.type, SOCK_DGRAM);
    assert_int_equal(row.state, TCP_CLOSE);
    assert_int_equal(row.path_len, sizeof(full));
    assert_memory_equal(row.path, full, sizeof(full));
    close(datagram);
    assert_int_equal(chdir(path), 0);
    {
        int dir = open(".", O_RDONLY | O_CLOEXEC | O_DIRECTORY);
        char name[109] = "";

        /* A name has a length, no NUL. NOLINTNEXTLINE(bugprone-not-null-terminated-result) */
        memcpy(name, full + strlen(path) + 1, sizeof(full) - strlen(path) - 1);
        assert_int_equal(unlinkat(dir, name, 0), 0);
        close(dir);
    }
    assert_int_equal(chdir("/"), 0);
    assert_int_equal(rmdir(path), 0);

    check_unix_listener("\0tidewait\0x", 11);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    row = unix_row(pair[0], false, NULL);
    assert_int_equal(row.type, SOCK_SEQPACKET);
    assert_int_equal(row.state, TCP_ESTABLISHED);
    assert_int_equal(row.peer_inode, inode_of(pair[1]));
    assert_int_equal(row.path_len, 0);
    close(pair[0]);
    close(pair[1]);
}

/* --- without netlink
 * ----------------------------------------------------------------------------- */

/* From now on socket(AF_NETLINK) fails with EPERM in this process. */
static int refuse_netlink(void)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_NETLINK, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof(filter) / sizeof(filter[0]), .filter = filter};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        return -1;
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

static bool has_row(const struct rows *rows, const struct tw_socket_row *wanted)
{
    for (size_t i = 0; i < rows->count; i++) {
        const struct tw_socket_row *row = &rows->row[i];

        if (row->state == wanted->state && same(&row->local, &wanted->local) &&
            same(&row->remote, &wanted->remote) && row->inode == wanted->inode &&
            row->uid == wanted->uid && row->protocol == wanted->protocol)
            return true;
    }
    return false;
}

/* In the child: what netlink told must be found in the text, and no more. Returns an exit code. */
static int compare_texts(const struct rows *tcp, const struct rows *udp_rows, int unix_fd)
{
    struct tw_error error = {0};
    unsigned blind = 0;
    struct tw_sockets_query query = {.blind = &blind};
    struct rows text = {.count = 0};
    struct unix_search search = {.inode = inode_of(unix_fd)};

    if (tw_sockets_each(&query, keep, &text, &error) || text.count != tcp->count)
        return 2;
    if (blind != (TW_BLIND_SOCK_DIAG | TW_BLIND_BOUND))
        return 3;
    for (size_t i = 0; i < tcp->count; i++)
        if (!has_row(&text, &tcp->row[i]))
            return 4;
    text.count = 0;
    blind = 0;
    query.protocol = IPPROTO_UDP;
    if (tw_sockets_each(&query, keep, &text, &error) || text.count != udp_rows->count ||
        blind != TW_BLIND_SOCK_DIAG || !has_row(&text, &udp_rows->row[0]))
        return 5;
    blind = 0;
    if (tw_unix_sockets_each(true, keep_unix, &search, &blind, &error) || search.found != 1 ||
        search.row.path_len != 9 || memcmp(search.row.path, "\0tidewait", 9) != 0 ||
        blind != TW_BLIND_UNIX)
        return 6;
    if (tw_socket_destroy(&tcp->row[0], &error) != -EPERM)
        return 7;
    return 0;
}

static void without_netlink(void **state)
{
    struct pair four = make_pair("127.0.0.1"), six = make_pair("::1");
    int datagram = bound(SOCK_DGRAM, 0, "127.0.0.1", false), local, status;
    struct tw_endpoint client = local_of(four.client);
    unsigned blind = 0;
    struct rows tcp, udp_rows;
    char byte;
    pid_t child;

    (void)state;
    local = unix_bound(SOCK_STREAM, "\0tidewait", 9);
    assert_int_equal(listen(local, 5), 0);
    close(four.client);
    assert_int_equal(read(four.server, &byte, 1), 0);
    close(four.server);
    await(IPPROTO_TCP, &client, TCP_TIME_WAIT, false);
    tcp = ask((struct tw_sockets_query){.blind = &blind});
    udp_rows = ask((struct tw_sockets_query){.protocol = IPPROTO_UDP, .blind = &blind});
    assert_int_equal(blind & TW_BLIND_SOCK_DIAG, 0);
    assert_int_equal(udp_rows.count, 1);
    assert_true(tcp.count >= 5);
    child = fork();
    assert_true(child >= 0);
    if (child == 0)
        _exit(refuse_netlink() ? EXIT_SKIP : compare_texts(&tcp, &udp_rows, local));
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    close_pair(&six);
    close(four.listener);
    close(datagram);
    close(local);
    if (WEXITSTATUS(status) == EXIT_SKIP) {
        print_message("skipped: no seccomp filter may be set here\n");
        skip();
    }
    assert_int_equal(WEXITSTATUS(status), 0);
}

static int parse_tcp4(struct tw_view text, char out[SAMPLE_TEXT_MAX], struct tw_error *error)
{
    struct tw_socket_row row = {.state = 0};
    char local[TW_ENDPOINT_TEXT_MAX], remote[TW_ENDPOINT_TEXT_MAX];
    int rc = sockets_text_parse(text, IPPROTO_TCP, AF_INET, &row, error);

    snprintf(out, SAMPLE_TEXT_MAX, "%s", "untouched");
    if (rc == 0)
        snprintf(out, SAMPLE_TEXT_MAX, "%s %s %s %u %u %u %u %u", tw_state_name(6, row.state),
                 tw_endpoint_format(&row.local, local), tw_endpoint_format(&row.remote, remote),
                 row.send_queue, row.receive_queue, row.expires_ms, row.uid, row.inode);
    return rc;
}

static int parse_tcp6(struct tw_view text, char out[SAMPLE_TEXT_MAX], struct tw_error *error)
{
    struct tw_socket_row row = {.state = 0};
    char local[TW_ENDPOINT_TEXT_MAX];
    int rc = sockets_text_parse(text, IPPROTO_TCP, AF_INET6, &row, error);

    snprintf(out, SAMPLE_TEXT_MAX, "%s", "untouched");
    if (rc == 0)
        snprintf(out, SAMPLE_TEXT_MAX, "%s %s %u", tw_state_name(6, row.state),
                 tw_endpoint_format(&row.local, local), row.inode);
    return rc;
}

static int parse_unix(struct tw_view text, char out[SAMPLE_TEXT_MAX], struct tw_error *error)
{
    struct tw_unix_row row = {.state = 0};
    int rc = unix_text_parse(text, &row, error);

    snprintf(out, SAMPLE_TEXT_MAX, "%s", "untouched");
    if (rc == 0)
        snprintf(out, SAMPLE_TEXT_MAX, "%d %s %u %d%.*s", row.type, tw_state_name(6, row.state),
                 row.inode, row.path_len, row.path_len ? row.path_len - !row.path[0] : 0,
                 row.path + (row.path_len && !row.path[0]));
    return rc;
}

static void texts(void **state)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    static const struct sample tcp4[] = {
        {SAMPLE("   0: 0100007F:1F90 0200007F:C350 06 0000000A:00000014 03:0000170C 00000000     7 "
                "       0 42 3 0000000000000000"),
         "TIME-WAIT 127.0.0.1:8080 127.0.0.2:50000 10 20 59000 7 42", 0},
        {SAMPLE("  12: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0 "
                "       0 4294967295"),
         "LISTEN 0.0.0.0:22 0.0.0.0 0 0 0 0 4294967295", 0},
        {SAMPLE("  sl  local_address rem_address   st tx_queue rx_queue tr tm->when"),
         "is not a line", -EINVAL},
        {SAMPLE("   0: 0100007F:1F90 0200007F:C350 106 0000000A:00000014 03:0000170C 0 7 0 42 3"),
         "is not a line", -EINVAL},
        {SAMPLE(
             "   0: 0100007F:1F90 0200007F:C350 06 0000000A:00000014 03:0000170C 0 7 0 4294967296"),
         "is not a line", -EINVAL},
        {SAMPLE("   0: 0100007G:1F90 0200007F:C350 06 0000000A:00000014 03:0000170C 0 7 0 42 3"),
         "is not a line", -EINVAL},
        {SAMPLE("   0: 100007F:1F90 0200007F:C350 06 0000000A:00000014 03:0000170C 0 7 0 42 3"),
         "is not a line", -EINVAL},
    };
    static const struct sample tcp6[] = {
        {SAMPLE("   0: 00000000000000000000000001000000:1F90 00000000000000000000000000000000:0000 "
                "0A 00000000:00000000 00:00000000 00000000     0        0 43 1"),
         "LISTEN [::1]:8080 43", 0},
    };

    SAMPLE_RUN(tcp4, parse_tcp4, "untouched");
    SAMPLE_RUN(tcp6, parse_tcp6, "untouched");
#else
    (void)parse_tcp4;
    (void)parse_tcp6;
#endif
    static const struct sample unix_lines[] = {
        {SAMPLE("0000000000000000: 00000002 00000000 00010000 0001 01 17 /run/a b"),
         "1 LISTEN 17 8/run/a b", 0},
        {SAMPLE("0000000000000000: 00000002 00000000 00000000 0002 01    18"), "2 BOUND 18 0", 0},
        {SAMPLE("0000000000000000: 00000003 00000000 00000000 0001 03 19 @x"), "1 ESTAB 19 2x", 0},
        {SAMPLE("second half of a path"), "is not a line", -EINVAL},
        {SAMPLE("0000000000000000: 00000003 00000000 00000000 0001 03 99999999999"),
         "is not a line", -EINVAL},
    };

    (void)state;
    SAMPLE_RUN(unix_lines, parse_unix, "untouched");
}

/* --- words
 * --------------------------------------------------------------------------------------- */

static void words(void **state)
{
    (void)state;
    for (int i = 0; i < TW_BLIND_COUNT; i++) {
        const char *text = tw_blind_text((enum tw_blind)(1 << i));

        assert_non_null(strstr(text, "because"));
        assert_int_not_equal(text[strlen(text) - 1], '.');
        for (int j = 0; j < i; j++)
            assert_string_not_equal(text, tw_blind_text((enum tw_blind)(1 << j)));
    }
    assert_string_equal(tw_state_name(IPPROTO_TCP, TCP_TIME_WAIT), "TIME-WAIT");
    assert_string_equal(tw_state_name(IPPROTO_TCP, TCP_CLOSE), "BOUND");
    assert_string_equal(tw_state_name(IPPROTO_UDP, TCP_CLOSE), "UNCONN");
    assert_string_equal(tw_state_name(IPPROTO_TCP, 0), "UNKNOWN");
    assert_string_equal(tw_state_name(IPPROTO_TCP, 255), "UNKNOWN");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(destroying),
        cmocka_unit_test(destroying_one_of_two),
        cmocka_unit_test(destroying_is_refused),
        cmocka_unit_test(unix_sockets),
        cmocka_unit_test(without_netlink),
        cmocka_unit_test(texts),
        cmocka_unit_test(words),
    };
    int rc = enter_private_network();

    return rc ? rc : cmocka_run_group_tests_name("sockets_other", tests, NULL, NULL);
}
