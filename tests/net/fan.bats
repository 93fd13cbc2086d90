#!/usr/bin/env bats
# `tidewait fan` over real ssh: thirty network namespaces with Debian's sshd, and hosts that fail each in
# their own way (fan_world.sh). And what does not depend on the way, by --via local.
# shellcheck disable=SC2154 # the variables are set in fan.bash
bats_require_minimum_version 1.5.0

load fan

setup_file() { world_start fan_world.sh 30 ssh sshd ssh-keygen; }
teardown_file() { world_end; }
setup() { world_enter; }

# here ARGUMENT...: the same by --via local, without a world.
here() {
  status=0
  timeout -k 5 100 "$TIDEWAIT" fan --via local "$@" >out 2>err </dev/null || status=$?
}

@test "ssh: thirty hosts, each line with its host, in order" {
  fan -w 'web[01-30]' -- 'echo one; echo two; echo three >&2'
  expect 0
  [ "$(wc -l <out)" -eq 60 ]
  [ "$(wc -l <err)" -eq 30 ]
  for i in $(seq -w 30); do
    [ "$(grep "^web$i: " out)" = "web$i: one"$'\n'"web$i: two" ]
    has err "web$i: three"
  done
}

@test "ssh: equal outputs are folded, the others compared" {
  # shellcheck disable=SC2016 # for the other shell
  local command='n=$(echo $SSH_CONNECTION | cut -d " " -f 3); echo same; case $n in *.7|*.9) echo odd ;; esac'
  fan -b -w 'web[01-30]' -- "$command"
  expect 0
  printf '%s\n' ---------------- 'web[01-06,08,10-30] (28)' ---------------- same \
    ---------------- 'web[07,09] (2)' ---------------- same odd >wanted
  diff wanted out
  fan --diff -w 'web[01-30]' -- "$command"
  expect 0
  has out '+odd'
  has out ' same'
  [ "$(grep -c '^same$' out)" -eq 1 ]
}

@test "ssh: what fails is told apart" {
  fan -t 4s --json -w 'web01,refusing,mute,stranger,locked,absent,nosuch.invalid' -- 'exit 3'
  expect 5
  python3 - <<'END'
import json
hosts = {h["host"]: h for h in json.load(open("out"))["hosts"]}
wanted = {"web01": "exit", "refusing": "refused", "mute": "timeout", "stranger": "host-key",
          "locked": "authentication", "absent": "unreachable", "nosuch.invalid": "unknown-host"}
assert {h: r["cause"] for h, r in hosts.items()} == wanted, hosts
for name, host in hosts.items():
    assert (host["exit"] == 3) == (name == "web01"), host
    assert host["stdout"] == host["stderr"] == "", host
    assert bool(host["detail"]) == (name != "web01"), host
END
}

