/*
 * emit_text.h - what the formats of emit.h share.
 */
#ifndef EMIT_TEXT_H
#define EMIT_TEXT_H

#include <stdio.h>

#include "change.h"

/* Text of others on one line of ASCII: any other byte as \xNN. Those in `special` (may be NULL) get
 * a backslash before them. */
void emit_ascii(FILE *out, const char *text, const char *special);

/* A whole line: mark, text. */
void emit_comment(FILE *out, const char *mark, const char *text);

/* The value with single blanks, between double quotes that YAML and JSON understand. */
void emit_quoted(FILE *out, const char *value);

/* The value with single blanks. */
void emit_value(FILE *out, const char *value);

/* Whether it is this setting: its name without "net.ipv4." and the like. */
bool emit_is(const struct change *change, const char *name);

/* One line of a batch file. */
void emit_batch_comment(FILE *out, const char *text);

/* The formats of other systems. */
void emit_netsh(FILE *out, const struct changes *changes);
void emit_reg(FILE *out, const struct changes *changes);
void emit_freebsd(FILE *out, const struct changes *changes);
void emit_macos(FILE *out, const struct changes *changes);

#endif
