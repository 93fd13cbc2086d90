#include <math.h>
#include <string.h>

#include "lab_figure.h"
#include "plan_points.h"
#include "plan_report.h"
#include "plan_words.h"
#include "tidewait/blind.h"

#define LABEL_WIDTH 14
#define BOLD        "\033[1m"
#define GOOD        "\033[1;32m"
#define BAD         "\033[1;31m"
#define DIM         "\033[2m"
#define PLAIN       "\033[0m"

static const char *color(const struct report_plan_style *style, const char *code)
{
    return style->color ? code : "";
}

static void label(const char *text, const struct report_plan_style *style, FILE *out)
{
    fprintf(out, "  %s%-*s%s", color(style, DIM), LABEL_WIDTH - 2, text, color(style, PLAIN));
}

static void labelled(const char *name, const char *text, const struct report_plan_style *style,
                     FILE *out)
{
    label(name, style, out);
    figure_wrap(text, SIZE_MAX, LABEL_WIDTH, FIGURE_COLUMNS, out);
}

/* What happens when a limit is reached. */
static const char *refusal(enum plan_limit limit, enum plan_ports ports)
{
    switch (limit) {
    case PLAN_LIMIT_TUPLES:
        return ports == PLAN_PORTS_KERNEL ? "connect() is refused (EADDRNOTAVAIL)"
               : ports == PLAN_PORTS_BIND ? "bind() is refused (EADDRINUSE)"
                                          : "connections wait for a port";
    case PLAN_LIMIT_FILES:
        return "socket() is refused (EMFILE)";
    case PLAN_LIMIT_TIME_WAITS:
        return "TIME_WAITs are dropped";
    case PLAN_LIMIT_CONNTRACK:
        return "SYNs are dropped: connection tracking is full";
    default:
        return "SYNs are dropped: the gateway has no port left";
    }
}

/* Which of the limits that refuse is reached first. */
static enum plan_limit first_reached(const struct plan_answer *answer)
{
    enum plan_limit first = answer->limited_by;

    for (int i = 0; i < PLAN_LIMITS; i++)
        if (i != PLAN_LIMIT_TIME_WAITS &&
            answer->bounds[i].exhausted_s < answer->bounds[first].exhausted_s)
            first = (enum plan_limit)i;
    return first;
}

/* --- the sentence ----------------------------------------------------------------------------- */

/* 461/s, or when a connection carries several: 461/s (922/s requests). */
static const char *sustained(const struct plan_answer *answer, double requests,
                             char buf[2 * PLAN_WORD_MAX])
{
    char rate[PLAN_WORD_MAX], more[PLAN_WORD_MAX];

    plan_rate(answer->sustainable_per_s, rate);
    if (requests > 1 && isfinite(answer->sustainable_per_s))
        snprintf(buf, 2 * PLAN_WORD_MAX, "%s connections, which is %s requests,", rate,
                 plan_rate(answer->sustainable_per_s * requests, more));
    else
        snprintf(buf, 2 * PLAN_WORD_MAX, "%s", rate);
    return buf;
}

static void print_sentence(const struct report_plan *plan, const struct report_plan_style *style,
                           FILE *out)
{
    const struct plan_answer *answer = plan->answer;
    const struct plan_workload *workload = plan->workload;
    char rate[PLAN_WORD_MAX], sources[PLAN_WORD_MAX], ends[PLAN_WORD_MAX], after[PLAN_WORD_MAX];
    char most[2 * PLAN_WORD_MAX], text[400];
    bool through = plan->nat->ports > 0, limited = isfinite(answer->sustainable_per_s);

    fprintf(out, "%s from %s address%s to %s endpoint%s%s%s, on ",
            plan_rate(workload->rate_per_s, rate), plan_count(workload->sources, sources),
            workload->sources == 1 ? "" : "es", plan_count(workload->destinations, ends),
            workload->destinations == 1 ? "" : "s", through ? " through the gateway " : "",
            through ? plan->nat->name : "");
    snprintf(text, sizeof(text), "%s: %s%s%s", plan->system->name,
             color(style, answer->suffices ? GOOD : BAD),
             answer->suffices ? "yes, without end" : "NO", color(style, PLAIN));
    fprintf(out, "%s\n", text);
    sustained(answer, workload->requests, most);
    if (answer->suffices && limited)
        snprintf(text, sizeof(text), "up to %s can be sustained; then the limit is: %s", most,
                 plan_limit_names[answer->limited_by]);
    else if (answer->suffices)
        snprintf(text, sizeof(text), "there is no limit that is known of");
    else
        snprintf(text, sizeof(text), "after %s %s; %s can be sustained",
                 plan_time(answer->exhausted_s, after),
                 refusal(first_reached(answer), workload->ports), most);
    labelled("answer", text, style, out);
}

