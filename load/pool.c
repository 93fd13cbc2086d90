#include "pool.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "tidewait/clock.h"
#include "tidewait/socket.h"

#define CHUNK 256

/* How many refused ports one launch may meet before it makes way for other work. With half of the
 * ports held by others, 16 refusals in a row come once in 65,000 launches. */
#define OPEN_TRIES 16

/* A last ACK that has not come after this long is lost; the kernel may finish that on its own. */
#define LAST_ACK_MAX_NS TW_NS_PER_S

/* The most descriptors a run keeps: an idle socket takes about 2 KiB of kernel memory. */
#define KEPT_MAX 65536

/* How many ended connections one launch looks at: more than one, so that the list cannot grow. */
#define SETTLE_MAX 4

enum failure failure_of_errno(int code)
{
    switch (code) {
    case EADDRINUSE:
        return FAILURE_IN_USE_BIND;
    case EADDRNOTAVAIL: /* of bind() it is told apart where that is called */
        return FAILURE_NOT_AVAILABLE_CONNECT;
    case EMFILE:
    case ENFILE:
        return FAILURE_NO_DESCRIPTORS;
    case ECONNREFUSED:
        return FAILURE_REFUSED;
    case ECONNRESET:
    case EPIPE:
    case ECONNABORTED:
        return FAILURE_RESET;
    case ETIMEDOUT:
        return FAILURE_TIMEOUT;
    case ENETUNREACH:
    case EHOSTUNREACH:
    case ENETDOWN:
    case EHOSTDOWN:
        return FAILURE_UNREACHABLE;
    default:
        return FAILURE_OTHER;
    }
}

/* One thread's part of the descriptors. With many lanes each one kept is one that need not be made
 * when the turn of its lane comes again. */
static size_t open_max(const struct workload *workload)
{
    int64_t files = workload->limits.files_hard - WORKLOAD_FILES_SPARE;

    return (size_t)(files > 0 && files < KEPT_MAX ? files : KEPT_MAX) / workload->threads;
}

int pool_init(struct pool *pool, const struct workload *workload, uint32_t slice, int epoll,
              struct tally *tally, struct tw_error *error)
{
    struct tw_ledger_opts opts = {
        .size = sizeof(opts),
        .ports = workload->ports,
        .port_count = workload->port_count,
        .lanes = (uint32_t)workload->lane_count,
        .time_wait_ns = TW_TIME_WAIT_NS,
        .rest_ns = TW_LEDGER_REST_NS,
        .takeover = workload->takeover,
        .spread = workload->spread,
        .slice = slice,
        .slices = workload->threads,
        .seed = workload->seed,
    };

    *pool = (struct pool){.workload = workload, .epoll = epoll, .tally = tally};
    pool->open_max = open_max(workload);
    if (workload->kernel_ports)
        return 0;
    pool->ledger = tw_ledger_new(&opts, error);
    return pool->ledger ? 0 : -error->code;
}

void pool_fini(struct pool *pool)
{
    for (size_t i = 0; i < pool->chunk_count; i++) {
        for (size_t j = 0; j < CHUNK; j++) {
            if (pool->chunks[i][j].fd >= 0)
                close(pool->chunks[i][j].fd);
            free(pool->chunks[i][j].head);
        }
        free(pool->chunks[i]);
    }
    free(pool->chunks);
    free(pool->kept);
    tw_ledger_free(pool->ledger);
}

static int add_chunk(struct pool *pool)
{
    struct conn **chunks = reallocarray(pool->chunks, pool->chunk_count + 1, sizeof(*chunks));
    struct conn *chunk;

    if (!chunks)
        return -ENOMEM;
    pool->chunks = chunks;
    chunk = calloc(CHUNK, sizeof(*chunk));
    if (!chunk)
        return -ENOMEM;
    chunks[pool->chunk_count++] = chunk;
    for (size_t i = 0; i < CHUNK; i++) {
        chunk[i].fd = -1;
        conn_list_push(&pool->empty, &chunk[i]);
    }
    return 0;
}

/* Makes room for the tuple's entry in `kept`. */
static int reserve_kept(struct pool *pool, uint32_t id)
{
    size_t room = pool->kept_room ? pool->kept_room * 2 : 1024;
    struct conn **kept;

    if (id < pool->kept_room)
        return 0;
    while (room <= id)
        room *= 2;
    kept = reallocarray(pool->kept, room, sizeof(*kept));
    if (!kept)
        return -ENOMEM;
    for (size_t i = pool->kept_room; i < room; i++)
        kept[i] = NULL;
    pool->kept = kept;
    pool->kept_room = room;
    return 0;
}

/* Closes the slot's descriptor; the slot is in no list. */
static void retire(struct pool *pool, struct conn *conn)
{
    close(conn->fd);
    conn->fd = -1;
    pool->open--;
    if (pool->ledger)
        pool->kept[conn->tuple.id] = NULL;
    conn_list_push(&pool->retired, conn);
}

