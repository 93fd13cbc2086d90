/* A server comes back while somebody holds its port: a child, a second server, an idle socket, an
 * io_uring. */
#include <errno.h>
#include <linux/io_uring.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "servers.h"
#include "stage.h"

#define PORT       8080
#define OTHER_PORT 8081
#define SOON_MS    5000

/* Whether the port can be had; the socket is closed again. */
struct attempt {
    struct host *host;
    unsigned with;
};

static int try_port(const struct attempt *attempt)
{
    int fd = host_socket(attempt->host, attempt->with), code = try_bind(fd, NULL, PORT);

    close_fd(&fd);
    return code;
}

static bool is_port_free(void *context)
{
    return try_port(context) == 0;
}

/* --- a child ---------------------------------------------------------------------------------- */

/* Both ends of the line between the stage and the processes of a server. */
struct server_process {
    struct host *host;
    int line[2];      /* 0: of the stage; 1: of the server */
    bool by_io_uring; /* the listening socket is registered in an io_uring alone */
};

/* The processes say that they are ready, and the last one ends when the stage's end is closed. It
 * must not rest on PR_SET_PDEATHSIG: its parent is to be killed. */
static void report_and_stay(const struct server_process *process)
{
    char byte = 'r';

    if (send(process->line[1], &byte, 1, MSG_NOSIGNAL) == 1)
        recv(process->line[1], &byte, 1, 0);
    _exit(EXIT_SUCCESS);
}

static void fork_and_stay(void *context)
{
    struct server_process *process = context;
    int pid;

    close_fd(&process->line[0]);
    host_listen(process->host, PORT, WITH_REUSEADDR);
    pid = fork();
    if (pid < 0)
        _exit(EXIT_FAILURE);
    if (pid == 0)
        report_and_stay(process);
    for (;;)
        pause();
}

/* Starts one and waits until it is ready: its pid. */
static int start_process(struct stage *stage, struct server_process *process,
                         void (*run)(void *context))
{
    char byte;
    int pid;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, process->line))
        stage_broken(stage, "socketpair(): %s", strerror(errno));
    pid = host_fork(process->host, run, process);
    close_fd(&process->line[1]);
    if (recv(process->line[0], &byte, 1, 0) != 1)
        stage_broken(stage, "the server process did not start");
    return pid;
}

static void play_inherited(struct stage *stage)
{
    struct server_process process = {0};
    struct attempt attempt = {.with = WITH_REUSEADDR};
    struct tw_endpoint to;
    struct host *server;
    int pid, fd, code;

    stage_hosts(stage, "client", "server");
    server = attempt.host = process.host = stage_right(stage);
    to = host_at(server, PORT);
    pid = start_process(stage, &process, fork_and_stay);
    host_says(server, "server: listens, fork()");
    stage_kill(stage, pid);
    host_says(server, "the parent is killed, its child lives on");
    stage_expect(stage, count_in(server, TCP_LISTEN, PORT) == 1, "the listening socket is there");
    expect_errno(stage, "bind() with SO_REUSEADDR",
                 try_serve(server, "new server", NULL, PORT, WITH_REUSEADDR, &fd), EADDRINUSE);
    code = try_reach(stage_left(stage), &to);
    host_says(stage_left(stage), "connect(): %s", outcome_text(code));
    expect_errno(stage, "a client's connect(), though nobody will accept", code, 0);
    close_fd(&process.line[0]);
    host_says(server, "the child ends");
    stage_expect(stage, stage_until(stage, SOON_MS, is_port_free, &attempt),
                 "when the child has ended the port is free");
    expect_errno(stage, "then bind()",
                 try_serve(server, "new server", NULL, PORT, WITH_REUSEADDR, &fd), 0);
}

const struct scenario scenario_inherited_child = {
    .name = "inherited-child",
    .group = "restart",
    .title = "A child keeps the listening socket of a server that was killed",
    .expected = "The server forks and is killed. Its child has the listening socket as well, so "
                "bind() fails with EADDRINUSE until the child ends.",
    .lesson = "A socket is closed when the last process that has it closes it: a worker, a shell "
              "script, a daemon that the server started. Open sockets with SOCK_CLOEXEC and end "
              "the whole group of processes.",
    .rule = "close(2): the last descriptor of an open file",
    .play = play_inherited,
};

