/* The example of ledger.h as a program: with these headers alone it must compile and run. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <tidewait/clock.h>
#include <tidewait/ledger.h>
#include <tidewait/limits.h>
#include <tidewait/ports.h>

/* The ports that the kernel would choose from, or some when it does not say. */
static uint16_t *list_ports(uint32_t *count)
{
    struct tw_limits limits;
    struct tw_ports set;
    uint16_t *ports;

    tw_limits_read(&limits);
    tw_limits_ephemeral(&limits, &set);
    if (tw_ports_count(&set) == 0)
        tw_ports_parse(tw_view_of("40000-40999"), &set, NULL);
    *count = (uint32_t)tw_ports_count(&set);
    ports = calloc(*count, sizeof(*ports));
    if (ports)
        tw_ports_list(&set, ports);
    return ports;
}

/* One connection, and we close it first; false when it cannot be had for a reason other than that
 * nothing is safe. Waits for that. */
static bool pretend_to_connect(struct tw_ledger *ledger, uint32_t lane, unsigned *waits)
{
    struct tw_tuple tuple;
    uint64_t until_ns;

    for (;;) {
        if (tw_ledger_take(ledger, lane, tw_clock_ns(), &tuple, &until_ns) == 0) {
            /* here: bind to tuple.port with SO_REUSEADDR, connect, talk, close */
            tw_ledger_give(ledger, &tuple, TW_OUTCOME_WE_FIRST, tw_clock_ns());
            return true;
        }
        if (until_ns == TW_NEVER)
            return false;
        ++*waits;
        while (tw_clock_ns() < until_ns) {
            struct timespec pause = {.tv_nsec = 1000000};

            nanosleep(&pause, NULL);
        }
    }
}

int main(void)
{
    struct tw_ledger_opts opts = {.size = sizeof(opts), .lanes = 1, .slices = 1};
    struct tw_error error = {0};
    uint16_t *ports = list_ports(&opts.port_count);
    struct tw_ledger *ledger;
    struct tw_ledger_count count;
    unsigned waits = 0;
    bool ok = true;

    opts.ports = ports;
    opts.time_wait_ns =
        TW_TIME_WAIT_NS / 1000; /* a program would use all of it; the test is impatient */
    ledger = tw_ledger_new(&opts, &error);
    if (!ledger) {
        fprintf(stderr, "%s\n", error.text);
        free(ports);
        return 1;
    }
    for (uint32_t i = 0; ok && i < 2 * opts.port_count; i++)
        ok = pretend_to_connect(ledger, 0, &waits);
    tw_ledger_count(ledger, &count);
    printf("%u ports, %u connections, waited %u times, %u tuples, %zu bytes\n", opts.port_count,
           2 * opts.port_count, waits, (uint32_t)(count.cooling + count.unused),
           tw_ledger_bytes(ledger));
    ok = ok && count.in_use == 0 && count.cooling + count.unused + count.safe == opts.port_count;
    tw_ledger_free(ledger);
    free(ports);
    return ok ? 0 : 1;
}
