#include <errno.h>
#include <langinfo.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common.h"
#include "plan_ask.h"
#include "plan_host.h"
#include "plan_like.h"
#include "plan_now.h"
#include "plan_report.h"

struct plan_config {
    struct plan_ask ask;
    struct plan_host host;
    const char *like;
    bool now;
    const char *for_time; /* a text: 0 is not the same as nothing */
    uint64_t limit;
    bool simulate;
    uint64_t seed;
    const char *json;
    const char *csv;
    bool quiet;
    bool no_color;
    const char *netns;
};

#define FIELD(name) offsetof(struct plan_config, name)

#define NOW_NS        10000000000
#define LIMIT_DEFAULT 10

/* clang-format off */
static const struct option_row plan_options[] = {
    {.name = "rate", .letter = 'r', .metavar = "RATE", .parse = option_rate,
     .offset = FIELD(ask.rate_per_s), .help = "Requests a second, such as 5000/s or 300/m."},
    PLAN_ASK_ROWS(FIELD(ask)),
    {.name = "like", .metavar = "FILE", .parse = option_text, .offset = FIELD(like),
     .help = "The workload of a record that 'tidewait load --json' wrote; what is typed besides "
             "wins."},
    {.name = "now", .parse = option_flag, .offset = FIELD(now),
     .help = "The connections that this host opens at present: measure them, and plan for each "
             "of the busiest lanes."},
    {.name = "for", .metavar = "TIME", .parse = option_text, .offset = FIELD(for_time),
     .help = "How long --now measures (default: 10s), or how much time --simulate simulates "
             "(default: until it has settled)."},
    {.name = "limit", .metavar = "N", .parse = option_number, .offset = FIELD(limit), .min = 1,
     .max = 1000, .help = "How many lanes --now tells of; default: 10."},
    PLAN_HOST_ROWS(FIELD(host)),
    {.name = "simulate", .parse = option_flag, .offset = FIELD(simulate),
     .help = "Also simulate one lane, connection by connection, with random arrivals and holds."},
    {.name = "seed", .metavar = "N", .parse = option_number, .offset = FIELD(seed), .min = 1,
     .max = INT64_MAX, .help = "Seed of --simulate; default: 1."},
    {.name = "json", .metavar = "FILE", .parse = option_text, .offset = FIELD(json),
     .help = "Write all numbers as one JSON object; - is standard output."},
    {.name = "csv", .metavar = "FILE", .parse = option_text, .offset = FIELD(csv),
     .help = "Write the tuples in use over time as CSV; - is standard output."},
    {.name = "quiet", .letter = 'q', .parse = option_flag, .offset = FIELD(quiet),
     .help = "Print errors only; the exit status tells."},
    {.name = "no-color", .parse = option_flag, .offset = FIELD(no_color),
     .help = "No colour on a terminal; so does the variable NO_COLOR."},
    {.name = "netns", .letter = 'N', .metavar = "NAME|PID", .parse = option_text,
     .offset = FIELD(netns),
     .help = "With the limits and sockets of this network namespace: a name as 'ip netns' lists "
             "them, or a process."},
    {0},
};
/* clang-format on */

struct outputs {
    FILE *json, *csv;
    FILE *text; /* NULL: none */
    struct report_plan_style style;
};

/* Signals that ask for the end of what is measured or simulated. */
static atomic_int stop;

static int complain(const struct tw_error *error)
{
    fprintf(stderr, "tidewait plan: %s\n", error->text);
    return error->code == EPERM || error->code == EACCES        ? EXIT_DENIED
           : error->code == EINVAL || error->code == ERANGE     ? EXIT_USAGE
           : error->code == EOPNOTSUPP || error->code == ENOSYS ? EXIT_UNSUPPORTED
                                                                : EXIT_OURS;
}

/* --- what was asked --------------------------------------------------------------------------- */

/* Options that say what a workload is, which --now measures. */
static const char *typed_workload(const struct plan_config *config)
{
    const struct plan_ask *ask = &config->ask;

    return ask->rate_per_s > 0   ? "--rate"
           : ask->hold           ? "--hold"
           : ask->requests       ? "--requests-per-connection"
           : ask->closing        ? "--close"
           : ask->arrivals       ? "--arrivals"
           : ask->from           ? "--from"
           : ask->to             ? "--to"
           : ask->idle           ? "--idle-pool"
           : config->like        ? "--like"
           : config->host.os     ? "--os"
           : config->host.limits ? "--limits"
           : config->simulate    ? "--simulate"
           : config->csv         ? "--csv"
                                 : NULL;
}

static int check(const struct plan_config *config, int operands, char **operand,
                 struct tw_error *error)
{
    const char *typed = typed_workload(config);

