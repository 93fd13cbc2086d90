#!/usr/bin/env bats
# `tidewait exec` as a whole, in private networks: programs that are not changed, with far more
# connections than there are ports; servers that are restarted; rules; what is said about refusals.
# shellcheck disable=SC2154 # the variables are set in net.bash
# shellcheck disable=SC2016 # scripts for inner shells
bats_require_minimum_version 1.5.0
load net

setup() { net_up; }
teardown() { net_down; }

# The server's end, on port 80 unless said otherwise; who came is in clients.PORT.
start_server() {
  local port=${1:-80} address=${2:-$server}
  start "server$port" server python3 "$net_files/exec_server.py" "$address" "$port" "$BATS_TEST_TMPDIR/clients.$port"
  until_true has_line "$BATS_TEST_TMPDIR/server$port.out" || { cat "$BATS_TEST_TMPDIR/server$port.err"; return 1; }
}

few_ports() { sysctl_of client net/ipv4/ip_local_port_range "32768 $((32767 + $1))"; }

# under OPTION... -- COMMAND...: what it says is in out and err of the test's folder, its exit status in
# $status. Clients are given --wait where they may be faster than the server, which has to close its end
# before a port can be used again.
under() {
  status=0
  in_client "$TIDEWAIT" exec "$@" >"$BATS_TEST_TMPDIR/out" 2>"$BATS_TEST_TMPDIR/err" 3>&- || status=$?
}

show() {
  echo "exit status $status"
  head -n 20 "$BATS_TEST_TMPDIR/out" "$BATS_TEST_TMPDIR/err"
  return 1
}

# summary EXPRESSION...: they hold in the summary, the last line of err.
summary() {
  python3 - "$(tail -n 1 "$BATS_TEST_TMPDIR/err")" "$@" <<'PY' || show
import json, sys
summary = json.loads(sys.argv[1])
for text in sys.argv[2:]:
    assert eval(text, {}, summary | summary["refusals"] | summary["closed_first"]), (text, summary)
PY
}

# COUNT connections, three bytes each, and what became of them.
client_py='
import socket, sys
done = 0
try:
    for done in range(1, int(sys.argv[1]) + 1):
        with socket.create_connection((sys.argv[2], int(sys.argv[3]))) as s:
            s.send(b"abc")
except OSError as error:
    print(done - 1, error.errno)
    sys.exit(1)
print(done, "connections")'

# bind ADDR PORT [SECONDS]: a server without SO_REUSEADDR; how it went.
bind_py='
import socket, sys, time
s = socket.socket()
try:
    s.bind((sys.argv[1], int(sys.argv[2])))
    s.listen()
except OSError as error:
    print("errno", error.errno)
    sys.exit(1)
print("listens on", s.getsockname()[:2], flush=True)
time.sleep(float(sys.argv[3]) if len(sys.argv) > 3 else 0)'

@test "a client that makes more connections than there are ports dies by itself" {
  few_ports 2000
  start_server
  run -1 in_client python3 -c "$client_py" 20000 "$server" 80
  [ "$output" = "2000 99" ]
}

@test "and makes 25 times as many without an error under exec" {
  few_ports 2000
  start_server
  limit=110 under --wait 30s --json -- python3 -c "$client_py" 50000 "$server" 80
  [ "$status" -eq 0 ] && grep -qx "50000 connections" "$BATS_TEST_TMPDIR/out" || show
  summary 'connects == managed == 50000' 'ports == ports_used == 2000' 'destinations == 1' \
    '47000 < avoided <= 48000' 'connect == 0' 'program == 50000' 'status == 0'
  [ "$(sort -u "$BATS_TEST_TMPDIR/clients.80" | wc -l)" -eq 2000 ]
}

@test "the same over IPv6" {
  net_v6
  few_ports 300
  start_server 80 "$server6"
  under --wait 30s --json -- python3 -c "$client_py" 2000 "$server6" 80
  [ "$status" -eq 0 ] || show
  summary 'connects == managed == 2000' 'ports_used == 300'
}

@test "the same as an ordinary user" {
  [ -z "$net_user" ] || skip "this whole test runs as one"
  need setpriv
  few_ports 300
  start_server
  setpriv --reuid 65534 --regid 65534 --clear-groups test -x "$TIDEWAIT" || skip "nobody cannot reach $TIDEWAIT"
  status=0
  in_client setpriv --reuid 65534 --regid 65534 --clear-groups "$TIDEWAIT" exec --wait 30s --json -- \
    python3 -c "$client_py" 2000 "$server" 80 >"$BATS_TEST_TMPDIR/out" 2>"$BATS_TEST_TMPDIR/err" || status=$?
  [ "$status" -eq 0 ] || show
  summary 'connects == managed == 2000' 'ports_used == 300'
}

