/*
 * ports.h - a set of port numbers.
 *
 * A plain value of 8 KiB; zeroed it is empty. The caller owns it; nothing to free. No locking:
 * threads may read one set at the same time, but not while one changes it. Nothing is shared with a
 * child of fork().
 */
#ifndef TIDEWAIT_PORTS_H
#define TIDEWAIT_PORTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tidewait/error.h"
#include "tidewait/parse.h"

#ifdef __cplusplus
extern "C" {
#endif

struct tw_ports {
    uint64_t bits[65536 / 64];
};

static inline bool tw_ports_has(const struct tw_ports *set, uint16_t port)
{
    return set->bits[port / 64] >> (port % 64) & 1;
}

static inline void tw_ports_add(struct tw_ports *set, uint16_t port)
{
    set->bits[port / 64] |= 1ULL << (port % 64);
}

static inline void tw_ports_remove(struct tw_ports *set, uint16_t port)
{
    set->bits[port / 64] &= ~(1ULL << (port % 64));
}

void tw_ports_add_range(struct tw_ports *set, struct tw_port_range range);
void tw_ports_remove_all(struct tw_ports *set, const struct tw_ports *others);
size_t tw_ports_count(const struct tw_ports *set);

/* Writes the members in rising order; `out` has room for tw_ports_count() of them. */
void tw_ports_list(const struct tw_ports *set, uint16_t *out);

/* Adds a list such as "3000-30000,40000:41000,50000", or the kernel's "8080,9148". An empty text is
 * an empty list. Returns 0 or -EINVAL / -ERANGE with a text. */
int tw_ports_parse(struct tw_view text, struct tw_ports *set, struct tw_error *error);

#ifdef __cplusplus
}
#endif
#endif
