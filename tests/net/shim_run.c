/*
 * Runs a command under the shim, in the place of `tidewait exec`: fills the shared file with simple
 * rules, starts the command, answers what the shims tell, and writes the counters.
 *
 *   shim_run [OPTIONS] SHIM.so COMMAND...
 *     -r FIRST-LAST  ports of the ring (ip_local_port_range)     -l N        lanes (64)
 *     -f ADDR        -n N  source addresses from ADDR on         -w MS       wait for ports and
 * addresses -L             ports of bind() to port 0 come late         -a          watch closes -P
 * PORT        listen on this port instead of 8080         -R          SO_REUSEPORT on it -o FILE
 * counters, a line each                       -e FILE     events, a line each The exit status is
 * the command's; 128 + N when signal N ended it.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "shared.h"

struct options {
    unsigned first, last, lanes, wait_ms, from_count, listen_port;
    const char *from, *counters, *events;
    bool late, closes, reuseport;
};

static const char *const counter_names[SHIM_COUNTERS] = {
    [SHIM_CONNECTS] = "connects",
    [SHIM_MANAGED] = "managed",
    [SHIM_PORT_TRIES] = "port_tries",
    [SHIM_TAKEN_OVER] = "taken_over",
    [SHIM_CONNECT_FAILED] = "connect_failed",
    [SHIM_BINDS] = "binds",
    [SHIM_BIND_RETRIES] = "bind_retries",
    [SHIM_BIND_FAILED] = "bind_failed",
    [SHIM_LISTENS] = "listens",
    [SHIM_CLOSED_BY_US] = "closed_by_us",
    [SHIM_CLOSED_BY_PEER] = "closed_by_peer",
    [SHIM_CLOSED_BEFORE] = "closed_before",
};

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "shim_run: %s: %s\n", what, strerror(errno));
    exit(125);
}

static unsigned number(const char *text)
{
    return (unsigned)strtoul(text, NULL, 10);
}

/* "FIRST-LAST", or with a blank between them. */
static bool parse_range(const char *text, unsigned *first, unsigned *last)
{
    char *rest;

    *first = (unsigned)strtoul(text, &rest, 10);
    *last = *rest ? number(rest + 1) : 0;
    return *first > 0 && *last >= *first;
}

static void read_range(unsigned *first, unsigned *last)
{
    FILE *file = fopen("/proc/sys/net/ipv4/ip_local_port_range", "re");
    char line[64];

    if (!file || !fgets(line, sizeof(line), file) || !parse_range(line, first, last))
        die("ip_local_port_range");
    fclose(file);
}

static void fill_rules(struct shim_shared *shared, const struct options *options)
{
    struct shim_rule *rule = shared->rules;
    struct in_addr from;

    if (options->listen_port) {
        *rule++ = (struct shim_rule){
            .direction = RULE_IN,
            .port_first = 8080,
            .port_last = 8080,
            .listen_port = (uint16_t)options->listen_port,
            .reuseport = options->reuseport,
        };
    }
    *rule = (struct shim_rule){
        .direction = RULE_OUT,
        .protocol = IPPROTO_TCP,
        .managed = true,
        .late = options->late,
        .wait_ns = options->wait_ms * 1000000ull,
    };
    if (options->from) {
        if (inet_pton(AF_INET, options->from, &from) != 1)
            die(options->from);
        rule->from_family = AF_INET;
        rule->from_count = options->from_count;
        memcpy(rule->from_first, &from, sizeof(from));
    }
    rule++;
    *rule++ = (struct shim_rule){
        .direction = RULE_IN, .reuseaddr = true, .wait_ns = options->wait_ms * 1000000ull};
    shared->rule_count = (uint32_t)(rule - shared->rules);
}

static void fill_ring(struct shim_shared *shared, const struct options *options)
{
    uint64_t seed = (uint64_t)getpid() * 0x9e3779b97f4a7c15u + 1;

    for (unsigned port = options->first; port <= options->last; port++)
        shared->ports[port - options->first] = (uint16_t)port;
    for (uint32_t i = shared->port_count - 1; i > 0; i--) {
        uint16_t port = shared->ports[i];
        uint32_t other;

        seed = seed * 6364136223846793005u + 1442695040888963407u;
        other = (uint32_t)(seed >> 33) % (i + 1);
        shared->ports[i] = shared->ports[other];
        shared->ports[other] = port;
    }
}

static struct shim_shared *make_shared(const struct options *options, const char *events)
{
    static char path[] = "/dev/shm/shim-run-XXXXXX";
    uint32_t ports = options->last - options->first + 1;
    size_t size = shim_size(options->lanes, ports);
    struct shim_shared *shared;
    unsigned first, last;
    struct timespec now;
    int fd = mkostemp(path, O_CLOEXEC);

