#!/usr/bin/env python3
"""A server that behaves in one way, mostly badly: peer.py MODE ADDR PORT [LOG]. One thread a connection.

LOG gets a line "ADDR PORT" of the peer of each connection accepted."""
import socket
import struct
import sys
import threading
import time

BODY = b"hello, world\n"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY)
BIG = 1 << 20


def read_request(conn):
    data = b""
    while b"\r\n\r\n" not in data:
        part = conn.recv(65536)
        if not part:
            return None
        data += part
    return data


def reset(conn):
    conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    conn.close()


def answer(mode, conn):
    if mode == "greeting":  # speaks first, then echoes
        conn.sendall(b"220 ready\r\n")
        while data := conn.recv(65536):
            conn.sendall(data)
        return conn.close()
    if mode == "mute":  # accepts, reads, never answers
        while conn.recv(65536):
            pass
        return conn.close()
    while request := read_request(conn):
        if mode == "reset-in-reply":
            conn.sendall(HEAD + BODY[:3])
            time.sleep(0.002)
            return reset(conn)
        if mode == "reset-after-reply":
            conn.sendall(HEAD + BODY)
            return reset(conn)
        if mode == "no-length":
            conn.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + BODY)
            return conn.close()
        if mode == "short":
            conn.sendall(HEAD + BODY[:-1])
            return conn.close()
        if mode == "garbage":
            conn.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
            return conn.close()
        if mode == "plain":  # the one that does all right
            conn.sendall(HEAD + BODY)
            if b"Connection: close" in request:
                return conn.close()
        elif mode == "status":
            conn.sendall(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
        elif mode == "chunked":
            conn.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            conn.sendall(b"5;x=y\r\nhello\r\n")
            conn.sendall(b"8\r\n, world\n\r\n0\r\nTrailer: x\r\n\r\n")
        elif mode == "bytewise":
            conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in b"HTTP/1.1 100 Continue\r\n\r\n" + HEAD + BODY:
                conn.sendall(bytes([byte]))
        elif mode == "big":  # a megabyte in sixteen pieces, with pauses
            conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % BIG)
            for _ in range(16):
                conn.sendall(b"x" * (BIG // 16))
                time.sleep(0.01)
        elif mode == "drip":  # a byte now and then: never done in time
            for byte in HEAD + BODY * 100:
                conn.sendall(bytes([byte]))
                time.sleep(0.1)
        elif mode == "surplus":
            conn.sendall(HEAD + BODY + b"and more")
        elif mode == "never-closes":
            conn.sendall(HEAD + BODY)
            time.sleep(3600)
        else:
            sys.exit("peer.py: no mode " + mode)


def serve(mode, conn):
    try:
        answer(mode, conn)
    except OSError:
        pass
    finally:
        conn.close()


def main():
    mode, address, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
    log = open(sys.argv[4], "w", buffering=1) if len(sys.argv) > 4 else None
    listener = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, port))
    listener.listen(1024)
    print("ready", flush=True)
    while True:
        conn, peer = listener.accept()
        if log:
            log.write("%s %d\n" % peer[:2])
        threading.Thread(target=serve, args=(mode, conn), daemon=True).start()


main()
