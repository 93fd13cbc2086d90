/* The runner with stages of our own: what it says of those that die, who plays beside whom, and
 * that nothing is left behind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runner.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* What the stages of one test share with it. */
struct desk {
    atomic_int playing, most; /* at once */
    atomic_int playing_light, most_light;
    atomic_int begun;
    atomic_int orphan; /* the pid of what a stage left behind */
    atomic_int go_on;
};
static struct desk *desk;

static void raise_most(atomic_int *most, int value)
{
    for (int seen = atomic_load(most); value > seen;)
        if (atomic_compare_exchange_weak(most, &seen, value))
            return;
}

static void wait_forever(void)
{
    for (;;)
        pause();
}

static void play_well(struct stage *stage)
{
    (void)stage;
}

static void crash(struct stage *stage)
{
    (void)stage;
    signal(SIGSEGV, SIG_DFL); /* a sanitizer would make an exit of it */
    raise(SIGSEGV);
}

/* When all has been told. */
static void crash_late(struct stage *stage)
{
    (void)stage;
}

static void vanish(struct stage *stage)
{
    (void)stage;
    _exit(9);
}

static void hang(struct stage *stage)
{
    (void)stage;
    signal(SIGTERM, SIG_IGN);
    wait_forever();
}

/* Leaves a child behind that nothing but SIGKILL ends. */
static void leave_child(struct stage *stage)
{
    pid_t child = fork();

    (void)stage;
    if (child == 0) {
        signal(SIGTERM, SIG_IGN);
        alarm(60); /* should the test fail */
        wait_forever();
    }
    atomic_store(&desk->orphan, child);
}

/* Ends when the test has seen enough. */
static void meet(struct stage *stage)
{
    (void)stage;
    while (!atomic_load(&desk->go_on))
        poll(NULL, 0, 1);
}

static void check_process(struct stage *stage)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE};
    struct sigaction action;
    int number = 0;

    (void)stage;
    for (size_t i = 0; i < COUNT(signals); i++)
        if (sigaction(signals[i], NULL, &action) || action.sa_handler != SIG_DFL)
            _exit(1);
    if (getpgrp() != getpid())
        _exit(2);
    if (prctl(PR_GET_PDEATHSIG, &number) || number != SIGKILL)
        _exit(3);
}

#define SCENARIO(of, wants) \
    static const struct scenario of##_scenario = {.name = #of, .play = (of), .needs = (wants)}
SCENARIO(play_well, NEEDS_NOTHING);
SCENARIO(crash, NEEDS_NOTHING);
SCENARIO(vanish, NEEDS_NOTHING);
SCENARIO(hang, NEEDS_NOTHING);
SCENARIO(crash_late, NEEDS_NOTHING);
SCENARIO(leave_child, NEEDS_NOTHING);
SCENARIO(check_process, NEEDS_NOTHING);
static const struct scenario light = {.name = "light", .play = meet};
static const struct scenario heavy = {.name = "Heavy", .play = meet, .needs = NEEDS_LONG_WAIT};

/* In place of the real one. */
void stage_play(const struct scenario *scenario, struct story *shared,
                const struct stage_settings *settings)
{
    bool is_light = !(scenario->needs & NEEDS_LONG_WAIT);

    (void)settings;
    atomic_fetch_add(&desk->begun, 1);
    raise_most(&desk->most, atomic_fetch_add(&desk->playing, 1) + 1);
    if (is_light)
        raise_most(&desk->most_light, atomic_fetch_add(&desk->playing_light, 1) + 1);
    scenario->play(NULL);
    if (is_light)
        atomic_fetch_sub(&desk->playing_light, 1);
    atomic_fetch_sub(&desk->playing, 1);
    story_add_check(shared, true, "it was played");
    story_set_end(shared, STORY_PLAYED, "%s", "");
    if (scenario->play == crash_late)
        crash(NULL);
    _exit(0);
}

struct told {
    size_t ended;
    const char *names[32];
};

