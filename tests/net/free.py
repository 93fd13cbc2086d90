#!/usr/bin/env python3
"""The other programs of free.bats: free.py MODE ARGS. Each says "ready" when it has what it holds.

  server|stubborn|family|yielding ADDR PORT   listens; outlives TERM; has a child that has the socket too;
                                              at TERM closes the socket and lives on
  systemd ADDR PORT                           listens under that name; lets go at USR1
  client ADDR PORT [SOURCE PORT]              connects, from an explicit port if there is one
  leftover ADDR PORT                          has an accepted connection and listens no more
  timewait ADDR PORT [reuseaddr]              ends, and leaves a TIME_WAIT
  bound|udp ADDR PORT                         is bound and idle
  unix|stale PATH                             listens; ends and leaves the file
  run|become ADDR PORT COMMAND...             listens, runs the command; becomes it with the socket
  ask ANSWER BETWEEN COMMAND...               runs the command on a terminal; when it asks, runs BETWEEN
                                              by the shell, then gives the answer
"""
import os
import pty
import signal
import socket
import subprocess
import sys
import time


def ready():
    print("ready", flush=True)


def rest():
    while True:
        time.sleep(60)


def listen(address, port, reuse=False):
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    if reuse:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((address, int(port)))
    sock.listen(16)
    return sock


def serve(address, port):
    sock, kept = listen(address, port), []
    ready()
    while True:
        kept.append(sock.accept()[0])


def stubborn(address, port):
    signal.signal(signal.SIGTERM, lambda *_: print("TERM", flush=True))
    serve(address, port)


def family(address, port):
    sock = listen(address, port)
    if os.fork() == 0:
        rest()
    ready()
    rest()
    sock.close()


def yielding(address, port):
    sock = listen(address, port)
    signal.signal(signal.SIGTERM, lambda *_: sock.close())
    ready()
    rest()


def systemd(address, port):
    with open("/proc/self/comm", "w") as comm:
        comm.write("systemd")
    sock = listen(address, port)
    signal.signal(signal.SIGUSR1, lambda *_: sock.close())
    ready()
    rest()


def client(address, port, source=None):
    sock = socket.socket()
    if source:
        sock.bind((address, int(source)))
    sock.connect((address, int(port)))
    ready()
    rest()


def pair(address, port, reuse=False):
    sock = listen(address, port, reuse)
    other = socket.create_connection((address, int(port)))
    conn = sock.accept()[0]
    sock.close()
    return conn, other


def leftover(address, port):
    kept = pair(address, port)
    # The client's end goes to a process of its own.
    if os.fork() == 0:
        kept[0].close()
        rest()
    kept[1].close()
    ready()
    rest()


def timewait(address, port, reuse=""):
    conn, other = pair(address, port, reuse == "reuseaddr")
    conn.close()
    other.recv(1)
    other.close()
    ready()


def bound(address, port, kind=socket.SOCK_STREAM):
    sock = socket.socket(socket.AF_INET, kind)
    sock.bind((address, int(port)))
    ready()
    rest()


def udp(address, port):
    bound(address, port, socket.SOCK_DGRAM)


def unix(path, stay=True):
    sock = socket.socket(socket.AF_UNIX)
    sock.bind("\0" + path[1:] if path[0] == "@" else path)
    sock.listen(1)
    ready()
    if stay:
        rest()


def stale(path):
    unix(path, False)


def run(address, port, *command):
    sock = listen(address, port)
    status = subprocess.run(command).returncode
    sock.close()
    sys.exit(status)


def become(address, port, *command):
    sock = listen(address, port)
    sock.set_inheritable(True)
    os.execvp(command[0], command)


def ask(answer, between, *command):
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvp(command[0], command)
    seen, asked = b"", False
    while True:
        try:
            part = os.read(terminal, 4096)
        except OSError:  # EIO: the other side is closed
            break
        if not part:
            break
        seen += part
        if b"[y/N]" in seen and not asked:
            asked = True
            if between and subprocess.run(["sh", "-c", between]).returncode:
                sys.exit("between failed: " + between)
            os.write(terminal, answer.encode() + b"\n")
    sys.stdout.write(seen.decode())
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


modes = {
    "server": serve, "stubborn": stubborn, "family": family, "yielding": yielding, "systemd": systemd, "client": client,
    "leftover": leftover, "timewait": timewait, "bound": bound, "udp": udp, "unix": unix, "stale": stale,
    "run": run, "become": become, "ask": ask,
}
modes[sys.argv[1]](*sys.argv[2:])
