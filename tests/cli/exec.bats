#!/usr/bin/env bats
# `tidewait exec` as far as no network is needed: bad input, what cannot be reached, and that a program
# runs as it does by itself.
# shellcheck disable=SC2016 # scripts for inner shells
bats_require_minimum_version 1.5.0
load refusal

TIDEWAIT=${TIDEWAIT:-$BATS_TEST_DIRNAME/../../build/cmd/tidewait}

setup() {
  bad=
  ran=$BATS_TEST_TMPDIR/ran
  # In a build with ASan: here it is the program itself that something is loaded in front of.
  export ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}verify_asan_link_order=0
}

need() {
  local tool
  for tool in "$@"; do
    command -v "$tool" >/dev/null || skip "there is no $tool here"
  done
}

# refused STATUS QUOTE ARGUMENT...
refused() {
  rm -f "$ran"
  refusal "$1" "$2" exec "${@:3}"
}

# bad_input QUOTE OPTION...: refused with 2 before the program is started.
bad_input() {
  local quote=$1
  shift
  refused 2 "$quote" "$@" -- touch "$ran"
}

@test "no program" {
  refused 2 "which program?"
  refused 2 "which program?" --
  refused 2 "which program?" touch "$ran"
  refused 2 "which program?" --summary touch "$ran"
  [ -z "$bad" ]
}

@test "bad rules" {
  bad_input "--rule: there is no rule in '# nothing'" -r '# nothing'
  bad_input "'up 80 : leave'" -r 'up 80 : leave'
  bad_input "has no ':'" -r 'in 80'
  bad_input "nothing to do" -r 'in 80 :'
  bad_input "'restart' is no action" -r 'in 80 : restart'
  bad_input "'manage' is not for" --rule 'in 80 : manage'
  bad_input "'65536'" -r 'in 65536 : leave'
  bad_input "'nowhere'" -r 'in nowhere:80 : leave'
  bad_input "'10.0.0.1'" -r 'out 10.0.0.1 : leave'
  bad_input "'30'" -r 'in 80 : wait 30'
  bad_input "'leave' stands alone" -r 'in 80 : leave, wait 3s'
  bad_input "'\\x1b[31m'" -r $'in 80 : \e[31m'
  bad_input "'ports' needs 'manage'" --no-manage -r 'out : ports 5-6'
  bad_input "--rule" -r ''
  [ -z "$bad" ]
}

@test "too many rules" {
  local i rules=()
  for i in $(seq 62); do rules+=(-r "in $i : leave"); done
  bad_input "more than 64 rules" "${rules[@]}"
  [ -z "$bad" ]
  run -0 timeout 20 "$TIDEWAIT" exec "${rules[@]:2}" -- true
}

@test "a rule file with a mistake: file and line are quoted" {
  local file=$BATS_TEST_TMPDIR/my.rules
  printf '# good\nin 80 : leave\n\nin 81 : leaf\n' >"$file"
  bad_input "$file:4: 'leaf' is no action" --rules "$file"
  printf 'in 80 : leave\nout to 10.0.0.0/33:80 : leave\n' >"$file"
  bad_input "$file:2: " --rules "$file"
  bad_input "/no/such/file" --rules /no/such/file
  bad_input "cannot read" --rules "$BATS_TEST_TMPDIR"
  for _ in $(seq 70); do echo 'in 80 : leave'; done >"$file"
  bad_input "$file:65: more than 64" --rules "$file"
  printf 'in 80 : leave\000\n' >"$file"
  bad_input "$file:1: " --rules "$file"
  [ -z "$bad" ]
}

@test "bad values of other options" {
  bad_input "'90-80'" --ports 90-80
  bad_input "--ports" --ports x
  bad_input "'0'" --ports 0-5
  bad_input "--ports" --ports ''
  bad_input "'nonsense'" --from nonsense
  bad_input "'10.0.0.0/8'" --from 10.0.0.0/8
  bad_input "second range of IPv4" --from 10.0.0.1 --from 10.0.0.3
  bad_input "'10.0.0.1, wait 3s'" --from '10.0.0.1, wait 3s'
  bad_input "'from' needs 'manage'" --from 10.0.0.1 --no-manage
  bad_input "'80'" --listen 80
  bad_input "'80='" --listen 80=
  bad_input "'=80'" --listen =80
  bad_input "'81-82'" --listen 80=81-82
  bad_input "'80=81,wait 3s'" --listen '80=81,wait 3s'
  bad_input "--wait" --wait 30
  bad_input "--interval" --interval soon
  bad_input "'seccomp' is not one of auto|preload|bpf" --method seccomp
  bad_input "unknown option '--nonsense'" --nonsense
  bad_input "takes no value" --summary=1
  bad_input "'no-such-net'" -N no-such-net
  [ -z "$bad" ]
}

