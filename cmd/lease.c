#include "lease.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "builder.h"
#include "common.h"
#include "options.h"
#include "tidewait/clock.h"
#include "tidewait/limits.h"

/* As long as TIME_WAIT lasts at least; no setting changes it. */
#define PARK_NS (60 * TW_NS_PER_S)

/* How long to wait between two looks when not enough ports are free. Never twice the same, so that
 * two who wait for each other's ports do not stay in step. */
#define LOOK_MS 20

#define FIELD(name) offsetof(struct lease_config, name)

static int option_park(struct tw_view text, const struct option_row *row, void *field,
                       struct tw_error *error)
{
    struct lease_park *park = field;

    (void)row;
    park->given = true;
    return tw_parse_duration(text, &park->ns, error);
}

/* clang-format off */
static const struct option_row lease_options[] = {
    {.name = "count", .letter = 'n', .metavar = "N", .parse = option_number, .offset = FIELD(count),
     .min = 1, .max = 10000,
     .help = "How many ports; without it as many as the command names, at least one."},
    {.name = "ports", .letter = 'p', .metavar = "LIST", .parse = option_text,
     .offset = FIELD(ports),
     .help = "Choose from these (20000-20099,30000), which may be ports that the kernel chooses "
             "from. Without it: from 10000 on, none of those, and none of /etc/services."},
    {.name = "fd", .parse = option_flag, .offset = FIELD(fd),
     .help = "Hand the command a listening socket for each port, from descriptor 3 on, with "
             "LISTEN_FDS, LISTEN_PID and LISTEN_FDNAMES, as systemd does."},
    {.name = "bound", .parse = option_flag, .offset = FIELD(bound),
     .help = "With --fd: the sockets are bound and do not listen."},
    {.name = "udp", .parse = option_flag, .offset = FIELD(udp),
     .help = "With --fd: after the TCP socket of each port its UDP socket."},
    {.name = "address", .letter = 'a', .metavar = "ADDR", .parse = option_text,
     .offset = FIELD(address),
     .help = "With --fd: bind the sockets to this address, not to all of IPv4 and IPv6."},
    {.name = "until", .metavar = "WHEN", .parse = option_choice, .offset = FIELD(until),
     .choices = "auto|start|bind|end", .preset = "auto",
     .help = "Hold the ports until the command starts; until it binds them; until its end, shared "
             "with who sets SO_REUSEADDR. auto: end for ports that the kernel might choose, else "
             "start."},
    {.name = "park", .metavar = "TIME", .parse = option_park, .offset = FIELD(park),
     .help = "Without a command: leave the ports in TIME_WAIT, which lasts 60 s, the most that can "
             "be asked for; 0 leaves them free. Without it 60s."},
    {.name = "wait", .letter = 'w', .metavar = "TIME", .parse = option_time,
     .offset = FIELD(wait_ns), .preset = "0",
     .help = "How long to wait until enough ports are free."},
    {.name = "server", .letter = 's', .metavar = "PATH|@NAME", .parse = option_text,
     .offset = FIELD(server),
     .help = "Serve ports to clients of portpicker on this Unix socket, until a signal."},
    {.name = "json", .parse = option_flag, .offset = FIELD(json),
     .help = "Without a command: print one object on standard output."},
    {.name = "quiet", .letter = 'q', .parse = option_flag, .offset = FIELD(quiet),
     .help = "With --server: print errors only."},
    {.name = "netns", .letter = 'N', .metavar = "NAME|PID", .parse = option_text,
     .offset = FIELD(netns),
     .help = "Work in this network namespace, the command too: a name as 'ip netns' lists them, "
             "or a process."},
    {0},
};
/* clang-format on */

static int complain(const struct tw_error *error)
{
    fprintf(stderr, "tidewait lease: %s\n", error->text);
    switch (error->code) {
    case EADDRINUSE:
    case EADDRNOTAVAIL:
    case ENOBUFS:
    case ENETUNREACH:
        return EXIT_NO;
    case EINVAL:
    case ERANGE:
        return EXIT_USAGE;
    case EACCES:
    case EPERM:
        return EXIT_DENIED;
    default:
        return EXIT_OURS;
    }
}

/* --- what was asked for ------------------------------------------------------------------------
 */