@test "ssh: without an address or port of our own the cause is the address" {
  in_world unshare -n sh -c 'ip link set lo up; echo "40000 40000" >/proc/sys/net/ipv4/ip_local_port_range
    python3 -c "
import socket, subprocess, sys
l = socket.socket(); l.bind((\"127.0.0.1\", 22)); l.listen()
s = socket.create_connection((\"127.0.0.1\", 22))
sys.exit(subprocess.call(sys.argv[1:]))" "$@"' sh "$TIDEWAIT" fan -w 127.0.0.1 --json -- true >out || true
  grep -q '"cause":"address"' out
  grep -q 'Cannot assign requested address' out
}

@test "ssh: --plain tells the same, as far as it can be known" {
  fan --plain -t 2s --json -w 'web[01-02],refusing,mute,stranger,locked' -- 'exit 255'
  expect 5
  python3 - <<'END'
import json
causes = {h["host"]: h["cause"] for h in json.load(open("out"))["hosts"]}
assert causes == {"web01": "exit", "web02": "exit", "refusing": "refused", "mute": "timeout",
                  "stranger": "host-key", "locked": "authentication"}, causes
END
  fan -w web01 -- 'exit 255'
  has err 'web01: exit 255'
}

@test "ssh: an rc file is read once, and one that ends the shell is no success" {
  [ -x /bin/bash ] || skip "there is no /bin/bash here"
  local rc=$BATS_FILE_TMPDIR/world/bash/.bashrc
  echo 'echo rc; echo rc >&2; export of_rc=here' >"$rc"
  # shellcheck disable=SC2016 # for the other shell
  fan -l bash -w web01 -- 'echo $of_rc'
  expect 0
  [ "$(sort out)" = $'web01: here\nweb01: rc' ]
  [ "$(cat err)" = 'web01: rc' ]
  echo 'echo gone >&2; exit 0' >"$rc"
  fan --json -l bash -w web01 -- 'echo never'
  expect 5
  grep -q '"exit":null,.*"cause":"start","detail":"the login shell there ended before .* status 0;.*"stderr":"gone' out
  rm "$rc"
}

@test "ssh: a shared connection that stays does not hold us, nor end with a time limit" {
  local config=$BATS_FILE_TMPDIR/world/home/.ssh/config
  cp "$config" config
  { printf 'ControlMaster auto\nControlPersist 60\nControlPath %s/%%h\n' "$PWD"; cat config; } >"$config"
  limit=30 fan -w 'web[01-03]' -- 'echo one; echo two >&2'
  expect 0
  [ -S web01 ]
  fan -u 1s -w 'web[01-03]' -- 'echo begun; sleep 4716'
  expect 5
  until_true all_gone 4716
  [ -S web01 ]
  fan -w 'web[01-03]' -- 'echo three'
  expect 0
  cat config >"$config"
  for host in web01 web02 web03; do
    in_world ssh -O exit -o ControlPath="$PWD/$host" $host 2>/dev/null
  done
}

@test "ssh: exit codes" {
  fan -w 'web[01-03]' -- true
  expect 0
  [ ! -s err ]
  fan -w 'web[01-03]' -- 'exit 7'
  expect 5
  has err 'tidewait fan: 3 of 3 hosts failed: web[01-03] (exit 7)'
  fan -S -w 'web[01-03]' -- 'exit 7'
  expect 7
  fan -S -w web01,refusing -- true
  expect 255
  # shellcheck disable=SC2016 # for the other shell
  fan -S -w web01 -- 'kill -9 $$'
  expect 137
  [ "$(grep -c . err)" -eq 2 ]
  fan -q -w web01 -- 'exit 7'
  expect 5
  [ ! -s err ]
}

@test "ssh: the window slides and is never passed" {
  # The first waits for the last: by batches of three it would wait in vain. All are on one disk.
  mkdir run
  # shellcheck disable=SC2016 # for the other shell
  fan -f 3 -u 60s -w 'web[01-30]' -- 'cd '"$PWD"'; n=$(echo $SSH_CONNECTION | cut -d . -f 7 | cut -d " " -f 1)
    mkdir run/$n; ls run | wc -l
    case $n in 1) until [ -e last ]; do sleep 0.1; done ;; 30) touch last ;; esac
    rmdir run/$n'
  expect 0
  [ "$(wc -l <out)" -eq 30 ]
  [ "$(sed 's/.*: //' out | sort -n | tail -n 1)" -le 3 ]
}

@test "ssh: a time limit ends its host alone, and the command there" {
  # shellcheck disable=SC2016 # for the other shell
  fan -u 3s -w 'web[01-04],mute' -t 2s -- \
    'case $SSH_CONNECTION in *10.78.0.2\ *) echo begun; sleep 4711 & sleep 4711 ;; *) echo done ;; esac'
  expect 5
  [ "$(grep -c ': done$' out)" -eq 3 ]
  has out 'web02: begun'
  grep -q '^web02: time-limit: ' err
  grep -q '^mute: timeout: ' err
  until_true all_gone 4711
}

@test "ssh: a deadline ends all and begins no more" {
  fan --deadline 3s -f 2 -w 'web[01-05]' -- 'echo begun; sleep 4712'
  expect 5
  [ "$(grep -c ': begun$' out)" -eq 2 ]
  [ "$(grep -c ': deadline: ended by' err)" -eq 2 ]
  [ "$(grep -c ': deadline: not started' err)" -eq 3 ]
  until_true all_gone 4712
}

@test "ssh: Ctrl-C tells who is running, the second ends them" {
  start -w 'web[01-03]' -f 2 -- 'echo begun; sleep 4713'
  until_true counts 2 begun out
  kill -INT "$fan"
  until_true grep -q 'still running' err
  has err 'tidewait fan: 2 still running: web[01-02]; 1 waiting; once more within a second ends them'
  # Late is as if it were the first.
  sleep 1.5
  kill -INT "$fan"
  until_true counts 2 'still running' err
  [ "$(alive 4713)" -gt 0 ]
  kill -INT "$fan"
  await
  expect 5
  [ "$(grep -c ': interrupted: ended' err)" -eq 2 ]
  [ "$(grep -c ': interrupted: not started' err)" -eq 1 ]
  until_true all_gone 4713
}

@test "ssh: commands end with us, even when we are killed" {
  start -w 'web[01-03]' -- 'echo begun; sleep 4714'
  until_true counts 3 begun out
  [ "$(alive 4714)" -ge 3 ]
  kill -KILL "$fan"
  await
  until_true all_gone 4714
}

@test "ssh: what a command leaves in the background on purpose lives on" {
  fan -w web01 -- 'sleep 4715 >/dev/null 2>&1 & echo left'
  expect 0
  has out 'web01: left'
  sleep 1.5
  [ "$(alive 4715)" -gt 0 ]
  in_world pkill -f '^sleep 4715'
}

@test "ssh: standard input goes to nobody, the first, or all" {
  seq 100000 >numbers
  for who in none one all; do
    status=0
    in_world "$TIDEWAIT" fan --stdin $who -w 'web[01-03]' -- 'cksum' <numbers >out 2>err || status=$?
    expect 0
    mv out out.$who
  done
  sum=$(cksum <numbers)
  [ "$(grep -cF ": $sum" out.none || true)" -eq 0 ]
  [ "$(grep -F ": $sum" out.one)" = "web01: $sum" ]
  [ "$(grep -cF ": $sum" out.all)" -eq 3 ]
  # From a pipe.
  in_world "$TIDEWAIT" fan --stdin all -f 1 -w 'web[01-03]' -- 'cksum' < <(cat numbers) >out
  [ "$(grep -cF ": $sum" out)" -eq 3 ]
}

@test "ssh: 100 MB, no newline, binary" {
  # shellcheck disable=SC2016 # for the other shell
  fan -u 90s --outdir files -w 'web[01-04]' -- 'case $SSH_CONNECTION in
    *10.78.0.1\ *) yes 0123456789abcdef | head -c 100000000 ;;
    *10.78.0.2\ *) printf "no newline" ;;
    *10.78.0.3\ *) printf "\000\001\377\n\033[2J" ;;
    *) echo plain ;; esac'
  expect 0
  [ "$(yes 0123456789abcdef | head -c 100000000 | cksum)" = "$(cksum <files/web01.out)" ]
  [ "$(cat files/web02.out)" = 'no newline' ]
  printf '\000\001\377\n\033[2J' | cmp - files/web03.out
  [ "$(cat files/web04.out)" = plain ]
  [ ! -s files/web01.err ]
  [ ! -s out ]
  fan -b -w 'web[01-02]' -- 'printf "no newline"'
  has out 'web[01-02] (2)'
  has out '\ no newline at the end'
}

