#!/usr/bin/env bats
# Bad input of `tidewait fan`: one line on standard error that quotes what is wrong, nothing on standard
# output, exit status 2, and no host is bothered.
bats_require_minimum_version 1.5.0
load refusal

TIDEWAIT=${TIDEWAIT:-$BATS_TEST_DIRNAME/../../build/cmd/tidewait}

setup() {
  bad=
  # shellcheck disable=SC2034 # for refusal
  ran=$BATS_TEST_TMPDIR/ran
  cd "$BATS_TEST_TMPDIR" || return
}

# refused QUOTE ARGUMENT...: with exit status 2. A command that runs leaves the file ran.
refused() { refusal 2 "$1" fan "${@:2}"; }

row() { refused "$1" --via local "${@:2}" -- touch ran; }

@test "lists of hosts" {
  table <<'EOF'
which hosts?            | --quiet
before a comma          | -w ,
before a comma          | -w a,,b
behind the last comma   | -w a,
'web[1-3'               | -w web[1-3
'web1]'                 | -w web1]
'web[]'                 | -w web[]
'web[3-1]'              | -w web[3-1]
'web[a-3]'              | -w web[a-3]
'web[1-3/0]'            | -w web[1-3/0]
'web[1-010]'            | -w web[1-010]
'web[1[2]]'             | -w web[1[2]]
more than 65536         | -w web[0-99999]
more than 65536         | -w a[1-1000]b[1-1000]
'-oProxyCommand=x'      | -w -oProxyCommand=x
'../../etc/x'           | -w ../../etc/x
'a;b'                   | -w a;b
'@a'                    | -w @a
'a@'                    | -w a@
'-x@a'                  | -w -x@a
'a:0'                   | -w a:0
'a:70000'               | -w a:70000
'a:b:c'                 | -w a:b:c
'[::g]'                 | -w [::g]
--exclude: host 'b['    | -w a -x b[
no host is left         | -w a -x a
'missing'               | --hostfile missing
name no host            | --hostfile -
name no host            | -w -
EOF
}

@test "hosts in files" {
  printf 'a\nb[3\n' >bad
  printf '# nobody\n' >nobody
  refused "'bad', line 2: host 'b[3'" --hostfile bad -- touch ran
  refused 'name no host' --hostfile nobody -- touch ran
  refused "'.'" --hostfile . -- touch ran
  head -c 100000 /dev/urandom | tr -d '\n#' >noise
  refused "'noise', line 1: " --hostfile noise -- touch ran
  [ -z "$bad" ]
}

@test "options" {
  table <<'EOF'
--fanout                | -w a -f 0
--fanout                | -w a -f 5000
--fanout                | -w a -f x
--retry                 | -w a --retry 101
--connect-timeout       | -w a -t 10
--timeout               | -w a -u soon
--deadline              | -w a --deadline -1s
--keep                  | -w a --keep much
--stdin 'two'           | -w a --stdin two
--via 'telnet'          | -w a --via telnet
--user '-root'          | -w a -l -root
--user needs            | -w a --user=
has no {command}        | -w a --template echo
--plain goes            | -w a --plain
--ports goes            | -w a --ports 600:700
'x' is not a number      | -w a --via rsh --ports x
512 to 1023 only        | -w a --via rsh --ports 500:600
512 to 1023 only        | -w a --via rsh --ports 1000:1024
needs two               | -w a --via rsh --ports 600
lacks a number          | -w a --via rsh --ports 600:
exclude each other      | -w a -b --json
exclude each other      | -w a --diff --fold x
exclude each other      | -w a --json --json-lines
a key is empty          | -w a --fold ,
a key is empty          | -w a --fold a,,b
a key is empty          | -w a --fold a..b
more than 16 keys       | -w a --fold 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17
--outdir '/dev/null'    | -w a --outdir /dev/null
--outdir                | -w a --outdir missing/dir
'--nonsense'            | -w a --nonsense
--quiet takes no value  | -w a --quiet=1
EOF
}

@test "user and key in odd forms" {
  refused "--user 'a b'" --via local -w a -l 'a b' -- touch ran
  refused '--template goes with --via local' -w a --template '{command}' -- touch ran
  refused 'cannot give it away' --via local --stdin all -w - -- touch ran
  refused 'cannot give it away' --via local --stdin one --hostfile - -- touch ran
  [ -z "$bad" ]
}

@test "commands" {
  refused 'which command?' -w a
  refused 'which command?' -w a --
  refused 'the command is empty' -w a -- ''
  refused 'the command is empty' -w a -- ' ' ''
  [ -z "$bad" ]
}

@test "what is refused cannot harm a terminal" {
  local name=$'a\033[31m\u202eb'
  refused 'host' -w "$name" -- touch ran
  [ -z "$bad" ]
  # shellcheck disable=SC2314 # the last line
  LC_ALL=C run ! grep -qP '[\x00-\x09\x0b-\x1f\x7f]|\xe2\x80\xae' err
}

@test "lists from standard input, and what is left out" {
  printf 'web[1-3] # all\nweb5,web6\n' |
    timeout 20 "$TIDEWAIT" fan --via local -w - -x 'web2,web[5-9]' -f 1 -- echo x >out
  [ "$(cat out)" = $'web1: x\nweb3: x' ]
}

@test "words of a command are joined by blanks" {
  timeout 20 "$TIDEWAIT" fan --via local -w a -N -- echo 'a  b' '"c  d"' >out
  [ "$(cat out)" = 'a b c  d' ]
}

@test "options behind the first word are the command's" {
  timeout 20 "$TIDEWAIT" fan --via local -w a -N echo -f x -S -- -w >out
  [ "$(cat out)" = '-f x -S -- -w' ]
}
