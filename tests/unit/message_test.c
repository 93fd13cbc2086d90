/* Messages as programs write them, and what the library reads from each; every prefix of each
 * stands before a page without access. */
#include "guard.h"

#include "tidewait/message.h"

#define RESULT_MAX 512

static const char *code_name(int code)
{
    switch (code) {
    case EADDRINUSE:
        return "in-use";
    case EADDRNOTAVAIL:
        return "unavailable";
    case EACCES:
        return "denied";
    case EINVAL:
        return "invalid";
    case EAGAIN:
        return "again";
    }
    return "?";
}

/* "nginx bind in-use tcp local=0.0.0.0:80" */
static int recognise(struct tw_view text, char out[RESULT_MAX])
{
    static const char *const ops[] = {"any", "bind", "listen", "connect"};
    char local[TW_ENDPOINT_TEXT_MAX] = "", remote[TW_ENDPOINT_TEXT_MAX] = "";
    struct tw_message message, untouched;
    int rc;

    memset(&message, 0x5a, sizeof(message));
    memset(&untouched, 0x5a, sizeof(untouched));
    rc = tw_message_recognise(text, &message);
    if (rc) {
        assert_int_equal(rc, -ENOENT);
        assert_memory_equal(&message, &untouched, sizeof(message));
        snprintf(out, RESULT_MAX, "none");
        return rc;
    }
    assert_non_null(message.program);
    assert_true(strlen(message.meaning) > 20);
    if (message.has_local)
        tw_endpoint_format(&message.local, local);
    if (message.has_remote)
        tw_endpoint_format(&message.remote, remote);
    snprintf(out, RESULT_MAX, "%s %s %s %s%s%s%s%s%s%s%s", message.program, ops[message.op],
             code_name(message.code),
             message.protocol == IPPROTO_TCP   ? "tcp"
             : message.protocol == IPPROTO_UDP ? "udp"
                                               : "unix",
             local[0] ? " local=" : "", local, remote[0] ? " remote=" : "", remote,
             message.path[0] ? " path=" : "", message.path, message.port_only ? " port-only" : "");
    return 0;
}

