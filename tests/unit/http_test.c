/* Replies and requests as servers and clients send them, and as they should not. */
#include "guard.h"

#include <stdlib.h>

#include "http.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define DATE         "Date: Sat, 21 Nov 2026 08:00:00 GMT\r\n"

/* What the place for a result holds before a parser runs. */
#define UNTOUCHED 0x5a

struct reply_sample {
    const char *name;
    const char *head;
    const char *body;
    bool asked_head; /* the request was HEAD */
    struct http_reply reply;
    enum http_framing framing;
};

static const struct reply_sample replies[] = {
    {"nginx",
     "HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\n" DATE
     "Content-Type: text/html\r\nContent-Length: 5\r\nConnection: keep-alive\r\n"
     "ETag: \"6560-5\"\r\nAccept-Ranges: bytes\r\n\r\n",
     "hello", .reply = {.status = 200, .has_length = true, .length = 5}, .framing = HTTP_LENGTH},
    {"nginx, chunked",
     "HTTP/1.1 200 OK\r\nServer: nginx\r\nTransfer-Encoding: chunked\r\n"
     "Connection: keep-alive\r\n\r\n",
     "5\r\nhello\r\n0\r\n\r\n", .reply = {.status = 200, .chunked = true}, .framing = HTTP_CHUNKED},
    {"Apache",
     "HTTP/1.1 301 Moved Permanently\r\n" DATE "Server: Apache/2.4.57 (Debian)\r\n"
     "Location: http://10.0.0.1:8080/a/\r\nContent-Length: 3\r\n"
     "Keep-Alive: timeout=5, max=100\r\nConnection: Keep-Alive\r\n"
     "Content-Type: text/html; charset=iso-8859-1\r\n\r\n",
     "301", .reply = {.status = 301, .has_length = true, .length = 3}, .framing = HTTP_LENGTH},
    {"haproxy 2",
     "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\ncache-control: no-cache\r\n"
     "content-type: text/html\r\nconnection: close\r\n\r\n",
     "no", .reply = {.status = 503, .close = true, .has_length = true, .length = 2},
     .framing = HTTP_LENGTH},
    {"haproxy 1",
     "HTTP/1.0 503 Service Unavailable\r\nCache-Control: no-cache\r\nConnection: close\r\n"
     "Content-Type: text/html\r\n\r\n",
     "<html>until the end</html>\n", .reply = {.status = 503, .close = true},
     .framing = HTTP_UNTIL_EOF},
    {"Python http.server",
     "HTTP/1.0 200 OK\r\nServer: SimpleHTTP/0.6 Python/3.11.2\r\n" DATE
     "Content-type: text/html; charset=utf-8\r\nContent-Length: 4\r\n\r\n",
     "tide", .reply = {.status = 200, .close = true, .has_length = true, .length = 4},
     .framing = HTTP_LENGTH},
    {"IIS",
     "HTTP/1.1 404 Not Found\r\nContent-Type: text/html; charset=us-ascii\r\n"
     "Server: Microsoft-HTTPAPI/2.0\r\n" DATE "Connection: close\r\nContent-Length: 10\r\n\r\n",
     "0123456789", .reply = {.status = 404, .close = true, .has_length = true, .length = 10},
     .framing = HTTP_LENGTH},
    {"HTTP/1.0 kept open", "HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 1\r\n\r\n",
     "x", .reply = {.status = 200, .has_length = true, .length = 1}, .framing = HTTP_LENGTH},
    {"100", "HTTP/1.1 100 Continue\r\n\r\n", "", .reply = {.status = 100}, .framing = HTTP_EMPTY},
    {"101", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
     "", .reply = {.status = 101}, .framing = HTTP_EMPTY},
    {"103", "HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload; as=style\r\n\r\n", "",
     .reply = {.status = 103}, .framing = HTTP_EMPTY},
    {"204", "HTTP/1.1 204 No Content\r\n\r\n", "", .reply = {.status = 204}, .framing = HTTP_EMPTY},
    {"304 with the length of what it leaves out",
     "HTTP/1.1 304 Not Modified\r\nContent-Length: 1234\r\n\r\n", "",
     .reply = {.status = 304, .has_length = true, .length = 1234}, .framing = HTTP_EMPTY},
    {"HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n", "", .asked_head = true,
     .reply = {.status = 200, .has_length = true, .length = 1234}, .framing = HTTP_EMPTY},
    {"HEAD, chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "",
     .asked_head = true, .reply = {.status = 200, .chunked = true}, .framing = HTTP_EMPTY},
    {"chunks with extensions and trailers",
     "HTTP/1.1 200 OK\r\nTrailer: X-Sum, X-End\r\nTransfer-Encoding: Chunked\r\n\r\n",
     "4;name=\"a;b\";q\r\nWiki\r\n0000A ; x\r\n0123456789\r\n0;last\r\n"
     "X-Sum: 1f\r\nX-End: 0\r\n\r\n",
     .reply = {.status = 200, .chunked = true}, .framing = HTTP_CHUNKED},
    {"chunked and Content-Length",
     "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
     "1\r\nx\r\n0\r\n\r\n", .reply = {.status = 200, .chunked = true, .length = 3},
     .framing = HTTP_CHUNKED},
    {"gzip, chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
     "2\r\n\x1f\x8b\r\n0\r\n\r\n", .reply = {.status = 200, .chunked = true},
     .framing = HTTP_CHUNKED},
    {"gzip alone overrides the length",
     "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: gzip\r\n\r\n", "abcdef",
     .reply = {.status = 200, .length = 2}, .framing = HTTP_UNTIL_EOF},
    {"two equal lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 002\r\n\r\n",
     "ab", .reply = {.status = 200, .has_length = true, .length = 2}, .framing = HTTP_LENGTH},
    {"length 0", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "",
     .reply = {.status = 200, .has_length = true}, .framing = HTTP_EMPTY},
    {"no length", "HTTP/1.1 200 OK\r\n\r\n", "all the rest", .reply = {.status = 200},
     .framing = HTTP_UNTIL_EOF},
    {"bare LF", "HTTP/1.1 200 OK\nServer: x\nContent-Length: 3\n\n", "abc",
     .reply = {.status = 200, .has_length = true, .length = 3}, .framing = HTTP_LENGTH},
    {"bare LF, chunked", "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n",
     "3\nabc\n0\nTrailer: x\n\n", .reply = {.status = 200, .chunked = true},
     .framing = HTTP_CHUNKED},
    {"no reason", "HTTP/1.1 200\r\nContent-Length: 1\r\n\r\n", "x",
     .reply = {.status = 200, .has_length = true, .length = 1}, .framing = HTTP_LENGTH},
    {"an empty reason", "HTTP/1.1 599 \r\nContent-Length: 1\r\n\r\n", "x",
     .reply = {.status = 599, .has_length = true, .length = 1}, .framing = HTTP_LENGTH},
    {"blanks and lists",
     "HTTP/1.1 200 OK\r\nX:\r\nContent-Length:\t 1 \t\r\nConnection: foo ,\tClOsE,bar\r\n\r\n", "x",
     .reply = {.status = 200, .close = true, .has_length = true, .length = 1},
     .framing = HTTP_LENGTH},
    {"names that begin or end like those that matter",
     "HTTP/1.1 200 OK\r\nX-Content-Length: 9\r\nContent-Length-X: 9\r\nConnectiox: close\r\n"
     "Transfer-Encodinx: chunked\r\nContent-Length: 1\r\n\r\n",
     "x", .reply = {.status = 200, .has_length = true, .length = 1}, .framing = HTTP_LENGTH},
};

