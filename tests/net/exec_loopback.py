"""What programs do with sockets and processes; under `tidewait exec` all must end as without.  Loopback, in a
network of its own (exec_misuse.bats).  Prints what is not as it should be, and exits 1."""
import errno
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time

HERE = ("127.0.0.1", 9100)
wrong = []


def serve(listener):
    while True:
        try:
            connection = listener.accept()[0]
        except OSError:  # limits() leaves no descriptor for a moment
            time.sleep(0.01)
            continue
        while connection.recv(100):
            pass
        connection.close()


def one(address=HERE):
    with socket.socket() as client:
        client.connect(address)
        client.send(b"x")


def many(count):
    try:
        for _ in range(count):
            one()
    except OSError as error:
        wrong.append(f"connect: {error}")


def expect(what, got, wanted):
    if got != wanted:
        wrong.append(f"{what}: {got}, wanted {wanted}")


def calls():
    with socket.socket() as client:
        client.setblocking(False)
        expect("non-blocking", client.connect_ex(HERE), errno.EINPROGRESS)
        time.sleep(0.05)
        expect("asked again", client.connect_ex(HERE), 0)
        expect("connected", client.connect_ex(HERE), errno.EISCONN)
    with socket.socket() as client:
        for _ in range(3):
            expect("nobody there", client.connect_ex(("127.0.0.1", 1)), errno.ECONNREFUSED)
        expect("after that", client.connect_ex(HERE), 0)
    for address in ("0.0.0.0", "127.0.0.1"):
        for _ in range(700):  # more than the ring has
            one((address, HERE[1]))
    with socket.socket(socket.AF_INET6) as client:
        expect("v4 on v6", client.connect_ex(("::ffff:127.0.0.1", HERE[1])), 0)


def late():
    with socket.socket() as client:
        client.bind(("127.0.0.1", 0))
        name = client.getsockname()
        expect("a port", name[1] != 0, True)
        expect("connect from it", client.connect_ex(HERE), 0)
        expect("the same port", client.getsockname(), name)
    with socket.socket() as client:
        client.bind(("127.0.0.1", 0))
        expect("connect", client.connect_ex(HERE), 0)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        expect("port of a listener", listener.getsockname()[1] != 0, True)
    with socket.socket() as client:
        client.bind(("127.0.0.1", 0))
        try:
            client.bind(("127.0.0.1", 0))
            wrong.append("a second bind() succeeded")
        except OSError as error:
            expect("second bind", error.errno, errno.EINVAL)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))
        expect("udp", udp.getsockname()[1] != 0, True)


def in_child(what, prepare):
    child = os.fork()
    if child == 0:
        prepare()
        wrong.clear()
        many(20)
        os._exit(1 if wrong else 0)
    expect(what, os.waitpid(child, 0)[1], 0)


def drop_all():
    os.chroot("/proc")
    os.chdir("/")
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)


def processes():
    in_child("fork, all descriptors closed", lambda: os.closerange(3, 1000))
    if os.geteuid() == 0 and open("/proc/self/uid_map", encoding="ascii").read().split()[2] != "1":
        in_child("chroot and another user", drop_all)
    script = "import socket\nfor i in range(5): socket.create_connection(('127.0.0.1', 9100)).close()"
    expect("exec", subprocess.run([sys.executable, "-c", script], check=False).returncode, 0)


def limits():
    before = len(os.listdir("/proc/self/fd"))
    many(100)
    # The thread that serves may have a connection open at either moment.
    expect("descriptors", abs(len(os.listdir("/proc/self/fd")) - before) <= 1, True)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.socket() as client:
        resource.setrlimit(resource.RLIMIT_NOFILE, (client.fileno() + 1, hard))
        expect("no descriptor left", client.connect_ex(HERE), 0)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def signals():
    hits = []
    signal.signal(signal.SIGALRM, lambda *_: hits.append(1))
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    many(1000)
    signal.setitimer(signal.ITIMER_REAL, 0)
    expect("signals came", len(hits) > 0, True)


def main():
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("0.0.0.0", HERE[1]))
    listener.listen(4096)
    threading.Thread(target=serve, args=(listener,), daemon=True).start()
    threads = [threading.Thread(target=many, args=(50,)) for _ in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for step in (calls, late, processes, limits, signals):
        step()
    print("\n".join(wrong))
    sys.exit(1 if wrong else 0)


main()
