"""Makers of the situations in which bind() or listen() fails. A docstring is a row in the manual."""
import ctypes
import os
import signal
import socket
import struct
import time

from causes_kit import (CLONE_NEWNET, LIMIT, NOBODY, PR_SET_NAME, PR_SET_NO_NEW_PRIVS, PR_SET_PDEATHSIG,
                        Situation, Skip, become, bound, bpf, call, connected, deafen, held, ip, maker, mount,
                        name_of, ports, read, syscall, sysctl, tcp_states, tell, try_as, try_bind, until,
                        write)

HERE, NEXT = "127.0.0.1:8080", "127.0.0.1:8081"


def server(ra=False):
    """A connection to a server on HERE whose listener is closed: (server's end, client's end)."""
    listener = bound(HERE, ra=ra)
    client = connected(HERE)
    accepted = listener.accept()[0]
    held.append(accepted)
    listener.close()
    return accepted, client


def in_use(ask, attempt, holders, **more):
    return Situation(ask, "in-use", "EADDRINUSE", attempt, holders, **more)


def here_taken(holders, **more):
    """HERE is asked for with SO_REUSEADDR, which does not help; its neighbour is free."""
    return in_use([HERE, "--reuseaddr"], lambda: try_bind(HERE, ra=True), holders, others=[[NEXT]], **more)


def refused(ask, code, attempt, **more):
    answer = "unavailable" if code == "EADDRNOTAVAIL" else "denied"
    return Situation(ask, answer, code, attempt, **more)


@maker("listener")
def listener(world):
    """another process listens on the very address"""
    pid = world.hold(HERE)
    return in_use([HERE, "--reuseaddr"], lambda: try_bind(HERE, ra=True), [pid],
                  others=[[NEXT], ["127.0.0.2:8080"]])


@maker("listener-wildcard")
def listener_wildcard(world):
    """a process listens on 0.0.0.0, one address of it is asked for"""
    pid = world.hold("0.0.0.0:8080")
    return in_use([HERE], lambda: try_bind(HERE), [pid], others=[[NEXT]])


@maker("listener-wildcard/asked")
def listener_wildcard_asked(world):
    """a process listens on 127.0.0.1, the wildcard is asked for"""
    pid = world.hold(HERE)
    return in_use(["0.0.0.0:8080", "--reuseaddr"], lambda: try_bind("0.0.0.0:8080", ra=True), [pid],
                  others=[["127.0.0.2:8080"]])


@maker("listener-dualstack", needs=["ipv6"])
def listener_dualstack(world):
    """a process listens on [::] without IPV6_V6ONLY, an IPv4 address is asked for"""
    pid = world.hold("[::]:8080")
    return in_use(["0.0.0.0:8080"], lambda: try_bind("0.0.0.0:8080"), [pid], others=[["0.0.0.0:8081"]])


@maker("listener-dualstack/asked", needs=["ipv6"])
def listener_dualstack_asked(world):
    """a process listens on 0.0.0.0, [::] is asked for"""
    pid = world.hold("0.0.0.0:8080")
    return in_use(["[::]:8080", "--reuseaddr"], lambda: try_bind("[::]:8080", ra=True), [pid],
                  others=[["[::]:8080", "--v6only"]])


@maker("time-wait")
def time_wait(world):
    """a server without SO_REUSEADDR closed its connection first, then ended"""
    accepted, client = server()
    accepted.close()
    client.close()
    return here_taken([], cure="--destroy")


@maker("time-wait/reuseaddr")
def time_wait_reuseaddr(world):
    """the server had SO_REUSEADDR, the asker has not"""
    accepted, client = server(ra=True)
    accepted.close()
    client.close()
    return in_use([HERE], lambda: try_bind(HERE), [], cure="--destroy",
                  others=[[HERE, "--reuseaddr"]])


@maker("closing")
def closing(world):
    """a server without SO_REUSEADDR closed its connection and ended; the peer never closes (FIN_WAIT_2)"""
    accepted, _ = server()
    accepted.close()
    until(lambda: "05" in tcp_states(8080))
    return here_taken([], cure="--destroy")


@maker("closing/fin-wait-1")
def closing_fin_wait_1(world):
    """the peer does not even acknowledge that the server closed (FIN_WAIT_1)"""
    accepted, client = server()
    deafen(client)
    accepted.close()
    until(lambda: "04" in tcp_states(8080))
    return here_taken([], cure="--destroy")


