#include "plan_like.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <string.h>

#include "common.h"
#include "tidewait/text.h"

#define SCHEMA "tidewait.run/1"

/* A path of keys into an object, such as "latency_us", "total", "mean". */
static const json_t *at(const json_t *object, const char *a, const char *b, const char *c)
{
    const json_t *value = json_object_get(object, a);

    if (b)
        value = json_object_get(value, b);
    return c ? json_object_get(value, c) : value;
}

/* Zero and `false` when it is no finite number of at least 0. */
static bool number(const json_t *value, double *out)
{
    *out = json_is_number(value) ? json_number_value(value) : -1;
    if (isfinite(*out) && *out >= 0)
        return true;
    *out = 0;
    return false;
}

static double number_or_0(const json_t *value)
{
    double result;

    number(value, &result);
    return result;
}

/* The same as the pause of --think has on average, in seconds. */
static double think_s(const json_t *record)
{
    const char *text = json_string_value(at(record, "workload", "think", NULL));
    struct distribution think;

    if (!text || distribution_parse(tw_view_of(text), DISTRIBUTION_TIME_NS, &think, NULL))
        return 0;
    return distribution_mean(&think) / 1e9;
}

/* From connect() to the end of the close. Not the stage `total`, which begins when the connection
 * was due and so has the generator's own queue in it. */
static double hold_s(const json_t *record, double requests)
{
    double us = number_or_0(at(record, "latency_us", "connect", "mean")) +
                requests * number_or_0(at(record, "latency_us", "last_byte", "mean")) +
                number_or_0(at(record, "latency_us", "close", "mean"));

    return us / 1e6 + (requests > 1 ? (requests - 1) * think_s(record) : 0);
}

/* Who closed most of them; what was asked for when none was completed. */
static enum plan_closing closing_of(const json_t *record, double *share)
{
    static const char *const names[] = {"client", "server", "reset"};
    const char *asked = json_string_value(at(record, "workload", "close", NULL));
    double counts[3], all = 0;
    int best = PLAN_CLOSING_CLIENT;

    for (int i = 0; i < 3; i++) {
        counts[i] = number_or_0(at(record, "closed_by", names[i], NULL));
        all += counts[i];
        if (asked && strcmp(asked, names[i]) == 0 && all == 0)
            best = i;
    }
    for (int i = 0; i < 3 && all > 0; i++)
        if (counts[i] > counts[best])
            best = i;
    *share = all > 0 ? counts[best] / all : 1;
    return (enum plan_closing)best;
}

/* http://127.0.0.1:80/, tcp://[::1]:80, http://localhost/ */
static bool is_loopback(const char *target)
{
    const char *host = target ? strstr(target, "://") : NULL;

    if (!host)
        return false;
    host += 3;
    return strncmp(host, "127.", 4) == 0 || strncmp(host, "[::1]", 5) == 0 ||
           strncmp(host, "localhost:", 10) == 0 || strncmp(host, "localhost/", 10) == 0 ||
           strcmp(host, "localhost") == 0;
}

static void set_lanes(const json_t *record, struct plan_like *out)
{
    const json_t *targets = at(record, "workload", "targets", NULL);
    double lanes = number_or_0(at(record, "budget", "lanes", NULL));

    out->loopback = json_array_size(targets) > 0;
    for (size_t i = 0; i < json_array_size(targets); i++)
        out->loopback &= is_loopback(json_string_value(json_array_get(targets, i)));
    out->workload.destinations = fmax(1, (double)json_array_size(targets));
    out->workload.sources = fmax(1, number_or_0(at(record, "workload", "sources", NULL)));
    /* Sources have lanes to targets of their own family alone. */
    if (lanes >= 1)
        out->workload.sources = fmax(1, lanes / out->workload.destinations);
    out->ports = number_or_0(at(record, "budget", "ports_per_lane", NULL));
}

/* Connections a second: what was asked of the run, else what it reached. *how says which. */
static double rate_of(const json_t *record, const char **how)
{
    double rate = 0;

    *how = "the rate that --peak found";
    if (number(at(record, "peak_per_s", NULL, NULL), &rate) && rate > 0)
        return rate;
    *how = "the rate that was offered";
    if (json_is_false(at(record, "workload", "peak", NULL)) &&
        number(at(record, "workload", "rate_per_s", NULL), &rate) && rate > 0)
        return rate;
    *how = "the rate that was reached";
    return number_or_0(at(record, "rate_per_s", NULL, NULL));
}

static int fill(const json_t *record, const char *path, struct plan_like *out,
                struct tw_error *error)
{
    const char *arrivals = json_string_value(at(record, "workload", "arrivals", NULL)), *how;
    const char *ports = json_string_value(at(record, "workload", "ports", NULL));
    double opened = number_or_0(at(record, "opened", NULL, NULL)), share;
    double requests = number_or_0(at(record, "requests", NULL, NULL));
    double rate = rate_of(record, &how);
    struct plan_workload *workload = &out->workload;

    if (opened < 1 || rate <= 0)
        return tw_error_set(error, EINVAL,
                            "--like: '%.120s' is the record of a run without a connection", path);
    requests = fmax(1, requests / opened);
    *workload = (struct plan_workload){
        .rate_per_s = rate * requests,
        .poisson = arrivals && strcmp(arrivals, "poisson") == 0,
        .hold = {.kind = DISTRIBUTION_CONSTANT,
                 .a = (uint64_t)llround(fmin(hold_s(record, requests), 1e9) * 1e9)},
        .requests = requests,
        .closing = closing_of(record, &share),
        .ports = ports && strcmp(ports, "kernel") == 0 ? PLAN_PORTS_KERNEL : PLAN_PORTS_MANAGED,
    };
    set_lanes(record, out);
    snprintf(out->words, sizeof(out->words), "%.80s: %s%s", path, how,
             share < 0.99 ? "; not all were closed by the same side, and most decide" : "");
    return 0;
}

/* Where and why text is no JSON, without what a terminal would obey. */
static int refuse_text(const char *path, const json_error_t *where, struct tw_error *error)
{
    char safe[4 * JSON_ERROR_TEXT_LENGTH + 1];

    safe[tw_text_safe(safe, sizeof(safe) - 1, where->text, strlen(where->text))] = 0;
    return tw_error_set(error, EINVAL, "--like: '%.80s' is no JSON: line %d: %.100s", path,
                        where->line, safe);
}

int plan_like_read(const char *path, struct plan_like *out, struct tw_error *error)
{
    struct tw_error inner = {0};
    size_t len = 0;
    char *text = read_file(path, &len, &inner);
    json_error_t where;
    json_t *record;
    const char *schema;
    int rc;

    if (!text)
        return tw_error_set(error, EINVAL, "--like: %s", inner.text);
    record = json_loadb(text, len, 0, &where);
    free(text);
    if (!record)
        return refuse_text(path, &where, error);
    *out = (struct plan_like){0};
    schema = json_string_value(json_object_get(record, "schema"));
    if (!schema || strcmp(schema, SCHEMA) != 0) {
        char safe[4 * 40 + 1] = "";

        if (schema)
            safe[tw_text_safe(safe, sizeof(safe) - 1, schema, strnlen(schema, 40))] = 0;
        rc = tw_error_set(
            error, EINVAL,
            "--like: '%.80s' is no record of 'tidewait load --json': schema '%.60s' is not " SCHEMA,
            path, safe);
    } else {
        rc = fill(record, path, out, error);
    }
    json_decref(record);
    return rc;
}
