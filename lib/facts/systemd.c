#include "tidewait/systemd.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "text.h"
#include "tidewait/ports.h"
#include "tidewait/socket_row.h"

/* The most of a unit file that is read; real ones have 1 or 2 KiB. */
#define FILE_MAX ((size_t)64 * 1024)

/* A file in an earlier folder hides one of the same name in a later one. */
static const char *const folders[] = {
    "/etc/systemd/system",           "/run/systemd/system",     "/run/systemd/generator",
    "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system",
};
#define FOLDER_COUNT (sizeof(folders) / sizeof(folders[0]))

/* How well a unit fits. */
enum rank { RANK_NONE, RANK_PORT, RANK_EXACT };

/* What one unit listens on. */
struct unit_ports {
    struct tw_ports tcp, udp;
};

/* Either for one address, or, with `ports`, for all ports of all units. */
struct search {
    const char *root;
    struct unit_ports *ports; /* of the unit that is being read; or NULL */
    tw_systemd_port_visit *visit;
    void *context;
    uint8_t protocol;
    struct tw_endpoint local; /* IPv4 where it can be */
    const char *path;
    char *buf;      /* of FILE_MAX bytes */
    enum rank unit; /* of the unit that is being read */
    enum rank best;
    char *name; /* of the best unit */
};

/* --- one value of Listen...= -------------------------------------------------------------------
 */

/* [V6]:PORT, V4:PORT. */
static bool parse_endpoint(struct tw_view value, struct tw_endpoint *out)
{
    const char *colon = memrchr(value.data, ':', value.len);
    struct tw_view address, port;
    uint64_t number;

    if (!colon)
        return false;
    address = (struct tw_view){value.data, (size_t)(colon - value.data)};
    port = (struct tw_view){colon + 1, value.len - address.len - 1};
    if (tw_parse_number(port, "port", 1, 65535, &number, NULL) ||
        tw_address_parse(address, out, NULL))
        return false;
    tw_endpoint_set_port(out, (uint16_t)number);
    return true;
}

static enum rank rank_of_address(const struct search *search, struct tw_view value)
{
    uint16_t wanted = tw_endpoint_port(&search->local);
    struct tw_endpoint named;
    uint64_t port;

    /* A bare port is one on every address. */
    if (tw_parse_number(value, "port", 1, 65535, &port, NULL) == 0)
        return port == wanted ? RANK_PORT : RANK_NONE;
    if (!parse_endpoint(value, &named) || tw_endpoint_port(&named) != wanted)
        return RANK_NONE;
    named = tw_endpoint_unmap(&named);
    if (tw_endpoint_same_address(&named, &search->local))
        return RANK_EXACT;
    /* [::] has IPv4 as well. */
    if (tw_endpoint_is_wildcard(&named) &&
        (named.sa.sa_family == AF_INET6 || search->local.sa.sa_family == AF_INET))
        return RANK_PORT;
    return RANK_NONE;
}

/* Adds the port of PORT, V4:PORT or [V6]:PORT; a path has none. */
static void add_port(struct unit_ports *ports, struct tw_view key, struct tw_view value)
{
    struct tw_endpoint named;
    uint64_t port;

    if (tw_parse_number(value, "port", 1, 65535, &port, NULL)) {
        if (!parse_endpoint(value, &named))
            return;
        port = tw_endpoint_port(&named);
    }
    if (tw_view_equals(key, "ListenStream"))
        tw_ports_add(&ports->tcp, (uint16_t)port);
    else if (tw_view_equals(key, "ListenDatagram"))
        tw_ports_add(&ports->udp, (uint16_t)port);
}

/* Writes the path that a value means: %t of the system's units is /run. False when it has another
 * specifier or is too long. */
static bool expand_path(struct tw_view value, char *out, size_t size)
{
    size_t len = 0;

    for (size_t i = 0; i < value.len; i++) {
        const char *piece = &value.data[i];
        size_t piece_len = 1;

        if (*piece == '%') {
            if (++i == value.len || (value.data[i] != '%' && value.data[i] != 't'))
                return false;
            if (value.data[i] == 't') {
                piece = "/run";
                piece_len = strlen(piece);
            }
        }
        if (len + piece_len >= size)
            return false;
        memcpy(out + len, piece, piece_len);
        len += piece_len;
    }
    out[len] = 0;
    return true;
}

/* systemd takes /var/run for /run. */
static const char *without_var(const char *path)
{
    return strncmp(path, "/var/run/", strlen("/var/run/")) == 0 ? path + strlen("/var") : path;
}

static enum rank rank_of_path(const struct search *search, struct tw_view value)
{
    char named[256]; /* a Unix address has room for 108 */

    if (!expand_path(value, named, sizeof(named)))
        return RANK_NONE;
    return strcmp(without_var(named), without_var(search->path)) == 0 ? RANK_EXACT : RANK_NONE;
}

