#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "agent.h"
#include "common.h"
#include "options.h"
#include "serve_print.h"
#include "tidewait/clock.h"
#include "tidewait/limits.h"

#define AGENTS_MAX 65536
/* Endpoints are listed one by one up to this many. */
#define AGENTS_LISTED   16
#define NEXT_FREE_TRIES 1000
#define GRACE_NS        TW_NS_PER_S

struct serve_config {
    uint64_t workers;
    int mode;
    int closing;
    struct distribution size;
    struct distribution think;
    uint64_t requests;
    uint64_t linger_ns;
    uint64_t idle_ns;
    uint64_t duration_ns;
    uint64_t seed;
    bool skip_busy;
    bool next_free;
    bool json;
    bool quiet;
    bool verbose;
    bool no_color;
    const char *netns;
};

#define FIELD(name) offsetof(struct serve_config, name)

static int option_sizes(struct tw_view text, const struct option_row *row, void *field,
                        struct tw_error *error)
{
    (void)row;
    return distribution_parse(text, DISTRIBUTION_SIZE, field, error);
}

static int option_times(struct tw_view text, const struct option_row *row, void *field,
                        struct tw_error *error)
{
    (void)row;
    return distribution_parse(text, DISTRIBUTION_TIME_NS, field, error);
}

/* The zeroed field is AGENT_HTTP. */
static int option_raw(struct tw_view text, const struct option_row *row, void *field,
                      struct tw_error *error)
{
    int choice, rc = option_choice(text, row, &choice, error);

    if (rc == 0)
        *(int *)field = AGENT_ECHO + choice;
    return rc;
}

/* clang-format off */
static const struct option_row serve_options[] = {
    {.name = "workers", .letter = 'w', .metavar = "N", .parse = option_number,
     .offset = FIELD(workers), .min = 1, .max = 1024,
     .help = "Threads, each with its own event loop and its own listening socket of every "
             "agent; default: as many as processors."},
    {.name = "size", .metavar = "SIZE", .parse = option_sizes, .offset = FIELD(size),
     .preset = "1KiB",
     .help = "Body of a reply: 1KiB, exp:13KiB or uniform:1KiB-64KiB."},
    {.name = "think", .metavar = "TIME", .parse = option_times, .offset = FIELD(think),
     .preset = "0",
     .help = "Delay before each reply: 10ms, exp:10ms or uniform:1ms-5ms."},
    {.name = "requests", .letter = 'n', .metavar = "N", .parse = option_number,
     .offset = FIELD(requests), .max = INT64_MAX, .preset = "0",
     .help = "Requests answered on one connection at most; 0 is no limit."},
    {.name = "close", .metavar = "WHO", .parse = option_choice, .offset = FIELD(closing),
     .choices = "client|server|reset|half", .preset = "server",
     .help = "Who ends a connection that is to end: client (we wait for its EOF, it keeps "
             "TIME_WAIT), server (our EOF goes out with the last data), reset (RST, no "
             "TIME_WAIT) or half (our EOF goes out, then we read on until the client's)."},
    {.name = "linger", .metavar = "TIME", .parse = option_time, .offset = FIELD(linger_ns),
     .preset = "5s",
     .help = "The longest wait for the client's EOF."},
    {.name = "idle", .metavar = "TIME", .parse = option_time, .offset = FIELD(idle_ns),
     .preset = "60s",
     .help = "Close a connection on which nothing moved for this long; 0 is never."},
    {.name = "raw", .metavar = "MODE", .parse = option_raw, .offset = FIELD(mode),
     .choices = "echo|discard|send",
     .help = "Instead of HTTP: echo (send back what comes, until EOF), discard (read until EOF) "
             "or send (one reply of --size at once)."},
    {.name = "skip-busy", .parse = option_flag, .offset = FIELD(skip_busy),
     .help = "Go on without the addresses that cannot be had."},
    {.name = "next-free", .parse = option_flag, .offset = FIELD(next_free),
     .help = "Take the next free port when one is in use."},
    {.name = "duration", .letter = 'd', .metavar = "TIME", .parse = option_time,
     .offset = FIELD(duration_ns), .preset = "0",
     .help = "End after this long; 0 is at a signal."},
    {.name = "seed", .metavar = "N", .parse = option_number, .offset = FIELD(seed), .min = 1,
     .max = INT64_MAX, .preset = "1",
     .help = "Seed of --size and --think, to repeat a run."},
    {.name = "json", .parse = option_flag, .offset = FIELD(json),
     .help = "Print the totals as one JSON object."},
    {.name = "quiet", .letter = 'q', .parse = option_flag, .offset = FIELD(quiet),
     .help = "Print errors and the totals only."},
    {.name = "verbose", .letter = 'v', .parse = option_flag, .offset = FIELD(verbose),
     .help = "Print a line a second also where standard error is no terminal, and every "
             "endpoint."},
    {.name = "no-color", .parse = option_flag, .offset = FIELD(no_color),
     .help = "No colour on a terminal; so does the variable NO_COLOR."},
    {.name = "netns", .letter = 'N', .metavar = "NAME", .parse = option_text,
     .offset = FIELD(netns),
     .help = "Run in this network namespace (of ip netns)."},
    {0},
};
/* clang-format on */

