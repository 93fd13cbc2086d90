#include "time_wait_scene.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>

#include "tidewait/counters.h"

#define SETTLE_MS    10000 /* what takes longer than this never comes */
#define NOBODYS_PORT 9

/* A first packet that waits long for the server's link address would make the first round trip
 * long, with it the retransmission timer, and that is the least length of FIN_WAIT_2
 * (tcp_fin_time()). So the two get to know each other before the story. */
static void warm_up(const struct scene *scene)
{
    struct tw_endpoint nobody = host_at(scene->server, NOBODYS_PORT);
    int fd = host_socket(scene->client, 0);
    int code = finish_connect(scene->stage, fd, &nobody);

    if (code != ECONNREFUSED)
        stage_broken(scene->stage, "connect() to a closed port: %s", strerror(code));
    close_fd(&fd);
}

struct scene scene_begin(struct stage *stage)
{
    struct scene scene = {
        .stage = stage, .client = stage_left(stage), .server = stage_right(stage)};

    if (!scene.client->wire)
        warm_up(&scene);
    scene.listener = host_listen(scene.server, SCENE_SERVER_PORT, WITH_REUSEADDR);
    return scene;
}

void scene_draw(struct scene *scene)
{
    stage_watch(scene->stage, SCENE_SERVER_PORT, true);
    scene->drawn = true;
}

int scene_connect(const struct scene *scene, int *fd)
{
    struct tw_endpoint server = host_at(scene->server, SCENE_SERVER_PORT);
    int code;

    *fd = host_socket(scene->client, WITH_REUSEADDR);
    code = try_bind(*fd, NULL, SCENE_CLIENT_PORT);
    if (code)
        stage_broken(scene->stage, "bind() to the client's port: %s", strerror(code));
    code = finish_connect(scene->stage, *fd, &server);
    if (code)
        close_fd(fd);
    return code;
}

struct pair scene_open(const struct scene *scene)
{
    struct pair pair;
    int code = scene_connect(scene, &pair.client);

    if (code)
        stage_broken(scene->stage, "connect() from port %d: %s", SCENE_CLIENT_PORT, strerror(code));
    pair.server = stage_accept(scene->stage, scene->listener);
    return pair;
}

static void need_state(const struct scene *scene, struct host *host, uint16_t server_port,
                       int state)
{
    bool server_side = host == scene->server;

    if (!until_state(scene->stage, host, server_port, server_side, state, SETTLE_MS))
        stage_broken(scene->stage, "closing port %u: the %s is in state %d, not %d", server_port,
                     host->name, state_of(host, server_port, server_side), state);
}

void scene_close(const struct scene *scene, struct pair *pair, uint16_t server_port,
                 struct host *first)
{
    bool client_first = first == scene->client;
    struct host *other = client_first ? scene->server : scene->client;

    if (scene->drawn)
        host_says(first, "close()");
    close_fd(client_first ? &pair->client : &pair->server);
    need_state(scene, first, server_port, TCP_FIN_WAIT2);
    if (scene->drawn)
        host_says(other, "close()");
    close_fd(client_first ? &pair->server : &pair->client);
    need_state(scene, first, server_port, TCP_TIME_WAIT);
    need_state(scene, other, server_port, -1);
}

uint32_t scene_expires_ms(const struct scene *scene, struct host *host, uint16_t server_port)
{
    struct tw_socket_row row;

    if (!row_of(host, server_port, host == scene->server, &row))
        stage_broken(scene->stage, "nothing is left of port %u on the %s", server_port, host->name);
    return row.expires_ms;
}

int64_t scene_counter(struct host *host, const char *name)
{
    struct tw_counters counters;
    struct tw_error error = {0};

    host_enter(host);
    if (tw_counters_read(&counters, &error))
        stage_broken(host->stage, "%s", error.text);
    for (size_t i = 0; tw_counter_name(i); i++)
        if (strcmp(tw_counter_name(i), name) == 0 && counters.values[i] >= 0)
            return counters.values[i];
    stage_lacking(host->stage, "this kernel does not count %s", name);
}
