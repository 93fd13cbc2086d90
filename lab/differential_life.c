/* What becomes of the model's sockets by each call: the life of a connection as RFC 9293 draws it,
 * and what Linux keeps of it. */
#include <errno.h>
#include <netinet/tcp.h>

#include "differential_parts.h"

/* --- entries and buckets ------------------------------------------------------------------------
 */

static struct entry *entry_of(struct model *model, int index)
{
    return &model->entries[index];
}

static struct bucket *bucket_of(struct model *model, const struct entry *entry)
{
    return &model->buckets[entry->host][tw_endpoint_port(&entry->row.local) - model->base];
}

static int add_entry(struct model *model, const struct entry *entry)
{
    int free = NONE, count = 0;

    for (int i = 0; i < ENTRIES; i++) {
        if (!model->entries[i].used)
            free = i;
        else
            count++;
    }
    /* A call adds two at the most. */
    model->full = count > ENTRIES - 6;
    model->entries[free] = *entry;
    model->entries[free].used = true;
    return free;
}

static void touch(struct model *model, int slot)
{
    if (slot != NONE)
        model->touched |= (uint16_t)(1u << slot);
}

/* Once all that are left on the port were put there by connect(), the bucket is as new; when none
 * is left it is gone. One bound to a wildcard that connect() filed among such counts as one of
 * them, so the kernel forgets that the port is bound (inet_bind_bucket_destroy() of 6.18). Children
 * of a reset that wait for accept() are on no port any more. */
static void port_left(struct model *model, const struct entry *gone)
{
    struct bucket *bucket = bucket_of(model, gone);
    bool any = false, all_chosen = true;

    for (int i = 0; i < ENTRIES; i++) {
        const struct entry *entry = &model->entries[i];

        if (!entry->used || entry->hidden || bucket_of(model, entry) != bucket)
            continue;
        any = true;
        all_chosen = all_chosen && (entry->chosen || entry->moved);
    }
    if (!any || all_chosen)
        *bucket = (struct bucket){.used = any, .forgot = any};
}

static void remove_entry(struct model *model, int index)
{
    struct entry *entry = entry_of(model, index);

    entry->used = false;
    if (entry->slot != NONE)
        model->slots[entry->slot].entry = NONE;
    if (entry->peer != NONE)
        model->entries[entry->peer].peer = NONE;
    if (!entry->hidden)
        port_left(model, entry);
}

/* The kernel files the sockets of a port by address. Whether others are filed with this entry, all
 * of them put there by connect(). */
static bool joins_connected(const struct model *model, const struct entry *entry)
{
    bool any = false;

    for (int i = 0; i < ENTRIES; i++) {
        const struct entry *other = &model->entries[i];

        if (other == entry || !other->used || other->hidden || other->host != entry->host ||
            !reaches(&other->row.local, &entry->row.local))
            continue;
        if (!other->chosen && !other->moved)
            return false;
        any = true;
    }
    return any;
}

/* The bucket of a port after a socket was let in. */
static void note_claim(struct model *model, const struct entry *entry, bool matched)
{
    struct bucket *bucket = bucket_of(model, entry);

    for (int i = 0; i < ENTRIES; i++) {
        struct entry *other = &model->entries[i];

        if (other->used && other->host == entry->host &&
            reaches(&other->row.local, &entry->row.local))
            other->moved = false;
    }
    bucket->used = true;
    bucket->forgot = false;
    bucket->shares = entry->row.reuseport == TW_YES;
    if (!bucket->shares || matched)
        return;
    bucket->uid = entry->row.uid;
    bucket->address = entry->row.local;
    bucket->v6only = entry->row.v6only;
}

/* --- how connections end ------------------------------------------------------------------------
 */

/* The descriptor stays, the connection is gone. bind() to an explicit port outlives it. */
static void leave_descriptor(struct model *model, int index)
{
    struct entry *entry = entry_of(model, index);

    if (entry->slot != NONE && model->slots[entry->slot].locked) {
        entry->row.state = TCP_CLOSE;
        entry->peer = NONE;
    } else {
        remove_entry(model, index);
    }
}

static void shrink_to_mini(struct entry *entry, int state)
{
    entry->row.state = (uint8_t)state;
    entry->row.uid = entry->row.inode = 0;
    entry->slot = NONE;
}

