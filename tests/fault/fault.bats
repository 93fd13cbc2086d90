#!/usr/bin/env bats
# Each call that `load` and `why` make of libc fails in turn (fault.c): never a crash, a hang, a descriptor
# left open or a lost result. Either the run is refused with one line and an exit status of its own, or it
# is done, its accounts balance, and what could not be written is told.
# shellcheck disable=SC2154,SC2086 # the variables are set in net.bash and hold one word each
bats_require_minimum_version 1.5.0
load ../net/net

setup() {
  [ -s "${FAULT_SO-}" ] || skip "FAULT_SO names no fault.so"
  # A sanitizer's runtime has to come first, and then has its own memory functions.
  sanitizer=$(ldd "$TIDEWAIT" | awk '/lib[alt]san|libubsan/ { print $3 }' | tr '\n' ' ')
  shape=(--count 50)
  net_up
  peer chunked
}
teardown() { [ -z "${client_net-}" ] || net_down; }

# faulty N FAULT ARGS: one run, with what it left in N.json, N.err, N.log and N.
faulty() {
  local at=$BATS_TEST_TMPDIR/$1 fault=$2
  shift 2
  status=0
  limit=20 in_client env LD_PRELOAD="$sanitizer$FAULT_SO" FAULT="$fault" FAULT_LOG="$at.log" "$TIDEWAIT" load -q \
    --json "$at.json" --timeout 400ms --seed 1 --ports 3000-3199 -c 8 --threads 2 "${shape[@]}" "$@" \
    http://$server/ >"$at.out" 2>"$at.err" || status=$?
}

# verdict N FAULT: what is wrong with the run, if anything; adds the record to $records when there is one.
verdict() {
  local at=$BATS_TEST_TMPDIR/$1 lines
  lines=$(wc -l <"$at.err")
  if [ "$status" -ge 99 ]; then
    echo "$2: exit status $status"
  elif [ ! -s "$at.log" ]; then
    echo "$2: did not come to its end"
  elif grep -q ^leak "$at.log"; then
    echo "$2: $(grep ^leak "$at.log")"
  elif [ "$status" -eq 5 ]; then
    # The record could not be written: the figures must stand elsewhere.
    cat "$at.out" "$at.err" | grep -q ' attempted = ' || echo "$2: exit status 5 without figures"
  elif [ -s "$at.json" ]; then
    case $status in 0 | 1 | 70) records+=("$at.json") ;; *) echo "$2: exit status $status with a record" ;; esac
  elif [ "$status" -eq 0 ]; then
    echo "$2: success without a record"
  elif [ "$lines" -ne 1 ] || ! grep -q '^tidewait' "$at.err"; then
    echo "$2: exit status $status with $lines lines of explanation"
  else
    return 0
  fi
  [ ! -s "$at.err" ] || sed 's/^/    /' "$at.err"
}

