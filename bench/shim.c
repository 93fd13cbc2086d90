/*
 * What the shim costs per connect() and per close(), over loopback in a network of its own. Each
 * sample is a pair: once through the shim, once through the C library, in turn; medians, and the
 * median of the differences. What the system calls that the shim adds
 * cost by themselves is shown first. argv: the shim.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "options.h"
#include "probe.h"
#include "shared.h"

enum { SAMPLES = 3000, PORTS = 8192, TAKEOVER_FIRST = 10000, EXIT_SKIPPED = 77 };

struct calls {
    int (*connect)(int, const struct sockaddr *, socklen_t);
    int (*close)(int);
};

struct samples {
    double connect[SAMPLES], close[SAMPLES];
};

static struct sockaddr_in to;
static int listener;

static void die(const char *what)
{
    fprintf(stderr, "bench shim: %s: %s\n", what, strerror(errno));
    exit(1);
}

static double now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double median(const double *values)
{
    double sorted[SAMPLES];

    memcpy(sorted, values, sizeof(sorted));
    qsort(sorted, SAMPLES, sizeof(*sorted), compare);
    return sorted[SAMPLES / 2];
}

static double median_difference(const double *with, const double *without)
{
    double differences[SAMPLES];

    for (int i = 0; i < SAMPLES; i++)
        differences[i] = with[i] - without[i];
    return median(differences);
}

static void enter_network(void)
{
    struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP};
    int fd;

    if (unshare(CLONE_NEWNET) && unshare(CLONE_NEWUSER | CLONE_NEWNET)) {
        printf("skipped: no network namespace of our own: %s\n", strerror(errno));
        exit(EXIT_SKIPPED);
    }
    fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &request))
        die("cannot bring lo up");
    close(fd);
    /* Small machines keep fewer TIME_WAITs than are made here. */
    fd = open("/proc/sys/net/ipv4/tcp_max_tw_buckets", O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, "200000", 6) != 6)
        die("tcp_max_tw_buckets");
    close(fd);
}

static void listen_here(void)
{
    int one = 1;

    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    to.sin_family = AF_INET;
    to.sin_port = htons(9000);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(listener, (const struct sockaddr *)&to, sizeof(to)) || listen(listener, 16))
        die("listen");
}

static struct shim_shared *make_shared(void)
{
    static char path[] = "/dev/shm/bench-shim-XXXXXX";
    size_t size = shim_size(16, PORTS);
    int fd = mkstemp(path);
    struct shim_shared *shared;

    if (fd < 0 || ftruncate(fd, (off_t)size))
        die(path);
    shared = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (shared == MAP_FAILED)
        die("mmap");
    close(fd);
    shared->magic = SHIM_MAGIC;
    shared->version = SHIM_VERSION;
    shared->kernel_first = 32768;
    shared->kernel_last = 60999;
    shared->rule_count = 1;
    shared->rules[0] = (struct shim_rule){.direction = RULE_OUT, .managed = true};
    shared->lane_count = 16;
    shared->port_count = PORTS;
    setenv(SHIM_ENV, path, 1);
    return shared;
}

/* Each port of the ring once: the fresh ones of the kernel's range, or those that are in TIME_WAIT.
 */
static void set_ring(struct shim_shared *shared, unsigned first)
{
    for (unsigned i = 0; i < PORTS; i++)
        shared->ports[i] = (uint16_t)(first + i);
}

/* The client closes first, so that its port stays in TIME_WAIT. */
static void sample(const struct calls *calls, double *connect_ns, double *close_ns)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), other;
    double begin = now_ns(), middle;
    char byte;

    if (calls->connect(fd, (const struct sockaddr *)&to, sizeof(to)))
        die("connect");
    *connect_ns = now_ns() - begin;
    other = accept(listener, NULL, NULL);
    middle = now_ns();
    if (calls->close(fd))
        die("close");
    *close_ns = now_ns() - middle;
    if (other < 0 || read(other, &byte, 1) != 0)
        die("accept");
    close(other);
}

