#include "load_setup.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

#include "common.h"
#include "tidewait/interface.h"
#include "tidewait/verdict.h"

/* Connections in flight of a closed loop, unless --connections says. */
#define CONNECTIONS_DEFAULT 64

/* More lanes than this would take gigabytes of ledger. */
#define LANES_MAX 4000000

/* --- robots -------------------------------------------------------------------------------- */

static int add_robot(struct robots *robots, const struct tw_endpoint *address,
                     struct tw_error *error)
{
    if ((robots->count & (robots->count - 1)) == 0) {
        size_t room = robots->count ? robots->count * 2 : 1;
        struct tw_endpoint *addresses = reallocarray(robots->addresses, room, sizeof(*addresses));

        if (!addresses)
            return tw_error_set(error, ENOMEM, "no memory for %zu source addresses", room);
        robots->addresses = addresses;
    }
    robots->addresses[robots->count++] = *address;
    return 0;
}

/* One --from: an address, a range, a network, or the name of an interface. */
static int add_from(struct robots *robots, const char *from, struct tw_error *error)
{
    struct tw_address_range range;
    struct tw_error not_a_range = {0};
    struct tw_endpoint *addresses = NULL;
    int count, rc = 0;

    if (tw_address_range_parse(tw_view_of(from), &range, &not_a_range) == 0) {
        for (uint32_t i = 0; i < range.count && rc == 0; i++) {
            struct tw_endpoint address = tw_address_range_at(&range, i);

            rc = add_robot(robots, &address, error);
        }
        return rc;
    }
    count = tw_interface_addresses(from, &addresses, NULL);
    if (count == -ENODEV)
        return tw_error_set(error, EINVAL, "--from: %s, nor is there such an interface",
                            not_a_range.text);
    if (count <= 0)
        return tw_error_set(error, EINVAL, "--from: interface '%s' has no address", from);
    for (int i = 0; i < count && rc == 0; i++)
        rc = add_robot(robots, &addresses[i], error);
    free(addresses);
    return rc;
}

static int compare_addresses(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct tw_endpoint));
}

static int refuse_doubles(const struct robots *robots, struct tw_error *error)
{
    struct tw_endpoint *sorted = calloc(robots->count + 1, sizeof(*sorted));
    char text[TW_ENDPOINT_TEXT_MAX];
    int rc = 0;

    if (!sorted)
        return tw_error_set(error, ENOMEM, "no memory");
    if (robots->count) /* memcpy() must not be given NULL, not even for nothing */
        memcpy(sorted, robots->addresses, robots->count * sizeof(*sorted));
    qsort(sorted, robots->count, sizeof(*sorted), compare_addresses);
    for (size_t i = 1; i < robots->count && rc == 0; i++)
        if (compare_addresses(&sorted[i - 1], &sorted[i]) == 0)
            rc = tw_error_set(error, EINVAL, "--from names %s twice",
                              tw_endpoint_format(&sorted[i], text));
    free(sorted);
    return rc;
}

