#include <errno.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "netlink.h"
#include "text.h"
#include "tidewait/interface.h"

_Static_assert(sizeof((struct tw_address_status *)NULL)->device == IFNAMSIZ, "room for a name");

static int read_route(const struct nlmsghdr *message, void *context)
{
    const struct rtmsg *route = mnl_nlmsg_get_payload(message);
    const struct nlattr *device;
    struct tw_address_status *status = context;

    if (message->nlmsg_type != RTM_NEWROUTE || route->rtm_type != RTN_LOCAL)
        return MNL_CB_OK;
    status->local = true;
    device = facts_attribute(message, sizeof(*route), RTA_OIF, sizeof(uint32_t));
    if (device)
        if_indextoname(mnl_attr_get_u32(device), status->device);
    return MNL_CB_OK;
}

struct search {
    const struct tw_endpoint *wanted;
    struct tw_address_status *status;
    bool usable; /* found on an interface where nothing is wrong with it */
};

static int read_address(const struct nlmsghdr *message, void *context)
{
    const struct ifaddrmsg *body = mnl_nlmsg_get_payload(message);
    const struct nlattr *own, *more;
    struct search *search = context;
    const struct sockaddr_in6 *wanted = &search->wanted->v6;
    struct tw_address_status *status = search->status;
    uint32_t flags;

    if (message->nlmsg_type != RTM_NEWADDR || body->ifa_family != AF_INET6 || search->usable ||
        (wanted->sin6_scope_id && wanted->sin6_scope_id != body->ifa_index))
        return MNL_CB_OK;
    /* With a peer IFA_ADDRESS is the peer's, and only then there is IFA_LOCAL. */
    own = facts_attribute(message, sizeof(*body), IFA_LOCAL, sizeof(wanted->sin6_addr));
    if (!own)
        own = facts_attribute(message, sizeof(*body), IFA_ADDRESS, sizeof(wanted->sin6_addr));
    if (!own ||
        memcmp(mnl_attr_get_payload(own), &wanted->sin6_addr, sizeof(wanted->sin6_addr)) != 0)
        return MNL_CB_OK;
    more = facts_attribute(message, sizeof(*body), IFA_FLAGS, sizeof(flags));
    flags = more ? mnl_attr_get_u32(more) : body->ifa_flags;
    status->local = true;
    status->prefix_len = body->ifa_prefixlen;
    status->dad_failed = flags & IFA_F_DADFAILED;
    /* An optimistic address may be used while the search for duplicates goes on. */
    status->tentative = flags & IFA_F_TENTATIVE && !(flags & (IFA_F_OPTIMISTIC | IFA_F_DADFAILED));
    search->usable = !status->dad_failed && !status->tentative;
    if_indextoname(body->ifa_index, status->device);
    return MNL_CB_OK;
}

/* A network namespace in which nothing was ever set up has no table of local addresses, and without
 * one bind() takes every IPv4 address (a new namespace, its loopback still down). */
static bool has_no_routes(void)
{
    char buf[16];
    struct tw_view text;

    return facts_read_text("/proc/thread-self/net/fib_trie", buf, sizeof(buf), &text) &&
           text.len == 0;
}

/* bind() goes by the route as well: it knows ranges, and addresses that no interface bears. */
static int ask_v4(const struct tw_endpoint *address, struct tw_address_status *out)
{
    char buf[256] __attribute__((aligned(NLMSG_ALIGNTO)));
    struct nlmsghdr *request = mnl_nlmsg_put_header(buf);
    struct rtmsg *route;
    int rc;

    request->nlmsg_type = RTM_GETROUTE;
    request->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
    route = mnl_nlmsg_put_extra_header(request, sizeof(*route));
    route->rtm_family = AF_INET;
    route->rtm_dst_len = 32;
    route->rtm_flags = RTM_F_FIB_MATCH;
    mnl_attr_put(request, RTA_DST, sizeof(address->v4.sin_addr), &address->v4.sin_addr);
    rc = facts_netlink_ask(NETLINK_ROUTE, request, read_route, out, NULL);
    if (rc == -ENETUNREACH && has_no_routes())
        out->local = true;
    /* What a route says that is not there, or that forbids: none of ours. */
    return rc == -ENETUNREACH || rc == -EHOSTUNREACH || rc == -EACCES || rc == -EINVAL ? 0 : rc;
}

