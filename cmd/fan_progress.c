#include "fan_progress.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tidewait/clock.h"

/* A second Ctrl-C within this ends all. A little more than the second that is told, since signals
 * are seen ten times a second. */
#define AGAIN_NS (TW_NS_PER_S + TW_NS_PER_S / 10)
#define SHOW_NS  (TW_NS_PER_S / 5)

/* A signal handler has no argument but the signal. */
static atomic_int interrupts, unseen;
static atomic_int *stop_flag;

/* How many signals wait for the loop, which waits for somebody to read our output, before the next
 * ends us. */
#define UNSEEN_MAX 3

static void on_signal(int number)
{
    if (number == SIGINT)
        atomic_fetch_add(&interrupts, 1);
    else
        atomic_fetch_add(stop_flag, 1);
    if (atomic_fetch_add(&unseen, 1) + 1 >= UNSEEN_MAX)
        signal(number, SIG_DFL);
}

/* One that is ignored stays so: nohup, or a shell's background. Without SA_RESTART a signal would
 * break a write of stdio, which then forgets what it had to write. */
static void count_signal(int number)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART}, former;

    if (sigaction(number, NULL, &former) == 0 && former.sa_handler != SIG_IGN)
        sigaction(number, &action, NULL);
}

void fan_progress_init(struct fan_progress *progress, struct fan_out *out, const struct job *jobs,
                       atomic_int *stop)
{
    *progress = (struct fan_progress){
        .out = out,
        .jobs = jobs,
        .stop = stop,
        .shows = !out->config->quiet && isatty(STDERR_FILENO),
        .begin_ns = tw_clock_ns(),
    };
    stop_flag = stop;
    count_signal(SIGINT);
    count_signal(SIGTERM);
    count_signal(SIGHUP);
    signal(SIGPIPE, SIG_IGN);
}

static void tell_running(struct fan_progress *progress, const struct fan_count *count)
{
    const char **labels = malloc((count->running + 1) * sizeof(*labels));
    char *hosts = NULL;
    size_t found = 0;

    for (size_t i = 0; labels && i < count->total && found < count->running; i++)
        if (progress->jobs[i].state == JOB_RUNNING)
            labels[found++] = progress->jobs[i].host->label;
    if (labels)
        hosts = hosts_fold(labels, found);
    if (progress->out->bare)
        fputs("\r\033[K", stderr);
    progress->out->bare = false;
    fprintf(stderr,
            "tidewait fan: %zu still running: %s; %zu waiting; once more within a second ends "
            "them\n",
            count->running, hosts ? hosts : "?", count->waiting);
    fflush(stderr);
    free(hosts);
    free(labels);
}

static void look_for_interrupts(struct fan_progress *progress, const struct fan_count *count,
                                uint64_t now)
{
    int seen = atomic_load(&interrupts), more = seen - progress->interrupts;
    bool again = progress->interrupts && now - progress->interrupt_ns < AGAIN_NS;

    if (more == 0)
        return;
    progress->interrupts = seen;
    progress->interrupt_ns = now;
    if (atomic_load(progress->stop))
        atomic_store(progress->stop, 2);
    else if (again || more > 1)
        atomic_store(progress->stop, 1);
    else
        tell_running(progress, count);
}

static void show(struct fan_progress *progress, const struct fan_count *count, uint64_t now)
{
    double seconds = (double)(now - progress->begin_ns) / 1e9;

    progress->shown_ns = now;
    fprintf(stderr, "\r\033[K%zu of %zu done, %zu running, %zu failed, %.0f/s", count->done,
            count->total, count->running, count->failed,
            seconds > 0 ? (double)count->done / seconds : 0);
    fflush(stderr);
    progress->out->bare = true;
}

void fan_progress_tick(struct fan_progress *progress, const struct fan_count *count)
{
    uint64_t now = tw_clock_ns();
    bool ends = count->done == count->total;

    fan_out_flush(progress->out);
    atomic_store(&unseen, 0);
    look_for_interrupts(progress, count, now);
    if (progress->shows && !ends && now - progress->shown_ns >= SHOW_NS)
        show(progress, count, now);
    if (ends && progress->out->bare) {
        fputs("\r\033[K", stderr);
        fflush(stderr);
        progress->out->bare = false;
    }
}