static void on_ended(const struct play *play, void *context)
{
    struct told *told = context;

    assert_int_equal(play->state, PLAY_ENDED);
    told->names[told->ended++] = play->scenario->name;
}

static const struct stage_settings no_settings = {.pcap_fd = -1};

static struct told run(struct play *plays, size_t count, unsigned jobs, uint64_t limit_ms,
                       const atomic_int *stop)
{
    struct told told = {0};
    struct tw_error error = {0};
    struct runner_settings settings = {
        .stage = &no_settings,
        .jobs = jobs,
        .limit_ms = limit_ms,
        .stop = stop,
        .ended = on_ended,
        .context = &told,
    };

    assert_int_equal(runner_play(plays, count, &settings, &error), 0);
    return told;
}

static void assert_no_children(void)
{
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
}

static struct told play(struct play *plays, size_t count, uint64_t limit_ms)
{
    struct told told = run(plays, count, 0, limit_ms, NULL);

    assert_no_children();
    return told;
}

#define LONG_ENOUGH 60000

/* --- how they end --- */

static void test_ends(void **state)
{
    struct play plays[] = {
        {.scenario = &play_well_scenario},  {.scenario = &crash_scenario},
        {.scenario = &vanish_scenario},     {.scenario = &check_process_scenario},
        {.scenario = &crash_late_scenario},
    };
    struct told told;

    (void)state;
    signal(SIGINT, SIG_IGN); /* none of which the stage is to have from us */
    signal(SIGPIPE, SIG_IGN);
    told = play(plays, COUNT(plays), LONG_ENOUGH);
    signal(SIGINT, SIG_DFL);
    signal(SIGPIPE, SIG_DFL);
    assert_int_equal(told.ended, COUNT(plays));
    assert_true(story_passed(plays[0].story));
    assert_int_equal(plays[1].story->end, STORY_UNFINISHED);
    assert_non_null(strstr(plays[1].story->reason, "SIGSEGV"));
    assert_int_equal(plays[2].story->end, STORY_UNFINISHED);
    assert_non_null(strstr(plays[2].story->reason, "status 9"));
    assert_string_equal(plays[3].story->reason, "");
    assert_true(story_passed(plays[3].story));
    assert_int_equal(plays[4].story->end, STORY_UNFINISHED);
    assert_non_null(strstr(plays[4].story->reason, "SIGSEGV"));
    runner_free(plays, COUNT(plays));
}

static void test_time_limit(void **state)
{
    struct play plays[] = {{.scenario = &hang_scenario}, {.scenario = &play_well_scenario}};
    struct told told = play(plays, COUNT(plays), 300);

    (void)state;
    assert_int_equal(told.ended, 2);
    assert_int_equal(plays[0].story->end, STORY_UNFINISHED);
    assert_string_equal(plays[0].story->reason, "not at its end after 0.3 s: killed");
    assert_true(story_passed(plays[1].story));
    runner_free(plays, COUNT(plays));
}

static void test_children_of_a_stage(void **state)
{
    struct play plays[] = {{.scenario = &leave_child_scenario}};

    (void)state;
    play(plays, COUNT(plays), LONG_ENOUGH);
    assert_true(story_passed(plays[0].story));
    assert_true(atomic_load(&desk->orphan) > 0);
    assert_int_equal(kill(atomic_load(&desk->orphan), 0), -1);
    assert_int_equal(errno, ESRCH);
    runner_free(plays, COUNT(plays));
}

/* A shell without job control may have SIGCHLD ignored, which survives exec. */
static void test_ignored_sigchld(void **state)
{
    struct play plays[] = {{.scenario = &play_well_scenario}};

    (void)state;
    signal(SIGCHLD, SIG_IGN);
    play(plays, COUNT(plays), LONG_ENOUGH);
    assert_true(signal(SIGCHLD, SIG_DFL) == SIG_IGN);
    assert_true(story_passed(plays[0].story));
    runner_free(plays, COUNT(plays));
}

/* --- who plays when --- */

