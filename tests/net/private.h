/*
 * private.h - a network of its own for a test program, and tools that all of them need.
 */
#ifndef PRIVATE_H
#define PRIVATE_H

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "tidewait/address.h"

#define EXIT_SKIP 77

static inline struct tw_endpoint at(const char *address, uint16_t port)
{
    struct tw_endpoint endpoint;

    assert_int_equal(tw_address_parse(tw_view_of(address), &endpoint, NULL), 0);
    tw_endpoint_set_port(&endpoint, port);
    return endpoint;
}

/* The exit status of a command line. */
static inline int shell(const char *command)
{
    int status = system(command); /* NOLINT(cert-env33-c): text of the test */

    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static inline bool write_text(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    bool done = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

    if (fd >= 0)
        close(fd);
    return done;
}

static inline void write_file(const char *path, const char *text)
{
    if (!write_text(path, text))
        fail_msg("%s: %s", path, strerror(errno));
}

static inline void need(bool done, const char *what)
{
    if (!done) {
        print_message("skipped: %s\n", what);
        skip();
    }
}

/* Returns 0 or -1 with errno. */
static inline int set_link(const char *name, bool up)
{
    struct ifreq request = {.ifr_flags = 0};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), rc;

    snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
    rc = ioctl(fd, SIOCGIFFLAGS, &request);
    request.ifr_flags = (short)(up ? request.ifr_flags | IFF_UP : request.ifr_flags & ~IFF_UP);
    if (rc == 0)
        rc = ioctl(fd, SIOCSIFFLAGS, &request);
    close(fd);
    return rc;
}

static inline bool enter_user_namespace(int flags, uid_t user)
{
    char users[32], groups[32];

    snprintf(users, sizeof(users), "%u %u 1", user, geteuid());
    snprintf(groups, sizeof(groups), "%u %u 1", user ? getegid() : 0, getegid());
    return unshare(flags | CLONE_NEWUSER) == 0 && write_text("/proc/self/setgroups", "deny") &&
           write_text("/proc/self/uid_map", users) && write_text("/proc/self/gid_map", groups);
}

/* Private network and mounts. Anybody but root needs a user namespace for them and is `user` there:
 * only the programs that 0 starts keep the capabilities. Returns 0, or EXIT_SKIP after it has said
 * why. */
static inline int enter_private_network_as(uid_t user)
{
    /* Root stays root: in a user namespace of its own it could not become another user nor look
     * into all of /proc. */
    int flags = CLONE_NEWNET | CLONE_NEWNS;

    if ((geteuid() || unshare(flags)) && !enter_user_namespace(flags, user)) {
        printf("skipped: no network namespace may be made here: %s\n", strerror(errno));
        return EXIT_SKIP;
    }
    if (set_link("lo", true) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL)) {
        printf("skipped: the namespaces cannot be set up here: %s\n", strerror(errno));
        return EXIT_SKIP;
    }
    return 0;
}

static inline int enter_private_network(void)
{
    return enter_private_network_as(0);
}

#endif
