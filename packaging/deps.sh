#!/bin/sh
# Installs the Debian packages that a make target needs, and only those that are missing. With
# nothing missing it needs neither root nor network.
set -eu

usage() {
  echo "usage: packaging/deps.sh [build|demo|test|lint|bench|fuzz]" >&2
  exit 2
}

# "a|b": either will do, a is installed.
build='gcc libc6-dev meson ninja-build pkg-config|pkgconf libmnl-dev libjansson-dev zlib1g-dev scdoc clang bpftool libbpf-dev'
demo="$build iproute2"
test="$demo g++ libcmocka-dev bats python3 python3-portpicker python3-yaml procps nginx|nginx-light haproxy curl wrk strace nodejs perl redis-server openssh-server openssh-client openbsd-inetd rsh-server rsh-client netbase"

[ $# -le 1 ] || usage
case ${1:-build} in
build) packages=$build ;;
demo) packages=$demo ;;
test) packages=$test ;;
lint) packages="$build libcmocka-dev clang-format clang-tidy cppcheck shellcheck" ;;
bench) packages="$demo wrk apache2-utils httperf nginx|nginx-light lsof pdsh clustershell openbsd-inetd rsh-server rsh-client netbase" ;;
fuzz) packages="$build clang llvm libclang-rt-14-dev|libclang-rt-dev" ;;
*) usage ;;
esac

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
  {
    echo "tidewait: this is not a Debian system; install what these Debian packages hold:"
    echo "  $packages" | sed 's/|[^ ]*//g'
    echo "then run make with DEPS=: to leave this step out"
  } >&2
  exit 1
fi

# shellcheck disable=SC2046 # a list of words
installed=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' $(echo "$packages" | tr '|' ' ') \
  2>/dev/null || true)

missing=
for alternatives in $packages; do
  echo "$installed" | grep -qE "^($alternatives) installed$" || missing="$missing ${alternatives%%|*}"
done
[ -n "$missing" ] || exit 0

as_root=
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null; then
    echo "tidewait: neither root nor sudo; as root run: apt-get install$missing" >&2
    exit 1
  fi
  as_root=sudo
fi

echo "tidewait: installing$missing"
# Nobody asked for a web server on port 80: these variables make systemctl and invoke-rc.d leave
# daemons alone, and unlike a policy file they cannot outlive this script.
apt() {
  $as_root env DEBIAN_FRONTEND=noninteractive SYSTEMD_OFFLINE=1 RUNLEVEL=1 \
    apt-get -qq -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@" </dev/null
}
apt update || echo "tidewait: apt-get update failed; trying with the lists that are here" >&2
# shellcheck disable=SC2086 # a list of words
apt install -y --no-install-recommends $missing

# Nor one after the next boot.
for package in $missing; do
  case $package in
  nginx | haproxy | redis-server) $as_root env SYSTEMD_OFFLINE=1 update-rc.d "$package" disable >/dev/null 2>&1 || true ;;
  openssh-server) $as_root env SYSTEMD_OFFLINE=1 update-rc.d ssh disable >/dev/null 2>&1 || true ;;
  openbsd-inetd)
    $as_root env SYSTEMD_OFFLINE=1 update-rc.d openbsd-inetd disable >/dev/null 2>&1 || true
    $as_root env SYSTEMD_OFFLINE=1 systemctl disable inetd.service >/dev/null 2>&1 || true
    ;;
  # Nor when somebody starts inetd for something else: rsh is what nobody wants by accident.
  rsh-server) $as_root update-inetd --disable shell,login,exec >/dev/null 2>&1 || true ;;
  esac
done
