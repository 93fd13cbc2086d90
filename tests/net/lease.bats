#!/usr/bin/env bats
# `tidewait lease`: commands with ports, descriptors handed over, parked ports, and the protocol of portserver.
# Each test has a network namespace of its own.
# shellcheck disable=SC2016,SC1083 # texts in single quotes are for the inner shell, {port} is for lease
# shellcheck disable=SC2154 # the variables are set in net.bash
bats_require_minimum_version 1.5.0

load net

setup() { net_alone; }
teardown() { net_down; }

lease() { in_client "$TIDEWAIT" lease "$@"; }

# claim OPTIONS KIND ADDR PORT: binds (and listens) in the client's network; OPTIONS of "ra,rp" or "-".
claim='
import socket, sys
options, kind, address, port = sys.argv[1:5]
family = socket.AF_INET6 if ":" in address else socket.AF_INET
sock = socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
if "ra" in options: sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
if "rp" in options: sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
try:
    sock.bind((address, int(port)))
    if kind == "tcp": sock.listen(1)
except OSError as error:
    sys.exit(error.errno)
sys.exit(0)'
claim() { in_client python3 -c "$claim" "$@"; }

# serve_ports OPTIONS: the server, as `server`.
serve_ports() {
  start server client "$TIDEWAIT" lease --server "$@"
  until_true grep -q 'serving' "$BATS_TEST_TMPDIR/server.err"
}

# ask ADDRESS TEXT...: each text is a request of its own, as Python writes bytes; prints the answers.
ask() {
  in_client timeout 20 python3 -c '
import ast, socket, sys
address = sys.argv[1].replace("@", "\0", 1)
for text in sys.argv[2:]:
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(address)
    sock.sendall(ast.literal_eval(text))
    answer = b""
    while part := sock.recv(100):
        answer += part
    print(answer)' "$@"
}

# --- a command ---

@test "{port} and {portK} are replaced, everywhere in an argument, and other braces are left alone" {
  run -0 lease -- printf '%s\n' {port} a{port}b{port2}c '{port' '{ports}' '{}' '{{port1}}' '{port2}{port3}'
  local port=${lines[0]}
  [ "${lines[1]}" = "a${port}b$((port + 1))c" ]
  [ "${lines[2]}" = '{port' ]
  [ "${lines[3]}" = '{ports}' ]
  [ "${lines[4]}" = '{}' ]
  [ "${lines[5]}" = "{$port}" ]
  [ "${lines[6]}" = "$((port + 1))$((port + 2))" ]
}

@test "PORT, PORT1, PORT2.. in the environment" {
  run -0 lease -n 3 -p 20000-20002 -- sh -c 'echo $PORT $PORT1; echo $PORT2 $PORT3 | tr " " "\n"; echo "[$PORT4]"'
  [ "${lines[0]}" = "${lines[0]% *} ${lines[0]% *}" ]
  [ "$(printf '%s\n' "${lines[0]% *}" "${lines[1]}" "${lines[2]}" | sort | tr '\n' ' ')" = "20000 20001 20002 " ]
  [ "${lines[3]}" = "[]" ]
}

@test "the exit status is the command's own" {
  run -7 lease -- sh -c 'exit 7'
  run -127 lease -- /nonexistent/command
  [ "$output" = "tidewait lease: /nonexistent/command: No such file or directory" ]
  PATH=/usr/bin:/bin:/usr/sbin:/sbin run -127 lease -- no-such-command
  run -126 lease -- /etc/passwd
}

@test "a command that a signal ends: lease ends by the same" {
  run -0 in_client python3 -c '
import signal, subprocess, sys
for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGINT, signal.SIGSEGV):
    command = [sys.argv[1], "lease", "--", "sh", "-c", "ulimit -c 0; kill -%d $$" % number]
    assert subprocess.call(command) == -number, number' "$TIDEWAIT"
}

@test "signals are passed on" {
  local signal
  for signal in TERM INT HUP USR1 QUIT; do
    start one client "$TIDEWAIT" lease -- python3 -c '
import signal, sys, time
number = getattr(signal, "SIG" + sys.argv[1])
signal.signal(number, lambda *_: sys.exit(42))
print("ready", flush=True)
time.sleep(60)' "$signal"
    until_true has_line "$BATS_TEST_TMPDIR/one.out"
    stop one "$signal"
    [ "$status" -eq 42 ]
  done
}

@test "the command has the limit of descriptors, the signals and the input that lease was given" {
  run -0 in_client sh -c 'ulimit -Sn 77; echo in | "$1" lease -n 40 -- sh -c "ulimit -Sn; cat; grep SigBlk /proc/self/status"' sh "$TIDEWAIT"
  [ "${lines[0]}" = 77 ]
  [ "${lines[1]}" = in ]
  [[ ${lines[2]} == *0000000000000000 ]]
}

