#!/usr/bin/env bats
# `tidewait tune lint`: which files it reads and in which order, what it prints, and how it ends. What it
# says of lines is in tests/unit/lint_test.c.
bats_require_minimum_version 1.5.0

TIDEWAIT=${TIDEWAIT:-$BATS_TEST_DIRNAME/../../build/cmd/tidewait}
export TIDEWAIT

setup() { cd "$BATS_TEST_TMPDIR" || return; }

# lint ARGUMENT...: exit status in $status, output in the files out and err.
lint() {
  status=0
  timeout 20 "$TIDEWAIT" tune lint "$@" >out 2>err </dev/null || status=$?
}

# expect STATUS: and otherwise what was printed.
expect() {
  [ "$status" -eq "$1" ] || {
    echo "exit status $status, wanted $1"
    cat out err
    return 1
  }
}

@test "nothing to complain of is 0, something is 1" {
  printf 'net.ipv4.tcp_syncookies = 1\nvm.swappiness = 10\n' >good.conf
  printf 'net.ipv4.tcp_fin_timeout = 15\n' >bad.conf
  lint good.conf
  expect 0
  [ ! -s err ]
  grep -qx '1 setting: 1 idle; 1 line about something else' out
  lint bad.conf
  expect 1
  [ ! -s err ]
  grep -q '^bad.conf$' out
  grep -q '^   1  net.ipv4.tcp_fin_timeout = 15$' out
  grep -q '^      folklore  It does not shorten TIME_WAIT' out
  grep -q '^      see it    tidewait lab folklore-fin-timeout$' out
  grep -qx '1 setting: 1 folklore' out
  lint --quiet bad.conf
  expect 1
  [ ! -s out ]
  : >empty.conf
  lint empty.conf
  expect 0
  grep -qx 'no setting to judge' out
}

@test "files that cannot be read: 2, or 5 when others can" {
  echo 'net.ipv4.tcp_syncookies = 1' >good.conf
  lint missing.conf
  expect 2
  [ ! -s out ]
  [ "$(wc -l <err)" -eq 1 ]
  grep -q "'missing.conf': No such file or directory" err
  lint .
  expect 2
  grep -q "'.': Is a directory" err
  lint good.conf missing.conf
  expect 5
  grep -q 'missing.conf' err
  grep -qx '1 setting: 1 idle' out
}

@test "names and lines of others are made harmless" {
  local name=$'a\033[31mb.conf'
  printf 'net.ipv4.tcp_fin_timeout = \033[2J\n\033]0;title\007\n\xe2\x80\xae hidden\n' >"$name"
  lint "$name" $'no\033[31mfile'
  expect 5
  LC_ALL=C run ! grep -qP '[\x00-\x09\x0b-\x1f\x7f]|\xe2\x80\xae' out err
}

@test "standard input is -" {
  status=0
  echo 'net.ipv4.tcp_tw_recycle = 1' | timeout 20 "$TIDEWAIT" tune lint - >out 2>err || status=$?
  expect 1
  grep -qx 'standard input' out
  grep -q '^      gone      Removed in Linux 4.12' out
}

