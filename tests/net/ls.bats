#!/usr/bin/env bats
# `tidewait ls` in a network namespace full of sockets, against ss(8) and against what was made there.
# shellcheck disable=SC2030,SC2031 # each test is a subshell, and meant to be
# shellcheck disable=SC2154 # the variables are set in net.bash

bats_require_minimum_version 1.5.0

load net

setup() {
    need ss
    net_alone
}

teardown() {
    net_down
    rm -rf "${UNIX-}"
}

ls_() { in_client "$TIDEWAIT" ls "$@"; }

# busy [evil]: the sockets of ls_busy.py.
busy() {
    UNIX=$(mktemp -d /tmp/tw-ls.XXXXXX) # short: the path of a Unix socket has 107 bytes
    start busy client python3 "$net_files/ls_busy.py" "$UNIX" "$@"
    until_true grep -q ready "$BATS_TEST_TMPDIR/busy.out" || { cat "$BATS_TEST_TMPDIR/busy.err"; return 1; }
    chmod 755 "$UNIX"
}

# rows EXPRESSION ARGS: `ls` has rows, and the python expression holds for the list r of its JSON rows.
rows() {
    local expression=$1
    shift
    ls_ --json "$@" > "$BATS_TEST_TMPDIR/json" || { echo "ls $*: exit status $?"; return 1; }
    python3 -c 'import json, sys
r = json.load(open(sys.argv[2]))
if not eval("(%s)" % sys.argv[1]): sys.exit("not true: %s\n%s" % (sys.argv[1], "\n".join(map(str, r[:20]))))' \
        "$expression" "$BATS_TEST_TMPDIR/json"
}

compare() { in_client python3 "$net_files/ls_compare.py" "$TIDEWAIT" "$1"; }

# --- against ss ---

@test "TCP row by row" {
    busy
    compare tcp
    # The comparison is worth what the sockets are.
    rows '{x["state"] for x in r} >= {"LISTEN", "ESTAB", "SYN-SENT", "SYN-RECV", "FIN-WAIT-1", "FIN-WAIT-2",
        "TIME-WAIT", "CLOSE-WAIT", "LAST-ACK", "CLOSING", "BOUND"} and len(r) > 200' -t
}

@test "UDP row by row" {
    busy
    compare udp
}

@test "Unix row by row" {
    busy
    compare unix
}

@test "holders one by one" {
    busy
    compare holders
}

@test "bound sockets, which ss does not show" {
    busy
    case $(uname -r) in [1-5].* | 6.[0-7].* | 6.[0-7]-*) skip "Linux before 6.8 does not list them" ;; esac
    rows 'sorted(x["lport"] for x in r) == [9001, 9002] and all(len(x["holders"]) == 2 for x in r)' -tp state=bound
}

# --- filters ---

@test "filters of ports and addresses" {
    busy
    rows 'len(r) == 3 and all(8301 in (x["lport"], x["rport"]) for x in r)' 8301
    rows 'len(r) == 6 and all({8301, 8302} & {x["lport"], x["rport"]} for x in r)' 8301-8302
    rows 'len(r) == 2 and all(x["lport"] == 8301 for x in r)' sport=8301
    rows 'len(r) == 1 and r[0]["rport"] == 8301' dport=8301
    rows 'len(r) == 1 and r[0]["rport"] == 8301' dst=127.0.0.1:8301
    rows '{x["laddr"] for x in r} == {"0.0.0.0"} and r[0]["lport"] == 8081' src=0.0.0.0 -t
    rows '{x["family"] for x in r} == {"ipv4", "ipv6"}' 127.0.0.0/8 8083
    rows 'all(x["family"] == "ipv6" for x in r) and len(r) > 20' -6
    rows 'all(x["family"] == "ipv4" for x in r) and len(r) > 20' -4
}

