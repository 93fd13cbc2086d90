"""Sockets in every state that a test of `tidewait ls` can ask for, in the network namespace it runs in.

usage: ls_busy.py FOLDER [evil]    Prints "ready" and holds all of them until it is killed. FOLDER is for
Unix sockets; "evil" adds names with control characters.
"""
import os
import signal
import socket
import sys

REUSE = (socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
V6 = os.path.exists("/proc/sys/net/ipv6")
EVIL = "evil" in sys.argv[2:]
kept = []


def keep(*sockets):
    kept.extend(sockets)
    return sockets[0]


def listener(family, address, port, only6=None, backlog=64):
    server = keep(socket.socket(family, socket.SOCK_STREAM))
    server.setsockopt(*REUSE)
    if only6 is not None:
        server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only6)
    server.bind((address, port))
    server.listen(backlog)
    return server


def connection(server, address, source=None):
    """Both ends, the client's first."""
    client = socket.socket(server.family, socket.SOCK_STREAM)
    if source:
        client.bind((source, 0))
    client.connect((address, server.getsockname()[1]))
    return client, server.accept()[0]


def streams(server, address, count):
    for _ in range(count):
        keep(*connection(server, address))
    # TIME_WAIT on the client's side, then on the server's.
    for first in (0, 1):
        for _ in range(count // 2):
            ends = connection(server, address)
            ends[first].close()
            assert ends[1 - first].recv(1) == b""
            ends[1 - first].close()
    # FIN_WAIT_2 and CLOSE_WAIT, with the descriptor open and without it.
    for _ in range(3):
        client, accepted = connection(server, address)
        client.shutdown(socket.SHUT_WR)
        keep(client, accepted)
    client, accepted = connection(server, address)
    keep(accepted)
    client.close()


def fill(sender):
    sender.setblocking(False)
    try:
        while True:
            sender.send(b"y" * 65536)
    except BlockingIOError:
        pass


def queues(address):
    # Not accepted; unread; unsent.
    listener(socket.AF_INET, address, 8300)
    for _ in range(4):
        keep(socket.socket()).connect((address, 8300))
    ends = connection(listener(socket.AF_INET, address, 8301), address)
    ends[0].sendall(b"x" * 777)
    keep(*ends)
    ends = connection(listener(socket.AF_INET, address, 8302), address)
    fill(ends[0])
    keep(*ends)
    # FIN_WAIT_1: the FIN stands behind data that nobody reads. The same on the other side makes CLOSING of
    # it, and LAST_ACK where the peer's FIN had come before.
    server = listener(socket.AF_INET, address, 8303)
    for then in ("", "closing", "last-ack"):
        client, accepted = connection(server, address)
        if then == "last-ack":
            client.shutdown(socket.SHUT_WR)
            fill(accepted)
            accepted.shutdown(socket.SHUT_WR)
        else:
            fill(client)
            client.shutdown(socket.SHUT_WR)
        if then == "closing":
            accepted.shutdown(socket.SHUT_WR)
        keep(client, accepted)


def half_open(address):
    # SYN_RECV: the server waits for data before it tells of the connection.
    server = listener(socket.AF_INET, address, 8310)
    server.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 60)
    keep(socket.socket()).connect((address, 8310))
    # SYN_SENT: a full backlog drops what comes.
    listener(socket.AF_INET, address, 8311, backlog=0)
    for _ in range(4):
        client = keep(socket.socket())
        client.setblocking(False)
        client.connect_ex((address, 8311))


def datagrams():
    for number in range(5):
        server = keep(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        server.bind(("127.0.0.1", 5300 + number))
        client = keep(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        client.connect(("127.0.0.1", 5300 + number))
        client.send(b"q" * (number + 1))
    if V6:
        server = keep(socket.socket(socket.AF_INET6, socket.SOCK_DGRAM))
        server.bind(("::", 5400))
        server = keep(socket.socket(socket.AF_INET6, socket.SOCK_DGRAM))
        server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        server.bind(("::", 5401))


def unix(folder):
    for kind in (socket.SOCK_STREAM, socket.SOCK_SEQPACKET):
        path = os.path.join(folder, "u%d" % kind)
        server = keep(socket.socket(socket.AF_UNIX, kind))
        server.bind(path)
        server.listen(5)
        for _ in range(4):
            client = keep(socket.socket(socket.AF_UNIX, kind))
            client.connect(path)
            keep(server.accept()[0])
        client = keep(socket.socket(socket.AF_UNIX, kind))
        client.connect(path)
    server = keep(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
    server.bind(os.path.join(folder, "dgram"))
    names = [b"\0tidewait-abstract", b"\0a\0b\0c"]
    if EVIL:
        names.append(os.path.join(folder, "evil\033[31m\n").encode() + b"\xff")
    for name in names:
        server = keep(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        server.bind(name)
    keep(*socket.socketpair())


def main():
    folder = sys.argv[1]
    plain = listener(socket.AF_INET, "127.0.0.1", 8080)
    streams(plain, "127.0.0.1", 60)
    listener(socket.AF_INET, "0.0.0.0", 8081)
    queues("127.0.0.1")
    half_open("127.0.0.1")
    datagrams()
    if V6:
        six = listener(socket.AF_INET6, "::1", 8080)
        streams(six, "::1", 20)
        listener(socket.AF_INET6, "::", 8082, only6=1)
        dual = listener(socket.AF_INET6, "::", 8083, only6=0)
        # ::ffff:127.0.0.1 on the server's side.
        client = keep(socket.socket())
        client.connect(("127.0.0.1", 8083))
        keep(dual.accept()[0])
    for port in (9001, 9002):
        keep(socket.socket()).bind(("127.0.0.1", port))
    unix(folder)
    # A child that shares everything, and ends with us.
    end, ours = os.pipe()
    if os.fork() == 0:
        os.close(ours)
        if EVIL:
            with open("/proc/self/comm", "w", encoding="utf-8") as comm:
                comm.write("ev\033]0;il\n")
        os.read(end, 1)
        os._exit(0)
    print("ready", flush=True)
    signal.pause()


main()