/* --- one file ----------------------------------------------------------------------------------
 */

static struct tw_view trim(struct tw_view text)
{
    while (text.len && isspace((unsigned char)text.data[0])) {
        text.data++;
        text.len--;
    }
    while (text.len && isspace((unsigned char)text.data[text.len - 1]))
        text.len--;
    return text;
}

static bool is_wanted_key(const struct search *search, struct tw_view key)
{
    if (search->protocol == IPPROTO_TCP)
        return tw_view_equals(key, "ListenStream");
    if (search->protocol == IPPROTO_UDP)
        return tw_view_equals(key, "ListenDatagram");
    return tw_view_equals(key, "ListenStream") || tw_view_equals(key, "ListenDatagram") ||
           tw_view_equals(key, "ListenSequentialPacket");
}

static void forget(struct search *search)
{
    search->unit = RANK_NONE;
    if (search->ports)
        *search->ports = (struct unit_ports){0};
}

static void read_assignment(struct search *search, struct tw_view line)
{
    struct tw_view key = trim(tw_view_cut(&line, '='));
    struct tw_view value;
    enum rank rank;

    if (!line.data || key.len < strlen("Listen") ||
        memcmp(key.data, "Listen", strlen("Listen")) != 0)
        return;
    value = trim(line);
    /* Whichever key is set to nothing, all that the unit listens on is forgotten. */
    if (value.len == 0) {
        forget(search);
        return;
    }
    if (search->ports) {
        add_port(search->ports, key, value);
        return;
    }
    if (!is_wanted_key(search, key))
        return;
    rank = search->path ? rank_of_path(search, value) : rank_of_address(search, value);
    if (rank > search->unit)
        search->unit = rank;
}

/* A backslash at the end of a line that is no comment joins it with the next. */
static void join_lines(char *text, size_t len)
{
    bool at_start = true, comment = false;

    for (size_t i = 0; i < len; i++) {
        if (text[i] == '\n') {
            at_start = true;
            comment = false;
        } else if (at_start && !isspace((unsigned char)text[i])) {
            at_start = false;
            comment = text[i] == '#' || text[i] == ';';
        }
        if (text[i] == '\\' && !comment && i + 1 < len && text[i + 1] == '\n') {
            text[i] = ' ';
            text[++i] = ' ';
        }
    }
}

/* False when the file cannot be read or is empty. */
static bool read_file(struct search *search, const char *path)
{
    bool in_section = false;
    struct tw_view text;

    if (!facts_read_text(path, search->buf, FILE_MAX, &text) || text.len == 0)
        return false;
    join_lines(search->buf, text.len);
    while (text.data) {
        struct tw_view line = trim(tw_view_cut(&text, '\n'));

        if (line.len == 0 || line.data[0] == '#' || line.data[0] == ';')
            continue;
        if (line.data[0] == '[')
            in_section = tw_view_equals(line, "[Socket]");
        else if (in_section)
            read_assignment(search, line);
    }
    return true;
}

/* --- one unit ----------------------------------------------------------------------------------
 */

static bool ends_with(const char *text, const char *end)
{
    size_t len = strlen(text), end_len = strlen(end);

    return len > end_len && strcmp(text + len - end_len, end) == 0;
}

struct drop_in {
    char name[NAME_MAX + 1];
    size_t folder;
};

struct drop_ins {
    struct drop_in *items;
    size_t count;
};

static int compare_drop_ins(const void *a, const void *b)
{
    return strcmp(((const struct drop_in *)a)->name, ((const struct drop_in *)b)->name);
}

/* Adds a drop-in unless an earlier folder has one of that name. Returns 0 or -errno. */
static int add_drop_in(struct drop_ins *list, const char *name, size_t folder)
{
    struct drop_in *items;

    for (size_t i = 0; i < list->count; i++)
        if (strcmp(list->items[i].name, name) == 0)
            return 0;
    items = realloc(list->items, (list->count + 1) * sizeof(*items));
    if (!items)
        return -ENOMEM;
    list->items = items;
    items[list->count].folder = folder;
    snprintf(items[list->count].name, sizeof(items[0].name), "%s", name);
    list->count++;
    return 0;
}

static int list_drop_ins(const struct search *search, const char *unit, struct drop_ins *list)
{
    char path[PATH_MAX];
    struct dirent *entry;
    int rc = 0;

    for (size_t i = 0; i < FOLDER_COUNT && !rc; i++) {
        DIR *dir;

        snprintf(path, sizeof(path), "%s%s/%s.d", search->root, folders[i], unit);
        dir = opendir(path);
        if (!dir)
            continue;
        while (!rc && (entry = readdir(dir)))
            if (ends_with(entry->d_name, ".conf"))
                rc = add_drop_in(list, entry->d_name, i);
        closedir(dir);
    }
    if (list->count)
        qsort(list->items, list->count, sizeof(*list->items), compare_drop_ins);
    return rc;
}

