#!/usr/bin/env bats
# `tidewait fan --via rsh`: network namespaces with Debian's rshd (fan_rsh_world.sh), and beside it what
# becomes of reserved ports when they are chosen as rcmd(3) does it and our end closes first.
# shellcheck disable=SC2154 # $why, $world_folder and $status are set in fan.bash
# shellcheck disable=SC2016 # scripts for other shells
bats_require_minimum_version 1.5.0

load fan

WARNING='tidewait fan: warning: rsh is neither private nor authenticated: whoever is on the way reads all and can change it'

# Names of the host r01: every twentieth.
r01_names() { seq -s , -f 'c%04.0f' 1 20 "$(($1 * 20))"; }

# paced NAME ARGUMENT...: a run that has to wait for a minute, while the tests go on.
paced() {
  local name=$1
  shift
  (
    cd "$world_folder" || exit
    status=0 begin=$SECONDS
    limit=280 in_world "$TIDEWAIT" fan --via rsh --stdin all --json-lines "$@" -- cat \
      <hosts >"$name.out" 2>"$name.err" || status=$?
    echo $((SECONDS - begin)) >"$name.seconds"
    echo $status >"$name.status"
  ) 3>&- &
}

setup_file() {
  world_start fan_rsh_world.sh 20 inetd in.rshd rsh ss
  [ -z "$why" ] || return 0
  from=slow paced no_timestamps_here --ports 800:819 -w "$(r01_names 8),r02"
  paced no_timestamps_there --ports 600:619 -w 'old[1-8],r02'
}
teardown_file() { world_end; }
setup() { world_enter; }

rsh() { fan --via rsh "$@"; }