@maker("closing/last-ack")
def closing_last_ack(world):
    """the peer closed first and does not acknowledge that the server did too (LAST_ACK)"""
    accepted, client = server()
    client.shutdown(socket.SHUT_WR)
    until(lambda: tcp_states(8080) == ["08"])
    deafen(client)
    accepted.close()
    until(lambda: tcp_states(8080) == ["09"])
    return here_taken([], cure="--destroy")


def leftover(world, peer_closes):
    """A process with nothing but a connection on HERE, whose peer it is not."""
    listener_ = bound(HERE)
    client = connected(HERE)

    def accept():
        held.append(listener_.accept()[0])
        listener_.close()
    pid = world.spawn(accept, keep=[listener_.fileno()])[0]
    listener_.close()
    if peer_closes:
        client.close()
    until(lambda: tcp_states(8080) == ["08" if peer_closes else "01"])
    return pid


@maker("leftover-connection")
def leftover_connection(world):
    """a server closed its listening socket but still has a connection"""
    pid = leftover(world, False)
    return here_taken([pid], cure="--destroy")


@maker("leftover-connection/close-wait")
def leftover_close_wait(world):
    """the same, and the peer has closed already (CLOSE_WAIT)"""
    pid = leftover(world, True)
    return here_taken([pid], cure="kill")


def client_of(address, source=None):
    """A connection whose opener can be known: the kernel's counters tell it after 20 ms without traffic."""
    connected(address, source)
    time.sleep(0.04)


@maker("outbound-connection")
def outbound_connection(world):
    """the kernel gave the port to a client as its source port"""
    bound("127.0.0.1:9000")
    ports(8080, 8080)
    pid = world.spawn(client_of, "127.0.0.1:9000")[0]
    return here_taken([pid], cure="--destroy")


@maker("outbound-connection/bound")
def outbound_bound(world):
    """a client bound itself to the port, then connected"""
    bound("127.0.0.1:9000")
    pid = world.spawn(client_of, "127.0.0.1:9000", HERE)[0]
    return in_use([HERE], lambda: try_bind(HERE), [pid], cure="kill", others=[[NEXT]])


@maker("self-connect")
def self_connect(world):
    """a client that tried a port of the range without a listener got that port as its own"""
    ports(8080, 8080)
    pid = world.spawn(lambda: connected(HERE) and None)[0]
    return here_taken([pid], cure="--destroy")


@maker("bound-not-listening")
def bound_not_listening(world):
    """a process called bind(), never listen()"""
    pid = world.hold(HERE, listening=False)
    return in_use([HERE], lambda: try_bind(HERE), [pid], others=[[NEXT]])


@maker("inherited-fd")
def inherited_fd(world):
    """a server's child has the listening socket open too"""
    listener_ = bound(HERE)
    pids = [world.spawn(lambda: None, keep=[listener_.fileno()])[0] for _ in range(2)]
    listener_.close()
    return here_taken(pids)


@maker("inherited-fd/orphans")
def inherited_orphans(world):
    """the server is gone, two of its children live on with the socket"""
    def parent():
        bound(HERE)
        return [fork_holder() for _ in range(2)]

    def fork_holder():
        pid = os.fork()
        if pid == 0:
            os.close(tell[0])
            signal.alarm(2 * LIMIT)
            while True:
                signal.pause()
        return pid
    pid, pids = world.spawn(parent)
    world.children += pids
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    world.children.remove(pid)
    return here_taken(pids)


@maker("in-flight-fd", needs=["root", "every process"])
def in_flight_fd(world):
    """the descriptor waits in a Unix socket (SCM_RIGHTS), nobody has received it"""
    def send():
        one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        held.extend([one, other])
        listener_ = bound(HERE)
        socket.send_fds(one, [b"x"], [listener_.fileno()])
        listener_.close()
    world.spawn(send)
    return here_taken(None)


@maker("in-flight-fd/io-uring")
def in_flight_io_uring(world):
    """the socket is registered in an io_uring and closed as a descriptor"""
    def register():
        ring = syscall(425, 2, ctypes.create_string_buffer(120))  # io_uring_setup
        listener_ = bound(HERE)
        files = (ctypes.c_int * 1)(listener_.fileno())
        syscall(427, ring, 2, files, 1)  # io_uring_register, IORING_REGISTER_FILES
        listener_.close()
    try:
        world.spawn(register)
    except RuntimeError as error:
        raise Skip(f"no io_uring: {error}") from error
    return here_taken(None)


@maker("kernel-socket", needs=["root"])
def kernel_socket(world):
    """a VXLAN interface has its UDP port"""
    try:
        ip("link add vx0 type vxlan id 1 dstport 4789 dev lo")
        ip("link set vx0 up")
    except Exception as error:
        raise Skip(f"no VXLAN: {error}") from error
    ask = "0.0.0.0:4789/udp"
    return in_use([ask], lambda: try_bind("0.0.0.0:4789", udp=True), [], cure=None,
                  others=[["0.0.0.0:4790/udp"]])