static bool use_color(const struct serve_config *config)
{
    return isatty(STDERR_FILENO) && !config->no_color && !getenv("NO_COLOR");
}

/* --- endpoints --- */

struct endpoints {
    struct tw_endpoint *items;
    size_t count;
};

static int add_range(const struct tw_listen_range *range, const char *text, struct endpoints *list,
                     struct tw_error *error)
{
    size_t ports = (size_t)(range->ports.last - range->ports.first) + 1;
    size_t more = ports * range->addresses.count;
    struct tw_endpoint *items;

    if (more > AGENTS_MAX - list->count)
        return tw_error_set(error, EINVAL, "'%.60s' makes %zu agents; %d is the most", text,
                            list->count + more, AGENTS_MAX);
    items = reallocarray(list->items, list->count + more, sizeof(*items));
    if (!items)
        return tw_error_set(error, ENOMEM, "no memory for %zu agents", list->count + more);
    list->items = items;
    for (uint32_t i = 0; i < range->addresses.count; i++) {
        struct tw_endpoint endpoint = tw_address_range_at(&range->addresses, i);

        for (size_t port = 0; port < ports; port++) {
            tw_endpoint_set_port(&endpoint, (uint16_t)(range->ports.first + port));
            items[list->count++] = endpoint;
        }
    }
    return 0;
}

static int parse_endpoints(int count, char **texts, struct endpoints *list, struct tw_error *error)
{
    static char preset[] = "127.0.0.1:8080";
    char *presets[] = {preset};
    struct tw_endpoint loopback;
    struct tw_listen_range range;
    int rc = tw_address_parse(tw_view_of("127.0.0.1"), &loopback, error);

    if (count == 0) {
        count = 1;
        texts = presets;
    }
    for (int i = 0; i < count && rc == 0; i++)
        if ((rc = tw_listen_range_parse(tw_view_of(texts[i]), &loopback, &range, error)) == 0)
            rc = add_range(&range, texts[i], list, error);
    return rc;
}

/* --- listening --- */

static void say_listening(const struct serve_config *config, const struct agents *agents,
                          size_t count, uint32_t workers)
{
    size_t listening = agents_listening(agents), first = count, last = 0;
    char text[TW_ENDPOINT_TEXT_MAX], end[TW_ENDPOINT_TEXT_MAX];
    const char *plural = workers == 1 ? "" : "s";
    struct tw_endpoint endpoint;

    if (config->quiet)
        return;
    for (size_t i = 0; i < count; i++) {
        if (!agents_is_listening(agents, i))
            continue;
        endpoint = agents_endpoint(agents, i);
        if (config->verbose || listening <= AGENTS_LISTED)
            fprintf(stderr, "listening on %s (%u worker%s)\n", tw_endpoint_format(&endpoint, text),
                    workers, plural);
        first = first == count ? i : first;
        last = i;
    }
    if (config->verbose || listening <= AGENTS_LISTED)
        return;
    endpoint = agents_endpoint(agents, first);
    tw_endpoint_format(&endpoint, text);
    endpoint = agents_endpoint(agents, last);
    fprintf(stderr, "listening on %zu endpoints from %s to %s (%u worker%s)\n", listening, text,
            tw_endpoint_format(&endpoint, end), workers, plural);
}

