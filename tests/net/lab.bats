#!/usr/bin/env bats
# The lab on this kernel: every scenario goes as expected, as root and as an ordinary user, and one whose
# setting is broken on purpose is reported.

bats_require_minimum_version 1.5.0

load net

setup() {
    need_tidewait
}

teardown() {
    [ -z "${folder-}" ] || rm -r "$folder"
}

# What cannot be played here is told in the last line and counts neither way.
plays() {
    run "$@"
    echo "$output"
    [ "$status" -eq 0 ]
    [[ $output == *" 0 FAILED"* ]]
    [[ $output =~ ([0-9]+)" ok" ]]
    [ "${BASH_REMATCH[1]}" -ge "$least" ]
}

@test "lab all" {
    least=20
    [ "$(id -u)" -ne 0 ] || least=60
    plays "$TIDEWAIT" lab all
}

@test "lab as an ordinary user" {
    [ "$(id -u)" -eq 0 ] || skip "that is what the other test did"
    folder=$(mktemp -d) # a checkout may lie where others may not look
    chmod 755 "$folder"
    cp "$TIDEWAIT" "$folder/tidewait"
    setpriv --reuid 65534 --regid 65534 --clear-groups unshare -Urn true 2>/dev/null ||
        skip "an ordinary user may make no user namespace here"
    least=10
    plays setpriv --reuid 65534 --regid 65534 --clear-groups "$folder/tidewait" lab restart
}

@test "a kernel that behaves in another way is caught" {
    run -1 "$TIDEWAIT" lab --set net.ipv4.tcp_fin_timeout=30 fin-timeout
    [[ $output == *FAILED* ]]
}
