#include "ls_group.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>

#include "ls_json.h"
#include "tidewait/limits.h"
#include "tidewait/text.h"

/* Counters of states: by number, and in the place of 0, which is none, TCP's TCP_CLOSE, since it
 * has another name than that of UDP and Unix. */
#define STATE_COUNTERS 13

/* The most units whose sharing of one socket is told apart from one that comes twice. */
#define SHARED_MAX 64

enum direction { DIRECTION_NONE, DIRECTION_OUT, DIRECTION_IN };

/* What a group does not depend on is 0. Keys are compared as bytes: nothing may be padded. */
struct key {
    uint64_t netns;
    uint8_t source[16], destination[16]; /* IPv4 in the first four */
    uint32_t zone;
    uint32_t uid;
    int pid; /* by unit: the process that stands for the unit */
    uint16_t port;
    uint8_t protocol;
    uint8_t state;
    uint8_t direction;
    uint8_t family;
    uint8_t user_unknown;
    uint8_t unused[5];
};

struct group {
    struct key key;
    int holder;          /* of a lane: who has most of it */
    uint32_t holder_has; /* how many */
    uint64_t count;
    uint32_t states[STATE_COUNTERS];
};

struct share_key {
    uint32_t group; /* its index */
    int pid;
};

struct share {
    struct share_key key;
    uint32_t count;
};

static const char *const direction_names[] = {"-", "out", "in"};

/* --- life --- */

void ls_groups_init(struct ls_groups *groups, enum ls_by by, struct ls_owners *owners)
{
    *groups = (struct ls_groups){
        .by = by,
        .owners = owners,
        .groups = {.item_size = sizeof(struct group), .key_size = sizeof(struct key)},
        .shares = {.item_size = sizeof(struct share), .key_size = sizeof(struct share_key)},
    };
}

void ls_groups_fini(struct ls_groups *groups)
{
    free(groups->netns);
    table_fini(&groups->groups);
    table_fini(&groups->shares);
}

bool ls_groups_need_holders(enum ls_by by)
{
    return by == LS_BY_LANE || by == LS_BY_HOLDER || by == LS_BY_UNIT;
}

bool ls_groups_need_listeners(enum ls_by by)
{
    return by == LS_BY_LANE || by == LS_BY_PORT;
}

int ls_groups_enter(struct ls_groups *groups, const struct tw_netns *netns)
{
    struct tw_limits limits;
    struct tw_netns *more;

    groups->listening = (struct tw_ports){0};
    tw_limits_read(&limits);
    tw_limits_ephemeral(&limits, &groups->ephemeral);
    if (!netns)
        return 0;
    more = realloc(groups->netns, (groups->netns_count + 1) * sizeof(*more));
    if (!more)
        return -ENOMEM;
    groups->netns = more;
    groups->netns[groups->netns_count++] = *netns;
    return 0;
}

void ls_groups_listener(struct ls_groups *groups, const struct tw_socket_row *row)
{
    tw_ports_add(&groups->listening, tw_endpoint_port(&row->local));
}

/* --- counting --- */

static void put_address(uint8_t bytes[16], const struct tw_endpoint *endpoint)
{
    if (endpoint->sa.sa_family == AF_INET6)
        memcpy(bytes, &endpoint->v6.sin6_addr, sizeof(endpoint->v6.sin6_addr));
    else
        memcpy(bytes, &endpoint->v4.sin_addr, sizeof(endpoint->v4.sin_addr));
}

static bool is_connected(const struct tw_socket_row *row)
{
    return tw_endpoint_port(&row->remote) != 0;
}

/* A connection to a port that is listened on here came in; so did one from a client's port to a
 * port that is none, whose server has ended. */
static enum direction direction_of(const struct ls_groups *groups, const struct tw_socket_row *row)
{
    uint16_t local = tw_endpoint_port(&row->local), remote = tw_endpoint_port(&row->remote);

    if (!is_connected(row))
        return DIRECTION_IN;
    return row->protocol == IPPROTO_TCP && (tw_ports_has(&groups->listening, local) ||
                                            (tw_ports_has(&groups->ephemeral, remote) &&
                                             !tw_ports_has(&groups->ephemeral, local)))
               ? DIRECTION_IN
               : DIRECTION_OUT;
}

