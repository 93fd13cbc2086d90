#!/usr/bin/env bats
# `tidewait tune` on real settings: a load that fails, the change, the load that is met, and all of it taken
# back; crashes in the middle; what is not permitted or not there. In private networks, with folders of the
# test's own in the place of /var/lib, /etc/sysctl.d and /run. Nothing here asserts a time.
# shellcheck disable=SC2154,SC2086,SC2206 # the variables are set in net.bash and hold one word each
# shellcheck disable=SC2016,SC2030,SC2031 # $0 and $@ are the inner shell's; each test is a shell of its own
bats_require_minimum_version 1.5.0
load net

dir=$BATS_TEST_TMPDIR
journal=$dir/lib/tidewait/tune.json
kept=$dir/etc/99-tidewait.conf

setup() {
  net_up
  [ -d /etc/sysctl.d ] || skip "there is no /etc/sysctl.d here"
  in_client unshare -m true 2>/dev/null || skip "there can be no private mounts here"
  mkdir "$dir/lib" "$dir/etc"
  prepare=:
  traced=()
}
teardown() { net_down; }

# --- the world in which it runs --------------------------------------------------------------------

# in_world COMMAND...: in the client's network and the test's own folders, after $prepare.
in_world() {
  in_client unshare -m sh -c 'mount --bind "$0/lib" /var/lib && mount --bind "$0/etc" /etc/sysctl.d &&
    mount -t tmpfs -o mode=755 none /run && eval "$prepare" && exec "$@"' "$dir" "$@"
}

# tune STATUS ARGUMENT...: what it printed in out and err.
tune() {
  local wanted=$1 status=0
  shift
  export prepare
  in_world "${traced[@]}" "$TIDEWAIT" tune "$@" >"$dir/out" 2>"$dir/err" </dev/null || status=$?
  [ "$status" -eq "$wanted" ] && return
  echo "tidewait tune $*: exit status $status, wanted $wanted"
  cat "$dir/out" "$dir/err"
  return 1
}

# holds FILE EXPRESSION...: Python on the JSON object d in a file.
holds() { python3 "$net_files/tune_kit.py" keys "$@"; }

# picture: every byte of every setting, and of the file that is kept.
picture() {
  in_client sh -c 'cd /proc/sys/net && find ipv4 core/somaxconn -type f | LC_ALL=C sort |
    xargs tail -v -c +1 2>/dev/null' || true # some may not be read
  [ ! -e "$kept" ] || { stat -c '%a %u %g' "$kept" && cat "$kept"; }
}

# as_before: nothing differs from the picture in the file before, and nothing was left behind.
as_before() {
  picture >"$dir/after"
  grep -q '^==> ipv4/tcp_tw_reuse <==$' "$dir/before" || { echo "the picture shows nothing"; return 1; }
  diff "$dir/before" "$dir/after" || return 1
  [ -z "$(find "$dir/lib" "$dir/etc" -name '*.new' -o -name 'tune*.json')" ] || { ls -R "$dir/lib" "$dir/etc"; return 1; }
}

value() { in_client cat "/proc/sys/net/$1"; }
is() { [ "$(value "$1" | tr '\t' ' ')" = "$2" ] || { echo "$1 is $(value "$1"), not $2"; return 1; }; }
set_to() { sysctl_of client "net/$1" "$2"; }

# --- a rate that is not met, and then is ------------------------------------------------------------

# cure RATE SECONDS NAMES ASK... -- LOAD...: by the change of these settings and no others. What $first
# says is loaded at first.
cure() {
  local rate=$1 seconds=$2 names=$3 ask=() total=$(($1 * $2))
  shift 3
  while [ "$1" != -- ]; do
    ask+=("$1")
    shift
  done
  shift
  picture >"$dir/before"
  run_load --ports kernel --rate "$rate/s" --duration "${seconds}s" "${first[@]:-$@}"
  expect 0 'errors.address.not_available_connect > 0' "completed < 0.9 * $total" || return
  # It is told without rights that it will not last, and what would help; nothing changes by that.
  tune 0 --for "$rate/s" "${ask[@]}"
  grep -q 'the first is refused after' "$dir/out"
  as_before
  tune 0 --for "$rate/s" "${ask[@]}" --apply -y --json
  holds "$dir/out" "d['done'] and d['suffices'] and not d['now']['suffices'] and d['then']['suffices']" \
    "' '.join(c['name'].split('.')[-1] for c in d['changes']) == '$names'"
  [ -s "$journal" ]
  run_load --ports kernel --rate "$rate/s" --duration "${seconds}s" "$@"
  expect 0 'failed == 0' "abs(completed - $total) <= 0.02 * $total" || return
  tune 0 --check
  tune 0 --undo
  as_before
}