@test "a log that cannot be written" {
  bad_input "/no/such/folder/log" --log /no/such/folder/log
  [ -z "$bad" ]
}

@test "what LD_PRELOAD cannot reach is named, and not started: static programs" {
  need cc
  printf '#include <stdio.h>\nint main(int c, char **v) { return !fopen(v[c - 1], "w"); }\n' >"$BATS_TEST_TMPDIR/t.c"
  cc -static -o "$BATS_TEST_TMPDIR/fixed" "$BATS_TEST_TMPDIR/t.c" || skip "no static programs can be made here"
  refused 4 "fixed is static: LD_PRELOAD cannot reach it; --method bpf can (root)" --method preload -- "$BATS_TEST_TMPDIR/fixed" "$ran"
  # By way of scripts, and through env.
  printf '#!%s\n' "$BATS_TEST_TMPDIR/fixed" >"$BATS_TEST_TMPDIR/one"
  printf '#! %s -x\n' "$BATS_TEST_TMPDIR/one" >"$BATS_TEST_TMPDIR/two"
  printf '#!/usr/bin/env -S A=b two\n' >"$BATS_TEST_TMPDIR/three"
  chmod +x "$BATS_TEST_TMPDIR"/{one,two,three}
  PATH=$BATS_TEST_TMPDIR:$PATH
  refused 4 "fixed is static" --method preload -- one "$ran"
  refused 4 "fixed is static" --method preload -- two "$ran"
  refused 4 "fixed is static" --method preload -- three "$ran"
  [ -z "$bad" ]
  # Without the right to use BPF `auto` is no way out.
  chmod 755 . "$BATS_TEST_TMPDIR" "$BATS_TEST_TMPDIR/.." 2>/dev/null
  [ "$(id -u)" -ne 0 ] || nobody=(setpriv --reuid 65534 --regid 65534 --clear-groups)
  "${nobody[@]}" test -x "$BATS_TEST_TMPDIR/fixed" -a -x "$TIDEWAIT" || return 0
  run -4 timeout 20 "${nobody[@]}" "$TIDEWAIT" exec -- "$BATS_TEST_TMPDIR/fixed" "$ran"
  [[ $output == *"fixed is static: LD_PRELOAD cannot reach it; --method bpf can (root)"* ]]
  [ ! -e "$ran" ]
}

@test "what LD_PRELOAD cannot reach: Go, musl, another machine, another class" {
  need cc objcopy python3
  cd "$BATS_TEST_TMPDIR"
  printf '#include <stdio.h>\nint main(int c, char **v) { return !fopen(v[c - 1], "w"); }\n' >t.c
  cc -o plain t.c
  run -0 timeout 20 "$TIDEWAIT" exec -- ./plain "$ran"
  [ -e "$ran" ]
  echo x >section
  objcopy --add-section .go.buildinfo=section plain gopher
  refused 4 "gopher is a Go program" --method preload -- ./gopher "$ran"
  objcopy --add-section .note.go.buildid=section plain gopher2
  refused 4 "gopher2 is a Go program" --method preload -- ./gopher2 "$ran"
  python3 - <<'PY'
data = open("plain", "rb").read()
def make(name, at, byte, source=data):
    open(name, "wb").write(source[:at] + byte + source[at + len(byte):])
make("other", 18, b"\x08\x00")
make("small", 4, b"\x01")
loader = data.index(b"/lib64/ld-linux") if b"/lib64/ld-linux" in data else data.index(b"/lib/ld-linux")
make("light", loader, b"/lib/ld-musl-x.so\0")
PY
  chmod +x other small light
  refused 4 "other is for another kind of processor" --method preload -- ./other "$ran"
  refused 4 "small is a 32-bit program" --method preload -- ./small "$ran"
  refused 4 "light uses the C library musl" --method preload -- ./light "$ran"
  [ -z "$bad" ]
}

