#!/usr/bin/env bats
# Servers that are not changed, restarted while clients come all the time and some connections are open or half-closed:
# under `tidewait exec` never "Address already in use". TIDEWAIT_RESTARTS: how often each, by default 10.
# shellcheck disable=SC2154 # the variables are set in net.bash
bats_require_minimum_version 1.5.0
load net

setup() {
  folder=
  restarts=${TIDEWAIT_RESTARTS:-10}
  net_up
}
teardown() {
  net_down
  [ -z "$folder" ] || rm -rf "$folder"
}

# load_on PORT REQUEST: clients from the other network.
load_on() {
  limit=600 start load client python3 "$net_files/exec_load.py" "$server" "$1" "$BATS_TEST_TMPDIR/count" "$2"
  until_true has_line "$BATS_TEST_TMPDIR/count"
}

# restart SIGNAL COMMAND...: each time by SIGNAL or SIGKILL; all have served, none was refused.
restart() {
  local signal=$1
  shift
  limit=600 run in_server python3 "$net_files/exec_restart.py" "$restarts" "$signal" "$BATS_TEST_TMPDIR/count" \
    "$TIDEWAIT" exec -- "$@"
  echo "$output"
  [ "$output" = "ran $restarts refused 0" ]
}

# Without SO_REUSEADDR, and in TIME_WAIT for whoever is sent to the end.
server_py='
import socket, sys
s = socket.socket()
s.bind((sys.argv[1], 8080))
s.listen(128)
held = []
while True:
    c = s.accept()[0]
    c.recv(4096)
    c.send(b"hello\n")
    held.append(c)
    if len(held) > 50:
        held.pop(0).close()
    c.shutdown(socket.SHUT_WR)'

@test "a server without SO_REUSEADDR cannot be restarted by itself" {
  load_on 8080 'hello\n'
  run in_server python3 "$net_files/exec_restart.py" 4 SIGTERM "$BATS_TEST_TMPDIR/count" python3 -c "$server_py" "$server"
  echo "$output"
  [ "${lines[-1]}" = "ran 4 refused 3" ]
}

@test "and under exec it can" {
  load_on 8080 'hello\n'
  restart SIGTERM python3 -c "$server_py" "$server"
}

@test "nginx" {
  need nginx
  mkdir "$BATS_TEST_TMPDIR/logs"
  cat >"$BATS_TEST_TMPDIR/nginx.conf" <<EOF
daemon off;
worker_processes 2;
pid $BATS_TEST_TMPDIR/nginx.pid;
error_log stderr;
events { worker_connections 512; }
http {
  access_log off;
  client_body_temp_path $BATS_TEST_TMPDIR/logs;
  proxy_temp_path $BATS_TEST_TMPDIR/logs;
  fastcgi_temp_path $BATS_TEST_TMPDIR/logs;
  uwsgi_temp_path $BATS_TEST_TMPDIR/logs;
  scgi_temp_path $BATS_TEST_TMPDIR/logs;
  server { listen $server:8080; return 200 "hello"; }
}
EOF
  load_on 8080 'GET / HTTP/1.0\r\n\r\n'
  restart SIGTERM nginx -e stderr -c "$BATS_TEST_TMPDIR/nginx.conf"
}

@test "Redis" {
  need redis-server
  load_on 6379 'PING\r\nQUIT\r\n'
  restart SIGTERM redis-server --bind "$server" --port 6379 --save '' --protected-mode no --dir "$BATS_TEST_TMPDIR"
}

@test "PostgreSQL" {
  local user=()
  need postgres initdb
  # It runs as anybody but root, who cannot reach the folder of the test.
  folder=$(mktemp -d)
  if [ "$(id -u)" = 0 ]; then
    need setpriv
    id postgres >/dev/null 2>&1 || skip "there is no user postgres here"
    setpriv --reuid postgres --regid postgres --clear-groups test -x "$TIDEWAIT" || skip "postgres cannot reach $TIDEWAIT"
    chown postgres "$folder"
    user=(setpriv --reuid postgres --regid postgres --clear-groups)
  fi
  "${user[@]}" initdb -D "$folder/data" -A trust -U postgres --no-sync >/dev/null
  echo "host all all all trust" >>"$folder/data/pg_hba.conf"
  # A session that begins, and asks nothing.
  load_on 5432 '\0\0\0\x17\0\x03\0\0user\0postgres\0\0'
  restart SIGINT "${user[@]}" postgres -D "$folder/data" -h "$server" -k '' -F \
    -c dynamic_shared_memory_type=mmap
}

@test "Java, without SO_REUSEADDR of its own" {
  need java javac
  cat >"$BATS_TEST_TMPDIR/Hello.java" <<'JAVA'
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;
public class Hello {
    public static void main(String[] args) throws Exception {
        ServerSocket server = new ServerSocket();
        server.setReuseAddress(false);
        server.bind(new InetSocketAddress(args[0], 8080));
        while (true) {
            Socket s = server.accept();
            new Thread(() -> {
                try (s) {
                    s.getInputStream().read(new byte[100]);
                    s.getOutputStream().write("hello\n".getBytes());
                } catch (Exception e) { }
            }).start();
        }
    }
}
JAVA
  javac -d "$BATS_TEST_TMPDIR" "$BATS_TEST_TMPDIR/Hello.java"
  load_on 8080 'hello\n'
  restart SIGTERM java -Xmx64m -Xshare:auto -cp "$BATS_TEST_TMPDIR" Hello "$server"
}
