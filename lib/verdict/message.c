#include "tidewait/message.h"

#include <errno.h>

#include "message_parts.h"

/* How far the lines of a traceback or stack trace may be from their message. */
#define LINES_BEFORE 6
#define LINES_AFTER  40

/* How far an endpoint may be: the HINT of PostgreSQL, the call above Python's message. */
#define PLACES_BEFORE 3
#define PLACES_AFTER  3

/* The whole text and one line of it: text.data[start .. end). */
struct spot {
    struct tw_view text;
    size_t start;
    size_t end;
};

static struct tw_view spot_line(const struct spot *spot)
{
    return (struct tw_view){spot->text.data + spot->start, spot->end - spot->start};
}

static bool spot_set(struct spot *spot, size_t start)
{
    const char *newline;

    if (start >= spot->text.len)
        return false;
    newline = memchr(spot->text.data + start, '\n', spot->text.len - start);
    spot->start = start;
    spot->end = newline ? (size_t)(newline - spot->text.data) : spot->text.len;
    return true;
}

static bool spot_next(struct spot *spot)
{
    return spot_set(spot, spot->end + 1);
}

static bool spot_previous(struct spot *spot)
{
    size_t start = spot->start;

    if (start == 0)
        return false;
    for (start--; start && spot->text.data[start - 1] != '\n';)
        start--;
    return spot_set(spot, start);
}

/* --- which error ----------------------------------------------------------------------------- */

/* "Email address already in use", "IP address already in use" (DHCP), "MAC address": no sockets. */
static bool other_address(struct tw_view line, size_t at)
{
    static const char *const kinds[] = {"mail ", "IP ", "MAC "};

    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        size_t len = strlen(kinds[i]);

        if (at >= len && message_find((struct tw_view){line.data + at - len, len}, kinds[i]) == 0)
            return true;
    }
    return false;
}

/* "Permission denied: '/etc/x'" is about a file. */
static bool names_file(struct tw_view line, size_t end)
{
    return line.len - end >= 3 && line.data[end] == ':' && line.data[end + 1] == ' ' &&
           (line.data[end + 2] == '\'' || line.data[end + 2] == '"');
}

static const struct message_wording *find_wording(struct tw_view line)
{
    for (const struct message_wording *wording = message_wordings; wording->phrase; wording++) {
        size_t at = message_find(line, wording->phrase);

        if (at == MESSAGE_NOWHERE || (!wording->weak && other_address(line, at)) ||
            (wording->weak && names_file(line, at + strlen(wording->phrase))))
            continue;
        return wording;
    }
    return NULL;
}

/* Stack traces are indented, also behind what a journal puts in front of each line. */
static bool is_trace(struct tw_view line)
{
    return (line.len && (line.data[0] == ' ' || line.data[0] == '\t')) ||
           message_find(line, "\tat ") != MESSAGE_NOWHERE ||
           message_find(line, "   at ") != MESSAGE_NOWHERE ||
           message_find(line, "Caused by") != MESSAGE_NOWHERE;
}

static bool has_near(const struct message_pattern *pattern, const struct spot *spot)
{
    struct spot other = *spot;
    bool before = pattern->flags & PATTERN_BEFORE;
    int left = before ? LINES_BEFORE : LINES_AFTER;

    if (message_find(spot_line(spot), pattern->near) != MESSAGE_NOWHERE)
        return true;
    while (left-- > 0 && (before ? spot_previous(&other) : spot_next(&other))) {
        struct tw_view line = spot_line(&other);

        if (!before && !is_trace(line))
            return false;
        if (message_find(line, pattern->near) != MESSAGE_NOWHERE)
            return true;
    }
    return false;
}

static bool has_place(const struct spot *spot)
{
    struct message_places places = {0};

    message_places_scan(spot_line(spot), &places);
    return places.count || places.has_port || places.path.len;
}

static const struct message_pattern *find_pattern(const struct message_wording *wording,
                                                  const struct spot *spot)
{
    for (const struct message_pattern *row = message_patterns; row->program; row++) {
        if ((row->code && row->code != wording->code) ||
            (wording->weak && !(row->flags & PATTERN_WEAK)))
            continue;
        if (wording->code == EAGAIN && row->code != EAGAIN)
            continue; /* of TCP and Unix sockets it tells of a full backlog, not of an address */
        if (row->phrase && message_find(spot_line(spot), row->phrase) == MESSAGE_NOWHERE)
            continue;
        if ((row->near && !has_near(row, spot)) ||
            ((row->flags & PATTERN_PLACE) && !has_place(spot)))
            continue;
        return row;
    }
    return NULL;
}

/* --- which endpoint -------------------------------------------------------------------------- */