static const struct {
    const char *name;
    const char *text;
    size_t len;
} bad_replies[] = {
    {"two lengths", SAMPLE("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n")},
    {"a list of lengths", SAMPLE("HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\n")},
    {"negative length", SAMPLE("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n")},
    {"length with a sign", SAMPLE("HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\n")},
    {"no length at all", SAMPLE("HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n")},
    {"length 2^63", SAMPLE("HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775808\r\n\r\n")},
    {"length 2^64", SAMPLE("HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551616\r\n\r\n")},
    {"no colon", SAMPLE("HTTP/1.1 200 OK\r\nServer\r\n\r\n")},
    {"no name", SAMPLE("HTTP/1.1 200 OK\r\n: x\r\n\r\n")},
    {"blank before the colon", SAMPLE("HTTP/1.1 200 OK\r\nContent-Length : 1\r\n\r\n")},
    {"obs-fold", SAMPLE("HTTP/1.1 200 OK\r\nX: a\r\n b: c\r\n\r\n")},
    {"obs-fold, tab", SAMPLE("HTTP/1.1 200 OK\r\nX: a\r\n\tb\r\n\r\n")},
    {"HTTP/1.2", SAMPLE("HTTP/1.2 200 OK\r\n\r\n")},
    {"HTTP/2", SAMPLE("HTTP/2 200\r\n\r\n")},
    {"small letters", SAMPLE("http/1.1 200 OK\r\n\r\n")},
    {"two blanks", SAMPLE("HTTP/1.1  200 OK\r\n\r\n")},
    {"status of two digits", SAMPLE("HTTP/1.1 20 OK\r\n\r\n")},
    {"status of four digits", SAMPLE("HTTP/1.1 2000 OK\r\n\r\n")},
    {"status below 100", SAMPLE("HTTP/1.1 099 OK\r\n\r\n")},
    {"status in letters", SAMPLE("HTTP/1.1 2x0 OK\r\n\r\n")},
    {"cut short", SAMPLE("HTTP/1.1\r\n\r\n")},
    {"a blank line before it", SAMPLE("\r\nHTTP/1.1 200 OK\r\n\r\n")},
    {"Icecast", SAMPLE("ICY 200 OK\r\n\r\n")},
    {"SSH banner", SAMPLE("SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n")},
    {"SMTP greeting", SAMPLE("220 mail.example.org ESMTP\r\n")},
    {"TLS alert", SAMPLE("\x15\x03\x01\x00\x02\x02\x16")},
    {"HTTP/2 settings frame", SAMPLE("\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x80")},
    {"garbage", SAMPLE("\xff\xfe\x80\0\n\n\r\n\r\n")},
    {"NUL in the status line", SAMPLE("HTTP/1.1\0"
                                      "200 OK\r\n\r\n")},
};

