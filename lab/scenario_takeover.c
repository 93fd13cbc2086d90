/* Who may use a tuple again while TIME_WAIT is on it. */
#include <errno.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <string.h>

#include "tidewait/verdict.h"
#include "time_wait_scene.h"
#include "wire.h"

#define TIMESTAMPS "net.ipv4.tcp_timestamps"

/* Time enough for what would be wrong to show itself. */
#define CALM_MS 100

/* --- the client's own ------------------------------------------------------------------------- */

#define TIMES 50

/* Another connection with the same tuple, which leaves TIME_WAIT on it; 0 or errno of connect(). */
static int use_tuple(const struct scene *scene)
{
    struct pair pair;
    int code = scene_connect(scene, &pair.client);

    if (code)
        return code;
    pair.server = stage_accept(scene->stage, scene->listener);
    scene_close(scene, &pair, SCENE_SERVER_PORT, scene->client);
    return 0;
}

static void play_takeover_client(struct stage *stage)
{
    struct scene scene;
    int64_t taken_over;
    int times = 0, code = 0;

    stage_hosts(stage, "client", "server");
    host_set(stage_left(stage), "net.ipv4.tcp_tw_reuse", "0");
    scene = scene_begin(stage);
    taken_over = scene_counter(scene.client, "TWRecycled");
    stage_note(stage, "one tuple is used %d times; the first %d are not drawn", TIMES, TIMES - 2);
    while (times < TIMES && !code) {
        if (times == TIMES - 2)
            scene_draw(&scene);
        if (scene.drawn)
            host_says(scene.client, "bind(%d), connect()", SCENE_CLIENT_PORT);
        code = use_tuple(&scene);
        if (!code)
            times++;
    }
    taken_over = scene_counter(scene.client, "TWRecycled") - taken_over;
    stage_expect(stage, times == TIMES,
                 "bind(port) + SO_REUSEADDR + connect() worked %d of %d times (%s)", times, TIMES,
                 code ? strerror(code) : "no error");
    stage_expect(stage, taken_over == TIMES - 1,
                 "TWRecycled: %d times TIME-WAIT was taken over (%" PRId64 ")", TIMES - 1,
                 taken_over);
    stage_expect(stage, count_in(scene.client, TCP_TIME_WAIT, SCENE_SERVER_PORT) == 1,
                 "one TIME-WAIT is left of all (%zu)",
                 count_in(scene.client, TCP_TIME_WAIT, SCENE_SERVER_PORT));
}

const struct scenario scenario_takeover_client = {
    .name = "takeover-client",
    .group = "time-wait",
    .title = "A client may take over its own TIME-WAIT at once, if it chooses the port itself",
    .expected = "bind(port), SO_REUSEADDR and connect() use one tuple 50 times in a row, with "
                "tcp_tw_reuse=0.",
    .lesson = "TIME-WAIT does not lock a tuple for the side that has it: with timestamps old "
              "segments are known, and the new connection may begin. tcp_tw_reuse is only about "
              "ports that the kernel chooses.",
    .rule = "RFC 6191; tcp_twsk_unique()",
    .play = play_takeover_client,
};

static void play_takeover_refused(struct stage *stage)
{
    struct tw_endpoint server;
    struct scene scene;
    int code, fd;

    stage_hosts(stage, "client", "server");
    host_set(stage_left(stage), TIMESTAMPS, "0");
    scene = scene_begin(stage);
    scene_draw(&scene);
    if ((code = use_tuple(&scene)))
        stage_broken(stage, "the first connect(): %s", strerror(code));
    code = use_tuple(&scene);
    host_says(scene.client, "bind(%d), connect(): %s", SCENE_CLIENT_PORT, tw_errno_name(code));
    expect_errno(stage, "connect() over a TIME-WAIT without timestamps", code, EADDRNOTAVAIL);
    server = host_at(scene.server, SCENE_SERVER_PORT);
    fd = host_socket(scene.client, WITH_REUSEADDR);
    code = try_bind(fd, NULL, SCENE_CLIENT_PORT + 1);
    if (!code)
        code = finish_connect(stage, fd, &server);
    host_says(scene.client, "bind(%d), connect(): %s", SCENE_CLIENT_PORT + 1,
              code ? tw_errno_name(code) : "success");
    expect_errno(stage, "connect() from the next port", code, 0);
}

