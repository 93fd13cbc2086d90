#!/usr/bin/env bats
# `tidewait load` against servers that behave and servers that do not, in private networks. Nothing here
# asserts a time; limits only keep a defect from hanging the suite.
# shellcheck disable=SC2154,SC2086 # the variables are set in net.bash and hold one word each
bats_require_minimum_version 1.5.0
load net

setup() { net_up; }
teardown() { net_down; }

url=http://$server/
few=(--count 40 -c 4 --threads 2)

# --- who closes, and where TIME_WAIT stays ---------------------------------------------------------

@test "client closes first: TIME_WAIT is ours, as many as the kernel has" {
  peer plain
  sysctl_of client net/ipv4/tcp_timestamps 0
  run_load "${few[@]}" $url
  expect 0 'completed == 40' 'closed_by.client == 40' "time_wait_left.client == 40 == $(time_waits client)" \
    'time_wait_left.server is None' "$(time_waits server) == 0"
}

@test "client closes first with timestamps: our TIME_WAITs are taken over" {
  peer plain
  run_load --count 400 -c 4 --ports 3000-3019 $url
  expect 0 'completed == 400' 'failed == 0' 'closed_by.client == 400' \
    "0 < time_wait_left.client <= 20" "time_wait_left.client == $(time_waits client)" \
    "$(time_waits server) == 0" 'budget.limited_by == "none"'
}

@test "server closes first: TIME_WAIT is there" {
  peer plain
  run_load --close server "${few[@]}" $url
  expect 0 'completed == 40' 'closed_by.server == 40' 'time_wait_left.client == 0' \
    "$(time_waits client) == 0 < $(time_waits server)"
}

@test "reset: TIME_WAIT is nowhere" {
  peer plain
  run_load --close reset "${few[@]}" $url
  expect 0 'completed == 40' 'closed_by.reset == 40' 'time_wait_left.client == 0' \
    "$(time_waits client) == 0 == $(time_waits server)"
}

@test "half close: the request carries our EOF and TIME_WAIT is ours" {
  peer plain
  run_load --close half "${few[@]}" $url
  expect 0 'completed == 40' 'closed_by.client == 40' "0 < time_wait_left.client == $(time_waits client)" \
    "$(time_waits server) == 0"
}

@test "on one host both sides' TIME_WAITs are told" {
  start own client python3 "$net_files/peer.py" plain 127.0.0.1 80
  until_true has_line "$BATS_TEST_TMPDIR/own.out"
  run_load --close server "${few[@]}" http://127.0.0.1/
  expect 0 'completed == 40' 'time_wait_left.client == 0' "0 < time_wait_left.server == $(time_waits client)"
}

@test "serve: client closes first" {
  serve --close client $server:80
  run_load "${few[@]}" $url
  expect 0 'completed == 40' 'closed_by.client == 40' "0 < time_wait_left.client == $(time_waits client)" \
    "$(time_waits server) == 0"
}

@test "serve: server closes first" {
  serve $server:80
  run_load --close server "${few[@]}" $url
  expect 0 'completed == 40' 'closed_by.server == 40' 'time_wait_left.client == 0' "$(time_waits client) == 0"
}

@test "serve: reset by us, and reset by the server" {
  serve --close reset $server:80
  run_load --close reset "${few[@]}" $url
  expect 0 'completed == 40' 'closed_by.reset == 40'
  run_load --close server "${few[@]}" $url
  expect 0 'completed == 40' 'closed_by.reset == 40' "$(time_waits client) == 0 == $(time_waits server)"
}

@test "serve: half close" {
  serve $server:80
  run_load --close half "${few[@]}" $url
  expect 0 'completed == 40' "time_wait_left.client == $(time_waits client)"
}

@test "serve: many requests, big and slow replies, two threads" {
  serve --size uniform:1-300000 --think uniform:0-5ms $server:80
  run_load --count 60 -c 12 --threads 2 --requests 5 $url
  expect 0 'completed == 60' 'requests == 300' 'bytes_in > 1000000' 'failed == 0'
}