@test "no line is wider than 100 columns" {
  local file
  for file in "$BATS_TEST_DIRNAME"/../lint/*; do
    lint "$file"
    [ "$(tail -n +2 out | LC_ALL=C.UTF-8 awk '{ if (length > n) n = length } END { print n + 0 }')" -le 100 ] || {
      cat out
      return 1
    }
  done
}

@test "JSON has each line, its verdict, and who overrides it" {
  printf '# first\nnet.core.somaxconn = 1024\n' >10-a.conf
  printf 'net.core.somaxconn = 8192\nhello\n' >20-b.conf
  lint --json 10-a.conf 20-b.conf
  expect 0
  [ "$(wc -l <out)" -eq 1 ]
  python3 - <<'END'
import json
d = json.load(open("out"))
assert d["schema"] == "tidewait.lint/1" and d["files"] == ["10-a.conf", "20-b.conf"], d
a, b, c = d["lines"]
assert (a["file"], a["line"], a["name"], a["verdict"]) == ("10-a.conf", 2, "net.core.somaxconn", "idle"), a
assert a["overridden_by"] == {"file": "20-b.conf", "line": 1}, a
assert "20-b.conf:1" in a["reason"], a
assert b["verdict"] == "fine" and b["scenario"] == "accept-queue-full" and b["overridden_by"] is None, b
assert c["verdict"] == "foreign" and c["name"] is None and c["reason"] is None, c
assert d["counts"]["fine"] == d["counts"]["idle"] == d["counts"]["foreign"] == 1, d
assert sum(d["counts"].values()) == 3, d
END
}

@test "an output that is full is told" {
  [ -w /dev/full ] || skip "there is no /dev/full here"
  echo 'net.ipv4.tcp_syncookies = 1' >good.conf
  status=0
  timeout 20 "$TIDEWAIT" tune lint good.conf >/dev/full 2>err || status=$?
  : >out
  expect 5
  grep -q 'cannot write to standard output' err
}

# in_system ARGUMENT...: tune lint with folders of its own in the place of the system's.
in_system() {
  local user=
  if ! unshare -mn true 2>/dev/null; then
    unshare -Urmn true 2>/dev/null || skip "no private mounts: neither root nor user namespaces"
    user=-Ur
  fi
  if [ ! -d /etc/sysctl.d ] || [ ! -d /usr/lib/sysctl.d ]; then
    skip "there are no folders of sysctl.d here"
  fi
  mkdir -p etc run/sysctl.d local/lib/sysctl.d lib
  status=0
  # shellcheck disable=SC2016 # for the inner shell
  unshare $user -mn timeout 20 sh -c 'mount --bind etc /etc/sysctl.d && mount --bind lib /usr/lib/sysctl.d &&
    mount --bind run /run && mount --bind local /usr/local && exec "$TIDEWAIT" tune lint "$@"' sh "$@" >out 2>err </dev/null || status=$?
}

@test "without a file: what the system applies, in its order" {
  mkdir -p etc run/sysctl.d run/systemd/system local/lib/sysctl.d lib
  echo 'net.core.somaxconn = 1024' >lib/90-late.conf
  echo 'net.core.somaxconn = 8192' >etc/10-early.conf
  echo 'net.ipv4.tcp_tw_recycle = 1' >lib/50-masked.conf
  echo 'net.ipv4.tcp_tw_reuse = 1' >run/sysctl.d/50-masked.conf
  echo 'net.ipv4.tcp_rfc1337 = 1' >local/lib/sysctl.d/60-local.conf
  echo 'net.ipv4.tcp_tw_recycle = 1' >etc/README
  ln -s /dev/null etc/70-off.conf
  echo 'net.ipv4.tcp_tw_recycle = 1' >lib/70-off.conf
  in_system --json
  expect 1
  python3 - <<'END'
import json
d = json.load(open("out"))
assert d["files"] == ["/etc/sysctl.d/10-early.conf", "/run/sysctl.d/50-masked.conf",
                      "/usr/local/lib/sysctl.d/60-local.conf", "/etc/sysctl.d/70-off.conf",
                      "/usr/lib/sysctl.d/90-late.conf"], d["files"]
assert [line["verdict"] for line in d["lines"]] == ["idle", "fine", "fine", "risky"], d
assert d["lines"][0]["overridden_by"] == {"file": "/usr/lib/sysctl.d/90-late.conf", "line": 1}, d
END
  # systemd reads the main file only where something links to it.
  if [ -e /etc/sysctl.conf ]; then
    grep -q '/etc/sysctl.conf is left out' err
    ln -s ../sysctl.conf etc/99-sysctl.conf
    in_system --json
    grep -q '"/etc/sysctl.d/99-sysctl.conf"' out
    [ ! -s err ]
    rm -r etc/99-sysctl.conf run/systemd
    in_system --json
    grep -q '"/etc/sysctl.conf"\]' out
    [ ! -s err ]
  fi
}
