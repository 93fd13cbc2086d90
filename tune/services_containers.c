/* The published ports of containers, as the engine tells them on its Unix socket. What `docker ps`
 * says of a container that does not run has no ports in it, so each of those is looked into. */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "services.h"
#include "tidewait/clock.h"

/* All questions to one engine together. */
#define PATIENCE_NS (2 * TW_NS_PER_S)

/* The most of an answer that is read: a container takes 2 to 10 KiB. */
#define ANSWER_MAX ((size_t)16 * 1024 * 1024)

#define ID_MAX 128

struct engine {
    struct services *services;
    struct sockaddr_un address;
    const char *name;
    uint64_t until_ns;
};

/* --- HTTP --------------------------------------------------------------------------------------
 */

/* Waits until the socket is ready. False when time has run out. */
static bool wait_for(const struct engine *engine, int fd, short events)
{
    struct pollfd ready = {.fd = fd, .events = events};

    for (;;) {
        uint64_t now = tw_clock_ns();
        int rc;

        if (now >= engine->until_ns)
            return false;
        rc = poll(&ready, 1, (int)((engine->until_ns - now) / TW_NS_PER_MS) + 1);
        if (rc > 0)
            return true;
        if (rc < 0 && errno != EINTR)
            return false;
    }
}

static bool send_all(const struct engine *engine, int fd, const char *text, size_t len)
{
    while (len) {
        ssize_t sent = send(fd, text, len, MSG_NOSIGNAL);

        if (sent > 0) {
            text += sent;
            len -= (size_t)sent;
        } else if (errno != EINTR && (errno != EAGAIN || !wait_for(engine, fd, POLLOUT))) {
            return false;
        }
    }
    return true;
}

/* All until the engine closes, with a NUL behind it, from malloc. 0, -ENOMEM, or -EIO. */
static int receive_all(const struct engine *engine, int fd, char **out, size_t *len)
{
    size_t size = 0;
    char *text = NULL;

    *len = 0;
    for (;;) {
        ssize_t got;

        if (*len + 1 >= size) {
            char *more = size < ANSWER_MAX ? realloc(text, size = size ? 2 * size : 8192) : NULL;

            if (!more) {
                free(text);
                return size < ANSWER_MAX ? -ENOMEM : -EIO;
            }
            text = more;
        }
        got = recv(fd, text + *len, size - *len - 1, 0);
        if (got == 0)
            break;
        if (got > 0) {
            *len += (size_t)got;
        } else if (errno != EINTR && (errno != EAGAIN || !wait_for(engine, fd, POLLIN))) {
            free(text);
            return -EIO;
        }
    }
    text[*len] = 0;
    *out = text;
    return 0;
}

/* The JSON in an answer of HTTP; NULL unless it is one. */
static json_t *body_of(const char *text, size_t len)
{
    const char *body = memmem(text, len, "\r\n\r\n", 4);

    if (len < strlen("HTTP/1.x 200") || memcmp(text, "HTTP/1.", strlen("HTTP/1.")) != 0 ||
        memcmp(text + strlen("HTTP/1.x"), " 200", 4) != 0 || !body)
        return NULL;
    body += 4;
    return json_loadb(body, len - (size_t)(body - text), 0, NULL);
}

/* Asks for one path. HTTP/1.0: the answer ends with the connection and comes in one piece. 0 with
 * *out, which may be NULL when there was no good answer, or -ENOMEM. */
static int ask(const struct engine *engine, const char *path, json_t **out)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    char request[ID_MAX + 128], *text;
    size_t len;
    int rc;

    *out = NULL;
    if (fd < 0)
        return 0;
    snprintf(request, sizeof(request),
             "GET %s HTTP/1.0\r\nHost: localhost\r\nAccept: application/json\r\n\r\n", path);
    if (connect(fd, (const struct sockaddr *)&engine->address, sizeof(engine->address)) ||
        !send_all(engine, fd, request, strlen(request))) {
        close(fd);
        return 0;
    }
    rc = receive_all(engine, fd, &text, &len);
    close(fd);
    if (rc == 0) {
        *out = body_of(text, len);
        free(text);
    }
    return rc == -ENOMEM ? rc : 0;
}

/* --- containers --------------------------------------------------------------------------------
 */

/* "/web", or the beginning of the id. */
static const char *container_name(const json_t *container, char *buf, size_t size)
{
    const char *name = json_string_value(json_array_get(json_object_get(container, "Names"), 0));
    const char *id = json_string_value(json_object_get(container, "Id"));

    if (name && name[0] == '/')
        name++;
    if (name && name[0])
        snprintf(buf, size, "%s", name);
    else
        snprintf(buf, size, "%.12s", id ? id : "?");
    return buf;
}