@test "serve: its idle limit ends our pauses, and nothing is lost" {
  serve --idle 100ms $server:80
  run_load --count 6 -c 6 --requests 3 --think 400ms $url
  expect 0 'completed == 6' 'requests == 6' 'closed_by.server == 6'
}

@test "serve: it ends in mid-run" {
  serve $server:80
  start_load --duration 3s --rate 200/s --timeout 500ms $url
  until_true in_client sh -c 'grep -q ": [0-9A-F]*:[0-9A-F]* 02004D0A:0050" /proc/net/tcp'
  stop serve
  [ "$status" -eq 0 ]
  await load
  expect 0 'completed > 0' 'errors.refused > 0' 'not interrupted'
}

# --- every class of failure ------------------------------------------------------------------------

@test "refused" {
  run_load --count 10 $url
  expect 1 'errors.refused == 10' 'completed == 0' '"not one connection was completed" in missed'
}

@test "black hole: timeout" {
  in_client ip neigh add 10.77.0.9 lladdr 02:00:00:00:00:09 dev "$net_link" nud permanent
  run_load --count 5 --timeout 300ms http://10.77.0.9/
  expect 1 'errors.timeout == 5' 'opened == 5'
}

@test "unreachable: by our own routes, and by a router" {
  in_client ip route add unreachable 10.78.0.0/24
  run_load --count 5 --from $client http://10.78.0.1/
  expect 1 'errors.unreachable == 5' 'opened == 5'
  sysctl_of server net/ipv4/ip_forward 1
  in_server ip route add unreachable 10.79.0.0/24
  in_client ip route add 10.79.0.0/24 via $server
  # One at a time: routers answer so many of these a second and no more.
  run_load --count 1 --timeout 2s http://10.79.0.1/
  expect 1 'errors.unreachable == 1' 'opened == 1'
}

@test "no route at all: told before the run" {
  run_load --count 5 http://10.99.0.1/
  [ "$status" -eq 1 ]
  grep -q 'no source address for http://10.99.0.1/: Network is unreachable' "$BATS_TEST_TMPDIR/err"
}

@test "reset in mid-reply" {
  peer reset-in-reply
  run_load "${few[@]}" $url
  expect 1 'errors.reset == 40'
}

@test "reset behind the reply is a way of closing" {
  peer reset-after-reply
  run_load --close server "${few[@]}" $url
  expect 0 'completed == 40' 'closed_by.reset == 40'
}

@test "a reply without length ends with the connection" {
  peer no-length
  run_load "${few[@]}" $url
  expect 0 'completed == 40' 'closed_by.server == 40'
}

@test "chunked" {
  peer chunked
  run_load "${few[@]}" --requests 3 $url
  expect 0 'completed == 40' 'requests == 120'
}

@test "byte by byte, with an interim reply" {
  peer bytewise
  run_load "${few[@]}" --requests 2 $url
  expect 0 'completed == 40' 'requests == 80'
}

@test "a server that never closes: time limit" {
  peer never-closes
  run_load --close server --count 4 --timeout 300ms $url
  expect 1 'errors.timeout == 4'
  run_load --close reset --count 4 --timeout 300ms $url
  expect 0 'completed == 4'
}

@test "drip: never done in time" {
  peer drip
  run_load --count 4 --timeout 400ms $url
  expect 1 'errors.timeout == 4' 'bytes_in > 0'
}

@test "garbage, surplus and short" {
  peer garbage 81
  run_load "${few[@]}" http://$server:81/
  expect 1 'errors.malformed == 40'
  peer surplus 82
  run_load "${few[@]}" http://$server:82/
  expect 1 'errors.malformed == 40'
  peer short 83
  run_load "${few[@]}" http://$server:83/
  expect 1 'errors.short == 40'
}

@test "status 503" {
  peer status
  run_load "${few[@]}" $url
  expect 1 'errors.http_status == 40'
}

