#include <errno.h>

#include "builder.h"
#include "lint_report.h"

static json_t *text_of(const char *text)
{
    return text_or_null(text && text[0] ? text : NULL);
}

static json_t *place_of(struct builder *b, const struct lint_line *line,
                        const struct lint_text *texts)
{
    json_t *object = json_object();

    set(b, object, "file", text_of(texts[line->from].name));
    set(b, object, "line", count(line->number));
    return object;
}

static json_t *line_object(struct builder *b, const struct lint_report *report,
                           const struct lint_line *line, const struct lint_text *texts)
{
    json_t *object = place_of(b, line, texts);
    bool loses = line->winner < report->count;

    set(b, object, "text", text_or_null(line->text));
    set(b, object, "name", text_of(line->name));
    set(b, object, "verdict", json_string(lint_verdict_names[line->verdict]));
    set(b, object, "reason", text_of(line->reason));
    set(b, object, "instead", text_of(line->instead));
    set(b, object, "scenario", text_of(line->scenario));
    set(b, object, "overridden_by",
        loses ? place_of(b, &report->lines[line->winner], texts) : json_null());
    return object;
}

static json_t *counts_object(struct builder *b, const struct lint_report *report)
{
    json_t *object = json_object();

    for (int i = 0; i < LINT_VERDICTS; i++)
        set(b, object, lint_verdict_names[i], count(report->verdicts[i]));
    return object;
}

int report_lint_json(const struct lint_report *report, const struct lint_text *texts,
                     size_t text_count, FILE *out)
{
    struct builder b = {0};
    json_t *object = json_object(), *files = json_array(), *lines = json_array();
    int rc = 0;

    for (size_t i = 0; i < text_count; i++)
        append(&b, files, text_of(texts[i].name));
    for (size_t i = 0; i < report->count; i++)
        append(&b, lines, line_object(&b, report, &report->lines[i], texts));
    set(&b, object, "schema", json_string("tidewait.lint/1"));
    set(&b, object, "files", files);
    set(&b, object, "lines", lines);
    set(&b, object, "counts", counts_object(&b, report));
    if (b.bad || !object)
        rc = -ENOMEM;
    else if (json_dumpf(object, out, JSON_COMPACT) || fputc('\n', out) == EOF || fflush(out))
        rc = -EIO;
    json_decref(object);
    return rc;
}