static const struct {
    const char *text;
    const char *expect;
} messages[] = {
    {"Exception in thread \"main\" java.net.BindException: Address already in use\n\tat "
     "java.base/sun.nio.ch.Net.bind0(Native Method)\n\tat "
     "java.base/sun.nio.ch.Net.bind(Net.java:555)\n\tat "
     "java.base/java.net.ServerSocket.bind(ServerSocket.java:388)\n",
     "Java bind in-use tcp"},
    {"Exception in thread \"main\" java.net.BindException: Cannot assign requested address\n\tat "
     "java.base/sun.nio.ch.Net.connect0(Native Method)\n\tat "
     "java.base/sun.nio.ch.Net.connect(Net.java:579)\n",
     "Java connect unavailable tcp"},
    {"Exception in thread \"main\" java.net.BindException: Cannot assign requested address\n\tat "
     "java.base/sun.nio.ch.Net.bind0(Native Method)\n",
     "Java bind unavailable tcp"},
    {"Exception in thread \"main\" java.net.BindException: Address already in use\n\tat "
     "java.base/sun.nio.ch.Net.bind0(Native Method)\n\tat "
     "java.base/java.net.Socket.bind(Socket.java:682)\n",
     "Java connect in-use tcp"},
    {"Exception in thread \"main\" java.net.BindException: Address already in use\n\tat "
     "java.base/sun.nio.ch.Net.bind0(Native Method)\n\tat "
     "java.base/sun.nio.ch.DatagramChannelImpl.bind(DatagramChannelImpl.java:1164)\n",
     "Java bind in-use udp"},
    {"java[42]: java.net.BindException: Cannot assign requested address\n"
     "java[42]: \tat java.base/sun.nio.ch.Net.connect0(Native Method)",
     "Java connect unavailable tcp"},
    {"java.net.BindException: Cannot assign requested address\n"
     "12:00:00 another line\n\tat java.base/sun.nio.ch.Net.connect0(Native Method)",
     "Java any unavailable tcp"},
    {"java.net.BindException: Permission denied\n\tat sun.nio.ch.Net.bind0(Native Method)",
     "Java bind denied tcp"},
    {"java.net.BindException: Address already in use: bind", "Java bind in-use tcp"},
    {"java.net.BindException: Address already in use: JVM_Bind <null>:8080",
     "Java bind in-use tcp local=0.0.0.0:8080 port-only"},
    {"java.net.BindException: Address already in use: connect", "Java connect in-use tcp"},
    {"java.net.BindException: Address already in use (Bind failed)", "Java bind in-use tcp"},
    {"java.net.BindException: Cannot assign requested address (Bind failed)",
     "Java bind unavailable tcp"},
    {"java.net.BindException: Cannot assign requested address", "Java any unavailable tcp"},
    {"java.net.ConnectException: Cannot assign requested address (connect failed)",
     "Java connect unavailable tcp"},
    {"java.net.NoRouteToHostException: Cannot assign requested address (Address not available)",
     "Java connect unavailable tcp"},
    {"Caused by: java.net.ConnectException: Cannot assign requested address\n\tat "
     "java.net.http/jdk.internal.net.http.common.Utils.toConnectException(Utils.java:1083)",
     "Java connect unavailable tcp"},
    {"io.netty.channel.AbstractChannel$AnnotatedConnectException: Cannot assign requested address: "
     "db.example/10.0.0.5:5432",
     "Java connect unavailable tcp remote=10.0.0.5:5432"},
    {"io.netty.channel.unix.Errors$NativeIoException: bind(..) failed: Address already in use",
     "Java bind in-use tcp"},
    {"java.net.BindException: Problem binding to [0.0.0.0:8020] java.net.BindException: Address "
     "already in use; For more details see:  http://wiki.apache.org/hadoop/BindException",
     "Java bind in-use tcp local=0.0.0.0:8020"},
    {"Caused by: java.io.IOException: Failed to bind to /0.0.0.0:8080\nCaused by: "
     "java.net.BindException: Address already in use",
     "Java bind in-use tcp local=0.0.0.0:8080"},
    {"org.jboss.netty.channel.ChannelException: Failed to bind to: /0:0:0:0:0:0:0:0:8080: Address "
     "already in use",
     "a program bind in-use tcp local=[::]:8080"},
    {"Web server failed to start. Port 8080 was already in use.\n\nAction:\n",
     "Spring Boot bind in-use tcp local=0.0.0.0:8080 port-only"},
    {"The Tomcat connector configured to listen on port 8081 failed to start. The port may already "
     "be in use or the connector may be misconfigured.",
     "Spring Boot bind in-use tcp local=0.0.0.0:8081 port-only"},
    {"[2026-11-21T13:15:11,123] ERROR Socket server failed to bind to 0.0.0.0:9092: Address "
     "already in use. (kafka.Kafka$)",
     "Kafka bind in-use tcp local=0.0.0.0:9092"},
    {"System.IO.IOException: Failed to bind to address http://127.0.0.1:5000: address already in "
     "use.",
     ".NET bind in-use tcp local=127.0.0.1:5000"},
    {"Failed to bind to address http://[::]:5000: address already in use.",
     ".NET bind in-use tcp local=[::]:5000"},
    {"System.Net.Sockets.SocketException (98): Address already in use\n   at "
     "System.Net.Sockets.Socket.DoBind(EndPoint endPointSnapshot, SocketAddress socketAddress)",
     ".NET bind in-use tcp"},
    {"System.Net.Sockets.SocketException (98): Address already in use", ".NET any in-use tcp"},
    {"System.Net.Sockets.SocketException (99): Cannot assign requested address\n   at "
     "System.Net.Sockets.Socket.AwaitableSocketAsyncEventArgs.ThrowException(SocketError error)\n  "
     " at System.Net.Http.HttpConnectionPool.ConnectToTcpHostAsync(String host, Int32 port)",
     ".NET connect unavailable tcp"},
    {"System.Net.Http.HttpRequestException: Cannot assign requested address (10.0.0.5:8080)",
     ".NET connect unavailable tcp remote=10.0.0.5:8080"},
    {"System.Net.Http.HttpRequestException: Only one usage of each socket address "
     "(protocol/network address/port) is normally permitted. (10.0.0.5:443)",
     ".NET connect in-use tcp remote=10.0.0.5:443"},
    {"Only one usage of each socket address (protocol/network address/port) is normally permitted",
     ".NET any in-use tcp"},
    {"listen tcp 127.0.0.1:8080: bind: Only one usage of each socket address (protocol/network "
     "address/port) is normally permitted.",
     "Go bind in-use tcp local=127.0.0.1:8080"},
    {"Error: listen EADDRINUSE: address already in use :::3000\n    at Server.setupListenHandle "
     "[as _listen2] (node:net:1908:16)",
     "Node.js bind in-use tcp local=[::]:3000"},
    {"Error: listen EADDRINUSE: address already in use ::1:3000",
     "Node.js bind in-use tcp local=[::1]:3000"},
    {"Error: listen EADDRINUSE :::3000", "Node.js bind in-use tcp local=[::]:3000"},
    {"Error: listen EADDRINUSE: address already in use 127.0.0.1:7000\n    at "
     "Server.setupListenHandle [as _listen2] (node:net:1908:16)\n",
     "Node.js bind in-use tcp local=127.0.0.1:7000"},
    {"Error: listen EADDRINUSE: address already in use /tmp/app/x.sock\n",
     "Node.js bind in-use unix path=/tmp/app/x.sock"},
    {"Error: listen EADDRNOTAVAIL: address not available 10.9.9.9:80",
     "Node.js bind unavailable tcp local=10.9.9.9:80"},
    {"Error: listen EACCES: permission denied 0.0.0.0:80",
     "Node.js bind denied tcp local=0.0.0.0:80"},
    {"Error: connect EADDRNOTAVAIL 10.0.0.5:5432 - Local (0.0.0.0:0)",
     "Node.js connect unavailable tcp remote=10.0.0.5:5432"},
    {"Error: connect EADDRNOTAVAIL 10.0.0.5:5432 - Local (10.0.0.9:4444)",
     "Node.js connect unavailable tcp local=10.0.0.9:4444 remote=10.0.0.5:5432"},
    {"Error: bind EADDRINUSE 127.0.0.1:7001\n    at node:dgram:373:20",
     "Node.js bind in-use udp local=127.0.0.1:7001"},
    {"  code: 'EADDRINUSE',\n  errno: -98,\n  syscall: 'listen',\n  port: 3000\n}",
     "Node.js bind in-use tcp local=0.0.0.0:3000 port-only"},
    {"[nodemon] Port 3000 is already in use",
     "a program bind in-use tcp local=0.0.0.0:3000 port-only"},
    {"Something is already running on port 3000.",
     "a program bind in-use tcp local=0.0.0.0:3000 port-only"},
    {"Port 5173 is in use, trying another one...",
     "Vite bind in-use tcp local=0.0.0.0:5173 port-only"},
    {"OSError: [Errno 98] Address already in use", "Python any in-use tcp"},
    {"Traceback (most recent call last):\n  File \"x.py\", line 4, in <module>\n    "
     "s.bind((\"0.0.0.0\", 8080))\nOSError: [Errno 98] Address already in use",
     "Python bind in-use tcp local=0.0.0.0:8080"},
    {"    sock.connect(sa)\nOSError: [Errno 99] Cannot assign requested address",
     "Python connect unavailable tcp"},
    {"    s.listen(5)\nOSError: [Errno 98] Address already in use", "Python listen in-use tcp"},
    {"    self.server_bind()\nPermissionError: [Errno 13] Permission denied",
     "Python bind denied tcp"},
    {"OSError: [Errno 98] Address already in use (while attempting to bind on address "
     "('127.0.0.1', 7000))",
     "Python bind in-use tcp local=127.0.0.1:7000"},
    {"ERROR:    [Errno 98] error while attempting to bind on address ('0.0.0.0', 8080): address "
     "already in use",
     "Python bind in-use tcp local=0.0.0.0:8080"},
    {"OSError: [Errno 98] error while attempting to bind on address ('::', 8080, 0, 0): address "
     "already in use",
     "Python bind in-use tcp local=[::]:8080"},
    {"PermissionError: [Errno 13] error while attempting to bind on address ('0.0.0.0', 80): "
     "permission denied",
     "Python bind denied tcp local=0.0.0.0:80"},
    {"urllib.error.URLError: <urlopen error [Errno 99] Cannot assign requested address>",
     "Python connect unavailable tcp"},
    {"requests.exceptions.ConnectionError: HTTPConnectionPool(host='10.0.0.5', port=80): Max "
     "retries exceeded with url: / (Caused by "
     "NewConnectionError('<urllib3.connection.HTTPConnection object at 0x7f>: Failed to establish "
     "a new connection: [Errno 99] Cannot assign requested address'))",
     "Python connect unavailable tcp remote=10.0.0.5:80"},
    {"aiohttp.client_exceptions.ClientConnectorError: Cannot connect to host 10.0.0.5:80 "
     "ssl:default [Cannot assign requested address]",
     "Python connect unavailable tcp remote=10.0.0.5:80"},
    {"[2026-11-21 13:15:11 +0000] [4242] [ERROR] Connection in use: ('0.0.0.0', 8000)",
     "gunicorn bind in-use tcp local=0.0.0.0:8000"},
    {"Address already in use\nPort 5000 is in use by another program. Either identify and stop "
     "that program, or start the server with a different port.",
     "a program any in-use tcp local=0.0.0.0:5000 port-only"},
    {"Error: That port is already in use.", "Django bind in-use tcp"},
    {"2026/11/21 13:15:11 listen tcp :8080: bind: address already in use",
     "Go bind in-use tcp local=0.0.0.0:8080 port-only"},
    {"listen tcp 127.0.0.1:8080: bind: address already in use",
     "Go bind in-use tcp local=127.0.0.1:8080"},
    {"listen tcp [::1]:8080: bind: cannot assign requested address",
     "Go bind unavailable tcp local=[::1]:8080"},
    {"listen tcp [fe80::1%nosuchif0]:80: bind: invalid argument",
     "Go bind invalid tcp local=[fe80::1]:80"},
    {"listen tcp :80: bind: permission denied", "Go bind denied tcp local=0.0.0.0:80 port-only"},
    {"listen udp 0.0.0.0:53: bind: address already in use", "Go bind in-use udp local=0.0.0.0:53"},
    {"listen unix /run/x.sock: bind: address already in use",
     "Go bind in-use unix path=/run/x.sock"},
    {"listen unix @app: bind: address already in use", "Go bind in-use unix path=@app"},
    {"dial tcp 10.0.0.5:5432: connect: cannot assign requested address",
     "Go connect unavailable tcp remote=10.0.0.5:5432"},
    {"dial tcp 10.0.0.1:0->10.0.0.5:5432: bind: address already in use",
     "Go connect in-use tcp local=10.0.0.1 remote=10.0.0.5:5432"},
    {"10.1.1.1:55555 Get \"http://db.example:8080/\": dial tcp [fd00::5]:8080: connect: cannot "
     "assign requested address",
     "Go connect unavailable tcp remote=[fd00::5]:8080"},
    {"dial udp 10.0.0.5:53: connect: resource temporarily unavailable",
     "Go connect again udp remote=10.0.0.5:53"},
    {"Address already in use - bind(2) for \"0.0.0.0\" port 3000 (Errno::EADDRINUSE)",
     "Ruby bind in-use tcp local=0.0.0.0:3000"},
    {"Address already in use - bind(2) for \"127.0.0.1\" port 3000 (Errno::EADDRINUSE)\n\t from "
     "server.rb:12:in `initialize'",
     "Ruby bind in-use tcp local=127.0.0.1:3000"},
    {"Failed to open TCP connection to 10.0.0.5:80 (Cannot assign requested address - connect(2) "
     "for \"10.0.0.5\" port 80)",
     "Ruby connect unavailable tcp remote=10.0.0.5:80"},
    {"Permission denied - bind(2) for \"0.0.0.0\" port 80 (Errno::EACCES)",
     "Ruby bind denied tcp local=0.0.0.0:80"},
    {"cannot listen: IO::Socket::INET: Address already in use Address already in use at -e line 1.",
     "Perl bind in-use tcp"},
    {"IO::Socket::INET: connect: Cannot assign requested address at x.pl line 3.",
     "Perl connect unavailable tcp"},
    {"[Sat Nov 21 13:15:11 2026] Failed to listen on localhost:8000 (reason: Address already in "
     "use)",
     "PHP bind in-use tcp local=127.0.0.1:8000"},
    {"PHP Warning:  stream_socket_server(): Unable to connect to tcp://0.0.0.0:80 (Permission "
     "denied) in /srv/x.php on line 3",
     "PHP bind denied tcp local=0.0.0.0:80"},
    {"PHP Warning:  socket_bind(): unable to bind address [98]: Address already in use in "
     "/srv/x.php on line 3",
     "PHP bind in-use tcp"},
    {"SQLSTATE[HY000] [2002] Cannot assign requested address", "PHP connect unavailable tcp"},
    {"[21-Nov-2026 13:15:11] ERROR: unable to bind listening socket for address '127.0.0.1:9000': "
     "Address already in use (98)",
     "php-fpm bind in-use tcp local=127.0.0.1:9000"},
    {"[21-Nov-2026 13:15:11] ERROR: Another FPM instance seems to already listen on "
     "/run/php/fpm.sock",
     "php-fpm bind in-use unix path=/run/php/fpm.sock"},
    {"called `Result::unwrap()` on an `Err` value: Os { code: 98, kind: AddrInUse, message: "
     "\"Address already in use\" }",
     "Rust any in-use tcp"},
    {"called `Result::unwrap()` on an `Err` value: Os { code: 99, kind: AddrNotAvailable, message: "
     "\"Cannot assign requested address\" }",
     "Rust any unavailable tcp"},
    {"error trying to connect: tcp connect error: Cannot assign requested address (os error 99)",
     "Rust connect unavailable tcp"},
    {"Failed to start Ranch listener MyApp.Endpoint.HTTP in :ranch_tcp:listen([ip: {127,0,0,1}, "
     "port: 4000]) for reason :eaddrinuse (address already in use)",
     "Elixir bind in-use tcp local=0.0.0.0:4000 port-only"},
    {"** (EXIT) shutdown: failed to start child: {:error, :eaddrinuse}", "Elixir any in-use tcp"},
    {"{\"init terminating in do_boot\",{error,{listen_error,{tcp,5672},eaddrinuse}}}",
     "Erlang bind in-use tcp"},
    {"2026/11/21 13:15:11 [emerg] 1234#1234: bind() to 0.0.0.0:80 failed (98: Address already in "
     "use)",
     "nginx bind in-use tcp local=0.0.0.0:80"},
    {"nginx: [emerg] bind() to [::]:80 failed (98: Address already in use)",
     "nginx bind in-use tcp local=[::]:80"},
    {"nginx: [emerg] bind() to 10.9.9.9:80 failed (99: Cannot assign requested address)",
     "nginx bind unavailable tcp local=10.9.9.9:80"},
    {"nginx: [emerg] bind() to 0.0.0.0:80 failed (13: Permission denied)",
     "nginx bind denied tcp local=0.0.0.0:80"},
    {"nginx: [emerg] bind() to unix:/run/x.sock failed (98: Address already in use)",
     "nginx bind in-use unix path=/run/x.sock"},
    {"nginx: [emerg] listen() to 0.0.0.0:80, backlog 511 failed (98: Address already in use)",
     "nginx listen in-use tcp local=0.0.0.0:80"},
    {"2026/11/21 13:20:34 [crit] 7718#7718: *1 connect() to 10.0.0.5:8080 failed (99: Cannot "
     "assign requested address) while connecting to upstream, client: 10.0.0.1, server: , request: "
     "\"GET / HTTP/1.1\", upstream: \"http://10.0.0.5:8080/\", host: \"x\"",
     "nginx connect unavailable tcp remote=10.0.0.5:8080"},
    {"[crit] 7718#0: *1 bind(10.0.0.9) failed (98: Address already in use) while connecting to "
     "upstream, client: 10.0.0.1, upstream: \"http://10.0.0.5:8080/\"",
     "nginx connect in-use tcp remote=10.0.0.5:8080"},
    {"(98)Address already in use: AH00072: make_sock: could not bind to address [::]:80",
     "Apache bind in-use tcp local=[::]:80"},
    {"(13)Permission denied: AH00072: make_sock: could not bind to address 0.0.0.0:80",
     "Apache bind denied tcp local=0.0.0.0:80"},
    {"apr_socket_connect(): Cannot assign requested address (99)", "ab connect unavailable tcp"},
    {"[ALERT] 325/131511 (42) : Starting frontend web: cannot bind socket (Address already in use) "
     "[0.0.0.0:80]",
     "HAProxy bind in-use tcp local=0.0.0.0:80"},
    {"[ALERT]    (7390) : Binding [h.cfg:2] for proxy f: cannot bind socket (Address already in "
     "use) for [127.0.0.1:7000]",
     "HAProxy bind in-use tcp local=127.0.0.1:7000"},
    {"Connect() failed for backend app: no free ports.", "HAProxy connect unavailable tcp"},
    {"docker: Error response from daemon: driver failed programming external connectivity on "
     "endpoint web (0123456789ab): Bind for 0.0.0.0:8080 failed: port is already allocated.",
     "Docker bind in-use tcp local=0.0.0.0:8080"},
    {"Error response from daemon: driver failed programming external connectivity on endpoint web "
     "(0123456789ab): Error starting userland proxy: listen tcp4 0.0.0.0:80: bind: address already "
     "in use",
     "Docker bind in-use tcp local=0.0.0.0:80"},
    {"Error starting userland proxy: error while calling PortManager.AddPort(): cannot expose port "
     "80, listen tcp 0.0.0.0:80: bind: permission denied",
     "Docker bind denied tcp local=0.0.0.0:80"},
    {"failed to bind host port for 0.0.0.0:8080:172.17.0.2:80/tcp: address already in use",
     "Docker bind in-use tcp local=0.0.0.0:8080"},
    {"Error: rootlessport cannot expose privileged port 80, you can add "
     "'net.ipv4.ip_unprivileged_port_start=80' to /etc/sysctl.conf",
     "Podman bind denied tcp local=0.0.0.0:80 port-only"},
    {"2026-11-21 13:15:11.123 UTC [42] LOG:  could not bind IPv4 address \"127.0.0.1\": Address "
     "already in use\n2026-11-21 13:15:11.123 UTC [42] HINT:  Is another postmaster already "
     "running on port 5432? If not, wait a few seconds and retry.",
     "PostgreSQL bind in-use tcp local=127.0.0.1:5432"},
    {"LOG:  could not bind Unix address \"/var/run/postgresql/.s.PGSQL.5432\": Address already in "
     "use",
     "PostgreSQL bind in-use unix path=/var/run/postgresql/.s.PGSQL.5432"},
    {"psql: error: connection to server at \"10.0.0.5\", port 5432 failed: Cannot assign requested "
     "address",
     "PostgreSQL client connect unavailable tcp remote=10.0.0.5:5432"},
    {"[ERROR] Can't start server: Bind on TCP/IP port: Address already in use\n[ERROR] Do you "
     "already have another mysqld server running on port: 3306 ?",
     "MySQL bind in-use tcp local=0.0.0.0:3306 port-only"},
    {"ERROR 2003 (HY000): Can't connect to MySQL server on '10.0.0.5' (99)",
     "MySQL client connect unavailable tcp remote=10.0.0.5"},
    {"ERROR 2003 (HY000): Can't connect to MySQL server on '10.0.0.5:3306' (99)",
     "MySQL client connect unavailable tcp remote=10.0.0.5:3306"},
    {"7384:M 21 Nov 2026 13:20:07.046 # Warning: Could not create server TCP listening socket "
     "*:6379: bind: Address already in use",
     "Redis bind in-use tcp local=0.0.0.0:6379"},
    {"# Creating Server TCP listening socket 127.0.0.1:6379: bind: Address already in use",
     "Redis bind in-use tcp local=127.0.0.1:6379"},
    {"Could not connect to Redis at 10.0.0.5:6379: Cannot assign requested address",
     "Redis client connect unavailable tcp remote=10.0.0.5:6379"},
    {"Nov 21 13:15:11 host sshd[4242]: error: Bind to port 22 on 0.0.0.0 failed: Address already "
     "in use.",
     "sshd bind in-use tcp local=0.0.0.0:22"},
    {"bind [127.0.0.1]:8080: Address already in use\nchannel_setup_fwd_listener_tcpip: cannot "
     "listen to port: 8080",
     "ssh bind in-use tcp local=127.0.0.1:8080"},
    {"ssh: connect to host 10.0.0.5 port 22: Cannot assign requested address",
     "ssh connect unavailable tcp remote=10.0.0.5:22"},
    {"systemd[1]: nginx.socket: Failed to create listening socket ([::]:80): Address already in "
     "use",
     "systemd bind in-use tcp local=[::]:80"},
    {"dnsmasq: failed to create listening socket for port 53: Address already in use",
     "dnsmasq bind in-use tcp local=0.0.0.0:53 port-only"},
    {"could not listen on UDP socket: address in use", "BIND bind in-use udp"},
    {"postfix/master[42]: fatal: bind 0.0.0.0 port 25: Address already in use",
     "Postfix bind in-use tcp local=0.0.0.0:25"},
    {"master: Error: bind(0.0.0.0, 143) failed: Address already in use",
     "Dovecot bind in-use tcp local=0.0.0.0:143"},
    {"TCP/UDP: Socket bind failed on local address [AF_INET]0.0.0.0:1194: Address already in use "
     "(errno=98)",
     "OpenVPN bind in-use udp local=0.0.0.0:1194"},
    {"socket bind() to port 25 for address 10.0.0.1 failed: Address already in use: daemon "
     "abandoned",
     "Exim bind in-use tcp local=10.0.0.1:25"},
    {"RTNETLINK answers: Address already in use", "ip or wg bind in-use udp"},
    {"2026/11/21 13:15:11 socat[4242] E bind(5, {AF=2 0.0.0.0:8080}, 16): Address already in use",
     "socat bind in-use tcp local=0.0.0.0:8080"},
    {"bind(3, {sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr(\"10.0.0.1\")}, 16) = -1 "
     "EADDRINUSE (Address already in use)",
     "strace bind in-use tcp local=10.0.0.1:80"},
    {"connect(3, {sa_family=AF_INET6, sin6_port=htons(443), inet_pton(AF_INET6, \"2001:db8::5\", "
     "&sin6_addr)}, 28) = -1 EADDRNOTAVAIL (Cannot assign requested address)",
     "strace connect unavailable tcp remote=[2001:db8::5]:443"},
    {"* Immediate connect fail for 10.0.0.5: Cannot assign requested address\n* Failed to connect "
     "to 10.0.0.5 port 80 after 0 ms: Couldn't connect to server",
     "curl connect unavailable tcp remote=10.0.0.5:80"},
    {"*   Trying 127.0.0.1:7000...\n* bind failed with errno 98: Address already in use",
     "curl connect in-use tcp remote=127.0.0.1:7000"},
    {"* connect to 10.0.0.5 port 80 failed: Cannot assign requested address",
     "curl connect unavailable tcp remote=10.0.0.5:80"},
    {"unable to connect to 10.0.0.5:7000 Cannot assign requested address",
     "a program connect unavailable tcp remote=10.0.0.5:7000"},
    {"bind: Address already in use", "a program bind in-use tcp"},
    {"bind: Permission denied", "a program bind denied tcp"},
    {"bind: Address in use", "a program bind in-use tcp"},
    {"connect: Address not available", "a program connect unavailable tcp"},
    {"EADDRINUSE", "a program any in-use tcp"},
    {"cannot bind to 2001:db8::1 (EADDRNOTAVAIL)",
     "a program bind unavailable tcp local=2001:db8::1"},
    {"    at Foo.bar(Foo.java:123)\n12:34:56 worker[4242]: Address already in use\n    at x "
     "(net.js:10:5)",
     "a program any in-use tcp"},
    {"GET / HTTP/1.1 200\n10.1.1.1:1234 - - hello\nOSError: [Errno 98] Address already in use",
     "Python any in-use tcp"},
    {"", "none"},
    {"connection refused", "none"},
    {"connect() to 10.0.0.5:80 failed (111: Connection refused) while connecting to upstream",
     "none"},
    {"dial tcp 10.0.0.5:80: i/o timeout", "none"},
    {"Connection timed out", "none"},
    {"cat: /etc/shadow: Permission denied", "none"},
    {"PermissionError: [Errno 13] Permission denied: '/etc/x'", "none"},
    {"    s.bind(a)\n    open(f)\nPermissionError: [Errno 13] Permission denied: '/etc/x'", "none"},
    {"Error: EACCES: permission denied, open '/x'", "none"},
    {"Email address already in use", "none"},
    {"DHCP: IP address already in use", "none"},
    {"Conflict. The container name \"/web\" is already in use by container \"0123\".", "none"},
    {"BlockingIOError: [Errno 11] Resource temporarily unavailable", "none"},
    {"connect() to unix:/run/php.sock failed (11: Resource temporarily unavailable) while "
     "connecting to upstream",
     "none"},
    {"dial unix /run/x.sock: connect: resource temporarily unavailable", "none"},
    {"mount: failed to bind mount /x: permission denied", "none"},
    {"bind mount failed: Permission denied", "none"},
    {"mysqli: access denied (using password: YES) (99)", "none"},
    {"Address family not supported by protocol", "none"},
    {"12:34:56 all ports report 99 problems", "none"},
};

