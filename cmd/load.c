#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "budget.h"
#include "common.h"
#include "load_setup.h"
#include "report.h"
#include "tidewait/verdict.h"

#define FIELD(name) offsetof(struct load_config, name)

/* A run that launches less than this share of what was due has not met the offered rate. */
#define OFFER_SHARE 0.99

/* What judge() may find missing besides the conditions of --fail-if. */
#define OTHER_MISSES 5

/* clang-format off */
static const struct option_row load_options[] = {
    {.name = "from", .metavar = "ADDR", .parse = option_repeat, .offset = FIELD(from),
     .help = "Source addresses (robots): an address, a range 10.0.0.1-10.0.0.50, a network "
             "10.0.0.0/24 or an interface; may be repeated; default: what the routing table "
             "says."},
    {.name = "add-addresses", .metavar = "IFACE", .parse = option_text,
     .offset = FIELD(add_addresses),
     .help = "Add those of --from that this host lacks to the interface, and remove them at the "
             "end."},
    {.name = "free-bind", .parse = option_flag, .offset = FIELD(free_bind),
     .help = "Use source addresses that no interface has (IP_FREEBIND)."},
    {.name = "ports", .metavar = "RANGE|kernel", .parse = option_text, .offset = FIELD(ports),
     .help = "Source ports to use: 3000-30000, 3000:30000, or a list; default: the kernel's "
             "ip_local_port_range without its reserved ports. With kernel connect() chooses, as "
             "for every ordinary program, and an attempt for which it finds none has failed."},
    {.name = "connections", .letter = 'c', .metavar = "N", .parse = option_number,
     .offset = FIELD(connections), .min = 1, .max = 4000000,
     .help = "Connections in flight: exactly so many without --rate [64], at most so many with "
             "it."},
    {.name = "rate", .letter = 'r', .metavar = "RATE", .parse = option_rate,
     .offset = FIELD(rate_per_s),
     .help = "Open loop: launch connections at this rate, such as 5000/s, whatever the replies "
             "do."},
    {.name = "arrivals", .metavar = "KIND", .parse = option_choice, .offset = FIELD(arrivals),
     .choices = "constant|poisson", .preset = "constant",
     .help = "How the launches of --rate are spaced: constant or poisson."},
    {.name = "ramp", .metavar = "FROM..TO/TIME", .parse = option_text, .offset = FIELD(ramp),
     .help = "Open loop whose rate climbs in ten equal steps, such as 100/s..5000/s/30s, and "
             "then stays."},
    {.name = "peak", .parse = option_flag, .offset = FIELD(peak),
     .help = "Raise the rate step by step from --rate [1000/s] until errors or a --fail-if "
             "limit, and tell the highest rate held."},
    {.name = "requests", .letter = 'n', .metavar = "N", .parse = option_text,
     .offset = FIELD(requests), .preset = "1",
     .help = "Requests a connection: a number, zipf:64 or uniform:1-10."},
    {.name = "think", .metavar = "TIME", .parse = option_text, .offset = FIELD(think),
     .preset = "0",
     .help = "Pause between two requests of a connection: 10ms, exp:10ms or uniform:1ms-5ms."},
    {.name = "abort", .metavar = "SHARE", .parse = option_share, .offset = FIELD(abort_share),
     .help = "Reset this share of the connections at the first byte of the reply, such as 5%."},
    {.name = "close", .metavar = "WHO", .parse = option_choice, .offset = FIELD(closing),
     .choices = "client|server|reset|half", .preset = "client",
     .help = "Who ends a connection: client (we close first and keep TIME_WAIT), server, reset "
             "(RST, no TIME_WAIT) or half (our EOF goes out with the request)."},
    {.name = "duration", .letter = 'd', .metavar = "TIME", .parse = option_time,
     .offset = FIELD(duration_ns),
     .help = "Launch connections for this long; default: 10s, unless --count or --peak is "
             "given."},
    {.name = "count", .metavar = "N", .parse = option_number, .offset = FIELD(count), .min = 1,
     .max = INT64_MAX,
     .help = "Launch this many connections and end."},
    {.name = "warmup", .metavar = "TIME", .parse = option_time, .offset = FIELD(warmup_ns),
     .help = "Launch connections this long before anything is counted."},
    {.name = "timeout", .metavar = "TIME", .parse = option_time, .offset = FIELD(timeout_ns),
     .preset = "10s",
     .help = "Time limit of each of: the handshake, a reply, the close."},
    {.name = "threads", .letter = 't', .metavar = "N", .parse = option_number,
     .offset = FIELD(threads), .min = 1, .max = 1024,
     .help = "Threads, each with a slice of the ports; default: as many as processors."},
    {.name = "send", .metavar = "BYTES", .parse = option_text, .offset = FIELD(send),
     .help = "tcp targets: what to send, with \\r \\n \\t \\0 \\xHH, or @FILE."},
    {.name = "expect", .metavar = "BYTES", .parse = option_text, .offset = FIELD(expect),
     .help = "tcp targets: what the reply begins with; it is complete with these bytes."},
    {.name = "spread", .parse = option_flag, .offset = FIELD(spread),
     .help = "Walk the whole ring of ports instead of using few of them again and again, for tests "
             "of NAT and conntrack; costs a descriptor for each port, or a new one for each "
             "connection where the descriptor limit is lower."},
    {.name = "seed", .metavar = "N", .parse = option_number, .offset = FIELD(seed), .min = 1,
     .max = INT64_MAX,
     .help = "Seed of everything random, to repeat a run."},
    {.name = "fail-if", .metavar = "CONDITION", .parse = option_repeat, .offset = FIELD(fail_if),
     .help = "Exit with 1 when this holds: 'p99>5ms', 'first_byte.p50>1ms', 'errors>0', "
             "'rate<1000/s'; may be repeated."},
    {.name = "json", .metavar = "FILE", .parse = option_text, .offset = FIELD(json),
     .help = "Write the whole record as one JSON object; - is standard output."},
    {.name = "hdr", .metavar = "FILE", .parse = option_text, .offset = FIELD(hdr),
     .help = "Write the latencies as a HdrHistogram log (ns)."},
    {.name = "ipv4", .letter = '4', .parse = option_flag, .offset = FIELD(only_v4),
     .help = "Resolve names to IPv4 addresses only."},
    {.name = "ipv6", .letter = '6', .parse = option_flag, .offset = FIELD(only_v6),
     .help = "Resolve names to IPv6 addresses only."},
    {.name = "dry-run", .parse = option_flag, .offset = FIELD(dry_run),
     .help = "Print the budget and launch nothing."},
    {.name = "quiet", .letter = 'q', .parse = option_flag, .offset = FIELD(quiet),
     .help = "Print errors only."},
    {.name = "verbose", .letter = 'v', .parse = option_flag, .offset = FIELD(verbose),
     .help = "Print the line of each second also where standard error is no terminal."},
    {.name = "no-color", .parse = option_flag, .offset = FIELD(no_color),
     .help = "No colour on a terminal; so does the variable NO_COLOR."},
    {.name = "netns", .letter = 'N', .metavar = "NAME", .parse = option_text,
     .offset = FIELD(netns),
     .help = "Run in this network namespace (of ip netns)."},
    {0},
};
/* clang-format on */

