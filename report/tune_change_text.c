#include <stdint.h>
#include <string.h>

#include "lab_figure.h"
#include "tidewait/text.h"
#include "tune_change.h"

/* What is shown of a value; a list of ports may have thousands. */
#define VALUE_SHOWN 60

/* The column where a reason begins. */
#define WHY_AT 4

static void print_tinted(const char *tint, const char *text, bool color, FILE *out)
{
    fprintf(out, "%s%s%s", color ? tint : "", text, color ? "\033[0m" : "");
}

/* Harmless, with one blank for the kernel's tabs, and cut. */
static void print_value(const char *value, const char *tint, bool color, FILE *out)
{
    size_t len = strlen(value), shown = len > VALUE_SHOWN ? VALUE_SHOWN : len;
    char part[VALUE_SHOWN + 1], safe[4 * VALUE_SHOWN + 1];

    for (size_t i = 0; i < shown; i++)
        part[i] = value[i];
    part[shown] = 0;
    for (char *c = part; *c; c++)
        if (*c == '\t')
            *c = ' ';
    safe[tw_text_safe(safe, sizeof(safe) - 1, part, shown)] = 0;
    print_tinted(tint, len ? safe : "(empty)", color, out);
    if (len > shown)
        fprintf(out, ".. (%zu characters)", len);
}

#define RED   "\033[31m"
#define GREEN "\033[32m"

static void print_step(const char *from, const char *to, bool color, FILE *out)
{
    print_value(from, RED, color, out);
    fputs(" -> ", out);
    print_value(to, GREEN, color, out);
}

void report_changes_text(const struct changes *changes, bool color, FILE *out)
{
    for (size_t i = 0; i < changes->count; i++) {
        const struct change *change = &changes->items[i];

        print_tinted("\033[1m", change->setting->name, color, out);
        fputs(": ", out);
        print_step(change->before, change->after, color, out);
        fprintf(out, "\n%*s", WHY_AT, "");
        figure_wrap(change->why, SIZE_MAX, WHY_AT, FIGURE_COLUMNS, out);
    }
}

/* --- what a journal holds --- */

struct word {
    const char *text;
    const char *tint;
};

static struct word word_of(enum journal_outcome outcome, bool undo)
{
    switch (outcome) {
    case JOURNAL_RESTORED:
        return (struct word){"restored", GREEN};
    case JOURNAL_WAS_SO:
        return undo ? (struct word){"was so", GREEN} : (struct word){"as applied", GREEN};
    case JOURNAL_FOREIGN:
        return undo ? (struct word){"left alone", "\033[33m"}
                    : (struct word){"DRIFTED", "\033[1;31m"};
    case JOURNAL_GONE:
        return (struct word){"gone", "\033[33m"};
    default:
        return undo ? (struct word){"FAILED", "\033[1;31m"} : (struct word){"unknown", "\033[33m"};
    }
}

static void print_setting(const struct journal_entry *entry, bool undo, bool color, FILE *out)
{
    const char *now = entry->now ? entry->now : "";

    switch (entry->outcome) {
    case JOURNAL_RESTORED:
        print_step(now, entry->former, color, out);
        break;
    case JOURNAL_WAS_SO:
        print_value(now, "", false, out);
        break;
    case JOURNAL_FOREIGN:
        print_value(now, RED, color, out);
        fputs(", not ", out);
        print_value(entry->applied, "", false, out);
        fputs(" as it was applied", out);
        if (undo) {
            fputs("; it was ", out);
            print_value(entry->former, "", false, out);
            fputs(" before", out);
        }
        break;
    case JOURNAL_GONE:
        fputs("this kernel has no such setting any more; there is nothing to put back", out);
        break;
    default:
        fputs(entry->error.text, out);
    }
}

/* The kept file has many lines: none of it is shown. */
static void print_file(const struct journal_entry *entry, FILE *out)
{
    switch (entry->outcome) {
    case JOURNAL_RESTORED:
        fputs(entry->former ? "its former text is back" : "removed, since there was none before",
              out);
        break;
    case JOURNAL_WAS_SO:
        fputs(entry->now ? "unchanged" : "not there, as before", out);
        break;
    case JOURNAL_FOREIGN:
        fputs(entry->now ? "somebody has changed it since" : "somebody has removed it", out);
        break;
    default:
        fputs(entry->error.text, out);
    }
}

static void print_end(const struct journal_report *report, bool undo, FILE *out)
{
    size_t foreign = 0, failed = 0;

    for (size_t i = 0; i < report->count; i++) {
        foreign += report->entries[i].outcome == JOURNAL_FOREIGN;
        failed += report->entries[i].outcome == JOURNAL_FAILED;
    }
    if (report->rebooted)
        fputs(
            "The system was restarted, or the network namespace made anew, since the changes were "
            "made.\n",
            out);
    if (!undo)
        return;
    if (foreign)
        fputs("What somebody else has set since was left alone; --force puts back what was before, "
              "all the same.\n",
              out);
    if (foreign + failed)
        fputs("The journal stays until all is back.\n", out);
}

void report_journal_text(const struct journal_report *report, bool undo, bool color, FILE *out)
{
    enum { WORD_WIDTH = 12 };

    for (size_t i = 0; i < report->count; i++) {
        const struct journal_entry *entry = &report->entries[i];
        struct word word = word_of(entry->outcome, undo);

        print_tinted(word.tint, word.text, color, out);
        fprintf(out, "%*s%s: ", (int)(WORD_WIDTH - strlen(word.text)), "",
                entry->setting ? entry->setting->name : JOURNAL_KEEP_FILE);
        if (entry->setting)
            print_setting(entry, undo, color, out);
        else
            print_file(entry, out);
        fputc('\n', out);
    }
    print_end(report, undo, out);
}
