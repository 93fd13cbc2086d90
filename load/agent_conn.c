#include <errno.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "agent_worker.h"
#include "tidewait/clock.h"
#include "tidewait/socket.h"

ssize_t agent_conn_recv(struct agent_worker *worker, struct agent_conn *conn, void *buf, size_t len)
{
    ssize_t got;

    do {
        got = recv(conn->fd, buf, len, MSG_DONTWAIT);
    } while (got < 0 && errno == EINTR);
    if (got < 0)
        return -errno;
    agent_bump(worker, COUNT_BYTES_IN, (uint64_t)got);
    return got;
}

ssize_t agent_conn_send(struct agent_worker *worker, struct agent_conn *conn, struct iovec *parts,
                        int count, bool more)
{
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = (size_t)count};
    ssize_t sent;

    do {
        sent = sendmsg(conn->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL | (more ? MSG_MORE : 0));
    } while (sent < 0 && errno == EINTR);
    if (sent < 0)
        return -errno;
    agent_bump(worker, COUNT_BYTES_OUT, (uint64_t)sent);
    return sent;
}

struct agent_conn *agent_conn_new(struct agent_worker *worker, int fd)
{
    struct agent_conn *conn = worker->spare;

    if (conn)
        worker->spare = conn->next;
    else if (!(conn = malloc(sizeof(*conn))))
        return NULL;
    *conn = (struct agent_conn){.source = SOURCE_CONN, .fd = fd};
    return conn;
}

static void free_conn(struct agent_worker *worker, struct agent_conn *conn)
{
    conn->next = worker->spare;
    worker->spare = conn;
}

void agent_conn_unqueue(struct agent_worker *worker, struct agent_conn *conn)
{
    struct agent_queue *queue = &worker->queues[conn->queue];

    if (conn->queue == QUEUE_NONE)
        return;
    *(conn->prev ? &conn->prev->next : &queue->first) = conn->next;
    *(conn->next ? &conn->next->prev : &queue->last) = conn->prev;
    conn->queue = QUEUE_NONE;
}

static void enqueue(struct agent_worker *worker, struct agent_conn *conn,
                    enum agent_queue_name name)
{
    struct agent_queue *queue = &worker->queues[name];

    agent_conn_unqueue(worker, conn);
    conn->queue = (uint8_t)name;
    conn->due_ns = queue->limit_ns ? worker->now_ns + queue->limit_ns : TW_NEVER;
    conn->next = NULL;
    conn->prev = queue->last;
    *(queue->last ? &queue->last->next : &queue->first) = conn;
    queue->last = conn;
}

void agent_conn_end(struct agent_worker *worker, struct agent_conn *conn, enum agent_counter how)
{
    if (how == COUNT_RESET_BY_US)
        tw_close_reset(conn->fd);
    else
        close(conn->fd);
    agent_bump(worker, how, 1);
    agent_conn_unqueue(worker, conn);
    free(conn->stash);
    conn->stash = NULL;
    if (conn->phase == PHASE_THINKING)
        conn->phase = PHASE_GONE; /* freed when the heap lets go of it */
    else
        free_conn(worker, conn);
}

void agent_conn_reset(struct agent_worker *worker, struct agent_conn *conn)
{
    agent_conn_end(worker, conn, COUNT_RESET_BY_US);
}

/* Adds the connection to epoll or renews its entry. Both look at the socket afresh, so what
 * happened before is reported too: no edge is lost. */
static bool listen_for_events(struct agent_worker *worker, struct agent_conn *conn)
{
    struct epoll_event event = {
        .events = EPOLLIN | EPOLLRDHUP | EPOLLET | (conn->wants_out ? EPOLLOUT : 0u),
        .data.ptr = conn,
    };

    if (epoll_ctl(worker->epoll, conn->registered ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, conn->fd,
                  &event)) {
        agent_bump(worker, COUNT_OTHER_ERRORS, 1);
        agent_conn_reset(worker, conn);
        return false;
    }
    conn->registered = true;
    return true;
}

bool agent_conn_wait(struct agent_worker *worker, struct agent_conn *conn,
                     enum agent_queue_name queue, bool out)
{
    bool known = conn->registered && (conn->wants_out || !out);

    conn->wants_out |= out;
    if (!known && !listen_for_events(worker, conn))
        return false;
    enqueue(worker, conn, queue);
    return true;
}

bool agent_conn_yield(struct agent_worker *worker, struct agent_conn *conn,
                      enum agent_queue_name queue)
{
    conn->wants_out |=
        conn->phase == PHASE_SENDING || (conn->phase == PHASE_ECHOING && conn->stash_len > 0);
    if (!listen_for_events(worker, conn))
        return false;
    enqueue(worker, conn, queue);
    return true;
}

