/*
 * propose_kit.h - proposals to hosts that are made up, looked at from outside: changes are read as
 * text, made, and put to the arithmetic of plan.h, without a word of the code under test.
 */
#ifndef PROPOSE_KIT_H
#define PROPOSE_KIT_H

#include <math.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "propose.h"

#define SHARE 1e-6
#define MS    1000000ULL

static const struct plan_nat no_nat;

/* --- hosts and workloads ------------------------------------------------------------------------
 */

static inline struct propose_host common_host(void)
{
    struct propose_host host = {
        .limits = {.port_first = 32768,
                   .port_last = 60999,
                   .tw_reuse = 2,
                   .timestamps = 1,
                   .fin_timeout_s = 60,
                   .max_tw_buckets = 262144,
                   .tw_reuse_delay_ms = 1000,
                   .unprivileged_port_start = 1024,
                   .conntrack_count = TW_LIMIT_UNKNOWN,
                   .conntrack_max = TW_LIMIT_UNKNOWN,
                   .somaxconn = 4096,
                   .syn_backlog = 4096,
                   .files_soft = 524288,
                   .files_hard = 524288,
                   .files_system = INT64_MAX},
        .nr_open = 1048576,
        .reuse_delay = true,
    };

    return host;
}

static inline struct plan_workload common_workload(double rate)
{
    struct plan_workload workload = {
        .rate_per_s = rate,
        .hold = {.kind = DISTRIBUTION_CONSTANT, .a = 10 * MS},
        .requests = 1,
        .closing = PLAN_CLOSING_CLIENT,
        .ports = PLAN_PORTS_KERNEL,
        .sources = 1,
        .destinations = 1,
    };

    return workload;
}

/* --- a proposal, looked at from outside ---------------------------------------------------------
 */

static inline void make_change(const struct change *change, const char *text,
                               struct propose_host *host)
{
    const char *name = change->setting->name;
    struct tw_limits *limits = &host->limits;
    unsigned first, last;

    if (strcmp(name, "net.ipv4.ip_local_port_range") == 0) {
        assert_int_equal(sscanf(text, "%u\t%u", &first, &last), 2); /* NOLINT(cert-err34-c) */
        limits->port_first = (uint16_t)first;
        limits->port_last = (uint16_t)last;
    } else if (strcmp(name, "net.ipv4.ip_local_reserved_ports") == 0) {
        limits->reserved = (struct tw_ports){0};
        assert_int_equal(tw_ports_parse(tw_view_of(text), &limits->reserved, NULL), 0);
    } else {
        int64_t number = strtoll(text, NULL, 10);
        struct {
            const char *name;
            int64_t *place;
        } numbers[] = {
            {"net.ipv4.tcp_tw_reuse", &limits->tw_reuse},
            {"net.ipv4.tcp_timestamps", &limits->timestamps},
            {"net.ipv4.tcp_tw_reuse_delay", &limits->tw_reuse_delay_ms},
            {"net.ipv4.tcp_max_tw_buckets", &limits->max_tw_buckets},
            {"net.netfilter.nf_conntrack_max", &limits->conntrack_max},
            {"fs.file-max", &limits->files_system},
            {"fs.nr_open", &host->nr_open},
        };

        for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
            if (strcmp(name, numbers[i].name) == 0) {
                *numbers[i].place = number;
                return;
            }
        fail_msg("%s = %s", name, text);
    }
}

/* The host after all changes but one (SIZE_MAX: all). */
static inline struct propose_host host_after(const struct propose_host *host,
                                             const struct proposal *proposal, size_t but)
{
    struct propose_host after = *host;

    for (size_t i = 0; i < proposal->changes.count; i++)
        if (i != but)
            make_change(&proposal->changes.items[i], proposal->changes.items[i].after, &after);
    return after;
}

/* The descriptors that the proposal tells the program to have. */
static inline double told_files(const struct proposal *proposal)
{
    const char *at = strstr(proposal->needs_files, "LimitNOFILE=");

    return at ? strtod(at + strlen("LimitNOFILE="), NULL) : 0;
}