@test "slow big replies" {
  peer big
  run_load --count 8 -c 8 --threads 2 $url
  expect 0 'completed == 8' 'bytes_in > 8 * 1048576'
}

@test "the server is killed in mid-run and comes back" {
  peer plain
  start_load --duration 4s --rate 200/s --timeout 500ms $url
  until_true has_line "$BATS_TEST_TMPDIR/peer.80"
  stop peer80 KILL
  sleep 0.5
  peer plain
  await load
  expect 0 'completed > 0' 'errors.refused + errors.reset + errors.short > 0' 'not_opened == 0' \
    'sum(errors.address.values()) == 0' 'not interrupted'
}

# --- raw TCP ---------------------------------------------------------------------------------------

@test "tcp: send and expect against a server that greets" {
  peer greeting
  run_load "${few[@]}" --expect '220 ' tcp://$server:80
  expect 0 'completed == 40'
  run_load "${few[@]}" --send 'hello\r\n' --expect '220 ready\r\nhello\r\n' tcp://$server:80
  expect 0 'completed == 40' 'bytes_out == 40 * 7'
  run_load "${few[@]}" --expect 'SSH-' tcp://$server:80
  expect 1 'errors.malformed == 40'
}

@test "tcp: a mute server" {
  peer mute
  run_load "${few[@]}" --send ping tcp://$server:80
  expect 0 'completed == 40'
  run_load --count 4 --send ping --expect pong --timeout 300ms tcp://$server:80
  expect 1 'errors.timeout == 4'
  run_load "${few[@]}" --close half --send ping tcp://$server:80
  expect 0 'completed == 40'
}

@test "tcp: --send from a file" {
  peer greeting
  printf 'a\0b' >"$BATS_TEST_TMPDIR/bytes"
  run_load "${few[@]}" --send "@$BATS_TEST_TMPDIR/bytes" tcp://$server:80
  expect 0 'completed == 40' 'bytes_out == 120'
}

# --- ports -----------------------------------------------------------------------------------------

@test "51 ports at 200/s with timestamps: all are launched" {
  peer plain
  run_load --ports 3000:3050 --rate 200/s --duration 2s $url
  expect 0 'attempted == 400' 'not_opened == 0' 'failed == 0' 'budget.limited_by == "none"' \
    'budget.tuples == 51' 'self.descriptors_opened <= 51'
}

@test "51 ports at 200/s without timestamps: paced, and told why" {
  peer plain
  sysctl_of client net/ipv4/tcp_timestamps 0
  run_load --ports 3000:3050 --rate 200/s --duration 3s $url
  expect 1 'attempted == 600' 'opened == 51' 'completed == 51' 'failed == 0' 'port_waits.count > 0' \
    'budget.limited_by == "time-wait"' 'budget.advice' 'missed' \
    'cpu.user_s + cpu.system_s < duration_s / 2'
}

@test "timestamps off at the server only: learnt without an address error" {
  peer plain
  sysctl_of server net/ipv4/tcp_timestamps 0
  run_load --ports 3000:3050 --rate 200/s --duration 3s $url
  expect 1 'opened == 51' 'completed == 51' 'failed == 0' 'sum(errors.address.values()) == 0' \
    'port_waits.count > 0' '0 < first_port_wait_s < duration_s' 'first_address_error_s is None' \
    'budget.limited_by == "time-wait"' 'budget.advice'
  grep -q 'does not let our TIME_WAITs be taken over' "$BATS_TEST_TMPDIR/out"
}

@test "2,000 of 4,000 ports are somebody else's: no failure and no spin" {
  [ "$(ulimit -Hn)" = unlimited ] || [ "$(ulimit -Hn)" -gt 2100 ] || skip "at most $(ulimit -Hn) descriptors here"
  peer plain
  hold bound,listening,connected $client 3000 4999 $server 80
  sysctl_of client net/ipv4/tcp_timestamps 0
  run_load --ports 3000-6999 --rate 1000/s --duration 4s --timeout 2s $url
  expect 1 'opened == completed == 2000' 'failed == 0' 'ports_refused.set_aside_at_end == 2000' \
    'ports_refused.bind > 0' 'ports_refused.connect > 0' 'cpu.user_s + cpu.system_s < duration_s / 2'
}

