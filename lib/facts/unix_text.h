/*
 * unix_text.h - /proc/net/unix, for processes that may not use netlink.
 */
#ifndef UNIX_TEXT_H
#define UNIX_TEXT_H

#include "tidewait/parse.h"
#include "tidewait/unix_sockets.h"

/* Reads one line but the heading. Writes *out on success only; returns 0 or -EINVAL. */
int unix_text_parse(struct tw_view line, struct tw_unix_row *out, struct tw_error *error);

#endif