@test "ssh: retries after failures to connect only" {
  fan --retry 2 --json-lines -w refusing,stranger,locked,web01 -- 'exit 1'
  expect 5
  python3 - <<'END'
import json
attempts = {h["host"]: h["attempts"] for h in map(json.loads, open("out"))}
assert attempts == {"refusing": 3, "stranger": 1, "locked": 1, "web01": 1}, attempts
END
}

@test "ssh: answers of tidewait itself in one table" {
  fan --fold schema -w 'web[01-03],refusing' -- "$TIDEWAIT why 8080 --json"
  expect 5
  grep -qE '^ +3  tidewait[.a-z/0-9]+ +web\[01-03\]$' out
  grep -qE '^ +1  \(refused\) +refusing$' out
}

# --- what does not depend on the way ------------------------------------------------------------

@test "local: the window slides and is never passed" {
  mkdir run
  here -f 3 -u 60s -w 'w[1-200]' -- 'mkdir run/{host}; ls run | wc -l
    case {host} in w1) until [ -e last ]; do sleep 0.05; done ;; w200) touch last ;; esac
    rmdir run/{host}'
  expect 0
  [ "$(wc -l <out)" -eq 200 ]
  [ "$(sed 's/.*: //' out | sort -n | tail -n 1)" -le 3 ]
}

