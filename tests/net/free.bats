#!/usr/bin/env bats
# `tidewait free`. Each test has a network namespace of its own; who has a port there is
# tests/net/free.py.
# shellcheck disable=SC2030,SC2031 # each test is a subshell, and meant to be
# shellcheck disable=SC2154 # helper() sets the variables that it is given the names of

bats_require_minimum_version 1.5.0

load net

PORT=8080
AT=127.0.0.1
helper_py=$net_files/free.py

setup() {
    GROUPS_MADE=()
    net_alone
}

teardown() {
    net_down
    for group in "${GROUPS_MADE[@]}"; do
        while read -r pid; do
            kill -KILL "$pid" || true
        done < "$group/cgroup.procs"
        until_true rmdir "$group"
    done
}

# helper NAME MODE ARGS: free.py in the background; its pid is $NAME.
helper() {
    local name=$1
    shift
    (become "$client_net" python3 "$helper_py" "$@") > "$BATS_TEST_TMPDIR/$name.out" 2>&1 3>&- &
    declare -g "$name=$!"
    pids+=("$!")
    # The children of a helper are its, and end with the test.
    until_true grep -q ready "$BATS_TEST_TMPDIR/$name.out"
    { read -ra children < "/proc/${!name}/task/${!name}/children"; } 2>/dev/null || true
    pids+=("${children[@]}")
}

# tidewait free, not on a terminal.
free() {
    in_client "$TIDEWAIT" free "$@" < /dev/null
}

# The same on a terminal: ask ANSWER BETWEEN ARGS.
ask() {
    local answer=$1 between=$2
    shift 2
    in_client python3 "$helper_py" ask "$answer" "$between" "$TIDEWAIT" free --no-color "$@"
}

lives() { [ -d "/proc/$1" ] && ! grep -q '^State:.Z' "/proc/$1/status"; }
is_gone() { ! lives "$1"; }

# The port can be had: by a bind() of somebody else.
can_bind() {
    in_client python3 -c 'import socket, sys
socket.socket().bind((sys.argv[1], int(sys.argv[2])))' "$AT" "${1:-$PORT}" 2>/dev/null
}

# holds EXPRESSION: about j, the JSON object in $output.
holds() {
    python3 -c 'import json, sys
j = json.loads(sys.argv[1])
assert eval(sys.argv[2]), j' "$output" "$1"
}

# Puts a process into a cgroup of this name, below the root of cgroup v2.
into_cgroup() {
    local root group
    root=$(findmnt -n -t cgroup2 -o TARGET | head -n 1)
    [ -n "$root" ] || skip "there is no cgroup v2 here"
    group=$root/$2
    mkdir "$group" 2>/dev/null || skip "no right to make cgroups in $root"
    GROUPS_MADE+=("$group")
    echo "$1" > "$group/cgroup.procs" 2>/dev/null || skip "no right to move processes to $group"
}

# fake NAME STATUS [COMMAND]: a program that writes down its arguments.
fake() {
    mkdir -p "$BATS_TEST_TMPDIR/bin"
    printf '#!/bin/sh\necho "%s $*" >> "%s"\n%s\nexit %s\n' "$1" "$BATS_TEST_TMPDIR/calls" \
        "${3:-:}" "$2" > "$BATS_TEST_TMPDIR/bin/$1"
    chmod +x "$BATS_TEST_TMPDIR/bin/$1"
    PATH=$BATS_TEST_TMPDIR/bin:$PATH
}

@test "free: a port that is free needs nothing" {
    run -0 free -y $PORT
    [ "$output" = "8080 is free already: bound and given back" ]
}

@test "free: the server ends, its client in another process lives" {
    helper server server $AT $PORT
    helper client client $AT $PORT
    run -1 free -y $PORT
    [[ $output == *"plan       TERM to python3 (pid $server)"* ]]
    [[ $output == *"afterwards 1 connection of the port may be left"* ]]
    [[ $output == *"done       TERM, ended after"* ]]
    is_gone "$server"
    lives "$client"
    # What the server has left waits for the client, and nobody is to be ended for that.
    [[ $output == *"not freed  1 closed connection"*"--timeout"*"--destroy drops it now"* ]]
    run -0 free -y --destroy $PORT
    [[ $output == *"8080 is free: bound and given back"* ]]
    can_bind
    lives "$client"
}

