#!/usr/bin/env bats
# Bad input of `tidewait why`: one line on standard error that quotes what is wrong, nothing on standard
# output, exit status 2. Help: standard output, 0. Nothing here opens a connection.
bats_require_minimum_version 1.5.0
load refusal

TIDEWAIT=${TIDEWAIT:-$BATS_TEST_DIRNAME/../../build/cmd/tidewait}

# refused QUOTE ARGUMENT...: with exit status 2.
refused() { refusal 2 "$1" why "${@:2}"; }

setup() { bad=; }

@test "no question at all" {
  refused "which address?"
  refused "which address?" --json
  refused "which address?" --reuseaddr
  refused "which address?" --
  [ -z "$bad" ]
}

@test "what is neither an address nor a message" {
  local text
  for text in nonsense "hello world" 65536 99999999999999999999 127.0.0.1 '[::1]' '[::1' '[::1]80' fe80::1:zz \
    80/sctp 80/ 80/UDP /udp /tcp localhost 127.0.0.1:80:90 " 80" "80 " 0x50 +80 80,81 "*" "*:" ":" "::"; do
    refused "'$text'" "$text"
  done
  # Of an address with a port, the part that is wrong.
  refused "'256.0.0.1'" 256.0.0.1:80
  refused "'65536'" 127.0.0.1:65536
  refused "'http'" 127.0.0.1:http
  refused "'http'" localhost:http
  refused "'[::g]'" '[::g]:80'
  refused "'Localhost'" Localhost:80
  refused "'tcp'" tcp:80
  [ -z "$bad" ]
}

@test "an empty text" {
  refused "''" ""
  refused "unix:" unix:
  [ -z "$bad" ]
}

@test "ranges" {
  refused "'80-90' is a range" 80-90
  refused "'127.0.0.1:80-90' is a range" 127.0.0.1:80-90
  refused "'127.0.0.1-127.0.0.9:80' is a range" 127.0.0.1-127.0.0.9:80
  refused "'90-80'" 90-80
  [ -z "$bad" ]
}

@test "a negative port is taken for an option" {
  refused "'-1'" -1
  [ -z "$bad" ]
}

@test "control characters are not passed on" {
  refused "red" $'\e[31mred'
  refused "red" $'a\nred\r'
  refused "red" $'unix:\e[31mred'"$(printf '%0120d' 0)"
  refused "red" $'\xc2\x9b31mred'
  refused "red" --as $'\e[31mred' 80
  refused "red" -N $'\e[31mred' 80
  refused "red" --device $'\e[31mred' 80
  refused "red" --to $'\e[31mred'
  refused "red" --to 127.0.0.1:80 $'\e[31mred'
  refused "red" --pid $'\e[31mred'
  refused "red" $'--\e[31mred'
  [ -z "$bad" ]
}

@test "a path that is too long for a Unix socket" {
  local path
  path=/tmp/$(printf '%0104d' 0)
  refused "/tmp/0000" "unix:$path"
  refused "107 at most" "unix:$path"
  timeout 20 "$TIDEWAIT" why --no-trial "unix:${path%00}"
  [ -z "$bad" ]
}

@test "--to and --from" {
  refused "'80'" --to 80
  refused "':80'" --to :80
  refused "'127.0.0.1'" --to 127.0.0.1
  refused "'127.0.0.1:0'" --to 127.0.0.1:0
  refused "'unix:/x'" --to unix:/x
  refused "nonsense" --to nonsense
  refused "'127.0.0.1:80-81' is a range" --to 127.0.0.1:80-81
  refused "'81'" --to 127.0.0.1:80 81
  refused "--to" --to
  refused "--to" --to=
  refused "'80'" --to 127.0.0.1:80 --from 80
  refused "nonsense" --to 127.0.0.1:80 --from nonsense
  refused "unix:/x" --to 127.0.0.1:80 --from unix:/x
  [ -z "$bad" ]
}

@test "source and destination of two families" {
  refused "::1" --to 127.0.0.1:80 --from ::1
  refused "127.0.0.1" --to '[::1]:80' --from 127.0.0.1
  [ -z "$bad" ]
}

@test "--from without --to asks nothing" {
  refused "--from" --from 127.0.0.1 80
  [ -z "$bad" ]
}

@test "--pid, --as, -N, --device" {
  refused "'0'" --pid 0 80
  refused "'x'" --pid x 80
  refused "'2147483648'" --pid 2147483648 80
  refused "4194999" --pid 4194999 80
  refused "4194999" --pid 4194999
  refused "'no-such-user'" --as no-such-user 80
  refused "'4294967295'" --as 4294967295 80
  refused "'-1'" --as -1 80
  refused "'no-such-net'" -N no-such-net 80
  refused "4194999" -N 4194999 80
  refused "'no-such-dev'" --device no-such-dev 80
  refused "'averyveryverylongname'" --device averyveryverylongname 80
  [ -z "$bad" ]
}

@test "options that do not exist, and values that flags do not take" {
  refused "'--nonsense'" --nonsense 80
  refused "'-x'" -x 80
  refused "'-x'" -qx 80
  refused "'1'" --json=1 80
  [ -z "$bad" ]
}

@test "one bad address among good ones: the others are answered" {
  run --separate-stderr -2 timeout 20 "$TIDEWAIT" why --no-trial 0 nonsense 0
  [ "$(grep -c free <<<"$output")" -eq 2 ]
  [ "$(wc -l <<<"$stderr")" -eq 1 ]
  [[ $stderr == *"'nonsense'"* ]]
}

# shellcheck disable=SC2016 # for the inner shell
@test "standard output that is full" {
  [ -c /dev/full ] || skip "there is no /dev/full"
  run -5 timeout 20 sh -c '"$1" why --no-trial 0 >/dev/full' sh "$TIDEWAIT"
  [[ $output == *"standard output"* ]]
  run -5 timeout 20 sh -c '"$1" why --json --no-trial 0 >/dev/full' sh "$TIDEWAIT"
  [[ $output == *"standard output"* ]]
}

@test "help" {
  run --separate-stderr -0 timeout 20 "$TIDEWAIT" why --help
  [ -z "$stderr" ]
  [[ $output == Usage:*--reuseaddr*--to*--netns*"Exit status"* ]]
}