/* --- a second server, an idle socket ---------------------------------------------------------- */

static int told_bind(struct host *host, const char *who, unsigned with, int *fd)
{
    int code;

    *fd = host_socket(host, with);
    code = try_bind(*fd, NULL, PORT);
    host_says(host, "%s: bind(*:%u)%s: %s", who, PORT,
              with & WITH_REUSEADDR ? " with SO_REUSEADDR" : "", outcome_text(code));
    return code;
}

static int told_listen(struct host *host, const char *who, int fd)
{
    int code = try_listen(fd);

    host_says(host, "%s: listen(): %s", who, outcome_text(code));
    return code;
}

static void play_second_listen(struct stage *stage)
{
    struct host *host;
    int first, second, third;

    stage_loopback(stage, "host");
    host = stage_left(stage);
    expect_errno(stage, "the first bind()", told_bind(host, "first", WITH_REUSEADDR, &first), 0);
    expect_errno(stage, "the second bind(), while nobody listens",
                 told_bind(host, "second", WITH_REUSEADDR, &second), 0);
    expect_errno(stage, "the first listen()", told_listen(host, "first", first), 0);
    expect_errno(stage, "the second listen()", told_listen(host, "second", second), EADDRINUSE);
    expect_errno(stage, "bind() of a third, now that one listens",
                 try_serve(host, "third", NULL, PORT, WITH_REUSEADDR, &third), EADDRINUSE);
    host_says(host, "first: close()");
    close_fd(&first);
    expect_errno(stage, "the second listen() once the first is closed",
                 told_listen(host, "second", second), 0);
}

const struct scenario scenario_second_listen = {
    .name = "second-listen",
    .group = "restart",
    .title = "Two servers bind the same port, and listen() of the second one fails",
    .expected = "With SO_REUSEADDR both bind() calls succeed while neither listens. The first "
                "listen() works, the second fails with EADDRINUSE.",
    .lesson = "EADDRINUSE may come from listen() as well, so check what it returns. A successful "
              "bind() with SO_REUSEADDR does not mean that the port is yours.",
    .rule = "inet_csk_listen_start() calls get_port() again",
    .play = play_second_listen,
};

/* Whether the text of /proc/net/tcp has a local address with this port. */
static bool is_in_proc(struct stage *stage, struct host *host, uint16_t port)
{
    char line[256], wanted[8];
    bool found = false;
    FILE *file;

    host_enter(host);
    file = fopen("/proc/thread-self/net/tcp", "re");
    if (!file)
        stage_lacking(stage, "/proc/net/tcp: %s", strerror(errno));
    snprintf(wanted, sizeof(wanted), ":%04X ", port);
    while (fgets(line, sizeof(line), file)) {
        const char *colon = strchr(line, ':'); /* of "  0: 0100007F:1F90 ..." */
        const char *at = colon ? strstr(colon + 1, ":") : NULL;

        if (at && strncmp(at, wanted, strlen(wanted)) == 0)
            found = true;
    }
    fclose(file);
    return found;
}

static void play_bound(struct stage *stage)
{
    struct host *host;
    int idle, fd, shown;

    stage_loopback(stage, "host");
    host = stage_left(stage);
    expect_errno(stage, "bind() of the idle socket", told_bind(host, "idle", 0, &idle), 0);
    shown = host_listen(host, OTHER_PORT, 0);
    expect_errno(stage, "bind() of a server with SO_REUSEADDR",
                 try_serve(host, "server", NULL, PORT, WITH_REUSEADDR, &fd), EADDRINUSE);
    stage_expect(stage, is_in_proc(stage, host, OTHER_PORT),
                 "/proc/net/tcp shows the listening socket on port %u", OTHER_PORT);
    stage_expect(stage, !is_in_proc(stage, host, PORT), "and does not show the idle one on port %u",
                 PORT);
    stage_expect(stage, count_in(host, TCP_LISTEN, PORT) == 0, "nobody listens on port %u", PORT);
    stage_expect(stage, count_in(host, TCP_CLOSE, PORT) == 1,
                 "sock_diag shows the idle one when asked for bound sockets (Linux 6.8): %zu",
                 count_in(host, TCP_CLOSE, PORT));
    host_says(host, "idle: close()");
    close_fd(&idle);
    close_fd(&shown);
    expect_errno(stage, "bind() once it is closed",
                 try_serve(host, "server", NULL, PORT, WITH_REUSEADDR, &fd), 0);
}

