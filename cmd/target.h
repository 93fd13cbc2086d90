/*
 * target.h - an address as people type it: 8080, :8080, 127.0.0.1:8080, [::1]:8080, 53/udp,
 * localhost:3000, unix:/run/x.sock, unix:@name.
 */
#ifndef TARGET_H
#define TARGET_H

#include <stdbool.h>
#include <stdint.h>

#include "tidewait/address.h"
#include "tidewait/error.h"

struct target {
    uint8_t protocol;            /* IPPROTO_TCP, IPPROTO_UDP; 0: a Unix socket */
    bool has_address;            /* false: a port alone, of every address */
    struct tw_endpoint endpoint; /* without an address: 0.0.0.0 */
    const char *path;            /* of a Unix socket; points into the text */
};

/* Returns 0, or -EINVAL / -ERANGE with a text that quotes the offending input. */
int target_parse(const char *text, struct target *out, struct tw_error *error);

#endif
