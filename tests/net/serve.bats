#!/usr/bin/env bats
# `tidewait serve` against curl and raw sockets. Each test has a network namespace of its own.
# shellcheck disable=SC2030,SC2031 # each test is a subshell, and meant to be
# shellcheck disable=SC2154 # the variables are set in net.bash

bats_require_minimum_version 1.5.0

load net

SERVE=127.0.0.1:8080

setup() { net_alone; }
teardown() { net_down; }

# Starts serve with the options given, on "$SERVE" unless there are endpoints in ENDPOINTS.
start_serve() {
    # shellcheck disable=SC2086 # several words
    start serve client ${PREFIX-} "$TIDEWAIT" serve "$@" ${ENDPOINTS-$SERVE}
    until_true grep -q '^listening' "$BATS_TEST_TMPDIR/serve.err"
}

# Ends serve by SIGINT; its exit status is ours, and the totals are in $TOTALS.
stop_serve() {
    stop serve INT
    TOTALS=$(cat "$BATS_TEST_TMPDIR/serve.out")
    return "$status"
}

# The value of PATH (a python expression on t) in the JSON totals.
total() {
    python3 -c 'import json, sys; t = json.loads(sys.argv[1]); print(eval(sys.argv[2]))' "$TOTALS" "$1"
}

# Python with a connected socket s and the helpers below.
dialog() {
    in_client timeout 20 python3 -c '
import socket, struct, sys, time
def connect(port=8080):
    s = socket.create_connection(("127.0.0.1", port))
    s.settimeout(10)
    return s
def rest(s):
    data = b""
    while True:
        part = s.recv(1 << 20)
        if not part:
            return data
        data += part
def head(s):
    data = b""
    while not data.endswith(b"\r\n\r\n"):
        data += s.recv(1)
    return data
def exactly(s, n):
    data = b""
    while len(data) < n:
        part = s.recv(n - len(data))
        assert part, "EOF after %d of %d bytes" % (len(data), n)
        data += part
    return data
s = connect()
exec(sys.argv[1])' "$1"
}

# Which end keeps TIME_WAIT: ours (the server, on port 8080), theirs, or none.
time_wait_at() {
    in_client ss -Htan state time-wait | awk '
        $3 ~ /:8080$/ { who = "server" } $4 ~ /:8080$/ { who = "client" }
        END { print who ? who : "nobody" }'
}

has_time_wait() {
    [ "$(time_wait_at)" != nobody ]
}

@test "GET returns a body of --size" {
    start_serve --size 3000
    run -0 in_client curl -s -o "$BATS_TEST_TMPDIR/body" -w '%{http_code} %{size_download}' "http://$SERVE/x"
    [ "$output" = "200 3000" ]
    stop_serve
}

