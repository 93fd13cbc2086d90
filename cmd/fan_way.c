#include "fan_way.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine.h"
#include "rcmd.h"
#include "tidewait/limits.h"

/* The ports of --ports, or the usual ones. */
static int read_ports(const char *text, struct tw_ports *ports, struct tw_error *error)
{
    struct tw_ports others = {0}, reserved = {0};

    if (!text) {
        rsh_usual_ports(ports);
        return 0;
    }
    if (tw_ports_parse(tw_view_of(text), ports, error))
        return -EINVAL;
    others = *ports;
    tw_ports_add_range(&reserved, (struct tw_port_range){RCMD_PORT_FIRST, RCMD_PORT_LAST});
    tw_ports_remove_all(&others, &reserved);
    if (tw_ports_count(&others))
        return tw_error_set(error, EINVAL,
                            "--ports '%.60s': rshd takes connections from %d to %d only", text,
                            RCMD_PORT_FIRST, RCMD_PORT_LAST);
    if (tw_ports_count(ports) < 2)
        return tw_error_set(error, EINVAL, "--ports '%.60s': a command needs two, one for stderr",
                            text);
    return 0;
}

int fan_way_check(struct fan_way *way, const struct fan_config *config, struct tw_error *error)
{
    if (config->template && config->via != VIA_LOCAL)
        return tw_error_set(error, EINVAL, "--template goes with --via local only");
    if (config->template && !strstr(config->template, "{command}"))
        return tw_error_set(error, EINVAL, "--template '%.60s' has no {command}", config->template);
    if (config->plain && config->via == VIA_LOCAL)
        return tw_error_set(error, EINVAL, "--plain goes with --via ssh and rsh only");
    if (config->ports && config->via != VIA_RSH)
        return tw_error_set(error, EINVAL,
                            "--ports goes with --via rsh only: the others do not "
                            "choose ports");
    return config->via == VIA_RSH ? read_ports(config->ports, &way->ports, error) : 0;
}

static int init_rsh(struct fan_way *way, const struct fan_config *config, const struct hosts *hosts,
                    struct tw_error *error)
{
    struct rsh_opts opts = {
        .hosts = hosts, .plain = config->plain, .resolve_ns = config->connect_ns};
    const struct passwd *user = getpwuid(geteuid());
    struct tw_limits limits;

    way->local_user = strdup(user ? user->pw_name : "nobody");
    if (!way->local_user)
        return tw_error_set(error, ENOMEM, "no memory");
    tw_limits_read(&limits);
    opts.ports = &way->ports;
    opts.local_user = way->local_user;
    opts.takeover = limits.timestamps != 0;
    way->transport = &transport_rsh;
    way->descriptors++;
    if (rsh_way_new(&opts, &way->rsh, error))
        return -error->code;
    way->context = way->rsh;
    way->window = rsh_way_window(way->rsh);
    if (!config->quiet)
        fputs("tidewait fan: warning: rsh is neither private nor authenticated: whoever is on the "
              "way reads all and can change it\n",
              stderr);
    return 0;
}

int fan_way_init(struct fan_way *way, const struct fan_config *config, const struct hosts *hosts,
                 struct tw_error *error)
{
    way->descriptors = FAN_DESCRIPTORS_JOB;
    switch ((enum fan_via)config->via) {
    case VIA_RSH:
        return init_rsh(way, config, hosts, error);
    case VIA_LOCAL:
        way->transport = &transport_local;
        way->local.line = config->template;
        way->context = &way->local;
        return 0;
    case VIA_SSH:
        way->transport = &transport_ssh;
        ssh_way_init(&way->ssh, config->plain);
        way->context = &way->ssh;
        return 0;
    }
    return tw_error_set(error, EINVAL, "no such way");
}

void fan_way_fini(struct fan_way *way)
{
    rsh_way_free(way->rsh);
    free(way->local_user);
}
