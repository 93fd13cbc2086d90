/* What actors do on a stage: sockets, processes, users. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "stage_private.h"

#define ACCEPT_MS  5000
#define CONNECT_MS 140000 /* longer than the kernel tries by default */

/* --- sockets ---------------------------------------------------------------------------------- */

static const struct {
    unsigned with;
    int level, name;
    const char *text;
} options[] = {
    {WITH_REUSEADDR, SOL_SOCKET, SO_REUSEADDR, "SO_REUSEADDR"},
    {WITH_REUSEPORT, SOL_SOCKET, SO_REUSEPORT, "SO_REUSEPORT"},
    {WITH_V6ONLY, IPPROTO_IPV6, IPV6_V6ONLY, "IPV6_V6ONLY"},
    {WITH_NO_PORT, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, "IP_BIND_ADDRESS_NO_PORT"},
};

int host_socket(struct host *host, unsigned with)
{
    int type = with & WITH_UDP ? SOCK_DGRAM : SOCK_STREAM;
    struct host *before = host_visit(host);
    int fd = socket(with & WITH_IPV6 ? AF_INET6 : AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int on = 1;

    if (fd < 0)
        stage_broken(host->stage, "socket() on %s: %s", host->name, strerror(errno));
    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
        if (with & options[i].with &&
            setsockopt(fd, options[i].level, options[i].name, &on, sizeof(on)))
            stage_broken(host->stage, "setting %s: %s", options[i].text, strerror(errno));
    host_return(host->stage, before);
    return fd;
}

static sa_family_t family_of(int fd)
{
    int family = AF_UNSPEC;
    socklen_t len = sizeof(family);

    getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &len);
    return (sa_family_t)family;
}

int try_bind(int fd, const char *address, uint16_t port)
{
    struct tw_endpoint local = {.sa.sa_family = family_of(fd)};

    if (address && tw_address_parse(tw_view_of(address), &local, NULL))
        stage_broken(stage_here(), "%s is no address to bind to", address);
    tw_endpoint_set_port(&local, port);
    return bind(fd, &local.sa, tw_endpoint_len(&local)) ? errno : 0;
}

int try_listen(int fd)
{
    return listen(fd, SOMAXCONN) ? errno : 0;
}

int try_connect(int fd, const struct tw_endpoint *to)
{
    return connect(fd, &to->sa, tw_endpoint_len(to)) && errno != EINPROGRESS ? errno : 0;
}

int host_listen(struct host *host, uint16_t port, unsigned with)
{
    int fd = host_socket(host, with), code = try_bind(fd, NULL, port);

    if (code)
        stage_broken(host->stage, "bind() to port %u on %s: %s", port, host->name, strerror(code));
    code = try_listen(fd);
    if (code)
        stage_broken(host->stage, "listen() on port %u on %s: %s", port, host->name,
                     strerror(code));
    return fd;
}

static bool is_decided(void *context)
{
    struct pollfd waiting = {.fd = *(int *)context, .events = POLLOUT};

    return poll(&waiting, 1, 0) == 1;
}

int finish_connect(struct stage *stage, int fd, const struct tw_endpoint *to)
{
    int code = try_connect(fd, to);
    socklen_t len = sizeof(code);

    if (code)
        return code;
    if (!stage_until(stage, CONNECT_MS, is_decided, &fd))
        stage_broken(stage, "connect() was not decided within %d s", CONNECT_MS / 1000);
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &len))
        stage_broken(stage, "getsockopt(SO_ERROR): %s", strerror(errno));
    return code;
}

static bool is_readable(void *context)
{
    struct pollfd waiting = {.fd = *(int *)context, .events = POLLIN};

    return poll(&waiting, 1, 0) == 1;
}

int stage_accept(struct stage *stage, int listener)
{
    int fd;

    if (!stage_until(stage, ACCEPT_MS, is_readable, &listener))
        stage_broken(stage, "no connection to accept within %d s", ACCEPT_MS / 1000);
    fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        stage_broken(stage, "accept(): %s", strerror(errno));
    return fd;
}

static struct tw_endpoint name_of(int fd, bool of_peer)
{
    struct tw_endpoint name = {0};
    socklen_t len = sizeof(name);

    if (of_peer ? getpeername(fd, &name.sa, &len) : getsockname(fd, &name.sa, &len))
        stage_broken(stage_here(), "%s(): %s", of_peer ? "getpeername" : "getsockname",
                     strerror(errno));
    return name;
}

