/*
 * steer_bpf.h - what the BPF programs and steer.c say to each other. Includes nothing: one of the
 * two is not compiled for this machine.
 */
#ifndef STEER_BPF_H
#define STEER_BPF_H

#define STEER_RULES    64
#define STEER_LOCALS   16
#define STEER_COUNTERS 16
#define STEER_PORTS    65536 /* a power of two: an index is masked with STEER_PORTS - 1 */

/* In the machine's byte order, so that they compare as numbers; v4 as ::ffff:a.b.c.d. */
struct steer_address {
    unsigned long long high, low;
};

/* A struct shim_rule, as far as BPF can do it. */
struct steer_rule {
    struct steer_address first, last; /* with `family` 0: any address */
    struct steer_address from;        /* with from_count 0: none */
    struct steer_address listen;      /* with has_listen */
    unsigned int from_count;
    unsigned short port_first, port_last;
    unsigned short source_first, source_last;
    unsigned short listen_port;
    unsigned char direction, protocol, family;
    unsigned char leave, managed, reuseaddr, has_listen;
};

/* The one value of the map `shared`, which the supervisor has mapped. */
struct steer_shared {
    unsigned int trial; /* set the option, then refuse the connect() */
    unsigned int watch_closes;
    unsigned int rule_count;
    unsigned int port_count;
    unsigned int local_count;
    unsigned int cursor; /* into the ring, modulo port_count */
    unsigned int turns[STEER_RULES];
    struct steer_rule rules[STEER_RULES];
    struct steer_address locals[STEER_LOCALS]; /* this machine's */
    unsigned long long counters[STEER_COUNTERS];
    unsigned char used[STEER_PORTS]; /* by port: was ever bound */
    unsigned short ports[STEER_PORTS];
};

#endif
