#include "ls_filter.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "common.h"

/* The kernel numbers namespaces from here on (PROC_DYNAMIC_FIRST), and processes far below. */
#define NETNS_INODE_MIN 0xf0000000u

/* The kernel cuts a command here. */
#define COMM_MAX 15

#define QUOTE(view) (int)((view).len < 60 ? (view).len : 60), (view).data

/* --- words --- */

struct word {
    const char *name;
    unsigned mask;
};

static const struct word states[] = {
    {"established", TW_STATE_MASK(TCP_ESTABLISHED)},
    {"estab", TW_STATE_MASK(TCP_ESTABLISHED)},
    {"syn-sent", TW_STATE_MASK(TCP_SYN_SENT)},
    {"syn-recv", TW_STATE_MASK(TCP_SYN_RECV)},
    {"fin-wait-1", TW_STATE_MASK(TCP_FIN_WAIT1)},
    {"fin-wait-2", TW_STATE_MASK(TCP_FIN_WAIT2)},
    {"time-wait", TW_STATE_MASK(TCP_TIME_WAIT)},
    {"bound", TW_STATE_MASK(TCP_CLOSE)},
    {"unconn", TW_STATE_MASK(TCP_CLOSE)},
    {"close-wait", TW_STATE_MASK(TCP_CLOSE_WAIT)},
    {"last-ack", TW_STATE_MASK(TCP_LAST_ACK)},
    {"listen", TW_STATE_MASK(TCP_LISTEN)},
    {"closing", TW_STATE_MASK(TCP_CLOSING)},
    {"connected", TW_STATES_ALL & ~(TW_STATE_MASK(TCP_LISTEN) | TW_STATE_MASK(TCP_CLOSE))},
    {NULL, 0},
};

static const struct word protocols[] = {
    {"tcp", LS_TCP}, {"udp", LS_UDP}, {"unix", LS_UNIX}, {NULL, 0}};

static const struct {
    const char *name;
    enum ls_kind kind;
} keys[] = {
    {"port", LS_PORT},   {"sport", LS_SPORT},
    {"dport", LS_DPORT}, {"addr", LS_ADDRESS},
    {"src", LS_SRC},     {"dst", LS_DST},
    {"state", LS_STATE}, {"proto", LS_PROTO},
    {"user", LS_USER},   {"netns", LS_NETNS},
    {"pid", LS_PID},     {"comm", LS_COMM},
    {"unit", LS_UNIT},   {"container", LS_CONTAINER},
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* TIME_WAIT and Time-Wait are time-wait. */
static bool is_word(struct tw_view text, const char *name)
{
    if (text.len != strlen(name))
        return false;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i] == '_' ? '-' : text.data[i];

        if (strncasecmp(&c, &name[i], 1) != 0)
            return false;
    }
    return true;
}

static int parse_word(struct tw_view text, const char *what, const struct word *words,
                      uint64_t *out, struct tw_error *error)
{
    char list[200] = "";
    size_t used = 0;

    for (const struct word *word = words; word->name; word++) {
        if (is_word(text, word->name)) {
            *out = word->mask;
            return 0;
        }
        if (used < sizeof(list))
            used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%s", used ? ", " : "",
                                     word->name);
    }
    return tw_error_set(error, EINVAL, "'%.*s' is no %s; there are %s", QUOTE(text), what, list);
}

/* --- one condition --- */

static bool is_port(struct tw_view text)
{
    size_t digits = 0;

    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] >= '0' && text.data[i] <= '9')
            digits++;
        else if (text.data[i] != '-')
            return false;
    }
    return digits > 0;
}

static int parse_port(struct tw_view text, struct ls_condition *out, struct tw_error *error)
{
    if (text.len && text.data[0] == ':') {
        text.data++;
        text.len--;
    }
    return tw_parse_ports(text, &out->ports, error);
}

static void clear_host_part(struct ls_condition *condition)
{
    bool v6 = condition->address.sa.sa_family == AF_INET6;
    uint8_t *bytes =
        v6 ? condition->address.v6.sin6_addr.s6_addr : (uint8_t *)&condition->address.v4.sin_addr;

    for (unsigned i = 0; i < (v6 ? 16u : 4u); i++) {
        unsigned kept = condition->prefix > i * 8 ? condition->prefix - i * 8 : 0;

        if (kept < 8)
            bytes[i] &= (uint8_t)(0xff00u >> kept);
    }
}