@test "all ports are somebody else's: waits, and tells" {
  peer plain
  hold bound,connected $client 3000 3049 $server 80
  run_load --ports 3000-3049 -c 8 --duration 2s $url
  expect 1 'opened == completed == failed == 0' 'ports_refused.bind >= 25' 'ports_refused.connect >= 25' \
    'cpu.user_s + cpu.system_s < duration_s / 2'
}

@test "a port shared with a listener is left to it" {
  peer plain
  hold listening $client 3005 3005
  run_load --ports 3000-3009 --count 50 -c 4 --spread $url
  expect 0 'completed == 50' 'failed == 0' 'ports_refused.bind >= 1' 'ports_refused.set_aside_at_end == 1'
  run ! grep -q ' 3005$' "$BATS_TEST_TMPDIR/peer.80"
}

@test "--spread walks distinct ports" {
  peer plain
  run_load --count 300 -c 4 --spread --ports 3000-3499 $url
  expect 0 'completed == 300' 'failed == 0'
  [ "$(sort -u "$BATS_TEST_TMPDIR/peer.80" | wc -l)" -eq 300 ]
}

@test "a descriptor limit of 64: nothing is lost" {
  peer plain
  limited() { (ulimit -n 64 && run_load "$@"; echo "$status" >"$BATS_TEST_TMPDIR/status"); }
  limited --count 500 -c 200 --threads 2 --ports 3000-3999 $url
  status=$(cat "$BATS_TEST_TMPDIR/status")
  expect 0 'opened == 500' 'completed > 0' 'completed + errors.no_descriptors == 500' \
    'time_wait_left.client is not None' 'kernel'
  limited --rate 300/s --duration 1s --threads 1 --ports 3000-3999 $url
  status=$(cat "$BATS_TEST_TMPDIR/status")
  expect 0 'attempted == 300' 'completed + errors.no_descriptors == opened'
}

# --- ports of the kernel's choice ------------------------------------------------------------------

# few_ports: the kernel has 50 ports to choose from, and keeps them in TIME_WAIT.
few_ports() {
  peer plain
  sysctl_of client net/ipv4/ip_local_port_range "3000 3049"
  sysctl_of client net/ipv4/tcp_tw_reuse 0
}

@test "--ports kernel: as many connections as ports, then each attempt fails" {
  few_ports
  run_load --ports kernel --count 80 --rate 400/s --threads 2 $url
  expect 0 'completed == 50 == closed_by.client' 'errors.address.not_available_connect == 30 == failed' \
    'attempted == opened == 80' 'first_address_error_s > 0' 'first_port_wait_s is None' 'port_waits.count == 0' \
    "time_wait_left.client == 50 == $(time_waits client)" 'budget.tuples == 50' \
    'budget.limited_by == "time-wait"' 'workload.ports == "kernel"' 'self.descriptors_opened == 80' \
    'series[0].ports_free is None' 'memory.ledger_bytes == 0'
  [ "$(cut -d' ' -f2 "$BATS_TEST_TMPDIR/peer.80" | sort -n | tr '\n' ' ')" = "$(seq -s ' ' 3000 3049) " ]
  grep -q '^errors .* 30 address not available at connect$' "$BATS_TEST_TMPDIR/out"
  grep -q '^refused by .* 50 in TIME_WAIT' "$BATS_TEST_TMPDIR/out"
  grep -q '^advice ' "$BATS_TEST_TMPDIR/out"
}

@test "--ports kernel: each address and each destination has all ports again" {
  few_ports
  peer plain 81
  run_load --ports kernel --count 360 -c 1 --threads 1 --from 10.77.0.10-10.77.0.12 --add-addresses "$net_link" \
    $url http://$server:81/
  expect 0 'completed == 300' 'errors.address.not_available_connect == 60 == failed' 'budget.tuples == 300' \
    "time_wait_left.client == 300 == $(time_waits client)"
  for port in 80 81; do
    [ "$(sort -u "$BATS_TEST_TMPDIR/peer.$port" | wc -l)" -eq 150 ]
  done
}