static void key_of_lane(const struct ls_groups *groups, const struct tw_socket_row *row,
                        struct key *key)
{
    struct tw_endpoint local = tw_endpoint_unmap(&row->local);
    struct tw_endpoint remote = tw_endpoint_unmap(&row->remote);
    bool in = direction_of(groups, row) == DIRECTION_IN;
    const struct tw_endpoint *from = in ? &remote : &local, *to = in ? &local : &remote;

    key->protocol = row->protocol;
    key->direction = in ? DIRECTION_IN : DIRECTION_OUT;
    key->family = (uint8_t)to->sa.sa_family;
    put_address(key->source, from);
    put_address(key->destination, to);
    key->zone = to->sa.sa_family == AF_INET6 ? to->v6.sin6_scope_id : 0;
    key->port = tw_endpoint_port(to);
}

/* The part of the key that does not depend on processes; false: this socket is in no group. */
static bool key_of_item(const struct ls_groups *groups, const struct ls_item *item, struct key *key)
{
    const struct tw_socket_row *row = item->inet;

    memset(key, 0, sizeof(*key));
    switch (groups->by) {
    case LS_BY_STATE:
        key->protocol = row ? row->protocol : 0;
        key->state = row ? row->state : item->local->state;
        return true;
    case LS_BY_LANE:
        if (!row || !is_connected(row))
            return false;
        key->netns = item->netns ? item->netns->inode : 0;
        key_of_lane(groups, row, key);
        return true;
    case LS_BY_PORT:
        if (!row)
            return false;
        key->netns = item->netns ? item->netns->inode : 0;
        key->protocol = row->protocol;
        key->direction = (uint8_t)direction_of(groups, row);
        key->port = tw_endpoint_port(key->direction == DIRECTION_IN ? &row->local : &row->remote);
        return true;
    case LS_BY_USER:
        key->user_unknown = row && !row->inode;
        key->uid = key->user_unknown ? 0 : row ? row->uid : item->local->uid;
        return true;
    case LS_BY_NETNS:
        key->netns = item->netns ? item->netns->inode : 0;
        return true;
    default:
        return true;
    }
}

static struct group *count(struct ls_groups *groups, const struct ls_item *item,
                           const struct key *key)
{
    struct group *group = table_find(&groups->groups, key);
    uint8_t state = item->inet ? item->inet->state : item->local->state;

    if (!group)
        return NULL;
    group->count++;
    if (item->inet && item->inet->protocol == IPPROTO_TCP && state == TCP_CLOSE)
        state = 0;
    if (state < STATE_COUNTERS)
        group->states[state]++;
    return group;
}

/* Counts the socket with each process, or each unit, that has it open. */
static int count_with_holders(struct ls_groups *groups, const struct ls_item *item, struct key *key)
{
    int seen[SHARED_MAX];
    size_t seen_count = 0;

    if (item->holding_count == 0)
        return count(groups, item, key) ? 0 : -ENOMEM;
    for (size_t i = 0; i < item->holding_count; i++) {
        size_t at = 0;

        key->pid = groups->by == LS_BY_UNIT ? ls_owners_unit(groups->owners, item->holdings[i].pid)
                                            : item->holdings[i].pid;
        /* The pids are sorted; the units are not, but few share a socket. */
        while (at < seen_count && seen[at] != key->pid)
            at++;
        if (at < seen_count)
            continue;
        seen_count += seen_count < SHARED_MAX;
        seen[seen_count - 1] = key->pid;
        if (!count(groups, item, key))
            return -ENOMEM;
    }
    return 0;
}

static int share(struct ls_groups *groups, const struct group *group, const struct ls_item *item)
{
    struct share_key key = {0};
    struct share *share;

    key.group = (uint32_t)(group - (const struct group *)groups->groups.items);
    for (size_t i = 0; i < item->holding_count; i++) {
        if (item->holdings[i].pid == key.pid)
            continue;
        key.pid = item->holdings[i].pid;
        share = table_find(&groups->shares, &key);
        if (!share)
            return -ENOMEM;
        share->count++;
    }
    return 0;
}

