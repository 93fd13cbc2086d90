"""What `why` says when it cannot see everything: the right answer, what is hidden, never a wrong holder."""
import os
import signal
import socket
import subprocess

from causes_kit import NOBODY, Skip, bound, call, read
from kit import AF_NETLINK, PYTHON, TIDEWAIT, ask, case, need_user, own_mounts, refuse, run, why

PR_SET_DUMPABLE = 4
LISTENER = "127.0.0.1:7000"
SERVER = ("import ctypes, os, signal, socket, sys; s = socket.create_server(('127.0.0.1', 7000)); "
          "ctypes.CDLL(None).prctl(15, os.fsencode(sys.argv[1]), 0, 0, 0); "
          "print('ready', flush=True); signal.pause()")
USERS = "this user has no right to look into them"


def listener(world):
    return world.hold(LISTENER, ra=True)


def owned_by(world, uid, address, **options):
    """A process of another user with a socket of its own; no capabilities are left to it."""
    def be():
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
        call("prctl", PR_SET_DUMPABLE, 1, 0, 0, 0)  # as after exec()
        bound(address, **options)
    return world.spawn(be)[0]


def hidden_owner(*arguments, hidden, **how):
    answer = ask(*arguments, **how)
    said = answer.expect(1, answer="in-use", errno="EADDRINUSE", cause="hidden-owner", holders=[],
                         hidden=hidden)
    why(*arguments, **how).says("hidden-owner", "not seen", code=1)
    return said


@case("root")
def nobody(world):
    need_user(NOBODY)
    listener(world)
    hidden_owner(LISTENER, user=NOBODY, hidden=[USERS])
    own = owned_by(world, NOBODY, "127.0.0.1:7001")
    ask("127.0.0.1:7001", user=NOBODY).expect(1, cause="listener", holders=[own])
    world.hold("127.0.0.1:7002", udp=True)
    hidden_owner("127.0.0.1:7002/udp", user=NOBODY, hidden=[USERS])
    world.hold("127.0.0.1:7003", listening=False)
    hidden_owner("127.0.0.1:7003", user=NOBODY, hidden=[USERS])
    ask("127.0.0.1:7004", user=NOBODY).expect(0, answer="free", holders=[])


@case("root")
def nobody_and_unix_sockets(world):
    need_user(NOBODY)

    def listen(path):
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(path)
        sock.listen(4)
        held.append(sock)
    held = []
    path = f"{world.folder}/live.sock"
    pid = world.spawn(listen, path)[0]
    os.chmod(path, 0o600)  # nobody may not even connect to it
    ask(f"unix:{path}").expect(1, cause="unix-live", holders=[pid], hidden=[])
    ask(f"unix:{path}", user=NOBODY).expect(1, cause=["unix-live", "hidden-owner"], holders=[],
                                            hidden=[USERS])
    world.spawn(listen, "\0tw-abstract")
    ask("unix:@tw-abstract", user=NOBODY).expect(1, errno="EADDRINUSE", holders=[], hidden=[USERS])


@case("root")
def hidepid(world):
    need_user(NOBODY)
    pid = listener(world)
    confine = own_mounts(b"proc", b"hidepid=2")
    hidden_owner(LISTENER, user=NOBODY, confine=confine, hidden=["hidepid"])
    own = owned_by(world, NOBODY, "127.0.0.1:7001")
    ask("127.0.0.1:7001", user=NOBODY, confine=confine).expect(1, cause="listener", holders=[own])
    # Root sees through it.
    ask(LISTENER, confine=confine).expect(1, cause="listener", holders=[pid])


def among_decoys(pid):
    """Runs what follows in a pid namespace in which another process has the holder's number."""
    script = ('echo $(($1 - 1)) >/proc/sys/kernel/ns_last_pid && sleep 50 & decoy=$!; '
              'echo $(($1 - 1)) >/proc/sys/kernel/ns_last_pid; (exec sleep 50) & decoy=$!; '
              '[ $decoy = "$1" ] || exit 99; shift; "$@"; code=$?; kill $decoy; exit $code')
    return ["unshare", "-pf", "--kill-child", "--mount-proc", "sh", "-c", script, "sh", str(pid)]


@case("root", "unshare")
def pid_namespace(world):
    pid = listener(world)
    prefix = among_decoys(pid)
    if run(*prefix, "true").code == 99:
        raise Skip("the number of the next process cannot be chosen here")
    hidden_owner(LISTENER, prefix=prefix, hidden=["one pid namespace"])
    # Without BPF as well.
    hidden_owner(LISTENER, prefix=prefix, confine=refuse("bpf"), hidden=["one pid namespace"])


@case("root", "unshare")
def pid_namespace_below(world):
    """Who looks from outside sees the processes of containers by their own numbers."""
    process = subprocess.Popen(["unshare", "-pf", "--kill-child", "--mount-proc", PYTHON, "-I", "-c",
                                SERVER, "listener"], stdout=subprocess.PIPE)
    world.children.append(process.pid)
    assert process.stdout.readline() == b"ready\n"
    pid = int(read(f"/proc/{process.pid}/task/{process.pid}/children"))
    ask(LISTENER).expect(1, cause="listener", holders=[pid])


