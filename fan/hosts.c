#include "hosts.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* A NUL is none of them. */
static bool is_one_of(char c, const char *set)
{
    return c && strchr(set, c);
}

/* --- the set ---------------------------------------------------------------------------------- */

static uint32_t hash(const char *text)
{
    uint32_t value = 2166136261u;

    for (; *text; text++)
        value = (value ^ (unsigned char)*text) * 16777619u;
    return value;
}

/* The slot of a label: its own, or the empty one where it belongs. */
static uint32_t *slot_of(const struct hosts *hosts, const char *label)
{
    size_t at = hash(label) & (hosts->slot_count - 1);

    while (hosts->slots[at] && strcmp(hosts->items[hosts->slots[at] - 1].label, label) != 0)
        at = (at + 1) & (hosts->slot_count - 1);
    return &hosts->slots[at];
}

static int make_slots(struct hosts *hosts, size_t count)
{
    uint32_t *slots = calloc(count, sizeof(*slots));

    if (!slots)
        return -ENOMEM;
    free(hosts->slots);
    hosts->slots = slots;
    hosts->slot_count = count;
    for (size_t i = 0; i < hosts->count; i++)
        *slot_of(hosts, hosts->items[i].label) = (uint32_t)i + 1;
    return 0;
}

static int make_room(struct hosts *hosts)
{
    size_t room = hosts->room ? hosts->room * 2 : 64;
    struct host *items;

    if (hosts->count < hosts->room)
        return 0;
    items = realloc(hosts->items, room * sizeof(*items));
    if (!items)
        return -ENOMEM;
    hosts->items = items;
    hosts->room = room;
    return make_slots(hosts, room * 2);
}

/* Writes [user@]name[:port]; a name with a colon has brackets. */
static void make_label(char *label, size_t size, struct tw_view user, struct tw_view name,
                       uint16_t port)
{
    bool v6 = memchr(name.data, ':', name.len) != NULL;
    int used =
        snprintf(label, size, "%.*s%s%s%.*s%s", (int)user.len, user.len ? user.data : "",
                 user.len ? "@" : "", v6 ? "[" : "", (int)name.len, name.data, v6 ? "]" : "");

    if (port)
        snprintf(label + used, size - (size_t)used, ":%u", port);
}

static bool has(const struct hosts *hosts, struct tw_view user, struct tw_view name, uint16_t port)
{
    char label[HOST_LABEL_MAX];

    make_label(label, sizeof(label), user, name, port);
    return hosts->slots && *slot_of(hosts, label);
}

static void *copy(char *to, struct tw_view text)
{
    memcpy(to, text.data, text.len);
    to[text.len] = 0;
    return to;
}

int hosts_keep(struct hosts *hosts, struct tw_view user, struct tw_view name, uint16_t port,
               struct tw_error *error)
{
    char label[HOST_LABEL_MAX], *block;
    size_t len;
    uint32_t *slot;

    if (has(hosts, user, name, port))
        return 0;
    if (hosts->count == HOSTS_MAX)
        return tw_error_set(error, ERANGE, "more than %d hosts", HOSTS_MAX);
    make_label(label, sizeof(label), user, name, port);
    len = strlen(label) + 1;
    block = make_room(hosts) ? NULL : malloc(len + name.len + 1 + user.len + 1);
    if (!block)
        return tw_error_set(error, ENOMEM, "no memory for the list of hosts");
    memcpy(block, label, len);
    slot = slot_of(hosts, label);
    hosts->items[hosts->count] = (struct host){
        .label = block,
        .address = copy(block + len, name),
        .user = user.len ? copy(block + len + name.len + 1, user) : NULL,
        .port = port,
    };
    *slot = (uint32_t)++hosts->count;
    return 0;
}

void hosts_fini(struct hosts *hosts)
{
    for (size_t i = 0; i < hosts->count; i++)
        free(hosts->items[i].label);
    free(hosts->items);
    free(hosts->slots);
    *hosts = (struct hosts){.count = 0};
}

/* --- one item --------------------------------------------------------------------------------- */

static int refuse(struct tw_error *error, struct tw_view item, const char *why)
{
    return tw_error_set(error, EINVAL, "host '%.*s': %s", (int)(item.len < 80 ? item.len : 80),
                        item.data, why);
}

const char *host_user_wrong(struct tw_view user)
{
    if (user.len == 0)
        return "there is no user before the @";
    if (user.len > 32)
        return "the user has more than 32 characters";
    /* What begins with a dash would be an option of ssh. */
    if (user.data[0] == '-')
        return "a user cannot begin with a dash";
    for (size_t i = 0; i < user.len; i++)
        if (!isalnum((unsigned char)user.data[i]) && !is_one_of(user.data[i], "._-+"))
            return "a user has letters, digits and . _ - + only";
    return NULL;
}

static bool is_v6(struct tw_view text)
{
    char address[INET6_ADDRSTRLEN];
    struct in6_addr parsed;
    const char *percent = memchr(text.data, '%', text.len);
    size_t len = percent ? (size_t)(percent - text.data) : text.len;

    if (len == 0 || len >= sizeof(address) || (percent && (len + 1 == text.len || text.len > 64)))
        return false;
    for (size_t i = len + 1; i < text.len; i++)
        if (!isalnum((unsigned char)text.data[i]) && !is_one_of(text.data[i], "._-"))
            return false;
    memcpy(address, text.data, len);
    address[len] = 0;
    return inet_pton(AF_INET6, address, &parsed) == 1;
}

static int parse_port(struct tw_view item, struct tw_view text, uint16_t *port,
                      struct tw_error *error)
{
    uint64_t number = 0;

