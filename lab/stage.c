#include "stage.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "stage_private.h"
#include "tidewait/clock.h"
#include "tidewait/limits.h"
#include "tidewait/verdict.h"
#include "wire_private.h"

/* How often watched states are looked at, and conditions tried: often while things happen, and
 * never so late that a time would be wrong by more than 1/32. A look takes 0.3 ms and there may be
 * many stages. */
#define STEP_NS      TW_NS_PER_MS
#define STEP_MAX_NS  (50 * TW_NS_PER_MS)
#define STEP_PORTION 32

/* Namespaces belong to a process, so does a stage. */
static struct stage *here;

struct stage *stage_here(void)
{
    return here;
}

/* --- the process ------------------------------------------------------------------------------ */

void stage_die_with(int parent)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(EXIT_FAILURE);
}

static int write_map(const char *path, const char *format, unsigned id)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    int code = 0;

    if (fd < 0)
        return errno;
    if (dprintf(fd, format, id) < 0)
        code = errno;
    close(fd);
    return code;
}

/* 0 or a positive errno, with *what that failed. The user becomes root there, and nothing else. */
static int enter_user_namespace(const char **what)
{
    unsigned uid = geteuid(), gid = getegid();
    int code;

    *what = "making a user namespace";
    if (unshare(CLONE_NEWUSER | CLONE_NEWNET))
        return errno;
    *what = "mapping users into a user namespace";
    code = write_map("/proc/self/setgroups", "deny", 0);
    if (!code || code == ENOENT)
        code = write_map("/proc/self/uid_map", "0 %u 1\n", uid);
    if (!code)
        code = write_map("/proc/self/gid_map", "0 %u 1\n", gid);
    return code;
}

static void enter_private_network(struct stage *stage)
{
    const char *what = "making a network namespace";
    int code = unshare(CLONE_NEWNET) ? errno : 0;

    if (code == EPERM)
        code = enter_user_namespace(&what);
    if (code)
        stage_lacking(stage,
                      "no private network: %s: %s (it takes root, or a system that lets users make "
                      "user namespaces)",
                      what, strerror(code));
}

static struct stage *new_stage(struct story *shared, const struct stage_settings *settings,
                               int parent)
{
    struct stage *stage = calloc(1, sizeof(*stage));

    if (!stage) {
        story_set_end(shared, STORY_BROKEN, "no memory for a stage");
        _exit(EXIT_FAILURE);
    }
    stage->story = shared;
    stage->settings = *settings;
    stage->parent = parent;
    stage->left.netns = stage->right.netns = -1;
    stage->start_ns = stage->calm_ns = tw_clock_ns();
    here = stage;
    signal(SIGPIPE, SIG_IGN);
    tw_limits_raise_files();
    enter_private_network(stage);
    return stage;
}

struct stage *stage_new(struct story *shared, const struct stage_settings *settings)
{
    return new_stage(shared, settings, 0);
}

static void end_process(struct stage *stage, int status) __attribute__((noreturn));
static void end_process(struct stage *stage, int status)
{
    stage_end_children(stage);
    _exit(status);
}

void stage_play(const struct scenario *scenario, struct story *shared,
                const struct stage_settings *settings)
{
    int parent = getppid();
    struct stage *stage;

    stage_die_with(parent);
    stage = new_stage(shared, settings, parent);
    stage_check_needs(stage, scenario->needs);
    scenario->play(stage);
    stage_sample(stage);
    stage_end_children(stage);
    story_set_end(shared, STORY_PLAYED, "%s", "");
    _exit(EXIT_SUCCESS);
}

/* --- time ------------------------------------------------------------------------------------- */

uint64_t stage_now_ns(const struct stage *stage)
{
    return tw_clock_ns() - stage->start_ns;
}

uint64_t stage_now_ms(const struct stage *stage)
{
    return stage_now_ns(stage) / TW_NS_PER_MS;
}

