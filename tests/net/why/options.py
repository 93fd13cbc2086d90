"""The options of `why` that are not about what is hidden, and questions about several addresses."""
import os
import pty
import socket
import subprocess

from causes_kit import NOBODY, bound, call, connected, held, ip, tcp_states, until
from kit import TIDEWAIT, ask, case, need_user, why

HERE = "127.0.0.1:7000"


@case("ipv6")
def both_families(world):
    """A port alone is asked for on IPv4 and then on IPv6."""
    four = world.hold(HERE)
    six = world.hold("[::1]:7001")
    only = world.hold("[::]:7002", v6only=True)
    dual = world.hold("[::]:7003")
    ask("7000").expect(1, cause="listener-wildcard", holders=[four])
    ask("7001").expect(1, cause="listener-wildcard", holders=[six])
    ask(":7001").expect(1, holders=[six])
    ask("7002").expect(1, cause="listener", holders=[only])
    ask("7003").expect(1, cause="listener-dualstack", holders=[dual])
    ask("7004").expect(0, answer="free")
    # Named addresses are asked for alone.
    ask("0.0.0.0:7002").expect(0, answer="free")
    ask("127.0.0.1:7001").expect(0, answer="free")
    ask("*:7002").expect(0, answer="free")
    ask("[::]:7002").expect(1, cause="listener", holders=[only])
    ask("[::]:7000").expect(1, cause=("listener-dualstack", "listener-wildcard"), holders=[four])
    ask("--v6only", "[::]:7000").expect(0, answer="free")
    ask("7001/udp").expect(0, answer="free")


@case("ipv6")
def without_ipv6(world):
    """A port alone does not fail where IPv6 is switched off."""
    with open("/proc/sys/net/ipv6/conf/all/disable_ipv6", "w", encoding="utf-8") as file:
        file.write("1")
    pid = world.hold(HERE)
    ask("7000").expect(1, holders=[pid])
    ask("7001").expect(0, answer="free")
    ask("[::1]:7001").expect(1, cause="ipv6-disabled", errno="EADDRNOTAVAIL")


@case()
def localhost(world):
    pid = world.hold(HERE)
    question = ask("localhost:7000").expect(1, cause="listener", holders=[pid])["question"]
    assert (question["laddr"], question["lport"]) == ("127.0.0.1", 7000), question
    world.hold("127.0.0.2:7001")
    ask("localhost:7001").expect(0, answer="free")
    ask("localhost:7000/udp").expect(0, answer="free")


@case()
def port_zero(world):
    for text in ("0", ":0", "127.0.0.1:0", "0/udp", "localhost:0"):
        ask(text).expect(0, answer="free", trial="succeeded", holders=[])
    with open("/proc/sys/net/ipv4/ip_local_port_range", "w", encoding="utf-8") as file:
        file.write("20000 20001")
    for _ in range(2):
        bound("127.0.0.1:0")
    ask("127.0.0.1:0").expect(1, cause="autobind-exhausted", errno="EADDRINUSE")
    ask("127.0.0.1:0/udp").expect(0, answer="free")


@case()
def localhost_with_port_zero(world):
    """It is the loopback's address here too."""
    question = ask("localhost:0").expect(0)["question"]
    assert question["laddr"] == "127.0.0.1", f"localhost:0 was taken for {question['laddr']}"


@case("ipv6")
def interface_with_a_dash(world):
    """As Docker names its bridges."""
    world.veth("br-12ab34")
    said = ask("[fe80::1%br-12ab34]:7000").expect(1, cause="address-not-local")
    assert said["question"]["lport"] == 7000, said["question"]


@case()
def several_addresses(world):
    first, second = world.hold(HERE), world.hold("127.0.0.1:7002", udp=True)
    answer = why("--json", "7000", "7001", "7002/udp")
    said = answer.objects()
    assert [one["answer"] for one in said] == ["in-use", "free", "in-use"], said
    answer.expect(1, verdict=said[0], holders=[first])
    answer.expect(1, verdict=said[2], holders=[second])
    why("7001", "7003").says("7001 is free", "7003 is free", code=0)
    why("7001", "7000").says("7001 is free", "listens on", code=1)
    # Bad input outweighs, and the others are answered all the same.
    answer = why("7001", "bad address", "7000").says("7001 is free", f"pid {first}", code=2)
    answer.says("'bad address'", on="err")


