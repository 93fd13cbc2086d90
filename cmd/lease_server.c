#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "lease.h"
#include "options.h"
#include "tidewait/limits.h"

/* The protocol of portserver: a client sends a pid in decimal, 20 bytes at most with the newline,
 * and gets a port and a newline, or the end of the connection when there is none for it. */
#define REQUEST_MAX  20
#define REQUEST_READ 100

/* Clients that have connected and said nothing. One more, and the oldest is closed. */
#define CLIENTS 256

/* Descriptors for everything but leases. */
#define OTHERS (CLIENTS + 32)

/* What an event of epoll is about: a kind above, an index below. */
enum kind { KIND_LISTENER, KIND_SIGNAL, KIND_CLIENT, KIND_LEASE };

/* A port of the pool. It belongs to a process as long as that lives: a pidfd names it for ever,
 * whoever gets its number later. */
struct place {
    struct tw_lease lease;
    uint16_t port;
    int process; /* pidfd; -1: not leased */
};

struct server {
    const struct lease_config *config;
    struct place *places;
    size_t count, next, leased, leased_max;
    int epoll, listener, signals;
    int clients[CLIENTS]; /* -1: none */
    size_t next_client;
    struct sockaddr_un address;
    socklen_t address_len;
    /* As portserver counts. */
    uint64_t total, denied, errors, checked;
};

static int fail(int code, struct tw_error *error)
{
    fprintf(stderr, "tidewait lease: --server: %s\n", error->text);
    return code;
}

static int observe(const struct server *server, int fd, enum kind kind, size_t index)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = (uint64_t)kind << 32 | index};

    return epoll_ctl(server->epoll, EPOLL_CTL_ADD, fd, &event) ? -errno : 0;
}

/* --- leases ------------------------------------------------------------------------------------
 */

static void end_lease(struct server *server, struct place *place)
{
    close(place->process);
    place->process = -1;
    tw_lease_release(&place->lease);
    server->leased--;
}

/* The place at `index` for a process. Returns 0 or -errno; -EADDRINUSE: not this one. */
static int begin_lease(struct server *server, size_t index, int process)
{
    struct place *place = &server->places[index];
    struct tw_ports one = {{0}};
    int rc;

    tw_ports_add(&one, place->port);
    rc = tw_lease_take(&one, 1, &place->lease, NULL);
    if (rc)
        return rc;
    /* The client may bind it without SO_REUSEADDR, so nothing is held unless that was asked for. */
    if (server->config->until != LEASE_END || tw_lease_share(&place->lease))
        tw_lease_yield(&place->lease);
    rc = observe(server, process, KIND_LEASE, index);
    if (rc) {
        tw_lease_release(&place->lease);
        return rc;
    }
    place->process = process;
    server->leased++;
    return 0;
}

/* In turn, so that a port rests as long as can be. Returns the port, or 0. */
static unsigned find_port(struct server *server, int process)
{
    server->checked = 0;
    while (server->leased < server->leased_max && server->checked < server->count) {
        size_t index = server->next;

        server->next = (index + 1) % server->count;
        server->checked++;
        if (server->places[index].process < 0 && begin_lease(server, index, process) == 0)
            return server->places[index].port;
    }
    return 0;
}

/* --- clients -----------------------------------------------------------------------------------
 */

/* What Python's int() takes, but for underscores. Returns false for what is no number. */
static bool read_pid(char *text, int64_t *pid)
{
    static const char blank[] = " \t\n\v\f\r";
    char *number = text + strspn(text, blank), *end;
    size_t digits;

    digits = strspn(number + (*number == '-' || *number == '+'), "0123456789");
    *pid = strtoll(number, &end, 10);
    return digits > 0 && end[strspn(end, blank)] == 0;
}

