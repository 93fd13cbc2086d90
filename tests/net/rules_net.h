/*
 * rules_net.h - what the tests of rules.h share: sockets as they are asked for, and a second
 * device.
 *
 * For cmocka programs of one file each, so everything is static inline.
 */
#ifndef TESTS_NET_RULES_NET_H
#define TESTS_NET_RULES_NET_H

#include <linux/if_tun.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/fsuid.h>

#include "private.h"
#include "tidewait/rules.h"

/* An interface beside lo that exists without any other machine: a TUN device. */
#define OTHER_DEVICE "tw0"

static inline struct tw_endpoint name_of(int fd)
{
    struct tw_endpoint endpoint = {0};
    socklen_t len = sizeof(endpoint);

    assert_int_equal(getsockname(fd, &endpoint.sa, &len), 0);
    return endpoint;
}

static inline void set_option(int fd, int level, int option, int value)
{
    if (setsockopt(fd, level, option, &value, sizeof(value)))
        fail_msg("setsockopt %d %d = %d: %s", level, option, value, strerror(errno));
}

static inline int get_option(int fd, int level, int option)
{
    int value = 0;
    socklen_t len = sizeof(value);

    assert_int_equal(getsockopt(fd, level, option, &value, &len), 0);
    return value;
}

/* Closes with a reset, so that nothing of the connection is left on either end. */
static inline void drop(int fd)
{
    struct linger linger = {.l_onoff = 1};

    if (fd < 0)
        return;
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    close(fd);
}

/* Waits until a TCP socket is in a state; the kernel may work off loopback packets a bit later. */
static inline void await_state(int fd, int state)
{
    struct tcp_info info;

    for (int i = 0; i < 5000; i++) {
        socklen_t len = sizeof(info);

        assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len), 0);
        if (info.tcpi_state == state)
            return;
        usleep(1000);
    }
    fail_msg("the socket is in state %d, not %d", info.tcpi_state, state);
}

static inline void write_sysctl(const char *name, const char *value)
{
    char path[128];

    snprintf(path, sizeof(path), "/proc/sys/net/%s", name);
    write_file(path, value);
}

/* Returns 0 or -1 with errno. Waits until the address can be used: the kernel gets it ready aside.
 */
static inline int add_address(const char *address, const char *device, unsigned prefix)
{
    /* struct in6_ifreq of <linux/ipv6.h>, which cannot be included with <netinet/in.h>. */
    struct {
        struct in6_addr address;
        uint32_t prefix;
        int index;
    } request = {.prefix = prefix, .index = (int)if_nametoindex(device)};
    struct tw_endpoint endpoint = at(address, 0);
    int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0), rc;

    request.address = endpoint.v6.sin6_addr;
    endpoint.v6.sin6_scope_id = (uint32_t)request.index;
    rc = ioctl(fd, SIOCSIFADDR, &request);
    for (int i = 0; rc == 0 && i < 5000; i++) {
        rc = bind(fd, &endpoint.sa, sizeof(endpoint.v6));
        if (rc == 0 || errno != EADDRNOTAVAIL)
            break;
        rc = 0;
        usleep(1000);
    }
    close(fd);
    return rc;
}

/* An interface beside lo without any other machine: a TUN device, there as long as its descriptor.
 */
static inline bool make_other_device(void)
{
    struct ifreq request = {.ifr_name = OTHER_DEVICE, .ifr_flags = IFF_TUN | IFF_NO_PI};
    int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

    if (fd >= 0 && ioctl(fd, TUNSETIFF, &request) == 0 && set_link(OTHER_DEVICE, true) == 0 &&
        add_address("fe80::1", OTHER_DEVICE, 64) == 0)
        return true;
    printf("without a second device: no TUN device may be made here: %s\n", strerror(errno));
    return false;
}
/* A handshake that nobody listens for any more is given up within a second or so. */
static inline bool still_in_syn_recv(uint16_t port)
{
    static const char *const files[] = {"/proc/net/tcp", "/proc/net/tcp6"};
    char line[512], want[16];
    bool found = false;

    snprintf(want, sizeof(want), ":%04X", port);
    for (int i = 0; i < 2 && !found; i++) {
        FILE *file = fopen(files[i], "re");

        assert_non_null(file);
        while (!found && fgets(line, sizeof(line), file)) {
            char local[64], state[4];

            found = sscanf(line, " %*[^ ] %63s %*s %3s", local, state) == 2 &&
                    strcmp(state, "03") == 0 && strcmp(strrchr(local, ':'), want) == 0;
        }
        fclose(file);
    }
    return found;
}

#endif
