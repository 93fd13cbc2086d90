/* How long what is left after a close stays, and whose it is. */
#include <inttypes.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "time_wait_scene.h"

#define FIN_TIMEOUT "net.ipv4.tcp_fin_timeout"

/* A second and a third service beside that of the scene. */
#define SECOND_PORT 81
#define THIRD_PORT  82

static struct scene on_veth(struct stage *stage)
{
    struct scene scene;

    stage_hosts(stage, "client", "server");
    scene = scene_begin(stage);
    scene_draw(&scene);
    return scene;
}

/* Another listener, watched, and a connection to it. */
static struct pair open_beside(const struct scene *scene, uint16_t port)
{
    int listener = host_listen(scene->server, port, WITH_REUSEADDR);

    stage_watch(scene->stage, port, true);
    return stage_pair(scene->stage, scene->client, listener, 0);
}

/* --- time-wait-length ------------------------------------------------------------------------- */

/* Seen from here it may begin late and end late. */
#define LEAST_MS 59000
#define MOST_MS  66000

/* One TIME_WAIT, and when it was gone. */
struct life {
    const struct scene *scene;
    struct host *host;
    uint16_t port;
    uint64_t begin_ms, end_ms; /* 0: not yet */
};

static bool are_over(void *context)
{
    struct life *lives = context;

    for (int i = 0; i < 2; i++) {
        struct life *life = &lives[i];

        if (!life->end_ms &&
            state_of(life->host, life->port, life->host == life->scene->server) == -1)
            life->end_ms = stage_now_ms(life->scene->stage);
    }
    return lives[0].end_ms && lives[1].end_ms;
}

static void expect_lengths(struct stage *stage, struct life lives[2])
{
    stage_until(stage, MOST_MS, are_over, lives);
    for (int i = 0; i < 2; i++) {
        uint64_t ms = lives[i].end_ms - lives[i].begin_ms;

        stage_expect(stage, lives[i].end_ms && ms >= LEAST_MS && ms <= MOST_MS,
                     "port %u: TIME-WAIT lasted 60 s and a little more on the %s (%.1f s)",
                     lives[i].port, lives[i].host->name, (double)ms / 1e3);
    }
}

static void play_length(struct stage *stage)
{
    struct scene scene = on_veth(stage);
    struct pair first = scene_open(&scene), second = open_beside(&scene, SECOND_PORT);
    struct life lives[2] = {
        {.scene = &scene, .host = scene.client, .port = SCENE_SERVER_PORT},
        {.scene = &scene, .host = scene.server, .port = SECOND_PORT},
    };
    uint32_t left;

    host_set(scene.client, FIN_TIMEOUT, "5");
    host_set(scene.server, FIN_TIMEOUT, "5");
    scene_close(&scene, &first, SCENE_SERVER_PORT, scene.client);
    lives[0].begin_ms = stage_now_ms(stage);
    scene_close(&scene, &second, SECOND_PORT, scene.server);
    lives[1].begin_ms = stage_now_ms(stage);
    left = scene_expires_ms(&scene, scene.client, SCENE_SERVER_PORT);
    stage_expect(stage, left > 50000 && left <= 60000, "the kernel says: %u ms left", left);
    stage_expect(stage, state_of(scene.server, SCENE_SERVER_PORT, true) == -1,
                 "port %d, the client closed first: nothing on the server", SCENE_SERVER_PORT);
    stage_expect(stage, state_of(scene.client, SECOND_PORT, false) == -1,
                 "port %d, the server closed first: nothing on the client", SECOND_PORT);
    expect_lengths(stage, lives);
}

const struct scenario scenario_time_wait_length = {
    .name = "time-wait-length",
    .group = "time-wait",
    .title = "TIME-WAIT lasts 60 to 62 seconds, on the side that closed first",
    .expected = "Each of two connections leaves TIME-WAIT on the side that closed first and "
                "nothing on the other, whatever tcp_fin_timeout is.",
    .lesson =
        "The length is fixed in the kernel (TCP_TIMEWAIT_LEN) and there is no setting for it. "
        "The timer wheel makes up to two seconds more of the 60.",
    .rule = "RFC 9293, 3.6; TCP_TIMEWAIT_LEN, inet_twsk_schedule()",
    .needs = NEEDS_LONG_WAIT,
    .play = play_length,
};

/* --- fin-timeout ------------------------------------------------------------------------------ */

static void set_linger2(const struct scene *scene, int fd, int seconds)
{
    if (setsockopt(fd, IPPROTO_TCP, TCP_LINGER2, &seconds, sizeof(seconds)))
        stage_broken(scene->stage, "setting TCP_LINGER2: %m");
}