@test "no descriptor of lease reaches the command" {
  run -0 lease -n 2 --until end -- sh -c 'ls -l /proc/$$/fd'
  [[ $output != *socket:* ]]
}

# What the command can bind, and that nobody else leases the port meanwhile.
command_binds() {
  lease -p 20000 "$@" -- sh -c '
    "$0" lease -p 20000 2>/dev/null && { echo "leased twice"; exit 99; }
    for kind in tcp udp; do for address in 0.0.0.0 127.0.0.1 :: ::1; do
      python3 -c "$1" "$2" $kind $address {port} || { echo "$kind $address: $?"; exit 1; }
    done; done
    "$0" lease -p 20000 2>/dev/null && exit 99; exit 0' "$TIDEWAIT" "$claim" "$options"
}

@test "the command can bind its port without any option: auto and --until start, bind" {
  options=-
  command_binds
  command_binds --until start
  command_binds --until bind
}

@test "--until end lets in SO_REUSEADDR, and SO_REUSEPORT of the same user, and nobody else" {
  options=ra command_binds --until end
  options=rp command_binds --until end
  options=- run -1 command_binds --until end
  [[ $output == "tcp 0.0.0.0: 98"* ]]
}

@test "--until bind holds the port from all others until the command binds it" {
  mkfifo "$BATS_TEST_TMPDIR/fifo"
  start held client "$TIDEWAIT" lease -p 20001 --until bind -- sh -c 'echo ready; read -r line <"$0"; exit 3' \
    "$BATS_TEST_TMPDIR/fifo"
  until_true has_line "$BATS_TEST_TMPDIR/held.out"
  for kind in tcp udp; do
    run -98 claim - $kind 127.0.0.1 20001
    run -98 claim ra $kind ::1 20001
  done
  stop held
}

@test "ports that the kernel chooses from are held to the end without being asked" {
  local port
  port=$(in_client sh -c 'cut -f 1 /proc/sys/net/ipv4/ip_local_port_range')
  run -98 lease -p "$port" -- python3 -c "$claim" - tcp 0.0.0.0 {port}
  run -0 lease -p "$port" -- python3 -c "$claim" ra tcp 0.0.0.0 {port}
  run -0 lease -p "$port" --until start -- python3 -c "$claim" - tcp 0.0.0.0 {port}
}

@test "without --ports never one that the kernel chooses from, nor a reserved one" {
  sysctl_of client net/ipv4/ip_local_port_range "10010 65535"
  sysctl_of client net/ipv4/ip_local_reserved_ports "10000-10003,10005-10009"
  run -0 lease -- echo {port}
  [ "$output" = 10004 ]
  sysctl_of client net/ipv4/ip_local_port_range "1024 65535"
  run --separate-stderr -2 lease -- echo {port}
  [[ $stderr == *ip_local_port_range* ]]
}

# --- descriptors ---

@test "--fd: listening sockets from 3 on, as systemd hands them over" {
  run -0 lease --fd -n 2 -- python3 -c '
import os, socket
assert os.environ["LISTEN_PID"] == str(os.getpid())
assert os.environ["LISTEN_FDS"] == "2" and os.environ["LISTEN_FDNAMES"] == "tcp1:tcp2"
assert not os.path.exists("/proc/self/fd/5") or "socket" not in os.readlink("/proc/self/fd/5")
for i in (1, 2):
    sock = socket.socket(fileno=2 + i)
    assert sock.getsockname()[:2] == ("::", int(os.environ["PORT%d" % i])), sock
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) and sock.getblocking()
    for address in ("127.0.0.1", "::1"):
        socket.create_connection((address, sock.getsockname()[1]))
        sock.accept()
    sock.close()
    # Nobody else has it open: the port is refused, and can be listened on again.
    try:
        socket.create_connection(("127.0.0.1", int(os.environ["PORT%d" % i])))
        raise SystemExit("still listening")
    except ConnectionRefusedError:
        pass
print("done")'
  [ "$output" = "done" ]
}

@test "--fd --bound --udp --address" {
  run -0 lease --fd --bound --udp --address 127.0.0.1 -n 2 -- python3 -c '
import os, socket
assert os.environ["LISTEN_FDS"] == "4" and os.environ["LISTEN_FDNAMES"] == "tcp1:udp1:tcp2:udp2"
for fd, kind, port in ((3, socket.SOCK_STREAM, "PORT1"), (4, socket.SOCK_DGRAM, "PORT1"),
                       (5, socket.SOCK_STREAM, "PORT2"), (6, socket.SOCK_DGRAM, "PORT2")):
    sock = socket.socket(fileno=fd)
    assert sock.type == kind and sock.getsockname() == ("127.0.0.1", int(os.environ[port])), sock
    if kind == socket.SOCK_STREAM:
        assert not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        sock.listen()
print("done")'
  [ "$output" = "done" ]
  run -1 lease --fd --address 192.0.2.1 -- true
  [[ $output == *192.0.2.1* ]]
}

