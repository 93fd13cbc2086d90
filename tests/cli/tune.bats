#!/usr/bin/env bats
# The command line of `tidewait tune`: bad input is one line that quotes what is wrong, exit status 2; what
# it prints fits a terminal and goes where it should. Nothing here changes a setting.
bats_require_minimum_version 1.5.0
load refusal

TIDEWAIT=${TIDEWAIT:-$BATS_TEST_DIRNAME/../../build/tidewait}

setup() {
  bad=
  cd "$BATS_TEST_TMPDIR" || return 1
}

# refused QUOTE ARGUMENT...: with exit status 2.
refused() { refusal 2 "$1" tune "${@:2}"; }

row() { refused "$@"; }

# tune STATUS ARGUMENT...: output in the files out and err.
tune() {
  local wanted=$1 status=0
  shift
  timeout 60 "$TIDEWAIT" tune "$@" >out 2>err </dev/null || status=$?
  [ "$status" -eq "$wanted" ] || { echo "exit status $status, wanted $wanted"; cat out err; return 1; }
}

# needs NAME: a setting of this kernel; skips the test where it is missing or not readable.
needs() { [ -r "/proc/sys/$1" ] || skip "this system shows no $1"; }

# columns FILE: length of its longest line.
columns() { LC_ALL=C.UTF-8 awk '{ if (length > n) n = length } END { print n + 0 }' "$1"; }

# --- bad input ---

@test "options that do not exist, values that are missing or not wanted" {
  table <<'END'
'--nonsense'           | --nonsense
'-x'                   | -x
'--appl'               | --for 5/s --appl
--for needs a value    | --for
--set needs a value    | --set
--set needs a value    | --set=
--root needs a value   | --root=
--netns needs a value  | --netns=
--apply takes no value | --for 5/s --apply=1
'yes'                  | --for 5/s --yes=yes
END
}

@test "values that are none" {
  table <<'END'
'fast'                  | --for fast
'5'                     | --for 5
'0/s'                   | --for 0/s
'-5/s'                  | --for -5/s
'5000/y'                | --for 5000/y
'long'                  | --for 5/s --hold long
'200'                   | --for 5/s --hold 200
'0'                     | --for 5/s --requests-per-connection 0
'nobody'                | --for 5/s --close nobody
'some'                  | --for 5/s --ports some
'often'                 | --for 5/s --arrivals often
'10.0.0.999'            | --for 5/s --from 10.0.0.999
'10.0.0.5'              | --for 5/s --to 10.0.0.5
'99999'                 | --for 5/s --to 10.0.0.5:99999
'10.0.0.1'              | --for 5/s --from 10.0.0.1 --to [fd00::1]:80
names something twice   | --for 5/s --to 10.0.0.5:80,10.0.0.5:80
--from '0'              | --for 5/s --from 0
'x'                     | --for 5/s --idle-pool x
'xml'                   | --for 5/s --format xml
'/nonexistent'          | --for 5/s --persist --root /nonexistent
'/dev/null'             | --undo --root /dev/null
END
}

@test "settings that are none, and values that no kernel takes" {
  needs net/ipv4/tcp_tw_reuse
  table <<'END'
NAME=VALUE                      | --set tcp_tw_reuse
'1=tcp_tw_reuse'                | --set 1=tcp_tw_reuse
''                              | --set =1
mean tcp_tw_reuse               | --set tcp_tw_reus=1
mean ip_local_port_range?       | --set net.ipv4.ip_local_portrange=1024-65535
'tcp_tw_recycle'                | --set tcp_tw_recycle=1
'7' is outside 0..2             | --set tcp_tw_reuse=7
'on'                            | --set tcp_tw_reuse=on
a number is missing             | --set tcp_tw_reuse=
'01'                            | --set tcp_tw_reuse=01
as in '1024 65535'              | --set ip_local_port_range=1024-65535
'1024'                          | --set ip_local_port_range=1024
'x'                             | --set ip_local_reserved_ports=80,x
'61000'                         | --set tcp_tw_reuse_delay=61000
'nine'                          | --set fs.nr_open=nine
explain what?                   | explain
'tcp_tw_recycle'                | explain tcp_tw_recycle
mean tcp_tw_reuse               | explain tcp_tw_reuse net.ipv4.tcp_tw_reus
mean somaxconn?                 | explain somaxcon
END
  refused "'70000'" --set 'ip_local_port_range=1024 70000'
  refused "2000 1000" --set 'ip_local_port_range=2000 1000'
  refused "'1 2'" --set 'tcp_tw_reuse=1 2'
  [ -z "$bad" ]
}

