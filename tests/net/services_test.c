/*
 * Ports of services: real sockets in a private network, units of systemd and the engine of
 * containers in a folder of the test's own. Exit code 77: no namespace may be made here.
 */
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "private.h"
#include "services.h"

static char root[32];

static int make_root(void **state)
{
    (void)state;
    snprintf(root, sizeof(root), "/tmp/twservXXXXXX");
    return mkdtemp(root) ? 0 : -1;
}

static int remove_root(void **state)
{
    char command[64];

    (void)state;
    snprintf(command, sizeof(command), "rm -r %s", root);
    return shell(command);
}

static void make_folder(const char *path)
{
    char command[128];

    snprintf(command, sizeof(command), "mkdir -p %s/%s", root, path);
    assert_int_equal(shell(command), 0);
}

/* --- sockets ------------------------------------------------------------------------------------
 */

static int bound(int type, const char *address, uint16_t port)
{
    struct tw_endpoint local = at(address, port);
    int fd = socket(local.sa.sa_family, type | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(bind(fd, &local.sa, tw_endpoint_len(&local)), 0);
    return fd;
}

static int listener(const char *address, uint16_t port)
{
    int fd = bound(SOCK_STREAM, address, port);

    assert_int_equal(listen(fd, 8), 0);
    return fd;
}

static struct services find(const char *below)
{
    struct services services;
    struct tw_error error = {0};

    if (services_find(below, &services, &error))
        fail_msg("%s", error.text);
    for (size_t i = 1; i < services.count; i++)
        assert_true(services.items[i - 1].port < services.items[i].port);
    return services;
}

/* "80/tcp socket of x, 53/udp ..." */
static const char *text_of(const struct services *services)
{
    static char text[2048];
    size_t len = 0;

    text[0] = 0;
    for (size_t i = 0; i < services->count; i++)
        len += (size_t)snprintf(
            text + len, sizeof(text) - len, "%s%u/%s %s", i ? ", " : "", services->items[i].port,
            services->items[i].protocol == IPPROTO_UDP ? "udp" : "tcp", services->items[i].from);
    return text;
}

static void nothing(void **state)
{
    struct services services = find(root);

    (void)state;
    assert_int_equal(services.count, 0);
    assert_false(services.docker_unseen);
    services_fini(&services);
    services_fini(&services);
}

static void sockets_that_are_services(void **state)
{
    int fds[] = {listener("127.0.0.1", 8080), listener("::1", 8081),
                 bound(SOCK_DGRAM, "0.0.0.0", 5353),
                 /* Both protocols on one port: one entry. */
                 bound(SOCK_DGRAM, "127.0.0.1", 9000), listener("127.0.0.1", 9000),
                 /* The kernel may have chosen this port: it is no service if it is UDP, but it may
                  * be one if it listens. */
                 bound(SOCK_DGRAM, "127.0.0.1", 40000), listener("127.0.0.1", 40001),
                 /* Bound, but nobody listens. */
                 bound(SOCK_STREAM, "127.0.0.1", 8082)};
    struct services services;

    (void)state;
    write_file("/proc/sys/net/ipv4/ip_local_port_range", "32768 60999");
    write_file("/proc/sys/net/ipv4/ip_local_reserved_ports", "");
    services = find(NULL);
    assert_string_equal(text_of(&services), "5353/udp socket of services_test, "
                                            "8080/tcp socket of services_test, "
                                            "8081/tcp socket of services_test, "
                                            "9000/tcp socket of services_test, "
                                            "40001/tcp socket of services_test");
    services_fini(&services);
    /* What is reserved is never given, so whoever has it has chosen it. */
    write_file("/proc/sys/net/ipv4/ip_local_reserved_ports", "40000");
    services = find(NULL);
    assert_int_equal(services.count, 6);
    assert_int_equal(services.items[4].port, 40000);
    services_fini(&services);
    write_file("/proc/sys/net/ipv4/ip_local_reserved_ports", "");
    for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
        close(fds[i]);
}

static void two_listeners_on_one_port(void **state)
{
    int one = listener("127.0.0.1", 8080), other = listener("127.0.0.2", 8080);
    struct services services = find(NULL);

    (void)state;
    assert_int_equal(services.count, 1);
    services_fini(&services);
    close(one);
    close(other);
}

/* --- units --------------------------------------------------------------------------------------
 */

static void unit_file(const char *name, const char *text)
{
    char path[128];

    make_folder("usr/lib/systemd/system");
    snprintf(path, sizeof(path), "%s/usr/lib/systemd/system/%s", root, name);
    write_file(path, text);
}

static void units_say_more_than_sockets(void **state)
{
    int fd = listener("127.0.0.1", 631), other = listener("127.0.0.1", 53);
    struct services services;

    (void)state;
    unit_file("cups.socket", "[Socket]\nListenStream=631\nListenStream=/run/cups.sock\n");
    unit_file("dns.socket", "[Socket]\nListenDatagram=53\nListenDatagram=5353\n");
    services = find(root);
    /* A listening TCP socket comes before a UDP unit. */
    assert_string_equal(text_of(&services), "53/tcp socket of services_test, "
                                            "631/tcp unit cups.socket, 5353/udp unit dns.socket");
    services_fini(&services);
    /* Units are the host's: not asked of another namespace. */
    services = find(NULL);
    assert_int_equal(services.count, 2);
    services_fini(&services);
    close(fd);
    close(other);
}

/* --- engines of containers ----------------------------------------------------------------------
 */

struct page {
    const char *path; /* NULL: the last */
    const char *answer;
};

struct engine {
    int fd;
    pthread_t thread;
    const struct page *pages; /* NULL: never answers */
    char asked[512];          /* the paths, one after the other */
};

static int bind_unix(const char *folder, const char *name)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    make_folder(folder);
    snprintf(address.sun_path, sizeof(address.sun_path), "%s/%s/%s", root, folder, name);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

static const char *answer_of(const struct engine *engine, const char *path)
{
    for (const struct page *page = engine->pages; page->path; page++)
        if (strcmp(page->path, path) == 0)
            return page->answer;
    return "HTTP/1.0 404 Not Found\r\n\r\n{\"message\": \"no such page\"}";
}

/* In small pieces, so that the other end has to put them together. */
static void write_pieces(int fd, const char *text)
{
    for (size_t len = strlen(text), piece; len; text += piece, len -= piece) {
        piece = len < 100 ? len : 100;
        if (send(fd, text, piece, MSG_NOSIGNAL) != (ssize_t)piece)
            return;
    }
}

static void serve_one(struct engine *engine, int fd)
{
    char request[1024] = "", path[256] = "";
    size_t len = 0;

    while (!strstr(request, "\r\n\r\n") && len + 1 < sizeof(request)) {
        ssize_t got = recv(fd, request + len, sizeof(request) - len - 1, 0);

        if (got <= 0)
            return;
        len += (size_t)got;
        request[len] = 0;
    }
    sscanf(request, "GET %255s HTTP/1.0\r\n", path); /* NOLINT(cert-err34-c) */
    len = strlen(engine->asked);
    snprintf(engine->asked + len, sizeof(engine->asked) - len, "%s ", path);
    if (engine->pages)
        write_pieces(fd, answer_of(engine, path));
    else
        recv(fd, request, sizeof(request), 0); /* until the other end is tired of it */
}

static void *serve(void *context)
{
    struct engine *engine = context;
    int fd;

    while ((fd = accept4(engine->fd, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
        serve_one(engine, fd);
        close(fd);
    }
    return NULL;
}

static void start_engine(struct engine *engine, const char *folder, const char *name,
                         const struct page *pages)
{
    *engine = (struct engine){.fd = bind_unix(folder, name), .pages = pages};
    assert_int_equal(listen(engine->fd, 8), 0);
    assert_int_equal(pthread_create(&engine->thread, NULL, serve, engine), 0);
}

static void stop_engine(struct engine *engine)
{
    shutdown(engine->fd, SHUT_RDWR);
    pthread_join(engine->thread, NULL);
    close(engine->fd);
}

#define OK   "HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n"
#define LIST "/containers/json?all=1"

static void published_ports(void **state)
{
    static const struct page pages[] = {
        {LIST, OK "[{\"Id\":\"aa11\",\"Names\":[\"/web\"],\"State\":\"running\",\"Ports\":["
                  "{\"IP\":\"0.0.0.0\",\"PrivatePort\":80,\"PublicPort\":8080,\"Type\":\"tcp\"},"
                  "{\"IP\":\"::\",\"PrivatePort\":80,\"PublicPort\":8080,\"Type\":\"tcp\"},"
                  "{\"PrivatePort\":53,\"PublicPort\":5353,\"Type\":\"udp\"},"
                  "{\"PrivatePort\":99,\"PublicPort\":9999,\"Type\":\"sctp\"},"
                  "{\"PrivatePort\":443,\"Type\":\"tcp\"}]},"
                  "{\"Id\":\"bb22\",\"Names\":[\"/old\\u001b[2J\"],\"State\":\"exited\","
                  "\"Ports\":[]},"
                  "{\"Id\":\"../etc\",\"State\":\"exited\"},"
                  "{\"Id\":\"0123456789abcdef\",\"State\":\"created\"},7,{}]"},
        {"/containers/bb22/json",
         OK "{\"HostConfig\":{\"PortBindings\":{\"80/tcp\":[{\"HostIp\":\"\",\"HostPort\":"
            "\"8081\"},{\"HostPort\":\"8090-8092\"}],\"53/udp\":[{\"HostPort\":\"54\"}],"
            "\"81/tcp\":[{\"HostPort\":\"\"},{\"HostPort\":\"0\"},{\"HostPort\":\"70000\"},{}],"
            "\"82/tcp\":null}}}"},
        {"/containers/0123456789abcdef/json",
         OK "{\"HostConfig\":{\"PortBindings\":{\"80/tcp\":[{\"HostPort\":\"8099\"}]}}}"},
        {NULL, NULL}};
    struct engine engine;
    struct services services;

    (void)state;
    start_engine(&engine, "var/run", "docker.sock", pages);
    services = find(root);
    stop_engine(&engine);
    assert_string_equal(text_of(&services),
                        "54/udp docker old\\x1b[2J, 5353/udp docker web, 8080/tcp docker web, "
                        "8081/tcp docker old\\x1b[2J, 8090/tcp docker old\\x1b[2J, "
                        "8091/tcp docker old\\x1b[2J, 8092/tcp docker old\\x1b[2J, "
                        "8099/tcp docker 0123456789ab");
    assert_string_equal(engine.asked,
                        LIST " /containers/bb22/json /containers/0123456789abcdef/json ");
    assert_false(services.docker_unseen);
    services_fini(&services);
}

static void podman_too(void **state)
{
    static const struct page pages[] = {
        {LIST, OK "[{\"Id\":\"aa\",\"Names\":[\"/db\"],\"State\":\"running\",\"Ports\":["
                  "{\"PublicPort\":5432,\"Type\":\"tcp\"}]}]"},
        {NULL, NULL}};
    struct engine engine;
    struct services services;

    (void)state;
    start_engine(&engine, "run/podman", "podman.sock", pages);
    services = find(root);
    stop_engine(&engine);
    assert_string_equal(text_of(&services), "5432/tcp podman db");
    services_fini(&services);
}

/* What the engine said, or how it failed, and whether that is told. */
static void engines_that_do_not_answer(void **state)
{
    static const struct {
        const char *list, *whole;
        bool unseen;
    } answers[] = {
        {OK "[]", NULL, false},
        {"", NULL, true},
        {OK, NULL, true},
        {OK "{}", NULL, true},
        {OK "[", NULL, true},
        {"HTTP/1.0 403 Forbidden\r\n\r\n[]", NULL, true},
        {"HTTP/1.0 200 OK\r\n", NULL, true},
        {"nonsense, and no end of it", NULL, true},
        {OK "[{\"Id\":\"aa\",\"State\":\"exited\"}]", OK "{\"HostConfig\":{}}", false},
        {OK "[{\"Id\":\"aa\",\"State\":\"exited\"}]", OK "[]", true},
        {OK "[{\"Id\":\"aa\",\"State\":\"exited\"}]", "", true},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        struct page pages[] = {{LIST, answers[i].list},
                               {answers[i].whole ? "/containers/aa/json" : NULL, answers[i].whole},
                               {NULL, NULL}};
        struct engine engine;
        struct services services;
        char path[64];

        start_engine(&engine, "var/run", "docker.sock", pages);
        services = find(root);
        stop_engine(&engine);
        if (services.docker_unseen != answers[i].unseen || services.count)
            fail_msg("'%s': %d, %zu", answers[i].list, services.docker_unseen, services.count);
        services_fini(&services);
        snprintf(path, sizeof(path), "%s/var/run/docker.sock", root);
        assert_int_equal(unlink(path), 0);
    }
}

static void nobody_behind_the_socket(void **state)
{
    int fd = bind_unix("var/run", "docker.sock");
    struct services services;

    (void)state;
    close(fd);
    services = find(root);
    assert_true(services.docker_unseen);
    assert_int_equal(services.count, 0);
    services_fini(&services);
}

static void an_engine_that_is_silent(void **state)
{
    int fd = listener("127.0.0.1", 8080);
    struct engine engine;
    struct services services;

    (void)state;
    start_engine(&engine, "var/run", "docker.sock", NULL);
    services = find(root);
    stop_engine(&engine);
    assert_true(services.docker_unseen);
    /* What else there is is seen all the same. */
    assert_int_equal(services.count, 1);
    services_fini(&services);
    close(fd);
}

static void a_file_is_no_engine(void **state)
{
    struct services services;
    char path[64];

    (void)state;
    make_folder("var/run");
    snprintf(path, sizeof(path), "%s/var/run/docker.sock", root);
    write_file(path, "");
    services = find(root);
    assert_false(services.docker_unseen);
    services_fini(&services);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nothing, make_root, remove_root),
        cmocka_unit_test(sockets_that_are_services),
        cmocka_unit_test(two_listeners_on_one_port),
        cmocka_unit_test_setup_teardown(units_say_more_than_sockets, make_root, remove_root),
        cmocka_unit_test_setup_teardown(published_ports, make_root, remove_root),
        cmocka_unit_test_setup_teardown(podman_too, make_root, remove_root),
        cmocka_unit_test_setup_teardown(engines_that_do_not_answer, make_root, remove_root),
        cmocka_unit_test_setup_teardown(nobody_behind_the_socket, make_root, remove_root),
        cmocka_unit_test_setup_teardown(an_engine_that_is_silent, make_root, remove_root),
        cmocka_unit_test_setup_teardown(a_file_is_no_engine, make_root, remove_root),
    };
    int rc = enter_private_network();

    return rc ? rc : cmocka_run_group_tests_name("services", tests, NULL, NULL);
}
