#!/usr/bin/env python3
"""run.py list | run.py NAME: one test of `tidewait why` in a private network. Ends with 0, with 1 and what
was wrong, or with 77 and the reason why the test cannot be made here."""
import os
import shutil
import signal
import sys
import tempfile
import traceback

import kit
from causes_kit import Skip, World

import agree  # noqa: F401 (declares its cases)
import blind  # noqa: F401
import command  # noqa: F401
import connect  # noqa: F401
import message  # noqa: F401
import options  # noqa: F401


def perform(name):
    function, needs = kit.cases[name]
    for what in needs:
        if what == "root" and os.geteuid() != 0:
            raise Skip("needs root")
        if what == "ipv6" and not os.path.exists("/proc/sys/net/ipv6"):
            raise Skip("this kernel has no IPv6")
        if what not in ("root", "ipv6") and not shutil.which(what):
            raise Skip(f"there is no {what} here")
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        with World(folder) as world:
            function(world)


def main():
    if sys.argv[1:] == ["list"]:
        print("\n".join(kit.cases))
        return 0
    signal.alarm(170)
    try:
        perform(sys.argv[1])
    except Skip as skip:
        print(skip)
        return 77
    except AssertionError as error:
        print(error)
        return 1
    except Exception:  # the situation could not be made
        traceback.print_exc(file=sys.stdout)
        return 1
    return 0


sys.exit(main())
