/*
 * plan_ask.h - the options with which `plan` and `tune` are told of a workload.
 */
#ifndef PLAN_ASK_H
#define PLAN_ASK_H

#include "options.h"
#include "plan.h"

/* What was typed; all zero: nothing. */
struct plan_ask {
    double rate_per_s; /* of requests; 0: not given */
    const char *hold;
    uint64_t requests;
    int closing, ports, arrivals; /* 1 + the place among the choices; 0: not given */
    const char *from, *to;        /* a number, or addresses */
    uint64_t idle;
};

/* Like option_choice(), but stores 1 + the place, so that 0 stays "not given". */
int plan_ask_choice(struct tw_view, const struct option_row *, void *field_int, struct tw_error *);

/* Rows for an option table whose config struct has a `struct plan_ask` at this offset. The rate's
 * own option is the command's: --rate of plan, --for of tune. */
/* clang-format off */
#define PLAN_ASK_ROWS(at)                                                                          \
    {.name = "hold", .metavar = "TIME", .parse = option_text,                                      \
     .offset = (at) + offsetof(struct plan_ask, hold),                                             \
     .help = "How long a connection is open: 200ms, exp:200ms or uniform:100ms-1s; default: 0."},  \
    {.name = "requests-per-connection", .metavar = "N", .parse = option_number,                    \
     .offset = (at) + offsetof(struct plan_ask, requests), .min = 1, .max = 1000000000,            \
     .help = "Requests that one connection carries (keep-alive); default: 1."},                    \
    {.name = "close", .metavar = "WHO", .parse = plan_ask_choice,                                  \
     .offset = (at) + offsetof(struct plan_ask, closing), .choices = "client|server|reset",        \
     .help = "Who ends a connection: client (the default: closes first and keeps TIME_WAIT), "     \
             "server or reset."},                                                                  \
    {.name = "ports", .metavar = "WHO", .parse = plan_ask_choice,                                  \
     .offset = (at) + offsetof(struct plan_ask, ports), .choices = "kernel|bind|managed",          \
     .help = "Who chooses the source port: kernel (the default: connect() does), bind (bind() to " \
             "port 0 before connect()) or managed (explicit ports with SO_REUSEADDR, as load "     \
             "does)."},                                                                            \
    {.name = "arrivals", .metavar = "KIND", .parse = plan_ask_choice,                              \
     .offset = (at) + offsetof(struct plan_ask, arrivals), .choices = "constant|poisson",          \
     .help = "How connections are spaced: constant (the default) or poisson."},                    \
    {.name = "from", .metavar = "N|ADDR", .parse = option_text,                                    \
     .offset = (at) + offsetof(struct plan_ask, from),                                             \
     .help = "Source addresses: how many, or a list such as 10.0.0.1-10.0.0.50,10.0.1.0/24; "      \
             "default: 1."},                                                                       \
    {.name = "to", .metavar = "N|ADDR", .parse = option_text,                                      \
     .offset = (at) + offsetof(struct plan_ask, to),                                               \
     .help = "Destination endpoints: how many, or a list such as "                                 \
             "10.0.0.5:5432,10.0.0.7-10.0.0.9:80-89; default: 1."},                                \
    {.name = "idle-pool", .metavar = "N", .parse = option_number,                                  \
     .offset = (at) + offsetof(struct plan_ask, idle), .max = INT64_MAX,                           \
     .help = "Connections that are kept open besides, over all lanes."}
/* clang-format on */

/* Fills the workload; what was not given has its default. *loopback says that every destination is
 * on this host. -EINVAL with the option's name and the offending text. */
int plan_ask_workload(const struct plan_ask *ask, struct plan_workload *out, bool *loopback,
                      struct tw_error *error);

/* The same over a workload that comes from elsewhere: only what was given is changed. */
int plan_ask_over(const struct plan_ask *ask, struct plan_workload *workload, bool *loopback,
                  struct tw_error *error);

#endif
