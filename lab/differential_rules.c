/* Asks lib/rules about the model's rows; or, to prove that the test notices, asks it about rows and
 * requests that were changed so that one clause has no effect. */
#include <netinet/tcp.h>
#include <string.h>

#include "differential_parts.h"

/* A question to the rules: some of it does not matter to each. */
struct question {
    struct tw_rules_request request;
    struct tw_socket_row rows[ENTRIES];
    size_t count;
    bool reusable;
    struct tw_rules_lane_request lane;
    struct tw_ports polluting;
};

/* --- clauses that are left out ------------------------------------------------------------------
 */

static bool is_mapped(const struct tw_endpoint *e)
{
    return e->sa.sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&e->v6.sin6_addr);
}

static bool is_wild(const struct tw_endpoint *endpoint)
{
    struct tw_endpoint plain = tw_endpoint_unmap(endpoint);

    return tw_endpoint_is_wildcard(&plain);
}

static int family_of(const struct tw_endpoint *endpoint)
{
    return tw_endpoint_unmap(endpoint).sa.sa_family;
}

bool is_mini(const struct tw_socket_row *row)
{
    return row->state == TCP_TIME_WAIT || (row->state == TCP_FIN_WAIT2 && !row->inode && !row->uid);
}

static void keep_if(struct question *q,
                    bool (*wanted)(const struct question *q, const struct tw_socket_row *row))
{
    size_t kept = 0;

    for (size_t i = 0; i < q->count; i++)
        if (wanted(q, &q->rows[i]))
            q->rows[kept++] = q->rows[i];
    q->count = kept;
}

static void no_overlap(struct question *q)
{
    for (size_t i = 0; i < q->count; i++)
        if (tw_endpoint_port(&q->rows[i].local) == tw_endpoint_port(&q->request.local))
            q->rows[i].local = q->request.local;
}

static bool equally_wild(const struct question *q, const struct tw_socket_row *row)
{
    return family_of(&row->local) != family_of(&q->request.local) ||
           is_wild(&row->local) == is_wild(&q->request.local);
}

static void no_wildcard(struct question *q)
{
    keep_if(q, equally_wild);
}

static bool same_family(const struct question *q, const struct tw_socket_row *row)
{
    return family_of(&row->local) == family_of(&q->request.local);
}

static void no_dual_stack(struct question *q)
{
    keep_if(q, same_family);
}

static void no_v6only(struct question *q)
{
    q->request.v6only = false;
    for (size_t i = 0; i < q->count; i++)
        if (is_wild(&q->rows[i].local))
            q->rows[i].v6only = false;
}

static bool equally_mapped(const struct question *q, const struct tw_socket_row *row)
{
    return is_mapped(&row->local) == is_mapped(&q->request.local) || is_wild(&row->local) ||
           is_wild(&q->request.local);
}

static void no_mapped(struct question *q)
{
    keep_if(q, equally_mapped);
}

static void no_device(struct question *q)
{
    q->request.device = 0;
    for (size_t i = 0; i < q->count; i++)
        q->rows[i].device = 0;
}

static void no_ra(struct question *q)
{
    q->request.reuseaddr = false;
}

static void no_ra_of_both(struct question *q)
{
    for (size_t i = 0; i < q->count; i++)
        q->rows[i].reuseaddr = TW_YES;
}

static void no_ra_of_request(struct question *q)
{
    q->request.reuseaddr = true;
}

static void no_listener_outweighs(struct question *q)
{
    for (size_t i = 0; i < q->count; i++)
        if (q->rows[i].state == TCP_LISTEN)
            q->rows[i].state = TCP_CLOSE;
}

static void no_rp(struct question *q)
{
    q->request.reuseport = false;
}

static void no_rp_of_both(struct question *q)
{
    for (size_t i = 0; i < q->count; i++)
        q->rows[i].reuseport = TW_YES;
}

static void no_same_user(struct question *q)
{
    for (size_t i = 0; i < q->count; i++)
        if (!is_mini(&q->rows[i]))
            q->rows[i].uid = q->request.uid;
}

