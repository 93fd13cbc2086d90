#include "exec_preload.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shared.h"

#define LIBRARY "libtidewait-shim.so"

/* Where Meson installs it. */
#ifndef TIDEWAIT_SHIM_INSTALLED
#define TIDEWAIT_SHIM_INSTALLED "/usr/local/lib/tidewait/" LIBRARY
#endif

/* build/shim beside build/cmd, where this program stands. */
static void in_build_tree(char path[PATH_MAX])
{
    ssize_t len = readlink("/proc/self/exe", path, PATH_MAX - 1);
    char *slash;

    path[len > 0 ? len : 0] = 0;
    slash = strrchr(path, '/');
    if (slash && (size_t)(slash - path) + sizeof("/../shim/" LIBRARY) <= PATH_MAX)
        memcpy(slash, "/../shim/" LIBRARY, sizeof("/../shim/" LIBRARY));
    else
        path[0] = 0;
}

int exec_preload_find(char path[PATH_MAX], struct tw_error *error)
{
    const char *own = getenv("TIDEWAIT_SHIM_LIBRARY");
    char resolved[PATH_MAX];

    if (own)
        snprintf(path, PATH_MAX, "%s", own);
    else
        in_build_tree(path);
    if (!own && access(path, R_OK))
        snprintf(path, PATH_MAX, "%s", TIDEWAIT_SHIM_INSTALLED);
    if (access(path, R_OK) || !realpath(path, resolved))
        return tw_error_set(error, EOPNOTSUPP,
                            "'%.150s', the library that does the work, cannot be read: %s", path,
                            strerror(errno));
    snprintf(path, PATH_MAX, "%s", resolved);
    /* The dynamic loader has no way to quote them. */
    if (strpbrk(path, " :"))
        return tw_error_set(error, EOPNOTSUPP,
                            "'%.150s' has a blank or colon in its path, which LD_PRELOAD cannot "
                            "express; install tidewait elsewhere",
                            path);
    return 0;
}

int exec_preload_set(const char *library, const char *shared, struct tw_error *error)
{
    const char *former = getenv("LD_PRELOAD");
    bool more = former && *former;
    char *both = NULL;
    int rc;

    if (asprintf(&both, "%s%s%s", library, more ? ":" : "", more ? former : "") < 0)
        return tw_error_set(error, ENOMEM, "no memory for LD_PRELOAD");
    rc = setenv("LD_PRELOAD", both, 1) || setenv(SHIM_ENV, shared, 1);
    free(both);
    return rc ? tw_error_set(error, ENOMEM, "no memory for the environment") : 0;
}
