/*
 * The bind rule against the kernel: sockets of every kind are made on a port, every kind of request
 * is bound beside them, and tw_rules_bind() has to say the same as bind(). Exit code 77: no network
 * namespace may be made here.
 */
#include "rules_net.h"

#define FIRST_PORT 2000
#define PEER_PORT  1999
#define OTHER_USER 4711
#define REPORTED   20 /* disagreements that are printed; all are counted */

enum device { DEVICE_NONE, DEVICE_LO, DEVICE_OTHER, DEVICES };

/* Every kind of address that the rule tells apart. `peers` are where a listener there is reached.
 */
static const struct address {
    const char *text;
    bool v6only;
    enum device home; /* of one IPv6 address: the interface that has it */
    const char *peers[2];
} addresses[] = {
    {"0.0.0.0", false, DEVICE_NONE, {"127.0.0.1"}},
    {"127.0.0.1", false, DEVICE_NONE, {"127.0.0.1"}},
    {"127.0.0.6", false, DEVICE_NONE, {"127.0.0.6"}},
    {"::", false, DEVICE_NONE, {"127.0.0.1", "::1"}},
    {"::", true, DEVICE_NONE, {"::1"}},
    {"::1", false, DEVICE_LO, {"::1"}},
    {"::1", true, DEVICE_LO, {"::1"}},
    {"fd00::1", false, DEVICE_LO, {"fd00::1"}},
    {"::ffff:127.0.0.1", false, DEVICE_NONE, {"127.0.0.1"}},
    {"::ffff:0.0.0.0", false, DEVICE_NONE, {"127.0.0.1"}},
    {"fe80::1", false, DEVICE_LO, {NULL}},
    {"fe80::1", false, DEVICE_OTHER, {NULL}},
};
#define ADDRESSES (sizeof(addresses) / sizeof(addresses[0]))

/* One way to make a socket; its number counts through all of them. */
struct config {
    const struct address *address;
    enum device device;
    bool reuseaddr;
    bool reuseport;
    bool other_user;
};
#define CONFIGS (ADDRESSES * DEVICES * 8)

enum stage {
    STAGE_BOUND,
    STAGE_LISTEN,
    STAGE_ESTABLISHED,
    STAGE_CLOSE_WAIT,
    STAGE_FIN_WAIT2,
    STAGE_FIN_WAIT2_ORPHAN,
    STAGE_TIME_WAIT,
    STAGE_SYN_RECV,
    STAGE_OUTBOUND,
    STAGE_OUTBOUND_AUTO, /* its port was chosen by connect() */
    STAGES,
};

/* A socket that was there first, with the descriptors that keep it alive. */
struct old {
    struct tw_socket_row row;
    int fd;
    int client;
};

struct tally {
    unsigned long compared;
    unsigned long in_use;
    unsigned long wrong;
    unsigned long slipped; /* let in by sk_reuseport_match() */
};

static bool has_users; /* whether sockets of another user can be made */
static bool has_other_device;

static uint32_t device_index(enum device device)
{
    static const char *const names[] = {[DEVICE_LO] = "lo", [DEVICE_OTHER] = OTHER_DEVICE};

    return device ? if_nametoindex(names[device]) : 0;
}

/* The n'th config; false when it cannot be made here. */
static bool config_at(unsigned n, struct config *config)
{
    config->reuseaddr = n & 1;
    config->reuseport = n & 2;
    config->other_user = n & 4;
    config->device = n / 8 % DEVICES;
    config->address = &addresses[n / 8 / DEVICES];
    /* An IPv6 address can be bound on the interface that has it alone. */
    if (config->device && config->device != config->address->home && config->address->home)
        return false;
    if (!has_other_device &&
        (config->device == DEVICE_OTHER || config->address->home == DEVICE_OTHER))
        return false;
    return has_users || !config->other_user;
}

static struct tw_endpoint endpoint_of(const struct config *config, uint16_t port)
{
    struct tw_endpoint endpoint = at(config->address->text, port);

    if (endpoint.sa.sa_family == AF_INET6 && IN6_IS_ADDR_LINKLOCAL(&endpoint.v6.sin6_addr))
        endpoint.v6.sin6_scope_id = device_index(config->address->home);
    return endpoint;
}

static struct tw_rules_request request_of(const struct config *config, int protocol, uint16_t port)
{
    return (struct tw_rules_request){
        .protocol = (uint8_t)protocol,
        .local = endpoint_of(config, port),
        .reuseaddr = config->reuseaddr,
        .reuseport = config->reuseport,
        .v6only = config->address->v6only,
        .uid = config->other_user ? OTHER_USER : geteuid(),
        .device = device_index(config->device),
    };
}

