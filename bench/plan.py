#!/usr/bin/env python3
"""Prediction against measurement: what `tidewait plan` says, and what `tidewait load` then does.

Each case has a client's and a server's network namespace of its own, and few ports, so that these end in
seconds. A TIME_WAIT lasts a minute: where it has to be waited for, two cycles are measured, 125 s. All those
cases run side by side at modest rates, and the quick ones a few at a time beside them.

usage: plan.py TIDEWAIT [--markdown]

Exit status: 0 all within 5 %, 1 not, 77 it cannot be measured here.
"""
import argparse
import atexit
import bisect
import concurrent.futures
import dataclasses
import itertools
import json
import math
import os
import platform
import signal
import statistics
import subprocess
import sys
import time

TAG = f"twp{os.getpid()}"
TOLERANCE = 5  # per cent
SLOW_S = 125  # two times TIME_WAIT, and a little
QUICK_S = 16
QUICK_AT_ONCE = 3  # cases, so that the sum of rates stays modest
SERVER = "10.77.0.2"
FIRST_PORT = 20000


class Missing(Exception):
    """This kernel lacks a setting that the case needs."""


@dataclasses.dataclass
class Case:
    rate: int  # connections offered a second
    ports: int = 200
    reserved: int = 0  # of these
    who: str = "kernel"  # chooses the port
    close: str = "client"
    hold: str = "0"
    reuse: int = 0  # tcp_tw_reuse
    delay: int = 1000  # tcp_tw_reuse_delay, ms
    timestamps: int = 1
    sources: int = 1
    targets: int = 1
    loopback: bool = False

    def is_slow(self):
        """Whether a TIME_WAIT has to be waited for."""
        taken_over = self.who == "managed" or self.reuse == 1 or self.reuse == 2 and self.loopback
        return self.close == "client" and not (taken_over and self.timestamps)


CASES = [
    # TIME_WAIT has to be waited for
    Case(6),
    Case(45, ports=2000),
    Case(34, ports=2000),
    Case(32, ports=2000),
    Case(50, ports=500, sources=4),
    Case(40, ports=500, targets=3),
    Case(80, ports=300, sources=4, targets=3),
    Case(15, ports=1000, reserved=400),
    Case(10, ports=400, hold="200ms", reuse=2),
    Case(25, ports=1000, reuse=1, timestamps=0),
    Case(25, ports=1000, who="managed", timestamps=0),
    # it is reused or taken over
    Case(215, reuse=1),
    Case(450, ports=500, hold="200ms", reuse=1),
    Case(720, reuse=1, delay=300),
    Case(1200, reuse=1, delay=2500, sources=4, targets=3),
    Case(320, ports=300, reuse=2, loopback=True),
    Case(440, who="managed", hold="500ms"),
    Case(800, who="managed"),
    # there is none
    Case(440, close="server", hold="500ms"),
    Case(440, close="reset", hold="500ms"),
    Case(800, close="server"),
    Case(880, who="managed", close="server", hold="500ms", sources=2),
    Case(1200, ports=2000, close="server", hold="exp:4s"),
]


def run(*command):
    subprocess.run(command, check=True)


def inside(namespace, *command):
    return ["ip", "netns", "exec", namespace, *command]


def start(namespace, *command, out):
    process = subprocess.Popen(inside(namespace, *command), stdout=out, text=True, start_new_session=True)
    atexit.register(end, process)
    return process


def end(process):
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def set_sysctl(namespace, name, value):
    code = "import sys; open('/proc/sys/net/ipv4/' + sys.argv[1], 'w').write(sys.argv[2])"
    done = subprocess.run(inside(namespace, sys.executable, "-c", code, name, f"{value}\n"),
                          stderr=subprocess.DEVNULL, check=False)
    if done.returncode:
        raise Missing(name)


