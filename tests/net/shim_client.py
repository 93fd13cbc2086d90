"""Connects, sends three bytes and closes, as fast as it can.  shim_client.py ADDR PORT COUNT"""
import socket
import sys

for i in range(int(sys.argv[3])):
    client = socket.socket()
    client.connect((sys.argv[1], int(sys.argv[2])))
    client.send(b"abc")
    client.close()
print("made", i + 1)
