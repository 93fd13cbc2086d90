#include "tidewait/trial.h"

#include <errno.h>
#include <linux/capability.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* On some 32-bit machines the plain call takes uids of 16 bits. */
#ifdef SYS_setresuid32
#define SETRESUID SYS_setresuid32
#else
#define SETRESUID SYS_setresuid
#endif

/* --- the socket --------------------------------------------------------------------------------
 */

static int fail(const struct tw_trial *trial, int code, const char *step, struct tw_error *error)
{
    const char *protocol = trial->protocol == IPPROTO_UDP ? "UDP" : "TCP";
    char text[TW_ENDPOINT_TEXT_MAX];

    return tw_error_set(error, code, "trying %s %s: %s: %s", protocol,
                        tw_endpoint_format(&trial->local, text), step, strerror(code));
}

static int set_option(int fd, int level, int name, int value)
{
    return setsockopt(fd, level, name, &value, sizeof(value));
}

static int prepare(int fd, const struct tw_trial *trial, struct tw_error *error)
{
    if (set_option(fd, SOL_SOCKET, SO_REUSEADDR, trial->reuseaddr))
        return fail(trial, errno, "SO_REUSEADDR", error);
    if (set_option(fd, SOL_SOCKET, SO_REUSEPORT, trial->reuseport))
        return fail(trial, errno, "SO_REUSEPORT", error);
    if (trial->local.sa.sa_family == AF_INET6 &&
        set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, trial->v6only))
        return fail(trial, errno, "IPV6_V6ONLY", error);
    if (trial->device && setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, trial->device,
                                    (socklen_t)strlen(trial->device)))
        return fail(trial, errno, "SO_BINDTODEVICE", error);
    return 0;
}

static int try_bind(const struct tw_trial *trial, bool *tried, struct tw_error *error)
{
    int type = trial->protocol == IPPROTO_UDP ? SOCK_DGRAM : SOCK_STREAM;
    int fd = socket(trial->local.sa.sa_family, type | SOCK_CLOEXEC, trial->protocol);
    int rc;

    if (fd < 0)
        return fail(trial, errno, "socket()", error);
    rc = prepare(fd, trial, error);
    if (!rc) {
        *tried = true;
        if (bind(fd, &trial->local.sa, tw_endpoint_len(&trial->local)))
            rc = fail(trial, errno, "bind()", error);
    }
    close(fd);
    return rc;
}

/* --- as another user ---------------------------------------------------------------------------
 */

struct errand {
    const struct tw_trial *trial;
    bool *tried;
    struct tw_error *error;
    int rc;
};

/* Makes the calling thread, and it alone, act as a user without capabilities. glibc's wrapper would
 * change all threads. The real and the saved uid stay, so that the user can neither signal nor
 * trace this process meanwhile; sockets and SO_REUSEPORT go by the effective one. */
static int become(uint32_t uid)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    const struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {0};

    if (syscall(SETRESUID, -1, uid, -1) || syscall(SYS_capset, &header, none))
        return -errno;
    return 0;
}

static void *run_errand(void *context)
{
    struct errand *errand = context;
    const struct tw_trial *trial = errand->trial;

    const char *hint = "";

    errand->rc = become(trial->uid);
    if (errand->rc == -EPERM)
        hint = " (needs CAP_SETUID)";
    else if (errand->rc == -EINVAL)
        hint = " (this user namespace has no such user)";
    if (errand->rc)
        tw_error_set(errand->error, -errand->rc, "trying bind() as user %u: %s%s", trial->uid,
                     strerror(-errand->rc), hint);
    else
        errand->rc = try_bind(trial, errand->tried, errand->error);
    return NULL;
}

static int try_as_other(const struct tw_trial *trial, bool *tried, struct tw_error *error)
{
    struct errand errand = {.trial = trial, .tried = tried, .error = error};
    int dumpable = prctl(PR_GET_DUMPABLE);
    sigset_t all, before;
    pthread_t thread;
    int code;

    /* The program's signal handlers must not run as somebody else. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    code = pthread_create(&thread, NULL, run_errand, &errand);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (code)
        return fail(trial, code, "thread", error);
    pthread_join(thread, NULL);
    if (dumpable == 1)
        prctl(PR_SET_DUMPABLE, 1);
    return errand.rc;
}

int tw_trial_bind(const struct tw_trial *trial, bool *tried, struct tw_error *error)
{
    int family = trial->local.sa.sa_family;

    *tried = false;
    if ((family != AF_INET && family != AF_INET6) ||
        (trial->protocol != IPPROTO_TCP && trial->protocol != IPPROTO_UDP))
        return tw_error_set(error, EINVAL, "trying bind(): neither TCP nor UDP over IP");
    if (!trial->as_other || (trial->uid == 0 && geteuid() == 0))
        return try_bind(trial, tried, error);
    /* Who becomes root by CAP_SETUID does not get root's other capabilities, and (uid_t)-1 means
     * "leave it" to the kernel: either answer would be that of nobody. */
    if (trial->uid == 0)
        return tw_error_set(error, EPERM, "trying bind() as root: run as root");
    if (trial->uid == UINT32_MAX)
        return tw_error_set(error, EINVAL, "trying bind(): %u is no user", trial->uid);
    return try_as_other(trial, tried, error);
}

/* --- UDP ---------------------------------------------------------------------------------------
 */

int tw_trial_connect_udp(const struct tw_endpoint *remote, const struct tw_endpoint *source,
                         struct tw_endpoint *chosen)
{
    int fd = socket(remote->sa.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, IPPROTO_UDP);
    struct tw_endpoint local = {0};
    socklen_t len = sizeof(local);
    int rc = 0;

    if (fd < 0)
        return -errno;
    if ((source && bind(fd, &source->sa, tw_endpoint_len(source))) ||
        connect(fd, &remote->sa, tw_endpoint_len(remote)) || getsockname(fd, &local.sa, &len))
        rc = -errno;
    else
        *chosen = local;
    close(fd);
    return rc;
}
