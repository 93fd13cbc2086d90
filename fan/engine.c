#include "engine.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tidewait/clock.h"
#include "waiting.h"

#define EVENTS     256
#define READ_SIZE  (64 << 10)
#define TICK_NS    (TW_NS_PER_S / 10)
#define LATE_NS    TW_NS_PER_S /* ten times as long as a turn should last */
#define GRACE_NS   TW_NS_PER_S /* between the steps of ending one */
#define KIND_BITS  2
#define OF_PROCESS 2 /* a kind beside the streams */

/* One call of fan_run(). */
struct run {
    const struct fan_opts *opts;
    struct job *jobs;
    size_t next; /* the first job that was never started */
    struct job **running;
    struct waiting waiting; /* those that were put off */
    struct fan_count count;
    uint64_t deadline_ns;
    uint64_t not_before_ns; /* nothing is started before */
    uint64_t looked_ns;     /* the last turn of the loop */
    size_t full_at;         /* so many were too many for the system; 0: it does not refuse */
    int stopped;
    int epoll;
    char *buffer;
};

/* --- what a child writes ---------------------------------------------------------------------- */

static void pass(struct run *run, struct job *job, enum fan_stream stream, const char *data,
                 size_t len)
{
    const struct fan_sink *sink = run->opts->sink;

    if (len && sink->data)
        sink->data(sink->context, job, stream, data, len);
}

/* Keeps the last bytes. */
static void remember(struct attempt *attempt, const char *data, size_t len)
{
    size_t room = sizeof(attempt->words), keep;

    if (len > room) {
        data += len - room;
        len = room;
    }
    keep = attempt->word_len < room - len ? attempt->word_len : room - len;
    memmove(attempt->words, attempt->words + attempt->word_len - keep, keep);
    memcpy(attempt->words + keep, data, len);
    attempt->word_len = keep + len;
}

/* The command is about to run. */
static void begin_command(const struct run *run, struct attempt *attempt, uint64_t now)
{
    attempt->mark = NULL;
    if (!attempt->ended)
        attempt->end_ns = run->opts->command_ns ? now + run->opts->command_ns : TW_NEVER;
}

/* Looks for the mark in what is held back. What stood before it is passed on: it did no harm. */
static void look_for_mark(struct run *run, struct job *job, uint64_t now)
{
    struct attempt *attempt = job->attempt;
    size_t len = strlen(attempt->mark);
    char *at = memmem(attempt->words, attempt->word_len, attempt->mark, len);
    size_t before = at ? (size_t)(at - attempt->words) : 0;
    size_t behind = before + len + 1;

    /* Its newline has to be there too. */
    if (!at || behind > attempt->word_len || at[len] != '\n')
        return;
    begin_command(run, attempt, now);
    pass(run, job, STREAM_ERR, attempt->words, before);
    pass(run, job, STREAM_ERR, attempt->words + behind, attempt->word_len - behind);
    memmove(attempt->words, attempt->words + behind, attempt->word_len - behind);
    attempt->word_len -= behind;
}

static void take_words(struct run *run, struct job *job, const char *data, size_t len, uint64_t now)
{
    struct attempt *attempt = job->attempt;

    while (attempt->mark && len) {
        size_t half = sizeof(attempt->words) / 2, room = sizeof(attempt->words) - attempt->word_len;
        size_t part;

        if (room == 0) {
            pass(run, job, STREAM_ERR, attempt->words, half);
            memmove(attempt->words, attempt->words + half, half);
            attempt->word_len = room = half;
        }
        part = room < len ? room : len;
        memcpy(attempt->words + attempt->word_len, data, part);
        attempt->word_len += part;
        data += part;
        len -= part;
        look_for_mark(run, job, now);
    }
    if (attempt->mark || len == 0)
        return;
    remember(attempt, data, len);
    pass(run, job, STREAM_ERR, data, len);
}

/* A child that was forked a moment ago may still have it too: closing alone would not end its
 * events. */
