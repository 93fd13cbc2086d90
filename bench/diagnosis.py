#!/usr/bin/env python3
"""`tidewait why` and `tidewait ls` against ss and lsof on a crowded host.

2,000 processes with 50,000 descriptors, 25,000 ESTABLISHED and 100,000 TIME_WAIT sockets, all in a
private network namespace; then 1,000,000 TIME_WAITs more. What each command prints goes through a pipe to
this program. Rounds are interleaved and medians are told; the ratios within a round are what counts on
a noisy machine. The kernel keeps a TIME_WAIT for 60 s: the rounds end before the first one goes.

usage: diagnosis.py TIDEWAIT CROWD [--rounds N]
"""
import argparse
import atexit
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time

PROCESSES, DESCRIPTORS, ESTABLISHED, TIME_WAIT, MANY = 2000, 50000, 25000, 100000, 1000000
QUIET, LANE, LEFT, FREE, CROWDED, BUSY = 7000, 7001, 7002, 7003, 7004, 8080
FIRST_PORT, LAST_PORT = 32768, 60999
PORTS = LAST_PORT - FIRST_PORT + 1
NOBODY = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
TIME_WAIT_S = 60
CROWD_S = 50  # of those, for measuring: making them takes some, and so does one round
MANY_KIB_FREE = 2 << 20  # with the crowd the sockets take 0.8 GiB


def rows_here():
    """Sockets of TCP in this network namespace: those in TIME_WAIT, and the others."""
    with open("/proc/net/sockstat", encoding="ascii") as file:
        words = next(line for line in file if line.startswith("TCP:")).split()
    return int(words[words.index("tw") + 1]), int(words[words.index("inuse") + 1])


def set_sysctl(name, value):
    with open(f"/proc/sys/net/ipv4/{name}", "w", encoding="ascii") as file:
        file.write(str(value))


def measure(command):
    """Runs a command. Returns its wall and CPU milliseconds and the lines that it printed."""
    get, put = os.pipe()
    silence = os.open(os.devnull, os.O_WRONLY)
    begin = time.monotonic()
    pid = os.posix_spawnp(command[0], command, os.environ,
                          file_actions=[(os.POSIX_SPAWN_DUP2, put, 1), (os.POSIX_SPAWN_DUP2, silence, 2)])
    os.close(put)
    lines = 0
    while piece := os.read(get, 1 << 20):
        lines += piece.count(b"\n")
    _, status, usage = os.wait4(pid, 0)
    wall = time.monotonic() - begin
    os.close(get)
    os.close(silence)
    # `why` answers by its status: 1 is "not free".
    if os.waitstatus_to_exitcode(status) not in (0, 1):
        sys.exit(f"diagnosis: this failed: {' '.join(command)}")
    return wall * 1e3, (usage.ru_utime + usage.ru_stime) * 1e3, lines


def measure_all(rows, rounds, deadline):
    """Every command in turn; as many rounds as the TIME_WAITs last, one at least."""
    figures = {name: [] for name, *_ in rows}
    done = 0
    while done < rounds and (done == 0 or time.monotonic() < deadline):
        for name, command, *_ in rows:
            figures[name].append(measure(command))
        done += 1
    return figures, done


def table(rows, figures):
    """A row: name, command, and (peer, how many times faster we aim to be) as often as needed."""
    print(f"{'command':34} {'ms':>8} {'CPU ms':>8} {'lines':>9}  times faster (aim)")
    for name, _, *peers in rows:
        wall, cpu, lines = (statistics.median(column) for column in zip(*figures[name]))
        told = []
        for peer, aim in peers:
            if peer not in figures:
                continue
            times = statistics.median(theirs[0] / ours[0]
                                      for ours, theirs in zip(figures[name], figures[peer]))
            told.append(f"{times:.1f} than {peer} ({aim})" if aim else f"{times:.1f} than {peer}")
        print(f"{name:34} {wall:8.1f} {cpu:8.1f} {int(lines):9,}  {'; '.join(told)}".rstrip(), flush=True)


def crowd_rows(tidewait, by_nobody):
    """Each of ours stands right behind its peers."""
    sport = ["sport", "=", f":{QUIET}"]
    return [
        ("ss -Htlnp", ["ss", "-Htlnp", *sport]),
        ("lsof -i", ["lsof", "-nP", f"-i:{QUIET}"]),
        ("why PORT", [tidewait, "why", str(QUIET)], ("ss -Htlnp", 3), ("lsof -i", 20)),
        ("ss -Htlnp, nobody", [*NOBODY, "ss", "-Htlnp", *sport]),
        ("why PORT, nobody", [*NOBODY, by_nobody, "why", str(QUIET)], ("ss -Htlnp, nobody", 1)),
        ("why PORT with 25,000 connections", [tidewait, "why", str(BUSY)]),
        ("why of a free port", [tidewait, "why", str(FREE)]),
        ("why of a port in TIME_WAIT", [tidewait, "why", str(LEFT)]),
        ("why --to, all ports used", [tidewait, "why", "--to", f"127.0.0.1:{LANE}"]),
        ("ss -Htan", ["ss", "-Htan"]),
        ("ls -tH", [tidewait, "ls", "-tH"], ("ss -Htan", 1)),
        ("ss -Htanp", ["ss", "-Htanp"]),
        ("ls -tHp", [tidewait, "ls", "-tHp"], ("ss -Htanp", 2)),
        ("ls -t --by lane", [tidewait, "ls", "-t", "--by", "lane"]),
    ]


