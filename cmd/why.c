#include "why.h"

#include <errno.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ask.h"
#include "common.h"
#include "options.h"
#include "tidewait/namespaces.h"
#include "tidewait/process.h"
#include "verdict.h"

#define OFFSET(field) offsetof(struct why_config, field)

/* clang-format off */
static const struct option_row why_options[] = {
    {.name = "reuseaddr", .parse = option_flag, .offset = OFFSET(reuseaddr),
     .help = "The asking socket sets SO_REUSEADDR."},
    {.name = "reuseport", .parse = option_flag, .offset = OFFSET(reuseport),
     .help = "The asking socket sets SO_REUSEPORT."},
    {.name = "v6only", .parse = option_flag, .offset = OFFSET(v6only),
     .help = "The asking socket sets IPV6_V6ONLY."},
    {.name = "device", .metavar = "DEV", .parse = option_text, .offset = OFFSET(device),
     .help = "The asking socket sets SO_BINDTODEVICE."},
    {.name = "listen", .parse = option_flag, .offset = OFFSET(listen),
     .help = "Ask about listen() on a socket that is bound to the address already."},
    {.name = "bound", .parse = option_flag, .offset = OFFSET(bound),
     .help = "The asking socket has an address already: this is its second bind()."},
    {.name = "as", .metavar = "USER", .parse = option_text, .offset = OFFSET(as),
     .help = "Ask as this user (name or number); needs root unless it is yourself."},
    {.name = "pid", .metavar = "PID", .parse = option_number, .offset = OFFSET(pid), .min = 1, .max = INT32_MAX,
     .help = "Ask as this process: its user, its network namespace, its sockets; without an address, look for the lane that it fills most."},
    {.name = "to", .metavar = "ADDR:PORT", .parse = option_text, .offset = OFFSET(to),
     .help = "Ask about connect() to this destination."},
    {.name = "from", .metavar = "ADDR[:PORT]", .parse = option_text, .offset = OFFSET(from),
     .help = "The source that connect() is bound to."},
    {.name = "no-trial", .parse = option_flag, .offset = OFFSET(no_trial),
     .help = "Do not try the very bind() in question."},
    {.name = "all-netns", .letter = 'A', .parse = option_flag, .offset = OFFSET(all_netns),
     .help = "When the address is free, look into all other network namespaces too, and name those that may not be entered."},
    {.name = "brief", .letter = 'b', .parse = option_flag, .offset = OFFSET(brief),
     .help = "Leave out cause and evidence."},
    {.name = "json", .parse = option_flag, .offset = OFFSET(json),
     .help = "Print one object a question on standard output."},
    {.name = "quiet", .letter = 'q', .parse = option_flag, .offset = OFFSET(quiet),
     .help = "Print nothing; the exit status is the answer."},
    {.name = "no-color", .parse = option_flag, .offset = OFFSET(no_color),
     .help = "No colour on a terminal; so does the variable NO_COLOR."},
    {.name = "netns", .letter = 'N', .metavar = "NAME|PID", .parse = option_text, .offset = OFFSET(netns),
     .help = "Ask in this network namespace: a name as 'ip netns' lists them, or a process."},
    {0},
};
/* clang-format on */

struct tw_question why_question(const struct why_config *config, enum tw_op op)
{
    struct tw_question question = {
        .op = op,
        .protocol = IPPROTO_TCP,
        .reuseaddr = config->reuseaddr,
        .reuseport = config->reuseport,
        .v6only = config->v6only,
        .bound = config->bound,
        .device = config->device,
        .pid = (int)config->pid,
        .scope = config->all_netns ? TW_NETNS_ALL : TW_NETNS_VISIBLE,
        .no_trial = config->no_trial,
    };
    struct tw_process process;

    /* run_why() has made sure that a name can be found. */
    if (config->as)
        question.as_other = user_parse(config->as, &question.uid, NULL) == 0;
    else if (config->pid && tw_process_read((int)config->pid, &process, NULL) == 0) {
        question.as_other = process.uid != geteuid();
        question.uid = process.uid;
    }
    return question;
}

struct tw_verdict *why_bind(const struct why_config *config, const struct target *target,
                            struct tw_error *error)
{
    struct tw_question question = why_question(config, config->listen ? TW_OP_LISTEN : TW_OP_BIND);

    return ask_for(&question, target, error);
}

int why_print(const struct why_config *config, struct tw_verdict *verdict,
              const struct tw_message *message, FILE *out)
{
    bool color = isatty(fileno(out)) && !config->no_color && !getenv("NO_COLOR");
    int code = !verdict                            ? EXIT_YES
               : verdict->disagrees                ? EXIT_OURS
               : verdict->answer == TW_ANSWER_FREE ? EXIT_YES
                                                   : EXIT_NO;
    int rc = 0;

    if (config->json && !config->quiet)
        rc = report_verdict_json(verdict, message, out);
    if (!config->json && !config->quiet && message)
        report_message(message, color, out);
    if (!config->json && !config->quiet && verdict)
        report_verdict(verdict, config->brief, color, out);
    tw_verdict_free(verdict);
    if (rc == -ENOMEM) {
        fprintf(stderr, "tidewait why: no memory for the answer\n");
        return EXIT_OURS;
    }
    return code;
}

