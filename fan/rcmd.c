#include "rcmd.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mark.h"
#include "tidewait/clock.h"

#define FAILED     255 /* exit status of the child without one of the command */
#define PIECE      (32 << 10)
#define HELD_MAX   64 /* of stderr: a mark with an exit status, and what may become one */
#define ANSWER_MAX 512
#define CLOSE_MS   1000              /* for the other end to close what it has refused */
#define GRACE_NS   (TW_NS_PER_S / 2) /* between SIGTERM and SIGKILL for the command */

/* Somebody wants the command to end. In a process that does nothing else. */
static volatile sig_atomic_t ending;

static void on_signal(int number)
{
    (void)number;
    ending = 1;
}

struct talk {
    struct rcmd *rcmd;
    sigset_t waiting_mask; /* signals are taken while it waits alone: none is missed */
    int second;            /* the second connection; -1: not there yet, or at its end */
    bool first_open;       /* the other end has not closed it */
    bool input_open;       /* there may be more for the command */
    char input[PIECE];     /* on its way to the command */
    size_t input_len;
    char status_mark[MARK_MAX + 1]; /* the exit status stands behind it */
    char held[HELD_MAX + PIECE]; /* stderr that may be the beginning of a mark, and a new piece */
    size_t held_len;
    int status;      /* exit status of the command; -1: not told yet */
    int sent;        /* the last signal that was sent to the command */
    uint64_t due_ns; /* of the next */
};

/* Writes all to a pipe of ours. False when nobody reads it any more. */
static bool put(int fd, const char *data, size_t len)
{
    while (len) {
        ssize_t done = write(fd, data, len);

        if (done < 0 && errno != EINTR)
            return false;
        data += done > 0 ? done : 0;
        len -= done > 0 ? (size_t)done : 0;
    }
    return true;
}

