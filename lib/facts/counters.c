#include "tidewait/counters.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tidewait/parse.h"

/*
 * The meanings follow the places where the kernel counts (net/ipv4/tcp*.c, inet_timewait_sock.c),
 * not the names: TWKilled kills nothing, and TCPAbortOnData does not count what was unread at close
 * (that is TCPAbortOnClose).
 */
static const struct {
    const char *name;
    const char *meaning;
} counters[] = {
    {"ListenOverflows", "connections not accepted: the listener's accept queue was full"},
    {"ListenDrops", "SYNs and last ACKs dropped by listeners, for whatever reason"},
    {"TCPTimeWaitOverflow", "closed without TIME_WAIT: tcp_max_tw_buckets reached, or no memory"},
    {"TW", "connections that went into TIME_WAIT, or into FIN_WAIT_2 without an owner"},
    {"TWRecycled", "our own TIME_WAIT taken over by connect()"},
    {"TWKilled", "the same as TW, but for 4 s at most (a short tcp_fin_timeout)"},
    {"PAWSActive", "answers to our SYN refused: they echo a timestamp that we did not send"},
    {"PAWSEstab", "segments of open connections dropped: their timestamp is too old"},
    {"TCPAbortOnData", "reset at close: SO_LINGER 0, or the peer sent data after our close"},
    {"TCPAbortOnTimeout", "connections given up: no answer after the last retry"},
    {"TCPReqQFullDrop", "SYNs dropped: the queue of half-open connections full, no SYN cookies"},
    {"TCPTimeouts", "retransmission timers that ran out: no ACK in time"},
    {"AttemptFails", "connections that failed before they were established"},
    {"EstabResets", "established connections that ended by a reset"},
    {"OutRsts", "resets sent"},
    {"RetransSegs", "segments sent again"},
};

_Static_assert(sizeof(counters) / sizeof(counters[0]) == TW_COUNTERS,
               "the header promises as many");

const char *tw_counter_name(size_t index)
{
    return index < TW_COUNTERS ? counters[index].name : NULL;
}

const char *tw_counter_meaning(size_t index)
{
    return index < TW_COUNTERS ? counters[index].meaning : NULL;
}

static void store(struct tw_counters *out, struct tw_view name, struct tw_view value)
{
    uint64_t number;

    for (size_t i = 0; i < TW_COUNTERS; i++) {
        if (!tw_view_equals(name, counters[i].name))
            continue;
        if (tw_parse_number(value, counters[i].name, 0, INT64_MAX, &number, NULL) == 0)
            out->values[i] = (int64_t)number;
        return;
    }
}

/* "TcpExt: SyncookiesSent SyncookiesRecv ..." and, in the same order, "TcpExt: 0 3 ...". */
static void store_pair(struct tw_counters *out, struct tw_view names, struct tw_view values)
{
    struct tw_view group = tw_view_cut(&names, ' ');

    tw_view_cut(&values, ' ');
    /* Other groups (Udp, Ip, MPTcpExt) may use a name of ours for something else. */
    if (!tw_view_equals(group, "Tcp:") && !tw_view_equals(group, "TcpExt:"))
        return;
    while (names.len && values.len) {
        struct tw_view name = tw_view_cut(&names, ' ');

        store(out, name, tw_view_cut(&values, ' '));
    }
}

/* The next line without its newline; false at the end. */
static bool read_line(FILE *file, char **line, size_t *room, struct tw_view *out)
{
    ssize_t len = getline(line, room, file);

    if (len < 0)
        return false;
    if (len && (*line)[len - 1] == '\n')
        len--;
    *out = (struct tw_view){*line, (size_t)len};
    return true;
}

static int read_file(const char *path, struct tw_counters *out, struct tw_error *error)
{
    FILE *file = fopen(path, "re");
    char *names_line = NULL, *values_line = NULL;
    size_t names_room = 0, values_room = 0;
    struct tw_view names, values;
    int code = 0;

    if (!file) {
        code = errno;
        return tw_error_set(error, code, "reading the counters of TCP: %s: %s", path,
                            strerror(code));
    }
    errno = 0;
    while (read_line(file, &names_line, &names_room, &names) &&
           read_line(file, &values_line, &values_room, &values))
        store_pair(out, names, values);
    if (!feof(file))
        code = errno ? errno : EIO;
    free(names_line);
    free(values_line);
    fclose(file);
    if (code)
        return tw_error_set(error, code, "reading the counters of TCP: %s: %s", path,
                            strerror(code));
    return 0;
}

int tw_counters_read(struct tw_counters *out, struct tw_error *error)
{
    struct tw_counters read;
    int rc;

    for (size_t i = 0; i < TW_COUNTERS; i++)
        read.values[i] = -1;
    /* Not /proc/net: that is the network namespace of the process's first thread. */
    if ((rc = read_file("/proc/thread-self/net/netstat", &read, error)) ||
        (rc = read_file("/proc/thread-self/net/snmp", &read, error)))
        return rc;
    *out = read;
    return 0;
}
