#!/bin/bash
# Proves the README's two commands, `make demo` and `make test`, on a bare Debian 12 that holds
# nothing but the minimal base system and make; or with -l that programs are built there against the
# installed library by pkg-config alone.
#
# usage: packaging/bare-check.sh [-w | -l] [-t TARBALL] [FOLDER]      (root, debootstrap, git)
#   -w          the working tree as it is, instead of HEAD
#   -l          of the tree nothing but examples/, and the library of build/ as it is installed
#   -t TARBALL  take the bare system from there, or keep it there for the next time
#   FOLDER      where to put it (/var/tmp/tidewait-bare); removed at the end
#
# Everything with a mount or a process happens in a namespace of its own: its end takes them all with
# it, however it ends, so that what is left to remove is files only.
set -euo pipefail
cd "$(dirname "$0")/.."
suite=bookworm

say() { echo "bare-check: $*"; }
die() {
  say "$*" >&2
  exit 1
}

# The second half: inside the namespace.
if [ "${1-}" = --inside ]; then
  root=$2
  mount --bind "$root" "$root" # ip netns wants a root that is a mount point
  mount -t proc proc "$root/proc"
  mount --rbind /sys "$root/sys"
  mount --rbind /dev "$root/dev"
  bare() {
    chroot "$root" /usr/bin/env -i HOME=/root TERM=dumb \
      PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@" </dev/null
  }
  for tool in cc gcc clang meson ninja python3 pkg-config ip curl; do
    if bare sh -c "command -v $tool" >/dev/null; then die "not bare: there is $tool"; fi
  done
  if [ -d "$root/root/examples" ]; then
    say "the library: installing gcc, pkg-config and libmnl0 of Debian"
    bare sh -ec 'apt-get -qq update
      DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends gcc libc6-dev pkg-config libmnl0
      ldconfig' >/dev/null
    bare sh -xec 'cd /root/examples && make && ldd ./explain'
    # shellcheck disable=SC2016 # for the inner shells
    script='cd /root/examples
      ./restart 127.0.0.1:8080 & server=$!
      sleep 1
      ./million 127.0.0.1:8080 20000
      if ./explain 127.0.0.1:8080; then exit 1; fi
      kill $server
      wait $server
      ./explain 127.0.0.1:8080'
    # In a network of its own, whose lo has to be up before: there is no ip in there.
    export -f bare
    # shellcheck disable=SC2016
    root=$root unshare -n bash -ec 'ip link set lo up; bare sh -xec "$0"' "$script"
    exit 0
  fi
  for target in demo test; do
    say "make $target"
    begin=$SECONDS
    status=0
    bare make -C /root/tidewait "$target" || status=$?
    say "make $target ended with $status after $((SECONDS - begin)) s"
    [ "$status" -eq 0 ] || exit "$status"
  done
  exit 0
fi

working=
library=
tarball=
while getopts wlt: letter; do
  case $letter in
  w) working=1 ;;
  l) library=1 ;;
  t) tarball=$(realpath -m "$OPTARG") ;;
  *) exit 2 ;;
  esac
done
shift $((OPTIND - 1))
folder=$(realpath -m "${1:-/var/tmp/tidewait-bare}")
root=$folder/root
mark=$folder/made-by-tidewait-bare-check

[ "$(id -u)" -eq 0 ] || die "needs root (chroot and mounts)"
[ -s "$tarball" ] || command -v debootstrap >/dev/null || die "needs the package debootstrap"

# Never removes a folder that it did not make.
remove() {
  if [ -e "$mark" ]; then rm -rf --one-file-system "$folder"; fi
}
inside=
cleanup() {
  set +e
  trap - EXIT INT TERM HUP
  if [ -d "/proc/${inside:-none}" ]; then
    # The first process in there takes all others with it, and unshare ends when all are gone.
    kill -KILL "$(tr -d ' ' <"/proc/$inside/task/$inside/children")"
    wait "$inside"
  fi
  remove
}
remove
[ ! -e "$folder" ] || die "$folder exists and was not made by this script"
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
mkdir -p "$folder"
touch "$mark"
mkdir "$root"

# The mirror and the way to it are those of this machine.
# shellcheck disable=SC2016 # apt expands these
mirrors=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
  awk -v suite="$suite" '$2 ~ "^" suite "(-updates|-security)?$" && !seen[$0]++')
mirror=$(awk -v suite="$suite" '$2 == suite { print $1; exit }' <<<"$mirrors")
[ -n "$mirror" ] || die "apt of this machine knows no mirror of Debian $suite"

if [ -s "$tarball" ]; then
  say "unpacking $tarball"
  tar -C "$root" -xpf "$tarball"
else
  say "making a minimal Debian 12 (log: $folder/debootstrap.log)"
  http_proxy=${http_proxy-} https_proxy=${https_proxy-}
  eval "$(apt-config shell http_proxy Acquire::http::Proxy https_proxy Acquire::https::Proxy)"
  export http_proxy https_proxy
  debootstrap --variant=minbase --include=make "$suite" "$root" "$mirror" >"$folder/debootstrap.log" ||
    { tail -n 5 "$folder/debootstrap.log" >&2; die "debootstrap failed"; }
  rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/archives/*.deb
  if [ -n "$tarball" ]; then tar -C "$root" -cf "$tarball" .; fi
fi

# Of apt's configuration the part about transport alone: hooks would call programs that are not there.
# The certificates go where only apt looks, so that the system stays without any.
awk '{ print "deb", $1, $2, $3 }' <<<"$mirrors" >"$root/etc/apt/sources.list"
apt-config dump | grep '^Acquire::' | grep -v CAInfo >"$root/etc/apt/apt.conf.d/99machine" || true
cp -a /etc/apt/trusted.gpg.d/. "$root/etc/apt/trusted.gpg.d/"
if [ -d /etc/apt/auth.conf.d ]; then cp -a /etc/apt/auth.conf.d/. "$root/etc/apt/auth.conf.d/"; fi
if [ -e /etc/ssl/certs/ca-certificates.crt ]; then
  cp /etc/ssl/certs/ca-certificates.crt "$root/etc/apt/machine-ca.crt"
  echo 'Acquire::https::CAInfo "/etc/apt/machine-ca.crt";' >>"$root/etc/apt/apt.conf.d/99machine"
fi
for file in /etc/resolv.conf /etc/hosts; do
  if [ -e $file ]; then cat $file >"$root$file"; fi
done

if [ -n "$library" ]; then
  say "copying the library of build/ as it is installed, and examples/"
  meson install -C build --no-rebuild --tags devel,runtime --destdir "$root" >"$folder/install.log" ||
    die "build/ cannot be installed; run make before"
  cp -r examples "$root/root"
else
  mkdir "$root/root/tidewait"
  if [ -n "$working" ]; then
    git ls-files -z --cached --others --exclude-standard |
      while IFS= read -r -d '' file; do if [ -e "$file" ]; then printf '%s\0' "$file"; fi; done |
      tar --null -T - -c
  else
    git archive HEAD
  fi | tar -C "$root/root/tidewait" -x --no-same-owner
fi

unshare --mount --propagation private --pid --fork --kill-child "$0" --inside "$root" &
inside=$!
wait "$inside"
say "done: all of it works on a bare Debian 12"
