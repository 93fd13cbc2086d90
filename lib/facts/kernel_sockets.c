#include "tidewait/kernel_sockets.h"

#include <errno.h>
#include <linux/genetlink.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/wireguard.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "netlink.h"
#include "text.h"

struct search {
    uint16_t port;
    char *owner;
    bool found;
};

/* --- WireGuard ---------------------------------------------------------------------------------
 */

/* Starts a request of generic netlink. */
static struct nlmsghdr *put_generic(char *buf, uint16_t family, uint16_t flags, uint8_t command)
{
    struct nlmsghdr *request = mnl_nlmsg_put_header(buf);
    struct genlmsghdr *body = mnl_nlmsg_put_extra_header(request, sizeof(*body));

    request->nlmsg_type = family;
    request->nlmsg_flags = NLM_F_REQUEST | flags;
    body->cmd = command;
    body->version = 1;
    return request;
}

static int read_family(const struct nlmsghdr *message, void *context)
{
    const struct nlattr *id =
        facts_attribute(message, GENL_HDRLEN, CTRL_ATTR_FAMILY_ID, sizeof(uint16_t));

    if (id)
        *(uint16_t *)context = mnl_attr_get_u16(id);
    return MNL_CB_OK;
}

static int read_listen_port(const struct nlmsghdr *message, void *context)
{
    const struct nlattr *port =
        facts_attribute(message, GENL_HDRLEN, WGDEVICE_A_LISTEN_PORT, sizeof(uint16_t));

    if (port)
        *(uint16_t *)context = mnl_attr_get_u16(port);
    return MNL_CB_OK;
}

/* The UDP port of a WireGuard device; 0 when it is not told. */
static uint16_t wireguard_port(const char *device)
{
    char buf[256] __attribute__((aligned(NLMSG_ALIGNTO)));
    struct nlmsghdr *request = put_generic(buf, GENL_ID_CTRL, NLM_F_ACK, CTRL_CMD_GETFAMILY);
    uint16_t family = 0, port = 0;

    mnl_attr_put_strz(request, CTRL_ATTR_FAMILY_NAME, WG_GENL_NAME);
    if (facts_netlink_ask(NETLINK_GENERIC, request, read_family, &family, NULL) || !family)
        return 0;
    request = put_generic(buf, family, NLM_F_DUMP, WG_CMD_GET_DEVICE);
    mnl_attr_put_strz(request, WGDEVICE_A_IFNAME, device);
    facts_netlink_ask(NETLINK_GENERIC, request, read_listen_port, &port, NULL);
    return port;
}

/* --- links -------------------------------------------------------------------------------------
 */

/* Devices that have a UDP socket while they are up, and where their port is in IFLA_INFO_DATA. */
static const struct tunnel {
    const char *kind;
    uint16_t attribute;
} tunnels[] = {
    {"vxlan", IFLA_VXLAN_PORT},
    {"geneve", IFLA_GENEVE_PORT},
    {"bareudp", IFLA_BAREUDP_PORT},
};

static uint16_t port_of_link(const char *kind, const struct nlattr *info, const char *device)
{
    if (strcmp(kind, WG_GENL_NAME) == 0)
        return wireguard_port(device);
    for (size_t i = 0; i < sizeof(tunnels) / sizeof(tunnels[0]); i++) {
        const struct nlattr *port;

        if (strcmp(kind, tunnels[i].kind) != 0)
            continue;
        port = facts_nested(facts_nested(info, IFLA_INFO_DATA, 0), tunnels[i].attribute,
                            sizeof(uint16_t));
        return port ? ntohs(mnl_attr_get_u16(port)) : 0;
    }
    return 0;
}

static void copy_attribute(const struct nlattr *attribute, char *out, size_t size)
{
    size_t len = mnl_attr_get_payload_len(attribute);

    len = len < size ? len : size - 1;
    memcpy(out, mnl_attr_get_payload(attribute), len);
    out[len] = 0;
}

