/*
 * What the kernel says about addresses: their state, the limits, its own sockets. Each test makes
 * what it asks about in private namespaces. Exit code 77: none may be made here.
 */
#include <sys/stat.h>

#include "private.h"
#include "tidewait/clock.h"
#include "tidewait/interface.h"
#include "tidewait/kernel_sockets.h"
#include "tidewait/limits.h"
#include "tidewait/trial.h"

/* --- addresses ---------------------------------------------------------------------------------
 */

static struct tw_address_status status_of(const char *address)
{
    struct tw_endpoint endpoint = at(address, 80);
    struct tw_address_status status;

    memset(&status, 0xff, sizeof(status));
    assert_int_equal(tw_address_status(&endpoint, &status), 0);
    assert_int_equal(tw_address_is_local(&endpoint), status.local);
    return status;
}

/* What bind() says of UDP. */
static int bind_errno(const char *address, uint16_t port)
{
    struct tw_trial trial = {.protocol = IPPROTO_UDP};
    bool tried;

    trial.local = at(address, port);
    return -tw_trial_bind(&trial, &tried, NULL);
}

static void need_pair(void)
{
    need(shell("ip link add tw0 type veth peer name tw1 2>/dev/null") == 0,
         "no veth pair can be made here");
}

static void drop_pair(void)
{
    assert_int_equal(shell("ip link del tw0"), 0);
}

static void status_of_plain_addresses(void **state)
{
    static const struct {
        const char *address;
        bool local;
        const char *device;
    } cases[] = {
        {"127.0.0.1", true, "lo"},
        {"127.9.8.7", true, "lo"},
        {"::1", true, "lo"},
        {"0.0.0.0", true, ""},
        {"::", true, ""},
        {"::ffff:127.0.0.1", true, "lo"},
        {"::ffff:192.0.2.1", false, ""},
        {"192.0.2.1", false, ""},
        {"2001:db8::1", false, ""},
        {"224.0.0.251", true, ""},
        {"255.255.255.255", true, ""},
        {"ff0e::1", true, ""},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tw_address_status status = status_of(cases[i].address);

        assert_int_equal(status.local, cases[i].local);
        assert_string_equal(status.device, cases[i].device);
        assert_false(status.tentative || status.dad_failed || status.is_link_local_without_scope);
        assert_int_equal(bind_errno(cases[i].address, 0), cases[i].local ? 0 : EADDRNOTAVAIL);
    }
}

static void status_names_the_interface(void **state)
{
    (void)state;
    need_pair();
    assert_int_equal(shell("ip addr add 10.79.0.1/24 dev tw0; ip addr add 10.79.1.1/24 dev tw1;"
                           "ip -6 addr add fd79::1/64 dev tw1 nodad; ip link set tw1 up;"
                           "ip link set tw0 up; ip route add local 10.80.0.0/16 dev lo"),
                     0);
    assert_string_equal(status_of("10.79.0.1").device, "tw0");
    assert_string_equal(status_of("10.79.1.1").device, "tw1");
    assert_string_equal(status_of("fd79::1").device, "tw1");
    assert_int_equal(bind_errno("fd79::1", 0), 0);
    /* A neighbour, and one behind a route, are not ours; one of a local route is. */
    assert_false(status_of("10.79.0.2").local);
    assert_int_equal(bind_errno("10.79.0.2", 0), EADDRNOTAVAIL);
    assert_int_equal(
        shell("ip route add default via 10.79.0.2; ip route add prohibit 10.81.0.0/16;"
              "ip route add unreachable 10.82.0.0/16; ip route add blackhole 10.83.0.0/16"),
        0);
    assert_false(status_of("192.0.2.1").local);
    assert_false(status_of("10.81.0.1").local);
    assert_false(status_of("10.82.0.1").local);
    assert_false(status_of("10.83.0.1").local);
    assert_true(status_of("10.80.7.7").local);
    assert_int_equal(bind_errno("10.80.7.7", 0), 0);
    assert_int_equal(shell("ip route flush type prohibit; ip route flush type unreachable;"
                           "ip route flush type blackhole; ip route del local 10.80.0.0/16"),
                     0);
    drop_pair();
}

