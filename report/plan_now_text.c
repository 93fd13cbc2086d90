#include <math.h>
#include <string.h>

#include "lab_figure.h"
#include "plan_report.h"
#include "plan_words.h"
#include "tidewait/blind.h"

#define LABEL_WIDTH 14
#define LANE_WIDTH  32
#define GOOD        "\033[32m"
#define BAD         "\033[1;31m"
#define DIM         "\033[2m"
#define PLAIN       "\033[0m"

static const char *color(const struct report_plan_style *style, const char *code)
{
    return style->color ? code : "";
}

static void labelled(const char *name, const char *text, const struct report_plan_style *style,
                     FILE *out)
{
    fprintf(out, "  %s%-*s%s", color(style, DIM), LABEL_WIDTH - 2, name, color(style, PLAIN));
    figure_wrap(text, SIZE_MAX, LABEL_WIDTH, FIGURE_COLUMNS, out);
}

static void print_measured(const struct report_plan_now *now, const struct report_plan_style *style,
                           FILE *out)
{
    char rate[PLAN_WORD_MAX], span[PLAN_WORD_MAX], number[PLAN_WORD_MAX], gap[PLAN_WORD_MAX];
    char text[400];
    double missed = now->opened_per_s - now->attributed_per_s;

    fprintf(out, "%s opened by this host, measured for %s in %u looks%s\n",
            plan_rate(now->opened_per_s < 0 ? now->attributed_per_s : now->opened_per_s, rate),
            plan_time(now->seconds, span), now->looks, now->interrupted ? " (interrupted)" : "");
    snprintf(text, sizeof(text), "%zu with connections or TIME_WAITs, %zu of them opening new ones",
             now->lanes_seen, now->lanes_opening);
    labelled("lanes", text, style, out);
    snprintf(text, sizeof(text), "%s lost for every destination to sockets that are bound",
             now->lost > 0 ? plan_count(now->lost, number) : "none");
    labelled("ports", text, style, out);
    if (now->opened_per_s < 0) {
        labelled("not known", "how many were opened in all: the kernel's counter cannot be read",
                 style, out);
    } else if (missed * now->seconds >= 1) {
        snprintf(text, sizeof(text),
                 "%s of them (%s): they came and went within the %s between two looks and left no "
                 "TIME_WAIT here, or it was taken over; their lanes open more than is told below",
                 plan_rate(missed, rate), plan_share(missed / now->opened_per_s, number),
                 plan_time(now->seconds / fmax(1, now->looks - 1), gap));
        labelled("not seen", text, style, out);
    }
    for (unsigned flag = 1; flag < 1u << TW_BLIND_COUNT; flag <<= 1)
        if (now->blind & flag)
            labelled("hidden", tw_blind_text((enum tw_blind)flag), style, out);
}

static void print_verdict(const struct report_plan_lane *lane,
                          const struct report_plan_style *style, FILE *out)
{
    const struct plan_answer *answer = &lane->answer;

    fprintf(out, "  %s%s%s%s\n", color(style, answer->suffices ? GOOD : BAD),
            answer->suffices ? "yes" : "NO", color(style, PLAIN),
            answer->suffices && isfinite(answer->half_full_s) ? ", slow" : "");
}

static void print_lane(const struct report_plan_lane *lane, const struct report_plan_style *style,
                       FILE *out)
{
    char source[TW_ENDPOINT_TEXT_MAX], destination[TW_ENDPOINT_TEXT_MAX], rate[PLAN_WORD_MAX];
    char hold[PLAN_WORD_MAX], waits[PLAN_WORD_MAX], open[PLAN_WORD_MAX], most[PLAN_WORD_MAX];
    char full[PLAN_WORD_MAX], name[2 * TW_ENDPOINT_TEXT_MAX + 2];
    double used = lane->open + lane->lasting + lane->time_waits;
    double tuples = lane->answer.tuples + lane->lasting;

    snprintf(name, sizeof(name), "%s %s", tw_endpoint_format(&lane->source, source),
             tw_endpoint_format(&lane->destination, destination));
    fprintf(out, "  %-*s", LANE_WIDTH, name);
    if (strlen(name) > LANE_WIDTH)
        fprintf(out, "\n  %-*s", LANE_WIDTH, "");
    fprintf(out, "%10s%9s%8s%11s%8s%10s", plan_rate(lane->opened_per_s, rate),
            plan_time((double)lane->workload.hold.a / 1e9, hold),
            plan_count(round(lane->open + lane->lasting), open),
            plan_count(lane->time_waits, waits),
            tuples > 0 && isfinite(tuples) ? plan_share(used / tuples, full) : "-",
            plan_rate(lane->answer.sustainable_per_s, most));
    print_verdict(lane, style, out);
}

void report_plan_now_text(const struct report_plan_now *now, const struct report_plan_style *style,
                          FILE *out)
{
    bool guessed = false;

    print_measured(now, style, out);
    if (now->lane_count == 0)
        return;
    fprintf(out, "\n  %s%-*s%10s%9s%8s%11s%8s%10s  lasts%s\n", color(style, DIM), LANE_WIDTH,
            "from, to", "opens", "hold", "open", "TIME_WAIT", "in use", "sustains",
            color(style, PLAIN));
    for (size_t i = 0; i < now->lane_count; i++) {
        print_lane(&now->lanes[i], style, out);
        guessed |= !now->lanes[i].closing_seen;
    }
    if (now->lanes_opening > now->lane_count)
        fprintf(out, "  and %zu more\n", now->lanes_opening - now->lane_count);
    if (guessed) {
        fputc('\n', out);
        labelled("assumed",
                 "where no connection ended meanwhile, that this host will close them first", style,
                 out);
    }
}
