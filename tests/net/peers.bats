#!/usr/bin/env bats
# `load` against the servers and `serve` against the clients that people have, in private networks; and
# many robots against many destinations.
# shellcheck disable=SC2154,SC2086 # the variables are set in net.bash and hold one word each
bats_require_minimum_version 1.5.0
load net

setup() { net_up; }
teardown() { net_down; }

need() {
  for tool in "$@"; do
    command -v $tool >/dev/null || skip "there is no $tool here"
  done
}

# nginx on the ports given, in the server's network.
nginx_on() {
  local port listen=
  for port in "$@"; do listen+=" listen $server:$port backlog=4096;"; done
  cat >"$BATS_TEST_TMPDIR/nginx.conf" <<EOF
daemon off; master_process off; pid $BATS_TEST_TMPDIR/nginx.pid; error_log stderr crit;
events { worker_connections 4096; }
http {
  access_log off; client_body_temp_path $BATS_TEST_TMPDIR/b; proxy_temp_path $BATS_TEST_TMPDIR/p;
  fastcgi_temp_path $BATS_TEST_TMPDIR/f; uwsgi_temp_path $BATS_TEST_TMPDIR/u; scgi_temp_path $BATS_TEST_TMPDIR/s;
  server { $listen location / { return 200 "hello, world\n"; } location /none { return 404; } }
}
EOF
  start nginx server nginx -p "$BATS_TEST_TMPDIR" -e stderr -c "$BATS_TEST_TMPDIR/nginx.conf"
  until_true is_listening "$(printf %04X "$1")" || { cat "$BATS_TEST_TMPDIR/nginx.err"; return 1; }
}

# Every way of closing, one and several requests.
every_closing() {
  local url=$1 closing
  for closing in client server reset half; do
    run_load --count 400 -c 16 --close $closing "$url"
    expect 0 'completed == 400' 'failed == 0' 'errors.address.in_use_bind == 0'
  done
  run_load --count 200 -c 8 --requests uniform:1-10 "$url"
  expect 0 'completed == 200' 'requests > 400'
}

@test "nginx" {
  need nginx
  nginx_on 80
  every_closing http://$server/
  run_load --count 20 -c 4 http://$server/none
  expect 1 'errors.http_status == 20'
}

@test "haproxy in front of nginx" {
  need nginx haproxy
  nginx_on 8081
  cat >"$BATS_TEST_TMPDIR/haproxy.cfg" <<EOF
defaults
  mode http
  timeout connect 5s
  timeout client 5s
  timeout server 5s
listen front
  bind $server:80
  server nginx $server:8081
EOF
  start haproxy server haproxy -db -f "$BATS_TEST_TMPDIR/haproxy.cfg"
  until_true is_listening 0050 || { cat "$BATS_TEST_TMPDIR/haproxy.err"; return 1; }
  every_closing http://$server/
  stop nginx KILL
  run_load --count 20 -c 4 http://$server/
  expect 1 'errors.http_status == 20'
}

@test "Python's http.server, which speaks HTTP/1.0 and closes first" {
  mkdir "$BATS_TEST_TMPDIR/www"
  echo hello >"$BATS_TEST_TMPDIR/www/index.html"
  start python server python3 -m http.server --bind $server --directory "$BATS_TEST_TMPDIR/www" 80
  until_true is_listening 0050
  # Its accept queue holds 5.
  for closing in client server reset; do
    run_load --count 100 -c 2 --close $closing http://$server/
    expect 0 'completed == 100' 'failed == 0'
  done
  run_load --count 10 -c 2 http://$server/missing
  expect 1 'errors.http_status == 10'
}

@test "curl and wrk against serve" {
  need curl wrk
  serve --size 10KiB $server:80
  in_client curl -sS -o /dev/null -o "$BATS_TEST_TMPDIR/body" http://$server/ http://$server/
  [ "$(wc -c <"$BATS_TEST_TMPDIR/body")" -eq 10240 ]
  # With the port: wrk looks up the name of the service, and a minimal system has no /etc/services.
  in_client wrk -t1 -c8 -d1s http://$server:80/ >"$BATS_TEST_TMPDIR/wrk"
  in_client wrk -t1 -c8 -d1s -H 'Connection: close' http://$server:80/ >>"$BATS_TEST_TMPDIR/wrk"
  cat "$BATS_TEST_TMPDIR/wrk"
  run ! grep -E 'Socket errors|Non-2xx' "$BATS_TEST_TMPDIR/wrk"
  [ "$(grep -c 'requests in' "$BATS_TEST_TMPDIR/wrk")" -eq 2 ]
}

@test "200 source addresses x 20 destinations: no failure, and memory is told" {
  # The whole million is for `make bench`: it takes half a minute.
  serve $server:9000-9018 $server:9019
  urls=()
  for port in {9000..9019}; do urls+=("http://$server:$port/"); done
  run_load --from 10.77.0.10-10.77.0.209 --add-addresses $net_link --count 60000 "${urls[@]}"
  expect 0 'completed == 60000' 'failed == 0' 'budget.lanes == 4000' 'workload.sources == 200' \
    '0 < memory.ledger_bytes < memory.max_rss_bytes'
}
