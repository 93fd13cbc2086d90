#include "diag.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <stdlib.h>
#include <string.h>

/* The kernel fills as much of the reader's buffer as it can, up to 32 KiB: about 300 rows a call.
 */
#define DIAG_BYTES 32768

static int fail(const struct diag *diag, int code, const char *step)
{
    /* Without its module the kernel answers ENOENT, which callers would take for "no such socket".
     */
    if (code == ENOENT)
        return tw_error_set(diag->error, EOPNOTSUPP, "%s: %s: this kernel lacks %s", diag->what,
                            step, diag->module);
    return tw_error_set(diag->error, code, "%s: %s: %s", diag->what, step, strerror(code));
}

int diag_open(struct diag *diag, const char *what, const char *module, struct tw_error *error)
{
    int rc;

    *diag = (struct diag){.what = what, .module = module, .error = error};
    diag->netlink = mnl_socket_open2(NETLINK_SOCK_DIAG, SOCK_CLOEXEC);
    if (!diag->netlink) {
        rc = -errno;
        return diag_is_refused(rc) ? rc : fail(diag, -rc, "netlink socket");
    }
    diag->buf = malloc(DIAG_BYTES);
    if (!diag->buf)
        rc = fail(diag, ENOMEM, "buffer");
    else if (mnl_socket_bind(diag->netlink, 0, MNL_SOCKET_AUTOPID) < 0)
        rc = fail(diag, errno, "netlink bind");
    else
        return 0;
    diag_close(diag);
    return rc;
}

void diag_close(struct diag *diag)
{
    free(diag->buf);
    mnl_socket_close(diag->netlink);
}

bool diag_is_refused(int rc)
{
    return rc == -EPERM || rc == -EACCES || rc == -ENOSYS || rc == -EPROTONOSUPPORT ||
           rc == -EAFNOSUPPORT;
}

struct nlmsghdr *diag_begin(struct diag *diag, uint16_t type, uint16_t flags)
{
    struct nlmsghdr *message = mnl_nlmsg_put_header(diag->buf);

    diag->type = type;
    message->nlmsg_type = type;
    message->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
    message->nlmsg_seq = ++diag->sequence;
    return message;
}

/* What the last message of an answer reports: 0 or a positive errno. */
static int end_code(const struct nlmsghdr *message)
{
    /* Both NLMSG_DONE and NLMSG_ERROR begin with 0 or -errno; old kernels may leave DONE empty. */
    int code = 0;

    if (mnl_nlmsg_get_payload_len(message) >= sizeof(code))
        memcpy(&code, mnl_nlmsg_get_payload(message), sizeof(code));
    return code < 0 ? -code : 0;
}

/* What has come of an answer so far. */
struct answer {
    diag_visit *visit;
    void *context;
    bool done;
    int refusal; /* the kernel's errno at the end of it */
};

/* Takes one datagram; returns the visitor's value. libmnl's own mnl_cb_run() gives up on
 * NLM_F_DUMP_INTR; here it is no error, because a list of sockets that changes while it is read is
 * the normal case, and each row is right by itself. */
static int take_datagram(const struct diag *diag, int len, struct answer *answer)
{
    const struct nlmsghdr *message = (const struct nlmsghdr *)(const void *)diag->buf;
    unsigned port_id = mnl_socket_get_portid(diag->netlink);
    int rc;

    for (; mnl_nlmsg_ok(message, len); message = mnl_nlmsg_next(message, &len)) {
        if (!mnl_nlmsg_portid_ok(message, port_id) || !mnl_nlmsg_seq_ok(message, diag->sequence))
            continue;
        if (message->nlmsg_type == NLMSG_DONE || message->nlmsg_type == NLMSG_ERROR) {
            answer->done = true;
            answer->refusal = end_code(message);
            return 0;
        }
        if (message->nlmsg_type == diag->type && answer->visit &&
            (rc = answer->visit(message, answer->context)))
            return rc;
    }
    return 0;
}

/* Returns 0, the visitor's value, or -errno with a text when no answer could be had. */
static int converse(struct diag *diag, struct answer *answer)
{
    const struct nlmsghdr *request = (const struct nlmsghdr *)(const void *)diag->buf;
    int rc = 0;

    if (mnl_socket_sendto(diag->netlink, request, request->nlmsg_len) < 0)
        return fail(diag, errno, "send");
    while (!answer->done && rc == 0) {
        ssize_t got = mnl_socket_recvfrom(diag->netlink, diag->buf, DIAG_BYTES);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return fail(diag, errno, "receive");
        rc = take_datagram(diag, (int)got, answer);
    }
    return rc;
}

int diag_run(struct diag *diag, diag_visit *visit, void *context)
{
    struct answer answer = {.visit = visit, .context = context};
    int rc = converse(diag, &answer);

    return rc == 0 && answer.refusal ? fail(diag, answer.refusal, "the kernel refused the request")
                                     : rc;
}

int diag_ask(struct diag *diag)
{
    struct answer answer = {.visit = NULL};
    int rc = converse(diag, &answer);

    return rc ? rc : -answer.refusal;
}
