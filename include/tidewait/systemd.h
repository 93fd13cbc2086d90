/*
 * systemd.h - which unit of systemd has an address by socket activation, and the ports of all.
 *
 * Such a socket belongs to PID 1, whose command line says nothing about it. The unit files are
 * read; systemd itself is not asked. Plain values; nothing to free. Any thread may call, also after
 * fork().
 */
#ifndef TIDEWAIT_SYSTEMD_H
#define TIDEWAIT_SYSTEMD_H

#include <stdint.h>

#include "tidewait/address.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TW_UNIT_MAX 128

/* The .socket unit whose ListenStream= or ListenDatagram= names the local address of a socket
 * (IPPROTO_TCP, IPPROTO_UDP), or, with protocol 0, the path of a Unix socket (an abstract one
 * begins with '@'). A unit that names the very address comes before one that names its port alone
 * or a wildcard. Units that the administrator has masked do not count, templates (NAME@.socket)
 * neither. `root` stands before the folders of systemd: "" but for tests. Returns 0, -ENOENT when
 * no unit names it, or -errno. */
int tw_systemd_socket_unit(const char *root, uint8_t protocol, const struct tw_endpoint *local,
                           const char *path, char unit[TW_UNIT_MAX]);

/* One port of a unit; protocol is IPPROTO_TCP or IPPROTO_UDP. Return 0 to go on, anything else to
 * stop. */
typedef int tw_systemd_port_visit(uint8_t protocol, uint16_t port, const char *unit, void *context);

/* Visits the ports that ListenStream= and ListenDatagram= of the .socket units name, unit by unit,
 * whether they are started or not. Which units count, and `root`: as above. Returns 0, the
 * visitor's value, or -errno. */
int tw_systemd_socket_ports(const char *root, tw_systemd_port_visit *visit, void *context);

#ifdef __cplusplus
}
#endif
#endif
