#!/usr/bin/env bats
# The error messages of real programs, made in a private network and fed to the library: what it says
# of each must be what the test did.
# shellcheck disable=SC2154,SC2016 # variables are set in net.bash; ' ' holds other languages' code
bats_require_minimum_version 1.5.0
load net

RECOGNISE=${RECOGNISE:-$BATS_TEST_DIRNAME/../../build/tests/recognise}

setup() {
  net_up
  [ -x "$RECOGNISE" ] || { echo "RECOGNISE=$RECOGNISE is no program"; return 1; }
}

teardown() { net_down; }

# taken: 127.0.0.1:7000 and its like are taken.
taken() { start_peer 0; }

# exhausted: and there is no source port left to reach it.
exhausted() {
  sysctl_of client net/ipv4/ip_local_port_range "20000 20001"
  start_peer 2
}

start_peer() {
  start peer client python3 "$BATS_TEST_DIRNAME/messages/peer.py" "$BATS_TEST_TMPDIR" "$1"
  until_true has_line "$BATS_TEST_TMPDIR/peer.out" || { cat "$BATS_TEST_TMPDIR/peer.err"; return 1; }
}

# judge FILE FIELD=VALUE...: what the library reads from a file.
judge() {
  local file=$1 field
  shift
  "$RECOGNISE" <"$file" >"$BATS_TEST_TMPDIR/said" || true
  for field in "$@"; do
    grep -qxF -- "$field" "$BATS_TEST_TMPDIR/said" && continue
    echo "wanted: $*"
    echo "--- the library says"
    cat "$BATS_TEST_TMPDIR/said"
    echo "--- of"
    cat "$file"
    return 1
  done
}

# message FIELD=VALUE... -- COMMAND...: runs it, which must fail, and judges its words.
message() {
  local fields=() rc=0
  while [ "$1" != -- ]; do
    fields+=("$1")
    shift
  done
  shift
  limit=30 in_client "$@" >"$BATS_TEST_TMPDIR/words" 2>&1 </dev/null || rc=$?
  [ $rc -ne 0 ] || { echo "did not fail: $*"; cat "$BATS_TEST_TMPDIR/words"; return 1; }
  judge "$BATS_TEST_TMPDIR/words" "${fields[@]}"
}

java_runs() {
  need java
  limit=30 in_client java -XX:TieredStopAtLevel=1 --list-modules 2>/dev/null | grep -q '^jdk.compiler' ||
    skip "this java cannot run a source file (no jdk.compiler)"
}

jvm() { message "${@:1:$#-3}" -- java "$BATS_TEST_DIRNAME/messages/Fail.java" "${@: -3}"; }

@test "Java: the server's errors" {
  java_runs
  taken
  jvm program=Java op=bind code=EADDRINUSE protocol=6 server 127.0.0.1 7000
  jvm program=Java op=bind code=EADDRINUSE protocol=6 nio-server 127.0.0.1 7000
  jvm program=Java op=bind code=EADDRINUSE protocol=17 udp 127.0.0.1 7001
  jvm program=Java op=bind code=EADDRNOTAVAIL protocol=6 server 10.9.9.9 80
}

@test "Java: BindException from connect() is told from that of bind()" {
  java_runs
  exhausted
  jvm program=Java op=connect code=EADDRNOTAVAIL client 127.0.0.1 7000
  jvm program=Java op=connect code=EADDRNOTAVAIL nio-client 127.0.0.1 7000
  jvm program=Java op=connect code=EADDRNOTAVAIL http 127.0.0.1 7000
  jvm program=Java op=connect code=EADDRINUSE bound-client 127.0.0.1 7000
}

@test "Node.js" {
  need node
  taken
  message program=Node.js op=bind code=EADDRINUSE local=127.0.0.1:7000 -- \
    node -e 'require("net").createServer().listen(7000, "127.0.0.1")'
  message program=Node.js op=bind code=EADDRINUSE protocol=17 local=127.0.0.1:7001 -- \
    node -e 'require("dgram").createSocket("udp4").bind(7001, "127.0.0.1")'
  message program=Node.js op=bind code=EADDRINUSE protocol=0 "path=$BATS_TEST_TMPDIR/x.sock" -- \
    node -e 'require("net").createServer().listen(process.argv[1])' "$BATS_TEST_TMPDIR/x.sock"
  message program=Node.js op=bind code=EADDRNOTAVAIL local=10.9.9.9:80 -- \
    node -e 'require("net").createServer().listen(80, "10.9.9.9")'
}

