#include "workload.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Longest expansion of the weights of all targets: enough for 1:999. */
#define TURNS_MAX 1000

struct url {
    enum protocol protocol;
    char host[256];
    char port[8];
    char authority[280]; /* what the Host header says */
    const char *path;
    size_t path_len;
    unsigned weight;
};

static int parse_weight(struct tw_view fragment, unsigned *weight, const char *text,
                        struct tw_error *error)
{
    struct tw_view value = fragment, name = tw_view_cut(&value, '=');
    uint64_t number = 1;

    if (!fragment.data)
        return 0;
    if (!tw_view_equals(name, "weight"))
        return tw_error_set(error, EINVAL, "'%.80s': behind # only weight=N is known", text);
    if (tw_parse_number(value, "weight", 1, TURNS_MAX, &number, error))
        return -EINVAL;
    *weight = (unsigned)number;
    return 0;
}

/* Splits host[:port], where an IPv6 address stands in brackets. */
static int parse_authority(struct tw_view authority, struct url *url, const char *text,
                           struct tw_error *error)
{
    struct tw_view host = authority, port = {NULL, 0};
    const char *colon = authority.len ? memrchr(authority.data, ':', authority.len) : NULL;
    uint64_t number = 80;

    if (colon && authority.data[authority.len - 1] != ']') {
        host.len = (size_t)(colon - authority.data);
        port = (struct tw_view){colon + 1, authority.len - host.len - 1};
    }
    if (host.len >= 2 && host.data[0] == '[' && host.data[host.len - 1] == ']') {
        host.data++;
        host.len -= 2;
    } else if (memchr(host.data, ':', host.len)) {
        return tw_error_set(error, EINVAL, "'%.80s': write an IPv6 address in brackets, [::1]",
                            text);
    }
    if (host.len == 0 || host.len >= sizeof(url->host))
        return tw_error_set(error, EINVAL, "'%.80s' names no host", text);
    if (!port.data && url->protocol == PROTOCOL_TCP)
        return tw_error_set(error, EINVAL, "'%.80s' lacks a port; write tcp://host:port", text);
    if (port.data && tw_parse_number(port, "port", 1, 65535, &number, error))
        return -EINVAL;
    snprintf(url->host, sizeof(url->host), "%.*s", (int)host.len, host.data);
    snprintf(url->port, sizeof(url->port), "%u", (unsigned)number);
    snprintf(url->authority, sizeof(url->authority), "%.*s", (int)authority.len, authority.data);
    return 0;
}

static int parse_url(const char *text, struct url *url, struct tw_error *error)
{
    struct tw_view rest = tw_view_of(text), main_part, fragment = rest;
    size_t authority;

    main_part = tw_view_cut(&fragment, '#');
    if (strncmp(text, "http://", 7) == 0) {
        url->protocol = PROTOCOL_HTTP;
        rest = (struct tw_view){text + 7, main_part.len - 7};
    } else if (strncmp(text, "tcp://", 6) == 0) {
        url->protocol = PROTOCOL_TCP;
        rest = (struct tw_view){text + 6, main_part.len - 6};
    } else {
        return tw_error_set(
            error, EINVAL,
            "'%.80s' is not a target; write http://host:port/path or tcp://host:port%s", text,
            strncmp(text, "https:", 6) == 0 ? " (TLS is not supported yet)" : "");
    }
    for (size_t i = 0; i < main_part.len; i++)
        if ((unsigned char)text[i] <= ' ' || text[i] == 0x7f)
            return tw_error_set(error, EINVAL, "'%.80s' contains a blank or control character",
                                text);
    for (authority = 0; authority < rest.len && !strchr("/?", rest.data[authority]); authority++)
        ;
    if (memchr(rest.data, '@', authority))
        return tw_error_set(error, EINVAL, "'%.80s': user names and passwords are not supported",
                            text);
    url->path = rest.data + authority;
    url->path_len = rest.len - authority;
    if (url->path_len && url->protocol == PROTOCOL_TCP)
        return tw_error_set(error, EINVAL, "'%.80s': a tcp target has no path", text);
    url->weight = 1;
    if (parse_weight(fragment, &url->weight, text, error))
        return -EINVAL;
    return parse_authority((struct tw_view){rest.data, authority}, url, text, error);
}

