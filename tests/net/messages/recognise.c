/* Reads a message from standard input and prints what the library makes of it, a field a line
 * (program=nginx, op=bind, code=EADDRINUSE, protocol=6, local=0.0.0.0:80). Exit status 1: no
 * address error. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tidewait/message.h"

static const char *op_name(enum tw_message_op op)
{
    static const char *const names[] = {"any", "bind", "listen", "connect"};

    return names[op];
}

static const char *code_name(int code)
{
    switch (code) {
    case EADDRINUSE:
        return "EADDRINUSE";
    case EADDRNOTAVAIL:
        return "EADDRNOTAVAIL";
    }
    return strerror(code);
}

int main(void)
{
    static char text[1 << 20];
    size_t len = fread(text, 1, sizeof(text), stdin);
    char buf[TW_ENDPOINT_TEXT_MAX];
    struct tw_message message;

    if (tw_message_recognise((struct tw_view){text, len}, &message)) {
        puts("no address error");
        return 1;
    }
    printf("program=%s\nop=%s\ncode=%s\nprotocol=%d\n", message.program, op_name(message.op),
           code_name(message.code), message.protocol);
    if (message.has_local)
        printf("local=%s\n", tw_endpoint_format(&message.local, buf));
    if (message.has_remote)
        printf("remote=%s\n", tw_endpoint_format(&message.remote, buf));
    if (message.path[0])
        printf("path=%s\n", message.path);
    printf("meaning=%s\n", message.meaning);
    return 0;
}
