/* What segments that come late, twice or not at all do to TIME_WAIT: each needs a wire. */
#include <inttypes.h>
#include <netinet/tcp.h>
#include <string.h>

#include "time_wait_scene.h"
#include "wire.h"

#define OLD_DATA "old old"
#define NEW_DATA "new new" /* as long as the old */

/* Time enough for what would be wrong to show itself. */
#define CALM_MS 100

/* So long that a restarted timer cannot be mistaken for one that went on. */
#define AGE_MS 2000

static struct scene on_wire(struct stage *stage)
{
    struct scene scene;

    stage_hosts_on_wire(stage, "client", "server");
    scene = scene_begin(stage);
    scene_draw(&scene);
    return scene;
}

static struct segment last(const struct scene *scene, bool to_right, unsigned flags)
{
    struct segment segment;

    if (!wire_last(scene->client->wire, to_right, flags, &segment))
        stage_broken(scene->stage, "no such segment went to the %s",
                     to_right ? "server" : "client");
    return segment;
}

/* Both sides speak once; a copy of what the server says stays on the wire. The client closes first.
 * Returns rcv_nxt of its TIME_WAIT: what its last ACK acknowledged. */
static uint32_t leave_time_wait(const struct scene *scene)
{
    struct pair pair = scene_open(scene);
    char buf[64];

    wire_rule(scene->client->wire, false, SEGMENT_DATA, 1, WIRE_COPY);
    host_says(scene->server, "send(\"%s\")", OLD_DATA);
    send_text(pair.server, OLD_DATA);
    stage_wait(scene->stage, CALM_MS);
    if (read_some(pair.client, buf, sizeof(buf)) <= 0)
        stage_broken(scene->stage, "the client has received nothing");
    scene_close(scene, &pair, SCENE_SERVER_PORT, scene->client);
    return last(scene, true, SEGMENT_PURE).ack;
}

static bool in_time_wait(const struct scene *scene)
{
    return state_of(scene->client, SCENE_SERVER_PORT, false) == TCP_TIME_WAIT;
}

/* --- the last ACK ----------------------------------------------------------------------------- */

static void play_last_ack_lost(struct stage *stage)
{
    struct scene scene = on_wire(stage);
    struct pair pair = scene_open(&scene);
    int64_t sent_again = scene_counter(scene.server, "RetransSegs");
    bool waits;

    host_says(scene.client, "close()");
    close_fd(&pair.client);
    if (!until_state(stage, scene.client, SCENE_SERVER_PORT, false, TCP_FIN_WAIT2, 5000))
        stage_broken(stage, "the client's FIN was not acknowledged");
    wire_rule(scene.client->wire, true, SEGMENT_PURE, 0, WIRE_DROP);
    host_says(scene.server, "close()");
    close_fd(&pair.server);
    waits = until_state(stage, scene.server, SCENE_SERVER_PORT, true, TCP_LAST_ACK, 2000);
    stage_expect(
        stage,
        waits && until_state(stage, scene.client, SCENE_SERVER_PORT, false, TCP_TIME_WAIT, 2000),
        "without the last ACK the server waits in LAST-ACK, the client is in TIME-WAIT");
    stage_wait(stage, CALM_MS);
    stage_expect(stage, state_of(scene.server, SCENE_SERVER_PORT, true) == TCP_LAST_ACK,
                 "%d ms later the server is still in LAST-ACK", CALM_MS);
    stage_note(stage, "the wire loses nothing from now on");
    wire_clear(scene.client->wire);
    stage_expect(stage, until_state(stage, scene.server, SCENE_SERVER_PORT, true, -1, 20000),
                 "TIME-WAIT answers the next FIN, and the server ends");
    sent_again = scene_counter(scene.server, "RetransSegs") - sent_again;
    stage_expect(stage, sent_again >= 1, "the server has sent its FIN again (%" PRId64 " times)",
                 sent_again);
    stage_expect(stage, in_time_wait(&scene), "the client is in TIME-WAIT for another %u ms",
                 scene_expires_ms(&scene, scene.client, SCENE_SERVER_PORT));
}

const struct scenario scenario_last_ack_lost = {
    .name = "last-ack-lost",
    .group = "time-wait",
    .title = "The last ACK is lost: TIME-WAIT is there to send it again",
    .expected = "The server stays in LAST-ACK and sends its FIN again; the client's TIME-WAIT "
                "answers it, and the server ends in order.",
    .lesson = "Nobody acknowledges the last ACK, so the side that sent it has to stay for a while. "
              "Without TIME-WAIT the FIN would be answered with a reset, as if the connection had "
              "broken.",
    .rule = "RFC 9293, 3.6; tcp_timewait_state_process()",
    .needs = NEEDS_TUN,
    .play = play_last_ack_lost,
};

