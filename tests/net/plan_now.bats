#!/usr/bin/env bats
# `tidewait plan --now`: what it says of connections that are really opened, in private networks.
# shellcheck disable=SC2154 # status is set by stop and await
bats_require_minimum_version 1.5.0
load net

setup() { net_up; }
teardown() { net_down; }

# server PORT keep|close: a server in the server's network.
server() {
  start "server$1" server python3 "$net_files/plan_open.py" serve "$server" "$1" "$2"
  until_true has_line "$BATS_TEST_TMPDIR/server$1.out"
}

# opener PORT RATE HOLD_S [IDLE]: connections from the client's network, some of them closed by now.
opener() {
  start "opener$1" client python3 "$net_files/plan_open.py" open "$server" "$@"
  until_true has_line "$BATS_TEST_TMPDIR/opener$1.out" || { cat "$BATS_TEST_TMPDIR/opener$1.err"; return 1; }
}

# plan STATUS ARGUMENT...: the text in out, the record in json.
plan() {
  local wanted=$1 status=0
  shift
  in_client "$TIDEWAIT" plan --now --json "$BATS_TEST_TMPDIR/json" "$@" >"$BATS_TEST_TMPDIR/out" \
    2>"$BATS_TEST_TMPDIR/err" || status=$?
  [ "$status" -eq "$wanted" ] ||
    { echo "exit status $status, wanted $wanted"; cat "$BATS_TEST_TMPDIR/out" "$BATS_TEST_TMPDIR/err"; return 1; }
}

# holds EXPRESSION...: Python on the last record; m is what was measured, to(PORT) the lane to the server.
holds() {
  timeout 20 python3 - "$client" "$server" "$BATS_TEST_TMPDIR/json" "$@" <<'PYTHON'
import json, sys
class Fields(dict):
    __getattr__ = dict.__getitem__
client, server = sys.argv[1:3]
p = json.load(open(sys.argv[3]), object_hook=Fields)
m, lanes = p.measured, p.lanes
def to(port): return next(l for l in lanes if l.destination == f"{server}:{port}")
wrong = [e for e in sys.argv[4:] if not eval(e)]
for e in wrong: print("does not hold:", e)
if wrong: print(json.dumps(p, indent=1))
sys.exit(bool(wrong))
PYTHON
}

@test "nothing is opened: no lane, exit 0" {
  plan 0 --for 300ms
  holds 'lanes == []' 'm.opened_per_s == 0' 'm.lanes_seen == 0' 'm.ports_lost == 0' 'm.looks >= 2'
  grep -q '^0/s opened by this host' "$BATS_TEST_TMPDIR/out"
}

@test "two lanes: who to, how many, how long, who closes, what is idle" {
  server 81 keep
  server 82 keep
  opener 81 100 0.3 7
  opener 82 20 1
  plan 0 --for 3s
  # Each leaves a TIME_WAIT, so all are seen; one may be opened between a look and the counter.
  holds 'len(lanes) == 2' 'm.lanes_opening == 2' 'not m.interrupted' \
    'abs(m.opened_per_s - m.attributed_per_s) * m.seconds <= 3' \
    'all(l.source == client for l in lanes)' \
    'abs(sum(l.opened_per_s for l in lanes) - m.attributed_per_s) < 1e-6' \
    'to(81).opened_per_s > 2 * to(82).opened_per_s' \
    'to(81).lasting == 7' 'to(81).workload.idle == 7' \
    'to(82).lasting == 0' \
    '0.2 < to(81).workload.hold_s < 1' '0.7 < to(82).workload.hold_s < 3' \
    'all(l.workload.close == "client" and l.closing_seen and l.time_waits > 0 for l in lanes)' \
    'lanes[0].destination == f"{server}:81"' \
    'all(abs(l.answer.occupied_s - l.workload.hold_s - 62.05) < 1e-6 for l in lanes)'
}

@test "--limit, and this host's limits: a small range does not last, exit 1" {
  server 81 keep
  server 82 keep
  opener 81 100 0.1
  opener 82 20 0.1
  sysctl_of client net/ipv4/ip_local_port_range '20000 29999'
  plan 1 --for 1s --limit 1 --range 20000-20099
  holds 'len(lanes) == 1' 'm.lanes_opening == 2' 'lanes[0].system.ports == 100' 'not lanes[0].answer.suffices'
  grep -q 'and 1 more' "$BATS_TEST_TMPDIR/out"
  grep -q ' NO$' "$BATS_TEST_TMPDIR/out"
  plan 0 --for 1s
  holds 'all(l.system.ports == 10000 for l in lanes)'
  plan 0 --for 1s --ports managed --nat ports=100000
  holds 'all(l.workload.ports == "managed" and l.answer.cooling_s < 0.01 for l in lanes)' \
    'lanes[0].answer.bounds[4].capacity == 100000'
}

