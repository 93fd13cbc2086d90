/* message_parts.h - the parts of message.c: the tables of wordings, and the search for endpoints.
 */
#ifndef TIDEWAIT_MESSAGE_PARTS_H
#define TIDEWAIT_MESSAGE_PARTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tidewait/address.h"
#include "tidewait/message.h"
#include "tidewait/parse.h"

#define MESSAGE_NOWHERE SIZE_MAX

/* Where the phrase begins in the text, or MESSAGE_NOWHERE. ASCII letters match in either case; a
 * phrase that begins with a letter or digit is found at the start of a word only. */
size_t message_find(struct tw_view text, const char *phrase);

/* Words that stand for an errno. Weak ones mean something else as well ("Permission denied"); they
 * count only beside a phrase that accepts them. */
struct message_wording {
    const char *phrase;
    int code;
    bool weak;
};

enum {
    PATTERN_WEAK = 1,   /* weak wordings are accepted */
    PATTERN_BEFORE = 2, /* `near` stands in the lines before (a traceback), not behind */
    PATTERN_PLACE = 4,  /* only with a port or a path in the same line */
    PATTERN_UDP = 8,
};

struct message_pattern {
    const char *program;
    const char *phrase; /* in the line of the error; NULL: any line */
    const char *near;   /* in that line or the stack trace below it; NULL: nothing more is asked */
    enum tw_message_op op;
    int code; /* 0: any */
    unsigned flags;
    const char *meaning; /* NULL: message_meaning() */
};

/* Both end with a row without program or phrase; the first match counts. */
extern const struct message_wording message_wordings[];
extern const struct message_pattern message_patterns[];

const char *message_meaning(enum tw_message_op op, int code);

/* What a piece of text says about endpoints, in the order in which it stands there. */
enum message_role { ROLE_PLAIN, ROLE_SOURCE, ROLE_DESTINATION };

#define MESSAGE_FULL_MAX 4

struct message_places {
    struct {
        struct tw_endpoint at;
        enum message_role role; /* a->b, or Local (a) */
    } full[MESSAGE_FULL_MAX];   /* address and port */
    size_t count;
    struct tw_endpoint bare; /* the first address without a port; AF_UNSPEC: none */
    bool has_port;
    uint16_t port;       /* the first port without an address */
    struct tw_view path; /* of a Unix socket, when no full endpoint stands before it */
};

/* Adds what one line, or the rest of one, has. */
void message_places_scan(struct tw_view line, struct message_places *places);

#endif