/* FIN_WAIT_2 that got the peer's FIN: the kernel keeps a small record of its own. */
static void enter_time_wait(struct model *model, int index)
{
    struct entry *entry = entry_of(model, index), mini = *entry;

    touch(model, entry->slot);
    if (entry->peer != NONE)
        model->entries[entry->peer].peer = NONE;
    entry->peer = NONE;
    mini.peer = NONE;
    mini.waits_at = NONE;
    shrink_to_mini(&mini, TCP_TIME_WAIT);
    if (entry->slot == NONE && entry->waits_at == NONE) {
        *entry = mini;
        return;
    }
    add_entry(model, &mini);
    leave_descriptor(model, index);
}

/* The end of an entry sends FIN. */
static void send_fin(struct model *model, int index)
{
    struct entry *entry = entry_of(model, index);
    int peer = entry->peer;

    if (entry->row.state == TCP_ESTABLISHED) {
        entry->row.state = TCP_FIN_WAIT2;
        model->entries[peer].row.state = TCP_CLOSE_WAIT;
        touch(model, model->entries[peer].slot);
    } else if (entry->row.state == TCP_CLOSE_WAIT) {
        enter_time_wait(model, peer);
        leave_descriptor(model, index);
    }
}

/* A reset arrives at an entry. */
static void get_reset(struct model *model, int index)
{
    struct entry *entry = entry_of(model, index);

    touch(model, entry->slot);
    entry->peer = NONE;
    if (entry->waits_at == NONE) {
        leave_descriptor(model, index);
        return;
    }
    entry->hidden = true;
    port_left(model, entry);
}

static void send_reset(struct model *model, int index)
{
    int peer = model->entries[index].peer;

    if (peer != NONE) {
        model->entries[index].peer = NONE;
        get_reset(model, peer);
    }
}

/* Connections that nobody accepted end with their listener. */
static void drop_queue(struct model *model, int listener)
{
    for (int i = 0; i < ENTRIES; i++) {
        if (!model->entries[i].used || model->entries[i].waits_at != listener)
            continue;
        send_reset(model, i);
        remove_entry(model, i);
    }
}

/* --- the calls ----------------------------------------------------------------------------------
 */

static void apply_socket(struct model *model, const struct op *op)
{
    model->slots[op->slot] = (struct slot){.state = SLOT_FRESH,
                                           .host = op->host,
                                           .v6 = op->v6,
                                           .uid = model->net->users[op->other_user],
                                           .entry = NONE};
}

static void apply_option(struct model *model, const struct op *op)
{
    struct slot *s = &model->slots[op->slot];
    struct tw_socket_row *row = s->entry == NONE ? NULL : &model->entries[s->entry].row;

    switch (op->option) {
    case OPTION_REUSEADDR:
        s->reuseaddr = op->value;
        if (row)
            row->reuseaddr = op->value ? TW_YES : TW_NO;
        break;
    case OPTION_REUSEPORT:
        s->reuseport = op->value;
        if (row)
            row->reuseport = op->value ? TW_YES : TW_NO;
        break;
    case OPTION_V6ONLY:
        s->v6only = op->value;
        break;
    default:
        s->device = op->value;
        if (row)
            row->device = model->net->devices[s->host][op->value];
        break;
    }
}

/* A slot's first row. */
static struct entry fresh_entry(const struct model *model, int slot,
                                const struct tw_endpoint *local, int state)
{
    const struct slot *s = &model->slots[slot];

    return (struct entry){
        .host = s->host,
        .slot = (int8_t)slot,
        .peer = NONE,
        .waits_at = NONE,
        .row = {.protocol = IPPROTO_TCP,
                .state = (uint8_t)state,
                .reuseaddr = s->reuseaddr ? TW_YES : TW_NO,
                .reuseport = s->reuseport ? TW_YES : TW_NO,
                .v6only = s->v6only,
                .local = *local,
                .device = model->net->devices[s->host][s->device],
                .uid = s->uid,
                .inode = 1},
    };
}

static bool matched_before(struct model *model, const struct entry *entry)
{
    struct tw_rules_request request = request_of(model, entry->slot, &entry->row.local);

    return bucket_matches(bucket_of(model, entry), &request);
}

static void apply_bind(struct model *model, const struct op *op, const struct expectation *expected,
                       const struct outcome *outcome)
{
    struct slot *s = &model->slots[op->slot];
    struct entry entry;

    if (op->place == LOOP6 || op->place == HOST6)
        s->v6only = true;
    s->bound = expected->source;
    if (expected->picks_port)
        tw_endpoint_set_port(&s->bound, outcome->port);
    entry = fresh_entry(model, op->slot, &s->bound, TCP_CLOSE);
    s->locked = !expected->picks_port;
    s->state = SLOT_BOUND;
    note_claim(model, &entry, matched_before(model, &entry));
    s->entry = (int16_t)add_entry(model, &entry);
}

