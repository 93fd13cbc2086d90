/*
 * text.h - text of somebody else (a command line, a name, a path), made harmless for a terminal.
 *
 * Pure functions on the caller's memory; any thread may call, also after fork().
 */
#ifndef TIDEWAIT_TEXT_H
#define TIDEWAIT_TEXT_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The length of the UTF-8 character at the front of `len` (> 0) bytes, its code in *code; 0 when it
 * is none. */
size_t tw_text_take(const char *text, size_t len, uint32_t *code);

/* False for control characters (C0, DEL, C1) and those that turn the direction of writing. */
bool tw_text_is_harmless(uint32_t code);

/* Copies text with each character that is not harmless, and each byte that is no UTF-8, written as
 * \xNN. Writes at most `room` bytes, never half
 * a character, and no NUL; four times `len` is always enough. Returns how many. */
size_t tw_text_safe(char *buf, size_t room, const char *text, size_t len);

/* As vsnprintf(), and then safe; what does not fit into `size` bytes with the NUL is cut. Texts
 * longer than 1 KiB are cut before. */
void tw_text_format(char *buf, size_t size, const char *format, va_list args)
    __attribute__((format(printf, 3, 0)));

#ifdef __cplusplus
}
#endif
#endif
