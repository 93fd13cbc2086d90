#include <errno.h>
#include <string.h>

#include "agent_worker.h"
#include "tidewait/clock.h"

/* --- replies --- */

static char *put(char *at, const char *text, size_t len)
{
    memcpy(at, text, len);
    return at + len;
}

#define PUT(at, text) put(at, text, sizeof(text) - 1)

static char *put_number(char *at, uint64_t number)
{
    char digits[20];
    size_t count = 0;

    do {
        digits[sizeof(digits) - ++count] = (char)('0' + number % 10);
        number /= 10;
    } while (number);
    return put(at, digits + sizeof(digits) - count, count);
}

/* Writes the head into worker->head and returns its length. A head that is written anew for the
 * rest of a reply has the same length: all that can differ is the date. */
static uint16_t write_head(struct agent_worker *worker, const struct agent_conn *conn)
{
    static const char sorry[] = "This is not an HTTP/1 request.\n";
    char *at = worker->head;

    at = conn->bad ? PUT(at, "HTTP/1.1 400 Bad Request\r\n") : PUT(at, "HTTP/1.1 200 OK\r\n");
    at = PUT(at, "Server: tidewait\r\nDate: ");
    at = put(at, worker->date, strlen(worker->date));
    at = PUT(at, "\r\nContent-Type: ");
    at = conn->bad ? PUT(at, "text/plain") : PUT(at, "application/octet-stream");
    at = PUT(at, "\r\nContent-Length: ");
    at = put_number(at, conn->bad ? sizeof(sorry) - 1 : conn->size);
    if (conn->last)
        at = PUT(at, "\r\nConnection: close\r\n\r\n");
    else if (conn->http10)
        at = PUT(at, "\r\nConnection: keep-alive\r\n\r\n");
    else
        at = PUT(at, "\r\n\r\n");
    if (conn->bad)
        at = PUT(at, sorry);
    return (uint16_t)(at - worker->head);
}

/* What is left of the reply, as far as one call can carry it. Returns how many bytes that is. */
static uint64_t gather(const struct agent_worker *worker, const struct agent_conn *conn,
                       uint64_t total, struct iovec *parts, int *count)
{
    uint64_t at = conn->sent, first = at;

    *count = 0;
    if (at < conn->head_bytes) {
        parts[0] = (struct iovec){(char *)worker->head + at, conn->head_bytes - at};
        at = conn->head_bytes;
        *count = 1;
    }
    while (at < total && *count < AGENT_PARTS) {
        size_t offset = (at - conn->head_bytes) % AGENT_PATTERN_BYTES;
        size_t len = AGENT_PATTERN_BYTES - offset;

        if (len > total - at)
            len = (size_t)(total - at);
        /* sendmsg() only reads from it. */
        parts[(*count)++] = (struct iovec){(char *)worker->pattern + offset, len};
        at += len;
    }
    return at - first;
}

/* Sends the reply or its rest. Afterwards the connection is gone, ending, waiting (PHASE_SENDING)
 * or, in PHASE_READING, ready for the next request. */
static bool send_reply(struct agent_worker *worker, struct agent_conn *conn)
{
    enum agent_closing closing = worker->settings->closing;
    bool body = !conn->head_only && !conn->bad, raw = worker->settings->mode != AGENT_HTTP;
    bool fin = conn->last && (closing == AGENT_CLOSE_SERVER || closing == AGENT_CLOSE_HALF);
    uint64_t total;

    if (!raw && conn->sent <= conn->head_bytes)
        conn->head_bytes = write_head(worker, conn);
    total = conn->head_bytes + (body ? conn->size : 0);
    for (int turn = 0; conn->sent < total; turn++) {
        struct iovec parts[AGENT_PARTS];
        int count;
        uint64_t offered = gather(worker, conn, total, parts, &count);
        ssize_t sent;

        conn->phase = PHASE_SENDING;
        if (turn == AGENT_TURNS)
            return agent_conn_yield(worker, conn, QUEUE_IDLE);
        /* With "more" the last segment waits for the EOF that follows at once and carries it. */
        sent = agent_conn_send(worker, conn, parts, count, fin && conn->sent + offered == total);
        if (sent == -EAGAIN)
            return agent_conn_wait(worker, conn, QUEUE_IDLE, true);
        if (sent < 0) {
            agent_conn_end(worker, conn, COUNT_RESET_BY_PEER);
            return false;
        }
        conn->sent += (uint64_t)sent;
    }
    conn->sent = 0;
    conn->phase = PHASE_READING;
    if (!raw)
        agent_bump(worker, conn->bad ? COUNT_400 : COUNT_200, 1);
    return conn->last ? agent_conn_finish(worker, conn) : true;
}