/* ADDR, ADDR/BITS, with :PORT behind it; an IPv6 address then stands in brackets. */
static int parse_address(struct tw_view text, struct ls_condition *out, struct tw_error *error)
{
    const char *bracket = memchr(text.data, ']', text.len);
    const char *colon = memrchr(text.data, ':', text.len);
    struct tw_view host = text, bits, port;
    uint64_t prefix;
    int rc;

    /* The last colon divides, unless it is one of a bare IPv6 address. */
    if (colon && (bracket ? colon > bracket : memchr(text.data, ':', text.len) == colon)) {
        host.len = (size_t)(colon - text.data);
        port = (struct tw_view){colon + 1, text.len - host.len - 1};
        if ((rc = tw_parse_ports(port, &out->ports, error)))
            return rc;
    }
    bits = host;
    host = tw_view_cut(&bits, '/');
    if ((rc = tw_address_parse(host, &out->address, error)))
        return rc;
    out->address = tw_endpoint_unmap(&out->address);
    prefix = out->address.sa.sa_family == AF_INET6 ? 128 : 32;
    if (bits.data && (rc = tw_parse_number(bits, "prefix", 0, prefix, &prefix, error)))
        return rc;
    out->prefix = (unsigned)prefix;
    clear_host_part(out);
    return 0;
}

static int parse_user(struct tw_view text, uint64_t *out, struct tw_error *error)
{
    char name[64];
    uint32_t uid;
    int rc;

    snprintf(name, sizeof(name), "%.*s", (int)(text.len < 63 ? text.len : 63), text.data);
    rc = user_parse(name, &uid, error);
    if (rc == 0)
        *out = uid;
    return rc;
}

static int parse_netns(struct tw_view text, uint64_t *out, struct tw_error *error)
{
    struct stat file;
    char path[128];

    if (text.len == 0 || text.len > 60 || memchr(text.data, '/', text.len) ||
        tw_view_equals(text, ".") || tw_view_equals(text, ".."))
        return tw_error_set(error, EINVAL, "'%.*s' is no name of a network namespace, pid or inode",
                            QUOTE(text));
    snprintf(path, sizeof(path), "/run/netns/%.*s", QUOTE(text));
    if (stat(path, &file)) {
        if (!is_port(text))
            return tw_error_set(error, ENOENT,
                                "there is no network namespace '%.*s'; 'ip netns' lists them",
                                QUOTE(text));
        if (tw_parse_number(text, "netns", 1, UINT32_MAX, out, error))
            return -EINVAL;
        if (*out >= NETNS_INODE_MIN)
            return 0;
        snprintf(path, sizeof(path), "/proc/%.*s/ns/net", QUOTE(text));
        if (stat(path, &file))
            return tw_error_set(error, errno, "the network namespace of process %.*s: %s",
                                QUOTE(text), strerror(errno));
    }
    *out = file.st_ino;
    return 0;
}

static int parse_condition(struct tw_view text, struct ls_condition *out, struct tw_error *error)
{
    if (text.len == 0)
        return tw_error_set(error, EINVAL, "a value is missing");
    out->text = text;
    switch (out->kind) {
    case LS_PORT:
    case LS_SPORT:
    case LS_DPORT:
        return parse_port(text, out, error);
    case LS_ADDRESS:
    case LS_SRC:
    case LS_DST:
        return parse_address(text, out, error);
    case LS_STATE:
        return parse_word(text, "state", states, &out->number, error);
    case LS_PROTO:
        return parse_word(text, "protocol", protocols, &out->number, error);
    case LS_USER:
        return parse_user(text, &out->number, error);
    case LS_NETNS:
        return parse_netns(text, &out->number, error);
    case LS_PID:
        return tw_parse_number(text, "pid", 1, INT32_MAX, &out->number, error);
    default:
        return 0;
    }
}

/* --- operands --- */

static int insert(struct ls_filter *filter, const struct ls_condition *condition,
                  struct tw_error *error)
{
    struct ls_condition *more =
        realloc(filter->items, (filter->count + 1) * sizeof(*filter->items));
    size_t at = filter->count;

    if (!more)
        return tw_error_set(error, ENOMEM, "no memory");
    filter->items = more;
    for (; at > 0 && more[at - 1].kind > condition->kind; at--)
        more[at] = more[at - 1];
    more[at] = *condition;
    filter->count++;
    filter->kinds |= LS_KIND_MASK(condition->kind);
    if (condition->kind == LS_STATE)
        filter->state_mask |= (unsigned)condition->number;
    if (condition->kind == LS_PROTO)
        filter->protocols |= (unsigned)condition->number;
    return 0;
}

/* The kind of a word without "KEY=". */
static int kind_of_bare(struct tw_view word, enum ls_kind *out, struct tw_error *error)
{
    struct ls_condition probe = {.kind = LS_ADDRESS};

    if (word.len && (word.data[0] == ':' ? is_port((struct tw_view){word.data + 1, word.len - 1})
                                         : is_port(word)))
        *out = LS_PORT;
    else if (word.len && parse_address(word, &probe, NULL) == 0)
        *out = LS_ADDRESS;
    else if (word.len && strchr("0123456789[:", word.data[0]))
        return parse_address(word, &probe, error);
    else
        return tw_error_set(error, EINVAL,
                            "it is no port, no address and no KEY=VALUE, and no unix:PATH");
    return 0;
}