@test "--ports kernel: the server closes first, and no attempt fails" {
  few_ports
  run_load --ports kernel --close server --count 400 -c 4 $url
  expect 0 'completed == 400 == closed_by.server' 'failed == 0' 'time_wait_left.client == 0' \
    "$(time_waits client) == 0" 'budget.limited_by == "none"'
}

@test "--ports kernel: reset, and no attempt fails" {
  few_ports
  run_load --ports kernel --close reset --count 400 -c 4 $url
  expect 0 'completed == 400 == closed_by.reset' 'failed == 0' "$(time_waits client) == 0 == $(time_waits server)"
}

@test "--ports kernel: tcp_tw_reuse gives ports back, and the budget knows" {
  few_ports
  sysctl_of client net/ipv4/tcp_tw_reuse 1
  run_load --ports kernel --rate 20/s --duration 4s $url
  expect 0 'completed == 80' 'failed == 0' 'time_wait_left.client <= 50' '20 < budget.per_s < 5000'
}

@test "--ports kernel: connections held open take all ports" {
  few_ports
  run_load --ports kernel --close server --count 60 -c 60 --threads 1 -n 2 --think 1s $url
  expect 0 'completed == 50' 'requests == 100' 'errors.address.not_available_connect == 10 == failed'
}

@test "--ports kernel: IPv6" {
  few_ports
  net_v6
  peer plain 81 $server6
  run_load --ports kernel --count 60 -c 4 --from $client6 "http://[$server6]:81/"
  expect 0 'completed == 50' 'errors.address.not_available_connect == 10 == failed'
}

@test "--ports kernel has no ring to --spread over" {
  run_load --ports kernel --spread $url
  [ "$status" -eq 2 ]
  grep -q -- '--spread' "$BATS_TEST_TMPDIR/err"
}

# --- ending early ----------------------------------------------------------------------------------

# interrupted SIGNAL: starts a run that would take a minute, and ends it when it is under way.
interrupted() {
  peer plain
  start_load --duration 60s --rate 100/s --hdr "$BATS_TEST_TMPDIR/hdr" $url
  until_true has_line "$BATS_TEST_TMPDIR/peer.80"
  sleep 0.3
  stop load "$1"
}

@test "SIGINT in mid-run: results are written" {
  interrupted INT
  expect 0 'interrupted' 'completed > 0' 'duration_s < 50' 'not_opened <= 2'
  grep -q '^interrupted ' "$BATS_TEST_TMPDIR/load.out"
  grep -q '^Tag=total,' "$BATS_TEST_TMPDIR/hdr"
}

@test "SIGTERM twice: those in flight are not waited for, nor lost" {
  peer drip
  start_load --duration 60s -c 20 --timeout 60s $url
  until_true has_line "$BATS_TEST_TMPDIR/peer.80"
  sleep 0.3
  kill -TERM "$pid_load"
  sleep 0.05
  stop load TERM
  expect 1 'interrupted' 'errors.interrupted == 20' 'opened == 20'
}

@test "SIGINT with connections that think" {
  peer plain
  start_load --duration 60s -c 20 --requests 2 --think 50s $url
  until_true has_line "$BATS_TEST_TMPDIR/peer.80"
  sleep 0.3
  stop load INT
  expect 1 'interrupted' 'errors.interrupted == 20' 'opened == 20'
}

# --- addresses and targets -------------------------------------------------------------------------

addresses() { in_client ip -o addr show dev "$net_link" | grep -c 'inet 10.77.0.' || true; }