/* Whether a host sustains the workload, without a word of the code under test. */
static inline bool sustains(const struct propose_opts *opts, const struct propose_host *host,
                            double files)
{
    struct plan_system system;
    struct plan_answer answer;
    struct tw_ports ephemeral;

    tw_limits_ephemeral(&host->limits, &ephemeral);
    plan_system_of_limits(&host->limits, opts->loopback, &system);
    for (size_t i = 0; i < opts->services->count; i++)
        system.ports_lost += opts->services->items[i].protocol == IPPROTO_TCP &&
                             tw_ports_has(&ephemeral, opts->services->items[i].port);
    system.files = fmax(system.files, files);
    plan_answer(&system, &no_nat, opts->workload, &answer);
    if (!answer.suffices || answer.refused_random > SHARE ||
        files > fmin((double)host->nr_open, (double)host->limits.files_system))
        return false;
    for (int i = 0; i < PLAN_LIMITS; i++) {
        const struct plan_bound *bound = &answer.bounds[i];

        if (bound->sustainable_per_s < answer.connections_per_s)
            return false;
        if (i != PLAN_LIMIT_TUPLES && !isinf(bound->sustainable_per_s) &&
            plan_erlang_b(bound->capacity, answer.connections_per_s * bound->occupied_s) > SHARE)
            return false;
    }
    return true;
}

static inline const struct change *change_of(const struct proposal *proposal, const char *name)
{
    for (size_t i = 0; i < proposal->changes.count; i++)
        if (strcmp(proposal->changes.items[i].setting->name, name) == 0)
            return &proposal->changes.items[i];
    return NULL;
}

static inline size_t place_of(const struct proposal *proposal, const char *name)
{
    const struct change *change = change_of(proposal, name);

    return change ? (size_t)(change - proposal->changes.items) : SIZE_MAX;
}

/* "tcp_tw_reuse=1 ip_local_port_range=1024 65535" */
static inline const char *changes_text(const struct proposal *proposal)
{
    static char text[2048];
    size_t len = 0;

    text[0] = 0;
    for (size_t i = 0; i < proposal->changes.count; i++)
        len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%s=%.300s", i ? " " : "",
                                strrchr(proposal->changes.items[i].setting->name, '.') + 1,
                                proposal->changes.items[i].after);
    for (char *tab = text; (tab = strchr(tab, '\t'));)
        *tab = ' ';
    return text;
}

/* --- what must hold of every proposal -----------------------------------------------------------
 */

static inline void check_reserved(const struct propose_opts *opts,
                                  const struct propose_host *before,
                                  const struct propose_host *after, bool widened)
{
    struct tw_ports expected = before->limits.reserved;

    for (size_t i = 0; i < opts->services->count && widened; i++) {
        uint16_t port = opts->services->items[i].port;

        if (port >= after->limits.port_first && port <= after->limits.port_last)
            tw_ports_add(&expected, port);
    }
    assert_memory_equal(&expected, &after->limits.reserved, sizeof(expected));
}

static inline void check_range(const struct propose_opts *opts, const struct propose_host *before,
                               const struct propose_host *after, const struct proposal *proposal)
{
    unsigned first = after->limits.port_first, last = after->limits.port_last;
    struct propose_host narrower = *after;

    assert_true(first <= before->limits.port_first && last >= before->limits.port_last);
    assert_true(first >= 1024 || first == before->limits.port_first);
    assert_true(first >= after->limits.unprivileged_port_start ||
                first == before->limits.port_first);
    /* Up before down. */
    assert_true(first == before->limits.port_first || last == 65535);
    assert_true((first ^ last) & 1 ||
                (last == 65535 && (first == before->limits.port_first || first == 1024 ||
                                   first == after->limits.unprivileged_port_start)));
    if (!proposal->suffices)
        return;
    /* No wider than is needed by more than one port. */
    for (int step = 0; step < 2; step++) {
        if (narrower.limits.port_first < before->limits.port_first)
            narrower.limits.port_first++;
        else if (narrower.limits.port_last > before->limits.port_last)
            narrower.limits.port_last--;
    }
    assert_false(sustains(opts, &narrower, told_files(proposal)));
}

