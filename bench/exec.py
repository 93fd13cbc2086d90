#!/usr/bin/env python3
"""Clients that close first, by themselves and under `tidewait exec`; and wrk before and after its ports run out.

Each run has a pair of network namespaces of its own with a veth between them, default settings, the
client on one core and the server on the other. The server reads each connection to its end, so that the
client keeps TIME_WAIT. By itself a client goes on until its first error; under exec for a fixed count.
The rates are those that the server's kernel counted. A table in Markdown at the end.

A client so slow that its first TIME_WAITs end before its last port is used may have no error at all. The
shares of a busy machine change from run to run: what counts of wrk are the ratios within a round.

usage: exec.py TIDEWAIT STEERED [--count N] [--curl N] [--only NAME]... [--rounds N] [--exhaust S]
"""
import argparse
import atexit
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

CLIENT, SERVER = "10.77.0.1", "10.77.0.2"
PORTS = 60999 - 32768 + 1
CURL_PORTS = 500
START = 500  # connections that do not count for a rate: programs warm up
HALF = 9 / 20  # of the ports; at 1 / 2 the kernel begins to search, and connect() becomes slow
STUCK_S = 3
PATIENCE_S = 600

SELECT_SERVER = """
import select, socket, sys
listener = socket.create_server((sys.argv[1], int(sys.argv[2])), backlog=1024)
all = [listener]
while True:
    for s in select.select(all, [], [])[0]:
        if s is listener:
            all.append(listener.accept()[0])
        elif not s.recv(4096):
            all.remove(s)
            s.close()
"""

# Each is given address, port and count, stops at its first error and says what became of it.
PYTHON = """
import socket, sys
done, error = 0, None
try:
    while done < int(sys.argv[3]):
        with socket.create_connection((sys.argv[1], int(sys.argv[2]))) as s:
            s.send(b"abc")
        done += 1
except OSError as e:
    error = e
print(f"done={done} error={error}")
"""
JAVA = """
import java.net.Socket;
import java.util.concurrent.atomic.*;
public class Many {
    public static void main(String[] args) throws Exception {
        AtomicInteger left = new AtomicInteger(Integer.parseInt(args[2])), done = new AtomicInteger();
        AtomicReference<Exception> error = new AtomicReference<>();
        Thread[] threads = new Thread[4];
        for (int i = 0; i < threads.length; i++) {
            threads[i] = new Thread(() -> {
                while (error.get() == null && left.getAndDecrement() > 0) {
                    try (Socket s = new Socket(args[0], Integer.parseInt(args[1]))) {
                        s.getOutputStream().write(new byte[3]);
                        done.incrementAndGet();
                    } catch (Exception e) {
                        error.compareAndSet(null, e);
                    }
                }
            });
            threads[i].start();
        }
        for (Thread thread : threads) thread.join();
        System.out.println("done=" + done + " error=" + error);
    }
}
"""
NODE = """
const net = require("net"), [address, port, count] = process.argv.slice(1);
let left = +count, done = 0;
function end(error) { console.log(`done=${done} error=${error}`); process.exit(0); }
function next() {
    if (left-- <= 0) return;
    const s = net.connect(+port, address, () => s.end("abc"));
    s.on("error", e => end(e.message));
    s.on("close", () => { if (++done == +count) end(null); next(); });
    s.resume();
}
for (let i = 0; i < 8; i++) next();
"""
PERL = """
use IO::Socket::INET;
my ($address, $port, $count) = @ARGV;
my $done = 0;
while ($done < $count) {
    my $s = IO::Socket::INET->new(PeerAddr => "$address:$port") or last;
    print $s "abc"; close $s;
    $done++;
}
print "done=$done error=", $done < $count ? $! : "none", "\\n";
"""
GO = """
package main
import ("fmt"; "net"; "os"; "strconv")
func main() {
    count, _ := strconv.Atoi(os.Args[3])
    done := 0
    var err error
    for ; done < count; done++ {
        var c net.Conn
        if c, err = net.Dial("tcp", os.Args[1] + ":" + os.Args[2]); err != nil { break }
        c.Write([]byte("abc"))
        c.Close()
    }
    fmt.Printf("done=%d error=%v\\n", done, err)
}
"""
CURL = """
done=0 error=none
while [ $done -lt $3 ]; do
    curl -s -o /dev/null "http://$1:$2/" || { error="curl exit $?"; break; }
    done=$((done + 1))
done
echo "done=$done error=$error"
"""