static void apply_listen(struct model *model, const struct op *op, const struct outcome *outcome)
{
    struct slot *s = &model->slots[op->slot];
    struct entry entry;

    if (s->state == SLOT_LISTENS)
        return;
    if (s->entry == NONE) {
        s->bound = place_at(s->host, s->v6 ? ANY6 : ANY4, outcome->port);
        entry = fresh_entry(model, op->slot, &s->bound, TCP_CLOSE);
        s->entry = (int16_t)add_entry(model, &entry);
    }
    s->state = SLOT_LISTENS;
    model->entries[s->entry].row.state = TCP_LISTEN;
    model->entries[s->entry].moved = false;
    entry = model->entries[s->entry];
    note_claim(model, &entry, matched_before(model, &entry));
}

/* The listener's end of a new connection. */
static void add_child(struct model *model, const struct expectation *expected,
                      const struct outcome *outcome, int client)
{
    const struct slot *listener = &model->slots[outcome->listener];
    struct entry child = model->entries[listener->entry];
    struct tw_endpoint source = model->entries[client].row.local;

    child.slot = NONE;
    child.waits_at = outcome->listener;
    child.turn = model->turn++;
    child.peer = (int16_t)client;
    child.row.state = TCP_ESTABLISHED;
    child.row.local = expected->destination;
    child.row.remote = source;
    child.row.inode = 0;
    model->entries[client].peer = (int16_t)add_entry(model, &child);
}

/* What the new connection takes the place of: our TIME_WAIT here, the other end's there. */
static void remove_former(struct model *model, int host, const struct tw_endpoint *local,
                          const struct tw_endpoint *remote, uint32_t device)
{
    for (int i = 0; i < ENTRIES; i++) {
        struct entry *entry = &model->entries[i];

        if (entry->used && !entry->hidden && entry->host == host && is_mini(&entry->row) &&
            (!entry->row.device || entry->row.device == device) &&
            reaches(&entry->row.local, local) && reaches(&entry->row.remote, remote))
            remove_entry(model, i);
    }
}

/* A refused connection forgets the address that connect() gave the socket, but one bound to
 * [::ffff:0.0.0.0] keeps it. A port that bind() did not name is given back. */
static void forget_connection(struct model *model, const struct op *op,
                              const struct tw_endpoint *source)
{
    struct slot *s = &model->slots[op->slot];

    if (s->state == SLOT_BOUND) {
        struct tw_endpoint plain = tw_endpoint_unmap(&s->bound);

        if (!s->locked) {
            remove_entry(model, s->entry);
            s->state = SLOT_SPENT; /* it may have kept its address */
        } else if (s->v6 && plain.sa.sa_family == AF_INET) {
            model->entries[s->entry].row.local = *source;
        } else if (tw_endpoint_is_wildcard(&plain)) {
            /* Back where it was, beside those that were put there. */
            model->entries[s->entry].moved = joins_connected(model, &model->entries[s->entry]);
        }
    }
    /* It has become half an IPv4 socket, and stays so. */
    if (op->place >= MAPPED_ANY)
        s->state = SLOT_SPENT;
}

/* Nobody listens there; our TIME_WAIT was taken over by then. */
static void apply_refused(struct model *model, const struct op *op,
                          const struct expectation *expected)
{
    const struct slot *s = &model->slots[op->slot];

    if (s->entry != NONE)
        remove_former(model, s->host, &expected->source, &expected->destination,
                      model->entries[s->entry].row.device);
    forget_connection(model, op, &expected->source);
}

static void apply_connect(struct model *model, const struct op *op,
                          const struct expectation *expected, const struct outcome *outcome)
{
    struct slot *s = &model->slots[op->slot];
    struct tw_endpoint source = expected->source;
    uint32_t device = model->net->devices[s->host][s->device];
    struct entry *entry;
    int index = s->entry;

    if (expected->picks_port)
        tw_endpoint_set_port(&source, outcome->port);
    if (index == NONE) {
        struct entry fresh = fresh_entry(model, op->slot, &source, TCP_ESTABLISHED);

        fresh.chosen = true;
        index = add_entry(model, &fresh);
        s->entry = (int16_t)index;
        bucket_of(model, &fresh)->used = true;
    }
    remove_former(model, s->host, &source, &expected->destination, device);
    remove_former(model, expected->target, &expected->destination, &source, expected->arrival);
    entry = &model->entries[index];
    entry->row.state = TCP_ESTABLISHED;
    entry->row.local = source;
    entry->row.remote = expected->destination;
    s->state = SLOT_CONNECTED;
    add_child(model, expected, outcome, index);
}

