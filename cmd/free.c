#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ask.h"
#include "common.h"
#include "free_act.h"
#include "free_find.h"
#include "free_plan.h"
#include "free_print.h"
#include "options.h"
#include "tidewait/clock.h"

/* A listener, what is left of its connections, the file that it leaves, and one more for a server
 * that somebody starts again. */
#define ROUNDS 4

/* How long a refusal that may pass is looked at again: a connection shows who opened it only when
 * it rests, and the kernel needs a moment to end what a process with an io_uring has left. */
#define PASSING_NS TW_NS_PER_S

struct free_config {
    bool yes;
    bool dry_run;
    uint64_t timeout_ns;
    bool force;
    bool destroy;
    bool reuseaddr;
    bool json;
    bool quiet;
    bool no_color;
    const char *netns;
};

#define FIELD(name) offsetof(struct free_config, name)

/* clang-format off */
static const struct option_row free_options[] = {
    {.name = "yes", .letter = 'y', .parse = option_flag, .offset = FIELD(yes),
     .help = "Do it without asking."},
    {.name = "dry-run", .letter = 'n', .parse = option_flag, .offset = FIELD(dry_run),
     .help = "Only show what would be done."},
    {.name = "timeout", .letter = 't', .metavar = "TIME", .parse = option_time,
     .offset = FIELD(timeout_ns), .preset = "10s",
     .help = "How long a gentle step may take: TERM, systemctl, docker, waiting for the kernel."},
    {.name = "force", .parse = option_flag, .offset = FIELD(force),
     .help = "KILL the processes that have not ended by then."},
    {.name = "destroy", .parse = option_flag, .offset = FIELD(destroy),
     .help = "Drop the connections that stand in the way, closed ones and live ones, instead of "
             "waiting for them or ending their processes (root)."},
    {.name = "reuseaddr", .parse = option_flag, .offset = FIELD(reuseaddr),
     .help = "The server to come sets SO_REUSEADDR: leave what does not stand in its way."},
    {.name = "json", .parse = option_flag, .offset = FIELD(json),
     .help = "Print one object an address on standard output."},
    {.name = "quiet", .letter = 'q', .parse = option_flag, .offset = FIELD(quiet),
     .help = "Print errors only, and the plan where it has to be agreed to."},
    {.name = "no-color", .parse = option_flag, .offset = FIELD(no_color),
     .help = "No colour on a terminal; so does the variable NO_COLOR."},
    {.name = "netns", .letter = 'N', .metavar = "NAME|PID", .parse = option_text,
     .offset = FIELD(netns),
     .help = "Work in this network namespace: a name as 'ip netns' lists them, or a process."},
    {0},
};
/* clang-format on */

/* The work on one address. */
struct job {
    const struct free_config *config;
    const atomic_int *stop;
    const char *address; /* as typed */
    struct target target;
    struct tw_question question; /* but for the address */
    struct tw_verdict *verdict;  /* the latest */
    struct obstacles obstacles;
    struct plan plan;
    struct free_report report;
    uint32_t *reset; /* sockets whose connections were reset */
    size_t reset_count;
    bool agreed;
    const char *result; /* what came of it, for JSON; NULL: not known yet */
    int code;           /* the exit code when the address is not free */
    FILE *out;          /* text; NULL: none */
    bool color;
};

static int complain(const struct job *job, const struct tw_error *error)
{
    fprintf(stderr, "tidewait free: %s: %s\n", job->address, error->text);
    return error->code == EPERM || error->code == EACCES        ? EXIT_DENIED
           : error->code == EINVAL || error->code == ERANGE     ? EXIT_USAGE
           : error->code == EOPNOTSUPP || error->code == ENOSYS ? EXIT_UNSUPPORTED
                                                                : EXIT_OURS;
}

/* Ends the work on this address. Returns false, for those who go on with true. */
static bool finish(struct job *job, const char *result, int code)
{
    job->result = result;
    job->code = code;
    return false;
}

static bool look(struct job *job)
{
    struct tw_error error = {0};

    tw_verdict_free(job->verdict);
    job->verdict = ask_for(&job->question, &job->target, &error);
    return job->verdict ? true : finish(job, "failed", complain(job, &error));
}

static bool is_free(const struct job *job)
{
    return job->verdict->answer == TW_ANSWER_FREE;
}

/* --- the plan --------------------------------------------------------------------------------- */

