/* Taking the connections of another server on the same port, and what stops it. */
#include <errno.h>
#include <netinet/tcp.h>

#include "servers.h"
#include "stage.h"

#define PORT        8080
#define SPECIFIC    "10.77.0.2" /* the server host's address, more specific than the wildcard */
#define CONNECTIONS 100
#define SOON_MS     5000

static struct host *open_stage(struct stage *stage)
{
    stage_hosts(stage, "client", "server");
    return stage_right(stage);
}

/* --- who gets the connections ----------------------------------------------------------------- */

/* What the owner of the port got, and what the thief. */
struct share {
    int owner, thief;            /* descriptors; -1: none */
    unsigned to_owner, to_thief; /* connections or datagrams */
    unsigned (*take)(int fd);
};

static bool all_have_come(void *context)
{
    struct share *share = context;

    share->to_owner += share->owner >= 0 ? share->take(share->owner) : 0;
    share->to_thief += share->thief >= 0 ? share->take(share->thief) : 0;
    return share->to_owner + share->to_thief >= CONNECTIONS;
}

static void tell_share(struct stage *stage, const struct share *share)
{
    if (share->thief >= 0)
        host_says(stage_right(stage), "server: gets %u, thief: %u", share->to_owner,
                  share->to_thief);
    else
        host_says(stage_right(stage), "server: gets %u", share->to_owner);
}

static struct share share_connections(struct stage *stage, int owner, int thief)
{
    struct share share = {.owner = owner, .thief = thief, .take = accept_all};
    struct tw_endpoint to = host_at(stage_right(stage), PORT);

    for (unsigned i = 0; i < CONNECTIONS; i++) {
        int code = try_reach(stage_left(stage), &to);

        if (code)
            stage_broken(stage, "connection %u of %d: errno %d", i + 1, CONNECTIONS, code);
    }
    stage_until(stage, SOON_MS, all_have_come, &share);
    host_says(stage_left(stage), "%d times connect()", CONNECTIONS);
    tell_share(stage, &share);
    return share;
}

static void expect_all_to_owner(struct stage *stage, int owner)
{
    struct share share = share_connections(stage, owner, -1);

    stage_expect(stage, share.to_owner == CONNECTIONS, "the server gets all %d connections: %u",
                 CONNECTIONS, share.to_owner);
}

/* --- refused ---------------------------------------------------------------------------------- */

static void play_no_options(struct stage *stage)
{
    struct host *host = open_stage(stage);
    int owner, thief, other;

    expect_errno(stage, "the server", try_serve(host, "server", NULL, PORT, 0, &owner), 0);
    expect_errno(stage, "a more specific address beside the wildcard",
                 try_serve(host, "thief", SPECIFIC, PORT, 0, &thief), EADDRINUSE);
    expect_errno(stage, "127.0.0.1 beside the wildcard",
                 try_serve(host, "thief", "127.0.0.1", PORT, 0, &thief), EADDRINUSE);
    expect_all_to_owner(stage, owner);
    host_says(host, "server: close()");
    end_server(&owner);
    expect_errno(stage, "the specific address when it comes first",
                 try_serve(host, "thief", SPECIFIC, PORT, 0, &thief), 0);
    expect_errno(stage, "the wildcard beside a specific address",
                 try_serve(host, "server", NULL, PORT, 0, &owner), EADDRINUSE);
    expect_errno(stage, "another specific address beside it",
                 try_serve(host, "server", "127.0.0.1", PORT, 0, &other), 0);
}

const struct scenario scenario_hijack_no_options = {
    .name = "hijack-no-options",
    .group = "hijack",
    .title = "A more specific address beside a wildcard listener is refused",
    .expected = "The server listens on *:8080. bind() of a second one to 10.77.0.2:8080 fails with "
                "EADDRINUSE, and the other way round as well.",
    .lesson = "The wildcard overlaps every address of the host, so nobody slips in beside it. "
              "Servers on two different addresses share the port without any option.",
    .rule = "inet_csk_bind_conflict(), inet_rcv_saddr_equal()",
    .play = play_no_options,
};