#define PLAYERS 12

/* Six of each kind, the light ones first in the list. A watcher lets them go when `expected` play
 * at once, and a moment after, so that one too many would be seen. */
static struct told play_players(unsigned jobs, int expected, struct play *plays)
{
    struct told told;
    pid_t watcher;

    for (size_t i = 0; i < PLAYERS; i++)
        plays[i] = (struct play){.scenario = i < PLAYERS / 2 ? &light : &heavy};
    watcher = fork();
    assert_true(watcher >= 0);
    if (watcher == 0) {
        while (atomic_load(&desk->playing) < expected)
            poll(NULL, 0, 1);
        poll(NULL, 0, 150);
        atomic_store(&desk->go_on, 1);
        _exit(0);
    }
    told = run(plays, PLAYERS, jobs, LONG_ENOUGH, NULL);
    assert_int_equal(waitpid(watcher, NULL, 0), watcher);
    assert_no_children();
    return told;
}

static void test_long_ones_together(void **state)
{
    struct play plays[PLAYERS];
    struct told told = play_players(0, PLAYERS / 2 + 4, plays);

    (void)state;
    assert_int_equal(told.ended, PLAYERS);
    assert_int_equal(atomic_load(&desk->most), PLAYERS / 2 + 4);
    assert_int_equal(atomic_load(&desk->most_light), 4);
    runner_free(plays, PLAYERS);
}

static void test_jobs(void **state)
{
    struct play plays[PLAYERS];
    struct told told = play_players(2, 2, plays);

    (void)state;
    assert_int_equal(told.ended, PLAYERS);
    assert_int_equal(atomic_load(&desk->most), 2);
    for (size_t i = 0; i < PLAYERS / 2; i++)
        for (size_t j = PLAYERS / 2; j < PLAYERS; j++)
            assert_true(plays[j].begun_ns <= plays[i].begun_ns);
    for (size_t i = 0; i < PLAYERS; i++)
        assert_true(story_passed(plays[i].story));
    runner_free(plays, PLAYERS);
}

/* --- stopping --- */

static atomic_int stop;

static void on_signal(int number)
{
    (void)number;
    atomic_store(&stop, 1);
}

/* Raises the signal when the one that hangs is under way. */
static void signal_when_hanging(pid_t whom)
{
    while (atomic_load(&desk->begun) < 2)
        poll(NULL, 0, 1);
    poll(NULL, 0, 20);
    kill(whom, SIGINT);
    _exit(0);
}

static void test_stop(void **state)
{
    struct play plays[] = {
        {.scenario = &play_well_scenario},
        {.scenario = &hang_scenario},
        {.scenario = &play_well_scenario},
    };
    struct sigaction action = {.sa_handler = on_signal};
    struct told told;
    pid_t parent = getpid(), child;

    (void)state;
    sigaction(SIGINT, &action, NULL);
    child = fork();
    assert_true(child >= 0);
    if (child == 0)
        signal_when_hanging(parent);
    told = run(plays, COUNT(plays), 1, LONG_ENOUGH, &stop);
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_no_children();
    signal(SIGINT, SIG_DFL);
    assert_int_equal(told.ended, 1);
    assert_int_equal(plays[0].state, PLAY_ENDED);
    assert_int_equal(plays[1].state, PLAY_STOPPED);
    assert_int_equal(plays[2].state, PLAY_WAITING);
    assert_null(plays[2].story);
    runner_free(plays, COUNT(plays));
}

static int new_desk(void **state)
{
    (void)state;
    desk = mmap(NULL, sizeof(*desk), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return desk == MAP_FAILED;
}

static int free_desk(void **state)
{
    (void)state;
    return munmap(desk, sizeof(*desk));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, new_desk, free_desk)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_ends),
        TEST(test_time_limit),
        TEST(test_children_of_a_stage),
        TEST(test_ignored_sigchld),
        TEST(test_long_ones_together),
        TEST(test_jobs),
        TEST(test_stop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