@test "HEAD returns the length and no body" {
    start_serve --size 3000
    dialog '
s.sendall(b"HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
data = rest(s)
assert b"Content-Length: 3000\r\n" in data and data.endswith(b"\r\n\r\n"), data'
}

@test "a connection is kept for a second request" {
    start_serve
    run -0 in_client curl -s -o /dev/null -o /dev/null -w '%{num_connects} ' \
        "http://$SERVE/" "http://$SERVE/"
    [ "$output" = "1 0 " ]
}

@test "HTTP/1.0 closes unless it asks for keep-alive" {
    start_serve --size 5
    dialog '
s.sendall(b"GET / HTTP/1.0\r\n\r\n")
assert b"Connection: close" in rest(s)
s = connect()
for i in range(2):
    s.sendall(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    assert b"Connection: keep-alive" in head(s)
    exactly(s, 5)'
}

@test "pipelined requests are all answered, in one segment or in many" {
    start_serve --size 100
    dialog '
s.sendall(b"GET / HTTP/1.1\r\n\r\n" * 999 + b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
assert rest(s).count(b"HTTP/1.1 200 OK") == 1000'
}

@test "pipelined requests are all answered when replies take time and space" {
    start_serve --size 300KB --think 1ms
    dialog '
s.sendall(b"GET / HTTP/1.1\r\n\r\n" * 49 + b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
time.sleep(0.2)
data = rest(s)
assert data.count(b"HTTP/1.1 200 OK") == 50, data.count(b"HTTP/1.1 200 OK")
assert len(data) > 50 * 300000'
}

@test "a request may come byte by byte" {
    start_serve
    dialog '
for byte in b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n":
    s.sendall(bytes([byte]))
    time.sleep(0.002)
assert rest(s).startswith(b"HTTP/1.1 200 OK")'
}

@test "a request body by Content-Length or in chunks is read and passed over" {
    start_serve --json --size 5
    dialog '
s.sendall(b"POST / HTTP/1.1\r\nContent-Length: 300000\r\n\r\n" + b"x" * 300000)
head(s); exactly(s, 5)
s.sendall(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
for i in range(50):
    s.sendall(b"3e8;a=b\r\n" + b"GET / HTTP" * 100 + b"\r\n")
s.sendall(b"0\r\nTrailer: x\r\n\r\nGET / HTTP/1.1\r\nConnection: close\r\n\r\n")
assert rest(s).count(b"HTTP/1.1 200 OK") == 2'
    stop_serve
    [ "$(total 't["requests"]')" = 3 ]
    [ "$(total 't["malformed"]')" = 0 ]
}

@test "Expect: 100-continue is answered before the body" {
    start_serve
    dialog '
s.sendall(b"POST / HTTP/1.1\r\nContent-Length: 3\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n")
assert head(s) == b"HTTP/1.1 100 Continue\r\n\r\n"
s.sendall(b"abc")
assert rest(s).startswith(b"HTTP/1.1 200 OK")'
}

@test "a malformed request gets 400, and the reply survives unread input" {
    start_serve --json
    dialog '
for text in (b"nonsense\r\n\r\n", b"GET / HTTP/2.0\r\n\r\n", b"GET / HTTP/1.1\r\nbad\r\n\r\n",
             b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
             b"GET / HTTP/1.1\r\nX: " + b"y" * 20000):
    s = connect()
    s.sendall(text)
    assert rest(s).startswith(b"HTTP/1.1 400 Bad Request"), text
    s.close()
s = connect()
s.sendall(b"nonsense\r\n\r\n" + b"z" * 1000000)
assert rest(s).startswith(b"HTTP/1.1 400 Bad Request")'
    stop_serve
    [ "$(total 't["malformed"]')" = 6 ]
    [ "$(total 't["closed_by"]["reset_by_us"]')" = 0 ]
}

@test "--requests ends a connection after so many" {
    start_serve --requests 2 --size 1
    dialog '
s.sendall(b"GET / HTTP/1.1\r\n\r\n" * 3)
data = rest(s)
assert data.count(b"200 OK") == 2 and data.count(b"Connection: close") == 1, data'
}

@test "a body of 64 MiB arrives whole" {
    start_serve --size 64MiB
    run -0 in_client curl -s -o /dev/null -w '%{size_download}' -H 'Connection: close' "http://$SERVE/"
    [ "$output" = 67108864 ]
}

@test "sizes and delays follow their distributions" {
    start_serve --size uniform:1000-1001 --think uniform:20ms-30ms
    dialog '
sizes = set()
begin = time.monotonic()
for i in range(20):
    s.sendall(b"GET / HTTP/1.1\r\n\r\n")
    size = int(head(s).split(b"Content-Length: ")[1].split(b"\r\n")[0])
    exactly(s, size)
    sizes.add(size)
assert sizes == {1000, 1001}, sizes
assert 0.4 <= time.monotonic() - begin < 2'
}

# --- who closes ---

@test "--close server: TIME_WAIT is here, and the FIN travels with the data" {
    start_serve --close server --json
    run -0 in_client curl -s -o /dev/null -H 'Connection: close' "http://$SERVE/"
    [ "$(time_wait_at)" = server ]
    stop_serve
    [ "$(total 't["closed_by"]["server"]')" = 1 ]
}

@test "--close client: we wait for the client, which keeps TIME_WAIT" {
    start_serve --close client --json
    run -0 in_client curl -s -o /dev/null -H 'Connection: close' "http://$SERVE/"
    until_true has_time_wait
    [ "$(time_wait_at)" = client ]
    stop_serve
    [ "$(total 't["closed_by"]["client"]')" = 1 ]
    [ "$(total 't["timeouts"]["linger"]')" = 0 ]
}

@test "--close client: a client that does not close is closed after --linger, and counted" {
    start_serve --close client --linger 100ms --json
    dialog '
s.sendall(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
begin = time.monotonic()
assert b"200 OK" in rest(s)
assert 0.09 < time.monotonic() - begin < 2'
    stop_serve
    [ "$(total 't["timeouts"]["linger"]')" = 1 ]
    [ "$(total 't["closed_by"]["server"]')" = 1 ]
}

@test "--close reset: the reply arrives whole, then a reset, and nobody keeps TIME_WAIT" {
    start_serve --close reset --size 20MB --json
    dialog '
s.sendall(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
head(s); exactly(s, 20000000)
try:
    print(s.recv(1)); raise SystemExit("EOF instead of a reset")
except ConnectionResetError:
    pass'
    [ "$(time_wait_at)" = nobody ]
    stop_serve
    [ "$(total 't["closed_by"]["reset_by_us"]')" = 1 ]
}

@test "--close half: after our EOF we go on reading" {
    start_serve --close half --json
    dialog '
s.sendall(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
assert b"200 OK" in rest(s)
for i in range(100):
    s.sendall(b"x" * 10000)
    time.sleep(0.001)
s.shutdown(socket.SHUT_WR)
time.sleep(0.1)
assert s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0'
    [ "$(time_wait_at)" = server ]
    stop_serve
    [ "$(total 't["bytes_in"] > 1000000')" = True ]
    [ "$(total 't["closed_by"]["server"]')" = 1 ]
}

@test "input that we do not want is not answered by a reset" {
    start_serve --requests 1 --json
    dialog '
s.sendall(b"GET / HTTP/1.1\r\n\r\n" + b"GET / HTTP/1.1\r\nContent-Length: 4000000\r\n\r\n")
s.sendall(b"x" * 4000000)
assert rest(s).count(b"200 OK") == 1
assert s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0'
    stop_serve
    [ "$(total 't["closed_by"]["reset_by_us"]')" = 0 ]
    [ "$(total 't["closed_by"]["reset_by_peer"]')" = 0 ]
}

@test "a client that closes after its request still gets its reply" {
    start_serve --json --think 50ms
    dialog '
s.sendall(b"GET / HTTP/1.1\r\n\r\n")
s.shutdown(socket.SHUT_WR)
assert b"200 OK" in rest(s)'
    stop_serve
    [ "$(total 't["closed_by"]["client"]')" = 1 ]
}

@test "a reset by the client is counted, also during --think" {
    start_serve --json --think 200ms
    dialog '
for text in (b"", b"GET / HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\n"):
    s = connect()
    s.sendall(text)
    time.sleep(0.05)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()
time.sleep(0.3)'
    stop_serve
    [ "$(total 't["closed_by"]["reset_by_peer"]')" = 3 ]
}

@test "--idle closes connections on which nothing moves" {
    start_serve --idle 100ms --json
    dialog '
s.sendall(b"GET / HTTP/1.1\r\n\r\n")
begin = time.monotonic()
rest(s)
assert 0.09 < time.monotonic() - begin < 2
rest(connect())'
    stop_serve
    [ "$(total 't["timeouts"]["idle"]')" = 2 ]
}

# --- raw ---

@test "--raw echo returns everything, also when the client reads late" {
    start_serve --raw echo --json
    dialog '
import threading
data = bytes(range(256)) * 40000
threading.Thread(target=lambda: (s.sendall(data), s.shutdown(socket.SHUT_WR))).start()
time.sleep(0.3)
assert rest(s) == data'
    stop_serve
    [ "$(total 't["bytes_in"] == t["bytes_out"] == 10240000')" = True ]
}

@test "--raw discard reads until EOF" {
    start_serve --raw discard --json
    dialog '
s.sendall(b"x" * 5000000)
s.shutdown(socket.SHUT_WR)
assert rest(s) == b""'
    stop_serve
    [ "$(total 't["bytes_in"]')" = 5000000 ]
    [ "$(total 't["bytes_out"]')" = 0 ]
    [ "$(total 't["closed_by"]["client"]')" = 1 ]
}

@test "--raw send replies without a request" {
    start_serve --raw send --size 100000 --json
    dialog '
assert len(rest(s)) == 100000'
    [ "$(time_wait_at)" = server ]
    stop_serve
    [ "$(total 't["bytes_out"]')" = 100000 ]
}

# --- addresses ---

@test "an address in use: the holder is named, exit 1" {
    start_serve
    run -1 --separate-stderr in_client "$TIDEWAIT" serve 127.0.0.1:8081 "$SERVE"
    [[ $stderr == *"cannot listen on 127.0.0.1:8080: Address already in use"* ]]
    [[ $stderr == *"$(cat "/proc/$pid_serve/comm") (pid $pid_serve) listens on 127.0.0.1:8080."* ]]
    [[ $stderr == *"kill $pid_serve"* ]]
    [[ $stderr == *"1 of 2 agents were already listening; all closed again"* ]]
}

@test "several workers do not join another server of the same user" {
    start_serve --workers 2
    run -1 --separate-stderr in_client "$TIDEWAIT" serve --workers 2 "$SERVE"
    [[ $stderr == *"Address already in use"* ]]
}

@test "an address of another host: exit 1, and what to try" {
    run -1 --separate-stderr in_client "$TIDEWAIT" serve 192.0.2.1:8080
    [[ $stderr == *"192.0.2.1:8080: Cannot assign requested address"*"ip address add 192.0.2.1/32"* ]]
}

@test "a privileged port: exit 3" {
    # Without the capability; in a user namespace only capabilities of that namespace count.
    command -v setpriv > /dev/null || skip "no setpriv"
    run -3 --separate-stderr in_client setpriv --bounding-set -all --inh-caps -all --no-new-privs \
        "$TIDEWAIT" serve 127.0.0.1:80
    [[ $stderr == *"127.0.0.1:80: Permission denied"* ]]
}

@test "--skip-busy goes on without an address; exit 1 if none is left" {
    start_serve
    run -0 --separate-stderr in_client "$TIDEWAIT" serve --skip-busy --duration 50ms "$SERVE" 127.0.0.1:8081
    [[ $stderr == *"going on without it"*"listening on 127.0.0.1:8081"* ]]
    run -1 --separate-stderr in_client "$TIDEWAIT" serve --skip-busy "$SERVE"
    [[ $stderr == *"no address is left"* ]]
}

@test "--next-free moves on, past the ports of other agents" {
    start_serve
    run -0 --separate-stderr in_client "$TIDEWAIT" serve --next-free --duration 50ms \
        127.0.0.1:8081 "$SERVE"
    [[ $stderr == *"127.0.0.1:8080 is in use; 127.0.0.1:8082 serves in its place"* ]]
    [[ $stderr == *"listening on 127.0.0.1:8082"* ]]
}

@test "IPv6: [::] leaves IPv4 alone" {
    ENDPOINTS='[::]:8080 127.0.0.1:8080' start_serve
    run -0 in_client curl -s -o /dev/null -w '%{http_code}' 'http://[::1]:8080/'
    [ "$output" = 200 ]
    run -0 in_client curl -s -o /dev/null -w '%{http_code}' 'http://127.0.0.1:8080/'
    [ "$output" = 200 ]
}

@test "300 agents in one process" {
    ENDPOINTS='127.0.0.1-127.0.0.3:9000-9099' start_serve --workers 2 --json
    run -0 cat "$BATS_TEST_TMPDIR/serve.err"
    [ "$output" = "listening on 300 endpoints from 127.0.0.1:9000 to 127.0.0.3:9099 (2 workers)" ]
    in_client python3 -c '
import urllib.request
for host in (1, 2, 3):
    for port in range(9000, 9100):
        urllib.request.urlopen("http://127.0.0.%d:%d/" % (host, port)).read()'
    stop_serve
    [ "$(total 't["agents"]')" = 300 ]
    [ "$(total 't["requests"]')" = 300 ]
}

# --- bad input ---

@test "bad input: one line with the offending text, exit 2" {
    for words in "127.0.0.1:99999" "127.0.0.1" "::1:80" "banana:80" "127.0.0.1:90-80" \
        "--size=lots" "--think=5" "--close=never" "--workers=0" "--raw=telnet" "--nonsense" \
        "127.0.0.1:80 127.0.0.1:80" "0.0.0.0:80 127.0.0.1:80" "127.0.0.1:1-60000 127.0.0.2:1-60000"; do
        # shellcheck disable=SC2086 # several words
        run -2 --separate-stderr in_client "$TIDEWAIT" serve $words
        [ -z "$output" ]
        # shellcheck disable=SC2154 # set by run
        [ "${#stderr_lines[@]}" = 1 ]
    done
    [[ $stderr == *"127.0.0.2:1-60000"* ]]
}

# --- the end ---

@test "SIGINT: replies under way are finished, idle connections closed, totals printed" {
    start_serve --think 300ms
    dialog '
import os, signal
idle = connect()
s.sendall(b"GET / HTTP/1.1\r\n\r\n")
time.sleep(0.1)
os.kill('"$pid_serve"', signal.SIGINT)
begin = time.monotonic()
assert idle.recv(1) == b""
assert time.monotonic() - begin < 0.15
assert b"200 OK" in rest(s)'
    await serve
    [ "$status" -eq 0 ]
    run -0 cat "$BATS_TEST_TMPDIR/serve.out"
    [[ ${lines[0]} == "1 agent, "* ]]
    [[ $output == *"2 accepted"* ]]
}

@test "SIGTERM: a client that does not read delays the end by a second at most" {
    start_serve --size 1GiB
    dialog '
import os, signal
s.sendall(b"GET / HTTP/1.1\r\n\r\n")
time.sleep(0.2)
os.kill('"$pid_serve"', signal.SIGTERM)
time.sleep(1.5)'
    run -1 kill -0 "$pid_serve"
    await serve
    [ "$status" -eq 0 ]
}

@test "--json: one valid object, schema first, numbers as numbers" {
    start_serve --json --workers 2
    in_client curl -s -o /dev/null "http://$SERVE/"
    stop_serve
    python3 - "$TOTALS" << 'END'
import json, sys
totals = json.loads(sys.argv[1])
assert list(totals)[0] == "schema" and totals["schema"] == "tidewait.serve/1"
assert totals["accepted"] == totals["requests"] == totals["replies_by_status"]["200"] == 1
assert totals["workers"] == 2 and totals["agents"] == 1
assert totals["bytes_out"] > 1024 and totals["bytes_in"] > 20
assert sum(totals["closed_by"].values()) == 1
def numbers(value):
    return all(map(numbers, value.values())) if isinstance(value, dict) else \
        isinstance(value, (int, float))
assert all(numbers(value) for key, value in totals.items() if key != "schema"), totals
END
}

@test "-v prints a line a second, -q nothing but errors and totals" {
    start_serve -v
    until_true grep -q 'open 0  accepted 0/s  requests 0/s' "$BATS_TEST_TMPDIR/serve.err"
    stop_serve
    run -0 --separate-stderr in_client "$TIDEWAIT" serve -q --duration 20ms "$SERVE"
    [ -z "$stderr" ]
}

@test "without descriptors serve rests, counts, and goes on when there are some again" {
    command -v prlimit > /dev/null || skip "no prlimit"
    PREFIX="prlimit --nofile=64:64" start_serve --workers 1 --json
    dialog '
held = [connect() for i in range(60)]
time.sleep(0.3)
spent = lambda: sum(map(int, open("/proc/'"$pid_serve"'/stat").read().split()[13:15]))
before = spent()
time.sleep(0.5)
assert spent() - before <= 10, "it spins"
held.append(s)
last = connect()
last.sendall(b"GET / HTTP/1.1\r\n\r\n")
for h in held:
    h.close()
assert b"200 OK" in head(last)' || dialog_failed=1
    stop_serve
    [ -z "${dialog_failed-}" ]
    [ "$(total 't["errors"]["no_files"] > 0')" = True ]
    [ "$(total 't["accepted"]')" = 62 ]
}
