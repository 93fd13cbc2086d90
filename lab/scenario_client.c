/* A client that uses up its ports, and what cures it. */
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>

#include "rush.h"
#include "tidewait/clock.h"
#include "tidewait/ledger.h"
#include "tidewait/limits.h"
#include "tidewait/socket.h"
#include "tidewait/verdict.h"

#define SERVICE     80
#define SMALL_RANGE 2000
#define SMALL_RUSH  5000
#define FIRST_PORT  40000

/* Of the client with default settings on veth. */
#define PATIENCE_MS 30000
#define PARTS       12

static const char *outcome(int code)
{
    return code ? tw_errno_name(code) : "success";
}

/* The small range for the cures: the same in a thirtieth of the time. */
static struct rush open_small(struct stage *stage)
{
    struct rush rush;

    stage_hosts(stage, "client", "server");
    rush = rush_to(stage, SERVICE);
    host_set_range(rush.client, FIRST_PORT, SMALL_RANGE);
    stage_note(stage, "the kernel may choose from %u ports", host_range(rush.client));
    return rush;
}

static void say_score(const struct rush *rush, unsigned made, int code)
{
    if (code)
        host_says(rush->client, "connection %u: %s", made + 1, outcome(code));
    else
        host_says(rush->client, "%u connections made", made);
}

static void say_waits(struct host *host)
{
    host_says(host, "%zu in TIME-WAIT", count_in(host, TCP_TIME_WAIT, SERVICE));
}

/* --- the client with default settings --------------------------------------------------------- */

/* A part of the rush, and what one connection took in it. */
static unsigned rush_and_say(struct rush *rush, unsigned before, unsigned most, int *code)
{
    unsigned made = rush_many(rush, most, code);

    if (made)
        host_says(rush->client, "up to connection %u: %llu us each", before + made,
                  (unsigned long long)(rush->mean_ns / TW_NS_PER_US));
    return made;
}

static struct rush open_default(struct stage *stage)
{
    struct rush rush = rush_to(stage, SERVICE);

    /* The kernel's own default for these, whatever this system was set to. The number of TIME_WAITs
     * that it allows follows the memory; with little of it they would be dropped. */
    host_set(rush.client, "net.ipv4.ip_local_port_range", "32768 60999");
    host_set(rush.client, "net.ipv4.tcp_tw_reuse", "2");
    host_set(rush.client, "net.ipv4.tcp_max_tw_buckets", "131072");
    stage_note(stage, "default settings: ip_local_port_range 32768-60999, tcp_tw_reuse 2");
    return rush;
}

/* A connection from every port that has no TIME_WAIT yet, chosen by us, which is quick. */
static void fill_range(struct rush *rush)
{
    struct tw_limits limits;

    tw_limits_read(&limits);
    for (unsigned port = limits.port_first; port <= limits.port_last; port++) {
        int fd = host_socket(rush->client, 0), code = try_bind(fd, NULL, (uint16_t)port);

        if (code == EADDRINUSE) {
            close_fd(&fd);
            continue;
        }
        code = code ? code : rush_connect(rush, fd);
        if (code)
            stage_broken(rush->client->stage, "port %u: %s", port, outcome(code));
    }
    host_says(rush->client, "the ports that are left by bind(), to save time");
}

/* The second half, in parts, until it is refused; returns with which errno, or 0. The first
 * TIME_WAITs end after 60 s; where so many slow connections take longer, the range would never be
 * full. */
static int rush_to_the_end(struct rush *rush, unsigned made, unsigned range)
{
    int code = 0;

    while (!code && made <= range && stage_now_ms(rush->client->stage) < PATIENCE_MS)
        made += rush_and_say(rush, made, range / PARTS + 1, &code);
    if (!code && made <= range)
        fill_range(rush);
    return code ? code : rush_connect(rush, host_socket(rush->client, 0));
}

