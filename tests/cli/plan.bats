#!/usr/bin/env bats
# `tidewait plan`: the arithmetic as the command tells it, for hosts that are not this one; files that it
# reads and writes; and bad input: one line that quotes what is wrong, exit status 2.
bats_require_minimum_version 1.5.0
load refusal

TIDEWAIT=${TIDEWAIT:-$BATS_TEST_DIRNAME/../../build/tidewait}

setup() {
  bad=
  cd "$BATS_TEST_TMPDIR" || return 1
}

# refused QUOTE ARGUMENT...: with exit status 2.
refused() { refusal 2 "$1" plan "${@:2}"; }

# Words of plan's command line; RATE is a good --rate.
row() {
  local quote=$1
  shift
  refused "$quote" "${@/#RATE/--rate=5/s}"
}

# plan STATUS ARGUMENT...: the text in out, the record in json.
plan() {
  local wanted=$1 status=0
  shift
  timeout 60 "$TIDEWAIT" plan --json json "$@" >out 2>err || status=$?
  [ "$status" -eq "$wanted" ] || { echo "exit status $status, wanted $wanted"; cat out err; return 1; }
}

# holds EXPRESSION...: Python on the last record.
holds() {
  python3 - "$@" <<'PYTHON'
import json, math, sys
class Fields(dict):
    __getattr__ = dict.__getitem__
p = json.load(open("json"), object_hook=Fields)
a = p.get("answer")
bounds = {b.limit: b for b in a.bounds} if a else {}
cures = {c.name: c for c in p.get("cures", [])}
def near(x, y, share=1e-6): return abs(x - y) <= share * abs(y)
wrong = [e for e in sys.argv[1:] if not eval(e)]
for e in wrong: print("does not hold:", e)
if wrong: print(json.dumps({k: v for k, v in p.items() if k != "series"}, indent=1))
sys.exit(bool(wrong))
PYTHON
}

# A record of `load`, with only what plan reads.
record() {
  cat >run.json <<'EOF2'
{"schema": "tidewait.run/1",
 "workload": {"targets": ["http://10.0.0.5:80/", "http://10.0.0.6:80/"], "sources": 3, "ports": "20000-20999",
   "close": "client", "arrivals": "poisson", "rate_per_s": 400, "requests": "4", "think": "10ms", "peak": false},
 "rate_per_s": 390.5, "opened": 1000, "completed": 998, "requests": 4000,
 "closed_by": {"client": 990, "server": 8, "reset": 0},
 "latency_us": {"connect": {"mean": 1000}, "last_byte": {"mean": 2000}, "close": {"mean": 500},
   "total": {"mean": 99999}},
 "budget": {"lanes": 6, "ports_per_lane": 1000}}
EOF2
}

# --- the arithmetic ---

@test "not sustained: exit 1, seconds to exhaustion, the rate that lasts" {
  plan 1 --os linux --rate 5000/s --hold 200ms
  holds 'p.schema == "tidewait.plan/1"' 'a.suffices == False' 'near(a.exhausted_s, 28232 / 5000)' \
    'near(a.half_full_s, 14116 / 5000)' 'near(a.occupied_s, 62.25)' 'near(a.sustainable_per_s, 28232 / 62.25)' \
    'a.limited_by == "tuples"' 'near(a.refused_share, 1 - 28232 / (5000 * 62.25))' \
    'bounds["conntrack"].capacity is None' 'bounds["files"].exhausted_s is None' 'p.nat is None' \
    'p.simulation is None' 'len(p.series) > 100' 'p.series[0].at_s == 0 and p.series[0].in_use == 0' \
    'cures["server-closes"].answer.suffices' 'cures["keep-alive"].workload.requests == 11 or cures["keep-alive"].workload.requests == 12'
  grep -q '^5,000/s from 1 address to 1 endpoint, on linux: NO$' out
  grep -q 'after 5.65 s connect() is refused (EADDRNOTAVAIL); 454/s can be sustained' out
  grep -q '^ *28,232 +--' out
  grep -q 'server-closes' out
}