int why_refuse(const struct tw_error *error)
{
    fprintf(stderr, "tidewait why: %s\n", error->text);
    return error->code == EPERM || error->code == EACCES ? EXIT_DENIED
           : error->code == EINVAL || error->code == ERANGE || error->code == ENOENT ||
                   error->code == ENODEV || error->code == ESRCH
               ? EXIT_USAGE
           : error->code == EOPNOTSUPP || error->code == ENOSYS ? EXIT_UNSUPPORTED
                                                                : EXIT_OURS;
}

/* --from is an address with or without a port. */
static int parse_source(const char *text, struct tw_endpoint *out, struct tw_error *error)
{
    struct target target;

    if (tw_address_parse(tw_view_of(text), out, NULL) == 0)
        return 0;
    if (target_parse(text, &target, error))
        return -error->code;
    if (!target.has_address || target.path)
        return tw_error_set(error, EINVAL, "--from '%.60s' has no address", text);
    *out = target.endpoint;
    return 0;
}

static int why_connect(const struct why_config *config)
{
    struct tw_question question = why_question(config, TW_OP_CONNECT);
    struct tw_error error = {0};
    struct tw_verdict *verdict = NULL;
    struct target target;

    if (target_parse(config->to, &target, &error) == 0 &&
        (!target.has_address || target.path || !tw_endpoint_port(&target.endpoint)))
        tw_error_set(&error, EINVAL, "--to '%.60s' needs an address and a port: 10.0.0.5:5432",
                     config->to);
    if (!error.code && config->from)
        parse_source(config->from, &question.local, &error);
    if (!error.code) {
        question.protocol = target.protocol;
        question.remote = target.endpoint;
        verdict = tw_verdict_new(&question, &error);
    }
    return verdict ? why_print(config, verdict, NULL, stdout) : why_refuse(&error);
}

static int why_operand(const struct why_config *config, const char *text)
{
    struct tw_error error = {0};
    struct tw_verdict *verdict = NULL;
    struct tw_message message;
    struct target target;

    if (target_parse(text, &target, &error) == 0)
        verdict = why_bind(config, &target, &error);
    else if (tw_message_recognise(tw_view_of(text), &message) == 0)
        return why_message(config, &message, stdout);
    return verdict ? why_print(config, verdict, NULL, stdout) : why_refuse(&error);
}

/* The asker's network namespace and user, before any question is put. Returns an exit code. */
static int become_asker(const struct why_config *config, struct tw_error *error)
{
    struct tw_process process, own;
    char pid[24];
    uint32_t uid;

    if (config->as && user_parse(config->as, &uid, error))
        return EXIT_USAGE;
    if (config->netns || !config->pid)
        return enter_netns(config->netns, error);
    if (tw_process_read((int)config->pid, &process, error) ||
        tw_process_read(getpid(), &own, error))
        return EXIT_USAGE;
    /* Most processes are in our own namespace, where anybody may stay. */
    snprintf(pid, sizeof(pid), "%llu", (unsigned long long)config->pid);
    return process.netns == own.netns ? EXIT_YES : enter_netns(pid, error);
}

static int run_why(const void *argument, int operands, char **operand)
{
    const struct why_config *config = argument;
    struct tw_error error = {0};
    int code = EXIT_YES;

    code = become_asker(config, &error);
    if (code != EXIT_YES) {
        fprintf(stderr, "tidewait why: %s\n", error.text);
        return code;
    }
    if (operands && strcmp(operand[0], "--") == 0) {
        if (operands > 1)
            return why_command(config, operand + 1);
        tw_error_set(&error, EINVAL,
                     "no command stands behind '--'; which address? or: why -- COMMAND...");
    } else if (config->from && !config->to)
        tw_error_set(&error, EINVAL, "--from '%.60s' needs --to, the destination", config->from);
    else if (config->to && operands)
        tw_error_set(&error, EINVAL, "--to asks about connect(); '%.60s' is one address too many",
                     operand[0]);
    else if (config->to)
        code = why_connect(config);
    else if (!operands && config->pid)
        code = why_process(config);
    else if (!operands)
        tw_error_set(&error, EINVAL,
                     "which address? tidewait why 8080, why 127.0.0.1:8080, why "
                     "--to 10.0.0.5:5432, why -- COMMAND");
    for (int i = 0; !error.code && !config->to && i < operands; i++) {
        int one = why_operand(config, operand[i]);
        if (one > code)
            code = one;
    }
    if (error.code)
        return why_refuse(&error);
    if (fflush(stdout) || ferror(stdout)) {
        fprintf(stderr, "tidewait why: cannot write to standard output: %s\n", strerror(errno));
        return EXIT_PARTLY;
    }
    return code;
}

const struct command command_why = {
    .name = "why",
    .operands = "[ADDRESS...] | MESSAGE | --to ADDR:PORT | --pid PID | -- COMMAND...",
    .summary = "Say why an address cannot be had, who has it, and how to get it.",
    .details =
        "ADDRESS is 8080, 127.0.0.1:8080, [::1]:8080, localhost:8080, 53/udp, unix:/run/x.sock or\n"
        "unix:@name. MESSAGE is an error message of a program, pasted in quotes. A COMMAND is "
        "run,\n"
        "and the address error that it dies of is explained.\n"
        "Exit status: 0 free; 1 not free; 2 bad input; 3 not permitted; 4 not supported by this\n"
        "kernel; 70 the kernel's answer is not the one predicted. With a COMMAND: its own.\n",
    .options = why_options,
    .config_size = sizeof(struct why_config),
    .keeps_dashes = true,
    .run = run_why,
};
