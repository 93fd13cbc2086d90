/*
 * Runs a program under steer/, as `exec --method bpf` does, and tells on stderr what was counted.
 *
 * usage: steer_run [-p FIRST-LAST] [-f ADDRESS -n COUNT] [-a ADDRESS] [-l PORT] [-w] [-u WANT]
 * CMD... -p  the ring of ports        -f -n  source addresses in turn, from ADDRESS on -a -l listen
 * there instead  -w  watch who closes first -u  a rule wants this: reuseport, freebind, wait Exit
 * status: the program's; 77 with the reason on stderr: not possible here.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "steer.h"

static struct shim_shared *settings(int argc, char **argv)
{
    struct shim_shared *shared = calloc(1, shim_size(1, SHIM_PORTS_MAX));
    unsigned first = 20000, last = 21999;
    struct shim_rule *out, *in;
    char *end;
    int option;

    if (!shared)
        exit(1);
    shared->rule_count = 2;
    out = &shared->rules[0];
    in = &shared->rules[1];
    *out = (struct shim_rule){.direction = RULE_OUT, .managed = true, .late = true};
    *in = (struct shim_rule){.direction = RULE_IN, .reuseaddr = true};
    while ((option = getopt(argc, argv, "+p:f:n:l:a:u:w")) >= 0) {
        if (option == 'p') {
            first = (unsigned)strtoul(optarg, &end, 10);
            last = (unsigned)strtoul(end + 1, NULL, 10);
        }
        if (option == 'f') {
            out->from_family = strchr(optarg, ':') ? AF_INET6 : AF_INET;
            out->from_count = 1;
            inet_pton(out->from_family, optarg, out->from_first);
        }
        if (option == 'n')
            out->from_count = (uint32_t)strtoul(optarg, NULL, 10);
        if (option == 'l')
            in->listen_port = (uint16_t)strtoul(optarg, NULL, 10);
        if (option == 'a') {
            in->listen_family = strchr(optarg, ':') ? AF_INET6 : AF_INET;
            inet_pton(in->listen_family, optarg, in->listen_address);
        }
        if (option == 'u') {
            in->reuseport = strcmp(optarg, "reuseport") == 0;
            in->free_bind = strcmp(optarg, "freebind") == 0;
            in->wait_ns = strcmp(optarg, "wait") == 0;
        }
        if (option == 'w')
            shared->watch_closes = true;
    }
    for (unsigned port = first; port <= last; port++)
        shared->ports[shared->port_count++] = (uint16_t)port;
    return shared;
}

static void tell(const struct steer *steer)
{
    static const char *const names[SHIM_COUNTERS] = {
        [SHIM_CONNECTS] = "connects",
        [SHIM_MANAGED] = "managed",
        [SHIM_PORT_TRIES] = "tries",
        [SHIM_TAKEN_OVER] = "taken_over",
        [SHIM_BINDS] = "binds",
        [SHIM_LISTENS] = "listens",
        [SHIM_CLOSED_BY_US] = "closed_by_us",
        [SHIM_CLOSED_BY_PEER] = "closed_by_peer",
        [SHIM_CLOSED_BEFORE] = "closed_before",
    };
    uint64_t counters[SHIM_COUNTERS];

    steer_counters(steer, counters);
    for (int i = 0; i < SHIM_COUNTERS; i++)
        if (names[i])
            fprintf(stderr, "%s=%llu ", names[i], (unsigned long long)counters[i]);
    fprintf(stderr, "ports=%u\n", steer_ports_used(steer));
}

int main(int argc, char **argv)
{
    struct shim_shared *shared = settings(argc, argv);
    struct tw_error error = {0};
    struct steer *steer = NULL;
    int status = 0, rc = steer_attach(shared, &steer, &error);
    pid_t child;

    free(shared);
    if (rc) {
        fprintf(stderr, "%s\n", error.text);
        return rc == -EPERM || rc == -EOPNOTSUPP ? 77 : 1;
    }
    if ((child = fork()) == 0) {
        if (steer_enter(steer) == 0)
            execvp(argv[optind], argv + optind);
        _exit(127);
    }
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    tell(steer);
    if (steer_free(steer, &error))
        fprintf(stderr, "%s\n", error.text);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
