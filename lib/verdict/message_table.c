#include <errno.h>

#include "message_parts.h"

#define USED        EADDRINUSE
#define UNAVAILABLE EADDRNOTAVAIL
#define ANY         TW_MESSAGE_ANY
#define BIND        TW_MESSAGE_BIND
#define LISTEN      TW_MESSAGE_LISTEN
#define CONNECT     TW_MESSAGE_CONNECT
#define WEAK        PATTERN_WEAK
#define BEFORE      PATTERN_BEFORE
#define PLACE       PATTERN_PLACE
#define UDP         PATTERN_UDP

const struct message_wording message_wordings[] = {
    {"address already in use", USED, false},
    {"address in use", USED, false},
    {"EADDRINUSE", USED, false},
    {"WSAEADDRINUSE", USED, false},
    {"AddrInUse", USED, false},
    {"only one usage of each socket address", USED, false},
    {"port is already allocated", USED, false},
    {"connection in use: ", USED, false},
    {"[Errno 98]", USED, false},
    {"[WinError 10048]", USED, false},
    {"os error 98)", USED, false},
    {"os error 10048)", USED, false},
    {"cannot assign requested address", UNAVAILABLE, false},
    {"can't assign requested address", UNAVAILABLE, false},
    {"address not available", UNAVAILABLE, false},
    {"EADDRNOTAVAIL", UNAVAILABLE, false},
    {"WSAEADDRNOTAVAIL", UNAVAILABLE, false},
    {"AddrNotAvailable", UNAVAILABLE, false},
    {"[Errno 99]", UNAVAILABLE, false},
    {"[WinError 10049]", UNAVAILABLE, false},
    {"os error 99)", UNAVAILABLE, false},
    {"requested address is not valid in its context", UNAVAILABLE, false},
    {"(99)", UNAVAILABLE, true},
    {"(99 ", UNAVAILABLE, true},
    {"immediate connect error: 99", UNAVAILABLE, true},
    {"no free ports", UNAVAILABLE, true},
    {" already in use", USED, true},
    {" is in use", USED, true},
    {"may already be in use", USED, true},
    {"already running on port", USED, true},
    {"already listen on", USED, true},
    {"permission denied", EACCES, true},
    {"EACCES", EACCES, true},
    {"expose privileged port", EACCES, true},
    {"invalid argument", EINVAL, true},
    {"EINVAL", EINVAL, true},
    {"resource temporarily unavailable", EAGAIN, true},
    {0},
};

#define SERVER_USED                                                                          \
    "Another socket holds this address and port, or one that overlaps it. It need not be a " \
    "running server: TIME_WAIT, a leftover connection or an outgoing one can hold it too."
#define CLIENT_USED                                                                             \
    "A client's error, not a server's: this client binds its socket before connect(), and the " \
    "port that it wants, or every port of the range, is taken on its source address."
#define CLIENT_UNAVAILABLE                                                                  \
    "Not the server's fault: this host has no source port left for this destination, most " \
    "often because TIME_WAIT fills the range. Rarer: it has no address of that family."
#define SERVER_UNAVAILABLE                                                                      \
    "The address is not on an interface of the host (or container) where the program runs, or " \
    "was not there yet when it started."
#define EITHER_UNAVAILABLE                                                                   \
    "From bind(): the address is not on this host. From connect(): this host has no source " \
    "port left for the destination."
#define WINDOWS_CONNECT                                                                       \
    "Not a server's problem: connect() of a client on Windows ran out of source ports, most " \
    "often because TIME_WAIT holds them. On Linux the same reads Cannot assign requested address."
#define JAVA_CONNECT                                                                             \
    "Java says BindException, but the stack shows connect(): this host has no source port left " \
    "for the destination. It is not a server's problem."
#define JAVA_EITHER                                                                               \
    "Java throws BindException for bind() and for connect() alike. With bind() in the stack the " \
    "address is not on this host; with connect() no source port is left for the destination."
#define NET_EITHER                                                                            \
    "From Bind: another socket holds the address. From Connect: not a server's problem, the " \
    "client's host ran out of source ports."
#define NGINX_UPSTREAM                                                                       \
    "nginx is the client here: its host has no source port left for this upstream. Keeping " \
    "connections to the upstream alive cures it."