static uint8_t protocol_of(const char *text)
{
    if (text && strcmp(text, "tcp") == 0)
        return IPPROTO_TCP;
    return text && strcmp(text, "udp") == 0 ? IPPROTO_UDP : 0;
}

/* What is published now: [{"PublicPort": 8080, "Type": "tcp"}] */
static int add_published(const struct engine *engine, const json_t *ports, const char *name)
{
    const json_t *port;
    size_t i;
    int rc = 0;

    json_array_foreach(ports, i, port)
    {
        json_int_t number = json_integer_value(json_object_get(port, "PublicPort"));
        uint8_t protocol = protocol_of(json_string_value(json_object_get(port, "Type")));

        if (!rc && protocol && number >= 1 && number <= UINT16_MAX)
            rc = services_add(engine->services, protocol, (unsigned)number, "%s %s", engine->name,
                              name);
    }
    return rc;
}

/* "8080", or "8000-8010" of which one is taken at the start. No text: any port, chosen then. */
static int add_binding(const struct engine *engine, uint8_t protocol, const char *text,
                       const char *name)
{
    struct tw_port_range range;
    int rc = 0;

    if (!text || tw_parse_ports(tw_view_of(text), &range, NULL))
        return 0;
    for (unsigned port = range.first; port <= range.last && !rc; port++)
        if (port)
            rc = services_add(engine->services, protocol, port, "%s %s", engine->name, name);
    return rc;
}

/* {"80/tcp": [{"HostPort": "8080"}]} */
static int add_bindings(const struct engine *engine, json_t *bindings, const char *name)
{
    const json_t *list, *binding;
    const char *key;
    size_t i;
    int rc = 0;

    json_object_foreach(bindings, key, list)
    {
        const char *slash = strchr(key, '/');
        uint8_t protocol = slash ? protocol_of(slash + 1) : 0;

        json_array_foreach(list, i, binding)
        {
            const char *port = json_string_value(json_object_get(binding, "HostPort"));

            if (!rc && protocol)
                rc = add_binding(engine, protocol, port, name);
        }
    }
    return rc;
}

static bool is_id(const char *text)
{
    size_t len = text ? strlen(text) : 0;

    return len && len < ID_MAX && strspn(text, "0123456789abcdefABCDEF") == len;
}

/* A container that does not run: what it will publish stands in its settings. */
static int look_into(const struct engine *engine, const json_t *container, const char *name)
{
    const char *id = json_string_value(json_object_get(container, "Id"));
    char path[ID_MAX + 32];
    json_t *whole, *host;
    int rc;

    if (!is_id(id))
        return 0;
    snprintf(path, sizeof(path), "/containers/%s/json", id);
    rc = ask(engine, path, &whole);
    if (rc)
        return rc;
    host = json_object_get(whole, "HostConfig");
    if (!json_is_object(host))
        engine->services->docker_unseen = true;
    rc = add_bindings(engine, json_object_get(host, "PortBindings"), name);
    json_decref(whole);
    return rc;
}

static int add_container(const struct engine *engine, const json_t *container)
{
    const char *state = json_string_value(json_object_get(container, "State"));
    char name[64];
    int rc;

    container_name(container, name, sizeof(name));
    rc = add_published(engine, json_object_get(container, "Ports"), name);
    if (rc || (state && strcmp(state, "running") == 0))
        return rc;
    return look_into(engine, container, name);
}

/* False when there is no socket there. One whose path is too long is nobody's. */
static bool find_socket(struct engine *engine, const char *root, const char *path)
{
    struct stat st;
    int len =
        snprintf(engine->address.sun_path, sizeof(engine->address.sun_path), "%s%s", root, path);

    engine->address.sun_family = AF_UNIX;
    return len > 0 && (size_t)len < sizeof(engine->address.sun_path) &&
           stat(engine->address.sun_path, &st) == 0 && S_ISSOCK(st.st_mode);
}

int services_add_containers(struct services *services, const char *root, const char *path,
                            const char *name)
{
    struct engine engine = {
        .services = services, .name = name, .until_ns = tw_clock_ns() + PATIENCE_NS};
    const json_t *container;
    json_t *list;
    size_t i;
    int rc;

    if (!find_socket(&engine, root, path))
        return 0;
    rc = ask(&engine, "/containers/json?all=1", &list);
    if (rc)
        return rc;
    if (!json_is_array(list))
        services->docker_unseen = true;
    json_array_foreach(list, i, container) if (!rc) rc = add_container(&engine, container);
    json_decref(list);
    return rc;
}
