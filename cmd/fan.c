#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine.h"
#include "fan_config.h"
#include "fan_out.h"
#include "fan_progress.h"
#include "fan_report.h"
#include "fan_way.h"
#include "tidewait/clock.h"

/* Exit status that -S counts for a host that has none, as ssh has for itself. */
#define EXIT_UNKNOWN 255

/* Descriptors that are not a host's. */
#define DESCRIPTORS_OURS 32

#define FIELD(name) offsetof(struct fan_config, name)

/* clang-format off */
static const struct option_row fan_options[] = {
    {.name = "hosts", .letter = 'w', .metavar = "LIST", .parse = option_repeat,
     .offset = FIELD(hosts),
     .help = "The hosts, such as web[01-40],root@db1:2222; - reads them from standard input; may "
             "be repeated."},
    {.name = "hostfile", .metavar = "FILE", .parse = option_repeat, .offset = FIELD(hostfiles),
     .help = "Read hosts from a file, with # comments; - is standard input; may be repeated."},
    {.name = "exclude", .letter = 'x', .metavar = "LIST", .parse = option_repeat,
     .offset = FIELD(exclude),
     .help = "Leave these out; may be repeated."},
    {.name = "fanout", .letter = 'f', .metavar = "N", .parse = option_number,
     .offset = FIELD(window), .min = 1, .max = FAN_WINDOW_MAX, .preset = "64",
     .help = "Keep so many hosts busy; when one is done the next begins."},
    {.name = "user", .letter = 'l', .metavar = "NAME", .parse = option_text, .offset = FIELD(user),
     .help = "The user there, for hosts that name none."},
    {.name = "via", .metavar = "WAY", .parse = option_choice, .offset = FIELD(via),
     .choices = "ssh|local|rsh", .preset = "ssh",
     .help = "ssh: the ssh of this system; local: a command here for each host; rsh: from reserved "
             "ports, neither private nor authenticated."},
    {.name = "template", .metavar = "TEXT", .parse = option_text, .offset = FIELD(template),
     .help = "With --via local: a line for sh, in which {host}, {user}, {port} and {command} are "
             "replaced."},
    {.name = "ports", .metavar = "RANGE", .parse = option_text, .offset = FIELD(ports),
     .help = "With --via rsh: the reserved ports to use, 512:1023 at most; default: those of them "
             "that no service has by name."},
    {.name = "plain", .parse = option_flag, .offset = FIELD(plain),
     .help = "With --via ssh and rsh: give the command as it is, without the sh around it that "
             "ends it with the connection, or tells its exit status."},
    {.name = "connect-timeout", .letter = 't', .metavar = "TIME", .parse = option_time,
     .offset = FIELD(connect_ns), .preset = "10s",
     .help = "Give a host up that is not connected by then; 0: never."},
    {.name = "timeout", .letter = 'u', .metavar = "TIME", .parse = option_time,
     .offset = FIELD(command_ns),
     .help = "End a command that runs longer."},
    {.name = "deadline", .metavar = "TIME", .parse = option_time, .offset = FIELD(deadline_ns),
     .help = "End whatever runs by then, and begin no more."},
    {.name = "retry", .metavar = "N", .parse = option_number, .offset = FIELD(retry), .max = 100,
     .help = "After a failure to connect try again, so many times: 1, 2, 4, .. 32 s later."},
    {.name = "stdin", .metavar = "WHO", .parse = option_choice, .offset = FIELD(input),
     .choices = "none|one|all", .preset = "none",
     .help = "Who has a copy of our standard input: nobody, the first host, or all."},
    {.name = "gather", .letter = 'b', .parse = option_flag, .offset = FIELD(gather),
     .help = "Print equal outputs once, with the hosts that wrote them, at the end."},
    {.name = "diff", .parse = option_flag, .offset = FIELD(diff),
     .help = "The same, and of each output but the most frequent its difference to that."},
    {.name = "fold", .metavar = "KEY[,KEY...]", .parse = option_text, .offset = FIELD(keys),
     .help = "The outputs are JSON: print a table of the values of these keys and the hosts that "
             "have them."},
    {.name = "json", .parse = option_flag, .offset = FIELD(json),
     .help = "Print one object on standard output, at the end."},
    {.name = "json-lines", .parse = option_flag, .offset = FIELD(json_lines),
     .help = "Print one object a host on standard output, as it ends."},
    {.name = "outdir", .metavar = "DIR", .parse = option_text, .offset = FIELD(folder),
     .help = "Write the outputs to HOST.out and HOST.err in this folder."},
    {.name = "keep", .metavar = "SIZE", .parse = option_size, .offset = FIELD(keep),
     .preset = "16MiB",
     .help = "With -b, --diff, --fold and JSON: keep at most so much of each output."},
    {.name = "no-prefix", .letter = 'N', .parse = option_flag, .offset = FIELD(no_prefix),
     .help = "Print lines without the name of their host."},
    {.name = "largest", .letter = 'S', .parse = option_flag, .offset = FIELD(largest),
     .help = "Exit with the largest exit status of the commands."},
    {.name = "quiet", .letter = 'q', .parse = option_flag, .offset = FIELD(quiet),
     .help = "Print the outputs only: not who failed, and no progress."},
    {.name = NULL},
};
/* clang-format on */

