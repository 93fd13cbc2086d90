#include "ls_out.h"
#include "tidewait/text.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

/* --- the buffer --- */

void ls_out_flush(struct ls_out *out)
{
    size_t done = 0;

    while (done < out->used && !out->code) {
        ssize_t wrote = write(out->fd, out->data + done, out->used - done);

        if (wrote >= 0)
            done += (size_t)wrote;
        else if (errno != EINTR)
            out->code = errno;
    }
    out->used = 0;
}

void ls_out_bytes(struct ls_out *out, const char *data, size_t len)
{
    while (len > sizeof(out->data) - out->used) {
        size_t part = sizeof(out->data) - out->used;

        memcpy(out->data + out->used, data, part);
        out->used += part;
        data += part;
        len -= part;
        ls_out_flush(out);
    }
    memcpy(out->data + out->used, data, len);
    out->used += len;
}

void ls_out_text(struct ls_out *out, const char *text)
{
    ls_out_bytes(out, text, strlen(text));
}

void ls_out_number(struct ls_out *out, uint64_t value)
{
    char digits[20];
    size_t len = ls_format_number(digits, value);

    ls_out_bytes(out, digits, len);
}

void ls_out_blanks(struct ls_out *out, size_t count)
{
    static const char blanks[] = "                                ";

    for (size_t part; count; count -= part) {
        part = count < sizeof(blanks) - 1 ? count : sizeof(blanks) - 1;
        ls_out_bytes(out, blanks, part);
    }
}

/* --- numbers and addresses --- */

size_t ls_format_number(char *buf, uint64_t value)
{
    char digits[20];
    size_t len = 0;

    do {
        digits[len++] = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    for (size_t i = 0; i < len; i++)
        buf[i] = digits[len - 1 - i];
    return len;
}

static size_t format_v4(char *buf, const struct in_addr *address)
{
    uint32_t value = ntohl(address->s_addr);
    size_t len = 0;

    for (int shift = 24; shift >= 0; shift -= 8) {
        len += ls_format_number(buf + len, value >> shift & 0xff);
        if (shift)
            buf[len++] = '.';
    }
    return len;
}

static size_t format_v6(char *buf, const struct sockaddr_in6 *v6)
{
    char zone[IF_NAMESIZE];
    size_t len;

    inet_ntop(AF_INET6, &v6->sin6_addr, buf, INET6_ADDRSTRLEN);
    len = strlen(buf);
    if (v6->sin6_scope_id && if_indextoname(v6->sin6_scope_id, zone)) {
        buf[len++] = '%';
        len = (size_t)(stpcpy(buf + len, zone) - buf);
    }
    return len;
}

size_t ls_format_address(char buf[TW_ENDPOINT_TEXT_MAX], const struct tw_endpoint *endpoint)
{
    return endpoint->sa.sa_family == AF_INET6 ? format_v6(buf, &endpoint->v6)
                                              : format_v4(buf, &endpoint->v4.sin_addr);
}

size_t ls_format_endpoint(char buf[TW_ENDPOINT_TEXT_MAX], const struct tw_endpoint *endpoint)
{
    uint16_t port = tw_endpoint_port(endpoint);
    size_t len = 0;

    if (endpoint->sa.sa_family == AF_INET6) {
        buf[0] = '[';
        len = 1 + format_v6(buf + 1, &endpoint->v6);
        buf[len++] = ']';
    } else {
        len = format_v4(buf, &endpoint->v4.sin_addr);
    }
    buf[len++] = ':';
    if (port)
        return len + ls_format_number(buf + len, port);
    buf[len++] = '*';
    return len;
}

/* --- text of others --- */

size_t ls_cut_columns(const char *text, size_t len, size_t columns)
{
    size_t at = 0;

    while (at < len) {
        if (((unsigned char)text[at] & 0xc0) != 0x80 && columns-- == 0)
            break;
        at++;
    }
    return at;
}

void ls_out_json(struct ls_out *out, const char *text, size_t len)
{
    static const char hex[] = "0123456789abcdef";

    ls_out_bytes(out, "\"", 1);
    while (len) {
        uint32_t code = 0;
        size_t size = tw_text_take(text, len, &code);

        if (size == 0) {
            ls_out_bytes(out, "\\ufffd", 6);
            size = 1;
        } else if (code == '"' || code == '\\') {
            char escaped[2] = {'\\', (char)code};

            ls_out_bytes(out, escaped, 2);
        } else if (!tw_text_is_harmless(code)) {
            char escaped[6] = {
                '\\',          'u', hex[code >> 12 & 15], hex[code >> 8 & 15], hex[code >> 4 & 15],
                hex[code & 15]};

            ls_out_bytes(out, escaped, 6);
        } else {
            ls_out_bytes(out, text, size);
        }
        text += size;
        len -= size;
    }
    ls_out_bytes(out, "\"", 1);
}