static bool retire_longest_idle(struct pool *pool)
{
    struct conn *conn = pool->idle.head;

    if (!conn)
        return false;
    conn_list_remove(&pool->idle, conn);
    retire(pool, conn);
    return true;
}

void pool_turn(struct pool *pool)
{
    struct conn *conn;

    while ((conn = pool->retired.head)) {
        conn_list_remove(&pool->retired, conn);
        conn_list_push(&pool->empty, conn);
    }
}

static void become_idle(struct pool *pool, struct conn *conn, enum tw_outcome outcome,
                        uint64_t now_ns)
{
    tw_ledger_give(pool->ledger, &conn->tuple, outcome, now_ns);
    conn_list_push(&pool->idle, conn);
    if (pool->open > pool->open_max)
        retire_longest_idle(pool);
}

/* Where a descriptor of the tuple is bound: nowhere when all is left to the kernel. */
static struct tw_endpoint local_of(const struct pool *pool, const struct tw_tuple *tuple)
{
    struct tw_endpoint local = pool->workload->lanes[tuple->lane].source;

    if (!pool->ledger && pool->workload->routed)
        return (struct tw_endpoint){.sa = {.sa_family = local.sa.sa_family}};
    tw_endpoint_set_port(&local, tuple->port);
    return local;
}

/* A new descriptor, bound to the tuple's port, in an empty slot. When descriptors have run out,
 * idle ones make way. Returns 0 with the slot in *out, in no list, or -errno. */
static int open_slot(struct pool *pool, const struct tw_tuple *tuple, struct conn **out)
{
    const struct lane *lane = &pool->workload->lanes[tuple->lane];
    struct tw_source_opts opts = {
        .free_bind = pool->workload->free_bind,
        /* Only where we speak first: otherwise the server would never see the connection. */
        .lean = pool->workload->targets[lane->target].request_len > 0,
        .kernel_port = !pool->ledger,
    };
    struct tw_endpoint local = local_of(pool, tuple);
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET};
    struct conn *conn;
    int fd;

    if ((pool->ledger && reserve_kept(pool, tuple->id)) || (!pool->empty.head && add_chunk(pool)))
        return -ENOMEM;
    if (pool->open >= pool->open_max)
        retire_longest_idle(pool);
    while ((fd = tw_source_open(&local, &opts)) < 0)
        if ((fd != -EMFILE && fd != -ENFILE) || !retire_longest_idle(pool))
            return fd;
    conn = pool->empty.head;
    event.data.ptr = conn;
    if (epoll_ctl(pool->epoll, EPOLL_CTL_ADD, fd, &event)) {
        int code = errno;

        close(fd);
        return -code;
    }
    conn_list_remove(&pool->empty, conn);
    conn->fd = fd;
    conn->fresh = true;
    conn->tuple = *tuple;
    conn->phase = PHASE_IDLE;
    if (pool->ledger)
        pool->kept[tuple->id] = conn;
    pool->open++;
    pool->tally->descriptors_opened++;
    *out = conn;
    return 0;
}

/* The slot for a tuple just taken: the one that is bound to its port, or a new one. */
static int slot_of(struct pool *pool, const struct tw_tuple *tuple, struct conn **out)
{
    struct conn *conn = tuple->id < pool->kept_room ? pool->kept[tuple->id] : NULL;

    if (!conn)
        return open_slot(pool, tuple, out);
    conn_list_remove(&pool->idle, conn);
    if (!conn->fresh && tw_source_renew(conn->fd)) {
        retire(pool, conn);
        return open_slot(pool, tuple, out);
    }
    *out = conn;
    return 0;
}

static int take(struct pool *pool, uint32_t lane, uint64_t now_ns, struct tw_tuple *tuple,
                uint64_t *until_ns)
{
    int rc;

    pool_settle(pool, now_ns);
    rc = tw_ledger_take(pool->ledger, lane, now_ns, tuple, until_ns);
    /* A last ACK may free a port long before a TIME_WAIT ends; look again soon. */
    if (rc == -EAGAIN && pool->closing.count && *until_ns > now_ns + TW_NS_PER_MS)
        *until_ns = now_ns + TW_NS_PER_MS;
    return rc;
}

static void remember_refusal(struct pool *pool, const struct tw_tuple *tuple)
{
    pool->tally->refused_lane = tuple->lane;
    pool->tally->refused_port = tuple->port;
}

