#!/usr/bin/env python3
"""Another program that holds source ports: hold.py KINDS ADDR FIRST LAST [SERVER PORT].

KINDS are taken in turn, a comma between them: bound (and idle), listening, connected (to SERVER, with
SO_REUSEADDR, so that others may bind to the port but not connect from it to the same place)."""
import resource
import socket
import sys
import time

kinds, address, first, last = sys.argv[1].split(","), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
held = []
for port in range(first, last + 1):
    kind = kinds[port % len(kinds)]
    sock = socket.socket()
    if kind != "bound":
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((address, port))
    if kind == "listening":
        sock.listen(8)
    elif kind == "connected":
        sock.connect((sys.argv[5], int(sys.argv[6])))
    held.append(sock)
print("ready", flush=True)
time.sleep(300)
