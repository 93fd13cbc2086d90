#include "load.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "budget.h"
#include "landing.h"
#include "peak.h"
#include "tidewait/clock.h"

/* Workers get this long to start before the first launch is due. */
#define START_DELAY_NS (5 * TW_NS_PER_MS)

struct team {
    struct crew crew;
    struct worker **workers;
    pthread_t *threads;
    uint32_t started;
};

static void team_fini(struct team *team)
{
    for (uint32_t i = 0; team->workers && i < team->crew.workload->threads; i++) {
        if (team->workers[i])
            worker_fini(team->workers[i]);
        free(team->workers[i]);
    }
    free(team->workers);
    free(team->threads);
    monitor_fini(&team->crew.monitor);
}

static int team_init(struct team *team, const struct workload *workload, const atomic_int *stop,
                     struct tw_error *error)
{
    int rc;

    *team = (struct team){.crew = {.workload = workload, .stop = stop}};
    team->crew.offer.ramp_from_per_s = workload->ramp_from_per_s;
    team->crew.offer.ramp_s = (double)workload->ramp_ns / 1e9;
    atomic_init(&team->crew.offer.per_s, workload->rate_per_s);
    monitor_init(&team->crew.monitor, workload->threads);
    team->workers = calloc(workload->threads, sizeof(*team->workers));
    team->threads = calloc(workload->threads, sizeof(*team->threads));
    if (!team->workers || !team->threads)
        return tw_error_set(error, ENOMEM, "no memory for %u threads", workload->threads);
    for (uint32_t i = 0; i < workload->threads; i++) {
        team->workers[i] = calloc(1, sizeof(struct worker));
        if (!team->workers[i])
            return tw_error_set(error, ENOMEM, "no memory for %u threads", workload->threads);
        if ((rc = worker_init(team->workers[i], &team->crew, i, error)))
            return rc;
    }
    return 0;
}

static int team_start(struct team *team, struct tw_error *error)
{
    const struct workload *workload = team->crew.workload;
    int code;

    team->crew.start_ns = tw_clock_ns() + START_DELAY_NS;
    team->crew.measure_ns = team->crew.start_ns + workload->warmup_ns;
    team->crew.end_ns =
        workload->duration_ns ? team->crew.measure_ns + workload->duration_ns : TW_NEVER;
    for (uint32_t i = 0; i < workload->threads; i++) {
        code = pthread_create(&team->threads[i], NULL, worker_run, team->workers[i]);
        if (code)
            return tw_error_set(error, code, "cannot start thread %u: %s", i, strerror(code));
        team->started++;
    }
    return 0;
}

/* Passes every complete second on, until all workers have ended. */
static int watch_seconds(struct team *team, const struct load_watch *watch, struct peak *peak,
                         atomic_int *stop, struct run *out)
{
    struct histogram *total = malloc(sizeof(*total));
    struct second second;
    size_t room = 0;
    int rc;

    while (total && (rc = monitor_wait(&team->crew.monitor, out->series_count, TW_NS_PER_S / 5,
                                       &second, total)) >= 0) {
        if (rc == 0)
            continue;
        if (out->series_count == room) {
            struct second *series =
                reallocarray(out->series, room = room ? room * 2 : 64, sizeof(*series));
            if (!series)
                break;
            out->series = series;
        }
        out->series[out->series_count++] = second;
        if (watch && watch->second)
            watch->second(watch->context, &second, total);
        if (peak && peak_second(peak, &second, total) && atomic_load(stop) == STOP_NOT)
            atomic_store(stop, STOP_SOON);
    }
    free(total);
    return 0;
}

static void merge(const struct team *team, struct run *out)
{
    for (uint32_t i = 0; i < team->crew.workload->threads; i++) {
        const struct worker *worker = team->workers[i];

        if (worker->error)
            out->broken = -worker->error;
        tally_add(&out->tally, &worker->tally);
        for (int stage = 0; stage < STAGES; stage++)
            histogram_add(&out->stages[stage], &worker->stages[stage]);
        out->ledger_bytes += worker->ledger_bytes;
        out->ports_aside += worker->ports.aside;
        out->takeover_lost |= worker->takeover_lost;
    }
}

