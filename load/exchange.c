#include "exchange.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "tidewait/clock.h"

static const struct target *target_of(const struct worker *worker, const struct conn *conn)
{
    return &worker->workload->targets[conn->target];
}

/* Ends the connection with a failure; `code` tells which when it is not named. */
static void fail(struct worker *worker, struct conn *conn, enum failure failure, int code)
{
    if (failure == FAILURE_OTHER)
        worker->tally.last_errno = code;
    worker_done(worker, conn, ENDED_BY_RESET, failure, tw_clock_ns());
}

/* --- closing ------------------------------------------------------------------------------- */

/* Both directions are closed, or the server's is and ours follows now. */
static void end(struct worker *worker, struct conn *conn, enum ending ending, uint64_t now_ns)
{
    if (ending == ENDED_BY_PEER)
        shutdown(conn->fd, SHUT_WR);
    worker_sample(worker, conn, STAGE_CLOSE, now_ns - conn->phase_ns);
    worker_done(worker, conn, ending, FAILURE_NONE, now_ns);
}

/* The last reply is complete: close as the workload says. `peer_closed`: its EOF is here already.
 */
static void begin_close(struct worker *worker, struct conn *conn, bool peer_closed, uint64_t now_ns)
{
    conn->phase_ns = now_ns;
    if (peer_closed) {
        end(worker, conn, conn->half_closed ? ENDED_BY_US : ENDED_BY_PEER, now_ns);
        return;
    }
    switch (worker->workload->closing) {
    case CLOSING_RESET:
        end(worker, conn, ENDED_BY_RESET, now_ns);
        break;
    case CLOSING_SERVER:
        worker_enter(worker, conn, PHASE_AWAIT_EOF, now_ns);
        break;
    default:
        if (!conn->half_closed)
            shutdown(conn->fd, SHUT_WR);
        worker_enter(worker, conn, PHASE_CLOSING, now_ns);
        break;
    }
}

/* --- requests ------------------------------------------------------------------------------ */

/* Whether a reply is to come at all. */
static bool expects_reply(const struct worker *worker, const struct conn *conn)
{
    return target_of(worker, conn)->protocol == PROTOCOL_HTTP || worker->workload->expect ||
           worker->workload->closing == CLOSING_SERVER || worker->workload->closing == CLOSING_HALF;
}

static void request_sent(struct worker *worker, struct conn *conn, uint64_t now_ns)
{
    if (conn->counted) {
        worker->tally.requests++;
        worker->tally.bytes_out += conn->sent;
    }
    if (conn->last && worker->workload->closing == CLOSING_HALF) {
        conn->half_closed = true;
        shutdown(conn->fd, SHUT_WR);
    }
    if (expects_reply(worker, conn))
        worker_enter(worker, conn, PHASE_REPLY, now_ns);
    else
        begin_close(worker, conn, false, now_ns);
}

static void send_request(struct worker *worker, struct conn *conn, uint64_t now_ns)
{
    const struct target *target = target_of(worker, conn);
    const char *text = conn->last ? target->last_request : target->request;
    size_t len = conn->last ? target->last_request_len : target->request_len;

    while (conn->sent < len) {
        ssize_t sent = send(conn->fd, text + conn->sent, len - conn->sent, MSG_NOSIGNAL);

        if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            conn->phase = PHASE_SENDING;
            return;
        }
        if (sent < 0) {
            fail(worker, conn, failure_of_errno(errno), errno);
            return;
        }
        conn->sent += (size_t)sent;
    }
    request_sent(worker, conn, now_ns);
}

static void begin_request(struct worker *worker, struct conn *conn, uint64_t now_ns)
{
    conn->last = --conn->requests_left == 0;
    conn->sent = conn->got = 0;
    conn->replied = conn->in_body = false;
    conn->phase_ns = now_ns;
    send_request(worker, conn, now_ns);
}

void exchange_resume(struct worker *worker, struct conn *conn, uint64_t now_ns)
{
    worker_enter(worker, conn, PHASE_SENDING, now_ns);
    begin_request(worker, conn, now_ns);
}

/* --- replies ------------------------------------------------------------------------------- */

