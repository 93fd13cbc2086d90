#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common.h"
#include "emit.h"
#include "journal.h"
#include "kept.h"
#include "options.h"
#include "plan_ask.h"
#include "propose.h"
#include "sysctl.h"
#include "tune_change.h"
#include "tune_lint.h"
#include "tune_proposal.h"
#include "tune_show.h"

/* enum emit_format behind "none". */
#define FORMAT_NONE 0

struct tune_config {
    double rate_per_s;
    struct plan_ask ask;
    struct option_list set;
    bool apply;
    bool persist;
    bool undo;
    bool force;
    bool check;
    bool unsafe;
    int format;
    const char *root;
    bool yes;
    bool dry_run;
    bool json;
    bool quiet;
    bool no_color;
    const char *netns;
};

#define FIELD(name) offsetof(struct tune_config, name)

/* clang-format off */
static const struct option_row tune_options[] = {
    {.name = "for", .metavar = "RATE", .parse = option_rate, .offset = FIELD(rate_per_s),
     .help = "Propose the least change with which this host sustains so many requests a second, "
             "such as 5000/s."},
    PLAN_ASK_ROWS(FIELD(ask)),
    {.name = "set", .metavar = "NAME=VALUE", .parse = option_repeat, .offset = FIELD(set),
     .help = "Propose this change instead; may be repeated."},
    {.name = "apply", .parse = option_flag, .offset = FIELD(apply),
     .help = "Make the change, after asking; --undo takes it back (root)."},
    {.name = "persist", .parse = option_flag, .offset = FIELD(persist),
     .help = "Make it, and keep it over a reboot in " JOURNAL_KEEP_FILE "."},
    {.name = "undo", .parse = option_flag, .offset = FIELD(undo),
     .help = "Put every setting and the file back as they were before the first --apply."},
    {.name = "force", .parse = option_flag, .offset = FIELD(force),
     .help = "With --undo: also those that somebody else has changed since."},
    {.name = "check", .parse = option_flag, .offset = FIELD(check),
     .help = "Compare the kernel with what was applied; exit with 1 when it has drifted."},
    {.name = "unsafe", .parse = option_flag, .offset = FIELD(unsafe),
     .help = "Make changes by which data may be lost or mixed up, such as timestamps off."},
    {.name = "format", .metavar = "FORMAT", .parse = option_choice, .offset = FIELD(format),
     .choices = "none|sysctl|ansible|kubernetes|docker|netsh|reg|freebsd|macos", .preset = "none",
     .help = "Print the change as text for others: sysctl, ansible, kubernetes, docker, netsh, "
             "reg, freebsd or macos."},
    {.name = "root", .metavar = "DIR", .parse = option_text, .offset = FIELD(root),
     .help = "Keep the change in the image of a system below this folder; the running kernel is "
             "left alone."},
    {.name = "yes", .letter = 'y', .parse = option_flag, .offset = FIELD(yes),
     .help = "Do it without asking."},
    {.name = "dry-run", .letter = 'n', .parse = option_flag, .offset = FIELD(dry_run),
     .help = "Only show what would be done."},
    {.name = "json", .parse = option_flag, .offset = FIELD(json),
     .help = "Print one object on standard output."},
    {.name = "quiet", .letter = 'q', .parse = option_flag, .offset = FIELD(quiet),
     .help = "Print errors only, and the change where it has to be agreed to."},
    {.name = "no-color", .parse = option_flag, .offset = FIELD(no_color),
     .help = "No colour on a terminal; so does the variable NO_COLOR."},
    {.name = "netns", .letter = 'N', .metavar = "NAME|PID", .parse = option_text,
     .offset = FIELD(netns),
     .help = "Work in this network namespace: a name as 'ip netns' lists them, or a process."},
    {0},
};
/* clang-format on */

static int complain(const struct tw_error *error, int code)
{
    fprintf(stderr, "tidewait tune: %s\n", error->text);
    return code;
}