int ls_groups_add(struct ls_groups *groups, const struct ls_item *item)
{
    const struct group *group;
    struct key key;

    if (!key_of_item(groups, item, &key))
        return 0;
    if (groups->by == LS_BY_HOLDER || groups->by == LS_BY_UNIT)
        return count_with_holders(groups, item, &key);
    group = count(groups, item, &key);
    if (!group)
        return -ENOMEM;
    return groups->by == LS_BY_LANE ? share(groups, group, item) : 0;
}

/* --- printing --- */

static void choose_holders(struct ls_groups *groups)
{
    const struct share *shares = groups->shares.items;
    struct group *list = groups->groups.items;

    for (size_t i = 0; i < groups->shares.count; i++) {
        struct group *group = &list[shares[i].key.group];

        if (shares[i].count > group->holder_has) {
            group->holder_has = shares[i].count;
            group->holder = shares[i].key.pid;
        }
    }
}

static int compare(const void *left, const void *right)
{
    const struct group *a = left, *b = right;

    if (a->count != b->count)
        return a->count > b->count ? -1 : 1;
    return memcmp(&a->key, &b->key, sizeof(a->key));
}

static struct tw_endpoint endpoint_of(const struct key *key, const uint8_t address[16],
                                      uint16_t port)
{
    struct tw_endpoint endpoint = {.sa.sa_family = key->family};

    if (key->family == AF_INET6) {
        memcpy(&endpoint.v6.sin6_addr, address, sizeof(endpoint.v6.sin6_addr));
        endpoint.v6.sin6_scope_id = key->zone;
    } else {
        memcpy(&endpoint.v4.sin_addr, address, sizeof(endpoint.v4.sin_addr));
    }
    tw_endpoint_set_port(&endpoint, port);
    return endpoint;
}

static const struct tw_netns *netns_of(const struct ls_groups *groups, uint64_t inode)
{
    for (size_t i = 0; i < groups->netns_count; i++)
        if (groups->netns[i].inode == inode)
            return &groups->netns[i];
    return NULL;
}

static const char *name_of_counter(int counter)
{
    return counter ? ls_state_name(0, (uint8_t)counter) : ls_state_name(IPPROTO_TCP, TCP_CLOSE);
}

/* The counter with the most after `before`, in the order of counts; -1: there is none. */
static int next_state(const uint32_t states[STATE_COUNTERS], int before)
{
    uint32_t limit = before < 0 ? UINT32_MAX : states[before];
    int best = -1;

    for (int i = 0; i < STATE_COUNTERS; i++) {
        bool later = states[i] < limit || (states[i] == limit && i > before);

        if (states[i] && later && (best < 0 || states[i] > states[best]))
            best = i;
    }
    return best;
}

static const char *protocol_name(uint8_t protocol)
{
    return protocol == IPPROTO_TCP ? "tcp" : protocol == IPPROTO_UDP ? "udp" : "unix";
}

enum column {
    COLUMN_COUNT,
    COLUMN_NETNS,
    COLUMN_PROTO,
    COLUMN_DIRECTION,
    COLUMN_PORT,
    COLUMN_SOURCE,
    COLUMN_DESTINATION,
    COLUMN_STATE,
    COLUMN_USER,
    COLUMN_UNIT,
    COLUMN_HOLDER,
    COLUMN_STATES,
};

static const struct ls_column columns[] = {
    [COLUMN_COUNT] = {"COUNT", 7, true},
    [COLUMN_NETNS] = {"NETNS", 12, false},
    [COLUMN_PROTO] = {"PROTO", 5, false},
    [COLUMN_DIRECTION] = {"DIR", 3, false},
    [COLUMN_PORT] = {"PORT", 5, true},
    [COLUMN_SOURCE] = {"SOURCE", 15, false},
    [COLUMN_DESTINATION] = {"DESTINATION", 0, false},
    [COLUMN_STATE] = {"STATE", 11, false},
    [COLUMN_USER] = {"USER", 16, false},
    [COLUMN_UNIT] = {"UNIT", 32, false},
    [COLUMN_HOLDER] = {"HOLDER", 12, false},
    [COLUMN_STATES] = {"STATES", 1, false},
};

#define BIT(column) (1u << (column))

