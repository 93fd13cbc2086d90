/*
 * error.h - an errno with the words a person needs.
 *
 * Functions of the library return 0 (or a value >= 0) on success and -errno on failure. Those for
 * which errno alone is too poor take a `struct tw_error *` as last argument; it may be NULL. The
 * caller owns the struct; nothing in it needs freeing. It starts zeroed, and the first error wins:
 * once set it is never overwritten, so the text tells the cause and not a consequence.
 *
 * The library keeps nothing between two calls but what the caller holds, so any thread may call,
 * also after fork(), where a header does not say otherwise. No function may be called from a signal
 * handler, unless it says so.
 */
#ifndef TIDEWAIT_ERROR_H
#define TIDEWAIT_ERROR_H

#ifdef __cplusplus
extern "C" {
#endif

struct tw_error {
    int code;       /* a positive errno value; 0: no error */
    char text[256]; /* what failed, on what, why; one line without a newline; may be cut at the end
                     */
};

/* Fills *error unless it is NULL or holds an earlier error. Returns -code, to be returned in turn.
 */
int tw_error_set(struct tw_error *error, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#ifdef __cplusplus
}
#endif
#endif