@maker("systemd-socket", needs=["root"])
def systemd_socket(world):
    """process 1, systemd, listens for demo.socket"""
    def systemd():
        mount("tmpfs", "/run")
        os.makedirs("/run/systemd/system")
        write("/run/systemd/system/demo.socket", f"[Unit]\nDescription=demo\n[Socket]\nListenStream={HERE}\n")
        write("/run/systemd/system/demo.service", "[Service]\nExecStart=/bin/true\n")
        call("prctl", PR_SET_NAME, b"systemd", 0, 0, 0)
        listener_ = bound(HERE)
        # Process 1 takes only the signals it has a handler for; `systemctl stop` is played by this one.
        signal.signal(signal.SIGUSR1, lambda *_: listener_.close())

    world.own_processes(systemd)
    world.script("systemctl", '[ "$1 $2" = "stop demo.socket" ] && kill -USR1 1')
    return here_taken([1], cure="systemctl stop demo.socket")


@maker("container-proxy")
def container_proxy(world):
    """docker-proxy holds the port that a container publishes"""
    title = ("/usr/bin/docker-proxy -proto tcp -host-ip 0.0.0.0 -host-port 8080 -container-ip 172.17.0.2 "
             "-container-port 80")

    def proxy():
        bound("0.0.0.0:8080")
        become("docker-proxy", title)
    pid = world.spawn(proxy)[0]
    world.script("docker", f'case $1 in ps) echo 0123456789ab ;; stop | rm | kill) kill {pid} ;; esac')
    return in_use(["0.0.0.0:8080", "--reuseaddr"], lambda: try_bind("0.0.0.0:8080", ra=True), [pid],
                  cure="docker", others=[["0.0.0.0:8081"]])


@maker("other-netns", needs=["root"])
def other_netns(world):
    """the port is free here and taken in another network namespace"""
    def elsewhere():
        call("unshare", CLONE_NEWNET)
        ip("link set lo up")
        bound("127.0.0.1:18080")
    pid = world.spawn(elsewhere)[0]
    ask = "127.0.0.1:18080"
    return Situation([ask, "--all-netns"], "free", None, lambda: try_bind(ask), [pid], cure=None,
                     others=[["127.0.0.1:18081", "--all-netns"]])


@maker("hidden-owner", needs=["root"])
def hidden_owner(world):
    """root's process listens, an ordinary user asks"""
    world.hold(HERE)
    return here_taken([], cure=None, user=NOBODY)


@maker("hidden-owner/pid-namespace")
def hidden_pid_namespace(world):
    """the listening process is outside of the asker's pid namespace"""
    world.hold(HERE)
    world.own_processes(lambda: None)
    return here_taken([], cure=None)


@maker("reuseport-mismatch", needs=["root"])
def reuseport_mismatch(world):
    """both have SO_REUSEPORT, but they are different users"""
    def serve():
        os.setresuid(NOBODY, NOBODY, NOBODY)
        call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # setresuid() has undone it
        bound(HERE, rp=True)
    pid = world.spawn(serve)[0]
    return in_use([HERE, "--reuseport"], lambda: try_bind(HERE, rp=True), [pid], others=[[NEXT]])


@maker("reuseport-mismatch/blocker")
def reuseport_blocker(world):
    """the asker has SO_REUSEPORT, the listener has not"""
    pid = world.hold(HERE)
    return in_use([HERE, "--reuseport"], lambda: try_bind(HERE, rp=True), [pid], others=[[NEXT], [HERE]])


@maker("device-bound")
def device_bound(world):
    """a process listens on one interface (SO_BINDTODEVICE), the asker on all"""
    world.veth()
    pid = world.hold("0.0.0.0:8080", device="lo")
    return in_use(["0.0.0.0:8080"], lambda: try_bind("0.0.0.0:8080"), [pid],
                  others=[["0.0.0.0:8080", "--device", "cable"], ["0.0.0.0:8081"]])


@maker("autobind-exhausted")
def autobind_exhausted(world):
    """port 0 is asked for and each port of ip_local_port_range is bound"""
    ports(8080, 8089)
    world.spawn(lambda: [bound(f"127.0.0.1:{port}") for port in range(8080, 8090)] and None)
    return in_use(["127.0.0.1:0"], lambda: try_bind("127.0.0.1:0"), None, cure="sysctl",
                  others=[["127.0.0.1:8090"], ["127.0.0.2:0"]])


