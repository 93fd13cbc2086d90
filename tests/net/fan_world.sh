#!/bin/sh
# A world of its own with so many hosts, each a network namespace with Debian's sshd: web01, web02, ...
# at 10.78.0.1, 10.78.0.2, ...; ours is 10.78.0.254. Says "ready" in FOLDER/ready and sleeps; all of it
# goes when this process does.
#
# usage: unshare -mnpf --kill-child --mount-proc fan_world.sh FOLDER COUNT
#
# mute accepts connections and never says a word; refusing has nobody on its port; stranger has another
# host key than the one that is known; locked lets nobody in; absent has an address that nobody has.
set -eu
folder=$1
count=$2
PATH=$PATH:/usr/sbin:/sbin
mount -t tmpfs tmpfs /run
mkdir -p /run/sshd "$folder/home/.ssh"
chmod 700 "$folder/home" "$folder/home/.ssh"
ip link set lo up
ip link add hub type bridge
ip addr add 10.78.0.254/24 dev hub
ip link set hub up

for key in user host other; do
  ssh-keygen -q -t ed25519 -N '' -C "$key" -f "$folder/$key"
done
cat >"$folder/sshd_config" <<END
HostKey $folder/host
AuthorizedKeysFile $folder/user.pub
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
MaxStartups 100
UseDNS no
PidFile none
Match LocalAddress 10.78.0.204
  AuthorizedKeysFile none
END
cat >"$folder/home/.ssh/config" <<END
Host *
  IdentityFile $folder/user
  IdentityAgent none
  IdentitiesOnly yes
  UserKnownHostsFile $folder/known_hosts
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking yes
  CheckHostIP no
END
# A home and a shell that say nothing of their own; and the user bash, in whose home a test may put an rc file.
cat >"$folder/passwd" <<END
root:x:0:0:root:$folder/home:/bin/sh
bash:x:0:0:root:$folder/bash:/bin/bash
sshd:x:33333:65534::/run/sshd:/usr/sbin/nologin
END
mkdir "$folder/bash"
{
  echo 'root:*:19000:0:99999:7:::'
  echo 'bash:*:19000:0:99999:7:::'
  echo 'sshd:*:19000:0:99999:7:::'
} >"$folder/shadow"
cp /etc/hosts "$folder/hosts"

# host NAME ADDRESS KEY COMMAND...: runs the command in a network of its own.
host() {
  name=$1 address=$2 key=$3
  shift 3
  echo "$address $name" >>"$folder/hosts"
  echo "$name $(cut -d ' ' -f 1,2 "$folder/$key.pub")" >>"$folder/known_hosts"
  # shellcheck disable=SC2016 # for the inner shell
  unshare -n sh -c 'until ip link set e0 up 2>/dev/null; do sleep 0.01; done
    ip link set lo up
    ip addr add "$0/24" dev e0
    exec "$@"' "$address" "$@" >>"$folder/$name.log" 2>&1 &
  ours=$(readlink /proc/self/ns/net)
  until [ "$(readlink "/proc/$!/ns/net")" != "$ours" ]; do sleep 0.01; done
  ip link add "v${address##*.}" type veth peer name e0 netns $!
  ip link set "v${address##*.}" master hub up
}

i=1
while [ $i -le "$count" ]; do
  host "$(printf 'web%02d' $i)" 10.78.0.$i host /usr/sbin/sshd -D -e -f "$folder/sshd_config"
  i=$((i + 1))
done
host refusing 10.78.0.201 host sleep 3600
host mute 10.78.0.202 host python3 -c 'import socket, time
s = socket.socket(); s.bind(("10.78.0.202", 22)); s.listen(); time.sleep(3600)'
host stranger 10.78.0.203 other /usr/sbin/sshd -D -e -f "$folder/sshd_config"
host locked 10.78.0.204 host /usr/sbin/sshd -D -e -f "$folder/sshd_config"
echo "10.78.0.205 absent" >>"$folder/hosts"

mount --bind "$folder/passwd" /etc/passwd
mount --bind "$folder/hosts" /etc/hosts
mount --bind "$folder/shadow" /etc/shadow

# shellcheck disable=SC2016 # for bash
listens() { bash -c ': </dev/tcp/$0/22' "$1" 2>/dev/null; }
awk '/^10\.78\./ { print $1 }' "$folder/hosts" | while read -r address; do
  case $address in *.201 | *.205) continue ;; esac
  tries=0
  until listens "$address"; do
    tries=$((tries + 1))
    [ $tries -lt 100 ] || { echo "no sshd at $address" >"$folder/ready"; exit 1; }
    sleep 0.05
  done
done
echo ready >"$folder/ready"
# Not exec: as the first process of this world, the shell has orphans to wait for.
sleep 900 &
wait $!
