#include "plan_now.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plan_seen.h"
#include "tidewait/clock.h"
#include "tidewait/sockets.h"

/* Between two looks: often enough for a mean, and never more than a tenth of a processor. */
#define LOOKS        40
#define PAUSE_MIN_NS (20 * TW_NS_PER_MS)
#define PAUSE_MAX_NS (250 * TW_NS_PER_MS)
#define PAUSE_COSTS  9

/* --- looking ---------------------------------------------------------------------------------- */

static int on_listener(const struct tw_socket_row *row, void *context)
{
    seen_listener(context, row);
    return 0;
}

static int on_row(const struct tw_socket_row *row, void *context)
{
    struct seen *seen = context;

    seen_row(seen, row);
    return seen->no_memory ? -ENOMEM : 0;
}

static int look(struct seen *seen, unsigned *blind, struct tw_error *error)
{
    unsigned resting =
        TW_STATE_MASK(TCP_LISTEN) | TW_STATE_MASK(TCP_CLOSE) | TW_STATE_MASK(TCP_TIME_WAIT);
    struct tw_sockets_query listeners = {.state_mask = TW_STATE_MASK(TCP_LISTEN), .blind = blind};
    struct tw_sockets_query open = {
        .state_mask = TW_STATES_ALL & ~resting, .opened = true, .blind = blind};
    struct tw_sockets_query closed = {.state_mask = TW_STATE_MASK(TCP_TIME_WAIT), .blind = blind};
    int rc;

    seen_begin(seen);
    if ((rc = tw_sockets_each(&listeners, on_listener, seen, error)) ||
        (rc = tw_sockets_each(&open, on_row, seen, error)) ||
        (rc = tw_sockets_each(&closed, on_row, seen, error)))
        return tw_error_set(error, -rc, "no memory for the connections of this host");
    seen_end(seen);
    return 0;
}

/* The kernel's count of connect()s that sent a SYN, in this network; -1 when it cannot be read. The
 * table of counters.h is of what went wrong, so it is not there. */
static int64_t active_opens(void)
{
    static const char group[] = "Tcp: ";
    FILE *file = fopen("/proc/thread-self/net/snmp", "re");
    char names_line[1024], values_line[1024];
    uint64_t opens = 0;
    bool found = false;

    /* "Tcp: RtoAlgorithm ... ActiveOpens ...", and below it "Tcp: 1 ... 5 ...". */
    while (file && !found && fgets(names_line, sizeof(names_line), file) &&
           fgets(values_line, sizeof(values_line), file)) {
        struct tw_view names = tw_view_of(names_line), values = tw_view_of(values_line);

        if (strncmp(names_line, group, sizeof(group) - 1) != 0)
            continue;
        while (names.data && values.data && !found) {
            struct tw_view name = tw_view_cut(&names, ' '), value = tw_view_cut(&values, ' ');

            found = tw_view_equals(name, "ActiveOpens") &&
                    tw_parse_number(value, "opens", 0, INT64_MAX, &opens, NULL) == 0;
        }
    }
    if (file)
        fclose(file);
    return found ? (int64_t)opens : -1;
}

struct span {
    uint64_t begun_ns, ended_ns;
    int64_t opens_before, opens_after;
};

static int watch(const struct plan_now_ask *ask, struct seen *seen, struct span *span,
                 unsigned *blind, struct tw_error *error)
{
    uint64_t pause_ns = ask->for_ns / LOOKS, until_ns = 0;
    int rc;

    pause_ns = pause_ns < PAUSE_MIN_NS   ? PAUSE_MIN_NS
               : pause_ns > PAUSE_MAX_NS ? PAUSE_MAX_NS
                                         : pause_ns;
    for (;;) {
        uint64_t begun_ns = tw_clock_ns(), now_ns, wait_ns;

        if ((rc = look(seen, blind, error)))
            return rc;
        now_ns = tw_clock_ns();
        wait_ns = (now_ns - begun_ns) * PAUSE_COSTS;
        if (seen->look == 1) {
            *span = (struct span){.begun_ns = now_ns, .opens_before = active_opens()};
            until_ns = now_ns + ask->for_ns;
        } else if (now_ns >= until_ns || atomic_load(ask->stop)) {
            span->ended_ns = now_ns;
            span->opens_after = active_opens();
            seen_finish(seen);
            return 0;
        }
        wait_ns = wait_ns > pause_ns ? wait_ns : pause_ns;
        if (now_ns + wait_ns > until_ns)
            wait_ns = until_ns > now_ns ? until_ns - now_ns : 0;
        if (!atomic_load(ask->stop))
            poll(NULL, 0, (int)(wait_ns / TW_NS_PER_MS) + 1);
    }
}