@test "Node.js without a source port" {
  need node
  exhausted
  message program=Node.js op=connect code=EADDRNOTAVAIL remote=127.0.0.1:7000 -- \
    node -e 'require("net").connect(7000, "127.0.0.1")'
}

@test "Python" {
  taken
  message program=Python op=bind code=EADDRINUSE local=127.0.0.1:7000 -- \
    python3 -c 'import socket; socket.create_server(("127.0.0.1", 7000))'
  message program=Python op=bind code=EADDRINUSE -- python3 -m http.server -b 127.0.0.1 7000
  message program=Python op=bind code=EADDRINUSE local=127.0.0.1:7000 -- python3 -c '
import asyncio
async def main(): await asyncio.start_server(None, "127.0.0.1", 7000)
asyncio.run(main())'
  message program=Python op=bind code=EADDRNOTAVAIL -- python3 -m http.server -b 10.9.9.9 7000
}

@test "Python without a source port" {
  exhausted
  message program=Python op=connect code=EADDRNOTAVAIL -- \
    python3 -c 'import socket; socket.create_connection(("127.0.0.1", 7000))'
  message program=Python op=connect code=EADDRNOTAVAIL -- \
    python3 -c 'import urllib.request; urllib.request.urlopen("http://127.0.0.1:7000/")'
  message program=Python op=connect code=EADDRINUSE -- python3 -c '
import socket
socket.create_connection(("127.0.0.1", 7000), source_address=("127.0.0.1", 0))'
}

@test "Perl" {
  need perl
  perl -MIO::Socket::INET -e1 2>/dev/null || skip "this perl has no IO::Socket::INET"
  taken
  message program=Perl op=bind code=EADDRINUSE -- perl -MIO::Socket::INET -e \
    'IO::Socket::INET->new(LocalAddr => "127.0.0.1:7000", Listen => 4) or die "no: $@"'
}

@test "Perl without a source port" {
  need perl
  perl -MIO::Socket::INET -e1 2>/dev/null || skip "this perl has no IO::Socket::INET"
  exhausted
  message program=Perl op=connect code=EADDRNOTAVAIL -- perl -MIO::Socket::INET -e \
    'IO::Socket::INET->new(PeerAddr => "127.0.0.1:7000") or die "no: $@"'
}

# nginx_conf LISTEN DIRECTIVE. Root of a user namespace may give its files to nobody else: user root.
nginx_conf() {
  cat >"$BATS_TEST_TMPDIR/nginx.conf" <<EOF
user root; daemon off; master_process off; pid $BATS_TEST_TMPDIR/nginx.pid; error_log stderr; events {}
http {
  access_log off; client_body_temp_path $BATS_TEST_TMPDIR/b; proxy_temp_path $BATS_TEST_TMPDIR/p;
  fastcgi_temp_path $BATS_TEST_TMPDIR/f; uwsgi_temp_path $BATS_TEST_TMPDIR/u; scgi_temp_path $BATS_TEST_TMPDIR/s;
  server { listen $1; location / { $2 } }
}
EOF
}

@test "nginx" {
  need nginx
  taken
  nginx_conf 127.0.0.1:7000 'return 204;'
  message program=nginx op=bind code=EADDRINUSE local=127.0.0.1:7000 -- \
    nginx -p "$BATS_TEST_TMPDIR" -e stderr -c "$BATS_TEST_TMPDIR/nginx.conf"
  nginx_conf 10.9.9.9:80 'return 204;'
  message program=nginx op=bind code=EADDRNOTAVAIL local=10.9.9.9:80 -- \
    nginx -p "$BATS_TEST_TMPDIR" -e stderr -c "$BATS_TEST_TMPDIR/nginx.conf"
}