    if (fd < 0 || ftruncate(fd, (off_t)size) || fchmod(fd, 0666))
        die(path);
    shared = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (shared == MAP_FAILED)
        die("mmap");
    close(fd);
    clock_gettime(CLOCK_MONOTONIC, &now);
    shared->version = SHIM_VERSION;
    shared->started_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    shared->interval_ns = 10000000000u;
    shared->watch_closes = options->closes;
    snprintf(shared->events, sizeof(shared->events), "%s", events);
    read_range(&first, &last);
    shared->kernel_first = (uint16_t)first;
    shared->kernel_last = (uint16_t)last;
    shared->lane_count = options->lanes;
    shared->port_count = ports;
    fill_rules(shared, options);
    fill_ring(shared, options);
    shared->magic = SHIM_MAGIC;
    setenv(SHIM_ENV, path, 1);
    return shared;
}

/* A datagram socket with a name of its own, which is written without the leading zero. */
static int open_events(char name[64])
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int len = snprintf(name, 64, "shim-run-%d", getpid());

    memcpy(address.sun_path + 1, name, (size_t)len);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address,
                       (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)len)))
        die("events");
    return fd;
}

static void print_address(FILE *out, const uint8_t bytes[28])
{
    union {
        struct sockaddr sa;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } address;
    char text[INET6_ADDRSTRLEN] = "-";

    memcpy(&address, bytes, sizeof(address));
    if (address.sa.sa_family == AF_INET)
        inet_ntop(AF_INET, &address.v4.sin_addr, text, sizeof(text));
    else if (address.sa.sa_family == AF_INET6)
        inet_ntop(AF_INET6, &address.v6.sin6_addr, text, sizeof(text));
    fprintf(out, " %s %d", text, ntohs(address.v4.sin_port));
}

static void answer(int fd, FILE *log)
{
    static const char *const calls[] = {"bind", "listen", "connect"};
    struct sockaddr_un from;
    socklen_t len = sizeof(from);
    struct shim_event event;

    if (recvfrom(fd, &event, sizeof(event), 0, (struct sockaddr *)&from, &len) != sizeof(event))
        return;
    if (log) {
        fprintf(log, "%s %s %s pid=%d", calls[event.call % 3], strerrorname_np(event.code),
                event.wait_ns ? "waits" : "refused", event.pid);
        print_address(log, event.local);
        print_address(log, event.remote);
        fputc('\n', log);
        fflush(log);
    }
    sendto(fd, "", 1, MSG_DONTWAIT, (struct sockaddr *)&from, len);
}

static int supervise(pid_t child, int events, int signals, FILE *log)
{
    struct pollfd polls[2] = {{events, POLLIN, 0}, {signals, POLLIN, 0}};
    struct signalfd_siginfo info;
    int status;

    for (;;) {
        poll(polls, 2, -1);
        if (polls[0].revents)
            answer(events, log);
        if (!polls[1].revents || read(signals, &info, sizeof(info)) != sizeof(info))
            continue;
        if (info.ssi_signo != SIGCHLD)
            kill(child, (int)info.ssi_signo);
        else if (waitpid(child, &status, WNOHANG) == child)
            return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
}

static void write_counters(const struct shim_shared *shared, const char *path)
{
    FILE *out = fopen(path, "we");

    if (!out)
        die(path);
    for (int i = 0; i < SHIM_COUNTERS; i++)
        fprintf(out, "%s %llu\n", counter_names[i], (unsigned long long)shared->counters[i]);
    fclose(out);
}

static int run(const struct options *options, char **arguments)
{
    const char *path;
    char name[64];
    int events = open_events(name), signals, status;
    struct shim_shared *shared = make_shared(options, name);
    FILE *log = options->events ? fopen(options->events, "we") : NULL;
    sigset_t set, old;
    pid_t child;

    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, &old);
    signals = signalfd(-1, &set, SFD_CLOEXEC);
    child = fork();
    if (child == 0) {
        sigprocmask(SIG_SETMASK, &old, NULL);
        setenv("LD_PRELOAD", arguments[0], 1);
        execvp(arguments[1], arguments + 1);
        die(arguments[1]);
    }
    status = supervise(child, events, signals, log);
    path = getenv(SHIM_ENV);
    if (path)
        unlink(path);
    if (options->counters)
        write_counters(shared, options->counters);
    return status;
}

int main(int argc, char **argv)
{
    struct options options = {.lanes = 64, .from_count = 1};
    int option;

    read_range(&options.first, &options.last);
    while ((option = getopt(argc, argv, "+r:l:f:n:w:P:o:e:LaR")) != -1) {
        if (option == 'r' && !parse_range(optarg, &options.first, &options.last))
            return 2;
        options.lanes = option == 'l' ? number(optarg) : options.lanes;
        options.from = option == 'f' ? optarg : options.from;
        options.from_count = option == 'n' ? number(optarg) : options.from_count;
        options.wait_ms = option == 'w' ? number(optarg) : options.wait_ms;
        options.listen_port = option == 'P' ? number(optarg) : options.listen_port;
        options.counters = option == 'o' ? optarg : options.counters;
        options.events = option == 'e' ? optarg : options.events;
        options.late |= option == 'L';
        options.closes |= option == 'a';
        options.reuseport |= option == 'R';
        if (option == '?')
            return 2;
    }
    if (argc - optind < 2)
        return 2;
    return run(&options, argv + optind);
}
