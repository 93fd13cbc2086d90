/*
 * nearest.h - the names that somebody who mistyped one may have meant.
 */
#ifndef NEAREST_H
#define NEAREST_H

#include <stddef.h>

#define NEAREST_MAX 3

/* The best so far, the nearest first. Zeroed it is empty. */
struct nearest {
    const char *names[NEAREST_MAX];
    size_t distances[NEAREST_MAX];
    size_t count;
};

/* Keeps a name that is near enough to what was typed; each once. */
void nearest_offer(struct nearest *nearest, const char *typed, const char *name);

/* "; did you mean a, b or c?", or nothing. */
void nearest_print(const struct nearest *nearest, char *text, size_t size);

#endif