static void play_veth(struct stage *stage)
{
    unsigned range, half, made;
    uint64_t quick_ns;
    struct rush rush;
    size_t waits;
    int code;

    stage_hosts(stage, "client", "server");
    rush = open_default(stage);
    range = host_range(rush.client);
    half = range / 2;
    made = rush_and_say(&rush, 0, half, &code);
    stage_expect(stage, made == half, "the first half of the ports carried %u of %u", made, half);
    quick_ns = rush.mean_ns;
    if (!code)
        code = rush_to_the_end(&rush, made, range);
    host_says(rush.client, "one more connection: %s", outcome(code));
    stage_expect(stage, rush.mean_ns >= 3 * quick_ns,
                 "in the second half one takes at least 3 times as long: %llu us, not %llu us",
                 (unsigned long long)(rush.mean_ns / TW_NS_PER_US),
                 (unsigned long long)(quick_ns / TW_NS_PER_US));
    stage_wait(stage, 50); /* the last ACK may still be under way */
    waits = count_in(rush.client, TCP_TIME_WAIT, SERVICE);
    say_waits(rush.client);
    expect_errno(stage, "connect() in the end", code, EADDRNOTAVAIL);
    stage_expect(stage, waits == range, "each of the %u ports has a TIME-WAIT: %zu", range, waits);
    code = rush_connect(&rush, host_socket(rush.client, WITH_REUSEADDR));
    host_says(rush.client, "once more with SO_REUSEADDR: %s", outcome(code));
    expect_errno(stage, "SO_REUSEADDR without bind()", code, EADDRNOTAVAIL);
}

static void play_loopback(struct stage *stage)
{
    enum { RUSH = 35000 };
    int64_t recycled;
    unsigned range, half, made;
    struct rush rush;
    int code;

    stage_loopback(stage, "host");
    rush = open_default(stage);
    range = host_range(rush.client);
    half = range / 2;
    made = rush_and_say(&rush, 0, half, &code);
    for (unsigned part = half / 2; !code && made < RUSH;
         part = RUSH - made < part ? RUSH - made : part)
        made += rush_and_say(&rush, made, part, &code);
    say_score(&rush, made, code);
    say_waits(rush.client);
    recycled = host_counter(rush.client, "TWRecycled");
    host_says(rush.client, "%lld TIME-WAITs were taken over", (long long)recycled);
    expect_errno(stage, "connect() in the end", code, 0);
    stage_expect(stage, made > range, "more connections than ports: %u on %u", made, range);
    stage_expect(stage, recycled >= (int64_t)(made - range),
                 "those beyond took over a TIME-WAIT older than a second: TWRecycled %lld",
                 (long long)recycled);
}

const struct scenario scenario_client_25000_veth = {
    .name = "client-25000-veth",
    .group = "exhaustion",
    .title = "A client that closes first dies after 28,232 connections",
    .expected =
        "Each connection leaves a TIME-WAIT on a port of the client. When all 28,232 ports of "
        "the default range have one, connect() fails with EADDRNOTAVAIL; from the half on it "
        "is slow.",
    .lesson =
        "28,232 ports and 60 s of TIME-WAIT make 470 connections a second to one destination, "
        "whatever the machine can do. The error is EADDRNOTAVAIL (99), and SO_REUSEADDR does not "
        "help a client whose port the kernel chooses.",
    .rule = "__inet_hash_connect(), RFC 9293, 3.6.1",
    .play = play_veth,
};

const struct scenario scenario_client_25000_loopback = {
    .name = "client-25000-loopback",
    .group = "exhaustion",
    .title = "On the loopback the same client lives: tcp_tw_reuse is 2",
    .expected =
        "35,000 connections on 28,232 ports all succeed: connect() takes over TIME-WAITs that "
        "are older than a second.",
    .lesson =
        "With its default of 2 tcp_tw_reuse works on the loopback and nowhere else. A test on one "
        "machine therefore does not show what happens between two.",
    .rule = "tcp_twsk_unique()",
    .play = play_loopback,
};

