#include <errno.h>

#include "bind.h"
#include "parts.h"

void bind_privilege(struct bind_case *bind)
{
    struct draft *draft = bind->draft;
    int64_t start = bind->limits.unprivileged_port_start;
    unsigned port = tw_endpoint_port(&bind->request.local);

    draft_answer(draft, TW_ANSWER_DENIED, EACCES, "privileged-port");
    draft_summary(draft, "Port %u is below %lld, and %s lacks CAP_NET_BIND_SERVICE.", port,
                  (long long)start, draft_user(draft, bind->request.uid));
    draft_evidence(draft, "sysctl", "net.ipv4.ip_unprivileged_port_start = %lld", (long long)start);
    draft_remedy(draft, "give the program the capability",
                 "setcap cap_net_bind_service=+ep /path/to/program", true,
                 "this program alone may bind low ports then; systemd: "
                 "AmbientCapabilities=CAP_NET_BIND_SERVICE");
    draft_remedy(draft, "lower the limit for all",
                 draft_text(draft, "sysctl -w net.ipv4.ip_unprivileged_port_start=%u", port), false,
                 "any user of this network namespace may then bind ports from there on");
}

void bind_policy(struct bind_case *bind, int code)
{
    struct draft *draft = bind->draft;

    draft_answer(draft, TW_ANSWER_DENIED, code, "policy-denied");
    draft_summary(draft,
                  "A security policy refuses the bind(): %s, though the address is free and "
                  "the port not privileged.",
                  tw_errno_name(code));
    draft_evidence(draft, "rule",
                   "the kernel itself has no reason to say %s here; BPF programs of "
                   "the cgroup, Landlock, SELinux, AppArmor and seccomp may",
                   tw_errno_name(code));
    draft_remedy(draft, "look for the policy's own log", "dmesg | grep -iE 'denied|avc|apparmor'",
                 true, "SELinux and AppArmor write each refusal there");
    draft_remedy(draft, "list BPF programs attached to cgroups", "bpftool cgroup tree", true,
                 "hooks named cgroup_inet4_bind, cgroup_inet6_bind decide over bind()");
}

void bind_address(struct bind_case *bind)
{
    struct draft *draft = bind->draft;
    const struct tw_address_status *address = &bind->address;
    const struct tw_endpoint *local = &bind->request.local;
    char text[TW_ENDPOINT_TEXT_MAX];
    struct tw_endpoint bare = *local;

    tw_endpoint_set_port(&bare, 0);
    tw_endpoint_format(&bare, text);
    if (address->tentative || address->dad_failed) {
        draft_answer(draft, TW_ANSWER_UNAVAILABLE, EADDRNOTAVAIL, "address-tentative");
        draft_summary(draft, "%s is on %s, but duplicate address detection %s.", text,
                      address->device,
                      address->dad_failed ? "failed: another host has it" : "has not finished yet");
        draft_evidence(draft, "address", "%s on %s: %s", text, address->device,
                       address->dad_failed ? "dadfailed" : "tentative");
        draft_remedy(draft, "wait a second or two", "sleep 2", true,
                     "detection takes about one second; a service should start behind "
                     "network-online.target");
        draft_remedy(draft, "go without detection",
                     draft_text(draft,
                                "ip address del %s/%u dev %s && ip address add %s/%u dev %s nodad",
                                text, address->prefix_len, address->device, text,
                                address->prefix_len, address->device),
                     false, "another host with the same address would not be noticed");
        return;
    }
    if (local->sa.sa_family == AF_INET6 && tw_ipv6_enabled(NULL) == TW_NO) {
        parts_ipv6_disabled(draft, text);
        return;
    }
    draft_answer(draft, TW_ANSWER_UNAVAILABLE, EADDRNOTAVAIL, "address-not-local");
    draft_summary(draft, "%s is on no interface of this network namespace.", text);
    draft_evidence(draft, "address", "'ip address' does not list %s", text);
    draft_remedy(draft, "bind to the wildcard", NULL, true,
                 "0.0.0.0 or [::] takes every address that the host has or will have");
    draft_remedy(draft, "add the address",
                 draft_text(draft, "ip address add %s/%d dev lo", text,
                            local->sa.sa_family == AF_INET6 ? 128 : 32),
                 false, "right when the address is this host's; wrong when it is another's");
    draft_remedy(draft, "allow addresses that come later",
                 draft_text(draft, "sysctl -w net.ipv%d.ip_nonlocal_bind=1",
                            local->sa.sa_family == AF_INET6 ? 6 : 4),
                 false, "or IP_FREEBIND on this one socket: for addresses that fail over");
}

bool bind_is_mapped_v6only(const struct bind_case *bind)
{
    const struct tw_endpoint *local = &bind->request.local;

    return bind->request.v6only && local->sa.sa_family == AF_INET6 &&
           IN6_IS_ADDR_V4MAPPED(&local->v6.sin6_addr);
}

void bind_invalid(struct bind_case *bind)
{
    struct draft *draft = bind->draft;
    char text[TW_ENDPOINT_TEXT_MAX];

    tw_endpoint_format(&bind->request.local, text);
    if (bind->question->bound) {
        draft_answer(draft, TW_ANSWER_DENIED, EINVAL, "already-bound");
        draft_summary(draft, "The socket has an address already; bind() works once for each "
                             "socket.");
        draft_evidence(draft, "rule",
                       "a second bind() is EINVAL, whatever its address; so is one "
                       "after connect() or listen()");
        draft_remedy(draft, "make a new socket for the new address", NULL, true,
                     "there is no way to take a socket's port away");
        return;
    }
    if (bind_is_mapped_v6only(bind)) {
        draft_answer(draft, TW_ANSWER_DENIED, EINVAL, "mapped-v6only");
        draft_summary(draft, "%s is an IPv4 address, and the socket is IPV6_V6ONLY.", text);
        draft_evidence(draft, "rule",
                       "an IPv6 socket takes addresses of the form ::ffff:a.b.c.d "
                       "only when IPV6_V6ONLY is off");
        draft_remedy(draft, "use an IPv4 socket, or turn IPV6_V6ONLY off", NULL, true,
                     "net.ipv6.bindv6only decides where the program does not say");
        return;
    }
    draft_answer(draft, TW_ANSWER_DENIED, EINVAL, "scope-missing");
    draft_summary(draft,
                  "%s is link-local: each interface has its own fe80::/10, so the address "
                  "needs an interface.",
                  text);
    draft_evidence(draft, "address", "%s has no scope (sin6_scope_id is 0)", text);
    draft_remedy(draft, "name the interface: fe80::1%eth0", "ip -6 address show scope link", true,
                 "in C set sin6_scope_id to if_nametoindex()");
}