/* The columns of each grouping, in the order of enum column. */
static const unsigned layouts[] = {
    [LS_BY_STATE] = BIT(COLUMN_PROTO) | BIT(COLUMN_STATE),
    [LS_BY_LANE] = BIT(COLUMN_PROTO) | BIT(COLUMN_DIRECTION) | BIT(COLUMN_SOURCE) |
                   BIT(COLUMN_DESTINATION) | BIT(COLUMN_HOLDER) | BIT(COLUMN_STATES),
    [LS_BY_HOLDER] = BIT(COLUMN_HOLDER) | BIT(COLUMN_STATES),
    [LS_BY_PORT] =
        BIT(COLUMN_PROTO) | BIT(COLUMN_DIRECTION) | BIT(COLUMN_PORT) | BIT(COLUMN_STATES),
    [LS_BY_USER] = BIT(COLUMN_USER) | BIT(COLUMN_STATES),
    [LS_BY_UNIT] = BIT(COLUMN_UNIT) | BIT(COLUMN_STATES),
    [LS_BY_NETNS] = BIT(COLUMN_NETNS) | BIT(COLUMN_STATES),
};

static unsigned layout_of(const struct ls_groups *groups, const struct ls_printer *printer)
{
    unsigned layout = layouts[groups->by] | BIT(COLUMN_COUNT);

    if (printer->look.netns && (groups->by == LS_BY_LANE || groups->by == LS_BY_PORT))
        layout |= BIT(COLUMN_NETNS);
    return layout;
}

#define CELL_MAX 512

static size_t put(char *buf, const char *text)
{
    return tw_text_safe(buf, CELL_MAX, text, strlen(text));
}

/* TIME-WAIT:28000,ESTABLISHED:12 */
static size_t format_states(const struct group *group, char *buf)
{
    size_t len = 0;

    for (int i = next_state(group->states, -1); i >= 0; i = next_state(group->states, i)) {
        if (len)
            buf[len++] = ',';
        len += put(buf + len, name_of_counter(i));
        buf[len++] = ':';
        len += ls_format_number(buf + len, group->states[i]);
    }
    return len;
}

static size_t format_holder(struct ls_groups *groups, int pid, char *buf)
{
    return pid ? ls_format_process(buf, ls_owners_process(groups->owners, pid)) : put(buf, "-");
}

static size_t format_user(struct ls_groups *groups, const struct key *key, bool numeric, char *buf)
{
    if (key->user_unknown)
        return put(buf, "-");
    return numeric ? ls_format_number(buf, key->uid)
                   : put(buf, ls_owners_user(groups->owners, key->uid));
}

static size_t format_unit(struct ls_groups *groups, int pid, char *buf)
{
    const char *unit;

    if (!pid)
        return put(buf, "-");
    unit = ls_owners_process(groups->owners, pid)->unit;
    return put(buf, *unit ? unit : "(none)");
}

static size_t format_cell(struct ls_groups *groups, const struct ls_printer *printer,
                          enum column column, const struct group *group, char *buf)
{
    const struct key *key = &group->key;
    const struct tw_netns *netns;
    struct tw_endpoint endpoint;

    switch (column) {
    case COLUMN_COUNT:
        return ls_format_number(buf, group->count);
    case COLUMN_NETNS:
        netns = netns_of(groups, key->netns);
        return netns ? ls_format_netns(buf, netns) : put(buf, "-");
    case COLUMN_PROTO:
        return put(buf, protocol_name(key->protocol));
    case COLUMN_DIRECTION:
        return put(buf, direction_names[key->direction]);
    case COLUMN_PORT:
        return ls_format_number(buf, key->port);
    case COLUMN_SOURCE:
        endpoint = endpoint_of(key, key->source, 0);
        return ls_format_address(buf, &endpoint);
    case COLUMN_DESTINATION:
        endpoint = endpoint_of(key, key->destination, key->port);
        return ls_format_endpoint(buf, &endpoint);
    case COLUMN_STATE:
        return put(buf, ls_state_name(key->protocol, key->state));
    case COLUMN_USER:
        return format_user(groups, key, printer->look.numeric, buf);
    case COLUMN_UNIT:
        return format_unit(groups, key->pid, buf);
    case COLUMN_HOLDER:
        return format_holder(groups, groups->by == LS_BY_LANE ? group->holder : key->pid, buf);
    default:
        return format_states(group, buf);
    }
}

