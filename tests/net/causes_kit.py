"""What the makers of causes.py are built from: private networks, processes that hold sockets, sockets,
and a real try of what is asked about."""
import atexit
import ctypes
import dataclasses
import errno
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

NOBODY = 65534
CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x20000, 0x10000000, 0x20000000, 0x40000000
MS_REC, MS_PRIVATE = 0x4000, 0x40000
PR_SET_PDEATHSIG, PR_SET_NAME, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 15, 36, 38
SO_ATTACH_FILTER = 26
LIMIT = 30  # seconds that one situation may take in all

libc = ctypes.CDLL(None, use_errno=True)
makers = {}  # name -> the function that makes the situation, in the order of the table
held = []    # sockets stay open until their process ends or closes them by name
tell = []    # the pipe on which a process of the situation says that it is ready


class Skip(Exception):
    """This machine cannot make the situation; the text says why."""


@dataclasses.dataclass
class Situation:
    """What was made, what to ask about it, and what the answer has to be."""

    ask: list             # arguments of `tidewait why`
    answer: str           # free, in-use, unavailable, denied, slow
    code: str | None      # name of the errno, None: it works
    attempt: object       # does the very thing: the errno's name, a word, or None when it works
    holders: list = None  # pids the verdict has to name; None: anything goes
    cure: str | None = "" # words in the remedy that cures it; "": the first command; None: no command does
    before: str = ""      # what the attempt says before the cure when it is not `code`
    others: list = dataclasses.field(default_factory=list)  # questions of which this is not the cause
    user: int = 0         # the tool runs as this user
    confine: object = None                                  # runs in the tool's process before exec
    patience: float = 2   # seconds after the cure until it must be free


def maker(name, needs=()):
    """Declares a maker: its docstring says in a few words how the situation comes about."""
    def declare(function):
        makers[name] = (function, needs)
        return function
    return declare


def cause_of(name):
    return name.partition("/")[0]


def call(name, *arguments):
    result = getattr(libc, name)(*arguments)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")
    return result


def syscall(number, *arguments):
    arguments = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result = libc.syscall(ctypes.c_long(number), *arguments)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"system call {number}: {os.strerror(code)}")
    return result


def write(path, text):
    with open(path, "w", encoding="utf-8") as file:
        file.write(str(text))


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read().strip()


def mount(kind, where):
    """Over what is there, in a mount namespace of our own."""
    call("mount", kind.encode(), where.encode(), kind.encode(), 0, None)


def sysctl(name, value):
    write(f"/proc/sys/net/{name}", value)


def ports(first, last):
    """The kernel chooses source ports from first..last from now on."""
    sysctl("ipv4/ip_local_port_range", f"{first} {last}")


def ip(*arguments):
    subprocess.run(["ip", *" ".join(arguments).split()], check=True, timeout=10)


def public(path):
    """The program where every user may run it: a checkout may lie in a folder of root's alone."""
    path = os.path.abspath(path)
    folder = os.path.dirname(path)
    while folder != "/" and os.stat(folder).st_mode & 0o001:
        folder = os.path.dirname(folder)
    if folder == "/" or os.geteuid() != 0:
        return path
    folder, owner = tempfile.mkdtemp(), os.getpid()
    os.chmod(folder, 0o755)
    atexit.register(lambda: os.getpid() == owner and shutil.rmtree(folder, ignore_errors=True))
    return shutil.copy(path, folder)


def in_pid_namespace():
    """Whether there are processes outside that /proc does not show: nobody can be sure who has a socket then."""
    return os.readlink("/proc/self/ns/pid") != "pid:[4026531836]"  # PROC_PID_INIT_INO of the kernel