@case()
def netlink_refused(world):
    pid = listener(world)
    confine = refuse("socket", AF_NETLINK)
    ask(LISTENER, confine=confine).expect(1, cause="listener", holders=[pid], hidden=["netlink is refused"])
    ask("7000", confine=confine).expect(1, cause="listener-wildcard", holders=[pid],
                                        hidden=["netlink is refused"])
    udp = world.hold("127.0.0.1:7002", udp=True)
    ask("127.0.0.1:7002/udp", confine=confine).expect(1, cause="udp-bound", holders=[udp],
                                                      hidden=["netlink is refused"])
    # The text does not list what is bound and idle: the kernel's word counts.
    world.hold("127.0.0.1:7003", listening=False)
    ask("127.0.0.1:7003", confine=confine).expect(1, cause="hidden-owner", holders=[],
                                                  hidden=["netlink is refused"])
    ask("127.0.0.1:7004", confine=confine).expect(0, answer="free")
    ask("--to", LISTENER, confine=confine).expect(0, answer="free", hidden=["netlink is refused"])


@case()
def netlink_refused_for_unix_sockets(world):
    """/proc/net/unix names the path, but not the owner."""
    path = f"{world.folder}/live.sock"
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(path)
    sock.listen(4)
    confine = refuse("socket", AF_NETLINK)
    said = ask(f"unix:{path}", confine=confine).expect(1, answer="in-use", cause=["unix-live", "hidden-owner"],
                                                       hidden=["/proc/net/unix was read instead"])
    assert {holder["pid"] for holder in said["holders"]} <= {os.getpid()}, said["holders"]
    ask("unix:@tw-none", confine=confine).expect(0, answer="free")


@case("root")
def netlink_refused_to_nobody(world):
    need_user(NOBODY)
    listener(world)
    hidden_owner(LISTENER, user=NOBODY, confine=refuse("socket", AF_NETLINK),
                 hidden=["netlink is refused", USERS])


@case()
def without_bpf(world):
    pid = listener(world)
    ask(LISTENER, confine=refuse("bpf")).expect(1, cause="listener", holders=[pid])
    others = subprocess.run(["ls", "-l", "/proc/1/fd"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                            check=False)
    if others.returncode == 0:  # root has all rights over process 1
        ask(LISTENER, confine=refuse("bpf")).expect(1, holders=[pid], hidden=[])
    other = world.hold("127.0.0.1:7002", udp=True)
    ask("127.0.0.1:7002/udp", confine=refuse("bpf")).expect(1, cause="udp-bound", holders=[other])


def need_no_sanitizer():
    with open(TIDEWAIT, "rb") as file:
        if b"__asan_init" in file.read():
            raise Skip("a sanitizer needs /proc itself")


@case("root")
def without_proc(world):
    need_user(NOBODY)
    need_no_sanitizer()
    pid = listener(world)
    for user in (None, NOBODY):
        how = {"user": user, "confine": own_mounts(b"tmpfs")}
        ask("127.0.0.1:7004", **how).expect(0, answer="free")
        # The range of source ports is unknown: nothing may be said to be exhausted.
        ask("--to", LISTENER, **how).expect(0, answer="free", hidden=["/proc is not mounted"])
        said = ask(LISTENER, **how).expect(1, answer="in-use", errno="EADDRINUSE", hidden=["/proc is not mounted"])
        # BPF needs no /proc: who may use it is told the pid, and nobody a wrong one.
        if said["cause"] == "listener":
            assert user is None and [holder["pid"] for holder in said["holders"]] == [pid], said
        else:
            assert said["cause"] == "hidden-owner" and not said["holders"], said


@case("root")
def without_proc_and_netlink(world):
    need_user(NOBODY)
    need_no_sanitizer()
    listener(world)
    empty, deaf = own_mounts(b"tmpfs"), refuse("socket", AF_NETLINK)

    def confine():
        empty()
        deaf()
    for user in (None, NOBODY):
        ask(LISTENER, user=user, confine=confine).expect(
            1, answer="in-use", cause="hidden-owner", holders=[], hidden=["/proc is not mounted"])


HOSTILE = b"\x1b]0;owned\x07 \x1b[31mred\r\n\x9b2J \xc2\x9b2J \xff\xfe\xf0\x28 \x7f \"quoted\\"


@case()
def hostile_names(world):
    for name in (HOSTILE, HOSTILE[11:], b"\x9b2J\xc2\x9b2J\xff", b"\n\n\n", b"a\xc3"):
        process = subprocess.Popen([PYTHON, "-I", "-c", SERVER, name[:15], HOSTILE * 30],
                                   stdout=subprocess.PIPE)
        world.children.append(process.pid)
        assert process.stdout.readline() == b"ready\n"
        said = ask(LISTENER).expect(1, cause="listener", holders=[process.pid])
        assert "owned" in said["holders"][0]["cmdline"], said["holders"]
        # One line each, whatever it is called.
        why(LISTENER).says("listens on 127.0.0.1:7000.\n  cause      listener",
                           f"pid {process.pid}, user", code=1)
        why("--brief", LISTENER).says(f"pid {process.pid}", code=1)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        world.children.remove(process.pid)


@case()
def hostile_paths(world):
    path = world.folder.encode() + b"/\x1b[31m\n\xff\xc2\x9b.sock"
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(path)
    sock.listen(4)
    ask(b"unix:" + path).expect(1, cause="unix-live", holders=[os.getpid()])
    sock.close()
    ask(b"unix:" + path).expect(1, cause="unix-stale", holders=[])
    os.unlink(path)
    ask(b"unix:" + path).expect(0, answer="free")
    why(HOSTILE.replace(b"\n", b"")).says("red", code=2, on="err")
    why(b"Error: listen EADDRINUSE: address already in use " + path)
