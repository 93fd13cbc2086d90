#include "exec_rules.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "tidewait/address.h"

/* For %.*s: at most so much of somebody's text. */
#define QUOTE(view) (int)((view).len < 60 ? (view).len : 60), (view).data

/* --- words -------------------------------------------------------------------------------------
 */

static const char blanks[] = " \t\r";

static bool is_blank(char c)
{
    return c && strchr(blanks, c);
}

static struct tw_view without_comment(struct tw_view text)
{
    return tw_view_trim(tw_view_cut(&text, '#'), blanks);
}

/* Takes a word off the front when it is this one. */
static bool take(struct tw_view *rest, const char *word)
{
    struct tw_view after = *rest;

    if (!tw_view_equals(tw_view_word(&after, blanks), word))
        return false;
    *rest = tw_view_trim(after, blanks);
    return true;
}

/* --- addresses ---------------------------------------------------------------------------------
 */

/* The bytes of an address; ::ffff:a.b.c.d is a.b.c.d. */
static int parse_address(struct tw_view text, uint8_t *family, uint8_t bytes[16],
                         struct tw_error *error)
{
    struct tw_endpoint endpoint;
    int rc = tw_address_parse(text, &endpoint, error);

    if (rc)
        return rc;
    if (endpoint.sa.sa_family == AF_INET6 && endpoint.v6.sin6_scope_id)
        return tw_error_set(error, EINVAL, "'%.*s': a rule cannot name an interface", QUOTE(text));
    memset(bytes, 0, 16);
    *family = (uint8_t)endpoint.sa.sa_family;
    if (endpoint.sa.sa_family == AF_INET) {
        memcpy(bytes, &endpoint.v4.sin_addr, 4);
    } else if (IN6_IS_ADDR_V4MAPPED(&endpoint.v6.sin6_addr)) {
        *family = AF_INET;
        memcpy(bytes, endpoint.v6.sin6_addr.s6_addr + 12, 4);
    } else {
        memcpy(bytes, &endpoint.v6.sin6_addr, 16);
    }
    return 0;
}

static size_t address_size(uint8_t family)
{
    return family == AF_INET6 ? 16 : 4;
}

/* ADDR/BITS: all addresses of the network, the first and the last too. */
static int parse_network(struct tw_view address, struct tw_view prefix, struct shim_rule *rule,
                         struct tw_error *error)
{
    uint64_t bits;
    int rc = parse_address(address, &rule->family, rule->first, error);

    if (rc)
        return rc;
    rc = tw_parse_number(prefix, "prefix length", 0, address_size(rule->family) * 8, &bits, error);
    if (rc)
        return rc;
    for (size_t i = 0; i < address_size(rule->family); i++) {
        uint64_t keep = bits > i * 8 ? bits - i * 8 : 0;
        uint8_t host = keep < 8 ? (uint8_t)(0xff >> keep) : 0;

        rule->last[i] = rule->first[i] | host;
        rule->first[i] &= (uint8_t)~host;
    }
    return 0;
}

/* ADDR, ADDR-ADDR, ADDR/BITS or *. */
static int parse_addresses(struct tw_view text, struct shim_rule *rule, struct tw_error *error)
{
    struct tw_view prefix = text, last = text, head;
    uint8_t family;
    int rc;

    if (tw_view_equals(text, "*"))
        return 0;
    head = tw_view_cut(&prefix, '/');
    if (prefix.data)
        return parse_network(head, prefix, rule, error);
    head = tw_view_cut(&last, '-');
    rc = parse_address(head, &rule->family, rule->first, error);
    if (rc)
        return rc;
    if (!last.data) {
        memcpy(rule->last, rule->first, sizeof(rule->last));
        return 0;
    }
    rc = parse_address(last, &family, rule->last, error);
    if (rc)
        return rc;
    if (family != rule->family)
        return tw_error_set(error, EINVAL, "'%.*s' mixes IPv4 and IPv6", QUOTE(text));
    if (memcmp(rule->first, rule->last, sizeof(rule->first)) > 0)
        return tw_error_set(error, EINVAL, "address range '%.*s' is reversed", QUOTE(text));
    return 0;
}

/* Cuts ADDR:PORT, [V6]:PORT, :PORT, PORT or a bare address in two; what is absent has no data.
 */
static int cut_endpoint(struct tw_view text, struct tw_view *address, struct tw_view *port,
                        struct tw_error *error)
{
    struct tw_view rest = text, none = {0};
    const char *colon = text.len ? memchr(text.data, ':', text.len) : NULL;