static void measure(const char *name, const struct calls *shim, const struct calls *plain)
{
    static struct samples with, without;

    for (int i = 0; i < SAMPLES; i++) {
        sample(shim, &with.connect[i], &with.close[i]);
        sample(plain, &without.connect[i], &without.close[i]);
    }
    printf(
        "%-26s connect %6.0f ns, %6.0f without: %+6.0f   close %5.0f ns, %5.0f without: %+5.0f\n",
        name, median(with.connect), median(without.connect),
        median_difference(with.connect, without.connect), median(with.close), median(without.close),
        median_difference(with.close, without.close));
}

/* What connect() adds in system calls, bare: this is to be taken off. */
static void measure_system_calls(const char *name, bool takeover)
{
    static double samples[SAMPLES];
    struct sockaddr_in source = {.sin_family = AF_INET};
    struct endpoint from, there;
    int value;

    for (int i = 0; i < SAMPLES; i++) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
        unsigned range = 40000u << 16 | 40000;
        struct sockaddr_in local;
        socklen_t len = sizeof(value), local_len = sizeof(local);
        double begin;

        source.sin_port = htons((uint16_t)(TAKEOVER_FIRST + i));
        source.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        endpoint_read(&from, (const struct sockaddr *)&source, sizeof(source));
        endpoint_read(&there, (const struct sockaddr *)&to, sizeof(to));
        source.sin_addr.s_addr = htonl(INADDR_ANY);
        begin = now_ns();
        getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &value, &len);
        getsockname(fd, (struct sockaddr *)&local, &local_len);
        getsockopt(fd, IPPROTO_IP, IP_LOCAL_PORT_RANGE, &value, &len);
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
        if (takeover) {
            getsockopt(fd, SOL_SOCKET, SO_BINDTOIFINDEX, &value, &len);
            probe_tuple(&from, &there, 0, false);
            (void)!bind(fd, (const struct sockaddr *)&source, sizeof(source));
        } else {
            setsockopt(fd, IPPROTO_IP, IP_LOCAL_PORT_RANGE, &range, sizeof(range));
        }
        samples[i] = now_ns() - begin;
        close(fd);
    }
    printf("%-26s %6.0f ns\n", name, median(samples));
}

int main(int argc, char **argv)
{
    static const struct calls plain = {connect, close};
    const char *path;
    struct shim_shared *shared;
    struct calls shim;
    void *handle;

    if (argc != 2)
        return 2;
    enter_network();
    listen_here();
    shared = make_shared();
    set_ring(shared, 33000);
    handle = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    if (!handle)
        die(dlerror());
    path = getenv(SHIM_ENV);
    if (path)
        unlink(path);
    shim.connect = (int (*)(int, const struct sockaddr *, socklen_t))dlsym(handle, "connect");
    shim.close = (int (*)(int))dlsym(handle, "close");
    measure_system_calls("its five calls, bare", false);
    measure("plain twice", &plain, &plain);
    measure("a port not used yet", &shim, &plain);
    shared->rules[0].managed = false;
    measure("ports not managed", &shim, &plain);
    shared->rules[0].leave = true;
    measure("left alone", &shim, &plain);
    shared->watch_closes = true;
    measure("closes watched", &shim, &plain);
    shared->watch_closes = false;
    shared->rules[0].leave = false;
    shared->rules[0].managed = true;
    /* Ports that the plain client does not get: its TIME_WAITs, which have no SO_REUSEADDR, would
     * be in the way of every second one. First all are used; from then on each is in TIME_WAIT. */
    set_ring(shared, TAKEOVER_FIRST);
    for (int i = 0; shared->counters[SHIM_TAKEN_OVER] == 0; i++) {
        double unused;

        if (i == 4 * PORTS) {
            printf("no TIME_WAIT was taken over: tries %llu managed %llu\n",
                   (unsigned long long)shared->counters[SHIM_PORT_TRIES],
                   (unsigned long long)shared->counters[SHIM_MANAGED]);
            return 1;
        }

        sample(&shim, &unused, &unused);
    }
    measure("TIME_WAIT taken over", &shim, &plain);
    measure_system_calls("its nine calls, bare", true);
    return 0;
}
