#include <pwd.h>
#include <string.h>

#include "tidewait/text.h"
#include "verdict.h"

#define LABEL_WIDTH 11

/* Text from outside (a command line, a name), harmless on a terminal. */
static void print_safe(const char *text, FILE *out)
{
    char buf[2048] = "";
    size_t len = tw_text_safe(buf, sizeof(buf), text, strlen(text));

    fwrite(buf, 1, len, out);
}

/* "  cause      ", or as many blanks when there is no label. */
static void print_label(const char *label, bool color, FILE *out)
{
    fprintf(out, "  %s%-*s%s", color ? "\033[2m" : "", LABEL_WIDTH, label, color ? "\033[0m" : "");
}

static void print_age(uint64_t age_ms, FILE *out)
{
    uint64_t s = age_ms / 1000;

    if (s < 120)
        fprintf(out, "%llu s", (unsigned long long)s);
    else if (s < 7200)
        fprintf(out, "%llu min", (unsigned long long)s / 60);
    else if (s < 48 * 3600)
        fprintf(out, "%llu h", (unsigned long long)s / 3600);
    else
        fprintf(out, "%llu days", (unsigned long long)s / 86400);
}

static void print_holder(const struct tw_verdict_holder *holder, const char *label, bool color,
                         FILE *out)
{
    const struct tw_process *process = &holder->process;
    const struct passwd *user = getpwuid(process->uid);

    print_label(label, color, out);
    print_safe(process->comm, out);
    fprintf(out, ", pid %d", process->pid);
    if (user)
        fprintf(out, ", user %s", user->pw_name);
    else
        fprintf(out, ", uid %u", process->uid);
    fputs(", started ", out);
    print_age(process->age_ms, out);
    fputs(" ago", out);
    if (process->container[0])
        fprintf(out, ", %s container %.12s", process->runtime, process->container);
    else if (process->unit[0]) {
        fputs(", ", out);
        print_safe(process->unit, out);
    }
    fputc('\n', out);
    if (process->cmdline[0] && strcmp(process->cmdline, process->comm) != 0) {
        print_label("", color, out);
        fprintf(out, "  ");
        print_safe(process->cmdline, out);
        fputc('\n', out);
    }
}

static void print_holders(const struct tw_verdict *verdict, bool color, FILE *out)
{
    enum { SHOWN = 8 };

    for (size_t i = 0; i < verdict->holder_count && i < SHOWN; i++)
        print_holder(&verdict->holders[i], i ? "" : "holder", color, out);
    if (verdict->holder_count > SHOWN) {
        print_label("", color, out);
        fprintf(out, "and %zu more processes\n", verdict->holder_count - SHOWN);
    }
}

static void print_evidence(const struct tw_verdict *verdict, bool color, FILE *out)
{
    const char *last = "";

    for (size_t i = 0; i < verdict->evidence_count; i++) {
        const struct tw_verdict_evidence *item = &verdict->evidence[i];

        print_label(strcmp(item->kind, last) ? item->kind : "", color, out);
        fprintf(out, "%s\n", item->text);
        last = item->kind;
    }
}

static void print_remedies(const struct tw_verdict *verdict, bool color, FILE *out)
{
    for (size_t i = 0; i < verdict->remedy_count; i++) {
        const struct tw_verdict_remedy *remedy = &verdict->remedies[i];

        print_label(i ? "" : "try", color, out);
        fprintf(out, "%s", remedy->what);
        if (remedy->command)
            fprintf(out, ":  %s%s%s", color ? "\033[1m" : "", remedy->command,
                    color ? "\033[0m" : "");
        fputc('\n', out);
        print_label("", color, out);
        fprintf(out, "  %s\n", remedy->why);
    }
}

void report_verdict(const struct tw_verdict *verdict, bool brief, bool color, FILE *out)
{
    const char *tint = verdict->answer == TW_ANSWER_FREE   ? "\033[1;32m"
                       : verdict->answer == TW_ANSWER_SLOW ? "\033[1;33m"
                                                           : "\033[1;31m";

    fprintf(out, "%s%s%s\n", color ? tint : "", verdict->summary, color ? "\033[0m" : "");
    if (verdict->cause && !brief) {
        print_label("cause", color, out);
        fprintf(out, "%s", verdict->cause);
        if (verdict->code)
            fprintf(out, " (%s)", tw_errno_name(verdict->code));
        fputc('\n', out);
    }
    print_holders(verdict, color, out);
    if (!brief)
        print_evidence(verdict, color, out);
    print_remedies(verdict, color, out);
    for (size_t i = 0; i < verdict->hidden_count; i++) {
        print_label(i ? "" : "not seen", color, out);
        fprintf(out, "%s\n", verdict->hidden[i]);
    }
    if (verdict->disagrees) {
        print_label("defect", color, out);
        fprintf(out,
                "tidewait predicted another answer than the kernel gave (%s): please report "
                "it with the lines above\n",
                tw_errno_name(verdict->trial_code));
    }
}

void report_message(const struct tw_message *message, bool color, FILE *out)
{
    fprintf(out, "%s%s%s says %s: %s\n", color ? "\033[1m" : "", message->program,
            color ? "\033[0m" : "", tw_errno_name(message->code), message->meaning);
}
