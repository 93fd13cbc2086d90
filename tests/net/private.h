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

static inline int run(const char *command)
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

/* As root of a user namespace, so that commands that are started keep the capabilities. */
static inline bool enter_user_namespace(int flags)
{
    char users[32], groups[32];

    snprintf(users, sizeof(users), "0 %u 1", geteuid());
    snprintf(groups, sizeof(groups), "0 %u 1", getegid());
    return unshare(flags | CLONE_NEWUSER) == 0 && write_text("/proc/self/setgroups", "deny") &&
           write_text("/proc/self/uid_map", users) && write_text("/proc/self/gid_map", groups);
}

static inline bool bring_up_lo(void)
{
    struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool done = ioctl(fd, SIOCSIFFLAGS, &request) == 0;

    close(fd);
    return done;
}

/* Private network and mounts. Returns 0, or EXIT_SKIP after it has said why. */
static inline int enter_private_network(void)
{
    /* Root stays root: a user namespace of its own would have one user alone. */
    int flags = CLONE_NEWNET | CLONE_NEWNS;

    if ((geteuid() || unshare(flags)) && !enter_user_namespace(flags)) {
        printf("skipped: no network namespace may be made here: %s\n", strerror(errno));
        return EXIT_SKIP;
    }
    if (!bring_up_lo() || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL)) {
        printf("skipped: the namespaces cannot be set up here: %s\n", strerror(errno));
        return EXIT_SKIP;
    }
    return 0;
}

#endif