@test "--from a range with --add-addresses: added, used and removed" {
  peer plain
  run_load --count 90 -c 3 --from 10.77.0.10-10.77.0.12 --add-addresses "$net_link" $url
  expect 0 'completed == 90' 'workload.sources == 3' 'budget.lanes == 3'
  [ "$(cut -d' ' -f1 "$BATS_TEST_TMPDIR/peer.80" | sort | uniq -c | awk '{ print $1, $2 }' | tr '\n' ' ')" = \
    "30 10.77.0.10 30 10.77.0.11 30 10.77.0.12 " ]
  [ "$(addresses)" -eq 1 ]
}

@test "--add-addresses: removed after SIGINT, and what was there stays" {
  peer plain
  in_client ip addr add 10.77.0.20/24 dev "$net_link"
  start_load --duration 60s -c 3 --from 10.77.0.20-10.77.0.29 --add-addresses "$net_link" $url
  until_true has_line "$BATS_TEST_TMPDIR/peer.80"
  [ "$(addresses)" -eq 11 ]
  stop load INT
  expect 0 'interrupted' 'completed > 0'
  [ "$(addresses)" -eq 2 ]
}

@test "--add-addresses: a signal while addresses are being added removes them too" {
  peer plain
  start_load --duration 60s -c 3 --from 10.77.8.0/22 --add-addresses "$net_link" $url
  many() { [ "$(in_client ip -o addr show dev "$net_link" | wc -l)" -gt 20 ]; }
  until_true many
  stop load INT
  [ "$status" -lt 128 ]
  [ "$(in_client ip -o addr show dev "$net_link" | grep -c 10.77.8. || true)" -eq 0 ]
}

@test "a source address that is not here: told, with what to do" {
  run_load --count 1 --from 10.77.0.50 $url
  [ "$status" -eq 1 ]
  grep -q '10.77.0.50.*--add-addresses' "$BATS_TEST_TMPDIR/err"
}

@test "--free-bind: source addresses that a route brings back" {
  peer plain
  in_server ip route add 10.80.0.0/24 via $client
  in_client ip route add local 10.80.0.0/24 dev lo
  run_load "${few[@]}" --from 10.80.0.1-10.80.0.4 --free-bind $url
  expect 0 'completed == 40' 'workload.sources == 4'
  [ "$(cut -d' ' -f1 "$BATS_TEST_TMPDIR/peer.80" | sort -u | wc -l)" -eq 4 ]
}

@test "several targets share by weight" {
  peer plain 81
  peer plain 82
  run_load --count 80 -c 4 --threads 1 "http://$server:81/a#weight=3" http://$server:82/b
  expect 0 'completed == 80' 'budget.lanes == 2'
  [ "$(wc -l <"$BATS_TEST_TMPDIR/peer.81")" -eq 60 ]
  [ "$(wc -l <"$BATS_TEST_TMPDIR/peer.82")" -eq 20 ]
}

@test "IPv6" {
  net_v6
  peer plain 80 $server6
  run_load "${few[@]}" "http://[$server6]/"
  expect 0 'completed == 40' "0 < time_wait_left.client == $(time_waits client)"
  run_load "${few[@]}" --close server --from $client6 "http://[$server6]:80/"
  expect 0 'completed == 40' "0 < $(time_waits server)"
}

@test "-N: in a network with a name" {
  [ -z "$net_user" ] || skip "only root may give networks names"
  name=tw-test-$$
  ip netns attach "$name" "$client_net" || skip "networks cannot be given names here"
  peer plain
  status=0
  timeout 60 "$TIDEWAIT" load -N "$name" --json "$BATS_TEST_TMPDIR/json" "${few[@]}" $url \
    >"$BATS_TEST_TMPDIR/out" 2>"$BATS_TEST_TMPDIR/err" || status=$?
  ip netns del "$name"
  expect 0 'completed == 40' "time_wait_left.client == $(time_waits client)"
}

# --- shapes of load --------------------------------------------------------------------------------

@test "--requests and --think" {
  peer plain
  run_load "${few[@]}" --requests uniform:1-5 --think exp:2ms --seed 7 $url
  expect 0 'completed == 40' '40 < requests < 200' 'latency_us.first_byte.count == requests'
}

