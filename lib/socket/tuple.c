#include "tidewait/tuple.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <time.h>

#include "deadline.h"
#include "tidewait/clock.h"

/* Ports of others are met one by one; so many in a row are no accident. */
enum { TRIES = 64 };

/* Takes a tuple, or sleeps until one is safe. Returns 0, -EAGAIN or -ENOMEM. */
static int take(struct tw_ledger *ledger, uint32_t lane, uint64_t deadline_ns,
                struct tw_tuple *tuple)
{
    uint64_t until_ns;
    int rc;

    while ((rc = tw_ledger_take(ledger, lane, tw_clock_ns(), tuple, &until_ns)) == -EAGAIN) {
        struct timespec until = {.tv_sec = (time_t)(until_ns / TW_NS_PER_S),
                                 .tv_nsec = (long)(until_ns % TW_NS_PER_S)};

        /* All in use: nobody but the caller could give one back. */
        if (until_ns == TW_NEVER || until_ns > deadline_ns)
            break;
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
    }
    return rc;
}

/* Waits until the connection stands. Returns 0 or -errno. */
static int wait_connected(int fd, uint64_t deadline_ns)
{
    struct pollfd wait = {.fd = fd, .events = POLLOUT};
    socklen_t len = sizeof(int);
    int code = 0, rc;

    do {
        rc = poll(&wait, 1, deadline_poll_ms(deadline_ns));
        if (rc < 0 && errno != EINTR)
            return -errno;
    } while (rc <= 0 && tw_clock_ns() < deadline_ns);
    if (rc <= 0)
        return -ETIMEDOUT;
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &len) ? -errno : -code;
}

static int make_blocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);

    return flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) < 0 ? -errno : 0;
}

/* Returns a descriptor, or -errno with what the ledger has to know. */
static int connect_from(const struct tw_endpoint *source, const struct tw_endpoint *destination,
                        uint64_t deadline_ns, enum tw_outcome *outcome)
{
    struct tw_source_opts opts = {.lean = false};
    int fd = tw_source_open(source, &opts), rc = 0;

    if (fd < 0) {
        *outcome = fd == -EADDRINUSE ? TW_OUTCOME_PORT_TAKEN : TW_OUTCOME_UNUSED;
        return fd;
    }
    *outcome = TW_OUTCOME_RESET;
    if (connect(fd, &destination->sa, tw_endpoint_len(destination))) {
        rc = -errno;
        if (rc == -EADDRNOTAVAIL)
            *outcome = TW_OUTCOME_TUPLE_TAKEN;
        else if (rc == -EINPROGRESS)
            rc = wait_connected(fd, deadline_ns);
    }
    if (!rc)
        rc = make_blocking(fd);
    if (!rc)
        return fd;
    tw_close_reset(fd);
    return rc;
}

static int fail(int rc, const struct tw_endpoint *destination, const char *what,
                struct tw_error *error)
{
    char text[TW_ENDPOINT_TEXT_MAX];

    return tw_error_set(error, -rc, "connect to %s: %s", tw_endpoint_format(destination, text),
                        what ? what : strerror(-rc));
}

int tw_tuple_connect(struct tw_ledger *ledger, uint32_t lane, const struct tw_endpoint *source,
                     const struct tw_endpoint *destination, uint64_t timeout_ns,
                     struct tw_tuple *tuple, struct tw_error *error)
{
    uint64_t deadline_ns = deadline_after(timeout_ns);
    struct tw_endpoint local = {.v6 = {.sin6_family = destination->sa.sa_family}};
    int rc = 0;

    if (source)
        local = *source;
    for (int i = 0; i < TRIES; i++) {
        enum tw_outcome outcome = TW_OUTCOME_UNUSED;
        struct tw_tuple taken;

        if ((rc = take(ledger, lane, deadline_ns, &taken)))
            return fail(rc, destination,
                        rc == -EAGAIN ? "no source port is safe to use in time" : NULL, error);
        tw_endpoint_set_port(&local, taken.port);
        rc = connect_from(&local, destination, deadline_ns, &outcome);
        if (rc >= 0) {
            *tuple = taken;
            return rc;
        }
        tw_ledger_give(ledger, &taken, outcome, tw_clock_ns());
        if (outcome != TW_OUTCOME_PORT_TAKEN && outcome != TW_OUTCOME_TUPLE_TAKEN)
            return fail(rc, destination, NULL, error);
    }
    return fail(rc, destination, "64 source ports in a row are taken by others", error);
}

enum tw_closer tw_tuple_close(struct tw_ledger *ledger, const struct tw_tuple *tuple, int fd,
                              uint64_t timeout_ns)
{
    enum tw_closer closer = tw_close_politely(fd, timeout_ns);
    enum tw_outcome outcome = closer == TW_CLOSER_PEER    ? TW_OUTCOME_PEER_FIRST
                              : closer == TW_CLOSER_RESET ? TW_OUTCOME_RESET
                                                          : TW_OUTCOME_WE_FIRST;

    tw_ledger_give(ledger, tuple, outcome, tw_clock_ns());
    return closer;
}
