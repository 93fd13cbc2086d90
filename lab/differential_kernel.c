/* The kernel's side of the differential test: makes the calls and looks at the states. */
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "differential_parts.h"
#include "tidewait/sockets.h"

struct rows {
    struct tw_socket_row rows[2 * ENTRIES];
    size_t count;
    bool too_many;
};

static void nap(void)
{
    struct timespec time = {.tv_nsec = 500000};

    nanosleep(&time, NULL);
}

static uint64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* --- calls --------------------------------------------------------------------------------------
 */

static int code_of(int rc)
{
    return rc < 0 ? errno : 0;
}

static int set_option(int fd, int level, int option, const void *value, socklen_t len)
{
    return code_of(setsockopt(fd, level, option, value, len));
}

static int do_socket(struct kernel *kernel, const struct op *op, struct tw_error *error)
{
    struct timeval limit = {.tv_sec = kernel->patience_ms / 1000,
                            .tv_usec = kernel->patience_ms % 1000 * 1000};
    int rc = net_enter(kernel->net, op->host, error), fd;

    if (rc)
        return rc;
    /* A socket's user is the file system's user at the time of socket(). */
    if (op->other_user)
        setfsuid(OTHER_USER);
    fd = socket(op->v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    rc = errno;
    if (op->other_user)
        setfsuid(kernel->net->users[0]);
    if (fd < 0)
        return tw_error_set(error, rc, "making a socket: %s", strerror(rc));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)); /* of connect() */
    kernel->fds[op->slot] = fd;
    return 0;
}

static int do_option(const struct kernel *kernel, const struct model *model, const struct op *op)
{
    int fd = kernel->fds[op->slot], value = op->value;
    uint32_t device;

    switch (op->option) {
    case OPTION_REUSEADDR:
        return set_option(fd, SOL_SOCKET, SO_REUSEADDR, &value, sizeof(value));
    case OPTION_REUSEPORT:
        return set_option(fd, SOL_SOCKET, SO_REUSEPORT, &value, sizeof(value));
    case OPTION_V6ONLY:
        return set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, &value, sizeof(value));
    default:
        device = kernel->net->devices[model->slots[op->slot].host][op->value];
        return set_option(fd, SOL_SOCKET, SO_BINDTOIFINDEX, &device, sizeof(device));
    }
}

static uint16_t port_of(int fd)
{
    struct tw_endpoint name = {0};
    socklen_t len = sizeof(name);

    return getsockname(fd, &name.sa, &len) ? 0 : tw_endpoint_port(&name);
}

/* Which of several listeners got the connection: the one whose queue is longer than the model's. */
static int8_t find_listener(const struct kernel *kernel, const struct model *model,
                            uint16_t listeners)
{
    uint64_t limit = now_ms() + kernel->patience_ms;

    if ((listeners & (listeners - 1)) == 0)
        return (int8_t)(listeners ? __builtin_ctz(listeners) : NONE);
    for (;; nap()) {
        for (int i = 0; i < SLOTS; i++) {
            struct tcp_info info = {0};
            socklen_t len = sizeof(info);

            if (listeners & 1u << i &&
                getsockopt(kernel->fds[i], IPPROTO_TCP, TCP_INFO, &info, &len) == 0 &&
                info.tcpi_unacked > model_queue(model, i))
                return (int8_t)i;
        }
        if (now_ms() > limit)
            return NONE;
    }
}

static void do_connect(struct kernel *kernel, const struct model *model, const struct op *op,
                       const struct expectation *expected, struct outcome *out)
{
    int fd = kernel->fds[op->slot];

    out->code = code_of(connect(fd, &expected->destination.sa, sizeof(expected->destination)));
    if (out->code || expected->code)
        return;
    out->port = port_of(fd);
    out->listener = find_listener(kernel, model, expected->listeners);
}

