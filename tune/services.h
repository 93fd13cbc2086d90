/*
 * services.h - the ports on which services of this host listen or will listen: they must be
 * reserved before the range of ports that the kernel chooses from is widened over them.
 */
#ifndef SERVICES_H
#define SERVICES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tidewait/blind.h"
#include "tidewait/error.h"
#include "tidewait/ports.h"

struct service {
    uint16_t port;
    uint8_t protocol; /* IPPROTO_TCP or IPPROTO_UDP */
    char from[80];    /* "socket of nginx", "unit cups.socket", "docker web", "[::]:8080";
                       * harmless for a terminal */
};

/* Sorted by port; each port once: TCP comes before UDP, then a unit or a container, which say why
 * the port is taken, before a socket. Zeroed it is empty; services_fini() frees. */
struct services {
    struct service *items;
    size_t count;
    unsigned blind;     /* enum tw_blind: what could not be seen */
    bool docker_unseen; /* the socket of Docker or Podman is there, but nobody answered on it: not
                         * permitted, not running, or too slow */
};

/* The listening TCP sockets of this network namespace, all of them; its bound UDP sockets whose
 * port was chosen, not given by the kernel (those outside of what it chooses from at present); the
 * ListenStream= and ListenDatagram= of systemd's .socket units below `root`; the published ports of
 * the containers of Docker and Podman, also of those that do not run now, asked on their sockets
 * below `root` for 2 s at most. `root` NULL: the sockets alone, for a namespace that is not the
 * host's. */
int services_find(const char *root, struct services *out, struct tw_error *error);
void services_fini(struct services *services);

/* --- for the sources of it -------------------------------------------------------------------- */

/* Adds a port, or leaves the one that says more. `from` is made harmless. Returns 0 or -ENOMEM. */
int services_add(struct services *services, uint8_t protocol, unsigned port, const char *format,
                 ...) __attribute__((format(printf, 4, 5)));

/* Adds what the engine on the Unix socket below `root` publishes; `name` is "docker" or "podman".
 * Returns 0, also when nobody answers (docker_unseen), or -ENOMEM. */
int services_add_containers(struct services *services, const char *root, const char *path,
                            const char *name);

#endif
