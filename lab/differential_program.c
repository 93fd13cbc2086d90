/* Random programs: which calls, on which sockets, in which order; and how they read. */
#include <stdio.h>
#include <string.h>

#include "differential_parts.h"

/* What the generator believes of a slot, so that programs do not consist of refusals. */
struct belief {
    enum slot_state state;
    bool v6;
    uint8_t host;
    uint8_t port;
};

struct maker {
    uint64_t random;
    bool users;
    struct program *program;
    struct op beyond; /* the end of the program: written, never read */
    struct belief beliefs[SLOTS];
};

/* splitmix64 by its published constants. */
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15ULL;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
    return z ^ z >> 31;
}

static unsigned below(struct maker *maker, unsigned n)
{
    return (unsigned)(next_random(&maker->random) >> 33) % n;
}

static bool chance(struct maker *maker, unsigned percent)
{
    return below(maker, 100) < percent;
}

static struct op *add(struct maker *maker, enum op_kind kind, unsigned slot)
{
    struct program *program = maker->program;
    struct op *op = program->count < OPS ? &program->ops[program->count++] : &maker->beyond;

    *op = (struct op){.kind = (uint8_t)kind, .slot = (uint8_t)slot};
    return op;
}

/* Few ports, so that sockets meet. */
static uint8_t some_port(struct maker *maker)
{
    return (uint8_t)below(maker, chance(maker, 80) ? 3 : PORTS);
}

static void add_option(struct maker *maker, unsigned slot, enum option option, unsigned value)
{
    struct op *op = add(maker, OP_SETSOCKOPT, slot);

    op->option = (uint8_t)option;
    op->value = (uint8_t)value;
}

static void make_socket(struct maker *maker, unsigned slot)
{
    struct belief *belief = &maker->beliefs[slot];
    struct op *op = add(maker, OP_SOCKET, slot);

    *belief =
        (struct belief){.state = SLOT_FRESH, .v6 = chance(maker, 50), .host = chance(maker, 30)};
    op->v6 = belief->v6;
    op->host = belief->host;
    op->other_user = maker->users && chance(maker, 25);
    if (chance(maker, 50))
        add_option(maker, slot, OPTION_REUSEADDR, 1);
    if (chance(maker, 35))
        add_option(maker, slot, OPTION_REUSEPORT, 1);
    if (chance(maker, belief->v6 ? 25 : 2))
        add_option(maker, slot, OPTION_V6ONLY, 1);
    if (chance(maker, 12))
        add_option(maker, slot, OPTION_DEVICE, 1 + below(maker, DEVICES - 1));
}

static uint8_t place_to_bind(struct maker *maker, bool v6)
{
    static const uint8_t places4[] = {ANY4,  ANY4,  ANY4,  ANY4,  LOOP4, LOOP4,
                                      LOOP4, HOST4, HOST4, HOST4, HOST4, PEER4};
    static const uint8_t places6[] = {ANY6,        ANY6,        ANY6,  ANY6,        LOOP6,
                                      LOOP6,       HOST6,       HOST6, MAPPED_ANY,  MAPPED_ANY,
                                      MAPPED_LOOP, MAPPED_HOST, HOST6, MAPPED_HOST, MAPPED_LOOP};

    if (chance(maker, 2))
        return (uint8_t)below(maker, PLACES);
    return v6 ? places6[below(maker, sizeof(places6))] : places4[below(maker, sizeof(places4))];
}

static void make_bind(struct maker *maker, unsigned slot)
{
    struct belief *belief = &maker->beliefs[slot];
    struct op *op = add(maker, OP_BIND, slot);

    op->place = place_to_bind(maker, belief->v6);
    op->port = chance(maker, 8) ? PORT_AUTO : some_port(maker);
    belief->port = op->port < PORTS ? op->port : 0;
    belief->state = SLOT_BOUND;
}

/* A listening slot by belief, or NONE. */
static int some_listener(struct maker *maker)
{
    unsigned first = below(maker, SLOTS);

    for (unsigned i = 0; i < SLOTS; i++)
        if (maker->beliefs[(first + i) % SLOTS].state == SLOT_LISTENS)
            return (int)((first + i) % SLOTS);
    return NONE;
}