@test "sustained: exit 0" {
  plan 0 --os linux --rate 100/s
  holds 'a.suffices' 'a.exhausted_s is None' 'a.refused_share == 0' 'a.half_full_s is None'
  grep -q ': yes, without end$' out
  grep -q 'up to 455/s can be sustained' out
  run ! grep -q 'what helps' out
}

@test "who closes, keep-alive, addresses, endpoints, a pool" {
  plan 0 --os linux --rate 5000/s --hold 1s --close server
  holds 'a.cooling_s == 0' 'near(a.sustainable_per_s, 28232)'
  plan 0 --os linux --rate 5000/s --close reset
  plan 0 --os linux --rate 4000/s --requests-per-connection 10
  holds 'near(a.connections_per_s, 400)'
  plan 0 --os linux --rate 4000/s --from 10.0.0.1-10.0.0.3 --to 10.1.0.1:80-81,10.1.0.2:80
  holds 'a.lanes == 9' 'p.workload.sources == 3' 'p.workload.destinations == 3'
  plan 1 --os linux --rate 300/s --idle-pool 20000
  holds 'a.tuples == 8232' 'near(a.sustainable_per_s, 8232 / 62.05)'
  plan 1 --os linux --rate 4000/s --to 9 --ports bind
  holds 'a.lanes == 1'
  plan 0 --os linux --rate 4000/s --ports managed
  holds 'a.cooling_s < 0.01' 'a.half_full_s is None'
}

@test "tcp_tw_reuse=2 counts on the loopback alone" {
  plan 1 --os linux --rate 5000/s --to 10.0.0.1:80
  holds 'near(a.cooling_s, 62.05)'
  plan 0 --os linux --rate 5000/s --to '127.0.0.1:80,127.0.0.2:80-89'
  holds 'near(a.cooling_s, 1)' 'a.lanes == 11'
  plan 1 --os linux --rate 5000/s --to '127.0.0.1:80,10.0.0.1:80'
  plan 0 --os linux --rate 5000/s --to '[::1]:80'
  plan 1 --os linux --rate 5000/s --to '[::1]:80' --tw-reuse 0
  plan 1 --os linux --rate 5000/s --to '[::1]:80' --timestamps off
  plan 0 --os linux --rate 5000/s --to 10.0.0.1:80 --tw-reuse 1
}

@test "single limits" {
  plan 1 --os linux --rate 500/s --range 10000-10999 --reserved 10000,10990-11005
  holds 'p.system.ports == 989'
  plan 1 --os linux --rate 500/s --range '10000 10999'
  holds 'p.system.ports == 1000'
  plan 1 --os linux --rate 5000/s --tw-reuse 1 --tw-reuse-delay 60s
  holds 'near(a.cooling_s, 60)'
  plan 0 --os linux --rate 500/s --time-wait 30s
  holds 'near(a.sustainable_per_s, 28232 / 30)'
  plan 1 --os linux --rate 100/s --hold 1s --files 50
  holds 'a.limited_by == "files"' 'near(a.exhausted_s, 0.5)' 'a.sustainable_per_s == 50'
  grep -q 'EMFILE' out
  plan 1 --os linux --rate 100/s --conntrack 1000
  holds 'a.limited_by == "conntrack"' 'near(a.exhausted_s, 10)'
  plan 0 --os linux --rate 100/s --time-waits 1000
  holds 'near(bounds["time-waits"].exhausted_s, 10)'
  plan 0 --os linux --rate 100/s --somaxconn 50
  holds 'near(a.stall_s, 0.5)'
}

@test "other systems and gateways" {
  plan 1 --os windows-xp --rate 100/s
  holds 'p.system.ports == 3976' 'near(a.sustainable_per_s, 3976 / 240)'
  grep -q MaxUserPort out
  plan 0 --os windows-xp --rate 100/s --range 1024-65535 --time-wait 30s
  holds 'p.system.ports == 64512'
  plan 1 --os linux --rate 100/s --nat ports=1000,hold=60s
  holds 'p.nat.ports == 1000' 'a.limited_by == "nat"' 'near(a.exhausted_s, 10)'
  plan 0 --os linux --rate 100/s --nat aws
  for os in linux-4.1 windows windows-2003 freebsd macos; do plan 0 --os $os --rate 1/s; done
  for nat in gcp azure; do plan 0 --os linux --rate 0.1/s --nat $nat; done
}