static bool fail(struct talk *talk, enum fan_cause cause, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Tells on stderr what is wrong. Returns false. */
static bool fail(struct talk *talk, enum fan_cause cause, const char *format, ...)
{
    char text[ANSWER_MAX + 256];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    put(STDERR_FILENO, text, strlen(text));
    put(STDERR_FILENO, "\n", 1);
    talk->rcmd->cause = cause;
    return false;
}

static bool fail_errno(struct talk *talk, const char *what)
{
    char to[TW_ENDPOINT_TEXT_MAX];
    int code = errno;

    return fail(talk, cause_of_errno(code, CAUSE_CONNECT), "%s %s from port %u: %s", what,
                tw_endpoint_format(&talk->rcmd->to, to), talk->rcmd->source_port, strerror(code));
}

/* Waits for one of the events; negative descriptors are passed over. False when we are to end. */
static bool wait_for(struct talk *talk, struct pollfd *fds, nfds_t count)
{
    while (!ending)
        if (ppoll(fds, count, NULL, &talk->waiting_mask) > 0)
            return true;
    return false;
}

static bool wait_for_one(struct talk *talk, int fd, short events)
{
    struct pollfd one = {.fd = fd, .events = events};

    return wait_for(talk, &one, 1);
}

/* --- the beginning ---------------------------------------------------------------------------- */

static bool finish_connect(struct talk *talk)
{
    int code = 0;
    socklen_t len = sizeof(code);

    if (!wait_for_one(talk, RCMD_FIRST, POLLOUT))
        return false;
    getsockopt(RCMD_FIRST, SOL_SOCKET, SO_ERROR, &code, &len);
    errno = code;
    if (code)
        return fail_errno(talk, "connect to");
    talk->rcmd->connected = true;
    return true;
}

static bool say(struct talk *talk, const char *text)
{
    size_t len = strlen(text) + 1;

    while (len) {
        ssize_t done = send(RCMD_FIRST, text, len, MSG_NOSIGNAL);

        if (done < 0 && errno != EAGAIN && errno != EINTR)
            return fail_errno(talk, "connection to");
        if (done < 0 && !wait_for_one(talk, RCMD_FIRST, POLLOUT))
            return false;
        text += done > 0 ? done : 0;
        len -= done > 0 ? (size_t)done : 0;
    }
    return true;
}

/* The second connection comes from the same address and a reserved port, or it is not taken: it
 * could be anybody's, or that of a host which had the port before. */
static bool is_theirs(const struct talk *talk, const struct tw_endpoint *from)
{
    return tw_endpoint_same_address(from, &talk->rcmd->to) &&
           tw_endpoint_port(from) >= RCMD_PORT_FIRST && tw_endpoint_port(from) <= RCMD_PORT_LAST;
}

/* Nothing is there when the first connection has an answer already: it is about what is wrong. */
static bool take_second(struct talk *talk)
{
    struct pollfd fds[] = {{.fd = RCMD_LISTENER, .events = POLLIN},
                           {.fd = RCMD_FIRST, .events = POLLIN}};

    while (talk->second < 0) {
        struct tw_endpoint from = {0};
        socklen_t len = sizeof(from);
        int fd;

        if (!wait_for(talk, fds, 2))
            return false;
        if (!fds[0].revents)
            break;
        fd = accept4(RCMD_LISTENER, &from.sa, &len, SOCK_CLOEXEC);
        if (fd >= 0 && is_theirs(talk, &from))
            talk->second = fd;
        else if (fd >= 0)
            close(fd);
    }
    close(RCMD_LISTENER);
    return true;
}

/* What is wrong, after a first byte that is not NUL: a line that follows a 1, or no rshd at all. */
static bool take_complaint(struct talk *talk, char first)
{
    char text[ANSWER_MAX];
    size_t len = 0;

    if (first != 1)
        text[len++] = first;
    while (len < sizeof(text) - 1) {
        ssize_t done;

        if (!wait_for_one(talk, RCMD_FIRST, POLLIN))
            return false;
        done = read(RCMD_FIRST, text + len, sizeof(text) - 1 - len);
        if (done < 0 && (errno == EAGAIN || errno == EINTR))
            continue;
        if (done <= 0 || memchr(text + len, '\n', (size_t)done)) {
            len += done > 0 ? (size_t)done : 0;
            break;
        }
        len += (size_t)done;
    }
    text[len] = 0;
    text[strcspn(text, "\r\n")] = 0;
    if (first != 1)
        return fail(talk, CAUSE_CONNECT, "no rshd answers there: \"%s\"", text);
    return fail(talk, cause_of_rshd(text), "%s", text[0] ? text : "refused without a reason");
}

static bool take_answer(struct talk *talk)
{
    ssize_t len;
    char answer;

    do {
        if (!wait_for_one(talk, RCMD_FIRST, POLLIN))
            return false;
        len = read(RCMD_FIRST, &answer, 1);
    } while (len < 0 && (errno == EAGAIN || errno == EINTR));
    if (len < 0)
        return fail_errno(talk, "connection to");
    /* netkit's rshd says nothing when it finds no port: measured after 511 commands in a row. */
    if (len == 0)
        return fail(talk, CAUSE_CLOSED, "the other end closed before the command ran%s",
                    talk->second >= 0
                        ? ""
                        : ", and opened no connection for stderr: a host has reserved "
                          "ports for some 500 commands a minute");
    return answer == 0 || take_complaint(talk, answer);
}

static bool begin(struct talk *talk)
{
    const struct rcmd *rcmd = talk->rcmd;
    char port[8];

    snprintf(port, sizeof(port), "%u", rcmd->second_port);
    if (!finish_connect(talk) || !say(talk, port) || !take_second(talk))
        return false;
    if (talk->second >= 0 &&
        (!say(talk, rcmd->local_user) || !say(talk, rcmd->user) || !say(talk, rcmd->command)))
        return false;
    if (!take_answer(talk))
        return false;
    if (talk->second < 0)
        return fail(talk, CAUSE_CONNECT, "no second connection, for stderr, came from there");
    return true;
}

/* What was refused ends: the other end closes both connections, if we let it be the first. */
static void let_close(struct talk *talk)
{
    char data[ANSWER_MAX];
    struct pollfd one = {.fd = talk->second, .events = POLLIN};

    while (one.fd >= 0 && !ending && poll(&one, 1, CLOSE_MS) > 0 &&
           read(one.fd, data, sizeof(data)) > 0)
        ;
}

/* --- while the command runs ------------------------------------------------------------------- */

/* How many of the last bytes may be the beginning of a mark. */
static size_t mark_begun(const char *mark, const char *data, size_t len)
{
    size_t part = strlen(mark);

    for (part = part < len ? part : len; part; part--)
        if (memcmp(data + len - part, mark, part) == 0)
            break;
    return part;
}

/* Takes the first exit status out of what is held. False: there is none, or not all of it. */
static bool take_status(struct talk *talk, const char *at, size_t mark_len)
{
    size_t before = (size_t)(at - talk->held);
    const char *end = memchr(at, '\n', talk->held_len - before);

    if (!end)
        return false;
    talk->status = (int)strtol(at + mark_len, NULL, 10) & 255;
    put(STDERR_FILENO, talk->held, before);
    talk->held_len -= (size_t)(end + 1 - talk->held);
    memmove(talk->held, end + 1, talk->held_len);
    return true;
}

/* Passes on what is held of stderr, but for exit statuses, and for what may be the beginning of one
 * as long as more can come. */
static bool pass_stderr(struct talk *talk, bool more)
{
    const char *mark = talk->status_mark;
    size_t mark_len = strlen(mark), keep, ready;
    const char *at;
    bool passed;

    do
        at = memmem(talk->held, talk->held_len, mark, mark_len);
    while (at && take_status(talk, at, mark_len));
    keep = at ? talk->held_len - (size_t)(at - talk->held)
              : mark_begun(mark, talk->held, talk->held_len);
    if (!more || keep >= HELD_MAX)
        keep = 0;
    ready = talk->held_len - keep;
    passed = put(STDERR_FILENO, talk->held, ready);
    memmove(talk->held, talk->held + ready, keep);
    talk->held_len = keep;
    return passed;
}

/* Returns false when there is nobody any more to pass it to. */
static bool read_second(struct talk *talk)
{
    ssize_t len = read(talk->second, talk->held + talk->held_len, PIECE);

    if (len < 0 && errno == EINTR)
        return true;
    if (len > 0) {
        talk->held_len += (size_t)len;
        return pass_stderr(talk, true);
    }
    close(talk->second);
    talk->second = -1;
    return pass_stderr(talk, false);
}

static bool read_first(struct talk *talk)
{
    char data[PIECE];
    ssize_t len = read(RCMD_FIRST, data, sizeof(data));

    if (len > 0)
        return put(STDOUT_FILENO, data, (size_t)len);
    if (len < 0 && (errno == EAGAIN || errno == EINTR))
        return true;
    /* A command that does not read all of its input ends with a reset. */
    if (len < 0 && (!talk->rcmd->sends_input || talk->rcmd->plain))
        return fail(talk, CAUSE_LOST, "the connection broke: %s", strerror(errno));
    talk->first_open = talk->input_open = false;
    return true;
}

static void end_input(struct talk *talk)
{
    talk->input_open = false;
    talk->input_len = 0;
    talk->rcmd->closed_first = talk->first_open;
    shutdown(RCMD_FIRST, SHUT_WR);
}

/* Our standard input is a file: it is always ready. A command that reads no more ends its input. */
static void send_input(struct talk *talk)
{
    ssize_t len = 0;

    if (talk->input_len == 0) {
        len = read(STDIN_FILENO, talk->input, sizeof(talk->input));
        talk->input_len = len > 0 ? (size_t)len : 0;
    }
    if (talk->input_len)
        len = send(RCMD_FIRST, talk->input, talk->input_len, MSG_NOSIGNAL);
    if (len > 0) {
        talk->input_len -= (size_t)len;
        memmove(talk->input, talk->input + len, talk->input_len);
    } else if (len == 0 || (errno != EAGAIN && errno != EINTR)) {
        end_input(talk);
    }
}

/* The next signal for the command. Returns when to look again. */
static uint64_t send_signal(struct talk *talk)
{
    uint64_t now = tw_clock_ns();
    char byte;

    if (!ending || talk->sent == SIGKILL)
        return TW_NEVER;
    if (talk->sent && now < talk->due_ns)
        return talk->due_ns;
    talk->sent = talk->sent ? SIGKILL : SIGTERM;
    talk->due_ns = now + GRACE_NS;
    byte = (char)talk->sent;
    if (talk->second >= 0)
        send(talk->second, &byte, 1, MSG_NOSIGNAL);
    return talk->sent == SIGKILL ? TW_NEVER : talk->due_ns;
}

static bool turn(struct talk *talk)
{
    uint64_t due_ns = send_signal(talk), now = tw_clock_ns();
    uint64_t left = due_ns > now ? due_ns - now : 0;
    const struct timespec limit = {(time_t)(left / TW_NS_PER_S), (long)(left % TW_NS_PER_S)};
    struct pollfd fds[] = {
        {.fd = talk->first_open ? RCMD_FIRST : -1,
         .events = (short)(POLLIN | (talk->input_open ? POLLOUT : 0))},
        {.fd = talk->second, .events = POLLIN},
    };

    if (ppoll(fds, 2, due_ns == TW_NEVER ? NULL : &limit, &talk->waiting_mask) <= 0)
        return true;
    if (fds[1].revents && !read_second(talk))
        return false;
    if (fds[0].revents & ~POLLOUT && !read_first(talk))
        return false;
    if (fds[0].revents & POLLOUT && talk->input_open)
        send_input(talk);
    return true;
}

static int relay(struct talk *talk)
{
    talk->input_open = talk->rcmd->sends_input;
    while (talk->first_open || talk->second >= 0)
        if (!turn(talk))
            return FAILED;
    if (talk->rcmd->plain)
        return 0;
    if (talk->status < 0 && !ending)
        fail(talk, CAUSE_LOST, "the connection ended without the exit status of the command");
    return talk->status < 0 ? FAILED : talk->status;
}

static void catch_signals(struct talk *talk)
{
    struct sigaction action = {.sa_handler = on_signal};
    sigset_t ours;

    sigaction(SIGTERM, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&ours);
    sigaddset(&ours, SIGTERM);
    sigprocmask(SIG_BLOCK, &ours, &talk->waiting_mask);
    sigdelset(&talk->waiting_mask, SIGTERM);
}

int rcmd_run(void *context)
{
    static struct talk talk;
    struct rcmd *rcmd = context;

    talk = (struct talk){.rcmd = rcmd, .second = -1, .first_open = true, .status = -1};
    snprintf(talk.status_mark, sizeof(talk.status_mark), "%s:", rcmd->mark);
    rcmd->cause = CAUSE_CLOSED; /* should we be killed before we know better */
    catch_signals(&talk);
    if (!begin(&talk)) {
        let_close(&talk);
        return FAILED;
    }
    rcmd->cause = CAUSE_NONE;
    if (!put(STDERR_FILENO, rcmd->mark, strlen(rcmd->mark)) || !put(STDERR_FILENO, "\n", 1))
        return FAILED;
    return relay(&talk);
}