static void print_header(struct ls_printer *printer, unsigned layout)
{
    const struct ls_column *list[LS_COLUMNS_MAX];
    size_t used = 0;

    for (int i = 0; i <= COLUMN_STATES; i++)
        if (layout & BIT(i))
            list[used++] = &columns[i];
    ls_print_header(printer, list, used);
}

static void print_line(struct ls_groups *groups, struct ls_printer *printer, unsigned layout,
                       const struct group *group)
{
    char buf[CELL_MAX];

    if (printer->rows++ == 0)
        print_header(printer, layout);
    for (int i = 0; i <= COLUMN_STATES; i++) {
        bool last = !(layout >> i >> 1);

        if (layout & BIT(i))
            ls_print_cell(printer, &columns[i], last, buf,
                          format_cell(groups, printer, (enum column)i, group, buf));
    }
    ls_print_newline(printer);
}

static void print_json_key(struct ls_groups *groups, struct ls_printer *printer, unsigned layout,
                           const struct key *key)
{
    const struct tw_netns *netns = netns_of(groups, key->netns);
    struct tw_endpoint endpoint;

    if ((layout & BIT(COLUMN_NETNS)) && netns)
        ls_json_netns(printer, netns);
    if (layout & BIT(COLUMN_PROTO))
        ls_json_text(printer, "proto", protocol_name(key->protocol));
    if (layout & BIT(COLUMN_STATE))
        ls_json_text(printer, "state", ls_state_name(key->protocol, key->state));
    if (layout & BIT(COLUMN_DIRECTION))
        ls_json_text(printer, "direction", direction_names[key->direction]);
    if (layout & BIT(COLUMN_PORT))
        ls_json_number(printer, "port", key->port);
    if (layout & BIT(COLUMN_SOURCE)) {
        endpoint = endpoint_of(key, key->source, 0);
        ls_json_address(printer, "source", &endpoint);
        endpoint = endpoint_of(key, key->destination, key->port);
        ls_json_address(printer, "destination", &endpoint);
        ls_json_number(printer, "port", key->port);
    }
    if ((layout & BIT(COLUMN_USER)) && !key->user_unknown)
        ls_json_user(printer, key->uid);
}

static void print_json(struct ls_groups *groups, struct ls_printer *printer, unsigned layout,
                       const struct group *group)
{
    int pid = groups->by == LS_BY_LANE ? group->holder : group->key.pid;
    const struct tw_process *process = pid ? ls_owners_process(groups->owners, pid) : NULL;

    ls_json_open(printer);
    ls_json_number(printer, "count", group->count);
    print_json_key(groups, printer, layout, &group->key);
    if ((layout & BIT(COLUMN_UNIT)) && process)
        ls_json_text(printer, "unit", process->unit);
    if ((layout & BIT(COLUMN_HOLDER)) && process) {
        ls_json_number(printer, "pid", (uint64_t)pid);
        if (process->comm[0])
            ls_json_text(printer, "comm", process->comm);
    }
    if (layout & BIT(COLUMN_STATES)) {
        ls_json_key(printer, "states");
        ls_out_text(printer->out, "{");
        printer->first_key = true;
        for (int i = next_state(group->states, -1); i >= 0; i = next_state(group->states, i))
            ls_json_number(printer, name_of_counter(i), group->states[i]);
        ls_out_text(printer->out, "}");
        printer->first_key = false;
    }
    ls_json_close(printer);
}

void ls_groups_print(struct ls_groups *groups, struct ls_printer *printer, uint64_t limit)
{
    unsigned layout = layout_of(groups, printer);
    const struct group *list = groups->groups.items;

    choose_holders(groups);
    if (groups->groups.count)
        qsort(groups->groups.items, groups->groups.count, sizeof(struct group), compare);
    for (size_t i = 0; i < groups->groups.count && (!limit || i < limit); i++) {
        if (printer->look.format == LS_TABLE)
            print_line(groups, printer, layout, &list[i]);
        else
            print_json(groups, printer, layout, &list[i]);
    }
}