static int read_link(const struct nlmsghdr *message, void *context)
{
    const struct ifinfomsg *link = mnl_nlmsg_get_payload(message);
    const struct nlattr *name = facts_attribute(message, sizeof(*link), IFLA_IFNAME, 1);
    const struct nlattr *info = facts_attribute(message, sizeof(*link), IFLA_LINKINFO, 0);
    const struct nlattr *kind = facts_nested(info, IFLA_INFO_KIND, 1);
    char device[IFNAMSIZ], kind_text[IFNAMSIZ];
    struct search *search = context;

    if (search->found || !name || !kind || !(link->ifi_flags & IFF_UP))
        return MNL_CB_OK;
    copy_attribute(name, device, sizeof(device));
    copy_attribute(kind, kind_text, sizeof(kind_text));
    if (port_of_link(kind_text, info, device) != search->port)
        return MNL_CB_OK;
    search->found = true;
    /* The kernel lets a name be nearly anything: whoever prints it makes it safe. */
    snprintf(search->owner, TW_KERNEL_SOCKET_MAX, "%s device %s", kind_text, device);
    return MNL_CB_OK;
}

static int find_link(uint16_t port, char *owner)
{
    struct search search = {.port = port, .owner = owner};
    char buf[256] __attribute__((aligned(NLMSG_ALIGNTO)));
    struct nlmsghdr *request = mnl_nlmsg_put_header(buf);
    int rc;

    request->nlmsg_type = RTM_GETLINK;
    request->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
    mnl_nlmsg_put_extra_header(request, sizeof(struct ifinfomsg));
    rc = facts_netlink_ask(NETLINK_ROUTE, request, read_link, &search, NULL);
    if (search.found)
        return 0;
    return rc ? rc : -ENOENT;
}

/* --- services ----------------------------------------------------------------------------------
 */

/* A line of nfsd's list: "tcp 2049". */
static bool is_nfsd_port(struct tw_view line, uint8_t protocol, uint16_t port)
{
    struct tw_view transport = tw_view_cut(&line, ' ');
    uint64_t number;

    return tw_view_equals(transport, protocol == IPPROTO_UDP ? "udp" : "tcp") && line.data &&
           tw_parse_number(line, "port", 1, 65535, &number, NULL) == 0 && number == port;
}

static bool find_nfsd(uint8_t protocol, uint16_t port, char *owner)
{
    char buf[4096];
    struct tw_view text;

    if (!facts_read_text("/proc/fs/nfsd/portlist", buf, sizeof(buf), &text))
        return false;
    while (text.data) {
        if (is_nfsd_port(tw_view_cut(&text, '\n'), protocol, port)) {
            snprintf(owner, TW_KERNEL_SOCKET_MAX, "NFS server (nfsd)");
            return true;
        }
    }
    return false;
}

/* Where services of the kernel usually are. */
static const struct service {
    const char *module;
    const char *name;
    uint16_t port;
    uint8_t protocol;
} services[] = {
    {"nfsd", "NFS server", 2049, IPPROTO_TCP},
    {"nfsd", "NFS server", 2049, IPPROTO_UDP},
    {"ksmbd", "SMB server of the kernel", 445, IPPROTO_TCP},
    {"nvmet_tcp", "NVMe target", 4420, IPPROTO_TCP},
    {"iscsi_target_mod", "iSCSI target", 3260, IPPROTO_TCP},
    {"rdma_rxe", "RDMA over Ethernet", 4791, IPPROTO_UDP},
};

static bool find_service(uint8_t protocol, uint16_t port, char *owner)
{
    for (size_t i = 0; i < sizeof(services) / sizeof(services[0]); i++) {
        const struct service *service = &services[i];
        char path[64];

        snprintf(path, sizeof(path), "/sys/module/%s", service->module);
        if (service->port != port || service->protocol != protocol || access(path, F_OK))
            continue;
        snprintf(owner, TW_KERNEL_SOCKET_MAX, "maybe %s (%s)", service->name, service->module);
        return true;
    }
    return false;
}

int tw_kernel_socket_find(uint8_t protocol, uint16_t port, char owner[TW_KERNEL_SOCKET_MAX])
{
    int rc = -ENOENT;

    /* Port 0 is what a tunnel without a socket has. */
    if (port == 0)
        return -ENOENT;
    if (protocol == IPPROTO_UDP)
        rc = find_link(port, owner);
    if (rc == 0 || find_nfsd(protocol, port, owner) || find_service(protocol, port, owner))
        return 0;
    return rc;
}
