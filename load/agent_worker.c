#include "agent_worker.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tidewait/clock.h"
#include "tidewait/socket.h"

#define EVENTS  256
#define ACCEPTS 64
/* How often a send buffer is looked at before a reset: the kernel has no event for "empty". */
#define RESET_LOOK_NS TW_NS_PER_MS

int agent_worker_init(struct agent_worker *worker, const struct agent_settings *settings,
                      const char *pattern, uint32_t index, size_t listener_room,
                      struct tw_error *error)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = worker};

    *worker = (struct agent_worker){
        .wake_source = SOURCE_WAKE,
        .settings = settings,
        .pattern = pattern,
        .epoll = epoll_create1(EPOLL_CLOEXEC),
        .wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
        .listeners = calloc(listener_room, sizeof(*worker->listeners)),
        .listener_count = listener_room,
    };
    if (!worker->listeners)
        return tw_error_set(error, ENOMEM, "no memory for %zu agents", listener_room);
    for (size_t i = 0; i < listener_room; i++)
        worker->listeners[i] = (struct agent_listener){.source = SOURCE_LISTENER, .fd = -1};
    worker->queues[QUEUE_IDLE].limit_ns = settings->idle_ns;
    /* A limit of 0 means "never" to a queue. */
    worker->queues[QUEUE_LINGER].limit_ns = settings->linger_ns ? settings->linger_ns : 1;
    worker->queues[QUEUE_RESET].limit_ns = RESET_LOOK_NS;
    random_seed(&worker->random, settings->seed + index);
    if (worker->epoll < 0 || worker->wake < 0 ||
        epoll_ctl(worker->epoll, EPOLL_CTL_ADD, worker->wake, &event))
        return tw_error_set(error, errno, "epoll: %s", strerror(errno));
    return 0;
}

static void close_listeners(struct agent_worker *worker)
{
    for (size_t i = 0; i < worker->listener_count; i++) {
        if (worker->listeners[i].fd >= 0)
            close(worker->listeners[i].fd);
        worker->listeners[i].fd = -1;
        worker->listeners[i].resting = false;
    }
    worker->resting = 0;
}

/* Frees what ended while it thought. */
static void free_gone(struct agent_worker *worker)
{
    while (worker->thoughts.count) {
        struct agent_conn *conn = heap_pop(&worker->thoughts).what;

        if (conn->phase == PHASE_GONE)
            free(conn);
    }
}

void agent_worker_fini(struct agent_worker *worker)
{
    free_gone(worker);
    heap_fini(&worker->thoughts);
    while (worker->spare) {
        struct agent_conn *next = worker->spare->next;

        free(worker->spare);
        worker->spare = next;
    }
    if (worker->listeners)
        close_listeners(worker);
    free(worker->listeners);
    if (worker->epoll >= 0)
        close(worker->epoll);
    if (worker->wake >= 0)
        close(worker->wake);
}

/* --- accepting --- */

static int watch(struct agent_worker *worker, struct agent_listener *listener, int operation,
                 uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = listener};

    return epoll_ctl(worker->epoll, operation, listener->fd, &event) ? -errno : 0;
}

/* A listener that cannot be served would wake the loop without end: it is left alone for a while.
 */
static void rest(struct agent_worker *worker, struct agent_listener *listener)
{
    if (watch(worker, listener, EPOLL_CTL_MOD, 0))
        return;
    listener->resting = true;
    listener->until_ns = worker->now_ns + AGENT_ACCEPT_REST_NS;
    worker->resting++;
}

static void end_rests(struct agent_worker *worker)
{
    for (size_t i = 0; worker->resting && i < worker->listener_count; i++) {
        struct agent_listener *listener = &worker->listeners[i];

        if (!listener->resting || listener->until_ns > worker->now_ns)
            continue;
        listener->resting = false;
        worker->resting--;
        if (watch(worker, listener, EPOLL_CTL_MOD, EPOLLIN))
            agent_bump(worker, COUNT_OTHER_ERRORS, 1);
    }
}

