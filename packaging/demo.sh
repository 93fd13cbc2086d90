#!/bin/sh
# The demo: a server and a client of one source address, ten seconds at full speed, and the client
# closes first, which is where other load generators run out of ports.
#
# The two networks are held by two sleeping processes instead of by names under /run: when those are
# gone, so is every trace, and it works for an ordinary user too.
set -eu
cd "$(dirname "$0")/.."
tidewait=${TIDEWAIT:-$PWD/build/tidewait}
duration=${DURATION:-10s}
PATH=$PATH:/usr/sbin:/sbin

# An ordinary user is root of a network of his own.
if [ "$(id -u)" -ne 0 ] && [ -z "${DEMO_PRIVATE-}" ] && unshare -Urn true 2>/dev/null; then
  export DEMO_PRIVATE=1
  exec unshare -Urn "$0"
fi

pids=
# shellcheck disable=SC2317,SC2086 # called by the trap; a list of words
cleanup() {
  trap - EXIT INT TERM HUP
  [ -z "$pids" ] || kill $pids 2>/dev/null || true
  wait 2>/dev/null || true
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# Starts a process that holds a network; the limit is for the day that this script is killed hard.
hold() {
  unshare -n sleep 300 &
  held=$!
  pids="$pids $held"
  tries=0
  until [ "$(readlink "/proc/$held/ns/net")" != "$(readlink /proc/self/ns/net)" ]; do
    tries=$((tries + 1))
    [ $tries -lt 100 ] || return 1
    sleep 0.05
  done
}

# Becomes the command, in the network that a process holds ("": in this one). Called in a subshell
# whose pid then is the command's own.
become() {
  net=$1
  shift
  [ -z "$net" ] || exec nsenter --net="/proc/$net/ns/net" "$@"
  exec "$@"
}

server_net=
client_net=
address=127.0.0.1
if unshare -n true 2>/dev/null; then
  hold && server_net=$held
  hold && client_net=$held
  ip link add "tw$$" netns "$client_net" type veth peer name "tw$$" netns "$server_net"
  (become "$server_net" ip addr add 10.77.0.2/24 dev "tw$$")
  (become "$client_net" ip addr add 10.77.0.1/24 dev "tw$$")
  for net in "$server_net" "$client_net"; do
    (become "$net" ip link set lo up)
    (become "$net" ip link set "tw$$" up)
  done
  address=10.77.0.2
  echo "Two private networks are joined by a cable: a server listens on $address:8080 in one," \
    "a client has the one address 10.77.0.1 in the other."
else
  echo "No private networks are allowed here, so server and client share the loopback address $address."
fi

(become "$server_net" timeout 300 "$tidewait" serve "$address:8080") &
server=$!
pids="$pids $server"
tries=0
until (become "$server_net" ss -Htln 'sport = :8080') | grep -q .; do
  tries=$((tries + 1))
  if [ $tries -ge 100 ] || ! kill -0 "$server" 2>/dev/null; then
    echo "demo: the server did not come up" >&2
    exit 1
  fi
  sleep 0.05
done

echo "For $duration the client opens connections as fast as it can, sends a request on each and" \
  "closes first, which leaves its port in TIME_WAIT for a minute."
echo "By default there are about 28,000 ports for this: the report below says how many connections" \
  "were made with them, and how many address errors came."
echo
# In the background with wait: a signal then ends the demo at once.
(become "$client_net" timeout 120 "$tidewait" load "http://$address:8080/" --close client \
  --duration "$duration") &
load=$!
pids="$pids $load"
wait "$load"