uint16_t port_of(int fd)
{
    struct tw_endpoint name = name_of(fd, false);

    return tw_endpoint_port(&name);
}

/* Where a client on `from` finds the listener. */
static struct tw_endpoint way_to(struct stage *stage, const struct host *from, int listener,
                                 bool v6)
{
    struct host *other = from == stage_left(stage) ? stage_right(stage) : stage_left(stage);
    struct tw_endpoint name = name_of(listener, false), to = v6 ? other->address6 : other->address;

    if (!tw_endpoint_is_wildcard(&name))
        return name;
    if (to.sa.sa_family == AF_UNSPEC)
        stage_lacking(stage, "host %s has no IPv6 address", other->name);
    tw_endpoint_set_port(&to, tw_endpoint_port(&name));
    return to;
}

struct pair stage_pair(struct stage *stage, struct host *from, int listener, unsigned client_with)
{
    struct tw_endpoint to = way_to(stage, from, listener, client_with & WITH_IPV6);
    struct pair pair = {.client = host_socket(from, client_with)};
    struct tw_endpoint client, peer;
    int code = finish_connect(stage, pair.client, &to);

    if (code)
        stage_broken(stage, "connect() from %s: %s", from->name, strerror(code));
    pair.server = stage_accept(stage, listener);
    client = name_of(pair.client, false);
    peer = name_of(pair.server, true);
    if (tw_endpoint_port(&client) != tw_endpoint_port(&peer))
        stage_broken(stage, "another connection was waiting to be accepted");
    return pair;
}

int try_send(int fd, const char *text)
{
    size_t len = strlen(text);
    ssize_t sent = send(fd, text, len, MSG_NOSIGNAL);

    if (sent < 0)
        return errno;
    return (size_t)sent == len ? 0 : EAGAIN;
}

void send_text(int fd, const char *text)
{
    int code = try_send(fd, text);

    if (code)
        stage_broken(stage_here(), "send(): %s", strerror(code));
}

int read_some(int fd, char *buf, size_t size)
{
    ssize_t got = recv(fd, buf, size, 0);

    return got < 0 ? -errno : (int)got;
}

void close_fd(int *fd)
{
    if (close(*fd))
        stage_broken(stage_here(), "close(): %s", strerror(errno));
    *fd = -1;
}

void close_with_reset(int *fd)
{
    struct linger now = {.l_onoff = 1};

    if (setsockopt(*fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now)))
        stage_broken(stage_here(), "setting SO_LINGER: %s", strerror(errno));
    close_fd(fd);
}

/* --- processes -------------------------------------------------------------------------------- */

int host_fork(struct host *host, void (*run)(void *context), void *context)
{
    struct stage *stage = host->stage;
    int parent = getpid(), pid;

    if (stage->child_count == CHILDREN_MAX)
        stage_broken(stage, "more than %d processes on a stage", CHILDREN_MAX);
    pid = fork();
    if (pid < 0)
        stage_broken(stage, "fork(): %s", strerror(errno));
    if (pid == 0) {
        stage->parent = parent;
        stage->child_count = 0; /* its siblings are not its to end */
        stage_die_with(parent);
        host_enter(host);
        run(context);
        _exit(EXIT_SUCCESS);
    }
    stage->children[stage->child_count++] = pid;
    return pid;
}

static void end_child(int pid)
{
    kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
}

void stage_kill(struct stage *stage, int pid)
{
    for (size_t i = 0; i < stage->child_count; i++) {
        if (stage->children[i] != pid)
            continue;
        end_child(pid);
        stage->children[i] = stage->children[--stage->child_count];
        return;
    }
    stage_broken(stage, "process %d is not of this stage, or was ended already", pid);
}

void stage_end_children(struct stage *stage)
{
    while (stage->child_count)
        end_child(stage->children[--stage->child_count]);
}

/* --- users ------------------------------------------------------------------------------------ */

int become_user(uint32_t uid)
{
    if (seteuid(uid))
        return errno;
    prctl(PR_SET_DUMPABLE, 1); /* else /proc/self belongs to nobody who can use it */
    if (stage_here()->parent)
        stage_die_with(stage_here()->parent);
    return 0;
}

void as_user(uint32_t uid, void (*run)(void *context), void *context)
{
    int code = become_user(uid);

    if (code)
        stage_lacking(stage_here(), "becoming user %u: %s", uid, strerror(code));
    run(context);
    code = become_user(0);
    if (code)
        stage_broken(stage_here(), "becoming root again: %s", strerror(code));
}