    *address = *port = none;
    if (text.len && text.data[0] == '[') {
        struct tw_view inside = tw_view_cut(&rest, ']');

        if (!rest.data || (rest.len && rest.data[0] != ':'))
            return tw_error_set(error, EINVAL, "'%.*s' is not [ADDRESS]:PORT", QUOTE(text));
        *address = (struct tw_view){inside.data + 1, inside.len - 1};
        if (rest.len)
            *port = (struct tw_view){rest.data + 1, rest.len - 1};
        return 0;
    }
    if (colon && memchr(colon + 1, ':', (size_t)(text.data + text.len - colon - 1))) {
        *address = text; /* of IPv6 */
        return 0;
    }
    if (colon) {
        *address = tw_view_cut(&rest, ':');
        *port = rest;
        if (address->len == 0)
            *address = none;
        return 0;
    }
    if (text.len && !memchr(text.data, '.', text.len) && !memchr(text.data, '*', text.len))
        *port = text;
    else
        *address = text;
    return 0;
}

static int parse_whom(struct tw_view text, struct shim_rule *rule, struct tw_error *error)
{
    struct tw_port_range ports;
    struct tw_view address, port;
    int rc = cut_endpoint(text, &address, &port, error);

    if (rc == 0 && address.data)
        rc = parse_addresses(address, rule, error);
    if (rc || !port.data)
        return rc;
    rc = tw_parse_ports(port, &ports, error);
    if (rc)
        return rc;
    rule->port_first = ports.first;
    rule->port_last = ports.last;
    return 0;
}

/* --- what to do --------------------------------------------------------------------------------
 */

struct action {
    const char *name;
    uint8_t directions; /* enum rule_direction bits */
    bool takes_value;
    int (*parse)(struct tw_view value, struct shim_rule *rule, struct tw_error *error);
    size_t flag; /* offset of what a word without a value switches, no-WORD off */
};

static int parse_from(struct tw_view value, struct shim_rule *rule, struct tw_error *error)
{
    struct tw_address_range range;
    int rc = tw_address_range_parse(value, &range, error);

    if (rc)
        return rc;
    if (range.first.sa.sa_family == AF_INET6 && range.first.v6.sin6_scope_id)
        return tw_error_set(error, EINVAL, "'%.*s': a rule cannot name an interface", QUOTE(value));
    if (tw_endpoint_is_wildcard(&range.first))
        return tw_error_set(error, EINVAL, "'%.*s' is no source address", QUOTE(value));
    rule->from_family = (uint8_t)range.first.sa.sa_family;
    rule->from_count = range.count;
    if (rule->from_family == AF_INET)
        memcpy(rule->from_first, &range.first.v4.sin_addr, 4);
    else
        memcpy(rule->from_first, &range.first.v6.sin6_addr, 16);
    return 0;
}

static int parse_source_ports(struct tw_view value, struct shim_rule *rule, struct tw_error *error)
{
    struct tw_port_range ports;
    int rc = tw_parse_ports(value, &ports, error);

    if (rc)
        return rc;
    rule->source_first = ports.first;
    rule->source_last = ports.last;
    return 0;
}

static int parse_listen(struct tw_view value, struct shim_rule *rule, struct tw_error *error)
{
    struct tw_view address, port;
    uint64_t number;
    int rc = cut_endpoint(value, &address, &port, error);

    if (rc == 0 && address.data)
        rc = parse_address(address, &rule->listen_family, rule->listen_address, error);
    if (rc || !port.data)
        return rc;
    rc = tw_parse_number(port, "port", 1, 65535, &number, error);
    if (rc == 0)
        rule->listen_port = (uint16_t)number;
    return rc;
}

static int parse_wait(struct tw_view value, struct shim_rule *rule, struct tw_error *error)
{
    return tw_parse_duration(value, &rule->wait_ns, error);
}

#define FLAG(field) .flag = offsetof(struct shim_rule, field)