@test "a program that changes its user keeps the ledger" {
  [ -z "$net_user" ] || skip "only root can change the user"
  need setpriv
  setpriv --reuid 65534 --regid 65534 --clear-groups test -x "$TIDEWAIT" || skip "nobody cannot reach $TIDEWAIT"
  few_ports 300
  start_server
  under --wait 30s --json -- setpriv --reuid 65534 --regid 65534 --clear-groups \
    sh -c 'python3 -c "$@"' sh "$client_py" 2000 "$server" 80
  [ "$status" -eq 0 ] || show
  summary 'connects == managed == 2000' 'ports_used == 300'
}

@test "four processes share the ledger; one that is killed costs nothing" {
  few_ports 1000
  start_server
  under --wait 30s --json -- sh -c 'for i in 1 2 3 4; do python3 -c "$1" 1000 "$2" 80 & done
    python3 -c "$1
import os
os.kill(os.getpid(), 9)" 100 "$2" 80; wait' sh "$client_py" "$server"
  [ "$status" -eq 0 ] && [ "$(grep -cx "1000 connections" "$BATS_TEST_TMPDIR/out")" -eq 4 ] || show
  summary 'connects == 4100' 'ports_used == 1000' 'connect == 0'
}

@test "four processes, a tenth of the ports held, one more killed in the middle" {
  few_ports 2000
  start_server
  limit=110 under --wait 30s --json -- sh -c '
    python3 -c "
import socket, sys, time
held = [socket.create_connection((sys.argv[1], 80)) for _ in range(200)]
time.sleep(100)" "$2" & idle=$!
    python3 -c "$1" 1000000 "$2" 80 & killed=$!
    sleep 1
    for i in 1 2 3 4; do python3 -c "$1" 12500 "$2" 80 & all="$all $!"; done
    kill -KILL $killed
    for one in $all; do wait "$one" || exit 1; done
    kill $idle' sh "$client_py" "$server"
  [ "$status" -eq 0 ] && [ "$(grep -cx "12500 connections" "$BATS_TEST_TMPDIR/out")" -eq 4 ] || show
  summary 'connect == 0' 'managed > 50200'
}

@test "Java, several threads" {
  need java javac
  few_ports 300
  start_server
  cat >"$BATS_TEST_TMPDIR/Many.java" <<'JAVA'
import java.net.Socket;
public class Many {
    public static void main(String[] args) throws Exception {
        Thread[] threads = new Thread[4];
        java.util.concurrent.atomic.AtomicInteger done = new java.util.concurrent.atomic.AtomicInteger();
        for (int i = 0; i < threads.length; i++) {
            threads[i] = new Thread(() -> {
                try {
                    for (int n = 0; n < 400; n++) {
                        try (Socket s = new Socket(args[0], 80)) { s.getOutputStream().write(new byte[3]); }
                        done.incrementAndGet();
                    }
                } catch (Exception e) { System.out.println(e); }
            });
            threads[i].start();
        }
        for (Thread t : threads) t.join();
        System.out.println(done.get() + " connections");
    }
}
JAVA
  javac -d "$BATS_TEST_TMPDIR" "$BATS_TEST_TMPDIR/Many.java"
  under --wait 30s --json -- java -Xmx64m -cp "$BATS_TEST_TMPDIR" Many "$server"
  grep -qx "1600 connections" "$BATS_TEST_TMPDIR/out" || show
  summary 'connect == 0' 'ports_used == 300'
}

@test "Node" {
  need node
  few_ports 300
  start_server
  under --json -- node -e '
    const net = require("net"); let left = 1600, done = 0;
    function next() {
      if (left-- <= 0) return;
      const s = net.connect(80, process.argv[1], () => s.end("abc"));
      s.on("error", e => { console.log(e.code); process.exit(1); });
      s.on("close", () => { if (++done == 1600) console.log(done + " connections"); next(); });
      s.resume();
    }
    for (let i = 0; i < 8; i++) next();' "$server"
  grep -qx "1600 connections" "$BATS_TEST_TMPDIR/out" || show
  summary 'connect == 0' 'ports_used == 300'
}

