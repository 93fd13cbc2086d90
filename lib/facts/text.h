/*
 * text.h - small files of /proc, /sys and the like, read whole.
 */
#ifndef FACTS_TEXT_H
#define FACTS_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tidewait/parse.h"

/* Reads at most `size` bytes into buf; *out is what was read, without blanks and newlines at its
 * end. False when the file cannot be read. */
bool facts_read_text(const char *path, char *buf, size_t size, struct tw_view *out);

/* A file that holds one number >= 0; -1 when it cannot be read or holds anything else. */
int64_t facts_read_number(const char *path);

#endif