@test "local: 1,000 hosts with few descriptors and little memory" {
  # Each tells how many descriptors the one that started it has, and how much memory.
  # shellcheck disable=SC2016 # for the other shell
  local command='ls /proc/$PPID/fd | wc -l; grep VmHWM /proc/$PPID/status; head -c 100000 /dev/zero | tr "\0" x'
  here -f 32 -w 'w[1-1000]' -- "$command"
  expect 0
  [ "$(grep -c VmHWM out)" -eq 1000 ]
  [ "$(sed -n 's/^w[0-9]*: \([0-9]*\)$/\1/p' out | sort -n | tail -n 1)" -le $((32 * 5 + 32)) ]
  # 100 kB of each would be 100 MB. A sanitizer has memory of its own.
  nm -D "$TIDEWAIT" 2>/dev/null | grep -q __asan && skip "memory is not bounded under ASan"
  [ "$(sed -n 's/.*VmHWM:[^0-9]*\([0-9]*\) kB/\1/p' out | sort -n | tail -n 1)" -le 40000 ]
}

@test "local: 1,000 different outputs folded in little memory" {
  # shellcheck disable=SC2016 # for the other shell
  here -b -f 32 -w 'w[1-1000]' -- 'echo {host}; head -c 100000 /dev/zero | tr "\0" x'
  expect 0
  [ "$(grep -c '^w[0-9]*$' out)" -eq 1000 ]
  [ "$(grep -c '^xxx*$' out)" -eq 2000 ]
}

@test "local: few open files are allowed" {
  status=0
  (ulimit -n 60 && exec timeout -k 5 100 "$TIDEWAIT" fan --via local -w 'w[1-100]' -- 'echo {host}') \
    >out 2>err </dev/null || status=$?
  expect 0
  [ "$(wc -l <out)" -eq 100 ]
  [ "$(wc -l <err)" -eq 1 ]
  grep -q 'hosts at a time: more need more open files' err
}

@test "local: lines are never torn" {
  # Each in two pieces, with all others in between.
  here -f 50 -w 'w[1-50]' -- 'for i in 1 2 3; do printf "%s a" {host}; sleep 0.1; echo "b"; done'
  expect 0
  [ "$(wc -l <out)" -eq 150 ]
  [ "$(grep -cE '^(w[0-9]+): \1 ab$' out)" -eq 150 ]
}

@test "local: a line without end comes in pieces that say so" {
  here -w w1 -- 'head -c 200000 /dev/zero | tr "\0" x'
  expect 0
  [ "$(grep -c '^w1: \\ the line goes on$' out)" -eq 3 ]
  [ "$(tail -n 1 out)" = 'w1: \ no newline at the end' ]
  # shellcheck disable=SC1003 # a backslash
  [ "$(grep -v '\\' out | sed 's/^w1: //' | tr -d '\n' | wc -c)" -eq 200000 ]
}

