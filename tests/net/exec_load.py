#!/usr/bin/env python3
"""A client that connects all the time: exec_load.py ADDR PORT COUNT_FILE REQUEST.

Of what it opens a part is closed by it first, a part is read to the server's end, and some are left open or
half-closed until the server has gone. COUNT_FILE holds how many were answered."""
import socket
import sys
import time

address = (sys.argv[1], int(sys.argv[2]))
request = sys.argv[4].encode().decode("unicode_escape").encode("latin-1")
left = []
answered = 0


def read_to_end(client):
    """Or as long as somebody waits who speaks in turn."""
    client.settimeout(0.05)
    try:
        while client.recv(4096):
            pass
    except TimeoutError:
        pass


with open(sys.argv[3], "w", encoding="ascii") as count:
    for turn in range(10**9):
        try:
            client = socket.create_connection(address, 5)
            client.send(request)
            answered += client.recv(4096) != b""
            if turn % 3 == 0:
                read_to_end(client)
            if turn % 10 == 1:
                client.shutdown(socket.SHUT_WR)
            if turn % 10 < 2:
                left.append(client)
            else:
                client.close()
        except OSError:
            left.clear()
        if len(left) > 40:
            left.pop(0).close()
        count.seek(0)
        count.write(f"{answered}\n")
        count.flush()
        time.sleep(0.002)
