#include "fan_report.h"

#include <string.h>

#include "tidewait/text.h"

#define READ_SIZE 4096

const char *report_fan_how(const struct job *job, char buf[FAN_HOW_MAX])
{
    if (job->cause == CAUSE_NONE)
        snprintf(buf, FAN_HOW_MAX, "ok");
    else if (job->cause == CAUSE_EXIT)
        snprintf(buf, FAN_HOW_MAX, "exit %d", job->exit);
    else if (job->cause == CAUSE_SIGNAL)
        snprintf(buf, FAN_HOW_MAX, "signal %d (%s)", job->signal, strsignal(job->signal));
    else
        snprintf(buf, FAN_HOW_MAX, "%s", cause_names[job->cause]);
    return buf;
}

/* Control characters escaped, but for tabs. */
static void print_safe(const char *text, size_t len, FILE *out)
{
    char safe[4 * 256] = "";
    size_t safe_len;

    while (len) {
        size_t part = 0;
        uint32_t code;

        if (*text == '\t') {
            fputc('\t', out);
            text++;
            len--;
            continue;
        }
        /* Whole characters, as many as have room. */
        while (part < len && part < 250 && text[part] != '\t') {
            size_t size = tw_text_take(text + part, len - part, &code);

            part += size ? size : 1;
        }
        safe_len = tw_text_safe(safe, sizeof(safe), text, part);
        fwrite(safe, 1, safe_len, out);
        text += part;
        len -= part;
    }
}

void report_fan_line(const char *prefix, const char *text, size_t len, enum line_end end, bool safe,
                     FILE *out)
{
    static const char *const marks[] = {
        [LINE_GOES_ON] = "\\ the line goes on",
        [LINE_CUT] = "\\ no newline at the end",
    };

    if (prefix)
        fprintf(out, "%s: ", prefix);
    if (safe)
        print_safe(text, len, out);
    else
        fwrite(text, 1, len, out);
    fputc('\n', out);
    if (end != LINE_WHOLE)
        fprintf(out, "%s%s%s\n", prefix ? prefix : "", prefix ? ": " : "", marks[end]);
}

struct printer {
    const char *prefix;
    bool safe;
    FILE *out;
};

static void print_line(void *context, const char *text, size_t len, enum line_end end)
{
    const struct printer *printer = context;

    report_fan_line(printer->prefix, text, len, end, printer->safe, printer->out);
}

void report_fan_spool(const char *prefix, const struct spool *spool, bool safe, FILE *out)
{
    struct printer printer = {prefix, safe, out};
    struct lines lines = {.held = NULL};
    char buffer[READ_SIZE];
    uint64_t at = 0;
    long len;

    while ((len = spool_read(spool, at, buffer, sizeof(buffer))) > 0) {
        lines_add(&lines, buffer, (size_t)len, print_line, &printer);
        at += (uint64_t)len;
    }
    lines_end(&lines, print_line, &printer);
    if (at < spool_total(spool))
        fprintf(out, "%s%s\\ %llu bytes more were not kept%s%s\n", prefix ? prefix : "",
                prefix ? ": " : "", (unsigned long long)(spool_total(spool) - at),
                spool->failed || len < 0 ? ": " : "",
                spool->failed || len < 0 ? strerror(spool->failed ? spool->failed : (int)-len)
                                         : "");
}

void report_fan_head(const char *hosts, size_t count, const struct job *sample, FILE *out)
{
    static const char rule[] = "----------------";
    char how[FAN_HOW_MAX];

    fprintf(out, "%s\n%s (%zu)%s%s\n%s\n", rule, hosts, count, sample->cause ? ": " : "",
            sample->cause ? report_fan_how(sample, how) : "", rule);
}

void report_fan_failure(const struct job *job, FILE *out)
{
    char how[FAN_HOW_MAX];

    fprintf(out, "%s: %s%s%s%s\n", job->host->label, report_fan_how(job, how),
            job->detail ? ": " : "", job->detail ? job->detail : "",
            job->attempts > 1 ? " (after retries)" : "");
}
