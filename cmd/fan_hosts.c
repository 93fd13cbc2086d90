#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"
#include "fan_config.h"

static int add_file(struct hosts *hosts, const char *path, struct tw_error *error)
{
    bool standard = strcmp(path, "-") == 0;
    size_t len = 0;
    char *text = read_file(standard ? "/dev/stdin" : path, &len, error);
    int rc;

    if (!text)
        return -error->code;
    rc = hosts_add_text(hosts, (struct tw_view){text, len}, standard ? "standard input" : path,
                        error);
    free(text);
    return rc;
}

static int add_list(struct hosts *hosts, const char *list, struct tw_error *error)
{
    struct tw_error inner = {0};
    int rc;

    if (strcmp(list, "-") == 0)
        return add_file(hosts, list, error);
    rc = hosts_add(hosts, tw_view_of(list), &inner);
    return rc ? tw_error_set(error, -rc, "--hosts: %s", inner.text) : 0;
}

int fan_hosts(const struct fan_config *config, struct hosts *hosts, struct tw_error *error)
{
    int rc = 0;

    if (config->hosts.count + config->hostfiles.count == 0)
        return tw_error_set(error, EINVAL,
                            "which hosts? Name them with -w LIST or --hostfile FILE");
    for (size_t i = 0; rc == 0 && i < config->hosts.count; i++)
        rc = add_list(hosts, config->hosts.items[i], error);
    for (size_t i = 0; rc == 0 && i < config->hostfiles.count; i++)
        rc = add_file(hosts, config->hostfiles.items[i], error);
    if (rc == 0 && hosts->count == 0)
        return tw_error_set(error, EINVAL, "the lists name no host");
    for (size_t i = 0; rc == 0 && i < config->exclude.count; i++) {
        struct tw_error inner = {0};

        rc = hosts_remove(hosts, tw_view_of(config->exclude.items[i]), &inner);
        if (rc)
            tw_error_set(error, -rc, "--exclude: %s", inner.text);
    }
    if (rc == 0 && hosts->count == 0)
        return tw_error_set(error, EINVAL, "no host is left after --exclude");
    return rc;
}
