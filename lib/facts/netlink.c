#include "netlink.h"

#include <errno.h>
#include <time.h>

/* How often a list is read anew that changed meanwhile. */
#define TRIES 8

static int receive(struct mnl_socket *netlink, unsigned sequence, mnl_cb_t visit, void *context,
                   const char **step)
{
    /* The kernel fills up to 32 KiB of a reader's buffer with a list. */
    char buf[32768] __attribute__((aligned(NLMSG_ALIGNTO)));
    unsigned port_id = mnl_socket_get_portid(netlink);
    int rc;

    do {
        ssize_t got = mnl_socket_recvfrom(netlink, buf, sizeof(buf));

        if (got < 0 && errno == EINTR) {
            rc = MNL_CB_OK;
            continue;
        }
        *step = "netlink receive";
        if (got < 0)
            return -errno;
        *step = "";
        rc = mnl_cb_run(buf, (size_t)got, sequence, port_id, visit, context);
    } while (rc > MNL_CB_STOP);
    return rc < 0 ? -errno : 0;
}

static int ask_once(int bus, struct nlmsghdr *request, mnl_cb_t visit, void *context,
                    const char **step)
{
    struct mnl_socket *netlink;
    int rc;

    *step = "netlink socket";
    netlink = mnl_socket_open2(bus, SOCK_CLOEXEC);
    if (!netlink)
        return -errno;
    *step = "netlink bind";
    rc = mnl_socket_bind(netlink, 0, MNL_SOCKET_AUTOPID) < 0 ? -errno : 0;
    if (!rc) {
        *step = "netlink send";
        rc = mnl_socket_sendto(netlink, request, request->nlmsg_len) < 0 ? -errno : 0;
    }
    if (!rc)
        rc = receive(netlink, request->nlmsg_seq, visit, context, step);
    mnl_socket_close(netlink);
    return rc;
}

int facts_netlink_ask(int bus, struct nlmsghdr *request, mnl_cb_t visit, void *context,
                      const char **step)
{
    const char *unused;
    int rc;

    request->nlmsg_seq = (unsigned)time(NULL);
    for (int i = 0; i < TRIES; i++) {
        rc = ask_once(bus, request, visit, context, step ? step : &unused);
        if (rc != -EINTR)
            break;
    }
    return rc;
}

struct wanted {
    uint16_t type;
    size_t least;
    const struct nlattr *found;
};

static int pick(const struct nlattr *attribute, void *context)
{
    struct wanted *wanted = context;

    if (mnl_attr_get_type(attribute) == wanted->type &&
        mnl_attr_get_payload_len(attribute) >= wanted->least)
        wanted->found = attribute;
    return MNL_CB_OK;
}

const struct nlattr *facts_attribute(const struct nlmsghdr *message, size_t header, uint16_t type,
                                     size_t least)
{
    struct wanted wanted = {.type = type, .least = least};

    mnl_attr_parse(message, (unsigned)header, pick, &wanted);
    return wanted.found;
}

const struct nlattr *facts_nested(const struct nlattr *nest, uint16_t type, size_t least)
{
    struct wanted wanted = {.type = type, .least = least};

    if (nest)
        mnl_attr_parse_nested(nest, pick, &wanted);
    return wanted.found;
}