static int exit_code_of(int rc)
{
    switch (-rc) {
    case EACCES:
    case EPERM:
        return EXIT_DENIED;
    case ENOENT:
    case EROFS:
    case EOPNOTSUPP:
        return EXIT_UNSUPPORTED;
    case EINVAL:
    case ERANGE:
        return EXIT_USAGE;
    case ENOMEM:
        return EXIT_OURS;
    default:
        return EXIT_NO;
    }
}

static bool wants_color(const struct tune_config *config)
{
    return isatty(STDOUT_FILENO) && !config->no_color && !getenv("NO_COLOR");
}

static const char *root_of(const struct tune_config *config)
{
    return config->root ? config->root : "";
}

static struct journal_place place_of(const struct tune_config *config)
{
    return (struct journal_place){.root = root_of(config), .netns = config->netns};
}

/* Ends a command that has printed. */
static int close_output(int code)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return code;
    fprintf(stderr, "tidewait tune: cannot write to standard output: %s\n", strerror(errno));
    return EXIT_PARTLY;
}

/* Of what report_*_json() returned. */
static int close_json(int rc, int code)
{
    if (rc != -ENOMEM)
        return close_output(code);
    fprintf(stderr, "tidewait tune: no memory\n");
    return EXIT_OURS;
}

/* --- what is to be changed -------------------------------------------------------------------- */

static int unknown_setting(const char *text, struct tw_view name, struct tw_error *error)
{
    char typed[80], offered[160];

    snprintf(typed, sizeof(typed), "%.*s", (int)(name.len < 79 ? name.len : 79), name.data);
    tune_offer(typed, offered, sizeof(offered));
    return tw_error_set(error, EINVAL, "--set '%.60s': there is no setting '%.60s'%s", text, typed,
                        offered);
}

static bool is_set_before(const struct option_list *set, size_t end, const struct setting *setting)
{
    for (size_t i = 0; i < end; i++) {
        struct tw_view value = tw_view_of(set->items[i]);

        if (setting_find(tw_view_cut(&value, '=')) == setting)
            return true;
    }
    return false;
}

/* One --set NAME=VALUE. What is to be kept is kept also where the kernel has it already. */
static int add_setting(const struct tune_config *config, size_t at, struct changes *changes,
                       struct tw_error *error)
{
    const char *text = config->set.items[at];
    struct tw_view value = tw_view_of(text), name = tw_view_cut(&value, '=');
    const struct setting *setting = setting_find(name);
    struct tw_error inner = {0};
    char *before;
    int rc;

    if (!value.data)
        return tw_error_set(error, EINVAL, "--set '%s': NAME=VALUE is wanted", text);
    if (!setting)
        return unknown_setting(text, name, error);
    if (is_set_before(&config->set, at, setting))
        return tw_error_set(error, EINVAL, "--set '%s': %s is set twice", text, setting->name);
    if ((rc = setting_check(setting, value, &inner)))
        return tw_error_set(error, -rc, "--set '%s': %s", text, inner.text);
    if ((rc = sysctl_read(setting, &before, error)))
        return rc;
    rc = setting_equal(setting, before, value.data) && !config->persist
             ? 0
             : changes_add(changes, setting, before, value.data, "asked for by --set");
    free(before);
    return rc == -ENOMEM ? tw_error_set(error, ENOMEM, "no memory") : rc;
}

static int propose_sets(const struct tune_config *config, struct proposal *out,
                        struct tw_error *error)
{
    for (size_t i = 0; i < config->set.count; i++) {
        int rc = add_setting(config, i, &out->changes, error);

        if (rc)
            return rc;
    }
    out->suffices = true;
    return 0;
}

static bool changes_range(const struct changes *changes)
{
    for (size_t i = 0; i < changes->count; i++)
        if (changes->items[i].setting->kind == SETTING_RANGE)
            return true;
    return false;
}

/* Hides who listens, but not that somebody does. */
#define BLIND_FOR_NAMES \
    (TW_BLIND_PROCESSES | TW_BLIND_HIDEPID | TW_BLIND_PID_NAMESPACE | TW_BLIND_OPTIONS)

