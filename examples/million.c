/*
 * million.c - a million connections to one server, from one address, in one go.
 *
 * The kernel has some 28,000 ports for them, and each connection that the client closes first keeps
 * its port in TIME_WAIT for a minute: by itself this is over within seconds. The ledger hands out
 * ports that are safe, and a port that is bound explicitly with SO_REUSEADDR may be used again at
 * once.
 *
 *     million ADDRESS:PORT [CONNECTIONS]
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <tidewait/clock.h>
#include <tidewait/limits.h>
#include <tidewait/tuple.h>

/* Of all ports that the kernel itself would choose from, for one lane: there is one destination. */
static struct tw_ledger *new_ledger(uint16_t server_port, struct tw_error *error)
{
    struct tw_ledger_opts opts = {.size = sizeof(opts),
                                  .lanes = 1,
                                  .time_wait_ns = TW_TIME_WAIT_NS,
                                  .rest_ns = TW_LEDGER_REST_NS};
    uint16_t list[65535];
    struct tw_limits limits;
    struct tw_ports ports;

    tw_limits_read(&limits);
    tw_limits_ephemeral(&limits, &ports);
    tw_ports_remove(&ports, server_port); /* on this host a client could connect to itself */
    tw_ports_list(&ports, list);
    opts.ports = list;
    opts.port_count = (uint32_t)tw_ports_count(&ports);
    opts.takeover = limits.timestamps != 0;
    return tw_ledger_new(&opts, error);
}

/* One connection: says three bytes and closes first. */
static int visit(struct tw_ledger *ledger, const struct tw_endpoint *server, struct tw_error *error)
{
    struct tw_tuple tuple;
    int fd = tw_tuple_connect(ledger, 0, NULL, server, 10 * TW_NS_PER_S, &tuple, error);
    int rc = 0;

    if (fd < 0)
        return fd;
    if (send(fd, "hi\n", 3, MSG_NOSIGNAL) != 3)
        rc = tw_error_set(error, EPIPE, "the server does not want our three bytes");
    if (tw_tuple_close(ledger, &tuple, fd, 10 * TW_NS_PER_S) == TW_CLOSER_RESET && !rc)
        rc = tw_error_set(error, ECONNRESET, "the server ended the connection by a reset");
    return rc;
}

int main(int argc, char **argv)
{
    uint64_t wanted = argc > 2 ? strtoull(argv[2], NULL, 10) : 1000000, done = 0, failed = 0;
    struct tw_endpoint server;
    struct tw_ledger *ledger;
    struct tw_ledger_count count;
    struct tw_error error = {0};
    uint64_t begin;
    double seconds;

    if (argc < 2 || tw_endpoint_parse(tw_view_of(argv[1]), &server, &error)) {
        fprintf(stderr, "usage: million ADDRESS:PORT [CONNECTIONS]\n%s\n", error.text);
        return 2;
    }
    ledger = new_ledger(tw_endpoint_port(&server), &error);
    if (!ledger) {
        fprintf(stderr, "million: %s\n", error.text);
        return 1;
    }
    begin = tw_clock_ns();
    while (done + failed < wanted) {
        if (visit(ledger, &server, &error)) /* the first error stays in it */
            failed++;
        else
            done++;
    }
    seconds = (double)(tw_clock_ns() - begin) / (double)TW_NS_PER_S;
    tw_ledger_count(ledger, &count);
    printf("%" PRIu64 " connections in %.1f s, %.0f a second, from %" PRIu64 " ports\n", done,
           seconds, (double)done / seconds, count.safe + count.cooling);
    printf("%" PRIu64 " failed%s%s\n", failed, failed ? ", the first: " : "", error.text);
    tw_ledger_free(ledger);
    return failed ? 1 : 0;
}