static int resolve(const struct url *url, int family, struct tw_endpoint *out,
                   struct tw_error *error)
{
    struct addrinfo hints = {.ai_family = family, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    int rc = getaddrinfo(url->host, url->port, &hints, &found);

    if (rc)
        return tw_error_set(error, EINVAL, "'%s' cannot be resolved: %s", url->host,
                            rc == EAI_SYSTEM ? strerror(errno) : gai_strerror(rc));
    /* The first is the one that RFC 6724 prefers on this host. */
    memcpy(out, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    return 0;
}

/* One request text; `last` asks the server to close after it. */
static int make_request(const struct url *url, bool last, char **text, size_t *len)
{
    int made = asprintf(text, "GET %s%.*s HTTP/1.1\r\nHost: %s\r\nUser-Agent: tidewait\r\n%s\r\n",
                        url->path_len && url->path[0] == '/' ? "" : "/", (int)url->path_len,
                        url->path, url->authority, last ? "Connection: close\r\n" : "");

    if (made < 0) {
        *text = NULL;
        return -ENOMEM;
    }
    *len = (size_t)made;
    return 0;
}

int workload_add_target(struct workload *workload, const char *text, int family,
                        struct tw_error *error)
{
    struct url url = {0};
    struct target target = {0};
    struct target *targets;
    int rc = parse_url(text, &url, error);

    if (rc || (rc = resolve(&url, family, &target.endpoint, error)))
        return rc;
    target.protocol = url.protocol;
    target.weight = url.weight;
    targets = reallocarray(workload->targets, workload->target_count + 1, sizeof(*targets));
    if (!targets)
        return tw_error_set(error, ENOMEM, "no memory");
    workload->targets = targets;
    target.text = strdup(text);
    if (!target.text)
        return tw_error_set(error, ENOMEM, "no memory");
    /* From here on workload_fini() frees what the target holds. */
    targets[workload->target_count] = target;
    struct target *added = &targets[workload->target_count++];