def many_rows(tidewait):
    return [
        ("ss -Htlnp", ["ss", "-Htlnp", "sport", "=", f":{QUIET}"]),
        ("why PORT", [tidewait, "why", str(QUIET)], ("ss -Htlnp", None)),
        ("why of a free port", [tidewait, "why", str(FREE)]),
        ("why of a port in TIME_WAIT", [tidewait, "why", str(CROWDED)]),
        ("ss -Htan", ["ss", "-Htan"]),
        ("ls -tH", [tidewait, "ls", "-tH"], ("ss -Htan", None)),
        ("ls -t --by lane", [tidewait, "ls", "-t", "--by", "lane"]),
    ]


def make_time_waits(crowd, *batches):
    """(who closes, how many, port, first source address) each; all at once."""
    makers = [subprocess.Popen([crowd, "time-wait", *map(str, batch)]) for batch in batches]
    for maker in makers:
        if maker.wait():
            sys.exit("diagnosis: no TIME_WAITs could be made")


def told(title, rows, rounds, deadline):
    rows = [row for row in rows if shutil.which(row[1][0])]
    waiting, others = rows_here()
    figures, done = measure_all(rows, rounds, deadline)
    left, _ = rows_here()
    print(f"\n{title}: {others:,} sockets, and {waiting:,} in TIME_WAIT, of which {left:,} were left at"
          f" the end; medians of {done} rounds")
    table(rows, figures)


def show_crowd(options, by_nobody):
    born = time.monotonic()
    # One lane whose ports are all used, by its client's TIME_WAITs; the others are a server's.
    make_time_waits(options.crowd, ("client", PORTS, LANE, 1), ("server", TIME_WAIT - PORTS, LEFT, 1))
    told(f"{PROCESSES:,} processes, {DESCRIPTORS:,} descriptors", crowd_rows(options.tidewait, by_nobody),
         options.rounds, born + CROWD_S)


def show_many(options):
    with open("/proc/meminfo", encoding="ascii") as file:
        free_kib = next(int(line.split()[1]) for line in file if line.startswith("MemAvailable:"))
    if free_kib < MANY_KIB_FREE:
        print(f"\n{MANY:,} TIME_WAITs: skipped, they need {MANY_KIB_FREE >> 20} GiB of free memory")
        return
    born = time.monotonic()
    make_time_waits(options.crowd, ("server", MANY // 2, CROWDED, 1),
                    ("server", MANY - MANY // 2, CROWDED + 1, 1001))
    took = time.monotonic() - born
    if took > TIME_WAIT_S * 2 / 3:
        print(f"\n{MANY:,} TIME_WAITs: skipped, it took {took:.0f} s to make them and they last {TIME_WAIT_S} s")
        return
    told("The same crowd", many_rows(options.tidewait), options.rounds, born + CROWD_S)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("tidewait", type=os.path.abspath)
    parser.add_argument("crowd", type=os.path.abspath)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if os.geteuid() != 0:
        print("diagnosis: skipped, it needs root for a network namespace")
        return 77
    if not options.inside:
        # A namespace without a name goes with its last process, whatever ends that.
        os.execvp("unshare", ["unshare", "--net", sys.executable, *sys.argv, "--inside"])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGINT, lambda *_: sys.exit(130))
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    set_sysctl("tcp_max_tw_buckets", 2 * MANY)
    set_sysctl("ip_local_port_range", f"{FIRST_PORT} {LAST_PORT}")
    # By default the kernel reuses TIME_WAITs on loopback after a second, and no lane is ever full.
    set_sysctl("tcp_tw_reuse", 0)
    # Somebody's home may be closed to nobody; a descriptor of the program is not.
    program = os.open(options.tidewait, os.O_RDONLY)
    os.set_inheritable(program, True)
    people = subprocess.Popen(  # the kernel ends it, and its processes, with this program
        [options.crowd, "people", *map(str, (PROCESSES, DESCRIPTORS, ESTABLISHED, BUSY, QUIET))],
        stdout=subprocess.PIPE)
    atexit.register(people.wait)
    atexit.register(people.terminate)
    if people.stdout.readline() != b"ready\n":
        sys.exit("diagnosis: the crowd could not be made")
    show_crowd(options, f"/proc/self/fd/{program}")
    show_many(options)
    return 0


sys.exit(main())
