/* What each call ought to return: by lib/rules where an address is claimed, and by what POSIX and
 * tcp(7) say elsewhere. */
#include <errno.h>
#include <netinet/tcp.h>

#include "differential_parts.h"

void model_init(struct model *model, const struct net *net, uint16_t base, unsigned break_clause)
{
    *model = (struct model){.net = net, .base = base, .break_clause = break_clause};
    for (int i = 0; i < SLOTS; i++)
        model->slots[i].entry = NONE;
}

bool reaches(const struct tw_endpoint *a, const struct tw_endpoint *b)
{
    struct tw_endpoint x = tw_endpoint_unmap(a), y = tw_endpoint_unmap(b);

    return tw_endpoint_same_address(&x, &y) && tw_endpoint_port(&x) == tw_endpoint_port(&y);
}

struct tw_rules_request request_of(const struct model *model, int slot,
                                   const struct tw_endpoint *local)
{
    const struct slot *s = &model->slots[slot];

    return (struct tw_rules_request){
        .protocol = IPPROTO_TCP,
        .local = *local,
        .reuseaddr = s->reuseaddr,
        .reuseport = s->reuseport,
        .v6only = s->v6only,
        .uid = s->uid,
        .device = model->net->devices[s->host][s->device],
    };
}

int model_state(const struct model *model, int slot)
{
    const struct slot *s = &model->slots[slot];

    return s->entry == NONE ? TCP_CLOSE : model->entries[s->entry].row.state;
}

unsigned model_queue(const struct model *model, int listener)
{
    unsigned count = 0;

    for (int i = 0; i < ENTRIES; i++)
        count += model->entries[i].used && model->entries[i].waits_at == listener;
    return count;
}

/* --- bind() and listen() ------------------------------------------------------------------------
 */

/* A request with SO_REUSEPORT gets in without a look at the other sockets when the last one let in
 * was of the same user and had the same address, or a wildcard that covers it. The port's bucket
 * forgets that when one without SO_REUSEPORT is let in: sk_reuseport_match(),
 * inet_csk_update_fastreuse(). Rows cannot tell, see tidewait/rules.h. */
bool bucket_matches(const struct bucket *bucket, const struct tw_rules_request *request)
{
    struct tw_endpoint last = tw_endpoint_unmap(&bucket->address);
    struct tw_endpoint wanted = tw_endpoint_unmap(&request->local);

    if (!bucket->used || !request->reuseport || !bucket->shares || bucket->uid != request->uid)
        return false;
    if (!tw_rules_overlap(&bucket->address, bucket->v6only, &request->local, request->v6only))
        return false;
    if (!tw_endpoint_is_wildcard(&last))
        return !tw_endpoint_is_wildcard(&wanted);
    /* ::ffff:0.0.0.0 covers IPv4, but not [::]. */
    return bucket->address.sa.sa_family == last.sa.sa_family ||
           last.sa.sa_family == wanted.sa.sa_family;
}

static void expect_claim(const struct model *model, const struct tw_rules_request *request,
                         int slot, bool listens, struct expectation *out)
{
    const struct slot *s = &model->slots[slot];
    unsigned number = (unsigned)(tw_endpoint_port(&request->local) - model->base);
    const struct bucket *bucket = &model->buckets[s->host][number];

    if (!rules_refuse(model, request, s->host, s->entry, listens))
        return;
    if (bucket_matches(bucket, request))
        out->let_in = true;
    else
        out->code = EADDRINUSE;
}

/* Port 0: any port on which bind() without options would go well. */
static void expect_any_port(const struct model *model, int slot, struct tw_endpoint local,
                            struct expectation *out)
{
    struct tw_rules_request request = request_of(model, slot, &local);

    request.reuseaddr = request.reuseport = false;
    for (unsigned i = 0; i < PORTS; i++) {
        tw_endpoint_set_port(&request.local, (uint16_t)(model->base + i));
        if (!rules_refuse(model, &request, model->slots[slot].host, NONE, false))
            out->ports |= (uint16_t)(1u << i);
    }
    out->picks_port = out->ports != 0;
    if (!out->picks_port)
        out->code = EADDRINUSE;
}

static bool is_away(enum place place)
{
    return place == PEER4 || place == PEER6 || place == MAPPED_PEER;
}

/* [::1] is of lo alone; addresses of global scope are good on each device. */
static bool is_on_device(enum place place, uint8_t device)
{
    return place != LOOP6 || device != DEVICE_VETH;
}

