#include "propose.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "remedy.h"
#include "sysctl.h"
#include "tidewait/text.h"

#define SHARE 1e-6

/* A limit of what is only counted is rounded up: nobody wants to read 305,127. */
#define ROUND 1024.0

/* Descriptors that a program has besides its connections. */
#define FILES_BESIDES 64

/* More descriptors than any kernel gives. */
#define FILES_MOST INT32_MAX

#define WHY_MAX 320

/* One proposal in the making. */
struct draft {
    struct remedy_case c;
    const struct propose_host *host;
    struct proposal *out;
    struct tw_limits after;
    int64_t nr_open; /* after */
    double files;    /* that the program needs */
    struct tw_error *error;
};

static const struct plan_nat no_nat;

/* --- text --------------------------------------------------------------------------------------
 */

#define FIGURE_MAX 40

/* 305,000; 0.25; 4.75. */
static const char *figure(double value, char buf[FIGURE_MAX])
{
    char digits[FIGURE_MAX];
    size_t len, at = 0;

    if (!(value < 1e15)) {
        snprintf(buf, FIGURE_MAX, isinf(value) ? "any number of" : "%.3g", value);
        return buf;
    }
    if (value < 1000 && value != floor(value)) {
        snprintf(buf, FIGURE_MAX, "%.3g", value);
        return buf;
    }
    len = (size_t)snprintf(digits, sizeof(digits), "%.0f", value);
    for (size_t i = 0; i < len; i++) {
        if (i && (len - i) % 3 == 0)
            buf[at++] = ',';
        buf[at++] = digits[i];
    }
    buf[at] = 0;
    return buf;
}

#define F(value) figure(value, (char[FIGURE_MAX]){0})

/* The kernel's form: "80,8000-8010". From malloc; NULL without memory. */
static char *ports_text(const struct tw_ports *ports)
{
    char *text = malloc(SYSCTL_VALUE_MAX);
    size_t len = 0;

    if (!text)
        return NULL;
    text[0] = 0;
    for (unsigned port = 0; port <= UINT16_MAX; port++) {
        unsigned first = port;

        if (!tw_ports_has(ports, (uint16_t)port))
            continue;
        while (port < UINT16_MAX && tw_ports_has(ports, (uint16_t)(port + 1)))
            port++;
        len += (size_t)snprintf(text + len, SYSCTL_VALUE_MAX - len,
                                port > first ? "%s%u-%u" : "%s%u", len ? "," : "", first, port);
    }
    return text;
}

/* --- one change --------------------------------------------------------------------------------
 */

static int add_text(struct draft *draft, const char *name, const char *before, const char *after,
                    const char *why)
{
    const struct setting *setting = setting_find(tw_view_of(name));

    if (!setting)
        return tw_error_set(draft->error, ENOENT, "%s: tidewait knows no such setting", name);
    return changes_add(&draft->out->changes, setting, before, after, why);
}

static int add_number(struct draft *draft, const char *name, int64_t before, int64_t after,
                      const char *format, ...) __attribute__((format(printf, 5, 6)));

/* Nothing when it stays as it is. */
static int add_number(struct draft *draft, const char *name, int64_t before, int64_t after,
                      const char *format, ...)
{
    char from[24], to[24], why[WHY_MAX];
    va_list args;

    if (before == after)
        return 0;
    snprintf(from, sizeof(from), "%lld", (long long)before);
    snprintf(to, sizeof(to), "%lld", (long long)after);
    va_start(args, format);
    tw_text_format(why, sizeof(why), format, args);
    va_end(args);
    return add_text(draft, name, from, to, why);
}

/* "5,000 connections/s x 1.2 s" of a lane, and what is there. */
static void demand_text(const struct plan_answer *answer, char *buf, size_t size)
{
    bool lanes = answer->lanes > 1;

    snprintf(buf, size, "%s connections/s x %s s = %s tuples%s",
             F(answer->connections_per_s / answer->lanes), F(answer->occupied_s),
             F(ceil(answer->in_use)), lanes ? " a lane" : "");
}

static int add_reuse(struct draft *draft)
{
    const struct tw_limits *before = &draft->host->limits, *after = &draft->after;
    const struct plan_answer *was = &draft->out->answer_before, *is = &draft->out->answer_after;
    char demand[160];
    int rc;

    demand_text(was, demand, sizeof(demand));
    rc = add_number(draft, "net.ipv4.tcp_timestamps", before->timestamps, after->timestamps,
                    "without timestamps, here and at the peer, no TIME_WAIT can be taken over");
    if (rc)
        return rc;
    return add_number(draft, "net.ipv4.tcp_tw_reuse", before->tw_reuse, after->tw_reuse,
                      "%s, %s are there; taken over %s s after the close: %s", demand,
                      F(was->tuples), F(is->cooling_s), F(ceil(is->in_use)));
}

