#!/usr/bin/env python3
"""One command on many hosts by rsh: `pdsh -R rsh` and `tidewait fan --via rsh`.

pdsh gives the bare command to the other end and learns no exit status; so does --plain. Without it there are
two shells more for each command, which the other end starts on this same machine.

In a private network with forty hosts, each with Debian's rshd (tests/net/fan_rsh_world.sh); a host has
reserved ports for some 500 commands a minute, which is what bounds the rounds. Rounds are interleaved and
medians are told, with the CPU time on our side and the sockets in TIME_WAIT that are left there. Then more
commands at once than there are reserved ports: who loses any.

usage: fan_rsh.py TIDEWAIT [--rounds N] [--commands N] [--window N]      (root)
"""
import argparse
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from fan import measure

WORLD = pathlib.Path(__file__).resolve().parent.parent / "tests/net/fan_rsh_world.sh"
HOSTS = 40
NEEDS = ["pdsh", "rsh", "inetd", "in.rshd", "ip", "ss", "unshare"]


def network(name):
    """In front of a command: its network. Each has one of its own, for the TIME_WAITs that are left there."""
    pid = pathlib.Path(os.environ["FAN_RSH_WORLD"], f"{name}.pid").read_text().strip()
    return ["nsenter", "-n", "-t", pid, "--"]


def time_waits(network_of):
    """Its sockets of reserved ports in TIME_WAIT."""
    rows = subprocess.run([*network_of, "ss", "-Htan", "state", "time-wait", "sport >= :512 and sport <= :1023"],
                          stdout=subprocess.PIPE, check=True).stdout
    return rows.count(b"\n")


def commands(tidewait, hosts, window):
    return {
        "tidewait": [*network("spare"), tidewait, "fan", "--via", "rsh", "-q", "-f", str(window), "-w", hosts, "--"],
        "--plain": [*network("naive"), tidewait, "fan", "--via", "rsh", "--plain", "-q", "-f", str(window),
                    "-w", hosts, "--"],
        "pdsh": ["pdsh", "-R", "rsh", "-f", str(window), "-w", hosts],
    }


def rounds(args):
    table = commands(args.tidewait, f"c[0001-{args.commands:04d}]", args.window)
    figures = {name: [] for name in table}
    for _ in range(args.rounds):
        for name, front in table.items():
            row = measure([*front, "echo one"])
            if row[-1].count(b": one\n") != args.commands:
                sys.exit(f"fan_rsh: {name} printed something else")
            figures[name].append((*row[:-1], time_waits([] if name == "pdsh" else front[:5])))
    print(f"{args.commands} commands, {args.window} at a time: medians of {args.rounds} rounds")
    print(f"{'':10} {'s':>6} {'CPU s':>6} {'peak kB':>8} {'descriptors':>12} {'threads':>8} {'TIME_WAIT':>10}")
    medians = {}
    for name, rows in figures.items():
        medians[name] = [statistics.median(row[i] for row in rows) for i in range(6)]
        seconds, cpu, memory, descriptors, threads, left = medians[name]
        print(f"{name:10} {seconds:6.2f} {cpu:6.2f} {memory:8.0f} {descriptors:12.0f} {threads:8.0f} {left:10.0f}")
    usual, plain = (medians[name][0] / medians["pdsh"][0] for name in ("tidewait", "--plain"))
    print(f"tidewait takes {usual:.2f} times as long as pdsh, with --plain {plain:.2f} times")
    return medians["tidewait"][5] == 0


def crowd(args):
    """More at once than two reserved ports each allow: commands done of 500."""
    done = {}
    table = commands(args.tidewait, "c[0001-0500]", 400)
    for name in ("tidewait", "pdsh"):
        front = table[name]
        run = subprocess.run([*front, "sleep 1; echo done"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, check=False)
        done[name] = run.stdout.count(b": done\n")
        lost = {line.split(b": ", 2)[-1] for line in run.stderr.splitlines()}
        why = "" if done[name] == 500 else f" ({b'; '.join(sorted(lost)).decode()[:200]})"
        print(f"500 commands of a second, 400 at a time: {name} did {done[name]}{why}")
    return done["tidewait"] == 500


def in_world(args):
    """Runs this again in the network of its own."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        words = ["unshare", "-mnpf", "--kill-child", "--mount-proc", WORLD, folder, str(HOSTS)]
        ready = pathlib.Path(folder, "ready")
        with subprocess.Popen(words, stdin=subprocess.DEVNULL) as world:
            try:
                while not (ready.exists() and ready.read_text()):
                    if world.poll() is not None:
                        sys.exit("fan_rsh: there is no world here")
                    time.sleep(0.05)
                if ready.read_text() != "ready\n":
                    sys.exit(ready.read_text())
                first = pathlib.Path(f"/proc/{world.pid}/task/{world.pid}/children").read_text().strip()
                return subprocess.run(["nsenter", "-t", first, "-r", "-m", "-n", "-p", f"--wd={os.getcwd()}", "--",
                                       sys.executable, __file__, "--inside", *sys.argv[1:]],
                                      env={**os.environ, "FAN_RSH_WORLD": folder}, check=False).returncode
            finally:
                world.kill()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("tidewait")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--commands", type=int, default=2000)
    parser.add_argument("--window", type=int, default=64)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    missing = [name for name in NEEDS if not shutil.which(name)]
    if missing or os.geteuid():
        print(f"there is no {missing[0]} here" if missing else "rshd needs root")
        sys.exit(77)
    if not args.inside:
        sys.exit(in_world(args))
    well = rounds(args)
    sys.exit(0 if crowd(args) and well else 1)


if __name__ == "__main__":
    main()
