/*
 * From the path of a cgroup to the systemd unit and the container it stands for. The path is read
 * from the root, as systemd does: the first unit counts, for what is below it was made by the unit
 * itself, and could bear any name. A container begins anew: what is above it is the container
 * manager's.
 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "tidewait/parse.h"
#include "tidewait/process.h"

#define ID_DIGITS 64

/* What a path told so far; the members as in struct tw_process. */
struct place {
    struct tw_view unit;
    bool user_unit;
    bool settled; /* the unit is found */
    bool in_kubernetes;
    const char *runtime;
    struct tw_view container;
};

static struct tw_view cut(struct tw_view view, size_t from)
{
    return (struct tw_view){view.data + from, view.len - from};
}

static bool equals(struct tw_view view, const char *text)
{
    return view.len == strlen(text) && memcmp(view.data, text, view.len) == 0;
}

/* Takes the text off the start of the view, if it is there. */
static bool skip(struct tw_view *view, const char *text)
{
    size_t len = strlen(text);

    if (view->len < len || memcmp(view->data, text, len) != 0)
        return false;
    *view = cut(*view, len);
    return true;
}

static bool contains(struct tw_view view, const char *text)
{
    for (; view.len; view = cut(view, 1)) {
        struct tw_view rest = view;

        if (skip(&rest, text))
            return true;
    }
    return false;
}

/* The same at the end; something must remain. */
static bool drop_end(struct tw_view *view, const char *text)
{
    size_t len = strlen(text);

    if (view->len <= len || memcmp(view->data + view->len - len, text, len) != 0)
        return false;
    view->len -= len;
    return true;
}

static bool is_id(struct tw_view view)
{
    if (view.len != ID_DIGITS)
        return false;
    for (size_t i = 0; i < view.len; i++)
        if (!isdigit((unsigned char)view.data[i]) && (view.data[i] < 'a' || view.data[i] > 'f'))
            return false;
    return true;
}

/* Names of systemd: letters, digits and :-_.\@ with one of the types that can hold processes. */
static bool is_unit(struct tw_view view)
{
    static const char *const types[] = {".service", ".scope", ".socket", ".mount", ".swap"};
    struct tw_view stem = view;
    bool typed = false;

    for (size_t i = 0; i < view.len; i++)
        if (!isalnum((unsigned char)view.data[i]) && !strchr(":-_.\\@", view.data[i]))
            return false;
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]) && !typed; i++)
        typed = drop_end(&stem, types[i]);
    return typed && view.len < sizeof((struct tw_process){0}.unit);
}

/* "docker-ID.scope" and its like, as systemd's cgroup driver names them; without ".scope" those of
 * the plain one. */
static bool is_prefixed_container(struct tw_view part, struct place *place)
{
    static const struct {
        const char *prefix, *runtime;
    } table[] = {
        {"docker-", "docker"},
        {"libpod-conmon-", "podman"}, /* the watcher of the container */
        {"libpod-payload-", "podman"},
        {"libpod-", "podman"},
        {"cri-containerd-", "containerd"},
        {"nerdctl-", "containerd"},
        {"crio-conmon-", "crio"},
        {"crio-", "crio"},
    };
    const char *colon = memchr(part.data, ':', part.len);

    /* containerd, told of a name for systemd, but without it: "kubepods-...:cri-containerd:ID" */
    if (colon) {
        struct tw_view rest = cut(part, (size_t)(colon + 1 - part.data));

        if (!skip(&rest, "cri-containerd:") || !is_id(rest))
            return false;
        place->container = rest;
        place->runtime = "containerd";
        return true;
    }
    drop_end(&part, ".scope");
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct tw_view id = part;

        if (!skip(&id, table[i].prefix) || !is_id(id))
            continue;
        place->container = id;
        place->runtime = table[i].runtime;
        return true;
    }
    return false;
}

