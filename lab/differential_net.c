/* Two hosts for the differential test: network namespaces joined by veth. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <libmnl/libmnl.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sched.h>
#include <string.h>
#include <sys/fsuid.h>
#include <unistd.h>

#include "differential_parts.h"

#define LINK "veth"

/* Each table of connections that sock_diag walks has the size of the host's otherwise. */
#define TABLE_SIZE "256"

struct tw_endpoint place_at(int host, enum place place, uint16_t port)
{
    static const char *const texts[PLACES][HOSTS] = {
        [ANY4] = {"0.0.0.0", "0.0.0.0"},
        [LOOP4] = {"127.0.0.1", "127.0.0.1"},
        [HOST4] = {"10.77.0.1", "10.77.0.2"},
        [PEER4] = {"10.77.0.2", "10.77.0.1"},
        [ANY6] = {"::", "::"},
        [LOOP6] = {"::1", "::1"},
        [HOST6] = {"fd77::1", "fd77::2"},
        [PEER6] = {"fd77::2", "fd77::1"},
        [MAPPED_ANY] = {"::ffff:0.0.0.0", "::ffff:0.0.0.0"},
        [MAPPED_LOOP] = {"::ffff:127.0.0.1", "::ffff:127.0.0.1"},
        [MAPPED_HOST] = {"::ffff:10.77.0.1", "::ffff:10.77.0.2"},
        [MAPPED_PEER] = {"::ffff:10.77.0.2", "::ffff:10.77.0.1"},
    };
    const char *text = texts[place][host];
    struct tw_endpoint endpoint = {0};

    if (strchr(text, ':')) {
        endpoint.v6.sin6_family = AF_INET6;
        inet_pton(AF_INET6, text, &endpoint.v6.sin6_addr);
    } else {
        endpoint.v4.sin_family = AF_INET;
        inet_pton(AF_INET, text, &endpoint.v4.sin_addr);
    }
    tw_endpoint_set_port(&endpoint, port);
    return endpoint;
}

/* --- rtnetlink -------------------------------------------------------------------------------- */

struct message {
    union {
        struct nlmsghdr header;
        char bytes[1024];
    };
};

static struct nlmsghdr *begin(struct message *message, int type, int flags)
{
    struct nlmsghdr *header = mnl_nlmsg_put_header(message->bytes);

    header->nlmsg_type = (uint16_t)type;
    header->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | NLM_F_ACK | flags);
    header->nlmsg_seq = 1;
    return header;
}

/* Sends to the host of this moment. Returns 0 or a negative errno. */
static int send_message(struct message *message)
{
    struct mnl_socket *socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
    char answer[4096];
    ssize_t len;
    int rc = -1;

    if (!socket)
        return -errno;
    if (mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) == 0 &&
        mnl_socket_sendto(socket, &message->header, message->header.nlmsg_len) >= 0 &&
        (len = mnl_socket_recvfrom(socket, answer, sizeof(answer))) >= 0)
        rc = mnl_cb_run(answer, (size_t)len, 1, mnl_socket_get_portid(socket), NULL, NULL);
    rc = rc < 0 ? -errno : 0;
    mnl_socket_close(socket);
    return rc;
}