static int complain(const struct tw_error *error)
{
    fprintf(stderr, "tidewait fan: %s\n", error->text);
    return error->code == ENOMEM ? EXIT_OURS : error->code == EACCES ? EXIT_DENIED : EXIT_USAGE;
}

/* --- checks ----------------------------------------------------------------------------------- */

/* At most one of the ways to print. */
static int check_modes(const struct fan_config *config, struct tw_error *error)
{
    const struct {
        bool given;
        const char *name;
    } modes[] = {
        {config->gather, "--gather"},
        {config->diff, "--diff"},
        {config->keys, "--fold"},
        {config->json, "--json"},
        {config->json_lines, "--json-lines"},
    };
    const char *first = NULL;

    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        if (modes[i].given && first)
            return tw_error_set(error, EINVAL, "%s and %s exclude each other", first,
                                modes[i].name);
        if (modes[i].given)
            first = modes[i].name;
    }
    return 0;
}

static bool reads_hosts(const struct fan_config *config)
{
    for (size_t i = 0; i < config->hosts.count; i++)
        if (strcmp(config->hosts.items[i], "-") == 0)
            return true;
    for (size_t i = 0; i < config->hostfiles.count; i++)
        if (strcmp(config->hostfiles.items[i], "-") == 0)
            return true;
    return false;
}

static int check(const struct fan_config *config, struct fan_way *way, int operands, char **operand,
                 struct tw_error *error)
{
    const char *wrong = config->user ? host_user_wrong(tw_view_of(config->user)) : NULL;

    if (check_modes(config, error) || fan_way_check(way, config, error))
        return -EINVAL;
    if (wrong)
        return tw_error_set(error, EINVAL, "--user '%.60s': %s", config->user, wrong);
    if (config->input != INPUT_NONE && reads_hosts(config))
        return tw_error_set(error, EINVAL,
                            "standard input is the list of hosts: --stdin cannot give it away");
    if (operands == 0)
        return tw_error_set(error, EINVAL, "which command? tidewait fan -w LIST -- COMMAND...");
    for (int i = 0; i < operands; i++)
        if (operand[i][strspn(operand[i], " \t\n")])
            return 0;
    return tw_error_set(error, EINVAL, "the command is empty");
}

/* --- what a run needs ------------------------------------------------------------------------- */

struct fan_job {
    const struct fan_config *config;
    struct hosts hosts;
    struct job *jobs;
    char *line;
    struct fan_command command;
    struct fan_way way;
    struct fan_out out;
    struct fan_progress progress;
    bool paused; /* and it was told */
};

/* The words with blanks between them, as ssh does it. */
static char *join(int count, char **words)
{
    char *line = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&line, &size);

    if (!out)
        return NULL;
    for (int i = 0; i < count; i++)
        fprintf(out, "%s%s", i ? " " : "", words[i]);
    if (fclose(out) == 0)
        return line;
    free(line);
    return NULL;
}

/* Our standard input as a file that each host can read from its beginning. */
static int open_input(int *input, struct tw_error *error)
{
    char buffer[16384];
    struct stat status;
    ssize_t len;

    if (fstat(STDIN_FILENO, &status))
        return tw_error_set(error, errno, "standard input: %s", strerror(errno));
    if (S_ISREG(status.st_mode) && lseek(STDIN_FILENO, 0, SEEK_CUR) == 0) {
        *input = STDIN_FILENO;
        return 0;
    }
    *input = spill_file();
    if (*input < 0)
        return tw_error_set(error, -*input, "no temporary file for standard input: %s",
                            strerror(-*input));
    while ((len = read(STDIN_FILENO, buffer, sizeof(buffer))) != 0)
        if (len < 0 || write(*input, buffer, (size_t)len) != len)
            return tw_error_set(error, errno ? errno : EIO, "standard input: %s",
                                strerror(errno ? errno : EIO));
    return 0;
}