/* True: try the next one. */
static bool accept_failed(struct agent_worker *worker, struct agent_listener *listener, int code)
{
    switch (code) {
    case EAGAIN:
        listener->burst = 0;
        return false;
    case EINTR:
        return true;
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
        agent_bump(worker, COUNT_NO_FILES, 1);
        rest(worker, listener);
        return false;
    case ECONNABORTED: /* and the errors of the network that Linux passes on, see accept(2) */
    case EPROTO:
    case ENETDOWN:
    case ENETUNREACH:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case ENONET:
    case EOPNOTSUPP:
    case ENOPROTOOPT:
    case EPERM:
        agent_bump(worker, COUNT_ACCEPT_ERRORS, 1);
        return true;
    default:
        agent_bump(worker, COUNT_ACCEPT_ERRORS, 1);
        rest(worker, listener);
        return false;
    }
}

/* One at a time while they come singly, because the accept() that finds nothing costs as much as
 * any; more when the listener has events turn after turn. */
static int accept_limit(const struct agent_worker *worker, struct agent_listener *listener)
{
    if (listener->turn + 1 != worker->turns || listener->burst == 0)
        listener->burst = 1;
    else if (listener->burst < ACCEPTS)
        listener->burst *= 2;
    listener->turn = worker->turns;
    return listener->burst;
}

/* First accepts, then reads: meanwhile the requests of the first ones arrive. */
static void accept_some(struct agent_worker *worker, struct agent_listener *listener, int limit)
{
    int fds[ACCEPTS], count = 0;

    for (int tries = 0; tries < limit; tries++) {
        int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd >= 0)
            fds[count++] = fd;
        else if (!accept_failed(worker, listener, errno))
            break;
    }
    agent_bump(worker, COUNT_ACCEPTED, (uint64_t)count);
    for (int i = 0; i < count; i++) {
        struct agent_conn *conn = agent_conn_new(worker, fds[i]);

        if (conn) {
            agent_dialog_begin(worker, conn);
        } else {
            tw_close_reset(fds[i]);
            agent_bump(worker, COUNT_OTHER_ERRORS, 1);
            agent_bump(worker, COUNT_RESET_BY_US, 1);
        }
    }
}

/* --- the loop --- */

