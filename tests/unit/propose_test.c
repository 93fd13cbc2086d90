/*
 * What is proposed to hosts that are made up: by a table, and by chance.
 */
#include <errno.h>

#include "propose_kit.h"

/* --- by a table ---------------------------------------------------------------------------------
 */

static const struct service few_services[] = {
    {80, IPPROTO_TCP, "socket of nginx"}, {5432, IPPROTO_TCP, "unit postgresql.socket"},
    {20000, IPPROTO_UDP, "docker game"},  {40000, IPPROTO_TCP, "socket of a%s'b"},
    {61000, IPPROTO_TCP, "[::]:61000"},   {61001, IPPROTO_TCP, "socket of x"},
    {61002, IPPROTO_UDP, "socket of y"},  {64000, IPPROTO_UDP, "socket of z"},
};

struct row {
    const char *name;
    double rate;
    void (*change)(struct propose_host *host, struct plan_workload *workload);
    bool loopback;
    bool suffices;
    const char *changes;
};

static void no_change(struct propose_host *host, struct plan_workload *workload)
{
    (void)host;
    (void)workload;
}

static void server_closes(struct propose_host *host, struct plan_workload *workload)
{
    (void)host;
    workload->closing = PLAN_CLOSING_SERVER;
    workload->hold.a = 1000 * MS;
}

static void binds(struct propose_host *host, struct plan_workload *workload)
{
    (void)host;
    workload->ports = PLAN_PORTS_BIND;
}

static void managed(struct propose_host *host, struct plan_workload *workload)
{
    host->limits.timestamps = 0;
    workload->ports = PLAN_PORTS_MANAGED;
}

static void no_timestamps(struct propose_host *host, struct plan_workload *workload)
{
    (void)workload;
    host->limits.timestamps = 0;
}

static void reuse_off(struct propose_host *host, struct plan_workload *workload)
{
    (void)workload;
    host->limits.tw_reuse = 0;
}

static void no_reuse_there(struct propose_host *host, struct plan_workload *workload)
{
    (void)workload;
    host->limits.tw_reuse = TW_LIMIT_UNKNOWN;
}

static void reuse_on(struct propose_host *host, struct plan_workload *workload)
{
    (void)workload;
    host->limits.tw_reuse = 1;
}

static void reuse_on_long_hold(struct propose_host *host, struct plan_workload *workload)
{
    host->limits.tw_reuse = 1;
    workload->hold.a = 500 * MS;
}

static void reuse_on_no_delay(struct propose_host *host, struct plan_workload *workload)
{
    reuse_on(host, workload);
    host->reuse_delay = false;
}

static void few_buckets(struct propose_host *host, struct plan_workload *workload)
{
    (void)workload;
    host->limits.max_tw_buckets = 4096;
}

static void tracked(struct propose_host *host, struct plan_workload *workload)
{
    workload->closing = PLAN_CLOSING_SERVER;
    host->limits.conntrack_count = 1000;
    host->limits.conntrack_max = 20000;
}

static void few_files(struct propose_host *host, struct plan_workload *workload)
{
    workload->closing = PLAN_CLOSING_SERVER;
    workload->hold.a = 1000 * MS;
    host->limits.files_soft = 1024;
    host->limits.files_hard = 4096;
}

static void few_files_of_all(struct propose_host *host, struct plan_workload *workload)
{
    few_files(host, workload);
    host->limits.files_system = 10000;
    host->nr_open = 8192;
}

static void odd_range(struct propose_host *host, struct plan_workload *workload)
{
    server_closes(host, workload);
    host->limits.port_first = 50001;
    host->limits.port_last = 65535;
    tw_ports_parse(tw_view_of("50010,20000-20002"), &host->limits.reserved, NULL);
}

static void high_floor(struct propose_host *host, struct plan_workload *workload)
{
    server_closes(host, workload);
    host->limits.unprivileged_port_start = 30001;
}

static void long_hold(struct propose_host *host, struct plan_workload *workload)
{
    (void)host;
    workload->hold.a = 100000 * MS;
}

static void low_floor(struct propose_host *host, struct plan_workload *workload)
{
    server_closes(host, workload);
    host->limits.unprivileged_port_start = 80;
}