# time_waits HOST FILTER: the sockets in TIME_WAIT there, as the host sees them.
time_waits() { from=${1#us} in_world ss -Htan state time-wait "$2"; }

# silent: no more on stderr than the warning.
silent() { [ "$(cat err)" = "$WARNING" ] || { echo "on stderr:"; head -c 4000 err; return 1; }; }

@test "rsh: 5,000 commands over 200 reserved ports, and no address error" {
  limit=300 rsh --ports 824:1023 --json-lines -w 'c[0001-5000]' -- 'echo out; echo err >&2'
  expect 0
  silent
  # The other end has closed all first, and what it keeps tells which ports were used.
  time_waits us 'sport >= :824 and sport <= :1023' >ours
  for host in r{01..20}; do
    time_waits "$host" 'dst 10.79.0.254' >>theirs
  done
  python3 - <<'END'
import json
records = [json.loads(line) for line in open("out")]
assert len({r["host"] for r in records}) == len(records) == 5000, len(records)
for r in records:
    assert (r["exit"], r["cause"], r["attempts"]) == (0, None, 1), r
    assert (r["stdout"], r["stderr"]) == ("out\n", "err\n"), r
ours = open("ours").read()
assert not ours, ours
ports = {int(line.split()[3].rpartition(":")[2]) for line in open("theirs")}
ports -= set(range(600, 620))  # of the run in the background
assert ports and ports <= set(range(824, 1024)), ports
END
}

@test "rsh: the naive way, Debian's rsh, soon has no port" {
  # Its ports are from 1023 downwards, always. Its end closes first: cat waits for the end of its input.
  from=naive in_world sh -c 'seq -f c%04.0f 700 | xargs -P 4 -I{} sh -c \
    "rsh {} cat </dev/null 2>>errors || echo {} >>failed"'
  [ "$(wc -l <failed)" -gt 100 ]
  grep -q 'All ports in use' errors
  [ "$(time_waits naive 'sport >= :512 and sport <= :1023 and dport = :514' | wc -l)" -gt 500 ]
  # Without the end of the input it is the other end that closes first.
  for host in c000{1..9}; do
    in_world rsh -n "$host" true
  done
  [ -z "$(time_waits us 'sport >= :824 and sport <= :1023')" ]
  # Our end closes first in all of these as well, with fewer ports than commands.
  rsh --ports 824:1023 --stdin all -w 'c[0001-0400]' -- cat
  expect 0
  silent
  [ -n "$(time_waits us 'sport >= :824 and sport <= :1023 and dport = :514')" ]
}

@test "rsh: streams, users and ports" {
  rsh -w 'r[01-20],anna@r01:1514' -- 'id -un; echo two; echo three >&2'
  expect 0
  [ "$(grep -cv '^anna@' out)" -eq 40 ]
  [ "$(grep '^r07: ' out)" = $'r07: root\nr07: two' ]
  [ "$(grep '^anna' out)" = $'anna@r01:1514: anna\nanna@r01:1514: two' ]
  [ "$(head -n 1 err)" = "$WARNING" ]
  [ "$(grep -c ': three$' err)" -eq 21 ]
  [ "$(wc -l <err)" -eq 22 ]
  rsh -q -b -l anna -w 'r[01-03]' -- 'id -un'
  [ "$(cat out)" = "$(printf '%s\n' ---------------- 'r[01-03] (3)' ---------------- anna)" ]
  [ ! -s err ]
}

@test "rsh: exit codes" {
  rsh -w 'r[01-03]' -- 'exit 7'
  expect 5
  has err 'tidewait fan: 3 of 3 hosts failed: r[01-03] (exit 7)'
  rsh -S -w 'r[01-03]' -- 'exit 9'
  expect 9
  rsh -S -w r01 -- 'kill -9 $$'
  expect 137
  rsh -S -w r01,refusing -- true
  expect 255
  # rshd has no way to tell one.
  rsh --plain --json-lines -w r01 -- 'echo out; echo err >&2; exit 7'
  expect 0
  grep -q '"exit":null,"signal":null,.*"cause":null,.*"stdout":"out\\n",.*"stderr":"err\\n"' out
}

@test "rsh: what fails is told apart" {
  rsh -t 6s --json -w r01,refusing,mute,locked,nobody@r01,behind,full,web,absent,nosuch.invalid -- 'exit 3'
  expect 5
  python3 - <<'END'
import json
hosts = {h["host"]: h for h in json.load(open("out"))["hosts"]}
wanted = {"r01": "exit", "refusing": "refused", "mute": "timeout", "locked": "authentication",
          "nobody@r01": "authentication", "behind": "closed", "full": "connect", "web": "connect",
          "absent": "unreachable", "nosuch.invalid": "unknown-host"}
assert {h: r["cause"] for h, r in hosts.items()} == wanted, hosts
for name, host in hosts.items():
    assert (host["exit"] == 3) == (name == "r01"), host
    assert host["stdout"] == host["stderr"] == "", host
    assert bool(host["detail"]) == (name != "r01"), host
assert hosts["locked"]["detail"] == "Permission denied.", hosts["locked"]
assert hosts["full"]["detail"] == r"rshd: Cannot fork; \x1b[31mtry again.", hosts["full"]
END
  # What is refused is closed by the other end too.
  for _ in 1 2 3 4 5; do
    rsh --ports 560:579 -w locked -- true
  done
  [ -z "$(time_waits us 'sport >= :560 and sport <= :579')" ]
  # Without an answer about the names of some, the others run.
  echo nameserver 10.79.0.208 >resolv.conf
  in_world unshare -m sh -c 'mount --bind resolv.conf /etc/resolv.conf && exec "$@"' sh \
    "$TIDEWAIT" fan --via rsh -q --json-lines -w a.example,b.example,r01 -- true >out || status=$?
  expect 5
  head -n 1 out | grep -q '"host":"r01",'
  [ "$(grep -c '"cause":"unknown-host"' out)" -eq 2 ]
  rsh --retry 2 --json-lines -w refusing,locked,r01 -- 'exit 1'
  python3 - <<'END'
import json
attempts = {h["host"]: h["attempts"] for h in map(json.loads, open("out"))}
assert attempts == {"refusing": 3, "locked": 1, "r01": 1}, attempts
END
}

@test "rsh: 10 MB, no newline, binary" {
  rsh --outdir files -w anna@r01,r02,r03 -- 'case $(id -un) in
    anna) yes 0123456789abcdef | head -c 10000000; yes fedcba9876543210 | head -c 10000000 >&2 ;;
    *) printf "\000\001\377\n\033[2J"; printf "no newline" >&2 ;; esac'
  expect 0
  yes 0123456789abcdef | head -c 10000000 | cmp - files/anna@r01.out
  yes fedcba9876543210 | head -c 10000000 | cmp - files/anna@r01.err
  for host in r02 r03; do
    printf '\000\001\377\n\033[2J' | cmp - files/$host.out
    printf 'no newline' | cmp - files/$host.err
  done
  silent
}