/* How many hosts the limit of open files allows, which is raised as far as it may be. */
static unsigned files_allow(unsigned window, unsigned each)
{
    rlim_t wanted = (rlim_t)window * each + DESCRIPTORS_OURS;
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur >= wanted)
        return window;
    limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
    if (setrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur >= wanted)
        return window;
    return limit.rlim_cur > DESCRIPTORS_OURS + each
               ? (unsigned)(limit.rlim_cur - DESCRIPTORS_OURS) / each
               : 1;
}

static unsigned window_of(const struct fan_job *job)
{
    const struct fan_config *config = job->config;
    size_t hosts = job->hosts.count;
    unsigned window = (unsigned)(config->window < hosts ? config->window : hosts);
    unsigned allowed = files_allow(window, job->way.descriptors + (config->folder ? STREAMS : 0));
    const char *why = NULL;

    if (allowed < window) {
        window = allowed;
        why = "more need more open files (ulimit -Hn)";
    }
    if (job->way.window && job->way.window < window) {
        window = job->way.window;
        why = "each needs a reserved port of its own for stderr";
    }
    if (why && !config->quiet)
        fprintf(stderr, "tidewait fan: only %u hosts at a time: %s\n", window, why);
    return window;
}

static int prepare(struct fan_job *job, int operands, char **operand, struct tw_error *error)
{
    const struct fan_config *config = job->config;
    int rc = fan_hosts(config, &job->hosts, error);

    if (rc)
        return rc;
    job->line = join(operands, operand);
    job->jobs = calloc(job->hosts.count, sizeof(*job->jobs));
    if (!job->line || !job->jobs)
        return tw_error_set(error, ENOMEM, "no memory");
    job->command = (struct fan_command){
        .text = job->line,
        .user = config->user,
        .input = -1,
        .input_for = config->input == INPUT_ONE ? &job->hosts.items[0] : NULL,
        .connect_ns = config->connect_ns,
    };
    return config->input == INPUT_NONE ? 0 : open_input(&job->command.input, error);
}

/* --- the run ---------------------------------------------------------------------------------- */

static void on_begin(void *context, struct job *one)
{
    fan_out_begin(&((struct fan_job *)context)->out, one);
}

static void on_data(void *context, struct job *one, enum fan_stream stream, const char *data,
                    size_t len)
{
    fan_out_data(&((struct fan_job *)context)->out, one, stream, data, len);
}

static void on_done(void *context, struct job *one)
{
    fan_out_done(&((struct fan_job *)context)->out, one);
}

/* Once is enough. */
static void on_pause(void *context, const char *why, uint64_t until_ns)
{
    struct fan_job *job = context;
    uint64_t now = tw_clock_ns();

    if (!job->paused && !job->config->quiet)
        fprintf(stderr, "tidewait fan: waiting up to %.0f s for a port: %s\n",
                until_ns > now ? (double)(until_ns - now) / 1e9 : 0.0, why);
    job->paused = true;
}

static void on_tick(void *context, const struct fan_count *count)
{
    fan_progress_tick(&((struct fan_job *)context)->progress, count);
}

/* "3 of 30 hosts failed: web[01-02] (exit 3); web07 (refused)" */
static void print_sum(const struct fan_job *job)
{
    size_t count = job->hosts.count, failed = 0;
    const char **labels = malloc(count * sizeof(*labels));
    bool *told = calloc(count, sizeof(*told));
    char how[FAN_HOW_MAX], other[FAN_HOW_MAX];
    const char *between = ": ";

    for (size_t i = 0; i < count; i++)
        failed += job->jobs[i].cause != CAUSE_NONE;
    if (failed)
        fprintf(stderr, "tidewait fan: %zu of %zu host%s failed", failed, count,
                count == 1 ? "" : "s");
    for (size_t i = 0; labels && told && i < count; i++) {
        size_t alike = 0;
        char *hosts;

        if (job->jobs[i].cause == CAUSE_NONE || told[i])
            continue;
        report_fan_how(&job->jobs[i], how);
        for (size_t j = i; j < count; j++)
            if (!told[j] && strcmp(report_fan_how(&job->jobs[j], other), how) == 0) {
                told[j] = true;
                labels[alike++] = job->jobs[j].host->label;
            }
        hosts = hosts_fold(labels, alike);
        fprintf(stderr, "%s%s (%s)", between, hosts ? hosts : "?", how);
        between = "; ";
        free(hosts);
    }
    if (failed)
        fputc('\n', stderr);
    free(labels);
    free(told);
}

