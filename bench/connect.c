/*
 * What connect() costs with a source port from the ledger, beside the kernel's own choice, by how
 * full the way to one destination already is. Each of the two gets a network namespace of its own,
 * fills it in its own way with established connections over loopback, and times at each fill the
 * median of SAMPLES times socket(), choosing and binding a port where that is ours to do, and a
 * blocking connect(). A timed connection is reset at once, so that the fill stays what it is.
 *
 * The range of ports is narrowed inside the namespace to what the limit of descriptors allows: both
 * ends of every connection are ours. All of it goes away with the process.
 */
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tidewait/clock.h"
#include "tidewait/ledger.h"
#include "tidewait/limits.h"
#include "tidewait/socket.h"

enum {
    PORTS_MAX = 8000,
    PORT_FIRST = 32768,
    PORT_TO = 9000, /* outside of the range */
    SAMPLES = 400,
    SPARE_FILES = 64,
    EXIT_SKIPPED = 77,
};

static const double fills[] = {0, 0.5, 0.9, 0.99, 0.999};
enum { FILLS = sizeof(fills) / sizeof(fills[0]) };

struct scene {
    bool ours; /* who chooses the port */
    uint32_t port_count;
    uint16_t ports[PORTS_MAX];
    struct tw_ledger *ledger;
    struct tw_endpoint to;
    int listener;
};

struct connection {
    int client, server;
    struct tw_tuple tuple; /* when the choice is ours */
};

static void die(const char *what)
{
    fprintf(stderr, "bench connect: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static struct tw_endpoint loopback(uint16_t port)
{
    struct tw_endpoint endpoint = {.v4 = {.sin_family = AF_INET}};

    endpoint.v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    tw_endpoint_set_port(&endpoint, port);
    return endpoint;
}

static void write_range(uint32_t count)
{
    FILE *file = fopen("/proc/sys/net/ipv4/ip_local_port_range", "we");

    if (!file || fprintf(file, "%d %u\n", PORT_FIRST, PORT_FIRST + count - 1) < 0 || fclose(file))
        die("cannot narrow ip_local_port_range");
}

/* A network of our own with lo up; without the right to one the benchmark is skipped. */
static void enter_network(void)
{
    struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP};
    int fd;

    if (unshare(CLONE_NEWNET) && unshare(CLONE_NEWUSER | CLONE_NEWNET)) {
        printf("skipped: no network namespace of our own: %s\n", strerror(errno));
        fflush(stdout);
        _exit(EXIT_SKIPPED);
    }
    fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &request))
        die("cannot bring lo up");
    close(fd);
}

static int open_kernels(const struct scene *scene)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || connect(fd, &scene->to.sa, tw_endpoint_len(&scene->to)))
        die("the kernel's choice");
    return fd;
}

/* tw_source_open() makes a non-blocking socket; one call more makes connect() wait. */
static int open_ours(const struct scene *scene, struct tw_tuple *tuple)
{
    static const struct tw_source_opts opts = {0};
    struct tw_endpoint local;
    uint64_t until_ns;
    int fd;

    if ((errno = -tw_ledger_take(scene->ledger, 0, tw_clock_ns(), tuple, &until_ns)))
        die("the ledger's choice");
    local = loopback(tuple->port);
    fd = tw_source_open(&local, &opts);
    if (fd < 0) {
        errno = -fd;
        die("bind");
    }
    if (fcntl(fd, F_SETFL, 0) || connect(fd, &scene->to.sa, tw_endpoint_len(&scene->to)))
        die("connect to our choice");
    return fd;
}

/* Returns what it took, in microseconds. */
static double open_one(const struct scene *scene, struct connection *out)
{
    uint64_t begin_ns = tw_clock_ns(), end_ns;

    out->client = scene->ours ? open_ours(scene, &out->tuple) : open_kernels(scene);
    end_ns = tw_clock_ns();
    out->server = accept4(scene->listener, NULL, NULL, SOCK_CLOEXEC);
    if (out->server < 0)
        die("accept");
    return (double)(end_ns - begin_ns) / TW_NS_PER_US;
}

static double median_at(const struct scene *scene)
{
    static double samples[SAMPLES];

    for (int i = 0; i < SAMPLES; i++) {
        struct connection connection;

        samples[i] = open_one(scene, &connection);
        tw_close_reset(connection.client);
        close(connection.server);
        if (scene->ours)
            tw_ledger_give(scene->ledger, &connection.tuple, TW_OUTCOME_RESET, tw_clock_ns());
    }
    qsort(samples, SAMPLES, sizeof(samples[0]), compare);
    return samples[SAMPLES / 2];
}

/* The same work for both; a child of its own, since a namespace cannot be left again. */
static void run(struct scene *scene, double medians[FILLS])
{
    struct tw_ledger_opts opts = {.size = sizeof(opts),
                                  .ports = scene->ports,
                                  .port_count = scene->port_count,
                                  .lanes = 1,
                                  .time_wait_ns = TW_TIME_WAIT_NS,
                                  .takeover = true,
                                  .seed = 1};
    struct tw_error error = {0};
    uint32_t open_count = 0;

    enter_network();
    write_range(scene->port_count);
    for (uint32_t i = 0; i < scene->port_count; i++)
        scene->ports[i] = (uint16_t)(PORT_FIRST + i);
    scene->ledger = tw_ledger_new(&opts, &error);
    scene->to = loopback(PORT_TO);
    scene->listener = tw_listen(&scene->to, &(struct tw_listen_opts){0}, &error);
    if (!scene->ledger || scene->listener < 0) {
        fprintf(stderr, "bench connect: %s\n", error.text);
        exit(1);
    }
    for (int i = 0; i < FILLS; i++) {
        struct connection kept;

        while (open_count < (uint32_t)(fills[i] * scene->port_count)) {
            open_one(scene, &kept);
            open_count++;
        }
        medians[i] = median_at(scene);
    }
    tw_ledger_free(scene->ledger);
}

static int run_child(bool ours, uint32_t port_count, double *medians)
{
    static struct scene scene;
    int status;
    pid_t pid = fork();

    if (pid < 0)
        die("fork");
    if (pid == 0) {
        scene.ours = ours;
        scene.port_count = port_count;
        run(&scene, medians);
        _exit(0);
    }
    if (waitpid(pid, &status, 0) != pid)
        die("waitpid");
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

int main(void)
{
    int64_t files = tw_limits_raise_files();
    uint32_t port_count = PORTS_MAX;
    double(*medians)[FILLS] =
        mmap(NULL, 2 * sizeof(*medians), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (medians == MAP_FAILED)
        die("mmap");
    if (files != TW_LIMIT_UNKNOWN && files < 2 * PORTS_MAX + SPARE_FILES)
        port_count = files > 2 * 1000 + SPARE_FILES ? (uint32_t)(files - SPARE_FILES) / 2 : 1000;
    for (int ours = 0; ours < 2; ours++) {
        int rc = run_child(ours, port_count, medians[ours]);

        if (rc)
            return rc;
    }
    printf("%u ports to one destination, median of %d connects in microseconds\n", port_count,
           SAMPLES);
    printf("%9s %10s %16s %16s %16s\n", "full", "free ports", "kernel's choice", "ledger's choice",
           "kernel / ledger");
    for (int i = 0; i < FILLS; i++)
        printf("%7.1f %% %10u %16.1f %16.1f %16.2f\n", fills[i] * 100,
               port_count - (uint32_t)(fills[i] * port_count), medians[0][i], medians[1][i],
               medians[0][i] / medians[1][i]);
    return 0;
}
