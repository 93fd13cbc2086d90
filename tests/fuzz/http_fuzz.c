/*
 * HTTP in pieces. The first byte chooses: bit 0 a request instead of a reply, bit 1 a reply to
 * HEAD. The second one is the length of the pieces (0 counts as 256). What follows is the
 * connection's input, message after message. Checked: a message that comes in pieces is understood
 * as the whole is, no more is used than there is, and nothing is read beyond the view (each is a
 * heap block of its own size, so ASan sees it).
 */
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "http.h"

#define CHECK(condition)      \
    do {                      \
        if (!(condition))     \
            __builtin_trap(); \
    } while (0)

static struct tw_view copy(struct tw_view view)
{
    char *block = malloc(view.len);

    CHECK(block || view.len == 0);
    if (view.len)
        memcpy(block, view.data, view.len);
    return (struct tw_view){block, view.len};
}

static void drop(struct tw_view view)
{
    free((char *)view.data);
}

struct head {
    bool is_request;
    struct http_reply reply;
    struct http_request request;
};

static size_t head_bytes(const struct head *head)
{
    return head->is_request ? head->request.head_bytes : head->reply.head_bytes;
}

static enum http_result parse(struct tw_view text, struct head *head)
{
    struct tw_view block = copy(text);
    enum http_result result = head->is_request ? http_parse_request(block, &head->request)
                                               : http_parse_reply(block, &head->reply);

    drop(block);
    if (result == HTTP_DONE)
        CHECK(head_bytes(head) > 0 && head_bytes(head) <= text.len &&
              head_bytes(head) <= HTTP_HEAD_MAX);
    return result;
}

static bool same_head(const struct head *a, const struct head *b)
{
    const struct http_reply *r = &a->reply, *s = &b->reply;
    const struct http_request *q = &a->request, *p = &b->request;

    return r->status == s->status && r->close == s->close && r->chunked == s->chunked &&
           r->has_length == s->has_length && r->length == s->length &&
           r->head_bytes == s->head_bytes && q->head == p->head && q->close == p->close &&
           q->http10 == p->http10 && q->expects == p->expects && q->chunked == p->chunked &&
           q->length == p->length && q->head_bytes == p->head_bytes;
}

/* The head whole, and again with more and more of it. */
static enum http_result check_head(struct tw_view text, size_t piece, struct head *head)
{
    struct head grown = {.is_request = head->is_request};
    enum http_result whole = parse(text, head), result;
    size_t len = 0;

    do {
        len = text.len - len < piece ? text.len : len + piece;
        result = parse((struct tw_view){text.data, len}, &grown);
    } while (result == HTTP_MORE && len < text.len);
    CHECK(result == whole);
    CHECK(same_head(head, &grown));
    return whole;
}

static enum http_result feed(struct http_body *body, struct tw_view text, size_t piece,
                             size_t *used)
{
    enum http_result result;

    *used = 0;
    do {
        struct tw_view part = {text.data + *used, text.len - *used};
        size_t took = SIZE_MAX;

        part.len = part.len < piece ? part.len : piece;
        part = copy(part);
        result = http_body_feed(body, part, &took);
        drop(part);
        CHECK(took <= part.len);
        CHECK(result != HTTP_MORE || took == part.len);
        *used += took;
    } while (result == HTTP_MORE && *used < text.len);
    return result;
}

static enum http_result check_body(const struct http_body *body, struct tw_view text, size_t piece,
                                   size_t *used)
{
    struct http_body whole = *body, pieces = *body;
    enum http_result result = feed(&whole, text, text.len, used);
    size_t used_in_pieces;

    CHECK(feed(&pieces, text, piece, &used_in_pieces) == result);
    CHECK(used_in_pieces == *used && whole.left == pieces.left && whole.state == pieces.state &&
          whole.digits == pieces.digits);
    return result;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tw_view text = {(const char *)data + 2, size - 2};
    size_t piece, used;

    if (size < 2)
        return 0;
    piece = data[1] ? data[1] : 256;
    for (;;) {
        struct head head = {.is_request = data[0] & 1};
        struct http_body body;

        if (check_head(text, piece, &head) != HTTP_DONE)
            return 0;
        text.data += head_bytes(&head);
        text.len -= head_bytes(&head);
        body = head.is_request ? http_body_of_request(&head.request)
                               : http_body_of_reply(&head.reply, data[0] & 2);
        if (check_body(&body, text, piece, &used) != HTTP_DONE)
            return 0;
        text.data += used;
        text.len -= used;
    }
}
