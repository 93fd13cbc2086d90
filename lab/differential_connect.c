/* What connect() ought to do: may the tuple be, which port is chosen, and who listens there. */
#include <errno.h>
#include <netinet/tcp.h>

#include "differential_parts.h"

enum reach { REACH_LOOP, REACH_HOST, REACH_PEER };

static enum reach reach_of(enum place place)
{
    if (place == LOOP4 || place == LOOP6 || place == MAPPED_LOOP)
        return REACH_LOOP;
    return place == HOST4 || place == HOST6 || place == MAPPED_HOST ? REACH_HOST : REACH_PEER;
}

/* What connect() checks before it comes to addresses. */
static int check_connect(const struct slot *s, const struct op *op)
{
    if (s->state == SLOT_LISTENS || s->state == SLOT_CONNECTED)
        return EISCONN;
    if (s->v6 != (op->place >= ANY6))
        return EAFNOSUPPORT;
    return op->place >= MAPPED_ANY && s->v6only ? ENETUNREACH : 0;
}

/* The address that the kernel gives the socket, or the one that it has. False: there is no way from
 * it that is worth the words. */
static bool source_of(const struct slot *s, enum place place, struct tw_endpoint *out)
{
    static const enum place loops[] = {LOOP4, LOOP6, MAPPED_LOOP};
    static const enum place hosts[] = {HOST4, HOST6, MAPPED_HOST};
    int kind = place >= MAPPED_ANY ? 2 : place >= ANY6;
    enum reach reach = reach_of(place);
    struct tw_endpoint own = place_at(s->host, reach == REACH_LOOP ? loops[kind] : hosts[kind], 0);
    struct tw_endpoint bound = tw_endpoint_unmap(&s->bound), plain = tw_endpoint_unmap(&own);

    *out = own;
    if (s->device &&
        (reach == REACH_HOST || s->device != (reach == REACH_LOOP ? DEVICE_LO : DEVICE_VETH)))
        return false;
    if (s->entry == NONE)
        return true;
    tw_endpoint_set_port(out, tw_endpoint_port(&s->bound));
    if (tw_endpoint_is_wildcard(&bound))
        /* ::ffff:0.0.0.0 leads to IPv4 alone. */
        return s->bound.sa.sa_family == AF_INET || bound.sa.sa_family == AF_INET6 || kind == 2;
    if (bound.sa.sa_family != plain.sa.sa_family)
        return false;
    if (tw_endpoint_same_address(&bound, &plain))
        return true;
    /* IPv6 drops what comes from [::1] by another device than lo. */
    if (reach == REACH_PEER || s->device || plain.sa.sa_family == AF_INET6)
        return false;
    *out = s->bound; /* from one address of the host to another */
    return true;
}

/* --- who listens --------------------------------------------------------------------------------
 */

/* 0: not reached. Higher is preferred: an address of its own, then a device, then IPv4 for IPv4. */
static int score_of(const struct model *model, int slot, const struct tw_endpoint *to,
                    enum device device)
{
    const struct slot *s = &model->slots[slot];
    const struct tw_endpoint *local = &model->entries[s->entry].row.local;
    struct tw_endpoint plain = tw_endpoint_unmap(local), wanted = tw_endpoint_unmap(to);
    int score;

    if (tw_endpoint_port(local) != tw_endpoint_port(to) || (s->device && s->device != device) ||
        !tw_rules_overlap(local, s->v6only, &wanted, true))
        return 0;
    score = 1 + (s->device ? 1 : 0) + (wanted.sa.sa_family == AF_INET && !s->v6);
    return score + (tw_endpoint_is_wildcard(&plain) ? 0 : 10);
}

/* Slots of which one gets the connection. The kernel takes the first one with SO_REUSEPORT that it
 * comes across, and in its group by a hash; else the highest score. */
static uint16_t listeners_at(const struct model *model, int host, const struct tw_endpoint *to,
                             enum device device)
{
    int scores[SLOTS] = {0}, best = 0;
    uint16_t found = 0;

    for (int i = 0; i < SLOTS; i++) {
        if (model->slots[i].state == SLOT_LISTENS && model->slots[i].host == host)
            scores[i] = score_of(model, i, to, device);
        if (scores[i] > best)
            best = scores[i];
    }
    for (int i = 0; i < SLOTS; i++)
        if (scores[i] &&
            (scores[i] == best || (model->slots[i].reuseport && (scores[i] >= 10) == (best >= 10))))
            found |= (uint16_t)(1u << i);
    return found;
}