    if (operands)
        return tw_error_set(error, EINVAL,
                            "'%.60s': plan takes options only, such as --rate 5000/s", operand[0]);
    if (config->now && typed)
        return tw_error_set(error, EINVAL,
                            "--now measures what this host does: %s does not go "
                            "with it",
                            typed);
    if (!config->now && config->limit)
        return tw_error_set(error, EINVAL, "--limit goes with --now");
    if (!config->now && !config->simulate && config->for_time)
        return tw_error_set(error, EINVAL, "--for goes with --now or --simulate");
    if (!config->simulate && config->seed)
        return tw_error_set(error, EINVAL, "--seed goes with --simulate");
    if (config->json && config->csv && strcmp(config->json, config->csv) == 0)
        return tw_error_set(error, EINVAL, "--json and --csv cannot both be '%.80s'", config->json);
    if (config->netns && (config->host.os || config->host.limits))
        return tw_error_set(error, EINVAL, "--netns is about this host, %s is about another",
                            config->host.os ? "--os" : "--limits");
    if (!config->now && !config->like && config->ask.rate_per_s == 0)
        return tw_error_set(error, EINVAL, "which rate? give --rate 5000/s, --like FILE or --now");
    return 0;
}

/* *out stays as it is without --for. */
static int parse_for(const struct plan_config *config, uint64_t *out, struct tw_error *error)
{
    struct tw_error inner = {0};

    if (!config->for_time)
        return 0;
    if (tw_parse_duration(tw_view_of(config->for_time), out, &inner))
        return tw_error_set(error, EINVAL, "--for: %s", inner.text);
    return *out ? 0 : tw_error_set(error, EINVAL, "--for '%s' is no time at all", config->for_time);
}

/* --- where it goes ---------------------------------------------------------------------------- */

static FILE *open_output(const char *path, struct tw_error *error)
{
    FILE *file = strcmp(path, "-") == 0 ? stdout : fopen(path, "we");

    if (!file)
        tw_error_set(error, EINVAL, "cannot write '%.120s': %s", path, strerror(errno));
    return file;
}

/* Block characters are for a terminal whose characters are UTF-8. */
static bool shows_blocks(int fd)
{
    locale_t locale = newlocale(LC_CTYPE_MASK, "", (locale_t)0);
    bool is_utf8 = locale && strcmp(nl_langinfo_l(CODESET, locale), "UTF-8") == 0;

    if (locale)
        freelocale(locale);
    return is_utf8 && isatty(fd);
}

static int open_outputs(const struct plan_config *config, struct outputs *out,
                        struct tw_error *error)
{
    *out = (struct outputs){0};
    if ((config->json && !(out->json = open_output(config->json, error))) ||
        (config->csv && !(out->csv = open_output(config->csv, error))))
        return -EINVAL;
    if (!config->quiet)
        out->text = out->json == stdout || out->csv == stdout ? stderr : stdout;
    if (out->text) {
        int fd = fileno(out->text);

        out->style.color = isatty(fd) && !config->no_color && !getenv("NO_COLOR");
        out->style.blocks = shows_blocks(fd);
    }
    return 0;
}

static int close_output(FILE *file, int written, const char *path)
{
    int rc = written;

    if (file && file != stdout && fclose(file) && rc == 0)
        rc = -EIO;
    if (rc)
        fprintf(stderr, "tidewait plan: cannot write '%s': %s\n", path,
                rc == -ENOMEM ? "no memory" : strerror(errno));
    return rc;
}

/* Flushes and closes all; `code` unless that fails. */
static int close_outputs(const struct plan_config *config, struct outputs *out, int json_rc,
                         int csv_rc, int code)
{
    if (close_output(out->json, json_rc, config->json) ||
        close_output(out->csv, csv_rc, config->csv))
        code = EXIT_PARTLY;
    if (fflush(stdout) || ferror(stdout)) {
        fprintf(stderr, "tidewait plan: cannot write to standard output: %s\n", strerror(errno));
        code = EXIT_PARTLY;
    }
    return code;
}

/* --- a plan ----------------------------------------------------------------------------------- */

/* All that one plan is made of. */
struct job {
    const struct plan_config *config;
    struct plan_like like;
    struct plan_system system;
    struct plan_nat nat;
    struct plan_workload workload;
    struct plan_answer answer;
    struct plan_cure cures[PLAN_CURES];
    struct simulate_result simulation;
    struct report_plan report;
};

/* The ports are those of the record as long as the program chooses them, as `load` does. */
static void take_ports(struct job *job)
{
    if (job->like.ports > 0 && job->workload.ports == PLAN_PORTS_MANAGED &&
        !job->config->host.range)
        job->system.ports = job->like.ports;
}

static int gather(struct job *job, struct tw_error *error)
{
    const struct plan_config *config = job->config;
    bool loopback = false, is_here = false;
    int rc;

    if (config->like) {
        if ((rc = plan_like_read(config->like, &job->like, error)))
            return rc;
        job->workload = job->like.workload;
        loopback = job->like.loopback;
        rc = plan_ask_over(&config->ask, &job->workload, &loopback, error);
    } else {
        rc = plan_ask_workload(&config->ask, &job->workload, &loopback, error);
    }
    if (rc || (rc = plan_host_system(&config->host, loopback, &job->system, &is_here, error)) ||
        (rc = plan_host_nat(&config->host, &job->nat, error)))
        return rc;
    job->report.lost_counted = is_here;
    if (is_here && (rc = plan_host_count_lost(&config->host, &job->system, error)))
        return rc;
    take_ports(job);
    return 0;
}

