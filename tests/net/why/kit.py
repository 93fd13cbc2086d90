"""What the tests of `tidewait why` are built from: its answers, ways to blind it, and checks. The
sockets and processes come from causes_kit."""
import ctypes
import json
import os
import signal
import struct
import subprocess
import sys
import unicodedata

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))

from causes_kit import (  # noqa: E402
    CLONE_NEWNS, MS_PRIVATE, MS_REC, NOBODY, PR_SET_NO_NEW_PRIVS, PR_SET_PDEATHSIG, Skip, bpf, call, in_pid_namespace,
    public)

TIDEWAIT = public(os.environ.get("TIDEWAIT", HERE + "/../../../build/cmd/tidewait"))
PYTHON = sys.executable
AF_NETLINK = 16
NUMBERS = {"x86_64": {"socket": 41, "bpf": 321}, "aarch64": {"socket": 198, "bpf": 280}}

cases = {}  # MODULE.NAME -> (function, needs)


def case(*needs):
    """Declares a test; `needs` are root, ipv6 or the name of a program."""
    def declare(function):
        cases[f"{function.__module__}.{function.__name__}"] = (function, needs)
        return function
    return declare


class Answer:
    """What one run of the program left. Whatever it was: no crash, no control characters."""

    def __init__(self, arguments, done):
        self.arguments, self.code = arguments, done.returncode
        self.out = self.plain(done.stdout)
        self.err = self.plain(done.stderr)
        if self.code < 0 or "Sanitizer" in self.err:
            self.fail(f"it ended by signal {-self.code}" if self.code < 0 else "a sanitizer spoke")

    def plain(self, data):
        text = data.decode("utf-8", "replace")
        bad = {hex(ord(c)) for c in text if unicodedata.category(c) == "Cc" and c not in "\n\t"}
        if bad:
            raise AssertionError(f"why {self.arguments}: control characters {sorted(bad)} in {text!r}")
        return text

    def fail(self, problem):
        raise AssertionError(f"why {' '.join(map(str, self.arguments))}: {problem}\n"
                             f"--- exit code {self.code}\n--- stdout\n{self.out}--- stderr\n{self.err}")

    def objects(self, text=None):
        """Each line is an object of its own."""
        try:
            return [json.loads(line) for line in (self.out if text is None else text).splitlines()]
        except ValueError as error:
            return self.fail(f"no JSON: {error}")

    def verdict(self):
        found = self.objects()
        if len(found) != 1:
            self.fail(f"{len(found)} objects")
        return found[0]

    def expect(self, code=None, hidden=None, holders=None, verdict=None, **fields):
        """The exit code, members of the only verdict, pids of the holders, words in `hidden` (each in some
        text; an empty list: nothing is hidden)."""
        if code is not None and self.code != code:
            self.fail(f"the exit code is not {code}")
        said = verdict or self.verdict()
        if said.get("disagrees"):
            self.fail("it disagrees with the kernel")
        for name, value in fields.items():
            wanted = value if isinstance(value, (tuple, list)) else (value,)
            if said.get(name, "missing") not in wanted:
                self.fail(f"{name} is {said.get(name, 'missing')}, not {value}")
        if holders is not None:
            found = sorted({holder["pid"] for holder in said["holders"]})
            if found != sorted(holders):
                self.fail(f"the holders are {found}, not {sorted(holders)}")
        for words in hidden or []:
            if not any(words in text for text in said["hidden"]):
                self.fail(f"'{words}' is not among what is hidden")
        unseen = [text for text in said["hidden"]
                  if not (in_pid_namespace() and text.startswith("processes outside of this container"))]
        if hidden == [] and unseen:
            self.fail("something is hidden")
        return said

    def says(self, *words, code=None, on="out"):
        """Words in the text, in their order."""
        if code is not None and self.code != code:
            self.fail(f"the exit code is not {code}")
        text, at = getattr(self, on), 0
        for word in words:
            at = text.find(word, at)
            if at < 0:
                self.fail(f"'{word}' is not in std{on}, or in another place")
            at += len(word)
        return self


def run(*command, user=None, confine=None, env=None, name=None):
    """The answer of any command, run as a user after confine()."""
    def prepare():
        call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if confine:
            confine()
        if user:
            os.setgroups([])
            os.setresgid(user, user, user)
            os.setresuid(user, user, user)
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=60,
                          preexec_fn=prepare, env={**os.environ, **(env or {})}, check=False)
    return Answer(name or command, done)


def why(*arguments, prefix=(), **how):
    return run(*prefix, TIDEWAIT, "why", *arguments, name=arguments, **how)


def ask(*arguments, **how):
    """The verdict as an object; the text of the same question must be harmless as well."""
    why(*arguments, **how)
    return why("--json", *arguments, **how)


def need_user(uid):
    """Skips where another user cannot run the program."""
    if os.geteuid() != 0 or subprocess.run([TIDEWAIT, "--version"], user=uid, group=uid, extra_groups=[],
                                           stdout=subprocess.DEVNULL, check=False).returncode:
        raise Skip(f"user {uid} cannot run {TIDEWAIT}")


# --- blindness: to be used as confine= ----------------------------------------------------------------

def refuse(name, first_argument=None):
    """A filter that answers EPERM to a system call from now on."""
    machine = os.uname().machine
    if machine not in NUMBERS:
        raise Skip(f"the number of {name}() on {machine} is not known here")
    rows = [(0x20, 0, 0, 0), (0x15, 0, 1 if first_argument is None else 3, NUMBERS[machine][name])]
    if first_argument is not None:
        rows += [(0x20, 0, 0, 16), (0x15, 0, 1, first_argument)]
    program, code = bpf(*rows, (0x06, 0, 0, 0x00050000 | 1), (0x06, 0, 0, 0x7FFF0000))

    def confine():
        call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        call("prctl", 22, 2, ctypes.c_char_p(program), 0, 0)
        assert code
    return confine


def own_mounts(kind, options=None):
    """Something else over /proc, in a mount namespace of its own."""
    def confine():
        call("unshare", CLONE_NEWNS)
        call("mount", None, b"/", None, MS_REC | MS_PRIVATE, None)
        call("mount", kind, b"/proc", kind, 0, options)
    return confine


def reset(sock):
    """Closes with a reset, so that nothing is left."""
    sock.setsockopt(1, 13, struct.pack("ii", 1, 0))
    sock.close()