struct request_sample {
    const char *name;
    const char *head;
    const char *body;
    struct http_request request;
};

static const struct request_sample requests[] = {
    {"curl",
     "GET /a?b=c HTTP/1.1\r\nHost: h\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n\r\n",
     "",
     {0}},
    {"ab",
     "GET / HTTP/1.0\r\nHost: h\r\nUser-Agent: ApacheBench/2.3\r\nAccept: */*\r\n\r\n",
     "",
     {.close = true, .http10 = true}},
    {"ab -k", "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\nHost: h\r\n\r\n", "", {.http10 = true}},
    {"close", "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", "", {.close = true}},
    {"HEAD", "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n", "", {.head = true}},
    {"POST", "POST /f HTTP/1.1\r\nHost: h\r\nContent-Length: 7\r\n\r\n", "a=1&b=2", {.length = 7}},
    {"PUT, waiting to be asked for its body",
     "PUT /f HTTP/1.1\r\nHost: h\r\nExpect: 100-Continue\r\nContent-Length: 1\r\n\r\n",
     "x",
     {.expects = true, .length = 1}},
    {"POST, chunked",
     "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n",
     "1\r\nx\r\n0\r\n\r\n",
     {.chunked = true}},
    {"POST, chunked and Content-Length",
     "POST / HTTP/1.1\r\nContent-Length: 99\r\nTransfer-Encoding: chunked\r\n\r\n",
     "1\r\nx\r\n0\r\n\r\n",
     {.chunked = true}},
    {"POST, two equal lengths",
     "POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
     "x",
     {.length = 1}},
    {"OPTIONS", "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", "", {0}},
    {"CONNECT", "CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n", "", {0}},
    {"absolute form", "GET http://h:8080/x HTTP/1.1\r\nHost: h:8080\r\n\r\n", "", {0}},
    {"blank lines before", "\r\n\r\n\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", "", {0}},
    {"bare LF", "GET / HTTP/1.1\nHost: h\n\n", "", {0}},
    {"no field at all", "GET / HTTP/1.0\r\n\r\n", "", {.close = true, .http10 = true}},
};

