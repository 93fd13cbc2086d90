"""What programs do with sockets and processes, in what order they please; prints what became of each. Under
`tidewait exec` all of it must read as without (exec_misuse.bats). exec_misuse.py ADDR PORT [jail]: of exec_server.py."""
import ctypes
import errno
import os
import resource
import socket
import struct
import subprocess
import sys
import threading

there = (sys.argv[1], int(sys.argv[2]))
family = socket.AF_INET6 if ":" in there[0] else socket.AF_INET
libc = ctypes.CDLL(None, use_errno=True)


def connects(count=30):
    """What `count` connections come to."""
    results = set()
    for _ in range(count):
        with socket.socket(family) as client:
            results.add(errno.errorcode.get(client.connect_ex(there), "connected"))
    return sorted(results)


def in_child(step):
    child = os.fork()
    if child == 0:
        result = step()
        os.write(1, f"  {result}\n".encode())
        os._exit(0)
    return os.waitpid(child, 0)[1]


def dup2_over():
    clients = [socket.socket(family) for _ in range(20)]
    for client in clients:
        client.connect(there)
    with open("/dev/null", "rb") as null:
        for client in clients:
            os.dup2(null.fileno(), client.fileno())
    return [client.close() for client in clients].count(None), connects()


def close_all():
    kept = socket.socket(family)
    kept.connect(there)
    os.closerange(3, 4096)
    kept.detach()
    return connects(), sorted(os.listdir("/proc/self/fd"))[:3]


def close_range_call():
    libc.close_range(3, ctypes.c_uint(~0 & 0xffffffff), 0)
    return connects()


def spawn():
    """posix_spawn() is vfork() and exec; subprocess too, where it can."""
    code = f"import socket\nfor _ in range(30): socket.create_connection({there!r}).close()"
    pid = os.posix_spawn(sys.executable, [sys.executable, "-c", code], os.environ)
    return os.waitpid(pid, 0)[1], subprocess.run([sys.executable, "-c", code], close_fds=False, check=False).returncode


def threads():
    results = []
    crowd = [threading.Thread(target=lambda: results.append(connects(20))) for _ in range(16)]
    for thread in crowd:
        thread.start()
    for thread in crowd:
        thread.join()
    return sorted({tuple(result) for result in results})


def crash(number):
    held = [socket.socket(family) for _ in range(10)]
    for client in held:
        client.connect(there)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.kill(os.getpid(), number)


def little_memory():
    """Too little for the ledger: the program does without."""
    def limit():
        resource.setrlimit(resource.RLIMIT_AS, (24 << 20, 24 << 20))
    code = f"import socket\nfor _ in range(30): socket.create_connection({there!r}).close()"
    return subprocess.run([sys.executable, "-I", "-S", "-c", code], preexec_fn=limit, check=False).returncode


def no_descriptor():
    with socket.socket(family) as client:
        resource.setrlimit(resource.RLIMIT_NOFILE, (client.fileno() + 1, 4096))
    return connects()


def jail():
    os.chroot("/proc/self/fdinfo")
    os.chdir("/")
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
    return connects()


def seccomp():
    """socket() of AF_NETLINK is EPERM."""
    rows = [(0x20, 0, 0, 0), (0x15, 0, 3, 41), (0x20, 0, 0, 16), (0x15, 0, 1, 16), (6, 0, 0, 0x50001), (6, 0, 0, 0x7fff0000)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *row) for row in rows))
    program = struct.pack("HxxxxxxP", len(rows), ctypes.addressof(code))
    if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, program, 0, 0):
        return "no seccomp here"
    return connects()


def lock():
    """A port that is bound and never listened on."""
    results = []
    with socket.socket() as first, socket.socket() as second:
        for one in (first, second):
            try:
                one.bind(("127.0.0.1", 9999))
                results.append("bound")
            except OSError as error:
                results.append(errno.errorcode[error.errno])
        first.listen()
        try:
            second.bind(("127.0.0.1", 9999))
        except OSError as error:
            results.append(errno.errorcode[error.errno])
    return results


def nobody_there():
    """Not once it is known, either."""
    results = []
    for address in ("99.99.99.99", "127.0.0.1"):
        for _ in range(3):
            with socket.socket() as client:
                results.append(errno.errorcode[client.connect_ex((address, 1))])
    return results


def names():
    with socket.socket(family) as client:
        client.bind((there[0] if there[0].startswith("127") else "", 0))
        port = client.getsockname()[1]
        client.connect(there)
        return port != 0, client.getsockname()[1] == port, client.getpeername()[:2]


def main():
    steps = [dup2_over, close_all, close_range_call, spawn, threads, no_descriptor, seccomp, lock, nobody_there, names]
    if os.geteuid() == 0 and sys.argv[3:] == ["jail"]:
        steps.append(jail)
    steps += [connects]
    for step in steps:
        print(step.__name__, flush=True)
        print(" ", in_child(step), flush=True)
    for number in (6, 9, 11):
        print("signal", number, in_child(lambda number=number: crash(number)), flush=True)
    print("little memory", little_memory(), flush=True)
    print("after all", connects(), len(os.listdir("/proc/self/fd")))


main()