static int run_simulation(struct job *job, struct tw_error *error)
{
    struct simulate_opts opts = {
        .seed = job->config->seed ? job->config->seed : 1,
        .stop = &stop,
    };
    struct tw_error inner = {0};
    uint64_t for_ns = 0;
    int rc;

    if ((rc = parse_for(job->config, &for_ns, error)))
        return rc;
    opts.duration_s = (double)for_ns / 1e9;
    catch_signals(&stop);
    rc = simulate(&job->answer, &job->workload, &opts, &job->simulation, &inner);
    if (rc)
        return tw_error_set(error, -rc, "--simulate: %s", inner.text);
    job->report.simulation = &job->simulation;
    return 0;
}

static int make_plan(struct job *job, struct tw_error *error)
{
    int rc = gather(job, error);

    if (rc)
        return rc;
    plan_answer(&job->system, &job->nat, &job->workload, &job->answer);
    job->report.system = &job->system;
    job->report.nat = &job->nat;
    job->report.workload = &job->workload;
    job->report.answer = &job->answer;
    job->report.like = job->config->like ? job->like.words : NULL;
    job->report.cures = job->cures;
    job->report.cure_count = plan_cures(&job->system, &job->nat, &job->workload, job->cures);
    return job->config->simulate ? run_simulation(job, error) : 0;
}

static int plan_typed(const struct plan_config *config)
{
    struct job *job = calloc(1, sizeof(*job));
    struct tw_error error = {0};
    struct outputs out;
    int code, json_rc = 0, csv_rc = 0;

    if (!job) {
        fprintf(stderr, "tidewait plan: no memory\n");
        return EXIT_OURS;
    }
    job->config = config;
    if (make_plan(job, &error) || open_outputs(config, &out, &error)) {
        free(job);
        return complain(&error);
    }
    if (out.text)
        report_plan_text(&job->report, &out.style, out.text);
    if (out.json)
        json_rc = report_plan_json(&job->report, out.json);
    if (out.csv)
        csv_rc = report_plan_csv(&job->report, out.csv);
    code = job->answer.suffices ? EXIT_YES : EXIT_NO;
    free(job);
    return close_outputs(config, &out, json_rc, csv_rc, code);
}

/* --- what the host does ----------------------------------------------------------------------- */

static int plan_measured(const struct plan_config *config)
{
    struct plan_now_ask ask = {
        .host = &config->host,
        .for_ns = NOW_NS,
        .limit = config->limit ? config->limit : LIMIT_DEFAULT,
        .ports = config->ask.ports ? (enum plan_ports)(config->ask.ports - 1) : PLAN_PORTS_KERNEL,
        .stop = &stop,
    };
    struct report_plan_lane *lanes = calloc(ask.limit, sizeof(*lanes));
    struct report_plan_now now;
    struct tw_error error = {0};
    struct plan_nat nat;
    struct outputs out;
    int code = EXIT_YES, json_rc = 0;

    if (!lanes) {
        fprintf(stderr, "tidewait plan: no memory\n");
        return EXIT_OURS;
    }
    ask.nat = &nat;
    catch_signals(&stop);
    if (parse_for(config, &ask.for_ns, &error) || plan_host_nat(&config->host, &nat, &error) ||
        open_outputs(config, &out, &error) || plan_now(&ask, lanes, &now, &error)) {
        free(lanes);
        return complain(&error);
    }
    if (out.text)
        report_plan_now_text(&now, &out.style, out.text);
    if (out.json)
        json_rc = report_plan_now_json(&now, out.json);
    for (size_t i = 0; i < now.lane_count; i++)
        if (!lanes[i].answer.suffices)
            code = EXIT_NO;
    free(lanes);
    return close_outputs(config, &out, json_rc, 0, code);
}

static int run_plan(const void *argument, int operands, char **operand)
{
    const struct plan_config *config = argument;
    struct tw_error error = {0};
    int code;

    if (check(config, operands, operand, &error))
        return complain(&error);
    code = enter_netns(config->netns, &error);
    if (code != EXIT_YES) {
        complain(&error);
        return code;
    }
    return config->now ? plan_measured(config) : plan_typed(config);
}

const struct command command_plan = {
    .name = "plan",
    .operands = "",
    .summary = "Work out how many connections a host can open, what limits them, and what helps.",
    .details =
        "Exit status: 0 the rate is sustained; 1 it is not; 2 bad input; 3 not permitted; 4 not\n"
        "supported by this kernel; 5 a result file could not be written.\n",
    .options = plan_options,
    .config_size = sizeof(struct plan_config),
    .run = run_plan,
};