@test "Perl" {
  need perl
  perl -MIO::Socket::INET -e1 2>/dev/null || skip "this perl has no IO::Socket::INET"
  few_ports 300
  start_server
  under --wait 30s --json -- perl -MIO::Socket::INET -e '
    for (1 .. 1500) {
      my $s = IO::Socket::INET->new(PeerAddr => "$ARGV[0]:80") or die "$_: $!\n";
      print $s "abc"; close $s;
    }
    print "1500 connections\n"' "$server"
  grep -qx "1500 connections" "$BATS_TEST_TMPDIR/out" || show
  summary 'connect == 0' 'ports_used == 300'
}

@test "curl in a loop: a process for each connection" {
  need curl
  few_ports 40
  start_server
  under --wait 30s --json -- sh -c 'for i in $(seq 120); do curl -sS "http://$1/" || exit 1; done' sh "$server"
  [ "$status" -eq 0 ] || show
  summary 'managed == 120' 'ports_used == 40' 'avoided == 80'
}

@test "a client that binds to an address and port 0 first" {
  few_ports 200
  start_server
  start_server 81
  under --json -- python3 -c '
import socket, sys
held = []
for port in (80, 81):
    for _ in range(150):
        s = socket.socket()
        s.bind((sys.argv[1], 0))
        s.connect((sys.argv[2], port))
        held.append(s)
print(len(held))' "$client" "$server"
  [ "$status" -eq 0 ] && grep -qx 300 "$BATS_TEST_TMPDIR/out" || show
}

@test "--from: several addresses have each its own ports" {
  in_client ip addr add 10.77.0.3/24 dev "$net_link"
  few_ports 100
  start_server
  local hold='
import socket, sys
held = [socket.create_connection((sys.argv[1], 80)) for _ in range(150)]
print(len(held))'
  under -q -- python3 -c "$hold" "$server"
  [ "$status" -eq 1 ]
  under --from 10.77.0.1-10.77.0.3 --ports 33000-33099 --json -- python3 -c "$hold" "$server"
  [ "$status" -eq 0 ] || show
  grep -q '^10.77.0.3 33' "$BATS_TEST_TMPDIR/clients.80"
}

# ports_of PORT: the different source ports of 30 clients there.
has_30_lines() { [ "$(wc -l <"$1")" -eq 30 ]; }
ports_of() {
  until_true has_30_lines "$BATS_TEST_TMPDIR/clients.$1"
  cut -d ' ' -f 2 "$BATS_TEST_TMPDIR/clients.$1" | sort -un | xargs
}

@test "--ports, and rules: ports of their own, leave, the first that fits" {
  start_server
  start_server 81
  start_server 82
  printf 'out to %s:82 : leave # not ours\nout to :82 : ports 5-6\n' "$server" >"$BATS_TEST_TMPDIR/rules"
  under --ports 20000-20009,20020 -r 'out to :81 : ports 21000-21002' --rules "$BATS_TEST_TMPDIR/rules" \
    --wait 30s --json -- sh -ec 'for port in 80 81 82; do python3 -c "$1" 30 "$2" $port; done' sh "$client_py" "$server"
  [ "$status" -eq 0 ] || show
  [ "$(ports_of 80)" = "$(seq -s ' ' 20000 20009) 20020" ]
  [ "$(ports_of 81)" = "21000 21001 21002" ]
  [ "$(ports_of 82 | wc -w)" -eq 30 ]
  summary 'managed == 60' 'ports_used == 14'
}

@test "--no-manage leaves connect() alone" {
  few_ports 100
  start_server
  under --no-manage --json -- python3 -c "$client_py" 200 "$server" 80
  [ "$status" -eq 1 ] && grep -qx "100 99" "$BATS_TEST_TMPDIR/out" || show
  summary 'managed == 0' 'ports == 0' 'connect == 1' 'explained == 1' 'status == 1'
}

# Its accepted connection is closed by it first: TIME_WAIT stays on its port.
served_py='
import socket, sys
s = socket.socket()
try:
    s.bind(("127.0.0.1", 8080))
    s.listen()
except OSError as error:
    print("errno", error.errno)
    sys.exit(1)
c = socket.create_connection(("127.0.0.1", 8080))
a, _ = s.accept()
a.close()
c.recv(1)
c.close()
print("served")'

@test "a server without SO_REUSEADDR is restarted at once" {
  for _ in 1 2 3; do
    under -- python3 -c "$served_py"
    grep -qx served "$BATS_TEST_TMPDIR/out" || show
  done
}