@test "what LD_PRELOAD cannot reach: setuid, setgid and file capabilities, unless they change nothing" {
  need cc setpriv
  [ "$(id -u)" -eq 0 ] || skip "only root can make such programs"
  cd "$BATS_TEST_TMPDIR"
  ! findmnt -no OPTIONS -T . 2>/dev/null | grep -q nosuid || skip "the temporary folder is mounted nosuid"
  echo 'int main(void) { return 7; }' >t.c
  cc -o plain t.c
  cp plain setuid && chmod 4755 setuid
  cp plain setgid && chgrp 1 setgid && chmod 2755 setgid
  cp plain own && chown 65534 own && chmod 4755 own
  run -7 timeout 20 "$TIDEWAIT" exec -- ./setuid
  refused 4 "setgid is setgid" --method preload -- ./setgid
  refused 4 "own is setuid" --method preload -- ./own
  chmod 755 . .. 2>/dev/null
  nobody=(setpriv --reuid 65534 --regid 65534 --clear-groups)
  "${nobody[@]}" test -x ./setuid -a -x "$TIDEWAIT" || skip "nobody cannot reach $PWD"
  run -4 timeout 20 "${nobody[@]}" "$TIDEWAIT" exec -- ./setuid
  [[ $output == *"setuid is setuid: "* ]]
  run -7 timeout 20 "${nobody[@]}" "$TIDEWAIT" exec -- ./own
  run -7 timeout 20 setpriv --no-new-privs "${nobody[@]:1}" "$TIDEWAIT" exec -- ./setuid
  cp plain capable
  if setcap cap_net_raw=ep capable 2>/dev/null; then
    run -4 timeout 20 "${nobody[@]}" "$TIDEWAIT" exec -- ./capable
    [[ $output == *"capable has file capabilities"* ]]
    run -7 timeout 20 "$TIDEWAIT" exec -- ./capable
  fi
  [ -z "$bad" ]
}

@test "a library that is missing, or whose path LD_PRELOAD cannot express" {
  local library
  export TIDEWAIT_SHIM_LIBRARY=/no/such/library.so
  refused 4 "/no/such/library.so" -- touch "$ran"
  library=$(dirname "$TIDEWAIT")/../shim/libtidewait-shim.so
  mkdir -p "$BATS_TEST_TMPDIR/with blank"
  cp "$library" "$BATS_TEST_TMPDIR/with blank/x.so"
  TIDEWAIT_SHIM_LIBRARY="$BATS_TEST_TMPDIR/with blank/x.so"
  refused 4 "blank or colon" -- touch "$ran"
  [ -z "$bad" ]
}

@test "programs that cannot be executed: 127 and 126, as in a shell" {
  PATH=/usr/bin:/bin # a folder that may not be looked into would be told instead
  refused 127 "no-such-program: command not found" -- no-such-program
  refused 127 "/no/such/program" -- /no/such/program
  refused 126 "/etc/passwd: Permission denied" -- /etc/passwd
  refused 126 "$BATS_TEST_TMPDIR" -- "$BATS_TEST_TMPDIR"
  printf '#!/no/such/interpreter\n' >"$BATS_TEST_TMPDIR/script"
  chmod +x "$BATS_TEST_TMPDIR/script"
  refused 127 "the interpreter or loader that it names does not exist" -- "$BATS_TEST_TMPDIR/script"
  [ -z "$bad" ]
}

@test "a script without a first line, and scripts by env, run" {
  echo 'echo done "$1"' >"$BATS_TEST_TMPDIR/bare"
  printf '#!/usr/bin/env sh\necho done "$1"\n' >"$BATS_TEST_TMPDIR/env"
  chmod +x "$BATS_TEST_TMPDIR"/{bare,env}
  run -0 --separate-stderr timeout 20 "$TIDEWAIT" exec -- "$BATS_TEST_TMPDIR/bare" 1
  [ "$output" = "done 1" ] && [ -z "$stderr" ]
  run -0 timeout 20 "$TIDEWAIT" exec -- "$BATS_TEST_TMPDIR/env" 2
  [ "$output" = "done 2" ]
}

@test "the exit status is the program's own" {
  local code
  for code in 0 1 2 4 77 126 255; do
    run "-$code" --separate-stderr timeout 20 "$TIDEWAIT" exec -- sh -c "echo out; exit $code"
    [ "$output" = out ] && [ -z "$stderr" ]
  done
}

@test "a signal that ends the program ends us too" {
  need python3
  timeout 60 python3 - "$TIDEWAIT" <<'PY'
import signal, subprocess, sys
for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV, signal.SIGINT, signal.SIGPIPE):
    end = subprocess.run([sys.argv[1], "exec", "--", "sh", "-c", f"kill -{int(number)} $$"])
    assert end.returncode == -number, (number, end.returncode)