/* Closes the client's end alone. */
static void leave_orphan(const struct scene *scene, struct pair *pair, uint16_t port)
{
    host_says(scene->client, "close() of port %u", port);
    close_fd(&pair->client);
    if (!until_state(scene->stage, scene->client, port, false, TCP_FIN_WAIT2, 5000))
        stage_broken(scene->stage, "no FIN-WAIT-2 of port %u", port);
}

static void play_fin_timeout(struct stage *stage)
{
    struct scene scene = on_veth(stage);
    struct pair closed = scene_open(&scene), orphan = open_beside(&scene, SECOND_PORT);
    struct pair lingering = open_beside(&scene, THIRD_PORT);
    uint32_t left;

    host_set(scene.client, FIN_TIMEOUT, "3");
    stage_note(stage, "the server never closes ports %d and %d", SECOND_PORT, THIRD_PORT);
    scene_close(&scene, &closed, SCENE_SERVER_PORT, scene.client);
    set_linger2(&scene, lingering.client, 8);
    leave_orphan(&scene, &lingering, THIRD_PORT);
    left = scene_expires_ms(&scene, scene.client, THIRD_PORT);
    stage_expect(stage, left > 3000 && left <= 8000, "TCP_LINGER2 of 8 s: %u ms left", left);
    leave_orphan(&scene, &orphan, SECOND_PORT);
    left = scene_expires_ms(&scene, scene.client, SECOND_PORT);
    stage_expect(stage, left > 0 && left <= 3000, "tcp_fin_timeout of 3 s: %u ms left", left);
    left = scene_expires_ms(&scene, scene.client, SCENE_SERVER_PORT);
    stage_expect(stage, left > 30000 && left <= 60000, "TIME-WAIT beside it: %u ms left", left);

    stage_expect(stage, until_state(stage, scene.client, SECOND_PORT, false, -1, 20000),
                 "the orphan in FIN-WAIT-2 ends by itself");
    stage_expect(stage, until_state(stage, scene.client, THIRD_PORT, false, -1, 15000),
                 "so is, later, the one with TCP_LINGER2");
    stage_expect(stage,
                 state_of(scene.client, SCENE_SERVER_PORT, false) == TCP_TIME_WAIT &&
                     scene_expires_ms(&scene, scene.client, SCENE_SERVER_PORT) > 10000,
                 "TIME-WAIT is still there");
}

const struct scenario scenario_fin_timeout = {
    .name = "fin-timeout",
    .group = "time-wait",
    .title = "tcp_fin_timeout shortens orphans in FIN-WAIT-2, and never TIME-WAIT",
    .expected = "With 3 s the orphan goes, one with TCP_LINGER2 of 8 s goes after that, and "
                "TIME-WAIT stays.",
    .lesson = "tcp_fin_timeout is about a closed socket whose peer has not closed yet. Much advice "
              "takes it for the length of TIME-WAIT, because both happen to be 60 s.",
    .rule = "tcp_fin_time(), tcp_time_wait(); tcp(7), TCP_LINGER2",
    .play = play_fin_timeout,
};

/* --- fin-wait-2-for-ever ---------------------------------------------------------------------- */

static void play_for_ever(struct stage *stage)
{
    struct scene scene = on_veth(stage);
    struct pair pair = scene_open(&scene);
    char buf[16];
    int got;

    host_set(scene.client, FIN_TIMEOUT, "1");
    host_says(scene.client, "shutdown(SHUT_WR), and keeps the descriptor");
    if (shutdown(pair.client, SHUT_WR))
        stage_broken(stage, "shutdown(): %m");
    stage_expect(stage,
                 until_state(stage, scene.client, SCENE_SERVER_PORT, false, TCP_FIN_WAIT2, 5000),
                 "the client is in FIN-WAIT-2");
    stage_wait(stage, 5000);
    stage_expect(stage,
                 state_of(scene.client, SCENE_SERVER_PORT, false) == TCP_FIN_WAIT2 &&
                     scene_expires_ms(&scene, scene.client, SCENE_SERVER_PORT) == 0,
                 "5 s later it still is, with no timer, though tcp_fin_timeout is 1 s");
    host_says(scene.server, "send()");
    send_text(pair.server, "late");
    stage_wait(stage, 100);
    got = read_some(pair.client, buf, sizeof(buf));
    stage_expect(stage, got == 4, "and it receives what the server sends (%d bytes)", got);
    host_says(scene.client, "close()");
    close_fd(&pair.client);
    stage_expect(stage, until_state(stage, scene.client, SCENE_SERVER_PORT, false, -1, 20000),
                 "after close() it ends by itself");
}

