#include <string.h>

#include "lab.h"
#include "lab_figure.h"

/* How a play ended, for people. */
struct outcome {
    const char *word;
    const char *color;
};

static struct outcome outcome_of(const struct story *story)
{
    switch (story->end) {
    case STORY_PLAYED:
        return story_passed(story) ? (struct outcome){"ok", "\033[32m"}
                                   : (struct outcome){"FAILED", "\033[1;31m"};
    case STORY_BROKEN:
        return (struct outcome){"BROKEN", "\033[1;31m"};
    case STORY_LACKING:
        return (struct outcome){"lacking", "\033[33m"};
    default:
        return (struct outcome){"UNFINISHED", "\033[1;31m"};
    }
}

/* "  lesson    ", or as many blanks when there is no label; then the text, wrapped. */
#define LABEL_WIDTH 12

static void print_label(const char *label, bool color, FILE *out)
{
    fprintf(out, "  %s%-*s%s", color ? "\033[2m" : "", LABEL_WIDTH - 2, label,
            color ? "\033[0m" : "");
}

static void print_labelled(const char *label, const char *text, size_t size, bool color, FILE *out)
{
    print_label(label, color, out);
    figure_wrap(text, size, LABEL_WIDTH, FIGURE_COLUMNS, out);
}

static uint32_t check_count(const struct story *story)
{
    return story->check_count < STORY_CHECKS_MAX ? story->check_count : STORY_CHECKS_MAX;
}

static void print_checks(const struct story *story, bool color, FILE *out)
{
    enum { MARK_WIDTH = 4 };

    for (uint32_t i = 0; i < check_count(story); i++) {
        const struct story_check *check = &story->checks[i];

        print_label(i ? "" : "checks", color, out);
        if (color)
            fputs(check->held ? "\033[32m" : "\033[1;31m", out);
        fprintf(out, "%-*s%s", MARK_WIDTH, check->held ? "ok" : "NO", color ? "\033[0m" : "");
        figure_wrap(check->text, sizeof(check->text), LABEL_WIDTH + MARK_WIDTH, FIGURE_COLUMNS,
                    out);
    }
    if (story->end == STORY_PLAYED && story->check_count == 0)
        print_labelled("checks", "none: it proves nothing", SIZE_MAX, color, out);
}

void report_play_line(const struct report_play *play, bool color, FILE *out)
{
    enum { WORD_WIDTH = 11, NAME_WIDTH = 32, TIME_WIDTH = 10 };
    const struct story *story = play->story;
    struct outcome outcome = outcome_of(story);
    const char *text = play->scenario->title;
    size_t size = SIZE_MAX;

    if (story->end != STORY_PLAYED) {
        text = story->reason;
        size = sizeof(story->reason);
    }
    fprintf(out, "%s%-*s%s", color ? outcome.color : "", WORD_WIDTH, outcome.word,
            color ? "\033[0m" : "");
    fprintf(out, "%6.1f s  %-*s", (double)play->ms / 1e3, NAME_WIDTH, play->scenario->name);
    figure_wrap(text, size, WORD_WIDTH + TIME_WIDTH + NAME_WIDTH, FIGURE_COLUMNS, out);
}

void report_play_text(const struct report_play *play, bool color, FILE *out)
{
    const struct scenario *scenario = play->scenario;
    const struct story *story = play->story;
    struct outcome outcome = outcome_of(story);
    int used = fprintf(out, "%s: %s", scenario->name, scenario->title);
    int gap = FIGURE_COLUMNS - used - (int)strlen(outcome.word);

    fprintf(out, "%*s%s%s%s\n", gap > 2 ? gap : 2, "", color ? outcome.color : "", outcome.word,
            color ? "\033[0m" : "");
    print_labelled("expected", scenario->expected, SIZE_MAX, color, out);
    if (story->end != STORY_PLAYED)
        print_labelled("reason", story->reason, sizeof(story->reason), color, out);
    if (story->event_count) {
        fputc('\n', out);
        figure_print(story, out);
        fputc('\n', out);
    }
    print_checks(story, color, out);
    print_labelled("lesson", scenario->lesson, SIZE_MAX, color, out);
    print_labelled("rule", scenario->rule, SIZE_MAX, color, out);
}

/* --- Markdown --- */

/* Texts of scenarios hold names such as tcp_tw_reuse and SO_*, which are no emphasis, and <text>,
 * which is no HTML. */
static void print_markdown(const char *text, size_t size, FILE *out)
{
    for (size_t i = 0; i < size && text[i]; i++) {
        if (strchr("\\`*_<>[]#|&", text[i]))
            fputc('\\', out);
        fputc((unsigned char)text[i] < ' ' || text[i] == 127 ? '?' : text[i], out);
    }
}

static void print_paragraph(const char *label, const char *text, size_t size, FILE *out)
{
    fprintf(out, "**%s:** ", label);
    print_markdown(text, size, out);
    fputs("\n\n", out);
}

static void print_section(const struct report_play *play, FILE *out)
{
    const struct scenario *scenario = play->scenario;
    const struct story *story = play->story;

    fprintf(out, "### %s\n\n", scenario->name);
    fputs("**", out);
    print_markdown(scenario->title, SIZE_MAX, out);
    fprintf(out, "** (%s)\n\n", outcome_of(story).word);
    print_paragraph("Expected", scenario->expected, SIZE_MAX, out);
    if (story->end != STORY_PLAYED)
        print_paragraph("Reason", story->reason, sizeof(story->reason), out);
    if (story->event_count) {
        fputs("```text\n", out);
        figure_print(story, out);
        fputs("```\n\n", out);
    }
    for (uint32_t i = 0; i < check_count(story); i++) {
        fprintf(out, "- %s: ", story->checks[i].held ? "ok" : "**NO**");
        print_markdown(story->checks[i].text, sizeof(story->checks[i].text), out);
        fputs(i + 1 == check_count(story) ? "\n\n" : "\n", out);
    }
    print_paragraph("Lesson", scenario->lesson, SIZE_MAX, out);
    print_paragraph("Rule", scenario->rule, SIZE_MAX, out);
}

void report_lab_markdown(const struct report_play *plays, size_t count, const char *kernel,
                         FILE *out)
{
    const char *group = "";

    fprintf(out,
            "# The lab\n\n"
            "Written by `tidewait lab --markdown` on %s. Each section is a run against the real\n"
            "kernel, in a private network: what was expected, what happened at both ends, and\n"
            "what there is to learn. `tidewait lab NAME` plays one again.\n\n",
            kernel);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(group, plays[i].scenario->group) != 0)
            fprintf(out, "## %s\n\n", plays[i].scenario->group);
        group = plays[i].scenario->group;
        print_section(&plays[i], out);
    }
}