PY
}

@test "signals are passed on; those that it ignores or blocks it ignores or blocks" {
  need python3
  timeout 60 python3 - "$TIDEWAIT" <<'PY'
import os, signal, subprocess, sys
loop = ('trap "echo $1; exit 9" TERM; trap "echo hup; exit 8" HUP; trap "echo usr1; exit 7" USR1; '
        'echo ready; while :; do sleep 0.05; done')
for number, status in ((signal.SIGTERM, 9), (signal.SIGHUP, 8), (signal.SIGUSR1, 7)):
    run = subprocess.Popen([sys.argv[1], "exec", "--", "sh", "-c", loop], stdout=subprocess.PIPE)
    assert run.stdout.readline() == b"ready\n"
    run.send_signal(number)
    assert run.wait(30) == status, run.returncode

def odd():
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGTERM})
show = ["grep", "^Sig[BI]", "/proc/self/status"]
plain = subprocess.run(show, preexec_fn=odd, capture_output=True, check=True).stdout
ours = subprocess.run([sys.argv[1], "exec", "--", *show], preexec_fn=odd, capture_output=True, check=True).stdout
assert plain == ours, (plain, ours)
PY
}

@test "Ctrl-C of the terminal reaches the program once" {
  need python3
  timeout 60 python3 - "$TIDEWAIT" <<'PY'
import os, pty, sys, time
program = ('import signal, time\n'
           'count = 0\n'
           'def on(*a):\n'
           '    global count\n'
           '    count += 1\n'
           'signal.signal(signal.SIGINT, on)\n'
           'print("ready", flush=True)\n'
           'while not count: time.sleep(0.02)\n'
           'time.sleep(0.5)\n'
           'print("count", count, flush=True)\n')
pid, fd = pty.fork()
if pid == 0:
    os.execv(sys.argv[1], [sys.argv[1], "exec", "--", "python3", "-c", program])
seen = b""
sent = False
while b"count" not in seen or not seen.endswith(b"\n"):
    try:
        seen += os.read(fd, 1000)
    except OSError:
        break
    if b"ready" in seen and not sent:
        sent = True
        os.write(fd, b"\x03")
_, status = os.waitpid(pid, 0)
assert b"count 1" in seen and status == 0, (seen, status)
PY
}

@test "SIGINT to the whole group ends the program and us" {
  need python3
  timeout 60 python3 - "$TIDEWAIT" <<'PY'
import os, signal, subprocess, sys
run = subprocess.Popen([sys.argv[1], "exec", "--", "sh", "-c", "echo ready; exec sleep 60"],
                       stdout=subprocess.PIPE, start_new_session=True)
assert run.stdout.readline() == b"ready\n"
os.killpg(run.pid, signal.SIGINT)
assert run.wait(30) == -signal.SIGINT, run.returncode
PY
}

@test "when we are killed the program is too" {
  need python3
  timeout 60 python3 - "$TIDEWAIT" <<'PY'
import os, subprocess, sys
run = subprocess.Popen([sys.argv[1], "exec", "--", "sh", "-c", "echo ready; exec sleep 60"],
                       stdout=subprocess.PIPE)
assert run.stdout.readline() == b"ready\n"
run.kill()
run.wait()
assert run.stdout.read() == b""  # ends only when nobody has it open any more
PY
}

@test "standard input, output and error are the program's" {
  printf 'one\ntwo' | timeout 20 "$TIDEWAIT" exec -- sh -c 'cat; echo err >&2' >"$BATS_TEST_TMPDIR/out" 2>"$BATS_TEST_TMPDIR/err"
  [ "$(cat "$BATS_TEST_TMPDIR/out")" = $'one\ntwo' ]
  [ "$(cat "$BATS_TEST_TMPDIR/err")" = err ]
}

@test "no descriptor of ours is left in the program, and what was inherited is there" {
  need python3
  timeout 60 python3 - "$TIDEWAIT" <<'PY'
import os, subprocess, sys
read, write = os.pipe()
show = ["python3", "-c", "import os; print(sorted(int(f) for f in os.listdir('/proc/self/fd') "
        "if os.path.exists(f'/proc/self/fd/{f}')))"]
for more in ([], ["--summary", "--log", "/dev/null"]):
    got = subprocess.run([sys.argv[1], "exec", *more, "--", *show], pass_fds=(write,), capture_output=True, check=True)
    assert got.stdout.decode().strip() == str([0, 1, 2, write]), got
PY
}