const struct scenario scenario_fin_wait_2_for_ever = {
    .name = "fin-wait-2-for-ever",
    .group = "time-wait",
    .title = "FIN-WAIT-2 with an open descriptor never ends by itself",
    .expected = "After shutdown() the client stays in FIN-WAIT-2 and can receive, for as long as "
                "it keeps the descriptor; after close() tcp_fin_timeout takes it away.",
    .lesson = "A half-closed connection is in use: the peer may send for hours. Only the close of "
              "the last descriptor makes it an orphan, and only orphans have a timer.",
    .rule = "RFC 9293, 3.6; tcp_close(), tcp_rcv_state_process()",
    .play = play_for_ever,
};

/* --- buckets-overflow ------------------------------------------------------------------------- */

#define BUCKETS     3
#define CONNECTIONS 8

static bool is_acknowledged(void *context)
{
    const struct scene *scene = context;

    return count_in(scene->client, TCP_FIN_WAIT1, SCENE_SERVER_PORT) == 0;
}

/* The clients first, one after the other: who comes first gets a place. */
static void close_all(struct scene *scene, struct pair *pairs, const uint16_t *ports)
{
    for (int i = 0; i < CONNECTIONS; i++) {
        close_fd(&pairs[i].client);
        if (!stage_until(scene->stage, 5000, is_acknowledged, scene))
            stage_broken(scene->stage, "the FIN of connection %d was not acknowledged", i + 1);
        host_says(scene->client, "close() no. %d: %s", i + 1,
                  count_in(scene->client, TCP_FIN_WAIT2, ports[i]) ? "FIN-WAIT-2" : "nothing left");
    }
    host_says(scene->server, "close() of all");
    for (int i = 0; i < CONNECTIONS; i++)
        close_fd(&pairs[i].server);
}

static bool is_settled(void *context)
{
    const struct scene *scene = context;

    return count_in(scene->client, TCP_FIN_WAIT2, SCENE_SERVER_PORT) == 0 &&
           count_in(scene->server, TCP_LAST_ACK, SCENE_SERVER_PORT) == 0;
}

static void play_overflow(struct stage *stage)
{
    struct scene scene;
    struct pair pairs[CONNECTIONS];
    uint16_t ports[CONNECTIONS];
    size_t waiting, oldest = 0;
    int64_t lost;

    stage_hosts(stage, "client", "server");
    scene = scene_begin(stage);
    lost = scene_counter(scene.client, "TCPTimeWaitOverflow");
    host_set(scene.client, "net.ipv4.tcp_max_tw_buckets", "3");
    for (int i = 0; i < CONNECTIONS; i++) {
        pairs[i] = stage_pair(stage, scene.client, scene.listener, 0);
        ports[i] = port_of(pairs[i].client);
    }
    close_all(&scene, pairs, ports);
    if (!stage_until(stage, 5000, is_settled, &scene))
        stage_broken(stage, "the connections did not close");
    waiting = count_in(scene.client, TCP_TIME_WAIT, SCENE_SERVER_PORT);
    for (int i = 0; i < BUCKETS; i++)
        oldest += count_in(scene.client, TCP_TIME_WAIT, ports[i]);
    host_says(scene.client, "%zu in TIME-WAIT", waiting);
    lost = scene_counter(scene.client, "TCPTimeWaitOverflow") - lost;
    stage_expect(stage, waiting == BUCKETS, "of %d connections %d are in TIME-WAIT (%zu)",
                 CONNECTIONS, BUCKETS, waiting);
    stage_expect(stage, oldest == BUCKETS, "they are those that closed first (%zu of %d)", oldest,
                 BUCKETS);
    stage_expect(stage, lost == CONNECTIONS - BUCKETS,
                 "TCPTimeWaitOverflow counts the %d others (%" PRId64 ")", CONNECTIONS - BUCKETS,
                 lost);
}

const struct scenario scenario_buckets_overflow = {
    .name = "buckets-overflow",
    .group = "time-wait",
    .title = "Beyond tcp_max_tw_buckets the newest connections end without TIME-WAIT",
    .expected = "With room for 3 the first three of 8 closed connections are in TIME-WAIT, and "
                "TCPTimeWaitOverflow counts 5.",
    .lesson = "The limit does not make TIME-WAIT shorter, it takes it away from whoever closes "
              "last, and a FIN that comes late is answered with a reset. Lowering it to get ports "
              "back gives up the protection and saves some memory.",
    .rule = "inet_twsk_alloc(), tcp_time_wait()",
    .play = play_overflow,
};

/* --- whose it is ------------------------------------------------------------------------------ */

