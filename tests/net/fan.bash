# A world of hosts for `tidewait fan`, and what the tests do in it. For bats:
#
#   load fan
#   setup_file()    { world_start fan_world.sh COUNT TOOL...; }
#   teardown_file() { world_end; }
#   setup()         { world_enter; }
#
# shellcheck shell=bash disable=SC2034 # variables are for the tests

fan_files=${BASH_SOURCE[0]%/*}
TIDEWAIT=${TIDEWAIT:-$fan_files/../../build/cmd/tidewait}
PATH=$PATH:/usr/sbin:/sbin

# world_start SCRIPT COUNT TOOL...: one world for all tests of a file; why there is none is in $why. It is
# in the folder $world_folder.
world_start() {
  local script=$1 count=$2 tool tries=0 folder=$BATS_FILE_TMPDIR/world
  shift 2
  why=
  for tool in ip unshare nsenter python3 "$@"; do
    command -v "$tool" >/dev/null || why="there is no $tool here"
  done
  [ "$(id -u)" -eq 0 ] || why="hosts that let root in need root"
  [ -n "$why" ] || unshare -mnp -f true 2>/dev/null || why="no private namespaces here"
  export why world_folder=$folder
  [ -z "$why" ] || return 0
  mkdir "$folder"
  chmod 755 "$BATS_FILE_TMPDIR" "$folder"
  unshare -mnpf --kill-child --mount-proc "$fan_files/$script" "$folder" "$count" >"$folder/log" 2>&1 3>&- &
  world_shell=$!
  until [ -s "$folder/ready" ]; do
    tries=$((tries + 1))
    if [ $tries -eq 600 ] || ! kill -0 $world_shell; then
      cat "$folder"/*log
      return 1
    fi
    sleep 0.1
  done
  [ "$(cat "$folder/ready")" = ready ] || { cat "$folder/ready" "$folder"/*.log; return 1; }
  world=$(cat "/proc/$world_shell/task/$world_shell/children")
  world=${world% }
  export world world_shell
}

world_end() {
  [ -z "$world_shell" ] || kill -KILL "$world_shell"
}

world_enter() {
  [ -z "$why" ] || [[ $BATS_TEST_DESCRIPTION == local:* ]] || skip "$why"
  cd "$BATS_TEST_TMPDIR" || return
  chmod 755 .
}

# in_world COMMAND...: there, for $limit seconds at most; in the network of the host $from, if that is set.
in_world() {
  # Its root too: the mounts of a world that was made in a chroot are not below ours.
  nsenter -t "$world" --wd="$PWD" -r -m -n -p -- \
    ${from:+nsenter -t "$(cat "$world_folder/$from.pid")" -n --} \
    timeout --foreground -k 5 "${limit:-100}" "$@"
}

# fan ARGUMENT...: in the world; exit status in $status, output in the files out and err.
fan() {
  status=0
  in_world "$TIDEWAIT" fan "$@" >out 2>err </dev/null || status=$?
}

# expect STATUS: and otherwise what was printed.
expect() {
  [ "$status" -eq "$1" ] || {
    echo "exit status $status, wanted $1"
    head -c 4000 out err
    return 1
  }
}

# has FILE LINE: the very line; has_not the opposite.
has() { grep -qxF -- "$2" "$1" || { echo "no line '$2' in $1:"; head -c 4000 "$1"; return 1; }; }

until_true() {
  local tries=0
  until "$@"; do
    tries=$((tries + 1))
    [ $tries -lt 400 ] || { echo "waited in vain for: $*"; return 1; }
    sleep 0.05
  done
}

# counts N WORD FILE
counts() { [ "$(grep -cF "$2" "$3")" -eq "$1" ]; }

# How many processes of the world have this word in their command line.
alive() { in_world pgrep -cf "[ ]$1( |$)" || true; }
all_gone() { [ "$(alive "$1")" -eq 0 ]; }

# start ARGUMENT...: fan in the background, its pid in $fan; output in out and err.
start() {
  : >out
  in_world "$TIDEWAIT" fan "$@" >out 2>err </dev/null 3>&- &
  shell=$!
  until_true fan_is_there
}
# Behind a shell, nsenter and timeout.
fan_is_there() { fan=$(pgrep -P "$(pgrep -P "$(pgrep -P "$shell")")" -f "^$TIDEWAIT fan"); }
await() {
  status=0
  wait "$shell" || status=$?
}
