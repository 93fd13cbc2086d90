#include "runner.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tidewait/clock.h"

/* Those that do not wait keep a processor busy. */
#define LIGHT_AT_ONCE 4

/* *stop may be raised just before poll() begins, which then would not notice. */
#define LOOK_MS 100

static bool waits_long(const struct play *play)
{
    return play->scenario->needs & NEEDS_LONG_WAIT;
}

/* --- the child --- */

static void become_stage(const struct play *play, const struct stage_settings *settings,
                         pid_t parent)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE};

    /* Ctrl-C on a terminal is for the runner alone, and what the stage starts is killed with it. */
    setpgid(0, 0);
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        signal(signals[i], SIG_DFL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        raise(SIGKILL); /* it died before we had asked for the signal */
    stage_play(play->scenario, play->story, settings);
}

static int begin(struct play *play, const struct stage_settings *settings, struct tw_error *error)
{
    pid_t parent = getpid();
    void *story;

    story =
        mmap(NULL, sizeof(struct story), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (story == MAP_FAILED)
        return tw_error_set(error, ENOMEM, "no memory for the story of %s", play->scenario->name);
    play->story = story;
    play->begun_ns = tw_clock_ns();
    play->pid = fork();
    if (play->pid == 0)
        become_stage(play, settings, parent);
    if (play->pid < 0)
        return tw_error_set(error, errno, "cannot start a process for %s: %s", play->scenario->name,
                            strerror(errno));
    setpgid(play->pid, play->pid); /* whoever comes first */
    play->state = PLAY_UNDER_WAY;
    play->pidfd = (int)syscall(SYS_pidfd_open, play->pid, 0);
    if (play->pidfd < 0)
        return tw_error_set(error, errno, "cannot watch the process of %s: %s",
                            play->scenario->name, strerror(errno));
    return 0;
}

/* --- its end --- */

static void say_unfinished(struct story *story, const siginfo_t *info, bool timed_out,
                           uint64_t limit_ms)
{
    const char *name = sigabbrev_np(info->si_status);

    if (timed_out)
        snprintf(story->reason, sizeof(story->reason), "not at its end after %.1f s: killed",
                 (double)limit_ms / 1e3);
    else if (info->si_code == CLD_EXITED)
        snprintf(story->reason, sizeof(story->reason),
                 "its process ended with status %d and did not say how it went", info->si_status);
    else
        snprintf(story->reason, sizeof(story->reason), "its process was killed by SIG%s (%s)",
                 name ? name : "?", strsignal(info->si_status));
}

/* Waits for the child, kills what it has left behind, and reaps it all. */
static void finish(struct play *play, bool timed_out, uint64_t limit_ms)
{
    siginfo_t info = {0};

    while (waitid(P_PID, (id_t)play->pid, &info, WEXITED | WNOWAIT) && errno == EINTR)
        ;
    play->ms = (tw_clock_ns() - play->begun_ns) / TW_NS_PER_MS;
    /* As long as the child is not reaped, its number is that of its group and of no other. */
    kill(-play->pid, SIGKILL);
    while (waitpid(-play->pid, NULL, 0) > 0 || errno == EINTR)
        ;
    if (play->pidfd >= 0)
        close(play->pidfd);
    play->pidfd = -1;
    play->state = PLAY_ENDED;
    if (timed_out || info.si_code != CLD_EXITED)
        play->story->end = STORY_UNFINISHED;
    if (play->story->end == STORY_UNFINISHED)
        say_unfinished(play->story, &info, timed_out, limit_ms);
}

static void end_all(struct play *plays, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (plays[i].state == PLAY_UNDER_WAY)
            kill(-plays[i].pid, SIGKILL);
    for (size_t i = 0; i < count; i++)
        if (plays[i].state == PLAY_UNDER_WAY) {
            finish(&plays[i], false, 0);
            plays[i].state = PLAY_STOPPED;
        }
}

/* --- all of them --- */

static struct play *next_waiting(struct play *plays, size_t count, bool long_ones)
{
    for (size_t i = 0; i < count; i++)
        if (plays[i].state == PLAY_WAITING && waits_long(&plays[i]) == long_ones)
            return &plays[i];
    return NULL;
}

static unsigned count_under_way(const struct play *plays, size_t count, bool long_ones)
{
    unsigned found = 0;

    for (size_t i = 0; i < count; i++)
        found += plays[i].state == PLAY_UNDER_WAY && waits_long(&plays[i]) == long_ones;
    return found;
}

/* The one to begin now; NULL: none, or it is not its turn yet. */
static struct play *choose(struct play *plays, size_t count, unsigned jobs)
{
    unsigned light = count_under_way(plays, count, false);
    unsigned all = light + count_under_way(plays, count, true);
    struct play *play;

    if (jobs && all >= jobs)
        return NULL;
    play = next_waiting(plays, count, true);
    if (!play && (jobs || light < LIGHT_AT_ONCE))
        play = next_waiting(plays, count, false);
    return play;
}

/* Sleeps until a child ends or is out of time. */
static void wait_for_one(const struct play *plays, size_t count, struct pollfd *events)
{
    nfds_t watched = 0;

    for (size_t i = 0; i < count; i++)
        if (plays[i].state == PLAY_UNDER_WAY)
            events[watched++] = (struct pollfd){plays[i].pidfd, POLLIN, 0};
    poll(events, watched, LOOK_MS);
}

static void gather(struct play *plays, size_t count, const struct runner_settings *settings)
{
    for (size_t i = 0; i < count; i++) {
        struct play *play = &plays[i];
        struct pollfd event = {play->pidfd, POLLIN, 0};
        bool timed_out = false;

        if (play->state != PLAY_UNDER_WAY)
            continue;
        if (poll(&event, 1, 0) != 1) {
            if (tw_clock_ns() - play->begun_ns < settings->limit_ms * TW_NS_PER_MS)
                continue;
            timed_out = true;
            kill(-play->pid, SIGKILL);
        }
        finish(play, timed_out, settings->limit_ms);
        settings->ended(play, settings->context);
    }
}

static int play_all(struct play *plays, size_t count, struct pollfd *events,
                    const struct runner_settings *settings, struct tw_error *error)
{
    struct play *next;
    int rc;

    while (!settings->stop || !atomic_load(settings->stop)) {
        next = choose(plays, count, settings->jobs);
        if (next) {
            if ((rc = begin(next, settings->stage, error)))
                return rc;
            continue;
        }
        if (!count_under_way(plays, count, true) && !count_under_way(plays, count, false))
            return 0;
        wait_for_one(plays, count, events);
        gather(plays, count, settings);
    }
    return 0;
}

int runner_play(struct play *plays, size_t count, const struct runner_settings *settings,
                struct tw_error *error)
{
    struct pollfd *events = calloc(count ? count : 1, sizeof(*events));
    const struct sigaction preset = {.sa_handler = SIG_DFL};
    struct sigaction former;
    int reaps_orphans = 0, rc;

    if (!events)
        return tw_error_set(error, ENOMEM, "no memory for %zu processes", count);
    for (size_t i = 0; i < count; i++)
        plays[i].pidfd = -1;
    /* What a stage started becomes our child when the stage dies, so that we can wait for its end.
     */
    prctl(PR_GET_CHILD_SUBREAPER, &reaps_orphans);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    /* Ignored, as some leave it to us, it would have the kernel reap before we can look. */
    sigaction(SIGCHLD, &preset, &former);
    rc = play_all(plays, count, events, settings, error);
    end_all(plays, count);
    sigaction(SIGCHLD, &former, NULL);
    prctl(PR_SET_CHILD_SUBREAPER, (unsigned long)reaps_orphans);
    free(events);
    return rc;
}

void runner_free(struct play *plays, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (plays[i].story)
            munmap(plays[i].story, sizeof(struct story));
}