@test "free: with --destroy one call is enough" {
    helper server server $AT $PORT
    helper client client $AT $PORT
    run -0 free -y --destroy $PORT
    is_gone "$server"
    lives "$client"
    can_bind
}

@test "free: a server that ignores TERM stays, unless --force" {
    helper server stubborn $AT $PORT
    run -1 free -y --timeout 300ms $PORT
    [[ $output == *"failed     python3 (pid $server) has not ended within 0.3 s of TERM: --force"* ]]
    lives "$server"
    run -0 free -y --timeout 300ms --force $PORT
    [[ $output == *"KILL after 0.3 s"*"done       KILL, ended after"* ]]
    is_gone "$server"
    can_bind
}

@test "free: a server that closes its socket at TERM may run on" {
    helper server yielding $AT $PORT
    run -0 free -y --force $PORT
    [[ $output == *"gave the socket up"* ]]
    lives "$server"
    can_bind
}

@test "free: all processes that have the socket are ended" {
    helper server family $AT $PORT
    child=$(cat "/proc/$server/task/$server/children")
    child=${child% }
    run -0 free -y $PORT
    is_gone "$server"
    is_gone "$child"
    can_bind
}

@test "free: sockets of both families, and of several servers, in one go" {
    [ -e /proc/sys/net/ipv6 ] || skip "this kernel has no IPv6"
    in_client sh -c 'echo 1 > /proc/sys/net/ipv6/bindv6only' || skip "no right to set bindv6only"
    helper four server $AT $PORT
    helper six server :: $PORT
    run -0 free -y --json $PORT
    holds '[s["do"] for s in j["steps"]] == ["end-process"] * 2'
    is_gone "$four"
    is_gone "$six"
}

@test "free: one address leaves the others alone" {
    helper one server 127.0.0.1 $PORT
    helper two server 127.0.0.2 $PORT
    run -0 free -y 127.0.0.2:$PORT
    lives "$one"
    is_gone "$two"
}

@test "free: a socket that is only bound" {
    helper server bound $AT $PORT
    run -0 free -y $PORT
    is_gone "$server"
}

@test "free: TIME_WAIT: how long to wait, --destroy" {
    helper old timewait $AT $PORT
    run -1 free -y $PORT
    [[ $output == *"cause      time-wait"* ]]
    [[ $output =~ "not freed  1 closed connection, the last one gone in "([0-9]+)\.[0-9]" s: --timeout "([0-9]+)s ]]
    [ "${BASH_REMATCH[2]}" -ge "${BASH_REMATCH[1]}" ]
    [ "${BASH_REMATCH[2]}" -le 63 ]
    run -0 free -y --json --destroy $PORT
    holds '[(s["do"], s["result"]) for s in j["steps"]] == [("destroy", "done")]'
    holds 'j["before"]["cause"] == "time-wait" and j["after"]["cause"] is None'
    can_bind
}

@test "free: TIME_WAIT beside which a server with SO_REUSEADDR can live" {
    helper old timewait $AT $PORT reuseaddr
    run -1 free -y $PORT
    [[ $output == *"a server that sets SO_REUSEADDR can have it now"* ]]
    run -0 free -y --reuseaddr $PORT
    [ "$output" = "8080 is free already: bound and given back" ]
}

@test "free: what the kernel ends soon is waited for" {
    in_client sh -c 'echo 2 > /proc/sys/net/ipv4/tcp_fin_timeout' || skip "no right to set tcp_fin_timeout"
    helper server server $AT $PORT
    helper client client $AT $PORT
    run -0 free -y $PORT
    echo "$output"
    [[ $output == *"plan       wait "* ]]
    lives "$client"
    can_bind
}

