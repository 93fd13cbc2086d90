/*
 * job.h - one host of a run and what becomes of it, and what a transport is.
 *
 * Whatever the transport, a job that runs is one child process of ours with pipes for what the
 * command reads and writes. It leads a session of its own: Ctrl-C on our terminal does not reach
 * it, and it can be ended with all that it has started.
 */
#ifndef JOB_H
#define JOB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "cause.h"
#include "hosts.h"
#include "mark.h"
#include "tidewait/error.h"

enum fan_stream { STREAM_OUT, STREAM_ERR, STREAMS };

enum job_state { JOB_WAITING, JOB_RUNNING, JOB_DONE };

/* How many of the last bytes on stderr are remembered to find a cause in. */
#define ATTEMPT_WORDS_MAX 4096

/* One try to run the command. It is there while the job runs. */
struct attempt {
    pid_t pid;
    int process;        /* pidfd; -1: it has ended */
    int pipes[STREAMS]; /* -1: at their end */
    int leash;          /* the write end of a stdin on which nothing is ever written, or -1 */
    bool exited;
    uint64_t started_ns;
    uint64_t end_ns;      /* when it is to be ended, or the next step of that; TW_NEVER: never */
    enum fan_cause ended; /* why we end it; CAUSE_NONE: we do not */
    int steps;            /* how far ending it has come */
    /* A line that the transport lets the other end write on stderr as soon as the command is about
     * to run. Until then what comes there is the transport's own words; they are held back. NULL:
     * there is none, or it has come. It belongs to the transport. */
    const char *mark;
    char words[ATTEMPT_WORDS_MAX];
    size_t word_len;
    void *context; /* the transport's */
};

struct job {
    const struct host *host;
    enum job_state state;
    enum fan_cause cause; /* from here on: once it is done */
    int exit;             /* exit status of the command; -1: none */
    int signal;           /* that ended it; 0: none */
    unsigned attempts;
    uint64_t due_ns;  /* of the next attempt, or of the next look whether there can be one */
    unsigned waits;   /* so many of these looks in a row */
    bool begun;       /* the sink knows of it */
    uint64_t took_ns; /* the last attempt */
    char *detail;     /* what failed in words, harmless; from malloc; may be NULL */
    struct attempt *attempt;
    struct job *next; /* of those that wait for another attempt */
    void *kept;       /* the sink's */
};

/* What to run. */
struct fan_command {
    const char *text;             /* for the shell of the other end */
    const char *user;             /* for hosts that name none; NULL: none */
    int input;                    /* a regular file, read from its beginning; -1: none */
    const struct host *input_for; /* the one host that has it; NULL: all */
    uint64_t connect_ns;          /* 0: no limit */
};

/* A way to the hosts. Const tables; what one needs is in `context`. */
struct transport {
    const char *name;
    /* Starts the attempt of a job: fills in the child and its pipes (child_start() does), and mark.
     * Returns 0; -EAGAIN when nothing may be started before *until_ns (TW_NEVER: before another one
     * has ended), with why in *error if that is worth telling; -EBUSY when that is so for this host
     * alone; else -errno with *error, and the cause in the job unless it is CAUSE_START. */
    int (*start)(void *context, const struct fan_command *command, struct job *job,
                 uint64_t *until_ns, struct tw_error *error);
    /* The child has ended by itself, or was ended (attempt->ended). job->exit and signal are set,
     * and cause as they say; may be put right. NULL: nothing to do. Called once a start. */
    void (*ended)(void *context, struct job *job);
};

/* A command on this machine, once for each host. The context is a struct local_way. */
struct local_way {
    const char
        *line; /* for sh(1), with {host}, {user}, {port} and {command}; NULL: the command is */
};
extern const struct transport transport_local;

/* The system's ssh. The context is a struct ssh_way. */
struct ssh_way {
    char mark[MARK_MAX];
    bool plain; /* the command as it is, without the shell around it that ends it with the
                 * connection and tells when it begins */
};
extern const struct transport transport_ssh;
void ssh_way_init(struct ssh_way *way, bool plain);

/* What transports are made of. */
enum child_input { CHILD_NO_INPUT, CHILD_LEASH, CHILD_FILE };

/* Runs argv[0], looked for in PATH, as the attempt's child. `input` is for CHILD_FILE. */
int child_start(struct attempt *attempt, char *const argv[], enum child_input kind, int input,
                struct tw_error *error);

/* The same without another program: body(context) is called in the child, which has `fds` as 3, 4
 * and so on and no other descriptors of ours, and is told by SIGTERM when we die. It may use what
 * is safe in a signal handler, and ends with what body returns. */
#define CHILD_CALL_FDS 2 /* at most */
int child_call(struct attempt *attempt, int (*body)(void *), void *context, const int *fds,
               int fd_count, enum child_input kind, int input, struct tw_error *error);

/* The input that a host has of a command. */
enum child_input child_input_of(const struct fan_command *command, const struct host *host);

/* Sets the words of what failed. */
void job_tell(struct job *job, const char *text, size_t len);

#endif