@test "--abort" {
  peer plain
  run_load --count 200 -c 4 --abort 50% --seed 7 $url
  expect 0 '0 < aborted < 200' 'completed + aborted == 200' 'failed == 0'
}

@test "--count is exact for any number of threads" {
  peer plain
  for threads in 1 2 3 7; do
    run_load --count 101 -c 8 --threads $threads $url
    expect 0 'attempted == opened == completed == 101' "workload.threads == $threads"
  done
  run_load --count 3 -c 8 --threads 8 $url
  expect 0 'completed == 3'
}

@test "--warmup is not counted" {
  peer plain
  run_load --rate 100/s --warmup 1s --duration 1s $url
  expect 0 'attempted == 100' 'completed == 100'
  [ "$(wc -l <"$BATS_TEST_TMPDIR/peer.80")" -eq 200 ]
}

@test "--ramp" {
  peer plain
  run_load --ramp 50/s..150/s/2s --duration 2s $url
  expect 0 'abs(attempted - 200) <= 12' 'not_opened == 0' 'workload.ramp_s == 2'
}

@test "--arrivals poisson" {
  peer plain
  run_load --rate 200/s --arrivals poisson --duration 1s --seed 3 $url
  expect 0 '100 < attempted < 300' 'workload.arrivals == "poisson"'
}

@test "--peak raises the rate" {
  peer plain
  run_load --peak --rate 50/s --duration 6s $url
  expect 0 'peak_per_s is None or peak_per_s >= 50' 'workload.peak' 'series[-1].target_per_s > 50'
}

@test "--peak ends where ports are the limit" {
  peer plain
  sysctl_of client net/ipv4/tcp_timestamps 0
  limit=90 run_load --peak --rate 20/s --ports 3000-3199 $url
  [ "$status" -le 1 ]
  expect "$status" 'not interrupted' 'peak_per_s is None or peak_per_s < 200'
}

@test "--fail-if decides the exit status" {
  peer plain
  run_load "${few[@]}" --fail-if 'errors>0' --fail-if 'total.p99>60s' --fail-if 'rate<1/s' $url
  expect 0 'missed == []'
  run_load "${few[@]}" --fail-if 'p50>1ns' --fail-if 'refused>=0' $url
  expect 1 'missed == ["--fail-if p50>1ns", "--fail-if refused>=0"]'
}

@test "--dry-run launches nothing" {
  peer plain
  status=0
  in_client "$TIDEWAIT" load --dry-run $url >"$BATS_TEST_TMPDIR/out" 2>"$BATS_TEST_TMPDIR/err"
  grep -q '^budget: ' "$BATS_TEST_TMPDIR/err"
  [ ! -s "$BATS_TEST_TMPDIR/peer.80" ]
}

# --- results ---------------------------------------------------------------------------------------

@test "--hdr is a log that decodes, with as many samples as connections" {
  peer plain
  run_load "${few[@]}" --hdr "$BATS_TEST_TMPDIR/hdr" $url
  expect 0 'completed == 40'
  timeout 20 python3 - "$BATS_TEST_TMPDIR/hdr" <<'EOF'
import base64, struct, sys, zlib

def samples(text):
    packed = base64.b64decode(text, validate=True)
    cookie, length = struct.unpack(">II", packed[:8])
    assert cookie == 0x1c849314 and length == len(packed) - 8, (hex(cookie), length, len(packed))
    plain = zlib.decompress(packed[8:])
    cookie, length, _, digits, lowest, highest, ratio = struct.unpack(">IIIIQQd", plain[:40])
    assert (cookie, length, digits, lowest, ratio) == (0x1c849313, len(plain) - 40, 2, 1, 1.0)
    total = at = 0
    counts = plain[40:]
    while at < len(counts):
        value = shift = 0
        while True:
            byte = counts[at]
            at += 1
            value |= (byte if shift == 56 else byte & 0x7f) << shift
            shift += 7
            if byte < 0x80 or shift > 56:
                break
        value = value >> 1 ^ -(value & 1)
        total += max(value, 0)
    return total

lines = open(sys.argv[1]).read().splitlines()
assert lines[0] == "#[Histogram log format version 1.3]", lines[0]
assert lines[2].startswith('"StartTimestamp"'), lines[2]
tags = {}
plain = 0
for line in lines[3:]:
    fields = line.split(",")
    if fields[0].startswith("Tag="):
        tag = fields.pop(0)[4:]
        tags[tag] = samples(fields[3])
    else:
        plain += samples(fields[3])
    assert len(fields) == 4 and all(float(f) >= 0 for f in fields[:3]), fields
assert plain == 40, plain
assert tags == dict.fromkeys(["port_wait", "connect", "first_byte", "last_byte", "close", "total"], 40), tags
EOF
}

