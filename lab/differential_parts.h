/*
 * differential_parts.h - what the parts of the differential test share.
 */
#ifndef DIFFERENTIAL_PARTS_H
#define DIFFERENTIAL_PARTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "differential.h"
#include "tidewait/ports.h"
#include "tidewait/rules.h"

#define HOSTS      2
#define SLOTS      12 /* descriptors of a program, s0 .. s11 */
#define PORTS      8  /* of a world; even, and the first one is even too */
#define ENTRIES    128
#define OPS        90 /* of a program, those that turn out to be impossible included */
#define BACKLOG    64
#define NONE       (-1)
#define OTHER_USER 4711

/* Segments between the hosts mostly arrive before the call returns, but the kernel may put them
 * off. To shrink a program takes many runs that differ, each with the whole wait. */
#define PATIENCE_MS           2000
#define PATIENCE_SHRINKING_MS 300

/* --- programs: differential_program.c --------------------------------------------------------- */

/* As seen from the host of the socket. */
enum place {
    ANY4,
    LOOP4,
    HOST4,
    PEER4,
    ANY6,
    LOOP6,
    HOST6,
    PEER6,
    MAPPED_ANY,
    MAPPED_LOOP,
    MAPPED_HOST,
    MAPPED_PEER,
    PLACES,
};

enum option { OPTION_REUSEADDR, OPTION_REUSEPORT, OPTION_V6ONLY, OPTION_DEVICE };

/* Which device: SO_BINDTODEVICE of this host. */
enum device { DEVICE_NONE, DEVICE_LO, DEVICE_VETH, DEVICES };

#define PORT_AUTO PORTS /* bind() to port 0 */

/* One call. It has no pointers and hangs on nothing but the slots, so that any can be left out. */
struct op {
    uint8_t kind;
    uint8_t slot;
    uint8_t host;       /* socket() */
    uint8_t v6;         /* socket() */
    uint8_t other_user; /* socket(), accept() */
    uint8_t option;     /* setsockopt() */
    uint8_t value;      /* setsockopt() */
    uint8_t place;      /* bind(), connect() */
    uint8_t port;       /* bind(), connect(): its number in the window */
    uint8_t new_slot;   /* accept() */
    uint8_t writing;    /* shutdown(): SHUT_WR, or SHUT_RD */
    uint8_t reset;      /* close(): with SO_LINGER 0 */
};

struct program {
    struct op ops[OPS];
    size_t count;
};

void program_make(struct program *program, uint64_t seed, uint64_t world, bool users);

/* "s1 = left.socket(tcp6)" without what it returned. The host is that of the socket, `base` the
 * first port of the window. */
void op_format(const struct op *op, int host, uint16_t base, char *buf, size_t size);

/* --- the network: differential_net.c ---------------------------------------------------------- */

struct net {
    int netns[HOSTS];
    int here; /* the host that new sockets belong to */
    uint32_t devices[HOSTS][DEVICES];
    uint32_t users[2]; /* of the two, the second only when there is one */
    bool has_users;
};

int net_make(struct net *net, struct tw_error *error);
int net_enter(struct net *net, int host, struct tw_error *error);
int net_set(const char *name, const char *value, struct tw_error *error); /* a sysctl */

struct tw_endpoint place_at(int host, enum place place, uint16_t port);

/* --- the model: differential_model.c, differential_life.c --------------------------------------
 */

/* A socket that the kernel ought to have, with or without a descriptor. */
struct entry {
    bool used;
    bool hidden; /* reset while it waited for accept(): no row any more, but still in the queue */
    bool chosen; /* connect() chose its port */
    bool moved;  /* bind() to a wildcard, then connect() filed it among chosen ones */
    uint8_t host;
    int8_t slot;     /* its descriptor; NONE */
    int16_t peer;    /* the entry at the other end; NONE */
    int8_t waits_at; /* the slot of the listener that will accept it; NONE */
    uint32_t turn;   /* accept() takes the lowest */
    struct tw_socket_row row;
};

enum slot_state {
    SLOT_FREE,
    SLOT_FRESH, /* a socket without a port */
    SLOT_BOUND,
    SLOT_LISTENS,
    SLOT_CONNECTED, /* or was so */
    SLOT_SPENT,     /* refused in a way that leaves it odd: only close() makes sense */
};

struct slot {
    uint8_t state; /* enum slot_state */
    uint8_t host;
    bool v6, reuseaddr, reuseport, v6only;
    bool locked;    /* bind() to an explicit port: kept until close() */
    uint8_t device; /* enum device */
    uint32_t uid;
    int16_t entry;            /* NONE: on no port */
    struct tw_endpoint bound; /* where bind() put it */
};

/* What the kernel remembers of a port, for its shortcut. */
struct bucket {
    bool used;
    bool forgot; /* that a bound socket is on the port: connect() may choose it */
    bool shares; /* the last one let in had SO_REUSEPORT; the rest is about it */
    uint32_t uid;
    struct tw_endpoint address;
    bool v6only;
};

