/*
 * http.h - as much of HTTP/1.1 (RFC 9112) as a load generator and its server need: where a message
 * begins, where it ends, and whether the connection goes on after it. Pure functions over views.
 *
 * Heads are parsed whole: while one is incomplete the parser says HTTP_MORE and is called again
 * with more bytes from the same start. Bodies are followed piece by piece and never stored.
 */
#ifndef HTTP_H
#define HTTP_H

#include <stdbool.h>
#include <stdint.h>

#include "tidewait/parse.h"

/* A longer head is taken for malformed. nginx and Apache refuse heads of 8 KiB a line. */
#define HTTP_HEAD_MAX 16384

enum http_result {
    HTTP_MORE, /* good so far, but not complete */
    HTTP_DONE,
    HTTP_BAD, /* not HTTP/1.x, or self-contradictory */
};

struct http_reply {
    uint16_t status;
    bool close;        /* the server will close after this reply */
    bool chunked;      /* Transfer-Encoding: chunked */
    bool has_length;   /* Content-Length was there */
    uint64_t length;   /* its value */
    size_t head_bytes; /* length of the head, its empty line included */
};

struct http_request {
    bool head;       /* the method is HEAD */
    bool close;      /* the client wants the connection closed after the reply */
    bool http10;     /* HTTP/1.0: a reply that keeps the connection must say so */
    bool expects;    /* Expect: 100-continue */
    bool chunked;    /* its body is chunked */
    uint64_t length; /* of its body */
    size_t head_bytes;
};

enum http_result http_parse_reply(struct tw_view text, struct http_reply *out);
enum http_result http_parse_request(struct tw_view text, struct http_request *out);

enum http_framing {
    HTTP_EMPTY,     /* no body at all */
    HTTP_LENGTH,    /* `left` bytes */
    HTTP_CHUNKED,   /* chunks until the empty one */
    HTTP_UNTIL_EOF, /* everything until the peer closes */
};

/* Follows one body. Set up by http_body_of_*(), or {HTTP_LENGTH, n}. */
struct http_body {
    enum http_framing framing;
    uint64_t left; /* of the body (HTTP_LENGTH) or of the current chunk (HTTP_CHUNKED) */
    uint8_t state; /* of the chunk parser */
    uint8_t digits;
};

/* How the body of this reply ends (RFC 9112, 6.3). `head` says that the request was HEAD. */
struct http_body http_body_of_reply(const struct http_reply *reply, bool head);
struct http_body http_body_of_request(const struct http_request *request);

/* Takes as much of `text` as belongs to the body and says how much in *used. HTTP_DONE: the body is
 * complete; what follows *used belongs to the next message. HTTP_UNTIL_EOF never becomes HTTP_DONE.
 */
enum http_result http_body_feed(struct http_body *body, struct tw_view text, size_t *used);

#endif
