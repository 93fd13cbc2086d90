/*
 * Fills this network namespace for bench/diagnosis.py; nothing is told of how long that takes.
 *
 * crowd people PROCESSES DESCRIPTORS ESTABLISHED BUSY QUIET
 *   So many processes with so many open descriptors in all, among them both ends of connections to
 *   port BUSY: ESTABLISHED sockets in all. Port BUSY and port QUIET listen. Says "ready" and stays
 *   until SIGTERM.
 * crowd time-wait server|client COUNT PORT FIRST
 *   So many connections to PORT, closed by that end, which keeps TIME_WAIT. Their sources are the
 *   ports of the ephemeral range on 127.0.0.1, then on 127.2.0.FIRST and so on.
 *
 * Either ends with the process that started it, however that ends.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define LOOPBACK(b, c, d) (127u << 24 | (b) << 16 | (c) << 8 | (d))

static void die(const char *what)
{
    fprintf(stderr, "crowd: %s: %s\n", what, strerror(errno));
    _exit(1);
}

static void end_with(pid_t parent)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) || getppid() != parent)
        _exit(1);
}

/* With SO_REUSEADDR everywhere no socket here is in another's way, but only the asker's. */
static int bound_socket(uint32_t address, unsigned port)
{
    struct sockaddr_in local = {.sin_family = AF_INET,
                                .sin_port = htons((uint16_t)port),
                                .sin_addr.s_addr = htonl(address)};
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;

    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)))
        die("socket");
    if ((address || port) && bind(fd, (struct sockaddr *)&local, sizeof(local)))
        die("bind");
    return fd;
}

static int listener(uint32_t address, unsigned port)
{
    int fd = bound_socket(address, port);

    if (listen(fd, 64))
        die("listen");
    return fd;
}

/* Connects a socket to a listener of this process and returns the other end. */
static int connect_to(int client, int server, uint32_t address, unsigned port)
{
    struct sockaddr_in remote = {.sin_family = AF_INET,
                                 .sin_port = htons((uint16_t)port),
                                 .sin_addr.s_addr = htonl(address)};
    int accepted;

    if (connect(client, (struct sockaddr *)&remote, sizeof(remote)))
        die("connect");
    if ((accepted = accept(server, NULL, NULL)) < 0)
        die("accept");
    return accepted;
}

/* --- people ----------------------------------------------------------------------------------- */

struct people {
    unsigned processes, descriptors, established, busy, quiet;
};

/* Share `at` of a whole that is dealt out evenly. */
static unsigned share(unsigned whole, unsigned at, unsigned shares)
{
    return (unsigned)((uint64_t)whole * (at + 1) / shares - (uint64_t)whole * at / shares);
}

static void be_one(const struct people *people, unsigned at, int ready)
{
    uint32_t address = LOOPBACK(1u, at / 250, at % 250 + 1);
    unsigned pairs = share(people->established / 2, at, people->processes);
    unsigned descriptors = share(people->descriptors, at, people->processes);
    unsigned open_now = 3 + 2 * pairs; /* with standard input, output and error */
    int server = listener(address, people->busy);

    for (unsigned i = 0; i < pairs; i++)
        connect_to(bound_socket(0, 0), server, address, people->busy);
    close(server);
    for (; open_now < descriptors; open_now++)
        if (open("/dev/null", O_RDONLY) < 0)
            die("/dev/null");
    if (write(ready, "", 1) != 1)
        die("pipe");
    close(ready);
    for (;;)
        pause();
}

/* Stays until a signal, and leaves no zombies to a process 1 that may not be made for them. */
static void wait_for_end(const pid_t *children, unsigned count)
{
    sigset_t end;
    int signal;

    sigemptyset(&end);
    sigaddset(&end, SIGTERM);
    sigaddset(&end, SIGINT);
    sigprocmask(SIG_BLOCK, &end, NULL);
    puts("ready");
    fflush(stdout);
    sigwait(&end, &signal);
    for (unsigned i = 0; i < count; i++)
        kill(children[i], SIGKILL);
    for (unsigned i = 0; i < count; i++)
        waitpid(children[i], NULL, 0);
}

static int make_people(const struct people *people)
{
    pid_t *children = calloc(people->processes, sizeof(*children)), parent = getpid();
    int ready[2];
    char byte;

    if (!children || pipe(ready))
        die("pipe");
    for (unsigned i = 0; i < people->processes; i++) {
        if ((children[i] = fork()) < 0)
            die("fork");
        if (children[i] == 0) {
            end_with(parent);
            close(ready[0]);
            be_one(people, i, ready[1]);
        }
    }
    close(ready[1]);
    for (unsigned i = 0; i < people->processes; i++)
        if (read(ready[0], &byte, 1) != 1)
            die("one of the crowd");
    listener(INADDR_ANY, people->busy);
    listener(INADDR_ANY, people->quiet);
    wait_for_end(children, people->processes);
    free(children);
    return 0;
}

/* --- TIME_WAIT -------------------------------------------------------------------------------- */

static int make_time_waits(bool by_server, unsigned count, unsigned port, unsigned first)
{
    FILE *range = fopen("/proc/sys/net/ipv4/ip_local_port_range", "re");
    uint32_t here = LOOPBACK(0u, 0u, 1u), source = here;
    unsigned from, to, next;
    int server = listener(here, port);

    /* The kernel's own figures. NOLINTNEXTLINE(cert-err34-c) */
    if (!range || fscanf(range, "%u %u", &from, &to) != 2)
        die("ip_local_port_range");
    fclose(range);
    next = from;
    while (count--) {
        int client = bound_socket(source, next++), accepted;

        accepted = connect_to(client, server, here, port);
        close(by_server ? accepted : client);
        close(by_server ? client : accepted);
        if (next > to) {
            source = LOOPBACK(2u, first >> 8, first & 255);
            first++;
            next = from;
        }
    }
    return 0;
}

static unsigned number(const char *text)
{
    return (unsigned)strtoul(text, NULL, 10);
}

int main(int argc, char **argv)
{
    end_with(getppid());
    if (argc == 7 && strcmp(argv[1], "people") == 0)
        return make_people(&(struct people){number(argv[2]), number(argv[3]), number(argv[4]),
                                            number(argv[5]), number(argv[6])});
    if (argc == 6 && strcmp(argv[1], "time-wait") == 0)
        return make_time_waits(strcmp(argv[2], "server") == 0, number(argv[3]), number(argv[4]),
                               number(argv[5]));
    fprintf(stderr, "usage: crowd people PROCESSES DESCRIPTORS ESTABLISHED BUSY QUIET\n"
                    "       crowd time-wait server|client COUNT PORT FIRST\n");
    return 2;
}