@test "LD_PRELOAD of the user stays, behind ours" {
  run -0 timeout 20 env LD_PRELOAD=libc.so.6 "$TIDEWAIT" exec -- sh -c 'echo "$LD_PRELOAD"'
  [[ $output == */libtidewait-shim.so:libc.so.6 ]]
  run -0 timeout 20 env LD_PRELOAD= "$TIDEWAIT" exec -- sh -c 'echo "$LD_PRELOAD"'
  [[ $output == */libtidewait-shim.so ]]
}

@test "the shared file: for those who know its path, gone at the end, and swept when we were killed" {
  need python3
  [ -d /dev/shm ] || skip "there is no /dev/shm"
  run -0 timeout 20 "$TIDEWAIT" exec -- sh -c 'echo "$TIDEWAIT_SHIM"; stat -c %a "${TIDEWAIT_SHIM%/*}" "$TIDEWAIT_SHIM"'
  [ "${lines[1]} ${lines[2]}" = "711 666" ]
  [ ! -e "${lines[0]%/*}" ]
  left=$(timeout 60 python3 - "$TIDEWAIT" <<'PY'
import subprocess, sys
run = subprocess.Popen([sys.argv[1], "exec", "--", "sh", "-c", 'echo "$TIDEWAIT_SHIM"; exec sleep 60'],
                       stdout=subprocess.PIPE)
print(run.stdout.readline().decode().strip())
run.kill()
run.wait()
run.stdout.read()
PY
  )
  [ -e "$left" ]
  # One that lives is not swept.
  run -0 timeout 20 "$TIDEWAIT" exec -- "$TIDEWAIT" exec -- sh -c 'ls -d /dev/shm/tidewait-exec.*/ | wc -l'
  [ "$output" -ge 2 ]
  [ ! -e "${left%/*}" ]
}

@test "a /dev/shm that is small is shared with others; one that is full is told" {
  unshare -m true 2>/dev/null || skip "no mount namespace can be made here"
  run -0 timeout 20 unshare -m sh -c 'mount -t tmpfs -o size=1m none /dev/shm || exit 77
    "$1" exec -- sh -c "stat -c %s \"\$TIDEWAIT_SHIM\""' sh "$TIDEWAIT"
  [ "$output" -le 262144 ]
  run -70 timeout 20 unshare -m sh -c 'mount -t tmpfs -o size=64k none /dev/shm; "$1" exec -- touch "$2"
    status=$?; ls -A /dev/shm; exit $status' sh "$TIDEWAIT" "$ran"
  [[ $output == "tidewait exec: no room for "*" in /dev/shm: "* ]]
  [ "${#lines[@]}" -eq 1 ] && [ ! -e "$ran" ]
}

@test "the summary: on standard error, in a file, as JSON" {
  run -3 --separate-stderr timeout 20 "$TIDEWAIT" exec --summary -- sh -c 'echo out; exit 3'
  [ "$output" = out ]
  [[ $stderr == "tidewait: 0 connects, "*"refusals: 0 avoided"*"closed first: 0 by the program"* ]]
  run -0 --separate-stderr timeout 20 "$TIDEWAIT" exec --summary --log "$BATS_TEST_TMPDIR/log" -- true
  [ -z "$stderr" ]
  grep -q '^tidewait: 0 connects' "$BATS_TEST_TMPDIR/log"
  need python3
  run -3 --separate-stderr timeout 20 "$TIDEWAIT" exec --json -- sh -c 'exit 3'
  python3 -c 'import json, sys
summary = json.loads(sys.argv[1])
assert summary["schema"] == "tidewait.exec/1" and summary["status"] == 3 and summary["signal"] is None
assert summary["connects"] == summary["refusals"]["connect"] == summary["closed_first"]["program"] == 0' "$stderr"
}

@test "a full standard error does not hold the program up" {
  [ -c /dev/full ] || skip "there is no /dev/full"
  run -3 timeout 20 sh -c '"$1" exec --summary -- sh -c "exit 3" 2>/dev/full' sh "$TIDEWAIT"
  run -3 timeout 20 sh -c '"$1" exec --summary -- sh -c "exit 3" 2>&-' sh "$TIDEWAIT"
}

@test "help" {
  run --separate-stderr -0 timeout 20 "$TIDEWAIT" exec --help
  [ -z "$stderr" ]
  [[ $output == Usage:*--rule*--method*"Exit status"* ]]
}
