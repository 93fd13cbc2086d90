/*
 * lease.h - what the ways of `tidewait lease` have in common.
 */
#ifndef LEASE_H
#define LEASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>

#include "tidewait/lease.h"

/* Until when a command's ports are held. The names stay leased until its end in any case. */
enum lease_until {
    LEASE_AUTO,  /* START, and END for a port that the kernel might choose */
    LEASE_START, /* until just before the command starts */
    LEASE_BIND,  /* until it binds */
    LEASE_END,   /* TCP: until its end, shared with who sets SO_REUSEADDR */
};

struct lease_park {
    bool given;
    uint64_t ns;
};

struct lease_config {
    uint64_t count; /* 0: not given */
    const char *ports;
    bool fd;
    bool bound;
    bool udp;
    const char *address;
    int until;
    struct lease_park park;
    uint64_t wait_ns;
    const char *server;
    bool json;
    bool quiet;
    const char *netns;
};

/* The ports to choose from, and of them those that the kernel chooses from as well. */
struct lease_pool {
    struct tw_ports ports;
    struct tw_ports ephemeral;
};

/* --- a command: lease_run.c --------------------------------------------------------------------
 */

/* The highest K of {portK} in a command line, {port} being {port1}; 0 without any. -EINVAL with a
 * text when there is one that cannot be. */
int lease_highest(char *const argv[], struct tw_error *error);

/* What a command is run with. */
struct lease_job {
    const struct lease_config *config;
    const struct lease_pool *pool;
    struct tw_lease *leases;
    size_t count;
    char *const *argv;   /* as typed */
    struct rlimit files; /* RLIMIT_NOFILE that the command gets */
};

/* Runs the command with the leased ports in its arguments and environment. Returns an exit code,
 * the command's own if it ran; when a signal ended it, so are we. */
int lease_run(const struct lease_job *job);

/* --- the protocol of portserver: lease_server.c ------------------------------------------------
 */

/* Serves until a signal ends it. Returns an exit code. */
int lease_serve(const struct lease_config *config, const struct lease_pool *pool);

#endif