static bool make_plan(struct job *job)
{
    struct plan_how how = {
        .target = &job->target,
        .timeout_ns = job->config->timeout_ns,
        .force = job->config->force,
        .destroy = job->config->destroy,
        .reset = job->reset,
        .reset_count = job->reset_count,
    };
    struct tw_error error = {0};
    int rc = 0;

    obstacles_fini(&job->obstacles);
    if (job->verdict->code == EADDRINUSE)
        rc = obstacles_find(job->verdict, &job->target, &job->obstacles, &error);
    if (rc == 0 && (rc = plan_make(&how, job->verdict, &job->obstacles, &job->plan)))
        tw_error_set(&error, -rc, "no memory for the plan");
    return rc == 0 ? true : finish(job, "failed", complain(job, &error));
}

/* Plans until the address is free, or there is something to do, or a refusal has lasted. */
static bool plan(struct job *job)
{
    uint64_t until = tw_clock_ns() + PASSING_NS;

    while (!is_free(job)) {
        if (!make_plan(job))
            return false;
        if (!job->plan.refused || !job->plan.may_pass || tw_clock_ns() >= until ||
            atomic_load(job->stop))
            break;
        poll(NULL, 0, 25);
        if (!look(job))
            return false;
    }
    return true;
}

/* --- consent ---------------------------------------------------------------------------------- */

static bool ask_person(void)
{
    char answer[16] = "";

    fprintf(stderr, "Do this? [y/N] ");
    if (!fgets(answer, sizeof(answer), stdin))
        fputc('\n', stderr);
    answer[strcspn(answer, "\n")] = 0;
    return strcasecmp(answer, "y") == 0 || strcasecmp(answer, "yes") == 0;
}

static void show_plan(const struct job *job, FILE *out)
{
    free_print_verdict(job->verdict, job->color && out == job->out, out);
    free_print_plan(&job->plan, job->color && out == job->out, out);
}

/* Shows the plan; true when it is to be carried out. */
static bool is_agreed(struct job *job)
{
    const struct free_config *config = job->config;
    bool terminal = isatty(STDIN_FILENO);
    bool ask = !job->plan.refused && !config->dry_run && !config->yes &&
               !(job->agreed && job->plan.harmless);
    int code = EXIT_NO;

    if (job->out)
        show_plan(job, job->out);
    else if (ask && terminal)
        show_plan(job, stderr);
    if (job->plan.refused || config->dry_run || (ask && !terminal))
        free_report_plan(&job->report, &job->plan);
    for (size_t i = 0; i < job->plan.count; i++)
        if (job->plan.refused && job->plan.steps[i].code > code)
            code = job->plan.steps[i].code;
    if (job->plan.refused)
        return finish(job, "refused", code);
    if (config->dry_run)
        return finish(job, "shown", EXIT_NO);
    if (ask && !terminal) {
        fprintf(stderr,
                "tidewait free: %s: nothing done: standard input is not a terminal to ask "
                "on; -y does it without asking\n",
                job->address);
        return finish(job, "declined", EXIT_NO);
    }
    if (job->out)
        fflush(job->out);
    if (ask && !ask_person()) {
        free_report_plan(&job->report, &job->plan);
        if (job->out)
            fprintf(job->out, "%s: nothing %sdone\n", job->address, job->agreed ? "more " : "");
        return finish(job, "declined", EXIT_NO);
    }
    job->agreed = true;
    return true;
}

/* --- the work --------------------------------------------------------------------------------- */

/* Remembers whose connections were reset: they may be bound to the port all the same. */
static void note_reset(struct job *job)
{
    uint32_t *more =
        reallocarray(job->reset, job->reset_count + job->obstacles.count + 1, sizeof(*more));

    if (!more)
        return;
    job->reset = more;
    for (size_t i = 0; i < job->obstacles.count; i++)
        if (job->obstacles.rows[i].inode)
            job->reset[job->reset_count++] = job->obstacles.rows[i].inode;
}

static int code_of(const struct plan *plan)
{
    int code = EXIT_NO;

    for (size_t i = 0; i < plan->count; i++)
        if (plan->steps[i].result == RESULT_DENIED)
            code = EXIT_DENIED;
        else if (plan->steps[i].result == RESULT_UNSUPPORTED && code == EXIT_NO)
            code = EXIT_UNSUPPORTED;
    return code;
}

static bool carry_out(struct job *job)
{
    struct act_how how = {
        .target = &job->target,
        .question = &job->question,
        .timeout_ns = job->config->timeout_ns,
        .force = job->config->force,
        .stop = job->stop,
    };
    bool well;

    if (job->config->destroy && job->obstacles.connections)
        note_reset(job);
    well = act(&job->plan, &job->obstacles, &how);
    if (job->out)
        free_print_done(&job->plan, job->color, job->out);
    free_report_plan(&job->report, &job->plan);
    if (!look(job))
        return false;
    if (atomic_load(job->stop))
        return finish(job, "interrupted", EXIT_NO);
    return well ? true : finish(job, "not-freed", code_of(&job->plan));
}