static void play_reuseaddr(struct stage *stage)
{
    struct host *host = open_stage(stage);
    int owner = host_socket(host, WITH_REUSEADDR), early = host_socket(host, WITH_REUSEADDR), thief;

    expect_errno(stage, "the server's bind()", try_bind(owner, NULL, PORT), 0);
    host_says(host, "server: bind(*:%d) with SO_REUSEADDR", PORT);
    expect_errno(stage, "the thief's bind() before the server listens",
                 try_bind(early, SPECIFIC, PORT), 0);
    host_says(host, "thief: bind(%s:%d) with SO_REUSEADDR", SPECIFIC, PORT);
    expect_errno(stage, "the server's listen()", try_listen(owner), 0);
    host_says(host, "server: listen(): success");
    expect_errno(stage, "the thief's listen() after that", try_listen(early), EADDRINUSE);
    host_says(host, "thief: listen(): EADDRINUSE");
    expect_errno(stage, "bind() to a more specific address while the server listens",
                 try_serve(host, "thief", SPECIFIC, PORT, WITH_REUSEADDR, &thief), EADDRINUSE);
    expect_errno(stage, "bind() to the very address while the server listens",
                 try_serve(host, "thief", NULL, PORT, WITH_REUSEADDR, &thief), EADDRINUSE);
    expect_all_to_owner(stage, owner);
}

const struct scenario scenario_hijack_reuseaddr = {
    .name = "hijack-reuseaddr",
    .group = "hijack",
    .title = "SO_REUSEADDR does not let a second server in beside one that listens",
    .expected = "Server and thief both set SO_REUSEADDR. As long as the server listens bind() of "
                "the thief fails with EADDRINUSE, also to a more specific address.",
    .lesson =
        "That SO_REUSEADDR lets anybody steal connections by a more specific address was true "
        "of BSD sockets, not of Linux. The option is safe on every TCP server here.",
    .rule = "inet_csk_bind_conflict(): sk2->sk_state != TCP_LISTEN",
    .play = play_reuseaddr,
};

/* --- SO_REUSEPORT ----------------------------------------------------------------------------- */

static void play_same_user(struct stage *stage)
{
    struct host *host = open_stage(stage);
    struct share share;
    int owner, thief;

    expect_errno(stage, "the server", try_serve(host, "server", NULL, PORT, WITH_REUSEPORT, &owner),
                 0);
    expect_errno(stage, "a second one without SO_REUSEPORT",
                 try_serve(host, "thief", NULL, PORT, 0, &thief), EADDRINUSE);
    expect_errno(stage, "a second one with it",
                 try_serve(host, "thief", NULL, PORT, WITH_REUSEPORT, &thief), 0);
    share = share_connections(stage, owner, thief);
    /* 100 fair coins are outside of this once in 10^15 runs. */
    stage_expect(stage, share.to_thief >= 10 && share.to_owner >= 10,
                 "on the same address about half go to the thief: %u of %d", share.to_thief,
                 CONNECTIONS);
    host_says(host, "thief: close()");
    end_server(&thief);
    expect_errno(stage, "on a more specific address",
                 try_serve(host, "thief", SPECIFIC, PORT, WITH_REUSEPORT, &thief), 0);
    share = share_connections(stage, owner, thief);
    stage_expect(stage, share.to_thief == CONNECTIONS && share.to_owner == 0,
                 "on a more specific address all go to the thief: %u of %d", share.to_thief,
                 CONNECTIONS);
}

const struct scenario scenario_hijack_reuseport_same_user = {
    .name = "hijack-reuseport-same-user",
    .group = "hijack",
    .title = "SO_REUSEPORT: a second server of the same user takes half, or all",
    .expected = "On the same address new connections are shared evenly. A more specific address "
                "takes all of them.",
    .lesson = "SO_REUSEPORT lets any process of the same user join in unasked, for instance a "
              "forgotten old server. A plain listener first, without the option, tells whether "
              "somebody is there.",
    .rule = "inet_csk_bind_conflict(), reuseport_select_sock(), compute_score()",
    .play = play_same_user,
};

#define OWNER_UID 65534
#define THIEF_UID 65533

/* try_serve() by another user. */
struct start {
    struct host *host;
    const char *who, *address;
    int fd, code;
};

static void start_with_reuseport(void *context)
{
    struct start *start = context;

    start->code =
        try_serve(start->host, start->who, start->address, PORT, WITH_REUSEPORT, &start->fd);
}

static int start_as(uint32_t uid, struct start *start)
{
    host_enter(start->host);
    as_user(uid, start_with_reuseport, start);
    return start->code;
}

static void play_other_user(struct stage *stage)
{
    struct start owner = {.who = "server"}, thief = {.who = "other user"};
    struct start twin = {.who = "same user"};
    struct host *host = open_stage(stage);
    int by_root;

    owner.host = thief.host = twin.host = host;
    expect_errno(stage, "the server of user 65534", start_as(OWNER_UID, &owner), 0);
    expect_errno(stage, "a server of user 65533", start_as(THIEF_UID, &thief), EADDRINUSE);
    thief.address = SPECIFIC;
    expect_errno(stage, "the same on a more specific address", start_as(THIEF_UID, &thief),
                 EADDRINUSE);
    expect_errno(stage, "a server of root",
                 try_serve(host, "root", NULL, PORT, WITH_REUSEPORT, &by_root), EADDRINUSE);
    expect_all_to_owner(stage, owner.fd);
    expect_errno(stage, "a second server of user 65534", start_as(OWNER_UID, &twin), 0);
}