@test "cured: TIME_WAIT is not taken over" {
  set_to ipv4/ip_local_port_range "20000 20299"
  set_to ipv4/tcp_tw_reuse 0
  serve $server:80
  cure 200 2 tcp_tw_reuse -- http://$server/
}

@test "cured: the range is too small for what is held open" {
  set_to ipv4/ip_local_port_range "20000 20099"
  serve $server:80
  cure 150 2 ip_local_port_range --hold 1s --close server -- --close server --requests 2 --think 1s http://$server/
}

@test "cured: both, since there are not enough ports to do without reuse" {
  set_to ipv4/ip_local_port_range "64936 65035"
  set_to ipv4/ip_unprivileged_port_start 64936
  serve $server:80
  cure 300 2 "tcp_tw_reuse ip_local_port_range" --to $server:80 -- http://$server/
}

@test "cured: it is taken over too late, and there are no more ports" {
  [ -e /proc/sys/net/ipv4/tcp_tw_reuse_delay ] || skip "this kernel has no tcp_tw_reuse_delay (Linux 6.14)"
  set_to ipv4/ip_local_port_range "65236 65535"
  set_to ipv4/ip_unprivileged_port_start 65236
  set_to ipv4/tcp_tw_reuse 1
  serve $server:80
  cure 600 2 tcp_tw_reuse_delay -- http://$server/
}

@test "cured: timestamps are off" {
  set_to ipv4/ip_local_port_range "20000 20299"
  set_to ipv4/tcp_tw_reuse 1
  set_to ipv4/tcp_timestamps 0
  serve $server:80 $server:81
  # What was left without timestamps stays as it is.
  first=(http://$server:81/)
  cure 200 2 tcp_timestamps -- http://$server/
}

@test "cured: on the loopback" {
  set_to ipv4/ip_local_port_range "20000 20299"
  set_to ipv4/tcp_tw_reuse 0
  have_serve
  start own client "$TIDEWAIT" serve 127.0.0.1:80
  until_true in_client grep -q "0100007F:0050 00000000:0000 0A" /proc/net/tcp
  # No more than is needed there.
  tune 0 --for 200/s --to 127.0.0.1:80 --json
  holds "$dir/out" "d['changes'][0]['after'] == '2'"
  cure 200 2 tcp_tw_reuse --to 127.0.0.1:80 -- http://127.0.0.1/
}

@test "cured: several destinations, poisson" {
  set_to ipv4/ip_local_port_range "20000 20159"
  serve $server:80 $server:81 $server:82
  cure 240 3 tcp_tw_reuse --to $server:80-82 --arrivals poisson -- \
    http://$server/ http://$server:81/ http://$server:82/
}

@test "not cured by any setting: exit 1, what would help, and nothing done without having been asked" {
  picture >"$dir/before"
  tune 1 --for 900k/s --hold 1s
  grep -q '^No setting can do all of it' "$dir/out"
  grep -q 'LimitNOFILE=' "$dir/out"
  as_before
  tune 1 --for 900k/s --hold 1s --json
  holds "$dir/out" "not d['suffices'] and not d['done'] and len(d['cures']) > 0"
}

# --- killed in the middle ---------------------------------------------------------------------------

three=(--set 'ip_local_reserved_ports=8080,40000' --set "ip_local_port_range=5000 60999" --set tcp_tw_reuse=1)

# killed SYSCALL NTH PATH ARGUMENT...: kill -9 before this system call (on this path; - is any).
killed() {
  local call=$1 nth=$2 path=$3 status=0
  shift 3
  traced=(env ASAN_OPTIONS=detect_leaks=0 strace -f -o "$dir/trace" -e "trace=/^$call" -e "inject=/^$call:signal=KILL:when=$nth")
  [ "$path" = - ] || traced+=(-P "$path")
  in_world "${traced[@]}" "$TIDEWAIT" tune "$@" >"$dir/out" 2>"$dir/err" </dev/null || status=$?
  traced=()
  [ $status -ne 0 ] && grep -q 'killed by SIGKILL' "$dir/trace" && return
  echo "not killed at $call $nth $path"
  cat "$dir/trace" "$dir/out" "$dir/err"
  return 1
}

need_strace() {
  need strace
  in_client strace -o /dev/null true 2>/dev/null || skip "ptrace is not permitted here"
}

@test "kill -9 during --persist: --undo has everything back" {
  local point call nth path sys=/proc/sys/net/ipv4
  need_strace
  set_to ipv4/ip_local_reserved_ports 40000
  printf '# mine\nnet.ipv4.tcp_fin_timeout = 60\n' >"$kept"
  chmod 640 "$kept"
  picture >"$dir/before"
  for point in "rename 1 -" "write 1 $sys/ip_local_reserved_ports" "write 1 $sys/ip_local_port_range" \
    "write 1 $sys/tcp_tw_reuse" "rename 2 -" "exit_group 1 -"; do
    read -r call nth path <<<"$point"
    killed "$call" "$nth" "$path" "${three[@]}" --persist -y
    case $point in
    # Before the journal was there nothing was changed.
    "rename 1 -") tune 1 --undo ;;
    *)
      [ -s "$journal" ]
      tune 0 --undo
      ;;
    esac
    as_before || { echo "after a kill at $point"; return 1; }
  done
  # The last of them came when all was done.
  killed exit_group 1 - "${three[@]}" --persist -y
  is ipv4/tcp_tw_reuse 1
  grep -q '^net.ipv4.tcp_tw_reuse = 1$' "$kept"
  tune 0 --undo
  as_before
}