static const struct {
    const char *name;
    const char *text;
    size_t len;
} bad_requests[] = {
    {"HTTP/2 preface", SAMPLE("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")},
    {"TLS ClientHello", SAMPLE("\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03")},
    {"TLS ClientHello with a line end", SAMPLE("\x16\x03\x01\x02\0\x01\n\x01\xfc\r\n\r\n")},
    {"SSH banner", SAMPLE("SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n")},
    {"HTTP/0.9", SAMPLE("GET /\r\n")},
    {"method alone", SAMPLE("GET\r\n\r\n")},
    {"blank before the method", SAMPLE(" GET / HTTP/1.1\r\n\r\n")},
    {"two blanks", SAMPLE("GET  / HTTP/1.1\r\n\r\n")},
    {"blank in the target", SAMPLE("GET /a b HTTP/1.1\r\n\r\n")},
    {"blank behind the version", SAMPLE("GET / HTTP/1.1 \r\n\r\n")},
    {"HTTP/1.2", SAMPLE("GET / HTTP/1.2\r\n\r\n")},
    {"small letters", SAMPLE("GET / http/1.1\r\n\r\n")},
    {"no colon", SAMPLE("GET / HTTP/1.1\r\nHost\r\n\r\n")},
    {"blank before the colon", SAMPLE("GET / HTTP/1.1\r\nContent-Length : 5\r\n\r\n")},
    {"obs-fold", SAMPLE("GET / HTTP/1.1\r\nX: a\r\n b: c\r\n\r\n")},
    {"two lengths", SAMPLE("POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n")},
    {"negative length", SAMPLE("POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n")},
    {"gzip alone", SAMPLE("POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n")},
    {"chunked is not last", SAMPLE("POST / HTTP/1.1\r\nTransfer-Encoding: chunked, gzip\r\n\r\n")},
    {"garbage", SAMPLE("\xff\xfe\x80\0\n\n")},
    {"NUL", SAMPLE("\0\0\0\0\n\n")},
};

/* --- heads ------------------------------------------------------------------------------------ */

/* The rooms for both kinds of result, so that one table of checks serves both parsers. */
union parsed {
    struct http_reply reply;
    struct http_request request;
    char bytes[sizeof(struct http_reply) + sizeof(struct http_request)];
};

typedef enum http_result head_parse(struct tw_view text, union parsed *out);

static enum http_result parse_reply(struct tw_view text, union parsed *out)
{
    return http_parse_reply(text, &out->reply);
}

static enum http_result parse_request(struct tw_view text, union parsed *out)
{
    return http_parse_request(text, &out->request);
}

/* Parses behind the guard page, and sees that without success nothing is written. */
static enum http_result parse_head(struct guard *guard, head_parse *parse, const char *data,
                                   size_t len, union parsed *out)
{
    enum http_result result;

    memset(out, UNTOUCHED, sizeof(*out));
    result = parse(guard_view(guard, data, len), out);
    for (size_t i = 0; i < sizeof(*out) && result != HTTP_DONE; i++)
        assert_int_equal(out->bytes[i], UNTOUCHED);
    return result;
}

/* Every proper prefix of a good head is good so far; what follows a head changes nothing. */
static void check_head(struct guard *guard, head_parse *parse, const char *name, const char *head,
                       union parsed *out)
{
    size_t len = strlen(head);
    char *longer;

