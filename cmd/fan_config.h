/*
 * fan_config.h - what is asked of `tidewait fan`.
 */
#ifndef FAN_CONFIG_H
#define FAN_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "hosts.h"
#include "options.h"

/* In the order of their words in the option table. */
enum fan_via { VIA_SSH, VIA_LOCAL, VIA_RSH };
enum fan_input { INPUT_NONE, INPUT_ONE, INPUT_ALL };

struct fan_config {
    struct option_list hosts, hostfiles, exclude;
    uint64_t window, retry, keep;
    uint64_t connect_ns, command_ns, deadline_ns;
    const char *user, *template, *ports, *folder, *keys;
    int via, input; /* the enums */
    bool plain, gather, diff, json, json_lines, no_prefix, largest, quiet;
};

/* Gathers the hosts that are named. Returns 0 or -errno with *error. */
int fan_hosts(const struct fan_config *config, struct hosts *hosts, struct tw_error *error);

#endif