static int make_socket(const struct tw_rules_request *request)
{
    int type = request->protocol == IPPROTO_UDP ? SOCK_DGRAM : SOCK_STREAM, fd;

    /* The socket's user is the file system's user at the time of socket(). */
    if (has_users)
        setfsuid(request->uid);
    fd = socket(request->local.sa.sa_family, type | SOCK_CLOEXEC, 0);
    if (has_users)
        setfsuid(geteuid());
    assert_true(fd >= 0);
    if (request->reuseaddr)
        set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (request->reuseport)
        set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    if (request->v6only)
        set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    if (request->device)
        set_option(fd, SOL_SOCKET, SO_BINDTOIFINDEX, (int)request->device);
    return fd;
}

/* Returns 0 or a positive errno. */
static int bind_code(int fd, const struct tw_rules_request *request)
{
    return bind(fd, &request->local.sa, tw_endpoint_len(&request->local)) ? errno : 0;
}

static struct tw_socket_row row_of(const struct tw_rules_request *request, int fd, int state)
{
    return (struct tw_socket_row){
        .protocol = request->protocol,
        .state = (uint8_t)state,
        .reuseaddr = request->reuseaddr ? TW_YES : TW_NO,
        .reuseport = request->reuseport ? TW_YES : TW_NO,
        .v6only =
            request->local.sa.sa_family == AF_INET6 && get_option(fd, IPPROTO_IPV6, IPV6_V6ONLY),
        .local = name_of(fd),
        .device = request->device,
        .uid = request->uid,
        .inode = 1,
    };
}

/* --- making what was there first ---------------------------------------------------------------
 */

