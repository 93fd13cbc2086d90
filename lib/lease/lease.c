#include "tidewait/lease.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "tidewait/address.h"
#include "tidewait/limits.h"

/* Below it are the ports that people choose by hand: 3000, 8080, 9090. */
#define POOL_FIRST 10000

static const int on = 1, off = 0;

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* --- the pool ----------------------------------------------------------------------------------
 */

/* Not getservent(): it has a state that all threads share. */
static void remove_services(struct tw_ports *pool)
{
    FILE *file = fopen("/etc/services", "re");
    char line[512];

    if (!file)
        return;
    /* Each line is a name, blanks, "80/tcp". */
    while (fgets(line, sizeof(line), file)) {
        const char *number = line + strcspn(line, " \t");
        unsigned long port = strtoul(number, NULL, 10);

        if (line[0] != '#' && port <= UINT16_MAX)
            tw_ports_remove(pool, (uint16_t)port);
    }
    fclose(file);
}

void tw_lease_pool(struct tw_ports *out)
{
    struct tw_limits limits;
    struct tw_ports kernels = {{0}};

    *out = (struct tw_ports){{0}};
    tw_limits_read(&limits);
    tw_ports_add_range(out, (struct tw_port_range){POOL_FIRST, UINT16_MAX});
    if (limits.port_last)
        tw_ports_add_range(&kernels, (struct tw_port_range){limits.port_first, limits.port_last});
    tw_ports_remove_all(out, &kernels);
    tw_ports_remove_all(out, &limits.reserved);
    remove_services(out);
}

/* --- taking ------------------------------------------------------------------------------------
 */

static int bind_name(int fd, uint16_t port)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int len = snprintf(address.sun_path + 1, sizeof(address.sun_path) - 1, "tidewait-lease/%u",
                       (unsigned)port);

    return bind(fd, (struct sockaddr *)&address,
                (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)len))
               ? -errno
               : 0;
}

/* One socket for both families; for IPv4 alone where the kernel has no IPv6. SO_REUSEADDR is not
 * set, so it shares the port with nobody. */
static int bind_alone(int type, uint16_t port)
{
    struct tw_endpoint any = {.v6 = {.sin6_family = AF_INET6}};
    int fd = socket(AF_INET6, type | SOCK_CLOEXEC, 0);

    if (fd < 0 && errno == EAFNOSUPPORT) {
        any = (struct tw_endpoint){.v4 = {.sin_family = AF_INET}};
        fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
    }
    if (fd < 0)
        return -errno;
    tw_endpoint_set_port(&any, port);
    if ((any.sa.sa_family == AF_INET6 &&
         setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off))) ||
        bind(fd, &any.sa, tw_endpoint_len(&any))) {
        int code = errno;

        close(fd);
        return -code;
    }
    return fd;
}

/* The name first: two leases that bound the sockets of one port at a time could each spoil it for
 * the other, and both would go on without it. */
static int take_port(struct tw_lease *lease, uint16_t port, bool *leased)
{
    int rc;

    *lease = (struct tw_lease){.port = port, .name = -1, .tcp = -1, .udp = -1};
    lease->name = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (lease->name < 0)
        return -errno;
    rc = bind_name(lease->name, port);
    *leased = rc == -EADDRINUSE;
    if (rc == 0)
        rc = lease->tcp = bind_alone(SOCK_STREAM, port);
    if (rc >= 0)
        rc = lease->udp = bind_alone(SOCK_DGRAM, port);
    if (rc < 0)
        tw_lease_release(lease);
    return rc < 0 ? rc : 0;
}

/* What became of the ports that were tried. */
struct tally {
    size_t leased, used, denied;
};

static int too_few(const struct tally *tally, size_t tried, size_t count, struct tw_error *error)
{
    bool denied = tally->denied > 0 && !tally->leased && !tally->used;

    return tw_error_set(error, denied ? EACCES : EADDRINUSE,
                        "%zu free port%s wanted: of %zu that may be chosen, %zu are leased, "
                        "something is on %zu, and %zu need CAP_NET_BIND_SERVICE",
                        count, count == 1 ? "" : "s", tried, tally->leased, tally->used,
                        tally->denied);
}

