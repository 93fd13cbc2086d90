#include <math.h>

#include "plan_words.h"
#include "tune_change.h"
#include "tune_proposal.h"

static void print_asked(const struct plan_workload *asked, FILE *out)
{
    static const char *const closings[] = {
        [PLAN_CLOSING_CLIENT] = "the client closes first",
        [PLAN_CLOSING_SERVER] = "the server closes first",
        [PLAN_CLOSING_RESET] = "connections end by reset",
    };
    char rate[PLAN_WORD_MAX], hold[PLAN_WORD_MAX], from[PLAN_WORD_MAX], to[PLAN_WORD_MAX];

    fprintf(out, "%s from %s address%s to %s endpoint%s, ", plan_rate(asked->rate_per_s, rate),
            plan_count(asked->sources, from), asked->sources == 1 ? "" : "es",
            plan_count(asked->destinations, to), asked->destinations == 1 ? "" : "s");
    fprintf(out, "each connection open for %s; %s\n",
            plan_time(distribution_mean(&asked->hold) / 1e9, hold), closings[asked->closing]);
}

static void print_answer(const char *when, const struct plan_answer *answer, FILE *out)
{
    char rate[PLAN_WORD_MAX], time[PLAN_WORD_MAX], share[PLAN_WORD_MAX];

    fprintf(out, "  %-6s", when);
    if (isfinite(answer->sustainable_per_s))
        fprintf(out, "up to %s can be sustained", plan_rate(answer->sustainable_per_s, rate));
    else
        fprintf(out, "any rate can be sustained");
    if (isfinite(answer->exhausted_s))
        fprintf(out, "; the first is refused after %s\n", plan_time(answer->exhausted_s, time));
    else
        fprintf(out, "; of those at random times are refused: %s\n",
                plan_share(answer->refused_random, share));
}

static void print_cures(const struct proposal *proposal, FILE *out)
{
    char rate[PLAN_WORD_MAX];

    fprintf(out, "No setting can do all of it.%s\n",
            proposal->cure_count == 0 ? ""
            : proposal->cures_on_top  ? " With these changes, what helps besides:"
                                      : " What helps without any:");
    for (size_t i = 0; i < proposal->cure_count; i++)
        fprintf(out, "  %-10s %s\n             %s\n",
                plan_rate(proposal->cures[i].answer.sustainable_per_s, rate),
                proposal->cures[i].what, proposal->cures[i].cost);
}

void report_proposal_text(const struct proposal *proposal, const struct plan_workload *asked,
                          bool color, FILE *out)
{
    if (asked) {
        print_asked(asked, out);
        print_answer("now", &proposal->answer_before, out);
    }
    if (proposal->changes.count)
        report_changes_text(&proposal->changes, color, out);
    else if (proposal->suffices)
        fprintf(out, "No setting has to be changed.\n");
    if (asked && proposal->changes.count)
        print_answer("then", &proposal->answer_after, out);
    if (*proposal->needs_files)
        fprintf(out, "%s\n", proposal->needs_files);
    if (!proposal->suffices)
        print_cures(proposal, out);
}
