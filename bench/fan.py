#!/usr/bin/env python3
"""1,000 local commands, so many at a time: pdsh, clush and `tidewait fan`.

The same command for each host, without ssh, so that what is measured is the program that fans out. Rounds
are interleaved and medians are told. Then the outputs are folded by each (dshbak, clush -b, fan -b) and must
be the same; and the window must be kept full when commands take different times.

usage: fan.py TIDEWAIT [--rounds N] [--hosts N] [--window N]
"""
import argparse
import json
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import time

OUTPUT = "echo same on all; n=HOST; test $(expr ${n#h} / 10) -ne 7 || echo odd one"


def commands(tidewait, hosts, window):
    """Name -> the command line in front of the command."""
    return {
        "tidewait": [tidewait, "fan", "--via", "local", "-q", "-f", window, "-w", hosts],
        "pdsh": ["pdsh", "-R", "exec", "-f", window, "-w", hosts],
        "clush": ["clush", "-q", "--worker=exec", "-f", window, "-w", hosts],
    }


def line(name, front, command):
    """Each runs one shell a host. pdsh does so only when asked to."""
    if name == "tidewait":
        return [*front, "--", command.replace("HOST", "{host}")]
    command = command.replace("HOST", "%h")
    return [*front, command] if name == "clush" else [*front, "sh", "-c", command]


def look(pid):
    """Peak kB, descriptors and threads of a process, as they are now."""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        status = dict(row.split(":", 1) for row in file)
    return int(status["VmHWM"].split()[0]), len(os.listdir(f"/proc/{pid}/fd")), int(status["Threads"])


def measure(words):
    """Seconds, seconds of CPU with all it started, peak kB, descriptors, threads; and the output."""
    pieces, most = [], (0, 0, 0)
    with open("/dev/null", "rb") as none:
        begin = time.monotonic()
        process = subprocess.Popen(words, stdin=none, stdout=subprocess.PIPE)
        while piece := process.stdout.read1(1 << 16):
            pieces.append(piece)
            try:
                most = tuple(map(max, most, look(process.pid)))
            except (OSError, KeyError):
                pass  # it is at its end
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = 0
    if status:
        sys.exit(f"fan: exit status {status} of {words[0]}")
    return time.monotonic() - begin, usage.ru_utime + usage.ru_stime, *most, b"".join(pieces)


def blocks(text):
    """{hosts: output} of dshbak -c, clush -b and fan -b, whatever the rule and the count."""
    parts = re.split(r"^-{10,}\n(.*)\n-{10,}\n", text, flags=re.M)[1:]
    return {unfold(re.sub(r" \(\d+\)$", "", parts[i])): parts[i + 1] for i in range(0, len(parts), 2)}


def unfold(hosts):
    names = set()
    for piece in re.findall(r"[^,\[]+(?:\[[^\]]*\])?", hosts):
        prefix, _, ranges = piece.strip(",").rstrip("]").partition("[")
        for part in ranges.split(",") if ranges else [""]:
            first, _, last = part.partition("-")
            if not last:
                names.add(prefix + part)
            else:
                names |= {f"{prefix}{n:0{len(first)}d}" for n in range(int(first), int(last) + 1)}
    return frozenset(names)


def compare_folding(table):
    folded = {}
    for name, front in table.items():
        words = line(name, front, OUTPUT)
        if name == "tidewait":
            words.insert(2, "-b")
        if name == "clush":
            words.insert(1, "-b")
        out = measure(words)[-1]
        if name == "pdsh":
            out = subprocess.run(["dshbak", "-c"], input=out, stdout=subprocess.PIPE, check=True).stdout
        folded[name] = blocks(out.decode())
    ours = folded["tidewait"]
    same = all(other == ours for other in folded.values()) and len(ours) == 2
    print(f"folded: {len(ours)} outputs of {sum(map(len, ours))} hosts, "
          f"{'the same by all' if same else 'DIFFERENT'}")
    return same


def occupancy(tidewait, count, window):
    """How full the window is when commands take 20 to 200 ms, each a different time."""
    command = "n={host}; exec sleep 0.$(printf %03d $((20 + ${n#h} * 37 % 181)))"
    out = measure([tidewait, "fan", "--via", "local", "--json", "-q", "-f", str(window), "-w", f"h[1-{count}]",
                   "--", command])[-1]
    run = json.loads(out)
    share = sum(host["ms"] for host in run["hosts"]) / (run["ms"] * window)
    print(f"window of {window} kept full to {share:.1%}, its beginning and end included")
    return share


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("tidewait")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--hosts", type=int, default=1000)
    parser.add_argument("--window", type=int, default=64)
    args = parser.parse_args()
    table = commands(args.tidewait, f"h[1-{args.hosts}]", str(args.window))
    for name in [name for name in table if name != "tidewait" and not shutil.which(name)]:
        print(f"there is no {name} here")
        del table[name]
    figures = {name: [] for name in table}
    for _ in range(args.rounds):
        for name, front in table.items():
            figures[name].append(measure(line(name, front, "echo HOST")))
            if figures[name][-1][-1].count(b"\n") != args.hosts:
                sys.exit(f"fan: {name} printed something else")
    print(f"{args.hosts} hosts, {args.window} at a time: medians of {args.rounds} rounds")
    print(f"{'':10} {'s':>6} {'CPU s':>6} {'peak kB':>8} {'descriptors':>12} {'threads':>8}")
    for name, rows in figures.items():
        seconds, cpu, memory, descriptors, threads = (statistics.median(row[i] for row in rows) for i in range(5))
        print(f"{name:10} {seconds:6.2f} {cpu:6.2f} {memory:8.0f} {descriptors:12.0f} {threads:8.0f}")
    same = compare_folding(table)
    full = occupancy(args.tidewait, args.hosts, args.window)
    sys.exit(0 if same and full > 0.8 else 1)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    main()