bool agent_conn_stash(struct agent_worker *worker, struct agent_conn *conn, const char *data,
                      size_t len)
{
    if (len > conn->stash_room) {
        size_t room = conn->stash_room ? conn->stash_room : 256;
        char *stash;

        while (room < len)
            room *= 2;
        if (!(stash = realloc(conn->stash, room))) {
            agent_bump(worker, COUNT_OTHER_ERRORS, 1);
            agent_conn_reset(worker, conn);
            return false;
        }
        conn->stash = stash;
        conn->stash_room = (uint32_t)room;
    }
    if (len)
        memcpy(conn->stash, data, len);
    conn->stash_len = (uint32_t)len;
    if (len == 0 && conn->stash) {
        free(conn->stash);
        conn->stash = NULL;
        conn->stash_room = 0;
    }
    return true;
}

/* Sends our EOF, behind the reply and on its last segment, and closes. With data unread the close
 * would be a reset that destroys the reply: then, or with `drain`, only our side is closed and the
 * rest is read. One recv() tells what is there and, unlike SIOCINQ, whether the peer's EOF came
 * before ours. */
static bool close_our_side(struct agent_worker *worker, struct agent_conn *conn, bool drain)
{
    ssize_t got = agent_conn_recv(worker, conn, worker->buffer, sizeof(worker->buffer));

    if (got == 0) {
        agent_conn_end(worker, conn, COUNT_CLOSED_CLIENT);
        return false;
    }
    if (got == -EAGAIN && !drain && conn->stash_len == 0) {
        agent_conn_end(worker, conn, COUNT_CLOSED_SERVER);
        return false;
    }
    conn->phase = PHASE_DRAINING;
    if ((got < 0 && got != -EAGAIN) || shutdown(conn->fd, SHUT_WR)) {
        agent_conn_end(worker, conn, COUNT_RESET_BY_PEER);
        return false;
    }
    enqueue(worker, conn, QUEUE_LINGER);
    return agent_conn_drain(worker, conn);
}

bool agent_conn_try_reset(struct agent_worker *worker, struct agent_conn *conn)
{
    int unsent = 0;

    if (conn->phase != PHASE_RESETTING) {
        conn->phase = PHASE_RESETTING;
        conn->reset_by_ns = worker->now_ns + worker->settings->linger_ns;
    }
    /* What has left the buffer is with the peer unless the network lost it; a reset throws away the
     * rest. */
    if (ioctl(conn->fd, SIOCOUTQNSD, &unsent) || unsent == 0 ||
        worker->now_ns >= conn->reset_by_ns) {
        if (unsent)
            agent_bump(worker, COUNT_LINGER, 1);
        agent_conn_reset(worker, conn);
        return false;
    }
    enqueue(worker, conn, QUEUE_RESET);
    return true;
}

bool agent_conn_finish(struct agent_worker *worker, struct agent_conn *conn)
{
    switch (worker->settings->closing) {
    case AGENT_CLOSE_RESET:
        return agent_conn_try_reset(worker, conn);
    case AGENT_CLOSE_CLIENT:
        conn->phase = PHASE_AWAIT_EOF;
        conn->lingers = true;
        enqueue(worker, conn, QUEUE_LINGER);
        return agent_conn_drain(worker, conn);
    case AGENT_CLOSE_HALF:
        return close_our_side(worker, conn, true);
    default:
        /* After a malformed request more of it may be under way. */
        return close_our_side(worker, conn, conn->bad);
    }
}

bool agent_conn_drain(struct agent_worker *worker, struct agent_conn *conn)
{
    bool our_eof = conn->phase == PHASE_DRAINING;
    /* The limit of lingering holds from its beginning; that of idling begins anew with each byte.
     */
    enum agent_queue_name queue = our_eof || conn->lingers ? QUEUE_NONE : QUEUE_IDLE;
    ssize_t got = 1;

    for (int turn = 0; turn < AGENT_TURNS; turn++) {
        got = agent_conn_recv(worker, conn, worker->buffer, sizeof(worker->buffer));
        if (got <= 0)
            break;
    }
    if (got == 0 && !our_eof && !conn->lingers && worker->settings->closing == AGENT_CLOSE_RESET) {
        agent_conn_reset(worker, conn);
        return false;
    }
    if (got == 0 || (got < 0 && got != -EAGAIN)) {
        agent_conn_end(worker, conn,
                       got < 0   ? COUNT_RESET_BY_PEER
                       : our_eof ? COUNT_CLOSED_SERVER
                                 : COUNT_CLOSED_CLIENT);
        return false;
    }
    if (queue != QUEUE_NONE)
        enqueue(worker, conn, queue);
    return got == -EAGAIN && conn->registered ? true : listen_for_events(worker, conn);
}

void agent_conn_expire(struct agent_worker *worker, struct agent_conn *conn)
{
    switch (conn->queue) {
    case QUEUE_RESET:
        agent_conn_try_reset(worker, conn);
        break;
    case QUEUE_LINGER:
        agent_bump(worker, COUNT_LINGER, 1);
        agent_conn_end(worker, conn, COUNT_CLOSED_SERVER);
        break;
    default:
        agent_bump(worker, COUNT_IDLE, 1);
        agent_conn_end(worker, conn, COUNT_CLOSED_SERVER);
        break;
    }
}
