#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "common.h"
#include "lab.h"
#include "lab_choose.h"
#include "lab_differential.h"
#include "options.h"
#include "runner.h"
#include "tidewait/clock.h"

/* What --speed divides waits by: a TIME_WAIT has a fixed length, others become seconds. */
#define SPEED 10

/* A TIME_WAIT, twice the usual handshake that went wrong, and a busy machine. */
#define LIMIT_MS 90000

struct lab_config {
    bool json;
    bool markdown;
    const char *pcap;
    bool speed;
    struct option_list set;
    uint64_t jobs;
    bool differential;
    uint64_t for_ns;
    uint64_t count;
    uint64_t seed;
    bool verbose;
    bool quiet;
    bool no_color;
};

#define FIELD(name) offsetof(struct lab_config, name)

/* clang-format off */
static const struct option_row lab_options[] = {
    {.name = "json", .parse = option_flag, .offset = FIELD(json),
     .help = "Print one object with every event and check."},
    {.name = "markdown", .parse = option_flag, .offset = FIELD(markdown),
     .help = "Print a page of Markdown: each figure with its lesson."},
    {.name = "pcap", .metavar = "FILE", .parse = option_text, .offset = FIELD(pcap),
     .help = "Write the segments of a scenario with a wire there, for tcpdump and Wireshark; for "
             "one scenario."},
    {.name = "speed", .parse = option_flag, .offset = FIELD(speed),
     .help = "Shrink waits by sysctl where the kernel allows."},
    {.name = "set", .metavar = "NAME=VALUE", .parse = option_repeat, .offset = FIELD(set),
     .help = "A sysctl of the private networks, also against what the scenario sets; may be "
             "repeated."},
    {.name = "jobs", .letter = 'j', .metavar = "N", .parse = option_number, .offset = FIELD(jobs),
     .max = 1000, .preset = "0",
     .help = "Play at most so many at once; 0: all that wait for a TIME_WAIT to end, and 4 others."},
    {.name = "differential", .parse = option_flag, .offset = FIELD(differential),
     .help = "Play no scenario: make random calls, and compare what the kernel does with what our "
             "rules say."},
    {.name = "for", .metavar = "TIME", .parse = option_time, .offset = FIELD(for_ns),
     .help = "With --differential: so long; 10s when there is no --count either."},
    {.name = "count", .metavar = "N", .parse = option_number, .offset = FIELD(count), .min = 1,
     .max = INT64_MAX, .help = "With --differential: so many calls."},
    {.name = "seed", .metavar = "N", .parse = option_number, .offset = FIELD(seed), .min = 1,
     .max = INT64_MAX,
     .help = "With --differential: which calls; the same ones again by the same number. Without it "
             "others each time."},
    {.name = "verbose", .letter = 'v', .parse = option_flag, .offset = FIELD(verbose),
     .help = "Print each in full, not only those that failed."},
    {.name = "quiet", .letter = 'q', .parse = option_flag, .offset = FIELD(quiet),
     .help = "Print one line for each that failed, nothing else."},
    {.name = "no-color", .parse = option_flag, .offset = FIELD(no_color),
     .help = "No colour on a terminal; so does the variable NO_COLOR."},
    {0},
};
/* clang-format on */

struct lab {
    const struct lab_config *config;
    struct play *plays;
    size_t count;
    bool in_full; /* each is printed in full, in its order */
    bool color;
    size_t told; /* so many plays, of those in full, were told or are left out */
    size_t passed, failed, lacking, broken, stopped;
    atomic_int stop;
};

/* --- telling --- */

static struct report_play report_of(const struct play *play)
{
    return (struct report_play){play->scenario, play->story, play->ms};
}

static void tell_in_full(const struct lab *lab, const struct play *play)
{
    struct report_play report = report_of(play);

    report_play_text(&report, lab->color, stdout);
    putchar('\n');
}

/* Those in full come in their order: one that ends early waits for those before it. */
static void tell_in_order(struct lab *lab, bool all_ended)
{
    for (; lab->told < lab->count; lab->told++) {
        const struct play *play = &lab->plays[lab->told];

        if (play->state == PLAY_ENDED)
            tell_in_full(lab, play);
        else if (!all_ended)
            return;
    }
}

static void tell_line(const struct lab *lab, const struct play *play)
{
    struct report_play report = report_of(play);
    bool fine = story_passed(play->story) || play->story->end == STORY_LACKING;

    if (lab->config->quiet && fine)
        return;
    report_play_line(&report, lab->color, stdout);
    if (!fine && !lab->config->quiet) {
        putchar('\n');
        tell_in_full(lab, play);
    }
}

static void on_ended(const struct play *play, void *context)
{
    struct lab *lab = context;
    size_t *counter = story_passed(play->story)           ? &lab->passed
                      : play->story->end == STORY_PLAYED  ? &lab->failed
                      : play->story->end == STORY_LACKING ? &lab->lacking
                                                          : &lab->broken;

    ++*counter;
    if (lab->config->json || lab->config->markdown)
        return;
    if (lab->in_full)
        tell_in_order(lab, false);
    else
        tell_line(lab, play);
    fflush(stdout); /* also because children are forked from here, each with a copy of the buffer */
}

