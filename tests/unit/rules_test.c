/* The rules that need no kernel to be known: what is unknown, who is named, and how ports add up.
 */
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "tidewait/rules.h"

static struct tw_endpoint at(const char *address, uint16_t port)
{
    struct tw_endpoint endpoint;

    assert_int_equal(tw_address_parse(tw_view_of(address), &endpoint, NULL), 0);
    tw_endpoint_set_port(&endpoint, port);
    return endpoint;
}

static struct tw_socket_row row(const char *address, int state, int reuseaddr, int reuseport,
                                uint32_t uid)
{
    return (struct tw_socket_row){.protocol = IPPROTO_TCP,
                                  .state = (uint8_t)state,
                                  .reuseaddr = (uint8_t)reuseaddr,
                                  .reuseport = (uint8_t)reuseport,
                                  .local = at(address, 80),
                                  .uid = uid};
}

static void overlaps(void **state)
{
    static const struct {
        const char *a, *b;
        bool a_only, b_only, overlap;
    } cases[] = {
        {"0.0.0.0", "127.0.0.1", false, false, true},
        {"127.0.0.1", "127.0.0.2", false, false, false},
        {"::", "127.0.0.1", false, false, true},
        {"::", "127.0.0.1", true, false, false},
        {"::", "0.0.0.0", true, false, false},
        {"::", "::", true, false, true},
        {"::", "::1", true, true, true},
        {"::1", "0.0.0.0", false, false, false},
        {"::ffff:127.0.0.1", "127.0.0.1", false, false, true},
        {"::ffff:127.0.0.1", "::", false, true, false},
        {"::ffff:127.0.0.1", "::", false, false, true},
        {"::ffff:127.0.0.1", "::1", false, false, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tw_endpoint a = at(cases[i].a, 0), b = at(cases[i].b, 0);

        assert_int_equal(tw_rules_overlap(&a, cases[i].a_only, &b, cases[i].b_only),
                         cases[i].overlap);
        assert_int_equal(tw_rules_overlap(&b, cases[i].b_only, &a, cases[i].a_only),
                         cases[i].overlap);
    }
}

/* "Depends" exactly where what is unknown would decide: every request against every blocker. */
static void depends_where_it_matters(void **state)
{
    static const uint8_t states[] = {TCP_LISTEN, TCP_CLOSE, TCP_ESTABLISHED, TCP_TIME_WAIT};

    (void)state;
    for (unsigned n = 0; n < 4 * 2 * 4 * 9; n++) {
        struct tw_rules_request request = {.protocol = IPPROTO_TCP,
                                           .local = at("127.0.0.1", 80),
                                           .reuseaddr = n & 1,
                                           .reuseport = n & 2,
                                           .uid = n & 4 ? 1000 : 0};
        unsigned reuseaddr = n / 32 % 3, reuseport = n / 32 / 3;
        struct tw_socket_row blocker =
            row("0.0.0.0", states[n / 8 % 4], (int)reuseaddr, (int)reuseport, 0);
        enum tw_rules_outcome outcome;
        enum tw_rules_reason reason;
        bool seen[3] = {false};

        outcome = tw_rules_conflict(&request, &blocker, &reason);
        for (unsigned full = 0; full < 4; full++) {
            struct tw_socket_row known = blocker;
            enum tw_rules_reason ignored;

            known.reuseaddr = full & 1 ? TW_YES : TW_NO;
            known.reuseport = full & 2 ? TW_YES : TW_NO;
            if ((reuseaddr == TW_UNKNOWN || known.reuseaddr == reuseaddr) &&
                (reuseport == TW_UNKNOWN || known.reuseport == reuseport))
                seen[tw_rules_conflict(&request, &known, &ignored)] = true;
        }
        assert_false(seen[TW_RULES_DEPENDS]);
        assert_int_equal(outcome == TW_RULES_DEPENDS, seen[TW_RULES_FREE] && seen[TW_RULES_IN_USE]);
        if (outcome != TW_RULES_DEPENDS)
            assert_true(seen[outcome]);
        assert_int_equal(reason == TW_REASON_UNKNOWN_OPTIONS, outcome == TW_RULES_DEPENDS);
        assert_int_equal(reason == TW_REASON_NONE, outcome == TW_RULES_FREE);
    }
}

static void reasons(void **state)
{
    static const struct {
        bool reuseaddr, reuseport;
        int state, old_reuseaddr, old_reuseport;
        uint32_t old_uid;
        enum tw_rules_reason reason;
    } cases[] = {
        {false, false, TCP_LISTEN, TW_UNKNOWN, TW_UNKNOWN, 0, TW_REASON_LISTENS},
        {true, false, TCP_LISTEN, TW_YES, TW_YES, 0, TW_REASON_LISTENS},
        {true, true, TCP_LISTEN, TW_YES, TW_NO, 0, TW_REASON_LISTENS},
        {true, true, TCP_LISTEN, TW_YES, TW_YES, 1000, TW_REASON_OTHER_USER},
        {true, true, TCP_LISTEN, TW_YES, TW_UNKNOWN, 1000, TW_REASON_OTHER_USER},
        {false, false, TCP_TIME_WAIT, TW_UNKNOWN, TW_UNKNOWN, 0, TW_REASON_REQUEST_NO_REUSE},
        {true, false, TCP_TIME_WAIT, TW_NO, TW_YES, 0, TW_REASON_BLOCKER_NO_REUSE},
        {true, true, TCP_CLOSE, TW_NO, TW_NO, 1000, TW_REASON_BLOCKER_NO_REUSE},
        {false, true, TCP_TIME_WAIT, TW_YES, TW_NO, 1000, TW_REASON_BLOCKER_NO_SHARE},
        {false, true, TCP_ESTABLISHED, TW_YES, TW_YES, 1000, TW_REASON_OTHER_USER},
        {true, true, TCP_CLOSE, TW_UNKNOWN, TW_YES, 1000, TW_REASON_UNKNOWN_OPTIONS},
        {true, false, TCP_TIME_WAIT, TW_YES, TW_NO, 0, TW_REASON_NONE},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tw_rules_request request = {.protocol = IPPROTO_TCP,
                                           .local = at("127.0.0.1", 80),
                                           .reuseaddr = cases[i].reuseaddr,
                                           .reuseport = cases[i].reuseport};
        struct tw_socket_row old = row("127.0.0.1", cases[i].state, cases[i].old_reuseaddr,
                                       cases[i].old_reuseport, cases[i].old_uid);

        assert_int_equal(tw_rules_bind(&request, &old, 1).reason, cases[i].reason);
    }
}

/* IPv6 connections stand in the way of 0.0.0.0 unless they are known to be v6only. */
static void ipv6_connection_against_ipv4_wildcard(void **state)
{
    struct tw_rules_request request = {.protocol = IPPROTO_TCP, .local = at("0.0.0.0", 80)};
    struct tw_socket_row old = row("::1", TCP_TIME_WAIT, TW_NO, TW_NO, 0);

    (void)state;
    assert_int_equal(tw_rules_bind(&request, &old, 1).outcome, TW_RULES_DEPENDS);
    old.v6only = true;
    assert_int_equal(tw_rules_bind(&request, &old, 1).outcome, TW_RULES_FREE);
    old.v6only = false;
    old.state = TCP_LISTEN;
    assert_int_equal(tw_rules_bind(&request, &old, 1).outcome, TW_RULES_FREE);
    /* Bound to [::], connected, and reset by the peer: it has the address of the connection still.
     */
    old.state = TCP_CLOSE;
    assert_int_equal(tw_rules_bind(&request, &old, 1).outcome, TW_RULES_DEPENDS);
}

static void reset_connection_leaves_the_tuple_free(void **state)
{
    struct tw_endpoint source = at("10.0.0.1", 80), destination = at("10.0.0.2", 443);
    struct tw_socket_row old = row("10.0.0.1", TCP_ESTABLISHED, TW_YES, TW_NO, 0);

    (void)state;
    old.remote = destination;
    assert_int_equal(tw_rules_tuple(&source, &destination, false, &old, 1).outcome,
                     TW_RULES_IN_USE);
    old.state = TCP_CLOSE;
    assert_int_equal(tw_rules_tuple(&source, &destination, false, &old, 1).outcome, TW_RULES_FREE);
}

static void weightiest_blocker_is_named(void **state)
{
    struct tw_rules_request request = {
        .protocol = IPPROTO_TCP, .local = at("127.0.0.1", 80), .reuseaddr = true};
    struct tw_socket_row rows[] = {
        row("127.0.0.1", TCP_LISTEN, TW_YES, TW_NO, 0), /* on another port */
        row("127.0.0.1", TCP_LISTEN, TW_YES, TW_NO, 0), /* UDP */
        row("127.0.0.1", TCP_ESTABLISHED, TW_UNKNOWN, TW_NO, 0),
        row("127.0.0.1", TCP_TIME_WAIT, TW_NO, TW_NO, 0),
        row("127.0.0.1", TCP_ESTABLISHED, TW_NO, TW_NO, 0),
        row("0.0.0.0", TCP_CLOSE, TW_NO, TW_NO, 0),
        row("0.0.0.0", TCP_LISTEN, TW_NO, TW_NO, 0),
        row("127.0.0.1", TCP_LISTEN, TW_NO, TW_NO, 0),
    };
    static const struct {
        size_t count, blocker, conflicts;
        enum tw_rules_outcome outcome;
    } cases[] = {
        {2, 0, 0, TW_RULES_FREE},   {3, 2, 1, TW_RULES_DEPENDS}, {4, 3, 1, TW_RULES_IN_USE},
        {5, 4, 2, TW_RULES_IN_USE}, {6, 5, 3, TW_RULES_IN_USE},  {8, 6, 5, TW_RULES_IN_USE},
    };

    (void)state;
    tw_endpoint_set_port(&rows[0].local, 81);
    rows[1].protocol = IPPROTO_UDP;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tw_rules_answer answer = tw_rules_bind(&request, rows, cases[i].count);

        assert_int_equal(answer.outcome, cases[i].outcome);
        assert_int_equal(answer.conflicts, cases[i].conflicts);
        assert_int_equal(answer.blocker, cases[i].blocker);
    }
}

