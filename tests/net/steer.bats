#!/usr/bin/env bats
# Source ports by BPF at a cgroup, for a static program without the C library's connect(): steer_run does
# what `exec --method bpf` does. Needs root of the whole system.
# shellcheck disable=SC2154,SC2086 # the variables are set in net.bash and hold one word each
# shellcheck disable=SC2030,SC2031,SC2317 # a test is a function of its own
bats_require_minimum_version 1.5.0
load net

STEER_RUN=${STEER_RUN:-$net_files/../../build/tests/steer_run}
STEERED=${STEERED:-$net_files/../../build/tests/steered}

setup() {
  [ -x "$STEERED" ] || skip "no static program can be linked here"
  net_up
  [ -z "$net_user" ] || skip "--method bpf needs root of the whole system"

  run "$STEER_RUN" true
  [ "$status" -ne 77 ] || skip "$output"
  echo "$output"
  [ "$status" -eq 0 ]
  sysctl_of client net/ipv4/ip_local_port_range "20000 21999"
  start listening server "$STEERED" server $server 80
  until_true has_line "$BATS_TEST_TMPDIR/listening.out"
}

teardown() { net_down; }

# steer ARGS: steer_run in the client's network; what the program said in $said, what was counted in $told.
steer() {
  status=0
  said=$(in_client "$STEER_RUN" "$@" 2>"$BATS_TEST_TMPDIR/told") || status=$?
  told=$(cat "$BATS_TEST_TMPDIR/told")
  echo "$said"
  echo "$told"
}

told() { [[ " $told " = *" $1 "* ]] || { echo "not told: $1"; return 1; }; }

cgroups_left() {
  local mount
  mount=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)
  find "$mount" -name 'tidewait-exec-*' 2>/dev/null
}
no_cgroup() { [ -z "$(cgroups_left)" ]; }

@test "a static program that closes first goes on after its range is full" {
  steer "$STEERED" connect $server 80 50000
  [ "$status" -eq 0 ]
  [[ $said = "done=50000 failed=0 "*"error=none" ]]
  told connects=50000 && told managed=50000 && told taken_over=48000 && told ports=2000
  no_cgroup
}

@test "exec finds out by itself that only BPF reaches a static program" {
  run --separate-stderr -0 in_client "$TIDEWAIT" exec --json -- "$STEERED" connect $server 80 5000
  [[ $output = "done=5000 failed=0 "*"error=none" ]]
  [[ $stderr = *'"connects":5000,"managed":5000,'* ]] || { echo "$stderr"; false; }
  run --separate-stderr -4 in_client "$TIDEWAIT" exec --method preload -- "$STEERED" connect $server 80 1
  [[ $stderr = *"steered is static: LD_PRELOAD cannot reach it"* ]]
  run --separate-stderr -4 in_client "$TIDEWAIT" exec --wait 1s -- "$STEERED" connect $server 80 1
  [[ $stderr = *"steered is static"*"by BPF"*"wait"* ]] || { echo "$stderr"; false; }
  no_cgroup
}

@test "by itself the same program fails when its range is full" {
  run -1 in_client "$STEERED" connect $server 80 2100
  [[ $output = "done=2000 failed=100 "*"Cannot assign requested address" ]]
}

@test "IPv6, and IPv4 by sockets of IPv6" {
  net_v6
  start listening6 server "$STEERED" server $server6 81
  until_true has_line "$BATS_TEST_TMPDIR/listening6.out"
  steer "$STEERED" connect $server6 81 5000
  [ "$status" -eq 0 ]
  told managed=5000 && told taken_over=3000
  steer "$STEERED" connect ::ffff:$server 80 2500
  [ "$status" -eq 0 ]
  told managed=2500
}

@test "children and grandchildren are in it" {
  steer -p 20000-27999 "$STEERED" children 2 children 2 connect $server 80 500
  [ "$status" -eq 0 ]
  told connects=2000 && told managed=2000
}

@test "tuples that others have are not tried" {
  # 1,500 of the 2,000, made by the kernel; where the ring begins is left to chance.
  mkfifo "$BATS_TEST_TMPDIR/stdin"
  # shellcheck disable=SC2016 # for the inner shell
  start holder client sh -c 'exec "$@" <>"$0"' "$BATS_TEST_TMPDIR/stdin" "$STEERED" hold $server 80 1500
  until_true has_line "$BATS_TEST_TMPDIR/holder.out"
  grep "done=1500 failed=0" "$BATS_TEST_TMPDIR/holder.out"
  for _ in 1 2 3; do
    steer "$STEERED" connect $server 80 1000
    [ "$status" -eq 0 ]
    told managed=1000
    [ "${told##*ports=}" -le 500 ]
  done
}

