# Each situation in which an address cannot be had, made in a private network: what `tidewait why` says
# about it, and whether what it advises helps. causes.py makes them; `causes.py run NAME` is one by hand.
# shellcheck disable=SC2154 # the variables are set in net.bash

load net

page=$net_files/../../man/tidewait-causes.7.scd

setup() {
  need ip python3
  need_tidewait
}

# The cause with all its variants. Skipped when none of them can be made here.
cause() { script 120 python3 "$net_files/causes.py" run "$1" --record "$BATS_FILE_TMPDIR"; }

@test "listener" { cause listener; }
@test "listener-wildcard" { cause listener-wildcard; }
@test "listener-dualstack" { cause listener-dualstack; }
@test "time-wait" { cause time-wait; }
@test "closing" { cause closing; }
@test "leftover-connection" { cause leftover-connection; }
@test "outbound-connection" { cause outbound-connection; }
@test "self-connect" { cause self-connect; }
@test "bound-not-listening" { cause bound-not-listening; }
@test "inherited-fd" { cause inherited-fd; }
@test "in-flight-fd" { cause in-flight-fd; }
@test "kernel-socket" { cause kernel-socket; }
@test "systemd-socket" { cause systemd-socket; }
@test "container-proxy" { cause container-proxy; }
@test "other-netns" { cause other-netns; }
@test "hidden-owner" { cause hidden-owner; }
@test "reuseport-mismatch" { cause reuseport-mismatch; }
@test "device-bound" { cause device-bound; }
@test "autobind-exhausted" { cause autobind-exhausted; }
@test "parked" { cause parked; }
@test "same-process" { cause same-process; }
@test "second-listen" { cause second-listen; }
@test "udp-bound" { cause udp-bound; }
@test "unix-live" { cause unix-live; }
@test "unix-stale" { cause unix-stale; }
@test "address-not-local" { cause address-not-local; }
@test "address-tentative" { cause address-tentative; }
@test "ipv6-disabled" { cause ipv6-disabled; }
@test "privileged-port" { cause privileged-port; }
@test "policy-denied" { cause policy-denied; }
@test "already-bound" { cause already-bound; }
@test "scope-missing" { cause scope-missing; }
@test "mapped-v6only" { cause mapped-v6only; }
@test "lane-exhausted" { cause lane-exhausted; }
@test "lane-half-full" { cause lane-half-full; }
@test "bucket-polluted" { cause bucket-polluted; }
@test "tuple-in-use" { cause tuple-in-use; }
@test "range-too-small" { cause range-too-small; }
@test "udp-exhausted" { cause udp-exhausted; }
@test "nat-suspected" { cause nat-suspected; }

@test "every cause of the library is tested above, in its order" {
  diff <(sed -n 's/^    {"\([a-z0-9-]*\)", .*/\1/p' "$net_files/../../lib/verdict/names.c") \
    <(sed -n 's/^@test .* { cause \(.*\); }$/\1/p' "$BATS_TEST_FILENAME")
  diff <(python3 "$net_files/causes.py" list | cut -f1 | grep -v /) \
    <(sed -n 's/^@test .* { cause \(.*\); }$/\1/p' "$BATS_TEST_FILENAME")
}

@test "tidewait-causes(7) has the table that these runs gave" {
  script 120 python3 "$net_files/causes.py" check "$page" --record "$BATS_FILE_TMPDIR"
}