/* What one run of the command holds. */
struct session {
    const struct load_config *config;
    struct robots robots;
    struct workload workload;
    struct threshold limits[OPTION_LIST_MAX];
    size_t limit_count;
    struct verdict_line missed[OPTION_LIST_MAX + OTHER_MISSES];
    size_t missed_count;
    const char **targets; /* their texts, for reports: nothing must be lost for want of memory */
    FILE *json, *hdr;
    bool hdr_lost; /* an interval of the log was not written */
    bool live;
    double hdr_s; /* how far the HdrHistogram log has come */
};

static int complain(const struct tw_error *error, int code)
{
    fprintf(stderr, "tidewait load: %s\n", error->text);
    return code;
}

static bool use_color(const struct load_config *config, FILE *out)
{
    return isatty(fileno(out)) && !config->no_color && !getenv("NO_COLOR");
}

static FILE *open_output(const char *path, struct tw_error *error)
{
    FILE *file = strcmp(path, "-") == 0 ? stdout : fopen(path, "we");

    if (!file)
        tw_error_set(error, errno, "cannot write '%s': %s", path, strerror(errno));
    return file;
}

static int open_outputs(struct session *session, struct tw_error *error)
{
    const struct load_config *config = session->config;

    if (config->json && !(session->json = open_output(config->json, error)))
        return EXIT_USAGE;
    if (config->hdr && !(session->hdr = open_output(config->hdr, error)))
        return EXIT_USAGE;
    return EXIT_YES;
}