static void handle(struct agent_worker *worker, const struct epoll_event *event)
{
    struct agent_conn *conn = event->data.ptr;
    uint64_t ignored;

    switch (*(uint8_t *)event->data.ptr) {
    case SOURCE_LISTENER:
        accept_some(worker, event->data.ptr, accept_limit(worker, event->data.ptr));
        return;
    case SOURCE_WAKE:
        (void)!read(worker->wake, &ignored, sizeof(ignored));
        return;
    default:
        break;
    }
    if (event->events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        conn->peer_done = true;
    if (conn->phase == PHASE_THINKING && event->events & (EPOLLHUP | EPOLLERR))
        agent_conn_end(worker, conn, COUNT_RESET_BY_PEER);
    else
        agent_dialog_go_on(worker, conn);
}

static void end_thoughts(struct agent_worker *worker)
{
    while (heap_next_ns(&worker->thoughts) <= worker->now_ns) {
        struct agent_conn *conn = heap_pop(&worker->thoughts).what;

        if (conn->phase == PHASE_GONE) {
            conn->next = worker->spare;
            worker->spare = conn;
        } else {
            agent_dialog_reply(worker, conn);
        }
    }
}

static void expire(struct agent_worker *worker)
{
    for (int i = QUEUE_IDLE; i < QUEUES; i++) {
        struct agent_queue *queue = &worker->queues[i];

        while (queue->first && queue->first->due_ns <= worker->now_ns)
            agent_conn_expire(worker, queue->first);
    }
}

static uint64_t next_due(const struct agent_worker *worker)
{
    uint64_t due = heap_next_ns(&worker->thoughts);

    for (int i = QUEUE_IDLE; i < QUEUES; i++)
        if (worker->queues[i].first && worker->queues[i].first->due_ns < due)
            due = worker->queues[i].first->due_ns;
    if (worker->resting && worker->now_ns + AGENT_ACCEPT_REST_NS < due)
        due = worker->now_ns + AGENT_ACCEPT_REST_NS;
    if (worker->stopping && atomic_load(worker->stop_by_ns) < due)
        due = atomic_load(worker->stop_by_ns);
    return due;
}

static int wait_for_events(struct agent_worker *worker, struct epoll_event *events)
{
    uint64_t due = next_due(worker), now = due == TW_NEVER ? 0 : tw_clock_ns();
    uint64_t left = due > now ? due - now : 0;
    struct timespec limit = {.tv_sec = (time_t)(left / TW_NS_PER_S),
                             .tv_nsec = (long)(left % TW_NS_PER_S)};
    int count = epoll_pwait2(worker->epoll, events, EVENTS, due == TW_NEVER ? NULL : &limit, NULL);

    if (count < 0 && errno == ENOSYS) /* before Linux 5.11 */
        count = epoll_wait(worker->epoll, events, EVENTS,
                           due == TW_NEVER             ? -1
                           : left > 1000 * TW_NS_PER_S ? 1000000
                                                       : (int)((left + 999999) / TW_NS_PER_MS));
    if (count < 0 && errno != EINTR)
        worker->error = -errno;
    return count;
}

/* Ends the connections that wait between two requests: nothing of theirs is under way. */
static void end_idle(struct agent_worker *worker)
{
    struct agent_conn *next;

    for (struct agent_conn *conn = worker->queues[QUEUE_IDLE].first; conn; conn = next) {
        next = conn->next;
        if (conn->phase == PHASE_READING && !conn->in_body && conn->stash_len == 0 &&
            !tw_has_unread(conn->fd))
            agent_conn_end(worker, conn, COUNT_CLOSED_SERVER);
    }
}

/* Those that the kernel has already accepted for us still get their reply. */
static void stop_accepting(struct agent_worker *worker)
{
    worker->stopping = true;
    for (size_t i = 0; i < worker->listener_count; i++)
        if (worker->listeners[i].fd >= 0 && !worker->listeners[i].resting)
            accept_some(worker, &worker->listeners[i], ACCEPTS);
    close_listeners(worker);
}

static bool has_connections(const struct agent_worker *worker)
{
    for (int i = QUEUE_IDLE; i < QUEUES; i++)
        if (worker->queues[i].first)
            return true;
    return false;
}

static void end_all(struct agent_worker *worker)
{
    for (int i = QUEUE_IDLE; i < QUEUES; i++)
        while (worker->queues[i].first)
            agent_conn_end(worker, worker->queues[i].first, COUNT_CLOSED_SERVER);
}

static void look_at_the_clock(struct agent_worker *worker)
{
    time_t now_s = time(NULL);

    worker->turns++;
    worker->now_ns = tw_clock_ns();
    if (worker->date_s != now_s) {
        struct tm tm;

        gmtime_r(&now_s, &tm);
        strftime(worker->date, sizeof(worker->date), "%a, %d %b %Y %H:%M:%S GMT", &tm);
        worker->date_s = now_s;
    }
}

static int watch_listeners(struct agent_worker *worker)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < worker->listener_count; i++)
        if (worker->listeners[i].fd >= 0)
            rc = watch(worker, &worker->listeners[i], EPOLL_CTL_ADD, EPOLLIN);
    return rc;
}

void *agent_worker_run(void *argument)
{
    struct agent_worker *worker = argument;
    struct epoll_event events[EVENTS];

    worker->error = watch_listeners(worker);
    look_at_the_clock(worker);
    while (!worker->error) {
        int count = wait_for_events(worker, events);
        uint64_t stop_by_ns = atomic_load_explicit(worker->stop_by_ns, memory_order_relaxed);

        look_at_the_clock(worker);
        for (int i = 0; i < count; i++)
            handle(worker, &events[i]);
        end_thoughts(worker);
        expire(worker);
        if (worker->resting)
            end_rests(worker);
        if (stop_by_ns == 0)
            continue;
        if (!worker->stopping)
            stop_accepting(worker);
        end_idle(worker);
        if (!has_connections(worker) || worker->now_ns >= stop_by_ns)
            break;
    }
    close_listeners(worker);
    end_all(worker);
    atomic_store(&worker->ended, true);
    return NULL;
}