/* Without a carrier the search for duplicates does not even begin. */
static void tentative_address_is_told(void **state)
{
    struct tw_address_status status;

    (void)state;
    need_pair();
    assert_int_equal(shell("ip -6 addr add fd79::2/64 dev tw0"), 0);
    status = status_of("fd79::2");
    assert_true(status.local && status.tentative && !status.dad_failed);
    assert_string_equal(status.device, "tw0");
    assert_int_equal(bind_errno("fd79::2", 0), EADDRNOTAVAIL);
    drop_pair();
}

/* The other end of the pair has the address already: there it may be used. */
static void duplicate_address_is_told(void **state)
{
    uint64_t deadline = tw_clock_ns() + 20 * TW_NS_PER_S;
    struct tw_address_status status;

    (void)state;
    need_pair();
    assert_int_equal(shell("ip link set tw0 up; ip link set tw1 up;"
                           "ip -6 addr add fd79::3/128 dev tw1 nodad;"
                           "ip -6 addr add fd79::3/128 dev tw0"),
                     0);
    while (shell("ip -6 addr show dev tw0 dadfailed | grep -q fd79::3")) {
        if (tw_clock_ns() > deadline)
            fail_msg("the kernel has not found the duplicate within 20 s");
        usleep(20000);
    }
    status = status_of("fd79::3");
    assert_true(status.local && !status.dad_failed && !status.tentative);
    assert_string_equal(status.device, "tw1");
    assert_int_equal(bind_errno("fd79::3", 0), 0);

    assert_int_equal(shell("ip -6 addr del fd79::3/128 dev tw1"), 0);
    status = status_of("fd79::3");
    assert_true(status.local && status.dad_failed && !status.tentative);
    assert_string_equal(status.device, "tw0");
    assert_int_equal(bind_errno("fd79::3", 0), EADDRNOTAVAIL);
    drop_pair();
}

static void link_local_needs_a_scope(void **state)
{
    struct tw_address_status status;

    (void)state;
    need_pair();
    assert_int_equal(shell("ip -6 addr add fe80::79/64 dev tw0 nodad"), 0);
    status = status_of("fe80::79");
    assert_true(status.local && status.is_link_local_without_scope);
    assert_int_equal(bind_errno("fe80::79", 0), EINVAL);
    status = status_of("fe80::79%tw0");
    assert_true(status.local && !status.is_link_local_without_scope);
    assert_string_equal(status.device, "tw0");
    assert_int_equal(bind_errno("fe80::79%tw0", 0), 0);
    assert_false(status_of("fe80::79%tw1").local);
    assert_int_equal(bind_errno("fe80::79%tw1", 0), EADDRNOTAVAIL);
    assert_true(status_of("ff02::fb").is_link_local_without_scope);
    assert_int_equal(bind_errno("ff02::fb", 0), EINVAL);
    assert_false(status_of("ff02::fb%tw0").is_link_local_without_scope);
    drop_pair();
}

static void status_of_no_address(void **state)
{
    struct tw_endpoint none = {.sa = {.sa_family = AF_UNIX}};
    struct tw_address_status status;

    (void)state;
    assert_int_equal(tw_address_status(&none, &status), -EAFNOSUPPORT);
    assert_false(tw_address_is_local(&none));
}

static void nonlocal_bind_is_told(void **state)
{
    (void)state;
    assert_false(tw_nonlocal_bind_allowed(AF_INET));
    assert_false(tw_nonlocal_bind_allowed(AF_INET6));
    write_file("/proc/sys/net/ipv4/ip_nonlocal_bind", "1");
    assert_true(tw_nonlocal_bind_allowed(AF_INET));
    assert_false(tw_nonlocal_bind_allowed(AF_INET6));
    assert_int_equal(bind_errno("192.0.2.1", 0), 0);
    write_file("/proc/sys/net/ipv4/ip_nonlocal_bind", "0");
    write_file("/proc/sys/net/ipv6/ip_nonlocal_bind", "1");
    assert_true(tw_nonlocal_bind_allowed(AF_INET6));
    assert_false(tw_nonlocal_bind_allowed(AF_INET));
    assert_int_equal(bind_errno("2001:db8::1", 0), 0);
    write_file("/proc/sys/net/ipv6/ip_nonlocal_bind", "0");
}