static const struct row rows[] = {
    {"nothing to do", 400, no_change, false, true, ""},
    {"closes first", 5000, no_change, false, true, "tcp_tw_reuse=1"},
    {"closes first on loopback", 5000, no_change, true, true, ""},
    {"reuse off, on loopback", 5000, reuse_off, true, true, "tcp_tw_reuse=2"},
    {"reuse off, to others", 5000, reuse_off, false, true, "tcp_tw_reuse=1"},
    {"no tcp_tw_reuse: a wider range", 490, no_reuse_there, false, true,
     "ip_local_reserved_ports=40000,61000-61002 ip_local_port_range=32768 63869"},
    {"timestamps off", 5000, no_timestamps, false, true, "tcp_timestamps=1 tcp_tw_reuse=1"},
    {"managed ports, timestamps off", 5000, managed, false, true, "tcp_timestamps=1"},
    {"the server closes: up", 28500, server_closes, false, true,
     "ip_local_reserved_ports=40000,61000-61002 ip_local_port_range=32768 61939"},
    {"the server closes: down", 40000, server_closes, false, true,
     "ip_local_reserved_ports=40000,61000-61002,64000 ip_local_port_range=24748 65535"},
    {"the server closes: all of it", 63000, server_closes, false, true,
     "ip_local_reserved_ports=5432,20000,40000,61000-61002,64000 "
     "ip_local_port_range=1562 65535"},
    {"the server closes: too much", 64510, server_closes, false, false,
     "ip_local_reserved_ports=5432,20000,40000,61000-61002,64000 "
     "ip_local_port_range=1024 65535"},
    {"bind() before connect()", 800, binds, false, true,
     "ip_local_reserved_ports=20000,40000,61000-61002,64000 ip_local_port_range=15016 65535"},
    {"reuse and a range", 40000, no_change, false, true,
     "tcp_tw_reuse=1 ip_local_reserved_ports=40000,61000-61002,64000 "
     "ip_local_port_range=24344 65535"},
    {"a shorter delay", 100000, reuse_on, false, true, "tcp_tw_reuse_delay=265"},
    {"reuse and a shorter delay", 100000, no_change, false, true,
     "tcp_tw_reuse=1 tcp_tw_reuse_delay=265"},
    {"a range and a shorter delay", 120000, reuse_on_long_hold, false, true,
     "ip_local_reserved_ports=5432,20000,40000,61000-61002,64000 "
     "ip_local_port_range=1078 65535 tcp_tw_reuse_delay=29"},
    {"the delay cannot be set", 100000, reuse_on_no_delay, false, false,
     "ip_local_reserved_ports=5432,20000,40000,61000-61002,64000 "
     "ip_local_port_range=1024 65535"},
    {"TIME_WAITs beyond their limit", 400, few_buckets, false, true, "tcp_max_tw_buckets=25600"},
    {"both reuse and the limit of TIME_WAITs", 5000, few_buckets, false, true,
     "tcp_tw_reuse=1 tcp_max_tw_buckets=28672"},
    {"either reuse with a range, or a range alone", 300, long_hold, false, true,
     "ip_local_reserved_ports=20000,40000,61000-61002,64000 ip_local_port_range=16058 65535"},
    {"ports below 1024 stay alone", 64510, low_floor, false, false,
     "ip_local_reserved_ports=5432,20000,40000,61000-61002,64000 "
     "ip_local_port_range=1024 65535"},
    {"conntrack", 200, tracked, false, true, "nf_conntrack_max=26624"},
    {"descriptors of the program", 10000, few_files, false, true, ""},
    {"descriptors of all", 10000, few_files_of_all, false, true, "nr_open=11264 file-max=20480"},
    {"the first port is odd, the last one the last", 16000, odd_range, false, true,
     "ip_local_reserved_ports=20000-20002,50010,61000-61002,64000 "
     "ip_local_port_range=49020 65535"},
    {"privileged ports reach far", 35000, high_floor, false, false,
     "ip_local_reserved_ports=40000,61000-61002,64000 ip_local_port_range=30001 65535"},
};