#define NGINX_PROXY_BIND                                                                     \
    "nginx is the client here: bind() to the proxy_bind address failed, either because the " \
    "address is not on this host or because no port of it is left."
#define DOCKER_BOOKS                                                                     \
    "Docker's own bookkeeping says so, not the kernel: another container has this port " \
    "published, or Docker did not forget one that had."
#define DOCKER_HOST                                                                      \
    "The kernel refused Docker the port on the host: a program outside of Docker, or a " \
    "docker-proxy that was left behind, holds it."
#define GUNICORN                                                                                 \
    "gunicorn's words for EADDRINUSE from bind(). It tries a few times, a second apart, before " \
    "it gives up."
#define LOCAL_FORWARD                                                                        \
    "ssh could not open its own end of a forwarding (-L, -D, -R): another socket holds the " \
    "port, often an ssh that still runs in the background."
#define HAPROXY_PORTS \
    "HAProxy is the client here: its source range for this backend has no port left."
#define FPM_RUNNING \
    "php-fpm reached a process that answers on this Unix socket: the other one runs."
#define POSTGRES_UNIX \
    "Another server is on this Unix socket, or its file was left behind by one that died."
#define PORT_TAKEN \
    "The program tried the port and found it taken: another socket listens on it or holds it."

/* Most specific first. */
const struct message_pattern message_patterns[] = {
    {"strace", "bind(", " = -1 E", BIND, 0, WEAK, NULL},
    {"strace", "listen(", " = -1 EADDR", LISTEN, 0, 0, NULL},
    {"strace", "connect(", " = -1 EADDR", CONNECT, 0, 0, NULL},

    {"nginx", "connect() to ", "while connecting to upstream", CONNECT, UNAVAILABLE, 0,
     NGINX_UPSTREAM},
    {"nginx", "bind(", "while connecting to upstream", CONNECT, 0, 0, NGINX_PROXY_BIND},
    {"Exim", "socket bind() to port", NULL, BIND, 0, WEAK, NULL},
    {"nginx", "bind() to ", "failed (", BIND, 0, WEAK, NULL},
    {"nginx", "listen() to ", "failed (", LISTEN, 0, WEAK, NULL},
    {"nginx", "connect() to ", "failed (", CONNECT, 0, 0, NULL},
    {"Apache", "make_sock: could not bind to address", NULL, BIND, 0, WEAK, NULL},
    {"Apache", "AH00072", NULL, BIND, 0, WEAK, NULL},
    {"ab", "apr_socket_connect()", NULL, CONNECT, 0, 0, NULL},
    {"HAProxy", "cannot bind socket (", NULL, BIND, 0, WEAK, NULL},
    {"HAProxy", "connect() failed for backend", "no free ports", CONNECT, 0, WEAK, HAPROXY_PORTS},
    {"HAProxy", "connect() failed for backend", NULL, CONNECT, 0, 0, NULL},
    {"Envoy", "cannot bind '", NULL, BIND, 0, WEAK, NULL},
    {"Envoy", "immediate connect error: ", NULL, CONNECT, 0, WEAK, NULL},
    {"Squid", "commBind:", NULL, BIND, 0, WEAK, NULL},
    {"Varnish", "could not get socket", NULL, BIND, 0, WEAK, NULL},
    {"lighttpd", "can't bind to socket:", NULL, BIND, 0, WEAK, NULL},

    {"Docker", "port is already allocated", NULL, BIND, 0, 0, DOCKER_BOOKS},
    {"Docker", "driver failed programming external connectivity", NULL, BIND, USED, 0, DOCKER_HOST},
    {"Docker", "error while calling PortManager.AddPort", NULL, BIND, 0, WEAK, NULL},
    {"Docker", "error starting userland proxy", NULL, BIND, USED, 0, DOCKER_HOST},
    {"Docker", "failed to bind host port for", NULL, BIND, USED, 0, DOCKER_HOST},
    {"Docker", "ports are not available", NULL, BIND, USED, 0, DOCKER_HOST},
    {"Docker", "driver failed programming external connectivity", NULL, BIND, 0, WEAK, NULL},
    {"Docker", "failed to bind host port for", NULL, BIND, 0, WEAK, NULL},
    {"Podman", "rootlessport", NULL, BIND, 0, WEAK, NULL},

    {"PostgreSQL", "could not bind Unix address", NULL, BIND, USED, 0, POSTGRES_UNIX},
    {"PostgreSQL", "could not bind Unix address", NULL, BIND, 0, WEAK, NULL},
    {"PostgreSQL", "could not bind IPv4 address", NULL, BIND, 0, WEAK, NULL},
    {"PostgreSQL", "could not bind IPv6 address", NULL, BIND, 0, WEAK, NULL},
    {"PostgreSQL client", "connection to server at", NULL, CONNECT, 0, 0, NULL},
    {"PostgreSQL client", "could not connect to server: ", NULL, CONNECT, 0, 0, NULL},
    {"MySQL", "can't start server", NULL, BIND, 0, WEAK, NULL},
    {"MySQL", "setup of bind-address", NULL, BIND, 0, WEAK, NULL},
    {"MySQL client", "can't connect to MySQL server on", NULL, CONNECT, UNAVAILABLE, WEAK, NULL},
    {"MySQL client", "can't connect to server on", NULL, CONNECT, UNAVAILABLE, WEAK, NULL},
    {"Redis", "creat", "server TCP listening socket", BIND, 0, WEAK, NULL},
    {"Redis client", "could not connect to Redis at", NULL, CONNECT, 0, 0, NULL},
    {"Valkey client", "could not connect to Valkey at", NULL, CONNECT, 0, 0, NULL},
    {"memcached", "failed to listen on TCP port", NULL, BIND, 0, WEAK, NULL},
    {"memcached", "failed to listen on UDP port", NULL, BIND, 0, WEAK | UDP, NULL},
    {"MongoDB", "failed to set up listener", NULL, BIND, 0, WEAK, NULL},
    {"Kafka", "socket server failed to bind to", NULL, BIND, 0, WEAK, NULL},
    {"Elasticsearch", "BindHttpException", NULL, BIND, 0, 0, NULL},

    {"ssh", "ssh: connect to host", NULL, CONNECT, 0, 0, NULL},
    {"sshd", "bind to port", "on ", BIND, 0, WEAK, NULL},
    {"ssh", "bind [", "]:", BIND, 0, WEAK, LOCAL_FORWARD},
    {"dnsmasq", "failed to create listening socket for", NULL, BIND, 0, WEAK, NULL},
    {"BIND", "could not listen on UDP socket", NULL, BIND, 0, WEAK | UDP, NULL},
    {"BIND", "could not listen on TCP socket", NULL, BIND, 0, WEAK, NULL},
    {"BIND", "creating TCP socket", NULL, BIND, 0, WEAK, NULL},
    {"systemd", "failed to create listening socket", NULL, BIND, 0, WEAK, NULL},
    {"systemd", "failed to listen on sockets", NULL, BIND, 0, WEAK, NULL},
    {"Postfix", "fatal: bind ", NULL, BIND, 0, WEAK, NULL},
    {"Dovecot", "error: bind(", NULL, BIND, 0, WEAK, NULL},
    {"vsftpd", "could not bind listening IPv", NULL, BIND, 0, WEAK, NULL},
    {"OpenVPN", "socket bind failed on local address", NULL, BIND, 0, WEAK | UDP, NULL},
    {"chrony", "could not bind IPv", "UDP socket", BIND, 0, WEAK | UDP, NULL},
    {"CUPS", "unable to open listen socket for address", NULL, BIND, 0, WEAK, NULL},
    {"ip or wg", "RTNETLINK answers:", NULL, BIND, USED, UDP,
     "The kernel's own socket could not be bound: an interface such as WireGuard or VXLAN wants a "
     "UDP port that is taken."},
    {"socat", " E bind(", NULL, BIND, 0, WEAK, NULL},
    {"socat", " E connect(", NULL, CONNECT, 0, 0, NULL},
    {"Ncat", "Ncat: bind to", NULL, BIND, 0, WEAK, NULL},
    {"iperf3", "unable to start listener", NULL, BIND, 0, WEAK, NULL},

    {"curl", "immediate connect fail for", NULL, CONNECT, 0, 0, NULL},
    {"curl", "bind failed with errno", NULL, CONNECT, UNAVAILABLE, 0,
     "curl's own end: the address of --interface is not on this host."},
    {"curl", "bind failed with errno", NULL, CONNECT, 0, 0, NULL},
    {"curl", "* connect to ", NULL, CONNECT, 0, 0, NULL},
    {"git", "errno=", "unable to connect to", CONNECT, 0, BEFORE, NULL},

    {"gunicorn", "connection in use: ", NULL, BIND, 0, 0, GUNICORN},
    {"Python", "while attempting to bind on address", NULL, BIND, 0, WEAK, NULL},
    {"Python", "urlopen error", NULL, CONNECT, 0, 0, NULL},
    {"Python", "failed to establish a new connection", NULL, CONNECT, 0, 0, NULL},
    {"Python", "cannot connect to host", NULL, CONNECT, 0, 0, NULL},
    {"Python", "[Errno ", ".connect(", CONNECT, 0, BEFORE, NULL},
    {"Python", "[Errno ", "create_connection", CONNECT, 0, BEFORE, NULL},
    {"Python", "[Errno ", ".listen(", LISTEN, USED, BEFORE, NULL},
    {"Python", "[Errno ", "bind(", BIND, 0, BEFORE | WEAK, NULL},
    {"Python", "[Errno ", "create_server", BIND, 0, BEFORE | WEAK, NULL},
    {"Python", "[Errno ", NULL, ANY, 0, 0, NULL},
    {"Python", "[WinError ", "connect(", CONNECT, USED, BEFORE, WINDOWS_CONNECT},
    {"Python", "[WinError ", "bind(", BIND, 0, BEFORE, NULL},
    {"Python", "[WinError ", NULL, ANY, 0, 0, NULL},

    {"Node.js", "listen EADDR", NULL, BIND, 0, 0, NULL},
    {"Node.js", "listen EACCES", NULL, BIND, 0, WEAK, NULL},
    {"Node.js", "listen EINVAL", NULL, BIND, 0, WEAK, NULL},
    {"Node.js", "connect EADDR", NULL, CONNECT, 0, 0, NULL},
    {"Node.js", "bind EADDR", "dgram", BIND, 0, UDP, NULL},
    {"Node.js", "bind EADDR", NULL, BIND, 0, 0, NULL},
    {"Node.js", "bind EACCES", "dgram", BIND, 0, WEAK | UDP, NULL},
    {"Node.js", "bind EACCES", NULL, BIND, 0, WEAK, NULL},
    {"Node.js", "code: 'EADDR", "syscall: 'connect'", CONNECT, 0, 0, NULL},
    {"Node.js", "code: 'EADDR", "syscall: 'listen'", BIND, 0, 0, NULL},
    {"Node.js", "code: 'EADDR", NULL, ANY, 0, 0, NULL},

    {"Ruby", "- bind(2)", NULL, BIND, 0, WEAK, NULL},
    {"Ruby", "- listen(2)", NULL, LISTEN, 0, 0, NULL},
    {"Ruby", "- connect(2)", NULL, CONNECT, 0, 0, NULL},
    {"Ruby", "Errno::EADDR", NULL, ANY, 0, 0, NULL},
    {"Elixir", ":ranch", " :eaddr", BIND, 0, 0, NULL},
    {"Elixir", " :eaddr", NULL, ANY, 0, 0, NULL},
    {"Erlang", "listen", ",eaddr", BIND, 0, 0, NULL},
    {"Erlang", ",eaddr", NULL, ANY, 0, 0, NULL},
    {"Perl", "IO::Socket::INET: connect:", NULL, CONNECT, 0, 0, NULL},
    {"Perl", "IO::Socket::INET:", NULL, BIND, 0, 0, NULL},
    {"PHP", "failed to listen on", "reason:", BIND, 0, WEAK, NULL},
    {"PHP", "stream_socket_server()", NULL, BIND, 0, WEAK, NULL},
    {"PHP", "stream_socket_client()", NULL, CONNECT, 0, 0, NULL},
    {"PHP", "fsockopen()", NULL, CONNECT, 0, 0, NULL},
    {"PHP", "socket_bind()", NULL, BIND, 0, WEAK, NULL},
    {"PHP", "socket_connect()", NULL, CONNECT, 0, 0, NULL},
    {"PHP", "SQLSTATE[HY000] [2002]", NULL, CONNECT, 0, 0, NULL},
    {"PHP", "(HY000/2002)", NULL, CONNECT, 0, 0, NULL},
    {"php-fpm", "unable to bind listening socket", NULL, BIND, 0, WEAK, NULL},
    {"php-fpm", "another FPM instance seems to", NULL, BIND, USED, WEAK, FPM_RUNNING},

    {"Java", "already in use: connect", NULL, CONNECT, 0, 0, WINDOWS_CONNECT},
    {"Java", "already in use: bind", NULL, BIND, 0, 0, NULL},
    {"Java", "already in use: JVM_Bind", NULL, BIND, 0, 0, NULL},
    {"Java", "already in use: NET_Bind", NULL, BIND, 0, 0, NULL},
    {"Java", "(connect failed)", NULL, CONNECT, 0, 0, NULL},
    {"Java", "(bind failed)", NULL, BIND, 0, WEAK, NULL},
    {"Java", "problem binding to", NULL, BIND, 0, 0, NULL},
    {"Java", "NoRouteToHostException", NULL, CONNECT, 0, 0, NULL},
    {"Java", "AnnotatedConnectException", NULL, CONNECT, 0, 0, NULL},
    {"Java", "ConnectException", NULL, CONNECT, 0, 0, NULL},
    {"Java", "connect(..) failed", NULL, CONNECT, 0, 0, NULL},
    {"Java", "bind(..) failed", NULL, BIND, 0, WEAK, NULL},
    {"Java", "BindException", "ch.Net.connect", CONNECT, UNAVAILABLE, 0, JAVA_CONNECT},
    {"Java", "BindException", "socketConnect", CONNECT, UNAVAILABLE, 0, JAVA_CONNECT},
    {"Java", "BindException", "java.net.Socket.bind(", CONNECT, 0, 0, NULL},
    {"Java", "BindException", "ch.Net.listen", LISTEN, 0, 0, NULL},
    {"Java", "BindException", "DatagramChannel", BIND, 0, WEAK | UDP, NULL},
    {"Java", "BindException", "DatagramSocket", BIND, 0, WEAK | UDP, NULL},
    {"Java", "BindException", "ch.Net.bind", BIND, 0, WEAK, NULL},
    {"Java", "BindException", "socketBind", BIND, 0, WEAK, NULL},
    {"Java", "SocketException: Permission denied", "ch.Net.bind", BIND, 0, WEAK, NULL},
    {"Java", "BindException", NULL, BIND, USED, 0, NULL},
    {"Java", "BindException", NULL, ANY, UNAVAILABLE, 0, JAVA_EITHER},
    {"Spring Boot", "web server failed to start", NULL, BIND, 0, WEAK | PLACE, PORT_TAKEN},
    {"Spring Boot", "connector configured to listen on port", NULL, BIND, USED, WEAK, PORT_TAKEN},

    {".NET", "failed to bind to address http", NULL, BIND, 0, WEAK, NULL},
    {".NET", "HttpRequestException", NULL, CONNECT, USED, 0, WINDOWS_CONNECT},
    {".NET", "HttpRequestException", NULL, CONNECT, 0, 0, NULL},
    {"Go", "listen tcp", "only one usage of each", BIND, 0, 0, NULL},
    {".NET", "only one usage of each", "Connect", CONNECT, 0, 0, WINDOWS_CONNECT},
    {".NET", "only one usage of each", "Socket.Bind", BIND, 0, 0, NULL},
    {".NET", "only one usage of each", "Socket.DoBind", BIND, 0, 0, NULL},
    {".NET", "only one usage of each", NULL, ANY, 0, 0, NET_EITHER},
    {".NET", "SocketException (", "Socket.Bind", BIND, 0, WEAK, NULL},
    {".NET", "SocketException (", "Socket.DoBind", BIND, 0, WEAK, NULL},
    {".NET", "SocketException (", "Socket.Listen", LISTEN, 0, 0, NULL},
    {".NET", "SocketException (", "Connect", CONNECT, 0, 0, NULL},
    {".NET", "SocketException (", NULL, ANY, 0, 0, NULL},

    {"Go", "listen tcp", ": listen: ", LISTEN, 0, 0, NULL},
    {"Go", "listen tcp", NULL, BIND, 0, WEAK, NULL},
    {"Go", "listen udp", NULL, BIND, 0, WEAK | UDP, NULL},
    {"Go", "listen unix", NULL, BIND, 0, WEAK, NULL},
    {"Go", "dial tcp", NULL, CONNECT, 0, 0, NULL},
    {"Go", "dial udp", NULL, CONNECT, EAGAIN, WEAK | UDP, NULL},
    {"Go", "dial udp", NULL, CONNECT, 0, UDP, NULL},
    {"Rust", "tcp connect error", NULL, CONNECT, 0, 0, NULL},
    {"Rust", "error creating server listener", NULL, BIND, 0, WEAK, NULL},
    {"Rust", "kind: Addr", NULL, ANY, 0, 0, NULL},
    {"Rust", "(os error ", NULL, ANY, 0, 0, NULL},

    {"Jupyter", "trying another port.", "the port ", BIND, USED, WEAK | PLACE, PORT_TAKEN},
    {"Vite", "is in use, trying another one", NULL, BIND, USED, WEAK | PLACE, PORT_TAKEN},
    {"Flask", "is in use by another program", NULL, BIND, USED, WEAK | PLACE, PORT_TAKEN},
    {"a program", "already running on port", NULL, BIND, USED, WEAK | PLACE, PORT_TAKEN},
    {"Django", "that port is already in use", NULL, BIND, USED, WEAK, PORT_TAKEN},

    {"a program", "bind: ", NULL, BIND, 0, WEAK, NULL},
    {"a program", "bind()", NULL, BIND, 0, WEAK, NULL},
    {"a program", "bind(", NULL, BIND, 0, WEAK | PLACE, NULL},
    {"a program", "bind to", NULL, BIND, 0, WEAK | PLACE, NULL},
    {"a program", "bind", NULL, BIND, 0, 0, NULL},
    {"a program", "binding", NULL, BIND, 0, 0, NULL},
    {"a program", "listen: ", NULL, LISTEN, 0, 0, NULL},
    {"a program", "listen()", NULL, LISTEN, 0, 0, NULL},
    {"a program", "connect", NULL, CONNECT, 0, 0, NULL},
    {"a program", "listen", NULL, BIND, 0, 0, NULL},
    {"a program", NULL, NULL, ANY, 0, 0, NULL},
    {"a program", "port ", NULL, BIND, USED, WEAK | PLACE, PORT_TAKEN},
    {0},
};