    for (size_t i = 0; i < len; i++)
        if (parse_head(guard, parse, head, i, out) != HTTP_MORE)
            fail_msg("%s: the first %zu of %zu bytes are not taken for a beginning", name, i, len);
    assert_true(asprintf(&longer, "%s: \xff no colon\r\n\r\n", head) > 0);
    if (parse_head(guard, parse, longer, strlen(longer), out) != HTTP_DONE)
        fail_msg("%s: not taken with what follows it", name);
    free(longer);
    if (parse_head(guard, parse, head, len, out) != HTTP_DONE)
        fail_msg("%s: not taken", name);
}

/* The whole is bad, no prefix is done, and what is bad once does not become good again. */
static void check_bad(struct guard *guard, head_parse *parse, const char *name, const char *text,
                      size_t len)
{
    union parsed out;
    bool bad = false;

    for (size_t i = 0; i <= len; i++) {
        enum http_result result = parse_head(guard, parse, text, i, &out);

        if (result == HTTP_DONE || (bad && result != HTTP_BAD))
            fail_msg("%s: result %d of the first %zu bytes", name, result, i);
        bad = result == HTTP_BAD;
    }
    if (!bad)
        fail_msg("%s: not refused", name);
}

static void check_reply_fields(const struct reply_sample *sample, const struct http_reply *got)
{
    const struct http_reply *want = &sample->reply;

    if (got->status != want->status || got->close != want->close || got->chunked != want->chunked ||
        got->has_length != want->has_length || got->length != want->length ||
        got->head_bytes != strlen(sample->head))
        fail_msg("%s: status %u close %d chunked %d has_length %d length %llu head %zu",
                 sample->name, got->status, got->close, got->chunked, got->has_length,
                 (unsigned long long)got->length, got->head_bytes);
}

static void check_request_fields(const struct request_sample *sample,
                                 const struct http_request *got)
{
    const struct http_request *want = &sample->request;

    if (got->head != want->head || got->close != want->close || got->http10 != want->http10 ||
        got->expects != want->expects || got->chunked != want->chunked ||
        got->length != want->length || got->head_bytes != strlen(sample->head))
        fail_msg("%s: head %d close %d http10 %d expects %d chunked %d length %llu head %zu",
                 sample->name, got->head, got->close, got->http10, got->expects, got->chunked,
                 (unsigned long long)got->length, got->head_bytes);
}

/* --- bodies ----------------------------------------------------------------------------------- */

/* Feeds a first piece and then pieces of `step` bytes, each at the guard page. */
static enum http_result feed(struct guard *guard, struct http_body body, const char *data,
                             size_t len, size_t first, size_t step, size_t *used)
{
    enum http_result result = HTTP_MORE;
    size_t piece = first < len ? first : len, took;

    *used = 0;
    for (;;) {
        took = SIZE_MAX;
        result = http_body_feed(&body, guard_view(guard, data + *used, piece), &took);
        assert_true(took <= piece);
        *used += took;
        if (result != HTTP_MORE || *used == len)
            return result;
        assert_int_equal(took, piece);
        piece = len - *used < step ? len - *used : step;
    }
}

static void check_feed(struct guard *guard, const char *name, struct http_body body,
                       const char *data, size_t len, enum http_result want, size_t want_used)
{
    size_t used;

    for (size_t first = 0; first <= len; first++) {
        enum http_result result = feed(guard, body, data, len, first, len ? len : 1, &used);

        if (result != want || used != want_used)
            fail_msg("%s: cut at %zu: result %d, %zu bytes used", name, first, result, used);
    }
    for (size_t step = 1; step < 4; step++) {
        enum http_result result = feed(guard, body, data, len, step, step, &used);

        if (result != want || used != want_used)
            fail_msg("%s: in pieces of %zu: result %d, %zu bytes used", name, step, result, used);
    }
}

/* A body alone, and with the next message right behind it; none of its prefixes is its end. */
static void check_body(struct guard *guard, const char *name, struct http_body body,
                       const char *data)
{
    bool endless = body.framing == HTTP_UNTIL_EOF;
    size_t len = strlen(data), used;
    char *longer;

    check_feed(guard, name, body, data, len, endless ? HTTP_MORE : HTTP_DONE, len);
    for (size_t i = 0; i < len; i++)
        if (feed(guard, body, data, i, i, 1, &used) != HTTP_MORE || used != i)
            fail_msg("%s: %zu of %zu bytes of the body do not leave it open", name, i, len);
    if (endless)
        return;
    assert_true(asprintf(&longer, "%sHTTP/1.1 200 OK\r\n\r\n", data) > 0);
    check_feed(guard, name, body, longer, strlen(longer), HTTP_DONE, len);
    free(longer);
}

