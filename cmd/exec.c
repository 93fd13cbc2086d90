#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common.h"
#include "exec_events.h"
#include "exec_log.h"
#include "exec_preload.h"
#include "exec_reach.h"
#include "exec_rules.h"
#include "exec_run.h"
#include "exec_shared.h"
#include "exec_summary.h"
#include "options.h"
#include "tidewait/address.h"

#define CONNECT_WAIT_NS 10000000000

enum method { METHOD_AUTO, METHOD_PRELOAD, METHOD_BPF };

struct exec_config {
    struct option_list rules, files, listen, from;
    const char *ports;
    const char *wait; /* a text: 0 is not the same as nothing */
    uint64_t interval_ns;
    bool free_bind, reuseport;
    bool no_manage, no_late, no_reuseaddr;
    bool summary, json, quiet;
    int method;
    const char *log;
    const char *netns;
};

#define OFFSET(field) offsetof(struct exec_config, field)

/* clang-format off */
static const struct option_row exec_options[] = {
    {.name = "ports", .metavar = "RANGE", .parse = option_text, .offset = OFFSET(ports),
     .help = "Source ports to give to connect(), as in 20000-40000,50000; else those of ip_local_port_range that are not reserved."},
    {.name = "from", .metavar = "ADDR[-ADDR]", .parse = option_repeat, .offset = OFFSET(from),
     .help = "Source addresses to use in turn: one range of IPv4, one of IPv6."},
    {.name = "rule", .letter = 'r', .metavar = "TEXT", .parse = option_repeat, .offset = OFFSET(rules),
     .help = "What to do with some calls, as in 'out to 10.0.0.0/8:5432 : ports 20000-30000'; may be repeated, the first that fits decides."},
    {.name = "rules", .metavar = "FILE", .parse = option_repeat, .offset = OFFSET(files),
     .help = "Read rules from a file, one a line."},
    {.name = "listen", .metavar = "FROM=TO", .parse = option_repeat, .offset = OFFSET(listen),
     .help = "Replace an address of bind(): 8080=9090, 0.0.0.0:80=127.0.0.1:8080."},
    {.name = "wait", .metavar = "TIME", .parse = option_text, .offset = OFFSET(wait),
     .help = "Try a bind() that meets EADDRINUSE again for so long, and let a blocking connect() wait for a port; default: bind() 0, connect() 10s."},
    {.name = "reuseport", .parse = option_flag, .offset = OFFSET(reuseport),
     .help = "Set SO_REUSEPORT on TCP sockets that are bound to a port."},
    {.name = "free-bind", .parse = option_flag, .offset = OFFSET(free_bind),
     .help = "Let addresses be bound that no interface has (IP_FREEBIND)."},
    {.name = "no-manage", .parse = option_flag, .offset = OFFSET(no_manage),
     .help = "Leave the source ports of connect() to the kernel."},
    {.name = "no-late", .parse = option_flag, .offset = OFFSET(no_late),
     .help = "Let a bind() to port 0 take its port at once, before its destination is known."},
    {.name = "no-reuseaddr", .parse = option_flag, .offset = OFFSET(no_reuseaddr),
     .help = "Do not set SO_REUSEADDR on TCP sockets that are bound to a port."},
    {.name = "method", .metavar = "HOW", .parse = option_choice, .offset = OFFSET(method),
     .choices = "auto|preload|bpf", .preset = "auto",
     .help = "How calls are reached: preload (LD_PRELOAD), bpf (cgroup hooks), or auto, whichever does."},
    {.name = "interval", .metavar = "TIME", .parse = option_time, .offset = OFFSET(interval_ns), .preset = "10s",
     .help = "Explain a refusal once per cause, address and so long."},
    {.name = "summary", .parse = option_flag, .offset = OFFSET(summary),
     .help = "Say at the end what the run came to."},
    {.name = "json", .parse = option_flag, .offset = OFFSET(json),
     .help = "The same as an object on one line."},
    {.name = "log", .metavar = "FILE|syslog", .parse = option_text, .offset = OFFSET(log),
     .help = "Write explanations and summary there, not to standard error."},
    {.name = "quiet", .letter = 'q', .parse = option_flag, .offset = OFFSET(quiet),
     .help = "Explain nothing."},
    {.name = "netns", .letter = 'N', .metavar = "NAME|PID", .parse = option_text, .offset = OFFSET(netns),
     .help = "Run in this network namespace: a name as 'ip netns' lists them, or a process."},
    {0},
};
/* clang-format on */