@test "and with --no-reuseaddr it is not, and the reason is told" {
  under --no-reuseaddr --no-manage -- python3 -c "$served_py"
  grep -qx served "$BATS_TEST_TMPDIR/out" || show
  under --no-reuseaddr --no-manage -- python3 -c "$served_py"
  grep -qx "errno 98" "$BATS_TEST_TMPDIR/out" || show
  grep -q 'python3\[[0-9]*\] bind 127.0.0.1:8080: EADDRINUSE, time-wait: ' "$BATS_TEST_TMPDIR/err" || show
}

@test "--listen and its rule replace an address" {
  under --listen 8080=9090 -- python3 -c "$bind_py" 0.0.0.0 8080
  grep -qF "listens on ('0.0.0.0', 9090)" "$BATS_TEST_TMPDIR/out" || show
  under -r 'in 0.0.0.0:8080 : listen 127.0.0.1' -- python3 -c "$bind_py" 0.0.0.0 8080
  grep -qF "listens on ('127.0.0.1', 8080)" "$BATS_TEST_TMPDIR/out" || show
  under --listen 0.0.0.0:8080=127.0.0.2:81 -- python3 -c "$bind_py" 127.0.0.1 8080
  grep -qF "listens on ('127.0.0.1', 8080)" "$BATS_TEST_TMPDIR/out" || show
}

@test "--free-bind and --reuseport" {
  under -- python3 -c "$bind_py" 10.99.0.1 8080
  grep -qx "errno 99" "$BATS_TEST_TMPDIR/out" || show
  grep -q 'EADDRNOTAVAIL, address-not-local' "$BATS_TEST_TMPDIR/err" || show
  under --free-bind -- python3 -c "$bind_py" 10.99.0.1 8080
  grep -qF "listens on ('10.99.0.1', 8080)" "$BATS_TEST_TMPDIR/out" || show
  under --reuseport -- sh -c 'python3 -c "$1" 127.0.0.1 8080 2 & sleep 0.7; python3 -c "$1" 127.0.0.1 8080; wait' sh "$bind_py"
  [ "$(grep -c "listens on" "$BATS_TEST_TMPDIR/out")" -eq 2 ] || show
}

# A listener of somebody else on 127.0.0.1:8080.
somebody() {
  start somebody client python3 -c "$bind_py" 127.0.0.1 8080 "$1"
  until_true has_line "$BATS_TEST_TMPDIR/somebody.out"
}

@test "a refusal is explained in two lines, once, and errno is as it was" {
  somebody 60
  local thrice='
import socket, sys
for _ in range(3):
    try:
        socket.socket().bind(("127.0.0.1", 8080))
    except OSError as error:
        print("errno", error.errno, file=sys.stderr, flush=True)'
  under -- python3 -c "$thrice"
  [ ! -s "$BATS_TEST_TMPDIR/out" ] && [ "$(wc -l <"$BATS_TEST_TMPDIR/err")" -eq 5 ] || show
  # It stands before what the program says itself.
  sed -n 1p "$BATS_TEST_TMPDIR/err" | grep -Eq '^tidewait: python3\[[0-9]+\] bind 127\.0\.0\.1:8080: EADDRINUSE, listener: ' || show
  sed -n 1p "$BATS_TEST_TMPDIR/err" | grep -q "pid $pid_somebody" || show
  sed -n 2p "$BATS_TEST_TMPDIR/err" | grep -q "^tidewait:   try: .*kill $pid_somebody" || show
  [ "$(grep -cx "errno 98" "$BATS_TEST_TMPDIR/err")" -eq 3 ] || show
  # Every time; never; elsewhere.
  under --interval 0 --json -- python3 -c "$thrice"
  [ "$(grep -c "EADDRINUSE, listener" "$BATS_TEST_TMPDIR/err")" -eq 3 ] || show
  summary 'bind == 3' 'explained == 3'
  under -q -- python3 -c "$thrice"
  [ "$(wc -l <"$BATS_TEST_TMPDIR/err")" -eq 3 ] || show
  under --log "$BATS_TEST_TMPDIR/log" -- python3 -c "$thrice"
  [ "$(wc -l <"$BATS_TEST_TMPDIR/err")" -eq 3 ] && [ "$(wc -l <"$BATS_TEST_TMPDIR/log")" -eq 2 ] || show
}