/* --- five cures ------------------------------------------------------------------------------- */

static void play_server_closes(struct stage *stage)
{
    struct rush rush = open_small(stage);
    unsigned range = host_range(rush.client), made;
    size_t here, there;
    int code;

    host_says(stage_right(stage), "closes each connection first");
    rush.server_first = true;
    made = rush_many(&rush, SMALL_RUSH, &code);
    say_score(&rush, made, code);
    say_waits(rush.client);
    say_waits(stage_right(stage));
    here = count_in(rush.client, TCP_TIME_WAIT, SERVICE);
    there = count_in(stage_right(stage), TCP_TIME_WAIT, SERVICE);
    stage_expect(stage, !code && made == SMALL_RUSH, "%u of %u connections on %u ports", made,
                 SMALL_RUSH, range);
    stage_expect(stage, here == 0, "the client keeps no TIME-WAIT: %zu", here);
    stage_expect(stage, there > 0 && there <= range,
                 "the server keeps them, at most one a port, and lets new SYNs in: %zu", there);
}

/* Request and reply, so often. */
static unsigned ask_many(struct stage *stage, struct pair pair, unsigned most)
{
    char buf[16];
    unsigned made;

    for (made = 0; made < most; made++) {
        send_text(pair.client, "request");
        if (!wait_readable(stage, pair.server) || read_some(pair.server, buf, sizeof(buf)) <= 0)
            break;
        send_text(pair.server, "reply");
        if (!wait_readable(stage, pair.client) || read_some(pair.client, buf, sizeof(buf)) <= 0)
            break;
    }
    return made;
}

static void play_keep_alive(struct stage *stage)
{
    struct rush rush = open_small(stage);
    struct pair pair = stage_pair(stage, rush.client, rush.listener, 0);
    unsigned made = ask_many(stage, pair, SMALL_RUSH);
    size_t waits;

    host_says(rush.client, "%u requests and replies from port %u", made, port_of(pair.client));
    close_fd(&pair.client);
    wait_readable(stage, pair.server);
    close_fd(&pair.server);
    until_state(stage, rush.client, SERVICE, false, TCP_TIME_WAIT, 1000);
    say_waits(rush.client);
    waits = count_in(rush.client, TCP_TIME_WAIT, SERVICE);
    stage_expect(stage, made == SMALL_RUSH, "%u of %u requests were answered", made, SMALL_RUSH);
    stage_expect(stage, waits == 1, "all of them cost one port: %zu in TIME-WAIT", waits);
}

static void play_more_addresses(struct stage *stage)
{
    static const char *const addresses[] = {"10.77.0.1", "10.77.1.1", "10.77.1.2"};
    enum { ADDRESSES = sizeof(addresses) / sizeof(addresses[0]) };
    struct rush rush = open_small(stage);
    unsigned range = host_range(rush.client), all = 0;

    for (unsigned i = 0; i < ADDRESSES; i++) {
        unsigned made = 0;
        int code = 0;

        if (i > 0)
            host_add_address(rush.client, addresses[i]);
        while (!code && made <= range) {
            int fd = host_socket(rush.client, WITH_NO_PORT);

            if (try_bind(fd, addresses[i], 0))
                stage_broken(stage, "bind() to %s failed", addresses[i]);
            code = rush_connect(&rush, fd);
            made += !code;
        }
        host_says(rush.client, "from %s: %u, then %s", addresses[i], made, outcome(code));
        stage_expect(stage, made == range && code == EADDRNOTAVAIL,
                     "%s has %u connections of its own, then %s", addresses[i], made,
                     outcome(code));
        all += made;
    }
    stage_expect(stage, all == ADDRESSES * range, "%u connections on %u ports", all, range);
}

