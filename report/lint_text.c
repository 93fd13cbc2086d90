#include "lint_report.h"

#include <stdlib.h>
#include <string.h>

#include "tidewait/text.h"

#define COLUMNS      100
#define NUMBER_WIDTH 6 /* "   12  " with what is behind it */
#define LABEL_WIDTH  10

static const char *color_of(enum lint_verdict verdict)
{
    return verdict == LINT_FINE                              ? "\033[32m"
           : verdict == LINT_IDLE || verdict == LINT_FOREIGN ? "\033[2m"
           : verdict == LINT_RISKY                           ? "\033[33m"
                                                             : "\033[1;31m";
}

/* How many columns a text takes, taking each character for one. */
static size_t columns(const char *text, size_t len)
{
    size_t count = 0;

    for (size_t i = 0; i < len; i++)
        count += ((unsigned char)text[i] & 0xc0) != 0x80;
    return count;
}

/* Prints a text from column `at` on, wrapped at blanks; the first line was begun. */
static void wrap(const char *text, size_t at, FILE *out)
{
    size_t used = at;

    while (*text) {
        size_t len = strcspn(text, " "), width = columns(text, len);

        if (used > at && used + 1 + width > COLUMNS) {
            fprintf(out, "\n%*s", (int)at, "");
            used = at;
        }
        fprintf(out, "%s%.*s", used > at ? " " : "", (int)len, text);
        used += width + (used > at);
        text += len;
        text += strspn(text, " ");
    }
    fputc('\n', out);
}

static void print_labelled(const char *label, const char *color, const char *text, FILE *out)
{
    fprintf(out, "%*s%s%-*s%s", NUMBER_WIDTH, "", color ? color : "", LABEL_WIDTH, label,
            color ? "\033[0m" : "");
    wrap(text, NUMBER_WIDTH + LABEL_WIDTH, out);
}

/* The line itself, cut at the right. */
static void print_source(const struct lint_line *line, bool color, FILE *out)
{
    size_t room = COLUMNS - NUMBER_WIDTH, len = strlen(line->text);
    bool cut = columns(line->text, len) > room;

    while (columns(line->text, len) > room - (cut ? 2 : 0))
        len--;
    while (((unsigned char)line->text[len] & 0xc0) == 0x80)
        len--;
    fprintf(out, "%s%*zu  %.*s%s%s\n", color ? "\033[1m" : "", NUMBER_WIDTH - 2, line->number,
            (int)len, line->text, cut ? ".." : "", color ? "\033[0m" : "");
}

static bool same_line(const struct lint_line *a, const struct lint_line *b)
{
    return a->from == b->from && a->number == b->number;
}

/* The first of the lines in a row that have this reason; what is short is rather said again. */
static size_t first_alike(const struct lint_report *report, size_t i)
{
    const char *reason = report->lines[i].reason;
    size_t first = i;

    while (strlen(reason) > 80 && first > 0 &&
           report->lines[first - 1].from == report->lines[i].from &&
           strcmp(report->lines[first - 1].reason, reason) == 0)
        first--;
    return first;
}

/* In YAML the name may stand in a line before that of the value. */
static bool is_named_elsewhere(const struct lint_line *line)
{
    const char *dot = strrchr(line->name, '.');

    return dot && !strstr(line->text, dot + 1);
}

/* A line that sets several things, or none by its name, tells of each by its name. */
static void print_line(const struct lint_report *report, size_t i, bool color, FILE *out)
{
    const struct lint_line *line = &report->lines[i];
    bool goes_on = i > 0 && same_line(line - 1, line);
    bool several =
        goes_on || (i + 1 < report->count && same_line(line, line + 1)) || is_named_elsewhere(line);
    size_t first = first_alike(report, i);
    bool again = first != i && !goes_on;
    char text[sizeof(line->name) + sizeof(line->reason) + 2];

    if (!goes_on)
        print_source(line, color, out);
    if (again)
        snprintf(text, sizeof(text), "as line %zu", report->lines[first].number);
    else
        snprintf(text, sizeof(text), "%s%s%s", several ? line->name : "", several ? ": " : "",
                 line->reason[0] ? line->reason : "not judged");
    print_labelled(lint_verdict_names[line->verdict], color ? color_of(line->verdict) : NULL, text,
                   out);
    if (again)
        return;
    if (line->instead[0])
        print_labelled(line->verdict == LINT_FINE ? "also" : "instead", color ? "\033[2m" : NULL,
                       line->instead, out);
    if (line->scenario) {
        snprintf(text, sizeof(text), "tidewait lab %s", line->scenario);
        print_labelled("see it", color ? "\033[2m" : NULL, text, out);
    }
}

/* How many lines from here on have nothing said of them. */
static size_t silent(const struct lint_report *report, size_t i)
{
    size_t count = 0;

    while (i + count < report->count && report->lines[i + count].verdict == LINT_FOREIGN &&
           !report->lines[i + count].reason[0] &&
           report->lines[i + count].from == report->lines[i].from)
        count++;
    return count;
}

static void print_silent(const struct lint_report *report, size_t i, size_t count, bool color,
                         FILE *out)
{
    size_t first = report->lines[i].number, last = report->lines[i + count - 1].number;

    if (first == last)
        fprintf(out, "%s%*zu", color ? "\033[2m" : "", NUMBER_WIDTH - 2, first);
    else
        fprintf(out, "%s%*zu to %zu", color ? "\033[2m" : "", NUMBER_WIDTH - 2, first, last);
    fprintf(out, "  about something else: not judged%s\n", color ? "\033[0m" : "");
}

/* The name of a file is somebody else's text. */
static void print_name(const char *name, bool color, FILE *out)
{
    size_t len = strlen(name);
    char *safe = malloc(4 * len + 1);

    if (safe)
        safe[tw_text_safe(safe, 4 * len, name, len)] = 0;
    fprintf(out, "%s%s%s\n", color ? "\033[1;4m" : "", safe ? safe : "?", color ? "\033[0m" : "");
    free(safe);
}

static void print_sum(const struct lint_report *report, FILE *out)
{
    static const enum lint_verdict order[] = {LINT_UNSAFE, LINT_BAD,  LINT_GONE, LINT_FOLKLORE,
                                              LINT_RISKY,  LINT_IDLE, LINT_FINE};
    size_t foreign = report->verdicts[LINT_FOREIGN], judged = report->count - foreign;
    const char *between = ": ";

    if (judged)
        fprintf(out, "%zu setting%s", judged, judged == 1 ? "" : "s");
    else
        fputs("no setting to judge", out);
    for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
        if (!report->verdicts[order[i]])
            continue;
        fprintf(out, "%s%zu %s", between, report->verdicts[order[i]], lint_verdict_names[order[i]]);
        between = ", ";
    }
    if (foreign)
        fprintf(out, "; %zu line%s about something else", foreign, foreign == 1 ? "" : "s");
    fputc('\n', out);
}

void report_lint_text(const struct lint_report *report, const struct lint_text *texts, size_t count,
                      bool color, FILE *out)
{
    size_t i = 0;

    for (size_t from = 0; from < count; from++) {
        if (i == report->count || report->lines[i].from != from)
            continue;
        if (texts[from].name)
            print_name(texts[from].name, color, out);
        while (i < report->count && report->lines[i].from == from) {
            size_t quiet = silent(report, i);

            if (quiet)
                print_silent(report, i, quiet, color, out);
            else
                print_line(report, i, color, out);
            i += quiet ? quiet : 1;
            if (i == report->count || !same_line(&report->lines[i - 1], &report->lines[i]))
                fputc('\n', out);
        }
    }
    print_sum(report, out);
}
