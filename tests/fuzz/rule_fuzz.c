/* Feeds rules_parse() whole files and rule_parse() whole texts. A rule that is taken must be one
 * that the shim can carry out, and the same text must give the same rule. */
#include "fuzz.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "exec_rules.h"

enum { ROOM = 64 };

static void check(bool condition)
{
    if (!condition)
        abort();
}

static void check_family(uint8_t family)
{
    check(family == 0 || family == AF_INET || family == AF_INET6);
}

static void check_rule(const struct shim_rule *rule)
{
    bool out = rule->direction == RULE_OUT;

    check(out || rule->direction == RULE_IN);
    check(rule->protocol == IPPROTO_TCP || rule->protocol == IPPROTO_UDP);
    check_family(rule->family);
    check_family(rule->from_family);
    check_family(rule->listen_family);
    check(memcmp(rule->first, rule->last, sizeof(rule->first)) <= 0);
    check(rule->port_first <= rule->port_last && rule->source_first <= rule->source_last);
    check((rule->port_first == 0) == (rule->port_last == 0));
    check((rule->source_first == 0) == (rule->source_last == 0));
    check((rule->from_family == 0) == (rule->from_count == 0));
    check(!rule->from_family || rule->from_family == rule->family);
    check(!(rule->source_first || rule->from_family) || rule->managed);
    if (out)
        check(!rule->reuseaddr && !rule->reuseport && !rule->free_bind && !rule->listen_family &&
              !rule->listen_port);
    else
        check(!rule->managed && !rule->late);
    if (rule->leave)
        check(!rule->managed && !rule->late && !rule->reuseaddr && !rule->reuseport &&
              !rule->free_bind && !rule->wait_ns && !rule->listen_port && !rule->listen_family);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct rule_presets presets = {
        .out = {.managed = true, .late = true, .wait_ns = 1},
        .in = {.reuseaddr = true, .free_bind = true},
    };
    struct shim_rule rules[ROOM], again[ROOM];
    struct tw_view text = {(const char *)data, size};
    struct tw_error error = {0};
    size_t count = 0, more = 0;
    int rc = rules_parse(text, "f", &presets, rules, ROOM, &count, &error);

    check(rc == 0 || rc == -EINVAL || rc == -ERANGE);
    check(error.code == -rc && (rc == 0 || strncmp(error.text, "f:", 2) == 0));
    check(rules_parse(text, "f", &presets, again, ROOM, &more, NULL) == rc && more == count);
    check(rc == 0 || count == 0);
    /* Rules are built without holes of chance.
     * NOLINTNEXTLINE(bugprone-suspicious-memory-comparison) */
    check(memcmp(rules, again, count * sizeof(rules[0])) == 0);
    for (size_t i = 0; i < count; i++)
        check_rule(&rules[i]);

    rc = rule_parse(text, &presets, rules, NULL);
    check(rc == 0 || rc == -EINVAL || rc == -ERANGE || rc == -ENOENT);
    if (rc == 0)
        check_rule(rules);
    return 0;
}
