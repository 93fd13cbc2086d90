#include "network.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <string.h>
#include <sys/socket.h>

#define REQUEST_BYTES 1024
#define ANSWER_BYTES  8192

/* A request of rtnetlink under way. */
struct request {
    char bytes[REQUEST_BYTES] __attribute__((aligned(NLMSG_ALIGNTO)));
    struct nlmsghdr *head;
};

static void *begin(struct request *request, uint16_t type, unsigned flags, size_t header)
{
    memset(request, 0, sizeof(*request));
    request->head = mnl_nlmsg_put_header(request->bytes);
    request->head->nlmsg_type = type;
    request->head->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | NLM_F_ACK | flags);
    request->head->nlmsg_seq = 1;
    return mnl_nlmsg_put_extra_header(request->head, header);
}

/* The errno of the kernel's answer. A socket of its own each time: it belongs to a namespace. */
static int send_request(const struct request *request)
{
    char answer[ANSWER_BYTES] __attribute__((aligned(NLMSG_ALIGNTO)));
    struct mnl_socket *netlink = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
    ssize_t got = -1;
    int code = 0;

    if (!netlink)
        return errno;
    if (mnl_socket_bind(netlink, 0, MNL_SOCKET_AUTOPID) == 0 &&
        mnl_socket_sendto(netlink, request->head, request->head->nlmsg_len) >= 0) {
        do {
            got = mnl_socket_recvfrom(netlink, answer, sizeof(answer));
        } while (got < 0 && errno == EINTR);
    }
    if (got < 0 || mnl_cb_run(answer, (size_t)got, request->head->nlmsg_seq,
                              mnl_socket_get_portid(netlink), NULL, NULL) < 0)
        code = errno;
    mnl_socket_close(netlink);
    return code;
}

static int fail(struct tw_error *error, int code, const char *what, const char *name)
{
    return tw_error_set(error, code, "%s %s: %s", what, name, strerror(code));
}

int network_add_veth(const char *name, int peer_netns, struct tw_error *error)
{
    struct request request;
    struct nlattr *info, *data, *peer;
    int code;

    begin(&request, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, sizeof(struct ifinfomsg));
    mnl_attr_put_strz(request.head, IFLA_IFNAME, name);
    info = mnl_attr_nest_start(request.head, IFLA_LINKINFO);
    mnl_attr_put_strz(request.head, IFLA_INFO_KIND, "veth");
    data = mnl_attr_nest_start(request.head, IFLA_INFO_DATA);
    peer = mnl_attr_nest_start(request.head, VETH_INFO_PEER);
    mnl_nlmsg_put_extra_header(request.head, sizeof(struct ifinfomsg));
    mnl_attr_put_strz(request.head, IFLA_IFNAME, name);
    mnl_attr_put_u32(request.head, IFLA_NET_NS_FD, (uint32_t)peer_netns);
    mnl_attr_nest_end(request.head, peer);
    mnl_attr_nest_end(request.head, data);
    mnl_attr_nest_end(request.head, info);
    code = send_request(&request);
    return code ? fail(error, code, "making the veth pair", name) : 0;
}

int network_bring_up(const char *name, struct tw_error *error)
{
    struct request request;
    struct ifinfomsg *link;
    int code;

    link = begin(&request, RTM_NEWLINK, 0, sizeof(*link));
    link->ifi_flags = IFF_UP;
    link->ifi_change = IFF_UP;
    mnl_attr_put_strz(request.head, IFLA_IFNAME, name);
    code = send_request(&request);
    return code ? fail(error, code, "bringing up interface", name) : 0;
}

int network_settle(const char *name, struct tw_error *error)
{
    struct request request;
    int code;

    begin(&request, RTM_GETLINK, 0, sizeof(struct ifinfomsg));
    mnl_attr_put_strz(request.head, IFLA_IFNAME, name);
    code = send_request(&request);
    return code ? fail(error, code, "looking at interface", name) : 0;
}

int network_add_address(const char *name, const struct tw_endpoint *address, unsigned prefix_len,
                        struct tw_error *error)
{
    bool v6 = address->sa.sa_family == AF_INET6;
    const void *bytes = v6 ? (const void *)&address->v6.sin6_addr : &address->v4.sin_addr;
    size_t len = v6 ? sizeof(address->v6.sin6_addr) : sizeof(address->v4.sin_addr);
    struct request request;
    struct ifaddrmsg *body;
    int code;

    body = begin(&request, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, sizeof(*body));
    body->ifa_family = (uint8_t)address->sa.sa_family;
    body->ifa_prefixlen = (uint8_t)prefix_len;
    body->ifa_index = if_nametoindex(name);
    if (v6)
        body->ifa_flags = IFA_F_NODAD; /* else bind() refuses it for a second or two */
    mnl_attr_put(request.head, IFA_LOCAL, len, bytes);
    mnl_attr_put(request.head, IFA_ADDRESS, len, bytes);
    code = body->ifa_index ? send_request(&request) : ENODEV;
    return code ? fail(error, code, "adding an address to interface", name) : 0;
}