@test "filters of states, protocols and users" {
    busy
    rows '{x["state"] for x in r} == {"LISTEN", "CLOSE-WAIT"}' state=listen,close-wait
    rows '{(x["proto"], x["state"]) for x in r} == {("tcp", "LISTEN"), ("udp", "UNCONN")}' -l
    rows '{x["proto"] for x in r} == {"udp"}' proto=udp
    rows '{x["proto"] for x in r} == {"tcp", "udp"}'
    rows '{x["proto"] for x in r} == {"unix"} and len(r) >= 5' unix:"$UNIX/u1"
    rows 'len(r) == 1 and r[0]["path"] == "@tidewait-abstract"' unix:@tidewait
    rows 'all(x["inode"] for x in r)' user="$(in_client id -u)"
}

@test "filters of processes" {
    busy
    rows 'len(r) > 200 and all(x["pid"] == '"$pid_busy"' for x in r)' -p pid="$pid_busy"
    rows 'all(x["comm"].startswith("python") for x in r)' -p comm="$(cat "/proc/$pid_busy/comm")" 8080
    run --separate-stderr -1 ls_ pid=1 8080
    [ -z "$output" ]
}

# --- output ---

@test "a table for awk: the header once, no blanks at the end" {
    busy
    ls_ > "$BATS_TEST_TMPDIR/table"
    [ "$(head -1 "$BATS_TEST_TMPDIR/table" | tr -s ' ')" = "PROTO STATE LOCAL REMOTE" ]
    [ "$(grep -c PROTO "$BATS_TEST_TMPDIR/table")" -eq 1 ]
    awk 'NF != 4 || / $/ { print "odd: " $0; bad = 1 } END { exit bad || NR < 100 }' "$BATS_TEST_TMPDIR/table"
    [ "$(ls_ -H | grep -c PROTO)" -eq 0 ]
    [ "$(ls_ -l | wc -l)" -eq $(($(ls_ -lH | wc -l) + 1)) ]
    ls_ -He | awk 'NF != 10 { print "odd: " $0; bad = 1 } END { exit bad }'
    ls_ -HnpA 8301 state=listen | awk '$NF !~ /^python.*\([0-9]+\),python.*\([0-9]+\)$/ { print; bad = 1 } END { exit bad }'
}

@test "JSON is an array, JSON Lines are objects, of the same sockets" {
    busy
    rows 'len(r) > 200' -tuxpe
    ls_ --jsonl -tuxpe > "$BATS_TEST_TMPDIR/lines"
    python3 -c '
import json, sys
a = json.load(open(sys.argv[1]))
b = [json.loads(line) for line in open(sys.argv[2])]
for row in a + b:
    for moving in ("expires_ms", "recv_q", "send_q", "opened"): row.pop(moving, 0)
    for holder in row.get("holders", []): holder.pop("age_ms", 0)
key = lambda row: json.dumps(row, sort_keys=True)
difference = set(map(key, a)) ^ set(map(key, b))
assert not difference and len(a) == len(b), difference
kinds = {"tcp": 0, "udp": 0, "unix": 0}
for row in a: kinds[row["proto"]] += 1
assert all(kinds.values()), kinds
assert all(("inode" in row) == ("uid" in row) for row in a)
' "$BATS_TEST_TMPDIR/json" "$BATS_TEST_TMPDIR/lines"
    # Who opened a connection shows a moment later.
    until_true rows 'all(x["opened"] == (x["rport"] == 8080) for x in r if "inode" in x)' -t -e 8080 state=established
    rows 'all(0 < x["expires_ms"] < 63000 and "inode" not in x and "uid" not in x for x in r)' state=time-wait
}

@test "names with control characters are harmless" {
    busy evil
    ls_ -tuxpe > "$BATS_TEST_TMPDIR/table"
    ls_ --by holder > "$BATS_TEST_TMPDIR/groups"
    run ! grep -q "[[:cntrl:]]" "$BATS_TEST_TMPDIR/table" "$BATS_TEST_TMPDIR/groups"
    grep -qF '/evil\x1b[31m\x0a\xff' "$BATS_TEST_TMPDIR/table"
    grep -qF 'ev\x1b]0;il' "$BATS_TEST_TMPDIR/table"
    grep -qF 'ev\x1b]0;il' "$BATS_TEST_TMPDIR/groups"
    rows 'any("/evil\x1b[31m\n\ufffd" in x["path"] for x in r)' unix:"$UNIX"
}