/* clang-format off */
static const struct action actions[] = {
    {.name = "leave", .directions = RULE_IN | RULE_OUT, FLAG(leave)},
    {.name = "manage", .directions = RULE_OUT, FLAG(managed)},
    {.name = "late", .directions = RULE_OUT, FLAG(late)},
    {.name = "from", .directions = RULE_OUT, .takes_value = true, .parse = parse_from},
    {.name = "ports", .directions = RULE_OUT, .takes_value = true, .parse = parse_source_ports},
    {.name = "reuseaddr", .directions = RULE_IN, FLAG(reuseaddr)},
    {.name = "reuseport", .directions = RULE_IN, FLAG(reuseport)},
    {.name = "free-bind", .directions = RULE_IN, FLAG(free_bind)},
    {.name = "listen", .directions = RULE_IN, .takes_value = true, .parse = parse_listen},
    {.name = "wait", .directions = RULE_IN | RULE_OUT, .takes_value = true, .parse = parse_wait},
};
/* clang-format on */

static const struct action *find_action(struct tw_view word, bool *off)
{
    struct tw_view positive = word;

    *off = word.len > 3 && memcmp(word.data, "no-", 3) == 0;
    if (*off)
        positive = (struct tw_view){word.data + 3, word.len - 3};
    for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]); i++)
        if (tw_view_equals(positive, actions[i].name) &&
            !(*off && (actions[i].takes_value || i == 0)))
            return &actions[i];
    return NULL;
}

/* One action; `seen` has a bit for each row of the table. */
static int parse_action(struct tw_view text, struct shim_rule *rule, unsigned *seen,
                        struct tw_error *error)
{
    const char *direction = rule->direction == RULE_IN ? "in" : "out";
    struct tw_view value = text, word = tw_view_word(&value, blanks);
    const struct action *action;
    bool off;

    value = tw_view_trim(value, blanks);
    if (word.len == 0)
        return tw_error_set(error, EINVAL, "an action is missing before or behind a comma");
    action = find_action(word, &off);
    if (!action)
        return tw_error_set(error, EINVAL,
                            "'%.*s' is no action; there are leave, manage, late, from, ports, "
                            "reuseaddr, reuseport, free-bind, listen and wait",
                            QUOTE(word));
    if (!(action->directions & rule->direction))
        return tw_error_set(error, EINVAL, "'%s' is not for rules that begin with '%s'",
                            action->name, direction);
    if (rule->direction == RULE_OUT && rule->protocol == IPPROTO_UDP && action != actions)
        return tw_error_set(error, EINVAL, "'%s' is for TCP; of 'out udp' there is 'leave' alone",
                            action->name);
    if (*seen & 1u << (action - actions))
        return tw_error_set(error, EINVAL, "'%s' stands there twice", action->name);
    *seen |= 1u << (action - actions);
    if (action->takes_value != (value.len > 0))
        return action->takes_value
                   ? tw_error_set(error, EINVAL, "'%s' needs a value", action->name)
                   : tw_error_set(error, EINVAL, "'%.*s': '%s' takes no value; a comma missing?",
                                  QUOTE(text), action->name);
    if (action->parse)
        return action->parse(value, rule, error);
    *(bool *)((char *)rule + action->flag) = !off;
    return 0;
}

static int parse_actions(struct tw_view text, struct shim_rule *rule, struct tw_error *error)
{
    unsigned seen = 0;

    do {
        int rc = parse_action(tw_view_trim(tw_view_cut(&text, ','), blanks), rule, &seen, error);

        if (rc)
            return rc;
    } while (text.data);
    if (rule->leave && seen != 1)
        return tw_error_set(error, EINVAL, "'leave' stands alone: nothing is done then");
    if ((rule->source_first || rule->from_family) && !rule->managed)
        return tw_error_set(error, EINVAL,
                            "'%s' needs 'manage': without it the kernel chooses the port",
                            rule->source_first ? "ports" : "from");
    if (!rule->from_family)
        return 0;
    if (rule->family && rule->family != rule->from_family)
        return tw_error_set(error, EINVAL,
                            "source and destination are addresses of different families");
    if (!rule->family) {
        /* The source says whom it is about: everybody of its family. */
        rule->family = rule->from_family;
        memset(rule->last, 0xff, address_size(rule->family));
    }
    return 0;
}

/* --- rules -------------------------------------------------------------------------------------
 */