/* "3306 (socket of mysqld), 5432 (unit postgresql.socket) and 3 more" */
static void reserved_why(const struct draft *draft, char *buf, size_t size)
{
    const struct services *services = draft->c.services;
    size_t told = 0, more = 0, len = 0;

    for (size_t i = 0; i < services->count; i++) {
        const struct service *service = &services->items[i];

        if (!tw_ports_has(&draft->after.reserved, service->port) ||
            tw_ports_has(&draft->host->limits.reserved, service->port))
            continue;
        if (told == 3) {
            more++;
            continue;
        }
        len += (size_t)snprintf(buf + len, size - len, "%s%u (%.50s)", told ? ", " : "",
                                service->port, service->from);
        told++;
    }
    if (more)
        snprintf(buf + len, size - len, " and %zu more", more);
}

static int add_reserved(struct draft *draft)
{
    const struct tw_limits *before = &draft->host->limits, *after = &draft->after;
    char list[256] = "", why[WHY_MAX];
    char *from, *to;
    int rc = -ENOMEM;

    if (memcmp(&before->reserved, &after->reserved, sizeof(after->reserved)) == 0)
        return 0;
    reserved_why(draft, list, sizeof(list));
    snprintf(why, sizeof(why), "ports of services that connect() must not take: %s", list);
    from = ports_text(&before->reserved);
    to = ports_text(&after->reserved);
    if (from && to)
        rc = add_text(draft, "net.ipv4.ip_local_reserved_ports", from, to, why);
    free(from);
    free(to);
    return rc;
}

static int add_range(struct draft *draft)
{
    const struct tw_limits *before = &draft->host->limits, *after = &draft->after;
    const struct plan_answer *was = &draft->out->answer_before, *is = &draft->out->answer_after;
    char from[16], to[16], demand[160], why[WHY_MAX], random[64] = "";

    if (before->port_first == after->port_first && before->port_last == after->port_last)
        return 0;
    snprintf(from, sizeof(from), "%u\t%u", before->port_first, before->port_last);
    snprintf(to, sizeof(to), "%u\t%u", after->port_first, after->port_last);
    demand_text(is, demand, sizeof(demand));
    if (draft->out->suffices)
        snprintf(random, sizeof(random), ", with arrivals at random times %s",
                 F(plan_erlang_b_servers(is->in_use, draft->c.share)));
    snprintf(why, sizeof(why), "%s%s; %s are there, with this range %s", demand, random,
             F(was->tuples), F(is->tuples));
    return add_text(draft, "net.ipv4.ip_local_port_range", from, to, why);
}

static int add_delay(struct draft *draft)
{
    const struct plan_answer *is = &draft->out->answer_after;
    char demand[160];

    demand_text(is, demand, sizeof(demand));
    return add_number(draft, "net.ipv4.tcp_tw_reuse_delay", draft->host->limits.tw_reuse_delay_ms,
                      draft->after.tw_reuse_delay_ms,
                      "a TIME_WAIT is taken over after %s s: %s; %s are there", F(is->cooling_s),
                      demand, F(is->tuples));
}

/* What is counted over all lanes: a rate times a time, and how much there may be. */
static int add_stocks(struct draft *draft)
{
    const struct tw_limits *before = &draft->host->limits, *after = &draft->after;
    const struct plan_answer *is = &draft->out->answer_after;
    const struct plan_bound *waits = &is->bounds[PLAN_LIMIT_TIME_WAITS];
    const struct plan_bound *tracked = &is->bounds[PLAN_LIMIT_CONNTRACK];
    double rate = is->connections_per_s, tuples = is->lanes * is->tuples;
    int rc;

    rc = add_number(
        draft, "net.ipv4.tcp_max_tw_buckets", before->max_tw_buckets, after->max_tw_buckets,
        "%s connections/s x %s s, on %s tuples: up to %s TIME_WAITs; those beyond the "
        "limit are dropped",
        F(rate), F(waits->occupied_s), F(tuples), F(fmin(tuples, ceil(rate * waits->occupied_s))));
    if (rc)
        return rc;
    return add_number(
        draft, "net.netfilter.nf_conntrack_max", before->conntrack_max, after->conntrack_max,
        "%s connections/s x %s s, on %s tuples: up to %s entries beside the %s of "
        "now; those beyond the limit are not let through",
        F(rate), F(tracked->occupied_s), F(tuples),
        F(fmin(tuples, ceil(rate * tracked->occupied_s))), F((double)before->conntrack_count));
}