/* Any prefix has an answer, and none reads past its end. */
static void test_messages(void **state)
{
    struct guard guard;
    size_t wrong = 0;

    (void)state;
    guard_init(&guard, 8192);
    for (size_t i = 0; i < sizeof(messages) / sizeof(messages[0]); i++) {
        size_t len = strlen(messages[i].text);
        char out[RESULT_MAX];

        recognise(guard_view(&guard, messages[i].text, len), out);
        if (strcmp(out, messages[i].expect) != 0 && ++wrong)
            print_error("'%s':\n  '%s' instead of\n  '%s'\n", messages[i].text, out,
                        messages[i].expect);
        while (len-- > 0)
            recognise(guard_view(&guard, messages[i].text, len), out);
    }
    guard_fini(&guard);
    assert_int_equal(wrong, 0);
}

/* NUL, control characters and bytes beyond ASCII are text like any other. */
static void test_bytes(void **state)
{
    char out[RESULT_MAX];

    (void)state;
    recognise((struct tw_view){SAMPLE("\0\0\xff bind: \0Address already in use\0 10.0.0.1:80\0")},
              out);
    assert_string_equal(out, "a program bind in-use tcp local=10.0.0.1:80");
    recognise((struct tw_view){SAMPLE("\r\nbind: Address already in use\r\n")}, out);
    assert_string_equal(out, "a program bind in-use tcp");
    recognise((struct tw_view){NULL, 0}, out);
    assert_string_equal(out, "none");
}