const struct scenario scenario_bound_not_listening = {
    .name = "bound-not-listening",
    .group = "restart",
    .title = "A bound socket that does nothing blocks the port, and few tools show it",
    .expected = "A socket that never called listen() makes bind() fail with EADDRINUSE. It is not "
                "in /proc/net/tcp.",
    .lesson = "When the port is taken and ss, lsof and netstat show nothing, somebody may have "
              "called bind() and no more. Since Linux 6.8 sock_diag shows such sockets (tidewait "
              "why, newer ss).",
    .rule = "inet_csk_bind_conflict(); TCPF_BOUND_INACTIVE of inet_diag",
    .play = play_bound,
};

/* --- io_uring --------------------------------------------------------------------------------- */

#define ROUNDS 12

static void listen_and_stay(void *context)
{
    struct server_process *process = context;
    int listener, ring;

    close_fd(&process->line[0]);
    listener = host_listen(process->host, PORT, WITH_REUSEADDR);
    if (process->by_io_uring) {
        struct io_uring_params params = {0};

        ring = (int)syscall(SYS_io_uring_setup, 4, &params);
        if (ring < 0 || syscall(SYS_io_uring_register, ring, IORING_REGISTER_FILES, &listener, 1))
            stage_broken(process->host->stage, "registering with io_uring: %s", strerror(errno));
        close_fd(&listener);
    }
    report_and_stay(process);
}

/* How the port was after the death of servers of one kind. */
struct rounds {
    unsigned refused; /* so many times the first bind() after waitpid() failed */
    unsigned freed;   /* so many times it came free within the time */
    uint64_t most_ms; /* the longest that it took */
};

static struct rounds kill_servers(struct stage *stage, bool by_io_uring)
{
    struct attempt attempt = {stage_left(stage), WITH_REUSEADDR};
    struct rounds rounds = {0};

    for (unsigned i = 0; i < ROUNDS; i++) {
        struct server_process process = {.host = attempt.host, .by_io_uring = by_io_uring};
        int pid = start_process(stage, &process, listen_and_stay);
        uint64_t begun_ms, ms;

        stage_kill(stage, pid);
        begun_ms = stage_now_ms(stage);
        rounds.refused += try_port(&attempt) == EADDRINUSE;
        rounds.freed += stage_until(stage, SOON_MS, is_port_free, &attempt);
        ms = stage_now_ms(stage) - begun_ms;
        if (ms > rounds.most_ms)
            rounds.most_ms = ms;
        close_fd(&process.line[0]);
    }
    host_says(attempt.host, "%u servers %s io_uring: SIGKILL, waitpid(), bind()", ROUNDS,
              by_io_uring ? "with" : "without");
    host_says(attempt.host, "refused %u times, at most for %llu ms", rounds.refused,
              (unsigned long long)rounds.most_ms);
    return rounds;
}

static void play_io_uring(struct stage *stage)
{
    struct rounds plain, ring;

    stage_loopback(stage, "host");
    plain = kill_servers(stage, false);
    stage_expect(stage, plain.refused == 0,
                 "without io_uring the port is free when waitpid() returns (%u of %u refused)",
                 plain.refused, ROUNDS);
    ring = kill_servers(stage, true);
    stage_expect(stage, ring.refused > 0,
                 "registered in an io_uring the port is still taken then (%u of %u refused)",
                 ring.refused, ROUNDS);
    stage_expect(stage, ring.freed == ROUNDS,
                 "it comes free by itself soon after (%u of %u, the last after %llu ms at most)",
                 ring.freed, ROUNDS, (unsigned long long)ring.most_ms);
}

const struct scenario scenario_io_uring_killed = {
    .name = "io-uring-killed",
    .group = "restart",
    .title = "A killed io_uring server keeps its port for some milliseconds after waitpid()",
    .expected = "The listening socket is registered in an io_uring. After SIGKILL and waitpid() "
                "bind() still fails with EADDRINUSE, then works without anybody's doing.",
    .lesson = "The kernel takes an io_uring apart in the background, after the process is gone. "
              "Who restarts such a server should try bind() again for a second.",
    .rule = "io_ring_exit_work()",
    .needs = NEEDS_IO_URING,
    .play = play_io_uring,
};
