/*
 * rule_match.h - which rule decides about a call.
 */
#ifndef RULE_MATCH_H
#define RULE_MATCH_H

#include "endpoint.h"
#include "shared.h"

/* The first rule that fits, or NULL: none does, or it says `leave`. */
const struct shim_rule *rule_find(const struct shim_shared *shared, enum rule_direction direction,
                                  uint8_t protocol, const struct endpoint *endpoint);

/* Whether a bind() of TCP to port 0 is to keep the address alone: the first rule for TCP going out
 * says so, whatever its addresses. */
bool rule_wants_late(const struct shim_shared *shared);

#endif