/* Begins the reply, now or after the time to think. */
static bool begin_reply(struct agent_worker *worker, struct agent_conn *conn)
{
    const struct distribution *think = &worker->settings->think_ns;
    uint64_t think_ns = 0;

    conn->size = distribution_draw(&worker->settings->size, &worker->random);
    if (!distribution_is_zero(think))
        think_ns = distribution_draw(think, &worker->random);
    if (think_ns == 0 || heap_push(&worker->thoughts, tw_clock_ns() + think_ns, conn))
        return send_reply(worker, conn);
    conn->phase = PHASE_THINKING;
    return agent_conn_wait(worker, conn, QUEUE_THINK, false);
}

static bool refuse(struct agent_worker *worker, struct agent_conn *conn)
{
    conn->bad = conn->last = true;
    return send_reply(worker, conn);
}

/* --- requests --- */

/* A request is complete; `rest` follows it. */
static bool answer(struct agent_worker *worker, struct agent_conn *conn, struct tw_view rest)
{
    uint64_t limit = worker->settings->requests;

    agent_bump(worker, COUNT_REQUESTS, 1);
    conn->served++;
    conn->last = conn->wants_close || worker->stopping || (limit && conn->served >= limit);
    /* Closing uses the buffer that `rest` stands in, and asks the stash whether there was more. */
    if (conn->last && !agent_conn_stash(worker, conn, rest.data, rest.len))
        return false;
    return begin_reply(worker, conn);
}

static bool say_continue(struct agent_worker *worker, struct agent_conn *conn)
{
    static const char line[] = "HTTP/1.1 100 Continue\r\n\r\n";
    struct iovec part = {(char *)line, sizeof(line) - 1};
    ssize_t sent = agent_conn_send(worker, conn, &part, 1, false);

    /* Without room for it the client goes on by its own time limit (RFC 9110, 10.1.1). */
    if (sent == -EAGAIN || sent == (ssize_t)part.iov_len)
        return true;
    agent_conn_end(worker, conn, sent < 0 ? COUNT_RESET_BY_PEER : COUNT_RESET_BY_US);
    return false;
}

static bool begin_request(struct agent_worker *worker, struct agent_conn *conn,
                          struct tw_view *text)
{
    struct http_request request;
    enum http_result result = http_parse_request(*text, &request);

    if (result == HTTP_MORE)
        return true;
    if (result == HTTP_BAD)
        return refuse(worker, conn);
    text->data += request.head_bytes;
    text->len -= request.head_bytes;
    conn->head_only = request.head;
    conn->http10 = request.http10;
    conn->wants_close = request.close;
    conn->body = http_body_of_request(&request);
    if (conn->body.framing == HTTP_EMPTY)
        return answer(worker, conn, *text);
    conn->in_body = true;
    if (request.expects && !request.http10 && text->len == 0)
        return say_continue(worker, conn);
    return true;
}

static bool go_on_with_body(struct agent_worker *worker, struct agent_conn *conn,
                            struct tw_view *text)
{
    size_t used;
    enum http_result result = http_body_feed(&conn->body, *text, &used);

    text->data += used;
    text->len -= used;
    if (result == HTTP_MORE)
        return true;
    conn->in_body = false;
    return result == HTTP_BAD ? refuse(worker, conn) : answer(worker, conn, *text);
}

/* Answers the requests in `text` one by one and stashes the rest, if the connection goes on. */
static bool consume(struct agent_worker *worker, struct agent_conn *conn, struct tw_view text)
{
    while (text.len && conn->phase == PHASE_READING) {
        size_t before = text.len;

        if (conn->in_body ? !go_on_with_body(worker, conn, &text)
                          : !begin_request(worker, conn, &text))
            return false;
        if (text.len == before)
            break; /* the head is not complete, or it was refused */
    }
    if (conn->last)
        return true;
    conn->unparsed = conn->phase != PHASE_READING && text.len;
    return agent_conn_stash(worker, conn, text.data, text.len);
}

/* How much to read: what comes behind the body under way must fit into a stash. */
static size_t input_room(const struct agent_worker *worker, const struct agent_conn *conn)
{
    if (!conn->in_body)
        return HTTP_HEAD_MAX + 1 - conn->stash_len;
    if (conn->body.framing == HTTP_LENGTH && conn->body.left < sizeof(worker->buffer))
        return (size_t)conn->body.left + HTTP_HEAD_MAX < sizeof(worker->buffer)
                   ? (size_t)conn->body.left + HTTP_HEAD_MAX
                   : sizeof(worker->buffer);
    return conn->body.framing == HTTP_LENGTH ? sizeof(worker->buffer) : HTTP_HEAD_MAX;
}