static void ipv6_is_on_or_off(void **state)
{
    (void)state;
    assert_int_equal(tw_ipv6_enabled(NULL), TW_YES);
    assert_int_equal(tw_ipv6_enabled("lo"), TW_YES);
    assert_int_equal(tw_ipv6_enabled("no-such-if"), TW_UNKNOWN);
    assert_int_equal(tw_ipv6_enabled("../all"), TW_UNKNOWN);
    assert_int_equal(tw_ipv6_enabled("a-name-that-is-much-too-long-for-the-kernel"), TW_UNKNOWN);
    write_file("/proc/sys/net/ipv6/conf/lo/disable_ipv6", "1");
    assert_int_equal(tw_ipv6_enabled(NULL), TW_YES);
    assert_int_equal(tw_ipv6_enabled("lo"), TW_NO);
    assert_false(status_of("::1").local);
    assert_int_equal(bind_errno("::1", 0), EADDRNOTAVAIL);
    write_file("/proc/sys/net/ipv6/conf/lo/disable_ipv6", "0");
    assert_true(status_of("::1").local);
    write_file("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1");
    assert_int_equal(tw_ipv6_enabled(NULL), TW_NO);
    assert_int_equal(tw_ipv6_enabled("lo"), TW_NO);
    assert_false(status_of("::1").local);
    write_file("/proc/sys/net/ipv6/conf/all/disable_ipv6", "0");
    assert_int_equal(tw_ipv6_enabled(NULL), TW_YES);
    assert_true(status_of("::1").local);
}

/* --- limits ------------------------------------------------------------------------------------
 */

static void limits_are_those_of_this_network(void **state)
{
    struct tw_limits limits;

    (void)state;
    tw_limits_read(&limits);
    assert_int_equal(limits.unprivileged_port_start, 1024);
    assert_int_equal(limits.autobind_reuse, 0);
    assert_int_equal(limits.tw_reuse_delay_ms, 1000);
    write_file("/proc/sys/net/ipv4/ip_unprivileged_port_start", "81");
    write_file("/proc/sys/net/ipv4/ip_autobind_reuse", "1");
    if (access("/proc/sys/net/ipv4/tcp_tw_reuse_delay", F_OK) == 0)
        write_file("/proc/sys/net/ipv4/tcp_tw_reuse_delay", "7");
    tw_limits_read(&limits);
    assert_int_equal(limits.unprivileged_port_start, 81);
    assert_int_equal(limits.autobind_reuse, 1);
    if (access("/proc/sys/net/ipv4/tcp_tw_reuse_delay", F_OK) == 0)
        assert_int_equal(limits.tw_reuse_delay_ms, 7);
    write_file("/proc/sys/net/ipv4/ip_unprivileged_port_start", "1024");
    write_file("/proc/sys/net/ipv4/ip_autobind_reuse", "0");
    if (access("/proc/sys/net/ipv4/tcp_tw_reuse_delay", F_OK) == 0)
        write_file("/proc/sys/net/ipv4/tcp_tw_reuse_delay", "1000");
}

static void conntrack_is_counted_or_unknown(void **state)
{
    bool there = access("/proc/sys/net/netfilter/nf_conntrack_count", R_OK) == 0;
    struct tw_limits limits;

    (void)state;
    tw_limits_read(&limits);
    if (there) {
        assert_int_equal(limits.conntrack_count, 0); /* nothing in this network asks for it */
        assert_true(limits.conntrack_max > 0);
    } else {
        assert_int_equal(limits.conntrack_count, TW_LIMIT_UNKNOWN);
        assert_int_equal(limits.conntrack_max, TW_LIMIT_UNKNOWN);
    }
}

/* --- sockets of the kernel ---------------------------------------------------------------------
 */

