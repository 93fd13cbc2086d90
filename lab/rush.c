#include "rush.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tidewait/clock.h"
#include "tidewait/counters.h"
#include "tidewait/limits.h"

#define INPUT_MS 5000

struct rush rush_to(struct stage *stage, uint16_t port)
{
    struct host *client = stage_left(stage), *server = stage_right(stage);
    struct rush rush = {
        .client = client,
        .listener = host_listen(server, port, WITH_REUSEADDR),
        .to = host_at(server, port),
    };

    host_enter(client);
    return rush;
}

static bool has_input(void *context)
{
    struct pollfd waiting = {.fd = *(int *)context, .events = POLLIN};

    return poll(&waiting, 1, 0) == 1;
}

bool wait_readable(struct stage *stage, int fd)
{
    return stage_until(stage, INPUT_MS, has_input, &fd);
}

static void wait_for_eof(struct stage *stage, int fd)
{
    char byte;

    if (!wait_readable(stage, fd) || read_some(fd, &byte, 1) != 0)
        stage_broken(stage, "the other end closed, and no EOF came");
}

int rush_connect(struct rush *rush, int fd)
{
    struct stage *stage = rush->client->stage;
    uint64_t start_ns = tw_clock_ns();
    int code = finish_connect(stage, fd, &rush->to), first, second;

    rush->connect_ns = tw_clock_ns() - start_ns;
    if (code) {
        close_fd(&fd);
        return code;
    }
    rush->port = port_of(fd);
    second = stage_accept(stage, rush->listener);
    first = rush->server_first ? second : fd;
    second = rush->server_first ? fd : second;
    close_fd(&first);
    wait_for_eof(stage, second);
    close_fd(&second);
    return 0;
}

unsigned rush_many(struct rush *rush, unsigned most, int *code)
{
    uint64_t start_ns = tw_clock_ns();
    unsigned made = 0;

    *code = 0;
    while (made < most && !*code) {
        *code = rush_connect(rush, host_socket(rush->client, rush->with));
        made += !*code;
    }
    if (made)
        rush->mean_ns = (tw_clock_ns() - start_ns) / made;
    return made;
}

void host_set_range(struct host *host, unsigned first, unsigned count)
{
    char text[24];

    snprintf(text, sizeof(text), "%u %u", first, first + count - 1);
    host_set(host, "net.ipv4.ip_local_port_range", text);
}

unsigned host_range(struct host *host)
{
    struct tw_limits limits;
    struct tw_ports ports;

    host_enter(host);
    tw_limits_read(&limits);
    tw_limits_ephemeral(&limits, &ports);
    return (unsigned)tw_ports_count(&ports);
}

int64_t host_counter(struct host *host, const char *name)
{
    struct tw_error error = {0};
    struct tw_counters counters;

    host_enter(host);
    if (tw_counters_read(&counters, &error))
        stage_broken(host->stage, "%s", error.text);
    for (size_t i = 0; tw_counter_name(i); i++)
        if (strcmp(tw_counter_name(i), name) == 0)
            return counters.values[i];
    stage_broken(host->stage, "there is no counter %s", name);
}

static int in_order(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;

    return (left > right) - (left < right);
}

uint64_t median_of(uint64_t *values, unsigned count)
{
    qsort(values, count, sizeof(*values), in_order);
    return values[count / 2];
}