static void play_tw_reuse(struct stage *stage)
{
    struct rush rush = open_small(stage);
    unsigned range = host_range(rush.client), made;
    size_t waits;
    int code;

    host_set(rush.client, "net.ipv4.tcp_tw_reuse", "0");
    host_says(rush.client, "tcp_tw_reuse = %lld",
              (long long)host_get(rush.client, "net.ipv4.tcp_tw_reuse"));
    made = rush_many(&rush, range + 1, &code);
    say_score(&rush, made, code);
    stage_wait(stage, 1300);
    made = rush_many(&rush, 1, &code);
    host_says(rush.client, "1.3 s later: %s", outcome(code));
    stage_expect(stage, made == 0 && code == EADDRNOTAVAIL,
                 "without it the range is as full 1.3 s later: %s", outcome(code));
    host_set(rush.client, "net.ipv4.tcp_tw_reuse", "1");
    host_says(rush.client, "tcp_tw_reuse = %lld",
              (long long)host_get(rush.client, "net.ipv4.tcp_tw_reuse"));
    made = rush_many(&rush, range, &code);
    say_score(&rush, made, code);
    stage_expect(stage, made == range && !code, "with it all %u ports are there again: %u", range,
                 made);
    stage_wait(stage, 1300);
    made = rush_many(&rush, range, &code);
    host_says(rush.client, "1.3 s later: %u more", made);
    waits = count_in(rush.client, TCP_TIME_WAIT, SERVICE);
    stage_expect(stage, made == range && !code, "and again after a second: %u", made);
    stage_expect(stage, waits <= range, "each port has one TIME-WAIT at most: %zu", waits);
}

/* The ledger says which port is next; until that one is safe there is nothing to do. */
static struct tw_tuple take(struct stage *stage, struct tw_ledger *ledger)
{
    struct tw_tuple tuple;
    uint64_t until_ns;

    while (tw_ledger_take(ledger, 0, tw_clock_ns(), &tuple, &until_ns))
        stage_wait(stage, 1);
    return tuple;
}

/* Returns how many were made; the first refusal, of bind() or connect(), ends it. */
static unsigned rush_managed(struct rush *rush, struct tw_ledger *ledger, unsigned most, int *code)
{
    const struct tw_source_opts opts = {0};
    unsigned made = 0;

    *code = 0;
    while (made < most && !*code) {
        struct tw_tuple tuple = take(rush->client->stage, ledger);
        struct tw_endpoint local = host_at(rush->client, tuple.port);
        int fd = tw_source_open(&local, &opts);

        *code = fd < 0 ? -fd : rush_connect(rush, fd);
        tw_ledger_give(ledger, &tuple, *code ? TW_OUTCOME_TUPLE_TAKEN : TW_OUTCOME_WE_FIRST,
                       tw_clock_ns());
        made += !*code;
    }
    return made;
}

static void play_managed(struct stage *stage)
{
    enum { RUSH = 60000 };
    struct rush rush = open_small(stage);
    uint16_t ports[SMALL_RANGE];
    struct tw_ledger_opts opts = {
        .size = sizeof(opts),
        .ports = ports,
        .port_count = SMALL_RANGE,
        .lanes = 1,
        .time_wait_ns = TW_TIME_WAIT_NS,
        .takeover = true,
        .rest_ns = TW_LEDGER_REST_NS,
    };
    struct tw_error error = {0};
    struct tw_ledger *ledger;
    unsigned made;
    size_t waits;
    int code;

    for (unsigned i = 0; i < SMALL_RANGE; i++)
        ports[i] = (uint16_t)(FIRST_PORT + i);
    ledger = tw_ledger_new(&opts, &error);
    if (!ledger)
        stage_broken(stage, "%s", error.text);
    host_says(rush.client, "bind() with SO_REUSEADDR to the port that rested longest");
    made = rush_managed(&rush, ledger, RUSH, &code);
    say_score(&rush, made, code);
    say_waits(rush.client);
    waits = count_in(rush.client, TCP_TIME_WAIT, SERVICE);
    stage_expect(stage, made == RUSH && !code, "%u of %u connections on %u ports", made, RUSH,
                 SMALL_RANGE);
    stage_expect(stage, waits > 0 && waits <= SMALL_RANGE,
                 "the client closes first all the same, a TIME-WAIT a port: %zu", waits);
    stage_expect(stage, tw_ledger_takes_over(ledger, 0),
                 "the kernel let each one take over its port's TIME-WAIT");
    tw_ledger_free(ledger);
}

