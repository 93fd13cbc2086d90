#!/usr/bin/env bats
# Bad input of `tidewait` and `tidewait load`: one line on standard error that quotes what is wrong, nothing
# on standard output, exit status 2. Help and version: standard output, 0. Nothing here touches the network.
bats_require_minimum_version 1.5.0
load refusal

TIDEWAIT=${TIDEWAIT:-$BATS_TEST_DIRNAME/../../build/tidewait}
url=http://127.0.0.1:9/

# refused QUOTE ARGUMENT...: with exit status 2.
refused() { refusal 2 "$@"; }

# Words of load's command line; URL is a good one.
row() {
  local quote=$1
  shift
  refused "$quote" load "${@/#URL/$url}"
}

setup() { bad=; }

@test "commands" {
  refused "'nonsense'" nonsense
  refused "'--nonsense'" --nonsense
  refused "''" ''
  refused "'Load'" Load
  [ -z "$bad" ]
}

@test "no command: the usage on standard error" {
  run --separate-stderr -2 timeout 20 "$TIDEWAIT"
  [ -z "$output" ]
  [[ $stderr == Usage:* ]]
}

@test "options that do not exist" {
  table <<'EOF'
'--nonsense'   | --nonsense URL
'--nonsense=1' | --nonsense=1 URL
'-x'           | -x URL
'-x'           | -qx URL
'--rat'        | --rat 5/s URL
'---'          | --- URL
'--Ports'      | --Ports 1-2 URL
EOF
}

@test "values that are missing or not wanted" {
  table <<'EOF'
--ports needs a value       | URL --ports
-c needs a value            | URL -c
--rate needs a value        | URL --rate
--json needs a value        | URL --json=
--from needs a value        | URL --from=
--spread takes no value     | --spread=1 URL
'1'                         | --quiet=1 URL
EOF
}

@test "ports" {
  table <<'EOF'
70000         | --ports 70000 URL
70000         | --ports 3000-70000 URL
5000-3000     | --ports 5000-3000 URL
5000:3000     | --ports 5000:3000 URL
--ports       | --ports 0 URL
abc           | --ports abc URL
3000-         | --ports 3000- URL
-5            | --ports=-5 URL
--ports       | --ports 1,,2 URL
4000-5        | --ports 3000-4000-5 URL
no source port is left | --ports 9 URL
EOF
}

@test "numbers" {
  table <<'EOF'
'0'       | -c 0 URL
'-1'      | -c -1 URL
'1x'      | --connections 1x URL
'4000001' | -c 4000001 URL
'0'       | --count 0 URL
'99999999999999999999' | --count 99999999999999999999 URL
'2000'    | --threads 2000 URL
'0x10'    | --seed 0x10 URL
--requests| --requests 0 URL
'x'       | --requests zipf:x URL
'uniform:9-1' | --requests uniform:9-1 URL
EOF
}

@test "units of times, rates and shares" {
  table <<'EOF'
'5parsecs' | --duration 5parsecs URL
'5'        | --duration 5 URL
's'        | --duration s URL
'-1s'      | --timeout=-1s URL
--timeout  | --timeout 0s URL
'1e99h'    | --warmup 1e99h URL
'5/fortnight' | --rate 5/fortnight URL
'fast'     | --rate fast URL
0          | --rate 0/s URL
'150%'     | --abort 150% URL
'x%'       | --abort x% URL
'1x'       | --think uniform:1x-2x URL
'100..200' | --ramp 100..200 URL
'a..b/1s'  | --ramp a..b/1s URL
'1..2/0s'  | --ramp 1..2/0s URL
'1..2/x'   | --ramp 1..2/x URL
EOF
}

@test "choices" {
  table <<'EOF'
'nobody'  | --close nobody URL
''        | --close= URL
'uniform' | --arrivals uniform URL
'Client'  | --close Client URL
EOF
}

@test "options that contradict each other" {
  table <<'EOF'
--ramp            | --ramp 1..2/1s --rate 5/s URL
--peak            | --ramp 1..2/1s --peak URL
--count           | --peak --count 5 URL
-4 and -6         | -4 -6 URL
--free-bind       | --add-addresses lo --free-bind --from 127.0.0.1 URL
--quiet           | -q -v URL
--arrivals poisson| --arrivals poisson URL
--from            | --free-bind URL
--from            | --add-addresses lo URL
tcp://            | --send x URL
tcp://            | --expect x URL
EOF
}