struct model {
    const struct net *net;
    uint16_t base; /* the first port of the window */
    unsigned break_clause;
    uint32_t turn;
    uint16_t touched; /* slots whose state is to be looked at */
    bool full;        /* no room for more entries */
    struct slot slots[SLOTS];
    struct entry entries[ENTRIES];
    struct bucket buckets[HOSTS][PORTS];
};

/* What a call ought to do. */
struct expectation {
    int code;        /* 0 or an errno */
    bool let_in;     /* by the shortcut, against the rules */
    bool picks_port; /* the kernel chooses among `ports`, bit n for base + n */
    uint16_t ports;
    struct tw_endpoint source, destination; /* connect() */
    uint8_t target;                         /* connect(): the host that it goes to */
    uint32_t arrival;                       /* connect(): the device by which it comes there */
    uint16_t listeners;                     /* connect(): slots of which one gets it */
};

/* What it did. */
struct outcome {
    int code;
    uint16_t port; /* that it chose */
    int8_t listener;
};

void model_init(struct model *model, const struct net *net, uint16_t base, unsigned break_clause);

/* False: the call is not to be made here. */
bool model_expect(const struct model *model, const struct op *op, struct expectation *out);
/* The same, for connect() alone: differential_connect.c. */
bool expect_connect(const struct model *model, const struct op *op, struct expectation *out);

/* The kernel did as expected. */
void model_apply(struct model *model, const struct op *op, const struct expectation *expected,
                 const struct outcome *outcome);

/* The state that TCP_INFO shows of a slot's descriptor. */
int model_state(const struct model *model, int slot);
unsigned model_queue(const struct model *model, int listener); /* connections that wait */

struct tw_rules_request request_of(const struct model *model, int slot,
                                   const struct tw_endpoint *local);
/* Whether the port's bucket lets a request with SO_REUSEPORT in without a look at other sockets. */
bool bucket_matches(const struct bucket *bucket, const struct tw_rules_request *request);
bool reaches(const struct tw_endpoint *a,
             const struct tw_endpoint *b); /* the same, mapped or not */

/* --- the rules, whole or with a clause left out: differential_rules.c --------------------------
 */

/* Whether bind() or listen() is refused by the rules; `skip`: the entry that asks. */
bool rules_refuse(const struct model *model, const struct tw_rules_request *request, int host,
                  int skip, bool listens);
/* Whether a socket with this device may connect from source to destination. */
bool rules_tuple_free(const struct model *model, int slot, const struct tw_endpoint *source,
                      const struct tw_endpoint *destination);
/* From which ports connect() may choose, bit n for base + n. */
uint16_t rules_lane_ports(const struct model *model, int slot, const struct tw_endpoint *source,
                          const struct tw_endpoint *destination);

bool is_mini(const struct tw_socket_row *row); /* TIME_WAIT or what is left of a FIN_WAIT_2 */

/* --- the kernel: differential_kernel.c ----------------------------------------------------------
 */

struct kernel {
    struct net *net;
    unsigned patience_ms; /* segments may be late: only what has not come by then is a difference */
    int fds[SLOTS];
    struct differential_result *result;
};

/* Makes the call; returns 0, or -errno when the test itself failed. */
int kernel_do(struct kernel *kernel, const struct model *model, const struct op *op,
              const struct expectation *expected, struct outcome *out, struct tw_error *error);

/* Compares states. Returns 0 when they agree, 1 and a line in buf when they do not, or -errno. */
int kernel_compare_touched(struct kernel *kernel, const struct model *model, char *buf,
                           size_t size);
int kernel_compare_all(struct kernel *kernel, const struct model *model, char *buf, size_t size,
                       struct tw_error *error);

/* Ends all, so that the next world finds nothing. */
int kernel_clear(struct kernel *kernel, struct tw_error *error);

/* --- worlds: differential_world.c, differential_shrink.c -----------------------------------------
 */

struct lab {
    const struct differential_opts *opts;
    struct differential_result *result;
    struct net net;
    uint32_t windows; /* how many windows of ports were used */
    unsigned patience_ms;
};

/* Runs a program in a fresh window of ports. Returns how many of its calls are worth keeping to see
 * a difference (all up to it), 0 when there is none, or -errno. `text`: gets the program with what
 * each call returned, and `calls` their number; NULL: not asked for. */
int world_run(struct lab *lab, const struct program *program, char *text, size_t size,
              uint32_t *calls, struct tw_error *error);

/* Makes the program as short as it can be while it shows a difference in one of so many tries:
 * ports and listeners that the kernel picks differ from run to run. Returns 0 or -errno. */
int program_shrink(struct lab *lab, struct program *program, int tries, struct tw_error *error);

#endif