class Trial:
    """One case: its networks, what is planned for it and what is measured. Of the first refusal and of the
    connections a second; None: never, and no limit."""

    def __init__(self, number, case, tidewait):
        self.case, self.tidewait = case, tidewait
        self.client = f"{TAG}c{number}"
        self.server = self.client if case.loopback else f"{TAG}s{number}"
        self.address = "127.0.0.1" if case.loopback else SERVER
        self.targets = [f"{self.address}:{80 + i}" for i in range(case.targets)]
        self.planned_s = self.planned_per_s = self.measured_s = self.measured_per_s = self.time_wait_s = None
        self.make_networks()
        start(self.server, tidewait, "serve", "-q", "--workers", "1", *self.targets, out=subprocess.DEVNULL)

    def make_networks(self):
        case = self.case
        for name in {self.client, self.server}:
            run("ip", "netns", "add", name)
            atexit.register(subprocess.run, ["ip", "netns", "del", name], check=False)
            run("ip", "-n", name, "link", "set", "lo", "up")
        if not case.loopback:
            run("ip", "link", "add", "c0", "netns", self.client, "type", "veth", "peer", "name", "s0",
                "netns", self.server)
            ours = [f"10.77.0.{10 + i}" for i in range(case.sources)]
            for name, link, addresses in ((self.client, "c0", ours), (self.server, "s0", [SERVER])):
                for address in addresses:
                    run("ip", "-n", name, "addr", "add", address + "/24", "dev", link)
                run("ip", "-n", name, "link", "set", link, "up")
        settings = {"ip_local_port_range": f"{FIRST_PORT} {FIRST_PORT + case.ports - 1}",
                    "tcp_tw_reuse": case.reuse, "tcp_timestamps": case.timestamps}
        if case.reserved:
            settings["ip_local_reserved_ports"] = f"{FIRST_PORT}-{FIRST_PORT + case.reserved - 1}"
        if case.delay != Case.delay:
            settings["tcp_tw_reuse_delay"] = case.delay
        for name, value in settings.items():
            set_sysctl(self.client, name, value)

    def plan(self):
        """Asks `plan` in the client's network, whose settings it reads."""
        case = self.case
        to = self.targets[0] if case.loopback else str(case.targets)
        command = [self.tidewait, "plan", "--rate", f"{case.rate}/s", "--hold", case.hold, "--close", case.close,
                   "--ports", case.who, "--from", str(case.sources), "--to", to, "-q", "--json", "-"]
        done = subprocess.run(inside(self.client, *command), capture_output=True, text=True, check=False)
        if done.returncode not in (0, 1):
            sys.exit(f"plan: this failed: {' '.join(command)}: {done.stderr}")
        plan = json.loads(done.stdout)
        self.planned_s, self.planned_per_s = plan["answer"]["exhausted_s"], plan["answer"]["sustainable_per_s"]
        self.time_wait_s = plan["system"]["time_wait_s"]

    def measure(self):
        case = self.case
        duration = SLOW_S if case.is_slow() else QUICK_S
        command = [self.tidewait, "load", "-q", "-t", "1", "--rate", f"{case.rate}/s", "--close", case.close,
                   "--duration", f"{duration}s", "--seed", "1", "--json", "-"]
        if case.who == "kernel":
            command += ["--ports", "kernel"]
        if case.hold != "0":
            command += ["-n", "2", "--think", case.hold]
        if not case.loopback:
            command += ["--from", "c0"]
        load = start(self.client, *command, *[f"http://{target}/" for target in self.targets],
                     out=subprocess.PIPE)
        record = json.loads(load.communicate()[0])
        self.measured_s = record["first_address_error_s" if case.who == "kernel" else "first_port_wait_s"]
        self.measured_per_s = self.sustained([row["completed"] for row in record["series"]][:duration])

    def sustained(self, completed):
        """Connections a second, by how long the tuples take to serve one connection each, or, where that
        is short, as many as fill half of the run: the mean over all places of the run where that can begin. So
        each tuple counts alike, and it does not matter that connections come in heaps. Only where connections
        end at random the run has to settle first."""
        case = self.case
        tuples = (case.ports - case.reserved) * case.sources * case.targets
        cycle = tuples / (self.planned_per_s if self.is_limited() else case.rate)
        count = tuples * max(1, int(len(completed) / 2 / cycle))
        done = list(itertools.accumulate(completed, initial=0))
        first = done[math.ceil(cycle)] if ":" in case.hold else 0
        spans = [time_of(done, n + count) - time_of(done, n) for n in range(first + 1, done[-1] - count, 10)]
        return count / statistics.mean(spans)

    def is_limited(self):
        return self.planned_per_s is not None and self.planned_per_s < self.case.rate

    def deviations(self):
        """Of first refusal and rate, in per cent."""
        rate = self.planned_per_s if self.is_limited() else self.case.rate
        return deviation(self.planned_s, self.measured_s), deviation(rate, self.measured_per_s)

    def row(self):
        case = self.case
        settings = [f"reuse {case.reuse}"]
        if case.delay != Case.delay:
            settings.append(f"delay {case.delay}")
        if not case.timestamps:
            settings.append("no timestamps")
        first, rate = self.deviations()
        return [case.who, case.ports - case.reserved, case.sources, "loopback" if case.loopback else case.targets,
                case.close, case.hold, ", ".join(settings), case.rate,
                seconds_text(self.planned_s), seconds_text(self.measured_s), percent(first),
                f"{self.planned_per_s:.2f}" if self.is_limited() else "all", f"{self.measured_per_s:.2f}",
                percent(rate)]


def time_of(done, number):
    """When so many connections were completed, of their sums by the end of each second."""
    second = bisect.bisect_left(done, number)
    return second - (done[second] - number) / (done[second] - done[second - 1])


def deviation(planned, measured):
    if planned is None and measured is None:
        return 0
    if planned is None or measured is None:
        return float("inf")
    return 100 * (measured / planned - 1)


