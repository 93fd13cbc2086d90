/*
 * rules.h - how Linux decides about addresses, as pure functions over rows.
 *
 * Nothing here asks the kernel: the caller brings the sockets (sockets.h), and what it could not
 * learn stays TW_UNKNOWN and makes an answer "depends". The rules are those of
 * inet_csk_get_port(), inet_csk_bind_conflict(), inet_csk_listen_start(), __inet_hash_connect(),
 * udp_lib_get_port() and unix_bind() of Linux 6.x; tests put each of them to the real kernel.
 * One thing rows cannot tell: a request with SO_REUSEPORT that is "in use" may get in all the same
 * when the last socket bound to the port had SO_REUSEPORT, the same user and the same address or a
 * wildcard, for then the kernel looks at no other socket (sk_reuseport_match() of 6.18).
 * All structs are plain values; any thread may call, also after fork().
 */
#ifndef TIDEWAIT_RULES_H
#define TIDEWAIT_RULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tidewait/ports.h"
#include "tidewait/socket_row.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A socket that somebody wants to bind. */
struct tw_rules_request {
    uint8_t protocol; /* IPPROTO_TCP or IPPROTO_UDP */
    struct tw_endpoint local;
    bool reuseaddr;
    bool reuseport;
    bool v6only;
    uint32_t uid;    /* effective, of the one who made the socket: SO_REUSEPORT compares it */
    uint32_t device; /* SO_BINDTODEVICE as interface index; 0: none */
};

enum tw_rules_outcome {
    TW_RULES_FREE,    /* nothing among the sockets is in the way */
    TW_RULES_IN_USE,  /* EADDRINUSE, because of the blocker */
    TW_RULES_DEPENDS, /* free or not by options of the blocker that are not known */
};

/* Which option would have let both live, and why it does not. A listener outweighs all. */
enum tw_rules_reason {
    TW_REASON_NONE,
    TW_REASON_LISTENS,          /* the blocker listens, and not both have SO_REUSEPORT */
    TW_REASON_REQUEST_NO_REUSE, /* the request has neither option */
    TW_REASON_BLOCKER_NO_REUSE, /* the request has SO_REUSEADDR, the blocker has not */
    TW_REASON_OTHER_USER,       /* the request has SO_REUSEPORT, but the blocker is of another user,
                                 * so that it would not help even if the blocker has it too */
    TW_REASON_BLOCKER_NO_SHARE, /* the request has SO_REUSEPORT, the blocker has not */
    TW_REASON_UNKNOWN_OPTIONS,  /* the blocker's options are not known */
};

struct tw_rules_answer {
    enum tw_rules_outcome outcome;
    enum tw_rules_reason reason;
    size_t blocker;   /* index of the socket that says most: a listener before a bound socket before
                       * a connection before TIME_WAIT; only when not free */
    size_t conflicts; /* how many sockets have this outcome; 0 when free */
};

/* Whether two endpoints (ports apart) claim a common address: wildcards, [::] over IPv4 unless
 * v6only, ::ffff:a.b.c.d as IPv4. */
bool tw_rules_overlap(const struct tw_endpoint *a, bool a_v6only, const struct tw_endpoint *b,
                      bool b_v6only);

/* Whether bind() of the request to its (non-zero) port would succeed beside one socket of the same
 * protocol and port. Beyond unknown options the answer depends when 0.0.0.0 without SO_REUSEADDR on
 * both sides meets an IPv6 connection whose v6only is not known to be set: the kernel refuses it
 * beside connections of dual-stack sockets. */
enum tw_rules_outcome tw_rules_conflict(const struct tw_rules_request *request,
                                        const struct tw_socket_row *socket,
                                        enum tw_rules_reason *reason);

/* bind() to an explicit port beside `count` sockets; those on other ports or of the other protocol
 * are passed over. For bind() to port 0 ask each port of the range without SO_REUSEADDR and
 * SO_REUSEPORT: TCP then ignores both (unless ip_autobind_reuse is on). */
struct tw_rules_answer tw_rules_bind(const struct tw_rules_request *request,
                                     const struct tw_socket_row *sockets, size_t count);

/* listen() on a socket that is bound already: as bind(), but a second listener is refused even
 * where both bound with SO_REUSEADDR. The socket itself must not be among the rows. */
struct tw_rules_answer tw_rules_listen(const struct tw_rules_request *request,
                                       const struct tw_socket_row *sockets, size_t count);

/* connect() from an explicit source endpoint, once bind() went well: is the tuple free? `reusable`
 * says that our own TIME_WAIT, or what is left of a FIN_WAIT_2 after close(), may be taken over:
 * timestamps were on at both ends. In use is EADDRNOTAVAIL here, and the reason stays NONE. */
struct tw_rules_answer tw_rules_tuple(const struct tw_endpoint *source,
                                      const struct tw_endpoint *destination, bool reusable,
                                      const struct tw_socket_row *sockets, size_t count);

/* --- ports that the kernel chooses itself ------------------------------------------------------
 */

/* How full the automatic choice is for one destination. Counts are of ports, each port in one of
 * them, and all but reusable and free are lost to connect(). Of a range with an odd number of ports
 * each single connect() leaves out the first or the last one, so it may fail with one of them free.
 */
struct tw_rules_lane {
    uint32_t ports;      /* that the kernel may choose from: the range less the reserved ones */
    uint32_t connected;  /* taken by a connection to this destination from this source */
    uint32_t time_wait;  /* taken by a TIME_WAIT to it that tcp_tw_reuse does not give back */
    uint32_t reusable;   /* taken by a TIME_WAIT to it that the kernel would take over */
    uint32_t polluted;   /* taken for every destination: a socket is bound to the port */
    uint32_t free;       /* what is left */
    uint32_t free_first; /* of those free: of the parity that connect() tries first */
    uint32_t
        reusable_first; /* of those reusable likewise; when both are 0, each connect() scans half
                         * of the range in vain before it finds a port. UDP has no parity */
};

struct tw_rules_lane_request {
    uint8_t protocol;
    struct tw_endpoint source;      /* port 0; the wildcard, or nothing: any */
    struct tw_endpoint destination; /* with its port */
    const struct tw_ports *ephemeral;
    uint16_t first;    /* of ip_local_port_range: its parity is tried first */
    bool tw_reuse;     /* tcp_tw_reuse gives this destination's TIME_WAITs back after 1 s */
    uint32_t reuse_ms; /* tcp_tw_reuse_delay: 1000 */
};

/* `polluting` has a bit for each port on which some socket did not get it from connect():
 * listening, bound, connected from an explicit port, or accepted, and their TIME_WAITs; of UDP
 * every socket whose address overlaps the source. `sockets` are those to the destination; others
 * are passed over. */
struct tw_rules_lane tw_rules_lane(const struct tw_rules_lane_request *request,
                                   const struct tw_ports *polluting,
                                   const struct tw_socket_row *sockets, size_t count);

/* --- Unix sockets ------------------------------------------------------------------------------
 */

enum tw_rules_unix {
    TW_UNIX_FREE,  /* no such file, no such abstract name */
    TW_UNIX_LIVE,  /* a socket is bound to it */
    TW_UNIX_STALE, /* a file is there, but no socket is bound to it any more */
    TW_UNIX_OTHER, /* a file is there that is no socket at all */
};

/* bind() to a path fails when anything is there; to an abstract name when a socket has it. */
enum tw_rules_unix tw_rules_unix(bool is_abstract, bool file_exists, bool file_is_socket,
                                 bool socket_bound);

#ifdef __cplusplus
}
#endif
#endif
