#include "exec_log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

#include "tidewait/parse.h"

int exec_log_open(const char *where, struct exec_log *log, struct tw_error *error)
{
    log->fd = STDERR_FILENO;
    if (!where)
        return 0;
    if (strcmp(where, "syslog") == 0) {
        log->fd = -1;
        openlog("tidewait", LOG_PID, LOG_USER);
        return 0;
    }
    log->fd = open(where, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0644);
    return log->fd < 0 ? tw_error_set(error, errno, "--log: cannot write to '%.120s': %s", where,
                                      strerror(errno))
                       : 0;
}

void exec_log_close(struct exec_log *log)
{
    if (log->fd < 0)
        closelog();
    else if (log->fd != STDERR_FILENO)
        close(log->fd);
    log->fd = -1;
}

bool exec_log_write(const struct exec_log *log, const char *lines)
{
    struct tw_view rest = tw_view_of(lines);
    struct pollfd room = {.fd = log->fd, .events = POLLOUT};

    if (log->fd >= 0)
        return poll(&room, 1, 0) == 1 && room.revents & POLLOUT &&
               write(log->fd, rest.data, rest.len) == (ssize_t)rest.len;
    while (rest.len) {
        struct tw_view line = tw_view_cut(&rest, '\n');

        syslog(LOG_NOTICE, "%.*s", (int)line.len, line.data);
    }
    return true;
}