@case()
def brief(world):
    pid = world.hold(HERE)
    text = why("--brief", HERE).says(f"(pid {pid}) listens on {HERE}.", "holder", f"pid {pid}", "try",
                                     f"kill {pid}", code=1).out
    assert not any(f"\n  {label} " in text for label in ("cause", "socket", "rule", "trial")), text
    assert why("-b", HERE).out.count("\n") == text.count("\n")
    assert why("-b", "7001").says("7001 is free.", code=0).out.count("\n") == 1


@case()
def quiet(world):
    world.hold(HERE)
    for arguments, code in (((HERE,), 1), (("7001",), 0), (("--json", HERE), 1), (("--to", HERE), 0),
                            (("bind: Address already in use",), 0)):
        answer = why("-q", *arguments)
        if answer.code != code or answer.out or answer.err:
            answer.fail(f"not silent with exit code {code}")


@case()
def no_trial(world):
    """The prediction alone; nothing is bound."""
    pid = world.hold(HERE)
    ask("--no-trial", HERE).expect(1, cause="listener", holders=[pid], trial=None)
    ask("--no-trial", "127.0.0.1:7001").expect(0, answer="free", trial=None)
    ask("--no-trial", "10.9.9.9:7001").expect(1, cause="address-not-local", trial=None)
    ask("--no-trial", "unix:@tw-free").expect(0, answer="free", trial=None)
    ask("127.0.0.1:7001").expect(0, trial="succeeded")
    ask(HERE).expect(1, trial="EADDRINUSE")


@case()
def a_guess_is_told(world):
    """The options of a TIME_WAIT are not visible: without a trial nobody knows, and nobody has refused."""
    server = bound(HERE, ra=True)
    client = connected(HERE)
    peer = server.accept()[0]
    server.close()
    peer.close()
    client.close()
    assert until(lambda: tcp_states(7000) == ["06"])
    ask("--reuseaddr", HERE).expect(0, answer="free", trial="succeeded")
    answer = ask("--reuseaddr", "--no-trial", HERE)
    answer.expect(trial=None, hidden=["SO_REUSEADDR and SO_REUSEPORT of some sockets"])
    if "the kernel refused" in answer.out:
        answer.fail("the kernel was not asked")


@case("root")
def as_another_user(world):
    need_user(NOBODY)
    pid = world.hold("0.0.0.0:7000", rp=True)
    ask("--reuseport", "7000").expect(0, answer="free")
    for name in ("nobody", str(NOBODY)):
        said = ask("--reuseport", "--as", name, "7000").expect(1, cause="reuseport-mismatch", holders=[pid],
                                                               trial="EADDRINUSE")
        assert said["question"]["uid"] == NOBODY, said["question"]
    ask("--as", "nobody", "127.0.0.1:80").expect(1, cause="privileged-port", errno="EACCES", trial="EACCES")
    ask("127.0.0.1:80").expect(0, answer="free")
    ask("--as", "root", "127.0.0.1:80").expect(0, answer="free")
    # Who may not become another user says so, and predicts.
    ask("--as", "nobody", "127.0.0.1:80", user=NOBODY).expect(1, cause="privileged-port")
    ask("--as", "root", "127.0.0.1:80", user=NOBODY).expect(0, answer="free", trial=None,
                                                            hidden=["run as root"])
    ask("--as", "1", "7001", user=NOBODY).expect(0, trial=None, hidden=["CAP_SETUID"])


@case("root")
def as_another_process(world):
    need_user(NOBODY)
    own = world.hold(HERE)
    ask("--pid", str(own), HERE).expect(1, cause="same-process", holders=[own])
    other = world.hold("127.0.0.1:7001")
    ask("--pid", str(other), HERE).expect(1, cause="listener", holders=[own])

    def be_nobody():
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    pid = world.spawn(be_nobody)[0]
    said = ask("--pid", str(pid), "127.0.0.1:80").expect(1, cause="privileged-port", errno="EACCES")
    assert said["question"]["uid"] == NOBODY and said["question"]["pid"] == pid, said["question"]
    # Its own network namespace.
    far = world.spawn(elsewhere, HERE)[0]
    ask("--pid", str(far), HERE).expect(1, cause="same-process", holders=[far])
    ask("--pid", str(far), "127.0.0.1:7001").expect(0, answer="free")


def elsewhere(address):
    call("unshare", 0x40000000)
    ip("link set lo up")
    bound(address)