/* --- tests ------------------------------------------------------------------------------------ */

static void test_replies(void **state)
{
    struct guard guard;
    union parsed out;

    (void)state;
    guard_init(&guard, 4096);
    for (const struct reply_sample *sample = replies; sample < replies + COUNT(replies); sample++) {
        struct http_body body;

        check_head(&guard, parse_reply, sample->name, sample->head, &out);
        check_reply_fields(sample, &out.reply);
        body = http_body_of_reply(&out.reply, sample->asked_head);
        if (body.framing != sample->framing)
            fail_msg("%s: framing %d instead of %d", sample->name, body.framing, sample->framing);
        check_body(&guard, sample->name, body, sample->body);
    }
    guard_fini(&guard);
}

static void test_bad_replies(void **state)
{
    struct guard guard;

    (void)state;
    guard_init(&guard, 4096);
    for (size_t i = 0; i < COUNT(bad_replies); i++)
        check_bad(&guard, parse_reply, bad_replies[i].name, bad_replies[i].text,
                  bad_replies[i].len);
    guard_fini(&guard);
}

static void test_requests(void **state)
{
    struct guard guard;
    union parsed out;

    (void)state;
    guard_init(&guard, 4096);
    for (const struct request_sample *sample = requests; sample < requests + COUNT(requests);
         sample++) {
        struct http_body body;

        check_head(&guard, parse_request, sample->name, sample->head, &out);
        check_request_fields(sample, &out.request);
        body = http_body_of_request(&out.request);
        assert_int_equal(body.framing, sample->request.chunked  ? HTTP_CHUNKED
                                       : sample->request.length ? HTTP_LENGTH
                                                                : HTTP_EMPTY);
        check_body(&guard, sample->name, body, sample->body);
    }
    guard_fini(&guard);
}

static void test_bad_requests(void **state)
{
    struct guard guard;

    (void)state;
    guard_init(&guard, 4096);
    for (size_t i = 0; i < COUNT(bad_requests); i++)
        check_bad(&guard, parse_request, bad_requests[i].name, bad_requests[i].text,
                  bad_requests[i].len);
    guard_fini(&guard);
}

/* A head of exactly `len` bytes, most of them one field. */
static char *long_head(const char *first_line, size_t len)
{
    char *head = malloc(len);
    size_t begin = strlen(first_line);

    assert_non_null(head);
    memset(head, 'x', len);
    /* A head is no C string: NOLINTBEGIN(bugprone-not-null-terminated-result) */
    memcpy(head, first_line, begin);
    memcpy(head + begin, "X:", 2);
    memcpy(head + len - 4, "\r\n\r\n", 4);
    /* NOLINTEND(bugprone-not-null-terminated-result) */
    return head;
}