static void tell_sum(const struct lab *lab, uint64_t took_ms)
{
    printf("%zu ok, %zu FAILED", lab->passed, lab->failed);
    if (lab->broken)
        printf(", %zu BROKEN", lab->broken);
    if (lab->lacking)
        printf("; %zu could not be played here", lab->lacking);
    printf(" (%.1f s)\n", (double)took_ms / 1e3);
}

/* JSON or Markdown of all that was played to its end, in the order of the list. */
static int write_document(const struct lab *lab)
{
    struct report_play *reports = calloc(lab->count, sizeof(*reports));
    struct utsname kernel;
    char name[sizeof(kernel.sysname) + sizeof(kernel.release) + 1] = "an unknown kernel";
    size_t count = 0;
    int rc = 0;

    if (!reports)
        return -ENOMEM;
    for (size_t i = 0; i < lab->count; i++)
        if (lab->plays[i].state == PLAY_ENDED)
            reports[count++] = report_of(&lab->plays[i]);
    if (uname(&kernel) == 0)
        snprintf(name, sizeof(name), "%s %s", kernel.sysname, kernel.release);
    if (lab->config->json)
        rc = report_lab_json(reports, count, stdout);
    else
        report_lab_markdown(reports, count, name, stdout);
    free(reports);
    return rc;
}

/* --- playing --- */

static int exit_of(const struct lab *lab)
{
    return lab->broken    ? EXIT_OURS
           : lab->failed  ? EXIT_NO
           : lab->stopped ? EXIT_PARTLY
           : lab->passed  ? EXIT_YES
                          : EXIT_UNSUPPORTED;
}

static int write_results(struct lab *lab, uint64_t took_ms)
{
    const struct lab_config *config = lab->config;
    int rc = 0;

    if (config->json || config->markdown)
        rc = write_document(lab);
    else if (lab->in_full)
        tell_in_order(lab, true);
    if (rc == -ENOMEM) {
        fprintf(stderr, "tidewait lab: no memory for the results\n");
        return EXIT_OURS;
    }
    if (!config->json && !config->markdown && !config->quiet && lab->count > 1)
        tell_sum(lab, took_ms);
    for (size_t i = 0; i < lab->count; i++)
        lab->stopped += lab->plays[i].state != PLAY_ENDED;
    if (lab->stopped)
        fprintf(stderr, "tidewait lab: interrupted: %zu not played to the end\n", lab->stopped);
    if (fflush(stdout) || ferror(stdout)) {
        fprintf(stderr, "tidewait lab: cannot write to standard output: %s\n", strerror(errno));
        return EXIT_PARTLY;
    }
    return exit_of(lab);
}

static void say_wait(const struct lab *lab)
{
    bool long_one = false;

    for (size_t i = 0; i < lab->count; i++)
        long_one |= (lab->plays[i].scenario->needs & NEEDS_LONG_WAIT) != 0;
    if (long_one && !lab->config->quiet && isatty(STDERR_FILENO))
        fprintf(stderr, "tidewait lab: this waits for a TIME_WAIT to end, which takes a minute\n");
}

static int play(struct lab *lab, int pcap_fd)
{
    const struct lab_config *config = lab->config;
    const struct stage_settings stage = {
        .set = config->set.items,
        .set_count = config->set.count,
        .speed = config->speed ? SPEED : 1,
        .pcap_fd = pcap_fd,
    };
    const struct runner_settings settings = {
        .stage = &stage,
        .jobs = (unsigned)config->jobs,
        .limit_ms = LIMIT_MS,
        .stop = &lab->stop,
        .ended = on_ended,
        .context = lab,
    };
    struct tw_error error = {0};
    uint64_t begun_ns = tw_clock_ns();

    catch_signals(&lab->stop);
    say_wait(lab);
    if (runner_play(lab->plays, lab->count, &settings, &error)) {
        fprintf(stderr, "tidewait lab: %s\n", error.text);
        return EXIT_OURS;
    }
    return write_results(lab, (tw_clock_ns() - begun_ns) / TW_NS_PER_MS);
}

static int play_with_pcap(struct lab *lab)
{
    const char *path = lab->config->pcap;
    struct stat status;
    int fd, rc;

    if (!path)
        return play(lab, -1);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0) {
        fprintf(stderr, "tidewait lab: cannot write '%s': %s\n", path, strerror(errno));
        return EXIT_USAGE;
    }
    rc = play(lab, fd);
    if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_size == 0)
        fprintf(stderr, "tidewait lab: '%s' is empty: nothing passed on a wire of %s\n", path,
                lab->plays[0].scenario->name);
    close(fd);
    return rc;
}

/* --- the command line --- */

static int list_scenarios(void)
{
    size_t group_width = 0, name_width = 0, len;

    for (size_t i = 0; i < scenario_count(); i++) {
        len = strlen(scenarios[i]->group);
        group_width = len > group_width ? len : group_width;
        len = strlen(scenarios[i]->name);
        name_width = len > name_width ? len : name_width;
    }
    for (size_t i = 0; i < scenario_count(); i++)
        printf("%-*s  %-*s  %s\n", (int)group_width, scenarios[i]->group, (int)name_width,
               scenarios[i]->name, scenarios[i]->title);
    return EXIT_YES;
}