/* --- the timer -------------------------------------------------------------------------------- */

static void expect_restart(const struct scene *scene, uint32_t before, const char *what)
{
    uint32_t after = scene_expires_ms(scene, scene->client, SCENE_SERVER_PORT);

    stage_expect(scene->stage, after > before + AGE_MS / 2 && after <= 60000,
                 "%s restarts the timer: %u ms were left, now it is %u", what, before, after);
}

static void play_stray_ack(struct stage *stage)
{
    struct scene scene = on_wire(stage);
    uint32_t rcv_nxt = leave_time_wait(&scene), before, first;
    struct segment like = last(&scene, false, TH_FIN), stray;

    first = scene_expires_ms(&scene, scene.client, SCENE_SERVER_PORT);
    stage_wait(stage, AGE_MS);
    before = scene_expires_ms(&scene, scene.client, SCENE_SERVER_PORT);
    stage_expect(stage, before < first && before <= 60000 - AGE_MS,
                 "left alone the timer runs down: %u ms at first, %u ms after %d s", first, before,
                 AGE_MS / 1000);
    stage_note(stage, "a bare ACK comes, with the next number that the client expects");
    stray = segment_make(&like, TH_ACK, rcv_nxt, like.ack, NULL);
    wire_inject(scene.client->wire, &stray);
    stage_wait(stage, CALM_MS);
    expect_restart(&scene, before, "a stray ACK");
    stage_wait(stage, AGE_MS);
    before = scene_expires_ms(&scene, scene.client, SCENE_SERVER_PORT);
    stage_note(stage, "the copy of the data comes; the server's reset is lost");
    wire_rule(scene.client->wire, false, TH_RST, 0, WIRE_DROP);
    wire_release(scene.client->wire, 1);
    stage_wait(stage, CALM_MS);
    expect_restart(&scene, before, "old data");
    stage_expect(stage, last(&scene, true, SEGMENT_PURE).ack == rcv_nxt,
                 "TIME-WAIT answered with an ACK of what it had received");
}

const struct scenario scenario_stray_ack_restarts = {
    .name = "stray-ack-restarts",
    .group = "time-wait",
    .title = "A stray segment makes TIME-WAIT begin again",
    .expected = "Both a bare ACK and a late copy of old data set the timer back to 60 s.",
    .lesson = "The 60 seconds count from the last segment that came, not from the close. A peer "
              "that keeps sending can hold an address for as long as it likes.",
    .rule = "RFC 9293, 3.10.7.4; tcp_timewait_state_process(), inet_twsk_reschedule()",
    .needs = NEEDS_TUN,
    .play = play_stray_ack,
};

/* --- assassination ---------------------------------------------------------------------------- */

/* A reset beside the number, and then the real thing: old data, whose answer the server's end, long
 * gone, answers with a reset at exactly rcv_nxt. */
static void attack(const struct scene *scene)
{
    uint32_t rcv_nxt = leave_time_wait(scene);
    struct segment like = last(scene, false, TH_FIN), reset;

    like.ts_value = 0; /* resets have no timestamps */
    reset = segment_make(&like, TH_RST, rcv_nxt + 1, 0, NULL);
    stage_note(scene->stage, "a reset comes, one number beside the expected one");
    wire_inject(scene->client->wire, &reset);
    stage_wait(scene->stage, CALM_MS);
    stage_expect(scene->stage, in_time_wait(scene),
                 "a reset at rcv_nxt + 1 does nothing to TIME-WAIT");
    stage_note(scene->stage, "the copy of the data comes");
    wire_release(scene->client->wire, 1);
    stage_wait(scene->stage, CALM_MS);
    reset = last(scene, false, TH_RST);
    stage_expect(scene->stage, reset.seq == rcv_nxt,
                 "the server, who knows nothing, resets at rcv_nxt exactly (off by %d)",
                 (int)(reset.seq - rcv_nxt));
}

static void play_assassination(struct stage *stage)
{
    struct scene scene = on_wire(stage);

    host_set(scene.client, "net.ipv4.tcp_rfc1337", "0");
    attack(&scene);
    stage_expect(stage, until_state(stage, scene.client, SCENE_SERVER_PORT, false, -1, 2000),
                 "tcp_rfc1337=0: that reset ends TIME-WAIT at once");
}

