#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common.h"
#include "lease.h"
#include "options.h"
#include "tidewait/address.h"
#include "watch.h"

/* As sd_listen_fds(3) has it. */
#define FIRST_FD 3

/* As option --count; more digits than it has are no placeholder either. */
#define HIGHEST_MAX 10000

/* The sockets that the command is handed. */
struct handed {
    int *fds; /* two a lease at most */
    size_t count;
    char *names; /* "tcp1:udp1:tcp2" */
};

static int complain(int code, const struct tw_error *error)
{
    fprintf(stderr, "tidewait lease: %s\n", error->text);
    return code;
}

/* --- placeholders ------------------------------------------------------------------------------
 */

/* The number of a placeholder at the front of the text, and its length; 0 when there is none, -1
 * when its number cannot be. */
static int placeholder(const char *text, size_t *len)
{
    static const char word[] = "{port";
    uint64_t number = 1;
    size_t digits;

    if (strncmp(text, word, sizeof(word) - 1) != 0)
        return 0;
    digits = strspn(text + sizeof(word) - 1, "0123456789");
    *len = sizeof(word) - 1 + digits + 1;
    if (text[*len - 1] != '}')
        return 0;
    if (digits && tw_parse_number((struct tw_view){text + sizeof(word) - 1, digits}, "port", 1,
                                  HIGHEST_MAX, &number, NULL))
        return -1;
    return (int)number;
}

int lease_highest(char *const argv[], struct tw_error *error)
{
    int highest = 0;
    size_t len = 0;

    for (; *argv; argv++) {
        for (const char *at = strchr(*argv, '{'); at; at = strchr(at + 1, '{')) {
            int number = placeholder(at, &len);

            if (number < 0)
                return tw_error_set(error, EINVAL, "'%.*s': ports are numbered from 1 to %d",
                                    len < 40 ? (int)len : 40, at, HIGHEST_MAX);
            if (number > highest)
                highest = number;
        }
    }
    return highest;
}

/* From malloc; NULL without memory. */
static char *fill_in(const char *text, const struct tw_lease *leases)
{
    char *filled = NULL;
    size_t size = 0, len = 0;
    FILE *out = open_memstream(&filled, &size);

    if (!out)
        return NULL;
    while (*text) {
        int number = placeholder(text, &len);

        if (number > 0) {
            fprintf(out, "%u", (unsigned)leases[number - 1].port);
            text += len;
        } else {
            fputc(*text++, out);
        }
    }
    if (fclose(out) == 0)
        return filled;
    free(filled);
    return NULL;
}

static void free_arguments(char **argv)
{
    for (size_t i = 0; argv && argv[i]; i++)
        free(argv[i]);
    free(argv);
}

static char **fill_arguments(const struct lease_job *job)
{
    size_t count = 0;
    char **argv;

    while (job->argv[count])
        count++;
    argv = calloc(count + 1, sizeof(*argv));
    for (size_t i = 0; argv && i < count; i++) {
        argv[i] = fill_in(job->argv[i], job->leases);
        if (!argv[i]) {
            free_arguments(argv);
            return NULL;
        }
    }
    return argv;
}

/* PORT is PORT1. */
static int fill_environment(const struct lease_job *job)
{
    char name[32], value[16];

    for (size_t i = 0; i < job->count; i++) {
        snprintf(value, sizeof(value), "%u", (unsigned)job->leases[i].port);
        snprintf(name, sizeof(name), "PORT%zu", i + 1);
        if (setenv(name, value, 1) || (i == 0 && setenv("PORT", value, 1)))
            return -ENOMEM;
    }
    return 0;
}

/* --- descriptors -------------------------------------------------------------------------------
 */

/* A socket on one address instead of the one on all. */
static int open_on(struct tw_endpoint local, int type, uint16_t port, struct tw_error *error)
{
    int fd = socket(local.sa.sa_family, type | SOCK_CLOEXEC, 0), on = 1;
    char text[TW_ENDPOINT_TEXT_MAX];

    tw_endpoint_set_port(&local, port);
    if (fd >= 0 &&
        (type != SOCK_STREAM || !setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on))) &&
        !bind(fd, &local.sa, tw_endpoint_len(&local)))
        return fd;
    tw_error_set(error, errno, "--fd: %s: %s", tw_endpoint_format(&local, text), strerror(errno));
    if (fd >= 0)
        close(fd);
    return -error->code;
}

/* Moves the sockets of a lease to those of one address. That of TCP never leaves the port alone;
 * that of UDP does for a moment, since it must not share it. */