@test "free: SIGINT ends the waiting and says what was done" {
    helper server stubborn $AT $PORT
    (become "$client_net" "$TIDEWAIT" free -y --timeout 60s $PORT) > "$BATS_TEST_TMPDIR/free.out" 2>&1 < /dev/null 3>&- &
    pids+=("$!")
    until_true grep -q TERM "$BATS_TEST_TMPDIR/server.out"
    kill -INT "${pids[-1]}"
    status=0
    wait "${pids[-1]}" || status=$?
    [ "$status" -eq 1 ]
    lives "$server"
    grep -q 'failed     interrupted' "$BATS_TEST_TMPDIR/free.out"
    grep -q 'tidewait free: 8080: interrupted' "$BATS_TEST_TMPDIR/free.out"
}

@test "free: the former server with a connection left is ended, its client lives" {
    helper server leftover $AT $PORT
    client=$(cat "/proc/$server/task/$server/children")
    client=${client% }
    run free -y --timeout 200ms $PORT
    [[ $output == *"cause      leftover-connection"* ]]
    is_gone "$server"
    lives "$client"
}

@test "free: a client's source port: the client is not ended, --destroy resets its connection" {
    helper server server $AT 9090
    helper client client $AT 9090
    source=$(in_client ss -Htn state established "( dport = :9090 )" | awk '{ sub(/.*:/, "", $3); print $3 }')
    run -1 free -y "$source"
    [[ $output == *"python3 (pid $client) is a client, which is not ended: $source is the source port"* ]]
    lives "$client"
    run -0 free -y --destroy "$source"
    lives "$client"
    lives "$server"
    can_bind "$source"
}

@test "free: a client that is still bound after --destroy is not ended either" {
    helper server server $AT 9090
    helper client client $AT 9090 $PORT
    run -1 free -y --force --destroy $PORT
    [[ $output == *"is still bound to the port, and clients are not ended"* ]]
    lives "$client"
}

@test "free: its own ancestors are never ended" {
    run -1 in_client python3 "$helper_py" run $AT $PORT "$TIDEWAIT" free -y --force $PORT
    [[ $output == *"not freed  python3 (pid "*") has started this tidewait"* ]]
}

@test "free: neither is tidewait itself" {
    run -1 in_client python3 "$helper_py" become $AT $PORT "$TIDEWAIT" free -y --force $PORT
    [[ $output == *"not freed  tidewait itself has the socket open"* ]]
}

@test "free: neither is pid 1" {
    in_client unshare -pf --mount-proc true 2>/dev/null || skip "no right to make a pid namespace"
    (become "$client_net" unshare -pf --kill-child --mount-proc python3 "$helper_py" server $AT $PORT) \
        > "$BATS_TEST_TMPDIR/init.out" 2>&1 3>&- &
    pids+=("$!")
    until_true grep -q ready "$BATS_TEST_TMPDIR/init.out"
    init=$(cat "/proc/$!/task/$!/children")
    init=${init% }
    run -1 in_client nsenter -t "$init" -p -m -r -w -- "$TIDEWAIT" free -y --force $PORT
    [[ $output == *"not freed  python3 is pid 1"* ]]
    lives "$init"
}

@test "free: --dry-run shows the plan and does nothing" {
    helper server server $AT $PORT
    run -1 free --dry-run --force $PORT
    [[ $output == *"plan       TERM to python3 (pid $server), KILL after 10 s"* ]]
    lives "$server"
    run -1 free -ny --json $PORT
    holds 'j["result"] == "shown" and j["steps"][0]["result"] == "planned"'
    lives "$server"
}

@test "free: without a terminal and without -y nothing is done" {
    helper server server $AT $PORT
    run -1 free $PORT
    [[ $output == *"nothing done: standard input is not a terminal to ask on; -y"* ]]
    lives "$server"
}