@test "options that do not go together" {
  table <<'END'
leave out --set             | --for 5/s --set tcp_tw_reuse=1
--undo, --check             | --undo --check
exclude one another         | --undo --for 5/s
tcp_tw_reuse is set twice   | --set tcp_tw_reuse=1 --set net.ipv4.tcp_tw_reuse=0
exclude one another         | --check --set tcp_tw_reuse=1
--force is for --undo       | --force
--force is for --undo       | --check --force
--apply: of what?           | --apply
--persist: of what?         | --persist
--format: of what?          | --format sysctl
--unsafe: of what?          | --unsafe
--dry-run: of what?         | --undo --dry-run
--root: of what?            | --root /tmp
leave out --apply           | --for 5/s --format sysctl --apply
leave out --persist         | --for 5/s --format sysctl --persist
leave out --json            | --for 5/s --format sysctl --json
--root '/tmp' is an image   | --for 5/s --root /tmp --apply
--hold is about connections | --hold 5s
--to is about connections   | --set tcp_tw_reuse=1 --to 10.0.0.5:80
'nonsense' is none of       | nonsense
leave out --undo            | explain tcp_tw_reuse --undo
leave out --for             | lint --for 5/s
leave out --set             | explain --set tcp_tw_reuse=1
END
}

@test "a namespace that is not there" {
  local status=0
  timeout 20 "$TIDEWAIT" tune -N no-such-namespace >out 2>err </dev/null || status=$?
  [ "$status" -eq 2 ] || { echo "exit status $status"; cat out err; return 1; }
  [ ! -s out ]
  grep -qF "'no-such-namespace'" err
  [ "$(wc -l <err)" -eq 1 ]
}

@test "what was typed is harmless in the words about it" {
  needs net/ipv4/tcp_tw_reuse
  refused '\x1b[31m' --set $'a\033[31mb\n=1'
  LC_ALL=C run ! grep -qP '[\x00-\x09\x0b-\x1f\x7f]' err
  refused '' explain $'a\033[31mb\nc'
  LC_ALL=C run ! grep -qP '[\x00-\x09\x0b-\x1f\x7f]' err
  refused 'tcp_tw_reuse' --set $'tcp_tw_reuse=1\n2'
  [ -z "$bad" ]
}

# --- what is shown ---

@test "the table: every setting with its group, and no line beyond 100 columns" {
  local name
  needs net/ipv4/tcp_tw_reuse
  tune 0
  [ ! -s err ]
  [ "$(columns out)" -lt 100 ] || { awk 'length >= 100' out; return 1; }
  for name in ip_local_port_range ip_local_reserved_ports tcp_tw_reuse tcp_tw_reuse_delay tcp_fin_timeout \
    tcp_max_tw_buckets tcp_timestamps somaxconn tcp_max_syn_backlog tcp_syncookies file-max nr_open nofile \
    nf_conntrack_max nf_conntrack_tcp_timeout_time_wait ip_autobind_reuse ip_unprivileged_port_start tcp_rmem \
    tcp_wmem; do
    grep -qE "^[* ] $name( |\$)" out || { echo "no $name"; return 1; }
  done
  [ "$(grep -cE '^[* ] [a-z]' out)" -ge 30 ]
  # The value is the kernel's.
  grep -qE "^[* ] tcp_fin_timeout +$(cat /proc/sys/net/ipv4/tcp_fin_timeout) " out
}