static int move_to(const struct lease_config *config, struct tw_lease *lease,
                   const struct tw_endpoint *local, struct tw_error *error)
{
    int rc = tw_lease_share(lease), fd;

    if (rc)
        return tw_error_set(error, -rc, "--fd: setsockopt: %s", strerror(-rc));
    fd = open_on(*local, SOCK_STREAM, lease->port, error);
    if (fd < 0)
        return fd;
    close(lease->tcp);
    lease->tcp = fd;
    if (!config->udp)
        return 0;
    lease->udp = open_on(*local, SOCK_DGRAM, lease->port, error);
    return lease->udp < 0 ? -error->code : 0;
}

/* The connections that the command accepts inherit SO_REUSEADDR, so that it can be started on the
 * same port again. */
static int make_ready(const struct lease_config *config, const struct tw_lease *lease,
                      struct tw_error *error)
{
    int on = 1;

    if (setsockopt(lease->tcp, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) ||
        (!config->bound && listen(lease->tcp, INT_MAX)))
        return tw_error_set(error, errno, "--fd: listening on port %u: %s", (unsigned)lease->port,
                            strerror(errno));
    return 0;
}

static int collect(const struct lease_job *job, struct handed *handed, struct tw_error *error)
{
    size_t size = 0;
    FILE *names = open_memstream(&handed->names, &size);

    handed->fds = calloc(2 * job->count, sizeof(*handed->fds));
    for (size_t i = 0; names && handed->fds && i < job->count; i++) {
        fprintf(names, "%stcp%zu", i ? ":" : "", i + 1);
        handed->fds[handed->count++] = job->leases[i].tcp;
        if (job->config->udp) {
            fprintf(names, ":udp%zu", i + 1);
            handed->fds[handed->count++] = job->leases[i].udp;
        }
    }
    if (!names || fclose(names) || !handed->fds)
        return tw_error_set(error, ENOMEM, "no memory for the descriptors");
    return 0;
}

static int hand_over(const struct lease_job *job, struct handed *handed, struct tw_error *error)
{
    const struct lease_config *config = job->config;
    struct tw_endpoint local;
    int rc = 0;

    if (config->address && tw_address_parse(tw_view_of(config->address), &local, error))
        return -error->code;
    for (size_t i = 0; i < job->count && !rc; i++) {
        if (config->address)
            rc = move_to(config, &job->leases[i], &local, error);
        if (!rc)
            rc = make_ready(config, &job->leases[i], error);
    }
    return rc ? rc : collect(job, handed, error);
}

/* In the child: puts them where they belong. First out of the way: one may stand where another is
 * to be. */
static int place(const struct handed *handed)
{
    for (size_t i = 0; i < handed->count; i++)
        if ((handed->fds[i] =
                 fcntl(handed->fds[i], F_DUPFD_CLOEXEC, FIRST_FD + (int)handed->count)) < 0)
            return -1;
    for (size_t i = 0; i < handed->count; i++)
        if (dup2(handed->fds[i], FIRST_FD + (int)i) < 0)
            return -1;
    return 0;
}

static int announce(const struct handed *handed)
{
    char text[32];

    snprintf(text, sizeof(text), "%d", (int)getpid());
    if (setenv("LISTEN_PID", text, 1))
        return -1;
    snprintf(text, sizeof(text), "%zu", handed->count);
    return setenv("LISTEN_FDS", text, 1) || setenv("LISTEN_FDNAMES", handed->names, 1) ? -1 : 0;
}

/* --- the command -------------------------------------------------------------------------------
 */

static const int passed_on[] = {SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2};

static _Noreturn void become(const struct lease_job *job, char *const argv[],
                             const struct handed *handed, const sigset_t *mask,
                             const struct sigaction *child)
{
    struct rlimit files = job->files;
    struct tw_error error = {0};
    int code;

    if (handed->count && (place(handed) || announce(handed))) {
        fprintf(stderr, "tidewait lease: --fd: %s\n", strerror(errno));
        _exit(EXIT_OURS);
    }
    /* What it is handed comes on top of what it may open. */
    files.rlim_cur += handed->count;
    if (files.rlim_cur > files.rlim_max)
        files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    sigaction(SIGCHLD, child, NULL);
    sigprocmask(SIG_SETMASK, mask, NULL);
    execvp(argv[0], argv);
    code = errno;
    code = exec_failure(argv[0], code, &error);
    fprintf(stderr, "tidewait lease: %s\n", error.text);
    _exit(code);
}

/* Waits for the command's end, and passes on what processes send to us. What the terminal sends
 * (SI_KERNEL) reaches it by itself, since it is in our process group. */