/* Returns 0 or the visitor's value. */
static int visit_ports(const struct search *search, const char *unit)
{
    int rc = 0;

    for (unsigned port = 1; port <= UINT16_MAX && !rc; port++) {
        if (tw_ports_has(&search->ports->tcp, (uint16_t)port))
            rc = search->visit(IPPROTO_TCP, (uint16_t)port, unit, search->context);
        if (!rc && tw_ports_has(&search->ports->udp, (uint16_t)port))
            rc = search->visit(IPPROTO_UDP, (uint16_t)port, unit, search->context);
    }
    return rc;
}

/* The file of a unit, then its drop-ins by name. */
static int read_unit(struct search *search, const char *path, const char *unit)
{
    struct drop_ins list = {0};
    char drop_in[PATH_MAX];
    int rc;

    forget(search);
    /* Nothing in it: masked by a link to /dev/null. */
    if (!read_file(search, path))
        return 0;
    rc = list_drop_ins(search, unit, &list);
    for (size_t i = 0; i < list.count && !rc; i++) {
        snprintf(drop_in, sizeof(drop_in), "%s%s/%s.d/%s", search->root,
                 folders[list.items[i].folder], unit, list.items[i].name);
        read_file(search, drop_in);
    }
    free(list.items);
    if (!rc && search->ports)
        return visit_ports(search, unit);
    if (!rc && search->unit > search->best) {
        search->best = search->unit;
        snprintf(search->name, TW_UNIT_MAX, "%s", unit);
    }
    return rc;
}

/* --- all units ---------------------------------------------------------------------------------
 */

/* Names that systemd would not take are not its units. */
static bool is_unit_name(const char *name)
{
    return ends_with(name, ".socket") && !ends_with(name, "@.socket") &&
           strlen(name) < TW_UNIT_MAX &&
           name[strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                             "0123456789:-_.\\@")] == 0;
}

/* Another name of a unit that has a file of its own. */
static bool is_alias(const char *path, const char *unit)
{
    char target[PATH_MAX];
    ssize_t len = readlink(path, target, sizeof(target) - 1);
    const char *slash;

    if (len < 0)
        return false;
    target[len] = 0;
    slash = strrchr(target, '/');
    return ends_with(target, ".socket") && strcmp(slash ? slash + 1 : target, unit) != 0;
}

static bool is_hidden(const struct search *search, size_t folder, const char *unit)
{
    char path[PATH_MAX], unused;

    for (size_t i = 0; i < folder; i++) {
        snprintf(path, sizeof(path), "%s%s/%s", search->root, folders[i], unit);
        /* A link that leads nowhere hides as well. */
        if (access(path, F_OK) == 0 || readlink(path, &unused, 1) >= 0)
            return true;
    }
    return false;
}

static int read_folder(struct search *search, size_t folder)
{
    char path[PATH_MAX];
    struct dirent *entry;
    int rc = 0;
    DIR *dir;

    snprintf(path, sizeof(path), "%s%s", search->root, folders[folder]);
    dir = opendir(path);
    if (!dir)
        return 0;
    while (!rc && search->best != RANK_EXACT && (entry = readdir(dir))) {
        if (!is_unit_name(entry->d_name) || is_hidden(search, folder, entry->d_name))
            continue;
        snprintf(path, sizeof(path), "%s%s/%s", search->root, folders[folder], entry->d_name);
        if (!is_alias(path, entry->d_name))
            rc = read_unit(search, path, entry->d_name);
    }
    closedir(dir);
    return rc;
}

static int read_folders(struct search *search)
{
    int rc = 0;

    search->buf = malloc(FILE_MAX);
    if (!search->buf)
        return -ENOMEM;
    for (size_t i = 0; i < FOLDER_COUNT && !rc; i++)
        rc = read_folder(search, i);
    free(search->buf);
    return rc;
}

int tw_systemd_socket_ports(const char *root, tw_systemd_port_visit *visit, void *context)
{
    struct unit_ports ports;
    struct search search = {.root = root, .ports = &ports, .visit = visit, .context = context};

    return read_folders(&search);
}

int tw_systemd_socket_unit(const char *root, uint8_t protocol, const struct tw_endpoint *local,
                           const char *path, char unit[TW_UNIT_MAX])
{
    struct search search = {.root = root, .protocol = protocol, .name = unit};
    int rc;

    if (protocol ? !local : !path)
        return -EINVAL;
    if (protocol)
        search.local = tw_endpoint_unmap(local);
    else
        search.path = path;
    rc = read_folders(&search);
    if (rc)
        return rc;
    return search.best == RANK_NONE ? -ENOENT : 0;
}
