/*
 * Units of systemd in a folder made for each test.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "tidewait/systemd.h"

static char root[32];

static struct tw_endpoint at(const char *address, uint16_t port)
{
    struct tw_endpoint endpoint;

    assert_int_equal(tw_address_parse(tw_view_of(address), &endpoint, NULL), 0);
    tw_endpoint_set_port(&endpoint, port);
    return endpoint;
}

static int make_root(void **state)
{
    (void)state;
    snprintf(root, sizeof(root), "/tmp/twunitsXXXXXX");
    return mkdtemp(root) ? 0 : -1;
}

static int remove_root(void **state)
{
    char command[64];

    (void)state;
    snprintf(command, sizeof(command), "rm -r %s", root);
    return system(command); /* NOLINT(cert-env33-c): a name made here */
}

/* Writes ROOT/path with the folders that it needs. */
static void unit_file(const char *path, const char *text)
{
    char whole[256];
    int fd;

    snprintf(whole, sizeof(whole), "%s/%s", root, path);
    for (char *slash = strchr(whole + strlen(root) + 1, '/'); slash;
         slash = strchr(slash + 1, '/')) {
        *slash = 0;
        assert_true(mkdir(whole, 0755) == 0 || errno == EEXIST);
        *slash = '/';
    }
    fd = open(whole, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static void unit_link(const char *target, const char *path)
{
    char whole[256];

    unit_file(path, "");
    snprintf(whole, sizeof(whole), "%s/%s", root, path);
    assert_int_equal(unlink(whole), 0);
    assert_int_equal(symlink(target, whole), 0);
}

/* The unit for an address, "" when there is none. */
static const char *unit_at(uint8_t protocol, const char *address, uint16_t port)
{
    static char unit[TW_UNIT_MAX];
    struct tw_endpoint local = at(address, port);
    int rc = tw_systemd_socket_unit(root, protocol, &local, NULL, unit);

    assert_true(rc == 0 || rc == -ENOENT);
    return rc ? "" : unit;
}

static const char *unit_of(const char *path)
{
    static char unit[TW_UNIT_MAX];
    int rc = tw_systemd_socket_unit(root, 0, NULL, path, unit);

    assert_true(rc == 0 || rc == -ENOENT);
    return rc ? "" : unit;
}

#define ADMIN  "etc/systemd/system/"
#define VENDOR "usr/lib/systemd/system/"

static void unit_without_systemd(void **state)
{
    char unit[TW_UNIT_MAX];

    (void)state;
    assert_string_equal(unit_at(IPPROTO_TCP, "127.0.0.1", 80), "");
    assert_int_equal(tw_systemd_socket_unit(root, 0, NULL, NULL, unit), -EINVAL);
    assert_int_equal(tw_systemd_socket_unit(root, IPPROTO_TCP, NULL, "/x", unit), -EINVAL);
}

static void unit_by_address(void **state)
{
    (void)state;
    unit_file(VENDOR "port.socket", "[Unit]\nDescription=x\nListenStream=99\n[Socket]\n"
                                    "ListenStream=80\nListenDatagram = 53 \n");
    unit_file(VENDOR "exact.socket", "[Socket]\nListenStream=127.0.0.2:80\n"
                                     "ListenStream=[fd79::1]:81\n");
    unit_file(VENDOR "any4.socket", "[Socket]\nListenStream=0.0.0.0:82\n");
    unit_file(VENDOR "any6.socket", "[Socket]\nListenStream=[::]:83\n");
    unit_file(VENDOR "vsock.socket", "[Socket]\nListenStream=vsock:2:1234\n");
    assert_string_equal(unit_at(IPPROTO_TCP, "::", 80), "port.socket");
    assert_string_equal(unit_at(IPPROTO_TCP, "127.0.0.1", 80), "port.socket");
    assert_string_equal(unit_at(IPPROTO_TCP, "127.0.0.2", 80), "exact.socket");
    assert_string_equal(unit_at(IPPROTO_TCP, "::ffff:127.0.0.2", 80), "exact.socket");
    assert_string_equal(unit_at(IPPROTO_TCP, "fd79::1", 81), "exact.socket");
    assert_string_equal(unit_at(IPPROTO_TCP, "fd79::2", 81), "");
    assert_string_equal(unit_at(IPPROTO_TCP, "127.0.0.1", 82), "any4.socket");
    assert_string_equal(unit_at(IPPROTO_TCP, "::1", 82), "");
    assert_string_equal(unit_at(IPPROTO_TCP, "127.0.0.1", 83), "any6.socket");
    assert_string_equal(unit_at(IPPROTO_UDP, "127.0.0.1", 53), "port.socket");
    assert_string_equal(unit_at(IPPROTO_TCP, "127.0.0.1", 53), "");
    assert_string_equal(unit_at(IPPROTO_UDP, "127.0.0.1", 80), "");
    /* Not in the section. */
    assert_string_equal(unit_at(IPPROTO_TCP, "127.0.0.1", 99), "");
    assert_string_equal(unit_at(IPPROTO_TCP, "127.0.0.1", 1234), "");
}

static void unit_by_path(void **state)
{
    (void)state;
    unit_file(VENDOR "paths.socket", "[Socket]\nListenStream=/run/a.sock\n"
                                     "ListenDatagram=/var/run/b.sock\nListenStream=@abstract\n"
                                     "ListenSequentialPacket=%t/c%%.sock\n"
                                     "ListenStream=%h/d.sock\nListenFIFO=/run/fifo\n");
    assert_string_equal(unit_of("/run/a.sock"), "paths.socket");
    assert_string_equal(unit_of("/var/run/a.sock"), "paths.socket");
    assert_string_equal(unit_of("/run/b.sock"), "paths.socket");
    assert_string_equal(unit_of("@abstract"), "paths.socket");
    assert_string_equal(unit_of("/run/c%.sock"), "paths.socket");
    assert_string_equal(unit_of("/run/fifo"), "");
    assert_string_equal(unit_of("/run/a.soc"), "");
    assert_string_equal(unit_of("abstract"), "");
    assert_string_equal(unit_of(""), "");
}

static void unit_is_hidden_by_an_earlier_one(void **state)
{
    (void)state;
    unit_file(VENDOR "a.socket", "[Socket]\nListenStream=80\n");
    unit_file(VENDOR "b.socket", "[Socket]\nListenStream=81\n");
    unit_file(VENDOR "c.socket", "[Socket]\nListenStream=82\n");
    unit_file(VENDOR "d@.socket", "[Socket]\nListenStream=83\n");
    unit_file(VENDOR "e.service", "[Socket]\nListenStream=84\n");
    unit_file(VENDOR "f\x1b.socket", "[Socket]\nListenStream=85\n");
    unit_file("run/systemd/system/b.socket", "[Socket]\nListenStream=8081\n");
    unit_file(ADMIN "a.socket", "[Socket]\nListenStream=8080\n");
    unit_link("/dev/null", ADMIN "c.socket");
    unit_link("a.socket", ADMIN "a-alias.socket");
    assert_string_equal(unit_at(IPPROTO_TCP, "127.0.0.1", 80), "");
    assert_string_equal(unit_at(IPPROTO_TCP, "127.0.0.1", 8080), "a.socket");
    assert_string_equal(unit_at(IPPROTO_TCP, "127.0.0.1", 81), "");
    assert_string_equal(unit_at(IPPROTO_TCP, "127.0.0.1", 8081), "b.socket");
    for (uint16_t port = 82; port <= 85; port++)
        assert_string_equal(unit_at(IPPROTO_TCP, "127.0.0.1", port), "");
}

static void drop_ins_change_a_unit(void **state)
{
    (void)state;
    unit_file(VENDOR "a.socket", "[Socket]\nListenStream=80\n");
    unit_file(VENDOR "a.socket.d/10-more.conf", "[Socket]\nListenStream=81\n");
    unit_file(ADMIN "a.socket.d/20-else.conf", "[Socket]\nListenDatagram=\nListenStream=82\n");
    unit_file(VENDOR "a.socket.d/30-last.conf", "[Socket]\nListenStream=83\n");
    unit_file(ADMIN "a.socket.d/30-last.conf", "[Socket]\nListenStream=84\n");
    unit_file(ADMIN "a.socket.d/40-not.txt", "[Socket]\nListenStream=85\n");
    /* 20 takes back what came before it, and /etc has another 30. */
    assert_string_equal(unit_at(IPPROTO_TCP, "127.0.0.1", 80), "");
    assert_string_equal(unit_at(IPPROTO_TCP, "127.0.0.1", 81), "");
    assert_string_equal(unit_at(IPPROTO_TCP, "127.0.0.1", 82), "a.socket");
    assert_string_equal(unit_at(IPPROTO_TCP, "127.0.0.1", 83), "");
    assert_string_equal(unit_at(IPPROTO_TCP, "127.0.0.1", 84), "a.socket");
    assert_string_equal(unit_at(IPPROTO_TCP, "127.0.0.1", 85), "");
}

static void syntax_of_units(void **state)
{
    (void)state;
    unit_file(ADMIN "a.socket", "# [Socket] \\\n[Socket]\n#ListenStream=80\n;ListenStream=81\n"
                                "  ListenStream = \\\n  82\nListenStream=0\nListenStream=70000\n"
                                "ListenStream\n=\nListenStreams=83\nListen\n"
                                "[Install]\nListenStream=84\n[Socket]\r\nListenStream=85\r\n"
                                "ListenStream=86");
    assert_string_equal(unit_at(IPPROTO_TCP, "127.0.0.1", 80), "");
    assert_string_equal(unit_at(IPPROTO_TCP, "127.0.0.1", 81), "");
    assert_string_equal(unit_at(IPPROTO_TCP, "127.0.0.1", 82), "a.socket");
    assert_string_equal(unit_at(IPPROTO_TCP, "127.0.0.1", 83), "");
    assert_string_equal(unit_at(IPPROTO_TCP, "127.0.0.1", 84), "");
    assert_string_equal(unit_at(IPPROTO_TCP, "127.0.0.1", 85), "a.socket");
    assert_string_equal(unit_at(IPPROTO_TCP, "127.0.0.1", 86), "a.socket");
}

/* Ports as one text, unit by unit in the order of their names: folders have none. */
struct told {
    char lines[16][64];
    size_t count;
};

static int tell_port(uint8_t protocol, uint16_t port, const char *unit, void *context)
{
    struct told *told = context;

    assert_true(told->count < 16);
    snprintf(told->lines[told->count++], sizeof(told->lines[0]), "%s %s %u", unit,
             protocol == IPPROTO_UDP ? "udp" : "tcp", port);
    return port == 99 ? 7 : 0;
}

static int compare_lines(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void ports_of_all_units(void **state)
{
    static const char *const expected[] = {"a.socket tcp 80",   "a.socket tcp 8080",
                                           "a.socket tcp 8081", "a.socket udp 53",
                                           "a.socket udp 80",   "b.socket tcp 82"};
    struct told told = {.count = 0};

    (void)state;
    assert_int_equal(tw_systemd_socket_ports(root, tell_port, &told), 0);
    assert_int_equal(told.count, 0);
    unit_file(VENDOR "a.socket", "[Socket]\nListenStream=80\nListenStream=127.0.0.1:8080\n"
                                 "ListenStream=[::1]:8081\nListenDatagram=80\n"
                                 "ListenStream=/run/a.sock\nListenFIFO=81\n"
                                 "ListenSequentialPacket=81\nListenStream=80\n");
    unit_file(ADMIN "a.socket.d/10-more.conf", "[Socket]\nListenDatagram=0.0.0.0:53\n");
    unit_file(VENDOR "b.socket", "[Socket]\nListenStream=81\nListenFIFO=\nListenStream=82\n");
    unit_file(VENDOR "c.socket", "[Socket]\nListenStream=83\n");
    unit_file(VENDOR "d@.socket", "[Socket]\nListenStream=84\n");
    unit_link("/dev/null", ADMIN "c.socket");
    assert_int_equal(tw_systemd_socket_ports(root, tell_port, &told), 0);
    qsort(told.lines, told.count, sizeof(told.lines[0]), compare_lines);
    assert_int_equal(told.count, sizeof(expected) / sizeof(expected[0]));
    for (size_t i = 0; i < told.count; i++)
        assert_string_equal(told.lines[i], expected[i]);
}

static void ports_until_the_visitor_stops(void **state)
{
    struct told told = {.count = 0};

    (void)state;
    unit_file(VENDOR "a.socket", "[Socket]\nListenStream=98-99\nListenStream=100\n"
                                 "ListenStream=99\nListenStream=98\n");
    assert_int_equal(tw_systemd_socket_ports(root, tell_port, &told), 7);
    assert_int_equal(told.count, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(unit_without_systemd, make_root, remove_root),
        cmocka_unit_test_setup_teardown(unit_by_address, make_root, remove_root),
        cmocka_unit_test_setup_teardown(unit_by_path, make_root, remove_root),
        cmocka_unit_test_setup_teardown(unit_is_hidden_by_an_earlier_one, make_root, remove_root),
        cmocka_unit_test_setup_teardown(drop_ins_change_a_unit, make_root, remove_root),
        cmocka_unit_test_setup_teardown(syntax_of_units, make_root, remove_root),
        cmocka_unit_test_setup_teardown(ports_of_all_units, make_root, remove_root),
        cmocka_unit_test_setup_teardown(ports_until_the_visitor_stops, make_root, remove_root),
    };

    return cmocka_run_group_tests_name("systemd", tests, NULL, NULL);
}