/* net.ipv4.tcp_fin_timeout=5: a sysctl of a network, and no way to other files of /proc/sys. */
static bool is_setting(const char *text)
{
    char before = '.';
    const char *c = text;

    if (strncmp(text, "net.", 4) != 0)
        return false;
    for (; *c && *c != '='; before = *c++)
        if (!isalnum((unsigned char)*c) && *c != '_' && *c != '-' && (*c != '.' || before == '.'))
            return false;
    return before != '.' && *c == '=' && c[1];
}

static int check_differential(const struct lab_config *config, int operands, struct tw_error *error)
{
    if (operands)
        return tw_error_set(error, EINVAL, "--differential plays no scenario: leave out the names");
    if (config->json || config->markdown || config->pcap || config->speed || config->set.count)
        return tw_error_set(error, EINVAL,
                            "--json, --markdown, --pcap, --speed and --set go with scenarios, not "
                            "with --differential");
    return 0;
}

static int run_differential(const struct lab_config *config)
{
    const struct lab_differential settings = {
        .for_ns = config->for_ns,
        .count = config->count,
        .seed = config->seed,
        .quiet = config->quiet,
    };

    return lab_differential(&settings);
}

static int check(const struct lab_config *config, int operands, struct tw_error *error)
{
    if (config->json && config->markdown)
        return tw_error_set(error, EINVAL, "--json and --markdown: choose one");
    if (config->quiet && config->verbose)
        return tw_error_set(error, EINVAL, "--quiet and --verbose: choose one");
    for (size_t i = 0; i < config->set.count; i++)
        if (!is_setting(config->set.items[i]))
            return tw_error_set(error, EINVAL,
                                "--set '%.60s' is not like net.ipv4.tcp_fin_timeout=5",
                                config->set.items[i]);
    if (!config->differential && (config->for_ns || config->count || config->seed))
        return tw_error_set(error, EINVAL, "--for, --count and --seed go with --differential");
    if (config->differential)
        return check_differential(config, operands, error);
    if (operands == 0 && (config->json || config->markdown || config->pcap || config->set.count))
        return tw_error_set(error, EINVAL, "which scenario? give names, groups, or 'all'");
    return 0;
}

/* The scenarios that the operands mean, each once and in the order of the list. */
static int choose(struct lab *lab, int operands, char **operand, struct tw_error *error)
{
    size_t known = scenario_count();
    bool *chosen = calloc(known + 1, sizeof(*chosen)), by_name = true;
    int rc = 0;

    lab->plays = calloc(known + 1, sizeof(*lab->plays));
    if (!chosen || !lab->plays) {
        free(chosen);
        return tw_error_set(error, ENOMEM, "no memory");
    }
    for (int i = 0; rc == 0 && i < operands; i++)
        rc = scenario_choose(operand[i], chosen, &by_name, error);
    for (size_t i = 0; rc == 0 && i < known; i++)
        if (chosen[i])
            lab->plays[lab->count++].scenario = scenarios[i];
    free(chosen);
    lab->in_full = (by_name || lab->config->verbose) && !lab->config->quiet;
    if (rc == 0 && lab->config->pcap && lab->count != 1)
        rc = tw_error_set(error, EINVAL, "--pcap is for one scenario, not for %zu", lab->count);
    return rc;
}

static int run_lab(const void *argument, int operands, char **operand)
{
    const struct lab_config *config = argument;
    struct lab lab = {.config = config};
    struct tw_error error = {0};
    int rc = check(config, operands, &error);

    if (rc == 0 && config->differential)
        return run_differential(config);
    if (rc == 0 && operands == 0)
        return list_scenarios();
    lab.color = isatty(STDOUT_FILENO) && !config->no_color && !getenv("NO_COLOR");
    if (rc == 0)
        rc = choose(&lab, operands, operand, &error);
    if (rc) {
        fprintf(stderr, "tidewait lab: %s\n", error.text);
        rc = rc == -ENOMEM ? EXIT_OURS : EXIT_USAGE;
    } else {
        rc = play_with_pcap(&lab);
    }
    runner_free(lab.plays, lab.count);
    free(lab.plays);
    return rc;
}

const struct command command_lab = {
    .name = "lab",
    .operands = "[NAME...|GROUP...|all]",
    .summary =
        "Play every failure with addresses in a private network, and see what the kernel does.",
    .details =
        "Without an operand the scenarios are listed: group, name, title. Those that are named "
        "are\n"
        "printed in full; of a group, and of 'all', one line each and in full what failed.\n"
        "Exit status: 0 all went as expected; 1 some did not; 2 bad input; 4 nothing could be\n"
        "played here; 5 interrupted, or the output could not be written; 70 a stage broke.\n",
    .options = lab_options,
    .config_size = sizeof(struct lab_config),
    .run = run_lab,
};
