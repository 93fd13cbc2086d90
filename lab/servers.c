#include "servers.h"

#include <sys/socket.h>

#include "tidewait/verdict.h"

const char *outcome_text(int code)
{
    return code ? tw_errno_name(code) : "success";
}

static const char *options_text(unsigned with)
{
    const unsigned both = WITH_REUSEADDR | WITH_REUSEPORT;

    if ((with & both) == both)
        return " with SO_REUSEADDR and SO_REUSEPORT";
    if (with & WITH_REUSEPORT)
        return " with SO_REUSEPORT";
    if (with & WITH_V6ONLY)
        return " with IPV6_V6ONLY";
    return with & WITH_REUSEADDR ? " with SO_REUSEADDR" : "";
}

int try_serve(struct host *host, const char *who, const char *address, uint16_t port, unsigned with,
              int *fd)
{
    const char *shown = address ? address : with & WITH_IPV6 ? "[::]" : "*";
    int code;

    *fd = host_socket(host, with);
    code = try_bind(*fd, address, port);
    if (code || with & WITH_UDP) {
        host_says(host, "%s: bind(%s:%u)%s: %s", who, shown, port, options_text(with),
                  outcome_text(code));
    } else {
        code = try_listen(*fd);
        host_says(host, "%s: bind(%s:%u)%s: success, listen(): %s", who, shown, port,
                  options_text(with), outcome_text(code));
    }
    if (code)
        close_fd(fd);
    return code;
}

void end_server(int *fd)
{
    if (*fd >= 0)
        close_fd(fd);
}

int try_reach(struct host *from, const struct tw_endpoint *to)
{
    int fd = host_socket(from, to->sa.sa_family == AF_INET6 ? WITH_IPV6 : 0);
    int code = finish_connect(from->stage, fd, to);

    if (code)
        close_fd(&fd);
    else
        close_with_reset(&fd);
    return code;
}

unsigned accept_all(int listener)
{
    unsigned count = 0;
    int fd;

    while ((fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
        close_fd(&fd);
        count++;
    }
    return count;
}
