/*
 * stage_kit.h - plays plots as the runner does it: by processes of their own, as root and as an
 * ordinary user. What a plot expects is a check in its story.
 */
#ifndef STAGE_KIT_H
#define STAGE_KIT_H

#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include "private.h"
#include "stage.h"
#include "stage_play.h"

#define NOBODY 65534
#define LIMIT_NS                                                                    \
    (20 * TW_NS_PER_S) /* after which something hangs; nothing is to take this long \
                        */

static const struct stage_settings plain = {.pcap_fd = -1};

/* --- playing ---------------------------------------------------------------------------------- */

static inline struct story *new_story(void)
{
    void *story =
        mmap(NULL, sizeof(struct story), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    assert_true(story != MAP_FAILED);
    return story;
}

/* Becomes the user for good, as one who has logged in. */
static inline void log_in(unsigned uid)
{
    if (uid == geteuid())
        return;
    if (setresgid(uid, uid, uid) || setresuid(uid, uid, uid) || prctl(PR_SET_DUMPABLE, 1))
        _exit(1);
}

/* Returns the status of the process that played. */
static inline int play_as(unsigned uid, void (*plot)(struct stage *stage), unsigned needs,
                          const struct stage_settings *settings, struct story *story)
{
    const struct scenario scenario = {.name = "test", .needs = needs, .play = plot};
    int status, pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        log_in(uid);
        stage_play(&scenario, story, settings);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static inline void assert_passed(const struct story *story)
{
    for (unsigned i = 0; i < story->check_count; i++)
        if (!story->checks[i].held)
            print_message("not held: %s\n", story->checks[i].text);
    if (story->end == STORY_LACKING) {
        print_message("skipped: %s\n", story->reason);
        skip();
    }
    if (story->end != STORY_PLAYED)
        fail_msg("end %d: %s", story->end, story->reason);
    assert_true(story_passed(story));
}

/* Plays as the user of the test and, when that is root, as an ordinary one too. */
static inline void must_pass_with(void (*plot)(struct stage *stage), unsigned needs,
                                  const struct stage_settings *settings)
{
    const unsigned users[] = {geteuid(), NOBODY};

    for (unsigned i = 0; i < (geteuid() ? 1 : 2); i++) {
        struct story *story = new_story();

        play_as(users[i], plot, needs, settings, story);
        assert_passed(story);
        munmap(story, sizeof(*story));
    }
}

/* Whether a stage can be had at all; else says why. */
static inline void plot_of_nothing(struct stage *stage)
{
    stage_expect(stage, true, "it was played");
}

static inline int run_on_stages(int (*all_tests)(void))
{
    struct story *story = new_story();

    play_as(geteuid(), plot_of_nothing, NEEDS_NOTHING, &plain, story);
    if (story->end == STORY_LACKING) {
        printf("skipped: %s\n", story->reason);
        return EXIT_SKIP;
    }
    return all_tests();
}

#endif
