#!/bin/sh
# A world of its own with so many hosts, each a network namespace with Debian's in.rshd behind inetd, at
# ports 514 and 1514: r01, r02, ... at 10.79.0.1, 10.79.0.2, ...; ours is 10.79.0.254. c0001, c0002, ...
# c5000 are more names for them in turn, and old1 ... old9 for old. Says "ready" in FOLDER/ready and
# sleeps; all of it goes when this process does. The pid of each host is in FOLDER/NAME.pid.
#
# usage: unshare -mnpf --kill-child --mount-proc fan_rsh_world.sh FOLDER COUNT
#
# slow, naive and spare are more like us, of which slow has no TCP timestamps; nor has old, a host. mute
# accepts connections and never says a word; refusing has nobody on its port; locked lets nobody in;
# behind passes on to r01, from a port that is not reserved, as a NAT may; full says that it cannot; web
# is no rshd; absent has an address that nobody has.
set -eu
folder=$1
count=$2
PATH=$PATH:/usr/sbin:/sbin
mount -t tmpfs tmpfs /run
ip link set lo up
ip link add hub type bridge
ip addr add 10.79.0.254/24 dev hub
ip link set hub up

# Homes and a shell that say nothing of their own, and let us in.
for user in root anna; do
  mkdir "/run/$user"
  printf '%s root\n' us slow naive spare >"/run/$user/.rhosts"
  chmod 600 "/run/$user/.rhosts"
done
chown 1000 /run/anna /run/anna/.rhosts
cat >"$folder/passwd" <<END
root:x:0:0:root:/run/root:/bin/sh
anna:x:1000:65534:anna:/run/anna:/bin/sh
nobody:x:65534:65534:nobody:/:/bin/sh
END
sed 's/:.*/:*:19000:0:99999:7:::/' "$folder/passwd" >"$folder/shadow"
# What else a session has on this system is left out.
cat >"$folder/pam" <<END
auth required pam_rhosts.so
account required pam_permit.so
session required pam_permit.so
END
sed 's/pam_rhosts/pam_deny/' "$folder/pam" >"$folder/pam.locked"
# inetd is told not to mind how often it starts rshd in a minute.
for port in 514 1514; do
  echo "$port stream tcp nowait.60000 root /usr/sbin/in.rshd in.rshd"
done >"$folder/inetd.conf"
printf '%s\n' '127.0.0.1 localhost' '10.79.0.254 us' >"$folder/hosts"

mount --bind "$folder/passwd" /etc/passwd
mount --bind "$folder/shadow" /etc/shadow
mount --bind "$folder/hosts" /etc/hosts
mount --bind "$folder/pam" /etc/pam.d/rsh

# host NAME ADDRESS COMMAND...: runs the command in a network of its own.
host() {
  name=$1 address=$2
  shift 2
  echo "$address $name" >>"$folder/hosts"
  # shellcheck disable=SC2016 # for the inner shell
  unshare -n sh -c 'until ip link set e0 up 2>/dev/null; do sleep 0.01; done
    ip link set lo up
    ip addr add "$0/24" dev e0
    exec "$@"' "$address" "$@" >>"$folder/$name.log" 2>&1 &
  echo $! >"$folder/$name.pid"
  ours=$(readlink /proc/self/ns/net)
  until [ "$(readlink "/proc/$!/ns/net")" != "$ours" ]; do sleep 0.01; done
  ip link add "v${address##*.}" type veth peer name e0 netns $!
  ip link set "v${address##*.}" master hub up
}

# says WORDS: a Python program that answers whoever connects with them.
says() {
  printf '%s\n' 'import socket' 'listener = socket.create_server(("", 514))' 'while True:' \
    '    with listener.accept()[0] as s:' "        s.recv(4096), s.sendall(b'$1')"
}

no_timestamps='echo 0 >/proc/sys/net/ipv4/tcp_timestamps; exec'
host slow 10.79.0.253 sh -c "$no_timestamps sleep 3600"
host naive 10.79.0.252 sleep 3600
host spare 10.79.0.251 sleep 3600
i=1
while [ $i -le "$count" ]; do
  host "$(printf 'r%02d' $i)" 10.79.0.$i inetd -i "$folder/inetd.conf"
  i=$((i + 1))
done
host refusing 10.79.0.201 sleep 3600
host mute 10.79.0.202 python3 -c 'import socket, time
listener = socket.create_server(("", 514))
time.sleep(3600)'
host locked 10.79.0.203 unshare -m sh -c "mount --bind $folder/pam.locked /etc/pam.d/rsh
  exec inetd -i $folder/inetd.conf"
host behind 10.79.0.204 python3 -c 'import contextlib, socket
listener = socket.create_server(("", 514))
while True:
    with contextlib.suppress(OSError), listener.accept()[0] as ours:
        with socket.create_connection(("10.79.0.1", 514)) as other:
            other.sendall(ours.recv(4096))
            while data := other.recv(4096):
                ours.sendall(data)'
host full 10.79.0.205 python3 -c "$(says '\1rshd: Cannot fork; \33[31mtry again.\n')"
host web 10.79.0.206 python3 -c "$(says 'HTTP/1.1 400 Bad Request\r\n\r\n')"
host old 10.79.0.207 sh -c "$no_timestamps inetd -i $folder/inetd.conf"
{
  echo '10.79.0.208 absent'
  seq -f '10.79.0.207 old%.0f' 9
  seq 5000 | awk -v n="$count" '{ printf "10.79.0.%d c%04d\n", ($1 - 1) % n + 1, $1 }'
} >>"$folder/hosts"

# Port 514 listens, as the table of its network has it: no connection is left behind.
for file in "$folder"/*.pid; do
  case $file in */refusing.pid | */slow.pid | */naive.pid | */spare.pid) continue ;; esac
  tries=0
  until grep -q ': 00000000:0202 .* 0A ' "/proc/$(cat "$file")/net/tcp"; do
    tries=$((tries + 1))
    [ $tries -lt 200 ] || { echo "nobody listens: $file" >"$folder/ready"; exit 1; }
    sleep 0.05
  done
done
echo ready >"$folder/ready"
# The first process of a world is to wait for all whose parents are gone: each command leaves one.
sleep 900 &
wait $!