/* Starts the handshake. Returns 0, or -errno with the tuple given back. */
static int start_connect(struct pool *pool, struct conn *conn, uint64_t now_ns)
{
    const struct target *target = &pool->workload->targets[conn->target];
    int code;

    conn->fresh = false;
    if (connect(conn->fd, &target->endpoint.sa, tw_endpoint_len(&target->endpoint)) == 0 ||
        errno == EINPROGRESS) {
        conn->phase = PHASE_CONNECTING;
        return 0;
    }
    code = errno;
    if (code == EADDRNOTAVAIL && pool->ledger) {
        pool->tally->refused_connect++;
        remember_refusal(pool, &conn->tuple);
        conn->fresh = true;
        become_idle(pool, conn, TW_OUTCOME_TUPLE_TAKEN, now_ns);
    } else {
        pool_reset(pool, conn, now_ns);
    }
    /* From pool_open() EAGAIN means that no port is free. connect() says it only where a filter
     * does. */
    return code == EAGAIN ? -EBUSY : -code;
}

/* A new descriptor whose port connect() chooses. Where it finds none the attempt has failed:
 * another try would be the same search. */
static int open_by_kernel(struct pool *pool, uint32_t lane, uint64_t now_ns, struct conn **out,
                          enum failure *failure)
{
    struct tw_tuple tuple = {.lane = lane};
    int rc = open_slot(pool, &tuple, out);

    if (rc) {
        *failure = rc == -EADDRNOTAVAIL ? FAILURE_NOT_AVAILABLE_BIND : failure_of_errno(-rc);
        return rc;
    }
    (*out)->target = pool->workload->lanes[lane].target;
    rc = start_connect(pool, *out, now_ns);
    *failure = rc ? failure_of_errno(-rc) : FAILURE_NONE;
    if (rc == -EADDRNOTAVAIL)
        pool->tally->refused_lane = lane;
    return rc;
}

int pool_open(struct pool *pool, uint32_t lane, uint64_t now_ns, struct conn **out,
              uint64_t *until_ns, enum failure *failure)
{
    struct tw_tuple tuple;
    int rc;

    if (!pool->ledger)
        return open_by_kernel(pool, lane, now_ns, out, failure);
    for (int tries = 0; tries < OPEN_TRIES; tries++) {
        rc = take(pool, lane, now_ns, &tuple, until_ns);
        if (rc == -EAGAIN)
            return rc;
        if (rc) {
            *failure = FAILURE_OTHER;
            return rc;
        }
        rc = slot_of(pool, &tuple, out);
        if (rc == -EADDRINUSE) {
            pool->tally->refused_bind++;
            remember_refusal(pool, &tuple);
            tw_ledger_give(pool->ledger, &tuple, TW_OUTCOME_PORT_TAKEN, now_ns);
            continue;
        }
        if (rc) {
            tw_ledger_give(pool->ledger, &tuple, TW_OUTCOME_UNUSED, now_ns);
            *failure = rc == -EADDRNOTAVAIL ? FAILURE_NOT_AVAILABLE_BIND : failure_of_errno(-rc);
            return rc;
        }
        (*out)->target = pool->workload->lanes[lane].target;
        rc = start_connect(pool, *out, now_ns);
        if (rc != -EADDRNOTAVAIL) {
            *failure = rc ? failure_of_errno(-rc) : FAILURE_NONE;
            return rc;
        }
    }
    /* Every port tried is somebody else's. That is no failure: others come first, then the next
     * ports. */
    *until_ns = now_ns + TW_NS_PER_MS;
    return -EAGAIN;
}

void pool_finish(struct pool *pool, struct conn *conn, enum tw_outcome outcome, uint64_t now_ns)
{
    conn->phase = PHASE_IDLE;
    if (!pool->ledger) {
        retire(pool, conn);
        return;
    }
    conn->outcome = outcome;
    conn->deadline_ns = now_ns + LAST_ACK_MAX_NS;
    conn_list_push(&pool->closing, conn);
}

void pool_reset(struct pool *pool, struct conn *conn, uint64_t now_ns)
{
    conn->phase = PHASE_IDLE;
    if (!pool->ledger) {
        tw_source_renew(conn->fd); /* sends the reset; close() would not */
        retire(pool, conn);
        return;
    }
    if (tw_source_renew(conn->fd)) {
        tw_ledger_give(pool->ledger, &conn->tuple, TW_OUTCOME_RESET, now_ns);
        retire(pool, conn);
        return;
    }
    conn->fresh = true;
    become_idle(pool, conn, TW_OUTCOME_RESET, now_ns);
}

size_t pool_settle(struct pool *pool, uint64_t now_ns)
{
    for (int i = 0; i < SETTLE_MAX; i++) {
        struct conn *conn = pool->closing.head;

        if (!conn)
            break;
        if (!tw_source_is_closed(conn->fd)) {
            if (now_ns < conn->deadline_ns)
                break;
            conn_list_remove(&pool->closing, conn);
            tw_ledger_give(pool->ledger, &conn->tuple, conn->outcome, now_ns);
            retire(pool, conn);
            continue;
        }
        conn_list_remove(&pool->closing, conn);
        become_idle(pool, conn, conn->outcome, now_ns);
    }
    return pool->closing.count;
}
