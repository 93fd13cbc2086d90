/*
 * verdict.h - why an address cannot be had: a cause with a stable name, evidence, remedies.
 *
 * Ask a question, get a verdict:
 *
 *     struct tw_question question = {.op = TW_OP_BIND, .protocol = IPPROTO_TCP, .local = endpoint};
 *     struct tw_verdict *verdict = tw_verdict_new(&question, &error);
 *     if (verdict && verdict->answer != TW_ANSWER_FREE)
 *         puts(verdict->summary);
 *     tw_verdict_free(verdict);
 *
 * or let your own socket be the question, right after its bind() or listen() failed:
 *
 *     if (bind(fd, address, len)) {
 *         struct tw_verdict *verdict = tw_why_bind(fd, address, len, &error);
 *
 * The verdict owns all that it points to; tw_verdict_free() frees everything at once. It works
 * without privilege: what could not be seen is listed in `hidden`. Texts are one line each and safe
 * on a terminal. Any thread may call, also after fork(), but not a signal handler; the question is
 * about the calling thread's network namespace.
 */
#ifndef TIDEWAIT_VERDICT_H
#define TIDEWAIT_VERDICT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tidewait/error.h"
#include "tidewait/process.h"
#include "tidewait/rules.h"
#include "tidewait/socket_row.h"

#ifdef __cplusplus
extern "C" {
#endif

enum tw_op {
    TW_OP_BIND,    /* bind(), and listen() right after it: what a server does */
    TW_OP_LISTEN,  /* listen() on a socket that is bound to the address already */
    TW_OP_CONNECT, /* connect() to `remote` */
};

/* Where to look when the address is free in the caller's own network namespace. */
enum tw_netns_scope {
    TW_NETNS_OWN,     /* nowhere else */
    TW_NETNS_VISIBLE, /* into those that may be entered */
    TW_NETNS_ALL,     /* likewise, and name those that may not as hidden */
};

/* Zeroed members mean the default. */
struct tw_question {
    enum tw_op op;
    uint8_t protocol;          /* IPPROTO_TCP, IPPROTO_UDP; 0: a Unix socket */
    struct tw_endpoint local;  /* bind, listen: the address; port 0: any. connect: the source
                                * address and port, AF_UNSPEC when the kernel chooses */
    struct tw_endpoint remote; /* connect: the destination */
    const char *path;          /* of a Unix socket; an abstract one begins with '@' */
    bool reuseaddr;            /* the asker sets SO_REUSEADDR */
    bool reuseport;            /* SO_REUSEPORT */
    bool v6only;               /* IPV6_V6ONLY */
    bool bound;                /* the asker's socket is bound already (a second bind()) */
    const char *device;        /* SO_BINDTODEVICE; NULL: none */
    bool as_other;             /* ask as user `uid`, else as the caller */
    uint32_t uid;
    int pid; /* the asking process, whose own sockets are told apart; 0: nobody */
    enum tw_netns_scope scope;
    bool no_trial; /* do not try the very bind() */
};

enum tw_answer {
    TW_ANSWER_FREE,
    TW_ANSWER_IN_USE,      /* EADDRINUSE */
    TW_ANSWER_UNAVAILABLE, /* EADDRNOTAVAIL, EAGAIN */
    TW_ANSWER_DENIED,      /* EACCES, EPERM, EINVAL */
    TW_ANSWER_SLOW,        /* it works, but costs */
};

/* A process that has the socket open. */
struct tw_verdict_holder {
    struct tw_process process;
    uint32_t inode;
    int fd;
    struct tw_socket_row socket; /* the socket that it holds */
};

/* What the verdict rests on. */
struct tw_verdict_evidence {
    const char *kind; /* "socket", "sysctl", "rule", "address", "trial", ... */
    const char *text;
    const struct tw_socket_row *socket; /* of kind "socket"; else NULL */
};

struct tw_verdict_remedy {
    const char *what;    /* "stop the service" */
    const char *command; /* to be typed as it is; NULL when it is no command */
    bool safe;           /* nobody loses anything by it */
    const char *why;
};

struct tw_verdict {
    struct tw_question question;
    enum tw_answer answer;
    int code;            /* the errno that the asker gets; 0: none */
    const char *cause;   /* stable name, tw_cause_name(); NULL when free */
    const char *summary; /* one sentence */
    struct tw_verdict_holder *holders;
    size_t holder_count;
    struct tw_verdict_evidence *evidence;
    size_t evidence_count;
    struct tw_verdict_remedy *remedies; /* the gentlest first */
    size_t remedy_count;
    int64_t free_in_ms;  /* until time alone cures it; -1: it does not */
    const char **hidden; /* what could not be seen, and why */
    size_t hidden_count;
    struct tw_rules_lane lane; /* of connect without a source port; all 0 otherwise */
    bool tried;                /* the kernel was asked by the very bind(), */
    int trial_code;            /* and this is what it said: 0 or an errno */
    bool disagrees;            /* its word is not what the rules predict: a defect of tidewait */
};

/* NULL with *error set when there is no memory or the question makes no sense (-EINVAL). */
struct tw_verdict *tw_verdict_new(const struct tw_question *question, struct tw_error *error);
void tw_verdict_free(struct tw_verdict *verdict);

/* Why the caller's own bind(fd, address, len) failed: IPv4, IPv6 or Unix. Protocol and options are
 * read from the socket; it stays as it is. With `address` NULL: why listen(fd) failed. With `fd`
 * -1: why tw_listen() failed (without `share`), or anybody who makes a TCP socket with SO_REUSEADDR
 * and IPV6_V6ONLY. The answer is about this very moment, so it may be TW_ANSWER_FREE by now. NULL
 * as tw_verdict_new(), and with EBADF, ENOTSOCK or EAFNOSUPPORT when no question can be made of it.
 * errno is not kept. */
struct tw_verdict *tw_why_bind(int fd, const struct sockaddr *address, socklen_t len,
                               struct tw_error *error);

/* The errno's name, "EADDRINUSE"; "0" when 0. */
const char *tw_errno_name(int code);
const char *tw_answer_name(enum tw_answer answer); /* "in-use" */
const char *tw_op_name(enum tw_op op);             /* "bind" */

/* The stable name of cause `index` and what it means, one sentence; NULL from the index on where
 * there are no more. */
const char *tw_cause_name(size_t index);
const char *tw_cause_meaning(size_t index);

#ifdef __cplusplus
}
#endif
#endif