static int refuse(const struct tw_error *error)
{
    fprintf(stderr, "tidewait exec: %s\n", error->text);
    return error->code == EPERM || error->code == EACCES        ? EXIT_DENIED
           : error->code == EOPNOTSUPP || error->code == ENOSYS ? EXIT_UNSUPPORTED
           : error->code == EINVAL || error->code == ERANGE || error->code == ENOENT ||
                   error->code == EISDIR
               ? EXIT_USAGE
               : EXIT_OURS;
}

/* --- rules -------------------------------------------------------------------------------------
 */

static int add_rule(struct exec_plan *plan, const char *option, const char *text,
                    const struct rule_presets *presets, struct tw_error *error)
{
    struct tw_error inner = {0};

    if (plan->rule_count == SHIM_RULES)
        return tw_error_set(error, EINVAL, "more than %d rules in all", SHIM_RULES);
    if (rule_parse(tw_view_of(text), presets, &plan->rules[plan->rule_count], &inner))
        return tw_error_set(error, EINVAL, "--%s: %s", option, inner.text);
    plan->rule_count++;
    return 0;
}

static int add_file(struct exec_plan *plan, const char *path, const struct rule_presets *presets,
                    struct tw_error *error)
{
    size_t len;
    char *text = read_file(path, &len, error);
    int rc;

    if (!text)
        return -error->code;
    rc = rules_parse((struct tw_view){text, len}, path, presets, plan->rules, SHIM_RULES,
                     &plan->rule_count, error);
    free(text);
    return rc;
}

/* FROM=TO is the rule "in FROM : listen TO". */
static int add_listen(struct exec_plan *plan, const char *text, const struct rule_presets *presets,
                      struct tw_error *error)
{
    struct tw_view to = tw_view_of(text), from = tw_view_cut(&to, '=');
    char rule[200];

    if (!to.data || !to.len || !from.len || from.len + to.len > 100 || strpbrk(text, " ,#\t\n"))
        return tw_error_set(error, EINVAL,
                            "--listen '%.60s' is not FROM=TO, such as 8080=9090 or "
                            "0.0.0.0:80=127.0.0.1:8080",
                            text);
    snprintf(rule, sizeof(rule), "in %.*s : listen %.*s", (int)from.len, from.data, (int)to.len,
             to.data);
    return add_rule(plan, "listen", rule, presets, error);
}

static int add_preset(struct exec_plan *plan, const struct shim_rule *rule, struct tw_error *error)
{
    if (plan->rule_count == SHIM_RULES)
        return tw_error_set(error, EINVAL, "more than %d rules, those of the options counted",
                            SHIM_RULES);
    plan->rules[plan->rule_count++] = *rule;
    return 0;
}

/* --from is the rule "out : from RANGE". */
static int add_from(struct exec_plan *plan, const struct option_list *from,
                    const struct rule_presets *presets, struct tw_error *error)
{
    unsigned seen = 0;

    for (size_t i = 0; i < from->count; i++) {
        char rule[120];
        unsigned bit;
        int rc;

        if (strlen(from->items[i]) > 100 || strpbrk(from->items[i], " ,#\t\n"))
            return tw_error_set(error, EINVAL, "--from '%.60s' is no range of addresses",
                                from->items[i]);
        snprintf(rule, sizeof(rule), "out : from %s", from->items[i]);
        rc = add_rule(plan, "from", rule, presets, error);
        if (rc)
            return rc;
        bit = plan->rules[plan->rule_count - 1].from_family == AF_INET ? 1 : 2;
        if (seen & bit)
            return tw_error_set(error, EINVAL,
                                "--from '%.60s' is a second range of IPv%d; give one range, or "
                                "rules for different destinations",
                                from->items[i], bit == 1 ? 4 : 6);
        seen |= bit;
    }
    return 0;
}

/* While a server lags behind its clients all ports may be closing at once: then connect() has to
 * wait, as it would for a slow server. BPF cannot. */
