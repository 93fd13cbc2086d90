"""peer.py DIRECTORY [COUNT]: takes 127.0.0.1:7000 (TCP), :7001 (UDP) and DIRECTORY/x.sock, and opens
COUNT connections to itself, which hold that many source ports. Says "ready" and waits."""
import signal
import socket
import sys

tcp = socket.create_server(("127.0.0.1", 7000), backlog=64)
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(("127.0.0.1", 7001))
path = socket.socket(socket.AF_UNIX)
path.bind(sys.argv[1] + "/x.sock")
path.listen(4)
held = [socket.create_connection(("127.0.0.1", 7000)) for _ in range(int(sys.argv[2]))]
print("ready", flush=True)
signal.pause()