const struct scenario scenario_assassination = {
    .name = "assassination",
    .group = "time-wait",
    .title = "One old segment is enough to end TIME-WAIT before its time",
    .expected = "TIME-WAIT answers old data with an ACK, the server answers that with a reset, and "
                "the reset ends TIME-WAIT.",
    .lesson = "Nobody attacks here: TIME-WAIT is ended by the very duplicates it is meant to wait "
              "for. This is the default of Linux; tcp_rfc1337=1 forbids it.",
    .rule = "RFC 1337; tcp_timewait_state_process()",
    .needs = NEEDS_TUN,
    .play = play_assassination,
};

static void play_assassination_refused(struct stage *stage)
{
    struct scene scene = on_wire(stage);

    host_set(scene.client, "net.ipv4.tcp_rfc1337", "1");
    attack(&scene);
    stage_wait(stage, CALM_MS);
    stage_expect(stage, in_time_wait(&scene), "tcp_rfc1337=1: TIME-WAIT ignores that reset");
    stage_expect(stage,
                 !in_time_wait(&scene) ||
                     scene_expires_ms(&scene, scene.client, SCENE_SERVER_PORT) <= 60000 - CALM_MS,
                 "and it goes on to run down");
}

const struct scenario scenario_assassination_refused = {
    .name = "assassination-refused",
    .group = "time-wait",
    .title = "With tcp_rfc1337=1 a reset does not end TIME-WAIT",
    .expected = "The same segments as in 'assassination', but TIME-WAIT stays.",
    .lesson = "tcp_rfc1337=1 makes TIME-WAIT ignore resets, as RFC 1337 proposes. "
              "The price is that a reset cannot free an address either.",
    .rule = "RFC 1337, fix F1; tcp_timewait_state_process()",
    .needs = NEEDS_TUN,
    .play = play_assassination_refused,
};

/* --- a wandering duplicate -------------------------------------------------------------------- */

/* The connection before: its data arrived, and a copy of it, which is returned, still wanders
 * about. The reset leaves no TIME_WAIT to guard the tuple. */
static struct segment lead_former_life(const struct scene *scene)
{
    struct pair pair = scene_open(scene);
    struct segment wanderer;
    char buf[64];

    host_says(scene->client, "send(\"%s\")", OLD_DATA);
    send_text(pair.client, OLD_DATA);
    stage_wait(scene->stage, CALM_MS);
    if (read_some(pair.server, buf, sizeof(buf)) <= 0)
        stage_broken(scene->stage, "the server has received nothing");
    wanderer = last(scene, true, SEGMENT_DATA);
    host_says(scene->client, "close() with SO_LINGER 0");
    close_with_reset(&pair.client);
    stage_wait(scene->stage, CALM_MS);
    close_fd(&pair.server);
    return wanderer;
}

/* What the server has read after each of the steps of the new connection. */
struct readings {
    char as_sent[64], seq_fits[64], both_fit[64], in_the_end[64];
    uint32_t distance; /* from the number of the old data to that of the new */
    int64_t dropped;   /* segments refused for their timestamp */
};

/* What has come to the server when all is calm. */
static void read_all(const struct scene *scene, int server, char *buf, size_t size)
{
    int got;

    stage_wait(scene->stage, CALM_MS);
    got = read_some(server, buf, size - 1);
    buf[got > 0 ? got : 0] = '\0';
}

static void receive(const struct scene *scene, int server, struct segment segment, char *buf,
                    size_t size)
{
    wire_inject(scene->client->wire, &segment);
    read_all(scene, server, buf, size);
}

/* The client's data of the new connection, which is late. */
static struct segment send_late(const struct scene *scene, int client)
{
    struct wire *wire = scene->client->wire;

    wire_rule(wire, true, SEGMENT_DATA, 0, WIRE_HOLD);
    host_says(scene->client, "send(\"%s\")", NEW_DATA);
    send_text(client, NEW_DATA);
    stage_wait(scene->stage, CALM_MS);
    if (!wire_held(wire, 0))
        stage_broken(scene->stage, "the new data did not come to the wire");
    return *wire_held(wire, 0);
}

/* A new connection of the same tuple. The duplicate overtakes its data: as it was sent; with the
 * number that it would have, had the former connection sent enough; and with the acknowledgment
 * fitting as well. Then the real data comes. */
static struct readings live_again(const struct scene *scene, struct segment wanderer)
{
    struct pair pair = scene_open(scene);
    struct segment real = send_late(scene, pair.client);
    struct readings read = {.distance = real.seq - wanderer.seq};