/* An address cannot be had, and we give up. */
static int give_up(const struct agents *agents, size_t count, int code)
{
    size_t listening = agents_listening(agents);

    if (count > 1)
        fprintf(stderr, "  %zu of %zu agents were already listening; all closed again\n", listening,
                count);
    return code == EACCES ? EXIT_DENIED : EXIT_NO;
}

/* True for what one address has and another may not have. */
static bool is_of_address(int code)
{
    return code == EADDRINUSE || code == EADDRNOTAVAIL || code == EACCES;
}

static int listen_all(const struct serve_config *config, struct agents *agents, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct tw_endpoint wanted = agents_endpoint(agents, i), got;
        char text[TW_ENDPOINT_TEXT_MAX], moved[TW_ENDPOINT_TEXT_MAX];
        struct tw_error next = {0};
        int rc = agents_listen(agents, i, NULL);

        if (rc == 0)
            continue;
        if (rc == -EADDRINUSE && config->next_free &&
            agents_listen_next(agents, i, NEXT_FREE_TRIES, &next) == 0) {
            got = agents_endpoint(agents, i);
            if (!config->quiet)
                fprintf(stderr, "%s is in use; %s serves in its place\n",
                        tw_endpoint_format(&wanted, text), tw_endpoint_format(&got, moved));
            continue;
        }
        serve_print_refusal(&wanted, -rc, use_color(config), stderr);
        if (rc == -EADDRINUSE && config->next_free)
            fprintf(stderr, "  none of the next %d ports could be had either; the last: %s\n",
                    NEXT_FREE_TRIES, next.text);
        if (!config->skip_busy || !is_of_address(-rc))
            return give_up(agents, count, -rc);
        fprintf(stderr, "  going on without it\n");
    }
    if (agents_listening(agents))
        return EXIT_YES;
    fprintf(stderr, "tidewait serve: no address is left to listen on\n");
    return EXIT_NO;
}

/* --- running --- */

/* Sleeps until the next second of the run, its end or a signal. The signals are blocked outside, so
 * none is lost between the look at the flag and the sleep. */
static void sleep_until(uint64_t until_ns, const sigset_t *outside)
{
    uint64_t now = tw_clock_ns(), left = until_ns > now ? until_ns - now : 0;
    struct timespec limit = {.tv_sec = (time_t)(left / TW_NS_PER_S),
                             .tv_nsec = (long)(left % TW_NS_PER_S)};

    ppoll(NULL, 0, &limit, outside);
}

static void watch(const struct serve_config *config, const struct agents *agents, uint64_t start_ns,
                  const atomic_int *stop, const sigset_t *outside)
{
    bool terminal = isatty(STDERR_FILENO), live = !config->quiet && (terminal || config->verbose);
    bool color = use_color(config);
    uint64_t end_ns = config->duration_ns ? start_ns + config->duration_ns : TW_NEVER;
    uint64_t last_ns = start_ns;
    struct agent_counts before = {0};

    while (!atomic_load(stop) && !agents_are_broken(agents) && tw_clock_ns() < end_ns) {
        uint64_t next_ns = last_ns + TW_NS_PER_S, now_ns;
        struct agent_counts now;

        sleep_until(next_ns < end_ns ? next_ns : end_ns, outside);
        now_ns = tw_clock_ns();
        if (now_ns < next_ns)
            continue;
        agents_count(agents, &now);
        if (live)
            serve_print_live(&now, &before, (double)(now_ns - start_ns) / 1e9,
                             (double)(now_ns - last_ns) / 1e9, terminal, color, stderr);
        before = now;
        last_ns = now_ns;
    }
    if (live && terminal)
        fputc('\n', stderr);
}

