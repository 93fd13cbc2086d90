/*
 * fan_way.h - the way to the hosts that was asked for.
 */
#ifndef FAN_WAY_H
#define FAN_WAY_H

#include "fan_config.h"
#include "job.h"
#include "rsh.h"

struct fan_way {
    const struct transport *transport;
    void *context;
    unsigned window;      /* the most hosts at a time; 0: any number */
    unsigned descriptors; /* of each host that runs */
    struct ssh_way ssh;
    struct local_way local;
    struct rsh_way *rsh;
    char *local_user;
    struct tw_ports ports; /* for rsh */
};

/* What goes together. The way is zeroed, and gets its ports. Returns 0 or -EINVAL with *error. */
int fan_way_check(struct fan_way *way, const struct fan_config *config, struct tw_error *error);

/* Of one that was checked. Returns 0, -EACCES when it is not permitted, or another -errno, with
 * *error. */
int fan_way_init(struct fan_way *way, const struct fan_config *config, const struct hosts *hosts,
                 struct tw_error *error);
void fan_way_fini(struct fan_way *way);

#endif
