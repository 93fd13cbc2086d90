/*
 * landing.h - where TIME_WAIT landed: counts the TIME_WAITs on the lanes of a workload, by the side
 * that keeps them, through sock_diag.
 */
#ifndef LANDING_H
#define LANDING_H

#include "workload.h"

/* *client: TIME_WAITs of our own sources towards the targets; *server: those of targets that are on
 * this host (in this network namespace), towards our sources. -1 where it cannot be known. */
void landing_count(const struct workload *workload, int64_t *client, int64_t *server);

#endif