/* --- answering -------------------------------------------------------------------------------- */

/* Little's law: mean number open = arrival rate x mean time open. Connections that were there the
 * whole time are a pool, and no arrivals. */
static void measure(const struct seen_lane *seen, double seconds, uint32_t looks,
                    struct report_plan_lane *lane)
{
    double open = looks > 1 ? (double)seen->open_sum / (looks - 1) : 0;
    double hold_s;

    lane->source = seen->key.source;
    lane->destination = seen->key.destination;
    lane->opened_per_s = (double)seen->born / seconds;
    lane->lasting = seen->lasting;
    lane->open = open > lane->lasting ? open - lane->lasting : 0;
    lane->time_waits = seen->time_waits;
    lane->closing_seen = seen->ended_here + seen->ended_there > 0;
    hold_s = lane->open / lane->opened_per_s;
    lane->workload = (struct plan_workload){
        .rate_per_s = lane->opened_per_s,
        .hold = {.kind = DISTRIBUTION_CONSTANT, .a = (uint64_t)(hold_s * 1e9)},
        .requests = 1,
        .closing = seen->ended_there > seen->ended_here ? PLAN_CLOSING_SERVER : PLAN_CLOSING_CLIENT,
        .sources = 1,
        .destinations = 1,
        .idle = lane->lasting,
    };
}

static uint64_t occupied(const struct seen_lane *lane)
{
    return (uint64_t)lane->open + lane->time_waits;
}

/* Those with arrivals first, then the fullest. */
static int compare_lanes(const void *a, const void *b)
{
    const struct seen_lane *x = a, *y = b;
    uint64_t left = occupied(x), right = occupied(y);

    if ((x->born > 0) != (y->born > 0))
        return y->born > 0 ? 1 : -1;
    return left != right ? (right > left) - (right < left)
                         : (y->born > x->born) - (y->born < x->born);
}

static int answer(const struct plan_now_ask *ask, double lost, struct report_plan_lane *lane,
                  struct tw_error *error)
{
    bool is_here;
    int rc = plan_host_system(ask->host, tw_endpoint_is_loopback(&lane->destination), &lane->system,
                              &is_here, error);

    lane->system.ports_lost = lost;
    lane->workload.ports = ask->ports;
    if (rc == 0)
        plan_answer(&lane->system, ask->nat, &lane->workload, &lane->answer);
    return rc;
}

static int report(const struct plan_now_ask *ask, struct seen *seen, const struct span *span,
                  struct report_plan_lane *lanes, struct report_plan_now *out,
                  struct tw_error *error)
{
    struct seen_lane *rows = seen->lanes.items;
    struct plan_system here;
    bool is_here;
    int rc = plan_host_system(ask->host, false, &here, &is_here, error);

    if (rc || (rc = plan_host_count_lost(ask->host, &here, error)))
        return rc;
    out->lost = here.ports_lost;
    out->seconds = (double)(span->ended_ns - span->begun_ns) / 1e9;
    out->looks = seen->look;
    out->lanes_seen = seen->lanes.count;
    out->opened_per_s = span->opens_before < 0 || span->opens_after < 0
                            ? -1
                            : (double)(span->opens_after - span->opens_before) / out->seconds;
    if (seen->lanes.count)
        qsort(rows, seen->lanes.count, sizeof(*rows), compare_lanes);
    for (size_t i = 0; i < seen->lanes.count; i++) {
        out->attributed_per_s += (double)rows[i].born / out->seconds;
        out->lanes_opening += rows[i].born > 0;
        if (rows[i].born == 0 || out->lane_count == ask->limit)
            continue;
        measure(&rows[i], out->seconds, seen->look, &lanes[out->lane_count]);
        if ((rc = answer(ask, out->lost, &lanes[out->lane_count], error)))
            return rc;
        out->lane_count++;
    }
    return 0;
}

int plan_now(const struct plan_now_ask *ask, struct report_plan_lane *lanes,
             struct report_plan_now *out, struct tw_error *error)
{
    struct seen seen;
    struct span span = {0};
    int rc;

    *out = (struct report_plan_now){.lanes = lanes};
    seen_init(&seen);
    rc = watch(ask, &seen, &span, &out->blind, error);
    if (rc == 0)
        rc = report(ask, &seen, &span, lanes, out, error);
    out->interrupted = atomic_load(ask->stop) != 0;
    seen_fini(&seen);
    return rc;
}