/* One reply is complete. `closing`: the server said, or showed, that it closes now. */
static void reply_done(struct worker *worker, struct conn *conn, bool closing, bool peer_closed,
                       uint64_t now_ns)
{
    uint64_t pause;

    worker_sample(worker, conn, STAGE_LAST_BYTE, now_ns - conn->phase_ns);
    if (conn->last || closing || peer_closed) {
        begin_close(worker, conn, peer_closed, now_ns);
        return;
    }
    pause = distribution_draw(&worker->workload->think, &worker->random);
    if (pause)
        worker_think(worker, conn, now_ns + pause);
    else
        begin_request(worker, conn, now_ns);
}

/* Keeps a head that has not come whole. */
static bool keep_head(struct conn *conn, struct tw_view text)
{
    char *head;

    if (conn->head_len + text.len > 2 * HTTP_HEAD_MAX)
        return false;
    head = realloc(conn->head, conn->head_len + text.len);
    if (!head)
        return false;
    memcpy(head + conn->head_len, text.data, text.len);
    conn->head = head;
    conn->head_len += text.len;
    return true;
}

static void drop_head(struct conn *conn)
{
    free(conn->head);
    conn->head = NULL;
    conn->head_len = 0;
}

/* Reads the head of a reply, over interim replies (1xx). Cuts it off *text. */
static enum http_result read_head(struct conn *conn, struct tw_view *text, bool *closing)
{
    struct http_reply reply;
    enum http_result result;

    while ((result = http_parse_reply(*text, &reply)) == HTTP_DONE) {
        text->data += reply.head_bytes;
        text->len -= reply.head_bytes;
        if (reply.status >= 200 || reply.status == 101)
            break;
    }
    if (result != HTTP_DONE)
        return result;
    conn->body = http_body_of_reply(&reply, false);
    conn->in_body = true;
    *closing = reply.close;
    if (reply.status >= 400)
        conn->failure = FAILURE_HTTP_STATUS;
    return HTTP_DONE;
}

/* Bytes of an HTTP reply. Returns HTTP_DONE when it is complete. */
static enum http_result consume_http(struct conn *conn, struct tw_view text, bool *closing)
{
    enum http_result result = HTTP_DONE;
    bool pieced = false;
    size_t used;

    if (!conn->in_body) {
        struct tw_view fresh = text;

        if (conn->head) {
            if (!keep_head(conn, fresh))
                return HTTP_BAD;
            text = (struct tw_view){conn->head, conn->head_len};
            pieced = true;
        }
        result = read_head(conn, &text, closing);
        if (result == HTTP_MORE && !pieced)
            return keep_head(conn, text) ? HTTP_MORE : HTTP_BAD;
        if (result != HTTP_DONE)
            return result;
    }
    result = http_body_feed(&conn->body, text, &used);
    /* Nobody asked for what comes behind the reply. */
    if (result == HTTP_DONE && used < text.len)
        result = HTTP_BAD;
    if (pieced)
        drop_head(conn);
    return result;
}

/* Bytes of a tcp reply: compared with --expect as far as that goes. */
static enum http_result consume_tcp(const struct workload *workload, struct conn *conn,
                                    struct tw_view text)
{
    size_t from = conn->got, upto = from + text.len;

    conn->got = upto;
    if (!workload->expect)
        return HTTP_MORE; /* until EOF */
    if (upto > workload->expect_len)
        upto = workload->expect_len;
    if (from < upto && memcmp(text.data, workload->expect + from, upto - from) != 0)
        return HTTP_BAD;
    return conn->got >= workload->expect_len ? HTTP_DONE : HTTP_MORE;
}

/* Takes in what was read. Returns false when the connection is over or waits for something else. */
static bool consume(struct worker *worker, struct conn *conn, struct tw_view text, bool peer_closed)
{
    bool closing = false;
    enum http_result result;
    uint64_t now;

    if (conn->counted)
        worker->tally.bytes_in += text.len;
    if (conn->phase != PHASE_REPLY)
        return true; /* behind the last reply: read and forgotten */
    now = tw_clock_ns();
    if (!conn->replied) {
        conn->replied = true;
        worker_sample(worker, conn, STAGE_FIRST_BYTE, now - conn->phase_ns);
        if (conn->to_abort) {
            worker_aborted(worker, conn, now);
            return false;
        }
    }
    result = target_of(worker, conn)->protocol == PROTOCOL_HTTP
                 ? consume_http(conn, text, &closing)
                 : consume_tcp(worker->workload, conn, text);
    if (result == HTTP_BAD) {
        fail(worker, conn, FAILURE_MALFORMED, 0);
        return false;
    }
    if (result == HTTP_DONE) {
        reply_done(worker, conn, closing, peer_closed, now);
        return false;
    }
    return true;
}