@test "local: a template" {
  # shellcheck disable=SC2016 # as it is
  here --template 'echo {host} {user} {port} {command}' -l anna -w 'bob@a:22,b' -- "it's" '$HOME;' x
  expect 0
  # shellcheck disable=SC2016 # as it is
  has out "bob@a:22: a bob 22 it's \$HOME; x"
  # shellcheck disable=SC2016 # as it is
  has out "b: b anna  it's \$HOME; x"
}

@test "local: what is not run, and what is killed" {
  here -w w1 --json-lines -- 'kill -15 $$'
  expect 5
  grep -q '"exit":null,"signal":15,.*"cause":"signal"' out
  here -w w1 -- /does/not/exist
  expect 5
  has err 'w1: exit 127'
}

@test "local: a time limit ends all that the command has started" {
  here -u 1s -w 'w[1-2]' -- 'sleep 47.125 & trap "" TERM; sleep 47.125; sleep 48.125'
  expect 5
  [ "$(grep -c '^w[12]: time-limit: ' err)" -eq 2 ]
  # shellcheck disable=SC2314 # the last line
  run ! pgrep -f '^sleep 4[78]\.125$'
}

@test "local: a child that holds the pipes is let go" {
  here -u 1s -w 'w[1-2]' -- 'setsid sleep 5 & echo begun'
  expect 5
  [ "$(grep -c 'time-limit' err)" -ge 2 ]
}

@test "local: JSON is whole, whatever was written" {
  here --json --keep 10B -w 'w[1-3]' -- 'case {host} in w1) printf "a\"\\\\\n\t\001é" ;;
    w2) printf "\377\000x" ;; w3) printf 0123456789abc ;; esac'
  expect 0
  python3 - <<'END'
import base64, json
d = json.load(open("out"))
assert d["schema"] == "tidewait.fan/1" and (d["total"], d["ok"], d["failed"]) == (3, 3, 0), d
a, b, c = d["hosts"]
assert a["stdout"] == 'a"\\\n\t\x01é' and a["stdout_bytes"] == 8, a
assert b["stdout"] is None and base64.b64decode(b["stdout_base64"]) == b"\xff\0x", b
assert c["stdout"] == "0123456789" and c["stdout_bytes"] == 13, c
assert a["exit"] == 0 and a["cause"] is None and a["ms"] > 0, a
END
}

@test "local: a terminal gets nothing harmful, and a line that changes" {
  python3 - "$TIDEWAIT" <<'END'
import os, pty, sys
out = b""
def read(fd):
    global out
    data = os.read(fd, 4096)
    out += data
    return data
code = pty.spawn([sys.argv[1], "fan", "--via", "local", "-w", "w[1-3]", "--",
                  "printf 'a\\tb\\033[2J\\n'; sleep 1"], read)
assert code == 0, code
assert out.count(b"a\tb\\x1b[2J") == 3, out
assert b"\r\x1b[K0 of 3 done, 3 running, 0 failed" in out, out
assert out.endswith(b"\r\x1b[K"), out
END
}

@test "local: an output that is full or closed ends the run" {
  [ -w /dev/full ] || skip "there is no /dev/full here"
  status=0
  timeout 60 "$TIDEWAIT" fan --via local -w 'w[1-3]' -- 'echo x; sleep 50' >/dev/full 2>err || status=$?
  : >out
  expect 5
  grep -q 'cannot write the output: No space left' err
  # What the hosts write on standard error is no less.
  status=0
  timeout 60 "$TIDEWAIT" fan --via local -w 'w[1-3]' -- 'echo x >&2; sleep 50' 2>/dev/full || status=$?
  [ "$status" -eq 5 ]
  # Not a line for each host that we ended.
  [ "$(grep -c interrupted err)" -eq 1 ]
}