static void do_accept(struct kernel *kernel, const struct op *op,
                      const struct expectation *expected, struct outcome *out)
{
    struct pollfd wait = {.fd = kernel->fds[op->slot], .events = POLLIN};
    int fd;

    /* An empty queue has to say so at once; where there ought to be a connection it may be late. */
    if (expected->code == EAGAIN && poll(&wait, 1, 0) == 0) {
        out->code = EAGAIN;
        return;
    }
    if (expected->code == 0 && poll(&wait, 1, (int)kernel->patience_ms) == 0) {
        out->code = EAGAIN;
        return;
    }
    if (op->other_user)
        setfsuid(OTHER_USER);
    fd = accept4(kernel->fds[op->slot], NULL, NULL, SOCK_CLOEXEC);
    out->code = code_of(fd);
    if (op->other_user)
        setfsuid(kernel->net->users[0]);
    kernel->fds[op->new_slot] = fd;
}

static void close_slot(struct kernel *kernel, int slot, bool reset)
{
    struct linger linger = {.l_onoff = 1};

    if (kernel->fds[slot] < 0)
        return;
    if (reset)
        setsockopt(kernel->fds[slot], SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    close(kernel->fds[slot]);
    kernel->fds[slot] = -1;
}

int kernel_do(struct kernel *kernel, const struct model *model, const struct op *op,
              const struct expectation *expected, struct outcome *out, struct tw_error *error)
{
    int fd = kernel->fds[op->slot];

    *out = (struct outcome){.listener = NONE};
    switch (op->kind) {
    case OP_SOCKET:
        return do_socket(kernel, op, error);
    case OP_SETSOCKOPT:
        out->code = do_option(kernel, model, op);
        break;
    case OP_BIND:
        out->code = code_of(bind(fd, &expected->source.sa, sizeof(expected->source)));
        out->port = expected->picks_port ? port_of(fd) : 0;
        break;
    case OP_LISTEN:
        out->code = code_of(listen(fd, BACKLOG));
        out->port = expected->picks_port ? port_of(fd) : 0;
        break;
    case OP_CONNECT:
        do_connect(kernel, model, op, expected, out);
        break;
    case OP_ACCEPT:
        do_accept(kernel, op, expected, out);
        break;
    case OP_SHUTDOWN:
        out->code = code_of(shutdown(fd, op->writing ? SHUT_WR : SHUT_RD));
        break;
    default:
        close_slot(kernel, op->slot, op->reset);
        break;
    }
    return 0;
}

/* --- states -------------------------------------------------------------------------------------
 */

static int state_of(int fd)
{
    struct tcp_info info = {0};
    socklen_t len = 8; /* the state comes first, and the whole costs the kernel more */

    return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) ? 0 : info.tcpi_state;
}

int kernel_compare_touched(struct kernel *kernel, const struct model *model, char *buf, size_t size)
{
    for (int i = 0; i < SLOTS; i++) {
        int wanted, state;
        uint64_t limit;

        if (!(model->touched & 1u << i) || kernel->fds[i] < 0)
            continue;
        wanted = model_state(model, i);
        state = state_of(kernel->fds[i]);
        if (state == wanted)
            continue;
        for (limit = now_ms() + kernel->patience_ms; state != wanted && now_ms() < limit; nap())
            state = state_of(kernel->fds[i]);
        if (state == wanted)
            continue;
        snprintf(buf, size, "state of s%d: model %s, kernel %s", i,
                 tw_state_name(IPPROTO_TCP, (uint8_t)wanted),
                 tw_state_name(IPPROTO_TCP, (uint8_t)state));
        return 1;
    }
    return 0;
}

static int take_row(const struct tw_socket_row *row, void *context)
{
    struct rows *rows = context;

    if (rows->count < 2 * ENTRIES)
        rows->rows[rows->count++] = *row;
    else
        rows->too_many = true;
    return 0;
}

static int read_rows(struct kernel *kernel, int host, struct rows *rows, unsigned *blind,
                     struct tw_error *error)
{
    struct tw_sockets_query query = {.blind = blind};
    int rc = net_enter(kernel->net, host, error);