static int make_link(int peer_netns)
{
    struct message message = {0};
    struct nlmsghdr *header = begin(&message, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
    struct nlattr *info, *data, *peer;

    mnl_nlmsg_put_extra_header(header, sizeof(struct ifinfomsg));
    mnl_attr_put_strz(header, IFLA_IFNAME, LINK);
    info = mnl_attr_nest_start(header, IFLA_LINKINFO);
    mnl_attr_put_strz(header, IFLA_INFO_KIND, "veth");
    data = mnl_attr_nest_start(header, IFLA_INFO_DATA);
    peer = mnl_attr_nest_start(header, VETH_INFO_PEER);
    mnl_nlmsg_put_extra_header(header, sizeof(struct ifinfomsg));
    mnl_attr_put_strz(header, IFLA_IFNAME, LINK);
    mnl_attr_put_u32(header, IFLA_NET_NS_FD, (uint32_t)peer_netns);
    mnl_attr_nest_end(header, peer);
    mnl_attr_nest_end(header, data);
    mnl_attr_nest_end(header, info);
    return send_message(&message);
}

static int bring_up(uint32_t device)
{
    struct message message = {0};
    struct nlmsghdr *header = begin(&message, RTM_NEWLINK, 0);
    struct ifinfomsg *link = mnl_nlmsg_put_extra_header(header, sizeof(*link));

    link->ifi_index = (int)device;
    link->ifi_flags = link->ifi_change = IFF_UP;
    return send_message(&message);
}

static void put_address(struct nlmsghdr *header, uint16_t type, const struct tw_endpoint *address)
{
    if (address->sa.sa_family == AF_INET6)
        mnl_attr_put(header, type, sizeof(address->v6.sin6_addr), &address->v6.sin6_addr);
    else
        mnl_attr_put(header, type, sizeof(address->v4.sin_addr), &address->v4.sin_addr);
}

static uint8_t bits_of(const struct tw_endpoint *address)
{
    return address->sa.sa_family == AF_INET6 ? 128 : 32;
}

static int add_address(uint32_t device, const struct tw_endpoint *address)
{
    struct message message = {0};
    struct nlmsghdr *header = begin(&message, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL);
    struct ifaddrmsg *line = mnl_nlmsg_put_extra_header(header, sizeof(*line));

    line->ifa_family = (uint8_t)address->sa.sa_family;
    line->ifa_prefixlen = bits_of(address);
    line->ifa_index = device;
    /* Without duplicate detection it can be used at once. */
    line->ifa_flags = address->sa.sa_family == AF_INET6 ? IFA_F_NODAD : 0;
    put_address(header, IFA_LOCAL, address);
    put_address(header, IFA_ADDRESS, address);
    return send_message(&message);
}

static int change_route(int type, int flags, uint8_t table, uint32_t device,
                        const struct tw_endpoint *to, const struct tw_endpoint *source)
{
    struct message message = {0};
    struct nlmsghdr *header = begin(&message, type, flags);
    struct rtmsg *route = mnl_nlmsg_put_extra_header(header, sizeof(*route));
    struct nlattr *metrics;

    route->rtm_family = (uint8_t)to->sa.sa_family;
    route->rtm_dst_len = bits_of(to);
    route->rtm_table = table;
    route->rtm_protocol = RTPROT_KERNEL;
    route->rtm_scope = table == RT_TABLE_LOCAL ? RT_SCOPE_HOST : RT_SCOPE_LINK;
    route->rtm_type = table == RT_TABLE_LOCAL ? RTN_LOCAL : RTN_UNICAST;
    put_address(header, RTA_DST, to);
    mnl_attr_put_u32(header, RTA_OIF, device);
    if (type == RTM_NEWROUTE) {
        if (to->sa.sa_family == AF_INET)
            put_address(header, RTA_PREFSRC, source);
        metrics = mnl_attr_nest_start(header, RTA_METRICS);
        mnl_attr_put_u32(header, RTAX_QUICKACK, 1);
        mnl_attr_nest_end(header, metrics);
    }
    return send_message(&message);
}

/* A FIN is acknowledged some milliseconds late, unless the route says otherwise. IPv6 cannot change
 * the kernel's own route, so it makes way for ours. */
static int add_route(uint8_t table, uint32_t device, const struct tw_endpoint *to,
                     const struct tw_endpoint *source)
{
    bool instead = to->sa.sa_family == AF_INET6 && table == RT_TABLE_LOCAL;
    int rc = instead ? change_route(RTM_DELROUTE, 0, table, device, to, source) : 0;

    /* It comes a little after its address. */
    for (int i = 0; rc == -ESRCH && i < 2000; i++) {
        usleep(1000);
        rc = change_route(RTM_DELROUTE, 0, table, device, to, source);
    }
    return rc ? rc
              : change_route(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, table, device, to, source);
}

/* --- the hosts -------------------------------------------------------------------------------- */

int net_set(const char *name, const char *value, struct tw_error *error)
{
    char path[128] = "/proc/sys/net/";
    size_t len = strlen(value);
    int fd, rc = 0;

    strncat(path, name, sizeof(path) - strlen(path) - 1);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, value, len) != (ssize_t)len)
        rc = tw_error_set(error, errno, "setting %s to %s: %s", path, value, strerror(errno));
    if (fd >= 0)
        close(fd);
    return rc;
}