static int exit_code(const struct fan_job *job)
{
    int largest = 0;
    bool failed = false;

    if (job->out.no_memory) {
        fputs("tidewait fan: no memory\n", stderr);
        return EXIT_OURS;
    }
    if (job->out.failed) {
        fprintf(stderr, "tidewait fan: cannot write the output: %s\n", strerror(job->out.failed));
        return EXIT_PARTLY;
    }
    if (job->out.unkept) {
        fprintf(stderr, "tidewait fan: a part of the output could not be kept in %s: %s\n",
                spill_folder(), strerror(job->out.unkept));
        return EXIT_PARTLY;
    }
    for (size_t i = 0; i < job->hosts.count; i++) {
        const struct job *one = &job->jobs[i];
        int code = one->cause == CAUSE_NONE     ? 0
                   : one->cause == CAUSE_EXIT   ? one->exit
                   : one->cause == CAUSE_SIGNAL ? 128 + one->signal
                                                : EXIT_UNKNOWN;

        failed = failed || one->cause != CAUSE_NONE;
        largest = code > largest ? code : largest;
    }
    return job->config->largest ? largest : failed ? EXIT_PARTLY : EXIT_YES;
}

static int run(struct fan_job *job, atomic_int *stop, struct tw_error *error)
{
    const struct fan_config *config = job->config;
    const struct fan_sink sink = {job, on_begin, on_data, on_done, on_pause, on_tick};
    const struct fan_opts opts = {
        .transport = job->way.transport,
        .transport_context = job->way.context,
        .command = &job->command,
        .window = window_of(job),
        .retry = (unsigned)config->retry,
        .command_ns = config->command_ns,
        .deadline_ns = config->deadline_ns,
        .stop = stop,
        .sink = &sink,
    };
    uint64_t begin = tw_clock_ns();
    int rc;

    fan_progress_init(&job->progress, &job->out, job->jobs, stop);
    rc = fan_run(&opts, &job->hosts, job->jobs, error);
    if (rc)
        return rc;
    fan_out_end(&job->out, job->jobs, job->hosts.count, (double)(tw_clock_ns() - begin) / 1e9);
    if (!config->quiet && !config->json && !config->json_lines)
        print_sum(job);
    return 0;
}

static int run_fan(const void *argument, int operands, char **operand)
{
    static atomic_int stop;
    struct fan_job job = {
        .config = argument, .command = {.input = -1}, .out = {.folder = -1, .spill = {.fd = -1}}};
    struct tw_error error = {0};
    int code;

    if (check(argument, &job.way, operands, operand, &error) ||
        prepare(&job, operands, operand, &error) ||
        fan_way_init(&job.way, argument, &job.hosts, &error) ||
        fan_out_init(&job.out, argument, &stop, &error) || run(&job, &stop, &error))
        code = complain(&error);
    else
        code = exit_code(&job);
    fan_out_fini(&job.out);
    fan_way_fini(&job.way);
    fan_fini(job.jobs, job.hosts.count);
    free(job.jobs);
    free(job.line);
    hosts_fini(&job.hosts);
    if (job.command.input > STDIN_FILENO)
        close(job.command.input);
    fflush(stderr);
    return code;
}

const struct command command_fan = {
    .name = "fan",
    .operands = "[--] COMMAND...",
    .summary = "Run one command on many hosts, by ssh, rsh or locally, on few ports.",
    .details =
        "Exit status: 0 the command succeeded everywhere; 5 some hosts failed, or the output\n"
        "could not be written; 2 bad input; with -S the largest exit status of the commands.\n",
    .options = fan_options,
    .config_size = sizeof(struct fan_config),
    .ends_options = true,
    .run = run_fan,
};
