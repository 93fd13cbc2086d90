"""Makers of the situations in which connect() fails or is slow. A docstring is a row in the manual."""
import socket
import struct

from causes_kit import (Situation, Skip, bound, connected, held, maker, ports, read, sysctl, try_connect)

SERVER, OTHER = "127.0.0.1:9000", "127.0.0.1:9001"
FIRST, LAST = 20000, 20199


def range_of_200():
    bound(SERVER)
    bound(OTHER)
    ports(FIRST, LAST)


def connect_all(count):
    for _ in range(count):
        connected(SERVER)


def exhausted(cure="sysctl", **more):
    return Situation(["--to", SERVER], "unavailable", "EADDRNOTAVAIL", lambda: try_connect(SERVER), cure=cure,
                     **more)


@maker("lane-exhausted")
def lane_exhausted(world):
    """each port of ip_local_port_range has a connection to the destination"""
    range_of_200()
    world.spawn(connect_all, LAST - FIRST + 1)
    return exhausted(others=[["--to", OTHER]])


@maker("lane-exhausted/time-wait")
def lane_time_wait(world):
    """each port has a TIME_WAIT to it, and tcp_tw_reuse is 0"""
    ports(FIRST, LAST)
    sysctl("ipv4/tcp_tw_reuse", 0)
    listener = bound(SERVER)
    bound(OTHER)
    for _ in range(FIRST, LAST + 1):
        client = connected(SERVER)
        server = listener.accept()[0]
        client.close()
        server.close()
    return exhausted(others=[["--to", OTHER]])


@maker("lane-half-full")
def lane_half_full(world):
    """the half of the ports that connect() tries first is used up"""
    range_of_200()
    world.spawn(connect_all, 130)

    def attempt():
        try:
            client = connected(SERVER)
        except OSError as error:
            return str(error)
        first = int(read("/proc/sys/net/ipv4/ip_local_port_range").split()[0])
        return "slow" if (client.getsockname()[1] - first) % 2 else None
    return Situation(["--to", SERVER], "slow", None, attempt, cure="sysctl", before="slow",
                     others=[["--to", OTHER]])


@maker("bucket-polluted")
def bucket_polluted(world):
    """a socket is bound to each port of the range, even if on another address"""
    range_of_200()

    def pollute():
        for port in range(FIRST, LAST + 1):
            bound(f"127.0.0.2:{port}", listening=False)
    pid = world.spawn(pollute)[0]
    return exhausted(holders=[pid])


@maker("tuple-in-use")
def tuple_in_use(world):
    """a connection from this very port to the destination lives"""
    range_of_200()
    source = "127.0.0.1:8080"
    pid = world.spawn(lambda: connected(SERVER, source, ra=True) and None)[0]
    return Situation(["--to", SERVER, "--from", source, "--reuseaddr"], "unavailable", "EADDRNOTAVAIL",
                     lambda: try_connect(SERVER, source, ra=True), [pid],
                     others=[["--to", SERVER, "--from", "127.0.0.1:8081", "--reuseaddr"],
                             ["--to", OTHER, "--from", source, "--reuseaddr"]])


@maker("range-too-small")
def range_too_small(world):
    """ip_local_port_range has five ports, all free"""
    bound(SERVER)
    ports(FIRST, FIRST + 4)

    def attempt():
        first, last = map(int, read("/proc/sys/net/ipv4/ip_local_port_range").split())
        return "small" if last - first < 10 else try_connect(SERVER)
    return Situation(["--to", SERVER], "free", None, attempt, cure="sysctl", before="small",
                     others=[["--to", SERVER, "--from", "127.0.0.1:8080"]])


@maker("ipv6-disabled/connect", needs=["ipv6"])
def ipv6_disabled(world):
    """the same for a destination"""
    bound(SERVER)
    bound("[::]:9000", v6only=True)
    sysctl("ipv6/conf/all/disable_ipv6", 1)
    return Situation(["--to", "[::1]:9000"], "unavailable", "EADDRNOTAVAIL",
                     lambda: try_connect("[::1]:9000"), cure="sysctl", others=[["--to", SERVER]])