static void close_source(const struct run *run, int *fd)
{
    if (*fd < 0)
        return;
    epoll_ctl(run->epoll, EPOLL_CTL_DEL, *fd, NULL);
    close(*fd);
    *fd = -1;
}

/* One piece, so that a host that writes much does not keep the others waiting. */
static void read_pipe(struct run *run, struct job *job, enum fan_stream stream)
{
    struct attempt *attempt = job->attempt;
    ssize_t len = read(attempt->pipes[stream], run->buffer, READ_SIZE);

    if (len < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (len <= 0)
        close_source(run, &attempt->pipes[stream]);
    else if (stream == STREAM_ERR)
        take_words(run, job, run->buffer, (size_t)len, tw_clock_ns());
    else
        pass(run, job, stream, run->buffer, (size_t)len);
}

/* --- the end of a job ------------------------------------------------------------------------- */

static void finish(struct run *run, struct job *job)
{
    const struct fan_sink *sink = run->opts->sink;

    job->state = JOB_DONE;
    run->count.done++;
    run->count.failed += job->cause != CAUSE_NONE;
    if (sink->done)
        sink->done(sink->context, job);
}

static void begin(struct run *run, struct job *job)
{
    if (!job->begun && run->opts->sink->begin)
        run->opts->sink->begin(run->opts->sink->context, job);
    job->begun = true;
}

static void finish_unstarted(struct run *run, struct job *job, enum fan_cause cause,
                             const char *why)
{
    begin(run, job);
    job->cause = cause;
    job_tell(job, why, strlen(why));
    run->count.waiting--;
    finish(run, job);
}

/* Another attempt later. What keeps us out may be over at once, such as too many logins at a time;
 * or take a minute, such as a restart, or ports of ours in TIME_WAIT. */
static void put_off(struct run *run, struct job *job, uint64_t now)
{
    job->state = JOB_WAITING;
    job->waits = 0;
    waiting_add(&run->waiting, job, WAITING_SECOND + job->attempts - 1, now);
    run->count.waiting++;
}

static void reap(struct job *job)
{
    int status = 0;
    pid_t rc;

    do
        rc = waitpid(job->attempt->pid, &status, 0);
    while (rc < 0 && errno == EINTR);
    job->exit = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    job->signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    job->cause = job->signal ? CAUSE_SIGNAL : job->exit ? CAUSE_EXIT : CAUSE_NONE;
}

static bool is_of_transport(enum fan_cause cause)
{
    return cause >= CAUSE_REFUSED && cause <= CAUSE_CONNECT;
}

static void tell_limit(struct job *job, enum fan_cause cause)
{
    static const char *const words[CAUSES] = {
        [CAUSE_TIMEOUT] = "not connected within the time of --connect-timeout",
        [CAUSE_TIME_LIMIT] = "the command took longer than --timeout",
        [CAUSE_DEADLINE] = "ended by --deadline",
        [CAUSE_INTERRUPTED] = "ended by a signal to us",
    };

    job->cause = cause;
    job->exit = -1;
    job->signal = 0;
    if (words[cause])
        job_tell(job, words[cause], strlen(words[cause]));
}

static void close_attempt(const struct run *run, struct attempt *attempt)
{
    for (int i = 0; i < STREAMS; i++)
        close_source(run, &attempt->pipes[i]);
    close_source(run, &attempt->process);
    if (attempt->leash >= 0)
        close(attempt->leash);
}

/* The child and its pipes are at their end. */
static void end_attempt(struct run *run, size_t at)
{
    struct job *job = run->running[at];
    struct attempt *attempt = job->attempt;
    uint64_t now = tw_clock_ns();

    run->running[at] = run->running[--run->count.running];
    run->full_at = 0;
    run->not_before_ns = 0;
    reap(job);
    if (attempt->ended)
        tell_limit(job, attempt->ended);
    if (run->opts->transport->ended)
        run->opts->transport->ended(run->opts->transport_context, job);
    job->took_ns = now - attempt->started_ns;
    if (attempt->mark && !is_of_transport(job->cause))
        pass(run, job, STREAM_ERR, attempt->words, attempt->word_len);
    close_attempt(run, attempt);
    free(attempt);
    job->attempt = NULL;
    if (cause_is_of_connect(job->cause) && job->attempts <= run->opts->retry && !run->stopped)
        put_off(run, job, now);
    else
        finish(run, job);
}

/* The next step of ending a child and all that it has started. It is not waited for before the end
 * of its pipes, so that its number cannot be somebody else's meanwhile. */
static void end_child(const struct run *run, struct attempt *attempt, enum fan_cause cause,
                      bool at_once, uint64_t now)
{
    if (!attempt->ended)
        attempt->ended = cause;
    if (attempt->leash >= 0)
        close(attempt->leash);
    attempt->leash = -1;
    if (at_once && attempt->steps == 0)
        attempt->steps = 1;
    if (attempt->steps < 2)
        kill(-attempt->pid, attempt->steps == 0 ? SIGTERM : SIGKILL);
    /* What has left its session and still holds the pipes is let go. */
    for (int i = 0; attempt->steps == 2 && i < STREAMS; i++)
        close_source(run, &attempt->pipes[i]);
    attempt->steps++;
    attempt->end_ns = attempt->steps <= 2 ? now + GRACE_NS : TW_NEVER;
}

/* --- the beginning of a job ------------------------------------------------------------------- */

static int listen_to(const struct run *run, const struct job *job)
{
    const struct attempt *attempt = job->attempt;
    const int fds[] = {attempt->pipes[STREAM_OUT], attempt->pipes[STREAM_ERR], attempt->process};

    for (unsigned kind = 0; kind < sizeof(fds) / sizeof(fds[0]); kind++) {
        struct epoll_event event = {.events = EPOLLIN};

        event.data.u64 = (uint64_t)(job - run->jobs) << KIND_BITS | kind;
        if (epoll_ctl(run->epoll, EPOLL_CTL_ADD, fds[kind], &event))
            return -errno;
    }
    return 0;
}

static bool is_of_system(int rc)
{
    return rc == -EAGAIN || rc == -ENOMEM || rc == -EMFILE || rc == -ENFILE;
}

/* The transport cannot start it. Returns -EBUSY: others first; -EAGAIN: none now; else it has
 * failed. */
static int not_started(struct run *run, int rc, uint64_t until_ns, const struct tw_error *error)
{
    const struct fan_sink *sink = run->opts->sink;

    if (until_ns && error->text[0] && sink->pause)
        sink->pause(sink->context, error->text, until_ns);
    if (until_ns && rc == -EBUSY)
        return rc;
    run->not_before_ns = until_ns;
    if (until_ns)
        return -EAGAIN;
    if (is_of_system(rc) && run->count.running) {
        run->full_at = run->count.running;
        return -EAGAIN;
    }
    return rc == -EAGAIN ? -ENOMEM : rc;
}

/* Returns 0, or what not_started() does. */
static int try_start(struct run *run, struct job *job, struct tw_error *error)
{
    const struct fan_opts *opts = run->opts;
    struct attempt *attempt = calloc(1, sizeof(*attempt));
    uint64_t until_ns = 0, now = tw_clock_ns();
    int rc;

    job->attempt = attempt;
    job->cause = CAUSE_NONE;
    rc = attempt
             ? opts->transport->start(opts->transport_context, opts->command, job, &until_ns, error)
             : -ENOMEM;
    if (rc) {
        free(attempt);
        job->attempt = NULL;
        return not_started(run, rc, until_ns, error);
    }
    begin(run, job);
    attempt->started_ns = now;
    attempt->end_ns = opts->command->connect_ns ? now + opts->command->connect_ns : TW_NEVER;
    if (!attempt->mark)
        begin_command(run, attempt, now);
    job->state = JOB_RUNNING;
    job->attempts++;
    run->running[run->count.running++] = job;
    run->count.waiting--;
    /* Without events of it, it has to go at once. */
    if (listen_to(run, job))
        end_child(run, attempt, CAUSE_START, true, now);
    return 0;
}

/* The job whose turn it is, or NULL. */
static struct job *next_job(struct run *run, uint64_t now)
{
    struct job *job = waiting_first(&run->waiting);

    if (job && job->due_ns <= now)
        return job;
    return run->next < run->count.total ? &run->jobs[run->next] : NULL;
}

/* Its turn is over. */
static void leave_queue(struct run *run, const struct job *job)
{
    if (job == &run->jobs[run->next])
        run->next++;
    else
        waiting_leave(&run->waiting);
}

static bool has_room(const struct run *run)
{
    return run->count.running < run->opts->window &&
           (run->full_at == 0 || run->count.running < run->full_at);
}

static void fail_to_start(struct run *run, struct job *job, const char *why, uint64_t now)
{
    enum fan_cause cause = job->cause ? job->cause : CAUSE_START;

    job->attempts++;
    if (cause_is_of_connect(cause) && job->attempts <= run->opts->retry) {
        run->count.waiting--;
        put_off(run, job, now);
    } else {
        finish_unstarted(run, job, cause, why);
    }
}

static void fill_window(struct run *run)
{
    uint64_t now = tw_clock_ns();
    struct job *job;

    if (run->stopped || run->not_before_ns > now)
        return;
    while (has_room(run) && (job = next_job(run, now))) {
        struct tw_error error = {0};
        int rc = try_start(run, job, &error);

        if (rc == -EAGAIN)
            return;
        leave_queue(run, job);
        if (rc == -EBUSY)
            waiting_add(&run->waiting, job,
                        job->waits < WAITING_SECOND ? job->waits++ : WAITING_SECOND, now);
        else if (rc)
            fail_to_start(run, job, error.text[0] ? error.text : strerror(-rc), now);
    }
}

/* --- the loop --------------------------------------------------------------------------------- */

/* Those that wait are not started any more. */
static void cancel_waiting(struct run *run, enum fan_cause cause, const char *why)
{
    struct job *job;

    while ((job = next_job(run, TW_NEVER))) {
        leave_queue(run, job);
        finish_unstarted(run, job, cause, why);
    }
}

static void end_all(struct run *run, enum fan_cause cause, bool at_once, uint64_t now)
{
    for (size_t i = 0; i < run->count.running; i++) {
        struct attempt *attempt = run->running[i]->attempt;

        if (attempt->steps < (at_once ? 2 : 1))
            end_child(run, attempt, cause, at_once, now);
    }
    cancel_waiting(run, cause,
                   cause == CAUSE_DEADLINE ? "not started before --deadline"
                                           : "not started before the end");
}

static void check_stop(struct run *run, uint64_t now)
{
    int stop = run->opts->stop ? atomic_load(run->opts->stop) : 0;

    if (now >= run->deadline_ns) {
        run->deadline_ns = TW_NEVER;
        run->stopped = run->stopped ? run->stopped : 1;
        end_all(run, CAUSE_DEADLINE, false, now);
    }
    if (stop > run->stopped || (stop == 1 && run->stopped == 0)) {
        run->stopped = stop;
        end_all(run, CAUSE_INTERRUPTED, stop > 1, now);
    }
}

/* Ends what is too late, and takes leave of what has ended. Returns when to look again. */
static uint64_t look_after(struct run *run, uint64_t now)
{
    uint64_t next = now + TICK_NS;

    for (size_t i = run->count.running; i-- > 0;) {
        struct attempt *attempt = run->running[i]->attempt;

        if (attempt->end_ns <= now)
            end_child(run, attempt, attempt->mark ? CAUSE_TIMEOUT : CAUSE_TIME_LIMIT, false, now);
        if (attempt->exited && attempt->pipes[STREAM_OUT] < 0 && attempt->pipes[STREAM_ERR] < 0)
            end_attempt(run, i);
        else if (attempt->end_ns < next)
            next = attempt->end_ns;
    }
    return run->deadline_ns < next ? run->deadline_ns : next;
}

/* The time when another job can begin, if that is before `next`. */
static uint64_t next_begin(const struct run *run, uint64_t now, uint64_t next)
{
    const struct job *job = has_room(run) ? waiting_first(&run->waiting) : NULL;
    uint64_t due_ns = job ? job->due_ns : TW_NEVER;

    if (run->not_before_ns > now)
        due_ns = run->not_before_ns;
    return due_ns < next ? due_ns : next;
}

/* While we were stopped (Ctrl-Z), or hung in a write that nobody read, no time of the hosts has run
 * out: what they wrote meanwhile is still to be read. */
static void forgive(struct run *run, uint64_t now)
{
    uint64_t late = now - run->looked_ns;

    run->looked_ns = now;
    if (late < LATE_NS)
        return;
    for (size_t i = 0; i < run->count.running; i++)
        if (run->running[i]->attempt->end_ns != TW_NEVER)
            run->running[i]->attempt->end_ns += late;
}

static void take_event(struct run *run, const struct epoll_event *event)
{
    struct job *job = &run->jobs[event->data.u64 >> KIND_BITS];
    unsigned kind = event->data.u64 & ((1u << KIND_BITS) - 1);
    struct attempt *attempt = job->attempt;

    if (!attempt)
        return;
    if (kind == OF_PROCESS && attempt->process >= 0) {
        attempt->exited = true;
        close_source(run, &attempt->process);
    } else if (kind < STREAMS && attempt->pipes[kind] >= 0) {
        read_pipe(run, job, kind);
    }
}

static void turn(struct run *run)
{
    const struct fan_sink *sink = run->opts->sink;
    struct epoll_event events[EVENTS];
    uint64_t now = tw_clock_ns(), next;
    int count;

    forgive(run, now);
    check_stop(run, now);
    next = look_after(run, now);
    fill_window(run);
    next = next_begin(run, now, next);
    if (sink->tick)
        sink->tick(sink->context, &run->count);
    if (run->count.running + run->count.waiting == 0)
        return;
    now = tw_clock_ns();
    /* A signal may come just before: the wait has an end in any case. */
    count = epoll_wait(run->epoll, events, EVENTS,
                       next > now ? (int)((next - now) / TW_NS_PER_MS) + 1 : 0);
    for (int i = 0; i < count; i++)
        take_event(run, &events[i]);
}

int fan_run(const struct fan_opts *opts, const struct hosts *hosts, struct job *jobs,
            struct tw_error *error)
{
    struct run run = {
        .opts = opts,
        .jobs = jobs,
        .count = {.total = hosts->count, .waiting = hosts->count},
        .deadline_ns = opts->deadline_ns ? tw_clock_ns() + opts->deadline_ns : TW_NEVER,
        .running = calloc(opts->window, sizeof(struct job *)),
        .buffer = malloc(READ_SIZE),
        .epoll = epoll_create1(EPOLL_CLOEXEC),
    };
    int rc = 0;

    run.looked_ns = tw_clock_ns();
    waiting_init(&run.waiting);
    for (size_t i = 0; i < hosts->count; i++)
        jobs[i] = (struct job){.host = &hosts->items[i], .exit = -1};
    if (run.epoll < 0)
        rc = tw_error_set(error, errno, "epoll_create1: %s", strerror(errno));
    else if (!run.running || !run.buffer)
        rc = tw_error_set(error, ENOMEM, "no memory");
    else
        while (run.count.running + run.count.waiting)
            turn(&run);
    if (run.epoll >= 0)
        close(run.epoll);
    free(run.running);
    free(run.buffer);
    return rc;
}

void fan_fini(struct job *jobs, size_t count)
{
    for (size_t i = 0; jobs && i < count; i++)
        free(jobs[i].detail);
}