    if (tw_parse_number(text, "port", 1, 65535, &number, NULL))
        return refuse(error, item, "behind the colon there is no port (1 to 65535)");
    *port = (uint16_t)number;
    return 0;
}

/* [fe80::1%eth0]:22 or [::1] */
static int add_bracketed(struct hosts *hosts, struct tw_view item, struct tw_view user,
                         struct tw_view rest, struct tw_error *error)
{
    struct tw_view name = {rest.data + 1, 0};
    uint16_t port = 0;
    int rc;

    name.len = (size_t)((const char *)memchr(rest.data, ']', rest.len) - name.data);
    rest.data += name.len + 2;
    rest.len -= name.len + 2;
    if (!is_v6(name))
        return refuse(error, item, "in the brackets there is no IPv6 address");
    if (rest.len && rest.data[0] != ':')
        return refuse(error, item, "behind the bracket only :PORT may follow");
    if (rest.len) {
        rc = parse_port(item, (struct tw_view){rest.data + 1, rest.len - 1}, &port, error);
        if (rc)
            return rc;
    }
    return hosts_keep(hosts, user, name, port, error);
}

/* name, name:port, or an IPv6 address without brackets */
static int add_named(struct hosts *hosts, struct tw_view item, struct tw_view user,
                     struct tw_view rest, struct tw_error *error)
{
    struct tw_view name = tw_view_cut(&rest, ':');
    uint16_t port = 0;
    int rc;

    if (rest.data && memchr(rest.data, ':', rest.len)) {
        name.len += 1 + rest.len;
        return is_v6(name) ? hosts_keep(hosts, user, name, 0, error)
                           : refuse(error, item, "several colons, and it is no IPv6 address");
    }
    if (rest.data && (rc = parse_port(item, rest, &port, error)))
        return rc;
    return hosts_expand(hosts, user, name, port, error);
}

static int add_item(struct hosts *hosts, struct tw_view item, struct tw_error *error)
{
    struct tw_view rest = item, user = {"", 0};
    const char *end, *wrong;

    if (memchr(item.data, '@', item.len)) {
        user = tw_view_cut(&rest, '@');
        if ((wrong = host_user_wrong(user)))
            return refuse(error, item, wrong);
    }
    if (rest.len == 0)
        return refuse(error, item, "there is no name");
    end = rest.data[0] == '[' ? memchr(rest.data, ']', rest.len) : NULL;
    if (end && memchr(rest.data, ':', (size_t)(end - rest.data)))
        return add_bracketed(hosts, item, user, rest, error);
    return add_named(hosts, item, user, rest, error);
}

/* --- lists ------------------------------------------------------------------------------------ */

/* Cuts the next item off: up to a comma or blank outside of brackets. */
static struct tw_view cut_item(struct tw_view *list)
{
    struct tw_view item = {list->data, 0};
    int depth = 0;

    while (item.len < list->len) {
        char c = item.data[item.len];

        if (depth == 0 && (c == ',' || is_blank(c)))
            break;
        depth += (c == '[') - (c == ']' && depth > 0);
        item.len++;
    }
    list->data += item.len;
    list->len -= item.len;
    return item;
}

static void skip_blanks(struct tw_view *list)
{
    while (list->len && is_blank(*list->data)) {
        list->data++;
        list->len--;
    }
}

int hosts_add(struct hosts *hosts, struct tw_view list, struct tw_error *error)
{
    bool after_comma = false;
    int rc;

    for (;;) {
        struct tw_view item;

        skip_blanks(&list);
        if (list.len == 0)
            return after_comma ? tw_error_set(error, EINVAL,
                                              "there is no host behind the last "
                                              "comma")
                               : 0;
        item = cut_item(&list);
        if (item.len == 0)
            return tw_error_set(error, EINVAL, "there is no host before a comma");
        if ((rc = add_item(hosts, item, error)))
            return rc;
        skip_blanks(&list);
        after_comma = list.len && *list.data == ',';
        if (after_comma) {
            list.data++;
            list.len--;
        }
    }
}

int hosts_add_text(struct hosts *hosts, struct tw_view text, const char *name,
                   struct tw_error *error)
{
    for (size_t number = 1; text.data; number++) {
        struct tw_view line = tw_view_cut(&text, '\n');
        struct tw_view list = tw_view_cut(&line, '#');
        struct tw_error inner = {0};
        int rc = hosts_add(hosts, list, &inner);

        if (rc)
            return tw_error_set(error, -rc, "'%.80s', line %zu: %s", name, number, inner.text);
    }
    return 0;
}

/* Whether the set names this host with as much of user and port as it likes. */
static bool is_named(const struct hosts *set, const struct host *host)
{
    struct tw_view name = tw_view_of(host->address), none = {"", 0};
    struct tw_view user = host->user ? tw_view_of(host->user) : none;

    return has(set, none, name, 0) || has(set, user, name, 0) || has(set, none, name, host->port) ||
           has(set, user, name, host->port);
}

int hosts_remove(struct hosts *hosts, struct tw_view list, struct tw_error *error)
{
    struct hosts others = {.count = 0};
    int rc = hosts_add(&others, list, error);
    size_t left = 0;

    for (size_t i = 0; rc == 0 && i < hosts->count; i++)
        if (is_named(&others, &hosts->items[i]))
            free(hosts->items[i].label);
        else
            hosts->items[left++] = hosts->items[i];
    hosts_fini(&others);
    if (rc || left == hosts->count)
        return rc;
    hosts->count = left;
    rc = make_slots(hosts, hosts->slot_count);
    return rc ? tw_error_set(error, ENOMEM, "no memory for the list of hosts") : 0;
}
