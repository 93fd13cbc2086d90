#!/usr/bin/env bats
# Bad input of `tidewait lease`: one line on standard error that quotes what is wrong, nothing on standard
# output, exit status 2, and no command is run. Nothing here listens.
# shellcheck disable=SC1083 # {port} is for lease
bats_require_minimum_version 1.5.0
load refusal

TIDEWAIT=${TIDEWAIT:-$BATS_TEST_DIRNAME/../../build/cmd/tidewait}

setup() { bad=; }

# refused QUOTE ARGUMENT...: with exit status 2.
refused() { refusal 2 "$1" lease "${@:2}"; }

@test "commands" {
  refused "'echo'" echo ran
  refused "no command behind --" --
  refused "'x'" x -- echo ran
  refused "'red" $'red\e[31m'
  [ -z "$bad" ]
}

@test "counts and placeholders" {
  refused "'0'" -n 0
  refused "'10001'" -n 10001
  refused "'x'" -n x -- echo ran
  refused "{port3}" -n 2 -- echo ran {port3}
  refused "{port0}" -- echo ran {port0}
  refused "{port10001}" -- echo ran x{port}y{port10001}z
  refused "{port99999999999999999999" -- echo ran {port99999999999999999999}
  refused "3 ports wanted of 2" -n 3 -p 20000-20001
  refused "2 ports wanted of 1" -p 20000 -- echo ran {port2}
  [ -z "$bad" ]
}

@test "ports" {
  refused "'70000'" -p 70000
  refused "20001-20000" -p 20001-20000
  refused "'x'" -p x -- echo ran
  refused "''" -p 20000,
  refused "'0'" -p 0
  refused "--ports" -p ''
  [ -z "$bad" ]
}

@test "times and moments" {
  refused "'5'" --wait 5
  refused "'soon'" --park soon
  refused "60s" --park 61s
  refused "'never'" --until never -- echo ran
  [ -z "$bad" ]
}

@test "options that do not go together" {
  refused "--park and a command" --park 60s -- echo ran
  refused "--park and a command" --park 0 -- echo ran
  refused "--json and a command" --json -- echo ran
  refused "--quiet and a command" -q -- echo ran
  refused "--server and a command" --server @x -- echo ran
  refused "--bound needs --fd" --bound -- echo ran
  refused "--udp needs --fd" --udp -- echo ran
  refused "--address needs --fd" -a 127.0.0.1 -- echo ran
  refused "--fd and --until" --fd --until end -- echo ran
  refused "--fd needs a command" --fd
  refused "--address needs a command" -a 127.0.0.1
  refused "--until needs a command" --until end
  refused "--until needs a command" --until bind --server @x
  refused "--park and --server" --park 0 --server @x
  refused "--count and --server" -n 3 --server @x
  refused "--wait and --server" --wait 1s --server @x
  refused "--json and --server" --json --server @x
  refused "--quiet" -q
  [ -z "$bad" ]
}

@test "addresses and namespaces" {
  refused "'localhost'" --fd -a localhost -- echo ran
  refused "'@'" --server @
  refused "'@aaaa" --server "@$(printf '%0200d' 0 | tr 0 a)"
  refused "'/aaaa" --server "/$(printf '%0107d' 0 | tr 0 a)"
  refused "'no-such-net'" -N no-such-net -- echo ran
  [ -z "$bad" ]
}

@test "help" {
  run --separate-stderr -0 timeout 20 "$TIDEWAIT" lease --help
  [ -z "$stderr" ]
  [[ $output == Usage:*--count*--server*"Exit status"* ]]
  awk 'length($0) > 100 { print "too wide: " $0; bad = 1 } END { exit bad }' <<<"$output"
}
