/*
 * message.h - recognises the error messages in which programs report an address error.
 *
 * Reads text and asks nobody, but for the index of the interface in fe80::1%eth0. The result is a
 * plain value. Any thread may call, also after fork().
 */
#ifndef TIDEWAIT_MESSAGE_H
#define TIDEWAIT_MESSAGE_H

#include <stdbool.h>

#include "tidewait/address.h"
#include "tidewait/parse.h"

#ifdef __cplusplus
extern "C" {
#endif

enum tw_message_op {
    TW_MESSAGE_ANY,     /* the text does not tell which call failed */
    TW_MESSAGE_BIND,    /* bind() of a server; many say "listen" for bind() and listen() together */
    TW_MESSAGE_LISTEN,  /* listen() itself */
    TW_MESSAGE_CONNECT, /* connect(), or the bind() that a client does for it */
};

/* Room for the path of a Unix socket found in a message, its NUL included. */
#define TW_MESSAGE_PATH_MAX 109

struct tw_message {
    const char *program; /* "Java", "nginx": constant text; "a program" when it is not known */
    enum tw_message_op op;
    int code;         /* EADDRINUSE, EADDRNOTAVAIL, EACCES, EINVAL, EAGAIN */
    uint8_t protocol; /* IPPROTO_TCP, IPPROTO_UDP; 0: Unix */
    bool has_local;
    bool has_remote;
    bool port_only;            /* only a port shows: the address in `local` is the IPv4 wildcard for
                                * want of a better one, or in `remote` 127.0.0.1 */
    struct tw_endpoint local;  /* what was to be bound; port 0 when only an address shows */
    struct tw_endpoint remote; /* connect: the destination; likewise */
    char path[TW_MESSAGE_PATH_MAX]; /* of a Unix socket, '@' for an abstract one; empty: none. Text
                                     * from outside: escape it before it reaches a terminal */
    const char *meaning;            /* what this message of this program really says; constant */
};

/* Looks for the first address error in the text, which may have many lines (a log, a stack trace).
 * Returns 0, or -ENOENT when there is none. *out is written only on success. */
int tw_message_recognise(struct tw_view text, struct tw_message *out);

#ifdef __cplusplus
}
#endif
#endif