/* Ports of services that were not seen are not reserved: it matters when the range grows. */
static void tell_unseen(const struct services *services)
{
    unsigned blind = services->blind & ~(unsigned)BLIND_FOR_NAMES;

    if (services->docker_unseen)
        fprintf(stderr, "tidewait tune: Docker or Podman does not answer: the ports that it "
                        "publishes are not known and not reserved\n");
    for (unsigned flag = 1; flag && flag <= blind; flag <<= 1)
        if (blind & flag)
            fprintf(stderr, "tidewait tune: services may be missed: %s\n", tw_blind_text(flag));
}

static int propose_rate(const struct tune_config *config, struct plan_workload *workload,
                        struct proposal *out, struct tw_error *error)
{
    struct plan_ask ask = config->ask;
    struct services services = {0};
    struct propose_opts opts = {.workload = workload, .services = &services};
    int rc;

    ask.rate_per_s = config->rate_per_s;
    if ((rc = plan_ask_workload(&ask, workload, &opts.loopback, error)))
        return rc;
    /* Units and containers are the host's. */
    rc = services_find(config->netns ? NULL : root_of(config), &services, error);
    if (rc == 0)
        rc = propose(&opts, out, error);
    if (rc == 0 && changes_range(&out->changes))
        tell_unseen(&services);
    services_fini(&services);
    return rc;
}

/* Refuses by what something may be lost, unless it was asked for. */
static int weigh_dangers(const struct tune_config *config, const struct changes *changes,
                         struct tw_error *error)
{
    for (size_t i = 0; i < changes->count; i++) {
        const struct change *change = &changes->items[i];

        if (!setting_is_unsafe(change->setting, change->before, change->after))
            continue;
        if (!config->unsafe) {
            tw_error_set(error, EPERM,
                         "%s from %s to %s is refused: %s; --unsafe does it all the "
                         "same",
                         change->setting->name, change->before, change->after,
                         change->setting->loss);
            return EXIT_NO;
        }
        fprintf(stderr, "tidewait tune: warning: %s from %s to %s: %s\n", change->setting->name,
                change->before, change->after, change->setting->loss);
    }
    return EXIT_YES;
}

/* --- making the change ------------------------------------------------------------------------ */

static bool ask_person(void)
{
    char answer[16];

    fflush(stdout);
    fprintf(stderr, "Make this change? [y/N] ");
    if (!fgets(answer, sizeof(answer), stdin))
        return false;
    answer[strcspn(answer, "\n")] = 0;
    return strcasecmp(answer, "y") == 0 || strcasecmp(answer, "yes") == 0;
}

static bool is_agreed(const struct tune_config *config)
{
    if (config->yes)
        return true;
    if (!isatty(STDIN_FILENO)) {
        fprintf(stderr, "tidewait tune: nothing changed: standard input is not a terminal to ask "
                        "on; -y does it without asking\n");
        return false;
    }
    return ask_person();
}

/* The text that --persist keeps: what it kept before, and this. */
static char *text_to_keep(const struct tune_config *config, const struct changes *changes,
                          struct tw_error *error)
{
    struct changes all;
    char *text = NULL;

    if (kept_merge(root_of(config), changes, &all, error) == 0 &&
        !(text = emit(&all, EMIT_SYSCTL, "kept by tidewait tune; back with: tidewait tune --undo")))
        tw_error_set(error, ENOMEM, "no memory");
    changes_fini(&all);
    return text;
}

static int apply(const struct tune_config *config, const struct changes *changes,
                 struct tw_error *error)
{
    struct journal_place place = place_of(config);
    char *keep = NULL;
    int rc;

    if (config->persist && !(keep = text_to_keep(config, changes, error)))
        return -error->code;
    rc = journal_apply(&place, changes, keep, error);
    free(keep);
    return rc;
}

