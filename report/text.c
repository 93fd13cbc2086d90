#include <math.h>
#include <string.h>

#include "report.h"

/* 950 ns, 12.3 us, 4.56 ms, 1.23 s: three digits that count. */
static const char *format_time(double ns, char buf[16])
{
    static const char *const units[] = {"ns", "us", "ms", "s"};
    int unit = 0;

    while (ns >= 999.5 && unit < 3) {
        ns /= 1000;
        unit++;
    }
    snprintf(buf, 16, "%.*f %s", ns < 9.995 ? 2 : ns < 99.95 ? 1 : 0, ns, units[unit]);
    return buf;
}

/* 1,234,567: numbers that people have to read. Uses one of several buffers in turn. */
static const char *group(uint64_t value, char buf[32])
{
    char plain[24];
    int len = snprintf(plain, sizeof(plain), "%llu", (unsigned long long)value), at = 0;

    for (int i = 0; i < len; i++) {
        if (i && (len - i) % 3 == 0)
            buf[at++] = ',';
        buf[at++] = plain[i];
    }
    buf[at] = 0;
    return buf;
}

void report_budget_line(const struct budget *budget, FILE *out)
{
    char lanes[32], ports[32];

    fprintf(out, "budget: %s lane%s x %s ports", group(budget->lanes, lanes),
            budget->lanes == 1 ? "" : "s", group(budget->ports_per_lane, ports));
    if (isinf(budget->per_s))
        fprintf(out, " set no limit to the rate: %s\n", budget->reason);
    else
        fprintf(out, " sustain %.*f connections/s: %s\n", budget->per_s < 10 ? 2 : 0, budget->per_s,
                budget->reason);
}

void report_second_head(FILE *out)
{
    fprintf(out, "%6s %10s %10s %9s %8s %11s %9s %9s %9s\n", "second", "offered/s", "done/s",
            "in flight", "errors", "ports free", "cooling", "p50", "p99");
}

void report_second(const struct second *second, bool color, FILE *out)
{
    bool red = color && second->failed > 0;
    char offered[24] = "-", ports[24] = "-", cooling[24] = "-", p50[16] = "-", p99[16] = "-";

    if (second->target_per_s > 0)
        snprintf(offered, sizeof(offered), "%.0f", second->target_per_s);
    if (second->completed) {
        format_time((double)second->p50_ns, p50);
        format_time((double)second->p99_ns, p99);
    }
    if (!second->kernel_ports) {
        snprintf(ports, sizeof(ports), "%llu", (unsigned long long)second->ports_free);
        snprintf(cooling, sizeof(cooling), "%llu", (unsigned long long)second->ports_cooling);
    }
    fprintf(out, "%6u %10s %10llu %9llu %s%8llu%s %11s %9s %9s %9s%s\n", second->at_s + 1, offered,
            (unsigned long long)second->completed, (unsigned long long)second->in_flight,
            red ? "\033[31m" : "", (unsigned long long)second->failed, red ? "\033[0m" : "", ports,
            cooling, p50, p99, second->starved ? " (no port free)" : "");
}

static void print_counts(const struct run *run, FILE *out)
{
    const struct tally *tally = &run->tally;
    char a[32], b[32], c[32], d[32];

    fprintf(out, "connections  %s attempted = %s opened + %s not opened\n",
            group(tally->attempted, a), group(tally->opened, b),
            group(tally->attempted - tally->opened, c));
    fprintf(out, "             %s opened = %s completed + %s failed", group(tally->opened, a),
            group(tally->completed, b), group(tally_failed(tally), c));
    if (tally->aborted)
        fprintf(out, " + %s aborted on purpose", group(tally->aborted, d));
    fprintf(out, "\nrate         %.0f connections/s over %.2f s", run_rate_per_s(run),
            run->duration_s);
    if (tally->requests > tally->opened)
        fprintf(out, ", %s requests", group(tally->requests, a));
    fputc('\n', out);
}

static void print_errors(const struct tally *tally, FILE *out)
{
    static const char *const names[FAILURES] = {
        [FAILURE_IN_USE_BIND] = "address in use at bind",
        [FAILURE_NOT_AVAILABLE_BIND] = "address not available at bind",
        [FAILURE_NOT_AVAILABLE_CONNECT] = "address not available at connect",
        [FAILURE_NO_DESCRIPTORS] = "no descriptors",
        [FAILURE_REFUSED] = "refused",
        [FAILURE_RESET] = "reset",
        [FAILURE_TIMEOUT] = "timed out",
        [FAILURE_UNREACHABLE] = "unreachable",
        [FAILURE_HTTP_STATUS] = "HTTP status 400 or more",
        [FAILURE_MALFORMED] = "malformed reply",
        [FAILURE_SHORT] = "short reply",
        [FAILURE_INTERRUPTED] = "interrupted in flight",
        [FAILURE_OTHER] = "other",
    };
    uint64_t address = 0;
    char buf[32], first[16];

    for (int i = 1; i < FAILURES; i++)
        address += failure_is_of_address(i) ? tally->failures[i] : 0;
    fprintf(out, "errors       %s address errors", group(address, buf));
    if (tally->first_address_error_ns)
        fprintf(out, " (first after %s)",
                format_time((double)tally->first_address_error_ns, first));
    for (int i = 1; i < FAILURES; i++)
        if (tally->failures[i])
            fprintf(out, ", %s %s", group(tally->failures[i], buf), names[i]);
    if (tally->failures[FAILURE_OTHER] && tally->last_errno)
        fprintf(out, " (last: %s)", strerror(tally->last_errno));
    fputc('\n', out);
}

