#include "agent.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent_worker.h"
#include "tidewait/clock.h"
#include "tidewait/socket.h"

struct agent {
    struct tw_endpoint endpoint;
    bool listening;
};

struct agents {
    struct agent_settings settings;
    struct agent *agents;
    size_t count;
    struct agent_worker **workers;
    uint32_t started; /* workers whose thread runs */
    atomic_ullong stop_by_ns;
    char pattern[AGENT_PATTERN_BYTES];
};

/* --- endpoints --- */

static bool overlap(const struct tw_endpoint *a, const struct tw_endpoint *b)
{
    return a->sa.sa_family == b->sa.sa_family && tw_endpoint_port(a) == tw_endpoint_port(b) &&
           (tw_endpoint_same_address(a, b) || tw_endpoint_is_wildcard(a) ||
            tw_endpoint_is_wildcard(b));
}

/* By port, family and address; a wildcard address is all zeros and so comes first. */
static int compare(const void *left, const void *right)
{
    const struct tw_endpoint *a = left, *b = right;
    int by_port = tw_endpoint_port(a) - tw_endpoint_port(b);

    if (by_port)
        return by_port;
    if (a->sa.sa_family != b->sa.sa_family)
        return a->sa.sa_family < b->sa.sa_family ? -1 : 1;
    if (a->sa.sa_family == AF_INET6)
        return memcmp(&a->v6.sin6_addr, &b->v6.sin6_addr, sizeof(a->v6.sin6_addr));
    return memcmp(&a->v4.sin_addr, &b->v4.sin_addr, sizeof(a->v4.sin_addr));
}

/* Sorted, two that overlap are neighbours, or the first of their port and family is a wildcard. */
static int refuse_overlap(const struct tw_endpoint *endpoints, size_t count, struct tw_error *error)
{
    struct tw_endpoint *sorted = malloc(count * sizeof(*sorted));
    char one[TW_ENDPOINT_TEXT_MAX], two[TW_ENDPOINT_TEXT_MAX];
    int rc = 0;

    if (!sorted)
        return tw_error_set(error, ENOMEM, "no memory for %zu agents", count);
    memcpy(sorted, endpoints, count * sizeof(*sorted));
    qsort(sorted, count, sizeof(*sorted), compare);
    for (size_t i = 1; i < count && rc == 0; i++) {
        if (!overlap(&sorted[i - 1], &sorted[i]))
            continue;
        tw_endpoint_format(&sorted[i - 1], one);
        tw_endpoint_format(&sorted[i], two);
        rc = strcmp(one, two) == 0
                 ? tw_error_set(error, EINVAL, "the endpoint %s is asked for twice", one)
                 : tw_error_set(error, EINVAL, "the endpoints %s and %s overlap", one, two);
    }
    free(sorted);
    return rc;
}

static int new_workers(struct agents *agents, struct tw_error *error)
{
    const struct agent_settings *settings = &agents->settings;

    agents->workers = calloc(settings->workers, sizeof(*agents->workers));
    if (!agents->workers)
        return tw_error_set(error, ENOMEM, "no memory for %u workers", settings->workers);
    for (uint32_t i = 0; i < settings->workers; i++) {
        struct agent_worker *worker = malloc(sizeof(*worker));
        int rc;

        if (!worker)
            return tw_error_set(error, ENOMEM, "no memory for %u workers", settings->workers);
        agents->workers[i] = worker;
        rc = agent_worker_init(worker, settings, agents->pattern, i, agents->count, error);
        worker->stop_by_ns = &agents->stop_by_ns;
        if (rc)
            return rc;
    }
    return 0;
}

struct agents *agents_new(const struct agent_settings *settings,
                          const struct tw_endpoint *endpoints, size_t count, struct tw_error *error)
{
    static const char line[] = "tidewait: these bytes mean nothing and never end 0123456789abcd\n";
    struct agents *agents;

    if (refuse_overlap(endpoints, count, error))
        return NULL;
    agents = calloc(1, sizeof(*agents));
    if (!agents || !(agents->agents = calloc(count, sizeof(*agents->agents)))) {
        tw_error_set(error, ENOMEM, "no memory for %zu agents", count);
        free(agents);
        return NULL;
    }
    agents->settings = *settings;
    agents->count = count;
    for (size_t i = 0; i < count; i++)
        agents->agents[i].endpoint = endpoints[i];
    for (size_t i = 0; i < sizeof(agents->pattern); i++)
        agents->pattern[i] = line[i % (sizeof(line) - 1)];
    if (new_workers(agents, error)) {
        agents_free(agents);
        return NULL;
    }
    return agents;
}

void agents_free(struct agents *agents)
{
    if (!agents)
        return;
    for (uint32_t i = 0; agents->workers && i < agents->settings.workers; i++) {
        if (agents->workers[i])
            agent_worker_fini(agents->workers[i]);
        free(agents->workers[i]);
    }
    free(agents->workers);
    free(agents->agents);
    free(agents);
}

/* --- listening --- */

static int open_listener(const struct tw_endpoint *endpoint, bool share, struct tw_error *error)
{
    struct tw_listen_opts opts = {.share = share, .nonblocking = true};
    int fd = tw_listen(endpoint, &opts, error), on = 1;

    /* Accepted connections inherit it. Without it the last segment of a reply in several parts
     * would wait for an ACK that the peer delays. */
    if (fd >= 0)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    return fd;
}

static void close_agent(struct agents *agents, size_t index)
{
    for (uint32_t i = 0; i < agents->settings.workers; i++) {
        struct agent_listener *listener = &agents->workers[i]->listeners[index];

        if (listener->fd >= 0)
            close(listener->fd);
        listener->fd = -1;
    }
    agents->agents[index].listening = false;
}