@test "rsh: standard input goes to nobody, the first, or all" {
  seq 200000 >numbers
  for who in none one all; do
    status=0
    in_world "$TIDEWAIT" fan --via rsh -q --stdin $who -w 'r[01-03]' -- cksum <numbers >out.$who || status=$?
    expect 0
  done
  sum=$(cksum <numbers)
  [ "$(grep -c ': 4294967295 0$' out.none)" -eq 3 ]
  [ "$(grep -F ": $sum" out.one)" = "r01: $sum" ]
  [ "$(grep -c ': 4294967295 0$' out.one)" -eq 2 ]
  [ "$(grep -cF ": $sum" out.all)" -eq 3 ]
  # One that does not read it has done well all the same.
  in_world "$TIDEWAIT" fan --via rsh -q --stdin all -w 'r[01-03]' -- 'echo well' <numbers >out
  [ "$(grep -c ': well$' out)" -eq 3 ]
}

@test "rsh: a time limit ends its host alone, and the command there" {
  rsh -t 2s -u 3s -w anna@r01,r02,mute -- 'case $(id -un) in
    anna) echo begun; trap "" TERM; sleep 5711 & sleep 5711 ;; *) echo done ;; esac'
  expect 5
  has out 'anna@r01: begun'
  has out 'r02: done'
  grep -q '^anna@r01: time-limit: ' err
  grep -q '^mute: timeout: ' err
  until_true all_gone 5711
}

@test "rsh: a deadline ends all and begins no more" {
  rsh --deadline 3s -f 2 -w 'r[01-05]' -- 'echo begun; sleep 5712'
  expect 5
  [ "$(grep -c ': begun$' out)" -eq 2 ]
  [ "$(grep -c ': deadline: ended by' err)" -eq 2 ]
  [ "$(grep -c ': deadline: not started' err)" -eq 3 ]
  until_true all_gone 5712
}

@test "rsh: the second Ctrl-C ends the commands, and the other end closes first" {
  # Where no other test leaves a TIME_WAIT.
  # shellcheck disable=SC2034 # for in_world
  local from=spare
  start --via rsh -w 'r[01-03]' -f 2 -- 'echo begun; sleep 5713'
  until_true counts 2 begun out
  kill -INT "$fan"
  until_true grep -q 'still running' err
  has err 'tidewait fan: 2 still running: r[01-02]; 1 waiting; once more within a second ends them'
  [ "$(alive 5713)" -gt 0 ]
  # Late is as if it were the first.
  sleep 1.5
  kill -INT "$fan"
  until_true counts 2 'still running' err
  kill -INT "$fan"
  await
  expect 5
  [ "$(grep -c ': interrupted: ended' err)" -eq 2 ]
  [ "$(grep -c ': interrupted: not started' err)" -eq 1 ]
  until_true all_gone 5713
  time_waits spare 'sport < :1024' >ours
  [ ! -s ours ] || { cat ours; return 1; }
  [ -n "$(time_waits r01 'dst 10.79.0.251')" ]
}

@test "rsh: commands end with us, even when we are killed" {
  start --via rsh -w 'r[01-03]' -- 'echo begun; sleep 5714'
  until_true counts 3 begun out
  [ "$(alive 5714)" -ge 3 ]
  kill -KILL "$fan"
  await
  until_true all_gone 5714
}