/* "[tcp|udp] [[to] WHOM]" of what stands before the colon. */
static int parse_subject(struct tw_view text, struct shim_rule *rule, struct tw_error *error)
{
    struct tw_view whom;
    bool to;

    rule->protocol = IPPROTO_TCP;
    if (take(&text, "udp"))
        rule->protocol = IPPROTO_UDP;
    else
        (void)take(&text, "tcp");
    to = take(&text, "to");
    if (to && rule->direction == RULE_IN)
        return tw_error_set(error, EINVAL, "'to' is not for rules that begin with 'in'");
    whom = tw_view_word(&text, blanks);
    if (text.len)
        return tw_error_set(error, EINVAL, "'%.*s' is too much before the colon",
                            QUOTE(tw_view_trim(text, blanks)));
    if (to && !whom.len)
        return tw_error_set(error, EINVAL, "no destination stands behind 'to'");
    if (whom.len && !to && rule->direction == RULE_OUT)
        return tw_error_set(error, EINVAL, "'%.*s': 'to' stands before a destination", QUOTE(whom));
    return whom.len ? parse_whom(whom, rule, error) : 0;
}

/* The colon that stands alone, else the first that ends a word: those inside of addresses do
 * neither. */
static bool find_colon(struct tw_view text, bool alone, size_t *at)
{
    for (size_t i = 0; i < text.len; i++) {
        bool begins = i == 0 || is_blank(text.data[i - 1]);
        bool ends = i + 1 == text.len || is_blank(text.data[i + 1]);

        *at = i;
        if (text.data[i] == ':' && ends && (begins || !alone))
            return true;
    }
    return false;
}

static bool cut_rule(struct tw_view text, struct tw_view *subject, struct tw_view *rest)
{
    size_t at;

    if (!find_colon(text, true, &at) && !find_colon(text, false, &at))
        return false;
    *subject = tw_view_trim((struct tw_view){text.data, at}, blanks);
    *rest = tw_view_trim((struct tw_view){text.data + at + 1, text.len - at - 1}, blanks);
    return true;
}

/* Of the presets only what is to be done: whom they are about is their own affair. */
static void begin(struct shim_rule *rule, const struct rule_presets *presets)
{
    const struct shim_rule *from = rule->direction == RULE_OUT     ? &presets->out
                                   : rule->protocol == IPPROTO_UDP ? &presets->in_udp
                                                                   : &presets->in;

    rule->managed = from->managed;
    rule->late = from->late;
    rule->reuseaddr = from->reuseaddr;
    rule->reuseport = from->reuseport;
    rule->free_bind = from->free_bind;
    rule->wait_ns = from->wait_ns;
}

int rule_parse(struct tw_view text, const struct rule_presets *presets, struct shim_rule *out,
               struct tw_error *error)
{
    struct tw_view line = without_comment(text), subject, todo;
    struct shim_rule rule;
    int rc;

    memset(&rule, 0, sizeof(rule)); /* padding too: it is compared and written as bytes */
    if (!line.len)
        return tw_error_set(error, ENOENT, "there is no rule in '%.*s'", QUOTE(text));
    if (take(&line, "out"))
        rule.direction = RULE_OUT;
    else if (take(&line, "in"))
        rule.direction = RULE_IN;
    else
        return tw_error_set(error, EINVAL, "'%.*s' does not begin with 'in' or 'out'", QUOTE(line));
    if (!cut_rule(line, &subject, &todo))
        return tw_error_set(error, EINVAL,
                            "'%.*s' has no ':' with a blank behind it and then what to do",
                            QUOTE(line));
    if (!todo.len)
        return tw_error_set(error, EINVAL, "nothing to do stands behind '%.*s:'", QUOTE(subject));
    rc = parse_subject(subject, &rule, error);
    if (rc)
        return rc;
    if (rule.direction == RULE_IN || rule.protocol == IPPROTO_TCP)
        begin(&rule, presets);
    rc = parse_actions(todo, &rule, error);
    if (rc)
        return rc;
    if (rule.leave)
        begin(&rule, &(const struct rule_presets){0});
    memcpy(out, &rule, sizeof(rule));
    return 0;
}

int rules_parse(struct tw_view text, const char *file, const struct rule_presets *presets,
                struct shim_rule *rules, size_t room, size_t *count, struct tw_error *error)
{
    size_t line = 0, used = *count;

    while (text.data && text.len) {
        struct tw_view rule = tw_view_cut(&text, '\n');
        struct tw_error inner = {0};
        int rc;

        line++;
        if (!without_comment(rule).len)
            continue;
        if (used == room)
            return tw_error_set(error, ERANGE, "%.120s:%zu: more than %zu rules in all", file, line,
                                room);
        rc = rule_parse(rule, presets, &rules[used], &inner);
        if (rc)
            return tw_error_set(error, -rc, "%.120s:%zu: %s", file, line, inner.text);
        used++;
    }
    *count = used;
    return 0;
}