static void least_changes(void **state)
{
    bool failed = false;

    (void)state;
    for (const struct row *row = rows; row < rows + sizeof(rows) / sizeof(rows[0]); row++) {
        struct service items[sizeof(few_services) / sizeof(few_services[0])];
        struct services services = {.items = items, .count = sizeof(items) / sizeof(items[0])};
        struct propose_host host = common_host();
        struct plan_workload workload = common_workload(row->rate);
        struct propose_opts opts = {
            .workload = &workload, .loopback = row->loopback, .services = &services};
        struct proposal proposal;

        memcpy(items, few_services, sizeof(items));
        row->change(&host, &workload);
        assert_int_equal(propose_for(&opts, &host, &proposal, NULL), 0);
        if (strcmp(changes_text(&proposal), row->changes) != 0 ||
            proposal.suffices != row->suffices) {
            print_error("%s:\n  is     %s (%d)\n  expect %s (%d)\n", row->name,
                        changes_text(&proposal), proposal.suffices, row->changes, row->suffices);
            failed = true;
        }
        check_proposal(&opts, &host, &proposal);
        proposal_fini(&proposal);
    }
    assert_false(failed);
}

/* --- what is told --------------------------------------------------------------------------------
 */

static struct proposal proposal_for(void (*change)(struct propose_host *, struct plan_workload *),
                                    double rate, size_t service_count)
{
    struct service items[sizeof(few_services) / sizeof(few_services[0])];
    struct services services = {.items = items, .count = service_count};
    struct propose_host host = common_host();
    struct plan_workload workload = common_workload(rate);
    struct propose_opts opts = {.workload = &workload, .services = &services};
    struct proposal proposal;

    memcpy(items, few_services, sizeof(items));
    change(&host, &workload);
    assert_int_equal(propose_for(&opts, &host, &proposal, NULL), 0);
    return proposal;
}

static void reasons_have_figures(void **state)
{
    struct proposal proposal = proposal_for(no_change, 40000, 8);

    (void)state;
    assert_int_equal(proposal.changes.count, 3);
    assert_string_equal(proposal.changes.items[0].why,
                        "40,000 connections/s x 62.1 s = 2,482,400 tuples, 28,231 are there; taken "
                        "over 1 s after the close: 40,400");
    assert_string_equal(proposal.changes.items[1].why,
                        "ports of services that connect() must not take: 40000 (socket of "
                        "a%s'b), 61000 ([::]:61000), 61001 (socket of x) and 2 more");
    assert_string_equal(proposal.changes.items[2].why,
                        "40,000 connections/s x 1.01 s = 40,400 tuples, with arrivals at random "
                        "times 41,186; 28,231 are there, with this range 41,187");
    assert_string_equal(proposal.changes.items[2].before, "32768\t60999");
    proposal_fini(&proposal);
    proposal_fini(&proposal);
}

static void descriptors_are_told(void **state)
{
    struct proposal proposal = proposal_for(few_files, 10000, 0);

    (void)state;
    /* 10,000 at once, with room for random arrivals and for the program's own. */
    assert_string_equal(proposal.needs_files,
                        "the program needs 10,474 descriptors, here the limit is 1,024: "
                        "LimitNOFILE=10474 in its unit, or ulimit -n 10474");
    assert_false(proposal.answer_before.suffices);
    assert_true(proposal.answer_after.suffices);
    proposal_fini(&proposal);
    proposal = proposal_for(no_change, 400, 0);
    assert_string_equal(proposal.needs_files, "");
    proposal_fini(&proposal);
}

static void without_services_nothing_is_reserved(void **state)
{
    struct proposal proposal = proposal_for(server_closes, 28500, 0);

    (void)state;
    assert_string_equal(changes_text(&proposal), "ip_local_port_range=32768 61935");
    proposal_fini(&proposal);
}

static bool is_outside_settings(enum plan_cure_kind kind)
{
    return kind <= PLAN_CURE_NO_PORT || kind == PLAN_CURE_SOURCES ||
           kind == PLAN_CURE_DESTINATIONS || kind == PLAN_CURE_NAT;
}

