/*
 * tool.h - runs a program of the system, without a shell and for a limited time.
 */
#ifndef TOOL_H
#define TOOL_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/* Runs argv[0] from PATH. Its standard output goes to `out`, cut at the size, with a NUL; its
 * errors go to ours. Returns its exit status (128 and more: a signal ended it); -ENOENT and the
 * like when it cannot be run; -ETIMEDOUT or -EINTR (*stop was raised) after it was ended early. */
int tool_run(char *const argv[], uint64_t timeout_ns, const atomic_int *stop, char *out,
             size_t size);

#endif