/* A step of --peak is judged by what the seconds of a run tell. */
static bool peak_can_judge(const struct threshold *limit)
{
    return limit->metric == METRIC_LATENCY ? limit->stage == STAGE_TOTAL
                                           : limit->failure == FAILURE_NONE;
}

static int parse_limits(struct session *session, struct tw_error *error)
{
    struct tw_error inner = {0};

    for (size_t i = 0; i < session->config->fail_if.count; i++) {
        if (threshold_parse(session->config->fail_if.items[i], &session->limits[i], &inner)) {
            tw_error_set(error, inner.code, "--fail-if: %s", inner.text);
            return EXIT_USAGE;
        }
        if (session->config->peak && !peak_can_judge(&session->limits[i])) {
            tw_error_set(
                error, EINVAL,
                "--fail-if '%s': a step of --peak knows the total latency, errors and rate only",
                session->limits[i].text);
            return EXIT_USAGE;
        }
        session->limit_count++;
    }
    return EXIT_YES;
}

static void on_second(void *context, const struct second *second, const struct histogram *total)
{
    struct session *session = context;

    if (session->live) {
        if (second->at_s % 20 == 0)
            report_second_head(stderr);
        report_second(second, use_color(session->config, stderr), stderr);
    }
    if (session->hdr) {
        session->hdr_lost |= report_hdr_interval(NULL, second->at_s, 1, total, session->hdr) != 0;
        fflush(session->hdr);
    }
}

