/*
 * diag.h - a conversation with sock_diag(7), shared by inet_diag and unix_diag.
 *
 * One request at a time; the next may follow when the last one was answered to its end.
 */
#ifndef DIAG_H
#define DIAG_H

#include <libmnl/libmnl.h>
#include <stdbool.h>

#include "tidewait/error.h"

struct diag {
    struct mnl_socket *netlink;
    char *buf;
    unsigned sequence;
    uint16_t type;    /* of the request; the rows of its answer bear the same */
    const char *what; /* "listing TCP sockets": begins each error text; the caller may change it */
    const char *module; /* the kernel's option without which there is no answer */
    struct tw_error *error;
};

/* Returns 0 or -errno. `what`, `module` and `error` live as long as the conversation. */
int diag_open(struct diag *diag, const char *what, const char *module, struct tw_error *error);
void diag_close(struct diag *diag);

/* Whether this -errno of diag_open() is a policy's word (seccomp, a sandbox without netlink), so
 * that /proc may still tell. */
bool diag_is_refused(int rc);

/* Begins a message of this type in the buffer; the caller adds header and attributes. */
struct nlmsghdr *diag_begin(struct diag *diag, uint16_t type, uint16_t flags);

/* Sends the message, and hands on each row of the answer until the visitor returns non-zero.
 * Returns 0, the visitor's value, or -errno. */
typedef int diag_visit(const struct nlmsghdr *message, void *context);
int diag_run(struct diag *diag, diag_visit *visit, void *context);

/* Sends the message and waits for the verdict alone: 0 or the kernel's -errno, without a text. */
int diag_ask(struct diag *diag);

#endif
