#!/usr/bin/env python3
"""A server that reads each connection to its end: exec_server.py ADDR PORT LOG.

LOG gets a line "ADDR PORT" of each client. Who asks by HTTP is answered, and ends the connection."""
import select
import socket
import sys

listener = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET)
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind((sys.argv[1], int(sys.argv[2])))
listener.listen(1024)
poll = select.epoll()
poll.register(listener, select.EPOLLIN)
clients = {}
with open(sys.argv[3], "w", encoding="ascii", buffering=1) as log:
    print("ready", flush=True)
    while True:
        for fd, _ in poll.poll():
            if fd == listener.fileno():
                client, peer = listener.accept()
                clients[client.fileno()] = client
                poll.register(client, select.EPOLLIN)
                log.write(f"{peer[0]} {peer[1]}\n")
                continue
            try:
                data = clients[fd].recv(4096)
                if data.startswith(b"GET"):
                    clients[fd].send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            except OSError:
                data = b""
            if not data:
                poll.unregister(fd)
                clients.pop(fd).close()
