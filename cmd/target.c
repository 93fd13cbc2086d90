#include "target.h"

#include <errno.h>
#include <string.h>

/* Cuts "/udp" or "/tcp" off the end. */
static struct tw_view cut_protocol(struct tw_view text, uint8_t *protocol)
{
    *protocol = IPPROTO_TCP;
    if (text.len > 4 && text.data[text.len - 4] == '/') {
        struct tw_view suffix = {text.data + text.len - 3, 3};

        if (tw_view_equals(suffix, "udp"))
            *protocol = IPPROTO_UDP;
        else if (!tw_view_equals(suffix, "tcp"))
            return text;
        text.len -= 4;
    }
    return text;
}

static int parse_endpoint(struct tw_view text, struct target *out, struct tw_error *error)
{
    static const char localhost[] = "localhost:";
    struct tw_endpoint anywhere = {.v4 = {.sin_family = AF_INET}};
    struct tw_listen_range range;
    int rc;

    if (text.len >= sizeof(localhost) && memcmp(text.data, localhost, sizeof(localhost) - 1) == 0) {
        anywhere.v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        text.data += sizeof(localhost) - 1;
        text.len -= sizeof(localhost) - 1;
        out->has_address = true;
        if (memchr(text.data, ':', text.len))
            return tw_error_set(error, EINVAL, "behind localhost: stands a port");
    }
    /* Port 0 lets the kernel choose; the parser of ranges knows ports from 1 on. */
    out->endpoint = anywhere;
    if (tw_view_equals(text, "0") || tw_view_equals(text, ":0"))
        return 0;
    if (text.len > 2 && memcmp(text.data + text.len - 2, ":0", 2) == 0) {
        struct tw_view address = {text.data, text.len - 2};

        out->has_address = true;
        return tw_address_parse(address, &out->endpoint, error);
    }
    rc = tw_listen_range_parse(text, &anywhere, &range, error);
    if (rc)
        return rc;
    if (range.addresses.count != 1 || range.ports.first != range.ports.last)
        return tw_error_set(error, EINVAL, "'%.*s' is a range; name one address and one port",
                            (int)text.len, text.data);
    out->endpoint = range.addresses.first;
    tw_endpoint_set_port(&out->endpoint, range.ports.first);
    out->has_address |= memchr(text.data, ':', text.len) && text.data[0] != ':';
    return 0;
}

int target_parse(const char *text, struct target *out, struct tw_error *error)
{
    struct target target = {0};
    struct tw_error inner = {0};
    int rc;

    if (strncmp(text, "unix:", 5) == 0) {
        target.path = text + 5;
        if (!*target.path)
            return tw_error_set(error, EINVAL, "'unix:' needs a path: unix:/run/x.sock");
        *out = target;
        return 0;
    }
    rc = parse_endpoint(cut_protocol(tw_view_of(text), &target.protocol), &target, &inner);
    if (rc)
        return tw_error_set(error, inner.code, "'%.60s' is no address: %s", text, inner.text);
    *out = target;
    return 0;
}