@test "--os linux is what --limits starts from" {
  echo 'somaxconn = 4096' >limits
  plan 1 --os linux --rate 5000/s
  mv json os.json
  plan 1 --limits limits --rate 5000/s
  python3 - <<'PYTHON'
import json
a, b = (json.load(open(name))["system"] for name in ("os.json", "json"))
differ = [k for k in a if a[k] != b[k] and k not in ("name", "note")]
assert not differ, [(k, a[k], b[k]) for k in differ]
PYTHON
  holds 'p.system.name == "the host of limits"'
}

@test "--limits: as sysctl -a prints them" {
  cat >limits <<'EOF2'
# of web1
abi.vsyscall32 = 1
net.ipv4.ip_local_port_range = 1024	65535
net.ipv4.ip_local_reserved_ports = 8080,9000-9009
-net/ipv4/tcp_tw_reuse=1
net.ipv4.tcp_tw_reuse_delay = 500
tcp_max_tw_buckets=1000

; a comment
net.core.somaxconn = 128
nf_conntrack_max = 5000
nf_conntrack_count = 1000
fs.file-max = 4000
nofile = 100000
EOF2
  plan 0 --limits limits --rate 10/s --hold 1s
  holds 'p.system.ports == 64512 - 11' 'p.system.reuse_s == 0.5' 'p.system.time_waits == 1000' \
    'p.system.accept_queue == 128' 'p.system.conntrack == 4000' 'p.system.files == 4000'
  plan 0 --limits limits --rate 10/s --tw-reuse 0 --files 77
  holds 'p.system.reuse_s is None' 'p.system.files == 77'
}

@test "--like: a record of load, and what is typed wins" {
  record
  plan 0 --like run.json --os linux
  holds 'near(p.workload.rate_per_s, 1600)' 'p.workload.requests == 4' 'near(p.workload.hold_s, 0.0395)' \
    'p.workload.close == "client"' 'p.workload.ports == "managed"' 'p.workload.arrivals == "poisson"' \
    'p.workload.sources == 3' 'p.workload.destinations == 2' 'p.system.ports == 1000' '"run.json" in p.like'
  plan 1 --like run.json --os linux --ports kernel --rate 4000/s --requests-per-connection 1 --hold 1s \
    --from 1 --to 1
  holds 'p.workload.rate_per_s == 4000' 'p.workload.requests == 1' 'p.workload.hold_s == 1' \
    'p.system.ports == 28232' 'a.lanes == 1'
  plan 0 --like run.json --os linux --close client --range 20000-29999
  holds 'p.workload.close == "client"' 'p.system.ports == 10000'
  sed -i 's/"client": 990, "server": 8/"client": 8, "server": 990/; s/10\.0\.0\.[56]/127.0.0.1/g' run.json
  plan 0 --like run.json --os linux
  holds 'p.workload.close == "server"' 'p.system.reuse_s == 1'
  plan 0 --like run.json --os linux --close client
  holds 'p.workload.close == "client"'
}

@test "--simulate: agrees with the formula, and is repeated by its seed" {
  plan 1 --os linux --rate 100/s --range 10000-10999 --time-wait 20s --arrivals poisson --simulate --for 200s
  holds 'near(p.simulation.refused_share, a.refused_random, 0.05)' 'p.simulation.duration_s == 200' \
    '"simulated" in p.series[0]' 'p.simulation.in_use_max <= 1000' 'near(p.simulation.first_refused_s, 10, 0.3)'
  grep -q '^  simulated ' out
  cp json first.json
  plan 1 --os linux --rate 100/s --range 10000-10999 --time-wait 20s --arrivals poisson --simulate --for 200s
  cmp json first.json
  plan 1 --os linux --rate 100/s --range 10000-10999 --time-wait 20s --arrivals poisson --simulate --for 200s \
    --seed 2
  run ! cmp -s json first.json
}

# --- outputs ---

