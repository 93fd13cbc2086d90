#include "tidewait/text.h"

#include <stdio.h>
#include <string.h>

size_t tw_text_take(const char *text, size_t len, uint32_t *code)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char *bytes = (const unsigned char *)text;
    size_t size = bytes[0] < 0x80   ? 1
                  : bytes[0] < 0xc2 ? 0
                  : bytes[0] < 0xe0 ? 2
                  : bytes[0] < 0xf0 ? 3
                  : bytes[0] < 0xf5 ? 4
                                    : 0;

    if (size == 0 || size > len)
        return 0;
    *code = size == 1 ? bytes[0] : bytes[0] & (0x7fu >> size);
    for (size_t i = 1; i < size; i++) {
        if ((bytes[i] & 0xc0) != 0x80)
            return 0;
        *code = *code << 6 | (bytes[i] & 0x3f);
    }
    if (*code < least[size] || *code > 0x10ffff || (*code >= 0xd800 && *code <= 0xdfff))
        return 0;
    return size;
}

bool tw_text_is_harmless(uint32_t code)
{
    return code >= 0x20 && code != 0x7f && !(code >= 0x80 && code < 0xa0) && code != 0x061c &&
           !(code >= 0x200b && code <= 0x200f) && !(code >= 0x2028 && code <= 0x202e) &&
           !(code >= 0x2060 && code <= 0x206f) && code != 0xfeff;
}

size_t tw_text_safe(char *buf, size_t room, const char *text, size_t len)
{
    static const char hex[] = "0123456789abcdef";
    size_t used = 0;

    while (len) {
        uint32_t code = 0;
        size_t size = tw_text_take(text, len, &code);

        if (size && tw_text_is_harmless(code)) {
            if (used + size > room)
                break;
            memcpy(buf + used, text, size);
            used += size;
        } else {
            if (used + 4 > room)
                break;
            size = 1; /* the rest of a harmful character is no UTF-8 by itself */
            buf[used++] = '\\';
            buf[used++] = 'x';
            buf[used++] = hex[(unsigned char)*text >> 4];
            buf[used++] = hex[(unsigned char)*text & 15];
        }
        text += size;
        len -= size;
    }
    return used;
}

void tw_text_format(char *buf, size_t size, const char *format, va_list args)
{
    char raw[1024];

    vsnprintf(raw, sizeof(raw), format, args);
    buf[tw_text_safe(buf, size - 1, raw, strlen(raw))] = 0;
}
