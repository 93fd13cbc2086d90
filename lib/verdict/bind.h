/*
 * bind.h - one bind() under examination, and the answers to it that name no other socket.
 */
#ifndef BIND_H
#define BIND_H

#include "blockers.h"

#include "tidewait/interface.h"
#include "tidewait/limits.h"

struct bind_case {
    struct draft *draft;
    const struct tw_question *question;
    struct tw_rules_request request;
    struct blockers blockers;
    bool denied; /* the port is privileged, as far as the user id tells */
    struct tw_address_status address;
    bool address_known; /* false: netlink did not answer */
    struct tw_limits limits;
};

/* ::ffff:a.b.c.d on a socket that is IPV6_V6ONLY. */
bool bind_is_mapped_v6only(const struct bind_case *bind);

void bind_privilege(struct bind_case *bind); /* EACCES */
void bind_policy(struct bind_case *bind, int code);
void bind_address(struct bind_case *bind); /* EADDRNOTAVAIL */
void bind_invalid(struct bind_case *bind); /* EINVAL */

#endif