const struct scenario scenario_takeover_client_refused = {
    .name = "takeover-client-refused",
    .group = "time-wait",
    .title = "Without timestamps a client cannot use the tuple of its TIME-WAIT",
    .expected = "bind(port) succeeds, connect() fails with EADDRNOTAVAIL; another port works.",
    .lesson = "Without timestamps nothing tells the segments of two connections apart, so the "
              "tuple has to wait. It is one tuple and not the port: connections from it to other "
              "places work.",
    .rule = "tcp_twsk_unique(), __inet_check_established()",
    .play = play_takeover_refused,
};

/* --- the server's ----------------------------------------------------------------------------- */

static struct scene leave_server_waiting(struct stage *stage, const char *timestamps)
{
    struct scene scene;
    struct pair pair;

    stage_hosts_on_wire(stage, "client", "server");
    host_set(stage_left(stage), TIMESTAMPS, timestamps);
    scene = scene_begin(stage);
    scene_draw(&scene);
    pair = scene_open(&scene);
    scene_close(&scene, &pair, SCENE_SERVER_PORT, scene.server);
    return scene;
}

/* The same tuple again; the time that it took. */
static uint64_t connect_again(const struct scene *scene, struct pair *pair)
{
    uint64_t begin_ms = stage_now_ms(scene->stage);

    host_says(scene->client, "connect() from the same port");
    *pair = scene_open(scene);
    return stage_now_ms(scene->stage) - begin_ms;
}

static bool has_answer(const struct scene *scene, unsigned flags, uint32_t ack)
{
    struct segment answer;

    return wire_last(scene->client->wire, false, flags, &answer) && answer.ack == ack;
}

static struct segment last_syn(const struct scene *scene)
{
    struct segment syn;

    if (!wire_last(scene->client->wire, true, TH_SYN, &syn))
        stage_broken(scene->stage, "no SYN went to the server");
    return syn;
}

static void play_takeover_server(struct stage *stage)
{
    struct scene scene = leave_server_waiting(stage, "1");
    struct segment first = last_syn(&scene), second;
    struct pair pair;
    uint64_t ms = connect_again(&scene, &pair);

    second = last_syn(&scene);
    stage_expect(stage, has_answer(&scene, TH_SYN, second.seq + 1),
                 "the first SYN is answered with SYN,ACK: connected after %" PRIu64 " ms", ms);
    stage_expect(stage, (int32_t)(second.ts_value - first.ts_value) > 0,
                 "the timestamp of the new SYN is newer, by %d ms",
                 (int)(second.ts_value - first.ts_value));
    stage_expect(stage, count_in(scene.server, TCP_TIME_WAIT, SCENE_SERVER_PORT) == 0,
                 "the server's TIME-WAIT has made way");
}

const struct scenario scenario_takeover_server = {
    .name = "takeover-server",
    .group = "time-wait",
    .title = "The server has TIME-WAIT, and the client connects with the same tuple at once",
    .expected = "The first SYN is accepted, for its timestamp is newer; TIME-WAIT is gone.",
    .lesson = "TIME-WAIT on a server turns no client away, not even one that comes from the same "
              "port. A SYN with a newer timestamp or a higher number is a new connection.",
    .rule = "RFC 9293, 3.10.7.4; RFC 6191; tcp_timewait_state_process()",
    .needs = NEEDS_TUN,
    .play = play_takeover_server,
};

static void play_takeover_server_number(struct stage *stage)
{
    struct scene scene = leave_server_waiting(stage, "0");
    struct segment fin, syn;
    struct pair pair;
    uint64_t ms;

    if (!wire_last(scene.client->wire, true, TH_FIN, &fin))
        stage_broken(stage, "no FIN went to the server");
    ms = connect_again(&scene, &pair);
    syn = last_syn(&scene);
    stage_expect(stage, syn.ts_value == 0 && (int32_t)(syn.seq - fin.seq) > 1,
                 "without timestamps: the new SYN has a higher number than the old FIN, by %d",
                 (int)(syn.seq - fin.seq));
    stage_expect(stage, has_answer(&scene, TH_SYN, syn.seq + 1),
                 "the first SYN is answered with SYN,ACK: connected after %" PRIu64 " ms", ms);
    stage_expect(stage, count_in(scene.server, TCP_TIME_WAIT, SCENE_SERVER_PORT) == 0,
                 "the server's TIME-WAIT has made way");
}

