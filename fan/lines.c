#include "lines.h"

#include <stdlib.h>
#include <string.h>

static bool hold(struct lines *lines, const char *data, size_t len)
{
    size_t room = lines->room ? lines->room : 256;

    while (room < lines->len + len)
        room *= 2;
    if (room > lines->room) {
        char *held = realloc(lines->held, room);

        if (!held)
            return false;
        lines->held = held;
        lines->room = room;
    }
    memcpy(lines->held + lines->len, data, len);
    lines->len += len;
    return true;
}

/* Takes up to `len` bytes without a newline; returns how many. */
static size_t take_part(struct lines *lines, const char *data, size_t len, line_taker *taker,
                        void *context)
{
    size_t part = LINE_MAX_LEN - lines->len < len ? LINE_MAX_LEN - lines->len : len;

    if (!hold(lines, data, part)) {
        /* Without memory a line is torn rather than lost. */
        taker(context, lines->held, lines->len, LINE_GOES_ON);
        taker(context, data, part, LINE_GOES_ON);
        lines->len = 0;
        return part;
    }
    /* Full, and more of the same line is there. */
    if (lines->len == LINE_MAX_LEN && part < len) {
        taker(context, lines->held, lines->len, LINE_GOES_ON);
        lines->len = 0;
    }
    return part;
}

void lines_add(struct lines *lines, const char *data, size_t len, line_taker *taker, void *context)
{
    while (len) {
        const char *newline = memchr(data, '\n', len);
        size_t size = newline ? (size_t)(newline - data) : len;

        if (newline && lines->len == 0 && size <= LINE_MAX_LEN) {
            taker(context, data, size, LINE_WHOLE);
            data += size + 1;
            len -= size + 1;
            continue;
        }
        /* A full line that turns out to go on. */
        if (size && lines->len == LINE_MAX_LEN) {
            taker(context, lines->held, lines->len, LINE_GOES_ON);
            lines->len = 0;
        }
        while (size) {
            size_t part = take_part(lines, data, size, taker, context);

            data += part;
            len -= part;
            size -= part;
        }
        if (newline) {
            taker(context, lines->held, lines->len, LINE_WHOLE);
            lines->len = 0;
            data++;
            len--;
        }
    }
}

void lines_end(struct lines *lines, line_taker *taker, void *context)
{
    if (lines->len)
        taker(context, lines->held, lines->len, LINE_CUT);
    free(lines->held);
    *lines = (struct lines){.held = NULL};
}
