#include <errno.h>

#include "message_parts.h"

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_word(char c)
{
    return is_digit(c) || (lower(c) >= 'a' && lower(c) <= 'z');
}

size_t message_find(struct tw_view text, const char *phrase)
{
    size_t len = strlen(phrase);

    for (size_t i = 0; len <= text.len && i <= text.len - len; i++) {
        size_t same = 0;

        while (same < len && lower(text.data[i + same]) == lower(phrase[same]))
            same++;
        if (same == len && !(i && is_word(phrase[0]) && is_word(text.data[i - 1])))
            return i;
    }
    return MESSAGE_NOWHERE;
}

static bool starts_with(struct tw_view text, const char *phrase)
{
    size_t len = strlen(phrase);

    return text.len >= len && message_find((struct tw_view){text.data, len}, phrase) == 0;
}

static struct tw_view view_from(struct tw_view view, size_t start)
{
    return (struct tw_view){view.data + start, view.len - start};
}

static size_t view_index(struct tw_view view, char c)
{
    const char *at = view.len ? memchr(view.data, c, view.len) : NULL;

    return at ? (size_t)(at - view.data) : view.len;
}

/* A port that ends with the text or before a character that no number goes on with. */
static bool read_port(struct tw_view text, uint16_t *port)
{
    unsigned value = 0;
    size_t len = 0;

    while (len < text.len && len < 6 && is_digit(text.data[len]))
        value = value * 10 + (unsigned)(text.data[len++] - '0');
    if (len == 0 || len > 5 || value > UINT16_MAX || (len < text.len && is_word(text.data[len])))
        return false;
    *port = (uint16_t)value;
    return true;
}

/* --- one word: an address, a port, or both --------------------------------------------------- */

struct word {
    struct tw_endpoint at; /* AF_UNSPEC: no address */
    bool has_port;
    uint16_t port;
};

static bool read_address(struct tw_view text, struct tw_endpoint *out)
{
    if (text.len == 9 && message_find(text, "localhost") == 0)
        return tw_address_parse(tw_view_of("127.0.0.1"), out, NULL) == 0;
    if (tw_address_parse(text, out, NULL) == 0)
        return true;
    /* An interface that is not on this host: the address is still one. */
    text.len = view_index(text, '%');
    return tw_address_parse(text, out, NULL) == 0;
}

/* ADDR:PORT, :PORT, V6:PORT or an address alone, without brackets around it. */
static bool read_plain(struct tw_view text, struct word *word)
{
    size_t colon = view_index(text, ':'), last = text.len;
    struct tw_view host = {text.data, colon};

    if (colon == text.len)
        return !tw_view_equals(text, "*") && read_address(text, &word->at);
    if (colon == 0 && text.len > 1 && text.data[1] != ':')
        return word->has_port = read_port(view_from(text, 1), &word->port);
    if (read_address(host, &word->at)) {
        word->has_port = read_port(view_from(text, colon + 1), &word->port);
        return word->has_port || !tw_view_equals(host, "*");
    }
    while (text.data[last - 1] != ':')
        last--;
    host.len = last - 1;
    if (host.len && read_address(host, &word->at) && read_port(view_from(text, last), &word->port))
        return word->has_port = true;
    /* Names such as a::b of a program's source are addresses too, by their form. */
    for (size_t i = 0; i < text.len; i++)
        if (is_digit(text.data[i]))
            return read_address(text, &word->at);
    return tw_view_equals(text, "::") && read_address(text, &word->at);
}

/* The same with [V6]:PORT, [ADDR:PORT], [ADDR]:PORT and [AF_INET]ADDR:PORT. */
static bool read_bracketed(struct tw_view text, struct word *word)
{
    size_t close = view_index(text, ']');
    struct tw_view inner, rest;

    if (text.len == 0)
        return false;
    if (text.data[0] != '[' || close == text.len) {
        if (text.data[0] == '[')
            text = view_from(text, 1);
        text.len = view_index(text, ']');
        return text.len && read_plain(text, word);
    }
    inner = (struct tw_view){text.data + 1, close - 1};
    rest = view_from(text, close + 1);
    if (rest.len > 1 && rest.data[0] == ':' && read_address(inner, &word->at))
        return word->has_port = read_port(view_from(rest, 1), &word->port);
    if (rest.len > 1 && rest.data[0] != ':')
        return read_plain(rest, word);
    return inner.len && read_plain(inner, word);
}

/* Takes URLs, and the host/ADDR:PORT of Java. */
static bool read_word(struct tw_view text, struct word *word)
{
    size_t scheme = message_find(text, "://"), slash, last;
    struct word left = {0}, right = {0};
    bool is_left, is_right;

    if (scheme != MESSAGE_NOWHERE) {
        text = view_from(text, scheme + 3);
        text.len = view_index(text, '/');
        text = view_from(text, view_index(text, '@') < text.len ? view_index(text, '@') + 1 : 0);
    }
    slash = last = view_index(text, '/');
    if (slash == text.len)
        return read_bracketed(text, word);
    for (size_t i = slash; i < text.len; i++)
        if (text.data[i] == '/')
            last = i;
    is_left = read_bracketed((struct tw_view){text.data, slash}, &left);
    is_right = read_bracketed(view_from(text, last + 1), &right);
    *word = is_left && (left.has_port || !is_right || !right.has_port) ? left : right;
    return is_left || is_right;
}