static void make_connect(struct maker *maker, unsigned slot)
{
    static const uint8_t here4[] = {LOOP4, LOOP4, HOST4}, here6[] = {LOOP6, LOOP6, HOST6};
    static const uint8_t here_mapped[] = {MAPPED_LOOP, MAPPED_LOOP, MAPPED_HOST};
    struct belief *belief = &maker->beliefs[slot];
    int listener = chance(maker, 85) ? some_listener(maker) : NONE;
    bool away =
        listener == NONE ? chance(maker, 40) : maker->beliefs[listener].host != belief->host;
    bool mapped = belief->v6 &&
                  (listener == NONE || !maker->beliefs[listener].v6 || chance(maker, 30)) &&
                  chance(maker, 80);
    struct op *op = add(maker, OP_CONNECT, slot);
    unsigned n = below(maker, 3);

    op->port = listener == NONE ? some_port(maker) : maker->beliefs[listener].port;
    if (mapped)
        op->place = away ? MAPPED_PEER : here_mapped[n];
    else if (belief->v6)
        op->place = away ? PEER6 : here6[n];
    else
        op->place = away ? PEER4 : here4[n];
    if (chance(maker, 1))
        op->place = (uint8_t)below(maker, PLACES);
    belief->state = SLOT_CONNECTED;
}

static void make_accept(struct maker *maker, unsigned slot)
{
    unsigned first = below(maker, SLOTS);

    for (unsigned i = 0; i < SLOTS; i++) {
        unsigned free = (first + i) % SLOTS;
        struct op *op;

        if (maker->beliefs[free].state != SLOT_FREE)
            continue;
        op = add(maker, OP_ACCEPT, slot);
        op->new_slot = (uint8_t)free;
        op->other_user = maker->users && chance(maker, 15);
        maker->beliefs[free] = maker->beliefs[slot];
        maker->beliefs[free].state = SLOT_CONNECTED;
        return;
    }
}

static void make_close(struct maker *maker, unsigned slot, bool reset)
{
    add(maker, OP_CLOSE, slot)->reset = reset;
    maker->beliefs[slot].state = SLOT_FREE;
}

static void make_listen(struct maker *maker, unsigned slot)
{
    add(maker, OP_LISTEN, slot);
    maker->beliefs[slot].state = SLOT_LISTENS;
}

static void make_shutdown(struct maker *maker, unsigned slot, bool writing)
{
    add(maker, OP_SHUTDOWN, slot)->writing = writing;
    if (!writing)
        maker->beliefs[slot].state = SLOT_BOUND;
}

/* A call that is refused, or changes little. */
static void make_odd(struct maker *maker, unsigned slot)
{
    switch (below(maker, 5)) {
    case 0:
        make_bind(maker, slot);
        break;
    case 1:
        add(maker, OP_LISTEN, slot);
        break;
    case 2:
        make_accept(maker, slot);
        break;
    case 3:
        add_option(maker, slot, (enum option)below(maker, 4), below(maker, 2));
        break;
    default:
        make_connect(maker, slot);
        break;
    }
}

/* A listener's address as a slot's host sees it; the slot must be of the listener's family. */
static void connect_to(struct maker *maker, unsigned slot, int listener)
{
    struct belief *belief = &maker->beliefs[slot], *there = &maker->beliefs[listener];
    struct op *op = add(maker, OP_CONNECT, slot);

    op->port = there->port;
    if (belief->host != there->host)
        op->place = belief->v6 ? PEER6 : PEER4;
    else
        op->place = belief->v6 ? LOOP6 : LOOP4;
    belief->state = SLOT_CONNECTED;
}

static void socket_like(struct maker *maker, unsigned slot, const struct belief *like)
{
    struct op *op = add(maker, OP_SOCKET, slot);

    maker->beliefs[slot] = *like;
    maker->beliefs[slot].state = SLOT_FRESH;
    op->v6 = like->v6;
    op->host = like->host;
}

/* Two sockets that want the same tuple. */
static void make_twins(struct maker *maker, unsigned slot, int listener)
{
    struct belief like = {.v6 = maker->beliefs[listener].v6, .host = chance(maker, 50)};
    unsigned twin = (slot + 1) % SLOTS, slots[2] = {slot, twin};
    uint8_t port = (uint8_t)below(maker, PORTS);
    bool close_first = chance(maker, 50);

    if (maker->beliefs[twin].state != SLOT_FREE)
        return;
    for (int i = 0; i < 2; i++) {
        struct op *op;

        socket_like(maker, slots[i], &like);
        add_option(maker, slots[i], OPTION_REUSEADDR, 1);
        op = add(maker, OP_BIND, slots[i]);
        op->place = like.v6 ? ANY6 : ANY4;
        op->port = port;
    }
    connect_to(maker, slot, listener);
    if (close_first)
        make_close(maker, slot, false);
    connect_to(maker, twin, listener);
}

/* Connections that come and go, each on a port of the kernel's choice, until there is none. */
static void make_lane(struct maker *maker, unsigned slot, int listener)
{
    struct belief like = {.v6 = maker->beliefs[listener].v6, .host = chance(maker, 50)};

    for (int i = 0; i < PORTS - 1; i++) {
        socket_like(maker, slot, &like);
        connect_to(maker, slot, listener);
        make_close(maker, slot, false);
    }
}