/* Sleeps for `ns`, or until a segment waits on the wire, and moves what waits. */
static void step(struct stage *stage, uint64_t ns)
{
    struct timespec span = {(time_t)(ns / TW_NS_PER_S), (long)(ns % TW_NS_PER_S)};
    struct pollfd fds[2];
    int count = stage->wire ? wire_poll_fds(stage->wire, fds) : 0;

    ppoll(fds, (nfds_t)count, &span, NULL);
    if (stage->wire)
        wire_pump(stage->wire);
    stage_sample(stage);
}

static uint64_t step_ns(const struct stage *stage)
{
    uint64_t ns = (tw_clock_ns() - stage->calm_ns) / STEP_PORTION;

    if (ns < STEP_NS)
        return STEP_NS;
    return ns < STEP_MAX_NS ? ns : STEP_MAX_NS;
}

bool stage_until(struct stage *stage, uint64_t ms, bool (*holds)(void *context), void *context)
{
    uint64_t end_ns;

    stage->calm_ns = tw_clock_ns();
    end_ns = stage->calm_ns + ms * TW_NS_PER_MS;
    while (!holds(context)) {
        if (tw_clock_ns() >= end_ns)
            return false;
        step(stage, step_ns(stage));
    }
    stage_sample(stage);
    return true;
}

void stage_wait(struct stage *stage, uint64_t ms)
{
    uint64_t end_ns, now_ns;

    stage->calm_ns = tw_clock_ns();
    end_ns = stage->calm_ns + ms * TW_NS_PER_MS;
    step(stage, 0);
    while ((now_ns = tw_clock_ns()) < end_ns) {
        uint64_t rest_ns = end_ns - now_ns, most_ns = step_ns(stage);

        step(stage, stage->watch_count && rest_ns > most_ns ? most_ns : rest_ns);
    }
}

/* --- telling ---------------------------------------------------------------------------------- */

void host_says(struct host *host, const char *format, ...)
{
    struct stage *stage = host->stage;
    char text[STORY_TEXT_MAX];
    va_list args;

    stage_sample(stage); /* what came before is drawn before */
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    story_add_event(stage->story, stage_now_ns(stage),
                    host == &stage->left ? STORY_LEFT : STORY_RIGHT, "%s", text);
}

void stage_note(struct stage *stage, const char *format, ...)
{
    char text[STORY_TEXT_MAX];
    va_list args;

    stage_sample(stage);
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    story_add_event(stage->story, stage_now_ns(stage), STORY_NOTE, "%s", text);
}

void stage_expect(struct stage *stage, bool holds, const char *format, ...)
{
    char text[STORY_TEXT_MAX];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (!story_add_check(stage->story, holds, "%s", text))
        stage_broken(stage, "more than %d expectations in one story", STORY_CHECKS_MAX);
}

static const char *outcome(int code)
{
    return code ? tw_errno_name(code) : "success";
}

void expect_errno(struct stage *stage, const char *what, int got, int expected)
{
    if (got == expected)
        stage_expect(stage, true, "%s: %s as expected", what, outcome(got));
    else
        stage_expect(stage, false, "%s: %s expected, but it was %s", what, outcome(expected),
                     outcome(got));
}

static void end_badly(struct stage *stage, enum story_end end, const char *format, va_list args)
    __attribute__((noreturn));
static void end_badly(struct stage *stage, enum story_end end, const char *format, va_list args)
{
    char text[sizeof(stage->story->reason)];

    vsnprintf(text, sizeof(text), format, args);
    story_set_end(stage->story, end, "%s", text);
    end_process(stage, EXIT_FAILURE);
}

void stage_broken(struct stage *stage, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    end_badly(stage, STORY_BROKEN, format, args);
    /* cppcheck-suppress va_end_missing ; nobody comes here */
}

void stage_lacking(struct stage *stage, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    end_badly(stage, STORY_LACKING, format, args);
    /* cppcheck-suppress va_end_missing ; nobody comes here */
}

void stage_refused(struct stage *stage, int code, const char *text)
{
    switch (code) {
    case EPERM:
    case EACCES:
    case EROFS:
    case ENOENT:
    case ENOSYS:
    case EOPNOTSUPP:
    case EAFNOSUPPORT:
    case EPROTONOSUPPORT:
        stage_lacking(stage, "%s", text);
    default:
        stage_broken(stage, "%s", text);
    }
}