static int add_files(struct draft *draft)
{
    int rc = add_number(draft, "fs.nr_open", draft->host->nr_open, draft->nr_open,
                        "%s descriptors in one program; no limit of a process may be above this",
                        F(draft->files));

    if (rc)
        return rc;
    return add_number(
        draft, "fs.file-max", draft->host->limits.files_system, draft->after.files_system,
        "%s descriptors in one program, besides what all others have", F(draft->files));
}

/* --- what is needed ----------------------------------------------------------------------------
 */

/* The kernel keeps them in 32 bits. */
static int64_t rounded(double value)
{
    return (int64_t)(fmin(ceil(value / ROUND), floor(INT32_MAX / ROUND)) * ROUND);
}

/* Raises what is counted over all lanes to what the rate needs. */
static void raise_stocks(struct draft *draft, const struct plan_answer *answer, double idle)
{
    struct tw_limits *after = &draft->after;
    double tuples = answer->lanes * answer->tuples;

    if (!remedy_holds(&draft->c, answer, PLAN_LIMIT_TIME_WAITS))
        after->max_tw_buckets =
            rounded(remedy_need(&draft->c, answer, PLAN_LIMIT_TIME_WAITS, tuples));
    if (!remedy_holds(&draft->c, answer, PLAN_LIMIT_CONNTRACK))
        after->conntrack_max =
            rounded((double)after->conntrack_count + idle +
                    remedy_need(&draft->c, answer, PLAN_LIMIT_CONNTRACK, tuples));
}

/* The program's own limit is not ours to change: it is told, and what stands above it is raised. */
static void raise_files(struct draft *draft, const struct plan_answer *answer, double idle)
{
    const struct tw_limits *limits = &draft->host->limits;
    double need =
        FILES_BESIDES + idle + remedy_need(&draft->c, answer, PLAN_LIMIT_FILES, FILES_MOST);
    int64_t files = (int64_t)need;

    draft->files = need;
    draft->nr_open = draft->host->nr_open;
    if (limits->files_soft == TW_LIMIT_UNKNOWN || files <= limits->files_soft)
        return;
    snprintf(draft->out->needs_files, sizeof(draft->out->needs_files),
             "the program needs %s descriptors, here the limit is %s: LimitNOFILE=%lld in its "
             "unit, or ulimit -n %lld",
             F(need), F((double)limits->files_soft), (long long)files, (long long)files);
    if (files > limits->files_hard && limits->files_hard != TW_LIMIT_UNKNOWN)
        draft->after.files_hard = files;
    if (draft->nr_open != TW_LIMIT_UNKNOWN && files > draft->nr_open)
        draft->nr_open = rounded(need);
    if (limits->files_system != TW_LIMIT_UNKNOWN && files > limits->files_system)
        draft->after.files_system = rounded(need + (double)limits->files_system);
}

/* Where ports do not suffice, the rest is made for as much as they sustain. */
static void raise_the_rest(struct draft *draft, bool ports_suffice)
{
    struct plan_workload workload = *draft->c.workload;
    struct plan_system system;
    struct plan_answer answer;

    remedy_system(&draft->c, &draft->after, &system);
    plan_answer(&system, &no_nat, &workload, &answer);
    if (!ports_suffice) {
        workload.rate_per_s =
            answer.bounds[PLAN_LIMIT_TUPLES].sustainable_per_s * fmax(1, workload.requests);
        plan_answer(&system, &no_nat, &workload, &answer);
    }
    raise_stocks(draft, &answer, workload.idle);
    raise_files(draft, &answer, workload.idle);
}

static bool holds_all(const struct draft *draft, const struct plan_answer *answer)
{
    for (int limit = 0; limit < PLAN_LIMITS; limit++)
        if (!remedy_holds(&draft->c, answer, (enum plan_limit)limit))
            return false;
    return true;
}

static void answer_after(struct draft *draft)
{
    struct proposal *out = draft->out;

    remedy_system(&draft->c, &draft->after, &out->after);
    plan_answer(&out->after, &no_nat, draft->c.workload, &out->answer_after);
}

/* --- cures -------------------------------------------------------------------------------------
 */