@test "at most N, and the end of a reader" {
    busy
    [ "$(ls_ -H --limit 3 | wc -l)" -eq 3 ]
    rows 'len(r) == 3' --limit 3
    # shellcheck disable=SC2016 # for the inner shell
    run --separate-stderr -0 in_client bash -c 'set -o pipefail; for i in $(seq 40); do
        { "$0" ls -tux; "$0" ls -tuxe --jsonl; } | head -1; done' "$TIDEWAIT"
    [ -z "$stderr" ]
}

@test "a full disk is told" {
    busy
    [ -w /dev/full ] || skip "there is no /dev/full"
    # shellcheck disable=SC2016 # for the inner shell
    run --separate-stderr -5 in_client sh -c '"$0" ls > /dev/full' "$TIDEWAIT"
    [[ $stderr == "tidewait ls: cannot write to standard output: No space left on device" ]]
}

@test "a terminal of 80 columns" {
    busy
    # shellcheck disable=SC2016 # python
    in_client python3 -c '
import fcntl, os, pty, re, struct, sys, termios
def show(columns, *words):
    pid, fd = pty.fork()
    if pid == 0:
        os.environ.pop("NO_COLOR", None)
        os.read(0, 1)
        os.execv(sys.argv[1], [sys.argv[1], "ls", "-q", *words])
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    os.write(fd, b"\n")
    data = b""
    while True:
        try: part = os.read(fd, 65536)
        except OSError: break
        if not part: break
        data += part
    assert os.waitpid(pid, 0)[1] == 0
    lines = data.decode().replace("\r", "").split("\n")
    return [line for line in lines if line]
plain = lambda line: re.sub("\033\\[[0-9]*m", "", line)
for words in (["-4"], ["-4p"], ["--by", "state"], ["--by", "holder"], ["-4", "--by", "lane"]):
    lines = show(80, *words)
    assert len(lines) > 3, words
    wide = [line for line in lines if len(plain(line)) > 80]
    assert not wide, wide
assert any(line.endswith("…") for line in map(plain, show(80, "-4p")))
assert not any(line.endswith("…") for line in map(plain, show(200, "-4p")))
assert any("\033" in line for line in show(80, "-t"))
assert not any("\033" in line for line in show(80, "-t", "--no-color"))
# On a wide terminal the columns are wide enough for IPv6.
starts = {re.match(r"\S+ +\S+ +\S+ +", line).end() for line in map(plain, show(150, "-t6", "--no-color"))}
assert len(starts) == 1 and starts.pop() > 60, starts
' "$TIDEWAIT"
}

# --- groups ---

@test "groups count every socket once, the biggest first" {
    busy
    all=$(ls_ -H | wc -l)
    for by in state port user; do
        rows 'sum(x["count"] for x in r) == '"$all"' and [x["count"] for x in r] == sorted((x["count"] for x in r), reverse=True)' \
            --by $by
    done
    rows 'len(r) == 2 and r[0]["count"] >= r[1]["count"]' --by port --limit 2
    ls_ --by state | awk 'NR > 1 { sum += $1 } END { exit sum != '"$all"' }'
}

@test "lanes with their states and their holder" {
    busy
    rows 'len(r) == 2 and {x["direction"] for x in r} == {"in", "out"} and
        all(x["source"] == x["destination"] == "127.0.0.1" and x["pid"] == '"$pid_busy"' and
            x["states"]["ESTAB"] == 60 and x["states"]["TIME-WAIT"] == 30 for x in r)' --by lane -4 8080
    # Without living connections there is no holder.
    rows 'all("pid" not in x and list(x["states"]) == ["TIME-WAIT"] for x in r)' --by lane state=time-wait
}