static void work(struct job *job)
{
    int round;

    for (round = 0; round < ROUNDS; round++) {
        if (!plan(job))
            return;
        if (is_free(job) || !is_agreed(job) || !carry_out(job))
            return;
    }
    if (!is_free(job))
        finish(job, "not-freed", EXIT_NO);
}

/* --- the end -----------------------------------------------------------------------------------
 */

/* A path is not tried by bind(), which would make the file. */
static void say_free(const struct job *job, bool freed)
{
    const char *proof = job->verdict->tried ? "bound and given back"
                        : job->target.path  ? "there is no such file"
                                            : "as far as can be seen";

    if (job->out)
        fprintf(job->out, "%s%s is free%s: %s%s\n", job->color ? "\033[1;32m" : "", job->address,
                freed ? "" : " already", proof, job->color ? "\033[0m" : "");
}

static void say_why_not(const struct job *job)
{
    if (!job->verdict)
        return;
    if (strcmp(job->result, "interrupted") == 0)
        fprintf(stderr, "tidewait free: %s: interrupted; what was done is told above\n",
                job->address);
    else if (strcmp(job->result, "not-freed") == 0)
        fprintf(stderr, "tidewait free: %s is not free: %s\n", job->address, job->verdict->summary);
}

static int free_address(const struct free_config *config, const char *address,
                        const atomic_int *stop)
{
    struct job job = {
        .config = config,
        .stop = stop,
        .address = address,
        .question = {.op = TW_OP_BIND, .reuseaddr = config->reuseaddr},
        .out = config->json || config->quiet ? NULL : stdout,
        .color = isatty(STDOUT_FILENO) && !config->no_color && !getenv("NO_COLOR"),
    };
    struct tw_error error = {0};
    bool free_before = false;
    int rc;

    if (target_parse(address, &job.target, &error))
        return complain(&job, &error);
    free_report_begin(&job.report, address);
    if (look(&job)) {
        free_before = is_free(&job);
        free_report_verdict(&job.report, "before", job.verdict);
        work(&job);
    }
    if (job.verdict && is_free(&job)) {
        finish(&job, free_before ? "free" : "freed", EXIT_YES);
        say_free(&job, !free_before);
    } else {
        say_why_not(&job);
    }
    if (job.verdict)
        free_report_verdict(&job.report, "after", job.verdict);
    rc = free_report_end(&job.report, job.result, job.code, config->json ? stdout : NULL);
    plan_fini(&job.plan);
    obstacles_fini(&job.obstacles);
    tw_verdict_free(job.verdict);
    free(job.reset);
    return rc == -ENOMEM ? EXIT_OURS : job.code;
}

static int run_free(const void *argument, int operands, char **operand)
{
    const struct free_config *config = argument;
    atomic_int stop = 0;
    struct tw_error error = {0};
    int code, failed = 0, worst = EXIT_YES;

    if (operands == 0) {
        fprintf(stderr, "tidewait free: which address? tidewait free 8080, free 127.0.0.1:8080, "
                        "free 53/udp, free unix:/run/x.sock\n");
        return EXIT_USAGE;
    }
    code = enter_netns(config->netns, &error);
    if (code != EXIT_YES) {
        fprintf(stderr, "tidewait free: %s\n", error.text);
        return code;
    }
    catch_signals(&stop);
    for (int i = 0; i < operands && !atomic_load(&stop); i++) {
        code = free_address(config, operand[i], &stop);
        failed += code != EXIT_YES;
        worst = code > worst ? code : worst;
    }
    if (fflush(stdout) || ferror(stdout)) {
        fprintf(stderr, "tidewait free: cannot write to standard output: %s\n", strerror(errno));
        return EXIT_PARTLY;
    }
    return failed && failed < operands && worst != EXIT_OURS ? EXIT_PARTLY : worst;
}

const struct command command_free = {
    .name = "free",
    .operands = "ADDRESS...",
    .summary = "Free a port: end what holds it, gently, and prove that it can be had.",
    .details =
        "ADDRESS is 8080, 127.0.0.1:8080, [::1]:8080, localhost:8080, 53/udp, unix:/run/x.sock or\n"
        "unix:@name. The plan is shown first and asked about. Clients of the port are never "
        "ended.\n"
        "Exit status: 0 free; 1 not freed; 2 bad input; 3 not permitted; 4 not supported by this\n"
        "kernel; 5 several addresses, and some are not free.\n",
    .options = free_options,
    .config_size = sizeof(struct free_config),
    .run = run_free,
};