@test "kill -9 during --undo, and during a second --apply: --undo has everything back" {
  local sys=/proc/sys/net/ipv4
  need_strace
  picture >"$dir/before"
  tune 0 "${three[@]}" --apply -y
  killed write 1 $sys/ip_local_port_range --undo
  [ -s "$journal" ]
  tune 0 --undo
  as_before
  tune 0 "${three[@]}" --apply -y
  killed write 1 $sys/tcp_fin_timeout --set "ip_local_port_range=6000 60999" --set tcp_fin_timeout=30 --apply -y
  is ipv4/ip_local_port_range "6000 60999"
  tune 0 --undo
  as_before
  tune 0 "${three[@]}" --apply -y
  killed unlink 2 - --undo
  tune 0 --undo
  as_before
}

# --- what cannot be ---------------------------------------------------------------------------------

@test "/proc/sys is read-only, as in containers: exit 4, nothing half done" {
  picture >"$dir/before"
  prepare='mount --rbind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys'
  tune 4 "${three[@]}" --persist -y
  grep -q 'ip_local_reserved_ports: /proc/sys/ is mounted read-only here' "$dir/err"
  [ "$(wc -l <"$dir/err")" -eq 1 ]
  as_before
  [ -z "$(find "$dir/lib" "$dir/etc" -mindepth 1)" ]
  # What was applied before it was so stays, and is told.
  prepare=:
  tune 0 "${three[@]}" --apply -y
  prepare='mount --rbind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys'
  tune 4 --undo
  grep -q 'read-only' "$dir/err"
  is ipv4/tcp_tw_reuse 1
  tune 0 --check
  prepare=:
  tune 0 --undo
  as_before
}