@test "without timestamps TIME_WAIT is not taken over, and each port is used once" {
  sysctl_of client net/ipv4/tcp_timestamps 0
  steer "$STEERED" connect $server 80 2100
  [ "$status" -eq 1 ]
  # A connection that the server ends first, on a busy machine, leaves no TIME_WAIT here.
  [[ $said =~ ^done=20[0-9]{2}\ failed=[1-9] ]]
  told taken_over=0 && told ports=2000
}

@test "a lane that is full fails as the kernel fails" {
  # shellcheck disable=SC2016
  steer sh -c '"$@" </dev/null' sh "$STEERED" hold $server 80 2010
  [ "$status" -eq 1 ]
  [[ $said = "done=2000 failed=10 "*"Cannot assign requested address" ]]
}

@test "source addresses in turn" {
  in_client ip addr add 10.77.0.11/24 dev "$net_link"
  in_client ip addr add 10.77.0.12/24 dev "$net_link"
  steer -p 20000-20099 -f 10.77.0.11 -n 2 sh -c '"$@" </dev/null' sh "$STEERED" hold $server 80 200
  [ "$status" -eq 0 ]
  told managed=200 && told ports=100
}

@test "a program that binds to port 0 keeps the kernel's port" {
  steer "$STEERED" connect $server 80 10 $client
  [ "$status" -eq 0 ]
  told connects=10 && told managed=0
}

@test "a listener has SO_REUSEADDR, and comes back over its own TIME_WAIT" {
  # The server closes first.
  # shellcheck disable=SC2016
  for _ in 1 2; do
    steer python3 -c '
import socket, sys
s = socket.socket()
assert s.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR) == 0
s.bind(("127.0.0.1", 8080)); s.listen()
c = socket.create_connection(("127.0.0.1", 8080))
a = s.accept()[0]; a.close(); c.recv(1); c.close()
print(s.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR))'
    [ "$status" -eq 0 ]
    [ "$said" = 1 ]
    told binds=1 && told listens=1
  done
}

@test "another address and port to listen on" {
  steer -a 127.0.0.2 -l 9090 python3 -c '
import socket
s = socket.socket(); s.bind(("0.0.0.0", 8080)); print(*s.getsockname())
s = socket.socket(socket.AF_INET6); s.bind(("::", 8080)); print(*s.getsockname()[:2])'
  [ "$status" -eq 0 ]
  [ "$said" = $'127.0.0.2 9090\n::ffff:127.0.0.2 9090' ]
}

@test "who closed first" {
  steer -w "$STEERED" connect $server 80 100
  told closed_by_us=100 && told closed_by_peer=0
  # peer.py closes first.
  start closing server python3 -c '
import socket
s = socket.create_server(("'$server'", 82)); print("ready", flush=True)
while True: s.accept()[0].close()'
  until_true has_line "$BATS_TEST_TMPDIR/closing.out"
  steer -w python3 -c '
import socket
for i in range(20):
    c = socket.create_connection(("'$server'", 82)); assert c.recv(1) == b""; c.close()'
  [ "$status" -eq 0 ]
  told closed_by_us=0 && told closed_by_peer=20
}

@test "what BPF cannot do is refused before anything is started" {
  for what in reuseport freebind wait; do
    steer -u $what touch "$BATS_TEST_TMPDIR/started"
    [ "$status" -eq 77 ]
    [[ $told = *"cannot do \"$what\""* ]]
  done
  run -77 setpriv --reuid nobody --regid nogroup --clear-groups "$STEER_RUN" touch "$BATS_TEST_TMPDIR/started"
  [[ $output = *"needs root of the whole system"* ]]
  run -77 setpriv --bounding-set -bpf,-sys_admin "$STEER_RUN" touch "$BATS_TEST_TMPDIR/started"
  [[ $output = *"needs CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON"* ]]
  [ ! -e "$BATS_TEST_TMPDIR/started" ]
  no_cgroup
}

@test "what is left of a run that was killed goes with the next one" {
  local child
  start killed client "$STEER_RUN" sh -c 'echo $$; exec sleep 60'
  until_true has_line "$BATS_TEST_TMPDIR/killed.out"
  child=$(cat "$BATS_TEST_TMPDIR/killed.out")
  pids+=("$child")
  # While it lives nobody takes its cgroup away.
  run -0 "$STEER_RUN" true
  [ -n "$(cgroups_left)" ]
  stop killed KILL
  run -0 "$STEER_RUN" true
  [ -n "$(cgroups_left)" ]
  kill -KILL "$child"
  is_gone() { ! kill -0 "$child" 2>/dev/null; }
  until_true is_gone
  run -0 "$STEER_RUN" true
  no_cgroup
}

@test "processes that outlive the run are told of" {
  steer sh -c 'sleep 60 >/dev/null 2>&1 & echo $!'
  pids+=("$said")
  [ "$status" -eq 0 ]
  [[ $told = *"processes are left in the cgroup tidewait-exec-"* ]]
  kill -KILL "$said"
  is_gone() { ! kill -0 "$said" 2>/dev/null; }
  until_true is_gone
  run -0 "$STEER_RUN" true
  no_cgroup
}