static int connect_to(struct tw_endpoint to)
{
    int fd = socket(to.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    if (connect(fd, &to.sa, tw_endpoint_len(&to)))
        fail_msg("connect to port %u: %s", tw_endpoint_port(&to), strerror(errno));
    return fd;
}

/* Takes an accepted connection to the stage. `fd` becomes -1 when the stage is without descriptor.
 */
static void bring_to(struct old *old, enum stage stage)
{
    switch (stage) {
    case STAGE_CLOSE_WAIT:
        shutdown(old->client, SHUT_WR);
        await_state(old->fd, old->row.state = TCP_CLOSE_WAIT);
        break;
    case STAGE_FIN_WAIT2:
    case STAGE_FIN_WAIT2_ORPHAN:
    case STAGE_TIME_WAIT:
        shutdown(old->fd, SHUT_WR);
        await_state(old->fd, old->row.state = TCP_FIN_WAIT2);
        if (stage == STAGE_FIN_WAIT2)
            break;
        if (stage == STAGE_TIME_WAIT) {
            shutdown(old->client, SHUT_WR);
            await_state(old->fd, TCP_CLOSE);
            old->row.state = TCP_TIME_WAIT;
        }
        old->row.uid = old->row.inode = 0; /* as the kernel reports it */
        close(old->fd);
        old->fd = -1;
        break;
    default:
        break;
    }
}

/* A connection of a listener that is gone. */
static struct old make_leftover(const struct tw_rules_request *request, const char *peer,
                                enum stage stage)
{
    struct old old = {.fd = -1};
    int listener = make_socket(request);
    struct tw_endpoint to = at(peer, tw_endpoint_port(&request->local));

    assert_int_equal(bind_code(listener, request), 0);
    if (stage == STAGE_SYN_RECV) /* no data, so it waits for them in SYN_RECV */
        set_option(listener, IPPROTO_TCP, TCP_DEFER_ACCEPT, 10);
    assert_int_equal(listen(listener, 8), 0);
    old.client = connect_to(to);
    if (stage == STAGE_SYN_RECV) {
        old.row = row_of(request, listener, TCP_SYN_RECV);
    } else {
        if (has_users)
            setfsuid(request->uid);
        old.fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (has_users)
            setfsuid(geteuid());
        assert_true(old.fd >= 0);
        old.row = row_of(request, old.fd, TCP_ESTABLISHED);
        bring_to(&old, stage);
    }
    close(listener);
    return old;
}

/* A connection that was opened here from the port. */
static struct old make_outbound(const struct tw_rules_request *request, const char *peer,
                                enum stage stage)
{
    struct old old = {.fd = make_socket(request), .client = -1};
    bool v6 = request->local.sa.sa_family == AF_INET6;
    char mapped[64];
    struct tw_endpoint to;

    snprintf(mapped, sizeof(mapped), "%s%s", v6 && !strchr(peer, ':') ? "::ffff:" : "", peer);
    to = at(mapped, PEER_PORT);
    if (stage == STAGE_OUTBOUND)
        assert_int_equal(bind_code(old.fd, request), 0);
    if (connect(old.fd, &to.sa, tw_endpoint_len(&to)))
        fail_msg("connect from %s: %s", mapped, strerror(errno));
    old.row = row_of(request, old.fd, TCP_ESTABLISHED);
    return old;
}

static struct old make_old(const struct tw_rules_request *request, const char *peer,
                           enum stage stage)
{
    struct old old = {.client = -1};

    if (stage == STAGE_OUTBOUND || stage == STAGE_OUTBOUND_AUTO)
        return make_outbound(request, peer, stage);
    if (stage != STAGE_BOUND && stage != STAGE_LISTEN)
        return make_leftover(request, peer, stage);
    old.fd = make_socket(request);
    assert_int_equal(bind_code(old.fd, request), 0);
    if (stage == STAGE_LISTEN)
        assert_int_equal(listen(old.fd, 8), 0);
    old.row = row_of(request, old.fd, stage == STAGE_LISTEN ? TCP_LISTEN : TCP_CLOSE);
    return old;
}

/* --- comparing ---------------------------------------------------------------------------------
 */

static void describe(const char *what, const struct tw_rules_request *request,
                     const struct tw_socket_row *rows, size_t count, int said, int code)
{
    char text[TW_ENDPOINT_TEXT_MAX];

    printf("%s %s proto %u only %d dev %u RA %d RP %d uid %u: rule %d, kernel %s, beside\n", what,
           tw_endpoint_format(&request->local, text), request->protocol, request->v6only,
           request->device, request->reuseaddr, request->reuseport, request->uid, said,
           strerror(code));
    for (size_t i = 0; i < count; i++)
        printf("    %s state %u only %d dev %u RA %d RP %d uid %u\n",
               tw_endpoint_format(&rows[i].local, text), rows[i].state, rows[i].v6only,
               rows[i].device, rows[i].reuseaddr == TW_YES, rows[i].reuseport == TW_YES,
               rows[i].uid);
}

/* With all options known "depends" is left for one case alone, and there sock_diag's silence about
 * v6only is what it depends on. */
static bool agrees(enum tw_rules_outcome outcome, const struct tw_socket_row *row, int code)
{
    if (outcome == TW_RULES_DEPENDS)
        return code == EADDRINUSE && row->local.sa.sa_family == AF_INET6 && !row->v6only;
    return code == (outcome == TW_RULES_IN_USE ? EADDRINUSE : 0);
}

/* What is not known may make the answer "depends", but never wrong. */
static bool agrees_blind(const struct tw_rules_request *request, struct tw_socket_row row, int code)
{
    enum tw_rules_outcome outcome;

    row.reuseaddr = row.reuseport = TW_UNKNOWN;
    if (row.state != TCP_LISTEN && row.state != TCP_CLOSE)
        row.v6only = false;
    outcome = tw_rules_bind(request, &row, 1).outcome;
    return outcome == TW_RULES_DEPENDS || code == (outcome == TW_RULES_IN_USE ? EADDRINUSE : 0);
}

static void compare_one(const struct config *config, const struct tw_socket_row *row,
                        struct tally *tally)
{
    struct tw_rules_request request =
        request_of(config, row->protocol, tw_endpoint_port(&row->local));
    struct tw_rules_answer answer = tw_rules_bind(&request, row, 1);
    int fd = make_socket(&request), code = bind_code(fd, &request);

    tally->compared++;
    tally->in_use += code != 0;
    if (!agrees(answer.outcome, row, code) || !agrees_blind(&request, *row, code)) {
        if (tally->wrong++ < REPORTED)
            describe("bind", &request, row, 1, answer.outcome, code);
    } else if (code == 0 && request.protocol == IPPROTO_TCP) {
        answer = tw_rules_listen(&request, row, 1);
        code = listen(fd, 8) ? errno : 0;
        tally->compared++;
        if (!agrees(answer.outcome, row, code) && tally->wrong++ < REPORTED)
            describe("listen", &request, row, 1, answer.outcome, code);
    }
    close(fd);
}

static uint32_t scope_of(struct tw_endpoint endpoint)
{
    return endpoint.sa.sa_family == AF_INET6 ? endpoint.v6.sin6_scope_id : 0;
}

static uint32_t row_device(const struct tw_socket_row *row)
{
    return row->device ? row->device : scope_of(row->local);
}

static uint32_t request_device(const struct config *config)
{
    return config->device ? device_index(config->device) : scope_of(endpoint_of(config, 0));
}

/* Requests for other devices come last: they are let in, and when they have SO_REUSEPORT the port's
 * bucket remembers address and user, but no device, and lets in the next ones of that user without
 * a look (sk_reuseport_match() of Linux 6.18). That depends on sockets that are gone, so no rule
 * over rows can know it. */
static struct tally compare_all(const struct tw_socket_row *row)
{
    struct tally tally = {0};
    struct config config;

    for (int pass = 0; pass < 2; pass++) {
        for (unsigned n = 0; n < CONFIGS; n++) {
            bool elsewhere;

            if (!config_at(n, &config))
                continue;
            elsewhere = row_device(row) && request_device(&config) &&
                        row_device(row) != request_device(&config);
            if (elsewhere == pass)
                compare_one(&config, row, &tally);
        }
    }
    return tally;
}

static void add_tally(struct tally *sum, struct tally more)
{
    sum->compared += more.compared;
    sum->in_use += more.in_use;
    sum->wrong += more.wrong;
}

static void check_tally(const char *what, const struct tally *tally, bool conflicts)
{
    print_message("%s: %lu compared, %lu of them in use, %lu wrong\n", what, tally->compared,
                  tally->in_use, tally->wrong);
    assert_true(tally->in_use < tally->compared);
    assert_int_equal(tally->in_use > 0, conflicts);
    assert_int_equal(tally->wrong, 0);
}

/* --- tests -------------------------------------------------------------------------------------
 */

/* What a stage of one config is compared with, for each peer that it can have. */
static void compare_config(const struct config *config, int protocol, enum stage stage,
                           struct tally *sum)
{
    static uint16_t port = FIRST_PORT; /* a new one each time: TIME_WAITs stay */
    bool connects = stage != STAGE_BOUND && stage != STAGE_LISTEN;

    /* What is bound to the other device is not reached by the packets of lo. */
    if (connects && config->device == DEVICE_OTHER)
        return;
    for (int i = 0; i < 2 && (i == 0 || connects); i++) {
        const char *peer = config->address->peers[i];
        struct tw_rules_request request = request_of(config, protocol, port++);
        struct tally tally;
        struct old old;

        if (connects && !peer)
            continue;
        old = make_old(&request, peer, stage);
        tally = compare_all(&old.row);
        if (stage != STAGE_SYN_RECV || still_in_syn_recv(tw_endpoint_port(&request.local)))
            add_tally(sum, tally);
        drop(old.fd);
        drop(old.client);
    }
}

static void compare_stage(int protocol, enum stage stage, const char *name)
{
    struct tally tally = {0};
    struct config config;

    for (unsigned n = 0; n < CONFIGS; n++)
        if (config_at(n, &config))
            compare_config(&config, protocol, stage, &tally);
    check_tally(name, &tally, stage != STAGE_SYN_RECV);
}

static void bind_beside_tcp(void **state)
{
    static const char *const names[STAGES] = {
        [STAGE_BOUND] = "TCP bound",
        [STAGE_LISTEN] = "TCP LISTEN",
        [STAGE_ESTABLISHED] = "TCP ESTAB accepted",
        [STAGE_CLOSE_WAIT] = "TCP CLOSE-WAIT",
        [STAGE_FIN_WAIT2] = "TCP FIN-WAIT-2",
        [STAGE_FIN_WAIT2_ORPHAN] = "TCP FIN-WAIT-2 closed",
        [STAGE_TIME_WAIT] = "TCP TIME-WAIT",
        [STAGE_SYN_RECV] = "TCP SYN-RECV",
        [STAGE_OUTBOUND] = "TCP ESTAB bound and opened",
        [STAGE_OUTBOUND_AUTO] = "TCP ESTAB opened",
    };
    int peer = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct tw_endpoint everywhere = at("::", PEER_PORT);

    (void)state;
    assert_int_equal(bind(peer, &everywhere.sa, tw_endpoint_len(&everywhere)), 0);
    assert_int_equal(listen(peer, 4096), 0);
    for (int stage = 0; stage < STAGES; stage++)
        compare_stage(IPPROTO_TCP, (enum stage)stage, names[stage]);
    close(peer);
}

static void bind_beside_udp(void **state)
{
    (void)state;
    compare_stage(IPPROTO_UDP, STAGE_BOUND, "UDP bound");
    compare_stage(IPPROTO_UDP, STAGE_OUTBOUND, "UDP bound and connected");
    compare_stage(IPPROTO_UDP, STAGE_OUTBOUND_AUTO, "UDP connected");
}

/* --- several sockets on one port ---------------------------------------------------------------
 */

#define CROWD      4
#define CROWD_PORT 1998

struct crowd {
    struct tw_rules_request requests[CROWD];
    struct tw_socket_row rows[CROWD];
    int fds[CROWD];
    size_t count;
};

/* The one thing that rows cannot tell, see rules.h. */
static bool may_slip_in(const struct tw_rules_request *request, const struct tw_socket_row *rows,
                        size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (request->reuseport && rows[i].reuseport == TW_YES && rows[i].uid == request->uid)
            return true;
    return false;
}

static void judge(const char *what, const struct tw_rules_request *request,
                  const struct tw_socket_row *rows, size_t count, enum tw_rules_outcome outcome,
                  int code, struct tally *tally)
{
    tally->compared++;
    tally->in_use += code != 0;
    if (code == (outcome == TW_RULES_IN_USE ? EADDRINUSE : 0))
        return;
    if (code == 0 && may_slip_in(request, rows, count))
        tally->slipped++;
    else if (tally->wrong++ < REPORTED)
        describe(what, request, rows, count, (int)outcome, code);
}

static void join_crowd(struct crowd *crowd, const struct config *config, struct tally *tally)
{
    struct tw_rules_request request = request_of(config, IPPROTO_TCP, CROWD_PORT);
    struct tw_rules_answer answer = tw_rules_bind(&request, crowd->rows, crowd->count);
    int fd = make_socket(&request), code = bind_code(fd, &request);

    judge("bind", &request, crowd->rows, crowd->count, answer.outcome, code, tally);
    if (code) {
        close(fd);
        return;
    }
    crowd->requests[crowd->count] = request;
    crowd->rows[crowd->count] = row_of(&request, fd, TCP_CLOSE);
    crowd->fds[crowd->count++] = fd;
}

/* listen() on one of those bound. */
static void crowd_listens(struct crowd *crowd, size_t index, struct tally *tally)
{
    const struct tw_rules_request *request = &crowd->requests[index];
    struct tw_socket_row others[CROWD];
    struct tw_rules_answer answer;
    size_t count = 0;
    int code;

    if (crowd->rows[index].state == TCP_LISTEN)
        return;
    for (size_t i = 0; i < crowd->count; i++)
        if (i != index)
            others[count++] = crowd->rows[i];
    answer = tw_rules_listen(request, others, count);
    code = listen(crowd->fds[index], 1) ? errno : 0;
    judge("listen", request, others, count, answer.outcome, code, tally);
    if (code == 0)
        crowd->rows[index].state = TCP_LISTEN;
}

/* Sockets bind and listen in random order. Without devices: see compare_all(). */
static void crowd_on_a_port(void **state)
{
    struct tally tally = {0};
    unsigned seed = 1;

    (void)state;
    for (int round = 0; round < 10000; round++) {
        struct crowd crowd = {.count = 0};

        for (int step = 0; step < 12 && crowd.count < CROWD; step++) {
            struct config config;

            if (crowd.count && rand_r(&seed) % 3 == 0)
                crowd_listens(&crowd, (size_t)rand_r(&seed) % crowd.count, &tally);
            else if (config_at((unsigned)rand_r(&seed) % CONFIGS, &config) && !config.device)
                join_crowd(&crowd, &config, &tally);
        }
        for (size_t i = 0; i < crowd.count; i++)
            close(crowd.fds[i]);
    }
    check_tally("TCP several", &tally, true);
    print_message("let in by a shortcut: %lu\n", tally.slipped);
    assert_true(tally.slipped < tally.compared / 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bind_beside_tcp),
        cmocka_unit_test(bind_beside_udp),
        cmocka_unit_test(crowd_on_a_port),
    };
    int rc = enter_private_network();

    if (rc)
        return rc;
    if (add_address("fd00::1", "lo", 128) || add_address("fe80::1", "lo", 64)) {
        printf("skipped: no IPv6 here: %s\n", strerror(errno));
        return EXIT_SKIP;
    }
    has_other_device = make_other_device();
    has_users = geteuid() == 0 && setfsuid(OTHER_USER) == 0 && setfsuid(0) == OTHER_USER;
    if (!has_users)
        printf("without a second user: not root\n");
    return cmocka_run_group_tests_name("rules_kernel", tests, NULL, NULL);
}
