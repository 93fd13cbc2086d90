/*
 * load_setup.h - the command line of `tidewait load`, as its option table fills it, and how it
 * becomes a workload.
 */
#ifndef LOAD_SETUP_H
#define LOAD_SETUP_H

#include "load.h"
#include "options.h"

struct load_config {
    struct option_list from;
    const char *add_addresses;
    bool free_bind;
    const char *ports;
    uint64_t connections; /* 0: not given */
    double rate_per_s;
    int arrivals;
    const char *ramp;
    bool peak;
    const char *requests;
    const char *think;
    double abort_share;
    int closing;
    uint64_t duration_ns; /* 0: not given */
    uint64_t count;
    uint64_t warmup_ns;
    uint64_t timeout_ns;
    uint64_t threads; /* 0: not given */
    const char *send;
    const char *expect;
    bool spread;
    uint64_t seed;
    struct option_list fail_if;
    const char *json;
    const char *hdr;
    bool only_v4, only_v6;
    bool dry_run;
    bool quiet, verbose, no_color;
    const char *netns;
};

/* The source addresses of --from, and which of them this process added to an interface. */
struct robots {
    struct tw_endpoint *addresses;
    size_t count;
    bool *added;
    const char *interface;
};

/* Each returns an exit code; *error tells what went wrong when it is not EXIT_YES. */
int load_robots(const struct load_config *config, struct robots *out, struct tw_error *error);
void load_robots_fini(struct robots *robots);
int load_workload(const struct load_config *config, char **urls, int url_count,
                  const struct robots *robots, struct workload *out, struct tw_error *error);

#endif