# each FUNCTION ERRNO "N..." ARGS: fails the function at each N.
each() {
  local function=$1 code=$2 numbers=$3 number run=0 found='' text
  shift 3
  records=()
  case $function in *alloc*) [ -z "$sanitizer" ] || skip "memory is the sanitizer's here" ;; esac
  for number in $numbers; do
    run=$((run + 1))
    faulty $run "$function:$number:$code" "$@"
    text=
    verdict $run "$function:$number:$code" >"$BATS_TEST_TMPDIR/verdict"
    text=$(cat "$BATS_TEST_TMPDIR/verdict")
    case $text in "$function"*) found+=$text$'\n' ;; esac
  done
  [ -z "$found" ] || printf '%s' "$found"
  [ ${#records[@]} -eq 0 ] || timeout 60 python3 "$net_files/field.py" "${records[@]}" -- \
    'attempted == 50 or missed or workload.peak or ports_refused.bind + ports_refused.connect > 0' 'completed > 0 or missed' || found=1
  [ -z "$found" ]
}

# all_of FUNCTION: 1 2 3 ... up to the number of calls in a run without faults, at most $1.
all_of() {
  faulty 0 "$2:0:EIO"
  seq 1 "$(awk -v most="$1" '$1 == "calls" { print ($2 < most ? $2 : most) }' "$BATS_TEST_TMPDIR/0.log")"
}

@test "nothing fails: nothing is left open, every close() is counted" {
  faulty 1 close:0:EIO
  [ "$status" -eq 0 ]
  [ ! -s "$BATS_TEST_TMPDIR/1.err" ]
  run ! grep ^leak "$BATS_TEST_TMPDIR/1.log"
  [ "$(awk '$1 == "calls" { print $2 }' "$BATS_TEST_TMPDIR/1.log")" -gt 8 ]
  timeout 20 python3 "$net_files/field.py" "$BATS_TEST_TMPDIR/1.json" -- 'completed == 50' 'kernel'
}

@test "socket: EMFILE" { each socket EMFILE "1 2 3 4 9 20 1+ 2+ 5+"; }
@test "socket: ENOBUFS" { each socket ENOBUFS "1 2 3 4 2+ 5+"; }
@test "bind: EADDRINUSE" { each bind EADDRINUSE "1 2 3 9 1+ 5+" --duration 1s; }
@test "bind: EACCES" { each bind EACCES "1 2 3 9 1+"; }
@test "bind: EADDRNOTAVAIL" { each bind EADDRNOTAVAIL "1 2 1+"; }
@test "connect: ENOBUFS" { each connect ENOBUFS "1 2 3 9 30 1+ 2+ 9+"; }
@test "connect: EADDRNOTAVAIL" { each connect EADDRNOTAVAIL "1 2 3 9 30 2+" --duration 1s; }
@test "connect: EAGAIN" { each connect EAGAIN "2 3 30 2+" --duration 1s; }
@test "connect: EPERM" { each connect EPERM "2 9 2+"; }
@test "connect: ENETUNREACH" { each connect ENETUNREACH "1 2 2+"; }
@test "epoll_create1" { each epoll_create1 EMFILE "1 2 1+"; }
@test "epoll_ctl" { each epoll_ctl ENOSPC "1 2 5 1+ 5+"; }
@test "epoll_pwait2: ENOSYS" { each epoll_pwait2 ENOSYS "1 2 1+"; }
@test "epoll_pwait2: EPERM" { each epoll_pwait2 EPERM "1 1+"; }
@test "epoll_pwait2: EINTR" { each epoll_pwait2 EINTR "1 2 5"; }
@test "epoll_pwait2: ENOMEM" { each epoll_pwait2 ENOMEM "1 2 5 1+"; }
@test "epoll_pwait2: ENOMEM in an open loop" { each epoll_pwait2 ENOMEM "1 1+" --rate 100/s; }
@test "send" { each send ECONNRESET "1 2 20 1+"; }
@test "send: ENOBUFS" { each send ENOBUFS "1 1+"; }
@test "recv" { each recv ECONNRESET "1 2 20 1+"; }
@test "recv: ENOMEM" { each recv ENOMEM "1 1+"; }
@test "shutdown" { each shutdown ENOTCONN "1 2 20 1+"; }
@test "setsockopt" { each setsockopt ENOPROTOOPT "1 2 3 9 1+"; }
@test "getsockopt" { each getsockopt ENOBUFS "1 2 1+"; }
@test "getpeername" { each getpeername ENOBUFS "1 2 9 1+"; }
@test "pthread_create" { each pthread_create EAGAIN "1 2 1+"; }
@test "open" { each open EACCES "$(all_of 10 open) 1+"; }
@test "open: EMFILE" { each open EMFILE "1+"; }
@test "fopen" { each fopen EMFILE "1 2 1+"; }
@test "fopen: two outputs" { each fopen EACCES "1 2 3" --hdr "$BATS_TEST_TMPDIR/hdr"; }
@test "read" { each read EIO "$(all_of 8 read) 1+"; }
@test "write" { each write EIO "1 1+"; }
@test "malloc: the first" { each malloc ENOMEM "$(all_of 24 malloc)"; }
@test "malloc: later ones" { each malloc ENOMEM "25 28 29 30 31 32 40 60 100 200 1+ 9+ 30+"; }
@test "malloc: the log" { each malloc ENOMEM "26 27 28 29 30 31 32 26+" --hdr "$BATS_TEST_TMPDIR/hdr"; }
@test "calloc" { each calloc ENOMEM "$(all_of 36 calloc) 1+ 5+ 12+"; }
@test "calloc: --peak" { shape=(--peak --rate 50/s --duration 1s) && each calloc ENOMEM "$(all_of 60 calloc | tail -n 4)"; }
@test "malloc: --peak" { shape=(--peak --rate 50/s --duration 1s) && each malloc ENOMEM "9 11 13 20"; }
@test "epoll_pwait2: --peak" { shape=(--peak --rate 50/s) && each epoll_pwait2 ENOMEM "5 1+"; }
@test "realloc" { each realloc ENOMEM "$(all_of 9 realloc) 1+"; }
@test "reallocarray" { each reallocarray ENOMEM "$(all_of 16 reallocarray) 1+ 5+"; }

# --- why ---------------------------------------------------------------------------------------------

# each_why FUNCTION ERRNO "N..." ARGS: fails the function at each N while `why` is asked about an address
# that a server has. It is answered, or refused with one line; "free" would be wrong, whatever fails.
each_why() {
  local function=$1 code=$2 numbers=$3 number found='' at=$BATS_TEST_TMPDIR/why
  shift 3
  case $function in *alloc*) [ -z "$sanitizer" ] || skip "memory is the sanitizer's here" ;; esac
  for number in $numbers; do
    rm -f "$at.log"
    status=0
    limit=20 in_server env LD_PRELOAD="$sanitizer$FAULT_SO" FAULT="$function:$number:$code" FAULT_LOG="$at.log" \
      "$TIDEWAIT" why "$@" >"$at.out" 2>"$at.err" || status=$?
    if [ "$status" -ge 99 ] || [ ! -s "$at.log" ]; then
      found+="$function:$number: exit status $status"$'\n'
    elif grep -q ^leak "$at.log"; then
      found+="$function:$number: $(grep ^leak "$at.log")"$'\n'
    elif [ "$status" -eq 1 ] && [ -s "$at.out" ] && [ ! -s "$at.err" ]; then
      :
    elif [ "$status" -lt 2 ] || [ -s "$at.out" ] || [ "$(wc -l <"$at.err")" -ne 1 ] || ! grep -q '^tidewait' "$at.err"; then
      found+="$function:$number: exit status $status$(sed 's/^/\n    /' "$at.err" "$at.out")"$'\n'
    fi
  done
  printf '%s' "$found"
  [ -z "$found" ]
}