@test "--fd with many descriptors and a low limit" {
  run -0 in_client sh -c 'ulimit -Sn 64; "$1" lease --fd --udp -n 100 -- python3 -c "
import os, socket
ports = [socket.socket(fileno=fd).getsockname()[1] for fd in range(3, 203)]
print(os.environ[\"LISTEN_FDS\"], len(set(ports)))"' sh "$TIDEWAIT"
  [ "$output" = "200 100" ]
}

# --- printed ports ---

@test "printed ports are parked: nobody gets them but who sets SO_REUSEADDR, and no other lease" {
  local port
  run --separate-stderr -0 lease -n 5 -p 20000-20005
  [ "${#lines[@]}" -eq 5 ]
  [ -z "$stderr" ]
  for port in "${lines[@]}"; do
    run -98 claim - tcp 0.0.0.0 "$port"
    run -98 claim - tcp ::1 "$port"
    run -0 claim ra tcp 0.0.0.0 "$port"
  done
  run -1 in_client "$TIDEWAIT" why --no-color "$port"
  [[ $output == *"cause      parked"* ]]
  run --separate-stderr -1 lease -n 2 -p 20000-20005
  [[ $stderr == *"2 free ports wanted: of 6 that may be chosen, 0 are leased, something is on 5"* ]]
  [ -z "$output" ]
}

@test "--park 0 parks nothing; more than 60s cannot be had" {
  run -0 lease --park 0 -p 20000
  [ "$output" = 20000 ]
  run -0 claim - tcp 0.0.0.0 20000
  run -0 lease --park 60s -p 20000
  run -98 claim - tcp 0.0.0.0 20000
}

@test "--json" {
  run -0 lease --json -n 2 -p 20000-20001
  python3 -c '
import json, sys
t = json.loads(sys.argv[1])
assert t == {"schema": "tidewait.lease/1", "ports": t["ports"], "parked_ms": 60000}, t
assert sorted(t["ports"]) == [20000, 20001], t' "$output"
  run -0 lease --json --park 0
  [[ $output == *'"parked_ms": 0'* ]]
}

@test "--wait: until enough are free" {
  start held client "$TIDEWAIT" lease -p 20000 -- sh -c 'echo ready; sleep 60'
  until_true has_line "$BATS_TEST_TMPDIR/held.out"
  run -1 lease -p 20000 --wait 100ms
  start waiting client "$TIDEWAIT" lease -p 20000 --wait 60s
  stop held
  await waiting
  [ "$status" -eq 0 ]
  [ "$(cat "$BATS_TEST_TMPDIR/waiting.out")" = 20000 ]
}

@test "ports below 1024 need root" {
  [ "$(id -u)" -eq 0 ] || skip "only root can become somebody else"
  run -0 lease --park 0 -p 81
  run -3 in_client setpriv --reuid nobody --clear-groups "$TIDEWAIT" lease -p 81
  [[ $output == *CAP_NET_BIND_SERVICE* ]]
}

@test "a full standard output is told" {
  run -5 in_client sh -c '"$1" lease >/dev/full' sh "$TIDEWAIT"
}

# --- crowds ---

@test "200 processes take 50 ports each of 10,000, while others let the kernel choose: no collision" {
  [ "$(ulimit -Hn)" -ge 4096 ] || skip "too few descriptors"
  limit=300 run -0 in_client python3 "$net_files/lease_crowd.py" "$TIDEWAIT" 200 50 20000-29999
  [[ $output == "200 processes have 10000 ports, 10000 different; 0 failed"* ]]
}

@test "the same in the midst of the ports that the kernel chooses from" {
  [ "$(ulimit -Hn)" -ge 4096 ] || skip "too few descriptors"
  sysctl_of client net/ipv4/ip_local_port_range "15000 60999"
  limit=300 run -0 in_client python3 "$net_files/lease_crowd.py" "$TIDEWAIT" 200 50 20000-29999 --wait 200s
  [[ $output == *"10000 different; 0 failed; chosen by the kernel meanwhile: "[1-9]*"of those leased: 0" ]]
}

# --- the protocol of portserver ---

@test "portserver: a pid and a newline, a port and a newline, end of file" {
  serve_ports @tw-test -p 20000-20002
  run -0 ask @tw-test "b'$$\n'" "b'$$'" "b' +$$ \n'" "b'$$\n'"
  [ "${lines[0]}" = "b'20000\n'" ]
  [ "${lines[1]}" = "b'20001\n'" ]
  [ "${lines[2]}" = "b'20002\n'" ]
  [ "${lines[3]}" = "b''" ]
}

@test "portserver: what is no pid gets no answer" {
  serve_ports @tw-test -p 20000-20009
  run -0 ask @tw-test 'b"\n"' 'b"x\n"' 'b"99Z\n"' 'b"99 8\n"' 'b"0\n"' 'b"-5\n"' 'b"1\n"' 'b"4194999\n"' \
    'b"12\0\n"' "b'$$                    \n'" "b'99999999999999999999'" 'b"18446744073709551621\n"'
  [ "$(sort -u <<<"$output")" = "b''" ]
  run -0 ask @tw-test "b'$$\n'"
  [ "$output" = "b'20000\n'" ]
}

@test "portserver: statistics at SIGUSR1 and at the end, which is in order" {
  local path=$BATS_TEST_TMPDIR/socket
  serve_ports "$path" -p 20000-20009
  ask "$path" "b'$$\n'" "b'$$\n'" 'b"x"' 'b"1"'
  [ -S "$path" ]
  kill -USR1 "$pid_server"
  until_true grep -q total-allocations "$BATS_TEST_TMPDIR/server.err"
  [ "$(tail -n 5 "$BATS_TEST_TMPDIR/server.err" | tr '\n' ,)" = "client-request-errors 1,denied-allocations 1,num-ports-managed 10,num-ports-checked-for-last-request 1,total-allocations 2," ]
  stop server TERM
  [ "$status" -eq 0 ]
  [ "$(grep -c total-allocations "$BATS_TEST_TMPDIR/server.err")" -eq 2 ]
  [ ! -e "$path" ]
}

@test "portserver: a lease ends with its process, and ports go round in turn" {
  serve_ports @tw-test -p 20000-20002
  start client1 client sleep 60
  run -0 ask @tw-test "b'$pid_client1\n'" "b'$$\n'"
  [ "${lines[1]}" = "b'20001\n'" ]
  stop client1
  run -0 ask @tw-test "b'$$\n'" "b'$$\n'" "b'$$\n'"
  [ "$(tr '\n' ' ' <<<"$output")" = "b'20002\n' b'20000\n' b'' " ]
}

@test "portserver: the port is free for the client, leased to everybody else, and one in use is left out" {
  serve_ports @tw-test -p 20000-20001
  start used client python3 -c '
import socket, time
sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); sock.bind(("::1", 20000)); print("ready", flush=True); time.sleep(60)'
  until_true has_line "$BATS_TEST_TMPDIR/used.out"
  run -0 ask @tw-test "b'$$\n'"
  [ "$output" = "b'20001\n'" ]
  for kind in tcp udp; do
    run -0 claim - $kind 0.0.0.0 20001
    run -0 claim - $kind ::1 20001
  done
  run -1 lease -p 20001
}

@test "portserver with --until end: the port is held, and shared with SO_REUSEADDR" {
  serve_ports @tw-test -p 20001 --until end
  run -0 ask @tw-test "b'$$\n'"
  run -98 claim - tcp 127.0.0.1 20001
  run -0 claim ra tcp 127.0.0.1 20001
}

@test "portserver: clients that say nothing do not keep others out" {
  serve_ports @tw-test -p 20000-20009
  run -0 in_client timeout 60 python3 -c '
import os, socket
silent = []
for i in range(600):
    sock = socket.socket(socket.AF_UNIX)
    sock.connect("\0tw-test")
    silent.append(sock)
sock = socket.socket(socket.AF_UNIX)
sock.connect("\0tw-test")
sock.sendall(b"%d\n" % os.getpid())
print(sock.recv(100))'
  [ "$output" = "b'20000\n'" ]
}

@test "portserver: a socket that a killed server left is taken over, one that is served is not" {
  local path=$BATS_TEST_TMPDIR/socket
  serve_ports "$path" -p 20000
  run -1 lease --server "$path"
  [[ $output == *"somebody serves there already"* ]]
  stop server KILL
  [ -S "$path" ]
  rm "$BATS_TEST_TMPDIR/server.err"
  serve_ports "$path" -p 20000
  run -0 ask "$path" "b'$$\n'"
  [ "$output" = "b'20000\n'" ]
  echo text >"$BATS_TEST_TMPDIR/file"
  run -1 lease --server "$BATS_TEST_TMPDIR/file"
  [ "$(cat "$BATS_TEST_TMPDIR/file")" = text ]
}

@test "portpicker itself" {
  in_client python3 -c 'import portpicker' 2>/dev/null || skip "there is no portpicker here (python3-portpicker)"
  serve_ports @tw-test -p 20000-20009
  run -0 in_client env PORTSERVER_ADDRESS=@tw-test python3 -c '
import portpicker
print(*(portpicker.pick_unused_port() for i in range(3)))
print(portpicker.is_port_free(20000))'
  [ "${lines[0]}" = "20000 20001 20002" ]
  [ "${lines[1]}" != None ]
}