const struct scenario scenario_takeover_server_number = {
    .name = "takeover-server-number",
    .group = "time-wait",
    .title = "The same without timestamps: a SYN with a higher number is accepted over TIME-WAIT",
    .expected = "The number of the new SYN lies beyond that of the old FIN, and it is accepted at "
                "once.",
    .lesson = "Initial numbers grow by 15.6 million a second for the same tuple, so that a new "
              "connection begins beyond the old one. Only after one that has sent faster than that "
              "does the SYN come with too low a number, and is refused at first.",
    .rule = "RFC 9293, 3.4.1; secure_tcp_seq(), tcp_timewait_state_process()",
    .needs = NEEDS_TUN,
    .play = play_takeover_server_number,
};

static bool holds_segment(void *context)
{
    return wire_held(context, 0) != NULL;
}

static void play_takeover_server_old(struct stage *stage)
{
    struct scene scene = leave_server_waiting(stage, "1");
    struct wire *wire = scene.client->wire;
    struct tw_endpoint server = host_at(scene.server, SCENE_SERVER_PORT);
    struct segment old_syn, answer = {0}, reset;
    int fd = host_socket(scene.client, WITH_REUSEADDR), code;

    wire_rule(wire, true, TH_SYN, 0, WIRE_HOLD);
    host_says(scene.client, "connect() from the same port");
    if ((code = try_bind(fd, NULL, SCENE_CLIENT_PORT)) || (code = try_connect(fd, &server)))
        stage_broken(stage, "connect(): %s", strerror(code));
    if (!stage_until(stage, 2000, holds_segment, wire))
        stage_broken(stage, "no SYN came to the wire");
    stage_note(stage, "the SYN goes on with a timestamp from 100 s ago");
    wire_held(wire, 0)->ts_value -= 100000;
    old_syn = *wire_held(wire, 0);
    wire_clear(wire);
    wire_release(wire, 1);
    stage_expect(stage,
                 until_state(stage, scene.server, SCENE_SERVER_PORT, true, TCP_ESTABLISHED, 10000),
                 "the client's next SYN is accepted");
    stage_expect(stage,
                 wire_last(wire, false, SEGMENT_PURE, &answer) && answer.ack != old_syn.seq + 1,
                 "TIME-WAIT answers the SYN that is too old with an ACK of the earlier connection");
    stage_expect(stage, wire_last(wire, true, TH_RST, &reset) && reset.seq == answer.ack,
                 "the client answers that with a reset, which ends TIME-WAIT");
    stage_expect(stage, last_syn(&scene).seq == old_syn.seq,
                 "the next SYN belongs to the same connect()");
}

const struct scenario scenario_takeover_server_old = {
    .name = "takeover-server-old",
    .group = "time-wait",
    .title = "A SYN with an older timestamp is refused by TIME-WAIT, and the next one succeeds",
    .expected = "TIME-WAIT answers with an ACK, the client resets what that belongs to and sends "
                "its SYN again.",
    .lesson = "Clients behind one NAT address have clocks that differ, and so may find TIME-WAIT "
              "with a newer timestamp. connect() succeeds all the same: the reset clears the way "
              "and Linux repeats the SYN after two ticks, not after a second.",
    .rule = "RFC 9293, 3.10.7.3 and .4; tcp_rcv_synsent_state_process()",
    .needs = NEEDS_TUN,
    .play = play_takeover_server_old,
};

/* --- ports that the kernel chooses ------------------------------------------------------------ */

#define REUSE       "net.ipv4.tcp_tw_reuse"
#define REUSE_DELAY "net.ipv4.tcp_tw_reuse_delay"

static bool range_is_full(void *context)
{
    const struct scene *scene = context;

    return count_in(scene->client, TCP_TIME_WAIT, SCENE_SERVER_PORT) == 2;
}

/* A client whose kernel has two ports to choose from, and TIME_WAIT on both. */
static struct scene fill_range(struct stage *stage)
{
    struct scene scene = scene_begin(stage);
    struct pair pairs[2];

    host_set(scene.client, "net.ipv4.ip_local_port_range", "40000 40001");
    for (int i = 0; i < 2; i++) {
        pairs[i] = stage_pair(stage, scene.client, scene.listener, 0);
        host_says(scene.client, "connect(): port %u", port_of(pairs[i].client));
    }
    host_says(scene.client, "close() of both");
    for (int i = 0; i < 2; i++)
        close_fd(&pairs[i].client);
    stage_wait(stage, CALM_MS);
    host_says(scene.server, "close() of both");
    for (int i = 0; i < 2; i++)
        close_fd(&pairs[i].server);
    stage_expect(stage, stage_until(stage, 5000, range_is_full, &scene),
                 "both ports of the range are in TIME-WAIT");
    return scene;
}