def run(*command):
    subprocess.run(command, check=True)


def end(process):
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


class Net:
    """A client's and a server's network namespace, a link between them, and the server."""

    count = 0

    def __init__(self, command):
        Net.count += 1
        self.client, self.server = (f"tw{os.getpid()}{who}{Net.count}" for who in "cs")
        self.accepted_before = 0
        atexit.register(self.close)
        for name in (self.client, self.server):
            run("ip", "netns", "add", name)
            run("ip", "-n", name, "link", "set", "lo", "up")
        run("ip", "link", "add", "c0", "netns", self.client, "type", "veth", "peer", "name", "s0", "netns",
            self.server)
        for name, link, address in ((self.client, "c0", CLIENT), (self.server, "s0", SERVER)):
            run("ip", "-n", name, "addr", "add", address + "/24", "dev", link)
            run("ip", "-n", name, "link", "set", link, "up")
        self.process = self.start(self.server, 1, command, stdout=subprocess.DEVNULL)
        give_up = time.monotonic() + 10
        while not self.is_listening():
            if self.process.poll() is not None or time.monotonic() > give_up:
                sys.exit(f"exec: the server does not listen: {' '.join(command)}")
            time.sleep(0.02)

    def start(self, namespace, core, command, **files):
        return subprocess.Popen(["ip", "netns", "exec", namespace, "taskset", "-c", str(core), *command],
                                start_new_session=True, **files)

    def is_listening(self):
        # Before it is in its namespace it shows ours.
        there = os.stat(f"/run/netns/{self.server}").st_ino
        if os.stat(f"/proc/{self.process.pid}/ns/net").st_ino != there:
            return False
        with open(f"/proc/{self.process.pid}/net/tcp", encoding="ascii") as file:
            return any(line.split()[3] == "0A" for line in file)

    def accepted(self):
        """Connections that the server's kernel has accepted."""
        with open(f"/proc/{self.process.pid}/net/snmp", encoding="ascii") as file:
            head, values = [line.split() for line in file if line.startswith("Tcp:")]
        return int(values[head.index("PassiveOpens")])

    def few_ports(self, ports):
        run("ip", "netns", "exec", self.client, "sh", "-c",
            f'echo "32768 {32767 + ports}" >/proc/sys/net/ipv4/ip_local_port_range')

    def close(self):
        if hasattr(self, "process"):
            end(self.process)
        for name in (self.client, self.server):
            subprocess.run(["ip", "netns", "del", name], stderr=subprocess.DEVNULL, check=False)
        atexit.unregister(self.close)


def follow(net, client, until=None, seconds=PATIENCE_S, pause=0.01):
    """Samples (time, accepted) until the client ends, or the condition holds for the samples, or time is up."""
    samples = [(time.monotonic(), net.accepted())]
    while client.poll() is None and samples[-1][0] < samples[0][0] + seconds:
        if until and until(samples):
            break
        time.sleep(pause)
        samples.append((time.monotonic(), net.accepted()))
    samples.append((time.monotonic(), net.accepted()))
    return samples


def when(samples, count):
    """The time at which so many had been accepted, or None."""
    for (t0, a), (t1, b) in zip(samples, samples[1:]):
        if a <= count < b:
            return t0 + (t1 - t0) * (count - a) / (b - a)
    return None


def rate(samples, low, high):
    begin, finish = when(samples, low), when(samples, high)
    return (high - low) / (finish - begin) if begin and finish else float("nan")