@maker("udp-exhausted")
def udp_exhausted(world):
    """each port of the range has a UDP socket"""
    ports(FIRST, LAST)

    def fill():
        for port in range(FIRST, LAST + 1):
            bound(f"127.0.0.1:{port}", udp=True)
    world.spawn(fill)
    return Situation(["--to", SERVER + "/udp"], "unavailable", "EAGAIN",
                     lambda: try_connect(SERVER, udp=True), others=[["--to", SERVER]])


# nat-suspected: what `nft` and `conntrack -I` do, by netlink, so that neither is needed.

def attribute(kind, *payload):
    body = b"".join(payload)
    return struct.pack("HH", len(body) + 4, kind) + body.ljust(-(-len(body) // 4) * 4, b"\0")


def nested(kind, *payload):
    return attribute(kind | 0x8000, *payload)


def message(kind, flags, family, resource, *attributes):
    body = struct.pack("BB", family, 0) + struct.pack("!H", resource) + b"".join(attributes)
    return struct.pack("IHHII", len(body) + 16, kind, flags | 1, 1, 0) + body


def word(number):
    return struct.pack("!I", number)


def track_connections(netlink):
    """nft add rule ip causes out ct state: from now on this namespace tracks what it sends."""
    create, table = 0x400, attribute(1, b"causes\0")
    load = nested(1, attribute(1, b"ct\0"), nested(2, attribute(1, word(1)), attribute(2, word(0))))
    netlink.send(b"".join([
        message(0x10, 0, 0, 10),
        message(0xA00, create, socket.AF_INET, 0, table),
        message(0xA03, create, socket.AF_INET, 0, table, attribute(3, b"out\0"),
                nested(4, attribute(1, word(3)), attribute(2, word(0))), attribute(7, b"filter\0")),
        message(0xA06, create | 4, socket.AF_INET, 0, table, attribute(2, b"out\0"), nested(4, load)),
        message(0x11, 0, 0, 10)]))
    replies = netlink.recv(65536)
    if struct.unpack_from("i", replies, 16)[0]:
        raise Skip("no nftables with ct here")


def flow(source, port):
    """conntrack -I of one UDP flow that is not to be dropped early."""
    ours, theirs = socket.inet_aton(source), socket.inet_aton("10.9.9.9")

    def side(kind, a, b, from_port, to_port):
        return nested(kind, nested(1, attribute(1, a), attribute(2, b)),
                      nested(2, attribute(1, b"\x11"), attribute(2, struct.pack("!H", from_port)),
                             attribute(3, struct.pack("!H", to_port))))
    return message(0x100, 0x600, socket.AF_INET, 0,
                   side(1, ours, theirs, port, 9), side(2, theirs, ours, 9, port),
                   attribute(3, word(0x0E)), attribute(7, word(600)))


def fill_conntrack(netlink, limit):
    """Flows from all ports of as many addresses as it takes."""
    mark = 0xABCD
    for block in range(limit // 65536 + 1):
        parts = flow(f"10.8.0.{block + 1}", mark).split(struct.pack("!H", mark))
        for first in range(0, 65536, 512):
            names = [struct.pack("!H", port) for port in range(first, first + 512)]
            netlink.send(b"".join(name.join(parts) for name in names))


@maker("nat-suspected", needs=["root"])
def nat_suspected(world):
    """the connection-tracking table is full and the SYN gets no answer"""
    try:
        limit = int(read("/proc/sys/net/netfilter/nf_conntrack_max"))
        netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
        netlink.bind((0, 0))
        netlink.settimeout(5)
    except OSError as error:
        raise Skip(f"no connection tracking: {error}") from error
    if limit > 300000:
        raise Skip(f"nf_conntrack_max is {limit}, too much memory to fill; it is not ours to change")
    bound(SERVER)
    track_connections(netlink)
    netlink.setsockopt(270, 8, 0)
    fill_conntrack(netlink, limit)
    netlink.close()

    def wait():
        client = socket.socket()
        held.append(client)
        client.setblocking(False)
        client.connect_ex(("127.0.0.1", 9000))
    world.spawn(wait)
    return Situation(["--to", SERVER], "unavailable", "ETIMEDOUT", lambda: try_connect(SERVER), cure=None)