static int carry_out(const struct tune_config *config, const struct proposal *proposal, bool *done)
{
    struct tw_error error = {0};
    int rc;

    if (proposal->changes.count == 0 || config->dry_run || !(config->apply || config->persist))
        return proposal->suffices ? EXIT_YES : EXIT_NO;
    if (!is_agreed(config))
        return EXIT_NO;
    if ((rc = apply(config, &proposal->changes, &error)))
        return complain(&error, exit_code_of(rc));
    *done = true;
    if (!config->quiet && !config->json)
        printf("done%s; back with: tidewait tune --undo%s%s%s%s\n",
               config->persist ? ", and kept in " JOURNAL_KEEP_FILE : "",
               config->netns ? " -N " : "", config->netns ? config->netns : "",
               config->root ? " --root " : "", root_of(config));
    return proposal->suffices ? EXIT_YES : EXIT_NO;
}

static int print_for_others(const struct tune_config *config, const struct proposal *proposal)
{
    char *text = emit(&proposal->changes, (enum emit_format)(config->format - 1),
                      "proposed by tidewait tune");

    if (!text) {
        fprintf(stderr, "tidewait tune: no memory\n");
        return EXIT_OURS;
    }
    fputs(text, stdout);
    free(text);
    return close_output(proposal->suffices ? EXIT_YES : EXIT_NO);
}

/* Shows the change, and makes it when that was asked for. */
static int present(const struct tune_config *config, const struct proposal *proposal,
                   const struct plan_workload *asked)
{
    bool asks = (config->apply || config->persist) && !config->yes && !config->dry_run;
    bool done = false;
    int code;

    if (config->format != FORMAT_NONE)
        return print_for_others(config, proposal);
    if (!config->json && (!config->quiet || asks))
        report_proposal_text(proposal, asked, wants_color(config), stdout);
    else if (asks && isatty(STDIN_FILENO))
        report_proposal_text(proposal, asked, false, stderr);
    code = carry_out(config, proposal, &done);
    if (config->json)
        return close_json(report_proposal_json(proposal, asked, done, stdout), code);
    return close_output(code);
}

static int change(const struct tune_config *config)
{
    struct plan_workload workload = {0};
    struct proposal proposal = {0};
    struct tw_error error = {0};
    int rc = config->set.count ? propose_sets(config, &proposal, &error)
                               : propose_rate(config, &workload, &proposal, &error);
    int code = rc ? complain(&error, exit_code_of(rc)) : EXIT_YES;

    if (code == EXIT_YES && (code = weigh_dangers(config, &proposal.changes, &error)))
        complain(&error, code);
    if (code == EXIT_YES)
        code = present(config, &proposal, config->set.count ? NULL : &workload);
    proposal_fini(&proposal);
    return code;
}

/* --- what was changed before ------------------------------------------------------------------ */

static int look_back(const struct tune_config *config)
{
    struct journal_place place = place_of(config);
    struct journal_report report = {0};
    struct tw_error error = {0};
    int code = EXIT_YES;
    int rc = config->undo ? journal_undo(&place, config->force, &report, &error)
                          : journal_check(&place, &report, &error);

    if (rc)
        return complain(&error, rc == -ENOENT ? EXIT_NO : exit_code_of(rc));
    for (size_t i = 0; i < report.count; i++) {
        if (report.entries[i].outcome == JOURNAL_FAILED)
            code = EXIT_PARTLY;
        if (report.entries[i].outcome == JOURNAL_FOREIGN && code == EXIT_YES)
            code = config->undo ? EXIT_PARTLY : EXIT_NO;
    }
    if (config->json)
        code = close_json(report_journal_json(&report, config->undo, stdout), code);
    else if (!config->quiet)
        report_journal_text(&report, config->undo, wants_color(config), stdout);
    journal_report_fini(&report);
    return config->json ? code : close_output(code);
}

/* --- which of it ------------------------------------------------------------------------------ */

/* An option that says how a change is made, and there is none. */
static const char *idle_option(const struct tune_config *config)
{
    return config->apply                                     ? "apply"
           : config->persist                                 ? "persist"
           : config->format != FORMAT_NONE                   ? "format"
           : config->unsafe                                  ? "unsafe"
           : config->dry_run                                 ? "dry-run"
           : config->root && !config->undo && !config->check ? "root"
                                                             : NULL;
}