/* Devices of both ends and addresses of two devices: the ways back are a matter of routing. */
static bool routes_are_plain(const struct model *model, const struct expectation *e,
                             enum reach reach)
{
    struct tw_endpoint loop4 = place_at(0, LOOP4, 0), loop6 = place_at(0, LOOP6, 0);
    struct tw_endpoint source = tw_endpoint_unmap(&e->source);
    bool from_loop =
        tw_endpoint_same_address(&source, &loop4) || tw_endpoint_same_address(&source, &loop6);

    if (reach == REACH_PEER || (reach == REACH_LOOP && from_loop))
        return true;
    for (int i = 0; i < SLOTS; i++)
        if (e->listeners & 1u << i && model->slots[i].device)
            return false;
    return true;
}

/* Whether the SYN would meet the remains of the tuple's former life at the other end. A TIME_WAIT
 * makes way when somebody listens; the others answer in ways that are no matter of addresses. */
static bool meets_remains(const struct model *model, const struct expectation *e)
{
    for (int i = 0; i < ENTRIES; i++) {
        const struct entry *entry = &model->entries[i];

        if (entry->used && !entry->hidden && entry->host == e->target &&
            reaches(&entry->row.local, &e->destination) &&
            reaches(&entry->row.remote, &e->source) &&
            (entry->row.state != TCP_TIME_WAIT || !e->listeners))
            return true;
    }
    return false;
}

/* --- connect() ----------------------------------------------------------------------------------
 */

/* With an automatic port: each that may be chosen must lead to something that can be told. */
static bool all_lead_somewhere(const struct model *model, const struct expectation *e)
{
    struct expectation one = *e;

    for (unsigned i = 0; i < PORTS; i++) {
        if (!(e->ports & 1u << i))
            continue;
        tw_endpoint_set_port(&one.source, (uint16_t)(model->base + i));
        if (reaches(&one.source, &one.destination) || meets_remains(model, &one))
            return false;
    }
    return true;
}

/* Whether a connection of ours has the tuple, whatever the rules say: then there is no SYN. */
static bool is_held(const struct model *model, const struct slot *s, const struct expectation *e)
{
    for (int i = 0; i < ENTRIES; i++) {
        const struct entry *entry = &model->entries[i];

        if (entry->used && !entry->hidden && entry->host == s->host && !is_mini(&entry->row) &&
            entry->row.state != TCP_CLOSE &&
            entry->row.device == model->net->devices[s->host][s->device] &&
            reaches(&entry->row.local, &e->source) && reaches(&entry->row.remote, &e->destination))
            return true;
    }
    return false;
}

/* One bound to [::] or a device that goes to its TIME_WAIT's tuple takes that one over; what is
 * left at the other end of a FIN_WAIT_2 would answer with a reset of its own. */
static bool expect_tuple(const struct model *model, const struct op *op, struct expectation *out)
{
    const struct slot *s = &model->slots[op->slot];

    if (s->entry == NONE) {
        out->ports = rules_lane_ports(model, op->slot, &out->source, &out->destination);
        out->picks_port = out->ports != 0;
        if (!out->ports)
            out->code = EADDRNOTAVAIL;
        return all_lead_somewhere(model, out);
    }
    if (reaches(&out->source, &out->destination))
        return false; /* it would connect to itself */
    if (!rules_tuple_free(model, op->slot, &out->source, &out->destination))
        out->code = EADDRNOTAVAIL;
    return out->code || is_held(model, s, out) || !meets_remains(model, out);
}

bool expect_connect(const struct model *model, const struct op *op, struct expectation *out)
{
    const struct slot *s = &model->slots[op->slot];
    enum place place = (enum place)op->place;
    enum reach reach = reach_of(place);
    enum device device;

    if (s->state == SLOT_SPENT || op->port == PORT_AUTO)
        return false;
    out->code = check_connect(s, op);
    out->destination = place_at(s->host, place, (uint16_t)(model->base + op->port));
    if (out->code)
        return out->code != ENETUNREACH || s->state == SLOT_FRESH || s->state == SLOT_BOUND;
    if (place == ANY4 || place == ANY6 || place == MAPPED_ANY)
        return false;
    if (!source_of(s, place, &out->source))
        return false;
    out->target = (uint8_t)(reach == REACH_PEER ? 1 - s->host : s->host);
    /* To an address of our own it comes by the device that has the address. */
    device = reach == REACH_LOOP ? DEVICE_LO : DEVICE_VETH;
    out->arrival = model->net->devices[out->target][device];
    out->listeners = listeners_at(model, out->target, &out->destination, device);
    if (!routes_are_plain(model, out, reach) || !expect_tuple(model, op, out))
        return false;
    if (out->code == 0 && !out->listeners)
        out->code = ECONNREFUSED;
    return true;
}
