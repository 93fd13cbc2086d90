/*
 * lines.h - a stream of bytes cut into lines. A line that is longer than LINE_MAX_LEN comes in
 * several pieces, so that memory has a bound. Pure code but for the memory.
 */
#ifndef LINES_H
#define LINES_H

#include <stdbool.h>
#include <stddef.h>

#define LINE_MAX_LEN (64 << 10)

enum line_end {
    LINE_WHOLE,   /* a newline stood behind it */
    LINE_GOES_ON, /* the line is too long: the next piece belongs to it */
    LINE_CUT,     /* the stream ended without a newline */
};

/* The text has no newline. */
typedef void line_taker(void *context, const char *text, size_t len, enum line_end end);

/* The beginning of a line that has not ended yet. Zeroed it is empty. */
struct lines {
    char *held;
    size_t len, room;
};

/* Hands over the lines that end in these bytes and holds the rest. */
void lines_add(struct lines *lines, const char *data, size_t len, line_taker *taker, void *context);

/* The stream has ended: hands over what is held, and frees it. */
void lines_end(struct lines *lines, line_taker *taker, void *context);

#endif
