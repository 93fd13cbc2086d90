/*
 * tune_lint.h - `tidewait tune lint`: what the lines of a recipe, or of this system's own files,
 * are worth.
 */
#ifndef TUNE_LINT_H
#define TUNE_LINT_H

#include <stdbool.h>

/* "-" is standard input; without files it reads what the system applies when it starts. Returns an
 * exit code. */
int tune_lint(int count, char **files, bool json, bool color, bool quiet);

#endif