@test "free: the question, answered no and yes" {
    helper server server $AT $PORT
    for answer in n '' nonsense; do
        run -1 ask "$answer" '' $PORT
        [[ $output == *"TERM to python3 (pid $server)"*"Do this? [y/N]"*"8080: nothing done"* ]]
        lives "$server"
    done
    # With -q as well: nobody agrees to what he has not seen.
    run -1 ask n '' -q $PORT
    [[ $output == *"TERM to python3 (pid $server)"* ]]
    run -0 ask y '' $PORT
    [[ $output == *"8080 is free: bound and given back"* ]]
    is_gone "$server"
}

@test "free: a server that ends while the question stands" {
    helper server server $AT $PORT
    run -0 ask y "kill -KILL $server; while grep -q '^State:.[^Z]' /proc/$server/status; do sleep 0.02; done" $PORT
    echo "$output"
    [[ $output == *"needless   it has"* ]]
    can_bind
}

@test "free: a pid that became another process's is not signalled" {
    [ -z "$net_user" ] || skip "choosing a pid needs root"
    in_client unshare -pf --mount-proc true 2>/dev/null || skip "no right to make a pid namespace"
    # In a pid namespace of their own, where nobody else takes the number.
    cat > "$BATS_TEST_TMPDIR/recycle" <<'END'
set -e
python3 "$1" server 127.0.0.1 8080 > "$2/ready" &
server=$!
until grep -q ready "$2/ready"; do sleep 0.02; done
cat > "$2/between" <<BETWEEN
kill -KILL $server
while [ -e /proc/$server/exe ]; do sleep 0.02; done
touch "$2/killed"
until [ -e "$2/recycled" ]; do sleep 0.02; done
BETWEEN
python3 "$1" ask y "sh $2/between" "$3" free --no-color 8080 > "$2/asked" 2>&1 &
asker=$!
until [ -e "$2/killed" ]; do sleep 0.02; done
wait $server || true
for try in 1 2 3 4 5 6 7 8 9 10; do
    echo $((server - 1)) > /proc/sys/kernel/ns_last_pid
    sleep 60 > /dev/null 2>&1 &
    [ $! -ne $server ] || break
    kill $!
done
other=$!
touch "$2/recycled"
status=0
wait $asker || status=$?
cat "$2/asked"
echo "recycled=$((other == server)) status=$status alive=$(kill -0 $other && echo yes)"
kill $other
END
    run in_client unshare -pf --kill-child --mount-proc bash "$BATS_TEST_TMPDIR/recycle" "$helper_py" \
        "$BATS_TEST_TMPDIR" "$TIDEWAIT"
    echo "$output"
    [[ $output == *"recycled=1 status=0 alive=yes"* ]]
    [[ $output == *"needless   it has ended by itself; the pid is another process's now"* ]]
}

@test "free: UDP" {
    helper server udp $AT 5353
    run -1 free -n 5353/udp
    lives "$server"
    run -0 free -y 5353/udp
    [[ $output == *"5353/udp is free: bound and given back"* ]]
    is_gone "$server"
}

@test "free: a Unix socket that lives, and its file" {
    path=$BATS_TEST_TMPDIR/s
    helper server unix "$path"
    run -0 free -y "unix:$path"
    [[ $output == *"TERM to python3 (pid $server)"*"remove the file"*"done       removed"* ]]
    is_gone "$server"
    [ ! -e "$path" ]
}

@test "free: an abstract Unix socket" {
    helper server unix @tidewait-free
    run -0 free -y unix:@tidewait-free
    is_gone "$server"
    [[ $output != *"remove"* ]]
}

@test "free: the file of a Unix socket that is gone" {
    path=$BATS_TEST_TMPDIR/s
    helper old stale "$path"
    until_true is_gone "$old"
    run -1 free -n "unix:$path"
    [ -S "$path" ]
    run -0 free -y "unix:$path"
    [ ! -e "$path" ]
}

@test "free: a file that is no socket is not removed" {
    path=$BATS_TEST_TMPDIR/s
    echo precious > "$path"
    run -1 free -y --force "unix:$path"
    [[ $output == *"the file is not removed"* ]]
    [ "$(cat "$path")" = precious ]
}