@test "the server closes first" {
  server 81 late
  opener 81 50 0.5
  plan 0 --for 2s
  holds 'len(lanes) == 1' 'lanes[0].workload.close == "server"' 'lanes[0].closing_seen' \
    'lanes[0].answer.cooling_s == 0' 'lanes[0].time_waits == 0' '0.3 < lanes[0].workload.hold_s < 2'
}

@test "what came and went between two looks without a TIME_WAIT is told" {
  server 81 close
  start opener client python3 -c "
import socket, time
while True:
    s = socket.create_connection(('$server', 81))
    s.recv(1)
    s.close()
    print('closed', flush=True)
    time.sleep(0.005)"
  until_true has_line "$BATS_TEST_TMPDIR/opener.out"
  plan 0 --for 2s
  holds 'm.opened_per_s > 10' 'm.attributed_per_s < m.opened_per_s / 2' \
    'all(l.workload.close == "server" for l in lanes)'
  grep -q 'not seen ' "$BATS_TEST_TMPDIR/out"
}

@test "connections that others open to this host are no lanes" {
  server 81 keep
  opener 81 50 0.2
  in_server "$TIDEWAIT" plan --now --for 500ms --json "$BATS_TEST_TMPDIR/json" -q
  holds 'lanes == []' 'm.lanes_seen == 0' 'm.attributed_per_s == 0'
}

@test "on the loopback tcp_tw_reuse=2 counts" {
  start server81 client python3 "$net_files/plan_open.py" serve 127.0.0.1 81 keep
  until_true has_line "$BATS_TEST_TMPDIR/server81.out"
  start opener client python3 "$net_files/plan_open.py" open 127.0.0.1 81 50 0.1
  until_true has_line "$BATS_TEST_TMPDIR/opener.out"
  sysctl_of client net/ipv4/tcp_tw_reuse 2
  plan 0 --for 500ms
  holds 'len(lanes) == 1' 'lanes[0].destination == "127.0.0.1:81"' 'lanes[0].answer.cooling_s < 62'
}

@test "ports on which sockets are bound are lost, for a typed plan too" {
  sysctl_of client net/ipv4/ip_local_port_range '20000 20999'
  start bind client python3 "$net_files/plan_open.py" bind 127.0.0.1 20001 20002 20500 30000
  until_true has_line "$BATS_TEST_TMPDIR/bind.out"
  start serve21 client python3 "$net_files/plan_open.py" serve 127.0.0.1 20999 keep
  until_true has_line "$BATS_TEST_TMPDIR/serve21.out"
  plan 0 --for 300ms
  # Sockets that are only bound are listed since Linux 6.8.
  holds 'm.ports_lost == 4 or (m.blind and m.ports_lost == 1)'
  in_client "$TIDEWAIT" plan --rate 1/s --json "$BATS_TEST_TMPDIR/json" >"$BATS_TEST_TMPDIR/out"
  timeout 20 python3 - "$BATS_TEST_TMPDIR/json" <<'PYTHON'
import json, sys
p = json.load(open(sys.argv[1]))
assert p["system"]["ports"] == 1000 and p["system"]["ports_lost"] in (1, 4), p["system"]
assert p["answer"]["tuples"] == 1000 - p["system"]["ports_lost"], p["answer"]
PYTHON
  grep -q '1,000 ports, [14] of them lost' "$BATS_TEST_TMPDIR/out"
}

@test "-N: the network of a process" {
  [ "$(id -u)" -eq 0 ] || skip "an ordinary user may enter no network"
  server 81 keep
  opener 81 50 0.1
  timeout 20 "$TIDEWAIT" plan --now --for 500ms -N "$client_net" --json "$BATS_TEST_TMPDIR/json" -q
  holds 'len(lanes) == 1' 'to(81).opened_per_s > 0'
}

@test "SIGINT: what was measured so far" {
  server 81 keep
  opener 81 50 0.1
  start plan client "$TIDEWAIT" plan --now --for 1h --json "$BATS_TEST_TMPDIR/json"
  sleep 1
  stop plan INT
  [ "$status" -eq 0 ]
  holds 'm.interrupted' '0 < m.seconds < 600' 'len(lanes) == 1'
  grep -q '(interrupted)' "$BATS_TEST_TMPDIR/plan.out"
}

@test "an ordinary user sees the same" {
  [ "$(id -u)" -eq 0 ] || skip "we are one"
  need setpriv
  server 81 keep
  opener 81 50 0.1
  chmod 777 "$BATS_TEST_TMPDIR"
  in_client setpriv --reuid 65534 --regid 65534 --clear-groups "$TIDEWAIT" plan --now --for 500ms --json - -q \
    >"$BATS_TEST_TMPDIR/json" || skip "the program cannot be read by an ordinary user"
  holds 'len(lanes) == 1' 'lanes[0].workload.close == "client"' 'm.opened_per_s > 0'
}