static struct tw_socket_row client_row(const struct scene *scene)
{
    struct tw_socket_row row;

    if (!row_of(scene->client, SCENE_SERVER_PORT, false, &row))
        stage_broken(scene->stage, "the client has no connection");
    return row;
}

static uint32_t inode_of(const struct scene *scene, int fd)
{
    struct stat status;

    if (fstat(fd, &status))
        stage_broken(scene->stage, "fstat(): %m");
    return (uint32_t)status.st_ino;
}

/* Both sides have sent their FIN, and the client still has the descriptor. */
static void shut_both(const struct scene *scene, struct pair *pair)
{
    host_says(scene->client, "shutdown(SHUT_WR)");
    if (shutdown(pair->client, SHUT_WR) ||
        !until_state(scene->stage, scene->client, SCENE_SERVER_PORT, false, TCP_FIN_WAIT2, 5000))
        stage_broken(scene->stage, "the client does not come to FIN-WAIT-2");
    host_says(scene->server, "close()");
    close_fd(&pair->server);
}

static void play_no_descriptor(struct stage *stage)
{
    struct scene scene = on_veth(stage);
    struct pair pair = scene_open(&scene);
    uint32_t inode = inode_of(&scene, pair.client);
    struct tw_socket_row row = client_row(&scene);
    char buf[4];

    stage_expect(stage, row.inode == inode, "established: inode %u, that of the descriptor (%u)",
                 row.inode, inode);
    shut_both(&scene, &pair);
    stage_expect(stage,
                 until_state(stage, scene.client, SCENE_SERVER_PORT, false, TCP_TIME_WAIT, 5000),
                 "the client is in TIME-WAIT, and its descriptor is open");
    row = client_row(&scene);
    stage_expect(stage, row.inode == 0, "in TIME-WAIT: inode %u", row.inode);
    stage_expect(stage, read_some(pair.client, buf, sizeof(buf)) == 0,
                 "the descriptor reads the end of file");
    host_says(scene.client, "close()");
    close_fd(&pair.client);
    stage_expect(stage, state_of(scene.client, SCENE_SERVER_PORT, false) == TCP_TIME_WAIT,
                 "close() of the last descriptor does not end TIME-WAIT");
}

const struct scenario scenario_time_wait_no_descriptor = {
    .name = "time-wait-no-descriptor",
    .group = "time-wait",
    .title = "TIME-WAIT belongs to no descriptor and so to no process",
    .expected = "In TIME-WAIT the connection has no inode, even while the program has its "
                "descriptor open.",
    .lesson = "The kernel replaces the socket by a small record that only knows the tuple, some "
              "numbers and a timer. So no tool can name a process for it, and killing one is of no "
              "use.",
    .rule = "tcp_time_wait(), inet_twsk_diag_fill()",
    .play = play_no_descriptor,
};

#define SOME_USER 1000

struct making {
    struct host *host;
    int fd;
};

static void make_socket(void *context)
{
    struct making *making = context;

    making->fd = host_socket(making->host, 0);
}

static void play_no_owner(struct stage *stage)
{
    struct scene scene = on_veth(stage);
    struct making making = {.host = scene.client};
    struct tw_endpoint server = host_at(scene.server, SCENE_SERVER_PORT);
    struct pair pair;
    struct tw_socket_row row;

    host_enter(scene.client);
    host_says(scene.client, "socket() of user %d", SOME_USER);
    as_user(SOME_USER, make_socket, &making);
    pair.client = making.fd;
    if (finish_connect(stage, pair.client, &server))
        stage_broken(stage, "connect() failed");
    pair.server = stage_accept(stage, scene.listener);
    row = client_row(&scene);
    stage_expect(stage, row.uid == SOME_USER, "established: it is user %u's", row.uid);
    scene_close(&scene, &pair, SCENE_SERVER_PORT, scene.client);
    row = client_row(&scene);
    stage_expect(stage, row.uid == 0 && row.inode == 0, "in TIME-WAIT: user %u, inode %u", row.uid,
                 row.inode);
}

const struct scenario scenario_time_wait_no_owner = {
    .name = "time-wait-no-owner",
    .group = "time-wait",
    .title = "TIME-WAIT of an ordinary user's connection is listed as root's",
    .expected = "The connection of user 1000 has uid 1000; its TIME-WAIT has uid 0.",
    .lesson = "The uid 0 of a TIME-WAIT says nothing: the kernel does not remember whose it was. "
              "Who reads it as root's looks for the wrong program.",
    .rule = "inet_twsk_diag_fill()",
    .needs = NEEDS_USERS,
    .play = play_no_owner,
};