static int print_totals(const struct serve_config *config, const struct agents *agents,
                        uint32_t workers, uint64_t start_ns)
{
    struct serve_totals totals = {.agents = agents_listening(agents), .workers = workers};
    struct rusage usage;
    bool failed = false;

    totals.duration_s = (double)(tw_clock_ns() - start_ns) / 1e9;
    agents_count(agents, &totals.counts);
    getrusage(RUSAGE_SELF, &usage);
    totals.user_s = (double)usage.ru_utime.tv_sec + (double)usage.ru_utime.tv_usec / 1e6;
    totals.system_s = (double)usage.ru_stime.tv_sec + (double)usage.ru_stime.tv_usec / 1e6;
    if (!config->json)
        serve_print_totals(&totals, stdout);
    else if (serve_print_json(&totals, stdout) == -ENOMEM)
        failed = true; /* no memory for it; errno says so */
    if (!failed && fflush(stdout) == 0 && !ferror(stdout))
        return EXIT_YES;
    fprintf(stderr, "tidewait serve: cannot write the totals to standard output: %s\n",
            strerror(errno));
    return EXIT_PARTLY;
}

static int serve(const struct serve_config *config, struct agents *agents, size_t count,
                 uint32_t workers, struct tw_error *error)
{
    static atomic_int stop;
    sigset_t blocked, outside;
    uint64_t start_ns;
    int rc;

    /* Blocked before the workers start: they inherit it, so that signals come to this thread. */
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGINT);
    sigaddset(&blocked, SIGTERM);
    sigaddset(&blocked, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &blocked, &outside);
    sigdelset(&outside, SIGINT);
    sigdelset(&outside, SIGTERM);
    sigdelset(&outside, SIGHUP);
    catch_signals(&stop);
    if ((rc = listen_all(config, agents, count)))
        return rc;
    start_ns = tw_clock_ns();
    if (agents_start(agents, error)) {
        fprintf(stderr, "tidewait serve: %s\n", error->text);
        return EXIT_NO;
    }
    say_listening(config, agents, count, workers);
    watch(config, agents, start_ns, &stop, &outside);
    rc = agents_stop(agents, GRACE_NS);
    if (rc == 0)
        return print_totals(config, agents, workers, start_ns);
    fprintf(stderr, "tidewait serve: a worker broke down: %s\n", strerror(-rc));
    print_totals(config, agents, workers, start_ns);
    return EXIT_OURS;
}

static int run_serve(const void *argument, int operands, char **operand)
{
    const struct serve_config *config = argument;
    struct agent_settings settings = {
        .mode = (enum agent_mode)config->mode,
        .closing = (enum agent_closing)config->closing,
        .workers = config->workers ? (uint32_t)config->workers : usable_cores(),
        .size = config->size,
        .think_ns = config->think,
        .requests = config->requests,
        .idle_ns = config->idle_ns,
        .linger_ns = config->linger_ns,
        .seed = config->seed,
    };
    struct endpoints list = {0};
    struct agents *agents = NULL;
    struct tw_error error = {0};
    int rc = enter_netns(config->netns, &error);

    if (rc == EXIT_YES && parse_endpoints(operands, operand, &list, &error))
        rc = EXIT_USAGE;
    if (rc == EXIT_YES) {
        tw_limits_raise_files();
        agents = agents_new(&settings, list.items, list.count, &error);
        if (!agents)
            rc = error.code == EINVAL ? EXIT_USAGE : EXIT_NO;
    }
    if (agents)
        rc = serve(config, agents, list.count, settings.workers, &error);
    else
        fprintf(stderr, "tidewait serve: %s\n", error.text);
    agents_free(agents);
    free(list.items);
    return rc;
}

const struct command command_serve = {
    .name = "serve",
    .operands = "[LISTEN...]",
    .summary = "Answer connections on any number of addresses, as the peer of a load generator.",
    .details =
        "LISTEN is ADDR[-ADDR]:PORT[-PORT], [IPV6]:PORT, or a port on 127.0.0.1; default:\n"
        "127.0.0.1:8080. [::] does not listen on IPv4 as well. SIGINT and SIGTERM end it: replies\n"
        "under way are finished, for a second at most, and the totals are printed.\n"
        "Exit status: 0 ended by a signal or --duration; 1 an address cannot be had; 2 bad input;\n"
        "3 not permitted; 5 the totals could not be written.\n",
    .options = serve_options,
    .config_size = sizeof(struct serve_config),
    .run = run_serve,
};
