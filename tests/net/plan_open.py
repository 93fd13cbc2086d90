#!/usr/bin/env python3
"""Opens connections at an even pace, for the tests of `plan --now`; and a server for them.

usage: plan_open.py serve ADDR PORT keep|close|late
       plan_open.py open ADDR PORT RATE HOLD_S [IDLE]
       plan_open.py bind ADDR PORT...

`serve` keeps connections until the other end closes, or closes them at once or after 0.2 s. `open` keeps each for so
long and closes it, and IDLE others until its end. `bind` binds ports and does nothing with them. Each
prints a line when it is at work, and ends when it is killed."""
import collections
import selectors
import socket
import sys
import time


def serve(address, port, mode):
    listener = socket.create_server((address, port), backlog=1024)
    selector, late = selectors.DefaultSelector(), collections.deque()
    selector.register(listener, selectors.EVENT_READ)
    print("serving", flush=True)
    while True:
        for key, _ in selector.select(0.02 if late else None):
            if key.fileobj is listener:
                connection, _ = listener.accept()
                if mode == "keep":
                    selector.register(connection, selectors.EVENT_READ)
                elif mode == "late":
                    late.append((time.monotonic() + 0.2, connection))
                else:
                    connection.close()
            elif not key.fileobj.recv(4096):
                selector.unregister(key.fileobj)
                key.fileobj.close()
        while late and late[0][0] <= time.monotonic():
            late.popleft()[1].close()


def open_and_close(address, port, rate, hold, idle):
    pool = [socket.create_connection((address, port)) for _ in range(idle)]
    begun, opened, closed, flying = time.monotonic(), 0, 0, collections.deque()
    while True:
        now = time.monotonic()
        if now >= begun + opened / rate:
            flying.append((now + hold, socket.create_connection((address, port))))
            opened += 1
        while flying and flying[0][0] <= now:
            flying.popleft()[1].close()
            closed += 1
            if closed == 5:
                print("closing; besides", len(pool), "idle", flush=True)
        time.sleep(0.002)


def main():
    if sys.argv[1] == "serve":
        serve(sys.argv[2], int(sys.argv[3]), sys.argv[4])
    elif sys.argv[1] == "open":
        open_and_close(sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), float(sys.argv[5]),
                       int(sys.argv[6]) if len(sys.argv) > 6 else 0)
    else:
        bound = []
        for port in sys.argv[3:]:
            bound.append(socket.socket())
            bound[-1].bind((sys.argv[2], int(port)))
        print("bound", flush=True)
        time.sleep(600)


main()