def seconds_text(value):
    return "never" if value is None else f"{value:.3f} s"


def percent(value):
    return f"{value:+.1f} %"


HEAD = ["chosen by", "ports", "addresses", "destinations", "closed by", "held", "settings", "offered/s",
        "first refusal: plan", "load", "deviation", "sustained/s: plan", "load", "deviation"]


def table(trials):
    lines = [HEAD, ["---"] * 7 + ["---:"] * 7] + [trial.row() for trial in trials]
    return "".join("| " + " | ".join(map(str, line)) + " |\n" for line in lines)


PAGE = """# Prediction and measurement

What `tidewait plan` says, and what `tidewait load` then measures. Written by
`bench/plan.py build/tidewait --markdown` on Linux {kernel}. Each line has two private
networks of its own, joined by a veth pair (with loopback one network), and few ports, so that these end in
seconds. All that is random has a fixed seed.

{table}
- *chosen by*: who chooses the source port. *kernel*: connect(), as for every ordinary program
  (`load --ports kernel`); *managed*: `load`, in the order in which ports became safe to use again.
- *settings*: `tcp_tw_reuse`, `tcp_tw_reuse_delay` in ms where it is not 1000, and `tcp_timestamps` where they are
  off.
- *first refusal*: seconds from an idle start until the first connect() failed with EADDRNOTAVAIL; with
  managed ports, which wait instead of failing, until a connection first had to wait for one. "never": none was
  planned and none came.
- *sustained*: connections completed a second, while more were offered, over whole cycles of the tuples. Where a
  TIME_WAIT has to be waited for that is how long each tuple took from one connection to the next, over {slow} s;
  otherwise as many cycles as there are in half of {quick} s. "all": the plan says that the offered rate is met.
{notes}"""

NOTES = """
How to read the deviations:

- A TIME_WAIT lasts 60 s, and then until the next step of the kernel's timer wheel. With HZ=250 the steps are
  2.048 s apart, so it lasts 61.0 s on average. But ports come back in heaps, one a step, and just before a
  step all of the last 62.05 s are in use. So a tuple serves one connection in 62.05 s. Of 2,000 ports that is
  32.23 connections a second: in three minutes at 32.2/s none was refused, at 32.4/s some were, each time
  just before a heap came back. When far more are offered than sustained, a heap is used up at once, and its
  tuples are back after 30 steps, 61.44 s: at 400/s the cycle came down to that within four minutes. `plan`
  reckons with {time_wait_s:g} s.
- Without timestamps managed ports cool for 62.2 s, lest one is taken too early.
- A tuple that is free again waits for the next connection offered, and a connection that is held lasts as much
  longer as its packets and the programs take: together 1 to 5 ms a cycle, more on a busy machine.
- `load` counts by the second: a cycle of just one second is known to 1 %.
- Where the time of holding is random (*exp*), the plan tells of the mean and the run is one of many.
"""


def measure_all(trials):
    """Slow ones side by side; quick ones a few at a time beside them."""
    slow = [trial for trial in trials if trial.case.is_slow()]
    quick = [trial for trial in trials if not trial.case.is_slow()]
    with concurrent.futures.ThreadPoolExecutor(max(len(slow), 1)) as beside, \
            concurrent.futures.ThreadPoolExecutor(QUICK_AT_ONCE) as few:
        waiting = [beside.submit(trial.measure) for trial in slow] + [few.submit(trial.measure) for trial in quick]
        for future in waiting:
            future.result()


def prepare(tidewait):
    trials = []
    for number, case in enumerate(CASES):
        try:
            trials.append(Trial(number, case, tidewait))
        except Missing as missing:
            print(f"plan: left out, {missing} cannot be set here: {case}", file=sys.stderr)
    time.sleep(0.5)  # for the servers
    for trial in trials:
        trial.plan()
    return trials


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("tidewait", type=os.path.abspath)
    parser.add_argument("--markdown", action="store_true", help="write docs/plan.md")
    options = parser.parse_args()
    if os.geteuid() != 0:
        print("plan: skipped, it needs root for network namespaces")
        return 77
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    trials = prepare(options.tidewait)
    measure_all(trials)
    text = table(trials)
    print(text, end="")
    if options.markdown:
        path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "docs", "plan.md")
        with open(path, "w", encoding="utf-8") as file:
            notes = NOTES.format(time_wait_s=trials[0].time_wait_s)
            file.write(PAGE.format(kernel=platform.release(), table=text, slow=SLOW_S, quick=QUICK_S, notes=notes))
    wrong = [trial for trial in trials if max(map(abs, trial.deviations())) > TOLERANCE]
    print(f"plan: {len(trials)} cases, {len(wrong)} with a deviation of more than {TOLERANCE} %")
    return 1 if wrong else 0


sys.exit(main())
