#!/usr/bin/env python3
"""Starts a server again and again while clients come: exec_restart.py TIMES SIGNAL COUNT_FILE COMMAND...

It is ended in turn by SIGKILL and by SIGNAL, as soon as 20 more clients were answered (see exec_load.py).
The command may be `tidewait exec`: then SIGKILL goes to the program below it. The last line of output:
how often it ran, and how often its address was refused."""
import os
import re
import signal
import subprocess
import sys
import tempfile
import time

IN_USE = re.compile(r"address already in use|EADDRINUSE|address in use", re.IGNORECASE)
# PostgreSQL waits for what a killed one has left, as long as that takes.
NOT_YET = re.compile(r"pre-existing shared memory|lock file .* already exists")


def answered():
    with open(sys.argv[3], encoding="ascii") as count:
        return int(count.readline() or 0)


def program_of(pid):
    """The program itself where the command is `tidewait exec`."""
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as children:
        below = children.read().split()
    with open(f"/proc/{pid}/comm", encoding="ascii") as comm:
        return int(below[0]) if comm.read() == "tidewait\n" and below else pid


def end_group(group):
    """Workers that a killed master left behind hold its listener."""
    for _ in range(500):
        try:
            os.killpg(group, signal.SIGKILL)
        except ProcessLookupError:
            return
        time.sleep(0.01)


def run_once(sign):
    with tempfile.TemporaryFile("w+") as output:
        with subprocess.Popen(sys.argv[4:], stdout=output, stderr=output, stdin=subprocess.DEVNULL,
                              start_new_session=True) as server:
            enough, until = answered() + 20, time.monotonic() + 30
            while server.poll() is None and answered() < enough and time.monotonic() < until:
                time.sleep(0.01)
            served = answered() >= enough
            if server.poll() is None:
                os.kill(program_of(server.pid) if sign == signal.SIGKILL else server.pid, sign)
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                print("had to be killed")
            end_group(server.pid)
        output.seek(0)
        return served, output.read()


def main():
    ran = refused = 0
    while ran < int(sys.argv[1]):
        sign = getattr(signal, sys.argv[2]) if ran % 2 else signal.SIGKILL
        served, text = run_once(sign)
        if NOT_YET.search(text) and not served:
            time.sleep(0.1)
            continue
        ran += 1
        if IN_USE.search(text):
            refused += 1
        elif not served:
            print(f"run {ran}: {text}")
    print(f"ran {ran} refused {refused}")


main()
