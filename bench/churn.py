#!/usr/bin/env python3
"""Connections a second and CPU a connection: wrk, ab, httperf and `tidewait load`; nginx and `serve`.

Every client makes one HTTP request a connection against the same server, client and server pinned to a
core each, on loopback and across a veth pair, in private network namespaces. Rounds are interleaved and
medians are told; the ratios within a round are what counts on a noisy machine.

usage: churn.py TIDEWAIT [--rounds N] [--seconds S] [--exhaust S]
"""
import argparse
import atexit
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

TAG = f"tw{os.getpid()}"
NGINX = """daemon off; master_process off; pid {dir}/{name}.pid; error_log {dir}/error.log crit;
events {{ worker_connections 8192; }}
http {{ access_log off; keepalive_requests 1000000000;
  server {{ {listen} location / {{ return 200 "{body}"; }} }} }}
"""


class Net:
    """A server's and a client's network namespace; the same one for loopback."""

    def __init__(self, kind):
        self.kind = kind
        self.client = f"{TAG}{kind[0]}c"
        self.server = self.client if kind == "loopback" else f"{TAG}{kind[0]}s"
        self.address = "127.0.0.1" if kind == "loopback" else "10.77.0.2"
        for name in {self.client, self.server}:
            run("ip", "netns", "add", name)
            atexit.register(subprocess.run, ["ip", "netns", "del", name])
            run("ip", "-n", name, "link", "set", "lo", "up")
        if kind == "veth":
            run("ip", "link", "add", "c0", "netns", self.client, "type", "veth", "peer", "name", "s0",
                "netns", self.server)
            for name, link, address in ((self.client, "c0", "10.77.0.1"), (self.server, "s0", "10.77.0.2")):
                run("ip", "-n", name, "addr", "add", address + "/24", "dev", link)
                run("ip", "-n", name, "link", "set", link, "up")

    def accepted(self):
        """Connections that servers have accepted in this namespace since it was made."""
        out = subprocess.run(["ip", "netns", "exec", self.server, "cat", "/proc/net/snmp"],
                             capture_output=True, text=True, check=True).stdout
        head, values = [line.split() for line in out.splitlines() if line.startswith("Tcp:")]
        return int(values[head.index("PassiveOpens")])


def run(*command):
    subprocess.run(command, check=True)


def start(namespace, core, command):
    return subprocess.Popen(["ip", "netns", "exec", namespace, "taskset", "-c", str(core), *command],
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                            start_new_session=True)


def serve(net, command):
    """Starts a server and ends it at exit, with all its processes."""
    server = start(net.server, 1, command)
    atexit.register(end, server)
    time.sleep(0.7)
    if server.poll() is not None:
        sys.exit(f"churn: the server ended: {' '.join(command)}")
    return server


def end(process):
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def measure(net, command, seconds):
    """Runs a client. Returns connections a second and its CPU microseconds a connection."""
    before, begin = net.accepted(), time.monotonic()
    client = start(net.client, 0, command)
    watchdog = begin + seconds * 2 + 10
    while True:
        pid, _, usage = os.wait4(client.pid, os.WNOHANG)
        if pid:
            break
        if time.monotonic() > watchdog:
            os.killpg(client.pid, signal.SIGKILL)
            _, _, usage = os.wait4(client.pid, 0)
            break
        time.sleep(0.01)
    client.returncode = 0
    took, done = time.monotonic() - begin, net.accepted() - before
    return done / took, (usage.ru_utime + usage.ru_stime) * 1e6 / max(done, 1)


def wrk(url, seconds):
    return ["wrk", "-t1", "-c64", f"-d{seconds}s", "-H", "Connection: close", url]


def clients(tidewait, url, address, seconds):
    """Name -> command, in the order of the table. The peers let the server close first; otherwise they run
    out of ports. httperf knows an open loop only: it gets a rate just above what it can hold."""
    peers = {
        "wrk": wrk(url, seconds),
        "ab": ["ab", "-q", "-c64", f"-t{seconds}", "-n10000000", url],
        "httperf --hog": ["httperf", "--hog", "--server", address, "--port", "80", "--uri", "/",
                          "--add-header", "Connection: close\\n", "--rate", "22000", "--num-conns",
                          str(22000 * seconds), "--timeout", "1"],
    }
    ours = {f"tidewait, {who} closes" if who != "reset" else "tidewait, reset":
            [tidewait, "load", url, "--close", who, "-t1", "-c64", "-d", f"{seconds}s", "-q"]
            for who in ("server", "client", "reset")}
    return {name: c for name, c in peers.items() if shutil.which(c[0])} | ours


def table(net, commands, seconds, rounds):
    figures = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            figures[name].append(measure(net, command, seconds))
    base = figures.get("wrk")
    print(f"\n{net.kind}: medians of {rounds} rounds of {seconds} s; ratios to wrk of the same round")
    print(f"{'client':26} {'connections/s':>13} {'ratio':>6} {'CPU us/conn':>12} {'ratio':>6}")
    for name, rows in figures.items():
        rate, cpu = (statistics.median(row[i] for row in rows) for i in (0, 1))
        ratios = [f"{statistics.median(a[i] / b[i] for a, b in zip(rows, base)):6.2f}" if base else "     -"
                  for i in (0, 1)]
        print(f"{name:26} {rate:13,.0f} {ratios[0]} {cpu:12.1f} {ratios[1]}", flush=True)