@case("root")
def by_name_of_the_network(world):
    name = f"tw-why-{os.getpid()}"
    world.undo(f"ip netns del {name}")
    ip(f"netns add {name}")
    try:
        pid = world.spawn(in_named, name)[0]
        ask("-N", name, HERE).expect(1, cause=("listener", "address-not-local"), holders=[pid])
        ask("-N", name, "127.0.0.1:7001").expect(0, answer="free")
        ask("--netns", name, "--to", HERE).expect(0)
    finally:
        ip(f"netns del {name}")
    answer = why("-N", name, HERE).says(name, code=2, on="err")
    assert not answer.out and answer.err.count("\n") == 1, answer.err


def in_named(name):
    handle = os.open(f"/run/netns/{name}", os.O_RDONLY)
    call("setns", handle, 0x40000000)
    os.close(handle)
    ip("link set lo up")
    bound(HERE)


@case()
def by_pid_in_the_network(world):
    far = world.spawn(elsewhere, HERE)[0]
    ask("-N", str(far), HERE).expect(1, cause="listener", holders=[far])
    # Free here, in use there: said so, with all other namespaces too.
    said = ask("-A", HERE).expect(0, answer="free", cause="other-netns")
    assert far in {holder["pid"] for holder in said["holders"]}, said["holders"]
    ask("-A", "127.0.0.1:7999").expect(0, answer="free")
    # What is in the way here comes first.
    own = world.hold(HERE)
    ask("-A", HERE).expect(1, cause="listener", holders=[own])


@case("root")
def all_networks_as_nobody(world):
    """Those that may not be entered are told with -A."""
    need_user(NOBODY)
    world.spawn(elsewhere, HERE)
    ask("-A", HERE, user=NOBODY).expect(0, answer="free", cause=None, holders=[], hidden=["network namespaces"])
    ask(HERE, user=NOBODY).expect(0, answer="free", hidden=[])
    answer = why("-N", "1", HERE, user=NOBODY)
    if answer.code != 3 or answer.out or answer.err.count("\n") != 1:
        answer.fail("not refused with one line and exit code 3")


@case()
def device(world):
    world.veth("tw0")
    pid = world.hold("0.0.0.0:7000", device="tw0")
    ask("7000").expect(1, cause="device-bound", holders=[pid])
    ask("--device", "tw0", "7000").expect(1, cause="device-bound", holders=[pid])
    ask("--device", "lo", "0.0.0.0:7000").expect(0, answer="free")
    answer = why("--device", "nosuch0", "7000").says("'nosuch0'", code=2, on="err")
    assert not answer.out and answer.err.count("\n") == 1


@case()
def listen_and_second_bind(world):
    pid = world.hold(HERE, ra=True)
    ask("--listen", "--reuseaddr", HERE).expect(1, cause="second-listen", errno="EADDRINUSE", holders=[pid])
    ask("--bound", HERE).expect(1, cause="already-bound", errno="EINVAL")
    world.hold("127.0.0.1:7001", ra=True, listening=False)
    ask("--listen", "--reuseaddr", "127.0.0.1:7001").expect(0, answer="free")
    ask("--reuseaddr", "127.0.0.1:7001").expect(0, answer="free")
    ask("127.0.0.1:7001").expect(1, cause="bound-not-listening")


@case()
def unix_names(world):
    path = f"{world.folder}/x.sock"
    ask(f"unix:{path}").expect(0, answer="free")
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(path)
    ask(f"unix:{path}").expect(1, answer="in-use", cause="unix-live", holders=[os.getpid()])
    sock.close()
    ask(f"unix:{path}").expect(1, answer="in-use", cause="unix-stale", holders=[])
    name = f"@tw-{os.getpid()}"
    ask(f"unix:{name}").expect(0, answer="free", trial="succeeded")
    abstract = socket.socket(socket.AF_UNIX)
    abstract.bind("\0" + name[1:])
    held.append(abstract)
    ask(f"unix:{name}").expect(1, cause="unix-live", trial="EADDRINUSE", holders=[os.getpid()])


@case()
def colour(world):
    """Only on a terminal, and not there either when it is not wanted."""
    world.hold(HERE)
    for arguments, env, wanted in (((), {}, True), (("--no-color",), {}, False), ((), {"NO_COLOR": "1"}, False)):
        env = {**{k: v for k, v in os.environ.items() if k != "NO_COLOR"}, **env}
        parent, child = pty.openpty()
        subprocess.run([TIDEWAIT, "why", *arguments, HERE], stdout=child, env=env, timeout=20, check=False)
        os.close(child)
        text = b""
        try:
            while piece := os.read(parent, 4096):
                text += piece
        except OSError:  # the other end is closed
            pass
        assert (b"\x1b[" in text) == wanted and b"listens on" in text, (arguments, text)
        os.close(parent)
