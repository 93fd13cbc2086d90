"""`why --to`: how full the lane is, who fills it, and when it is free again."""
import threading

from causes_kit import NOBODY, abort, bound, connected, held, ip, ports, sysctl, tcp_states, try_connect, until
from kit import ask, case, need_user, why

SERVER = "127.0.0.1:7000"


def lane_of(answer):
    """The figures of the lane; each port is in one of them."""
    lane = answer.verdict()["lane"]
    counts = [lane[name] for name in ("connected", "time_wait", "reusable", "polluted", "free")]
    if sum(counts) != lane["ports"]:
        answer.fail(f"the lane does not add up: {lane}")
    return lane


def connect_many(count, address=SERVER, source=None):
    for _ in range(count):
        connected(address, source)


def close_behind_clients(address):
    """A server that closes nothing first: its clients get the TIME_WAITs."""
    sock = bound(address, ra=True)

    def serve():
        while True:
            peer = sock.accept()[0]
            try:
                peer.recv(1)
            except ConnectionResetError:  # by abort()
                pass
            peer.close()
    threading.Thread(target=serve, daemon=True).start()


def leave_time_waits(world, count):
    """Connections that this end closes first."""
    pid = world.spawn(close_behind_clients, SERVER)[0]
    for _ in range(count):
        connected(SERVER).close()
        held.pop()
    return pid


@case()
def exhausted_by_a_process(world):
    ports(20000, 20007)
    world.hold(SERVER, ra=True)
    client = world.spawn(connect_many, 6)[0]
    second = world.spawn(connect_many, 2)[0]
    assert try_connect(SERVER) == "EADDRNOTAVAIL"
    answer = ask("--to", SERVER)
    said = answer.expect(1, answer="unavailable", errno="EADDRNOTAVAIL", cause="lane-exhausted",
                         holders=[client, second], free_in_ms=None)
    lane = lane_of(answer)
    assert (lane["ports"], lane["connected"], lane["free"]) == (8, 8, 0), lane
    assert said["holders"][0]["pid"] == client, "not the one with most of them first"
    why("--to", SERVER).says("No source port is left", f"(pid {client}) has 6 of them",
                             f"(pid {second}) has 2 of them", code=1)
    # Another destination has ports of its own.
    world.hold("127.0.0.2:7000", ra=True)
    assert try_connect("127.0.0.2:7000") is None
    answer = ask("--to", "127.0.0.2:7000")
    answer.expect(0, answer="free")
    assert lane_of(answer)["connected"] == 0


@case()
def exhausted_by_time_wait(world):
    sysctl("ipv4/tcp_tw_reuse", 0)
    ports(20000, 20005)
    leave_time_waits(world, 6)
    assert until(lambda: all(tcp_states(port) == ["06"] for port in range(20000, 20006)))
    assert try_connect(SERVER) == "EADDRNOTAVAIL"
    answer = ask("--to", SERVER)
    said = answer.expect(1, cause="lane-exhausted", errno="EADDRNOTAVAIL", holders=[])
    lane = lane_of(answer)
    assert (lane["time_wait"], lane["reusable"], lane["free"]) == (6, 0, 0), lane
    assert 40000 < said["free_in_ms"] <= 65000, said["free_in_ms"]
    # What it advises helps: TIME_WAITs older than a second are taken over then.
    sysctl("ipv4/tcp_tw_reuse", 1)
    assert until(lambda: try_connect(SERVER) is None)
    assert until(lambda: lane_of(ask("--to", SERVER))["reusable"] == 6 - free_ports())
    ask("--to", SERVER).expect(0)


def free_ports():
    return sum(not tcp_states(port) for port in range(20000, 20006))


@case()
def partly_filled(world):
    """Some of each kind, and the figures of all."""
    ports(20000, 20019)
    sysctl("ipv4/tcp_tw_reuse", 0)
    pid = leave_time_waits(world, 3)
    client = world.spawn(connect_many, 4)[0]
    taken = {port for port in range(20000, 20020) if tcp_states(port)}
    assert len(taken) == 7, taken
    rest = sorted(set(range(20000, 20020)) - taken)
    for port in rest[:2]:
        bound(f"127.0.0.3:{port}")
    bound(f"[::1]:{rest[2]}", listening=False)
    sysctl("ipv4/ip_local_reserved_ports", rest[3])
    answer = ask("--to", SERVER)
    lane = lane_of(answer)
    wanted = {"ports": 19, "connected": 4, "time_wait": 3, "reusable": 0, "polluted": 3, "free": 9}
    assert {name: lane[name] for name in wanted} == wanted, (lane, wanted)
    answer.expect(answer=("free", "slow"))
    assert pid != client
    # That many connects work, and no more.
    done = 0
    while done < 30 and connect_once() is None:
        done += 1
    # An odd number of ports: each connect() leaves out one end of the range.
    assert done in (8, 9), done


def connect_once():
    try:
        connected(SERVER)
    except OSError as error:
        return error