@test "free: a file that somebody binds while the question stands is not removed" {
    path=$BATS_TEST_TMPDIR/s
    helper old stale "$path"
    until_true is_gone "$old"
    run -1 ask y "rm '$path'; (exec python3 '$helper_py' unix '$path') > '$BATS_TEST_TMPDIR/new' 2>&1 & \
        echo \$! > '$BATS_TEST_TMPDIR/new.pid'; until grep -q ready '$BATS_TEST_TMPDIR/new'; do sleep 0.02; done" \
        "unix:$path"
    pids+=("$(cat "$BATS_TEST_TMPDIR/new.pid")")
    [[ $output == *"not removed"* ]]
    [ -S "$path" ]
}

@test "free: a service is stopped by systemctl" {
    helper server server $AT $PORT
    into_cgroup "$server" "tidewait$$.service"
    fake systemctl 0 "kill -KILL $server"
    run -0 free -y $PORT
    [ "$(cat "$BATS_TEST_TMPDIR/calls")" = "systemctl stop tidewait$$.service" ]
    [[ $output == *"plan       stop the service of python3 (pid $server): systemctl stop tidewait$$.service"* ]]
    [[ $output == *"if that fails, TERM to python3 (pid $server)"*"needless   not needed"* ]]
    can_bind
}

