#!/usr/bin/env bats
# The command line of `tidewait lab`: its list, names that it does not know, and options that do not go
# together. Nothing here plays a scenario or touches the network.
bats_require_minimum_version 1.5.0
load refusal

TIDEWAIT=${TIDEWAIT:-$BATS_TEST_DIRNAME/../../build/tidewait}

setup() { bad=; }

# refused QUOTE ARGUMENT...: with exit status 2.
refused() { refusal 2 "$1" lab "${@:2}"; }

list() { timeout 20 "$TIDEWAIT" lab; }
first_name() { list | awk 'NR == 1 { print $2 }'; }

@test "the list: group, name and title; groups in one piece; no name twice, and none that means a group" {
  run --separate-stderr -0 list
  [ -z "$stderr" ]
  [ "${#lines[@]}" -ge 2 ]
  awk '
    NF < 3 { print "no title: " $0; bad = 1 }
    $1 != group && $1 in groups { print "in two pieces: " $1; bad = 1 }
    $2 in names { print "twice: " $2; bad = 1 }
    $0 !~ /^[a-z-]+ +[a-z0-9-]+ +[^ ]/ { print "odd: " $0; bad = 1 }
    { group = $1; groups[group] = 1; names[$2] = 1 }
    END {
      groups["all"] = 1
      for (name in names) if (name in groups) { print "name of a group: " name; bad = 1 }
      exit bad
    }' <<<"$output"
}

@test "names that are unknown" {
  name=$(first_name)
  refused "'nonsense-that-is-no-name'; 'tidewait lab' lists them" nonsense-that-is-no-name
  refused "''" ''
  refused "there is no scenario 'ALL'" ALL
  refused "did you mean all" alll
  refused "there is no scenario '${name}x'; did you mean $name" "${name}x"
  refused "did you mean $name" "${name%?}"
  refused "'$(printf 'a%.0s' $(seq 60))'" "$(printf 'a%.0s' $(seq 300))"
  # One that is unknown, and nothing is played.
  refused "'${name}x'" "$name" "${name}x"
  [ -z "$bad" ]
}

@test "the group of a mistyped name is offered too" {
  group=$(list | awk 'NR == 1 { print $1 }')
  refused "did you mean $group" "${group}x"
  [ -z "$bad" ]
}

@test "options that need a scenario" {
  for option in --json --markdown --pcap=/nonexistent --set=net.ipv4.tcp_fin_timeout=5; do
    refused "which scenario?" $option
  done
  [ -z "$bad" ]
}

@test "options that do not go together" {
  refused "--json and --markdown" --json --markdown all
  refused "--quiet and --verbose" -q -v all
  refused "--pcap is for one scenario" --pcap "$BATS_TEST_TMPDIR/x.pcap" all
  [ ! -e "$BATS_TEST_TMPDIR/x.pcap" ]
  refused "--differential" --for 1s all
  refused "--differential" --count 5
  refused "--differential" --seed 5 all
  refused "leave out the names" --differential all
  refused "not with --differential" --differential --json
  refused "not with --differential" --differential --set net.ipv4.tcp_fin_timeout=5
  [ -z "$bad" ]
}

@test "values" {
  refused "'x'" --jobs x all
  refused "'1001'" --jobs 1001 all
  refused "--for" --differential --for 5
  refused "'0'" --differential --count 0
  refused "'0'" --differential --seed 0
  refused "cannot write '/nonexistent/x'" --pcap /nonexistent/x "$(first_name)"
  refused "unknown option '--nonsense'" --nonsense
  [ -z "$bad" ]
}

@test "settings" {
  for setting in net net. net.a net.a= =1 net..a=1 net.a.=1 net.ipv4/a=1 kernel.a=1 'net.a b=1' net.../x=1; do
    refused "--set '$setting' is not like" --set "$setting" all
  done
  [ -z "$bad" ]
}

@test "help" {
  run --separate-stderr -0 timeout 20 "$TIDEWAIT" lab --help
  [ -z "$stderr" ]
  [[ $output == "Usage: tidewait lab "* ]]
  [[ $output == *"Exit status:"* ]]
}