    if (url.protocol == PROTOCOL_HTTP &&
        (make_request(&url, false, &added->request, &added->request_len) ||
         make_request(&url, workload->closing == CLOSING_SERVER, &added->last_request,
                      &added->last_request_len)))
        return tw_error_set(error, ENOMEM, "no memory");
    return 0;
}

/* The address that the routing table gives a connection to `target`. */
static int route_source(const struct target *target, struct tw_endpoint *out,
                        struct tw_error *error)
{
    socklen_t len = sizeof(*out);
    int fd = socket(target->endpoint.sa.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int code;

    *out = (struct tw_endpoint){0};
    if (fd < 0 || connect(fd, &target->endpoint.sa, tw_endpoint_len(&target->endpoint)) ||
        getsockname(fd, &out->sa, &len)) {
        code = errno;
        if (fd >= 0)
            close(fd);
        return tw_error_set(error, code, "no source address for %s: %s", target->text,
                            strerror(code));
    }
    close(fd);
    tw_endpoint_set_port(out, 0);
    return 0;
}

static void add_lane(struct workload *workload, size_t target, const struct tw_endpoint *source)
{
    struct lane *lane = &workload->lanes[workload->lane_count++];

    *lane = (struct lane){.source = *source, .target = (uint32_t)target};
    workload->targets[target].lane_count++;
}

static int make_lanes(struct workload *workload, const struct tw_endpoint *sources,
                      size_t source_count, struct tw_error *error)
{
    size_t room = workload->target_count * (source_count ? source_count : 1);

    workload->source_count = source_count ? source_count : 1;
    workload->routed = source_count == 0;
    workload->lanes = calloc(room, sizeof(*workload->lanes));
    if (!workload->lanes)
        return tw_error_set(error, ENOMEM, "no memory for %zu lanes", room);
    for (size_t t = 0; t < workload->target_count; t++) {
        struct target *target = &workload->targets[t];
        struct tw_endpoint source;
        int rc;

        target->lane_first = (uint32_t)workload->lane_count;
        if (source_count == 0) {
            if ((rc = route_source(target, &source, error)))
                return rc;
            add_lane(workload, t, &source);
        }
        for (size_t s = 0; s < source_count; s++)
            if (sources[s].sa.sa_family == target->endpoint.sa.sa_family)
                add_lane(workload, t, &sources[s]);
        if (target->lane_count == 0)
            return tw_error_set(error, EINVAL, "no --from address is of the family of %s",
                                target->text);
    }
    return 0;
}

/* Smooth weighted turns: each step goes to the target that is furthest behind its share. */
static int make_turns(struct workload *workload, struct tw_error *error)
{
    int64_t *credit = calloc(workload->target_count, sizeof(*credit));
    size_t sum = 0;

    for (size_t t = 0; t < workload->target_count; t++)
        sum += workload->targets[t].weight;
    workload->turns = calloc(sum, sizeof(*workload->turns));
    if (!credit || !workload->turns) {
        free(credit);
        return tw_error_set(error, ENOMEM, "no memory");
    }
    for (size_t i = 0; i < sum; i++) {
        size_t best = 0;

        for (size_t t = 0; t < workload->target_count; t++) {
            credit[t] += workload->targets[t].weight;
            if (credit[t] > credit[best])
                best = t;
        }
        credit[best] -= (int64_t)sum;
        workload->turns[i] = (uint32_t)best;
    }
    workload->turn_count = sum;
    free(credit);
    return 0;
}

/* Gives every tcp target the bytes of --send; none is fine. */
static int set_tcp_request(struct workload *workload, const char *send, size_t send_len,
                           struct tw_error *error)
{
    for (size_t t = 0; t < workload->target_count && send_len; t++) {
        struct target *target = &workload->targets[t];

        if (target->protocol != PROTOCOL_TCP)
            continue;
        target->request = malloc(send_len);
        target->last_request = malloc(send_len);
        if (!target->request || !target->last_request)
            return tw_error_set(error, ENOMEM, "no memory for the bytes of --send");
        memcpy(target->request, send, send_len);
        memcpy(target->last_request, send, send_len);
        target->request_len = target->last_request_len = send_len;
    }
    return 0;
}

int workload_prepare(struct workload *workload, const struct tw_endpoint *sources,
                     size_t source_count, struct tw_ports *ports, const char *send, size_t send_len,
                     struct tw_error *error)
{
    int rc;

    for (size_t t = 0; t < workload->target_count && !workload->kernel_ports; t++)
        tw_ports_remove(ports, tw_endpoint_port(&workload->targets[t].endpoint));
    workload->port_count = (uint32_t)tw_ports_count(ports);
    if (workload->port_count == 0)
        return tw_error_set(error, EINVAL, "no source port is left to use; give --ports");
    workload->ports = calloc(workload->port_count, sizeof(*workload->ports));
    if (!workload->ports)
        return tw_error_set(error, ENOMEM, "no memory");
    tw_ports_list(ports, workload->ports);
    if ((rc = set_tcp_request(workload, send, send_len, error)) ||
        (rc = make_turns(workload, error)))
        return rc;
    return make_lanes(workload, sources, source_count, error);
}

void workload_fini(struct workload *workload)
{
    for (size_t t = 0; t < workload->target_count; t++) {
        free(workload->targets[t].text);
        free(workload->targets[t].request);
        free(workload->targets[t].last_request);
    }
    free(workload->targets);
    free(workload->turns);
    free(workload->lanes);
    free(workload->ports);
    free(workload->expect);
    *workload = (struct workload){0};
}