static void no_rp_over_time_wait(struct question *q)
{
    for (size_t i = 0; i < q->count; i++)
        if (is_mini(&q->rows[i])) {
            q->rows[i].uid = ~q->request.uid;
            q->rows[i].state = TCP_ESTABLISHED;
        }
}

static bool is_listener(const struct question *q, const struct tw_socket_row *row)
{
    (void)q;
    return row->state == TCP_LISTEN;
}

/* The folklore: only a listener is in the way. */
static void no_leftovers(struct question *q)
{
    keep_if(q, is_listener);
}

/* The rule says that the answer depends on options that sock_diag does not tell; we know them. */
static bool is_no_shadow(const struct question *q, const struct tw_socket_row *row)
{
    return same_family(q, row) || is_wild(&row->local);
}

static void no_shadow(struct question *q)
{
    keep_if(q, is_no_shadow);
}

static void no_takeover(struct question *q)
{
    q->reusable = false;
}

static void no_tuples(struct question *q)
{
    keep_if(q, is_listener);
}

static void no_pollution(struct question *q)
{
    q->polluting = (struct tw_ports){0};
}

static bool is_not_time_wait(const struct question *q, const struct tw_socket_row *row)
{
    (void)q;
    return !is_mini(row);
}

static void no_time_wait_in_lane(struct question *q)
{
    keep_if(q, is_not_time_wait);
}

static void no_parity(struct question *q)
{
    q->lane.first ^= 1;
}

enum asked { ASKED_BIND, ASKED_TUPLE, ASKED_LANE };

const struct differential_clause differential_clauses[DIFFERENTIAL_CLAUSES] = {
    {"bind: addresses must overlap", 0},
    {"bind: a wildcard overlaps all addresses of its family", 0},
    {"bind: [::] overlaps IPv4", 0},
    {"bind: V6ONLY keeps [::] out of IPv4", 0},
    {"bind: ::ffff:a.b.c.d is a.b.c.d", 0},
    {"bind: sockets of different devices do not meet", 0},
    {"bind: SO_REUSEADDR shares", 0},
    {"bind: SO_REUSEADDR of the socket that was first", 0},
    {"bind: SO_REUSEADDR of the request", 0},
    {"bind: a listener outweighs SO_REUSEADDR", 0},
    {"bind: SO_REUSEPORT shares", 0},
    {"bind: SO_REUSEPORT of the socket that was first", 0},
    {"bind: SO_REUSEPORT shares with the same user only", 1},
    {"bind: SO_REUSEPORT shares with any user's TIME_WAIT", 0},
    {"bind: what does not listen is in the way too", 0},
    {"bind: a dual-stack connection over IPv6 is in the way of 0.0.0.0", 0},
    {"connect: our own TIME_WAIT is taken over", 0},
    {"connect: a tuple is there once", 0},
    {"lane: a bound port is taken for every destination", 0},
    {"lane: a TIME_WAIT takes the port for its destination", 0},
    {"lane: ports of the first parity come first", 0},
};

static const struct {
    enum asked asked;
    void (*leave_out)(struct question *q);
} breaks[DIFFERENTIAL_CLAUSES] = {
    {ASKED_BIND, no_overlap},
    {ASKED_BIND, no_wildcard},
    {ASKED_BIND, no_dual_stack},
    {ASKED_BIND, no_v6only},
    {ASKED_BIND, no_mapped},
    {ASKED_BIND, no_device},
    {ASKED_BIND, no_ra},
    {ASKED_BIND, no_ra_of_both},
    {ASKED_BIND, no_ra_of_request},
    {ASKED_BIND, no_listener_outweighs},
    {ASKED_BIND, no_rp},
    {ASKED_BIND, no_rp_of_both},
    {ASKED_BIND, no_same_user},
    {ASKED_BIND, no_rp_over_time_wait},
    {ASKED_BIND, no_leftovers},
    {ASKED_BIND, no_shadow},
    {ASKED_TUPLE, no_takeover},
    {ASKED_TUPLE, no_tuples},
    {ASKED_LANE, no_pollution},
    {ASKED_LANE, no_time_wait_in_lane},
    {ASKED_LANE, no_parity},
};

