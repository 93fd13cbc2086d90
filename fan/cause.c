#include "cause.h"

#include <errno.h>
#include <string.h>

const char *const cause_names[CAUSES] = {
    [CAUSE_NONE] = "none",
    [CAUSE_EXIT] = "exit",
    [CAUSE_SIGNAL] = "signal",
    [CAUSE_REFUSED] = "refused",
    [CAUSE_TIMEOUT] = "timeout",
    [CAUSE_UNREACHABLE] = "unreachable",
    [CAUSE_ADDRESS] = "address",
    [CAUSE_CLOSED] = "closed",
    [CAUSE_UNKNOWN_HOST] = "unknown-host",
    [CAUSE_HOST_KEY] = "host-key",
    [CAUSE_AUTHENTICATION] = "authentication",
    [CAUSE_CONNECT] = "connect",
    [CAUSE_LOST] = "lost",
    [CAUSE_TIME_LIMIT] = "time-limit",
    [CAUSE_DEADLINE] = "deadline",
    [CAUSE_INTERRUPTED] = "interrupted",
    [CAUSE_START] = "start",
};

/* What OpenSSH writes, the most telling first: a refusal of one address may come with a time limit
 * of another, and with what a proxy says of it. */
static const struct {
    const char *text;
    enum fan_cause cause;
} said[] = {
    {"Host key verification failed", CAUSE_HOST_KEY},
    {"REMOTE HOST IDENTIFICATION HAS CHANGED", CAUSE_HOST_KEY},
    {"Permission denied (", CAUSE_AUTHENTICATION},
    {"Too many authentication failures", CAUSE_AUTHENTICATION},
    {"No supported authentication methods", CAUSE_AUTHENTICATION},
    {"Could not resolve hostname", CAUSE_UNKNOWN_HOST},
    {"Cannot assign requested address", CAUSE_ADDRESS},
    {"Address already in use", CAUSE_ADDRESS},
    {"Connection refused", CAUSE_REFUSED},
    {"Connection timed out", CAUSE_TIMEOUT},
    {"Operation timed out", CAUSE_TIMEOUT},
    {"No route to host", CAUSE_UNREACHABLE},
    {"Network is unreachable", CAUSE_UNREACHABLE},
    {"Host is down", CAUSE_UNREACHABLE},
    {"Connection reset by", CAUSE_CLOSED},
    {"Connection closed by", CAUSE_CLOSED},
    {"Broken pipe", CAUSE_CLOSED},
    {"kex_exchange_identification:", CAUSE_CLOSED},
    {"ssh_exchange_identification:", CAUSE_CLOSED},
    {"Unable to negotiate with", CAUSE_CONNECT},
    {"ssh: connect to host", CAUSE_CONNECT},
};

/* What it writes when a session breaks. */
static const char *const broke[] = {
    "client_loop: send disconnect:",
    "closed by remote host.",
    "Connection reset by",
    "packet_write_wait:",
    "Timeout, server ",
};

bool cause_is_of_connect(enum fan_cause cause)
{
    return cause == CAUSE_REFUSED || cause == CAUSE_TIMEOUT || cause == CAUSE_UNREACHABLE ||
           cause == CAUSE_ADDRESS || cause == CAUSE_CLOSED || cause == CAUSE_CONNECT;
}

/* The line around a place in the text, without what is not part of it. */
static void line_around(const char *text, size_t text_len, const char *at, const char **line,
                        size_t *len)
{
    const char *begin = at, *end = at;

    while (begin > text && begin[-1] != '\n' && begin[-1] != '\r')
        begin--;
    while (end < text + text_len && *end != '\n' && *end != '\r')
        end++;
    *line = begin;
    *len = (size_t)(end - begin);
}

enum fan_cause cause_of_ssh(const char *text, size_t text_len, const char **line, size_t *len)
{
    for (size_t i = 0; i < sizeof(said) / sizeof(said[0]); i++) {
        const char *at = memmem(text, text_len, said[i].text, strlen(said[i].text));

        if (at && line)
            line_around(text, text_len, at, line, len);
        if (at)
            return said[i].cause;
    }
    return CAUSE_NONE;
}

bool cause_is_lost(const char *text, size_t text_len)
{
    for (size_t i = 0; i < sizeof(broke) / sizeof(broke[0]); i++)
        if (memmem(text, text_len, broke[i], strlen(broke[i])))
            return true;
    return false;
}

enum fan_cause cause_of_rshd(const char *line)
{
    /* netkit's, rsh-redone's and the BSDs' words. */
    static const char *const denied[] = {"ermission denied", "ogin incorrect", "uthentication",
                                         "illegal port",     "ccount expired", "assword"};

    for (size_t i = 0; i < sizeof(denied) / sizeof(denied[0]); i++)
        if (strstr(line, denied[i]))
            return CAUSE_AUTHENTICATION;
    return CAUSE_CONNECT;
}

enum fan_cause cause_of_errno(int code, enum fan_cause other)
{
    switch (code) {
    case ECONNREFUSED:
        return CAUSE_REFUSED;
    case ETIMEDOUT:
        return CAUSE_TIMEOUT;
    case EHOSTUNREACH:
    case ENETUNREACH:
    case EHOSTDOWN:
        return CAUSE_UNREACHABLE;
    case EADDRNOTAVAIL:
    case EADDRINUSE:
        return CAUSE_ADDRESS;
    case ECONNRESET:
    case EPIPE:
        return CAUSE_CLOSED;
    default:
        return other;
    }
}
