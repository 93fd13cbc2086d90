#include "exec_summary.h"

#include <errno.h>
#include <inttypes.h>
#include <sys/wait.h>

#include "builder.h"

#define MARK_USED 0x8000u

void exec_summary_read(const struct shim_shared *shared, struct exec_summary *out)
{
    bool used[SHIM_PORTS_MAX] = {false};
    size_t size = shim_lane_size(shared->port_count);

    *out = (struct exec_summary){.ports = shared->port_count, .watched = shared->watch_closes};
    for (size_t i = 0; i < SHIM_COUNTERS; i++)
        out->counters[i] = atomic_load_explicit(&shared->counters[i], memory_order_relaxed);
    for (uint32_t i = 0; i < shared->lane_count; i++) {
        const struct shim_lane *lane =
            (const struct shim_lane *)(const void *)(shared->lanes + i * size);
        bool any = false;

        for (uint32_t place = 0; place < shared->port_count; place++) {
            uint16_t mark = atomic_load_explicit(&lane->marks[place], memory_order_relaxed);

            any = any || mark & MARK_USED;
            used[place] = used[place] || mark & MARK_USED;
        }
        out->lanes_used += any;
    }
    for (uint32_t place = 0; place < shared->port_count; place++)
        out->ports_used += used[place];
    /* A port that the kernel refused is marked as well. */
    if (out->ports_used > out->counters[SHIM_MANAGED])
        out->ports_used = (uint32_t)out->counters[SHIM_MANAGED];
}

static uint64_t refused(const struct exec_summary *summary)
{
    return summary->counters[SHIM_CONNECT_FAILED] + summary->counters[SHIM_BIND_FAILED];
}

static const char *plural(uint64_t count)
{
    return count == 1 ? "" : "s";
}

void exec_summary_text(const struct exec_summary *summary, FILE *out)
{
    const uint64_t *counters = summary->counters;
    uint64_t connects = counters[SHIM_CONNECTS], binds = counters[SHIM_BINDS];

    fprintf(out,
            "tidewait: %" PRIu64 " connect%s, %" PRIu64 " with a port of ours: %" PRIu32
            " of %" PRIu32 " ports, %" PRIu32 " destination%s; %" PRIu64 " bind%s, %" PRIu64
            " listen%s\n",
            connects, plural(connects), counters[SHIM_MANAGED], summary->ports_used, summary->ports,
            summary->lanes_used, plural(summary->lanes_used), binds, plural(binds),
            counters[SHIM_LISTENS], plural(counters[SHIM_LISTENS]));
    fprintf(out,
            "tidewait: refusals: %" PRIu64 " avoided (own TIME_WAIT taken over), %" PRIu64
            " waited out, %" PRIu64 " met (%" PRIu64 " explained); %" PRIu64 " %s passed over\n",
            counters[SHIM_TAKEN_OVER], counters[SHIM_BIND_RETRIES], refused(summary),
            summary->explained, counters[SHIM_PORT_TRIES],
            counters[SHIM_PORT_TRIES] == 1 ? "try" : "tries");
    if (summary->watched)
        fprintf(out,
                "tidewait: closed first: %" PRIu64 " by the program, %" PRIu64
                " by the other end, %" PRIu64 " over before\n",
                counters[SHIM_CLOSED_BY_US], counters[SHIM_CLOSED_BY_PEER],
                counters[SHIM_CLOSED_BEFORE]);
}

int exec_summary_json(const struct exec_summary *summary, FILE *out)
{
    const uint64_t *counters = summary->counters;
    struct builder builder = {0};
    json_t *object = json_object(), *refusals = json_object(), *closed = json_object();
    int status = summary->status, rc;

    set(&builder, object, "schema", json_string("tidewait.exec/1"));
    set(&builder, object, "status",
        WIFEXITED(status) ? json_integer(WEXITSTATUS(status)) : json_null());
    set(&builder, object, "signal",
        WIFSIGNALED(status) ? json_integer(WTERMSIG(status)) : json_null());
    set(&builder, object, "connects", count(counters[SHIM_CONNECTS]));
    set(&builder, object, "managed", count(counters[SHIM_MANAGED]));
    set(&builder, object, "ports", count(summary->ports));
    set(&builder, object, "ports_used", count(summary->ports_used));
    set(&builder, object, "destinations", count(summary->lanes_used));
    set(&builder, object, "binds", count(counters[SHIM_BINDS]));
    set(&builder, object, "listens", count(counters[SHIM_LISTENS]));
    set(&builder, refusals, "avoided", count(counters[SHIM_TAKEN_OVER]));
    set(&builder, refusals, "bind_retries", count(counters[SHIM_BIND_RETRIES]));
    set(&builder, refusals, "tries_passed_over", count(counters[SHIM_PORT_TRIES]));
    set(&builder, refusals, "connect", count(counters[SHIM_CONNECT_FAILED]));
    set(&builder, refusals, "bind", count(counters[SHIM_BIND_FAILED]));
    set(&builder, refusals, "explained", count(summary->explained));
    set(&builder, object, "refusals", refusals);
    set(&builder, closed, "program", count(counters[SHIM_CLOSED_BY_US]));
    set(&builder, closed, "peer", count(counters[SHIM_CLOSED_BY_PEER]));
    set(&builder, closed, "before", count(counters[SHIM_CLOSED_BEFORE]));
    set(&builder, object, "closed_first", closed);
    rc = builder.bad ? -ENOMEM : 0;
    if (rc == 0 && (json_dumpf(object, out, JSON_COMPACT) || fputc('\n', out) == EOF))
        rc = -EIO;
    json_decref(object);
    return rc;
}