@test "explain: all settings in full, narrow enough, with the keys of JSON behind them" {
  local names
  needs net/ipv4/tcp_tw_reuse
  tune 0 --json
  names=$(python3 -c 'import json; print(*[s["name"] for s in json.load(open("out"))["settings"]])')
  # shellcheck disable=SC2086 # names are words
  tune 0 explain $names
  [ "$(columns out)" -le 100 ] || { awk 'length > 100' out; return 1; }
  # shellcheck disable=SC2086
  set -- $names
  [ "$(grep -c '^  effect ' out)" -eq $# ]
  [ "$(grep -c '^  since  *Linux ' out)" -eq $# ]
  [ "$(grep -c '^  bounds ' out)" -eq $# ]
  run ! grep -qP '\033' out
}

@test "explain takes a name with its folders, without them, with slashes and as a file; each once" {
  needs net/ipv4/tcp_tw_reuse
  tune 0 explain tcp_tw_reuse net.ipv4.tcp_tw_reuse net/ipv4/tcp_tw_reuse /proc/sys/net/ipv4/tcp_tw_reuse somaxconn
  [ "$(grep -c '^net.ipv4.tcp_tw_reuse$' out)" -eq 1 ]
  [ "$(grep -c '^net.core.somaxconn$' out)" -eq 1 ]
  grep -q '^  folklore  "Lets servers rebind"' out
  grep -q '^  shown by  tidewait lab cure-tw-reuse$' out
}

@test "every scenario that is named is one of the lab's" {
  local name
  timeout 20 "$TIDEWAIT" lab >scenarios
  tune 0 --json
  python3 -c 'import json; print(*{s["scenario"] for s in json.load(open("out"))["settings"] if s["scenario"]}, sep="\n")' >named
  [ "$(wc -l <named)" -gt 10 ]
  while read -r name; do
    grep -qwF -- "$name" scenarios || { echo "the lab has no $name"; return 1; }
  done <named
}

@test "JSON of the settings: its keys, also of one" {
  needs net/ipv4/tcp_tw_reuse
  tune 0 --json
  [ "$(wc -l <out)" -eq 1 ]
  cp out all
  tune 0 explain --json tcp_max_tw_buckets
  python3 - <<'END'
import json
keys = {"name", "group", "value", "missing", "error", "default", "changed", "min", "max", "unit", "since", "brief",
        "effect", "risk", "folklore", "scenario", "unsafe", "loss", "per_netns"}
every, one = json.load(open("all")), json.load(open("out"))
assert set(every) == set(one) == {"schema", "settings"}, one.keys()
assert every["schema"] == "tidewait.tune/1"
for s in every["settings"]:
    assert set(s) == keys, set(s) ^ keys
    assert (s["value"] is None) == (s["error"] is not None), s
    assert s["effect"].count("\n") == 1, s
reuse = next(s for s in every["settings"] if s["name"] == "net.ipv4.tcp_tw_reuse")
assert reuse["value"] == open("/proc/sys/net/ipv4/tcp_tw_reuse").read().strip(), reuse
assert reuse["changed"] == (reuse["value"] != "2"), reuse
assert [(s["name"], s["unsafe"]) for s in one["settings"]] == [("net.ipv4.tcp_max_tw_buckets", "lower")], one
END
}

# --- where it is printed ---

@test "an output that is full is told" {
  local words status
  [ -w /dev/full ] || skip "there is no /dev/full here"
  needs net/ipv4/tcp_tw_reuse
  while read -r words; do
    status=0
    # shellcheck disable=SC2086 # words are words
    timeout 20 "$TIDEWAIT" tune $words >/dev/full 2>err </dev/null || status=$?
    if [ $status -ne 5 ] || ! grep -q 'cannot write to standard output' err; then
      echo "tidewait tune $words: exit status $status, wanted 5: $(cat err)"
      bad=1
    fi
  done <<'END'

--json
explain tcp_tw_reuse
explain --json tcp_tw_reuse
--for 5/s
--for 5/s --json
--for 5/s --format sysctl
END
  [ -z "$bad" ]
}

# on_terminal ARGUMENT...: tune on a terminal of its own; what it printed in out.
on_terminal() {
  command -v script >/dev/null || skip "there is no script here"
  script -qec "exec '$TIDEWAIT' tune $*" /dev/null >out </dev/null 2>err
}

@test "colour on a terminal alone, and neither with --no-color nor NO_COLOR" {
  needs net/ipv4/tcp_tw_reuse
  local word esc=$'\033'
  unset NO_COLOR
  for word in '' 'explain tcp_tw_reuse'; do
    on_terminal "$word"
    grep -qF "${esc}[1m" out || { echo "no colour: $word"; cat out; return 1; }
    on_terminal "$word --no-color"
    run ! grep -qF "$esc" out
    NO_COLOR=1 on_terminal "$word"
    run ! grep -qF "$esc" out
    # shellcheck disable=SC2086 # words are words
    tune 0 $word
    run ! grep -qF "$esc" out
  done
}

@test "quiet: the exit status alone" {
  needs net/ipv4/ip_local_port_range
  tune 0 --for 5/s --ports managed --quiet
  [ ! -s out ] && [ ! -s err ]
  # So many no settings can do.
  tune 1 --for 900k/s --hold 10s --quiet
  [ ! -s out ]
}

@test "help: on standard output, with every option" {
  tune 0 --help
  [ ! -s err ]
  grep -q '^Usage: tidewait tune ' out
  grep -q -- '--persist' out
}