@test "a refusal because of the program itself" {
  under -- python3 -c '
import socket
a = socket.socket()
a.bind(("127.0.0.1", 8080))
a.listen()
try:
    socket.socket().bind(("127.0.0.1", 8080))
except OSError:
    pass'
  grep -q 'EADDRINUSE, same-process: ' "$BATS_TEST_TMPDIR/err" || show
}

@test "refusals of UDP, which is not given SO_REUSEADDR" {
  under -- python3 -c '
import socket
a = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
a.bind(("127.0.0.1", 8080))
print(a.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR))
try:
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).bind(("127.0.0.1", 8080))
except OSError as error:
    print("errno", error.errno)'
  [ "$(cat "$BATS_TEST_TMPDIR/out")" = $'0\nerrno 98' ] || show
  grep -q '^tidewait: python3.* bind 127.0.0.1:8080: EADDRINUSE' "$BATS_TEST_TMPDIR/err" || show
}

@test "a lane that is full is explained" {
  few_ports 50
  start_server
  under --json -- python3 -c '
import socket, sys
held = []
try:
    while True:
        held.append(socket.create_connection((sys.argv[1], 80)))
except OSError as error:
    print(len(held), error.errno)' "$server"
  [ "$(cat "$BATS_TEST_TMPDIR/out")" = "50 99" ] || show
  grep -q "connect $server:80: EADDRNOTAVAIL, lane-exhausted: " "$BATS_TEST_TMPDIR/err" || show
  # Each of them was tried more than once: what is counted are tries.
  summary 'managed == 50' 'connect == 1' 'explained == 1' 'tries_passed_over > ports'
  under --no-manage --summary -- python3 -c ''
  grep -q ' 0 tries passed over$' "$BATS_TEST_TMPDIR/err" || show
}

@test "--wait: bind() is tried again until somebody has gone" {
  somebody 2
  under --wait 30s --json -- python3 -c "$bind_py" 127.0.0.1 8080
  [ "$status" -eq 0 ] || show
  grep -q 'tried again for up to 30 s' "$BATS_TEST_TMPDIR/err" || show
  summary 'bind == 0' 'bind_retries > 0'
}

@test "an ordinary user is told what he could not see" {
  [ -z "$net_user" ] || skip "this whole test runs as one"
  need setpriv
  setpriv --reuid 65534 --regid 65534 --clear-groups test -x "$TIDEWAIT" || skip "nobody cannot reach $TIDEWAIT"
  somebody 60
  status=0
  in_client setpriv --reuid 65534 --regid 65534 --clear-groups "$TIDEWAIT" exec -- \
    python3 -c "$bind_py" 127.0.0.1 8080 >"$BATS_TEST_TMPDIR/out" 2>"$BATS_TEST_TMPDIR/err" || status=$?
  [ "$status" -eq 1 ] && grep -qx "errno 98" "$BATS_TEST_TMPDIR/out" || show
  grep -q '(not seen: ' "$BATS_TEST_TMPDIR/err" || show
}

@test "-N runs the program in another network, and explains there" {
  [ -z "$net_user" ] || skip "only root may enter a network of others"
  somebody 60
  status=0
  timeout 60 "$TIDEWAIT" exec -N "$client_net" -- python3 -c "$bind_py" 127.0.0.1 8080 \
    >"$BATS_TEST_TMPDIR/out" 2>"$BATS_TEST_TMPDIR/err" || status=$?
  [ "$status" -eq 1 ] || show
  grep -q "EADDRINUSE, listener: .*pid $pid_somebody" "$BATS_TEST_TMPDIR/err" || show
}

@test "junk on the socket for explanations does no harm" {
  under --json -- python3 -c '
import os, socket, sys
name = [line.split()[-1] for line in open("/proc/net/unix") if "@tidewait-exec-" in line][0]
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
for size in (0, 1, 95, 96, 97, 5000):
    s.sendto(os.urandom(size), "\0" + name[1:])
for byte in b"\0", b"\1", b"\2", b"\6", b"\x11", b"\xff":
    s.sendto((96).to_bytes(4, sys.byteorder) + byte * 92, "\0" + name[1:])
print("sent")'
  [ "$status" -eq 0 ] && grep -qx sent "$BATS_TEST_TMPDIR/out" || show
  summary 'explained == 0' 'connect == bind == 0'
  [ "$(wc -l <"$BATS_TEST_TMPDIR/err")" -eq 1 ] || show
}