static int check_fd(const struct lease_config *config, struct tw_error *error)
{
    const char *alone = config->bound ? "--bound" : config->udp ? "--udp" : "--address";

    if (!config->fd && (config->bound || config->udp || config->address))
        return tw_error_set(error, EINVAL, "%s needs --fd", alone);
    if (config->fd && config->until != LEASE_AUTO)
        return tw_error_set(error, EINVAL,
                            "--fd and --until: a socket that is handed over is the "
                            "command's own");
    return 0;
}

static int check_command(const struct lease_config *config, struct tw_error *error)
{
    if (config->server)
        return tw_error_set(error, EINVAL, "--server and a command: start the server by itself");
    if (config->park.given)
        return tw_error_set(error, EINVAL,
                            "--park and a command: its ports are held by "
                            "'tidewait lease' itself, see --until");
    if (config->json || config->quiet)
        return tw_error_set(error, EINVAL, "--%s and a command: nothing is printed then",
                            config->json ? "json" : "quiet");
    return check_fd(config, error);
}

static int check_alone(const struct lease_config *config, struct tw_error *error)
{
    if (config->fd || config->bound || config->udp || config->address)
        return tw_error_set(error, EINVAL, "--%s needs a command behind --",
                            config->fd      ? "fd"
                            : config->bound ? "bound"
                            : config->udp   ? "udp"
                                            : "address");
    if (config->until != LEASE_AUTO && !(config->server && config->until == LEASE_END))
        return tw_error_set(error, EINVAL, "--until needs a command behind --%s",
                            config->server ? ", or 'end' with --server" : "");
    if (config->server && (config->park.given || config->count || config->wait_ns || config->json))
        return tw_error_set(error, EINVAL, "--%s and --server do not go together",
                            config->park.given ? "park"
                            : config->count    ? "count"
                            : config->wait_ns  ? "wait"
                                               : "json");
    if (!config->server && config->quiet)
        return tw_error_set(error, EINVAL, "--quiet: the ports are all that is printed");
    if (config->park.ns > PARK_NS)
        return tw_error_set(error, EINVAL,
                            "--park: TIME_WAIT lasts 60s and no longer; let 'tidewait lease' run "
                            "the command, or use --server");
    return 0;
}

static int fill_pool(const struct lease_config *config, struct lease_pool *pool,
                     struct tw_error *error)
{
    struct tw_error inner = {0};
    struct tw_limits limits;

    *pool = (struct lease_pool){0};
    tw_limits_read(&limits);
    tw_limits_ephemeral(&limits, &pool->ephemeral);
    if (!config->ports)
        tw_lease_pool(&pool->ports);
    else if (tw_ports_parse(tw_view_of(config->ports), &pool->ports, &inner))
        return tw_error_set(error, inner.code, "--ports: %s", inner.text);
    tw_ports_remove(&pool->ports, 0);
    if (tw_ports_count(&pool->ports))
        return 0;
    return tw_error_set(error, EINVAL,
                        config->ports ? "--ports '%.60s' names no port"
                                      : "the kernel chooses from all ports from 10000 on "
                                        "(net.ipv4.ip_local_port_range); name some by --ports%s",
                        config->ports ? config->ports : "");
}

/* --- ports without a command -------------------------------------------------------------------
 */

static int print_json(const struct tw_lease *leases, size_t count, uint64_t park_ns)
{
    struct builder builder = {0};
    json_t *root = json_object(), *ports = json_array();
    int rc = 0;

    for (size_t i = 0; i < count; i++)
        append(&builder, ports, json_integer(leases[i].port));
    set(&builder, root, "schema", json_string("tidewait.lease/1"));
    set(&builder, root, "ports", ports);
    set(&builder, root, "parked_ms", json_integer((json_int_t)(park_ns / TW_NS_PER_MS)));
    if (builder.bad)
        rc = -ENOMEM;
    else if (json_dumpf(root, stdout, 0) == 0)
        putchar('\n');
    json_decref(root);
    return rc;
}

/* The ports are printed when all of them are parked, so half a list is never taken for a whole. */
static int print_ports(const struct lease_config *config, struct tw_lease *leases, size_t count)
{
    bool park = !config->park.given || config->park.ns;
    struct tw_error error = {0};

    for (size_t i = 0; park && i < count; i++)
        if (tw_lease_park(&leases[i], &error))
            return complain(&error);
    if (config->json) {
        if (print_json(leases, count, park ? PARK_NS : 0)) {
            fprintf(stderr, "tidewait lease: no memory\n");
            return EXIT_OURS;
        }
    } else {
        for (size_t i = 0; i < count; i++)
            printf("%u\n", (unsigned)leases[i].port);
    }
    if (fflush(stdout) || ferror(stdout)) {
        fprintf(stderr, "tidewait lease: cannot write to standard output: %s\n", strerror(errno));
        return EXIT_PARTLY;
    }
    return EXIT_YES;
}

