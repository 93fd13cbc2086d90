#include <errno.h>
#include <math.h>

#include "builder.h"
#include "tune_change.h"
#include "tune_proposal.h"

static json_t *number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *answer_object(struct builder *b, const struct plan_answer *answer)
{
    json_t *object = json_object();

    set(b, object, "suffices", json_boolean(answer->suffices));
    set(b, object, "tuples", number(answer->tuples));
    set(b, object, "lanes", number(answer->lanes));
    set(b, object, "sustainable_per_s", number(answer->sustainable_per_s));
    set(b, object, "exhausted_s", number(answer->exhausted_s));
    set(b, object, "refused_random", number(answer->refused_random));
    return object;
}

static json_t *cures_array(struct builder *b, const struct proposal *proposal)
{
    json_t *array = json_array();

    for (size_t i = 0; i < proposal->cure_count; i++) {
        const struct plan_cure *cure = &proposal->cures[i];
        json_t *object = json_object();

        set(b, object, "name", json_string(cure->name));
        set(b, object, "what", text_or_null(cure->what));
        set(b, object, "cost", text_or_null(cure->cost));
        set(b, object, "answer", answer_object(b, &cure->answer));
        append(b, array, object);
    }
    return array;
}

int report_proposal_json(const struct proposal *proposal, const struct plan_workload *asked,
                         bool done, FILE *out)
{
    struct builder b = {0};
    json_t *root = json_object();
    int rc = 0;

    set(&b, root, "schema", json_string("tidewait.proposal/1"));
    set(&b, root, "suffices", json_boolean(proposal->suffices));
    set(&b, root, "done", json_boolean(done));
    set(&b, root, "changes", report_changes_array(&b, &proposal->changes));
    if (asked) {
        set(&b, root, "rate_per_s", number(asked->rate_per_s));
        set(&b, root, "now", answer_object(&b, &proposal->answer_before));
        set(&b, root, "then", answer_object(&b, &proposal->answer_after));
        set(&b, root, "needs_files",
            *proposal->needs_files ? text_or_null(proposal->needs_files) : json_null());
        set(&b, root, "cures", cures_array(&b, proposal));
        set(&b, root, "cures_on_top", json_boolean(proposal->cures_on_top));
    }
    if (b.bad || !root)
        rc = -ENOMEM;
    else if (json_dumpf(root, out, JSON_COMPACT) || fputc('\n', out) == EOF || fflush(out))
        rc = -EIO;
    json_decref(root);
    return rc;
}
