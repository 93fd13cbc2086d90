#include "lint_judge.h"

/* clang-format off */
#define NO_PORTS "It is not about ports or TIME_WAIT."
#define KEEPALIVE \
    "For idle connections of programs that set SO_KEEPALIVE: is the peer still there? TIME_WAIT is " \
    "no idle connection; it lasts its 60 s whatever is here."
#define OLD_CONNTRACK \
    "A name of Linux 2.4 and 2.6: ip_conntrack became nf_conntrack, and the old names went with " \
    "Linux 4.9 at the latest."
#define NO_CACHE "IPv4 has had no cache of routes since Linux 3.6. " NO_PORTS
#define LONG_GONE "Removed from Linux years ago. " NO_PORTS
#define BYTE "The kernel takes 0 to 255."
#define BUFFERS "Sizes of buffers: about throughput and memory, not about ports or TIME_WAIT."
#define OLD_WINDOWS \
    "Documented up to Windows Server 2003; the TCP of Vista and later was written anew, and takes " \
    "memory for connections as it needs it."

const struct lint_rule lint_rules[] = {
    /* --- TIME_WAIT and FIN_WAIT_2 --- */
    {"net.ipv4.tcp_fin_timeout", LINT_ABOVE, 60, 0, LINT_FOLKLORE,
     "It is about FIN_WAIT_2 of sockets that their program has closed, not about TIME_WAIT. Above "
     "60 it is not even what is written: FIN_WAIT_2 then lasts 2 x (value - 60) s.",
     "leave it out: TIME_WAIT has its 60 s from a constant of the kernel", "folklore-fin-timeout"},
    {"net.ipv4.tcp_fin_timeout", LINT_ANY, 0, 0, LINT_FOLKLORE,
     "It does not shorten TIME_WAIT, which lasts 60 s by a constant of the kernel. It says how long "
     "a socket that its program has closed waits in FIN_WAIT_2 for the other side's FIN.",
     "for outgoing connections tcp_tw_reuse=1 or more addresses; for a server SO_REUSEADDR",
     "folklore-fin-timeout"},
    {"net.ipv4.tcp_tw_recycle", LINT_ANY, 0, 0, LINT_GONE,
     "Removed in Linux 4.12: it compared timestamps of whole hosts and so dropped the connections "
     "of clients that share an address behind NAT.",
     "leave it out; for outgoing connections tcp_tw_reuse=1", "folklore-tw-recycle"},
    {"net.ipv4.tcp_tw_reuse", LINT_IS, 0, 0, LINT_RISKY,
     "Turns off what the default (2) gives: clients over loopback then have to wait out each "
     "TIME_WAIT, and run out of ports sooner.",
     "2, the default, or 1 for connections to other hosts as well", NULL},
    {"net.ipv4.tcp_tw_reuse", LINT_IS, 1, 0, LINT_FINE,
     "connect() may choose a port that this host has in TIME_WAIT for 1 s, when both ends use "
     "timestamps. For outgoing connections alone: neither bind() nor a server that accepts ever "
     "looks at it.",
     NULL, "cure-tw-reuse"},
    {"net.ipv4.tcp_tw_len", LINT_ANY, 0, 0, LINT_GONE,
     "No Linux of kernel.org has ever had it: TIME_WAIT lasts 60 s by a constant.",
     "leave it out; for outgoing connections tcp_tw_reuse=1", "time-wait-length"},
    {"net.ipv4.tcp_timewait_len", LINT_ANY, 0, 0, LINT_GONE,
     "No Linux of kernel.org has ever had it: TIME_WAIT lasts 60 s by a constant.",
     "leave it out; for outgoing connections tcp_tw_reuse=1", "time-wait-length"},
    {"net.ipv4.tcp_tw_timeout", LINT_ANY, 0, 0, LINT_GONE,
     "Only the kernels of Alibaba Cloud Linux 2 and 3 have it, and version 4 deprecates it. "
     "Elsewhere TIME_WAIT lasts 60 s by a constant.",
     "leave it out; for outgoing connections tcp_tw_reuse=1", "time-wait-length"},
    {"net.ipv4.tcp_max_tw_buckets", LINT_BELOW, 65536, 0, LINT_UNSAFE,
     "It does not give ports back, it takes the protection away: a connection that closes while so "
     "many are in TIME_WAIT gets none. A FIN that comes again then meets a reset, and an old "
     "segment may meet a new connection.",
     "leave it out: the default follows the memory", "folklore-tw-buckets"},
    {"net.ipv4.tcp_max_tw_buckets", LINT_ANY, 0, 0, LINT_FINE,
     "A ceiling for memory, and high enough. It makes TIME_WAIT neither shorter nor longer.",
     NULL, "buckets-overflow"},
    {"net.ipv4.tcp_timestamps", LINT_IS, 0, 0, LINT_UNSAFE,
     "Timestamps tell old segments from new ones and let a TIME_WAIT be taken over safely. Without "
     "them old data may get into a new connection, and tcp_tw_reuse does nothing.",
     "leave it at 1; it costs 12 bytes a segment", "wandering-duplicate-accepted"},
    {"net.ipv4.tcp_timestamps", LINT_ANY, 0, 0, LINT_FINE,
     "Timestamps are on, without the random offset for each connection that 1 gives.", NULL, NULL},
    {"net.ipv4.tcp_rfc1337", LINT_ANY, 0, 0, LINT_FINE,
     "A reset does not end a TIME_WAIT any more. It shortens nothing and gives no port back.",
     NULL, "assassination-refused"},
    {"net.ipv4.tcp_orphan_retries", LINT_IS, 0, 0, LINT_IDLE,
     "The default anyway; it stands for 8.", NULL, NULL},
    {"net.ipv4.tcp_orphan_retries", LINT_BELOW, 3, 0, LINT_UNSAFE,
     "After close() what is still in the send buffer is given up after so few repeats, within "
     "seconds: the end of the data is lost although send() took it.",
     "leave it out (0 stands for 8)", "peer-vanished-fin"},
    {"net.ipv4.tcp_orphan_retries", LINT_ANY, 0, 0, LINT_FINE,
     "How often closed sockets repeat what the peer does not acknowledge. Not about TIME_WAIT.",
     NULL, NULL},
    {"net.ipv4.tcp_max_orphans", LINT_BELOW, 16384, 0, LINT_UNSAFE,
     "Closed sockets beyond it are reset at once, with what they had still to send. The kernel's "
     "own manual says never to lower it.",
     "leave it out: the default follows the memory", NULL},
    {"net.ipv4.tcp_max_orphans", LINT_ANY, 0, 0, LINT_FINE,
     "A ceiling for closed sockets that still have to send; TIME_WAIT does not count.", NULL, NULL},

    /* --- keepalive, time-outs, retries --- */
    {"net.ipv4.tcp_keepalive_time", LINT_ANY, 0, 0, LINT_IDLE, KEEPALIVE, NULL, NULL},
    {"net.ipv4.tcp_keepalive_intvl", LINT_ANY, 0, 0, LINT_IDLE, KEEPALIVE, NULL, NULL},
    {"net.ipv4.tcp_keepalive_probes", LINT_ANY, 0, 0, LINT_IDLE, KEEPALIVE, NULL, NULL},
    {"net.ipv4.tcp_syn_retries", LINT_BELOW, 3, 0, LINT_RISKY,
     "connect() gives up after 2 to 7 s: two packets lost in a row are an error.",
     "a time limit in the program, which knows how long it can wait", NULL},
    {"net.ipv4.tcp_syn_retries", LINT_ANY, 0, 0, LINT_FINE,
     "How long connect() keeps a port for a host that does not answer. Not about TIME_WAIT.", NULL,
     NULL},
    {"net.ipv4.tcp_synack_retries", LINT_BELOW, 2, 0, LINT_RISKY,
     "A server forgets a half-open connection after 3 s at most: where packets get lost, clients "
     "fail.",
     "2 or more", NULL},
    {"net.ipv4.tcp_synack_retries", LINT_ANY, 0, 0, LINT_FINE,
     "How often a server repeats its SYN-ACK, each time after twice as long. Not about TIME_WAIT.",
     NULL, NULL},
    {"net.ipv4.tcp_retries2", LINT_BELOW, 8, 0, LINT_RISKY,
     "Data that nobody acknowledges ends the connection: after about 14 s at 5, 105 s at 8, a "
     "quarter of an hour at 15, the default. RFC 1122 asks for 100 s at least.",
     "8 or more; TCP_USER_TIMEOUT in programs that must know sooner", "peer-vanished"},
    {"net.ipv4.tcp_retries2", LINT_ANY, 0, 0, LINT_FINE,
     "How long unacknowledged data is repeated before the connection ends. Not about TIME_WAIT.",
     NULL, NULL},

    /* --- the server's queues --- */
    {"net.core.somaxconn", LINT_BELOW, 4096, 0, LINT_RISKY,
     "Less than the 4096 that are the default since Linux 5.4: this lowers it. A SYN that meets a "
     "full queue is dropped, and the client tries again after a second.",
     "leave it out, or more than 4096", "accept-queue-full"},
    {"net.core.somaxconn", LINT_ABOVE, 65535, 0, LINT_FINE,
     "A ceiling for what listen() asks for. Older kernels, which counted in 16 bits, refuse more "
     "than 65535.",
     "65535 does as well, and everywhere", NULL},
    {"net.core.somaxconn", LINT_ANY, 0, 0, LINT_FINE,
     "A ceiling: a server gets the smaller of this and what its listen() asks for, which is 511 in "
     "nginx and Redis unless they are told otherwise.",
     "raise the server's own backlog as well", "accept-queue-full"},
    {"net.ipv4.tcp_max_syn_backlog", LINT_ANY, 0, 0, LINT_IDLE,
     "The kernel looks at it only with tcp_syncookies=0. Else half-open connections are as many as "
     "listen() and somaxconn allow.",
     "net.core.somaxconn and the server's own backlog", NULL},
    {"net.ipv4.tcp_syncookies", LINT_IS, 0, 0, LINT_RISKY,
     "When the queue of half-open connections is full, SYNs are dropped instead of answered by a "
     "cookie: a flood of forged SYNs then keeps real clients out.",
     "leave it at 1", NULL},
    {"net.ipv4.tcp_syncookies", LINT_IS, 2, 0, LINT_RISKY,
     "Cookies for each connection, also without need: meant for tests. Without timestamps such "
     "connections lose window scaling and SACK.",
     "leave it at 1", NULL},
    {"net.ipv4.tcp_abort_on_overflow", LINT_ANY, 0, 0, LINT_RISKY,
     "A connection that finds the accept queue full is reset. Without this the client tries again "
     "after a second and gets in.",
     "leave it at 0 and raise the server's backlog", "accept-queue-full"},

    /* --- ports and addresses --- */
    {"net.ipv4.ip_local_reserved_ports", LINT_ANY, 0, 0, LINT_FINE,
     "The kernel does not choose these ports for clients; bind() to one of them works all the "
     "same. The list replaces the one that was there.",
     NULL, "reserved-ports"},
    {"net.ipv4.ip_autobind_reuse", LINT_ANY, 0, 0, LINT_RISKY,
     "bind() to port 0 with SO_REUSEADDR may then get a port that another connection has, and "
     "connect() to the same destination fails. It can break programs.",
     "IP_BIND_ADDRESS_NO_PORT in the program", NULL},
    {"net.ipv4.ip_unprivileged_port_start", LINT_BELOW, 1024, 0, LINT_RISKY,
     "From this port on any user may listen, also in the place of a service that is just being "
     "started anew.",
     "CAP_NET_BIND_SERVICE for the one program (AmbientCapabilities= in its unit)", NULL},
    {"net.ipv4.ip_nonlocal_bind", LINT_IS, 0, 0, LINT_IDLE, "The default anyway.", NULL, NULL},
    {"net.ipv4.ip_nonlocal_bind", LINT_ANY, 0, 0, LINT_FINE,
     "bind() takes addresses that the host does not have, or not yet: for failover. A wrong address "
     "is no error then.",
     NULL, NULL},
    {"net.ipv6.bindv6only", LINT_IS, 1, 0, LINT_RISKY,
     "A server that listens on [::] alone is not reached over IPv4 any more.",
     "IPV6_V6ONLY in the program that wants it", "dual-stack"},
    {"net.ipv6.conf.all.disable_ipv6", LINT_IS, 1, 0, LINT_RISKY,
     "bind() to [::1] or another IPv6 address then fails with EADDRNOTAVAIL; [::] still works.",
     "listen on 127.0.0.1, or leave IPv6 on", NULL},
    {"net.ipv6.conf.lo.disable_ipv6", LINT_IS, 1, 0, LINT_RISKY,
     "bind() to [::1] then fails with EADDRNOTAVAIL; [::] still works.",
     "listen on 127.0.0.1, or leave IPv6 on", NULL},

    /* --- connection tracking --- */
    {"net.netfilter.nf_conntrack_tcp_timeout_time_wait", LINT_BELOW, 60, 0, LINT_RISKY,
     "The firewall forgets a connection whose end is still in TIME_WAIT. With NAT its port goes to "
     "a new connection, and the SYN of that meets the TIME_WAIT.",
     "60 or more; a greater nf_conntrack_max", NULL},
    {"net.netfilter.nf_conntrack_tcp_timeout_established", LINT_BELOW, 7200, 0, LINT_RISKY,
     "A connection that is idle for longer is forgotten, and what it sends next may be dropped. "
     "Keepalive of the kernel begins after 7200 s only.",
     "7200 or more, or keepalive that begins sooner", NULL},
    {"net.netfilter.nf_conntrack_tcp_timeout_*", LINT_ANY, 0, 0, LINT_FINE,
     "How long the firewall remembers a connection in this state. TIME_WAIT of this host's own "
     "sockets is not touched.",
     NULL, NULL},
    {"net.netfilter.nf_conntrack_max", LINT_ANY, 0, 0, LINT_FINE,
     "How many connections the firewall remembers; beyond that it drops the first packet of new "
     "ones.",
     NULL, NULL},
    {"net.netfilter.nf_conntrack_buckets", LINT_ANY, 0, 0, LINT_FINE,
     "The hash table of connections. It can be set on the host alone, not in a container.", NULL,
     NULL},
    {LINT_HASHSIZE, LINT_ANY, 0, 0, LINT_FINE,
     "The hash table of connections: the same as nf_conntrack_buckets.", NULL, NULL},
    {"net.ipv4.ip_conntrack_*", LINT_ANY, 0, 0, LINT_GONE, OLD_CONNTRACK,
     "net.netfilter.nf_conntrack_* of the same ending", NULL},
    {"net.ipv4.netfilter.ip_conntrack_*", LINT_ANY, 0, 0, LINT_GONE, OLD_CONNTRACK,
     "net.netfilter.nf_conntrack_* of the same ending", NULL},

    /* --- memory and descriptors --- */
    {"net.ipv4.tcp_mem", LINT_ABOVE, 4194304, 2, LINT_RISKY,
     "In pages of 4 KiB, not in bytes: TCP may then take more than 16 GiB before it is held back.",
     "leave it out: the default follows the memory", NULL},
    {"net.ipv4.tcp_mem", LINT_BELOW, 262144, 2, LINT_RISKY,
     "In pages of 4 KiB, for all connections together: with less than 1 GiB many connections drop "
     "segments.",
     "leave it out: the default follows the memory", NULL},
    {"net.ipv4.tcp_mem", LINT_ANY, 0, 0, LINT_IDLE,
     "In pages of 4 KiB, for all connections together. The kernel sets it by the memory of the "
     "machine; a value of another machine is a guess.",
     "leave it out", NULL},
    {"net.ipv4.tcp_rmem", LINT_ABOVE, 65535, 0, LINT_RISKY,
     "The first number is what each socket keeps when memory is short: with many connections the "
     "memory of the machine.",
     "4096 as the first number", NULL},
    {"net.ipv4.tcp_wmem", LINT_ABOVE, 65535, 0, LINT_RISKY,
     "The first number is what each socket keeps when memory is short: with many connections the "
     "memory of the machine.",
     "4096 as the first number", NULL},
    {"net.ipv4.tcp_rmem", LINT_ANY, 0, 0, LINT_FOREIGN, BUFFERS, NULL, NULL},
    {"net.ipv4.tcp_wmem", LINT_ANY, 0, 0, LINT_FOREIGN, BUFFERS, NULL, NULL},
    {"net.core.rmem_*", LINT_ANY, 0, 0, LINT_FOREIGN, BUFFERS, NULL, NULL},
    {"net.core.wmem_*", LINT_ANY, 0, 0, LINT_FOREIGN, BUFFERS, NULL, NULL},
    {"fs.file-max", LINT_BELOW, 1000000, 0, LINT_RISKY,
     "For all programs together. systemd sets it to the maximum since version 240, and the kernel's "
     "default follows the memory: this lowers it. Beyond it programs fail with ENFILE, but those of root.",
     "leave it out; a program's own limit is LimitNOFILE=", NULL},
    {"fs.file-max", LINT_ANY, 0, 0, LINT_IDLE,
     "For all programs together, which hardly ever is what ends. A program runs into its own limit.",
     "LimitNOFILE= in the unit of the service", NULL},
    {"fs.nr_open", LINT_BELOW, 1048576, 0, LINT_RISKY,
     "The most that any process may ask for, 1048576 by default: what asks for more than this "
     "fails to start.",
     "leave it out", NULL},
    {"fs.nr_open", LINT_ABOVE, 2147483584, 0, LINT_BAD, "The kernel takes 2147483584 at most.",
     "leave it out", NULL},
    {"fs.nr_open", LINT_ANY, 0, 0, LINT_FINE,
     "The most that any process may ask for. It raises no limit by itself.", NULL, NULL},
    {LINT_ULIMIT, LINT_ANY, 0, 0, LINT_FINE,
     "For this shell and what it starts from now on, not for services and not for the next login. "
     "Each connection takes a descriptor.",
     "for a service LimitNOFILE= in its unit", "time-wait-no-descriptor"},
    {LINT_PAM, LINT_ANY, 0, 0, LINT_FINE,
     "For what PAM lets in, from the next login on; services of systemd do not look at it, and '*' "
     "leaves out root.",
     "for a service LimitNOFILE= in its unit", NULL},
    {LINT_UNIT, LINT_ANY, 0, 0, LINT_FINE,
     "For services, from their next start on. Each connection takes a descriptor.", NULL, NULL},
    {LINT_CONTAINER, LINT_ANY, 0, 0, LINT_FINE,
     "For this container. Each connection takes a descriptor.", NULL, NULL},
    {LINT_NGINX, LINT_ANY, 0, 0, LINT_FINE,
     "nginx sets it for its workers. A proxied request takes two descriptors.", NULL, NULL},

    /* --- without effect, and gone --- */
    {"net.ipv4.tcp_sack", LINT_IS, 0, 0, LINT_RISKY,
     "Without SACK a connection recovers slowly from each loss. " NO_PORTS, "leave it at 1", NULL},
    {"net.ipv4.tcp_sack", LINT_ABOVE, 255, 0, LINT_BAD, BYTE, "leave it at 1", NULL},
    {"net.ipv4.tcp_sack", LINT_ANY, 0, 0, LINT_IDLE, "The default anyway. " NO_PORTS, NULL, NULL},
    {"net.ipv4.tcp_window_scaling", LINT_IS, 0, 0, LINT_RISKY,
     "Windows then end at 64 KiB: no connection gets more than that a round trip. " NO_PORTS,
     "leave it at 1", NULL},
    {"net.ipv4.tcp_window_scaling", LINT_ABOVE, 255, 0, LINT_BAD, BYTE, "leave it at 1", NULL},
    {"net.ipv4.tcp_window_scaling", LINT_ANY, 0, 0, LINT_IDLE, "The default anyway. " NO_PORTS,
     NULL, NULL},
    {"net.ipv4.tcp_dsack", LINT_ANY, 0, 0, LINT_FOREIGN, NO_PORTS, NULL, NULL},
    {"net.ipv4.tcp_fack", LINT_ANY, 0, 0, LINT_IDLE,
     "Without any effect since Linux 4.15; the file is still there. " NO_PORTS, "leave it out",
     NULL},
    {"net.ipv4.tcp_low_latency", LINT_ANY, 0, 0, LINT_IDLE,
     "Without any effect since Linux 4.14; the file is still there. " NO_PORTS, "leave it out",
     NULL},
    {"net.ipv4.tcp_no_metrics_save", LINT_ANY, 0, 0, LINT_IDLE,
     "Whether what was learned of a path is kept for the next connection. " NO_PORTS, NULL, NULL},
    {"net.ipv4.route.flush", LINT_ANY, 0, 0, LINT_IDLE, NO_CACHE, "leave it out", NULL},
    {"net.ipv4.route.max_size", LINT_ANY, 0, 0, LINT_IDLE, NO_CACHE, "leave it out", NULL},
    {"net.ipv4.route.gc_*", LINT_ANY, 0, 0, LINT_IDLE, NO_CACHE, "leave it out", NULL},
    {"net.ipv4.tcp_bic*", LINT_ANY, 0, 0, LINT_GONE, LONG_GONE, "leave it out", NULL},
    {"net.ipv4.tcp_vegas_*", LINT_ANY, 0, 0, LINT_GONE, LONG_GONE, "leave it out", NULL},
    {"net.ipv4.tcp_westwood", LINT_ANY, 0, 0, LINT_GONE, LONG_GONE, "leave it out", NULL},
    {"net.ipv4.tcp_abc", LINT_ANY, 0, 0, LINT_GONE, LONG_GONE, "leave it out", NULL},
    {"net.ipv4.tcp_dma_copybreak", LINT_ANY, 0, 0, LINT_GONE, LONG_GONE, "leave it out", NULL},
    {"net.ipv4.tcp_cookie_size", LINT_ANY, 0, 0, LINT_GONE, LONG_GONE, "leave it out", NULL},
    {"net.ipv4.tcp_max_ssthresh", LINT_ANY, 0, 0, LINT_GONE, LONG_GONE, "leave it out", NULL},
    {"net.ipv4.tcp_frto_response", LINT_ANY, 0, 0, LINT_GONE, LONG_GONE, "leave it out", NULL},
    {"net.ipv4.tcp_thin_dupack", LINT_ANY, 0, 0, LINT_GONE, LONG_GONE, "leave it out", NULL},
    {"net.core.hot_list_length", LINT_ANY, 0, 0, LINT_GONE, LONG_GONE, "leave it out", NULL},

    /* --- other systems --- */
    {"MaxUserPort", LINT_ANY, 0, 0, LINT_GONE,
     "Of Windows up to Server 2003. Since Vista and Server 2008 netsh sets the range of ports, which "
     "is 49152-65535 there.",
     "netsh int ipv4 set dynamicport tcp start=32768 num=32768", NULL},
    {"TcpTimedWaitDelay", LINT_ANY, 0, 0, LINT_RISKY,
     "Shortens TIME_WAIT of Windows, and with it what TIME_WAIT protects. Documented up to Server "
     "2003 (30 to 300 s); it needs a restart.",
     "more ports first: netsh int ipv4 set dynamicport; connections that are kept", NULL},
    {"StrictTimeWaitSeqCheck", LINT_ANY, 0, 0, LINT_FOREIGN,
     "Goes with TcpTimedWaitDelay: see there.", NULL, NULL},
    {"TcpNumConnections", LINT_ANY, 0, 0, LINT_GONE, OLD_WINDOWS, "leave it out", NULL},
    {"MaxFreeTcbs", LINT_ANY, 0, 0, LINT_GONE, OLD_WINDOWS, "leave it out", NULL},
    {"net.inet.*", LINT_ANY, 0, 0, LINT_FOREIGN, "Of FreeBSD and macOS, not of Linux.", NULL, NULL},
    {"net.inet6.*", LINT_ANY, 0, 0, LINT_FOREIGN, "Of FreeBSD and macOS, not of Linux.", NULL,
     NULL},
    {"kern.*", LINT_ANY, 0, 0, LINT_FOREIGN, "Of FreeBSD and macOS, not of Linux.", NULL, NULL},
    {0},
};
/* clang-format on */
