#include "plan_points.h"

#include <math.h>
#include <string.h>

#include "plan_words.h"

/* Of the plot, in characters. */
#define ROWS    8
#define COLUMNS 64

/* Below this part of the tuples there is nothing to see. */
#define VISIBLE (1.0 / ROWS / 4)

size_t plan_points(const struct report_plan *plan, struct plan_point out[REPORT_PLAN_POINTS])
{
    const struct plan_answer *answer = plan->answer;
    const struct simulate_result *simulation = plan->simulation;
    double end_s = 1.25 * answer->occupied_s;
    double exhausted_s = answer->bounds[PLAN_LIMIT_TUPLES].exhausted_s;
    size_t count = REPORT_PLAN_POINTS;

    if (simulation && simulation->points > 1) {
        count = simulation->points;
        end_s = simulation->duration_s;
    } else if (isfinite(exhausted_s)) {
        end_s = fmin(end_s, 2.5 * exhausted_s);
    }
    if (!isfinite(end_s) || end_s <= 0)
        end_s = 1;
    for (size_t i = 0; i < count; i++) {
        out[i].at_s = end_s * (double)i / (double)(count - 1);
        out[i].in_use = plan_in_use_at(answer, plan->workload, out[i].at_s);
        out[i].simulated =
            simulation && simulation->points == count ? simulation->in_use[i] : (double)NAN;
    }
    return count;
}

/* Where a column of the plot ends, in eighths of a character. */
static int eighths(const struct plan_point *points, size_t count, int column, double tuples)
{
    const struct plan_point *point = &points[(size_t)column * (count - 1) / (COLUMNS - 1)];
    double in_use = isnan(point->simulated) ? point->in_use : point->simulated;

    return (int)lround(fmin(1, in_use / tuples) * ROWS * 8);
}

/* A character of the area below the curve, filled to `part` eighths. */
static void draw_part(int part, const struct report_plan_style *style, FILE *out)
{
    static const char *const blocks[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};

    if (style->blocks)
        fputs(blocks[part - 1], out);
    else
        fputc(part >= 6 ? '#' : part >= 3 ? '=' : '_', out);
}

static void draw_row(const struct plan_point *points, size_t count, int row, double tuples,
                     const struct report_plan_style *style, FILE *out)
{
    bool is_half = row == ROWS / 2;

    for (int column = 0; column < COLUMNS; column++) {
        int part = eighths(points, count, column, tuples) - row * 8;

        if (part > 0)
            draw_part(part < 8 ? part : 8, style, out);
        else
            fputc(is_half && column % 2 == 0 ? '-' : ' ', out);
    }
    if (is_half)
        fputs(" half full", out);
    fputc('\n', out);
}

void plan_plot(const struct report_plan *plan, const struct report_plan_style *style, FILE *out)
{
    struct plan_point points[REPORT_PLAN_POINTS];
    size_t count = plan_points(plan, points);
    double tuples = plan->answer->tuples, most = 0;
    char label[PLAN_WORD_MAX], end[PLAN_WORD_MAX], middle[PLAN_WORD_MAX];
    int gap;

    if (!isfinite(tuples) || tuples < 1)
        return;
    for (size_t i = 0; i < count; i++)
        most = fmax(most, isnan(points[i].simulated) ? points[i].in_use : points[i].simulated);
    if (most / tuples < VISIBLE)
        return;
    fprintf(out, "\n  ports of a lane in use after an idle start%s\n",
            plan->simulation ? " (simulated)" : "");
    fprintf(out, "  %9s +", plan_count(tuples, label));
    for (int column = 0; column < COLUMNS; column++)
        fputc('-', out);
    fputs(" all\n", out);
    for (int row = ROWS - 1; row >= 0; row--) {
        fprintf(out, "  %9s |", row == ROWS / 2 ? plan_count(tuples / 2, label) : "");
        draw_row(points, count, row, tuples, style, out);
    }
    plan_time(points[count - 1].at_s / 2, middle);
    plan_time(points[count - 1].at_s, end);
    fprintf(out, "  %9s +", "0");
    for (int column = 0; column < COLUMNS; column++)
        fputc('-', out);
    gap = COLUMNS / 2 - 1 - (int)strlen(middle) / 2;
    fprintf(out, "\n  %9s 0%*s%s%*s\n", "", gap, "", middle, COLUMNS - gap - (int)strlen(middle),
            end);
}