/* What bind() checks before it comes to the port, in the kernel's order. */
static int check_bind(const struct slot *s, const struct op *op)
{
    enum place place = (enum place)op->place;

    if (s->v6 != (place >= ANY6))
        return EAFNOSUPPORT;
    if (!s->v6 && is_away(place))
        return EADDRNOTAVAIL;
    if (s->state != SLOT_FRESH)
        return EINVAL;
    if (place >= MAPPED_ANY && s->v6only)
        return EINVAL;
    return is_away(place) || !is_on_device(place, s->device) ? EADDRNOTAVAIL : 0;
}

static bool expect_bind(const struct model *model, const struct op *op, struct expectation *out)
{
    const struct slot *s = &model->slots[op->slot];
    uint16_t port = op->port == PORT_AUTO ? 0 : (uint16_t)(model->base + op->port);
    struct tw_rules_request request;

    if (s->state == SLOT_SPENT)
        return false;
    /* One that was connected may or may not have kept its port. */
    if (s->state == SLOT_CONNECTED && s->entry == NONE)
        return false;
    out->code = check_bind(s, op);
    out->source = place_at(s->host, (enum place)op->place, port);
    if (out->code)
        return true;
    if (!port) {
        expect_any_port(model, op->slot, out->source, out);
        return true;
    }
    request = request_of(model, op->slot, &out->source);
    if (op->place == LOOP6 || op->place == HOST6)
        request.v6only = true;
    expect_claim(model, &request, op->slot, false, out);
    return true;
}

static bool expect_listen(const struct model *model, const struct op *op, struct expectation *out)
{
    const struct slot *s = &model->slots[op->slot];
    struct tw_rules_request request;

    switch (s->state) {
    case SLOT_FRESH:
        expect_any_port(model, op->slot, place_at(s->host, s->v6 ? ANY6 : ANY4, 0), out);
        return true;
    case SLOT_BOUND:
        request = request_of(model, op->slot, &model->entries[s->entry].row.local);
        expect_claim(model, &request, op->slot, true, out);
        return true;
    case SLOT_CONNECTED:
        out->code = EINVAL;
        return true;
    default:
        return s->state == SLOT_LISTENS;
    }
}

/* --- the others ---------------------------------------------------------------------------------
 */

static bool expect_setsockopt(const struct model *model, const struct op *op,
                              struct expectation *out)
{
    const struct slot *s = &model->slots[op->slot];

    if (s->state != SLOT_FRESH && s->state != SLOT_BOUND &&
        !(s->state == SLOT_LISTENS && op->option == OPTION_REUSEADDR))
        return false;
    if (op->option == OPTION_V6ONLY && !s->v6)
        out->code = ENOPROTOOPT;
    else if (op->option == OPTION_V6ONLY && s->state != SLOT_FRESH)
        out->code = EINVAL;
    return true;
}

static bool expect_accept(const struct model *model, const struct op *op, struct expectation *out)
{
    if (model->slots[op->new_slot].state != SLOT_FREE)
        return false;
    if (model->slots[op->slot].state != SLOT_LISTENS)
        out->code = EINVAL;
    else if (!model_queue(model, op->slot))
        out->code = EAGAIN;
    return true;
}

static bool expect_shutdown(const struct model *model, const struct op *op, struct expectation *out)
{
    const struct slot *s = &model->slots[op->slot];

    if (s->state == SLOT_LISTENS)
        return true;
    /* One that is not connected is told so, and stays shut in some way all the same. */
    if (s->state != SLOT_CONNECTED || !op->writing)
        return false;
    if (model_state(model, op->slot) == TCP_CLOSE)
        out->code = ENOTCONN;
    return true;
}

bool model_expect(const struct model *model, const struct op *op, struct expectation *out)
{
    *out = (struct expectation){.code = 0};
    if (model->full && op->kind != OP_CLOSE)
        return false;
    if ((model->slots[op->slot].state == SLOT_FREE) != (op->kind == OP_SOCKET))
        return false;
    switch (op->kind) {
    case OP_SETSOCKOPT:
        return expect_setsockopt(model, op, out);
    case OP_BIND:
        return expect_bind(model, op, out);
    case OP_LISTEN:
        return expect_listen(model, op, out);
    case OP_CONNECT:
        return expect_connect(model, op, out);
    case OP_ACCEPT:
        return expect_accept(model, op, out);
    case OP_SHUTDOWN:
        return expect_shutdown(model, op, out);
    default:
        return true;
    }
}