@test "--csv: a head, then points that rise; with --simulate a column more" {
  plan 1 --os linux --rate 5000/s --csv csv
  [ "$(head -1 csv)" = at_s,in_use,tuples ]
  [ "$(wc -l <csv)" -gt 100 ]
  awk -F, 'NR > 1 { if (NF != 3 || $3 != 28232 || $1 < t || $2 < u) exit 1; t = $1; u = $2 }
    END { exit !(t > 5.65 && u > 28232) }' csv
  plan 1 --os linux --rate 5000/s --simulate --csv csv
  [ "$(head -1 csv)" = at_s,in_use,simulated,tuples ]
}

@test "standard output: text, -q, and - for JSON and CSV" {
  run --separate-stderr -1 "$TIDEWAIT" plan --os linux --rate 5000/s -q
  [ -z "$output$stderr" ]
  run --separate-stderr -1 "$TIDEWAIT" plan --os linux --rate 5000/s --json -
  python3 -c 'import json, sys; json.loads(sys.argv[1])' "$output"
  [[ $stderr == 5,000/s* ]]
  run --separate-stderr -1 "$TIDEWAIT" plan --os linux --rate 5000/s --csv - -q
  [[ $output == at_s* ]] && [ -z "$stderr" ]
}

@test "a pipe gets ASCII without colour, and lines of 100 columns" {
  "$TIDEWAIT" plan --os linux --rate 5000/s --nat gcp --idle-pool 100 >out || [ $? -eq 1 ]
  run ! env LC_ALL=C grep -n '[^ -~]' out
  run ! grep -n '.\{101\}' out
}

@test "a terminal gets blocks when its characters are UTF-8" {
  command -v script >/dev/null || skip "there is no script here"
  locale -a 2>/dev/null | grep -qix 'c.utf-\?8' || skip "there is no locale C.UTF-8 here"
  LC_ALL=C.UTF-8 script -qc "$TIDEWAIT plan --os linux --rate 5000/s" /dev/null >out || true
  grep -q █ out
  grep -q "$(printf '\033')" out
  LC_ALL=C script -qc "$TIDEWAIT plan --os linux --rate 5000/s --no-color" /dev/null >out || true
  run ! grep -q █ out
  run ! grep -q "$(printf '\033')" out
}

@test "outputs that cannot be written: exit 5" {
  [ -e /dev/full ] || skip "there is no /dev/full here"
  run --separate-stderr -5 "$TIDEWAIT" plan --os linux --rate 5000/s --json /dev/full -q
  [[ $stderr == *"cannot write '/dev/full'"* ]]
  run --separate-stderr -5 "$TIDEWAIT" plan --os linux --rate 5000/s --csv /dev/full -q
  [[ $stderr == *"cannot write '/dev/full'"* ]]
  # shellcheck disable=SC2016 # for the inner shell
  run -5 sh -c '"$0" plan --os linux --rate 5000/s >/dev/full' "$TIDEWAIT"
}

# --- this host ---

@test "this host, as an ordinary user too: its own range, and the ports that are lost are told" {
  local status=0
  "$TIDEWAIT" plan --rate 1/s --json json >out || status=$?
  [ "$status" -le 1 ]
  holds 'p.system.name == "this host"' 'p.system.ports_lost >= 0'
  grep -q 'lost to sockets that are bound' out
}

# --- bad input ---

@test "rates" {
  table <<'EOF2'
'0/s'          | --rate 0/s
'-5/s'         | --rate=-5/s
'nan'          | --rate nan
'inf/s'        | --rate inf/s
'5000'         | --rate 5000
'1e9999/s'     | --rate 1e9999/s
'99999999999/s'| --rate 99999999999/s
which rate?    | --os linux
EOF2
}

@test "workloads" {
  table <<'EOF2'
--hold: time '5'        | RATE --hold 5
'normal:5ms'            | RATE --hold normal:5ms
reversed                | RATE --hold uniform:9s-1s
'0'                     | RATE --requests-per-connection 0
'nobody'                | RATE --close nobody
'random'                | RATE --ports random
'bursts'                | RATE --arrivals bursts
--from '0'              | RATE --from 0
'10.0.0.300'            | RATE --from 10.0.0.300
--from '99999999999'    | RATE --from 99999999999
names something twice   | RATE --from 10.0.0.1,10.0.0.0/24
IPv4 and IPv6           | RATE --from 10.0.0.1,::1
a wildcard              | RATE --to 0.0.0.0:80
'10.0.0.1' lacks a port | RATE --to 10.0.0.1
':80' lacks an address  | RATE --to :80
not of one family       | RATE --from 10.0.0.1 --to [::1]:80
'-1'                    | RATE --idle-pool -1
'word'                  | RATE word
EOF2
}