static const struct {
    enum tw_message_op op;
    int code;
    const char *text;
} meanings[] = {
    {BIND, USED, SERVER_USED},
    {LISTEN, USED,
     "bind() went well and listen() did not: since then, or beside it thanks to SO_REUSEADDR, "
     "another socket began to listen on an address that overlaps."},
    {CONNECT, USED, CLIENT_USED},
    {ANY, USED,
     "Another socket holds the address and port that was asked for. The text does not tell "
     "whether a server asked, or a client that binds before it connects."},
    {CONNECT, UNAVAILABLE, CLIENT_UNAVAILABLE},
    {ANY, UNAVAILABLE, EITHER_UNAVAILABLE},
    {BIND, UNAVAILABLE, SERVER_UNAVAILABLE},
    {LISTEN, UNAVAILABLE, SERVER_UNAVAILABLE},
    {BIND, EACCES,
     "The port is below ip_unprivileged_port_start (1024 by default) and the program lacks "
     "CAP_NET_BIND_SERVICE, or a policy such as SELinux forbids it. Unix socket: the directory "
     "may not be written."},
    {BIND, EINVAL,
     "The socket is bound already, or a link-local IPv6 address lacks its interface (%eth0)."},
    {CONNECT, EAGAIN, "This host has no UDP source port left."},
};

const char *message_meaning(enum tw_message_op op, int code)
{
    for (size_t i = 0; i < sizeof(meanings) / sizeof(meanings[0]); i++)
        if (meanings[i].op == op && meanings[i].code == code)
            return meanings[i].text;
    return "The kernel refused the address.";
}
