/*
 * tun.h - one end of a wire: a TUN interface in a host's network namespace.
 */
#ifndef TUN_H
#define TUN_H

#include "stage.h"

/* Makes the interface, up and with the host's IPv4 address (see wire_new()). Returns a non-blocking
 * descriptor on which packets come and go, or ends the stage. */
int tun_open(struct host *host);

#endif