# hold PORT...: as other programs do: a plus before it lets others bind, and an L
# behind it listens. Ends with the file `go`.
hold() {
  rm -f held
  in_world python3 - "$@" <<'END' 3>&- &
import os, socket, sys, time
sockets = []
for word in sys.argv[1:]:
    sockets.append(socket.socket())
    if word.startswith("+"):
        sockets[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sockets[-1].bind(("", int(word.strip("+L"))))
    if word.endswith("L"):
        sockets[-1].listen()
open("held", "w").close()
while not os.path.exists("go"):
    time.sleep(0.05)
END
  holder=$!
  until_true test -e held
}

@test "rsh: ports that other programs hold are passed over" {
  # The upper five are source ports, the others listen. Where no other test leaves a TIME_WAIT on them.
  # shellcheck disable=SC2034 # for in_world
  local from=spare
  hold 700 +701L 702L 718 +719L
  rsh --ports 700:719 -f 5 -w 'c[0001-0060]' -- echo well
  touch go
  wait "$holder"
  expect 0
  silent
  [ "$(grep -c ': well$' out)" -eq 60 ]
}

# waits_for PORT...: until other programs let go of these.
waits_for() {
  # shellcheck disable=SC2034 # for in_world
  local from=spare
  rm -f go
  hold "$@"
  start --via rsh --ports 512:1023 -w r01,r02 -- echo well
  until_true grep -q 'waiting up to' err
  touch go
  wait "$holder"
  await
  expect 0
  grep -q ' s for a port: other programs hold reserved ports$' err
  [ "$(wc -l <err)" -eq 2 ]
  [ "$(grep -c ': well$' out)" -eq 2 ]
}

@test "rsh: where other programs hold too many ports it is told, and waited" {
  # Those that listen, and the source ports.
  waits_for {512..895}
  waits_for {896..1023}
}

@test "rsh: few ports are a small window" {
  rsh --ports 1020:1023 -w 'c[0001-0040]' -- echo well
  expect 0
  has err 'tidewait fan: only 3 hosts at a time: each needs a reserved port of its own for stderr'
  [ "$(grep -c ': well$' out)" -eq 40 ]
  rsh --ports 1022:1023 -w 'c[0001-0010]' -- echo well
  expect 0
  [ "$(grep -c ': well$' out)" -eq 10 ]
}

@test "rsh: without privilege nothing is begun" {
  command -v setpriv >/dev/null || skip "there is no setpriv here"
  status=0
  in_world setpriv --reuid nobody --regid nogroup --clear-groups "$TIDEWAIT" fan --via rsh -w r01 -- \
    echo well >out 2>err </dev/null || status=$?
  expect 3
  [ ! -s out ]
  [ "$(wc -l <err)" -eq 1 ]
  grep -q 'no permission for reserved ports' err
  # An ordinary user who may have the ports is whom the other end is told, and it does not know him.
  status=0
  in_world sh -c 'echo 512 >/proc/sys/net/ipv4/ip_unprivileged_port_start
    setpriv --reuid nobody --regid nogroup --clear-groups "$0" fan --via rsh -w r01 -- echo well || code=$?
    echo 1024 >/proc/sys/net/ipv4/ip_unprivileged_port_start; exit $code' "$TIDEWAIT" \
    >out 2>err </dev/null || status=$?
  expect 5
  grep -q '^r01: authentication: ' err
}

# paced_well NAME: that run has waited, has said why, and nobody has failed.
paced_well() {
  local tries=0
  until [ -e "$world_folder/$1.status" ]; do
    tries=$((tries + 1))
    [ $tries -lt 300 ] || { echo "it does not end"; return 1; }
    sleep 1
  done
  status=$(cat "$world_folder/$1.status")
  cp "$world_folder/$1.out" out
  cp "$world_folder/$1.err" err
  expect 0
  [ "$(wc -l <err)" -eq 2 ]
  grep -qE "waiting up to [0-9]+ s for a port: the source ports to $2:514 are in TIME_WAIT: our end closed" err
  # A minute is what the kernel takes; that it is longer is no failure.
  [ "$(cat "$world_folder/$1.seconds")" -ge 55 ]
  # Who need not wait does not.
  [ "$(wc -l <out)" -eq 9 ]
  [ "$(head -n 6 out | grep -c '"host":"r02",')" -eq 1 ]
}

@test "rsh: our end closes first and there are no timestamps here: it waits and says why" {
  paced_well no_timestamps_here 10.79.0.1
}

@test "rsh: our end closes first and there are no timestamps there: that is learned" {
  paced_well no_timestamps_there 10.79.0.207
}