static void what_settings_cannot_do(void **state)
{
    struct proposal proposal = proposal_for(server_closes, 200000, 8);

    (void)state;
    assert_false(proposal.suffices);
    assert_true(proposal.answer_after.sustainable_per_s >
                2 * proposal.answer_before.sustainable_per_s);
    assert_true(proposal.cure_count > 0);
    assert_false(proposal.cures_on_top);
    for (size_t i = 0; i < proposal.cure_count; i++)
        assert_true(is_outside_settings(proposal.cures[i].kind));
    proposal_fini(&proposal);
}

/* plan_cures() does not know that this kernel has no tcp_tw_reuse, or that privileged ports reach
 * so far: what no setting can do here is no setting. */
static void settings_that_are_not_there_are_no_cures(void **state)
{
    struct proposal proposals[] = {proposal_for(no_reuse_there, 5000, 8),
                                   proposal_for(high_floor, 40000, 8)};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        assert_false(proposals[i].suffices);
        assert_true(proposals[i].cure_count > 0);
        for (size_t k = 0; k < proposals[i].cure_count; k++)
            assert_true(is_outside_settings(proposals[i].cures[k].kind));
        proposal_fini(&proposals[i]);
    }
}

/* More than any number of addresses could carry with the range of now. */
static void cures_on_top_of_changes(void **state)
{
    struct proposal proposal = proposal_for(server_closes, 3e9, 0);

    (void)state;
    assert_false(proposal.suffices);
    assert_true(proposal.cures_on_top);
    assert_true(proposal.cure_count > 0 && proposal.cures[0].answer.suffices);
    assert_string_equal(changes_text(&proposal), "ip_local_port_range=1024 65535");
    for (size_t i = 0; i < proposal.cure_count; i++)
        assert_true(is_outside_settings(proposal.cures[i].kind));
    proposal_fini(&proposal);
}

static void without_a_range_nothing_is_said(void **state)
{
    struct plan_workload workload = common_workload(1);
    struct services services = {0};
    struct propose_opts opts = {.workload = &workload, .services = &services};
    struct propose_host host = common_host();
    struct tw_error error = {0};
    struct proposal proposal;

    (void)state;
    host.limits.port_first = host.limits.port_last = 0;
    assert_int_equal(propose_for(&opts, &host, &proposal, &error), -ENOENT);
    assert_non_null(strstr(error.text, "ip_local_port_range"));
}

/* On this very host, whatever it has: the settings are read, and texts are the kernel's. */
static void on_this_host(void **state)
{
    struct plan_workload workload = common_workload(1);
    struct services services = {0};
    struct propose_opts opts = {.workload = &workload, .services = &services};
    struct tw_error error = {0};
    struct proposal proposal;
    int rc;

    (void)state;
    workload.closing = PLAN_CLOSING_SERVER;
    workload.hold.a = 1000000 * MS;
    workload.rate_per_s = 60;
    rc = propose(&opts, &proposal, &error);
    if (rc == -ENOENT) {
        print_message("skipped: %s\n", error.text);
        skip();
    }
    assert_int_equal(rc, 0);
    for (size_t i = 0; i < proposal.changes.count; i++)
        assert_false(setting_equal(proposal.changes.items[i].setting,
                                   proposal.changes.items[i].before,
                                   proposal.changes.items[i].after));
    proposal_fini(&proposal);
}

/* --- by chance -----------------------------------------------------------------------------------
 */

static struct random generator;

static uint64_t below(uint64_t n)
{
    return random_next(&generator) % n;
}

static bool chance(uint64_t one_in)
{
    return below(one_in) == 0;
}

static struct propose_host some_host(void)
{
    struct propose_host host = common_host();
    struct tw_limits *limits = &host.limits;