static void print_workload(const struct report_plan *plan, const struct report_plan_style *style,
                           FILE *out)
{
    static const char *const closings[] = {
        "the client closes first",
        "the server closes first",
        "ended by a reset",
    };
    static const char *const ports[] = {
        "the kernel chooses ports",
        "bind() to port 0 before connect()",
        "managed ports",
    };
    const struct plan_workload *w = plan->workload;
    char requests[PLAN_WORD_MAX], hold[PLAN_WORD_MAX], idle[PLAN_WORD_MAX], text[300];

    snprintf(text, sizeof(text), "%s request%s, open for %s%s, %s, %s%s%s%s%s",
             plan_count(w->requests, requests), w->requests == 1 ? "" : "s",
             plan_time(plan->answer->hold_s, hold),
             w->hold.kind == DISTRIBUTION_CONSTANT ? "" : " on average", closings[w->closing],
             ports[w->ports], w->poisson ? ", at random times" : "",
             w->idle > 0 ? ", besides " : "", w->idle > 0 ? plan_count(w->idle, idle) : "",
             w->idle > 0 ? " idle" : "");
    labelled("connection", text, style, out);
    if (plan->like)
        labelled("as in", plan->like, style, out);
    if (plan->system->note[0])
        labelled("system", plan->system->note, style, out);
    if (plan->nat->ports > 0 && plan->nat->note[0])
        labelled("gateway", plan->nat->note, style, out);
}

/* --- a lane ----------------------------------------------------------------------------------- */

static void print_tuples(const struct report_plan *plan, const struct report_plan_style *style,
                         FILE *out)
{
    const struct plan_answer *answer = plan->answer;
    double lost = plan->system->ports_lost, idle = plan->workload->idle / answer->lanes;
    char number[PLAN_WORD_MAX], text[300];
    int len;

    len = snprintf(text, sizeof(text), "%s tuple%s", plan_count(answer->tuples, number),
                   answer->tuples == 1 ? "" : "s");
    if (answer->lanes != 1)
        len += snprintf(text + len, sizeof(text) - (size_t)len, " in each of %s lanes",
                        plan_count(answer->lanes, number));
    len += snprintf(text + len, sizeof(text) - (size_t)len, ": %s port%s",
                    plan_count(plan->system->ports, number), plan->system->ports == 1 ? "" : "s");
    if (lost > 0 || plan->lost_counted)
        len += snprintf(text + len, sizeof(text) - (size_t)len,
                        ", %s of them lost to sockets that are bound",
                        lost > 0 ? plan_count(lost, number) : "none");
    if (idle >= 0.5)
        snprintf(text + len, sizeof(text) - (size_t)len, ", %s idle", plan_count(idle, number));
    labelled("lane", text, style, out);
}

static void print_occupied(const struct report_plan *plan, const struct report_plan_style *style,
                           FILE *out)
{
    const struct plan_answer *answer = plan->answer;
    char occupied[PLAN_WORD_MAX], hold[PLAN_WORD_MAX], cooling[PLAN_WORD_MAX], use[PLAN_WORD_MAX];
    char text[300];

    int len;

    len = snprintf(text, sizeof(text), "%s each = %s open + %s cooling; %s tuples of a lane",
                   plan_time(answer->occupied_s, occupied), plan_time(answer->hold_s, hold),
                   plan_time(answer->cooling_s, cooling), plan_count(answer->in_use, use));
    if (answer->in_use > answer->tuples && answer->tuples > 0)
        snprintf(text + len, sizeof(text) - (size_t)len, ", %s times all",
                 plan_count(answer->in_use / answer->tuples, use));
    else if (isfinite(answer->tuples) && answer->in_use > 0 && answer->tuples > 0)
        snprintf(text + len, sizeof(text) - (size_t)len, ", %s",
                 plan_share(answer->in_use / answer->tuples, use));
    labelled("occupied", text, style, out);
}

static void print_lane(const struct report_plan *plan, const struct report_plan_style *style,
                       FILE *out)
{
    const struct plan_answer *answer = plan->answer;
    const char *verb = plan->workload->ports == PLAN_PORTS_MANAGED ? "waiting" : "refused";
    char even[PLAN_WORD_MAX], random[PLAN_WORD_MAX], half[PLAN_WORD_MAX], stall[PLAN_WORD_MAX];
    char queue[PLAN_WORD_MAX], text[300];

    print_tuples(plan, style, out);
    print_occupied(plan, style, out);
    if (isfinite(answer->half_full_s)) {
        snprintf(text, sizeof(text),
                 "after %s: from then on connect() takes 0.7 to 3 ms instead of 12 us",
                 plan_time(answer->half_full_s, half));
        labelled("half full", text, style, out);
    }
    snprintf(text, sizeof(text), "%s when evenly spaced, %s at random times (of the tuples alone)",
             plan_share(answer->refused_share, even), plan_share(answer->refused_random, random));
    labelled(verb, text, style, out);
    if (isfinite(answer->stall_s)) {
        snprintf(text, sizeof(text), "its accept queue of %s overflows when it pauses for %s",
                 plan_count(plan->system->accept_queue, queue), plan_time(answer->stall_s, stall));
        labelled("server", text, style, out);
    }
}

