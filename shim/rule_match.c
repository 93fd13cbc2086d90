#include "rule_match.h"

#include <string.h>

static uint32_t rule_count(const struct shim_shared *shared)
{
    return shared->rule_count < SHIM_RULES ? shared->rule_count : SHIM_RULES;
}

static bool fits(const struct shim_rule *rule, enum rule_direction direction, uint8_t protocol)
{
    return (rule->direction & direction) != 0 &&
           (rule->protocol == 0 || rule->protocol == protocol);
}

static bool fits_endpoint(const struct shim_rule *rule, const struct endpoint *endpoint)
{
    size_t len = rule->family == AF_INET ? 4 : sizeof(rule->first);

    if (rule->family != 0 &&
        (rule->family != endpoint->family || memcmp(endpoint->address, rule->first, len) < 0 ||
         memcmp(endpoint->address, rule->last, len) > 0))
        return false;
    return (rule->port_first == 0 && rule->port_last == 0) ||
           (endpoint->port >= rule->port_first && endpoint->port <= rule->port_last);
}

const struct shim_rule *rule_find(const struct shim_shared *shared, enum rule_direction direction,
                                  uint8_t protocol, const struct endpoint *endpoint)
{
    for (uint32_t i = 0; i < rule_count(shared); i++) {
        const struct shim_rule *rule = &shared->rules[i];

        if (fits(rule, direction, protocol) && fits_endpoint(rule, endpoint))
            return rule->leave ? NULL : rule;
    }
    return NULL;
}

bool rule_wants_late(const struct shim_shared *shared)
{
    for (uint32_t i = 0; i < rule_count(shared); i++)
        if (fits(&shared->rules[i], RULE_OUT, IPPROTO_TCP) && !shared->rules[i].leave)
            return shared->rules[i].late;
    return false;
}
