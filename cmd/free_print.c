#include "free_print.h"

#include <errno.h>

#define LABEL_WIDTH 11

static const char *const kind_names[] = {
    [STEP_UNIT] = "stop-unit",
    [STEP_CONTAINER] = "stop-container",
    [STEP_PROXY] = "stop-published",
    [STEP_END] = "end-process",
    [STEP_WAIT] = "wait",
    [STEP_DESTROY] = "destroy",
    [STEP_REMOVE] = "remove-file",
    [STEP_REFUSE] = "refuse",
};

static const char *const result_names[] = {
    [RESULT_PLANNED] = "planned", [RESULT_DONE] = "done",     [RESULT_NEEDLESS] = "needless",
    [RESULT_FAILED] = "failed",   [RESULT_DENIED] = "denied", [RESULT_UNSUPPORTED] = "unsupported",
};

/* --- text ------------------------------------------------------------------------------------- */

static void print_label(const char *label, bool color, FILE *out)
{
    fprintf(out, "  %s%-*s%s", color ? "\033[2m" : "", LABEL_WIDTH, label, color ? "\033[0m" : "");
}

void free_print_verdict(const struct tw_verdict *verdict, bool color, FILE *out)
{
    fprintf(out, "%s%s%s\n", color ? "\033[1;31m" : "", verdict->summary, color ? "\033[0m" : "");
    if (verdict->cause) {
        print_label("cause", color, out);
        fprintf(out, "%s\n", verdict->cause);
    }
    for (size_t i = 0; i < verdict->hidden_count; i++) {
        print_label(i ? "" : "not seen", color, out);
        fprintf(out, "%s\n", verdict->hidden[i]);
    }
}

void free_print_plan(const struct plan *plan, bool color, FILE *out)
{
    const char *label = plan->refused ? "not freed" : "plan";

    for (size_t i = 0; i < plan->count; i++) {
        /* With a refusal the other steps are not taken. */
        if (plan->refused && plan->steps[i].kind != STEP_REFUSE)
            continue;
        print_label(label, color, out);
        fprintf(out, "%s\n", plan->steps[i].text);
        label = "";
    }
    if (plan->later && !plan->refused) {
        print_label("afterwards", color, out);
        fprintf(out, "%zu connection%s of the port may be left in the way for a while\n",
                plan->later, plan->later == 1 ? "" : "s");
    }
}

void free_print_done(const struct plan *plan, bool color, FILE *out)
{
    for (size_t i = 0; i < plan->count; i++) {
        const struct step *step = &plan->steps[i];

        if (step->result == RESULT_PLANNED)
            continue;
        print_label(result_names[step->result], color, out);
        fprintf(out, "%s\n", step->detail);
    }
}

/* --- JSON ------------------------------------------------------------------------------------- */

void free_report_begin(struct free_report *report, const char *address)
{
    *report = (struct free_report){.root = json_object(), .steps = json_array()};
    set(&report->builder, report->root, "schema", json_string("tidewait.free/1"));
    set(&report->builder, report->root, "address", text_or_null(address));
    set(&report->builder, report->root, "before", json_null());
    set(&report->builder, report->root, "after", json_null());
}

void free_report_verdict(struct free_report *report, const char *key,
                         const struct tw_verdict *verdict)
{
    json_t *object = json_object(), *hidden = json_array();
    struct builder *b = &report->builder;

    set(b, object, "answer", json_string(tw_answer_name(verdict->answer)));
    set(b, object, "errno",
        verdict->code ? json_string(tw_errno_name(verdict->code)) : json_null());
    set(b, object, "cause", verdict->cause ? json_string(verdict->cause) : json_null());
    set(b, object, "summary", text_or_null(verdict->summary));
    set(b, object, "free_in_ms", known_or_null(verdict->free_in_ms));
    for (size_t i = 0; i < verdict->hidden_count; i++)
        append(b, hidden, text_or_null(verdict->hidden[i]));
    set(b, object, "hidden", hidden);
    set(b, report->root, key, object);
}

void free_report_plan(struct free_report *report, const struct plan *plan)
{
    struct builder *b = &report->builder;

    for (size_t i = 0; i < plan->count; i++) {
        const struct step *step = &plan->steps[i];
        json_t *object = json_object();
        const char *name = step->name[0] ? step->name : NULL;

        if (plan->refused && step->kind != STEP_REFUSE)
            continue;
        set(b, object, "do", json_string(kind_names[step->kind]));
        set(b, object, "text", text_or_null(step->text));
        set(b, object, "pid", step->process.pid ? json_integer(step->process.pid) : json_null());
        set(b, object, "comm", text_or_null(step->process.pid ? step->process.comm : NULL));
        set(b, object, "name", text_or_null(name));
        set(b, object, "result",
            step->kind == STEP_REFUSE ? json_null() : json_string(result_names[step->result]));
        set(b, object, "detail", text_or_null(step->detail[0] ? step->detail : NULL));
        append(b, report->steps, object);
    }
}

int free_report_end(struct free_report *report, const char *result, int code, FILE *out)
{
    struct builder *b = &report->builder;
    int rc = 0;

    set(b, report->root, "steps", report->steps);
    set(b, report->root, "result", json_string(result));
    set(b, report->root, "exit", json_integer(code));
    if (b->bad)
        rc = -ENOMEM;
    else if (out && (json_dumpf(report->root, out, 0) || fputc('\n', out) == EOF || fflush(out)))
        rc = -EIO;
    json_decref(report->root);
    return rc;
}
