#!/usr/bin/env bats
# `tidewait why` as a whole, in private networks: what it says when it cannot see everything, commands
# that it runs, pasted messages, lanes, options, and that its answers are the kernel's. The tests
# themselves are in why/*.py; `why/run.py NAME` is one by hand.
# shellcheck disable=SC2154 # the variables are set in net.bash
bats_require_minimum_version 1.5.0
load net

run_py=$net_files/why/run.py

setup() {
  need ip python3
  need_tidewait
}

try() { script 180 python3 "$run_py" "$1"; }

@test "agree: same user" { try agree.same_user; }
@test "agree: other user" { try agree.other_user; }
@test "blind: nobody" { try blind.nobody; }
@test "blind: nobody and unix sockets" { try blind.nobody_and_unix_sockets; }
@test "blind: hidepid" { try blind.hidepid; }
@test "blind: pid namespace" { try blind.pid_namespace; }
@test "blind: pid namespace below" { try blind.pid_namespace_below; }
@test "blind: netlink refused" { try blind.netlink_refused; }
@test "blind: netlink refused for unix sockets" { try blind.netlink_refused_for_unix_sockets; }
@test "blind: netlink refused to nobody" { try blind.netlink_refused_to_nobody; }
@test "blind: without bpf" { try blind.without_bpf; }
@test "blind: without proc" { try blind.without_proc; }
@test "blind: without proc and netlink" { try blind.without_proc_and_netlink; }
@test "blind: hostile names" { try blind.hostile_names; }
@test "blind: hostile paths" { try blind.hostile_paths; }
@test "command: in use" { try command.in_use; }
@test "command: in use without words" { try command.in_use_without_words; }
@test "command: in a child" { try command.in_a_child; }
@test "command: same process" { try command.same_process; }
@test "command: second listen" { try command.second_listen; }
@test "command: not local" { try command.not_local; }
@test "command: privileged" { try command.privileged; }
@test "command: exhausted" { try command.exhausted; }
@test "command: unix stale" { try command.unix_stale; }
@test "command: udp" { try command.udp; }
@test "command: port after port" { try command.port_after_port; }
@test "command: success" { try command.success; }
@test "command: other failure" { try command.other_failure; }
@test "command: refused connection" { try command.refused_connection; }
@test "command: killed" { try command.killed; }
@test "command: not found" { try command.not_found; }
@test "command: arguments and input" { try command.arguments_and_input; }
@test "command: node" { try command.node; }
@test "command: nginx" { try command.nginx; }
@test "connect: exhausted by a process" { try connect.exhausted_by_a_process; }
@test "connect: exhausted by time wait" { try connect.exhausted_by_time_wait; }
@test "connect: partly filled" { try connect.partly_filled; }
@test "connect: source address" { try connect.source_address; }
@test "connect: source port of somebody else" { try connect.source_port_of_somebody_else; }
@test "connect: no such device" { try connect.no_such_device; }
@test "connect: bound before they connected" { try connect.bound_before_they_connected; }
@test "connect: two sources" { try connect.two_sources; }
@test "connect: ipv6" { try connect.ipv6; }
@test "connect: udp" { try connect.udp; }
@test "connect: wider range" { try connect.wider_range; }
@test "connect: unreachable" { try connect.unreachable; }
@test "connect: unreachable from there" { try connect.unreachable_from_there; }
@test "connect: the fullest lane of a process" { try connect.the_fullest_lane_of_a_process; }
@test "connect: nothing is left behind" { try connect.nothing_is_left_behind; }
@test "message: runtimes" { try message.runtimes; }
@test "message: it would not come again" { try message.it_would_not_come_again; }
@test "message: without a port" { try message.without_a_port; }
@test "message: bind to an address that is not here" { try message.bind_to_an_address_that_is_not_here; }
@test "message: connect without a port left" { try message.connect_without_a_port_left; }
@test "message: unix path" { try message.unix_path; }
@test "message: neither address nor message" { try message.neither_address_nor_message; }
@test "options: both families" { try options.both_families; }
@test "options: without ipv6" { try options.without_ipv6; }
@test "options: localhost" { try options.localhost; }
@test "options: port zero" { try options.port_zero; }
@test "options: localhost with port zero" { try options.localhost_with_port_zero; }
@test "options: interface with a dash" { try options.interface_with_a_dash; }
@test "options: several addresses" { try options.several_addresses; }
@test "options: brief" { try options.brief; }
@test "options: quiet" { try options.quiet; }
@test "options: no trial" { try options.no_trial; }
@test "options: a guess is told" { try options.a_guess_is_told; }
@test "options: as another user" { try options.as_another_user; }
@test "options: as another process" { try options.as_another_process; }
@test "options: by name of the network" { try options.by_name_of_the_network; }
@test "options: by pid in the network" { try options.by_pid_in_the_network; }
@test "options: all networks as nobody" { try options.all_networks_as_nobody; }
@test "options: device" { try options.device; }
@test "options: listen and second bind" { try options.listen_and_second_bind; }
@test "options: unix names" { try options.unix_names; }
@test "options: colour" { try options.colour; }

@test "every test of why/*.py is run above, in its order" {
  diff <(python3 "$run_py" list) <(sed -n 's/^@test .* { try \(.*\); }$/\1/p' "$BATS_TEST_FILENAME")
}
