#!/usr/bin/env bats
# The shim under programs that know nothing of it. SHIM_SO and SHIM_RUN come from the build.
# shellcheck disable=SC2154 # the variables are set in net.bash

load net

setup() {
  net_up
  [ -e "$SHIM_SO" ]
  [ -x "$SHIM_RUN" ]
  sysctl_of client net/ipv4/ip_local_port_range "40000 41999"
}

teardown() { net_down; }

# The server reads to the end and closes; the client closes first.
a_server() {
  start server server python3 "$net_files/shim_server.py" "$server" 9000
  until_true has_line "$BATS_TEST_TMPDIR/server.out"
}

counter() { awk -v name="$1" '$1 == name { print $2 }' "$BATS_TEST_TMPDIR/counters"; }

under_shim() { limit=110 in_client "$SHIM_RUN" -o "$BATS_TEST_TMPDIR/counters" "$@"; }

@test "without the shim a range of 2,000 ports ends after 2,000 connections" {
  a_server
  run in_client python3 "$net_files/shim_client.py" "$server" 9000 3000
  [ "$status" -ne 0 ]
  [[ $output == *"Errno 99"* ]]
}

@test "50,000 connections with 2,000 ports" {
  a_server
  under_shim -w 10000 "$SHIM_SO" python3 "$net_files/shim_client.py" "$server" 9000 50000
  [ "$(counter connects)" -eq 50000 ]
  [ "$(counter connect_failed)" -eq 0 ]
  [ "$(counter taken_over)" -gt 40000 ]
}

@test "four processes, a tenth of the ports held, one more killed in the middle" {
  a_server
  # shellcheck disable=SC2016 # for the inner shell
  under_shim -w 10000 "$SHIM_SO" sh -c '
    python3 -c "
import socket, sys, time
held = [socket.create_connection((sys.argv[1], 9000)) for _ in range(200)]
time.sleep(100)" "$1" & idle=$!
    python3 "$0" "$1" 9000 1000000 >/dev/null & killed=$!
    sleep 1
    for n in 1 2 3 4; do python3 "$0" "$1" 9000 12500 & all="$all $!"; done
    kill -KILL $killed
    for one in $all; do wait "$one" || exit 1; done
    kill $idle' "$net_files/shim_client.py" "$server"
  [ "$(counter connect_failed)" -eq 0 ]
  [ "$(counter managed)" -gt 50200 ]
}

@test "threads, forks, closed descriptors, signals, limits: as without" {
  sysctl_of client net/ipv4/ip_local_port_range "30000 39999"
  in_client ip link set lo up
  in_client python3 "$net_files/shim_misuse.py"
  under_shim -L -a -w 5000 -r 30000-30499 "$SHIM_SO" python3 "$net_files/shim_misuse.py"
  [ "$(counter taken_over)" -gt 0 ]
}

@test "a refusal is told once" {
  in_client ip link set lo up
  run under_shim -e "$BATS_TEST_TMPDIR/events" "$SHIM_SO" python3 -c '
import socket
a = socket.socket(); a.bind(("127.0.0.1", 9300)); a.listen()
for _ in range(3):
    try: socket.socket().bind(("127.0.0.1", 9300))
    except OSError as error: print(error.errno)'
  [ "$output" = $'98\n98\n98' ]
  [ "$(grep -c 'bind EADDRINUSE refused .* 127.0.0.1 9300' "$BATS_TEST_TMPDIR/events")" -eq 1 ]
}

@test "without its file the shim does nothing" {
  sysctl_of client net/ipv4/ip_local_port_range "30000 39999"
  in_client ip link set lo up
  in_client env LD_PRELOAD="$SHIM_SO" TIDEWAIT_SHIM=/nowhere python3 "$net_files/shim_misuse.py"
}
