#!/usr/bin/env python3
"""Many leases at once from a pool just large enough, while others let the kernel choose ports.

lease_crowd.py TIDEWAIT PROCESSES PORTS POOL [LEASE'S OPTIONS...]: each of so many processes leases so many
ports of FIRST-LAST. Meanwhile, and for 4,000 more rounds when all have theirs, two processes bind to port 0
and connect(). Then the commands bind all of their ports: by TCP and UDP without SO_REUSEADDR, and with it by
TCP alone when the pool is within ip_local_port_range, where UDP is not promised. Prints what happened; exit
status 1 when two got one port. To be run in a private network."""
import os
import resource
import select
import socket
import struct
import subprocess
import sys
import threading

ROUNDS = 4000
RESET = struct.pack("ii", 1, 0)


def kernel_range():
    with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as file:
        return tuple(map(int, file.read().split()))


def claim(shared):
    """The leased command: tells its ports, waits for a line, binds, tells, and waits for the end of its input."""
    ports = [int(os.environ["PORT%d" % i]) for i in range(1, 1 + sum(
        name.startswith("PORT") and name[4:].isdigit() for name in os.environ))]
    held = []
    print(*ports, flush=True)
    sys.stdin.readline()
    for port in ports:
        sock = socket.socket()
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("", port))
        sock.listen(1)
        held.append(sock)
        if not shared:
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.bind(("", port))
            held.append(sock)
    print("bound", flush=True)
    sys.stdin.read()


def hammer(first, last, server):
    """Lets the kernel choose until a line is read, then ROUNDS times more, then until the input ends. From the
    line on the pool is out of bounds."""
    shared = kernel_range()[0] <= first
    used = rounds = bad = 0
    settled = ended = False
    while not ended:
        if select.select([sys.stdin], [], [], 0)[0]:
            ended = not os.read(0, 1)
            settled = True
        kinds = [(socket.SOCK_STREAM, 0, "bind"), (socket.SOCK_STREAM, 1, "bind"), (socket.SOCK_STREAM, 0, "connect")]
        if not shared:
            kinds += [(socket.SOCK_DGRAM, 0, "bind"), (socket.SOCK_DGRAM, 1, "bind")]
        for kind, reuse, how in kinds:
            with socket.socket(socket.AF_INET, kind) as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse)
                if how == "bind":
                    sock.bind(("127.0.0.1" if rounds % 2 else "", 0))
                else:
                    sock.connect(("127.0.0.1", server))
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                inside = first <= sock.getsockname()[1] <= last
                used += inside and not settled
                bad += inside and settled
        rounds += settled
        if settled and rounds == ROUNDS:
            print("rounds", flush=True)
    print(used, bad, flush=True)


def accept_all(listener):
    while True:
        sock = listener.accept()[0]
        # The other end resets it; were we first, its connect() might fail.
        try:
            sock.recv(1)
        except ConnectionResetError:
            pass
        sock.close()


def tell(child):
    """A line, if it has not ended."""
    try:
        child.stdin.write("\n")
        child.stdin.flush()
    except BrokenPipeError:
        pass


def run(tidewait, processes, count, pool, options):
    first, last = map(int, pool.split("-"))
    low, high = kernel_range()
    shared = low <= first and last <= high
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    listener = socket.create_server(("127.0.0.1", 9), backlog=1024)
    threading.Thread(target=accept_all, args=(listener,), daemon=True).start()
    me = [sys.executable, "-S", "-E", os.path.abspath(__file__)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    hammers = [subprocess.Popen([*me, "hammer", str(first), str(last), "9"], **pipes) for _ in range(2)]
    crowd = [subprocess.Popen([tidewait, "lease", "-n", str(count), "-p", pool, *options, "--",
                               *me, "claim", str(int(shared))], **pipes) for _ in range(processes)]
    got = [list(map(int, child.stdout.readline().split())) for child in crowd]
    for child in hammers:
        tell(child)
    for child in hammers:
        child.stdout.readline()
    for child in crowd:
        tell(child)
    failed = sum(child.stdout.readline() != "bound\n" for child in crowd)
    for child in hammers:
        child.stdin.close()
    chosen = [list(map(int, child.stdout.readline().split())) for child in hammers]
    for child in crowd:
        child.stdin.close()
    failed += sum(child.wait() != 0 for child in crowd)
    for child in hammers:
        failed += child.wait() != 0
    ports = [port for some in got for port in some]
    taken = sum(bad for _, bad in chosen)
    print("%d processes have %d ports, %d different; %d failed; chosen by the kernel meanwhile: %d, of those leased: %d"
          % (processes, len(ports), len(set(ports)), failed, sum(used for used, _ in chosen), taken))
    outside = [port for port in ports if not first <= port <= last]
    wrong = failed or taken or outside or len(set(ports)) != len(ports) or len(ports) != processes * count
    return 1 if wrong else 0


if sys.argv[1] == "claim":
    claim(sys.argv[2] == "1")
elif sys.argv[1] == "hammer":
    hammer(*map(int, sys.argv[2:5]))
else:
    sys.exit(run(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5:]))