static void tunnel_is_found(void **state)
{
    char owner[TW_KERNEL_SOCKET_MAX] = "";

    (void)state;
    need(shell("ip link add twvx0 type vxlan id 1 dstport 4790 dev lo 2>/dev/null") == 0,
         "no vxlan device can be made here");
    /* It opens its socket when it comes up. */
    assert_int_equal(tw_kernel_socket_find(IPPROTO_UDP, 4790, owner), -ENOENT);
    assert_int_equal(bind_errno("0.0.0.0", 4790), 0);
    assert_int_equal(shell("ip link set twvx0 up"), 0);
    assert_int_equal(bind_errno("0.0.0.0", 4790), EADDRINUSE);
    assert_int_equal(tw_kernel_socket_find(IPPROTO_UDP, 4790, owner), 0);
    assert_string_equal(owner, "vxlan device twvx0");
    assert_int_equal(tw_kernel_socket_find(IPPROTO_UDP, 4789, owner), -ENOENT);
    assert_int_equal(tw_kernel_socket_find(IPPROTO_TCP, 4790, owner), -ENOENT);
    assert_int_equal(tw_kernel_socket_find(IPPROTO_UDP, 0, owner), -ENOENT);
    assert_int_equal(shell("ip link set twvx0 name \"$(printf 'tw\\033x')\" 2>/dev/null || "
                           "{ ip link set twvx0 down; ip link set twvx0 name "
                           "\"$(printf 'tw\\033x')\" up; }"),
                     0);
    assert_int_equal(tw_kernel_socket_find(IPPROTO_UDP, 4790, owner), 0);
    assert_string_equal(owner, "vxlan device tw\033x");
    assert_int_equal(shell("ip link del \"$(printf 'tw\\033x')\""), 0);
    assert_int_equal(tw_kernel_socket_find(IPPROTO_UDP, 4790, owner), -ENOENT);
}

/* An empty folder takes the place of `over` while the test runs; the mounts are private. */
static void cover(const char *over)
{
    need(mount("none", over, "tmpfs", 0, NULL) == 0, "nothing can be mounted here");
}

static void nfs_server_is_found(void **state)
{
    char owner[TW_KERNEL_SOCKET_MAX] = "";

    (void)state;
    cover("/proc/fs/nfsd");
    assert_int_equal(tw_kernel_socket_find(IPPROTO_TCP, 12049, owner), -ENOENT);
    write_file("/proc/fs/nfsd/portlist", "rdma 20049\nudp 12050\ntcp 12049\n");
    assert_int_equal(tw_kernel_socket_find(IPPROTO_TCP, 12049, owner), 0);
    assert_string_equal(owner, "NFS server (nfsd)");
    assert_int_equal(tw_kernel_socket_find(IPPROTO_UDP, 12050, owner), 0);
    assert_int_equal(tw_kernel_socket_find(IPPROTO_UDP, 12049, owner), -ENOENT);
    assert_int_equal(tw_kernel_socket_find(IPPROTO_TCP, 20049, owner), -ENOENT);
    umount("/proc/fs/nfsd");
}

static void service_is_guessed_by_its_module(void **state)
{
    char owner[TW_KERNEL_SOCKET_MAX] = "";

    (void)state;
    cover("/sys/module");
    assert_int_equal(tw_kernel_socket_find(IPPROTO_TCP, 445, owner), -ENOENT);
    assert_int_equal(mkdir("/sys/module/ksmbd", 0755), 0);
    assert_int_equal(tw_kernel_socket_find(IPPROTO_TCP, 445, owner), 0);
    assert_string_equal(owner, "maybe SMB server of the kernel (ksmbd)");
    assert_int_equal(tw_kernel_socket_find(IPPROTO_UDP, 445, owner), -ENOENT);
    assert_int_equal(tw_kernel_socket_find(IPPROTO_TCP, 2049, owner), -ENOENT);
    umount("/sys/module");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(status_of_plain_addresses),
        cmocka_unit_test(status_names_the_interface),
        cmocka_unit_test(tentative_address_is_told),
        cmocka_unit_test(duplicate_address_is_told),
        cmocka_unit_test(link_local_needs_a_scope),
        cmocka_unit_test(status_of_no_address),
        cmocka_unit_test(nonlocal_bind_is_told),
        cmocka_unit_test(ipv6_is_on_or_off),
        cmocka_unit_test(limits_are_those_of_this_network),
        cmocka_unit_test(conntrack_is_counted_or_unknown),
        cmocka_unit_test(tunnel_is_found),
        cmocka_unit_test(nfs_server_is_found),
        cmocka_unit_test(service_is_guessed_by_its_module),
    };
    int rc = enter_private_network();

    return rc ? rc : cmocka_run_group_tests_name("addresses", tests, NULL, NULL);
}
