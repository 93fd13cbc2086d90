#include "steer.h"

#include <errno.h>

#ifdef HAVE_BPF

#include <arpa/inet.h>
#include <assert.h>
#include <ifaddrs.h>
#include <linux/bpf.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bpf/steer_bpf.h"
#include "cgroup.h"

/* Made by bpftool from bpf/steer.bpf.c, as lib/facts/holders_bpf.c has it. */
#include <steer.lskel.h>

#define LINKS 5

struct steer {
    struct cgroup cgroup;
    struct steer_programs *programs;
    struct steer_shared *shared;
    int links[LINKS];
};

static_assert(SHIM_COUNTERS <= STEER_COUNTERS, "room for all counters");
static_assert(SHIM_RULES <= STEER_RULES, "room for all rules");
static_assert(SHIM_PORTS_MAX <= STEER_PORTS, "room for all ports");

/* --- settings --------------------------------------------------------------------------------- */

static struct steer_address address_of(uint8_t family, const uint8_t bytes[16])
{
    struct steer_address address = {0};

    if (family == AF_INET) {
        for (int i = 0; i < 4; i++)
            address.low = address.low << 8 | bytes[i];
        address.low |= 0xffffULL << 32;
        return address;
    }
    for (int i = 0; i < 8; i++) {
        address.high = address.high << 8 | bytes[i];
        address.low = address.low << 8 | bytes[8 + i];
    }
    return address;
}

static void put_rule(struct steer_rule *to, const struct shim_rule *from)
{
    *to = (struct steer_rule){
        .first = address_of(from->family, from->first),
        .last = address_of(from->family, from->last),
        .from = address_of(from->from_family, from->from_first),
        .from_count = from->from_family ? from->from_count : 0,
        .listen = address_of(from->listen_family, from->listen_address),
        .has_listen = from->listen_family != 0,
        .listen_port = from->listen_port,
        .port_first = from->port_first,
        .port_last = from->port_last,
        .source_first = from->source_first,
        .source_last = from->source_last,
        .direction = from->direction,
        .protocol = from->protocol,
        .family = from->family,
        .leave = from->leave,
        .managed = from->managed,
        .reuseaddr = from->reuseaddr,
    };
}

/* What we are called, for the first look at a destination. More addresses than there is room for
 * only make that look less sure. */
static void put_locals(struct steer_shared *shared)
{
    struct ifaddrs *list = NULL;

    if (getifaddrs(&list))
        return;
    for (const struct ifaddrs *i = list; i && shared->local_count < STEER_LOCALS; i = i->ifa_next) {
        const uint8_t *bytes = NULL;

        if (i->ifa_addr && i->ifa_addr->sa_family == AF_INET)
            bytes = (const uint8_t *)&((const struct sockaddr_in *)i->ifa_addr)->sin_addr;
        else if (i->ifa_addr && i->ifa_addr->sa_family == AF_INET6)
            bytes = (const uint8_t *)&((const struct sockaddr_in6 *)i->ifa_addr)->sin6_addr;
        if (bytes)
            shared->locals[shared->local_count++] =
                address_of((uint8_t)i->ifa_addr->sa_family, bytes);
    }
    freeifaddrs(list);
}

static void put_settings(struct steer_shared *shared, const struct shim_shared *settings)
{
    shared->watch_closes = settings->watch_closes;
    shared->rule_count = settings->rule_count;
    for (uint32_t i = 0; i < settings->rule_count; i++)
        put_rule(&shared->rules[i], &settings->rules[i]);
    shared->port_count = settings->port_count;
    memcpy(shared->ports, settings->ports, settings->port_count * sizeof(settings->ports[0]));
    /* The ports that the last run has just used come last. */
    if (getrandom(&shared->cursor, sizeof(shared->cursor), GRND_NONBLOCK) < 0)
        shared->cursor = (unsigned)getpid() * 977u;
    put_locals(shared);
}