    read.dropped = scene_counter(scene->server, "PAWSEstab");
    stage_note(scene->stage, "the old data comes as it was sent");
    receive(scene, pair.server, wanderer, read.as_sent, sizeof(read.as_sent));
    wanderer.seq = real.seq;
    stage_note(scene->stage, "the old data comes, with a number that happens to fit");
    receive(scene, pair.server, wanderer, read.seq_fits, sizeof(read.seq_fits));
    wanderer.ack = real.ack;
    stage_note(scene->stage, "the old data comes, with both numbers fitting");
    receive(scene, pair.server, wanderer, read.both_fit, sizeof(read.both_fit));
    read.dropped = scene_counter(scene->server, "PAWSEstab") - read.dropped;
    stage_note(scene->stage, "the new data comes");
    wire_clear(scene->client->wire);
    wire_release(scene->client->wire, 0);
    read_all(scene, pair.server, read.in_the_end, sizeof(read.in_the_end));
    host_says(scene->server, "read(): \"%s%s%s%s\"", read.as_sent, read.seq_fits, read.both_fit,
              read.in_the_end);
    return read;
}

static void set_timestamps(const struct scene *scene, const char *value)
{
    host_set(scene->client, "net.ipv4.tcp_timestamps", value);
    host_set(scene->server, "net.ipv4.tcp_timestamps", value);
}

static void play_duplicate_refused(struct stage *stage)
{
    struct scene scene = on_wire(stage);
    struct readings read;

    set_timestamps(&scene, "1");
    read = live_again(&scene, lead_former_life(&scene));
    stage_expect(stage, !read.as_sent[0] && !read.seq_fits[0] && !read.both_fit[0],
                 "none of the three duplicates reaches the server's program (\"%s%s%s\")",
                 read.as_sent, read.seq_fits, read.both_fit);
    stage_expect(stage, read.dropped == 3,
                 "PAWSEstab: 3 segments dropped for their old timestamp (%" PRId64 ")",
                 read.dropped);
    stage_expect(stage, strcmp(read.in_the_end, NEW_DATA) == 0,
                 "the server reads what the client has sent: \"%s\"", read.in_the_end);
}

const struct scenario scenario_wandering_duplicate = {
    .name = "wandering-duplicate",
    .group = "time-wait",
    .title = "A segment of an earlier connection comes into a new one: timestamps keep it out",
    .expected = "The server drops the old data for its timestamp, whatever its numbers are, and "
                "reads the new data.",
    .lesson = "With timestamps each segment tells when it was sent, so that an old one is known "
              "whatever its numbers. That is why Linux may reuse a tuple in TIME-WAIT when "
              "timestamps are on, and does not when they are off.",
    .rule = "RFC 7323, section 5 (PAWS); tcp_paws_discard()",
    .needs = NEEDS_TUN,
    .play = play_duplicate_refused,
};

static void play_duplicate_accepted(struct stage *stage)
{
    struct scene scene = on_wire(stage);
    struct readings read;

    set_timestamps(&scene, "0");
    read = live_again(&scene, lead_former_life(&scene));
    stage_expect(stage, !read.as_sent[0] && read.distance > 65535 && read.distance < 1u << 31,
                 "as it was sent it does not fit: new numbers begin %" PRIu32 " later",
                 read.distance);
    stage_expect(stage, !read.seq_fits[0],
                 "with a fitting number it is refused for what it acknowledges (read \"%s\")",
                 read.seq_fits);
    stage_expect(stage, strcmp(read.both_fit, OLD_DATA) == 0,
                 "with both fitting the server reads the old data: \"%s\"", read.both_fit);
    stage_expect(stage, !read.in_the_end[0],
                 "the new data is taken for a repetition, and nobody notices (read \"%s\")",
                 read.in_the_end);
}

const struct scenario scenario_wandering_duplicate_accepted = {
    .name = "wandering-duplicate-accepted",
    .group = "time-wait",
    .title = "Without timestamps and TIME-WAIT old data can get into a new connection",
    .expected = "Two things refuse the duplicate: its number and what it acknowledges. When both "
                "fit, the server reads old data in place of new.",
    .lesson = "This is what TIME-WAIT is for: a tuple used again while segments of its former life "
              "are under way. It takes both numbers to fit, which needs a connection that sends "
              "faster than the initial numbers grow (15.6 MB/s), or much bad luck.",
    .rule = "RFC 9293, 3.4.1; RFC 5961, section 5; tcp_ack(), tcp_data_queue()",
    .needs = NEEDS_TUN,
    .play = play_duplicate_accepted,
};