@test "groups by holder and by user" {
    busy
    rows 'len([x for x in r if "pid" in x]) == 2 and {x.get("pid") for x in r} >= {'"$pid_busy"'}' --by holder -4 8080
    rows '{x.get("uid") for x in r} == {None, '"$(in_client id -u)"'}' --by user -n 8080
}

# --- namespaces, rights, exit statuses ---

@test "other namespaces: all of them, one of them" {
    [ -z "$net_user" ] || skip "entering other namespaces takes root"
    busy
    inode=$(stat -Lc %i "/proc/$client_net/ns/net")
    for words in "-A pid=$pid_busy" "netns=$client_net" "netns=$inode" "-N $client_net"; do
        # shellcheck disable=SC2086 # words are words
        "$TIDEWAIT" ls -t --jsonl sport=8301 $words > "$BATS_TEST_TMPDIR/json"
        [ "$(wc -l < "$BATS_TEST_TMPDIR/json")" -eq 2 ]
        [[ $words == -N* ]] || [ "$(grep -c "\"netns\":$inode" "$BATS_TEST_TMPDIR/json")" -eq 2 ]
    done
    all=$(ls_ -H | wc -l)
    "$TIDEWAIT" ls --by netns | grep -qE "^ +$all +$inode "
    run ! "$TIDEWAIT" ls netns=$$ 8301
    run -2 "$TIDEWAIT" ls -N no-such-netns
}

@test "an ordinary user sees sockets, not holders, and is told" {
    [ -z "$net_user" ] || skip "takes root, to become somebody else"
    busy
    nobody=(setpriv --reuid 65534 --regid 65534 --clear-groups)
    in_client "${nobody[@]}" test -x "$TIDEWAIT" || skip "nobody may not run $TIDEWAIT"
    run --separate-stderr -0 in_client "${nobody[@]}" "$TIDEWAIT" ls -tp 8301
    [ "${#lines[@]}" -eq 4 ]
    [[ ${lines[1]} == *" -" ]]
    [[ $stderr == "tidewait ls: not seen: "* ]]
    run --separate-stderr -0 in_client "${nobody[@]}" "$TIDEWAIT" ls -tpq 8301
    [ -z "$stderr" ]
    run --separate-stderr -0 in_client "${nobody[@]}" "$TIDEWAIT" ls -t 8301
    [ -z "$stderr" ]
    run --separate-stderr -3 in_client "${nobody[@]}" "$TIDEWAIT" ls -A
    [[ $stderr == *"not seen: "* ]]
    run --separate-stderr -3 "${nobody[@]}" "$TIDEWAIT" ls -N $$
    [[ $stderr == "tidewait ls: "* ]]
}

@test "nothing found: no header, status 1" {
    run --separate-stderr -1 ls_
    [ -z "$output$stderr" ]
    run --separate-stderr -1 ls_ --by lane
    [ -z "$output" ]
    run --separate-stderr -1 ls_ --jsonl
    [ -z "$output" ]
    run --separate-stderr -1 ls_ --json
    [ "$output" = "[]" ]
}

@test "bad input: one line with it, status 2" {
    while IFS='|' read -r expect words; do
        # shellcheck disable=SC2086 # words are words
        run --separate-stderr -2 ls_ $words
        [ -z "$output" ]
        [ "$(wc -l <<< "$stderr")" -eq 1 ]
        [[ $stderr == "tidewait ls: "*"$expect"* ]] || { echo "'$words': $stderr"; false; }
    done <<'LIST'
'foo'|foo
'99999'|99999
'10.0.0.0/33'|8080 10.0.0.0/33
'open'|state=open
'sprot'|sprot=80
'nobody-here'|user=nobody-here
'no-such-netns'|netns=no-such-netns
'size'|--by size
'x'|--limit x
--json|--json --jsonl
--netns|-N 1 -A
unknown option|--all
LIST
}
