#include "sockets_text.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/quote.h"
#include "opened.h"

/* Value of the column `tr`: tm->when counts down to the end of a TIME_WAIT. */
#define TIMER_TIME_WAIT 3

/* Unit of tm->when; USER_HZ is 100 on every architecture of today. */
#define MS_A_TICK 10

/* The next word; empty at the end. */
static struct tw_view word(struct tw_view *rest)
{
    struct tw_view out;

    while (rest->len && rest->data[0] == ' ') {
        rest->data++;
        rest->len--;
    }
    out = tw_view_cut(rest, ' ');
    return out;
}

/* A number of 1 to 8 digits to the base 16, or 1 to 10 to the base 10. */
static bool number(struct tw_view text, unsigned base, uint32_t *out)
{
    uint64_t value = 0;

    if (text.len == 0 || text.len > (base == 16 ? 8 : 10))
        return false;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];
        unsigned digit = c >= '0' && c <= '9'   ? (unsigned)(c - '0')
                         : c >= 'A' && c <= 'F' ? (unsigned)(c - 'A') + 10
                                                : 16;

        if (digit >= base)
            return false;
        value = value * base + digit;
    }
    *out = (uint32_t)value;
    return value <= UINT32_MAX;
}

/* Two numbers to the base 16 with a colon between them. */
static bool pair(struct tw_view text, uint32_t *first, uint32_t *second)
{
    struct tw_view rest = text, head = tw_view_cut(&rest, ':');

    return number(head, 16, first) && number(rest, 16, second);
}

/* The kernel prints the address as machine words, each with the value that it has in memory. */
static bool endpoint(struct tw_view text, int family, struct tw_endpoint *out)
{
    size_t words = family == AF_INET6 ? 4 : 1;
    struct tw_view rest = text, address = tw_view_cut(&rest, ':');
    struct tw_endpoint parsed = {0};
    uint32_t raw[4] = {0}, port;

    if (address.len != words * 8 || rest.len != 4 || !number(rest, 16, &port))
        return false;
    for (size_t i = 0; i < words; i++)
        if (!number((struct tw_view){address.data + i * 8, 8}, 16, &raw[i]))
            return false;
    parsed.sa.sa_family = (sa_family_t)family;
    if (family == AF_INET6)
        memcpy(&parsed.v6.sin6_addr, raw, sizeof(parsed.v6.sin6_addr));
    else
        memcpy(&parsed.v4.sin_addr, raw, sizeof(parsed.v4.sin_addr));
    tw_endpoint_set_port(&parsed, (uint16_t)port);
    *out = parsed;
    return true;
}

int sockets_text_parse(struct tw_view line, uint8_t protocol, int family, struct tw_socket_row *out,
                       struct tw_error *error)
{
    struct tw_socket_row row = {.protocol = protocol};
    struct tw_view rest = line;
    uint32_t state, timer, when;

    word(&rest); /* the row's number */
    if (!endpoint(word(&rest), family, &row.local) || !endpoint(word(&rest), family, &row.remote) ||
        !number(word(&rest), 16, &state) || state > UINT8_MAX ||
        !pair(word(&rest), &row.send_queue, &row.receive_queue) ||
        !pair(word(&rest), &timer, &when) || word(&rest).len == 0 ||
        !number(word(&rest), 10, &row.uid) || word(&rest).len == 0 ||
        !number(word(&rest), 10, &row.inode))
        return tw_error_set(error, EINVAL, "'%.*s' is not a line of /proc/net/tcp", QUOTE(line));
    row.state = (uint8_t)state;
    if (protocol == IPPROTO_TCP && timer == TIMER_TIME_WAIT)
        row.expires_ms = when * MS_A_TICK;
    *out = row;
    return 0;
}

static int visit_line(const struct listing *listing, int family, struct tw_view line)
{
    struct tw_socket_row row;
    int rc = sockets_text_parse(line, listing->protocol, family, &row, listing->error);

    if (rc)
        return rc;
    if (!listing_wants(listing, &row))
        return 0;
    if (listing->opened)
        row.opened = (uint8_t)opened_by_us(&row, NULL, 0);
    return listing->visit(&row, listing->context);
}

int sockets_text_each(const struct listing *listing, int family)
{
    char path[64], *line = NULL;
    size_t room = 0;
    ssize_t len;
    FILE *file;
    int rc = 0;

    /* Not /proc/net: that is the network namespace of the process's first thread. */
    snprintf(path, sizeof(path), "/proc/thread-self/net/%s%s",
             listing->protocol == IPPROTO_UDP ? "udp" : "tcp", family == AF_INET6 ? "6" : "");
    file = fopen(path, "re");
    if (!file && errno == ENOENT && family == AF_INET6)
        return 0; /* a kernel without IPv6 */
    if (!file)
        return tw_error_set(listing->error, errno,
                            "listing sockets: netlink is refused, and %s: %s", path,
                            strerror(errno));
    errno = 0;
    for (bool heading = true; rc == 0 && (len = getline(&line, &room, file)) >= 0; heading = false)
        if (!heading)
            rc = visit_line(listing, family,
                            (struct tw_view){line, (size_t)len - (line[len - 1] == '\n')});
    if (rc == 0 && !feof(file))
        rc = tw_error_set(listing->error, errno ? errno : EIO, "listing sockets: %s: %s", path,
                          strerror(errno ? errno : EIO));
    free(line);
    fclose(file);
    return rc;
}