/* --- the limits ------------------------------------------------------------------------------- */

static void print_bounds(const struct plan_answer *answer, const struct report_plan_style *style,
                         FILE *out)
{
    static const char *const names[PLAN_LIMITS] = {
        "tuples", "descriptors", "TIME_WAITs", "conntrack", "gateway",
    };
    char capacity[PLAN_WORD_MAX], each[PLAN_WORD_MAX], rate[PLAN_WORD_MAX], when[PLAN_WORD_MAX];

    fprintf(out, "\n  %s%-13s%13s%12s%15s%12s%s\n", color(style, DIM), "limit", "at once",
            "each for", "sustains", "reached", color(style, PLAIN));
    for (int i = 0; i < PLAN_LIMITS; i++) {
        const struct plan_bound *bound = &answer->bounds[i];
        bool limits = i == (int)answer->limited_by && isfinite(answer->sustainable_per_s);

        if (isinf(bound->capacity))
            continue;
        fprintf(out, "  %s%-13s%13s%12s%15s%12s%s%s\n", color(style, limits ? BOLD : ""), names[i],
                plan_count(bound->capacity, capacity), plan_time(bound->occupied_s, each),
                plan_rate(bound->sustainable_per_s, rate), plan_time(bound->exhausted_s, when),
                limits                                                       ? "  limits"
                : i == PLAN_LIMIT_TIME_WAITS && isfinite(bound->exhausted_s) ? "  then dropped"
                                                                             : "",
                color(style, limits ? PLAIN : ""));
    }
}

static void print_simulation(const struct report_plan *plan, const struct report_plan_style *style,
                             FILE *out)
{
    const struct simulate_result *s = plan->simulation;
    char span[PLAN_WORD_MAX], attempted[PLAN_WORD_MAX], share[PLAN_WORD_MAX], first[PLAN_WORD_MAX];
    char rate[PLAN_WORD_MAX], mean[PLAN_WORD_MAX], most[PLAN_WORD_MAX], text[400];

    if (!s)
        return;
    snprintf(text, sizeof(text),
             "%s of one lane%s: %s attempts, first refused %s%s, %s sustained, %s refused, %s "
             "tuples in use on average and %s at most",
             plan_time(s->duration_s, span), s->interrupted ? " (interrupted)" : "",
             plan_count((double)s->attempted, attempted), isinf(s->first_refused_s) ? "" : "after ",
             plan_time(s->first_refused_s, first), plan_rate(s->sustained_per_s, rate),
             plan_share(s->refused_share, share), plan_count(s->in_use_mean, mean),
             plan_count(s->in_use_max, most));
    fputc('\n', out);
    labelled("simulated", text, style, out);
}

/* --- cures ------------------------------------------------------------------------------------ */

#define CURE_WIDTH 43

static void print_cure(const struct plan_cure *cure, size_t number,
                       const struct report_plan_style *style, FILE *out)
{
    const struct plan_answer *answer = &cure->answer;
    char rate[PLAN_WORD_MAX];

    fprintf(out, "  %2zu %-16s%12s  %s%-9s%s", number, cure->name,
            plan_rate(answer->sustainable_per_s * cure->workload.requests, rate),
            color(style, answer->suffices ? GOOD : ""), answer->suffices ? "suffices" : "",
            color(style, PLAIN));
    figure_wrap(cure->what, sizeof(cure->what), CURE_WIDTH, FIGURE_COLUMNS, out);
    /* What does not suffice is not weighed any further. */
    if (!answer->suffices || !cure->cost[0])
        return;
    fprintf(out, "%*s%s", CURE_WIDTH, "", color(style, DIM));
    figure_wrap(cure->cost, sizeof(cure->cost), CURE_WIDTH, FIGURE_COLUMNS, out);
    fputs(color(style, PLAIN), out);
}

static void print_cures(const struct report_plan *plan, const struct report_plan_style *style,
                        FILE *out)
{
    /* What is sustained and fast needs none. */
    if (plan->cure_count == 0 || (plan->answer->suffices && isinf(plan->answer->half_full_s)))
        return;
    fprintf(out, "\n  %s%-19s%12s%s\n", color(style, DIM), "what helps", "requests",
            color(style, PLAIN));
    for (size_t i = 0; i < plan->cure_count; i++)
        print_cure(&plan->cures[i], i + 1, style, out);
}

void report_plan_text(const struct report_plan *plan, const struct report_plan_style *style,
                      FILE *out)
{
    print_sentence(plan, style, out);
    print_workload(plan, style, out);
    fputc('\n', out);
    print_lane(plan, style, out);
    print_bounds(plan->answer, style, out);
    print_simulation(plan, style, out);
    plan_plot(plan, style, out);
    print_cures(plan, style, out);
}