/* What makes a message worth explaining: the meaning differs by program and call. */
static void test_meanings(void **state)
{
    static const struct {
        const char *text;
        const char *says;
    } samples[] = {
        {"java.net.BindException: Address already in use: connect", "ran out of source ports"},
        {"java.net.BindException: Cannot assign requested address\n\tat sun.nio.ch.Net.connect0",
         "no source port left"},
        {"java.net.BindException: Cannot assign requested address", "alike"},
        {"dial tcp 10.0.0.5:80: connect: cannot assign requested address", "no source port left"},
        {"dial tcp 10.0.0.1:0->10.0.0.5:80: bind: address already in use", "A client's error"},
        {"listen tcp 10.0.0.1:80: bind: cannot assign requested address", "not on an interface"},
        {"listen tcp :80: bind: permission denied", "ip_unprivileged_port_start"},
        {"connect() to 10.0.0.5:80 failed (99: Cannot assign requested address) while connecting "
         "to upstream",
         "nginx is the client"},
        {"Bind for 0.0.0.0:8080 failed: port is already allocated", "own bookkeeping"},
        {"Connection in use: ('0.0.0.0', 8000)", "gunicorn's words"},
        {"listen() to 0.0.0.0:80, backlog 511 failed (98: Address already in use)", "SO_REUSEADDR"},
        {"dial udp 10.0.0.5:53: connect: resource temporarily unavailable", "UDP source port"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
        struct tw_message message;

        assert_int_equal(tw_message_recognise(tw_view_of(samples[i].text), &message), 0);
        if (!strstr(message.meaning, samples[i].says))
            fail_msg("'%s': '%s'", samples[i].text, message.meaning);
    }
}

/* A path as long as sun_path is kept, a longer one is no path. */
static void test_long_path(void **state)
{
    char text[256], path[128], out[RESULT_MAX];

    (void)state;
    for (size_t len = 107; len <= 109; len++) {
        memset(path, 'x', len);
        path[0] = '/';
        path[len] = 0;
        snprintf(text, sizeof(text), "listen unix %s: bind: address already in use", path);
        recognise(tw_view_of(text), out);
        assert_int_equal(strstr(out, path) != NULL, len <= 108);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_messages),
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_meanings),
        cmocka_unit_test(test_long_path),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