/* "docker/ID": what the id is of follows from the part before it. */
static bool is_child_container(struct tw_view parent, struct tw_view part, struct place *place)
{
    static const struct {
        const char *parent, *runtime;
    } table[] = {{"docker", "docker"},
                 {"libpod_parent", "podman"},
                 {"default", "containerd"},
                 {"k8s.io", "kubernetes"}};

    /* Names of LXC are chosen by people. */
    if (equals(parent, "lxc") || skip(&part, "lxc.payload.")) {
        if (part.len == 0 || part.len >= sizeof((struct tw_process){0}.container))
            return false;
        place->container = part;
        place->runtime = "lxc";
        return true;
    }
    if (!is_id(part))
        return false;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        if (!equals(parent, table[i].parent))
            continue;
        place->container = part;
        place->runtime = table[i].runtime;
        return true;
    }
    if (!place->in_kubernetes)
        return false;
    place->container = part;
    return true;
}

static void take_unit(struct tw_view part, struct place *place)
{
    struct tw_view rest = part;

    /* systemd puts "_" before a name that the kernel might take for one of its own files. */
    skip(&part, "_");
    if (place->settled || drop_end(&rest, ".slice") || !is_unit(part))
        return;
    place->unit = part;
    /* The user's manager: its own units are below it. */
    if (!place->user_unit && skip(&rest, "user@") && drop_end(&rest, ".service"))
        place->user_unit = true;
    else
        place->settled = true;
}

static void take_part(struct tw_view parent, struct tw_view part, struct place *place)
{
    if (contains(part, "kubepods"))
        place->in_kubernetes = true;
    if (is_prefixed_container(part, place) || is_child_container(parent, part, place)) {
        if (place->in_kubernetes)
            place->runtime = "kubernetes";
        place->unit.len = 0;
        place->user_unit = place->settled = place->in_kubernetes = false;
    } else {
        take_unit(part, place);
    }
}

static void parse_path(struct tw_view path, struct place *place)
{
    struct tw_view parent = {path.data, 0};

    drop_end(&path, " (deleted)");
    while (path.len) {
        const char *slash = memchr(path.data, '/', path.len);
        struct tw_view part = {path.data, slash ? (size_t)(slash - path.data) : path.len};

        if (part.len) {
            take_part(parent, part, place);
            parent = part;
        }
        path = cut(path, part.len + (slash ? 1 : 0));
    }
    /* The user's manager itself is a unit of the system. */
    if (!place->settled)
        place->user_unit = false;
}

/* How much a hierarchy is worth: that of cgroup v2, systemd's of v1, any other. -1: no line. */
static int rank_of(struct tw_view line, struct tw_view *path)
{
    const char *first = memchr(line.data, ':', line.len), *second;
    struct tw_view names;

    if (!first)
        return -1;
    names = cut(line, (size_t)(first + 1 - line.data));
    second = memchr(names.data, ':', names.len);
    if (!second)
        return -1;
    *path = cut(names, (size_t)(second + 1 - names.data));
    names.len = (size_t)(second - names.data);
    return names.len == 0 ? 2 : equals(names, "name=systemd");
}

static void copy(char *to, struct tw_view from)
{
    memcpy(to, from.data, from.len);
    to[from.len] = 0;
}

void tw_process_parse_cgroup(const char *text, struct tw_process *out)
{
    struct place best = {.unit = {text, 0}, .container = {text, 0}};
    int best_score = -1;

    while (*text) {
        struct tw_view line = {text, strcspn(text, "\n")}, path;
        struct place place = {.unit = {text, 0}, .container = {text, 0}};
        int rank = rank_of(line, &path), score;

        text += line.len + (text[line.len] == '\n');
        if (rank < 0)
            continue;
        parse_path(path, &place);
        /* Under cgroup v1 each line has a part of the truth: one with a container says most. */
        score = (place.container.len ? 8 : 0) + (place.unit.len ? 4 : 0) + rank;
        if (score > best_score) {
            best_score = score;
            best = place;
        }
    }
    copy(out->unit, best.unit);
    out->user_unit = best.user_unit;
    copy(out->container, best.container);
    snprintf(out->runtime, sizeof(out->runtime), "%s", best.runtime ? best.runtime : "");
}