static int parse_wait(const struct exec_config *config, bool by_bpf, struct rule_presets *presets,
                      struct tw_error *error)
{
    struct tw_error inner = {0};
    uint64_t wait_ns;

    presets->out.wait_ns = by_bpf ? 0 : CONNECT_WAIT_NS;
    if (!config->wait)
        return 0;
    if (tw_parse_duration(tw_view_of(config->wait), &wait_ns, &inner))
        return tw_error_set(error, inner.code, "--wait: %s", inner.text);
    presets->out.wait_ns = presets->in.wait_ns = presets->in_udp.wait_ns = wait_ns;
    return 0;
}

static struct rule_presets presets_of(const struct exec_config *config)
{
    struct rule_presets presets = {
        .out = {.direction = RULE_OUT, .protocol = IPPROTO_TCP},
        .in = {.direction = RULE_IN, .protocol = IPPROTO_TCP},
        .in_udp = {.direction = RULE_IN, .protocol = IPPROTO_UDP},
    };

    presets.out.managed = !config->no_manage;
    presets.out.late = !config->no_manage && !config->no_late;
    presets.in.reuseaddr = !config->no_reuseaddr;
    presets.in.reuseport = config->reuseport;
    presets.in.free_bind = presets.in_udp.free_bind = config->free_bind;
    return presets;
}

static int make_plan(const struct exec_config *config, bool by_bpf, struct exec_plan *plan,
                     struct tw_error *error)
{
    struct rule_presets presets = presets_of(config);
    int rc = parse_wait(config, by_bpf, &presets, error);

    if (rc)
        return rc;

    plan->interval_ns = config->interval_ns;
    plan->explain = !config->quiet;
    plan->watch_closes = config->summary || config->json;
    if (config->ports) {
        struct tw_error inner = {0};

        plan->has_ports = true;
        rc = tw_ports_parse(tw_view_of(config->ports), &plan->ports, &inner);
        if (rc)
            return tw_error_set(error, EINVAL, "--ports: %s", inner.text);
    }
    for (size_t i = 0; rc == 0 && i < config->rules.count; i++)
        rc = add_rule(plan, "rule", config->rules.items[i], &presets, error);
    for (size_t i = 0; rc == 0 && i < config->files.count; i++)
        rc = add_file(plan, config->files.items[i], &presets, error);
    for (size_t i = 0; rc == 0 && i < config->listen.count; i++)
        rc = add_listen(plan, config->listen.items[i], &presets, error);
    if (rc == 0)
        rc = add_from(plan, &config->from, &presets, error);
    if (rc == 0)
        rc = add_preset(plan, &presets.out, error);
    if (rc == 0)
        rc = add_preset(plan, &presets.in, error);
    return rc ? rc : add_preset(plan, &presets.in_udp, error);
}

/* --- the run -----------------------------------------------------------------------------------
 */

static void tell_summary(const struct exec_config *config, const struct exec_summary *summary,
                         const struct exec_log *log)
{
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);

    if (out && config->json)
        (void)exec_summary_json(summary, out);
    else if (out)
        exec_summary_text(summary, out);
    if (out && fclose(out) == 0)
        (void)exec_log_write(log, text);
    free(text);
}

static int run_shared(const struct exec_config *config, struct exec_shared *shared, char **argv,
                      const struct exec_log *log, int *status, struct tw_error *error)
{
    struct exec_events events = {.fd = -1};
    struct exec_run run = {.argv = argv, .fd = -1, .serve = exec_events_serve, .context = &events};
    int rc = 0;

    if (shared->map->events[0])
        rc = exec_events_open(&events, shared->map->events, log, config->interval_ns, error);
    run.fd = events.fd;
    if (rc == 0)
        rc = exec_run(&run, status, error);
    exec_events_close(&events);
    if (rc == 0 && (config->summary || config->json)) {
        struct exec_summary summary;

        exec_summary_read(shared->map, &summary);
        summary.explained = events.explained;
        summary.status = *status;
        tell_summary(config, &summary, log);
    }
    return rc;
}

/* The program has begun, so what is left behind is told, and changes its status no more. */
static void end_steer(struct steer *steer)
{
    struct tw_error error = {0};

    if (steer_free(steer, &error))
        fprintf(stderr, "tidewait exec: %s\n", error.text);
}