# all_of_why FUNCTION MOST ARGS: 1 2 3 ... up to the number of calls without faults.
all_of_why() {
  local function=$1 most=$2
  shift 2
  in_server env LD_PRELOAD="$sanitizer$FAULT_SO" FAULT="$function:0:EIO" FAULT_LOG="$BATS_TEST_TMPDIR/count.log" \
    "$TIDEWAIT" why "$@" >/dev/null 2>&1 || true
  seq 1 "$(awk -v most="$most" '$1 == "calls" { print ($2 < most ? $2 : most) }' "$BATS_TEST_TMPDIR/count.log")"
}

@test "why: nothing fails" { each_why close EIO 0 $server:80; }
# malloc() is left out: glibc itself crashes in getpwuid() when it has no memory for its databases (2.36).
@test "why: malloc, JSON" { each_why malloc ENOMEM "$(all_of_why malloc 999 --json $server:80 | tail -n 60)" --json $server:80; }
@test "why: calloc" { each_why calloc ENOMEM "$(all_of_why calloc 40 $server:80) 1+ 3+" $server:80; }
@test "why: realloc" { each_why realloc ENOMEM "$(all_of_why realloc 40 $server:80) 1+" $server:80; }
@test "why: socket: EMFILE" { each_why socket EMFILE "1 2 3 4 5 6 1+ 2+" $server:80; }
@test "why: open: EMFILE" { each_why open EMFILE "$(all_of_why open 60 $server:80) 1+ 5+" $server:80; }
@test "why: read" { each_why read EIO "$(all_of_why read 20 $server:80) 1+" $server:80; }
@test "why: fopen" { each_why fopen EMFILE "1 2 3 1+" $server:80; }
@test "why: pthread_create" { each_why pthread_create EAGAIN "1 1+" --as 65534 $server:80; }