/* The kind by "KEY=", which is cut off. */
static int cut_key(struct tw_view *rest, enum ls_kind *out, struct tw_error *error)
{
    struct tw_view key = tw_view_cut(rest, '=');

    for (size_t i = 0; i < COUNT(keys); i++) {
        if (tw_view_equals(key, keys[i].name)) {
            *out = keys[i].kind;
            return 0;
        }
    }
    return tw_error_set(error, EINVAL,
                        "there is no key '%.*s'; there are port, sport, dport, addr, src, dst, "
                        "state, proto, user, netns, pid, comm, unit, container",
                        QUOTE(key));
}

static int add_list(struct ls_filter *filter, struct tw_view rest, bool bare, enum ls_kind kind,
                    struct tw_error *error)
{
    for (int i = 0; rest.data; i++) {
        struct ls_condition condition = {.kind = kind, .ports = {0, UINT16_MAX}};
        struct tw_view word = tw_view_cut(&rest, ',');
        int rc;

        if (bare) {
            if ((rc = kind_of_bare(word, &condition.kind, error)))
                return rc;
            if (i > 0 && condition.kind != kind)
                return tw_error_set(error, EINVAL,
                                    "ports and addresses in one list; give them one by one");
            kind = condition.kind;
        }
        if ((rc = parse_condition(word, &condition, error)) ||
            (rc = insert(filter, &condition, error)))
            return rc;
    }
    return 0;
}

int ls_filter_add(struct ls_filter *filter, const char *operand, struct tw_error *error)
{
    struct tw_view rest = tw_view_of(operand);
    struct tw_error inner = {0};
    enum ls_kind kind = LS_PORT;
    int rc = 0;

    if (strncmp(operand, "unix:", 5) == 0) {
        struct ls_condition path = {.kind = LS_PATH, .text = {rest.data + 5, rest.len - 5}};

        rc = insert(filter, &path, &inner);
    } else if (strchr(operand, '=')) {
        if ((rc = cut_key(&rest, &kind, &inner)) == 0)
            rc = add_list(filter, rest, false, kind, &inner);
    } else {
        rc = add_list(filter, rest, true, kind, &inner);
    }
    return rc ? tw_error_set(error, inner.code, "filter '%.60s': %s", operand, inner.text) : 0;
}

void ls_filter_fini(struct ls_filter *filter)
{
    free(filter->items);
    *filter = (struct ls_filter){0};
}

/* --- the kernel's part --- */

/* The only condition of its kind, or NULL. */
static const struct ls_condition *only(const struct ls_filter *filter, enum ls_kind kind)
{
    const struct ls_condition *found = NULL;

    for (size_t i = 0; i < filter->count; i++) {
        if (filter->items[i].kind != kind)
            continue;
        if (found)
            return NULL;
        found = &filter->items[i];
    }
    return found;
}

static uint16_t only_port(const struct ls_filter *filter, enum ls_kind kind)
{
    const struct ls_condition *condition = only(filter, kind);

    return condition && condition->ports.first == condition->ports.last ? condition->ports.first
                                                                        : 0;
}

bool ls_filter_query(const struct ls_filter *filter, unsigned pass, struct tw_sockets_query *query,
                     uint16_t *seen)
{
    const struct ls_condition *remote = only(filter, LS_DST);
    uint16_t either = only_port(filter, LS_PORT);

    query->local_port = only_port(filter, LS_SPORT);
    query->remote_port = only_port(filter, LS_DPORT);
    query->remote =
        remote && remote->prefix == (remote->address.sa.sa_family == AF_INET6 ? 128 : 32)
            ? &remote->address
            : NULL;
    *seen = 0;
    /* The kernel knows no "this end or that" here: first the one, then the other. */
    if (!either || query->local_port || query->remote_port)
        return pass == 0;
    if (pass == 0) {
        query->local_port = either;
    } else {
        query->remote_port = either;
        *seen = either;
    }
    return pass < 2;
}

/* --- the test of a row --- */

static bool same_prefix(const struct ls_condition *condition, const struct tw_endpoint *end)
{
    bool v6 = condition->address.sa.sa_family == AF_INET6;
    const uint8_t *a = v6 ? condition->address.v6.sin6_addr.s6_addr
                          : (const uint8_t *)&condition->address.v4.sin_addr;
    const uint8_t *b = v6 ? end->v6.sin6_addr.s6_addr : (const uint8_t *)&end->v4.sin_addr;
    unsigned whole = condition->prefix / 8, bits = condition->prefix % 8;

    if (condition->address.sa.sa_family != end->sa.sa_family || memcmp(a, b, whole) != 0)
        return false;
    if (bits && ((a[whole] ^ b[whole]) & (0xff00u >> bits) & 0xff))
        return false;
    return !v6 || !condition->address.v6.sin6_scope_id ||
           condition->address.v6.sin6_scope_id == end->v6.sin6_scope_id;
}