static void apply_accept(struct model *model, const struct op *op)
{
    const struct slot *listener = &model->slots[op->slot];
    struct slot *s = &model->slots[op->new_slot];
    struct entry *first = NULL;

    for (int i = 0; i < ENTRIES; i++) {
        struct entry *entry = &model->entries[i];

        if (entry->used && entry->waits_at == (int8_t)op->slot &&
            (!first || entry->turn < first->turn))
            first = entry;
    }
    *s = *listener;
    s->state = SLOT_CONNECTED;
    s->locked = false;
    s->uid = model->net->users[op->other_user];
    s->entry = NONE;
    first->waits_at = NONE;
    touch(model, op->new_slot);
    if (first->hidden) {
        first->used = false;
        return;
    }
    s->entry = (int16_t)(first - model->entries);
    first->slot = (int8_t)op->new_slot;
    first->row.uid = s->uid;
    first->row.inode = 1;
}

static void apply_shutdown(struct model *model, const struct op *op)
{
    struct slot *s = &model->slots[op->slot];

    if (s->state == SLOT_CONNECTED) {
        if (s->entry != NONE)
            send_fin(model, s->entry);
        return;
    }
    if (op->writing)
        return;
    drop_queue(model, op->slot);
    s->state = SLOT_BOUND;
    model->entries[s->entry].row.state = TCP_CLOSE;
    if (!s->locked) {
        remove_entry(model, s->entry);
        s->state = SLOT_SPENT; /* it may have kept its address */
    }
}

/* close() of a connection: what is left of it has no descriptor. */
static void close_connection(struct model *model, int index, bool reset)
{
    struct entry *entry = entry_of(model, index);
    int state = entry->row.state;

    if (reset || state == TCP_CLOSE) {
        send_reset(model, index);
        remove_entry(model, index);
        return;
    }
    model->slots[entry->slot].entry = NONE;
    entry->slot = NONE;
    send_fin(model, index);
    if (state != TCP_CLOSE_WAIT)
        shrink_to_mini(entry, TCP_FIN_WAIT2);
}

static void apply_close(struct model *model, const struct op *op)
{
    struct slot *s = &model->slots[op->slot];

    if (s->state == SLOT_LISTENS)
        drop_queue(model, op->slot);
    if (s->entry != NONE && s->state == SLOT_CONNECTED)
        close_connection(model, s->entry, op->reset);
    else if (s->entry != NONE)
        remove_entry(model, s->entry);
    s->state = SLOT_FREE;
    s->entry = NONE;
}

/* connect() gives a socket on a wildcard its address first of all, and whether it goes well or not
 * the kernel files it anew. */
static void note_move(struct model *model, const struct op *op, const struct expectation *expected)
{
    const struct slot *s = &model->slots[op->slot];
    struct tw_endpoint bound = tw_endpoint_unmap(&s->bound);
    struct entry there = {.host = s->host, .row.local = expected->source};
    int code = expected->code;

    if (op->kind == OP_CONNECT && s->state == SLOT_BOUND && tw_endpoint_is_wildcard(&bound) &&
        (code == 0 || code == ECONNREFUSED || code == EADDRNOTAVAIL))
        model->entries[s->entry].moved = joins_connected(model, &there);
}

void model_apply(struct model *model, const struct op *op, const struct expectation *expected,
                 const struct outcome *outcome)
{
    model->touched = 0;
    note_move(model, op, expected);
    if (expected->code) {
        if (op->kind == OP_CONNECT && expected->code == ECONNREFUSED)
            apply_refused(model, op, expected);
        else if (op->kind == OP_CONNECT && expected->code == EADDRNOTAVAIL)
            forget_connection(model, op, &expected->source);
        return;
    }
    if (op->kind != OP_CLOSE)
        touch(model, op->slot);
    switch (op->kind) {
    case OP_SOCKET:
        apply_socket(model, op);
        break;
    case OP_SETSOCKOPT:
        apply_option(model, op);
        break;
    case OP_BIND:
        apply_bind(model, op, expected, outcome);
        break;
    case OP_LISTEN:
        apply_listen(model, op, outcome);
        break;
    case OP_CONNECT:
        apply_connect(model, op, expected, outcome);
        break;
    case OP_ACCEPT:
        apply_accept(model, op);
        break;
    case OP_SHUTDOWN:
        apply_shutdown(model, op);
        break;
    default:
        apply_close(model, op);
        break;
    }
}