/* All addresses are listed: one may be on several interfaces, and usable on one of them. */
static int ask_v6(const struct tw_endpoint *address, struct tw_address_status *out)
{
    struct search search = {.wanted = address, .status = out};
    char buf[256] __attribute__((aligned(NLMSG_ALIGNTO)));
    struct nlmsghdr *request = mnl_nlmsg_put_header(buf);
    struct ifaddrmsg *body;

    request->nlmsg_type = RTM_GETADDR;
    request->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
    body = mnl_nlmsg_put_extra_header(request, sizeof(*body));
    body->ifa_family = AF_INET6;
    return facts_netlink_ask(NETLINK_ROUTE, request, read_address, &search, NULL);
}

/* Addresses that bind() takes without a look at the interfaces. */
static bool is_group(const struct tw_endpoint *address)
{
    uint32_t v4;

    if (address->sa.sa_family == AF_INET6)
        return IN6_IS_ADDR_MULTICAST(&address->v6.sin6_addr);
    v4 = ntohl(address->v4.sin_addr.s_addr);
    return IN_MULTICAST(v4) || v4 == INADDR_BROADCAST;
}

static bool lacks_scope(const struct tw_endpoint *address)
{
    const struct in6_addr *v6 = &address->v6.sin6_addr;

    return address->sa.sa_family == AF_INET6 && address->v6.sin6_scope_id == 0 &&
           (IN6_IS_ADDR_LINKLOCAL(v6) || IN6_IS_ADDR_MC_LINKLOCAL(v6) ||
            IN6_IS_ADDR_MC_NODELOCAL(v6));
}

int tw_address_status(const struct tw_endpoint *address, struct tw_address_status *out)
{
    struct tw_endpoint plain = tw_endpoint_unmap(address);
    struct tw_address_status status = {0};
    int rc = 0;

    if (plain.sa.sa_family != AF_INET && plain.sa.sa_family != AF_INET6)
        return -EAFNOSUPPORT;
    status.is_link_local_without_scope = lacks_scope(&plain);
    if (tw_endpoint_is_wildcard(&plain) || is_group(&plain))
        status.local = true;
    else if (plain.sa.sa_family == AF_INET6)
        rc = ask_v6(&plain, &status);
    else
        rc = ask_v4(&plain, &status);
    if (!rc)
        *out = status;
    return rc;
}

bool tw_address_is_local(const struct tw_endpoint *address)
{
    struct tw_address_status status;

    return tw_address_status(address, &status) == 0 && status.local;
}

bool tw_nonlocal_bind_allowed(int family)
{
    const char *path = family == AF_INET6 ? "/proc/sys/net/ipv6/ip_nonlocal_bind"
                                          : "/proc/sys/net/ipv4/ip_nonlocal_bind";

    return facts_read_number(path) > 0;
}

enum tw_known tw_ipv6_enabled(const char *device)
{
    const char *name = device ? device : "all";
    int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    char path[64];
    int64_t disabled;

    if (fd < 0)
        return errno == EAFNOSUPPORT ? TW_NO : TW_UNKNOWN;
    close(fd);
    if (strlen(name) >= IFNAMSIZ || strchr(name, '/') || name[0] == '.')
        return TW_UNKNOWN;
    snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/disable_ipv6", name);
    disabled = facts_read_number(path);
    if (disabled < 0)
        return TW_UNKNOWN;
    return disabled ? TW_NO : TW_YES;
}
