#include "setting.h"

/* The largest number of a plain int. */
#define INT_MOST 2147483647

/* The kernel keeps these times in an int, in ticks of 1 to 10 ms: what a tick of 1 ms leaves. */
#define SECONDS_MOST 2147483

/* fs.nr_open: the largest int that is a multiple of 64. */
#define FILES_MOST 2147483584

/* What is said holds for Linux 6.18, where bounds, defaults and effects were tried; where older
 * kernels differ that is told. A row is a SETTING_NUMBER unless it says otherwise. */
/* clang-format off */
const struct setting settings[] = {
    /* --- ports -------------------------------------------------------------------------------- */
    {.name = "net.ipv4.ip_local_port_range", .group = "ports",
     .kind = SETTING_RANGE, .preset = "32768 60999", .min = 1, .max = 65535, .unit = "ports",
     .since = "2.2",
     .brief = "ports that the kernel chooses from",
     .effect = "First and last port that connect() and bind() to port 0 choose from. A port\n"
               "may serve once for each destination: 28,232 connections to each of them.",
     .risk = "A service whose port lies in it loses that port to a client while it restarts: "
             "reserve it first. The first port may not lie below ip_unprivileged_port_start. "
             "First and last of different parity serve best.",
     .folklore = "\"1024 65535 costs nothing\": only with ip_local_reserved_ports. And connect() "
                 "slows down when half of the ports are in use, however many there are.",
     .scenario = "folklore-wide-range", .per_netns = true},
    {.name = "net.ipv4.ip_local_reserved_ports", .group = "ports",
     .kind = SETTING_PORTS, .preset = "", .max = 65535, .unit = "ports", .since = "2.6.35",
     .brief = "never chosen by the kernel itself",
     .effect = "Ports that the kernel never chooses by itself, neither for connect() nor for\n"
               "bind() to port 0. Whoever names one of them in bind() gets it as before.",
     .risk = "What is written replaces the whole list: keep what is reserved already. Each port "
             "reserved is one less for connect().",
     .folklore = "\"Reserves the port for a service\": any program may still bind it by number.",
     .scenario = "reserved-ports", .per_netns = true},
    {.name = "net.ipv4.ip_unprivileged_port_start", .group = "ports",
     .preset = "1024", .max = 65535, .unit = "port", .since = "4.11",
     .brief = "below it bind() needs a capability",
     .effect = "bind() to a port below this one needs CAP_NET_BIND_SERVICE; without it the\n"
               "answer is EACCES, before anybody looks whether the port is in use.",
     .risk = "Lowered, any user may take the port of a service that is down. It cannot be above "
             "the first port of ip_local_port_range.",
     .per_netns = true},
    {.name = "net.ipv4.ip_autobind_reuse", .group = "ports",
     .preset = "0", .max = 1, .unit = "", .since = "5.7",
     .brief = "bind() to port 0 may share ports",
     .effect = "1: when the range is used up, bind() to port 0 with SO_REUSEADDR shares a\n"
               "port with others that have SO_REUSEADDR and do not listen; 0: EADDRINUSE.",
     .risk = "Two programs may get the same port, and connect() to a destination that both want "
             "fails. IP_BIND_ADDRESS_NO_PORT does better, without a setting.",
     .scenario = "bind-before-connect", .per_netns = true},
    {.name = "net.ipv4.ip_nonlocal_bind", .group = "ports",
     .preset = "0", .max = 255, .unit = "", .since = "2.4",
     .brief = "bind() takes foreign addresses",
     .effect = "1: bind() takes IPv4 addresses that this host does not have (yet), as a\n"
               "standby server needs; 0: EADDRNOTAVAIL. IPv6 has a setting of its own.",
     .risk = "A mistyped address is no longer noticed: the server listens where nobody comes.",
     .folklore = "\"Cures EADDRNOTAVAIL of connect()\": that one is about used up ports.",
     .per_netns = true},

    /* --- TIME_WAIT ---------------------------------------------------------------------------- */
    {.name = "net.ipv4.tcp_tw_reuse", .group = "TIME_WAIT",
     .preset = "2", .max = 2, .unit = "", .since = "2.6",
     .brief = "connect() takes over TIME_WAITs",
     .effect = "Lets connect() choose a port whose TIME_WAIT for the same destination is\n"
               "older than tcp_tw_reuse_delay: 0 never, 1 always, 2 on the loopback alone.",
     .risk = "Needs timestamps at both ends. An old segment that is still under way is told "
             "apart by its timestamp alone. Before 4.19 there was no 2, and the default was 0.",
     .folklore = "\"Lets servers rebind\": only connect() heeds it, and only with ports that the "
                 "kernel chooses at connect(); bind() to port 0 never reuses a TIME_WAIT.",
     .scenario = "cure-tw-reuse", .per_netns = true},
    {.name = "net.ipv4.tcp_tw_reuse_delay", .group = "TIME_WAIT",
     .preset = "1000", .min = 1, .max = 60000, .unit = "ms", .since = "6.14",
     .brief = ".. that are as old as this, in ms",
     .effect = "How old a TIME_WAIT must be for tcp_tw_reuse to let connect() take its port.\n"
               "Kernels that have no such setting wait for 1 s.",
     .risk = "Must not be shorter than a tick of the peer's timestamp clock, or old segments "
             "look new: 1 ms on Linux of today, 10 ms on others, 1 s is allowed.",
     .scenario = "tw-reuse-delay", .per_netns = true},
    {.name = "net.ipv4.tcp_fin_timeout", .group = "TIME_WAIT",
     .preset = "60", .max = SECONDS_MOST, .unit = "s", .since = "2.2",
     .brief = "length of FIN_WAIT_2, not TIME_WAIT",
     .effect = "How long a closed connection waits in FIN_WAIT_2 for the peer to close too;\n"
               "above 60 it is twice what is beyond 60. TIME_WAIT lasts 60 s whatever it is.",
     .risk = "Lowered, a peer that is slow to close gets a reset, and what it still sends is "
             "lost.",
     .folklore = "\"Shortens TIME_WAIT\": it does not. TIME_WAIT is a constant of the kernel.",
     .scenario = "folklore-fin-timeout", .per_netns = true},
    {.name = "net.ipv4.tcp_max_tw_buckets", .group = "TIME_WAIT",
     .max = INT_MOST, .unit = "sockets", .since = "2.4",
     .brief = "most TIME_WAITs at a time",
     .effect = "The most TIME_WAITs at a time. Beyond it a connection that closes gets none:\n"
               "its port is free before it is safe. TcpExtTCPTimeWaitOverflow counts that.",
     .risk = "Raised it costs memory, 256 bytes and more for each TIME_WAIT that there is.",
     .folklore = "\"Lower it to get rid of TIME_WAIT\": what it gets rid of is what keeps old "
                 "segments out of new connections.",
     .danger = DANGER_LOWER,
     .loss = "connections beyond it end without TIME_WAIT: a lost last ACK becomes a reset at "
             "the peer, and old data may get into a new connection on the same ports",
     .scenario = "folklore-tw-buckets", .per_netns = true},
    {.name = "net.ipv4.tcp_timestamps", .group = "TIME_WAIT",
     .preset = "1", .max = 255, .unit = "", .since = "2.2",
     .brief = "tell old segments from new",
     .effect = "A clock in every segment: 0 off, 1 on with an offset for each peer, 2 on\n"
               "without. It tells old segments from new, and so makes TIME_WAIT reusable.",
     .risk = "0 stops tcp_tw_reuse, and any other use of a TIME_WAIT by its own client; round "
             "trips are measured worse.",
     .folklore = "\"Off saves CPU\": it saves 12 bytes a segment, and costs the reuse of ports.",
     .danger = DANGER_ZERO,
     .loss = "old segments are told from new by their sequence numbers alone: old data may get "
             "into a new connection, and no TIME_WAIT is reused any more",
     .scenario = "tw-reuse-no-timestamps", .per_netns = true},
    {.name = "net.ipv4.tcp_rfc1337", .group = "TIME_WAIT",
     .preset = "0", .max = 255, .unit = "", .since = "2.2",
     .brief = "a reset does not end TIME_WAIT",
     .effect = "1: a reset does not end TIME_WAIT. 0: a reset with exactly the right number\n"
               "does, and so one old segment that provokes it (RFC 1337).",
     .risk = "A peer that resets on purpose cannot free the tuple any more.",
     .folklore = "\"Off prevents assassination\", as the kernel's documentation has it: on does.",
     .scenario = "assassination-refused", .per_netns = true},

    /* --- ends --------------------------------------------------------------------------------- */
    {.name = "net.ipv4.tcp_max_orphans", .group = "retries and ends",
     .max = INT_MOST, .unit = "sockets", .since = "2.4",
     .brief = "most closed sockets not yet at rest",
     .effect = "The most closed connections that still have something to send or to hear.\n"
               "What is closed beyond it is reset. TIME_WAIT does not count. For the host.",
     .risk = "Each orphan may hold up to some 64 KiB of memory that cannot be swapped out.",
     .danger = DANGER_LOWER,
     .loss = "connections beyond it are reset at close(), and what they had not yet sent is lost",
     .scenario = "peer-vanished-fin"},
    {.name = "net.ipv4.tcp_orphan_retries", .group = "retries and ends",
     .preset = "0", .max = 255, .unit = "tries", .since = "2.4",
     .brief = "tries of a closed one; 0 is 8",
     .effect = "How often a closed connection sends its last data and FIN again to a silent\n"
               "peer. 0 stands for 8, at least 100 s; it holds its port as long.",
     .risk = "Fewer tries lose the end of a reply to a peer that was away for a moment.",
     .folklore = "\"0 means none\": it means 8, the default. 1 is the least.",
     .scenario = "peer-vanished-fin", .per_netns = true},
    {.name = "net.ipv4.tcp_retries2", .group = "retries and ends",
     .preset = "15", .max = 255, .unit = "tries", .since = "2.2",
     .brief = "tries before an open one gives up",
     .effect = "How often an open connection sends data again before it gives up with\n"
               "ETIMEDOUT: 15 is at least 924 s, 8 some 100 s. An idle one never gives up.",
     .risk = "Lowered, connections break in outages that they would have lived through. "
             "TCP_USER_TIMEOUT does it for one socket.",
     .scenario = "peer-vanished", .per_netns = true},
    {.name = "net.ipv4.tcp_syn_retries", .group = "retries and ends",
     .preset = "6", .min = 1, .max = 127, .unit = "tries", .since = "2.2",
     .brief = "tries of connect() before ETIMEDOUT",
     .effect = "How often connect() sends its SYN again before ETIMEDOUT: 6 is some 130 s,\n"
               "the more so with tcp_syn_linear_timeouts (6.5). It holds a port as long.",
     .risk = "Too few, and a server whose accept queue is full for some seconds is given up.",
     .per_netns = true},
    {.name = "net.ipv4.tcp_synack_retries", .group = "retries and ends",
     .preset = "5", .max = 255, .unit = "tries", .since = "2.2",
     .brief = "tries of a server to answer a SYN",
     .effect = "How often a server answers a SYN again when the client is silent: 5 is 63 s.\n"
               "The request (SYN_RECV) takes a place in the queue as long, but no port.",
     .risk = "Too few, and clients far away over bad lines do not get through.",
     .per_netns = true},
    {.name = "net.ipv4.tcp_keepalive_time", .group = "retries and ends",
     .preset = "7200", .min = 1, .max = SECONDS_MOST, .unit = "s", .since = "2.2",
     .brief = "idle time before the first question",
     .effect = "How long a connection must be idle before the kernel asks whether the peer\n"
               "is there. Only sockets with SO_KEEPALIVE ask; TCP_KEEPIDLE sets it for one.",
     .risk = "Short times wake sleeping devices, and make traffic where there was none.",
     .folklore = "\"Closes idle connections\": a peer that answers is kept for ever.",
     .scenario = "peer-vanished", .per_netns = true},
    {.name = "net.ipv4.tcp_keepalive_intvl", .group = "retries and ends",
     .preset = "75", .min = 1, .max = SECONDS_MOST, .unit = "s", .since = "2.4",
     .brief = "time between two questions",
     .effect = "Time between two such questions while no answer comes. Only of sockets with\n"
               "SO_KEEPALIVE; TCP_KEEPINTVL sets it for one.",
     .scenario = "peer-vanished", .per_netns = true},
    {.name = "net.ipv4.tcp_keepalive_probes", .group = "retries and ends",
     .preset = "9", .max = 255, .unit = "tries", .since = "2.2",
     .brief = "questions before it is given up",
     .effect = "How many such questions go unanswered before the connection ends with\n"
               "ETIMEDOUT: with the defaults after 2 h 11 min. TCP_KEEPCNT sets it for one.",
     .risk = "Few of them end a good connection in a short outage.",
     .scenario = "peer-vanished", .per_netns = true},

    /* --- queues ------------------------------------------------------------------------------- */
    {.name = "net.core.somaxconn", .group = "queues",
     .preset = "4096", .max = INT_MOST, .unit = "connections", .since = "2.4.25",
     .brief = "longest accept queue",
     .effect = "The most connections that wait for accept() at one listener: the backlog of\n"
               "listen() is cut to it. A full queue drops the handshake's end, and SYNs.",
     .risk = "A long queue hides a server that is too slow: clients wait and give up in it. "
             "Before 5.4 the default was 128.",
     .folklore = "\"Helps at once\": it is read at listen(), so servers must listen() again; and "
                 "a program that asks for 128 gets no more.",
     .scenario = "accept-queue-full", .per_netns = true},
    {.name = "net.ipv4.tcp_max_syn_backlog", .group = "queues",
     .max = INT_MOST, .unit = "requests", .since = "2.2",
     .brief = "idle while tcp_syncookies is on",
     .effect = "With tcp_syncookies=0 new SYNs are dropped when three quarters of so many\n"
               "requests (SYN_RECV) wait at a listener. With cookies it does nothing.",
     .folklore = "\"Raise it with somaxconn\": with tcp_syncookies on, as is the default, the "
                 "queue of requests is as long as the backlog of listen().",
     .per_netns = true},
    {.name = "net.ipv4.tcp_syncookies", .group = "queues",
     .preset = "1", .max = 255, .unit = "", .since = "2.2",
     .brief = "answer SYNs beyond a full queue",
     .effect = "1: when a listener's queue of requests is full, SYNs are answered without\n"
               "keeping anything (a cookie); 2: always; 0: never, they are dropped.",
     .risk = "0 lets a flood of SYNs shut a server. A cookie without timestamps loses window "
             "scaling and SACK of that connection.",
     .folklore = "\"Raises the limit of connections\": it does not touch the accept queue.",
     .per_netns = true},
    {.name = "net.ipv4.tcp_abort_on_overflow", .group = "queues",
     .preset = "0", .max = 255, .unit = "", .since = "2.4",
     .brief = "full accept queue: reset, not wait",
     .effect = "1: a handshake that ends while the accept queue is full is answered with a\n"
               "reset; 0: it is ignored, and the client sends again until there is room.",
     .risk = "A burst that would have passed in a second becomes errors at the clients, and what "
             "they had sent already is lost.",
     .scenario = "accept-queue-full", .per_netns = true},
    {.name = "net.ipv4.tcp_migrate_req", .group = "queues",
     .preset = "0", .max = 1, .unit = "", .since = "5.14",
     .brief = "closed listener: others take over",
     .effect = "1: connections that wait for accept() at a listener that is closed go to\n"
               "another of its SO_REUSEPORT group; 0: they are reset.",
     .risk = "The other listener must be able to serve them: same protocol, same settings.",
     .scenario = "listener-closed-pending", .per_netns = true},
    {.name = "net.ipv4.tcp_fastopen", .group = "queues",
     .preset = "1", .max = INT_MOST, .unit = "bits", .since = "3.7",
     .brief = "data in the SYN",
     .effect = "Data in the SYN, for programs that ask for it: 1 as client, 2 as server,\n"
               "3 both. It saves a round trip, and neither a port nor a TIME_WAIT.",
     .risk = "A SYN that comes twice may be served twice; some networks drop such SYNs.",
     .folklore = "\"More connections\": each still needs its own source port.",
     .per_netns = true},
    {.name = "net.core.netdev_max_backlog", .group = "queues",
     .preset = "1000", .max = INT_MOST, .unit = "packets", .since = "2.2",
     .brief = "packets waiting for a processor",
     .effect = "Packets that wait for one processor between a device and the protocols, as\n"
               "on the loopback; beyond it they are dropped. Most network cards do without.",
     .risk = "Longer queues, longer delays.",
     .folklore = "\"Helps servers under load\": only when the second column of "
                 "/proc/net/softnet_stat grows."},

    /* --- files -------------------------------------------------------------------------------- */
    {.name = "limit.nofile", .group = "files",
     .kind = SETTING_LIMIT, .preset = "1024 4096", .max = FILES_MOST, .unit = "descriptors",
     .since = "2.2",
     .brief = "descriptors of this process",
     .effect = "Descriptors of one process (RLIMIT_NOFILE): what holds, and up to where it\n"
               "may raise that itself. An open connection takes one; beyond it EMFILE.",
     .risk = "Programs that use select() break beyond 1024 unless they are made for it.",
     .folklore = "\"TIME_WAIT uses up descriptors\": it belongs to no process and takes none. "
                 "And limits.conf does not reach services: systemd has LimitNOFILE=.",
     .scenario = "time-wait-no-descriptor"},
    {.name = "fs.nr_open", .group = "files",
     .preset = "1048576", .min = 64, .max = FILES_MOST, .unit = "descriptors", .since = "2.6.25",
     .brief = "highest limit of descriptors",
     .effect = "The highest RLIMIT_NOFILE that anybody may set, root included. It changes no\n"
               "limit that a process has already.",
     .risk = "A process may then take much more memory for its table of descriptors."},
    {.name = "fs.file-max", .group = "files",
     .max = INT64_MAX, .unit = "files", .since = "2.2",
     .brief = "open files of all processes",
     .effect = "Open files of all processes together; beyond it ENFILE, but not for root.\n"
               "systemd raises it to the largest number there is.",
     .risk = "Lowered, programs that have nothing to do with the network fail too.",
     .folklore = "\"Cures 'Too many open files'\": that is EMFILE, the limit of the process."},

    /* --- memory ------------------------------------------------------------------------------- */
    {.name = "net.ipv4.tcp_mem", .group = "memory",
     .kind = SETTING_NUMBERS, .max = INT64_MAX, .unit = "pages", .since = "2.4",
     .brief = "memory of all of TCP, in pages",
     .effect = "Memory of all TCP sockets of the host: where all is well, where it becomes\n"
               "sparing, and where it drops what comes. In pages, not in bytes.",
     .risk = "Numbers meant as bytes are 4096 times as much: TCP may then eat all memory.",
     .folklore = "\"Three equal large numbers are best\": there is nothing left that brakes."},
    {.name = "net.ipv4.tcp_rmem", .group = "memory",
     .kind = SETTING_NUMBERS, .min = 1, .max = INT_MOST, .unit = "bytes", .since = "2.4",
     .brief = "receive buffer: least, first, most",
     .effect = "Receive buffer of a connection: least, at first, and how far it grows by\n"
               "itself: 4096 131072 and 32 MiB, older kernels 6 MiB, with little RAM less.",
     .risk = "With many connections the first two decide: large ones run into tcp_mem.",
     .folklore = "\"Large buffers carry more connections\": they carry fewer.",
     .per_netns = true},
    {.name = "net.ipv4.tcp_wmem", .group = "memory",
     .kind = SETTING_NUMBERS, .min = 1, .max = INT_MOST, .unit = "bytes", .since = "2.4",
     .brief = "send buffer: least, first, most",
     .effect = "Send buffer of a connection: least, at first, and how far it grows by\n"
               "itself: 4096 16384 and 4 MiB, with little RAM less.",
     .risk = "Large ones let a program write far ahead of a slow peer, and fill memory.",
     .per_netns = true},
    {.name = "net.core.rmem_max", .group = "memory",
     .min = 2304, .max = INT_MOST, .unit = "bytes", .since = "2.2",
     .brief = "largest SO_RCVBUF; not TCP's own",
     .effect = "The largest SO_RCVBUF that a program may ask for: 4 MiB by default, on older\n"
               "kernels 208 KiB. What TCP does by itself heeds tcp_rmem alone.",
     .risk = "Every user may then bind as much memory with each socket.",
     .folklore = "\"TCP needs it for speed\": a program that sets SO_RCVBUF turns off the "
                 "growing by itself, which knows better."},
    {.name = "net.core.wmem_max", .group = "memory",
     .min = 4608, .max = INT_MOST, .unit = "bytes", .since = "2.2",
     .brief = "largest SO_SNDBUF; not TCP's own",
     .effect = "The largest SO_SNDBUF that a program may ask for: 4 MiB by default, on older\n"
               "kernels 208 KiB. What TCP does by itself heeds tcp_wmem alone.",
     .risk = "Every user may then bind as much memory with each socket."},

    /* --- conntrack ---------------------------------------------------------------------------- */
    {.name = "net.netfilter.nf_conntrack_max", .group = "conntrack",
     .max = INT_MOST, .unit = "entries", .since = "2.6.15",
     .brief = "tracked connections; then drops",
     .effect = "Connections that one network namespace may track; beyond it packets of new\n"
               "ones are dropped: time-outs, no error. Set by the host alone, for all.",
     .risk = "Each entry takes 256 bytes and more; raise nf_conntrack_buckets with it, or "
             "looking one up becomes slow.",
     .folklore = "\"Only routers need it\": any rule with NAT or ct state tracks."},
    {.name = "net.netfilter.nf_conntrack_buckets", .group = "conntrack",
     .min = 1, .max = INT_MOST, .unit = "buckets", .since = "2.6.15",
     .brief = "size of their hash",
     .effect = "Size of the hash of tracked connections, for the whole host. As many as\n"
               "nf_conntrack_max keep it quick. Written by the host alone, since 4.8.",
     .risk = "A new size sorts all entries anew: tracking stands still for a moment."},
    {.name = "net.netfilter.nf_conntrack_tcp_timeout_time_wait", .group = "conntrack",
     .preset = "120", .max = SECONDS_MOST, .unit = "s", .since = "2.6.15",
     .brief = "how long: after an orderly end",
     .effect = "How long a tracked connection is remembered after an orderly end: an entry,\n"
               "and with NAT its port. Twice the TIME_WAIT of sockets, which it is not.",
     .risk = "Too short, and a FIN that comes again finds no entry: with NAT it goes astray.",
     .folklore = "\"Shortens TIME_WAIT\": only that of the table of connections.",
     .per_netns = true},
    {.name = "net.netfilter.nf_conntrack_tcp_timeout_fin_wait", .group = "conntrack",
     .preset = "120", .max = SECONDS_MOST, .unit = "s", .since = "2.6.15",
     .brief = "how long: when one side has closed",
     .effect = "How long a tracked connection is remembered when one side has closed and\n"
               "nothing more comes.",
     .risk = "Too short, and a slow answer after a half close finds no entry.",
     .per_netns = true},
    {.name = "net.netfilter.nf_conntrack_tcp_timeout_close", .group = "conntrack",
     .preset = "10", .max = SECONDS_MOST, .unit = "s", .since = "2.6.15",
     .brief = "how long: after a reset",
     .effect = "How long a tracked connection is remembered after a reset: an entry, and\n"
               "with NAT its port.",
     .per_netns = true},
    {.name = "net.netfilter.nf_conntrack_tcp_timeout_established", .group = "conntrack",
     .preset = "432000", .max = SECONDS_MOST, .unit = "s", .since = "2.6.15",
     .brief = "how long: open and idle",
     .effect = "How long an idle open connection is remembered: 5 days. Those whose peers\n"
               "have vanished fill the table as long.",
     .risk = "Shorter than keep-alive (tcp_keepalive_time, 2 h), idle connections are forgotten "
             "and hang, or are reset by a firewall.",
     .per_netns = true},
    {.name = NULL},
};