@test "local: without a standard output nothing seems to be written" {
  # A file of ours would get its number.
  for mode in -N -b --json; do
    status=0
    timeout 60 "$TIDEWAIT" fan --via local $mode -w 'w[1-3]' -- 'echo x' >&- 2>err </dev/null || status=$?
    : >out
    expect 5
    grep -q 'cannot write the output: Bad file descriptor' err
  done
  timeout 60 "$TIDEWAIT" fan --via local -w w1 -- 'echo x; echo y >&2' >out 2>&- <&-
  [ "$(cat out)" = 'w1: x' ]
}

# start_here ARGUMENT...: as `start`, by --via local, with our standard output, and SIGINT as it is for a
# shell's foreground.
start_here() {
  env --default-signal=INT "$TIDEWAIT" fan --via local "$@" 2>err </dev/null 3>&- &
  fan=$!
  shell=$!
}
hangs_in_a_write() { grep -q pipe_write "/proc/$fan/wchan"; }

@test "local: a signal while nobody reads the output loses nothing" {
  [ "$(cat /proc/$$/wchan)" != 0 ] || skip "the kernel does not tell where a process hangs"
  mkfifo pipe
  exec 4<>pipe
  start_here -w 'w[1-3]' -- 'seq 50000' >&4
  until_true hangs_in_a_write
  kill -INT "$fan"
  cat pipe >out 4>&- 3>&- &
  cat=$!
  await
  exec 4>&-
  wait $cat
  expect 0
  [ "$(wc -l <out)" -eq 150000 ]
  # And who is patient no more gets rid of it.
  exec 4<>pipe
  start_here -w 'w[1-3]' -- 'seq 50000' >&4
  for signal in INT INT INT INT; do
    until_true hangs_in_a_write
    kill -$signal "$fan"
    sleep 0.1
  done
  await
  exec 4>&-
  expect 130
}

@test "local: an ignored SIGHUP stays ignored" {
  : >out
  (trap '' HUP && exec "$TIDEWAIT" fan --via local -w w1 -- 'echo begun; until [ -e go ]; do sleep 0.1; done') \
    >out 2>err </dev/null 3>&- &
  shell=$!
  until_true grep -q begun out
  kill -HUP $shell
  sleep 0.3
  touch go
  await
  expect 0
}

@test "local: differences of both streams, to what most have written" {
  # Those that could not run are no measure, were they the most.
  here -u 1s --diff -w 'w[1-6]' -- 'case {host} in w[1-3]) sleep 60 ;; w6) echo b; echo "x" >&2 ;; *) echo a; echo y >&2 ;; esac'
  expect 5
  cat >wanted <<'END'
----------------
w[1-3] (3): time-limit
----------------
----------------
w[4-5] (2)
----------------
a
stderr: y
----------------
w6 (1)
----------------
--- w[4-5]
+++ w6
@@ -1 +1 @@
-a
+b
--- w[4-5] (stderr)
+++ w6 (stderr)
@@ -1 +1 @@
-y
+x
END
  diff wanted out
  here --diff -w 'w[1-3]' -- 'echo same; [ {host} != w3 ]'
  [ "$(tail -n 2 out)" = $'w3 (1): exit 1\n----------------' ]
}

@test "local: a host is tried again later and later" {
  mkdir bin
  # shellcheck disable=SC2016 # for the other shell
  printf '%s\n' '#!/bin/sh' 'date +%s%N >>times' 'echo "ssh: connect to host x port 22: Connection refused" >&2' \
    'exit 255' >bin/ssh
  chmod +x bin/ssh
  status=0
  PATH=$PWD/bin:$PATH timeout 60 "$TIDEWAIT" fan --retry 2 -w x -- true >out 2>err </dev/null || status=$?
  expect 5
  has err 'x: refused: ssh: connect to host x port 22: Connection refused (after retries)'
  # Never too early; how late depends on what else the machine does.
  awk 'NR > 1 && $1 - last < (NR - 1) * 990000000 { exit 1 } { last = $1 } END { exit NR != 3 }' times
}