/* Each port counts once, in the order in which the kernel looks. */
static void lane_adds_up(void **state)
{
    struct tw_ports ephemeral = {0}, polluting = {0};
    struct tw_rules_lane_request request = {.protocol = IPPROTO_TCP,
                                            .source = at("127.0.0.1", 0),
                                            .destination = at("127.0.0.2", 443),
                                            .ephemeral = &ephemeral,
                                            .first = 100,
                                            .tw_reuse = true,
                                            .reuse_ms = 1000};
    struct tw_socket_row rows[8];
    struct tw_rules_lane lane;

    (void)state;
    tw_ports_add_range(&ephemeral, (struct tw_port_range){100, 109});
    tw_ports_add(&polluting, 100);
    tw_ports_add(&polluting, 99); /* not in the range */
    for (uint16_t i = 0; i < 8; i++) {
        rows[i] = row("127.0.0.1", TCP_ESTABLISHED, TW_NO, TW_NO, 0);
        tw_endpoint_set_port(&rows[i].local, (uint16_t)(100 + i));
        rows[i].remote = request.destination;
    }
    rows[0].state = TCP_TIME_WAIT; /* polluted before all */
    rows[2].state = TCP_TIME_WAIT; /* old enough */
    rows[2].expires_ms = 58999;
    rows[3].state = TCP_TIME_WAIT; /* not yet */
    rows[3].expires_ms = 59000;
    rows[4].local = at("127.0.0.9", 104);  /* of another source */
    rows[5].remote = at("127.0.0.2", 444); /* to another destination */
    rows[6].local = at("::ffff:127.0.0.1", 106);
    rows[6].remote = at("::ffff:127.0.0.2", 443);
    rows[7].device = 5; /* meets only those on its device */
    lane = tw_rules_lane(&request, &polluting, rows, 8);
    assert_int_equal(lane.ports, 10);
    assert_int_equal(lane.polluted, 1);
    assert_int_equal(lane.connected, 2);
    assert_int_equal(lane.time_wait, 1);
    assert_int_equal(lane.reusable, 1);
    assert_int_equal(lane.reusable_first, 1);
    assert_int_equal(lane.free, 5);
    assert_int_equal(lane.free_first, 2);
    request.source = (struct tw_endpoint){0};
    assert_int_equal(tw_rules_lane(&request, &polluting, rows, 8).connected, 3);
}

static void unix_sockets(void **state)
{
    (void)state;
    assert_int_equal(tw_rules_unix(true, false, false, false), TW_UNIX_FREE);
    assert_int_equal(tw_rules_unix(true, false, false, true), TW_UNIX_LIVE);
    assert_int_equal(tw_rules_unix(false, false, false, false), TW_UNIX_FREE);
    assert_int_equal(tw_rules_unix(false, false, false, true), TW_UNIX_FREE); /* file removed */
    assert_int_equal(tw_rules_unix(false, true, false, false), TW_UNIX_OTHER);
    assert_int_equal(tw_rules_unix(false, true, true, true), TW_UNIX_LIVE);
    assert_int_equal(tw_rules_unix(false, true, true, false), TW_UNIX_STALE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(overlaps),
        cmocka_unit_test(depends_where_it_matters),
        cmocka_unit_test(reasons),
        cmocka_unit_test(ipv6_connection_against_ipv4_wildcard),
        cmocka_unit_test(reset_connection_leaves_the_tuple_free),
        cmocka_unit_test(weightiest_blocker_is_named),
        cmocka_unit_test(lane_adds_up),
        cmocka_unit_test(unix_sockets),
    };

    return cmocka_run_group_tests_name("rules", tests, NULL, NULL);
}
