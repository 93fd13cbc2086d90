# One private network, or two joined by a cable, and what the tests do in them. For bats:
#
#   load net            (from tests/net; elsewhere with the path)
#   setup()    { net_up; }     (net_alone for the client's network alone)
#   teardown() { net_down; }
#
# The networks are held by sleeping processes, not by names, so nothing outlives a killed test. An
# ordinary user is root of both by a user namespace. $client_net and $server_net are the processes.
# shellcheck shell=bash disable=SC2034 # variables are for the tests

client=10.77.0.1
server=10.77.0.2
client6=fd77::1
server6=fd77::2
net_files=${BASH_SOURCE[0]%/*}
TIDEWAIT=${TIDEWAIT:-$net_files/../../build/tidewait}
PATH=$PATH:/usr/sbin:/sbin
export TIDEWAIT PYTHONDONTWRITEBYTECODE=1

# Skips the test where a tool is missing.
need() {
  local tool
  for tool in "$@"; do
    command -v "$tool" >/dev/null || skip "there is no $tool here"
  done
}

need_tidewait() { [ -x "$TIDEWAIT" ] || { echo "TIDEWAIT=$TIDEWAIT is no program"; return 1; }; }

# script SECONDS COMMAND...: runs one that makes networks of its own and shows what it says. Exit status 77
# skips the test, and its first line is the reason.
script() {
  local status=0 output
  output=$(timeout -k 5 "$@" 2>&1) || status=$?
  echo "$output"
  [ "$status" -ne 77 ] || skip "${output%%$'\n'*}"
  return "$status"
}

# Becomes the command in the network that a process holds. For subshells.
become() {
  local net=$1
  shift
  if [ -n "$net_user" ]; then
    exec nsenter -t "$net" -U --preserve-credentials -n -- "$@"
  fi
  exec nsenter -t "$net" -n -- "$@"
}

in_client() { (become "$client_net" timeout --foreground -k 5 "${limit:-60}" "$@"); }
in_server() { (become "$server_net" timeout --foreground -k 5 "${limit:-60}" "$@"); }

# Waits until a command succeeds, for at most ten seconds.
until_true() {
  local tries=0
  until "$@"; do
    tries=$((tries + 1))
    [ $tries -lt 200 ] || { echo "waited in vain for: $*"; return 1; }
    sleep 0.05
  done
}

is_held() { [ "$(cat "/proc/$1/comm" 2>/dev/null)" = sleep ]; }
has_line() { [ -s "$1" ]; }

# net_hold COMMAND...: by the command a process that holds a network with lo up; its pid in $!. It sleeps
# when all is ready.
net_hold() {
  "$@" sh -c 'ip link set lo up && exec sleep 600' 3>&- &
  pids+=($!)
  until_true is_held $!
}

# Skips the test where there can be no private network.
net_alone() {
  need ip unshare nsenter python3
  need_tidewait
  net_user=
  pids=()
  if ! unshare -n true 2>/dev/null; then
    unshare -Urn true 2>/dev/null ||
      skip "no private network: neither root nor user namespaces ($(unshare -Urn true 2>&1))"
    net_user=1
  fi
  net_hold unshare ${net_user:+-Ur} -n
  client_net=$!
}

net_up() {
  local link="tw$$"
  net_alone
  net_hold ${net_user:+nsenter -t "$client_net" -U --preserve-credentials --} unshare -n
  server_net=$!
  in_client ip link add "$link" type veth peer name "$link" netns "$server_net" ||
    skip "no private network: the kernel has no veth"
  # One program each, because each takes a while to start.
  in_client ip -batch - <<EOF
addr add $client/24 dev $link
link set $link up
EOF
  in_server ip -batch - <<EOF
addr add $server/24 dev $link
link set $link up
EOF
  net_link=$link
}

net_v6() {
  [ -e /proc/sys/net/ipv6 ] || skip "this kernel has no IPv6"
  in_client ip addr add $client6/64 dev "$net_link" nodad || skip "IPv6 is turned off"
  in_server ip addr add $server6/64 dev "$net_link" nodad || skip "IPv6 is turned off"
}

net_down() {
  local pid
  for pid in "${pids[@]}"; do
    kill -KILL "$pid" 2>/dev/null || true
  done
  for pid in "${pids[@]}"; do
    wait "$pid" 2>/dev/null || true
  done
}

# sysctl client|server NAME VALUE: writes /proc/sys of one network.
sysctl_of() {
  local net=$client_net
  [ "$1" = client ] || net=$server_net
  # shellcheck disable=SC2016 # for the inner shell
  (become "$net" sh -c 'echo "$2" >"/proc/sys/$1"' sh "$2" "$3") ||
    skip "/proc/sys/$2 cannot be written here"
}

# start NAME client|server COMMAND...: in the background; its pid in pid_NAME, its output in NAME.out and
# NAME.err. It ends by itself when the test was killed.
start() {
  local name=$1 net=$client_net
  [ "$2" = client ] || net=$server_net
  shift 2
  rm -f "$BATS_TEST_TMPDIR/$name.pid"
  # shellcheck disable=SC2016 # for the inner shell
  (become "$net" timeout --foreground -k 5 "${limit:-120}" sh -c 'echo $$ >"$0"; exec "$@"' \
    "$BATS_TEST_TMPDIR/$name.pid" "$@") \
    >"$BATS_TEST_TMPDIR/$name.out" 2>"$BATS_TEST_TMPDIR/$name.err" 3>&- &
  printf -v "shell_$name" %s $!
  pids+=($!)
  until_true has_line "$BATS_TEST_TMPDIR/$name.pid"
  printf -v "pid_$name" %s "$(cat "$BATS_TEST_TMPDIR/$name.pid")"
  # The program goes first: its watcher alone would leave it behind.
  pids=("$(cat "$BATS_TEST_TMPDIR/$name.pid")" "${pids[@]}")
}

# stop NAME [SIGNAL]: ends what start() started; its exit status in $status.
stop() {
  local pid="pid_$1"
  kill "-${2:-TERM}" "${!pid}"
  await "$1"
}

# await NAME: waits for the end of what start() started (its watcher sees to that).
await() {
  local shell="shell_$1" pid="pid_$1" other left=()
  status=0
  wait "${!shell}" || status=$?
  # These numbers may be another process's soon.
  for other in "${pids[@]}"; do
    [ "$other" = "${!shell}" ] || [ "$other" = "${!pid}" ] || left+=("$other")
  done
  pids=("${left[@]}")
}

# peer MODE [PORT [ADDR]]: tests/net/peer.py in the server's network; who came is in peer.PORT.
peer() {
  local port=${2:-80}
  start "peer$port" server python3 "$net_files/peer.py" "$1" "${3:-$server}" "$port" \
    "$BATS_TEST_TMPDIR/peer.$port"
  until_true has_line "$BATS_TEST_TMPDIR/peer$port.out" || { cat "$BATS_TEST_TMPDIR/peer$port.err"; return 1; }
}

# hold ARGS: tests/net/hold.py in the client's network.
hold() {
  start hold client python3 "$net_files/hold.py" "$@"
  until_true has_line "$BATS_TEST_TMPDIR/hold.out" || { cat "$BATS_TEST_TMPDIR/hold.err"; return 1; }
}

have_serve() {
  timeout 10 "$TIDEWAIT" serve --help 2>/dev/null | grep -q -- --workers || skip "this build has no serve"
}

is_listening() { in_server cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | grep -qi ":$1 [0-9A-F]*:0000 0A "; }

# serve ARGS ADDR:PORT: tidewait serve in the server's network.
serve() {
  local port
  have_serve
  port=${!#}
  port=$(printf %04X "${port##*:}")
  start serve server "$TIDEWAIT" serve "$@"
  until_true is_listening "$port" || { cat "$BATS_TEST_TMPDIR/serve.err"; return 1; }
}

# run_load ARGS: tidewait load from the client's network; exit status in $status, the rest in out, err
# and json of the test's folder.
run_load() {
  status=0
  rm -f "$BATS_TEST_TMPDIR/json"
  in_client "$TIDEWAIT" load --json "$BATS_TEST_TMPDIR/json" "$@" \
    >"$BATS_TEST_TMPDIR/out" 2>"$BATS_TEST_TMPDIR/err" || status=$?
}

# start_load ARGS: the same in the background, as `load`; then `stop load INT`, `await load`.
start_load() {
  rm -f "$BATS_TEST_TMPDIR/json"
  start load client "$TIDEWAIT" load --json "$BATS_TEST_TMPDIR/json" "$@"
}

# expect STATUS EXPRESSION...: the last load ended so, its accounts balance and these hold in its record.
expect() {
  local wanted=$1 file
  shift
  if [ "$status" -ne "$wanted" ] ||
    ! timeout 20 python3 "$net_files/field.py" "$BATS_TEST_TMPDIR/json" -- "$@"; then
    echo "exit status $status, wanted $wanted"
    for file in err out load.err load.out; do
      [ ! -s "$BATS_TEST_TMPDIR/$file" ] || { echo "--- $file"; cat "$BATS_TEST_TMPDIR/$file"; }
    done
    return 1
  fi
}

# time_waits client|server: how many TIME_WAITs the kernel has there.
time_waits() {
  local net=$client_net
  [ "$1" = client ] || net=$server_net
  (become "$net" cat /proc/net/tcp /proc/net/tcp6 2>/dev/null) | awk '$4 == "06" { n++ } END { print n + 0 }'
}