static void make_next(struct maker *maker, unsigned slot)
{
    unsigned n = below(maker, 100);
    int listener;

    if (n < 4 && maker->beliefs[slot].state != SLOT_FREE) {
        make_odd(maker, slot);
        return;
    }
    n = below(maker, 100);
    switch (maker->beliefs[slot].state) {
    case SLOT_FREE:
        listener = n < 12 ? some_listener(maker) : NONE;
        if (listener == NONE)
            make_socket(maker, slot);
        else if (n < 8)
            make_twins(maker, slot, listener);
        else
            make_lane(maker, slot, listener);
        break;
    case SLOT_FRESH:
        n < 64   ? make_bind(maker, slot)
        : n < 95 ? make_connect(maker, slot)
                 : make_listen(maker, slot);
        break;
    case SLOT_BOUND:
        n < 55   ? make_listen(maker, slot)
        : n < 88 ? make_connect(maker, slot)
                 : make_close(maker, slot, false);
        break;
    case SLOT_LISTENS:
        n < 75   ? make_accept(maker, slot)
        : n < 85 ? make_shutdown(maker, slot, n < 78)
                 : make_close(maker, slot, false);
        break;
    default:
        n < 40 ? make_shutdown(maker, slot, true) : make_close(maker, slot, n > 90);
        break;
    }
}

void program_make(struct program *program, uint64_t seed, uint64_t world, bool users)
{
    struct maker maker = {.random = seed, .users = users, .program = program};

    /* Neighbouring seeds and worlds shall have nothing in common. */
    maker.random = next_random(&maker.random) ^ (world + 1) * 0xd1342543de82ef95ULL;
    next_random(&maker.random);
    program->count = 0;
    while (program->count < OPS)
        make_next(&maker, below(&maker, SLOTS));
}

/* --- text ------------------------------------------------------------------------------------- */

const char *op_kind_name(enum op_kind kind)
{
    static const char *const names[OP_KINDS] = {
        [OP_SOCKET] = "socket",     [OP_SETSOCKOPT] = "setsockopt", [OP_BIND] = "bind",
        [OP_LISTEN] = "listen",     [OP_CONNECT] = "connect",       [OP_ACCEPT] = "accept",
        [OP_SHUTDOWN] = "shutdown", [OP_CLOSE] = "close",
    };

    return names[kind];
}

static void option_format(const struct op *op, char *buf, size_t size)
{
    static const char *const names[] = {"REUSEADDR", "REUSEPORT", "V6ONLY", "BINDTODEVICE"};
    static const char *const devices[] = {"none", "lo", "veth"};

    if (op->option == OPTION_DEVICE)
        snprintf(buf, size, "s%u.BINDTODEVICE = %s", op->slot, devices[op->value]);
    else
        snprintf(buf, size, "s%u.%s = %u", op->slot, names[op->option], op->value);
}

void op_format(const struct op *op, int host, uint16_t base, char *buf, size_t size)
{
    const char *user = op->other_user ? "other user" : "";
    uint16_t port = op->port == PORT_AUTO ? 0 : (uint16_t)(base + op->port);
    struct tw_endpoint place = place_at(host, (enum place)op->place, port);
    char text[TW_ENDPOINT_TEXT_MAX];

    switch (op->kind) {
    case OP_SOCKET:
        snprintf(buf, size, "s%u = %s.socket(%s%s%s)", op->slot, op->host ? "right" : "left",
                 op->v6 ? "tcp6" : "tcp4", op->other_user ? ", " : "", user);
        break;
    case OP_SETSOCKOPT:
        option_format(op, buf, size);
        break;
    case OP_BIND:
    case OP_CONNECT:
        snprintf(buf, size, "%s(s%u, %s%s)", op_kind_name(op->kind), op->slot,
                 tw_endpoint_format(&place, text), port ? "" : " port 0");
        break;
    case OP_ACCEPT:
        snprintf(buf, size, "s%u = accept(s%u%s%s)", op->new_slot, op->slot,
                 op->other_user ? ", " : "", user);
        break;
    case OP_SHUTDOWN:
        snprintf(buf, size, "shutdown(s%u, %s)", op->slot, op->writing ? "WR" : "RD");
        break;
    case OP_CLOSE:
        snprintf(buf, size, "close(s%u%s)", op->slot, op->reset ? ", with a reset" : "");
        break;
    default:
        snprintf(buf, size, "listen(s%u)", op->slot);
        break;
    }
}
