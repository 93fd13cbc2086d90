#include "tidewait/interface.h"

#include <errno.h>
#include <ifaddrs.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "netlink.h"

#define LOOPBACK_NET  0x7f000000u /* 127.0.0.0/8 */
#define LOOPBACK_MASK 0xff000000u

/* --- reading
 * -------------------------------------------------------------------------------------- */

/* Copies the address of an entry; false when it is not of IP. */
static bool entry_address(const struct ifaddrs *entry, struct tw_endpoint *out)
{
    if (!entry->ifa_addr)
        return false;
    *out = (struct tw_endpoint){0};
    if (entry->ifa_addr->sa_family == AF_INET)
        memcpy(&out->v4, entry->ifa_addr, sizeof(out->v4));
    else if (entry->ifa_addr->sa_family == AF_INET6)
        memcpy(&out->v6, entry->ifa_addr, sizeof(out->v6));
    else
        return false;
    tw_endpoint_set_port(out, 0);
    return true;
}

/* The name of an entry is the label of its address: eth0, or eth0:1 for an alias of eth0. */
static bool entry_is_on(const struct ifaddrs *entry, const char *name)
{
    size_t len = strlen(name);

    return strncmp(entry->ifa_name, name, len) == 0 &&
           (entry->ifa_name[len] == 0 || entry->ifa_name[len] == ':');
}

static bool is_link_local(const struct tw_endpoint *address)
{
    return address->sa.sa_family == AF_INET6 && IN6_IS_ADDR_LINKLOCAL(&address->v6.sin6_addr);
}

/* Writes the link-local addresses of an interface, or all but those, to `out` unless that is NULL.
 * Returns their number. */
static size_t collect(const struct ifaddrs *list, const char *name, bool link_local,
                      struct tw_endpoint *out)
{
    struct tw_endpoint address;
    size_t count = 0;

    for (const struct ifaddrs *entry = list; entry; entry = entry->ifa_next) {
        if (!entry_is_on(entry, name) || !entry_address(entry, &address) ||
            is_link_local(&address) != link_local)
            continue;
        if (out)
            out[count] = address;
        count++;
    }
    return count;
}

static int fail_list(int code, const char *name, struct tw_error *error)
{
    return tw_error_set(error, code, "listing the addresses of interface %s: %s", name,
                        strerror(code));
}

int tw_interface_addresses(const char *name, struct tw_endpoint **out, struct tw_error *error)
{
    struct tw_endpoint *addresses = NULL;
    struct ifaddrs *list;
    bool link_local = false;
    size_t count;

    if (!if_nametoindex(name))
        return fail_list(ENODEV, name, error);
    if (getifaddrs(&list))
        return fail_list(errno, name, error);
    count = collect(list, name, false, NULL);
    if (count == 0) {
        link_local = true;
        count = collect(list, name, true, NULL);
    }
    if (count) {
        addresses = calloc(count, sizeof(*addresses));
        if (addresses)
            collect(list, name, link_local, addresses);
    }
    freeifaddrs(list);
    if (count && !addresses)
        return fail_list(ENOMEM, name, error);
    *out = addresses;
    return (int)count;
}

/* --- changing
 * ------------------------------------------------------------------------------------- */

struct change {
    uint16_t type; /* RTM_NEWADDR or RTM_DELADDR */
    const char *name;
    unsigned index; /* of the interface */
    const struct tw_endpoint *address;
    struct tw_error *error;
};

static int fail(const struct change *change, int code, const char *step)
{
    const char *verb = change->type == RTM_NEWADDR ? "adding" : "removing";
    const char *hint = code == EPERM ? " (needs CAP_NET_ADMIN)" : "";
    char text[TW_ENDPOINT_TEXT_MAX];

    return tw_error_set(change->error, code, "%s address %s, interface %s: %s%s%s%s", verb,
                        tw_endpoint_format(change->address, text), change->name, step,
                        *step ? ": " : "", strerror(code), hint);
}

