#include "tidewait/sockets.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* A pseudo-state of requests (Linux 6.8): sockets that are bound but neither listen nor connect.
 * Their rows bear TCP_CLOSE. Older kernels ignore the bit. Not in the headers of Debian 12. */
#define STATE_BOUND_INACTIVE 13

/* The value of idiag_timer that says that idiag_expires counts down a TIME_WAIT. */
#define TIMER_TIME_WAIT 3

/* The kernel fills as much of the reader's buffer as it can, up to 32 KiB: about 400 rows a call.
 */
#define DUMP_BYTES 32768

struct dump {
    int family;
    unsigned state_mask;
    uint16_t local_port; /* 0: all */
    tw_socket_visit *visit;
    void *context;
    struct tw_error *error;
};

/* "The local port is this one", in the language of inet_diag: jump to the end (accept) or beyond it
 * (refuse). */
struct port_filter {
    struct inet_diag_bc_op test;
    struct inet_diag_bc_op port;
};

static int fail(const struct dump *dump, int code, const char *step)
{
    const char *family = dump->family == AF_INET6 ? "IPv6" : "IPv4";

    /* Without its module inet_diag answers ENOENT, which callers would take for "no such socket".
     */
    if (code == ENOENT || code == EPROTONOSUPPORT)
        return tw_error_set(dump->error, EOPNOTSUPP,
                            "listing %s sockets: %s: this kernel has no inet_diag for TCP "
                            "(CONFIG_INET_TCP_DIAG)",
                            family, step);
    return tw_error_set(dump->error, code, "listing %s sockets: %s: %s", family, step,
                        strerror(code));
}

static void put_request(struct nlmsghdr *message, const struct dump *dump)
{
    struct inet_diag_req_v2 *request;

    message->nlmsg_type = SOCK_DIAG_BY_FAMILY;
    message->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
    request = mnl_nlmsg_put_extra_header(message, sizeof(*request));
    request->sdiag_family = (uint8_t)dump->family;
    request->sdiag_protocol = IPPROTO_TCP;
    request->idiag_states = dump->state_mask;
    if (dump->local_port) {
        struct port_filter filter = {
            .test = {.code = INET_DIAG_BC_S_EQ, .yes = sizeof(filter), .no = sizeof(filter) + 4},
            .port = {.no = dump->local_port},
        };

        /* The request's own field is the cheaper filter, but bound sockets pass it by; they do not
         * pass the program. */
        request->id.idiag_sport = htons(dump->local_port);
        mnl_attr_put(message, INET_DIAG_REQ_BYTECODE, sizeof(filter), &filter);
    }
}

static struct tw_endpoint to_endpoint(int family, const void *address, uint16_t port_be,
                                      uint32_t device)
{
    struct tw_endpoint endpoint = {0};

    endpoint.sa.sa_family = (sa_family_t)family;
    if (family == AF_INET6) {
        memcpy(&endpoint.v6.sin6_addr, address, sizeof(endpoint.v6.sin6_addr));
        endpoint.v6.sin6_port = port_be;
        if (IN6_IS_ADDR_LINKLOCAL(&endpoint.v6.sin6_addr))
            endpoint.v6.sin6_scope_id = device;
    } else {
        memcpy(&endpoint.v4.sin_addr, address, sizeof(endpoint.v4.sin_addr));
        endpoint.v4.sin_port = port_be;
    }
    return endpoint;
}

static int visit_message(const struct nlmsghdr *message, const struct dump *dump)
{
    const struct inet_diag_msg *diag = mnl_nlmsg_get_payload(message);
    const struct inet_diag_sockid *id;
    struct tw_socket_row row;

    if (message->nlmsg_type != SOCK_DIAG_BY_FAMILY ||
        mnl_nlmsg_get_payload_len(message) < sizeof(*diag))
        return 0;
    /* Kernels before 6.8 could not filter all that was asked for: what is handed on must fit. */
    id = &diag->id;
    if (diag->idiag_state > 31 || !(dump->state_mask & TW_STATE_MASK(diag->idiag_state)) ||
        (dump->local_port && ntohs(id->idiag_sport) != dump->local_port))
        return 0;
    row = (struct tw_socket_row){
        .state = diag->idiag_state,
        .local = to_endpoint(diag->idiag_family, id->idiag_src, id->idiag_sport, id->idiag_if),
        .remote = to_endpoint(diag->idiag_family, id->idiag_dst, id->idiag_dport, id->idiag_if),
        .uid = diag->idiag_uid,
        .inode = diag->idiag_inode,
    };
    /* An orphan in FIN_WAIT_2 runs on the same timer, but what ends with it is not a TIME_WAIT. */
    if (diag->idiag_state == TCP_TIME_WAIT && diag->idiag_timer == TIMER_TIME_WAIT)
        row.expires_ms = diag->idiag_expires;
    return dump->visit(&row, dump->context);
}