/* A line beside the message counts when it speaks of sockets. */
static void scan_beside(struct tw_view line, struct message_places *places)
{
    static const char *const hints[] = {"bind", "listen", "connect", "trying", "port", "address"};
    struct message_places found = {0};

    for (size_t i = 0; i < sizeof(hints) / sizeof(hints[0]); i++) {
        if (message_find(line, hints[i]) == MESSAGE_NOWHERE)
            continue;
        message_places_scan(line, &found);
        break;
    }
    if (!places->has_port && found.has_port) {
        places->has_port = true;
        places->port = found.port;
    }
    if (places->bare.sa.sa_family != AF_UNSPEC)
        return; /* only its port was missing */
    places->bare = found.bare;
    places->path = found.path;
    places->count = found.count;
    memcpy(places->full, found.full, sizeof(places->full));
}

static bool is_enough(const struct message_places *places)
{
    return places->count || places->path.len || places->has_port;
}

static void find_places(const struct message_pattern *pattern, const struct spot *spot,
                        struct message_places *places)
{
    struct tw_view line = spot_line(spot);
    size_t anchor = pattern->phrase ? message_find(line, pattern->phrase) : 0;
    struct spot other = *spot;

    /* What stands behind the phrase is meant; what stands before it may be a client's address. */
    message_places_scan((struct tw_view){line.data + anchor, line.len - anchor}, places);
    if (anchor && !is_enough(places))
        message_places_scan(line, places);
    for (int left = PLACES_AFTER; left > 0 && !is_enough(places) && spot_next(&other); left--)
        scan_beside(spot_line(&other), places);
    other = *spot;
    for (int left = PLACES_BEFORE; left > 0 && !is_enough(places) && spot_previous(&other); left--)
        scan_beside(spot_line(&other), places);
}

/* An address that stands apart from its port, or a port alone. */
static bool join_apart(const struct message_places *places, const char *fallback,
                       struct tw_endpoint *out, bool *port_only)
{
    if (places->bare.sa.sa_family != AF_UNSPEC) {
        *out = places->bare;
    } else if (places->has_port) {
        if (tw_address_parse(tw_view_of(fallback), out, NULL))
            return false;
        *port_only = true;
    } else {
        return false;
    }
    if (places->has_port)
        tw_endpoint_set_port(out, places->port);
    return true;
}

static void take_places(const struct message_places *places, struct tw_message *out)
{
    bool connect = out->op == TW_MESSAGE_CONNECT;

    if (places->path.len) {
        memcpy(out->path, places->path.data, places->path.len);
        out->protocol = 0;
        return;
    }
    for (size_t i = 0; i < places->count; i++) {
        bool local = !connect || places->full[i].role == ROLE_SOURCE;
        bool *has = local ? &out->has_local : &out->has_remote;

        if (*has)
            continue;
        *has = true;
        *(local ? &out->local : &out->remote) = places->full[i].at;
    }
    if (connect && !out->has_remote)
        out->has_remote = join_apart(places, "127.0.0.1", &out->remote, &out->port_only);
    if (!connect && !out->has_local)
        out->has_local = join_apart(places, "0.0.0.0", &out->local, &out->port_only);
    /* Node.js writes "Local (0.0.0.0:0)" when the kernel chooses both. */
    if (connect && out->has_local && tw_endpoint_is_wildcard(&out->local) &&
        tw_endpoint_port(&out->local) == 0) {
        out->has_local = false;
        out->local = (struct tw_endpoint){0};
    }
}

static uint8_t protocol_of(const struct message_pattern *pattern, struct tw_view line)
{
    bool udp = message_find(line, "udp") != MESSAGE_NOWHERE &&
               message_find(line, "tcp") == MESSAGE_NOWHERE;

    return udp || (pattern->flags & PATTERN_UDP) ? IPPROTO_UDP : IPPROTO_TCP;
}

int tw_message_recognise(struct tw_view text, struct tw_message *out)
{
    struct spot spot = {.text = text};

    for (bool more = spot_set(&spot, 0); more; more = spot_next(&spot)) {
        struct tw_view line = spot_line(&spot);
        const struct message_wording *wording = find_wording(line);
        const struct message_pattern *pattern = wording ? find_pattern(wording, &spot) : NULL;
        struct message_places places = {0};

        if (!pattern)
            continue;
        *out = (struct tw_message){
            .program = pattern->program,
            .op = pattern->op,
            .code = wording->code,
            .protocol = protocol_of(pattern, line),
            .meaning =
                pattern->meaning ? pattern->meaning : message_meaning(pattern->op, wording->code),
        };
        find_places(pattern, &spot, &places);
        take_places(&places, out);
        return 0;
    }
    return -ENOENT;
}