const struct scenario scenario_cure_server_closes = {
    .name = "cure-server-closes",
    .group = "exhaustion",
    .title = "Cure 1: when the server closes first, the client's ports last",
    .expected =
        "5,000 connections on 2,000 ports succeed. TIME-WAIT is on the server, where it does "
        "not keep a newer SYN from the same port out.",
    .lesson =
        "TIME-WAIT belongs to the side that closes first; a server has one port for all clients, "
        "so it can afford it. Let the protocol say that the server closes, or wait for its EOF "
        "before you close.",
    .rule = "RFC 9293, 3.6; RFC 6191; tcp_timewait_state_process()",
    .play = play_server_closes,
};

const struct scenario scenario_cure_keep_alive = {
    .name = "cure-keep-alive",
    .group = "exhaustion",
    .title = "Cure 2: a kept connection costs one port for all its requests",
    .expected = "5,000 requests and replies travel over one connection, and leave one TIME-WAIT.",
    .lesson = "A port is spent by a connection, not by a request. Keep connections in a pool (HTTP "
              "keep-alive) and neither ports nor handshakes are spent.",
    .rule = "RFC 9112, 9.3",
    .play = play_keep_alive,
};

const struct scenario scenario_cure_more_addresses = {
    .name = "cure-more-addresses",
    .group = "exhaustion",
    .title = "Cure 3: each source address brings the range of ports once more",
    .expected = "2,000 ports carry 2,000 connections from each of three addresses, 6,000 in all.",
    .lesson =
        "What runs out is the pair of source address and port for one destination, so more "
        "addresses on either side multiply it. Bind the address with IP_BIND_ADDRESS_NO_PORT, so "
        "that the port is chosen at connect().",
    .rule = "__inet_check_established(), ip(7) IP_BIND_ADDRESS_NO_PORT",
    .play = play_more_addresses,
};

const struct scenario scenario_cure_tw_reuse = {
    .name = "cure-tw-reuse",
    .group = "exhaustion",
    .title = "Cure 4: tcp_tw_reuse=1 gives ports back after 1 s instead of 60",
    .expected =
        "With 0 a full range is still full 1.3 s later. With 1 all its ports can be used again, "
        "and once more after a second.",
    .lesson =
        "tcp_tw_reuse=1 lets connect() take over TIME-WAITs of its own that are older than a "
        "second (tcp_tw_reuse_delay), with timestamps on both ends. 28,232 ports are then enough "
        "for 28,232 connections a second instead of 470.",
    .rule = "tcp_twsk_unique(), RFC 6191",
    .play = play_tw_reuse,
};

const struct scenario scenario_cure_managed_ports = {
    .name = "cure-managed-ports",
    .group = "exhaustion",
    .title = "Cure 5: ports chosen by the program need not wait for TIME-WAIT",
    .expected = "60,000 connections on 2,000 ports succeed, each closed first by the client: an "
                "explicit port with SO_REUSEADDR takes over its own TIME-WAIT at once.",
    .lesson =
        "bind() to a port with SO_REUSEADDR, then connect(): the kernel takes over the TIME-WAIT "
        "of the same tuple, whatever tcp_tw_reuse is, when both ends use timestamps. "
        "tidewait/ledger.h says which port to take next.",
    .rule = "tcp_twsk_unique(), inet_csk_bind_conflict()",
    .play = play_managed,
};
