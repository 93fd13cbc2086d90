/*
 * watch_call.h - what a suspended call is about: reads a seccomp notification.
 */
#ifndef WATCH_CALL_H
#define WATCH_CALL_H

#include <linux/seccomp.h>

#include "watch.h"

/* Returns 0; 1 when the call is about no address of TCP, UDP or a Unix socket; or -errno when the
 * process may not be looked into. The caller checks afterwards that the notification is still
 * valid: only then was it the right process that was read. */
int watch_call_read(const struct seccomp_notif *request, struct watch_call *out);

#endif