/* A connect() with a port that the kernel chooses. */
static int connect_somehow(const struct scene *scene, uint16_t server_port)
{
    struct tw_endpoint server = host_at(scene->server, server_port);
    int fd = host_socket(scene->client, 0);
    int code = finish_connect(scene->stage, fd, &server);

    if (code)
        close_fd(&fd);
    return code;
}

static bool connects(void *context)
{
    return connect_somehow(context, SCENE_SERVER_PORT) == 0;
}

static void expect_reuse(const struct scene *scene, const char *reuse, const char *delay,
                         int expected)
{
    char what[64];
    int code;

    host_set(scene->client, REUSE, reuse);
    host_set(scene->client, REUSE_DELAY, delay);
    stage_wait(scene->stage, CALM_MS);
    code = connect_somehow(scene, SCENE_SERVER_PORT);
    host_says(scene->client, "reuse %s, delay %s ms, connect(): %s", reuse, delay,
              code ? tw_errno_name(code) : "success");
    snprintf(what, sizeof(what), "tcp_tw_reuse=%s, tcp_tw_reuse_delay=%s", reuse, delay);
    expect_errno(scene->stage, what, code, expected);
}

static void play_tw_reuse_delay(struct stage *stage)
{
    struct scene scene;
    bool connected;
    uint64_t ms;

    stage_hosts(stage, "client", "server");
    scene = fill_range(stage);
    expect_reuse(&scene, "0", "1", EADDRNOTAVAIL);
    expect_reuse(&scene, "1", "60000", EADDRNOTAVAIL);
    expect_reuse(&scene, "2", "1", EADDRNOTAVAIL); /* on the loopback alone */
    expect_reuse(&scene, "1", "1", 0);
    host_set(scene.client, REUSE_DELAY, "3000");
    stage_note(stage, "one port is left; the client tries it again and again with 3000 ms");
    connected = stage_until(stage, 15000, connects, &scene);
    ms = stage_now_ms(stage);
    host_says(scene.client, "connect(): %s", connected ? "success" : "never");
    stage_expect(stage, connected && ms >= 2900,
                 "with 3000 the other port can be had after 3 s, not before (%" PRIu64 " ms)", ms);
    expect_errno(stage, "both ports are in use now", connect_somehow(&scene, SCENE_SERVER_PORT),
                 EADDRNOTAVAIL);
}

const struct scenario scenario_tw_reuse_delay = {
    .name = "tw-reuse-delay",
    .group = "time-wait",
    .title = "tcp_tw_reuse lets the kernel choose ports in TIME-WAIT, a second after the close",
    .expected = "With a range of two ports, both in TIME-WAIT, connect() fails unless "
                "tcp_tw_reuse=1 and tcp_tw_reuse_delay is over.",
    .lesson = "tcp_tw_reuse=1 shortens the wait of a port from 60 s to tcp_tw_reuse_delay, a "
              "second by default, for clients alone and with timestamps. The default 2 does so on "
              "the loopback only.",
    .rule = "tcp_twsk_unique(), __inet_hash_connect()",
    .play = play_tw_reuse_delay,
};

static void play_tw_reuse_no_timestamps(struct stage *stage)
{
    struct scene scene;

    stage_hosts(stage, "client", "server");
    host_set(stage_right(stage), TIMESTAMPS, "0");
    host_listen(stage_right(stage), SCENE_SERVER_PORT + 1, 0);
    scene = fill_range(stage);
    expect_reuse(&scene, "1", "1", EADDRNOTAVAIL);
    expect_errno(stage, "connect() to another port of the server",
                 connect_somehow(&scene, SCENE_SERVER_PORT + 1), 0);
}

const struct scenario scenario_tw_reuse_no_timestamps = {
    .name = "tw-reuse-no-timestamps",
    .group = "time-wait",
    .title = "tcp_tw_reuse does nothing when the server has turned timestamps off",
    .expected = "tcp_tw_reuse=1 and no delay: connect() fails all the same, and only towards the "
                "destination of the TIME-WAITs.",
    .lesson =
        "Reuse needs timestamps at both ends, since they are what tells old segments from new "
        "ones. A client cannot see from its own settings that they are missing.",
    .rule = "tcp_twsk_unique(); RFC 7323, section 3.2",
    .play = play_tw_reuse_no_timestamps,
};