def until(condition, seconds=10):
    """Waits for what the kernel does behind our back."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def name_of(error):
    return errno.errorcode.get(error.errno, str(error.errno))


def tcp_states(port):
    """The states of the TCP sockets on a local port, in hexadecimal as in /proc/net/tcp."""
    rows = []
    for path in ("/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"):
        if os.path.exists(path):
            rows += [line.split() for line in read(path).splitlines()[1:]]
    return [row[3] for row in rows if int(row[1].rpartition(":")[2], 16) == port]


class World:
    """A private network, a folder, and the processes in it. Leaving it ends them."""

    def __init__(self, folder):
        self.root = os.geteuid() == 0
        self.children = []
        self.folder = folder

    def __enter__(self):
        uid, gid = os.geteuid(), os.getegid()
        os.environ["PATH"] = f"{self.folder}:{os.environ['PATH']}:/usr/sbin:/sbin"
        call("prctl", PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        try:
            call("unshare", CLONE_NEWNET if self.root else CLONE_NEWUSER | CLONE_NEWNET)
        except OSError as error:
            raise Skip(f"no private network: {error}") from error
        if not self.root:
            write("/proc/self/setgroups", "deny")
            write("/proc/self/uid_map", f"0 {uid} 1")
            write("/proc/self/gid_map", f"0 {gid} 1")
        ip("link set lo up")
        return self

    def __exit__(self, *_):
        for pid in self.children:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.reap()

    def reap(self):
        """Takes leave of the children that have ended."""
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass

    def spawn(self, function, *arguments, keep=()):
        """A process that does the function and then only holds what it has open: (pid, its result)."""
        out, into = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
                signal.alarm(2 * LIMIT)
                close_all_but(2, into, *keep)
                tell[:] = [into]
                ready({"result": function(*arguments)})
            except Exception as error:
                ready({"error": f"{type(error).__name__}: {error}"})
            finally:
                os._exit(1)
        self.children.append(pid)
        os.close(into)
        with open(out, "rb") as pipe:
            told = json.loads(pipe.read() or b'{"error": "it ended"}')
        if "error" in told:
            raise RuntimeError(f"a process of the situation failed: {told['error']}")
        return pid, told["result"]

    def hold(self, address, **options):
        """A process with one socket: its pid."""
        return self.spawn(lambda: bound(address, **options) and None)[0]

    def own_processes(self, function, *arguments):
        """Process 1 of a pid namespace with its own mounts and /proc, in which all later ones are."""
        call("unshare", CLONE_NEWNS | CLONE_NEWPID)
        call("mount", None, b"/", None, MS_REC | MS_PRIVATE, None)
        return self.spawn(lambda: mount("proc", "/proc") or function(*arguments))[0]

    def script(self, name, text):
        """A program that stands in for one that is not here (systemctl, docker)."""
        path = f"{self.folder}/{name}"
        write(path, f"#!/bin/sh\n{text}\n")
        os.chmod(path, 0o755)

    def undo(self, command):
        """What has to be done when the situation is over, even if this process was killed."""
        write(f"{self.folder}/undo", command)

    def veth(self, name="cable", up=True):
        ip(f"link add {name} type veth peer name {name}-far")
        if up:
            ip(f"link set {name} up")
            ip(f"link set {name}-far up")


def ready(message):
    """Tells the maker, and from then on only holds what is open."""
    os.write(tell[0], json.dumps(message).encode())
    os.close(tell[0])
    while True:
        signal.pause()


def close_all_but(low, *keep):
    first = low + 1
    for fd in sorted(keep):
        os.closerange(first, fd)
        first = fd + 1
    os.closerange(first, 4096)


def endpoint(text):
    """127.0.0.1:80, [::1]:80, [fe80::1%lo]:80"""
    host, _, port = text.rpartition(":")
    if not host.startswith("["):
        return socket.AF_INET, (host, int(port))
    host, _, scope = host.strip("[]").partition("%")
    return socket.AF_INET6, (host, int(port), 0, socket.if_nametoindex(scope) if scope else 0)


def new(family=socket.AF_INET, udp=False, ra=False, rp=False, device=None):
    sock = socket.socket(family, socket.SOCK_DGRAM if udp else socket.SOCK_STREAM)
    held.append(sock)
    if ra:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if rp:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if device:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
    return sock


def bound(address, udp=False, v6only=False, listening=True, **options):
    """A socket bound to the address, listening unless told otherwise."""
    family, where = endpoint(address)
    sock = new(family, udp, **options)
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, v6only)
        sock.bind(where)
        if listening and not udp:
            sock.listen(256)
    except OSError:
        sock.close()
        raise
    return sock


def connected(to, source=None, **options):
    """A socket connected to the address."""
    family, where = endpoint(to)
    sock = new(family, **options)
    try:
        if source:
            sock.bind(endpoint(source)[1])
        sock.settimeout(0.4)
        sock.connect(where)
    except OSError:
        sock.close()
        raise
    return sock


def try_bind(address, **options):
    """The real bind() and listen(): the errno's name, or None."""
    try:
        bound(address, **options).close()
        return None
    except OSError as error:
        return name_of(error)


def try_connect(to, source=None, **options):
    """The real connect(): the errno's name, or None. Leaves no TIME_WAIT."""
    try:
        sock = connected(to, source, **options)
    except TimeoutError:
        return "ETIMEDOUT"
    except OSError as error:
        return name_of(error)
    if not options.get("udp"):
        abort(sock)
    return None


def abort(sock):
    """Closes with a reset, so that nothing is left."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def try_as(uid, function, *arguments):
    """What the function says in a process of its own, as another user (None: the same)."""
    out, into = os.pipe()
    pid = os.fork()
    if pid == 0:
        if uid is not None:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
        os.write(into, (function(*arguments) or "").encode())
        os._exit(0)
    os.close(into)
    os.waitpid(pid, 0)
    with open(out, encoding="utf-8") as pipe:
        return pipe.read() or None


def bpf(*rows):
    """A classic BPF program as a struct sock_fprog, and the memory that it points to."""
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *row) for row in rows))
    return struct.pack("HxxxxxxP", len(rows), ctypes.addressof(code)), code


def deafen(sock):
    """Drops all that comes in for the socket from now on."""
    program, code = bpf((0x06, 0, 0, 0))
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)
    del code


def disguise(name, title):
    """This process looks like another program from now on; for a fork that has an argument list of
    its own to write over."""
    stat = read("/proc/self/stat").rpartition(")")[2].split()
    first, last = int(stat[45]), int(stat[46])
    text = title.replace(" ", "\0").encode() + b"\0"
    if len(text) > last - first:
        raise ValueError("the title is longer than the argument list")
    with open("/proc/self/mem", "r+b", buffering=0) as memory:
        memory.seek(first)
        memory.write(text.ljust(last - first, b"\0"))
    call("prctl", PR_SET_NAME, name.encode(), 0, 0, 0)


def become(name, title):
    """A fresh Python under another name, with the sockets of this process; it says that it is ready."""
    code = ("import os, sys; sys.path.insert(0, sys.argv[1]); import causes_kit as kit; "
            "kit.tell[:] = [int(sys.argv[2])]; kit.disguise(*sys.argv[3:5]); kit.ready({'result': None})")
    for fd in [tell[0]] + [sock.fileno() for sock in held if sock.fileno() >= 0]:
        os.set_inheritable(fd, True)
    here = os.path.dirname(os.path.abspath(__file__))
    os.execv(sys.executable, [sys.executable, "-I", "-c", code, here, str(tell[0]), name, title])
