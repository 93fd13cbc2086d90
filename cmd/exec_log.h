/*
 * exec_log.h - where `exec` says what it has to say while a program runs: standard error, a file,
 * or syslog. Never standard output, which is the program's.
 */
#ifndef EXEC_LOG_H
#define EXEC_LOG_H

#include <stdbool.h>

#include "tidewait/error.h"

struct exec_log {
    int fd; /* -1: syslog */
};

/* `where` is NULL for standard error, "syslog", or a file to append to. */
int exec_log_open(const char *where, struct exec_log *log, struct tw_error *error);
void exec_log_close(struct exec_log *log);

/* Writes lines, each with its newline, in one piece. False when nobody could take them now: a pipe
 * that is full must not keep us from passing signals on. */
bool exec_log_write(const struct exec_log *log, const char *lines);

#endif