static int take_from(const uint16_t *ports, size_t total, size_t count, struct tw_lease *out,
                     size_t *taken, struct tw_error *error)
{
    struct tally tally = {0};
    uint32_t start = 0;

    /* Without randomness all begin at the first port, which is slower and no less right. */
    (void)!getrandom(&start, sizeof(start), GRND_NONBLOCK);
    for (size_t i = 0; i < total && *taken < count; i++) {
        uint16_t port = ports[(start + i) % total];
        bool leased = false;
        int rc = take_port(&out[*taken], port, &leased);

        if (rc == 0)
            ++*taken;
        else if (rc == -EACCES)
            tally.denied++;
        else if (rc != -EADDRINUSE)
            return tw_error_set(error, -rc, "leasing port %u: %s%s", (unsigned)port, strerror(-rc),
                                rc == -EMFILE ? "; raise ulimit -n" : "");
        else if (leased)
            tally.leased++;
        else
            tally.used++;
    }
    return *taken == count ? 0 : too_few(&tally, total, count, error);
}

int tw_lease_take(const struct tw_ports *pool, size_t count, struct tw_lease *out,
                  struct tw_error *error)
{
    size_t total = tw_ports_count(pool), taken = 0;
    uint16_t *ports = malloc((total + 1) * sizeof(*ports));
    int rc;

    if (!ports)
        return tw_error_set(error, ENOMEM, "leasing ports: no memory");
    tw_ports_list(pool, ports);
    rc = take_from(ports, total, count, out, &taken, error);
    free(ports);
    while (rc && taken > 0)
        tw_lease_release(&out[--taken]);
    return rc;
}

/* --- giving ------------------------------------------------------------------------------------
 */

int tw_lease_share(struct tw_lease *lease)
{
    close_fd(&lease->udp);
    /* Only now: had these been set before bind(), two leases could have had the port. */
    if (setsockopt(lease->tcp, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) ||
        setsockopt(lease->tcp, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)))
        return -errno;
    return 0;
}

void tw_lease_yield(struct tw_lease *lease)
{
    close_fd(&lease->tcp);
    close_fd(&lease->udp);
}

void tw_lease_release(struct tw_lease *lease)
{
    tw_lease_yield(lease);
    close_fd(&lease->name);
}

/* --- parking -----------------------------------------------------------------------------------
 */

/* Connects a socket to itself and closes it: TIME_WAIT without ever having listened. Returns 0 or
 * -errno. */
static int park_on(const struct tw_endpoint *local)
{
    int fd = socket(local->sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0), rc = 0;
    const struct timeval limit = {.tv_sec = 1};

    if (fd < 0)
        return -errno;
    /* An interface that is down may swallow the SYN; one that is up connects before connect()
     * returns. */
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) ||
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) ||
        bind(fd, &local->sa, tw_endpoint_len(local)) ||
        connect(fd, &local->sa, tw_endpoint_len(local)))
        rc = -errno;
    close(fd);
    return rc == -EINPROGRESS ? -ENETUNREACH : rc;
}

int tw_lease_park(struct tw_lease *lease, struct tw_error *error)
{
    struct tw_endpoint v4 = {.v4 = {.sin_family = AF_INET,
                                    .sin_port = htons(lease->port),
                                    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}};
    struct tw_endpoint v6 = {.v6 = {.sin6_family = AF_INET6,
                                    .sin6_port = htons(lease->port),
                                    .sin6_addr = IN6ADDR_LOOPBACK_INIT}};
    int rc = tw_lease_share(lease), fd;

    /* Our own socket keeps the port meanwhile: at no moment is it nobody's. */
    if (rc == 0)
        rc = park_on(&v4);
    if (rc)
        return tw_error_set(error, -rc, "parking port %u: %s%s", (unsigned)lease->port,
                            strerror(-rc),
                            rc == -ENETUNREACH ? "; is the loopback interface down?" : "");
    /* Where there is no ::1 nobody can bind to it either. */
    rc = park_on(&v6);
    if (rc && rc != -EADDRNOTAVAIL && rc != -EAFNOSUPPORT)
        return tw_error_set(error, -rc, "parking port %u on ::1: %s", (unsigned)lease->port,
                            strerror(-rc));
    close_fd(&lease->tcp);
    /* A TIME_WAIT too many is dropped without a word: only bind() tells. */
    fd = bind_alone(SOCK_STREAM, lease->port);
    if (fd >= 0) {
        lease->tcp = fd;
        (void)tw_lease_share(lease);
        return tw_error_set(error, ENOBUFS,
                            "parking port %u: the kernel keeps no more closed connections; raise "
                            "net.ipv4.tcp_max_tw_buckets",
                            (unsigned)lease->port);
    }
    tw_lease_release(lease);
    return 0;
}
