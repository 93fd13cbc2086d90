/*
 * How plays end, also when they are killed: the story says it, and nothing is left behind.
 * Exit code 77: nobody may make private networks here.
 */
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>

#include "network.h"
#include "stage_kit.h"
#include "tidewait/clock.h"

#define LIMIT_NS                                                                    \
    (20 * TW_NS_PER_S) /* after which something hangs; nothing is to take this long \
                        */

static void plot_many_checks(struct stage *stage)
{
    for (int i = 0; i <= STORY_CHECKS_MAX; i++)
        stage_expect(stage, true, "check %d", i);
}

static void plot_crash(struct stage *stage)
{
    stage_note(stage, "about to crash");
    raise(SIGKILL);
}

static void plots_end_badly(void **state)
{
    struct story *story = new_story();

    (void)state;
    play_as(geteuid(), plot_many_checks, NEEDS_NOTHING, &plain, story);
    if (story->end == STORY_LACKING)
        skip();
    assert_int_equal(story->end, STORY_BROKEN);
    assert_non_null(strstr(story->reason, "more than 64"));
    story = new_story();
    assert_true(WIFSIGNALED(play_as(geteuid(), plot_crash, NEEDS_NOTHING, &plain, story)));
    assert_int_equal(story->end, STORY_UNFINISHED);
    assert_string_equal(story->events[0].text, "about to crash");
}

/* Also after the change of rights that a user namespace brings. */
static void plot_parent(struct stage *stage)
{
    int signal_number = 0;

    prctl(PR_GET_PDEATHSIG, &signal_number);
    stage_expect(stage, signal_number == SIGKILL, "signal %d comes when the parent ends",
                 signal_number);
}

static void stage_dies_with_its_parent(void **state)
{
    (void)state;
    must_pass_with(plot_parent, NEEDS_NOTHING, &plain);
}

/* --- nothing is left -------------------------------------------------------------------------- */

/* In the network of the one who looks: one end of a pair of interfaces, whose other end is on a
 * host. It goes when the host's network does. */
#define WITNESS "witness"
static int looker_netns = -1;

static void stay(void *context)
{
    (void)context;
    alarm(60); /* should the test fail, it does not stay for ever */
    for (;;)
        pause();
}

static void plot_stay(struct stage *stage)
{
    struct tw_error error = {0};

    stage_hosts(stage, "client", "server");
    host_enter(stage_right(stage));
    if (network_add_veth(WITNESS, looker_netns, &error))
        stage_broken(stage, "%s", error.text);
    host_fork(stage_left(stage), stay, NULL);
    host_fork(stage_right(stage), stay, NULL);
    stage_note(stage, "ready");
    stay(NULL);
}

static bool until(bool (*holds)(const struct story *story), const struct story *story)
{
    uint64_t end_ns = tw_clock_ns() + LIMIT_NS;

    while (!holds(story)) {
        if (tw_clock_ns() > end_ns)
            return false;
        usleep(1000);
    }
    return true;
}

static bool is_ready(const struct story *story)
{
    return story->event_count > 0 || story->end != STORY_UNFINISHED;
}

/* Orphans become children of the one who looks (PR_SET_CHILD_SUBREAPER). */
static bool has_no_children(const struct story *story)
{
    (void)story;
    while (waitpid(-1, NULL, WNOHANG) > 0)
        ;
    return waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD;
}

static bool has_no_witness(const struct story *story)
{
    (void)story;
    return if_nametoindex(WITNESS) == 0;
}

enum found { NOTHING_LEFT, NOT_HERE, NOT_READY, NO_WITNESS_AT_FIRST, PROCESSES_LEFT, NETWORK_LEFT };

/* The runner forks the stage and tells its pid. */
static void run_stage(struct story *story, int tell)
{
    const struct scenario scenario = {.name = "test", .play = plot_stay};
    int pid = fork();

    if (pid == 0)
        stage_play(&scenario, story, &plain);
    if (write(tell, &pid, sizeof(pid)) != sizeof(pid))
        _exit(1);
    stay(NULL);
}

/* Looks from a private network of its own; the answer is an exit status. */
static enum found look_for_rests(struct story *story, bool kill_runner)
{
    int pipe_fds[2], runner, stage;

    if (geteuid() ? !enter_user_namespace(CLONE_NEWNET, 0) : unshare(CLONE_NEWNET))
        return NOT_HERE;
    looker_netns = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    if (looker_netns < 0 || prctl(PR_SET_CHILD_SUBREAPER, 1) || pipe(pipe_fds))
        return NOT_HERE;
    runner = fork();
    if (runner == 0)
        run_stage(story, pipe_fds[1]);
    if (read(pipe_fds[0], &stage, sizeof(stage)) != sizeof(stage) || !until(is_ready, story) ||
        story->event_count == 0)
        return NOT_READY;
    if (has_no_witness(story))
        return NO_WITNESS_AT_FIRST;
    if (!kill_runner)
        kill(stage, SIGKILL);
    kill(runner, SIGKILL); /* of the stage's death it takes no notice, and would stay */
    if (!until(has_no_children, story))
        return PROCESSES_LEFT;
    return until(has_no_witness, story) ? NOTHING_LEFT : NETWORK_LEFT;
}

static void assert_nothing_left(unsigned uid, bool kill_runner)
{
    struct story *story = new_story();
    int status, pid = fork();

    if (pid == 0) {
        log_in(uid);
        _exit(look_for_rests(story, kill_runner));
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    need(WEXITSTATUS(status) != NOT_HERE && story->end != STORY_LACKING,
         "no private network may be made here");
    if (WEXITSTATUS(status) != NOTHING_LEFT)
        fail_msg("found %d as user %u: %s", WEXITSTATUS(status), uid, story->reason);
    munmap(story, sizeof(*story));
}

static void killed_runner_leaves_nothing(void **state)
{
    (void)state;
    assert_nothing_left(geteuid(), true);
    if (geteuid() == 0)
        assert_nothing_left(NOBODY, true);
}

static void killed_stage_leaves_nothing(void **state)
{
    (void)state;
    assert_nothing_left(geteuid(), false);
    if (geteuid() == 0)
        assert_nothing_left(NOBODY, false);
}

static int all_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plots_end_badly),
        cmocka_unit_test(stage_dies_with_its_parent),
        cmocka_unit_test(killed_runner_leaves_nothing),
        cmocka_unit_test(killed_stage_leaves_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
    return run_on_stages(all_tests);
}