# Hides settings, as on older kernels. For $prepare.
hidden() {
  mkdir -p "$dir/ipv4"
  prepare='mount --rbind /proc/sys/net/ipv4 "$0/ipv4" && mount -t tmpfs none /proc/sys/net/ipv4 &&
    ln -s "$0"/ipv4/* /proc/sys/net/ipv4 && cd /proc/sys/net/ipv4 && rm '$*
}

@test "settings that this kernel lacks: told, and done without" {
  [ -e /proc/sys/net/ipv4/tcp_tw_reuse_delay ] || skip "this kernel has no tcp_tw_reuse_delay (Linux 6.14)"
  set_to ipv4/ip_local_port_range "20000 20299"
  set_to ipv4/tcp_tw_reuse 1
  picture >"$dir/before"
  hidden tcp_tw_reuse_delay
  tune 0
  grep -qE '^  tcp_tw_reuse_delay +\(missing\)' "$dir/out"
  grep -q 'tcp_tw_reuse_delay: this kernel has no such setting (it came with Linux 6.14)' "$dir/out"
  tune 0 --for 600/s --json
  holds "$dir/out" "[c['name'] for c in d['changes']] == ['net.ipv4.ip_local_port_range']"
  tune 4 --set tcp_tw_reuse=0 --set tcp_tw_reuse_delay=500 --apply -y
  grep -q 'tcp_tw_reuse_delay: this kernel has no such setting' "$dir/err"
  as_before
  hidden tcp_tw_reuse tcp_tw_reuse_delay
  tune 0 --for 20/s --json
  holds "$dir/out" "[c['name'] for c in d['changes']] == ['net.ipv4.ip_local_port_range']"
  tune 1 --for 20k/s
  hidden ip_local_port_range
  tune 4 --for 20/s
  grep -q 'ip_local_port_range cannot be read' "$dir/err"
  as_before
}

@test "an ordinary user: asks and is told, but changes nothing: exit 3" {
  local nobody=()
  picture >"$dir/before"
  if [ -z "$net_user" ]; then
    need setpriv
    nobody=(setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps=-all)
    in_client "${nobody[@]}" test -x "$TIDEWAIT" || skip "nobody may not run $TIDEWAIT"
    traced=("${nobody[@]}")
  else
    # In the user namespace there is no other user; outside of it this one has no rights.
    tune() {
      local wanted=$1 status=0
      shift
      timeout 60 "$TIDEWAIT" tune "$@" >"$dir/out" 2>"$dir/err" </dev/null || status=$?
      [ "$status" -eq "$wanted" ] || { echo "exit status $status, wanted $wanted"; cat "$dir/err"; return 1; }
    }
  fi
  tune 0
  grep -q '^. tcp_tw_reuse ' "$dir/out"
  tune 0 explain tcp_tw_reuse
  tune 0 --for 1000/s --json
  holds "$dir/out" "d['changes'][0]['name'] == 'net.ipv4.tcp_tw_reuse' and not d['done']"
  for how in --apply --persist; do
    tune 3 --set tcp_fin_timeout=59 $how -y
    grep -q 'net.ipv4.tcp_fin_timeout: only root, or CAP_NET_ADMIN' "$dir/err"
    [ "$(wc -l <"$dir/err")" -eq 1 ]
  done
  as_before
  [ -n "${nobody[*]}" ] || return 0
  # What root has done is checked, but not taken back.
  traced=()
  tune 0 "${three[@]}" --persist -y
  traced=("${nobody[@]}")
  tune 0 --check
  tune 3 --undo
  [ "$(wc -l <"$dir/err")" -eq 1 ]
  is ipv4/tcp_tw_reuse 1
  [ -s "$kept" ]
  traced=()
  tune 0 --undo
  as_before
}

@test "the journal or the kept file cannot be written: nothing is changed" {
  picture >"$dir/before"
  prepare='mount -o remount,bind,ro /var/lib'
  tune 4 "${three[@]}" --apply -y
  grep -q '/var/lib/tidewait: Read-only file system' "$dir/err"
  as_before
  prepare='mount -t tmpfs -o size=4k,mode=755 none /var/lib && head -c 4096 /dev/zero >/var/lib/full'
  tune 1 "${three[@]}" --apply -y
  grep -q 'No space left on device' "$dir/err"
  as_before
  prepare='mount -o remount,bind,ro /etc/sysctl.d'
  tune 4 "${three[@]}" --persist -y
  as_before
  # A damaged journal is not written over.
  prepare=:
  mkdir -p "$dir/lib/tidewait"
  echo '{"schema": "tidewait.journal/1"' >"$journal"
  tune 1 "${three[@]}" --apply -y
  grep -q 'is damaged' "$dir/err"
  tune 1 --undo
  rm "$journal"
  as_before
}

# --- kept, checked, taken back ----------------------------------------------------------------------

@test "--persist keeps: a reason above each line, accepted by sysctl, and the first stays with the second" {
  picture >"$dir/before"
  set_to ipv4/tcp_tw_reuse 0
  tune 0 --for 1000/s --persist -y
  grep -q 'kept in /etc/sysctl.d/99-tidewait.conf' "$dir/out"
  grep -q '^net.ipv4.tcp_tw_reuse = 1$' "$kept"
  grep -q '^# 1,000 connections/s x 62 s' "$kept"
  tune 0 --set tcp_fin_timeout=30 --set "tcp_rmem=4096 131072 6291456" --persist -y
  # The kernel has it already, but the file had not.
  tune 0 --set tcp_timestamps=1 --persist -y
  [ "$(grep -c '^net' "$kept")" -eq 4 ]
  grep -q '^net.ipv4.tcp_tw_reuse = 1$' "$kept"
  awk '/^net/ && before !~ /^# ./ { exit 1 } { before = $0 }' "$kept" || { cat "$kept"; return 1; }
  need sysctl
  set_to ipv4/tcp_fin_timeout 45
  set_to ipv4/tcp_tw_reuse 2
  in_world sysctl -p /etc/sysctl.d/99-tidewait.conf
  is ipv4/tcp_fin_timeout 30
  is ipv4/tcp_tw_reuse 1
  is ipv4/tcp_rmem "4096 131072 6291456"
  tune 0 --check
  tune 0 --undo
  is ipv4/tcp_tw_reuse 0
  set_to ipv4/tcp_tw_reuse 2
  as_before
}

@test "--check tells a foreign change, --undo leaves it alone, --force does not" {
  tune 1 --check
  grep -q 'there is no journal' "$dir/err"
  picture >"$dir/before"
  tune 0 "${three[@]}" --persist -y
  tune 0 --check
  tune 0 --check --json
  holds "$dir/out" "set(d) == {'schema', 'action', 'rebooted', 'entries'}" "d['schema'] == 'tidewait.tune-journal/1'" \
    "d['action'] == 'check' and d['rebooted'] is False" "[e['outcome'] for e in d['entries']] == ['as-applied'] * 4" \
    "all(set(e) == {'setting', 'file', 'outcome', 'former', 'applied', 'now', 'error'} for e in d['entries'])" \
    "d['entries'][3]['file'] == '/etc/sysctl.d/99-tidewait.conf' and d['entries'][3]['setting'] is None"
  set_to ipv4/ip_local_port_range "7000 60999"
  tune 1 --check
  grep -q '^DRIFTED     net.ipv4.ip_local_port_range: 7000 60999, not 5000 60999 as it was applied$' "$dir/out"
  tune 5 --undo
  grep -q 'left alone  net.ipv4.ip_local_port_range: 7000 60999' "$dir/out"
  is ipv4/ip_local_port_range "7000 60999"
  is ipv4/tcp_tw_reuse 2
  [ ! -e "$kept" ]
  [ -s "$journal" ]
  tune 0 --undo --force --json
  holds "$dir/out" "d['action'] == 'undo'" \
    "[e['outcome'] for e in d['entries']] == ['was-so', 'restored', 'was-so', 'was-so']"
  as_before
  # And the file.
  tune 0 "${three[@]}" --persist -y
  echo '# a word of mine' >>"$kept"
  tune 1 --check --quiet
  [ ! -s "$dir/out" ]
  tune 5 --undo
  grep -q 'a word of mine' "$kept"
  tune 0 --undo --force
  as_before
}

@test "several times: --undo goes back to before the first" {
  picture >"$dir/before"
  tune 0 "${three[@]}" --apply -y
  tune 0 --set "ip_local_port_range=3000 60999" --apply -y
  tune 0 --set tcp_tw_reuse=0 --persist -y
  is ipv4/ip_local_port_range "3000 60999"
  tune 0 --undo
  as_before
}

@test "--root writes into the image alone" {
  picture >"$dir/before"
  mkdir -p "$dir/image/etc"
  tune 0 "${three[@]}" --root "$dir/image" --persist -y
  as_before
  grep -q '^net.ipv4.ip_local_port_range = 5000 60999$' "$dir/image/etc/sysctl.d/99-tidewait.conf"
  [ -s "$dir/image/var/lib/tidewait/tune.json" ]
  # Also what this kernel has already.
  tune 0 --set tcp_timestamps=1 --root "$dir/image" --persist -y
  [ "$(grep -c '^net' "$dir/image/etc/sysctl.d/99-tidewait.conf")" -eq 4 ]
  tune 0 --check --root "$dir/image"
  tune 0 --undo --root "$dir/image"
  [ ! -e "$dir/image/etc/sysctl.d/99-tidewait.conf" ]
  [ ! -e "$dir/image/var/lib/tidewait/tune.json" ]
  as_before
}

# filled: the source ports that connect() gives when it is asked until there are none.
filled() { in_client python3 "$net_files/tune_kit.py" fill $server 80; }

@test "a service in the way is reserved, with what was; connect() then leaves it alone" {
  local last
  serve $server:80
  set_to ipv4/ip_local_port_range "21000 21049"
  set_to ipv4/ip_local_reserved_ports 21001,21200-21203
  picture >"$dir/before"
  start service client python3 -c 'import socket, time
s = socket.create_server(("0.0.0.0", 21100))
print("ready", flush=True)
time.sleep(100)'
  until_true has_line "$dir/service.out"
  tune 0 --for 150/s --hold 1s --close server --apply -y --json
  holds "$dir/out" "[c['name'].split('.')[-1] for c in d['changes']] == ['ip_local_reserved_ports', 'ip_local_port_range']" \
    "'21100 (' in d['changes'][0]['why']"
  is ipv4/ip_local_reserved_ports 21001,21100,21200-21203
  stop service
  # It is down: its port could be given away.
  last=$(value ipv4/ip_local_port_range | cut -f 2)
  [ "$last" -gt 21203 ]
  filled >"$dir/ports"
  [ "$(wc -l <"$dir/ports")" -eq $((last - 21000 + 1 - 6)) ]
  run ! grep -qE '^(21001|21100|2120[0-3])$' "$dir/ports"
  tune 0 --undo
  as_before
  # Without that it is.
  set_to ipv4/ip_local_port_range "21000 $last"
  filled >"$dir/ports"
  grep -qx 21100 "$dir/ports"
}

# --- asking, refusing, showing ----------------------------------------------------------------------

@test "what is unsafe is refused, and done when it is asked for" {
  local buckets
  set_to ipv4/tcp_timestamps 1
  buckets=$(value ipv4/tcp_max_tw_buckets)
  picture >"$dir/before"
  tune 1 --set tcp_max_tw_buckets=100 --apply -y
  grep -q 'net.ipv4.tcp_max_tw_buckets from [0-9]* to 100 is refused: connections beyond it end without TIME_WAIT' "$dir/err"
  [ ! -s "$dir/out" ]
  tune 1 --set tcp_tw_reuse=1 --set tcp_timestamps=0 --apply -y
  grep -q 'tcp_timestamps from 1 to 0 is refused: .*--unsafe does it all the same$' "$dir/err"
  as_before
  tune 0 --set tcp_max_tw_buckets=$((buckets + 1)) --apply -y
  tune 0 --undo
  tune 0 --set tcp_max_tw_buckets=100 --set tcp_timestamps=0 --unsafe --apply -y
  grep -q 'warning: net.ipv4.tcp_max_tw_buckets from [0-9]* to 100: connections beyond it end without' "$dir/err"
  grep -q 'warning: net.ipv4.tcp_timestamps from 1 to 0: old segments' "$dir/err"
  is ipv4/tcp_timestamps 0
  is ipv4/tcp_max_tw_buckets 100
  tune 0 --undo
  as_before
}

@test "nothing happens without having been agreed to" {
  picture >"$dir/before"
  tune 0 "${three[@]}" --apply -y --dry-run
  grep -q 'net.ipv4.tcp_tw_reuse: 2 -> 1' "$dir/out"
  as_before
  tune 0 "${three[@]}" --persist --dry-run --json
  holds "$dir/out" "d['done'] is False and len(d['changes']) == 3"
  as_before
  tune 1 "${three[@]}" --apply
  grep -q 'nothing changed: standard input is not a terminal to ask on; -y does it' "$dir/err"
  as_before
  tune 0 "${three[@]}"
  as_before
  traced=(python3 "$net_files/tune_kit.py" ask n)
  tune 1 "${three[@]}" --apply
  as_before
  traced=(python3 "$net_files/tune_kit.py" ask y)
  tune 0 "${three[@]}" --apply
  traced=()
  is ipv4/tcp_tw_reuse 1
  tune 0 --undo
  as_before
}

@test "-N: the settings and the journal of one namespace are not those of another" {
  picture >"$dir/before"
  export prepare=:
  in_world sh -euc '
    fail() { echo "$*"; exit 1; }
    of() { nsenter --net="/run/netns/$1" cat "/proc/sys/net/ipv4/$2"; }
    tune() { wanted=$1; shift; status=0; "$TIDEWAIT" tune "$@" >>"$0/log" 2>&1 || status=$?
      [ $status -eq $wanted ] || { cat "$0/log"; fail "tune $*: $status, wanted $wanted"; }; }
    ip netns add twa && ip netns add twb || exit 77
    tune 0 -N twa --set tcp_fin_timeout=31 --apply -y
    [ "$(of twa tcp_fin_timeout)" = 31 ] && [ "$(of twb tcp_fin_timeout)" = 60 ] || fail "values"
    [ -s /var/lib/tidewait/tune-twa.json ] && [ ! -e /var/lib/tidewait/tune.json ] || fail "journals"
    tune 1 -N twb --check
    tune 1 --undo
    tune 0 -N twb --set tcp_fin_timeout=32 --apply -y
    tune 0 --set tcp_fin_timeout=33 --apply -y
    tune 0 -N twa --undo
    [ "$(of twa tcp_fin_timeout)" = 60 ] && [ "$(of twb tcp_fin_timeout)" = 32 ] || fail "values after undo"
    tune 0 -N twb --check
    # Made anew, a namespace is another: what was set in it went with it.
    ip netns delete twb && ip netns add twb
    tune 0 -N twb --undo
    grep -q "made anew" "$0/log" || fail "not told that it was made anew"
    tune 0 --undo
    tune 2 -N twa --set tcp_tw_reuse=1 --persist -y' "$dir" || {
    status=$?
    [ $status -ne 77 ] || skip "no named network namespace can be made here"
    return $status
  }
  as_before
}

@test "--format: each says something, and sysctl takes its own" {
  local format
  set_to ipv4/tcp_tw_reuse 2
  set_to ipv4/ip_local_port_range "32768 60999"
  picture >"$dir/before"
  for format in sysctl ansible kubernetes docker netsh reg freebsd macos; do
    tune 0 --for 50k/s --to 10.0.0.5:80 --format $format
    [ ! -s "$dir/err" ]
    grep -q 'proposed by tidewait tune' "$dir/out"
    grep -q 'tcp_tw_reuse' "$dir/out"
    cp "$dir/out" "$dir/$format"
  done
  grep -q '^net.ipv4.ip_local_port_range = 1[0-9]* 65535$' "$dir/sysctl"
  grep -q '^netsh int ipv4 set dynamicport tcp start=1[0-9]* num=[0-9]*' "$dir/netsh"
  grep -q '^"MaxUserPort"=dword:' "$dir/reg"
  grep -q 'net.inet.ip.portrange' "$dir/freebsd"
  grep -q 'net.inet.ip.portrange' "$dir/macos"
  if python3 -c 'import yaml' 2>/dev/null; then
    python3 - "$dir" <<'END'
import sys, yaml
ansible, kubernetes, docker = (yaml.safe_load(open(f"{sys.argv[1]}/{name}")) for name in ("ansible", "kubernetes", "docker"))
assert {t["ansible.posix.sysctl"]["name"] for t in ansible} == {"net.ipv4.tcp_tw_reuse", "net.ipv4.ip_local_port_range"}, ansible
assert [s["value"] for s in kubernetes["spec"]["securityContext"]["sysctls"] if s["name"] == "net.ipv4.tcp_tw_reuse"] == ["1"]
assert docker["services"]["app"]["sysctls"]["net.ipv4.tcp_tw_reuse"] == "1", docker
END
  fi
  as_before
}

@test "JSON of a proposal: its keys" {
  tune 0 --for 1000/s --json
  [ "$(wc -l <"$dir/out")" -eq 1 ]
  holds "$dir/out" "d['schema'] == 'tidewait.proposal/1'" "d['rate_per_s'] == 1000" \
    "set(d) == {'schema', 'suffices', 'done', 'changes', 'rate_per_s', 'now', 'then', 'needs_files', 'cures', 'cures_on_top'}" \
    "all(set(c) == {'name', 'before', 'after', 'why'} for c in d['changes'])" \
    "all(set(d[k]) == {'suffices', 'tuples', 'lanes', 'sustainable_per_s', 'exhausted_s', 'refused_random'} for k in ('now', 'then'))"
  tune 0 --set tcp_fin_timeout=30 --json
  holds "$dir/out" "set(d) == {'schema', 'suffices', 'done', 'changes'}" "d['changes'][0]['after'] == '30'"
  tune 1 --for 900k/s --hold 1s --json
  holds "$dir/out" "d['cures'] and all(set(c) == {'name', 'what', 'cost', 'answer'} for c in d['cures'])" "d['needs_files']"
}