/* --- a line ---------------------------------------------------------------------------------- */

static bool is_delimiter(char c)
{
    return (unsigned char)c <= ' ' || c == 0x7f || strchr("\"'`(){},;=|<>", c) != NULL;
}

/* The port behind the address of a pair, ('0.0.0.0', 8080) or (0.0.0.0, 143). */
static bool read_pair(struct tw_view line, size_t start, size_t end, uint16_t *port)
{
    char quote = start && (line.data[start - 1] == '\'' || line.data[start - 1] == '"')
                     ? line.data[start - 1]
                     : 0;
    size_t open = quote ? start - 1 : start;

    if (open == 0 || line.data[open - 1] != '(')
        return false;
    if (quote && (end == line.len || line.data[end++] != quote))
        return false;
    if (end == line.len || line.data[end++] != ',')
        return false;
    while (end < line.len && line.data[end] == ' ')
        end++;
    return read_port(view_from(line, end), port);
}

static enum message_role role_of(struct tw_view line, size_t start, size_t end)
{
    static const char local[] = "local (";
    size_t len = sizeof(local) - 1;

    if (start >= 2 && line.data[start - 1] == '>' && line.data[start - 2] == '-')
        return ROLE_DESTINATION;
    if (end < line.len && line.data[end] == '>' && line.data[end - 1] == '-')
        return ROLE_SOURCE;
    if (start >= len && message_find((struct tw_view){line.data + start - len, len}, local) == 0)
        return ROLE_SOURCE;
    return ROLE_PLAIN;
}

/* unix:/run/x.sock, /run/x.sock, @name behind "unix". */
static bool is_path(bool is_unix, struct tw_view *text)
{
    static const char *const endings[] = {".sock", ".socket"};
    size_t at = message_find(*text, "unix:");

    if (at != MESSAGE_NOWHERE) {
        *text = view_from(*text, at + 5);
        while (text->len > 1 && text->data[0] == '/' && text->data[1] == '/')
            *text = view_from(*text, 1);
    }
    while (text->len && strchr(":.", text->data[text->len - 1]) && text->data[text->len - 1])
        text->len--;
    if (text->len < 2 || text->len >= TW_MESSAGE_PATH_MAX)
        return false;
    if (text->data[0] == '@')
        return is_unix;
    if (text->data[0] != '/')
        return false;
    for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++) {
        size_t len = strlen(endings[i]);

        if (text->len > len && memcmp(text->data + text->len - len, endings[i], len) == 0)
            return true;
    }
    return is_unix || message_find(*text, ".s.PGSQL.") != MESSAGE_NOWHERE;
}

static void add_word(struct tw_view line, size_t start, size_t end, bool is_unix,
                     struct message_places *places)
{
    struct tw_view text = {line.data + start, end - start};
    struct tw_view path = text;
    enum message_role role = role_of(line, start, end);
    struct word word = {0};

    if (places->count == 0 && places->path.len == 0 && is_path(is_unix, &path)) {
        places->path = path;
        return;
    }
    if (role == ROLE_SOURCE && text.len && text.data[text.len - 1] == '-')
        text.len--;
    while (text.len && strchr(".!?", text.data[text.len - 1]) && text.data[text.len - 1])
        text.len--;
    if (text.len > 2 && text.data[text.len - 1] == ':' && text.data[text.len - 2] != ':')
        text.len--;
    if (!read_word(text, &word))
        return;
    if (word.at.sa.sa_family == AF_UNSPEC) {
        if (!places->has_port)
            places->port = word.port;
        places->has_port = true;
        return;
    }
    if (!word.has_port)
        word.has_port = read_pair(line, start, end, &word.port);
    if (word.has_port && places->count < MESSAGE_FULL_MAX) {
        tw_endpoint_set_port(&word.at, word.port);
        places->full[places->count].at = word.at;
        places->full[places->count++].role = role;
    } else if (!word.has_port && places->bare.sa.sa_family == AF_UNSPEC) {
        places->bare = word.at;
    }
}

/* port 5432, port: 80, port=80, port(s) 80, port number 80, htons(80). */
static bool find_port(struct tw_view line, uint16_t *port)
{
    static const char *const words[] = {"port", "htons"};

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        struct tw_view rest = line;
        size_t at;

        while ((at = message_find(rest, words[i])) != MESSAGE_NOWHERE) {
            rest = view_from(rest, at + strlen(words[i]));
            struct tw_view number = rest;

            if (starts_with(number, "(s)"))
                number = view_from(number, 3);
            if (starts_with(number, " number"))
                number = view_from(number, 7);
            if (number.len && is_word(number.data[0]))
                continue;
            for (int skipped = 0;
                 skipped < 3 && number.len && number.data[0] && strchr(" :='\"(#", number.data[0]);
                 skipped++)
                number = view_from(number, 1);
            if (read_port(number, port) && *port)
                return true;
        }
    }
    return false;
}

void message_places_scan(struct tw_view line, struct message_places *places)
{
    bool is_unix = message_find(line, "unix") != MESSAGE_NOWHERE;
    uint16_t port;

    for (size_t start = 0; start < line.len;) {
        size_t end = start;

        while (end < line.len && !is_delimiter(line.data[end]))
            end++;
        if (end > start)
            add_word(line, start, end, is_unix, places);
        start = end + 1;
    }
    if (!places->has_port && find_port(line, &port)) {
        places->port = port;
        places->has_port = true;
    }
}