static bool is_setting(enum plan_cure_kind kind)
{
    switch (kind) {
    case PLAN_CURE_TW_REUSE:
    case PLAN_CURE_REUSE_DELAY:
    case PLAN_CURE_RANGE:
    case PLAN_CURE_FILES:
    case PLAN_CURE_TIME_WAITS:
    case PLAN_CURE_CONNTRACK:
        return true;
    default:
        return false;
    }
}

/* Keeps those outside settings. They are about ports: what is only counted is taken for raised. */
static void find_cures(struct draft *draft, struct plan_system system, bool sufficient)
{
    struct proposal *out = draft->out;
    size_t count;

    system.files = system.time_waits = system.conntrack = INFINITY;
    count = plan_cures(&system, &no_nat, draft->c.workload, out->cures);
    out->cure_count = 0;
    for (size_t i = 0; i < count; i++)
        if (!is_setting(out->cures[i].kind) && (!sufficient || out->cures[i].answer.suffices))
            out->cures[out->cure_count++] = out->cures[i];
}

/* --- the proposal ------------------------------------------------------------------------------
 */

/* In the order in which they must be made: ports are reserved before the range reaches them. */
static int add_all(struct draft *draft)
{
    static int (*const adds[])(struct draft *) = {
        add_reuse, add_reserved, add_range, add_delay, add_stocks, add_files,
    };
    int rc = 0;

    for (size_t i = 0; i < sizeof(adds) / sizeof(adds[0]) && !rc; i++)
        rc = adds[i](draft);
    return rc;
}

int propose_for(const struct propose_opts *opts, const struct propose_host *host,
                struct proposal *out, struct tw_error *error)
{
    struct draft draft = {
        .c = {.workload = opts->workload,
              .limits = &host->limits,
              .services = opts->services,
              .loopback = opts->loopback,
              .has_delay = host->reuse_delay,
              .share = opts->share > 0 ? opts->share : SHARE},
        .host = host,
        .out = out,
        .error = error,
    };
    bool ports_suffice;
    int rc;

    *out = (struct proposal){0};
    if (host->limits.port_last == 0)
        return tw_error_set(error, ENOENT,
                            "net.ipv4.ip_local_port_range cannot be read: nothing can be said "
                            "about ports without it");
    remedy_system(&draft.c, &host->limits, &out->before);
    plan_answer(&out->before, &no_nat, opts->workload, &out->answer_before);
    ports_suffice = remedy_find(&draft.c, &draft.after);
    raise_the_rest(&draft, ports_suffice);
    answer_after(&draft);
    out->suffices = holds_all(&draft, &out->answer_after);
    rc = add_all(&draft);
    if (rc) {
        proposal_fini(out);
        return rc == -ENOMEM ? tw_error_set(error, ENOMEM, "proposing changes: no memory") : rc;
    }
    if (!out->suffices) {
        find_cures(&draft, out->before, true);
        out->cures_on_top = out->cure_count == 0;
        if (out->cures_on_top)
            find_cures(&draft, out->after, false);
    }
    return 0;
}

/* The value that a setting has now stands in the journal as the kernel writes it, byte by byte. */
static int read_before(struct proposal *proposal, struct tw_error *error)
{
    for (size_t i = 0; i < proposal->changes.count; i++) {
        struct change *change = &proposal->changes.items[i];
        char *now;
        int rc = sysctl_read(change->setting, &now, error);

        if (rc)
            return rc;
        free(change->before);
        change->before = now;
    }
    return 0;
}

/* A setting that is one number; TW_LIMIT_UNKNOWN when it cannot be read. */
static int64_t read_number(const char *name)
{
    const struct setting *setting = setting_find(tw_view_of(name));
    int64_t number = TW_LIMIT_UNKNOWN;
    char *text;

    if (setting && sysctl_read(setting, &text, NULL) == 0) {
        number = strtoll(text, NULL, 10);
        free(text);
    }
    return number;
}

int propose(const struct propose_opts *opts, struct proposal *out, struct tw_error *error)
{
    struct propose_host host = {
        .nr_open = read_number("fs.nr_open"),
        .reuse_delay = read_number("net.ipv4.tcp_tw_reuse_delay") != TW_LIMIT_UNKNOWN,
    };
    int rc;

    tw_limits_read(&host.limits);
    rc = propose_for(opts, &host, out, error);
    if (!rc) {
        rc = read_before(out, error);
        if (rc)
            proposal_fini(out);
    }
    return rc;
}

void proposal_fini(struct proposal *proposal)
{
    changes_fini(&proposal->changes);
    *proposal = (struct proposal){0};
}