/* --- together ----------------------------------------------------------------------------------
 */

static int take(const struct lease_config *config, const struct lease_pool *pool, size_t count,
                struct tw_lease *leases, struct tw_error *error)
{
    uint64_t until = tw_clock_ns() + config->wait_ns;
    unsigned seed = (unsigned)getpid();
    int rc;

    for (;;) {
        *error = (struct tw_error){0};
        rc = tw_lease_take(&pool->ports, count, leases, error);
        if (rc != -EADDRINUSE || tw_clock_ns() >= until)
            return rc;
        poll(NULL, 0, LOOK_MS + rand_r(&seed) % LOOK_MS);
    }
}

static int lease_ports(const struct lease_config *config, const struct lease_pool *pool,
                       char *const argv[])
{
    struct tw_error error = {0};
    int highest = argv ? lease_highest(argv, &error) : 0, code;
    size_t count = config->count ? (size_t)config->count : highest > 0 ? (size_t)highest : 1;
    struct lease_job job = {.config = config, .pool = pool, .count = count, .argv = argv};
    struct tw_lease *leases;

    if (highest < 0)
        return complain(&error);
    if ((size_t)highest > count) {
        fprintf(stderr, "tidewait lease: the command names {port%d}, but --count is %zu\n", highest,
                count);
        return EXIT_USAGE;
    }
    if (count > tw_ports_count(&pool->ports)) {
        fprintf(stderr,
                "tidewait lease: %zu ports wanted of %zu that may be chosen; name more by "
                "--ports\n",
                count, tw_ports_count(&pool->ports));
        return EXIT_USAGE;
    }
    getrlimit(RLIMIT_NOFILE, &job.files);
    (void)tw_limits_raise_files();
    job.leases = leases = calloc(count, sizeof(*leases));
    if (!leases || take(config, pool, count, leases, &error)) {
        tw_error_set(&error, ENOMEM, "no memory for %zu leases", count);
        free(leases);
        return complain(&error);
    }
    code = argv ? lease_run(&job) : print_ports(config, leases, count);
    free(leases);
    return code;
}

static int run_lease(const void *argument, int operands, char **operand)
{
    const struct lease_config *config = argument;
    bool has_command = operands > 0 && strcmp(operand[0], "--") == 0;
    struct tw_error error = {0};
    struct lease_pool pool;
    int code;

    if (operands > 0 && !has_command) {
        tw_error_set(&error, EINVAL, "what is '%.60s'? A command is put behind --", operand[0]);
        return complain(&error);
    }
    if (has_command && operands == 1) {
        tw_error_set(&error, EINVAL, "there is no command behind --");
        return complain(&error);
    }
    if (has_command ? check_command(config, &error) : check_alone(config, &error))
        return complain(&error);
    code = enter_netns(config->netns, &error);
    if (code != EXIT_YES) {
        fprintf(stderr, "tidewait lease: %s\n", error.text);
        return code;
    }
    if (fill_pool(config, &pool, &error))
        return complain(&error);
    if (config->server)
        return lease_serve(config, &pool);
    return lease_ports(config, &pool, has_command ? operand + 1 : NULL);
}

const struct command command_lease = {
    .name = "lease",
    .operands = "[-- COMMAND [ARGUMENT...]]",
    .summary = "Reserve ports that nobody else takes, and run a command with them.",
    .details =
        "{port} in the arguments becomes the first port, {port2} the second, and so on; PORT and\n"
        "PORT1, PORT2.. in the environment are the same. Without a command the ports are printed,\n"
        "one a line: PORT=$(tidewait lease).\n"
        "Exit status: the command's own; 0 printed; 1 not enough ports are free; 2 bad input;\n"
        "3 not permitted; 126, 127 the command cannot be executed, or there is none.\n",
    .options = lease_options,
    .config_size = sizeof(struct lease_config),
    .keeps_dashes = true,
    .run = run_lease,
};
