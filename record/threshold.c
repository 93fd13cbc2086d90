#include "threshold.h"

#include <errno.h>

static bool find_name(struct tw_view view, const char *const *names, int first, int count, int *out)
{
    for (int i = first; i < count; i++) {
        if (tw_view_equals(view, names[i])) {
            *out = i;
            return true;
        }
    }
    return false;
}

/* p50, p99, p999 (three nines without a point), mean, max. With a single digit (p5), or with more
 * than two that do not begin with 9 (p100), it would not be clear what is meant. */
static bool parse_share(struct tw_view view, double *out)
{
    uint64_t digits;
    double scale = 1;

    if (tw_view_equals(view, "mean")) {
        *out = -1;
    } else if (tw_view_equals(view, "max")) {
        *out = 1;
    } else {
        if (view.len < 3 || view.len > 7 || view.data[0] != 'p' ||
            (view.len > 3 && view.data[1] != '9') ||
            tw_parse_number((struct tw_view){view.data + 1, view.len - 1}, "percentile", 0, 999999,
                            &digits, NULL))
            return false;
        for (size_t i = 1; i < view.len; i++)
            scale *= 10;
        *out = (double)digits / scale;
    }
    return true;
}

/* The left side: [STAGE.]pNN, errors or a class of them, rate, port_waits. */
static bool parse_metric(struct tw_view view, struct threshold *out)
{
    struct tw_view rest = view, head = tw_view_cut(&rest, '.');
    int index;

    out->stage = STAGE_TOTAL;
    if (tw_view_equals(view, "errors") || tw_view_equals(view, "rate") ||
        tw_view_equals(view, "port_waits")) {
        out->metric = view.data[0] == 'e'   ? METRIC_ERRORS
                      : view.data[0] == 'r' ? METRIC_RATE
                                            : METRIC_PORT_WAITS;
        return true;
    }
    if (find_name(view, failure_names, 1, FAILURES, &index)) {
        out->metric = METRIC_ERRORS;
        out->failure = (enum failure)index;
        return true;
    }
    out->metric = METRIC_LATENCY;
    if (rest.data) {
        if (!find_name(head, stage_names, 0, STAGES, &index))
            return false;
        out->stage = (enum stage)index;
        return parse_share(rest, &out->share);
    }
    return parse_share(view, &out->share);
}

static int parse_limit(struct tw_view view, struct threshold *out, struct tw_error *error)
{
    uint64_t number;
    int rc;

    switch (out->metric) {
    case METRIC_LATENCY:
        rc = tw_parse_duration(view, &number, error);
        break;
    case METRIC_RATE:
        return tw_parse_rate(view, &out->limit, error);
    default:
        rc = tw_parse_number(view, "limit", 0, UINT64_MAX / 2, &number, error);
        break;
    }
    if (rc == 0)
        out->limit = (double)number;
    return rc;
}

int threshold_parse(const char *text, struct threshold *out, struct tw_error *error)
{
    struct threshold threshold = {.text = text};
    size_t at = strcspn(text, "<>");
    size_t behind = at + 1;
    int rc;

    if (text[at] == 0)
        return tw_error_set(error, EINVAL, "'%s' has neither > nor <; write it as 'p99>5ms'", text);
    threshold.above = text[at] == '>';
    threshold.or_equal = text[behind] == '=';
    behind += threshold.or_equal;
    if (!parse_metric((struct tw_view){text, at}, &threshold))
        return tw_error_set(
            error, EINVAL,
            "'%s': '%.*s' is no metric; known are p50, p99, first_byte.p99, mean, max, "
            "errors, refused, rate, port_waits and their like",
            text, (int)at, text);
    if ((rc = parse_limit(tw_view_of(text + behind), &threshold, error)))
        return rc;
    *out = threshold;
    return 0;
}

double threshold_value(const struct threshold *threshold, const struct run *run)
{
    const struct histogram *stage = &run->stages[threshold->stage];

    switch (threshold->metric) {
    case METRIC_LATENCY:
        return threshold->share < 0 ? histogram_mean(stage)
                                    : (double)histogram_percentile(stage, threshold->share);
    case METRIC_ERRORS:
        return (double)(threshold->failure ? run->tally.failures[threshold->failure]
                                           : tally_failed(&run->tally));
    case METRIC_RATE:
        return run_rate_per_s(run);
    default:
        return (double)run->tally.port_waits.count;
    }
}

bool threshold_missed(const struct threshold *threshold, const struct run *run)
{
    double value = threshold_value(threshold, run);

    if (threshold->or_equal && value == threshold->limit)
        return true;
    return threshold->above ? value > threshold->limit : value < threshold->limit;
}