@maker("parked")
def parked(world):
    """a reservation: a program connected to its own listener and closed, so that TIME_WAIT keeps the port"""
    listener_ = bound("127.0.0.1:0", ra=True)
    address = f"127.0.0.1:{listener_.getsockname()[1]}"
    client = connected(address)
    listener_.accept()[0].close()
    client.close()
    listener_.close()
    return in_use([address], lambda: try_bind(address), [], cure="--destroy",
                  others=[[address, "--reuseaddr"]])


@maker("same-process")
def same_process(world):
    """the asking process itself has the socket already"""
    pid = world.hold(HERE)
    return in_use([HERE, "--reuseaddr", "--pid", str(pid)], lambda: try_bind(HERE, ra=True), [pid], cure=None,
                  others=[[NEXT, "--pid", str(pid)], [HERE]])


@maker("second-listen")
def second_listen(world):
    """two bound with SO_REUSEADDR, the other one listens already"""
    mine = bound(HERE, ra=True, listening=False)
    pid = world.hold(HERE, ra=True)

    def attempt():
        try:
            return mine.listen()
        except OSError as error:
            return name_of(error)
    return in_use([HERE, "--reuseaddr", "--listen", "--pid", str(os.getpid())], attempt, [pid])


@maker("udp-bound")
def udp_bound(world):
    """a process has bound the UDP port"""
    pid = world.hold("127.0.0.1:8080", udp=True)
    return in_use([HERE + "/udp"], lambda: try_bind(HERE, udp=True), [pid], others=[[HERE], [NEXT + "/udp"]])


def unix_bound(path, close=False):
    sock = socket.socket(socket.AF_UNIX)
    held.append(sock)
    try:
        sock.bind("\0" + path[1:] if path.startswith("@") else path)
        sock.listen()
    except OSError as error:
        return name_of(error)
    finally:
        if close:
            sock.close()
    return None


@maker("unix-live")
def unix_live(world):
    """a process listens on the path"""
    path = f"{world.folder}/live"
    pid = world.spawn(unix_bound, path)[0]
    return in_use(["unix:" + path], lambda: unix_bound(path, True), [pid],
                  others=[[f"unix:{world.folder}/other"]])


@maker("unix-live/abstract")
def unix_abstract(world):
    """a process listens on the abstract name"""
    pid = world.spawn(unix_bound, "@tidewait/demo")[0]
    return in_use(["unix:@tidewait/demo"], lambda: unix_bound("@tidewait/demo", True), [pid],
                  others=[["unix:@tidewait/demo2"]])


@maker("unix-stale")
def unix_stale(world):
    """a server ended without removing its socket file"""
    path = f"{world.folder}/stale"
    unix_bound(path, True)
    return in_use(["unix:" + path], lambda: unix_bound(path, True), [],
                  others=[[f"unix:{world.folder}/other"]])


@maker("address-not-local")
def address_not_local(world):
    """no interface has the address"""
    ask = "203.0.113.7:8080"
    return refused([ask], "EADDRNOTAVAIL", lambda: try_bind(ask), cure="ip address add", others=[[HERE]])


@maker("address-tentative", needs=["ipv6"])
def address_tentative(world):
    """the IPv6 address is so new that the kernel still looks for a duplicate"""
    world.veth(up=False)
    sysctl("ipv6/conf/cable/dad_transmits", 60)
    ip("link set cable up")
    ip("link set cable-far up")
    ip("-6 addr add fd77::1/64 dev cable")
    ask = "[fd77::1]:8080"
    return refused([ask], "EADDRNOTAVAIL", lambda: try_bind(ask), cure="nodad", others=[["[::1]:8080"]])


@maker("ipv6-disabled", needs=["ipv6"])
def ipv6_disabled(world):
    """net.ipv6.conf.all.disable_ipv6 is 1"""
    sysctl("ipv6/conf/all/disable_ipv6", 1)
    return refused(["[::1]:8080"], "EADDRNOTAVAIL", lambda: try_bind("[::1]:8080"), cure="sysctl",
                   others=[[HERE]])


@maker("privileged-port", needs=["root"])
def privileged_port(world):
    """an ordinary user wants a port below 1024"""
    ask = "127.0.0.1:80"
    return refused([ask, "--as", "nobody"], "EACCES", lambda: try_as(NOBODY, try_bind, ask), cure="sysctl",
                   others=[[HERE, "--as", "nobody"], [ask]])


@maker("privileged-port/myself", needs=["root"])
def privileged_myself(world):
    """the same user asks himself"""
    ask = "127.0.0.1:80"
    return refused([ask], "EACCES", lambda: try_as(NOBODY, try_bind, ask), cure=None, user=NOBODY,
                   others=[[HERE]])