@test "local: time limits do not run while we are stopped" {
  start_here -u 4s -w 'w[1-3]' -- 'echo begun >>begun; until [ -e go ]; do sleep 0.1; done; echo done' >out
  until_true counts 3 begun begun
  kill -STOP "$fan"
  touch go
  sleep 5
  kill -CONT "$fan"
  await
  expect 0
  [ "$(grep -c ': done$' out)" -eq 3 ]
}

# rows: those of the table, with one blank between the cells.
rows() { tail -n +2 out | tr -s ' ' | sed 's/^ //; s/ $//' | sort; }

@test "local: a table has every record, and what is none" {
  here --fold a,b.c -w 'w[1-9]' -- 'echo said by the start of a shell; case {host} in
    w[12]) echo "{\"a\": 1, \"b\": [{\"c\": \"x\"}, {\"c\": \"y\"}, {\"c\": \"x\"}]}" ;;
    w3) echo "[{\"a\": null}, {\"a\": 1}]" ;;
    w4) echo "{\"a\": 1} {\"a\": 2}"; echo and more ;;
    w5) echo "{\"a\": 1" ;;
    w6) echo "{\"a\": 1}"; exit 3 ;;
    w7) echo "{\"a\": 1}"; kill -9 $$ ;;
    w8) echo "[]" ;;
    w9) ;; esac'
  expect 5
  cat >wanted <<'END'
2 1 x,y w[1-2]
1 null - w3
4 1 - w[3-4,6-7]
1 2 - w4
3 (no JSON) - w[4-5,9]
1 (signal 9 (Killed)) - w7
1 (empty) - w8
END
  rows | diff <(sort wanted) -
}

@test "local: keys that go through the same array belong together" {
  # shellcheck disable=SC2016 # for the other shell
  here --fold entries.setting,entries.outcome,rebooted -w 'w[1-3]' -- 'case {host} in
    w3) outcome=drifted ;; *) outcome=as-applied ;; esac
    echo "{\"rebooted\":false,\"entries\":[{\"setting\":\"a\",\"outcome\":\"as-applied\"},{\"setting\":\"b\",\"outcome\":\"$outcome\"}]}"'
  expect 0
  cat >wanted <<'END'
3 a as-applied false w[1-3]
2 b as-applied false w[1-2]
1 b drifted false w3
END
  rows | diff <(sort wanted) -
}

@test "local: what a cell does not show still counts" {
  # shellcheck disable=SC2016 # for the other shell
  here --fold a -w 'w[1-4]' -- 'printf "{\"a\": \"%0300d%s\"}" 0 $(case {host} in w1) echo x ;; esac)'
  expect 0
  rows | sed 's/000*\.\./0../' | diff <(printf '%s\n' '1 0.. w1' '3 0.. w[2-4]') -
  here --keep 10B --fold a -w w1 -- 'echo "{\"a\": 123456}"'
  [ "$(rows)" = '1 (cut off) w1' ]
}

@test "local: what cannot be kept is told" {
  # shellcheck disable=SC2016 # for the other shell
  TMPDIR=$PWD/missing here -b -w 'w[1-2]' -- 'yes | head -c 100000; [ {host} = w1 ] || exit 3'
  expect 5
  grep -q "could not be kept in $PWD/missing: No such file" err
  grep -q 'bytes more were not kept: No such file' out
  TMPDIR=$PWD/missing here --json -w w1 -- 'yes | head -c 100000'
  expect 5
  grep -q '"stdout_bytes":100000' out
  # On purpose is another thing.
  here -b --keep 10B -w w1 -- 'yes | head -c 100000'
  expect 0
}

@test "local: files that cannot be written are told" {
  mkdir -p dir/w1.out
  here --outdir dir -w 'w[1-2]' -- echo x
  expect 5
  grep -q 'cannot write the output' err
  [ "$(cat dir/w2.out)" = x ]
}
