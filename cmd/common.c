#include "common.h"

#include <errno.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "options.h"
#include "tidewait/namespaces.h"

int enter_netns(const char *name, struct tw_error *error)
{
    uint64_t pid = 0;
    int rc;

    if (!name)
        return EXIT_YES;
    if (tw_parse_number(tw_view_of(name), "pid", 1, INT32_MAX, &pid, NULL) == 0)
        name = NULL;
    rc = tw_netns_enter((int)pid, name, error);
    return rc == 0 ? EXIT_YES : rc == -EPERM || rc == -EACCES ? EXIT_DENIED : EXIT_USAGE;
}

int user_parse(const char *text, uint32_t *uid, struct tw_error *error)
{
    const struct passwd *user = getpwnam(text);
    uint64_t number;

    if (!user && tw_parse_number(tw_view_of(text), "user", 0, UINT32_MAX - 1, &number, NULL))
        return tw_error_set(error, EINVAL, "there is no user '%.60s'", text);
    *uid = user ? user->pw_uid : (uint32_t)number;
    return 0;
}

/* A signal handler has no argument but the signal: the one flag of the program. */
static atomic_int *stop_flag;

static void on_signal(int signal)
{
    (void)signal;
    if (atomic_load(stop_flag) < 2)
        atomic_fetch_add(stop_flag, 1);
}

void catch_signals(atomic_int *stop)
{
    struct sigaction action = {.sa_handler = on_signal};

    stop_flag = stop;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL); /* a lost terminal must not cost the results */
    signal(SIGPIPE, SIG_IGN);
}

char *read_file(const char *path, size_t *len, struct tw_error *error)
{
    FILE *file = fopen(path, "re");
    char *text = NULL;
    size_t room = 0, used = 0;

    if (!file) {
        tw_error_set(error, errno, "cannot read '%s': %s", path, strerror(errno));
        return NULL;
    }
    do {
        char *more = realloc(text, room = room ? room * 2 : 4096);

        if (!more) {
            tw_error_set(error, ENOMEM, "no memory for '%s'", path);
            break;
        }
        text = more;
        used += fread(text + used, 1, room - 1 - used, file);
    } while (used == room - 1);
    if (ferror(file))
        tw_error_set(error, errno, "cannot read '%s': %s", path, strerror(errno));
    fclose(file);
    if (error->code || !text) {
        free(text);
        return NULL;
    }
    text[used] = 0;
    *len = used;
    return text;
}

unsigned usable_cores(void)
{
    cpu_set_t cores;

    return sched_getaffinity(0, sizeof(cores), &cores) ? 1 : (unsigned)CPU_COUNT(&cores);
}

int exec_failure(const char *name, int code, struct tw_error *error)
{
    if (code == ENOENT && !strchr(name, '/'))
        tw_error_set(error, code, "%.200s: command not found", name);
    else if (code == ENOENT && access(name, F_OK) == 0)
        tw_error_set(error, code, "%.160s: the interpreter or loader that it names does not exist",
                     name);
    else
        tw_error_set(error, code, "%.200s: %s", name, strerror(code));
    return code == ENOENT || code == ENOTDIR ? 127 : 126;
}
