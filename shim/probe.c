#include "probe.h"

#include <arpa/inet.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <netinet/tcp.h>
#include <string.h>

#include "kernel.h"

enum {
    TIMER_TIME_WAIT = 3, /* idiag_timer of what is no full socket any more */
    CLOSING_STATES = 1 << TCP_FIN_WAIT1 | 1 << TCP_FIN_WAIT2 | 1 << TCP_CLOSING | 1 << TCP_LAST_ACK,
    ANSWER_MAX = 1024, /* 440 with tcp_info on 6.18; a longer one is cut, which does no harm */
};

struct request {
    struct nlmsghdr head;
    struct inet_diag_req_v2 body;
};

static void write_request(struct request *request, const struct endpoint *local,
                          const struct endpoint *remote, int device)
{
    *request = (struct request){
        .head = {.nlmsg_len = sizeof(*request),
                 .nlmsg_type = SOCK_DIAG_BY_FAMILY,
                 .nlmsg_flags = NLM_F_REQUEST},
        .body = {.sdiag_family = remote->family,
                 .sdiag_protocol = IPPROTO_TCP,
                 .idiag_states = ~0u,
                 .id = {.idiag_sport = htons(local->port),
                        .idiag_dport = htons(remote->port),
                        .idiag_if = (uint32_t)device,
                        .idiag_cookie = {INET_DIAG_NOCOOKIE, INET_DIAG_NOCOOKIE}}},
    };
    memcpy(request->body.id.idiag_src, local->address, sizeof(local->address));
    memcpy(request->body.id.idiag_dst, remote->address, sizeof(remote->address));
}

static void read_timestamps(struct probe *probe, const struct nlmsghdr *head)
{
    const struct inet_diag_msg *body = NLMSG_DATA(head);
    const struct rtattr *attribute = (const struct rtattr *)(body + 1);
    int left = (int)(head->nlmsg_len - NLMSG_LENGTH(sizeof(*body)));

    for (; RTA_OK(attribute, left); attribute = RTA_NEXT(attribute, left)) {
        const struct tcp_info *info = RTA_DATA(attribute);

        if (attribute->rta_type != INET_DIAG_INFO)
            continue;
        probe->timestamps_told = info->tcpi_state == TCP_ESTABLISHED;
        probe->timestamps = (info->tcpi_options & TCPI_OPT_TIMESTAMPS) != 0;
    }
}

static void read_answer(struct probe *probe, const struct nlmsghdr *head, long len)
{
    const struct inet_diag_msg *body = NLMSG_DATA(head);

    if (len < (long)NLMSG_LENGTH(sizeof(struct nlmsgerr)))
        return;
    if (head->nlmsg_type == NLMSG_ERROR) {
        if (((const struct nlmsgerr *)NLMSG_DATA(head))->error == -ENOENT)
            probe->answer = PROBE_FREE;
        return;
    }
    if (head->nlmsg_type != SOCK_DIAG_BY_FAMILY || head->nlmsg_len > len ||
        head->nlmsg_len < NLMSG_LENGTH(sizeof(*body)))
        return;
    probe->answer = PROBE_TAKEN;
    /* Without a connection the kernel looks for a listener on the port. */
    if (body->idiag_state == TCP_LISTEN) {
        probe->answer = PROBE_FREE;
    } else if (body->idiag_state == TCP_TIME_WAIT && body->idiag_timer == TIMER_TIME_WAIT) {
        probe->answer = PROBE_TIME_WAIT;
        probe->left_s = body->idiag_expires / 1000 + 1;
    } else if (body->idiag_state < 32 && (1u << body->idiag_state & CLOSING_STATES)) {
        probe->answer = PROBE_CLOSING;
    }
    read_timestamps(probe, head);
}

struct probe probe_tuple(const struct endpoint *local, const struct endpoint *remote, int device,
                         bool want_timestamps)
{
    struct probe probe = {.answer = PROBE_UNKNOWN};
    struct request request;
    union {
        struct nlmsghdr head;
        char bytes[ANSWER_MAX];
    } answer;
    long fd = kernel(SYS_socket, AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
    long len;

    if (fd < 0)
        return probe;
    write_request(&request, local, remote, device);
    if (want_timestamps)
        request.body.idiag_ext = 1 << (INET_DIAG_INFO - 1);
    /* The kernel answers before sendto() returns. */
    if (kernel(SYS_sendto, fd, &request, sizeof(request), 0, NULL, 0) == sizeof(request)) {
        len = kernel(SYS_recvfrom, fd, &answer, sizeof(answer), MSG_DONTWAIT, NULL, NULL);
        read_answer(&probe, &answer.head, len);
    }
    kernel(SYS_close, fd);
    return probe;
}

bool probe_source(const struct endpoint *remote, struct endpoint *source)
{
    union socket_address address;
    socklen_t len = endpoint_write(remote, remote->family, &address);
    long fd = kernel(SYS_socket, remote->family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool known = false;

    if (fd < 0)
        return false;
    if (kernel(SYS_connect, fd, &address, len) == 0) {
        len = sizeof(address);
        if (kernel(SYS_getsockname, fd, &address, &len) == 0)
            known = endpoint_read(source, &address.sa, len);
    }
    kernel(SYS_close, fd);
    return known;
}
