#include "plan_seen.h"

#include <netinet/tcp.h>
#include <string.h>

/* One connection and the TIME_WAIT that it becomes, which inherits its cookie. */
struct connection {
    uint64_t key;
    uint32_t lane;
    uint32_t first_look; /* 0: new */
    uint32_t last_look;
    bool time_wait; /* as it was seen last */
};

void seen_init(struct seen *seen)
{
    *seen = (struct seen){
        .lanes = {.item_size = sizeof(struct seen_lane), .key_size = sizeof(struct seen_key)},
        .connections = {.item_size = sizeof(struct connection), .key_size = sizeof(uint64_t)},
    };
}

void seen_fini(struct seen *seen)
{
    table_fini(&seen->lanes);
    table_fini(&seen->connections);
}

static struct seen_lane *lane_at(const struct seen *seen, size_t index)
{
    return (struct seen_lane *)seen->lanes.items + index;
}

void seen_begin(struct seen *seen)
{
    seen->look++;
    seen->listening = (struct tw_ports){0};
    for (size_t i = 0; i < seen->lanes.count; i++)
        lane_at(seen, i)->open = lane_at(seen, i)->time_waits = 0;
}

void seen_listener(struct seen *seen, const struct tw_socket_row *row)
{
    tw_ports_add(&seen->listening, tw_endpoint_port(&row->local));
}

/* The address alone, or with its port, in bytes that can be compared. */
static struct tw_endpoint clean(const struct tw_endpoint *endpoint, bool with_port)
{
    struct tw_endpoint plain = tw_endpoint_unmap(endpoint), out;

    memset(&out, 0, sizeof(out));
    out.sa.sa_family = plain.sa.sa_family;
    if (plain.sa.sa_family == AF_INET6) {
        out.v6.sin6_addr = plain.v6.sin6_addr;
        out.v6.sin6_scope_id = plain.v6.sin6_scope_id;
    } else {
        out.v4.sin_addr = plain.v4.sin_addr;
    }
    if (with_port)
        tw_endpoint_set_port(&out, tw_endpoint_port(&plain));
    return out;
}

/* FNV-1a over the tuple, where the kernel gave no cookie (the text of /proc/net). */
static uint64_t key_of(const struct tw_socket_row *row, const struct seen_key *lane)
{
    const unsigned char *bytes = (const unsigned char *)lane;
    uint64_t hash = 0xcbf29ce484222325;

    if (row->cookie)
        return row->cookie;
    for (size_t i = 0; i < sizeof(*lane); i++)
        hash = (hash ^ bytes[i]) * 0x100000001b3;
    return (hash ^ tw_endpoint_port(&row->local)) * 0x100000001b3;
}

void seen_row(struct seen *seen, const struct tw_socket_row *row)
{
    struct seen_key key;
    struct connection *connection;
    struct seen_lane *lane;
    uint64_t id;

    /* Its port is a listener's, or it was accepted: whoever opened it is somewhere else. */
    if (row->opened == TW_NO || row->state == TCP_SYN_RECV ||
        tw_ports_has(&seen->listening, tw_endpoint_port(&row->local)))
        return;
    memset(&key, 0, sizeof(key));
    key.source = clean(&row->local, false);
    key.destination = clean(&row->remote, true);
    id = key_of(row, &key);
    connection = table_find(&seen->connections, &id);
    lane = table_find(&seen->lanes, &key);
    if (!connection || !lane) {
        seen->no_memory = true;
        return;
    }
    if (!connection->first_look) {
        connection->first_look = seen->look;
        connection->lane = (uint32_t)(lane - (struct seen_lane *)seen->lanes.items);
        lane->born += seen->look > 1;
    } else if (connection->last_look == seen->look) {
        /* It went into TIME_WAIT while we looked: it was open at this look. */
        connection->time_wait = row->state == TCP_TIME_WAIT;
        return;
    }
    connection->last_look = seen->look;
    connection->time_wait = row->state == TCP_TIME_WAIT;
    if (connection->time_wait)
        lane->time_waits++;
    else
        lane->open++;
}

void seen_end(struct seen *seen)
{
    for (size_t i = 0; i < seen->lanes.count && seen->look > 1; i++)
        lane_at(seen, i)->open_sum += lane_at(seen, i)->open;
}

void seen_finish(struct seen *seen)
{
    const struct connection *connections = seen->connections.items;

    for (size_t i = 0; i < seen->connections.count; i++) {
        const struct connection *connection = &connections[i];
        struct seen_lane *lane = lane_at(seen, connection->lane);
        bool there_now = connection->last_look == seen->look;

        if (connection->first_look == 1 && there_now && !connection->time_wait)
            lane->lasting++;
        else if (connection->first_look > 1 && connection->time_wait)
            lane->ended_here++;
        else if (!there_now && !connection->time_wait)
            lane->ended_there++;
    }
}
