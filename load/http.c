#include "http.h"

#include <strings.h>

/* Takes the next line, without its end, off *rest; false when its end has not come yet. */
static bool cut_line(struct tw_view *rest, struct tw_view *line)
{
    const char *end = rest->len ? memchr(rest->data, '\n', rest->len) : NULL;

    if (!end)
        return false;
    line->data = rest->data;
    line->len = (size_t)(end - rest->data);
    rest->data += line->len + 1;
    rest->len -= line->len + 1;
    if (line->len && line->data[line->len - 1] == '\r')
        line->len--;
    return true;
}

static struct tw_view trim(struct tw_view view)
{
    while (view.len && (*view.data == ' ' || *view.data == '\t')) {
        view.data++;
        view.len--;
    }
    while (view.len && (view.data[view.len - 1] == ' ' || view.data[view.len - 1] == '\t'))
        view.len--;
    return view;
}

static bool same_word(struct tw_view view, const char *word, size_t len)
{
    return view.len == len && strncasecmp(view.data, word, len) == 0;
}

#define IS(view, word) same_word(view, word, sizeof(word) - 1)

/* What the header lines of either kind of message say. */
struct fields {
    bool close;
    bool keep_alive;
    bool chunked;
    bool encoded; /* a transfer coding that is not chunked comes last */
    bool has_length;
    bool expects;
    uint64_t length;
};

static bool read_length(struct tw_view value, struct fields *fields)
{
    uint64_t length;

    if (tw_parse_number(value, "Content-Length", 0, INT64_MAX, &length, NULL))
        return false;
    /* The same length twice is harmless; two lengths are an attack or a defect (RFC 9112, 6.3). */
    if (fields->has_length && fields->length != length)
        return false;
    fields->has_length = true;
    fields->length = length;
    return true;
}

/* The comma-separated words of Connection and Transfer-Encoding. */
static void read_words(struct tw_view value, bool connection, struct fields *fields)
{
    while (value.data) {
        struct tw_view word = trim(tw_view_cut(&value, ','));

        if (connection) {
            fields->close |= IS(word, "close");
            fields->keep_alive |= IS(word, "keep-alive");
        } else if (word.len) {
            fields->chunked = IS(word, "chunked");
            fields->encoded = !fields->chunked;
        }
    }
}

static bool read_field(struct tw_view line, struct fields *fields)
{
    struct tw_view value = line, name = tw_view_cut(&value, ':');

    /* A blank before the colon hides the name from one reader and not from another: it has to be
     * refused (RFC 9112, 5.1), as is a line that continues the one before (5.2). */
    if (!value.data || name.len == 0 || trim(name).len != name.len)
        return false;
    /* Four lengths cover the names that matter; all others are passed over unread. */
    switch (name.len) {
    case 6:
        if (IS(name, "expect"))
            fields->expects = IS(trim(value), "100-continue");
        break;
    case 10:
        if (IS(name, "connection"))
            read_words(value, true, fields);
        break;
    case 14:
        if (IS(name, "content-length"))
            return read_length(trim(value), fields);
        break;
    case 17:
        if (IS(name, "transfer-encoding"))
            read_words(value, false, fields);
        break;
    default:
        break;
    }
    return true;
}

/* The header lines up to the empty one. */
static enum http_result read_fields(struct tw_view *rest, struct fields *fields)
{
    struct tw_view line;

    *fields = (struct fields){0};
    while (cut_line(rest, &line)) {
        if (line.len == 0)
            return HTTP_DONE;
        if (!read_field(line, fields))
            return HTTP_BAD;
    }
    return HTTP_MORE;
}

/* Compares as much of a fixed beginning as has come. */
static enum http_result match(struct tw_view text, const char *beginning, size_t len)
{
    if (memcmp(text.data, beginning, text.len < len ? text.len : len) != 0)
        return HTTP_BAD;
    return text.len < len ? HTTP_MORE : HTTP_DONE;
}

enum http_result http_parse_reply(struct tw_view text, struct http_reply *out)
{
    struct tw_view rest = text, line;
    struct fields fields;
    enum http_result result;
    uint64_t status;
    bool http10;

    if (text.len == 0)
        return HTTP_MORE;
    if ((result = match(text, "HTTP/1.", 7)) != HTTP_DONE)
        return result;
    if (!cut_line(&rest, &line))
        return text.len > HTTP_HEAD_MAX ? HTTP_BAD : HTTP_MORE;
    /* HTTP/1.1 200 reason, where the reason may be missing with its space. */
    if (line.len < 12 || (line.data[7] != '0' && line.data[7] != '1') || line.data[8] != ' ' ||
        (line.len > 12 && line.data[12] != ' ') ||
        tw_parse_number((struct tw_view){line.data + 9, 3}, "status", 100, 999, &status, NULL))
        return HTTP_BAD;
    http10 = line.data[7] == '0';
    if ((result = read_fields(&rest, &fields)) != HTTP_DONE)
        return result == HTTP_MORE && text.len > HTTP_HEAD_MAX ? HTTP_BAD : result;
    /* Whether a head is too long must not depend on the pieces in which it came. */
    if (text.len - rest.len > HTTP_HEAD_MAX)
        return HTTP_BAD;
    *out = (struct http_reply){
        .status = (uint16_t)status,
        .close = fields.close || (http10 && !fields.keep_alive),
        .chunked = fields.chunked,
        .has_length = fields.has_length && !fields.chunked && !fields.encoded,
        .length = fields.length,
        .head_bytes = text.len - rest.len,
    };
    return HTTP_DONE;
}