/* Whether a socket can be bound to the address: it is on this host. */
static bool can_bind(const struct tw_endpoint *address)
{
    int fd = socket(address->sa.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool bound = fd >= 0 && bind(fd, &address->sa, tw_endpoint_len(address)) == 0;

    if (fd >= 0)
        close(fd);
    return bound;
}

static void explain_source(const struct tw_endpoint *address, struct tw_error *error)
{
    struct tw_question question = {.op = TW_OP_BIND, .protocol = IPPROTO_TCP, .local = *address};
    struct tw_verdict *verdict = tw_verdict_new(&question, NULL);
    char text[TW_ENDPOINT_TEXT_MAX];

    tw_error_set(error, EADDRNOTAVAIL,
                 "no source address %s: %s Give --add-addresses IFACE to add it for the run, or "
                 "--free-bind where no interface needs to have it",
                 tw_endpoint_format(address, text),
                 verdict && verdict->code ? verdict->summary : "bind() refuses it.");
    tw_verdict_free(verdict);
}

/* Every robot must have its address: it is there, or it is added, or IP_FREEBIND is asked for. */
static int find_addresses(const struct load_config *config, struct robots *robots,
                          struct tw_error *error)
{
    for (size_t i = 0; i < robots->count && !config->free_bind && !config->dry_run; i++) {
        if (can_bind(&robots->addresses[i]))
            continue;
        if (!config->add_addresses) {
            explain_source(&robots->addresses[i], error);
            return EXIT_NO;
        }
        if (tw_interface_add(config->add_addresses, &robots->addresses[i], error))
            return error->code == EPERM ? EXIT_DENIED : EXIT_NO;
        robots->added[i] = true;
    }
    return EXIT_YES;
}

int load_robots(const struct load_config *config, struct robots *out, struct tw_error *error)
{
    *out = (struct robots){.interface = config->add_addresses};
    if (config->from.count == 0 && (config->add_addresses || config->free_bind)) {
        tw_error_set(error, EINVAL, "--%s needs --from to say which addresses",
                     config->free_bind ? "free-bind" : "add-addresses");
        return EXIT_USAGE;
    }
    for (size_t i = 0; i < config->from.count; i++)
        if (add_from(out, config->from.items[i], error))
            return EXIT_USAGE;
    if (refuse_doubles(out, error))
        return EXIT_USAGE;
    out->added = calloc(out->count + 1, sizeof(*out->added));
    if (!out->added) {
        tw_error_set(error, ENOMEM, "no memory");
        return EXIT_OURS;
    }
    return find_addresses(config, out, error);
}

void load_robots_fini(struct robots *robots)
{
    for (size_t i = 0; robots->added && i < robots->count; i++)
        if (robots->added[i])
            tw_interface_remove(robots->interface, &robots->addresses[i], NULL);
    free(robots->addresses);
    free(robots->added);
}

/* --- the workload -------------------------------------------------------------------------- */

/* FROM..TO/TIME, as in 100/s..5000/s/30s or 100..5000/30s. */
static int parse_ramp(const char *text, struct workload *out, struct tw_error *error)
{
    const char *dots = strstr(text, ".."), *slash = strrchr(text, '/');
    const char *parts[2] = {text, dots ? dots + 2 : NULL};
    struct tw_error inner = {0};
    size_t lens[2];
    double rates[2];

    if (!dots || !slash || slash < dots)
        return tw_error_set(error, EINVAL,
                            "--ramp '%s' is not FROM..TO/TIME, such as 100/s..5000/s/30s", text);
    lens[0] = (size_t)(dots - text);
    lens[1] = (size_t)(slash - parts[1]);
    for (int i = 0; i < 2; i++) {
        char rate[64];
        bool bare = !memchr(parts[i], '/', lens[i]);

        snprintf(rate, sizeof(rate), "%.*s%s", (int)lens[i], parts[i], bare ? "/s" : "");
        if (i == 0 && (strcmp(rate, "0/s") == 0)) {
            rates[0] = 0;
            continue;
        }
        if (tw_parse_rate(tw_view_of(rate), &rates[i], &inner))
            return tw_error_set(error, EINVAL, "--ramp '%s': %s", text, inner.text);
    }
    if (tw_parse_duration(tw_view_of(slash + 1), &out->ramp_ns, &inner))
        return tw_error_set(error, EINVAL, "--ramp '%s': %s", text, inner.text);
    if (out->ramp_ns == 0)
        return tw_error_set(error, EINVAL, "--ramp '%s' has no time", text);
    out->ramp_from_per_s = rates[0];
    out->rate_per_s = rates[1];
    return 0;
}

/* \r \n \t \0 \\ \xHH; in place. Returns the length. */
static int unescape(char *text, size_t *len, const char *option, struct tw_error *error)
{
    size_t to = 0;

    for (size_t from = 0; from < *len; from++) {
        static const char from_letters[] = "rnt0\\", to_bytes[] = "\r\n\t\0\\";
        const char *known;
        char hex[3] = {0}, *end;

        if (text[from] != '\\') {
            text[to++] = text[from];
            continue;
        }
        from++;
        known = from < *len && text[from] ? strchr(from_letters, text[from]) : NULL;
        if (known) {
            text[to++] = to_bytes[known - from_letters];
        } else if (from + 2 < *len && text[from] == 'x') {
            memcpy(hex, text + from + 1, 2);
            text[to++] = (char)strtol(hex, &end, 16);
            if (*end)
                return tw_error_set(error, EINVAL, "--%s: '\\x%s' is not a byte", option, hex);
            from += 2;
        } else {
            return tw_error_set(error, EINVAL,
                                "--%s: '\\%c' is not known; \\r \\n \\t \\0 \\\\ \\xHH are", option,
                                from < *len ? text[from] : ' ');
        }
    }
    *len = to;
    return 0;
}

/* The bytes of --send or --expect: the text itself, or @FILE. */
static int read_bytes(const char *option, const char *text, char **out, size_t *len,
                      struct tw_error *error)
{
    struct tw_error inner = {0};

    *out = NULL;
    *len = 0;
    if (!text)
        return 0;
    if (text[0] == '@') {
        *out = read_file(text + 1, len, &inner);
        /* A file that cannot be read is bad input, whatever the reason. */
        return *out ? 0 : tw_error_set(error, EINVAL, "--%s: %s", option, inner.text);
    }
    *out = strdup(text);
    if (!*out)
        return tw_error_set(error, ENOMEM, "no memory");
    *len = strlen(text);
    return unescape(*out, len, option, error);
}

static int refuse(struct tw_error *error, const char *one, const char *other)
{
    return tw_error_set(error, EINVAL, "%s and %s exclude each other", one, other);
}

static bool is_kernel(const char *ports)
{
    return ports && strcmp(ports, "kernel") == 0;
}

/* Options that contradict each other. */
static int check_config(const struct load_config *config, struct tw_error *error)
{
    if (config->ramp && config->rate_per_s > 0)
        return refuse(error, "--ramp", "--rate (the ramp says its own rates)");
    if (config->ramp && config->peak)
        return refuse(error, "--ramp", "--peak");
    if (config->peak && config->count)
        return refuse(error, "--peak", "--count");
    if (config->only_v4 && config->only_v6)
        return refuse(error, "-4", "-6");
    if (config->add_addresses && config->free_bind)
        return refuse(error, "--add-addresses", "--free-bind");
    if (config->quiet && config->verbose)
        return refuse(error, "--quiet", "--verbose");
    if (is_kernel(config->ports) && config->spread)
        return refuse(error, "--ports kernel", "--spread (connect() knows no ring)");
    if (config->arrivals && !config->ramp && !config->peak && config->rate_per_s == 0)
        return tw_error_set(error, EINVAL, "--arrivals poisson needs a --rate");
    if (config->timeout_ns == 0)
        return tw_error_set(error, EINVAL, "--timeout must be more than 0");
    return 0;
}

static int parse_distributions(const struct load_config *config, struct workload *out,
                               struct tw_error *error)
{
    struct tw_error inner = {0};

    if (distribution_parse(tw_view_of(config->requests), DISTRIBUTION_NUMBER, &out->requests,
                           &inner))
        return tw_error_set(error, EINVAL, "--requests: %s", inner.text);
    if (distribution_is_zero(&out->requests))
        return tw_error_set(error, EINVAL, "--requests must be at least 1");
    if (distribution_parse(tw_view_of(config->think), DISTRIBUTION_TIME_NS, &out->think, &inner))
        return tw_error_set(error, EINVAL, "--think: %s", inner.text);
    return 0;
}

/* Loops, rates, times and threads. */
static int set_shape(const struct load_config *config, struct workload *out, struct tw_error *error)
{
    int64_t files = out->limits.files_hard - WORKLOAD_FILES_SPARE;
    uint64_t threads = config->threads ? config->threads : usable_cores();

    out->closing = (enum closing)config->closing;
    out->rate_per_s = config->rate_per_s;
    out->poisson = config->arrivals == 1;
    out->peak = config->peak;
    if (config->ramp && parse_ramp(config->ramp, out, error))
        return -EINVAL;
    if (out->peak && out->rate_per_s == 0)
        out->rate_per_s = 1000;
    out->connections = config->connections;
    if (!out->connections)
        out->connections = out->rate_per_s == 0 ? CONNECTIONS_DEFAULT
                           : files > 100        ? (uint64_t)(files < 100000 ? files : 100000)
                                                : 100;
    out->abort_share = config->abort_share;
    out->count = config->count;
    out->warmup_ns = config->warmup_ns;
    out->timeout_ns = config->timeout_ns;
    out->duration_ns = config->duration_ns;
    if (!out->duration_ns && !out->count && !out->peak)
        out->duration_ns = 10 * 1000000000ULL + out->ramp_ns;
    out->threads = (uint32_t)(threads < out->connections ? threads : out->connections);
    out->spread = config->spread;
    out->free_bind = config->free_bind;
    out->seed = config->seed;
    if (!out->seed && getrandom(&out->seed, sizeof(out->seed), 0) < 0)
        out->seed = 1;
    out->seed &= INT64_MAX; /* JSON integers are signed */
    return parse_distributions(config, out, error);
}

static int set_ports(const struct load_config *config, struct workload *out, struct tw_ports *ports,
                     struct tw_error *error)
{
    struct tw_error inner = {0};

    *ports = (struct tw_ports){0};
    out->kernel_ports = is_kernel(config->ports);
    if (!config->ports || out->kernel_ports) {
        tw_limits_ephemeral(&out->limits, ports);
        return 0;
    }
    if (tw_ports_parse(tw_view_of(config->ports), ports, &inner))
        return tw_error_set(error, EINVAL, "--ports: %s (or give kernel)", inner.text);
    return 0;
}

static int add_targets(const struct load_config *config, char **urls, int url_count,
                       struct workload *out, struct tw_error *error)
{
    int family = config->only_v4 ? AF_INET : config->only_v6 ? AF_INET6 : AF_UNSPEC;
    bool tcp = false;

    if (url_count == 0)
        return tw_error_set(error, EINVAL,
                            "a URL is missing: http://host:port/path or tcp://host:port");
    for (int i = 0; i < url_count; i++) {
        if (workload_add_target(out, urls[i], family, error))
            return -EINVAL;
        tcp |= out->targets[i].protocol == PROTOCOL_TCP;
    }
    if ((config->send || config->expect) && !tcp)
        return tw_error_set(error, EINVAL, "--send and --expect are for tcp:// targets");
    if (tcp && !config->expect && strcmp(config->requests, "1") != 0)
        return tw_error_set(error, EINVAL,
                            "--requests %s: without --expect nobody knows where a tcp reply ends",
                            config->requests);
    return 0;
}

int load_workload(const struct load_config *config, char **urls, int url_count,
                  const struct robots *robots, struct workload *out, struct tw_error *error)
{
    struct tw_ports ports;
    char *send = NULL;
    size_t send_len = 0;
    int rc;

    *out = (struct workload){0};
    tw_limits_read(&out->limits);
    /* Unknown counts as on: the first refusals teach the ledger. */
    out->takeover = out->limits.timestamps != 0;
    rc = check_config(config, error);
    if (rc == 0)
        rc = set_shape(config, out, error);
    if (rc == 0)
        rc = set_ports(config, out, &ports, error);
    out->takeover &= !out->kernel_ports;
    if (rc == 0)
        rc = add_targets(config, urls, url_count, out, error);
    if (rc == 0 && robots->count * out->target_count > LANES_MAX)
        rc = tw_error_set(error, EINVAL, "%zu sources x %zu targets are more than %d lanes",
                          robots->count, out->target_count, LANES_MAX);
    if (rc == 0)
        rc = read_bytes("send", config->send, &send, &send_len, error);
    if (rc == 0)
        rc = read_bytes("expect", config->expect, &out->expect, &out->expect_len, error);
    if (rc == 0)
        rc = workload_prepare(out, robots->addresses, robots->count, &ports, send, send_len, error);
    if (rc == 0 && !out->kernel_ports && out->threads > out->port_count)
        out->threads = out->port_count;
    free(send);
    return rc == 0 ? EXIT_YES : rc == -EINVAL || rc == -ERANGE ? EXIT_USAGE : EXIT_NO;
}
