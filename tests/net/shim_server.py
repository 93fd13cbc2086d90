"""A server as anybody would write it: select(), reads to the end, closes.  shim_server.py ADDR PORT"""
import select
import socket
import sys

listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind((sys.argv[1], int(sys.argv[2])))
listener.listen(4096)
print("ready", flush=True)
sockets = {listener}
while True:
    for ready in select.select(sockets, [], [])[0]:
        if ready is listener:
            sockets.add(listener.accept()[0])
        elif not ready.recv(4096):
            sockets.remove(ready)
            ready.close()
