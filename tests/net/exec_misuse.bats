#!/usr/bin/env bats
# `tidewait exec` under programs that do with sockets and processes what they please: all is as without, and
# nothing is left behind.
# shellcheck disable=SC2154 # the variables are set in net.bash
# shellcheck disable=SC2016 # scripts for inner shells
bats_require_minimum_version 1.5.0
load net

setup() { net_up; }
teardown() { net_down; }

start_server() {
  start server server python3 "$net_files/exec_server.py" "$1" 80 "$BATS_TEST_TMPDIR/clients"
  until_true has_line "$BATS_TEST_TMPDIR/server.out" || { cat "$BATS_TEST_TMPDIR/server.err"; return 1; }
}

# same COMMAND...: it says and ends the same with the shim as without.
same() {
  run in_client "$@"
  local plain=$output was=$status
  run in_client "$TIDEWAIT" exec -q "${options[@]}" -- "$@"
  diff <(echo "$plain") <(echo "$output")
  [ "$status" -eq "$was" ]
}

# Sockets of the network that are bound or connected; TIME_WAIT is no socket any more.
open_sockets() { in_client cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | awk '$4 ~ /^[0-9A-F][0-9A-F]$/ && $4 != "06" { n++ } END { print n + 0 }'; }
none_open() { [ "$(open_sockets)" -eq 0 ]; }

@test "forks, dup2, closed descriptors, threads, crashes, limits, seccomp: as without" {
  local options=()
  start_server "$server"
  sysctl_of client net/ipv4/ip_local_port_range "32768 39999"
  local jail=(jail) # not as root of a user namespace, who cannot become another user
  [ -z "$net_user" ] || jail=()
  same python3 "$net_files/exec_misuse.py" "$server" 80 "${jail[@]}"
  until_true none_open
}

@test "the same with ports that the kernel would not choose" {
  local options=(--ports 20000-29999)
  start_server "$server"
  same python3 "$net_files/exec_misuse.py" "$server" 80
}

@test "the same over IPv6" {
  local options=()
  net_v6
  start_server "$server6"
  same python3 "$net_files/exec_misuse.py" "$server6" 80
}

@test "the same on loopback, with so few ports that each is taken over, and closes watched" {
  sysctl_of client net/ipv4/ip_local_port_range "30000 39999"
  in_client python3 "$net_files/exec_loopback.py"
  limit=110 in_client "$TIDEWAIT" exec -q --ports 30000-30499 --wait 5s --json --log "$BATS_TEST_TMPDIR/log" -- \
    python3 "$net_files/exec_loopback.py"
  cat "$BATS_TEST_TMPDIR/log"
  grep -q '"avoided":[1-9]' "$BATS_TEST_TMPDIR/log"
}

@test "without its file nothing is done at all" {
  sysctl_of client net/ipv4/ip_local_port_range "30000 39999"
  in_client "$TIDEWAIT" exec -q --json --log "$BATS_TEST_TMPDIR/log" -- \
    env TIDEWAIT_SHIM=/nowhere python3 "$net_files/exec_loopback.py"
  grep -q '"connects":0,' "$BATS_TEST_TMPDIR/log"
}

@test "what cannot be waited for is told at once" {
  # All ports used once, then no descriptor for a look at them, or no way there.
  sysctl_of client net/ipv4/ip_local_port_range "32768 32787"
  start_server "$server"
  limit=8 in_client "$TIDEWAIT" exec -q -- python3 -c '
import resource, socket, sys
def connect(address):
    with socket.socket() as client:
        return client.connect_ex(address)
there = (sys.argv[1], 80)
for _ in range(40):
    assert connect(there) == 0
with socket.socket() as client:
    resource.setrlimit(resource.RLIMIT_NOFILE, (client.fileno() + 1, 4096))
for _ in range(3):
    connect(there)' "$server"
  limit=8 in_client "$TIDEWAIT" exec -q --ports 20000-20099 -- python3 -c '
import errno, socket
for _ in range(3):
    assert socket.socket().connect_ex(("99.99.99.99", 80)) == errno.ENETUNREACH'
}

@test "three runs at once on one lane" {
  start_server "$server"
  sysctl_of client net/ipv4/ip_local_port_range "32768 33767"
  in_client sh -ec 'for i in 1 2 3; do
    "$0" exec -q --wait 30s -- python3 -c "$1" "$2" & all="$all $!"
  done
  for one in $all; do wait "$one"; done' "$TIDEWAIT" '
import socket, sys
for _ in range(5000):
    with socket.socket() as client:
        client.connect((sys.argv[1], 80))
        client.send(b"abc")' "$server"
}

@test "a port that is held as a lock excludes others, and a restart succeeds" {
  local options=()
  same python3 -c '
import socket
def bound(*flags):
    s = socket.socket()
    for flag in flags:
        s.setsockopt(socket.SOL_SOCKET, flag, 1)
    try:
        s.bind(("127.0.0.1", 9000))
    except OSError as error:
        print(error)
        return None
    return s
first = bound()
bound()
bound(socket.SO_REUSEADDR)
print(first.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR))
first.close()
first = bound(socket.SO_REUSEADDR)
print(bound(socket.SO_REUSEADDR) is not None)'
}

@test "a client that binds to a port of its own takes over its TIME_WAIT" {
  start_server "$server"
  in_client "$TIDEWAIT" exec -q -- python3 -c '
import socket, sys
for _ in range(5):
    with socket.socket() as client:
        client.bind(("", 5555))
        client.connect((sys.argv[1], 80))
        client.send(b"abc")
        client.shutdown(socket.SHUT_WR)
        client.recv(1)' "$server"
}

@test "a sandbox that ends a program for getsockopt() is not broken by a rule that leaves it alone" {
  start_server "$server"
  in_client "$TIDEWAIT" exec -q -r 'out : leave' -- python3 -c '
import ctypes, os, socket, struct, sys
with socket.socket() as client:
    rows = [(0x20, 0, 0, 0), (0x15, 0, 1, 55), (6, 0, 0, 0), (6, 0, 0, 0x7fff0000)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *row) for row in rows))
    program = struct.pack("HxxxxxxP", len(rows), ctypes.addressof(code))
    libc = ctypes.CDLL(None)
    assert os.uname().machine != "x86_64" or not (libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, program, 0, 0))
    client.connect((sys.argv[1], 80))' "$server"
}

@test "a daemon outlives its run, and goes on" {
  start_server "$server"
  in_client "$TIDEWAIT" exec -q -- sh -c 'setsid python3 -c "$1" "$2" "$3" >/dev/null 2>&1 & ' sh '
import os, socket, sys, time
while os.path.exists(os.environ["TIDEWAIT_SHIM"]):
    time.sleep(0.05)
for _ in range(50):
    with socket.socket() as client:
        client.connect((sys.argv[1], 80))
open(sys.argv[2], "w").write("done\n")' "$server" "$BATS_TEST_TMPDIR/daemon"
  until_true has_line "$BATS_TEST_TMPDIR/daemon"
}

@test "nothing is left in /dev/shm, not even by a run that was killed" {
  start_server "$server"
  in_client sh -c '"$0" exec -q -- sleep 60 & sleep 0.5; kill -KILL $!; wait $!' "$TIDEWAIT" || true
  in_client "$TIDEWAIT" exec -q -- sh -c 'dirname "$TIDEWAIT_SHIM" >"$0"; python3 -c "import os; os.abort()"' \
    "$BATS_TEST_TMPDIR/folder" || true
  [ -s "$BATS_TEST_TMPDIR/folder" ] && [ ! -e "$(cat "$BATS_TEST_TMPDIR/folder")" ]
}