/* The peer's EOF: the end of a reply, of the connection, or a reply cut short. */
static void peer_eof(struct worker *worker, struct conn *conn)
{
    uint64_t now = tw_clock_ns();
    bool until_eof;

    switch (conn->phase) {
    case PHASE_AWAIT_EOF:
    case PHASE_THINKING:
        end(worker, conn, ENDED_BY_PEER, now);
        break;
    case PHASE_CLOSING:
        end(worker, conn, ENDED_BY_US, now);
        break;
    default:
        until_eof = target_of(worker, conn)->protocol == PROTOCOL_HTTP
                        ? conn->in_body && conn->body.framing == HTTP_UNTIL_EOF
                        : !worker->workload->expect;
        if (until_eof)
            reply_done(worker, conn, true, true, now);
        else
            fail(worker, conn, FAILURE_SHORT, 0);
        break;
    }
}

static void peer_error(struct worker *worker, struct conn *conn, int code)
{
    /* A reset behind the complete reply is a way of closing. */
    if (conn->phase == PHASE_AWAIT_EOF || conn->phase == PHASE_CLOSING)
        end(worker, conn, ENDED_BY_RESET, tw_clock_ns());
    else
        fail(worker, conn, failure_of_errno(code), code);
}

static void read_all(struct worker *worker, struct conn *conn, uint32_t events)
{
    bool hung_up = events & (EPOLLRDHUP | EPOLLHUP);

    for (;;) {
        ssize_t got = recv(conn->fd, worker->buffer, sizeof(worker->buffer), 0);
        bool drained = got < (ssize_t)sizeof(worker->buffer);

        if (got < 0) {
            if (errno != EAGAIN && errno != EWOULDBLOCK)
                peer_error(worker, conn, errno);
            return;
        }
        if (got == 0) {
            peer_eof(worker, conn);
            return;
        }
        /* A short read has emptied the queue; behind it stands only what the event announced: an
         * EOF that need not be read, or a reset that must be, since the edge will not come again.
         */
        if (!consume(worker, conn, (struct tw_view){worker->buffer, (size_t)got},
                     drained && hung_up && !(events & EPOLLERR)) &&
            !((events & EPOLLERR) && conn->phase >= PHASE_AWAIT_EOF))
            return;
        if (drained && !hung_up)
            return;
    }
}

/* --- events -------------------------------------------------------------------------------- */

/* The handshake is done or has failed. */
static void connected(struct worker *worker, struct conn *conn, uint32_t events)
{
    uint64_t now = tw_clock_ns();
    int code = 0;
    socklen_t len = sizeof(code);

    if (events & (EPOLLERR | EPOLLHUP)) {
        getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &code, &len);
        if (code)
            fail(worker, conn, failure_of_errno(code), code);
        return;
    }
    if (!(events & EPOLLOUT))
        return;
    worker_sample(worker, conn, STAGE_CONNECT, now - conn->phase_ns);
    worker_enter(worker, conn, PHASE_SENDING, now);
    begin_request(worker, conn, now);
}

void exchange_event(struct worker *worker, struct conn *conn, uint32_t events)
{
    switch (conn->phase) {
    case PHASE_IDLE:
        return;
    case PHASE_CONNECTING:
        connected(worker, conn, events);
        break;
    case PHASE_SENDING:
        if (events & EPOLLOUT)
            send_request(worker, conn, tw_clock_ns());
        break;
    case PHASE_CLOSING:
        /* Closed both ways. Data that may still be queued is of no interest. */
        if ((events & EPOLLHUP) && !(events & EPOLLERR)) {
            end(worker, conn, ENDED_BY_US, tw_clock_ns());
            return;
        }
        break;
    case PHASE_AWAIT_EOF:
        /* The server's EOF, with nothing to read but perhaps surplus. */
        if ((events & EPOLLRDHUP) && !(events & EPOLLERR)) {
            end(worker, conn, ENDED_BY_PEER, tw_clock_ns());
            return;
        }
        break;
    default:
        break;
    }
    /* Also what came together with the end of the handshake: its edge will not come again. */
    if (conn->phase >= PHASE_REPLY && (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)))
        read_all(worker, conn, events);
}