static void test_longest_head(void **state)
{
    static const struct {
        head_parse *parse;
        const char *first_line;
    } kinds[] = {{parse_reply, "HTTP/1.1 200 OK\r\n"}, {parse_request, "GET / HTTP/1.1\r\n"}};
    struct guard guard;
    union parsed out;

    (void)state;
    guard_init(&guard, 2 * HTTP_HEAD_MAX);
    for (size_t i = 0; i < COUNT(kinds); i++) {
        head_parse *parse = kinds[i].parse;
        char *fits = long_head(kinds[i].first_line, HTTP_HEAD_MAX);
        char *exceeds = long_head(kinds[i].first_line, HTTP_HEAD_MAX + 1);
        char *flood = long_head(kinds[i].first_line, 2 * HTTP_HEAD_MAX);

        for (size_t len = 0; len < HTTP_HEAD_MAX; len += 61)
            assert_int_equal(parse_head(&guard, parse, fits, len, &out), HTTP_MORE);
        assert_int_equal(parse_head(&guard, parse, fits, HTTP_HEAD_MAX - 1, &out), HTTP_MORE);
        assert_int_equal(parse_head(&guard, parse, fits, HTTP_HEAD_MAX, &out), HTTP_DONE);
        assert_int_equal(parse_head(&guard, parse, exceeds, HTTP_HEAD_MAX, &out), HTTP_MORE);
        assert_int_equal(parse_head(&guard, parse, exceeds, HTTP_HEAD_MAX + 1, &out), HTTP_BAD);
        assert_int_equal(parse_head(&guard, parse, flood, 2 * HTTP_HEAD_MAX - 1, &out), HTTP_BAD);
        assert_int_equal(parse_head(&guard, parse, flood, 2 * HTTP_HEAD_MAX, &out), HTTP_BAD);
        free(fits);
        free(exceeds);
        free(flood);
    }
    guard_fini(&guard);
}

static void test_chunks(void **state)
{
    static const struct {
        const char *text;
        enum http_result result;
        size_t used;
    } samples[] = {
        {"0\r\n\r\n", HTTP_DONE, 5},
        {"0000\r\n\r\n", HTTP_DONE, 8},
        {"a\r\n0123456789\r\n0\r\n\r\n", HTTP_DONE, 20},
        {"A\r\n0123456789\r\n00\r\n\r\nmore", HTTP_DONE, 21},
        {"000000000000001\r\nx\r\n0\r\n\r\n", HTTP_DONE, 25}, /* 15 digits */
        {"fffffffffffffff\r\nx", HTTP_MORE, 18},
        {"FFFFFFFFFFFFFFF", HTTP_MORE, 15},
        {"0000000000000001\r\n", HTTP_BAD, 16}, /* 16 digits */
        {"ffffffffffffffff\r\n", HTTP_BAD, 16},
        {"\r\n", HTTP_BAD, 1}, /* no digit */
        {"\n", HTTP_BAD, 1},
        {";x\r\n", HTTP_BAD, 1},
        {" 1\r\n", HTTP_BAD, 1},
        {"1\r\nx\r\n\r\n", HTTP_BAD, 7},
        {"-1\r\n", HTTP_BAD, 1},
        {"0x1\r\n", HTTP_BAD, 2},
        {"1g\r\n", HTTP_BAD, 2},
        {"1\r\nxy\r\n", HTTP_BAD, 5},     /* the chunk is longer than it says */
        {"3\r\nx\r\n0\r\n", HTTP_BAD, 7}, /* or shorter */
        {"0\r\nTrailer\r\n", HTTP_MORE, 12},
        {"0\r\n\r", HTTP_MORE, 4},
    };
    struct guard guard;

    (void)state;
    guard_init(&guard, 4096);
    for (size_t i = 0; i < COUNT(samples); i++)
        check_feed(&guard, samples[i].text, (struct http_body){.framing = HTTP_CHUNKED},
                   samples[i].text, strlen(samples[i].text), samples[i].result, samples[i].used);
    guard_fini(&guard);
}

/* A body longer than memory: only its length is counted. */
static void test_long_length(void **state)
{
    struct http_body body = {.framing = HTTP_LENGTH, .left = INT64_MAX};
    struct http_body none = {.framing = HTTP_LENGTH};
    size_t used = 99;

    (void)state;
    assert_int_equal(http_body_feed(&body, tw_view_of("0123456789"), &used), HTTP_MORE);
    assert_int_equal(used, 10);
    assert_true(body.left == INT64_MAX - 10);
    assert_int_equal(http_body_feed(&none, tw_view_of("GET"), &used), HTTP_DONE);
    assert_int_equal(used, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_replies),      cmocka_unit_test(test_bad_replies),
        cmocka_unit_test(test_requests),     cmocka_unit_test(test_bad_requests),
        cmocka_unit_test(test_longest_head), cmocka_unit_test(test_chunks),
        cmocka_unit_test(test_long_length),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
