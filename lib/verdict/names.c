#include <errno.h>
#include <string.h>

#include "tidewait/verdict.h"

/* clang-format off */
static const struct {
    const char *name;
    const char *meaning;
} causes[] = {
    /* bind and listen: EADDRINUSE */
    {"listener", "another socket listens on the very address"},
    {"listener-wildcard", "another socket listens on an address that overlaps: the wildcard covers each single address"},
    {"listener-dualstack", "a socket on [::] that is not IPV6_V6ONLY claims the port for IPv4 too"},
    {"time-wait", "a closed connection of the former server is in TIME_WAIT, and not both sockets have SO_REUSEADDR"},
    {"closing", "a connection of the former server is being closed and waits for the peer"},
    {"leftover-connection", "a connection of the former server is still open"},
    {"outbound-connection", "a client's outgoing connection uses the port as its source port"},
    {"self-connect", "a client on the loopback connected to itself and holds the port"},
    {"bound-not-listening", "a socket is bound to the port and does not listen; most tools do not show it"},
    {"inherited-fd", "the socket is open in several processes; ending one is not enough"},
    {"in-flight-fd", "no process has the socket open: it travels in a message, or an io_uring has it"},
    {"kernel-socket", "the socket belongs to the kernel itself"},
    {"systemd-socket", "systemd listens for a service (a .socket unit)"},
    {"container-proxy", "the port is published for a container"},
    {"other-netns", "the address is free here; a socket of another network namespace has it there"},
    {"hidden-owner", "a socket has it whose process this user may not see"},
    {"reuseport-mismatch", "SO_REUSEPORT shares a port only when both sockets have set it before bind() and belong to one user"},
    {"device-bound", "the socket in the way is bound to a network device"},
    {"autobind-exhausted", "no port of the ephemeral range is left for bind() to port 0"},
    {"parked", "somebody keeps the port reserved by a TIME_WAIT or an idle socket on the loopback"},
    {"same-process", "the asking process has the address itself"},
    {"second-listen", "two sockets bound with SO_REUSEADDR, and the other one listens already"},
    {"udp-bound", "another UDP socket is bound to the port"},
    {"unix-live", "a living socket is bound to the path"},
    {"unix-stale", "the file of a socket that is gone was left behind"},
    /* bind: EADDRNOTAVAIL */
    {"address-not-local", "no interface of this network namespace has the address"},
    {"address-tentative", "the IPv6 address is there, but duplicate address detection has not finished or failed"},
    {"ipv6-disabled", "IPv6 is switched off"},
    /* bind: EACCES, EPERM, EINVAL */
    {"privileged-port", "the port is below ip_unprivileged_port_start and the user lacks CAP_NET_BIND_SERVICE"},
    {"policy-denied", "a security policy (BPF, Landlock, SELinux, AppArmor, seccomp) refuses it"},
    {"already-bound", "the socket has an address already: bind() works once"},
    {"scope-missing", "a link-local IPv6 address needs its interface: fe80::1%eth0"},
    {"mapped-v6only", "an IPv4 address in IPv6 form, on a socket that is IPV6_V6ONLY"},
    /* connect */
    {"lane-exhausted", "every source port to this destination is in use or in TIME_WAIT"},
    {"lane-half-full", "half of the source ports are gone: each connect() scans the full half in vain first"},
    {"bucket-polluted", "sockets bound to ports of the range take them from every destination"},
    {"tuple-in-use", "a connection with these four values exists"},
    {"range-too-small", "the range of ephemeral ports is very small"},
    {"udp-exhausted", "every UDP port of the ephemeral range is in use"},
    {"nat-suspected", "the connection tracking table is full: new connections are dropped in silence"},
};
/* clang-format on */

enum { CAUSES = sizeof(causes) / sizeof(causes[0]) };

const char *tw_cause_name(size_t index)
{
    return index < CAUSES ? causes[index].name : NULL;
}

const char *tw_cause_meaning(size_t index)
{
    return index < CAUSES ? causes[index].meaning : NULL;
}

const char *tw_errno_name(int code)
{
    const char *name = strerrorname_np(code);

    return name ? name : "unknown";
}

const char *tw_answer_name(enum tw_answer answer)
{
    static const char *const names[] = {
        [TW_ANSWER_FREE] = "free",
        [TW_ANSWER_IN_USE] = "in-use",
        [TW_ANSWER_UNAVAILABLE] = "unavailable",
        [TW_ANSWER_DENIED] = "denied",
        [TW_ANSWER_SLOW] = "slow",
    };

    return names[answer];
}

const char *tw_op_name(enum tw_op op)
{
    static const char *const names[] = {"bind", "listen", "connect"};

    return names[op];
}