static void print_ports(const struct run *run, FILE *out)
{
    const struct tally *tally = &run->tally;
    char a[32], b[16], c[16], d[32], e[32], first[16];

    if (tally->port_waits.count)
        fprintf(out,
                "ports        %s launches waited for a port (first after %s), %s in all, %s at "
                "most\n",
                group(tally->port_waits.count, a),
                format_time((double)tally->first_port_wait_ns, first),
                format_time((double)tally->port_waits.total_ns, b),
                format_time((double)tally->port_waits.max_ns, c));
    if (tally->refused_bind + tally->refused_connect)
        fprintf(out,
                "             the kernel refused a port %s times at bind and %s times at connect; "
                "another one was taken (%s still set aside)\n",
                group(tally->refused_bind, a), group(tally->refused_connect, d),
                group(run->ports_aside, e));
    if (run->takeover_lost)
        fprintf(out,
                "             the kernel does not let our TIME_WAITs be taken over here (no TCP "
                "timestamps at the peer?): those tuples cool for 62 s\n");
}

static void print_latency(const struct run *run, FILE *out)
{
    char mean[16], p50[16], p90[16], p99[16], p999[16], max[16];

    fprintf(out, "latency      %-11s %10s %10s %10s %10s %10s %10s\n", "", "mean", "p50", "p90",
            "p99", "p99.9", "max");
    for (int i = 0; i < STAGES; i++) {
        const struct histogram *h = &run->stages[i];

        if (h->count == 0 || (i == STAGE_PORT_WAIT && h->max == 0))
            continue;
        fprintf(out, "             %-11s %10s %10s %10s %10s %10s %10s\n", stage_names[i],
                format_time(histogram_mean(h), mean),
                format_time((double)histogram_percentile(h, 0.5), p50),
                format_time((double)histogram_percentile(h, 0.9), p90),
                format_time((double)histogram_percentile(h, 0.99), p99),
                format_time((double)histogram_percentile(h, 0.999), p999),
                format_time((double)h->max, max));
    }
}

static void print_landing(const struct run *run, FILE *out)
{
    const struct tally *tally = &run->tally;
    char a[32], b[32], c[32];

    fprintf(out, "closed by    client %s, server %s, reset %s\n",
            group(tally->closed_by[CLOSER_CLIENT], a), group(tally->closed_by[CLOSER_SERVER], b),
            group(tally->closed_by[CLOSER_RESET], c));
    fprintf(out, "TIME_WAIT    client %s, server %s\n",
            run->time_wait_client < 0 ? "unknown" : group((uint64_t)run->time_wait_client, a),
            run->time_wait_server < 0 ? "not on this host"
                                      : group((uint64_t)run->time_wait_server, b));
}

static void print_kernel(const struct run *run, FILE *out)
{
    bool first = true;

    for (size_t i = 0; run->kernel_known && tw_counter_name(i); i++) {
        int64_t moved = run->kernel_after.values[i] - run->kernel_before.values[i];

        if (run->kernel_before.values[i] < 0 || moved <= 0)
            continue;
        fprintf(out, "%s %s +%lld (%s)\n", first ? "kernel      " : "            ",
                tw_counter_name(i), (long long)moved, tw_counter_meaning(i));
        first = false;
    }
}

static void print_self(const struct report_workload *workload, const struct run *run, FILE *out)
{
    const struct tally *tally = &run->tally;
    double awake = run->duration_s * workload->threads - (double)tally->slept_ns / 1e9;
    double busy = run->duration_s > 0 ? 100 * awake / (run->duration_s * workload->threads) : 0;
    char a[32], b[32];

    fprintf(out, "cpu          %.2f s user, %.2f s system", run->user_s, run->system_s);
    if (tally->opened)
        fprintf(out, ", %.1f us a connection (%.2f user)",
                (run->user_s + run->system_s) * 1e6 / (double)tally->opened,
                run->user_s * 1e6 / (double)tally->opened);
    fprintf(out, "; memory %.1f MB, of that ledger %.1f MB\n", (double)run->memory_bytes / 1e6,
            (double)run->ledger_bytes / 1e6);
    if (tally->late)
        fprintf(out,
                "honesty      %s launches were more than 1 ms late (%s at most): the generator did "
                "not keep up\n",
                group(tally->late, a), format_time((double)tally->late_max_ns, b));
    if (busy > 95 && workload->rate_per_s > 0)
        fprintf(out,
                "honesty      the generator's threads were busy %.0f %% of the time: latencies "
                "include its own queue\n",
                busy);
}

void report_text(const struct report_workload *workload, const struct run *run,
                 const struct verdict_line *missed, size_t missed_count, bool color, FILE *out)
{
    fprintf(out, "%s, closed by %s, %s\n", workload->targets[0], workload->closing,
            workload->arrivals);
    if (workload->target_count > 1)
        fprintf(out, "and %zu more targets\n", workload->target_count - 1);
    print_counts(run, out);
    print_errors(&run->tally, out);
    print_ports(run, out);
    print_latency(run, out);
    print_landing(run, out);
    print_kernel(run, out);
    print_self(workload, run, out);
    report_budget_line(&run->budget, out);
    if (workload->peak && run->peak_per_s > 0)
        fprintf(out, "peak         %.0f connections/s were held\n", run->peak_per_s);
    else if (workload->peak)
        fprintf(out, "peak         no step was held\n");
    for (size_t i = 0; i < missed_count; i++)
        fprintf(out, "%smissed%s       %s\n", color ? "\033[1;31m" : "", color ? "\033[0m" : "",
                missed[i].text);
    if (run->budget.advice[0] &&
        (run->tally.port_waits.count || run->tally.failures[FAILURE_NOT_AVAILABLE_CONNECT]))
        fprintf(out, "advice       %s\n", run->budget.advice);
    if (run->interrupted)
        fprintf(out,
                "interrupted  the run was ended early; what was measured until then is above\n");
}