static bool fits_end(const struct ls_condition *condition, const struct tw_endpoint *end)
{
    struct tw_endpoint plain;
    uint16_t port = tw_endpoint_port(end);

    if (port < condition->ports.first || port > condition->ports.last)
        return false;
    if (condition->kind < LS_ADDRESS)
        return true;
    plain = tw_endpoint_unmap(end);
    return same_prefix(condition, &plain);
}

static bool fits_inet(const struct ls_condition *condition, const void *subject)
{
    const struct tw_socket_row *row = subject;
    switch (condition->kind) {
    case LS_PORT:
    case LS_ADDRESS:
        return fits_end(condition, &row->local) || fits_end(condition, &row->remote);
    case LS_SPORT:
    case LS_SRC:
        return fits_end(condition, &row->local);
    case LS_DPORT:
    case LS_DST:
        return fits_end(condition, &row->remote);
    case LS_STATE:
        return condition->number & TW_STATE_MASK(row->state);
    case LS_PROTO:
        return condition->number & (row->protocol == IPPROTO_UDP ? LS_UDP : LS_TCP);
    case LS_USER:
        return ls_has_user(row) && condition->number == row->uid;
    case LS_PATH:
        return false;
    default:
        return true;
    }
}

/* "unix:@name" is an abstract one. */
static bool begins_with(const struct tw_unix_row *row, struct tw_view prefix)
{
    if (prefix.len > row->path_len)
        return false;
    if (prefix.len && prefix.data[0] == '@')
        return row->path[0] == 0 && memcmp(row->path + 1, prefix.data + 1, prefix.len - 1) == 0;
    return memcmp(row->path, prefix.data, prefix.len) == 0;
}

static bool fits_unix(const struct ls_condition *condition, const void *subject)
{
    const struct tw_unix_row *row = subject;
    switch (condition->kind) {
    case LS_STATE:
        return condition->number & TW_STATE_MASK(row->state);
    case LS_PROTO:
        return condition->number & LS_UNIX;
    case LS_USER:
        return condition->number == row->uid;
    case LS_PATH:
        return begins_with(row, condition->text);
    case LS_PORT:
    case LS_SPORT:
    case LS_DPORT:
    case LS_ADDRESS:
    case LS_SRC:
    case LS_DST:
        return false;
    default:
        return true;
    }
}

static bool fits_process(const struct ls_condition *condition, const void *subject)
{
    const struct tw_process *process = subject;
    size_t len = condition->text.len;
    const char *text = condition->text.data;

    switch (condition->kind) {
    case LS_PID:
        return condition->number == (uint64_t)process->pid;
    case LS_COMM:
        return strlen(process->comm) == (len < COMM_MAX ? len : COMM_MAX) &&
               memcmp(process->comm, text, strlen(process->comm)) == 0;
    case LS_UNIT:
        return strncmp(process->unit, text, len) == 0 &&
               (process->unit[len] == 0 || strcmp(process->unit + len, ".service") == 0);
    case LS_CONTAINER:
        return strncmp(process->container, text, len) == 0;
    default:
        return true;
    }
}

typedef bool fits_subject(const struct ls_condition *condition, const void *subject);

/* Whether of each kind one condition holds. They are sorted by kind. */
static bool holds(const struct ls_filter *filter, fits_subject *fits, const void *subject)
{
    const struct ls_condition *item = filter->items, *end = filter->items + filter->count;

    while (item < end) {
        enum ls_kind kind = item->kind;
        bool held = false;

        for (; item < end && item->kind == kind; item++)
            held = held || fits(item, subject);
        if (!held)
            return false;
    }
    return true;
}

bool ls_filter_inet(const struct ls_filter *filter, const struct tw_socket_row *row)
{
    return holds(filter, fits_inet, row);
}

bool ls_filter_unix(const struct ls_filter *filter, const struct tw_unix_row *row)
{
    return holds(filter, fits_unix, row);
}

bool ls_filter_process(const struct ls_filter *filter, const struct tw_process *process)
{
    return holds(filter, fits_process, process);
}

bool ls_filter_netns(const struct ls_filter *filter, uint64_t inode)
{
    bool named = false;

    for (size_t i = 0; i < filter->count; i++) {
        if (filter->items[i].kind != LS_NETNS)
            continue;
        if (filter->items[i].number == inode)
            return true;
        named = true;
    }
    return !named;
}