/* An option that tells of a workload. */
static const char *workload_option(const struct plan_ask *ask)
{
    return ask->hold       ? "hold"
           : ask->requests ? "requests-per-connection"
           : ask->closing  ? "close"
           : ask->ports    ? "ports"
           : ask->arrivals ? "arrivals"
           : ask->from     ? "from"
           : ask->to       ? "to"
           : ask->idle     ? "idle-pool"
                           : NULL;
}

/* Options that do not go together. */
static int check_pairs(const struct tune_config *config, struct tw_error *error)
{
    struct stat status;

    if (config->force && !config->undo)
        return tw_error_set(error, EINVAL, "--force is for --undo");
    if (config->format != FORMAT_NONE && (config->apply || config->persist || config->json))
        return tw_error_set(error, EINVAL, "--format prints the change for others: leave out --%s",
                            config->apply     ? "apply"
                            : config->persist ? "persist"
                                              : "json");
    if (config->netns && config->persist)
        return tw_error_set(error, EINVAL,
                            "--persist keeps settings of the host, not of the "
                            "network namespace '%s': leave out -N, or use --apply",
                            config->netns);
    if (config->root && config->netns)
        return tw_error_set(error, EINVAL,
                            "--root '%.60s' is an image without network namespaces: "
                            "leave out -N",
                            config->root);
    if (config->root && (stat(config->root, &status) || !S_ISDIR(status.st_mode)))
        return tw_error_set(error, EINVAL, "--root '%.120s' is no folder", config->root);
    if (config->root && config->apply)
        return tw_error_set(error, EINVAL, "--root '%s' is an image: use --persist, not --apply",
                            config->root);
    return 0;
}

static int check_usage(const struct tune_config *config, const char *view, struct tw_error *error)
{
    bool changes = config->rate_per_s > 0 || config->set.count;
    const char *workload = workload_option(&config->ask), *idle = idle_option(config);

    if (config->rate_per_s > 0 && config->set.count)
        return tw_error_set(error, EINVAL, "--for proposes by itself: leave out --set, or --for");
    if (config->undo + config->check + changes > 1)
        return tw_error_set(error, EINVAL, "--undo, --check and a change exclude one another");
    if (view && (config->undo || config->check || changes))
        return tw_error_set(error, EINVAL, "'%s' only shows: leave out --%s", view,
                            config->undo             ? "undo"
                            : config->check          ? "check"
                            : config->rate_per_s > 0 ? "for"
                                                     : "set");
    if (workload && config->rate_per_s == 0)
        return tw_error_set(error, EINVAL,
                            "--%s is about connections: at which rate? Add --for "
                            "RATE",
                            workload);
    if (!changes && idle)
        return tw_error_set(error, EINVAL, "--%s: of what? Add --for RATE or --set NAME=VALUE",
                            idle);
    return check_pairs(config, error);
}

static int run(const void *untyped, int operands, char **operand)
{
    const struct tune_config *config = untyped;
    struct tw_error error = {0};
    int code;

    if (check_usage(config, operands ? operand[0] : NULL, &error))
        return complain(&error, EXIT_USAGE);
    if ((code = enter_netns(config->netns, &error)))
        return complain(&error, code);
    if (operands && strcmp(operand[0], "lint") == 0)
        return tune_lint(operands - 1, operand + 1, config->json, wants_color(config),
                         config->quiet);
    if (operands && strcmp(operand[0], "explain") == 0)
        return tune_explain(operands - 1, operand + 1, config->json, wants_color(config));
    if (operands) {
        tw_error_set(&error, EINVAL, "'%s' is none of explain and lint", operand[0]);
        return complain(&error, EXIT_USAGE);
    }
    if (config->undo || config->check)
        return look_back(config);
    if (config->rate_per_s > 0 || config->set.count)
        return change(config);
    return tune_show(config->json, wants_color(config));
}

const struct command command_tune = {
    .name = "tune",
    .operands = "[explain NAME... | lint [FILE...]]",
    .summary = "show, explain, propose, make and take back the kernel's settings",
    .details = "Without arguments every setting that matters is shown with its value and what it "
               "really does.\n",
    .options = tune_options,
    .config_size = sizeof(struct tune_config),
    .run = run,
};