const struct scenario scenario_hijack_reuseport_other_user = {
    .name = "hijack-reuseport-other-user",
    .group = "hijack",
    .title = "SO_REUSEPORT does not let another user in",
    .expected = "A server of another user, root included, gets EADDRINUSE, although both set "
                "SO_REUSEPORT. A second server of the same user is let in.",
    .lesson = "The kernel compares the users who made the sockets, so run each service as a user "
              "of its own. Even root cannot join a group of sockets that is not root's.",
    .rule = "inet_csk_bind_conflict(): uid_eq(uid, sk_uid(sk2))",
    .needs = NEEDS_USERS,
    .play = play_other_user,
};

/* --- UDP -------------------------------------------------------------------------------------- */

static unsigned read_all(int fd)
{
    unsigned count = 0;
    char byte;

    while (read_some(fd, &byte, 1) > 0)
        count++;
    return count;
}

static struct share share_datagrams(struct stage *stage, int owner, int thief)
{
    struct share share = {.owner = owner, .thief = thief, .take = read_all};
    struct tw_endpoint to = host_at(stage_right(stage), PORT);
    int fd = host_socket(stage_left(stage), WITH_UDP);
    int code = try_connect(fd, &to);

    if (code)
        stage_broken(stage, "connect() of UDP: errno %d", code);
    for (unsigned i = 0; i < CONNECTIONS; i++)
        send_text(fd, "x");
    stage_until(stage, SOON_MS, all_have_come, &share);
    close_fd(&fd);
    host_says(stage_left(stage), "%d datagrams", CONNECTIONS);
    tell_share(stage, &share);
    return share;
}

static void play_udp(struct stage *stage)
{
    const unsigned with = WITH_UDP | WITH_REUSEADDR;
    struct host *host = open_stage(stage);
    struct share share;
    int owner, thief;

    expect_errno(stage, "the server", try_serve(host, "server", NULL, PORT, with, &owner), 0);
    share = share_datagrams(stage, owner, -1);
    stage_expect(stage, share.to_owner == CONNECTIONS, "alone the server gets all %d: %u",
                 CONNECTIONS, share.to_owner);
    expect_errno(stage, "a second socket without SO_REUSEADDR",
                 try_serve(host, "thief", NULL, PORT, WITH_UDP, &thief), EADDRINUSE);
    expect_errno(stage, "a second socket with it",
                 try_serve(host, "thief", NULL, PORT, with, &thief), 0);
    share = share_datagrams(stage, owner, thief);
    stage_expect(stage, share.to_thief == CONNECTIONS && share.to_owner == 0,
                 "the socket that was bound last gets all %d: %u, the server %u", CONNECTIONS,
                 share.to_thief, share.to_owner);
    host_says(host, "thief: close()");
    end_server(&thief);
    share = share_datagrams(stage, owner, -1);
    stage_expect(stage, share.to_owner == CONNECTIONS, "then the server gets all %d again: %u",
                 CONNECTIONS, share.to_owner);
}

const struct scenario scenario_hijack_udp = {
    .name = "hijack-udp",
    .group = "hijack",
    .title = "UDP: with SO_REUSEADDR on both sockets the last one bound gets everything",
    .expected = "The second bind() succeeds, and from then on the first socket receives nothing.",
    .lesson =
        "SO_REUSEADDR means another thing for UDP: it gives the port away, in silence. Set it "
        "on multicast receivers only.",
    .rule = "udp_lib_lport_inuse(), udp4_lib_lookup2()",
    .play = play_udp,
};

/* --- reserved ports --------------------------------------------------------------------------- */

/* Each part has a service of its own, so that their connections are told apart. */
#define SHELL_PORT   514
#define LOGIN_PORT   513
#define EXEC_PORT    512
#define SOURCE       1023
#define OTHER_SERVER "10.77.0.3"

/* A client as rsh was: from a reserved port of its own choice. */
static int bind_source(struct stage *stage, const char *who, unsigned with, int *fd)
{
    int code;

    *fd = host_socket(stage_left(stage), with);
    code = try_bind(*fd, NULL, SOURCE);
    host_says(stage_left(stage), "%s: bind(*:%d)%s: %s", who, SOURCE,
              with & WITH_REUSEADDR ? " with SO_REUSEADDR" : "", outcome_text(code));
    return code;
}

