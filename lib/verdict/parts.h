/*
 * parts.h - the kinds of verdict, and the pieces that several of them need.
 */
#ifndef PARTS_H
#define PARTS_H

#include "draft.h"

#include "tidewait/limits.h"

/* Each fills the draft from its question. Return 0 or -errno with *error. */
int verdict_bind(struct draft *draft, struct tw_error *error);
int verdict_connect(struct draft *draft, struct tw_error *error);
int verdict_unix(struct draft *draft, struct tw_error *error);

/* EADDRNOTAVAIL on an IPv6 address, because IPv6 is switched off. */
void parts_ipv6_disabled(struct draft *draft, const char *address);

/* The remedy of a wider ip_local_port_range, unless it is wide already. */
void parts_widen_range(struct draft *draft, const struct tw_limits *limits);

/* EADDRINUSE from bind() to port 0. */
void parts_autobind(struct draft *draft);

/* The address is free here: is it taken in another network namespace? Only when asked for. */
void parts_other_netns(struct draft *draft, const struct tw_question *question);

#endif