static void leave_out(const struct model *model, enum asked asked, struct question *q)
{
    unsigned n = model->break_clause;

    if (n && n <= DIFFERENTIAL_CLAUSES && breaks[n - 1].asked == asked)
        breaks[n - 1].leave_out(q);
}

/* --- questions ----------------------------------------------------------------------------------
 */

static void add_rows(const struct model *model, int host, int skip, struct question *q)
{
    for (int i = 0; i < ENTRIES; i++) {
        const struct entry *entry = &model->entries[i];

        if (entry->used && !entry->hidden && entry->host == host && i != skip)
            q->rows[q->count++] = entry->row;
    }
}

/* The rules about connections take no device: they mean a socket that is bound to none. One that is
 * bound to a device meets the connections of its own device as well. */
static void see_from_device(struct question *q, uint32_t device)
{
    for (size_t i = 0; i < q->count; i++)
        if (q->rows[i].device == device)
            q->rows[i].device = 0;
}

bool rules_refuse(const struct model *model, const struct tw_rules_request *request, int host,
                  int skip, bool listens)
{
    struct question q;
    struct tw_rules_answer answer;

    q.request = *request;
    q.count = 0;
    add_rows(model, host, skip, &q);
    leave_out(model, ASKED_BIND, &q);
    answer = listens ? tw_rules_listen(&q.request, q.rows, q.count)
                     : tw_rules_bind(&q.request, q.rows, q.count);
    /* All options are known here, so the one thing it can depend on, v6only of a connection, is as
     * the row says. */
    return answer.outcome != TW_RULES_FREE;
}

bool rules_tuple_free(const struct model *model, int slot, const struct tw_endpoint *source,
                      const struct tw_endpoint *destination)
{
    const struct slot *s = &model->slots[slot];
    struct question q;

    q.count = 0;
    q.reusable = true; /* timestamps are on */
    add_rows(model, s->host, s->entry, &q);
    see_from_device(&q, model->net->devices[s->host][s->device]);
    leave_out(model, ASKED_TUPLE, &q);
    return tw_rules_tuple(source, destination, q.reusable, q.rows, q.count).outcome ==
           TW_RULES_FREE;
}

static bool has_free(const struct question *q, uint16_t first, uint16_t last, bool of_first_parity)
{
    struct tw_rules_lane_request request = q->lane;
    struct tw_ports ephemeral = {0};
    struct tw_rules_lane lane;

    tw_ports_add_range(&ephemeral, (struct tw_port_range){first, last});
    request.ephemeral = &ephemeral;
    lane = tw_rules_lane(&request, &q->polluting, q->rows, q->count);
    return of_first_parity ? lane.free_first > 0 : lane.free > 0;
}

uint16_t rules_lane_ports(const struct model *model, int slot, const struct tw_endpoint *source,
                          const struct tw_endpoint *destination)
{
    const struct slot *s = &model->slots[slot];
    struct question q = {.lane = {.protocol = IPPROTO_TCP,
                                  .source = *source,
                                  .destination = *destination,
                                  .first = model->base}};
    bool first_parity;
    uint16_t ports = 0;

    add_rows(model, s->host, NONE, &q);
    see_from_device(&q, model->net->devices[s->host][s->device]);
    for (int i = 0; i < ENTRIES; i++) {
        const struct entry *entry = &model->entries[i];
        uint16_t port = tw_endpoint_port(&entry->row.local);

        if (entry->used && !entry->hidden && entry->host == s->host && !entry->chosen &&
            !model->buckets[s->host][port - model->base].forgot)
            tw_ports_add(&q.polluting, port);
    }
    leave_out(model, ASKED_LANE, &q);
    first_parity = has_free(&q, model->base, (uint16_t)(model->base + PORTS - 1), true);
    for (unsigned i = 0; i < PORTS; i++) {
        uint16_t port = (uint16_t)(model->base + i);

        if (has_free(&q, port, port, first_parity))
            ports |= (uint16_t)(1u << i);
    }
    return ports;
}
