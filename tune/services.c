#include "services.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tidewait/holders.h"
#include "tidewait/limits.h"
#include "tidewait/process.h"
#include "tidewait/sockets.h"
#include "tidewait/systemd.h"
#include "tidewait/text.h"

/* --- the list ----------------------------------------------------------------------------------
 */

/* Where the port stands, or belongs. */
static size_t place_of(const struct services *services, unsigned port)
{
    size_t low = 0, high = services->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (services->items[middle].port < port)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

int services_add(struct services *services, uint8_t protocol, unsigned port, const char *format,
                 ...)
{
    size_t at = place_of(services, port);
    struct service *items = services->items;
    struct service service = {.port = (uint16_t)port, .protocol = protocol};
    va_list args;

    va_start(args, format);
    tw_text_format(service.from, sizeof(service.from), format, args);
    va_end(args);
    if (at < services->count && items[at].port == port) {
        if (items[at].protocol == IPPROTO_UDP && protocol == IPPROTO_TCP)
            items[at] = service;
        return 0;
    }
    items = reallocarray(items, services->count + 1, sizeof(*items));
    if (!items)
        return -ENOMEM;
    services->items = items;
    memmove(&items[at + 1], &items[at], (services->count - at) * sizeof(*items));
    items[at] = service;
    services->count++;
    return 0;
}

void services_fini(struct services *services)
{
    free(services->items);
    *services = (struct services){0};
}

/* --- sockets -----------------------------------------------------------------------------------
 */

struct rows {
    struct tw_socket_row *items;
    size_t count;
    struct tw_ports automatic; /* a UDP socket on one of these may have been given it */
};

static int keep_row(const struct tw_socket_row *row, void *context)
{
    struct rows *rows = context;
    uint16_t port = tw_endpoint_port(&row->local);
    struct tw_socket_row *items;

    if (port == 0 || (row->protocol == IPPROTO_UDP && tw_ports_has(&rows->automatic, port)))
        return 0;
    /* Doubles its room at each power of two. */
    if ((rows->count & (rows->count - 1)) == 0) {
        items = reallocarray(rows->items, rows->count ? 2 * rows->count : 1, sizeof(*items));
        if (!items)
            return -ENOMEM;
        rows->items = items;
    }
    rows->items[rows->count++] = *row;
    return 0;
}

static int find_rows(struct rows *rows, unsigned *blind, struct tw_error *error)
{
    struct tw_sockets_query listeners = {.state_mask = TW_STATE_MASK(TCP_LISTEN), .blind = blind};
    struct tw_sockets_query datagrams = {.protocol = IPPROTO_UDP, .blind = blind};
    struct tw_limits limits;
    int rc;

    tw_limits_read(&limits);
    tw_limits_ephemeral(&limits, &rows->automatic);
    rc = tw_sockets_each(&listeners, keep_row, rows, error);
    if (rc)
        return rc;
    rc = tw_sockets_each(&datagrams, keep_row, rows, error);
    /* A kernel without inet_diag for UDP: its sockets are not seen, which is said. */
    if (rc == -ENOENT || rc == -EOPNOTSUPP || rc == -EPROTONOSUPPORT) {
        *blind |= TW_BLIND_SOCK_DIAG;
        *error = (struct tw_error){0};
        return 0;
    }
    return rc;
}

/* The name of the process that has the socket; false when it cannot be seen. */
static bool name_of(const struct tw_holders *holders, uint32_t inode, struct tw_process *process)
{
    size_t count = 0;
    const struct tw_holding *holding = inode ? tw_holders_of(holders, inode, &count) : NULL;

    return count && tw_process_read(holding->pid, process, NULL) == 0 && process->comm[0];
}

static int add_rows(struct services *services, const struct rows *rows,
                    const struct tw_holders *holders)
{
    char text[TW_ENDPOINT_TEXT_MAX];
    struct tw_process process;
    int rc = 0;

    for (size_t i = 0; i < rows->count && !rc; i++) {
        const struct tw_socket_row *row = &rows->items[i];
        uint16_t port = tw_endpoint_port(&row->local);

        if (name_of(holders, row->inode, &process))
            rc = services_add(services, row->protocol, port, "socket of %s", process.comm);
        else
            rc = services_add(services, row->protocol, port, "%s",
                              tw_endpoint_format(&row->local, text));
    }
    return rc;
}

static int add_sockets(struct services *services, struct tw_error *error)
{
    struct rows rows = {.count = 0};
    struct tw_holders holders = {.count = 0};
    uint32_t *inodes = NULL;
    int rc = find_rows(&rows, &services->blind, error);

    if (!rc && rows.count) {
        inodes = calloc(rows.count, sizeof(*inodes));
        rc = inodes ? 0 : -ENOMEM;
    }
    if (!rc && inodes) {
        for (size_t i = 0; i < rows.count; i++)
            inodes[i] = rows.items[i].inode;
        /* Names are for people alone: without them the endpoint stands there. */
        if (tw_holders_find(inodes, rows.count, TW_HOLDERS_AUTO, &holders, NULL) == 0)
            services->blind |= holders.blind;
        rc = add_rows(services, &rows, &holders);
        tw_holders_fini(&holders);
    }
    free(inodes);
    free(rows.items);
    return rc;
}

/* --- all of them -------------------------------------------------------------------------------
 */

static int add_unit(uint8_t protocol, uint16_t port, const char *unit, void *context)
{
    return services_add(context, protocol, port, "unit %s", unit);
}

/* The telling ones first: the first of a port stays. */
static int find_all(const char *root, struct services *services, struct tw_error *error)
{
    int rc = 0;

    if (root) {
        rc = tw_systemd_socket_ports(root, add_unit, services);
        if (!rc)
            rc = services_add_containers(services, root, "/var/run/docker.sock", "docker");
        if (!rc)
            rc = services_add_containers(services, root, "/run/podman/podman.sock", "podman");
    }
    return rc ? rc : add_sockets(services, error);
}

int services_find(const char *root, struct services *out, struct tw_error *error)
{
    struct tw_error own = {0};
    int rc;

    *out = (struct services){0};
    rc = find_all(root, out, &own);
    if (rc) {
        services_fini(out);
        if (own.code)
            return tw_error_set(error, own.code, "%s", own.text);
        return tw_error_set(error, -rc, "looking for services: %s", strerror(-rc));
    }
    return 0;
}
