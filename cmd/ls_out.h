/*
 * ls_out.h - the way of `ls` to standard output: one buffer of 64 KiB, and the few formats that a
 * million rows need. No printf: it would cost more than the kernel takes to list the sockets.
 */
#ifndef LS_OUT_H
#define LS_OUT_H

#include <stddef.h>
#include <stdint.h>

#include "tidewait/address.h"

#define LS_OUT_BYTES 65536

struct ls_out {
    int fd;
    int code; /* errno of the first write that failed; from then on nothing is written */
    size_t used;
    char data[LS_OUT_BYTES];
};

/* Anything longer than the buffer is written in pieces. */
void ls_out_bytes(struct ls_out *out, const char *data, size_t len);
void ls_out_text(struct ls_out *out, const char *text);
void ls_out_number(struct ls_out *out, uint64_t value);
void ls_out_blanks(struct ls_out *out, size_t count);
void ls_out_flush(struct ls_out *out);

/* Decimal digits without a NUL, 20 at most. Returns how many. */
size_t ls_format_number(char *buf, uint64_t value);

/* The address alone, without brackets, with the zone of a link-local one. */
size_t ls_format_address(char buf[TW_ENDPOINT_TEXT_MAX], const struct tw_endpoint *endpoint);

/* 10.0.0.1:80, [::1]:80; port 0 is "*". No NUL. */
size_t ls_format_endpoint(char buf[TW_ENDPOINT_TEXT_MAX], const struct tw_endpoint *endpoint);

/* The first bytes of (safe) text that take at most `columns` columns. */
size_t ls_cut_columns(const char *text, size_t len, size_t columns);

/* A JSON string with its quotes; what is no UTF-8 becomes U+FFFD. */
void ls_out_json(struct ls_out *out, const char *text, size_t len);

#endif