static int stay_with(pid_t pid, const sigset_t *signals)
{
    siginfo_t info;
    int status;

    for (;;) {
        int number = sigwaitinfo(signals, &info);

        if (number == SIGCHLD && waitpid(pid, &status, WNOHANG) == pid)
            return status;
        if (number > 0 && number != SIGCHLD && info.si_code <= 0)
            (void)kill(pid, number);
    }
}

/* Ends as the command did; the core is its own. */
static int end_as(int status)
{
    const struct rlimit none = {0};
    sigset_t one;

    if (!WIFSIGNALED(status))
        return WEXITSTATUS(status);
    setrlimit(RLIMIT_CORE, &none);
    signal(WTERMSIG(status), SIG_DFL);
    sigemptyset(&one);
    sigaddset(&one, WTERMSIG(status));
    raise(WTERMSIG(status));
    sigprocmask(SIG_UNBLOCK, &one, NULL);
    return 128 + WTERMSIG(status);
}

static void loosen(const struct lease_job *job)
{
    enum lease_until until = (enum lease_until)job->config->until;

    for (size_t i = 0; i < job->count; i++) {
        struct tw_lease *lease = &job->leases[i];
        bool choosable = tw_ports_has(&job->pool->ephemeral, lease->port);

        /* What cannot be shared must not be in the way. */
        if (!(until == LEASE_END || (until == LEASE_AUTO && choosable)) || tw_lease_share(lease))
            tw_lease_yield(lease);
    }
}

static int run_plain(const struct lease_job *job, char *const argv[], struct handed *handed)
{
    const struct sigaction preset = {.sa_handler = SIG_DFL};
    struct sigaction child;
    sigset_t signals, mask;
    pid_t pid;

    sigemptyset(&signals);
    sigaddset(&signals, SIGCHLD);
    for (size_t i = 0; i < sizeof(passed_on) / sizeof(passed_on[0]); i++)
        sigaddset(&signals, passed_on[i]);
    sigprocmask(SIG_BLOCK, &signals, &mask);
    sigaction(SIGCHLD, &preset, &child);
    if (!handed->count)
        loosen(job);
    pid = fork();
    if (pid == 0)
        become(job, argv, handed, &mask, &child);
    if (pid < 0) {
        fprintf(stderr, "tidewait lease: fork: %s\n", strerror(errno));
        return EXIT_OURS;
    }
    /* A listener that we kept would take connections that nobody accepts. */
    for (size_t i = 0; handed->count && i < job->count; i++)
        tw_lease_yield(&job->leases[i]);
    return end_as(stay_with(pid, &signals));
}

/* --- until it binds ----------------------------------------------------------------------------
 */

/* The caller waits in the kernel: what is in its way is taken away now, and nothing else. */
static void before(const struct watch_call *call, void *context)
{
    const struct lease_job *job = context;

    if (call->op != TW_OP_BIND || !call->protocol)
        return;
    for (size_t i = 0; i < job->count; i++) {
        struct tw_lease *lease = &job->leases[i];
        int *fd = call->protocol == IPPROTO_UDP ? &lease->udp : &lease->tcp, on = 1;

        if (lease->port != tw_endpoint_port(&call->local) || *fd < 0)
            continue;
        if (call->protocol != IPPROTO_UDP && call->reuseaddr &&
            setsockopt(*fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0)
            continue;
        close(*fd);
        *fd = -1;
    }
}

static int run_watched(struct lease_job *job, char *const argv[])
{
    struct tw_error error = {0};
    struct watch_end end = {0};
    int rc;

    setrlimit(RLIMIT_NOFILE, &job->files);
    rc = watch_run(argv, before, job, &end, &error);
    if (rc && end.status)
        return complain(WEXITSTATUS(end.status), &error);
    if (rc)
        return complain(rc == -ENOSYS  ? EXIT_UNSUPPORTED
                        : rc == -EPERM ? EXIT_DENIED
                                       : EXIT_OURS,
                        &error);
    free(end.text);
    return end_as(end.status);
}

int lease_run(const struct lease_job *job)
{
    struct handed handed = {0};
    struct tw_error error = {0};
    struct lease_job own = *job;
    char **argv = fill_arguments(job);
    int code;

    if (!argv || fill_environment(job)) {
        tw_error_set(&error, ENOMEM, "no memory for the command");
        code = complain(EXIT_OURS, &error);
    } else if (job->config->fd && hand_over(job, &handed, &error)) {
        code = complain(error.code == EINVAL ? EXIT_USAGE : EXIT_NO, &error);
    } else if (job->config->until == LEASE_BIND) {
        code = run_watched(&own, argv);
    } else {
        code = run_plain(job, argv, &handed);
    }
    free_arguments(argv);
    free(handed.fds);
    free(handed.names);
    return code;
}