@case()
def source_address(world):
    """--from: the lane of another source; with a port: that tuple."""
    ports(20000, 20003)
    server = world.hold(SERVER, ra=True)
    client = world.spawn(lambda: [connected(SERVER, "127.0.0.1:0", ra=True) for _ in range(4)] and None)[0]
    ask("--to", SERVER, "--from", "127.0.0.1").expect(1, cause=("lane-exhausted", "bucket-polluted"))
    assert try_connect(SERVER) == "EADDRNOTAVAIL"
    used = next(port for port in range(20000, 20004) if tcp_states(port))
    said = ask("--to", SERVER, "--from", f"127.0.0.1:{used}").expect(
        1, cause="tuple-in-use", errno="EADDRNOTAVAIL", holders=[client])
    assert said["question"]["lport"] == used, said["question"]
    assert try_connect(SERVER, f"127.0.0.1:{used}", ra=True) == "EADDRNOTAVAIL"
    ask("--to", SERVER, "--from", "127.0.0.1:30000").expect(0, answer="free")
    ask("--to", SERVER, "--from", "10.9.9.9").expect(1, cause="address-not-local", errno="EADDRNOTAVAIL")
    ask("--to", SERVER, "--from", "10.9.9.9:30000").expect(1, cause="address-not-local")
    assert server != client


@case()
def source_port_of_somebody_else(world):
    """The tuple is free; whether bind() says so is not guessed, but tried."""
    need_user(NOBODY)
    world.hold(SERVER, ra=True)
    world.hold("127.0.0.1:30000", listening=False)
    world.hold("127.0.0.1:30001", listening=False, ra=True)
    world.hold("127.0.0.1:30002", udp=True)
    lane = ("--to", SERVER, "--from")
    ask(*lane, "127.0.0.1:30000").expect(1, cause="bound-not-listening", trial="EADDRINUSE")
    ask(*lane, "127.0.0.1:30001").expect(0, answer="free", trial="succeeded")
    ask(*lane, "127.0.0.1:30003").expect(0, answer="free", trial="succeeded")
    ask(*lane, "127.0.0.1:30000", "--no-trial").expect(1, cause="bound-not-listening", trial=None)
    # One who cannot see the options of the socket in the way.
    ask(*lane, "127.0.0.1:30000", user=NOBODY).expect(1, cause="hidden-owner", trial="EADDRINUSE")
    ask(*lane, "127.0.0.1:30001", user=NOBODY).expect(0, answer="free", trial="succeeded")
    ask(*lane, "127.0.0.1:30001", "--no-trial", user=NOBODY).expect(1, cause="hidden-owner", trial=None)
    assert try_connect(SERVER, "127.0.0.1:30000", ra=True) == "EADDRINUSE"
    assert try_connect(SERVER, "127.0.0.1:30001", ra=True) is None
    # One who has no such address; the port of a UDP client, who would be given the datagrams of others.
    ask(*lane, "10.9.9.9:30000").expect(1, cause="address-not-local", trial="EADDRNOTAVAIL")
    ask("--to", SERVER + "/udp", "--from", "127.0.0.1:30002").expect(1, cause="udp-bound", trial=None)


@case()
def no_such_device(_):
    """Told also where the source address is not of this host."""
    for source in ("10.9.9.9", "10.9.9.9:30000", "127.0.0.1:30000"):
        why("--to", SERVER, "--from", source, "--device", "nosuch0").says("'nosuch0'", code=2, on="err")


@case()
def bound_before_they_connected(world):
    """bind() with port 0 takes the port from every destination, also once the socket is connected."""
    ports(20000, 20003)
    world.hold(SERVER, ra=True)
    world.hold("127.0.0.2:7000", ra=True)
    world.spawn(lambda: [connected(SERVER, "127.0.0.1:0", ra=True) for _ in range(4)] and None)
    assert try_connect("127.0.0.2:7000") == "EADDRNOTAVAIL"
    answer = ask("--to", "127.0.0.2:7000")
    lane_of(answer)
    # The kernel does not tell which connections were bound first; that has to be said.
    answer.expect(0, answer="free", hidden=["which of 4 ports with connections to other destinations"])


@case()
def two_sources(world):
    """connect() without bind() shares a port between sources as between destinations."""
    ports(20000, 20003)
    world.hold("0.0.0.0:7000", ra=True)
    world.spawn(connect_many, 4)
    ask("--to", SERVER).expect(1, cause="lane-exhausted")
    answer = ask("--to", SERVER, "--from", "127.0.0.5")
    answer.expect(0, answer="free")
    assert lane_of(answer)["free"] == 4


@case("ipv6")
def ipv6(world):
    ports(20000, 20003)
    world.hold("[::1]:7000", ra=True)
    client = world.spawn(connect_many, 4, "[::1]:7000")[0]
    assert try_connect("[::1]:7000") == "EADDRNOTAVAIL"
    answer = ask("--to", "[::1]:7000")
    answer.expect(1, cause="lane-exhausted", holders=[client])
    assert lane_of(answer)["connected"] == 4