static bool input_ended(struct agent_worker *worker, struct agent_conn *conn, ssize_t got)
{
    if (conn->in_body || conn->stash_len)
        agent_bump(worker, COUNT_INCOMPLETE, 1);
    agent_conn_end(worker, conn, got == 0 ? COUNT_CLOSED_CLIENT : COUNT_RESET_BY_PEER);
    return false;
}

static bool read_requests(struct agent_worker *worker, struct agent_conn *conn)
{
    for (int turn = 0; turn < AGENT_TURNS; turn++) {
        size_t len = conn->stash_len, room = input_room(worker, conn);
        bool dry = false;

        if (!conn->unparsed) {
            ssize_t got = agent_conn_recv(worker, conn, worker->buffer + len, room);

            if (got == -EAGAIN)
                return agent_conn_wait(worker, conn, QUEUE_IDLE, false);
            if (got <= 0)
                return input_ended(worker, conn, got);
            len += (size_t)got;
            /* A short read has emptied the socket; only a known EOF may stand behind it. */
            dry = (size_t)got < room && !conn->peer_done;
        }
        if (conn->stash_len)
            memcpy(worker->buffer, conn->stash, conn->stash_len);
        conn->unparsed = false;
        if (!consume(worker, conn, (struct tw_view){worker->buffer, len}))
            return false;
        if (conn->phase != PHASE_READING)
            return true;
        if (dry)
            return agent_conn_wait(worker, conn, QUEUE_IDLE, false);
    }
    return agent_conn_yield(worker, conn, QUEUE_IDLE);
}

/* --- raw connections --- */

/* Sends `len` bytes of data; what does not go out is stashed. */
static bool echo_some(struct agent_worker *worker, struct agent_conn *conn, char *data, size_t len)
{
    struct iovec part = {data, len};
    ssize_t sent = agent_conn_send(worker, conn, &part, 1, false);

    if (sent < 0 && sent != -EAGAIN) {
        agent_conn_end(worker, conn, COUNT_RESET_BY_PEER);
        return false;
    }
    if (sent < 0)
        sent = 0;
    return agent_conn_stash(worker, conn, data + sent, len - (size_t)sent);
}

static bool echo(struct agent_worker *worker, struct agent_conn *conn)
{
    for (int turn = 0; turn < AGENT_TURNS; turn++) {
        size_t kept = conn->stash_len;
        ssize_t got;

        if (kept) {
            memcpy(worker->buffer, conn->stash, kept);
            if (!echo_some(worker, conn, worker->buffer, kept))
                return false;
            if (conn->stash_len)
                return agent_conn_wait(worker, conn, QUEUE_IDLE, true);
        }
        got = agent_conn_recv(worker, conn, worker->buffer, HTTP_HEAD_MAX);
        if (got == -EAGAIN)
            return agent_conn_wait(worker, conn, QUEUE_IDLE, false);
        if (got <= 0) {
            agent_conn_end(worker, conn,
                           got < 0                                          ? COUNT_RESET_BY_PEER
                           : worker->settings->closing == AGENT_CLOSE_RESET ? COUNT_RESET_BY_US
                                                                            : COUNT_CLOSED_CLIENT);
            return false;
        }
        if (!echo_some(worker, conn, worker->buffer, (size_t)got))
            return false;
    }
    return agent_conn_yield(worker, conn, QUEUE_IDLE);
}

/* --- the way in --- */

bool agent_dialog_begin(struct agent_worker *worker, struct agent_conn *conn)
{
    switch (worker->settings->mode) {
    case AGENT_ECHO:
        conn->phase = PHASE_ECHOING;
        break;
    case AGENT_DISCARD:
        conn->phase = PHASE_AWAIT_EOF;
        break;
    case AGENT_SEND:
        conn->last = true;
        return begin_reply(worker, conn);
    default:
        conn->phase = PHASE_READING;
        break;
    }
    return agent_dialog_go_on(worker, conn);
}

bool agent_dialog_reply(struct agent_worker *worker, struct agent_conn *conn)
{
    agent_conn_unqueue(worker, conn);
    if (!send_reply(worker, conn))
        return false;
    return conn->phase == PHASE_READING ? read_requests(worker, conn) : true;
}

bool agent_dialog_go_on(struct agent_worker *worker, struct agent_conn *conn)
{
    switch (conn->phase) {
    case PHASE_READING:
        return read_requests(worker, conn);
    case PHASE_SENDING:
        return agent_dialog_reply(worker, conn);
    case PHASE_ECHOING:
        return echo(worker, conn);
    case PHASE_AWAIT_EOF:
    case PHASE_DRAINING:
        return agent_conn_drain(worker, conn);
    case PHASE_RESETTING:
        return agent_conn_try_reset(worker, conn);
    default:
        return true; /* thinking: input waits until the reply is sent */
    }
}
