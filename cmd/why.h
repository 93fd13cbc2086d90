/*
 * why.h - what the ways of asking `why` have in common.
 */
#ifndef WHY_H
#define WHY_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "target.h"
#include "tidewait/message.h"
#include "tidewait/verdict.h"

struct why_config {
    bool reuseaddr;
    bool reuseport;
    bool v6only;
    bool listen;
    bool bound;
    const char *device;
    const char *as;
    uint64_t pid;
    const char *to;
    const char *from;
    bool no_trial;
    bool all_netns;
    bool brief;
    bool json;
    bool quiet;
    bool no_color;
    const char *netns;
};

/* A question with what the options say of the asker. */
struct tw_question why_question(const struct why_config *config, enum tw_op op);

/* Asks for a port or an address; a port alone is asked for on IPv4 and then on IPv6. NULL with
 * *error. */
struct tw_verdict *why_bind(const struct why_config *config, const struct target *target,
                            struct tw_error *error);

/* Prints a verdict (NULL: the message alone) and tells the exit code. Frees the verdict. */
int why_print(const struct why_config *config, struct tw_verdict *verdict,
              const struct tw_message *message, FILE *out);

/* Prints why there is no answer and tells the exit code. */
int why_refuse(const struct tw_error *error);

/* What an error message means, and whether it would come again now. */
int why_message(const struct why_config *config, const struct tw_message *message, FILE *out);

/* The lane that a process fills most. */
int why_process(const struct why_config *config);

/* Runs a command and explains the address error that it dies of, on stderr: stdout is the
 * command's. Returns its exit status. */
int why_command(const struct why_config *config, char **argv);

#endif