@test "free: a socket unit is stopped, and systemd left alone" {
    # systemd is pid 1 of a pid namespace, and its units are those of a mount namespace.
    # shellcheck disable=SC2016 # for the inner shell
    (become "$client_net" unshare -pf --kill-child --mount-proc sh -c '
        mount -t tmpfs none /run && mkdir -p /run/systemd/system || exit
        printf "[Socket]\nListenStream=127.0.0.1:8080\n" > /run/systemd/system/demo.socket
        exec python3 "$@"' sh "$helper_py" systemd $AT $PORT) > "$BATS_TEST_TMPDIR/init.out" 2>&1 3>&- &
    pids+=("$!")
    until_true grep -q . "$BATS_TEST_TMPDIR/init.out"
    until_true grep -q ready "$BATS_TEST_TMPDIR/init.out" || skip "no right to make the namespaces: $(cat "$BATS_TEST_TMPDIR/init.out")"
    init=$(cat "/proc/$!/task/$!/children")
    init=${init% }
    fake systemctl 0 'kill -USR1 1'
    run -0 in_client nsenter -t "$init" -p -m -r -w -- "$TIDEWAIT" free -y --force $PORT < /dev/null
    [[ $output == *"plan       stop the socket unit: systemctl stop demo.socket"* ]]
    [[ $output != *TERM* ]]
    [ "$(cat "$BATS_TEST_TMPDIR/calls")" = "systemctl stop demo.socket" ]
    lives "$init"
}

@test "free: when systemctl fails, TERM as announced" {
    helper server server $AT $PORT
    into_cgroup "$server" "tidewait$$.service"
    fake systemctl 5
    run -0 free -y $PORT
    [[ $output == *"failed     systemctl ended with status 5"*"done       TERM, ended after"* ]]
    is_gone "$server"
}

@test "free: a systemctl that is not done in time is given up, and nobody is ended by force" {
    helper server server $AT $PORT
    into_cgroup "$server" "tidewait$$.service"
    fake systemctl 0 "echo \$\$ > $BATS_TEST_TMPDIR/tool.pid; exec sleep 50"
    run -1 free -y --force --timeout 100ms $PORT
    [[ $output == *"failed     systemctl was not done after"* ]]
    lives "$server"
    is_gone "$(cat "$BATS_TEST_TMPDIR/tool.pid")"
}

@test "free: a container is stopped by docker" {
    helper server server $AT $PORT
    id=$(printf '%064x' 195935983)
    into_cgroup "$server" "docker-$id.scope"
    fake docker 0 "kill -KILL $server"
    run -0 free -y --timeout 3s $PORT
    [ "$(cat "$BATS_TEST_TMPDIR/calls")" = "docker stop -t 3 $id" ]
    can_bind
}

@test "free: docker-proxy: the container that publishes the port is stopped" {
    # It is known by its name.
    cp "$(command -v sleep)" "$BATS_TEST_TMPDIR/docker-proxy"
    (become "$client_net" python3 -c 'import os, socket, sys
s = socket.socket()
s.bind(("127.0.0.1", 8080))
s.listen(1)
s.set_inheritable(True)
os.execv(sys.argv[1], [sys.argv[1], "60"])' "$BATS_TEST_TMPDIR/docker-proxy") > /dev/null 2>&1 3>&- &
    proxy=$!
    pids+=("$proxy")
    until_true grep -q docker-proxy "/proc/$proxy/comm"
    fake docker 0 "[ \$1 != ps ] || echo 4711abc; [ \$1 != stop ] || kill -KILL $proxy"
    run -0 free -y $PORT
    [ "$(cat "$BATS_TEST_TMPDIR/calls")" = "docker ps -q --filter publish=8080/tcp
docker stop -t 10 4711abc" ]
    can_bind
}

NOBODY=(setpriv --reuid nobody --regid nogroup --clear-groups env PATH=/usr/bin:/bin)

as_nobody() {
    in_client "${NOBODY[@]}" "$@"
}

nobody_or_skip() {
    [ -z "$net_user" ] || skip "becoming another user needs root"
    as_nobody test -x "$TIDEWAIT" -a -r "$helper_py" ||
        skip "the user nobody has no right to read $TIDEWAIT or $helper_py"
    as_nobody python3 -c '' || skip "the user nobody has no python3"
}

@test "free: another user's server: not permitted, and said so" {
    nobody_or_skip
    helper server server $AT $PORT
    run -3 as_nobody "$TIDEWAIT" free -y --force $PORT
    [[ $output == *"hidden from you: try as root"* ]]
    lives "$server"
}

@test "free: an ordinary user may end his own server, but not drop connections" {
    nobody_or_skip
    helper old timewait $AT $PORT
    run -3 as_nobody "$TIDEWAIT" free -y --destroy $PORT
    [[ $output == *"denied     0 dropped, then: "* ]]
    (become "$client_net" "${NOBODY[@]}" python3 "$helper_py" server $AT 8081) > "$BATS_TEST_TMPDIR/own" 2>&1 3>&- &
    pids+=("$!")
    until_true grep -q ready "$BATS_TEST_TMPDIR/own"
    run -0 as_nobody "$TIDEWAIT" free -y 8081
    is_gone "${pids[-1]}"
}

@test "free: JSON of several addresses, some of which are not free" {
    helper server server $AT $PORT
    helper other stubborn $AT 8081
    run -5 --separate-stderr free -y --json --timeout 200ms $PORT 8081
    [ "${#lines[@]}" -eq 2 ]
    output=${lines[1]}
    holds 'j["result"] == "not-freed" and j["exit"] == 1 and j["after"]["cause"] == "listener-wildcard"'
    output=${lines[0]}
    holds 'j["schema"] == "tidewait.free/1" and j["address"] == "8080" and j["result"] == "freed"'
    holds 'j["steps"][0]["do"] == "end-process" and j["steps"][0]["result"] == "done"'
    holds "j['steps'][0]['pid'] == $server and j['before']['errno'] == 'EADDRINUSE'"
    holds 'j["after"]["answer"] == "free" and j["exit"] == 0'
}

@test "free: bad input" {
    run -2 free
    run -2 free nonsense
    run -2 free 70000
    run -2 free 8000-8010
    run -2 free unix:
    run -2 free --timeout never $PORT
}

@test "free: in a namespace by the number of a process" {
    [ -z "$net_user" ] || skip "entering a namespace needs root"
    helper server server $AT $PORT
    run -0 "$TIDEWAIT" free -y -N "$client_net" $PORT
    is_gone "$server"
}
