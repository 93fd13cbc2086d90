#include <errno.h>
#include <math.h>

#include "builder.h"
#include "report.h"

/* A number rounded to what was measured: three digits behind the point. */
static json_t *number(double value)
{
    return isfinite(value) ? json_real(round(value * 1000) / 1000) : json_null();
}

/* Seconds until something happened for the first time; null: never. */
static json_t *first(uint64_t ns)
{
    return ns ? json_real(round((double)ns / 1e3) / 1e6) : json_null();
}

static json_t *workload_object(struct builder *b, const struct report_workload *w)
{
    json_t *object = json_object(), *targets = json_array();

    for (size_t i = 0; i < w->target_count; i++)
        append(b, targets, text_or_null(w->targets[i]));
    set(b, object, "targets", targets);
    set(b, object, "sources", count(w->sources));
    set(b, object, "ports", json_string(w->ports));
    set(b, object, "close", json_string(w->closing));
    set(b, object, "arrivals", json_string(w->arrivals));
    set(b, object, "connections", count(w->connections));
    set(b, object, "rate_per_s", w->rate_per_s > 0 ? number(w->rate_per_s) : json_null());
    if (w->ramp_s > 0) {
        set(b, object, "ramp_from_per_s", number(w->ramp_from_per_s));
        set(b, object, "ramp_s", number(w->ramp_s));
    }
    set(b, object, "requests", text_or_null(w->requests));
    set(b, object, "think", text_or_null(w->think));
    set(b, object, "abort", number(w->abort_share));
    set(b, object, "duration_s", w->duration_s > 0 ? number(w->duration_s) : json_null());
    set(b, object, "count", w->count ? count(w->count) : json_null());
    set(b, object, "warmup_s", number(w->warmup_s));
    set(b, object, "timeout_s", number(w->timeout_s));
    set(b, object, "threads", count(w->threads));
    set(b, object, "spread", json_boolean(w->spread));
    set(b, object, "peak", json_boolean(w->peak));
    set(b, object, "seed", count(w->seed));
    return object;
}

static json_t *errors_object(struct builder *b, const struct tally *tally)
{
    json_t *object = json_object(), *address = json_object();

    set(b, object, "address", address);
    for (int i = 1; i < FAILURES; i++)
        set(b, failure_is_of_address(i) ? address : object, failure_names[i],
            count(tally->failures[i]));
    if (tally->last_errno)
        set(b, object, "other_errno", json_integer(tally->last_errno));
    return object;
}

