/*
 * quote.h - commands put together for a shell. All texts are from malloc; NULL without memory.
 */
#ifndef QUOTE_H
#define QUOTE_H

#include "hosts.h"

/* The text as one word of a shell: in single quotes. */
char *quote_word(const char *text);

/* Puts host, user and port, and the command as one word, where {host}, {user}, {port} and {command}
 * stand. A NULL command leaves {command} as it is. */
char *quote_fill(const char *pattern, const struct host *host, const char *user,
                 const char *command);

#endif
