/*
 * rule.h - what is to be done with which calls of a program, as plain data.
 *
 * One rule a line; the first that fits decides. `exec` writes its presets behind them as rules that
 * fit everything; a call that no rule fits is left alone:
 *     out to 10.0.0.0/8:5432 : from 10.1.0.1-10.1.0.9, ports 20000-40000
 *     out to :443            : leave
 *     in 0.0.0.0:8080        : listen 127.0.0.1:9090, reuseport, wait 30s
 *     in udp :53             : leave
 * `#` begins a comment. In a flag (-r) the same text stands for one rule.
 *
 * Which address a rule is compared with: IN the one given to bind(), OUT the one given to
 * connect(). A bind() to port 0 may become either; it is OUT when `late` is to decide about it, and
 * IN for the rest. ::ffff:a.b.c.d counts as a.b.c.d here and everywhere in the shim.
 */
#ifndef RULE_H
#define RULE_H

#include <stdbool.h>
#include <stdint.h>

enum rule_direction { RULE_IN = 1, RULE_OUT = 2 };

struct shim_rule {
    uint8_t direction;              /* enum rule_direction bits */
    uint8_t protocol;               /* IPPROTO_TCP (MPTCP too), IPPROTO_UDP; 0: both */
    uint8_t family;                 /* AF_INET, AF_INET6; 0: both, and no address is compared */
    uint8_t first[16], last[16];    /* address range, network order, v4 in the first four bytes */
    uint16_t port_first, port_last; /* both 0: any */
    /* what to do */
    bool leave;   /* nothing at all */
    bool managed; /* choose the source port (out) */
    bool late;    /* a bind() to port 0 keeps the address alone; the port comes
                   * with connect(), listen() or getsockname(). Of such a rule the
                   * address and port are not compared: they are not known yet */
    bool reuseaddr, reuseport, free_bind; /* in */
    uint8_t from_family; /* out: source addresses to be used in turn; 0: as it is */
    uint8_t from_first[16];
    uint32_t from_count;
    uint16_t source_first, source_last; /* out: of the ring only these; both 0: all */
    uint8_t listen_family;              /* in: another address instead; 0: as it is */
    uint8_t listen_address[16];
    uint16_t listen_port; /* in: another port instead; 0: as it is */
    uint64_t wait_ns; /* in: on EADDRINUSE try again for so long; out: a blocking connect() waits so
                       * long for a port */
};

#endif
