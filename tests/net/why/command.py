"""`why -- COMMAND...`: the command's own exit status and output, and on stderr what it died of."""
import os
import shutil
import signal
import socket
import subprocess

from causes_kit import NOBODY, Skip, connected, ports
from kit import PYTHON, TIDEWAIT, Answer, case, need_user, run, why

ADDRESS = "127.0.0.1:7000"
SERVE = "import socket, sys; print('before', flush=True); socket.create_server(('{}', {})); print('bound')"
NOTHING = "tidewait why: none of the "


def serve(address, port, python=PYTHON):
    return python, "-c", SERVE.format(address, port)


def both(*command, code, **how):
    """The command with and without `why` in front; exit status and output are the same. Returns the answer
    with --json, and the one in words."""
    alone = run(*command, **how)
    words = why("--", *command, **how)
    objects = why("--json", "--", *command, **how)
    for answer in (alone, words, objects):
        if answer.code != code:
            answer.fail(f"the exit code is not {code}")
        if answer.out != alone.out:
            answer.fail(f"its output is not that of the command alone, {alone.out!r}")
    # What the command wrote itself comes first, whole.
    for answer in (words, objects):
        own = answer.err[:len(alone.err)]
        if own != alone.err:
            answer.fail(f"its stderr does not begin with that of the command, {alone.err!r}")
        answer.said = answer.err[len(alone.err):]
    return objects, words


def explained(*command, code=1, words=(), **fields):
    """One verdict, and words of it."""
    how = {name: fields.pop(name) for name in ("user", "confine", "env") if name in fields}
    objects, text = both(*command, code=code, **how)
    found = objects.objects(objects.said)
    if not found:
        objects.fail("no verdict")
    objects.expect(verdict=found[-1], **fields)
    text.says(*words, on="said")
    return found


@case()
def in_use(world):
    pid = world.hold(ADDRESS, ra=True)
    found = explained(*serve("127.0.0.1", 7000), cause="listener", errno="EADDRINUSE", holders=[pid],
                      words=["Python says EADDRINUSE", f"(pid {pid}) listens on {ADDRESS}"])
    assert len(found) == 1 and found[0]["message"]["program"] == "Python", found
    question = found[0]["question"]
    assert (question["op"], question["laddr"], question["lport"]) == ("bind", "127.0.0.1", 7000), question
    assert question["reuseaddr"] and not question["reuseport"], question


@case()
def in_use_without_words(world):
    """The program says nothing itself."""
    pid = world.hold(ADDRESS)
    code = ("import os, socket\ntry: socket.socket().bind(('127.0.0.1', 7000))\n"
            "except OSError: os._exit(9)")
    found = explained(PYTHON, "-c", code, code=9, cause="listener", holders=[pid])
    assert "message" not in found[0] and not found[0]["question"]["reuseaddr"], found


@case()
def in_a_child(world):
    """Of a shell, and of its child."""
    pid = world.hold(ADDRESS)
    line = f"echo shell; {PYTHON} -c \"import socket; socket.socket().bind(('127.0.0.1', 7000))\" || exit 17"
    explained("sh", "-c", line, code=17, cause="listener", holders=[pid])


@case()
def same_process(world):
    """It has the address itself."""
    code = ("import socket, sys; a = socket.socket(); a.bind(('127.0.0.1', 7000)); a.listen(); "
            "b = socket.socket(); b.bind(('127.0.0.1', 7000))")
    explained(PYTHON, "-c", code, cause="same-process", errno="EADDRINUSE")


@case()
def second_listen(world):
    """bind() works with SO_REUSEADDR, listen() does not."""
    pid = world.spawn(late_listener)[0]
    code = ("import os, signal, socket; s = socket.socket(); s.setsockopt(1, 2, 1); "
            f"s.bind(('127.0.0.1', 7000)); os.kill({pid}, signal.SIGUSR1); time = __import__('time'); "
            "\nwhile True:\n  try: c = socket.create_connection(('127.0.0.1', 7000)); break\n"
            "  except OSError: time.sleep(.01)\ns.listen()")
    explained_once(pid, PYTHON, "-c", code)