/* Without any one change it would not suffice; ports are reserved for another reason. */
static inline void check_least(const struct propose_opts *opts, const struct propose_host *host,
                               const struct proposal *proposal)
{
    for (size_t i = 0; i < proposal->changes.count; i++) {
        const struct change *change = &proposal->changes.items[i];
        struct propose_host without = host_after(host, proposal, i);

        if (strcmp(change->setting->name, "net.ipv4.ip_local_reserved_ports") == 0)
            continue;
        if (sustains(opts, &without, told_files(proposal)))
            fail_msg("%s could be left out of: %s", change->setting->name, changes_text(proposal));
    }
}

static inline void check_proposal(const struct propose_opts *opts, const struct propose_host *host,
                                  const struct proposal *proposal)
{
    struct propose_host after = host_after(host, proposal, SIZE_MAX), again = after;
    const struct change *delay = change_of(proposal, "net.ipv4.tcp_tw_reuse_delay");
    size_t range = place_of(proposal, "net.ipv4.ip_local_port_range");
    size_t reserved = place_of(proposal, "net.ipv4.ip_local_reserved_ports");

    for (size_t i = 0; i < proposal->changes.count; i++) {
        const struct change *change = &proposal->changes.items[i];

        assert_true(change->why[0] && !strchr(change->why, '\n'));
        assert_string_not_equal(change->before, change->after);
        assert_int_equal(setting_check(change->setting, tw_view_of(change->after), NULL), 0);
        assert_false(setting_is_unsafe(change->setting, change->before, change->after));
        make_change(change, change->before, &again);
    }
    assert_memory_equal(&again, host, sizeof(again));
    assert_true(proposal->suffices == sustains(opts, &after, told_files(proposal)));
    assert_true(proposal->suffices == proposal->answer_after.suffices || !proposal->suffices);
    check_reserved(opts, host, &after, range != SIZE_MAX);
    if (range != SIZE_MAX)
        check_range(opts, host, &after, proposal);
    assert_true(reserved == SIZE_MAX || reserved + 1 == range);
    if (sustains(opts, host, 0))
        assert_int_equal(proposal->changes.count, 0);
    if (proposal->suffices) {
        check_least(opts, host, proposal);
        assert_int_equal(proposal->cure_count, 0);
    }
    if (delay && proposal->suffices) {
        struct propose_host longer = after;

        longer.limits.tw_reuse_delay_ms++;
        assert_true(longer.limits.tw_reuse_delay_ms == host->limits.tw_reuse_delay_ms ||
                    !sustains(opts, &longer, told_files(proposal)));
    }
    for (size_t i = 0; i < proposal->cure_count; i++)
        assert_true(proposal->cures_on_top || proposal->cures[i].answer.suffices);
}

/* All that settings could do. */
static inline bool could_suffice(const struct propose_opts *opts, const struct propose_host *host)
{
    struct propose_host best = *host;
    int64_t floor = best.limits.unprivileged_port_start;

    best.limits.max_tw_buckets = best.limits.conntrack_max = best.limits.files_system = INT32_MAX;
    if (best.limits.conntrack_count == TW_LIMIT_UNKNOWN)
        best.limits.conntrack_max = TW_LIMIT_UNKNOWN;
    best.limits.files_hard = best.nr_open = INT32_MAX;
    if (best.limits.tw_reuse != TW_LIMIT_UNKNOWN)
        best.limits.tw_reuse = 1;
    if (best.limits.timestamps != TW_LIMIT_UNKNOWN)
        best.limits.timestamps = 1;
    if (best.reuse_delay)
        best.limits.tw_reuse_delay_ms = 1;
    for (int widen = 0; widen < 2; widen++) {
        if (widen) {
            if (best.limits.port_first > 1024)
                best.limits.port_first =
                    (uint16_t)(floor > 1024 && floor <= best.limits.port_first ? floor : 1024);
            best.limits.port_last = 65535;
            for (size_t k = 0; k < opts->services->count; k++)
                if (opts->services->items[k].port >= best.limits.port_first)
                    tw_ports_add(&best.limits.reserved, opts->services->items[k].port);
        }
        if (sustains(opts, &best, 0))
            return true;
    }
    return false;
}

#endif
