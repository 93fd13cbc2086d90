/*
 * quote.h - commands put together for a shell. All texts are from malloc; NULL without memory.
 */
#ifndef QUOTE_H
#define QUOTE_H

#include "hosts.h"

/* The text as one word of a shell: in single quotes. */
char *quote_word(const char *text);

/* In a script for the sh of the other end that has the command as $0, and its stderr as 4: runs it
 * by the user's own shell. That is not the first shell there: by SHLVL bash knows that its rc file
 * was read already. Like the scripts that it stands in it has no single quote, backslash or
 * exclamation mark, which shells like csh read in their own way. */
#define QUOTE_RUN "(SHLVL=1; export SHLVL; exec \"${SHELL:-sh}\" -c \"$0\" 2>&4 4>&-)"

/* Puts host, user and port, and the command as one word, where {host}, {user}, {port} and {command}
 * stand. A NULL command leaves {command} as it is. */
char *quote_fill(const char *pattern, const struct host *host, const char *user,
                 const char *command);

#endif