    rows->count = 0;
    rows->too_many = false;
    return rc ? rc : tw_sockets_each(&query, take_row, rows, error);
}

static bool same_row(const struct tw_socket_row *a, const struct tw_socket_row *b)
{
    bool idle = a->state == TCP_CLOSE || a->state == TCP_LISTEN;

    return a->state == b->state && reaches(&a->local, &b->local) && a->device == b->device &&
           (a->inode != 0) == (b->inode != 0) && (!a->inode || a->uid == b->uid) &&
           (!idle || a->local.sa.sa_family != AF_INET6 || a->v6only == b->v6only) &&
           (idle || reaches(&a->remote, &b->remote));
}

static void describe_row(const char *who, int host, const struct tw_socket_row *row, char *buf,
                         size_t size)
{
    char local[TW_ENDPOINT_TEXT_MAX], remote[TW_ENDPOINT_TEXT_MAX];

    snprintf(buf, size, "on %s only the %s has %s %s to %s, v6only %d, device %u, user %u%s",
             host ? "right" : "left", who, tw_state_name(row->protocol, row->state),
             tw_endpoint_format(&row->local, local), tw_endpoint_format(&row->remote, remote),
             row->v6only, row->device, row->uid, row->inode ? "" : ", without descriptor");
}

/* Takes the rows of both away in pairs; what is left is a difference. */
static int match_rows(const struct model *model, int host, struct rows *rows, bool bound, char *buf,
                      size_t size)
{
    for (int i = 0; i < ENTRIES; i++) {
        const struct entry *entry = &model->entries[i];
        size_t n = 0;

        if (!entry->used || entry->hidden || entry->host != host ||
            (entry->row.state == TCP_CLOSE && !bound))
            continue;
        while (n < rows->count && !same_row(&entry->row, &rows->rows[n]))
            n++;
        if (n == rows->count) {
            describe_row("model", host, &entry->row, buf, size);
            return 1;
        }
        rows->rows[n] = rows->rows[--rows->count];
    }
    if (rows->count) {
        describe_row("kernel", host, &rows->rows[0], buf, size);
        return 1;
    }
    return 0;
}

static int compare_host(struct kernel *kernel, const struct model *model, int host, char *buf,
                        size_t size, struct tw_error *error)
{
    uint64_t limit = now_ms() + kernel->patience_ms;
    struct rows rows;

    for (;; nap()) {
        unsigned blind = 0;
        int rc = read_rows(kernel, host, &rows, &blind, error);

        if (rc)
            return rc;
        kernel->result->comparisons++;
        kernel->result->rows += rows.count;
        rc = match_rows(model, host, &rows, !(blind & TW_BLIND_BOUND), buf, size);
        if (rc == 0 || now_ms() > limit)
            return rc;
    }
}

int kernel_compare_all(struct kernel *kernel, const struct model *model, char *buf, size_t size,
                       struct tw_error *error)
{
    int rc = 0;

    for (int host = 0; host < HOSTS && rc == 0; host++)
        rc = compare_host(kernel, model, host, buf, size, error);
    return rc;
}

/* --- between worlds -----------------------------------------------------------------------------
 */

/* What has no descriptor: TIME_WAIT, the rest of FIN_WAIT_2. */
static int destroy_all(struct kernel *kernel, int host, struct tw_error *error)
{
    struct rows rows;
    int rc = read_rows(kernel, host, &rows, NULL, error);

    for (size_t i = 0; i < rows.count && rc == 0; i++) {
        rc = tw_socket_destroy(&rows.rows[i], error);
        if (rc == -ENOENT) { /* it went by itself */
            rc = 0;
            if (error)
                *error = (struct tw_error){0};
        }
    }
    return rc;
}

int kernel_clear(struct kernel *kernel, struct tw_error *error)
{
    int rc = 0;

    for (int i = 0; i < SLOTS; i++)
        close_slot(kernel, i, true);
    for (int host = 0; host < HOSTS && rc == 0; host++)
        rc = destroy_all(kernel, host, error);
    return rc;
}