static json_t *latency_object(struct builder *b, const struct histogram *histogram)
{
    static const struct {
        const char *name;
        double share;
    } shares[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p999", 0.999}};
    json_t *object = json_object();

    set(b, object, "mean", number(histogram_mean(histogram) / 1e3));
    for (size_t i = 0; i < sizeof(shares) / sizeof(shares[0]); i++)
        set(b, object, shares[i].name,
            number((double)histogram_percentile(histogram, shares[i].share) / 1e3));
    set(b, object, "max", number((double)histogram->max / 1e3));
    set(b, object, "count", count(histogram->count));
    return object;
}

static json_t *latencies_object(struct builder *b, const struct run *run)
{
    json_t *object = json_object();

    for (int i = 0; i < STAGES; i++)
        set(b, object, stage_names[i], latency_object(b, &run->stages[i]));
    return object;
}

static json_t *port_waits_object(struct builder *b, const struct tally *tally)
{
    json_t *object = json_object();

    set(b, object, "count", count(tally->port_waits.count));
    set(b, object, "total_ms", number((double)tally->port_waits.total_ns / 1e6));
    set(b, object, "max_ms", number((double)tally->port_waits.max_ns / 1e6));
    return object;
}

static json_t *budget_object(struct builder *b, const struct budget *budget)
{
    json_t *object = json_object();

    set(b, object, "per_s", number(budget->per_s));
    set(b, object, "limited_by", json_string(budget->limited_by));
    set(b, object, "lanes", count(budget->lanes));
    set(b, object, "ports_per_lane", count(budget->ports_per_lane));
    set(b, object, "tuples", count(budget->tuples));
    set(b, object, "reason", json_string(budget->reason));
    set(b, object, "advice", json_string(budget->advice));
    return object;
}

static json_t *kernel_object(struct builder *b, const struct run *run)
{
    json_t *object = json_object();

    for (size_t i = 0; run->kernel_known && tw_counter_name(i); i++)
        set(b, object, tw_counter_name(i),
            run->kernel_before.values[i] < 0 || run->kernel_after.values[i] < 0
                ? json_null()
                : json_integer(run->kernel_after.values[i] - run->kernel_before.values[i]));
    return object;
}

static json_t *series_array(struct builder *b, const struct run *run)
{
    json_t *array = json_array();

    for (size_t i = 0; i < run->series_count; i++) {
        const struct second *second = &run->series[i];
        json_t *row = json_object();

        set(b, row, "at_s", count(second->at_s));
        set(b, row, "target_per_s",
            second->target_per_s > 0 ? number(second->target_per_s) : json_null());
        set(b, row, "opened", count(second->opened));
        set(b, row, "completed", count(second->completed));
        set(b, row, "failed", count(second->failed));
        set(b, row, "in_flight", count(second->in_flight));
        set(b, row, "ports_free", second->kernel_ports ? json_null() : count(second->ports_free));
        set(b, row, "ports_cooling",
            second->kernel_ports ? json_null() : count(second->ports_cooling));
        set(b, row, "port_waits", count(second->port_waits));
        set(b, row, "starved", json_boolean(second->starved));
        set(b, row, "p50_us", number((double)second->p50_ns / 1e3));
        set(b, row, "p99_us", number((double)second->p99_ns / 1e3));
        append(b, array, row);
    }
    return array;
}

static void set_counts(struct builder *b, json_t *root, const struct run *run)
{
    const struct tally *tally = &run->tally;
    json_t *closed_by = json_object(), *left = json_object(), *refusals = json_object();

    set(b, root, "attempted", count(tally->attempted));
    set(b, root, "opened", count(tally->opened));
    set(b, root, "completed", count(tally->completed));
    set(b, root, "failed", count(tally_failed(tally)));
    set(b, root, "aborted", count(tally->aborted));
    set(b, root, "not_opened", count(tally->attempted - tally->opened));
    set(b, root, "requests", count(tally->requests));
    set(b, root, "bytes_in", count(tally->bytes_in));
    set(b, root, "bytes_out", count(tally->bytes_out));
    set(b, root, "rate_per_s", number(run_rate_per_s(run)));
    set(b, root, "errors", errors_object(b, tally));
    set(b, root, "first_address_error_s", first(tally->first_address_error_ns));
    set(b, root, "port_waits", port_waits_object(b, tally));
    set(b, root, "first_port_wait_s", first(tally->first_port_wait_ns));
    set(b, refusals, "bind", count(tally->refused_bind));
    set(b, refusals, "connect", count(tally->refused_connect));
    set(b, refusals, "set_aside_at_end", count(run->ports_aside));
    set(b, root, "ports_refused", refusals);
    set(b, closed_by, "client", count(tally->closed_by[CLOSER_CLIENT]));
    set(b, closed_by, "server", count(tally->closed_by[CLOSER_SERVER]));
    set(b, closed_by, "reset", count(tally->closed_by[CLOSER_RESET]));
    set(b, root, "closed_by", closed_by);
    set(b, left, "client", known_or_null(run->time_wait_client));
    set(b, left, "server", known_or_null(run->time_wait_server));
    set(b, root, "time_wait_left", left);
}

static void set_costs(struct builder *b, json_t *root, const struct run *run)
{
    const struct tally *tally = &run->tally;
    json_t *cpu = json_object(), *honesty = json_object(), *memory = json_object();

    set(b, cpu, "user_s", number(run->user_s));
    set(b, cpu, "system_s", number(run->system_s));
    set(b, cpu, "us_per_connection",
        tally->opened ? number((run->user_s + run->system_s) * 1e6 / (double)tally->opened)
                      : json_null());
    set(b, root, "cpu", cpu);
    set(b, memory, "max_rss_bytes", count(run->memory_bytes));
    set(b, memory, "ledger_bytes", count(run->ledger_bytes));
    set(b, root, "memory", memory);
    set(b, honesty, "late", count(tally->late));
    set(b, honesty, "late_max_ms", number((double)tally->late_max_ns / 1e6));
    set(b, honesty, "descriptors_opened", count(tally->descriptors_opened));
    set(b, root, "self", honesty);
}

static json_t *run_object(struct builder *b, const struct report_workload *workload,
                          const struct run *run, const struct verdict_line *missed,
                          size_t missed_count)
{
    json_t *root = json_object(), *misses = json_array();

    set(b, root, "schema", json_string("tidewait.run/1"));
    set(b, root, "workload", workload_object(b, workload));
    set(b, root, "duration_s", number(run->duration_s));
    set(b, root, "interrupted", json_boolean(run->interrupted));
    set_counts(b, root, run);
    set(b, root, "latency_us", latencies_object(b, run));
    set(b, root, "budget", budget_object(b, &run->budget));
    if (workload->peak)
        set(b, root, "peak_per_s", run->peak_per_s > 0 ? number(run->peak_per_s) : json_null());
    for (size_t i = 0; i < missed_count; i++)
        append(b, misses, json_string(missed[i].text));
    set(b, root, "missed", misses);
    set(b, root, "kernel", kernel_object(b, run));
    set_costs(b, root, run);
    set(b, root, "series", series_array(b, run));
    return root;
}

int report_json(const struct report_workload *workload, const struct run *run,
                const struct verdict_line *missed, size_t missed_count, FILE *out)
{
    struct builder builder = {false};
    json_t *root = run_object(&builder, workload, run, missed, missed_count);
    int rc = builder.bad ? -ENOMEM : 0;

    if (rc == 0 && (json_dumpf(root, out, JSON_INDENT(2) | JSON_REAL_PRECISION(15)) ||
                    fputc('\n', out) == EOF || fflush(out)))
        rc = -EIO;
    json_decref(root);
    return rc;
}