static void answer(struct server *server, int client, int64_t pid)
{
    /* Neither init, which is what a parent's pid becomes when that has ended, nor nobody. */
    int process = pid > 1 && pid <= INT32_MAX ? (int)syscall(SYS_pidfd_open, (int)pid, 0) : -1;
    unsigned port = process >= 0 ? find_port(server, process) : 0;
    char text[16];

    if (!port) {
        server->denied++;
        if (process >= 0)
            close(process);
        return;
    }
    server->total++;
    /* A client that has gone meanwhile keeps its lease: it is the process that counts. */
    (void)send(client, text, (size_t)snprintf(text, sizeof(text), "%u\n", port),
               MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void serve_client(struct server *server, size_t index)
{
    int *client = &server->clients[index];
    char text[REQUEST_READ + 1];
    ssize_t got = recv(*client, text, REQUEST_READ, MSG_DONTWAIT);
    int64_t pid;

    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    text[got > 0 ? got : 0] = 0;
    if (got <= 0 || got > REQUEST_MAX || strlen(text) != (size_t)got || !read_pid(text, &pid))
        server->errors++;
    else
        answer(server, *client, pid);
    close(*client);
    *client = -1;
}

static void serve_listener(struct server *server)
{
    int fd = accept4(server->listener, NULL, NULL, SOCK_CLOEXEC), *slot;
    size_t index = server->next_client;

    if (fd < 0)
        return;
    slot = &server->clients[index];
    server->next_client = (index + 1) % CLIENTS;
    if (*slot >= 0) {
        server->errors++;
        close(*slot);
    }
    *slot = fd;
    if (observe(server, fd, KIND_CLIENT, index)) {
        close(fd);
        *slot = -1;
    }
}

/* --- the loop ----------------------------------------------------------------------------------
 */

static void print_statistics(const struct server *server)
{
    fprintf(stderr,
            "client-request-errors %" PRIu64 "\ndenied-allocations %" PRIu64
            "\nnum-ports-managed %zu\nnum-ports-checked-for-last-request %" PRIu64
            "\ntotal-allocations %" PRIu64 "\n",
            server->errors, server->denied, server->count, server->checked, server->total);
}

/* Whether to go on. */
static bool serve_event(struct server *server, uint64_t data)
{
    size_t index = (uint32_t)data;
    struct signalfd_siginfo info;

    switch ((enum kind)(data >> 32)) {
    case KIND_LISTENER:
        serve_listener(server);
        return true;
    case KIND_CLIENT:
        /* Another event of this turn may have closed it. */
        if (server->clients[index] >= 0)
            serve_client(server, index);
        return true;
    case KIND_LEASE:
        if (server->places[index].process >= 0)
            end_lease(server, &server->places[index]);
        return true;
    case KIND_SIGNAL:
        if (read(server->signals, &info, sizeof(info)) != sizeof(info) || info.ssi_signo != SIGUSR1)
            return false;
        print_statistics(server);
        return true;
    }
    return true;
}

static void loop(struct server *server)
{
    struct epoll_event events[64];

    for (;;) {
        int count = epoll_wait(server->epoll, events, 64, -1);

        for (int i = 0; i < count; i++)
            if (!serve_event(server, events[i].data.u64))
                return;
    }
}

/* --- begin and end -----------------------------------------------------------------------------
 */

/* A file that nobody listens on was left by a server that was killed. */
static bool is_stale(const struct server *server)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct stat file;
    bool stale = server->address.sun_path[0] && lstat(server->address.sun_path, &file) == 0 &&
                 S_ISSOCK(file.st_mode) &&
                 connect(fd, (const struct sockaddr *)&server->address, server->address_len) &&
                 errno == ECONNREFUSED;

    close(fd);
    return stale;
}

static int bind_listener(struct server *server)
{
    const struct sockaddr *address = (const struct sockaddr *)&server->address;

    if (bind(server->listener, address, server->address_len) == 0)
        return 0;
    if (errno != EADDRINUSE)
        return -errno;
    if (!is_stale(server))
        return -EADDRINUSE;
    return unlink(server->address.sun_path) || bind(server->listener, address, server->address_len)
               ? -errno
               : 0;
}

static int open_listener(struct server *server, struct tw_error *error)
{
    const char *path = server->config->server;
    size_t len = strlen(path);
    int rc;

    if (len >= sizeof(server->address.sun_path) || strcmp(path, "@") == 0)
        return tw_error_set(error, EINVAL, "'%.120s': a path or @NAME of %zu bytes at most", path,
                            sizeof(server->address.sun_path) - 1);
    server->address.sun_family = AF_UNIX;
    memcpy(server->address.sun_path, path, len);
    if (path[0] == '@')
        server->address.sun_path[0] = 0;
    server->address_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
    server->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    rc = server->listener < 0 ? -errno : bind_listener(server);
    if (rc == 0 && listen(server->listener, SOMAXCONN))
        rc = -errno;
    return rc ? tw_error_set(error, -rc, "'%.120s': %s", path,
                             rc == -EADDRINUSE ? "somebody serves there already" : strerror(-rc))
              : 0;
}

static int open_all(struct server *server, struct tw_error *error)
{
    sigset_t signals;

    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGHUP);
    sigaddset(&signals, SIGUSR1);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    server->signals = signalfd(-1, &signals, SFD_CLOEXEC);
    server->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (server->signals < 0 || server->epoll < 0 ||
        observe(server, server->signals, KIND_SIGNAL, 0))
        return tw_error_set(error, errno, "%s", strerror(errno));
    if (open_listener(server, error))
        return -error->code;
    return observe(server, server->listener, KIND_LISTENER, 0);
}

static int prepare(struct server *server, const struct lease_pool *pool, struct tw_error *error)
{
    int64_t files = tw_limits_raise_files();
    size_t held = server->config->until == LEASE_END ? 3 : 2, at = 0;

    server->count = tw_ports_count(&pool->ports);
    server->places = calloc(server->count, sizeof(*server->places));
    if (!server->places)
        return tw_error_set(error, ENOMEM, "no memory");
    for (unsigned port = 1; port <= UINT16_MAX; port++)
        if (tw_ports_has(&pool->ports, (uint16_t)port))
            server->places[at++] = (struct place){.port = (uint16_t)port, .process = -1};
    for (size_t i = 0; i < CLIENTS; i++)
        server->clients[i] = -1;
    /* A lease that is taken has three descriptors and the pidfd for a moment. */
    server->leased_max = files > OTHERS + 4 ? ((size_t)files - OTHERS - 4) / held : 0;
    if (!server->leased_max)
        return tw_error_set(error, EMFILE, "no descriptors for leases; raise ulimit -n");
    return 0;
}

int lease_serve(const struct lease_config *config, const struct lease_pool *pool)
{
    struct server server = {.config = config, .epoll = -1, .listener = -1, .signals = -1};
    struct tw_error error = {0};
    int rc = prepare(&server, pool, &error);

    if (rc == 0)
        rc = open_all(&server, &error);
    if (rc) {
        free(server.places);
        return fail(rc == -EINVAL                    ? EXIT_USAGE
                    : rc == -EACCES || rc == -EPERM  ? EXIT_DENIED
                    : rc == -EMFILE || rc == -ENOMEM ? EXIT_OURS
                                                     : EXIT_NO,
                    &error);
    }
    if (!config->quiet)
        fprintf(stderr, "tidewait lease: serving %zu ports on %s\n", server.count, config->server);
    loop(&server);
    if (server.address.sun_path[0])
        (void)unlink(server.address.sun_path);
    if (!config->quiet)
        print_statistics(&server);
    free(server.places);
    return EXIT_YES;
}