/* What the last message of a dump reports: 0 or a positive errno. */
static int end_code(const struct nlmsghdr *message)
{
    /* Both NLMSG_DONE and NLMSG_ERROR begin with 0 or -errno; old kernels may leave DONE empty. */
    int code = 0;

    if (mnl_nlmsg_get_payload_len(message) >= sizeof(code))
        memcpy(&code, mnl_nlmsg_get_payload(message), sizeof(code));
    return code < 0 ? -code : 0;
}

/* Visits the rows of one datagram. *done is set when the dump is over or was stopped. libmnl's own
 * mnl_cb_run() gives up on NLM_F_DUMP_INTR; here it is no error, because a list of sockets that
 * changes while it is read is the normal case, and each row is right by itself. */
static int visit_datagram(const char *buf, int len, unsigned port_id, unsigned sequence,
                          const struct dump *dump, bool *done)
{
    const struct nlmsghdr *message = (const struct nlmsghdr *)(const void *)buf;

    for (; mnl_nlmsg_ok(message, len); message = mnl_nlmsg_next(message, &len)) {
        int rc;

        if (!mnl_nlmsg_portid_ok(message, port_id) || !mnl_nlmsg_seq_ok(message, sequence))
            continue;
        if (message->nlmsg_type == NLMSG_DONE || message->nlmsg_type == NLMSG_ERROR) {
            *done = true;
            rc = end_code(message);
            return rc ? fail(dump, rc, "the kernel refused the request") : 0;
        }
        if ((rc = visit_message(message, dump))) {
            *done = true;
            return rc;
        }
    }
    return 0;
}

static int run_dump(struct mnl_socket *netlink, char *buf, const struct dump *dump)
{
    struct nlmsghdr *request = mnl_nlmsg_put_header(buf);
    unsigned port_id = mnl_socket_get_portid(netlink);
    unsigned sequence = (unsigned)time(NULL);
    bool done = false;
    int rc = 0;

    request->nlmsg_seq = sequence;
    put_request(request, dump);
    if (mnl_socket_sendto(netlink, request, request->nlmsg_len) < 0)
        return fail(dump, errno, "send");
    while (!done) {
        ssize_t got = mnl_socket_recvfrom(netlink, buf, DUMP_BYTES);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return fail(dump, errno, "receive");
        rc = visit_datagram(buf, (int)got, port_id, sequence, dump, &done);
    }
    return rc;
}

int tw_sockets_each(int family, unsigned state_mask, uint16_t local_port, tw_socket_visit *visit,
                    void *context, struct tw_error *error)
{
    unsigned bound = TW_STATE_MASK(TCP_CLOSE) | TW_STATE_MASK(STATE_BOUND_INACTIVE);
    struct dump dump = {.family = family,
                        .state_mask = state_mask & bound ? state_mask | bound : state_mask,
                        .local_port = local_port,
                        .visit = visit,
                        .context = context,
                        .error = error};
    struct mnl_socket *netlink;
    char *buf;
    int rc;

    if (family != AF_INET && family != AF_INET6)
        return tw_error_set(error, EAFNOSUPPORT, "listing sockets: family %d is not IP", family);
    netlink = mnl_socket_open2(NETLINK_SOCK_DIAG, SOCK_CLOEXEC);
    if (!netlink)
        return fail(&dump, errno, "netlink socket");
    buf = malloc(DUMP_BYTES);
    if (!buf)
        rc = fail(&dump, ENOMEM, "buffer");
    else if (mnl_socket_bind(netlink, 0, MNL_SOCKET_AUTOPID) < 0)
        rc = fail(&dump, errno, "netlink bind");
    else
        rc = run_dump(netlink, buf, &dump);
    free(buf);
    mnl_socket_close(netlink);
    return rc;
}