@test "targets" {
  table <<'EOF'
URL is missing             | -q
'ftp://a/'                 | ftp://a/
https://127.0.0.1/         | https://127.0.0.1/
TLS is not supported       | https://127.0.0.1/
'127.0.0.1:80'             | 127.0.0.1:80
'http://'                  | http://
'http://:80/'              | http://:80/
70000                      | http://127.0.0.1:70000/
'0'                        | http://127.0.0.1:0/
'x'                        | http://127.0.0.1:x/
'http://::1/'              | http://::1/
'http://[::1/'             | http://[::1/
'tcp://127.0.0.1:9/path'   | tcp://127.0.0.1:9/path
'0'                        | http://127.0.0.1/#weight=0
'1001'                     | http://127.0.0.1/#weight=1001
'http://127.0.0.1/#share=2'| http://127.0.0.1/#share=2
'127.0.0.1'                | -6 http://127.0.0.1/
'::1'                      | -4 http://[::1]/
'256.256.256.256'          | http://256.256.256.256/
EOF
  refused 'blank or control' load $'http://127.0.0.1/a b'
  refused 'blank or control' load $'http://127.0.0.1/a\r\nX: y'
  [ -z "$bad" ]
}

@test "source addresses" {
  table <<'EOF'
'nonsense'          | --from nonsense URL
'99'                | --from 10.0.0.0/99 URL
'x'                 | --from 10.0.0.0/x URL
10.0.0.9-10.0.0.1   | --from 10.0.0.9-10.0.0.1 URL
'::1'               | --from 10.0.0.1-::1 URL
300.0.0.1           | --from 300.0.0.1 URL
127.0.0.2 twice     | --from 127.0.0.2 --from 127.0.0.2 URL
127.0.0.3 twice     | --from 127.0.0.1-127.0.0.5 --from 127.0.0.3 URL
family              | --from 127.0.0.1 http://[::1]:9/
EOF
}

@test "files" {
  table <<'EOF'
'/nonexistent/file'   | --send @/nonexistent/file tcp://127.0.0.1:9
'/nonexistent/file'   | --expect @/nonexistent/file tcp://127.0.0.1:9
'/'                   | --send @/ tcp://127.0.0.1:9
'/nonexistent/x.json' | --json /nonexistent/x.json URL
'/nonexistent/x.hdr'  | --hdr /nonexistent/x.hdr URL
'\q'                  | --send a\q tcp://127.0.0.1:9
'\xzz'                | --send a\xzz tcp://127.0.0.1:9
'no-such-netns'       | -N no-such-netns URL
'../x'                | -N ../x URL
EOF
}

@test "thresholds" {
  table <<'EOF'
'p99'         | --fail-if p99 URL
'pink>5ms'    | --fail-if pink>5ms URL
'5'           | --fail-if p99>5 URL
'fast'        | --fail-if rate<fast URL
'x'           | --fail-if errors>x URL
'nowhere.p99>5ms' | --fail-if nowhere.p99>5ms URL
EOF
}

@test "an option too often" {
  many=()
  for _ in $(seq 70); do many+=(--fail-if 'errors>0'); done
  refused '--fail-if was given more than' load "${many[@]}" $url
  [ -z "$bad" ]
}

@test "long input does not overflow" {
  long=$(head -c 5000 /dev/zero | tr '\0' a)
  for option in --ports --from --rate --duration --requests --think --abort --close --count --ramp --fail-if; do
    refused aaaa load $option "$long" $url
  done
  refused aaaa load "http://$long/"
  refused aaaa load "--$long"
  refused aaaa "$long"
  [ -z "$bad" ]
}

@test "help on standard output" {
  for words in --help -h help 'help load' 'load --help' 'load -h' 'load --rate 5/s --help' 'serve --help' 'completion --help'; do
    # shellcheck disable=SC2086 # words are words
    run --separate-stderr -0 timeout 20 "$TIDEWAIT" $words
    [[ $output == Usage:* ]]
    [ -z "$stderr" ]
  done
}

@test "help is at most 100 columns wide and names every option once" {
  run -0 timeout 20 "$TIDEWAIT" load --help
  awk 'length($0) > 100 { print "too wide: " $0; bad = 1 } END { exit bad }' <<<"$output"
  [ "$(grep -oE '^  (-., |    )--[a-z0-9-]+' <<<"$output" | grep -oE -- '--[a-z0-9-]+' | sort | uniq -d | wc -l)" -eq 0 ]
}

@test "version on standard output" {
  for option in --version -V; do
    run --separate-stderr -0 timeout 20 "$TIDEWAIT" $option
    [[ $output == "tidewait "* ]]
    [ -z "$stderr" ]
  done
}