def late_listener():
    sock = socket.socket()
    sock.setsockopt(1, 2, 1)
    sock.bind(("127.0.0.1", 7000))
    signal.signal(signal.SIGUSR1, lambda *_: sock.listen(16))


def explained_once(pid, *command):
    answer = why("--json", "--", *command)
    at = answer.err.find('{"schema"')
    found = answer.objects(answer.err[at:] if at >= 0 else "")
    if not found:
        answer.fail("no verdict")
    answer.expect(1, verdict=found[-1], cause="second-listen", errno="EADDRINUSE", holders=[pid])


@case()
def not_local(world):
    explained(*serve("10.9.9.9", 7000), cause="address-not-local", errno="EADDRNOTAVAIL", holders=[],
              words=["10.9.9.9"])


@case("root")
def privileged(world):
    need_user(NOBODY)
    python = "/usr/bin/python3"
    if not os.path.exists(python):
        raise Skip(f"there is no {python}, which every user could run")
    explained(*serve("127.0.0.1", 80, python), user=NOBODY, cause="privileged-port", errno="EACCES",
              words=["80"])


@case()
def exhausted(world):
    ports(20000, 20003)
    server = world.hold(ADDRESS, ra=True)
    client = world.spawn(lambda: [connected(ADDRESS) for _ in range(4)] and None)[0]
    code = "import socket; print('out', flush=True); socket.create_connection(('127.0.0.1', 7000))"
    found = explained(PYTHON, "-c", code, cause="lane-exhausted", errno="EADDRNOTAVAIL", holders=[client],
                      words=["No source port is left for 127.0.0.1:7000"])
    lane = found[-1]["lane"]
    assert (lane["ports"], lane["connected"], lane["free"]) == (4, 4, 0), lane
    assert server != client


@case()
def unix_stale(world):
    path = f"{world.folder}/stale.sock"
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(path)
    sock.close()
    code = f"import socket; socket.socket(socket.AF_UNIX).bind('{path}')"
    explained(PYTHON, "-c", code, cause="unix-stale", errno="EADDRINUSE", holders=[], words=[path])
    # By a relative path, from a directory of its own.
    code = f"import os, socket; os.chdir('{world.folder}'); socket.socket(socket.AF_UNIX).bind('stale.sock')"
    explained(PYTHON, "-c", code, cause="unix-stale", errno="EADDRINUSE", words=[path])


@case()
def udp(world):
    pid = world.hold(ADDRESS, udp=True)
    code = "import socket; socket.socket(type=socket.SOCK_DGRAM).bind(('127.0.0.1', 7000))"
    explained(PYTHON, "-c", code, cause="udp-bound", holders=[pid])


@case()
def port_after_port(world):
    """The last refusals are told, three at most; one that found a port in the end is not explained."""
    pids = [world.hold(f"127.0.0.1:{7000 + i}") for i in range(5)]
    code = ("import socket, sys\nfor port in range(7000, 7005):\n"
            "  try: socket.socket().bind(('127.0.0.1', port))\n  except OSError: pass\nsys.exit(3)")
    found = explained(PYTHON, "-c", code, code=3, cause="listener")
    assert [said["holders"][0]["pid"] for said in found] == pids[2:], found
    silent(PYTHON, "-c", code.replace("exit(3)", "exit(0)"), code=0)


def silent(*command, code):
    for answer in both(*command, code=code):
        if answer.said:
            answer.fail("something was said")


@case()
def success(world):
    world.hold(ADDRESS)
    silent("true", code=0)
    silent(*serve("127.0.0.1", 7001), code=0)
    silent("sh", "-c", "echo out; echo err >&2", code=0)
    refused = f"{PYTHON} -c \"import socket; socket.socket().bind(('127.0.0.1', 7000))\" 2>/dev/null"
    silent("sh", "-c", f"{refused}; exit 0", code=0)


