#!/usr/bin/env python3
"""What tests/net/tune.bats cannot do in bash.

usage: tune_kit.py fill ADDRESS PORT        opens connections until no source port is left; prints the ports
       tune_kit.py ask ANSWER COMMAND...    runs a command on a terminal and answers its question
       tune_kit.py keys FILE EXPRESSION...  whether these hold of the JSON object `d` in a file
"""
import errno
import json
import os
import pty
import socket
import struct
import sys


def fill(address, port):
    held = []
    while True:
        s = socket.socket()
        # Ended by a reset: nothing stays behind.
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        try:
            s.connect((address, int(port)))
        except OSError as error:
            if error.errno != errno.EADDRNOTAVAIL:
                raise
            break
        held.append(s)
    print(*sorted(s.getsockname()[1] for s in held), sep="\n")


def ask(answer, *command):
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvp(command[0], command)
    seen = b""
    answered = False
    while True:
        try:
            piece = os.read(terminal, 4096)
        except OSError:  # EIO: the other side has ended
            break
        if not piece:
            break
        seen += piece
        if not answered and b"[y/N]" in seen:
            os.write(terminal, answer.encode() + b"\n")
            answered = True
    sys.stdout.write(seen.decode())
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def keys(path, *expressions):
    with open(path, encoding="utf-8") as file:
        d = json.load(file)
    wrong = [expression for expression in expressions if not eval(expression, {"d": d})]
    for expression in wrong:
        print("does not hold:", expression)
    if wrong:
        print(json.dumps(d, indent=1))
    return bool(wrong)


sys.exit({"fill": fill, "ask": ask, "keys": keys}[sys.argv[1]](*sys.argv[2:]))