int net_enter(struct net *net, int host, struct tw_error *error)
{
    if (net->here == host)
        return 0;
    if (setns(net->netns[host], CLONE_NEWNET))
        return tw_error_set(error, errno, "entering a network namespace of the test: %s",
                            strerror(errno));
    net->here = host;
    return 0;
}

static int make_host(struct net *net, int host, struct tw_error *error)
{
    if (unshare(CLONE_NEWNET))
        return tw_error_set(error, errno, "making a network namespace: %s", strerror(errno));
    net->netns[host] = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    if (net->netns[host] < 0)
        return tw_error_set(error, errno, "opening /proc/thread-self/ns/net: %s", strerror(errno));
    net->here = host;
    return 0;
}

static int raise_links(struct net *net, struct tw_error *error)
{
    uint32_t *devices = net->devices[net->here];
    int rc;

    devices[DEVICE_LO] = if_nametoindex("lo");
    devices[DEVICE_VETH] = if_nametoindex(LINK);
    if ((rc = bring_up(devices[DEVICE_LO])) || (rc = bring_up(devices[DEVICE_VETH])))
        return tw_error_set(error, -rc, "bringing up the links of a host of the test: %s",
                            strerror(-rc));
    return 0;
}

/* Addresses, routes and settings of the host of this moment. */
static int furnish(struct net *net, struct tw_error *error)
{
    static const struct {
        enum place to, source;
        enum device device;
    } routes[] = {
        {LOOP4, LOOP4, DEVICE_LO}, {HOST4, HOST4, DEVICE_VETH}, {PEER4, HOST4, DEVICE_VETH},
        {LOOP6, LOOP6, DEVICE_LO}, {HOST6, HOST6, DEVICE_VETH}, {PEER6, HOST6, DEVICE_VETH},
    };
    uint32_t *devices = net->devices[net->here];
    struct tw_endpoint v4 = place_at(net->here, HOST4, 0), v6 = place_at(net->here, HOST6, 0);
    int rc;

    if ((rc = add_address(devices[DEVICE_VETH], &v4)) ||
        (rc = add_address(devices[DEVICE_VETH], &v6)))
        return tw_error_set(error, -rc, "giving a host of the test its addresses: %s",
                            strerror(-rc));
    for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
        struct tw_endpoint to = place_at(net->here, routes[i].to, 0);
        struct tw_endpoint source = place_at(net->here, routes[i].source, 0);
        bool away = routes[i].to == PEER4 || routes[i].to == PEER6;

        rc = add_route(away ? RT_TABLE_MAIN : RT_TABLE_LOCAL, devices[routes[i].device], &to,
                       &source);
        if (rc)
            return tw_error_set(error, -rc, "giving a host of the test its routes: %s",
                                strerror(-rc));
    }
    /* What tcp_tw_reuse gives back depends on the time. */
    return net_set("ipv4/tcp_tw_reuse", "0", error);
}

int net_make(struct net *net, struct tw_error *error)
{
    int rc;

    *net = (struct net){.netns = {-1, -1}, .here = NONE, .users = {geteuid(), OTHER_USER}};
    net_set("ipv4/tcp_child_ehash_entries", TABLE_SIZE, NULL); /* 6.1 and newer: only faster */
    for (int host = 0; host < HOSTS; host++)
        if ((rc = make_host(net, host, error)))
            return rc;
    rc = make_link(net->netns[0]);
    if (rc)
        return tw_error_set(error, -rc, "joining two hosts by veth: %s", strerror(-rc));
    for (int host = 0; host < HOSTS; host++)
        if ((rc = net_enter(net, host, error)) || (rc = raise_links(net, error)))
            return rc;
    for (int host = 0; host < HOSTS; host++)
        if ((rc = net_enter(net, host, error)) || (rc = furnish(net, error)))
            return rc;
    setfsuid(OTHER_USER);
    net->has_users = setfsuid(net->users[0]) == OTHER_USER;
    return 0;
}
