"""Pasted messages: what they mean first, then whether it would come again now."""
import socket

from causes_kit import connected, held, ports, tcp_states, until
from kit import case, why

ADDRESS = "127.0.0.1:7000"
# runtime -> its message when 127.0.0.1:7000 is taken
TAKEN = {
    "Node.js": "Error: listen EADDRINUSE: address already in use 127.0.0.1:7000\n    at Server.setupListenHandle",
    "Python": "OSError: [Errno 98] Address already in use (while attempting to bind on address ('127.0.0.1', 7000))",
    "Go": "2026/01/01 10:00:00 listen tcp 127.0.0.1:7000: bind: address already in use",
    "nginx": "nginx: [emerg] bind() to 127.0.0.1:7000 failed (98: Address already in use)",
    "Apache": "(98)Address already in use: AH00072: make_sock: could not bind to address 127.0.0.1:7000",
    "HAProxy": "[ALERT] (1) : Starting frontend web: cannot bind socket (Address already in use) [127.0.0.1:7000]",
    "Docker": "Error response from daemon: driver failed programming external connectivity on endpoint web: "
              "Error starting userland proxy: listen tcp4 127.0.0.1:7000: bind: address already in use",
    "Ruby": "/usr/lib/ruby/3.1.0/socket.rb:201:in `bind': Address already in use - bind(2) for 127.0.0.1:7000 "
            "(Errno::EADDRINUSE)",
    "OpenSSH": "bind [127.0.0.1]:7000: Address already in use",
    "Java": "java.net.BindException: Address already in use: bind 127.0.0.1:7000",
    ".NET": "System.IO.IOException: Failed to bind to address http://127.0.0.1:7000: address already in use.",
    "PHP": "[Thu Jan  1 00:00:00 2026] Failed to listen on 127.0.0.1:7000 (reason: Address already in use)",
    "PostgreSQL": 'LOG:  could not bind IPv4 address "127.0.0.1": Address already in use\n'
                  "HINT:  Is another postmaster already running on port 7000? If not, wait a few seconds and retry.",
    "Redis": "1:M 01 Jan 2026 00:00:00.000 # Could not create server TCP listening socket 127.0.0.1:7000: "
             "bind: Address already in use",
    "Rust": 'Error: Os { code: 98, kind: AddrInUse, message: "Address already in use" }',
    "C": "bind: Address already in use",
}


def check(name, text, pid):
    answer = why("--json", text)
    said = answer.verdict()
    if said.get("message", {}).get("errno") != "EADDRINUSE" or not said["message"]["meaning"]:
        answer.fail(f"{name}: no message with a meaning")
    words = why(text)
    words.says("EADDRINUSE", said["message"]["meaning"][:40])
    if said["answer"] is None:
        words.says(said["message"]["meaning"][-20:], "tidewait why PORT", code=0)
        return False
    answer.expect(1, holders=[pid], cause=("listener", "listener-wildcard"))
    words.says(said["message"]["meaning"][-20:], f"(pid {pid}) listens on {ADDRESS}", "cause", code=1)
    return True


@case()
def runtimes(world):
    """Each names its port and so its holder; those that name none say what to type."""
    pid = world.hold(ADDRESS, ra=True)
    named = {name for name, text in TAKEN.items() if check(name, text, pid)}
    missing = set(TAKEN) - named
    assert missing <= {"Rust", "C", "Java"}, f"these name a port that was not looked at: {missing}"


@case()
def it_would_not_come_again(world):
    """The port is free by now."""
    answer = why("--json", TAKEN["Node.js"])
    answer.expect(0, answer="free", errno=None, holders=[])
    why(TAKEN["Node.js"]).says("Node.js says EADDRINUSE", f"{ADDRESS} is free.", code=0)
    why("-q", TAKEN["Node.js"]).says(code=0)


@case()
def without_a_port(world):
    for text in (TAKEN["C"], TAKEN["Rust"], "OSError: [Errno 98] Address already in use"):
        answer = why(text).says("EADDRINUSE", "does not name the port", "tidewait why PORT", code=0)
        if answer.err:
            answer.fail("stderr is not empty")
        said = why("--json", text).verdict()
        assert said["answer"] is None and said["message"]["errno"] == "EADDRINUSE", said
    # A lane is looked for, and there is none.
    why("connect: Cannot assign requested address").says("EADDRNOTAVAIL", "No connection from an ephemeral port",
                                                         code=0)


@case()
def bind_to_an_address_that_is_not_here(world):
    text = "Error: listen EADDRNOTAVAIL: address not available 10.9.9.9:7000"
    why("--json", text).expect(1, cause="address-not-local", errno="EADDRNOTAVAIL")
    why(text).says("Node.js says EADDRNOTAVAIL", "10.9.9.9", "address-not-local", code=1)


@case()
def connect_without_a_port_left(world):
    ports(20000, 20003)
    world.hold(ADDRESS, ra=True)
    client = world.spawn(lambda: [connected(ADDRESS) for _ in range(4)] and None)[0]
    assert until(lambda: tcp_states(20000) or tcp_states(20003))
    for text in ("Error: connect EADDRNOTAVAIL 127.0.0.1:7000 - Local (127.0.0.1:0)",
                 "dial tcp 127.0.0.1:7000: connect: cannot assign requested address"):
        answer = why("--json", text)
        said = answer.expect(1, cause="lane-exhausted", errno="EADDRNOTAVAIL", holders=[client])
        assert said["message"]["errno"] == "EADDRNOTAVAIL", said
        why(text).says("EADDRNOTAVAIL", "No source port is left for 127.0.0.1:7000", code=1)
    # Without a destination the fullest lane is shown.
    text = "OSError: [Errno 99] Cannot assign requested address"
    why("--json", text).expect(1, cause="lane-exhausted", holders=[client])


@case()
def unix_path(world):
    pid = world.spawn(listen_unix, f"{world.folder}/live.sock")[0]
    text = f"Error: listen EADDRINUSE: address already in use {world.folder}/live.sock"
    why("--json", text).expect(1, cause="unix-live", holders=[pid])
    why(text).says("Node.js says EADDRINUSE", "listens on", f"{world.folder}/live.sock", code=1)


def listen_unix(path):
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(path)
    sock.listen(4)
    held.append(sock)


@case()
def neither_address_nor_message(world):
    for text in ("hello world", "Connection refused", "port 7000 is mine", "8080x", "10.0.0.1", "Segmentation fault"):
        answer = why(text).says(text, code=2, on="err")
        if answer.out or answer.err.count("\n") != 1:
            answer.fail("not one line on stderr alone")