class Client:
    """A program that is run by itself, then under exec."""

    def __init__(self, name, command, count, ports=PORTS, http=False, method=None, server=None, alone=None):
        self.name, self.command, self.count = name, command, count
        self.ports, self.http, self.method, self.server = ports, http, method, server
        self.alone = alone or 2 * ports

    def run(self, tidewait, count, under):
        """Its connections, its error, samples, and under exec the summary."""
        mode = ["--close", "client"] if self.http else ["--raw", "discard"]
        net = Net(self.server or [tidewait, "serve", f"{SERVER}:80", "--workers", "1", "-q", *mode])
        net.few_ports(self.ports)
        command = [*self.command, SERVER, "80", str(count)]
        if under:
            method = ["--method", self.method] if self.method else []
            command = [tidewait, "exec", "--json", *method, "--", *command]
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            client = net.start(net.client, 0, command, stdout=out, stderr=err)
            samples = follow(net, client)
            end(client)
            out.seek(0)
            err.seek(0)
            told, said = out.read(), err.read().splitlines()
        net.close()
        found = re.search(r"done=(\d+).*?error=(.*)", told)
        if not found:
            told = "\n".join([told, *said[-5:]])
            sys.exit(f"exec: {self.name} ended with {client.returncode} and said:\n{told}")
        summary = json.loads(said.pop()) if under else None
        for line in said:
            print(f"    {line}", flush=True)
        error = found[2] if found[2] not in ("none", "null", "None", "<nil>") else None
        return int(found[1]), error, samples, summary

    def measure(self, tidewait):
        """The row of the table, and the errors under exec."""
        low, half = min(START, self.ports // 10), int(self.ports * HALF)
        alone, error, samples, _ = self.run(tidewait, self.alone, False)
        first = rate(samples, low, half)
        dying = rate(samples, 0, alone - 1)
        print(f"{self.name}: by itself {alone:,}, then {error}; {first:,.0f}/s, {dying:,.0f}/s over all",
              flush=True)
        done, wrong, samples, summary = self.run(tidewait, self.count, True)
        fresh, fast = rate(samples, low, half), rate(samples, low, done - 1)
        print(f"{self.name}: under exec {done:,}, then {wrong}; {fresh:,.0f}/s, {fast:,.0f}/s over all;"
              f" {json.dumps(summary)}", flush=True)
        errors = max(1 if wrong else 0, summary["refusals"]["connect"])
        return (f"| {self.name} | {alone:,} | {error or 'none'} | {first:,.0f} | {dying:,.0f} | {done:,} |"
                f" {errors} | {fresh:,.0f} | {fast:,.0f} | {fast / first:.2f} | {fast / dying:.1f} |"), errors


def programs(options, folder):
    """The clients that can be had here, in the order of the table."""
    tools = shutil.which
    count, python = options.count, os.path.realpath(sys.executable)
    select_server = [python, "-c", SELECT_SERVER, SERVER, "80"]
    found = [Client("Python 3, select() server", [python, "-c", PYTHON], count, server=select_server),
             Client("Python 3", [python, "-c", PYTHON], count)]
    if tools("javac") and tools("java"):
        with open(f"{folder}/Many.java", "w", encoding="ascii") as file:
            file.write(JAVA)
        run("javac", "-d", folder, f"{folder}/Many.java")
        found.append(Client("Java, 4 threads", ["java", "-Xmx64m", "-cp", folder, "Many"], count))
    if tools("node"):
        found.append(Client("Node, 8 at once", ["node", "-e", NODE], count))
    if tools("perl"):
        found.append(Client("Perl", ["perl", "-e", PERL], count))
    if os.access(options.steered, os.X_OK):
        static = [options.steered, "connect"]
        # This one goes on after an error.
        found.append(Client("C, static, raw system calls (BPF)", static, count, method="bpf", alone=PORTS + 100))
    if tools("go"):
        with open(f"{folder}/many.go", "w", encoding="ascii") as file:
            file.write(GO)
        run("env", "CGO_ENABLED=0", "GOFLAGS=-mod=mod", "GOTOOLCHAIN=local", f"GOCACHE={folder}/go", "go",
            "build", "-o", f"{folder}/many", f"{folder}/many.go")
        found.append(Client("Go (BPF)", [f"{folder}/many"], count, method="bpf"))
    if tools("curl"):
        found.append(Client(f"curl in a loop, {CURL_PORTS} ports", ["sh", "-c", CURL, "sh"], options.curl,
                            ports=CURL_PORTS, http=True))
    return found


def wrk(tidewait, under, seconds):
    """The server waits for the client's close; each connection carries one request."""
    net = Net([tidewait, "serve", f"{SERVER}:80", "--workers", "1", "--close", "client", "-q"])
    command = ["wrk", "-t1", "-c64", f"-d{seconds}s", "-H", "Connection: close", f"http://{SERVER}/"]
    if under:
        command = [tidewait, "exec", "-q", "--", *command]
    return net, net.start(net.client, 0, command, stdout=subprocess.DEVNULL)


def cpu_ns(pid):
    """CPU time of a process and its children, exact, unlike the ticks of its stat."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/schedstat", encoding="ascii") as file:
            total += int(file.read().split()[0])
        with open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as file:
            total += sum(cpu_ns(child) for child in file.read().split())
    return total


def wrk_before(tidewait, rounds):
    """Without and with exec in turn, for each quarter of the ports: connections a second, CPU us of each."""
    quarters = (START, PORTS // 4, PORTS // 2 - 100)
    rows = {False: [], True: []}
    for _ in range(rounds):
        for under in (False, True):
            net, client = wrk(tidewait, under, 60)
            samples, row, spent = [], [], []
            for mark in quarters:
                samples += follow(net, client, until=lambda s, mark=mark: s[-1][1] > mark, seconds=30, pause=0.003)
                spent.append((cpu_ns(client.pid), samples[-1][1]))
            end(client)
            net.close()
            for i, (low, high) in enumerate(zip(quarters, quarters[1:])):
                (cpu0, done0), (cpu1, done1) = spent[i:i + 2]
                row += [rate(samples, low, high), (cpu1 - cpu0) / 1e3 / (done1 - done0)]
            rows[under].append(row)
    return rows


def wrk_after(tidewait, under, seconds):
    """Rates between half of the ports and all, and in so many seconds after that."""
    net, client = wrk(tidewait, under, seconds + 180)

    def is_out(samples):
        now, done = samples[-1]
        before = [seen for at, seen in samples if at < now - STUCK_S]
        return done >= PORTS or (before and before[-1] == done)

    start = follow(net, client, until=lambda s: s[-1][1] > START, seconds=10)
    samples = start + follow(net, client, until=is_out, seconds=180)
    slow = rate(samples, PORTS // 2, min(samples[-1][1], PORTS) - 200)
    after = follow(net, client, seconds=seconds)
    end(client)
    net.close()
    return slow, (after[-1][1] - after[0][1]) / (after[-1][0] - after[0][0])


def compare_wrk(options):
    figures = wrk_before(options.tidewait, options.rounds)
    rows = []
    for i in range(len(figures[True][0])):
        what = ("the first quarter of the ports", "the second quarter")[i // 2]
        what, form = (what + ", CPU us a connection", ".1f") if i % 2 else (what, ",.0f")
        alone, under = (statistics.median(row[i] for row in figures[which]) for which in (False, True))
        ratios = [b[i] / a[i] for a, b in zip(figures[False], figures[True])]
        rows.append(f"| {what} | {alone:{form}} | {under:{form}} | {statistics.median(ratios):.2f} |")
        print(rows[-1], " ".join(f"{ratio:.2f}" for ratio in ratios), flush=True)
    if not options.exhaust:
        return rows
    alone, under = (wrk_after(options.tidewait, i, options.exhaust) for i in (False, True))
    for i, what in enumerate(("the second half", f"{options.exhaust} s after that")):
        times = f"{under[i] / alone[i]:.1f}" if alone[i] > 0 else "-"
        rows.append(f"| {what} | {alone[i]:,.0f} | {under[i]:,.0f} | {times} |")
    return rows


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("tidewait", type=os.path.abspath)
    parser.add_argument("steered", type=os.path.abspath)
    parser.add_argument("--count", type=int, default=500000)
    parser.add_argument("--curl", type=int, default=3000)
    parser.add_argument("--only", action="append", help="clients whose name begins so; wrk is one")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--exhaust", type=int, default=60)
    options = parser.parse_args()
    if os.geteuid() != 0 or os.cpu_count() < 2:
        print("exec: skipped, it needs root for network namespaces, and two processors")
        return 77
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = tempfile.mkdtemp(prefix="tidewait-bench-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)

    def wanted(name):
        return not options.only or any(name.startswith(start) for start in options.only)

    rows = [client.measure(options.tidewait) for client in programs(options, folder) if wanted(client.name)]
    compared = compare_wrk(options) if shutil.which("wrk") and wanted("wrk") else []
    if rows:
        print("\n| client | by itself until the first error | the error | connections/s at first | until the error |"
              " under exec | errors | at first | over all | times that at first | times that until the error |")
        print("|---|" + "---:|---|" + "---:|" * 8)
        print("\n".join(row for row, _ in rows))
    if compared:
        print("\n| wrk, 64 connections, one request each | connections/s | under exec | times |\n|---|---:|---:|---:|")
        print("\n".join(compared))
    return 1 if any(errors for _, errors in rows) else 0


sys.exit(main())
