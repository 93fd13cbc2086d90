#!/usr/bin/env bats
# examples/, built by pkg-config alone against the library as `meson install` leaves it, and run in private
# networks. BUILD is the build directory, SANITIZE its b_sanitize.
# shellcheck disable=SC2030,SC2031 # each test is a subshell, and meant to be
# shellcheck disable=SC2154 # the variables are set in net.bash

bats_require_minimum_version 1.5.0

load net

setup_file() {
    local pc tool
    : "${BUILD:?set it to the build directory}"
    for tool in meson make pkg-config cc; do
        command -v "$tool" >/dev/null || skip "there is no $tool here"
    done
    [ -w "$BUILD/meson-logs" ] || skip "meson install writes its log to $BUILD, which belongs to somebody else"
    export INSTALLED=$BATS_FILE_TMPDIR/installed EXAMPLES=$BATS_FILE_TMPDIR/examples
    meson install -C "$BUILD" --no-rebuild --tags devel,runtime --destdir "$INSTALLED" >"$BATS_FILE_TMPDIR/log" ||
        { cat "$BATS_FILE_TMPDIR/log"; return 1; }
    pc=$(find "$INSTALLED" -name tidewait.pc)
    [ -n "$pc" ]
    export PKG_CONFIG_PATH=${pc%/*} PKG_CONFIG_SYSROOT_DIR=$INSTALLED
    export LD_LIBRARY_PATH=${pc%/pkgconfig/*}
    cp -r "$BATS_TEST_DIRNAME/../../examples" "$EXAMPLES"
    build_examples
}

# build_examples [ARGS]: each time anew.
build_examples() {
    local flags="-Werror -Wall -Wextra"
    [ "${SANITIZE:-none}" = none ] || flags="$flags -fsanitize=$SANITIZE"
    make -s -C "$EXAMPLES" clean all CFLAGS="$flags" "$@"
}

setup() { net_up; }
teardown() { net_down; }

lines_of() { wc -l <"$BATS_TEST_TMPDIR/$1"; }
has_lines() { [ "$(lines_of "$1")" -ge "$2" ]; }

# The example `restart` in the server's network.
start_server() {
    start server server "$EXAMPLES/restart" "$server:8080"
    until_true has_lines server.out 1 || { cat "$BATS_TEST_TMPDIR/server.err"; return 1; }
}

@test "million: a hundred times as many connections as there are ports, the client closing first" {
    sysctl_of client net/ipv4/ip_local_port_range "40000 40199"
    start_server
    limit=120 run -0 in_client "$EXAMPLES/million" "$server:8080" 20000
    echo "$output"
    [ "${lines[1]}" = "0 failed" ]
    [[ ${lines[0]} = "20000 connections "* ]]
    [ "$(time_waits client)" -gt 0 ]
    stop server
    [ "$status" -eq 0 ]
    [ ! -s "$BATS_TEST_TMPDIR/server.err" ]
}

@test "million says what failed when there is no server" {
    run -1 --separate-stderr in_client "$EXAMPLES/million" "$server:8080" 5
    [[ ${lines[1]} = "5 failed, the first: connect to $server:8080: Connection refused" ]]
    run -2 in_client "$EXAMPLES/million" nonsense
    [[ $output = *"usage: "*"'nonsense'"* ]]
}

# A client that lets the server close first, so that TIME_WAIT is there.
one_is_served() {
    # shellcheck disable=SC2016 # for the inner shell
    in_client bash -c 'exec 3<>"/dev/tcp/$0/8080" && echo hi >&3 && [ "$(cat <&3)" = served ]' "$server" 2>/dev/null
}

@test "restart: a hundred times under load, and never EADDRINUSE" {
    start_server
    start clients client python3 -c '
import signal, socket, sys, threading
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
served = [0] * 4
def go(i):
    while True:
        try:
            with socket.create_connection((sys.argv[1], 8080), 10) as s:
                s.sendall(b"hi\n")
                while s.recv(100):
                    served[i] += 1
        except ConnectionError:
            pass
for i in range(4):
    threading.Thread(target=go, args=(i,), daemon=True).start()
signal.sigwait({signal.SIGTERM})
print(sum(served))' "$server"
    for ((i = 2; i <= 101; i++)); do
        kill -HUP "$pid_server"
        until_true has_lines server.out $i || { cat "$BATS_TEST_TMPDIR/server.err"; return 1; }
        until_true one_is_served
    done
    [ "$(time_waits server)" -gt 0 ]
    stop clients
    [ "$(cat "$BATS_TEST_TMPDIR/clients.out")" -gt 100 ]
    stop server
    [ "$status" -eq 0 ]
    [ ! -s "$BATS_TEST_TMPDIR/server.err" ]
    [ "$(lines_of server.out)" -eq 101 ]
}

@test "explain tells who has the address, and what is wrong with it" {
    start_server
    run -1 in_server "$EXAMPLES/explain" "$server:8080"
    echo "$output"
    [ "${lines[0]}" = "explain: bind on $server:8080: Address already in use" ]
    [ "${lines[1]}" = "restart (pid $pid_server) listens on $server:8080. (listener)" ]
    [[ $output = *"kill $pid_server"* ]]
    run -1 in_server "$EXAMPLES/explain" 0.0.0.0:8080
    [[ ${lines[1]} = *"(listener-wildcard)" ]]
    run -1 in_server "$EXAMPLES/explain" 192.0.2.1:80
    [[ ${lines[1]} = *"(address-not-local)" ]]
    stop server
    run -0 in_server "$EXAMPLES/explain" "$server:8080"
}

@test "the archive will do as well" {
    build_examples STATIC=1
    run -0 ldd "$EXAMPLES/million"
    [[ $output != *libtidewait* ]]
    unset LD_LIBRARY_PATH
    run -0 in_server "$EXAMPLES/explain" "$server:8080"
    build_examples
}