static int check_settings(const struct shim_shared *settings, struct tw_error *error)
{
    const char *what = NULL;

    for (uint32_t i = 0; i < settings->rule_count && !what; i++) {
        const struct shim_rule *rule = &settings->rules[i];

        if (rule->reuseport)
            what = "reuseport";
        else if (rule->free_bind)
            what = "freebind";
        else if (rule->wait_ns)
            what = "wait";
    }
    return what ? tw_error_set(error, EOPNOTSUPP,
                               "--method bpf cannot do \"%s\", which a rule wants: leave it out, "
                               "or take --method preload where the program allows it",
                               what)
                : 0;
}

/* --- programs --------------------------------------------------------------------------------- */

static int fail(struct tw_error *error, int code, const char *step)
{
    /* The verifier refuses with EACCES: that is the kernel's age, not ours to be allowed. */
    if (code == EPERM)
        return tw_error_set(error, EPERM,
                            "--method bpf: %s: %s; it needs CAP_BPF, CAP_NET_ADMIN and "
                            "CAP_PERFMON, which root of the whole system has",
                            step, strerror(code));
    return tw_error_set(error, EOPNOTSUPP,
                        "--method bpf: %s: %s; it needs Linux 6.1 with CONFIG_CGROUP_BPF and "
                        "CONFIG_DEBUG_INFO_BTF",
                        step, strerror(code));
}

static int load(struct steer *steer, const struct shim_shared *settings, struct tw_error *error)
{
    int rc;

    steer->programs = steer_programs__open();
    if (!steer->programs)
        return tw_error_set(error, ENOMEM, "--method bpf: no memory");
    if ((rc = steer_programs__load(steer->programs)) < 0)
        return fail(error, -rc, "loading the programs");
    steer->shared = mmap(NULL, sizeof(*steer->shared), PROT_READ | PROT_WRITE, MAP_SHARED,
                         steer->programs->maps.shared.map_fd, 0);
    if (steer->shared == MAP_FAILED) {
        steer->shared = NULL;
        return fail(error, errno, "mapping their memory");
    }
    put_settings(steer->shared, settings);
    return 0;
}

static int attach(struct steer *steer, struct tw_error *error)
{
    const struct {
        int program;
        enum bpf_attach_type type;
    } table[LINKS] = {
        {steer->programs->progs.connect4.prog_fd, BPF_CGROUP_INET4_CONNECT},
        {steer->programs->progs.connect6.prog_fd, BPF_CGROUP_INET6_CONNECT},
        {steer->programs->progs.bind4.prog_fd, BPF_CGROUP_INET4_BIND},
        {steer->programs->progs.bind6.prog_fd, BPF_CGROUP_INET6_BIND},
        {steer->programs->progs.watch.prog_fd, BPF_CGROUP_SOCK_OPS},
    };

    for (int i = 0; i < LINKS; i++) {
        steer->links[i] = skel_link_create(table[i].program, steer->cgroup.fd, table[i].type);
        if (steer->links[i] < 0)
            return fail(error, errno, "attaching the programs to the cgroup");
    }
    return 0;
}

/* --- trial ------------------------------------------------------------------------------------ */

enum trial { TRIAL_WORKS, TRIAL_NOT_ENTERED, TRIAL_NO_SOCKET, TRIAL_NOT_CALLED, TRIAL_NO_OPTION };

/* The address is one that the kernel refuses by itself, so nothing is sent, whoever decides. */
static enum trial try_connect(const struct steer *steer)
{
    const struct sockaddr_in nowhere = {
        .sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = INADDR_BROADCAST};
    int fd, on = 0;
    socklen_t size = sizeof(on);

    if (steer_enter(steer))
        return TRIAL_NOT_ENTERED;
    fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return TRIAL_NO_SOCKET;
    if (connect(fd, (const struct sockaddr *)&nowhere, sizeof(nowhere)) == 0 || errno != EPERM)
        return TRIAL_NOT_CALLED;
    if (getsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, &size) || !on)
        return TRIAL_NO_OPTION;
    return TRIAL_WORKS;
}