@case()
def udp(world):
    ports(20000, 20003)
    lane = ask("--to", "127.0.0.1:53/udp")
    lane.expect(0, answer="free")
    assert lane_of(lane)["free"] == 4
    pid = world.spawn(lambda: [bound("127.0.0.1:0", udp=True) for _ in range(4)] and None)[0]
    assert try_connect("127.0.0.1:53", udp=True) == "EAGAIN"
    ask("--to", "127.0.0.1:53/udp").expect(1, cause="udp-exhausted", errno="EAGAIN", holders=[pid])
    # TCP has ports of its own.
    ask("--to", "127.0.0.1:53").expect(0, answer="free")


@case()
def wider_range(_):
    """The range that is advised has all of the one that there is."""
    for first, last, wider in ((20000, 20001, "10000 60999"), (2000, 2001, "2000 60999"), (64000, 64001, "10000 64001")):
        ports(first, last)
        socks = [bound("127.0.0.1:0", udp=udp) for udp in (False, False, True, True)]
        for arguments in (("127.0.0.1:0",), ("--to", SERVER), ("--to", "127.0.0.1:53/udp")):
            commands = [remedy["command"] for remedy in ask(*arguments).expect(1)["remedies"]]
            assert f"sysctl -w net.ipv4.ip_local_port_range='{wider}'" in commands, (arguments, commands)
        for sock in socks:
            sock.close()


@case()
def unreachable(world):
    """No route: said so, and no lack of ports."""
    assert try_connect("10.1.2.3:80") == "ENETUNREACH"
    answer = ask("--to", "10.1.2.3:80")
    answer.expect(1, answer="unavailable", errno="ENETUNREACH", holders=[], lane=None)
    why("--to", "10.1.2.3:80").says("10.1.2.3:80", "unreachable", "ip route get", code=1)
    remedy = answer.verdict()["remedies"][0]["command"]
    assert "10.1.2.3:80" not in remedy, f"'{remedy}' is not a command that ip takes"
    ip("route add blackhole 10.1.2.0/24")
    assert try_connect("10.1.2.3:80") == "EINVAL"
    ask("--to", "10.1.2.3:80").expect(1, errno="EINVAL")
    ip("route replace unreachable 10.1.2.0/24")
    assert try_connect("10.1.2.3:80") == "EHOSTUNREACH"
    ask("--to", "10.1.2.3:80").expect(1, errno="EHOSTUNREACH")


@case()
def unreachable_from_there(world):
    """A way to the destination, but not from the source that is named, with a port or without."""
    ip("link add out type veth peer name far")
    ip("address add 10.1.1.1/24 dev out")
    ip("link set out up")
    assert try_connect("10.1.1.2:80", "127.0.0.1:0") == "EINVAL"
    for source in ("127.0.0.1", "127.0.0.1:5555"):
        for to in ("10.1.1.2:80", "10.1.1.2:80/udp"):
            ask("--to", to, "--from", source).expect(1, errno="EINVAL", holders=[], lane=None)
    why("--to", "10.1.1.2:80", "--from", "127.0.0.1").says("10.1.1.2:80 from 127.0.0.1", "Invalid argument",
                                                            "ip route get 10.1.1.2 from 127.0.0.1", code=1)
    assert ask("--to", "10.1.1.2:80", "--from", "10.1.1.1").verdict()["answer"] == "free"


@case()
def the_fullest_lane_of_a_process(world):
    """--pid without an address."""
    world.hold("0.0.0.0:7000", ra=True)
    world.hold("127.0.0.2:7001", ra=True)

    def client():
        connect_many(5)
        connect_many(3, "127.0.0.2:7001")
    pid = world.spawn(client)[0]
    other = world.spawn(connect_many, 9, "127.0.0.2:7001")[0]
    said = ask("--pid", str(pid)).expect(0)
    question = said["question"]
    assert (question["raddr"], question["rport"]) == ("127.0.0.1", 7000), question
    question = ask("--pid", str(other)).expect(0)["question"]
    assert (question["raddr"], question["rport"]) == ("127.0.0.2", 7001), question
    idle = world.hold("127.0.0.1:7002")
    why("--pid", str(idle)).says(f"pid {idle} has no connection from an ephemeral port", code=0)
    assert why("--pid", str(idle), "--json").verdict()["answer"] is None


@case()
def nothing_is_left_behind(world):
    """Asking opens no connection and takes no port."""
    ports(20000, 20003)
    sock = bound(SERVER, ra=True)
    sock.settimeout(0)
    for _ in range(8):
        ask("--to", SERVER).expect(0)
        ask("--to", SERVER, "--from", "127.0.0.1:20000").expect(0)
    try:
        abort(sock.accept()[0])
    except BlockingIOError:
        pass
    else:
        raise AssertionError("it connected to the server")
    assert not any(tcp_states(port) for port in range(20000, 20004))