static int listen_at(struct agents *agents, size_t index, const struct tw_endpoint *endpoint,
                     struct tw_error *error)
{
    bool share = agents->settings.workers > 1;

    if (share) {
        int probe = open_listener(endpoint, false, error);

        if (probe < 0)
            return probe;
        close(probe);
    }
    for (uint32_t i = 0; i < agents->settings.workers; i++) {
        int fd = open_listener(endpoint, share, error);

        if (fd < 0) {
            close_agent(agents, index);
            return fd;
        }
        agents->workers[i]->listeners[index].fd = fd;
    }
    agents->agents[index].endpoint = *endpoint;
    agents->agents[index].listening = true;
    return 0;
}

int agents_listen(struct agents *agents, size_t index, struct tw_error *error)
{
    struct tw_endpoint endpoint = agents->agents[index].endpoint;

    return listen_at(agents, index, &endpoint, error);
}

static bool wanted_by_another(const struct agents *agents, size_t index,
                              const struct tw_endpoint *endpoint)
{
    for (size_t i = 0; i < agents->count; i++)
        if (i != index && overlap(&agents->agents[i].endpoint, endpoint))
            return true;
    return false;
}

int agents_listen_next(struct agents *agents, size_t index, unsigned tries, struct tw_error *error)
{
    struct tw_endpoint endpoint = agents->agents[index].endpoint;
    struct tw_error last = {0};
    unsigned port = tw_endpoint_port(&endpoint), first = port;

    tw_error_set(&last, EADDRINUSE, "no port above %u is left", first);
    while (tries > 0 && port < 65535) {
        tw_endpoint_set_port(&endpoint, (uint16_t)++port);
        if (wanted_by_another(agents, index, &endpoint))
            continue;
        tries--;
        last = (struct tw_error){0};
        if (listen_at(agents, index, &endpoint, &last) == 0)
            return 0;
        if (last.code != EADDRINUSE)
            break;
    }
    return tw_error_set(error, last.code, "%s", last.text);
}

struct tw_endpoint agents_endpoint(const struct agents *agents, size_t index)
{
    return agents->agents[index].endpoint;
}

bool agents_is_listening(const struct agents *agents, size_t index)
{
    return agents->agents[index].listening;
}

size_t agents_listening(const struct agents *agents)
{
    size_t listening = 0;

    for (size_t i = 0; i < agents->count; i++)
        listening += agents->agents[i].listening;
    return listening;
}

/* --- running --- */

int agents_start(struct agents *agents, struct tw_error *error)
{
    for (uint32_t i = 0; i < agents->settings.workers; i++) {
        struct agent_worker *worker = agents->workers[i];
        int code = pthread_create(&worker->thread, NULL, agent_worker_run, worker);

        if (code) {
            agents_stop(agents, 0);
            return tw_error_set(error, code, "cannot start worker %u of %u: %s", i + 1,
                                agents->settings.workers, strerror(code));
        }
        agents->started++;
    }
    return 0;
}

int agents_stop(struct agents *agents, uint64_t grace_ns)
{
    uint64_t one = 1;
    int rc = 0;

    atomic_store(&agents->stop_by_ns, tw_clock_ns() + grace_ns);
    /* An eventfd takes 8 bytes whole, and this one is never full. */
    for (uint32_t i = 0; i < agents->started; i++)
        (void)!write(agents->workers[i]->wake, &one, sizeof(one));
    for (uint32_t i = 0; i < agents->started; i++) {
        pthread_join(agents->workers[i]->thread, NULL);
        if (rc == 0)
            rc = agents->workers[i]->error;
    }
    agents->started = 0;
    return rc;
}

bool agents_are_broken(const struct agents *agents)
{
    for (uint32_t i = 0; i < agents->started; i++)
        if (atomic_load(&agents->workers[i]->ended))
            return true;
    return false;
}

void agents_count(const struct agents *agents, struct agent_counts *out)
{
    uint64_t sums[COUNTERS] = {0}, closed;

    for (uint32_t i = 0; i < agents->settings.workers; i++)
        /* Backwards: what is closed was read before what was accepted, so `open` is never negative.
         */
        for (int j = COUNTERS - 1; j >= 0; j--)
            sums[j] += atomic_load_explicit(&agents->workers[i]->counters[j], memory_order_acquire);
    closed = sums[COUNT_CLOSED_CLIENT] + sums[COUNT_CLOSED_SERVER] + sums[COUNT_RESET_BY_US] +
             sums[COUNT_RESET_BY_PEER];
    *out = (struct agent_counts){
        .accepted = sums[COUNT_ACCEPTED],
        .open = sums[COUNT_ACCEPTED] > closed ? sums[COUNT_ACCEPTED] - closed : 0,
        .requests = sums[COUNT_REQUESTS],
        .replies_200 = sums[COUNT_200],
        .replies_400 = sums[COUNT_400],
        .bytes_in = sums[COUNT_BYTES_IN],
        .bytes_out = sums[COUNT_BYTES_OUT],
        .closed_client = sums[COUNT_CLOSED_CLIENT],
        .closed_server = sums[COUNT_CLOSED_SERVER],
        .closed_reset_by_us = sums[COUNT_RESET_BY_US],
        .closed_reset_by_peer = sums[COUNT_RESET_BY_PEER],
        .timeouts_idle = sums[COUNT_IDLE],
        .timeouts_linger = sums[COUNT_LINGER],
        .incomplete = sums[COUNT_INCOMPLETE],
        .no_files = sums[COUNT_NO_FILES],
        .accept_errors = sums[COUNT_ACCEPT_ERRORS],
        .other_errors = sums[COUNT_OTHER_ERRORS],
    };
}
