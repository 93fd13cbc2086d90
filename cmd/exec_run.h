/*
 * exec_run.h - runs a program as if it had been started by itself: its own status, its own signals,
 * its own descriptors.
 *
 * What the terminal sends (Ctrl-C, Ctrl-\) reaches the program by itself, since it is in our
 * process group; signals that a process sends to us are passed on. When we are killed by SIGKILL
 * the program is too; what it has left in the background is not.
 */
#ifndef EXEC_RUN_H
#define EXEC_RUN_H

#include "steer.h"
#include "tidewait/error.h"

struct exec_run {
    char *const *argv;
    const struct steer *steer;    /* the program begins in its cgroup; NULL: in ours */
    int fd;                       /* -1, or one that is looked at meanwhile */
    void (*serve)(void *context); /* there is something to be read from it */
    void *context;
};

/* Returns 0 with *status as of waitpid() when the program was run, whatever became of it. Else
 * -errno with *error; then *status is as if it had ended with 127 (not found) or 126 when execve()
 * failed, and 0 after all other errors. */
int exec_run(const struct exec_run *run, int *status, struct tw_error *error);

/* What our exit status should be; when a signal ended the program, the same one ends us. */
int exec_end(int status);

#endif