@case()
def other_failure(world):
    """One line; none with --json or --quiet."""
    for command, code in ((("sh", "-c", "echo out; exit 7"), 7), (("false",), 1),
                          ((PYTHON, "-c", "raise SystemExit('disk full')"), 1),
                          (serve("127.0.0.1", 7000)[:2] + ("import socket, sys; "
                           "socket.create_server(('127.0.0.1', 7000)); sys.exit(5)",), 5)):
        objects, words = both(*command, code=code)
        if words.said.count("\n") != 1 or not words.said.startswith(NOTHING):
            words.fail(f"more or less than one line: {words.said!r}")
        if objects.said:
            objects.fail("something was said")
        quiet = why("-q", "--", *command)
        if quiet.code != code or NOTHING in quiet.err:
            quiet.fail("not quiet")


@case()
def refused_connection(world):
    """Nobody listens: that is no address error."""
    code = "import socket; socket.create_connection(('127.0.0.1', 7009))"
    objects, words = both(PYTHON, "-c", code, code=1)
    if words.said.count("\n") != 1 or not words.said.startswith(NOTHING) or objects.said:
        words.fail("more or less than one line")


@case()
def killed(world):
    for name in ("TERM", "KILL", "SEGV", "INT"):
        number = getattr(signal, f"SIG{name}")
        code = ("import os, resource, signal; signal.signal(signal.SIGINT, signal.SIG_DFL); "
                f"resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); os.kill(os.getpid(), {int(number)})")
        answer = why("--", PYTHON, "-c", code)
        if answer.code != 128 + number:
            answer.fail(f"the exit code of a command killed by SIG{name} is not {128 + number}")
    pid = world.hold(ADDRESS)
    code = ("import os, socket\ntry: socket.socket().bind(('127.0.0.1', 7000))\n"
            "except OSError: os.kill(os.getpid(), 9)")
    why("--", PYTHON, "-c", code).says(f"pid {pid}", code=137, on="err")


@case()
def not_found(world):
    for command, code in (("tw-no-such-program", 127), (f"{world.folder}/none", 127), (world.folder, 126),
                          ("", 127)):
        answer = why("--", command)
        if answer.code != code or answer.out or answer.err.count("\n") != 1:
            answer.fail(f"not one line and exit code {code}")
        if command:
            answer.says(command, on="err")
    path = f"{world.folder}/plain"
    with open(path, "w", encoding="utf-8") as file:
        file.write("no program\n")
    if why("--", path).code != 126:
        why("--", path).fail("the exit code of what is not executable is not 126")


@case()
def arguments_and_input(world):
    """What stands behind -- is the command's, its input too."""
    for options in ((), ("--json",), ("-q", "--as", "root", "--no-trial")):
        done = subprocess.run([TIDEWAIT, "why", *options, "--", "sh", "-c", 'cat; echo "$@"; exit 4', "sh",
                               "--json", "-q", "--", "a b"], input=b"from stdin\n", capture_output=True,
                              timeout=20, check=False)
        answer = Answer((*options, "--", "sh"), done)
        if answer.code != 4 or answer.out != "from stdin\n--json -q -- a b\n":
            answer.fail("input or arguments differ")


@case("node")
def node(world):
    pid = world.hold(ADDRESS)
    explained("node", "-e", 'require("net").createServer().listen(7000, "127.0.0.1")', cause="listener",
              holders=[pid], words=["Node.js says EADDRINUSE", f"pid {pid}"])
    explained("node", "-e", 'require("net").createServer().listen(7000, "::")', holders=[pid],
              cause=["listener-dualstack", "listener-wildcard"])


@case("nginx")
def nginx(world):
    pid = world.hold("127.0.0.1:7080")
    conf = f"{world.folder}/nginx.conf"
    with open(conf, "w", encoding="utf-8") as file:
        file.write(f"daemon off; pid {world.folder}/pid; error_log stderr; events {{}} "
                   "http { access_log off; server { listen 127.0.0.1:7080; } }\n")
    # It tries five times, half a second apart; the words of each differ in the time.
    answer = why("--json", "--", shutil.which("nginx"), "-p", world.folder, "-c", conf)
    found = answer.objects("".join(line + "\n" for line in answer.err.splitlines() if line[:1] == "{"))
    if not found:
        answer.fail("no verdict")
    answer.expect(1, verdict=found[-1], cause="listener", holders=[pid])
    assert found[0]["message"]["program"] == "nginx", found[0]