enum http_result http_parse_request(struct tw_view text, struct http_request *out)
{
    struct tw_view rest = text, line, target, method;
    struct fields fields;
    enum http_result result;
    bool http10;

    /* Empty lines before a request are to be ignored (RFC 9112, 2.2). */
    while (rest.len && (*rest.data == '\r' || *rest.data == '\n')) {
        rest.data++;
        rest.len--;
    }
    /* A TLS client's first byte is 0x16, and no line end need ever follow it. */
    if (rest.len && (*rest.data <= ' ' || *rest.data > '~'))
        return HTTP_BAD;
    if (!cut_line(&rest, &line))
        return text.len > HTTP_HEAD_MAX ? HTTP_BAD : HTTP_MORE;
    target = line;
    method = tw_view_cut(&target, ' ');
    tw_view_cut(&target, ' ');
    if (method.len == 0 || target.len != 8 || memcmp(target.data, "HTTP/1.", 7) != 0 ||
        (target.data[7] != '0' && target.data[7] != '1'))
        return HTTP_BAD;
    http10 = target.data[7] == '0';
    if ((result = read_fields(&rest, &fields)) != HTTP_DONE)
        return result == HTTP_MORE && text.len > HTTP_HEAD_MAX ? HTTP_BAD : result;
    if (fields.encoded || text.len - rest.len > HTTP_HEAD_MAX)
        return HTTP_BAD;
    *out = (struct http_request){
        .head = tw_view_equals(method, "HEAD"),
        .close = fields.close || (http10 && !fields.keep_alive),
        .http10 = http10,
        .expects = fields.expects,
        .chunked = fields.chunked,
        .length = fields.chunked ? 0 : fields.length,
        .head_bytes = text.len - rest.len,
    };
    return HTTP_DONE;
}

struct http_body http_body_of_reply(const struct http_reply *reply, bool head)
{
    struct http_body body = {.framing = HTTP_UNTIL_EOF};

    if (head || reply->status < 200 || reply->status == 204 || reply->status == 304) {
        body.framing = HTTP_EMPTY;
    } else if (reply->chunked) {
        body.framing = HTTP_CHUNKED;
    } else if (reply->has_length) {
        body.framing = reply->length ? HTTP_LENGTH : HTTP_EMPTY;
        body.left = reply->length;
    }
    return body;
}

struct http_body http_body_of_request(const struct http_request *request)
{
    struct http_body body = {.framing = HTTP_EMPTY};

    if (request->chunked) {
        body.framing = HTTP_CHUNKED;
    } else if (request->length) {
        body.framing = HTTP_LENGTH;
        body.left = request->length;
    }
    return body;
}

/* Where the chunk parser stands. */
enum chunk_state {
    CHUNK_SIZE,      /* in the hexadecimal size */
    CHUNK_EXTENSION, /* behind it, before the end of the line */
    CHUNK_DATA,
    CHUNK_DATA_END, /* the line end behind the data */
    CHUNK_TRAILER,  /* at the beginning of a line behind the last chunk */
    CHUNK_TRAILER_LINE,
};

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* One byte outside the data of a chunk. */
static enum http_result chunk_byte(struct http_body *body, char c)
{
    int digit;

    switch (body->state) {
    case CHUNK_SIZE:
        if ((digit = hex_digit(c)) >= 0) {
            if (++body->digits > 15) /* 60 bits: no honest chunk is larger */
                return HTTP_BAD;
            body->left = body->left << 4 | (unsigned)digit;
            return HTTP_MORE;
        }
        if (body->digits == 0 || (c != '\r' && c != '\n' && c != ';' && c != ' ' && c != '\t'))
            return HTTP_BAD;
        body->state = CHUNK_EXTENSION;
        /* fallthrough */
    case CHUNK_EXTENSION:
        if (c == '\n')
            body->state = body->left ? CHUNK_DATA : CHUNK_TRAILER;
        return HTTP_MORE;
    case CHUNK_DATA_END:
        if (c == '\n') {
            body->state = CHUNK_SIZE;
            body->digits = 0;
        }
        return c == '\n' || c == '\r' ? HTTP_MORE : HTTP_BAD;
    case CHUNK_TRAILER:
        if (c == '\n')
            return HTTP_DONE;
        if (c != '\r')
            body->state = CHUNK_TRAILER_LINE;
        return HTTP_MORE;
    default:
        if (c == '\n')
            body->state = CHUNK_TRAILER;
        return HTTP_MORE;
    }
}

static enum http_result feed_chunked(struct http_body *body, struct tw_view text, size_t *used)
{
    size_t at = 0;
    enum http_result result = HTTP_MORE;

    while (at < text.len && result == HTTP_MORE) {
        if (body->state == CHUNK_DATA) {
            size_t part = text.len - at < body->left ? text.len - at : (size_t)body->left;

            at += part;
            body->left -= part;
            if (body->left == 0)
                body->state = CHUNK_DATA_END;
        } else {
            result = chunk_byte(body, text.data[at++]);
        }
    }
    *used = at;
    return result;
}

enum http_result http_body_feed(struct http_body *body, struct tw_view text, size_t *used)
{
    switch (body->framing) {
    case HTTP_LENGTH:
        *used = text.len < body->left ? text.len : (size_t)body->left;
        body->left -= *used;
        return body->left ? HTTP_MORE : HTTP_DONE;
    case HTTP_CHUNKED:
        return feed_chunked(body, text, used);
    case HTTP_UNTIL_EOF:
        *used = text.len;
        return HTTP_MORE;
    default:
        *used = 0;
        return HTTP_DONE;
    }
}