static double seconds_of(const struct timeval *time)
{
    return (double)time->tv_sec + (double)time->tv_usec / 1e6;
}

/* The largest resident size of this program. ru_maxrss will not do: it begins with that of whoever
 * started us. 0 when /proc does not tell. */
static uint64_t peak_memory_bytes(void)
{
    FILE *status = fopen("/proc/self/status", "re");
    unsigned long long kib = 0;
    char line[128];

    while (status && kib == 0 && fgets(line, sizeof(line), status))
        if (strncmp(line, "VmHWM:", 6) == 0)
            kib = strtoull(line + 6, NULL, 10);
    if (status)
        fclose(status);
    return kib * 1024;
}

/* CPU time of this process since `before`, and its largest size. */
static void measure_self(const struct rusage *before, struct run *out)
{
    struct rusage now;

    getrusage(RUSAGE_SELF, &now);
    out->user_s = seconds_of(&now.ru_utime) - seconds_of(&before->ru_utime);
    out->system_s = seconds_of(&now.ru_stime) - seconds_of(&before->ru_stime);
    out->memory_bytes = peak_memory_bytes();
}

static int run_team(struct team *team, const struct load_watch *watch, struct peak *peak,
                    atomic_int *stop, struct run *out, struct tw_error *error)
{
    int rc = team_start(team, error);

    if (rc) {
        atomic_store(stop, STOP_NOW);
        /* The threads that did start must not be waited for by the monitor. */
        team->crew.monitor.workers = team->started;
    } else {
        watch_seconds(team, watch, peak, stop, out);
    }
    for (uint32_t i = 0; i < team->started; i++)
        pthread_join(team->threads[i], NULL);
    for (uint32_t i = 0; i < team->started; i++) {
        uint64_t over = team->workers[i]->over_ns;

        if (over > team->crew.measure_ns &&
            (double)(over - team->crew.measure_ns) / 1e9 > out->duration_s)
            out->duration_s = (double)(over - team->crew.measure_ns) / 1e9;
    }
    return rc;
}

int load_run(const struct workload *workload, const struct threshold *limits, size_t limit_count,
             const struct load_watch *watch, atomic_int *stop, struct run *out,
             struct tw_error *error)
{
    struct peak *peak = workload->peak ? calloc(1, sizeof(*peak)) : NULL;
    struct rusage before;
    struct team team;
    int rc;

    *out = (struct run){.time_wait_client = -1, .time_wait_server = -1};
    if (workload->peak && !peak) /* without it the run would never end */
        return tw_error_set(error, ENOMEM, "no memory");
    budget_compute(workload, &out->budget);
    out->kernel_known = tw_counters_read(&out->kernel_before, NULL) == 0;
    getrusage(RUSAGE_SELF, &before);
    rc = team_init(&team, workload, stop, error);
    if (peak) {
        peak->offer = &team.crew.offer;
        peak->limits = limits;
        peak->limit_count = limit_count;
    }
    if (rc == 0)
        rc = run_team(&team, watch, peak, stop, out, error);
    measure_self(&before, out);
    if (rc == 0)
        merge(&team, out);
    /* The run may have used up the descriptors, and what follows needs some. */
    team_fini(&team);
    if (rc == 0) {
        out->kernel_known &= tw_counters_read(&out->kernel_after, NULL) == 0;
        landing_count(workload, &out->time_wait_client, &out->time_wait_server);
        if (out->takeover_lost) {
            struct workload learnt = *workload;

            learnt.takeover = false;
            budget_compute(&learnt, &out->budget);
        }
        out->peak_per_s = peak ? peak->best_per_s : 0;
        out->interrupted = atomic_load(stop) != STOP_NOT && !workload->peak;
    }
    free(peak);
    return rc;
}

void run_fini(struct run *run)
{
    free(run->series);
    run->series = NULL;
}