def exhaust(net, tidewait, seconds):
    """The client closes first, one address, one destination, default settings: who goes on?"""
    url = f"http://{net.address}:81/"
    rates = {}
    commands = {
        "wrk": wrk(url, seconds),
        "tidewait": [tidewait, "load", url, "--close", "client", "-t1", "-c64", "-d", f"{seconds}s", "-q"],
    }
    print(f"\n{net.kind}, the client closes first, {seconds} s: connections/s in the first and last quarter,"
          " and over all")
    for name, command in commands.items():
        if not shutil.which(command[0]):
            continue
        client = start(net.client, 0, command)
        marks = [(time.monotonic(), net.accepted())]
        for _ in range(4):
            time.sleep(seconds / 4)
            marks.append((time.monotonic(), net.accepted()))
        client.wait()
        per = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in zip(marks, marks[1:])]
        rates[name] = (marks[-1][1] - marks[0][1]) / (marks[-1][0] - marks[0][0])
        print(f"{name:26} {per[0]:9,.0f} {per[-1]:9,.0f} {rates[name]:9,.0f}", flush=True)
    if len(rates) == 2:
        print(f"{'ratio':26} {'':9} {'':9} {rates['tidewait'] / rates['wrk']:9.1f}")


def cpu_ns(pid):
    """CPU time of all threads of a process, exact, unlike the ticks of its stat."""
    return sum(int(open(f"/proc/{pid}/task/{task}/schedstat", encoding="ascii").read().split()[0])
               for task in os.listdir(f"/proc/{pid}/task"))


def servers(net, pids, seconds, rounds):
    """CPU of the server for each connection that wrk makes; the same bytes from both."""
    figures = {name: [] for name in pids}
    for _ in range(rounds):
        for name, (pid, port) in pids.items():
            cpu, done = cpu_ns(pid), net.accepted()
            start(net.client, 0, wrk(f"http://{net.address}:{port}/", seconds)).wait()
            figures[name].append((cpu_ns(pid) - cpu) / 1e3 / max(net.accepted() - done, 1))
    print(f"\n{net.kind}, the server's CPU a connection, wrk as client: medians of {rounds} rounds of"
          f" {seconds} s, ratios within a round")
    for name, rows in figures.items():
        ratio = statistics.median(a / b for a, b in zip(rows, figures["nginx"]))
        print(f"{name:26} {statistics.median(rows):12.1f} us {ratio:6.2f}", flush=True)


def many_lanes(net, tidewait, ports, count):
    """200 source addresses x 20 destinations."""
    urls = [f"http://{net.address}:{port}/" for port in ports]
    print(f"\n{net.kind}, 200 source addresses x {len(urls)} destinations, {count:,} connections")
    for who in ("client", "server"):
        client = subprocess.run(["ip", "netns", "exec", net.client, tidewait, "load", "--from",
                                 "10.77.0.10-10.77.0.209", "--add-addresses", "c0", "--close", who, "--count",
                                 str(count), "-t1", "-q", "--json", "-", *urls],
                                capture_output=True, text=True, check=True)
        run_ = json.loads(client.stdout)
        print(f"{who + ' closes':26} {run_['rate_per_s']:9,.0f}/s, {run_['failed']} failed,"
              f" {run_['cpu']['us_per_connection']:.1f} us, memory"
              f" {run_['memory']['max_rss_bytes'] / 1e6:.1f} MB", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("tidewait", type=os.path.abspath)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--exhaust", type=int, default=60)
    parser.add_argument("--count", type=int, default=1000000)
    options = parser.parse_args()
    if os.geteuid() != 0 or os.cpu_count() < 2:
        print("churn: skipped, it needs root for network namespaces, and two processors")
        return 77
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = tempfile.mkdtemp(prefix="tidewait-bench-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for kind in ("veth", "loopback"):
        net = Net(kind)
        config = f"{folder}/{kind}"
        ports = [80, *range(9000, 9020)]
        with open(config, "w", encoding="ascii") as file:
            listen = " ".join(f"listen {net.address}:{port} backlog=8192;" for port in ports)
            file.write(NGINX.format(dir=folder, name=kind, listen=listen, body="x" * 1024))
        nginx = serve(net, ["nginx", "-p", folder, "-c", config])
        ours = serve(net, [options.tidewait, "serve", f"{net.address}:82", "--workers", "1", "-q"])
        url = f"http://{net.address}:80/"
        table(net, clients(options.tidewait, url, net.address, options.seconds), options.seconds,
              options.rounds)
        if kind == "veth":
            # On loopback the kernel lets wrk reuse its TIME_WAITs after a second (tcp_tw_reuse=2).
            serve(net, [options.tidewait, "serve", f"{net.address}:81", "--workers", "1", "--close",
                        "client", "-q"])
            exhaust(net, options.tidewait, options.exhaust)
            many_lanes(net, options.tidewait, ports[1:], options.count)
            servers(net, {"nginx": (nginx.pid, 80), "tidewait serve": (ours.pid, 82)}, 2,
                    options.rounds * 3)
    return 0


sys.exit(main())