static void miss(struct session *session, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void miss(struct session *session, const char *format, ...)
{
    struct verdict_line *line = &session->missed[session->missed_count++];
    va_list args;

    va_start(args, format);
    vsnprintf(line->text, sizeof(line->text), format, args);
    va_end(args);
}

static void judge(struct session *session, const struct run *run)
{
    const struct tally *tally = &run->tally;
    bool open_loop = session->workload.rate_per_s > 0;

    if (run->broken)
        miss(session, "a thread broke down and ended early: %s", strerror(run->broken));
    if (open_loop && !session->workload.peak &&
        (double)tally->opened < (double)tally->attempted * OFFER_SHARE)
        miss(session, "the offered rate was not met: %llu of %llu connections were launched (%s)",
             (unsigned long long)tally->opened, (unsigned long long)tally->attempted,
             tally->port_waits.count ? "no port was free" : "the generator could not keep up");
    if (tally->opened < session->workload.count && session->workload.warmup_ns == 0 &&
        !run->interrupted)
        miss(session, "--count %llu was not reached: %llu connections were launched (%s)",
             (unsigned long long)session->workload.count, (unsigned long long)tally->opened,
             tally->port_waits.count ? "no port was free" : "--duration was over");
    if (tally->completed == 0 && tally->aborted == 0)
        miss(session, "not one connection was completed");
    if (session->workload.peak) {
        if (run->peak_per_s == 0)
            miss(session, "no rate was held");
        return;
    }
    for (size_t i = 0; i < session->limit_count; i++)
        if (threshold_missed(&session->limits[i], run))
            miss(session, "--fail-if %s", session->limits[i].text);
}

/* The ports in use as first-last, and their number when there are gaps; or who chooses them. */
static const char *describe_ports(const struct workload *workload, char buf[64])
{
    unsigned first = workload->ports[0];
    unsigned last = workload->ports[workload->port_count - 1];

    if (workload->kernel_ports)
        snprintf(buf, 64, "kernel");
    else if (last - first + 1 == workload->port_count)
        snprintf(buf, 64, "%u-%u", first, last);
    else
        snprintf(buf, 64, "%u of %u-%u", workload->port_count, first, last);
    return buf;
}

static struct report_workload describe(const struct session *session, const char *ports)
{
    static const char *const closings[] = {"client", "server", "reset", "half"};
    const struct workload *workload = &session->workload;

    for (size_t i = 0; i < workload->target_count; i++)
        session->targets[i] = workload->targets[i].text;
    return (struct report_workload){
        .targets = session->targets,
        .target_count = workload->target_count,
        .sources = workload->source_count,
        .closing = closings[workload->closing],
        .arrivals = workload->rate_per_s == 0 ? "closed"
                    : workload->poisson       ? "poisson"
                                              : "constant",
        .connections = workload->connections,
        .rate_per_s = workload->rate_per_s,
        .ramp_from_per_s = workload->ramp_from_per_s,
        .ramp_s = (double)workload->ramp_ns / 1e9,
        .duration_s = (double)workload->duration_ns / 1e9,
        .warmup_s = (double)workload->warmup_ns / 1e9,
        .timeout_s = (double)workload->timeout_ns / 1e9,
        .count = workload->count,
        .threads = workload->threads,
        .ports = ports,
        .requests = session->config->requests,
        .think = session->config->think,
        .abort_share = workload->abort_share,
        .spread = workload->spread,
        .peak = workload->peak,
        .seed = workload->seed,
    };
}

/* Who has the port that was refused last, if he has it still. */
static void explain_refusal(const struct workload *workload, const struct tally *tally, FILE *out)
{
    struct tw_question question = {.op = TW_OP_CONNECT, .protocol = IPPROTO_TCP};
    struct tw_verdict *verdict;

    /* With --ports kernel no port was refused, but there was none. */
    if (!tally->refused_port && !tally->failures[FAILURE_NOT_AVAILABLE_CONNECT])
        return;
    question.local = workload->lanes[tally->refused_lane].source;
    tw_endpoint_set_port(&question.local, tally->refused_port);
    question.remote = workload->targets[workload->lanes[tally->refused_lane].target].endpoint;
    verdict = tw_verdict_new(&question, NULL);
    if (verdict && verdict->code)
        fprintf(out, "refused by   %s\n", verdict->summary);
    tw_verdict_free(verdict);
}

/* Writes what was measured everywhere it was asked for; a file that fails does not stop the others.
 */
static int report(struct session *session, const struct run *run)
{
    char ports[64];
    struct report_workload workload = describe(session, describe_ports(&session->workload, ports));
    FILE *out = session->json == stdout || session->hdr == stdout ? stderr : stdout;
    int rc = session->missed_count ? EXIT_NO : EXIT_YES;

    if (!session->config->quiet) {
        report_text(&workload, run, session->missed, session->missed_count,
                    use_color(session->config, out), out);
        explain_refusal(&session->workload, &run->tally, out);
    }
    if (session->json &&
        report_json(&workload, run, session->missed, session->missed_count, session->json)) {
        fprintf(stderr, "tidewait load: cannot write '%s': %s; the figures stand %s\n",
                session->config->json, strerror(errno), session->config->quiet ? "below" : "above");
        if (session->config->quiet)
            report_text(&workload, run, session->missed, session->missed_count,
                        use_color(session->config, stderr), stderr);
        rc = EXIT_PARTLY;
    }
    for (int i = 0; session->hdr && i < STAGES; i++)
        session->hdr_lost |= report_hdr_interval(stage_names[i], 0, run->duration_s,
                                                 &run->stages[i], session->hdr) != 0;
    if (session->hdr && (fflush(session->hdr) || ferror(session->hdr) || session->hdr_lost)) {
        fprintf(stderr, "tidewait load: cannot write '%s': %s\n", session->config->hdr,
                strerror(errno));
        rc = EXIT_PARTLY;
    }
    if (fflush(stdout) || ferror(stdout)) {
        fprintf(stderr, "tidewait load: cannot write to standard output: %s\n", strerror(errno));
        rc = EXIT_PARTLY;
    }
    return rc;
}

/* Signals that ask for the end: 1 soon, 2 now. */
static atomic_int stop;

static int execute(struct session *session, struct tw_error *error)
{
    struct load_watch watch = {.second = on_second, .context = session};
    struct timespec wall;
    struct run run;
    int rc;

    tw_limits_raise_files();
    catch_signals(&stop);
    if (session->hdr) {
        clock_gettime(CLOCK_REALTIME, &wall);
        report_hdr_begin((double)wall.tv_sec + (double)wall.tv_nsec / 1e9, session->hdr);
    }
    rc = load_run(&session->workload, session->limits, session->limit_count, &watch, &stop, &run,
                  error);
    if (rc) {
        rc = complain(error, EXIT_OURS);
    } else {
        judge(session, &run);
        rc = report(session, &run);
        if (run.broken)
            rc = EXIT_OURS;
    }
    run_fini(&run);
    return rc;
}

static int prepare(struct session *session, int url_count, char **urls, struct tw_error *error)
{
    const struct load_config *config = session->config;
    struct budget budget;
    int rc;

    /* From the first address added on a signal must not end us before they are removed. */
    if (config->add_addresses)
        catch_signals(&stop);
    if ((rc = enter_netns(config->netns, error)) || (rc = parse_limits(session, error)) ||
        (rc = load_robots(config, &session->robots, error)) ||
        (rc =
             load_workload(config, urls, url_count, &session->robots, &session->workload, error)) ||
        (rc = open_outputs(session, error)))
        return rc;
    session->targets = calloc(session->workload.target_count, sizeof(*session->targets));
    if (!session->targets) {
        tw_error_set(error, ENOMEM, "no memory");
        return EXIT_OURS;
    }
    session->live = !config->quiet && (config->verbose || isatty(STDERR_FILENO));
    budget_compute(&session->workload, &budget);
    if (!config->quiet)
        report_budget_line(&budget, stderr);
    if (!config->quiet && isfinite(budget.per_s) && session->workload.rate_per_s > budget.per_s)
        fprintf(stderr, "the offered %.0f/s are more than that: %s; %s\n",
                session->workload.rate_per_s,
                session->workload.kernel_ports ? "connections will fail" : "the run will pace",
                budget.advice);
    return EXIT_YES;
}

static int run_load(const void *config, int url_count, char **urls)
{
    struct session *session = calloc(1, sizeof(*session));
    struct tw_error error = {0};
    int rc;

    if (!session) {
        fprintf(stderr, "tidewait load: no memory\n");
        return EXIT_OURS;
    }
    session->config = config;
    rc = prepare(session, url_count, urls, &error);
    if (rc)
        complain(&error, rc);
    else if (!session->config->dry_run)
        rc = execute(session, &error);
    free(session->targets);
    workload_fini(&session->workload);
    load_robots_fini(&session->robots);
    if (session->json && session->json != stdout)
        fclose(session->json);
    if (session->hdr && session->hdr != stdout)
        fclose(session->hdr);
    free(session);
    return rc;
}

const struct command command_load = {
    .name = "load",
    .operands = "URL...",
    .summary = "Open and close connections at full speed, for hours, without running out of ports.",
    .details =
        "URL is http://host[:port][/path] or tcp://host:port, with #weight=N behind it for a "
        "larger share.\n"
        "Exit status: 0 done; 1 a --fail-if holds, the offered rate was not met or nothing was\n"
        "completed; 2 bad input; 3 not permitted; 5 a result file could not be written.\n",
    .options = load_options,
    .config_size = sizeof(struct load_config),
    .run = run_load,
};