static void put_request(struct nlmsghdr *message, const struct change *change)
{
    const struct tw_endpoint *address = change->address;
    bool v6 = address->sa.sa_family == AF_INET6;
    const void *bytes = v6 ? (const void *)&address->v6.sin6_addr : &address->v4.sin_addr;
    size_t len = v6 ? sizeof(address->v6.sin6_addr) : sizeof(address->v4.sin_addr);
    struct ifaddrmsg *body;

    message->nlmsg_type = change->type;
    message->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
    body = mnl_nlmsg_put_extra_header(message, sizeof(*body));
    body->ifa_family = (uint8_t)address->sa.sa_family;
    body->ifa_prefixlen = v6 ? 128 : 32;
    body->ifa_index = change->index;
    if (change->type == RTM_NEWADDR) {
        message->nlmsg_flags |= NLM_F_CREATE | NLM_F_EXCL;
        /* Without this an IPv6 address is tentative for a second or two, and bind() refuses it. */
        if (v6)
            body->ifa_flags = IFA_F_NODAD;
        else if ((ntohl(address->v4.sin_addr.s_addr) & LOOPBACK_MASK) == LOOPBACK_NET)
            body->ifa_scope = RT_SCOPE_HOST;
    }
    mnl_attr_put(message, IFA_LOCAL, len, bytes);
    mnl_attr_put(message, IFA_ADDRESS, len, bytes);
}

static int apply(struct change *change)
{
    char buf[256] __attribute__((aligned(NLMSG_ALIGNTO)));
    int family = change->address->sa.sa_family;
    struct nlmsghdr *request;
    const char *step;
    int rc;

    if (family != AF_INET && family != AF_INET6)
        return fail(change, EAFNOSUPPORT, "");
    if (tw_endpoint_is_wildcard(change->address))
        return fail(change, EINVAL, "");
    change->index = if_nametoindex(change->name);
    if (!change->index)
        return fail(change, ENODEV, "");
    request = mnl_nlmsg_put_header(buf);
    put_request(request, change);
    rc = facts_netlink_ask(NETLINK_ROUTE, request, NULL, NULL, &step);
    return rc ? fail(change, -rc, step) : 0;
}

/* Whether the kernel lets a socket have this address: no, for one that no interface has. */
static bool is_bindable(const struct tw_endpoint *address)
{
    struct tw_endpoint any_port = *address;
    int fd = socket(address->sa.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool bound;

    if (fd < 0)
        return true; /* nothing was learnt */
    tw_endpoint_set_port(&any_port, 0);
    bound = bind(fd, &any_port.sa, tw_endpoint_len(&any_port)) == 0;
    close(fd);
    return bound;
}

/* Whether the interface has the address, with whatever prefix. */
static bool has_address(const char *name, const struct tw_endpoint *address)
{
    struct tw_endpoint own;
    struct ifaddrs *list;
    bool found = false;

    /* Spares the usual new address the list: adding 5,000 in a row would take 5 s instead of 0.4 s.
     */
    if (!is_bindable(address) || getifaddrs(&list))
        return false;
    for (const struct ifaddrs *entry = list; entry && !found; entry = entry->ifa_next)
        found = entry_is_on(entry, name) && entry_address(entry, &own) &&
                tw_endpoint_same_address(&own, address);
    freeifaddrs(list);
    return found;
}

int tw_interface_add(const char *name, const struct tw_endpoint *address, struct tw_error *error)
{
    struct change change = {.type = RTM_NEWADDR, .name = name, .address = address, .error = error};

    /* The kernel refuses an IPv4 address twice only under the same prefix: beside 10.0.0.5/24 it
     * would take 10.0.0.5/32. */
    if (address->sa.sa_family == AF_INET && has_address(name, address))
        return fail(&change, EEXIST, "");
    return apply(&change);
}

int tw_interface_remove(const char *name, const struct tw_endpoint *address, struct tw_error *error)
{
    /* IFA_ADDRESS with the prefix makes the kernel compare the prefix as well: an address that
     * the host has as 10.0.0.5/24 was not added here, and stays. */
    struct change change = {.type = RTM_DELADDR, .name = name, .address = address, .error = error};

    return apply(&change);
}