static int told_connect(struct stage *stage, const char *who, int fd, struct tw_endpoint to)
{
    char text[TW_ENDPOINT_TEXT_MAX];
    int code = finish_connect(stage, fd, &to);

    host_says(stage_left(stage), "%s: connect(%s): %s", who, tw_endpoint_format(&to, text),
              outcome_text(code));
    return code;
}

/* A connection from the reserved port that the client closed first. */
static void leave_time_wait(struct stage *stage, uint16_t service, int listener)
{
    struct tw_endpoint to = host_at(stage_right(stage), service);
    int fd, code = bind_source(stage, "first", WITH_REUSEADDR, &fd), accepted;

    if (code || (code = told_connect(stage, "first", fd, to)))
        stage_broken(stage, "the first connection to port %u: %s", service, outcome_text(code));
    accepted = stage_accept(stage, listener);
    host_says(stage_left(stage), "first: close()");
    close_fd(&fd);
    if (!until_state(stage, stage_right(stage), service, true, TCP_CLOSE_WAIT, SOON_MS))
        stage_broken(stage, "the server did not learn of the close");
    close_fd(&accepted);
    stage_expect(stage,
                 until_state(stage, stage_left(stage), service, false, TCP_TIME_WAIT, SOON_MS),
                 "the client, which closed first, is in TIME-WAIT (port %u)", service);
}

static void set_timestamps(struct stage *stage, const char *value)
{
    host_set(stage_left(stage), "net.ipv4.tcp_timestamps", value);
    host_set(stage_right(stage), "net.ipv4.tcp_timestamps", value);
    stage_note(stage, "tcp_timestamps is %lld",
               (long long)host_get(stage_left(stage), "net.ipv4.tcp_timestamps"));
}

static void play_reserved(struct stage *stage)
{
    struct host *server = open_stage(stage);
    struct tw_endpoint shell = host_at(server, SHELL_PORT), other;
    int first, second, login, exec;

    host_add_address(server, OTHER_SERVER);
    if (tw_address_parse(tw_view_of(OTHER_SERVER), &other, NULL))
        stage_broken(stage, "no address");
    tw_endpoint_set_port(&other, SHELL_PORT);
    host_listen(server, SHELL_PORT, WITH_REUSEADDR);
    login = host_listen(server, LOGIN_PORT, WITH_REUSEADDR);
    exec = host_listen(server, EXEC_PORT, WITH_REUSEADDR);

    expect_errno(stage, "the first client's bind()",
                 bind_source(stage, "first", WITH_REUSEADDR, &first), 0);
    expect_errno(stage, "its connect()", told_connect(stage, "first", first, shell), 0);
    expect_errno(stage, "the second client's bind() without SO_REUSEADDR",
                 bind_source(stage, "second", 0, &second), EADDRINUSE);
    close_fd(&second);
    expect_errno(stage, "its bind() with SO_REUSEADDR",
                 bind_source(stage, "second", WITH_REUSEADDR, &second), 0);
    expect_errno(stage, "its connect() to the same server",
                 told_connect(stage, "second", second, shell), EADDRNOTAVAIL);
    expect_errno(stage, "its connect() to another server",
                 told_connect(stage, "second", second, other), 0);

    set_timestamps(stage, "0");
    leave_time_wait(stage, LOGIN_PORT, login);
    close_fd(&second);
    expect_errno(stage, "bind() beside TIME-WAIT",
                 bind_source(stage, "second", WITH_REUSEADDR, &second), 0);
    expect_errno(stage, "connect() over TIME-WAIT without timestamps",
                 told_connect(stage, "second", second, host_at(server, LOGIN_PORT)), EADDRNOTAVAIL);
    close_fd(&second);

    set_timestamps(stage, "1");
    leave_time_wait(stage, EXEC_PORT, exec);
    expect_errno(stage, "bind() beside TIME-WAIT",
                 bind_source(stage, "second", WITH_REUSEADDR, &second), 0);
    expect_errno(stage, "connect() over TIME-WAIT with timestamps",
                 told_connect(stage, "second", second, host_at(server, EXEC_PORT)), 0);
}

const struct scenario scenario_reserved_port_reuse = {
    .name = "reserved-port-reuse",
    .group = "hijack",
    .title = "bind() to a reserved port in use works, connect() to the same server fails",
    .expected = "With SO_REUSEADDR a second client binds port 1023. connect() to the first one's "
                "server fails with EADDRNOTAVAIL; to another server it works.",
    .lesson = "SO_REUSEADDR moves the collision from bind() to connect(), so a client that chooses "
              "its ports must go on to the next one there too. TIME-WAIT of its own it takes over, "
              "provided that the connection had timestamps.",
    .rule = "__inet_check_established(), tcp_twsk_unique(); RFC 6191",
    .play = play_reserved,
};