static int run_trial(const struct steer *steer, struct tw_error *error)
{
    static const char *const words[] = {
        [TRIAL_NOT_ENTERED] = "a process cannot enter the cgroup",
        [TRIAL_NO_SOCKET] = "no socket can be made there",
        [TRIAL_NOT_CALLED] = "the kernel does not ask the programs",
        [TRIAL_NO_OPTION] = "a program may not set SO_REUSEADDR: it needs Linux 6.1",
    };
    int status = 0;
    pid_t child;

    steer->shared->trial = 1;
    if ((child = fork()) == 0)
        _exit((int)try_connect(steer));
    if (child < 0)
        return tw_error_set(error, errno, "--method bpf: fork: %s", strerror(errno));
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return tw_error_set(error, errno, "--method bpf: waitpid: %s", strerror(errno));
    steer->shared->trial = 0;
    if (WIFEXITED(status) && WEXITSTATUS(status) == TRIAL_WORKS)
        return 0;
    return tw_error_set(error, EOPNOTSUPP, "--method bpf: a trial: %s",
                        WIFEXITED(status) && WEXITSTATUS(status) <= TRIAL_NO_OPTION
                            ? words[WEXITSTATUS(status)]
                            : "the trial was killed");
}

/* --- public ----------------------------------------------------------------------------------- */

int steer_attach(const struct shim_shared *settings, struct steer **steer, struct tw_error *error)
{
    struct steer *new;
    int rc = check_settings(settings, error);

    if (rc)
        return rc;
    if (!(new = calloc(1, sizeof(*new))))
        return tw_error_set(error, ENOMEM, "--method bpf: no memory");
    for (int i = 0; i < LINKS; i++)
        new->links[i] = -1;
    if ((rc = cgroup_make(&new->cgroup, error))) {
        free(new);
        return rc;
    }
    if ((rc = load(new, settings, error)) == 0 && (rc = attach(new, error)) == 0)
        rc = run_trial(new, error);
    if (rc) {
        (void)steer_free(new, NULL);
        return rc;
    }
    *steer = new;
    return 0;
}

int steer_enter(const struct steer *steer)
{
    return cgroup_enter(&steer->cgroup);
}

void steer_counters(const struct steer *steer, uint64_t counters[SHIM_COUNTERS])
{
    for (int i = 0; i < SHIM_COUNTERS; i++)
        counters[i] = __atomic_load_n(&steer->shared->counters[i], __ATOMIC_RELAXED);
}

uint32_t steer_ports_used(const struct steer *steer)
{
    uint32_t used = 0;

    for (int i = 0; i < STEER_PORTS; i++)
        used += __atomic_load_n(&steer->shared->used[i], __ATOMIC_RELAXED);
    return used;
}

int steer_free(struct steer *steer, struct tw_error *error)
{
    int rc;

    if (!steer)
        return 0;
    for (int i = 0; i < LINKS; i++)
        if (steer->links[i] >= 0)
            close(steer->links[i]);
    if (steer->shared)
        munmap(steer->shared, sizeof(*steer->shared));
    if (steer->programs)
        steer_programs__destroy(steer->programs);
    rc = cgroup_remove(&steer->cgroup, error);
    free(steer);
    return rc;
}

#else

int steer_attach(const struct shim_shared *settings, struct steer **steer, struct tw_error *error)
{
    (void)settings;
    (void)steer;
    return tw_error_set(error, EOPNOTSUPP,
                        "--method bpf: this build is without it; build with clang, bpftool and the "
                        "headers of libbpf");
}

/* No steer was ever made, so these are never called. */
int steer_enter(const struct steer *steer)
{
    (void)steer;
    return -EOPNOTSUPP;
}

void steer_counters(const struct steer *steer, uint64_t counters[SHIM_COUNTERS])
{
    (void)steer;
    for (int i = 0; i < SHIM_COUNTERS; i++)
        counters[i] = 0;
}

uint32_t steer_ports_used(const struct steer *steer)
{
    (void)steer;
    return 0;
}

int steer_free(struct steer *steer, struct tw_error *error)
{
    (void)steer;
    (void)error;
    return 0;
}

#endif