@test "nginx without a source port to its upstream" {
  need nginx curl
  exhausted
  nginx_conf "unix:$BATS_TEST_TMPDIR/n.sock" 'proxy_pass http://127.0.0.1:7000;'
  start nginx client nginx -p "$BATS_TEST_TMPDIR" -e stderr -c "$BATS_TEST_TMPDIR/nginx.conf"
  until_true test -S "$BATS_TEST_TMPDIR/n.sock" || { cat "$BATS_TEST_TMPDIR/nginx.err"; return 1; }
  until_true in_client curl -s -o "$BATS_TEST_TMPDIR/page" --unix-socket "$BATS_TEST_TMPDIR/n.sock" http://x/
  until_true grep -q upstream "$BATS_TEST_TMPDIR/nginx.err"
  judge "$BATS_TEST_TMPDIR/nginx.err" program=nginx op=connect code=EADDRNOTAVAIL remote=127.0.0.1:7000
}

@test "Redis" {
  need redis-server
  taken
  message program=Redis op=bind code=EADDRINUSE local=127.0.0.1:7000 -- \
    redis-server --port 7000 --bind 127.0.0.1 --save '' --dir "$BATS_TEST_TMPDIR"
}

@test "redis-cli without a source port" {
  need redis-cli
  exhausted
  message 'program=Redis client' op=connect code=EADDRNOTAVAIL remote=127.0.0.1:7000 -- \
    redis-cli -h 127.0.0.1 -p 7000 ping
}

@test "HAProxy" {
  need haproxy
  taken
  printf 'frontend f\n bind 127.0.0.1:7000\n mode tcp\n timeout client 1s\n' >"$BATS_TEST_TMPDIR/haproxy.cfg"
  message program=HAProxy op=bind code=EADDRINUSE local=127.0.0.1:7000 -- \
    haproxy -db -f "$BATS_TEST_TMPDIR/haproxy.cfg"
}

@test "curl" {
  need curl
  exhausted
  message program=curl op=connect code=EADDRNOTAVAIL remote=127.0.0.1:7000 -- \
    curl -sSv http://127.0.0.1:7000/
  message program=curl op=connect code=EADDRINUSE -- \
    curl -sSv --local-port 7000 --interface 127.0.0.1 http://127.0.0.1:7000/
}

@test "wrk" {
  need wrk
  exhausted
  message op=connect code=EADDRNOTAVAIL remote=127.0.0.1:7000 -- \
    wrk -d1 -c1 -t1 http://127.0.0.1:7000/
}

@test "ab" {
  need ab
  exhausted
  message program=ab op=connect code=EADDRNOTAVAIL -- ab -n1 http://127.0.0.1:7000/
}

@test "psql" {
  need psql
  exhausted
  message 'program=PostgreSQL client' op=connect code=EADDRNOTAVAIL remote=127.0.0.1:7000 -- \
    psql -h 127.0.0.1 -p 7000 -U nobody nothing
}

@test "ssh" {
  need ssh
  exhausted
  message program=ssh op=connect code=EADDRNOTAVAIL remote=127.0.0.1:7000 -- \
    ssh -F none -o BatchMode=yes -p 7000 127.0.0.1
}

@test "git" {
  need git
  exhausted
  message program=git op=connect code=EADDRNOTAVAIL -- git ls-remote git://127.0.0.1:7000/x
}

@test "Rust" {
  need rustc
  cat >"$BATS_TEST_TMPDIR/fail.rs" <<'EOF'
fn main() {
    let _first = std::net::TcpListener::bind("127.0.0.1:7002").unwrap();
    let _second = std::net::TcpListener::bind("127.0.0.1:7002").unwrap();
}
EOF
  rustc -o "$BATS_TEST_TMPDIR/fail" "$BATS_TEST_TMPDIR/fail.rs" || skip "this rustc does not build"
  message program=Rust code=EADDRINUSE -- "$BATS_TEST_TMPDIR/fail"
}

@test "strace" {
  need strace
  taken
  in_client strace -o /dev/null true 2>/dev/null || skip "ptrace is not permitted here"
  message program=strace op=bind code=EADDRINUSE local=127.0.0.1:7000 -- \
    strace -e trace=bind python3 -c 'import socket; socket.socket().bind(("127.0.0.1", 7000))'
}

@test "no message where nothing fails but the connection" {
  need curl
  in_client curl -sSv http://127.0.0.1:7009/ >"$BATS_TEST_TMPDIR/words" 2>&1 && return 1
  grep -q refused "$BATS_TEST_TMPDIR/words"
  judge "$BATS_TEST_TMPDIR/words" "no address error"
}