def forbid_bind():
    """A seccomp filter that refuses bind() but on netlink, whose addresses are 12 bytes long."""
    program, code = bpf((0x20, 0, 0, 0), (0x15, 0, 3, 49),   # bind() of x86_64
                        (0x20, 0, 0, 32), (0x15, 1, 0, 12),  # its third argument
                        (0x06, 0, 0, 0x00050000 | 13),       # EACCES
                        (0x06, 0, 0, 0x7FFF0000))
    call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    call("prctl", 22, 2, ctypes.c_char_p(program), 0, 0)
    del code


def landlock():
    """A Landlock domain that may not bind to any TCP port."""
    rules = struct.pack("QQ", 0, 1)  # LANDLOCK_ACCESS_NET_BIND_TCP
    domain = syscall(444, ctypes.c_char_p(rules), len(rules), 0)
    call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    syscall(446, domain, 0)


def try_confined(confine):
    return lambda: try_as(None, lambda: confine() or try_bind(HERE))


@maker("policy-denied")
def policy_denied(world):
    """a seccomp filter refuses bind()"""
    if os.uname().machine != "x86_64":
        raise Skip("the filter is written for x86_64")
    return refused([HERE], "EACCES", try_confined(forbid_bind), cure=None, confine=forbid_bind)


@maker("policy-denied/landlock")
def policy_landlock(world):
    """a Landlock domain has no right to bind to TCP ports"""
    try:
        abi = syscall(444, None, 0, 1)
    except OSError as error:
        raise Skip(f"no Landlock: {error}") from error
    if abi < 4:
        raise Skip(f"Landlock of version {abi} knows no network")
    return refused([HERE], "EACCES", try_confined(landlock), cure=None, confine=landlock)


@maker("policy-denied/cgroup", needs=["root"])
def policy_cgroup(world):
    """a BPF program of the cgroup refuses bind(), as systemd's SocketBindDeny= does"""
    where = [line.split()[1] for line in read("/proc/mounts").splitlines() if line.split()[2] == "cgroup2"]
    if not where or os.uname().machine != "x86_64":
        raise Skip("no cgroup of version 2, or not x86_64")
    cgroup = f"{where[0]}/causes-{os.getpid()}"
    world.undo(f"rmdir {cgroup}")
    code = ctypes.create_string_buffer(struct.pack("BBhiBBhi", 0xB7, 0, 0, 0, 0x95, 0, 0, 0))  # return 0
    name = ctypes.create_string_buffer(b"GPL")
    load = struct.pack("IIQQIIQII16sII", 18, 2, ctypes.addressof(code), ctypes.addressof(name),
                       0, 0, 0, 0, 0, b"", 0, 8)  # for BPF_CGROUP_INET4_BIND
    try:
        os.mkdir(cgroup)
        program = syscall(321, 5, ctypes.c_char_p(load), len(load))
        attach = struct.pack("IIII", os.open(cgroup, os.O_RDONLY), program, 8, 0)
        syscall(321, 8, ctypes.c_char_p(attach), len(attach))
    except OSError as error:
        raise Skip(f"no BPF program on a cgroup: {error}") from error

    def join():
        write(f"{cgroup}/cgroup.procs", os.getpid())
    return refused([HERE], "EPERM", try_confined(join), cure=None, confine=join)


@maker("already-bound")
def already_bound(world):
    """bind() a second time on one socket"""
    def attempt():
        try:
            bound(HERE, listening=False).bind(("127.0.0.1", 8082))
        except OSError as error:
            return name_of(error)
        finally:
            held[-1].close()
        return None
    return refused([HERE, "--bound"], "EINVAL", attempt, cure=None, others=[[HERE]])


@maker("scope-missing", needs=["ipv6"])
def scope_missing(world):
    """a link-local address without its interface"""
    world.veth()
    ip("-6 addr add fe80::77/64 dev cable nodad")
    return refused(["[fe80::77]:8080"], "EINVAL", lambda: try_bind("[fe80::77]:8080"), cure=None,
                   others=[["[fe80::77%cable]:8080"]])


@maker("mapped-v6only", needs=["ipv6"])
def mapped_v6only(world):
    """an IPv4 address in IPv6 form, on a socket with IPV6_V6ONLY"""
    return refused(["[::ffff:127.0.0.1]:8080", "--v6only"], "EINVAL",
                   lambda: try_bind("[::ffff:127.0.0.1]:8080", v6only=True), cure=None,
                   others=[["[::ffff:127.0.0.1]:8080"]])