@test "systems, limits and gateways" {
  table <<'EOF2'
known are linux,              | RATE --os beos
--os and --limits             | RATE --os linux --limits x
not for --os windows          | RATE --os windows --tw-reuse 1
'70000'                       | RATE --range 70000
reversed                      | RATE --range 5000-4000
--reserved                    | RATE --reserved 5-x
'3'                           | RATE --tw-reuse 3
'61s'                         | RATE --tw-reuse-delay 61s
'maybe'                       | RATE --timestamps maybe
--time-wait                   | RATE --time-wait long
'-1'                          | RATE --files -1
'many'                        | RATE --time-waits many
'99999999999'                 | RATE --conntrack 99999999999
--somaxconn                   | RATE --somaxconn 1.5
--nat: ports                  | RATE --nat ports=
known are aws,                | RATE --nat acme
'colour'                      | RATE --nat ports=5,colour=red
ports=N                       | RATE --nat hold=5s
--nat: time                   | RATE --nat ports=5,hold=5
'/nonexistent'                | RATE --limits /nonexistent
--netns                       | RATE --os linux --netns x
'no-such-netns'               | RATE --netns no-such-netns
EOF2
}

@test "files of limits: the line is quoted" {
  printf 'net.ipv4.tcp_tw_reuse = 1\n\nnet.ipv4.tcp_tw_reuse 1\n' >limits
  refused "limits:3: 'net.ipv4.tcp_tw_reuse 1'" --rate 5/s --limits limits
  printf '# x\nnet.ipv4.ip_local_port_range = 5000 70000\n' >limits
  refused "limits:2: 'net.ipv4.ip_local_port_range = 5000 70000': port '70000'" --rate 5/s --limits limits
  printf 'tcp_tw_reuse = \033[31m7\n' >limits
  refused "limits:1: 'tcp_tw_reuse = \\x1b[31m7'" --rate 5/s --limits limits
  printf 'net.ipv4.tcp_tw_resue = 1\n' >limits
  refused "limits: none of its lines" --rate 5/s --limits limits
  : >limits
  refused "limits: none of its lines" --rate 5/s --limits limits
  mkdir folder
  refused "'folder'" --rate 5/s --limits folder
  [ -z "$bad" ]
}

@test "records that are none" {
  echo 'hello' >run.json
  refused "'run.json' is no JSON: line 1" --like run.json
  : >run.json
  refused "'run.json' is no JSON" --like run.json
  echo '[1, 2]' >run.json
  refused "schema '' is not tidewait.run/1" --like run.json
  echo '{"schema": "tidewait.lab/1"}' >run.json
  refused "schema 'tidewait.lab/1' is not tidewait.run/1" --like run.json
  echo '{"schema": "tidewait.run/1"}' >run.json
  refused 'a run without a connection' --like run.json
  record
  sed -i 's/"opened": 1000/"opened": 0/' run.json
  refused 'a run without a connection' --like run.json
  refused "'/nonexistent'" --like /nonexistent
  [ -z "$bad" ]
}

@test "options that do not go together" {
  table <<'EOF2'
--rate does not go     | --now RATE
--hold does not go     | --now --hold 5s
--os does not go       | --now --os linux
--like does not go     | --now --like x
--simulate does not go | --now --simulate
--csv does not go      | --now --csv -
--limit goes with      | RATE --limit 5
--for goes with        | RATE --for 5s
--seed goes with       | RATE --seed 5
'0'                    | RATE --simulate --for 0
'0s'                   | --now --for 0s
--for: time            | --now --for soon
'0'                    | --now --limit 0
--json and --csv       | RATE --json - --csv -
'/nonexistent/x'       | RATE --json /nonexistent/x
EOF2
}