    if (chance(2)) {
        limits->port_first = (uint16_t)(1024 + below(64512));
        limits->port_last = (uint16_t)(limits->port_first + below(65536U - limits->port_first));
    }
    for (uint64_t i = below(8); i-- > 0;) {
        unsigned first = (unsigned)(1 + below(65535));

        tw_ports_add_range(&limits->reserved,
                           (struct tw_port_range){(uint16_t)first,
                                                  (uint16_t)(first + below(65536U - first) / 16)});
    }
    limits->tw_reuse = (int64_t)below(3);
    limits->timestamps = chance(5) ? 0 : 1;
    if (chance(10))
        limits->tw_reuse = TW_LIMIT_UNKNOWN;
    if (chance(3))
        limits->tw_reuse_delay_ms = (int64_t)(1 + below(60000));
    host.reuse_delay = !chance(3);
    if (chance(3))
        limits->max_tw_buckets = (int64_t)below(40000);
    if (chance(5) && limits->port_first > 1024)
        limits->unprivileged_port_start = (int64_t)below(limits->port_first);
    if (chance(3)) {
        limits->conntrack_count = (int64_t)below(10000);
        limits->conntrack_max = (int64_t)below(300000);
    }
    if (chance(4)) {
        limits->files_soft = 1024;
        limits->files_hard = (int64_t)(1024 + below(100000));
        host.nr_open = limits->files_hard + (int64_t)below(100000);
        limits->files_system = limits->files_hard + (int64_t)below(100000);
    }
    return host;
}

static struct plan_workload some_workload(void)
{
    struct plan_workload workload = common_workload(pow(10, 1 + 5 * random_unit(&generator)));

    workload.hold.a = chance(4) ? 0 : (uint64_t)(MS * pow(10, 4 * random_unit(&generator)));
    if (chance(3))
        workload.hold.kind = DISTRIBUTION_EXPONENTIAL;
    workload.poisson = chance(2);
    workload.requests = chance(3) ? (double)(1 + below(20)) : 1;
    workload.closing = chance(2) ? PLAN_CLOSING_CLIENT : (enum plan_closing)below(3);
    workload.ports = chance(2) ? PLAN_PORTS_KERNEL : (enum plan_ports)below(3);
    workload.sources = chance(3) ? (double)(1 + below(4)) : 1;
    workload.destinations = chance(3) ? (double)(1 + below(4)) : 1;
    workload.idle = chance(3) ? (double)below(20000) : 0;
    return workload;
}

/* Sorted, each port once. */
static size_t some_services(struct service *items)
{
    size_t count = 0;

    for (unsigned port = 1; port < 65536 && count < 100; port += 1 + (unsigned)below(3000))
        items[count++] = (struct service){.port = (uint16_t)port,
                                          .protocol = chance(3) ? IPPROTO_UDP : IPPROTO_TCP,
                                          .from = "made up"};
    return count;
}

static void proposals_by_chance(void **state)
{
    struct service *items = calloc(100, sizeof(*items));
    struct services services = {.items = items};
    size_t suffices = 0, changed = 0, count = 1000;

    (void)state;
    random_seed(&generator, 7);
    for (size_t i = 0; i < count; i++) {
        struct propose_host host = some_host();
        struct plan_workload workload = some_workload();
        struct propose_opts opts = {
            .workload = &workload, .loopback = chance(4), .services = &services};
        struct proposal proposal;

        services.count = chance(3) ? 0 : some_services(items);
        assert_int_equal(propose_for(&opts, &host, &proposal, NULL), 0);
        check_proposal(&opts, &host, &proposal);
        if (proposal.suffices != could_suffice(&opts, &host))
            fail_msg("case %zu: says %d; %s", i, proposal.suffices, changes_text(&proposal));
        suffices += proposal.suffices;
        changed += proposal.suffices && proposal.changes.count;
        proposal_fini(&proposal);
    }
    print_message("%zu of %zu suffice, %zu of these by changes\n", suffices, count, changed);
    /* Else the sweep shows nothing. */
    assert_true(changed > count / 10 && suffices < count - count / 10);
    free(items);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(least_changes),
        cmocka_unit_test(reasons_have_figures),
        cmocka_unit_test(descriptors_are_told),
        cmocka_unit_test(without_services_nothing_is_reserved),
        cmocka_unit_test(what_settings_cannot_do),
        cmocka_unit_test(settings_that_are_not_there_are_no_cures),
        cmocka_unit_test(cures_on_top_of_changes),
        cmocka_unit_test(without_a_range_nothing_is_said),
        cmocka_unit_test(on_this_host),
        cmocka_unit_test(proposals_by_chance),
    };

    return cmocka_run_group_tests_name("propose", tests, NULL, NULL);
}