@test "a full disk: exit 5, and the figures are not lost" {
  peer plain
  for quiet in '' -q; do
    status=0
    # shellcheck disable=SC2086 # none or one word
    in_client "$TIDEWAIT" load "${few[@]}" $quiet --json /dev/full $url \
      >"$BATS_TEST_TMPDIR/out" 2>"$BATS_TEST_TMPDIR/err" || status=$?
    [ "$status" -eq 5 ]
    grep -q "cannot write '/dev/full': No space left on device" "$BATS_TEST_TMPDIR/err"
    cat "$BATS_TEST_TMPDIR/out" "$BATS_TEST_TMPDIR/err" | grep -q '40 attempted = 40 opened'
  done
  status=0
  in_client "$TIDEWAIT" load "${few[@]}" --hdr /dev/full $url >"$BATS_TEST_TMPDIR/out" 2>"$BATS_TEST_TMPDIR/err" ||
    status=$?
  [ "$status" -eq 5 ]
  grep -q '40 attempted = 40 opened' "$BATS_TEST_TMPDIR/out"
}

@test "--json - : the record alone on standard output" {
  peer plain
  status=0
  in_client "$TIDEWAIT" load "${few[@]}" --json - $url >"$BATS_TEST_TMPDIR/json" 2>"$BATS_TEST_TMPDIR/err" ||
    status=$?
  expect 0 'completed == 40'
  grep -q '40 attempted = 40 opened' "$BATS_TEST_TMPDIR/err"
}

@test "two threads at full speed" {
  have_serve
  serve --size 100 $server:80
  run_load --threads 2 -c 32 --duration 2s $url
  expect 0 'completed > 1000' 'failed == 0' 'workload.threads == 2'
}

# on_terminal VAR=VALUE [OPTION]: a load that fails, on a terminal of its own; what it printed in terminal.
on_terminal() {
  in_client env "$1" script -qec \
    "exec '$TIDEWAIT' load ${2-} --count 40 --fail-if 'errors>0' http://$server:81/" /dev/null \
    </dev/null >"$BATS_TEST_TMPDIR/terminal" || true
  cat "$BATS_TEST_TMPDIR/terminal"
  grep -q 'errors>0' "$BATS_TEST_TMPDIR/terminal"
}

@test "errors and what was missed are coloured on a terminal alone, and neither with --no-color nor NO_COLOR" {
  need script
  local esc=$'\033'
  unset NO_COLOR
  on_terminal A=B
  grep -Eq "${esc}\[31m +[0-9]+${esc}\[0m " "$BATS_TEST_TMPDIR/terminal"
  grep -qF "${esc}[1;31mmissed${esc}[0m       --fail-if" "$BATS_TEST_TMPDIR/terminal"
  on_terminal A=B --no-color
  run ! grep -qF "$esc" "$BATS_TEST_TMPDIR/terminal"
  on_terminal NO_COLOR=1
  run ! grep -qF "$esc" "$BATS_TEST_TMPDIR/terminal"
  run_load -v --count 40 --fail-if 'errors>0' http://$server:81/
  grep -q 'errors>0' "$BATS_TEST_TMPDIR/out"
  run ! grep -qF "$esc" "$BATS_TEST_TMPDIR/out" "$BATS_TEST_TMPDIR/err"
}