static int run_steered(const struct exec_config *config, const struct exec_shared *shared,
                       char **argv, const struct exec_log *log, int *status, struct tw_error *error)
{
    struct exec_run run = {.argv = argv, .fd = -1};
    struct exec_summary summary;
    struct steer *steer;
    int rc = steer_attach(shared->map, &steer, error);

    if (rc)
        return rc;
    run.steer = steer;
    rc = exec_run(&run, status, error);
    if (rc == 0 && (config->summary || config->json)) {
        exec_summary_read(shared->map, &summary);
        steer_counters(steer, summary.counters);
        summary.ports_used = steer_ports_used(steer);
        summary.status = *status;
        tell_summary(config, &summary, log);
    }
    end_steer(steer);
    return rc;
}

/* Whether LD_PRELOAD will do; the reason in *error when it will not. */
static int choose_method(const struct exec_config *config, const char *name, bool *by_bpf,
                         struct tw_error *unreached)
{
    int rc;

    *by_bpf = config->method == METHOD_BPF;
    if (*by_bpf)
        return 0;
    rc = exec_reach(name, unreached);
    if (rc == 0)
        return 0;
    *by_bpf = config->method == METHOD_AUTO && geteuid() == 0;
    return *by_bpf ? 0 : rc;
}

static int run_by(const struct exec_config *config, bool by_bpf, char **argv, int *status,
                  struct tw_error *error)
{
    char library[PATH_MAX];
    struct exec_plan plan = {.rule_count = 0};
    struct exec_shared shared;
    struct exec_log log;
    int rc = make_plan(config, by_bpf, &plan, error);

    if (rc == 0 && !by_bpf)
        rc = exec_preload_find(library, error);
    if (rc == 0)
        rc = exec_log_open(config->log, &log, error);
    if (rc)
        return rc;
    rc = exec_shared_make(&plan, &shared, error);
    if (rc == 0) {
        if (by_bpf)
            rc = run_steered(config, &shared, argv, &log, status, error);
        else if ((rc = exec_preload_set(library, shared.path, error)) == 0)
            rc = run_shared(config, &shared, argv, &log, status, error);
        exec_shared_remove(&shared);
    }
    exec_log_close(&log);
    return rc;
}

/* Everything that can fail fails before the program begins. */
static int run_program(const struct exec_config *config, char **argv, int *status,
                       struct tw_error *error)
{
    struct tw_error unreached = {0}, inner = {0};
    bool by_bpf;
    int rc = choose_method(config, argv[0], &by_bpf, &unreached);

    if (rc) {
        *error = unreached;
        return rc;
    }
    rc = run_by(config, by_bpf, argv, status, &inner);
    if (rc && *unreached.text && !*status)
        return tw_error_set(error, inner.code, "%.100s; by BPF: %s", unreached.text, inner.text);
    *error = inner;
    return rc;
}

static int run_exec(const void *argument, int operands, char **operand)
{
    const struct exec_config *config = argument;
    struct tw_error error = {0};
    int status = 0, code;

    if (operands < 2 || strcmp(operand[0], "--") != 0) {
        fprintf(stderr, "tidewait exec: which program? tidewait exec [OPTION...] -- COMMAND...\n");
        return EXIT_USAGE;
    }
    code = enter_netns(config->netns, &error);
    if (code != EXIT_YES) {
        fprintf(stderr, "tidewait exec: %s\n", error.text);
        return code;
    }
    if (run_program(config, operand + 1, &status, &error) == 0)
        return exec_end(status);
    code = refuse(&error);
    /* It was looked for and could not be executed. */
    return status ? exec_end(status) : code;
}

const struct command command_exec = {
    .name = "exec",
    .operands = "-- COMMAND...",
    .summary = "Run a program so that it does not run out of ports, and restarts at once.",
    .details =
        "A rule is a line 'out|in [tcp|udp] [to] [ADDR][:PORT] : ACTION, ...'; see "
        "tidewait-exec(1).\n"
        "Exit status: that of COMMAND, a signal too; 126 or 127 when it cannot be executed. Before "
        "it\n"
        "is started: 2 bad input; 3 not permitted; 4 it cannot be reached.\n",
    .options = exec_options,
    .config_size = sizeof(struct exec_config),
    .keeps_dashes = true,
    .run = run_exec,
};
