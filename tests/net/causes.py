#!/usr/bin/env python3
"""Makes each situation in which an address cannot be had, asks `tidewait why` about it, does what the
verdict advises, and looks whether it helped.

usage: causes.py list [NAME...]      the names of the situations, and how each one comes about
       causes.py make [NAME...]      makes them and tries the real call, without tidewait
       causes.py run [NAME...] [--record DIR]
       causes.py table [--record DIR]    the table of tidewait-causes(7), from a run
       causes.py check PAGE [--record DIR]    whether the page has the table that a run gives

A NAME is a cause, or a cause and a variant (listener-wildcard/asked). TIDEWAIT is the program. DIR keeps
what a run found, for `table` and `check`, which run what is not there. Ends with 0, with 1 when a verdict
is wrong, or with 77 when nothing could be made here."""
import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time

import causes_bind  # noqa: F401 (declares its makers)
import causes_connect  # noqa: F401
from causes_kit import (LIMIT, PR_SET_PDEATHSIG, Skip, World, call, cause_of, in_pid_namespace, makers, public,
                        until)

TIDEWAIT = public(os.environ.get("TIDEWAIT", os.path.dirname(__file__) + "/../../build/tidewait"))


def ask(situation, arguments):
    """The verdict of `tidewait why`, as an object, and its exit code."""
    user = {"user": situation.user, "group": situation.user, "extra_groups": []} if situation.user else {}
    done = subprocess.run([TIDEWAIT, "why", *arguments, "--json"], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=10, preexec_fn=situation.confine,
                          check=False, **user)
    try:
        return json.loads(done.stdout), done.returncode
    except ValueError:
        text = f"no JSON, exit code {done.returncode}: {done.stderr.strip()}"
        return {"summary": text}, done.returncode


def differences(name, situation, verdict, code):
    """What in the verdict is not as it has to be."""
    wanted = {"schema": "tidewait.verdict/1", "cause": cause_of(name), "answer": situation.answer,
              "errno": situation.code, "disagrees": False}
    for key, value in wanted.items():
        if verdict.get(key, "missing") != value:
            yield f"{key} is {verdict.get(key, 'missing')}, not {value}"
    if code != (situation.answer != "free"):
        yield f"exit code {code} for answer {situation.answer}"
    found = sorted({holder["pid"] for holder in verdict.get("holders", [])})
    if situation.holders is not None and found != sorted(situation.holders):
        yield f"holders are {found}, not {sorted(situation.holders)}"


def remedy_of(situation, verdict):
    """The remedy to try: the first with a command that has the wanted words in it."""
    for remedy in verdict.get("remedies", []):
        text = f"{remedy['do']} {remedy['command']}"
        if remedy["command"] and situation.cure in text:
            return remedy
    return None


def cured(world, situation, verdict):
    """Does what the verdict advises; what is wrong with that."""
    remedy = remedy_of(situation, verdict)
    if not remedy:
        yield f"no remedy with a command like '{situation.cure}'"
        return
    os.environ["PATH"] = f"{os.path.dirname(TIDEWAIT)}:{os.environ['PATH']}"
    done = subprocess.run(["sh", "-c", remedy["command"]], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=10, check=False)
    last = []

    def works():
        world.reap()
        last[:] = [situation.attempt()]
        return last[0] is None
    if not until(works, situation.patience):
        yield (f"still {last[0]} after `{remedy['command']}` (exit code {done.returncode}, "
               f"{done.stderr.strip() or 'silent'})")


def problems_of(world, name, situation, record):
    before = situation.attempt()
    if before != (situation.before or situation.code):
        yield f"the kernel says {before}, not {situation.before or situation.code}: the situation is not made"
        return
    if record is None:
        return
    verdict, code = ask(situation, situation.ask)
    if "cause" not in verdict:
        yield verdict["summary"]
        return
    record["verdict"] = verdict
    yield from differences(name, situation, verdict, code)
    for other in situation.others:
        answer = ask(situation, other)[0]
        if answer.get("cause", cause_of(name)) == cause_of(name):
            yield f"`why {' '.join(other)}` must not have the same cause: {answer['summary']}"
    if situation.cure is not None:
        yield from cured(world, situation, verdict)


def normal(text, world, verdict):
    """A text without what differs from run to run."""
    text = text.replace(world.folder, "DIR")
    for pid in {holder["pid"] for holder in verdict.get("holders", [])} | set(world.children):
        text = re.sub(rf"\b{pid}\b", "PID", text)
    return re.sub(r"\b\d+\.\d+ s\b", "N s", text)


def perform(name, folder, with_tool):
    """Makes one situation in this process, which is thrown away afterwards."""
    function, needs = makers[name]
    record = {"name": name, "problems": [], "skipped": None}
    try:
        if "root" in needs and os.geteuid() != 0:
            raise Skip("needs root")
        if "every process" in needs and in_pid_namespace():
            raise Skip("needs the first pid namespace, where every process is seen")
        if "ipv6" in needs and not os.path.exists("/proc/sys/net/ipv6"):
            raise Skip("this kernel has no IPv6")
        with World(folder) as world:
            situation = function(world)
            record["ask"] = " ".join(situation.ask).replace(world.folder, "DIR")
            record["errno"] = situation.code
            started = time.monotonic()
            record["problems"] = list(problems_of(world, name, situation, record if with_tool else None))
            record["seconds"] = round(time.monotonic() - started, 2)
            verdict = record.get("verdict") or {}
            record["remedies"] = [normal(r["do"], world, verdict) for r in verdict.get("remedies", [])]
    except Skip as skip:
        record["skipped"] = str(skip)
    except Exception as error:  # the makers of the others are still to come
        record["problems"].append(f"{type(error).__name__}: {error}")
    return record


def in_own_process(name, with_tool):
    """The same from outside: a process of its own, LIMIT seconds at most."""
    with tempfile.TemporaryDirectory(prefix="causes") as folder:
        os.chmod(folder, 0o755)
        out, into = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(out)
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_DFL)
            call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            signal.alarm(LIMIT)
            with open(into, "w", encoding="utf-8") as pipe:
                json.dump(perform(name, folder, with_tool), pipe)
            os._exit(0)
        os.close(into)
        with open(out, encoding="utf-8") as pipe:
            text = pipe.read()
        os.waitpid(pid, 0)
        if os.path.exists(f"{folder}/undo"):
            subprocess.run(["sh", f"{folder}/undo"], timeout=10, check=False)
    if not text:
        return {"name": name, "skipped": None, "problems": [f"it took more than {LIMIT} s or died"]}
    return json.loads(text)


def selected(names):
    if not names:
        return list(makers)
    for name in names:
        if not any(name in (other, cause_of(other)) for other in makers):
            sys.exit(f"causes.py: there is no {name}")
    return [other for other in makers if other in names or cause_of(other) in names]


def run(names, with_tool, folder=None):
    results = []
    for name in selected(names):
        result = in_own_process(name, with_tool)
        results.append(result)
        if folder:
            with open(f"{folder}/{name.replace('/', '+')}.json", "w", encoding="utf-8") as file:
                json.dump(result, file)
        if result["skipped"]:
            print(f"skip  {name}: {result['skipped']}", flush=True)
            continue
        print(f"{'wrong' if result['problems'] else 'ok   '} {name}: {makers[name][0].__doc__}", flush=True)
        for problem in result["problems"]:
            print(f"      {problem}")
        if result["problems"] and "verdict" in result:
            print(f"      why {result['ask']}: {result['verdict'].get('summary')}")
            for remedy in result["verdict"].get("remedies", []):
                print(f"      remedy: {remedy['do']}: {remedy['command']}")
    if any(result["problems"] for result in results):
        return 1
    return 77 if all(result["skipped"] for result in results) else 0


def rows(folder):
    """A row of the table for each cause that can be made here; one that cannot is None."""
    result = {}
    for name in [name for name in makers if "/" not in name]:
        path = f"{folder}/{name}.json" if folder else None
        if path and os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                record = json.load(file)
        else:
            record = in_own_process(name, True)
        if record["skipped"]:
            result[name] = None
            continue
        remedies = record.get("remedies") or ["-"]
        cells = [name, record.get("errno") or "-", makers[name][0].__doc__, remedies[0]]
        result[name] = "|  {}\n:  {}\n:  {}\n:  {}".format(*map(escaped, cells))
    return result


def escaped(text):
    """As scdoc wants it."""
    return re.sub(r"([\\_*|#<\[])", r"\\\1", text)


def rows_of_page(path):
    """The rows of the page's table by name."""
    with open(path, encoding="utf-8") as file:
        blocks = re.findall(r"^\|  .*(?:\n:  .*){3}$", file.read(), re.MULTILINE)
    return {block.split("\n")[0][3:].replace("\\", ""): block for block in blocks}


def check(path, folder):
    """Whether the page has the rows of a run, in the same order."""
    page, made = rows_of_page(path), rows(folder)
    failed = [name for name, row in made.items() if row and page.get(name) != row]
    for name in failed:
        print(f"{path}: the row of {name} has to be\n{made[name]}\nand is\n{page.get(name)}")
    if list(made) != list(page):
        print(f"{path}: the rows are {list(page)}\nand have to be {list(made)}")
        return 1
    unseen = [name for name, row in made.items() if not row]
    print(f"{path}: {len(made) - len(unseen) - len(failed)} rows as a run gives them, {len(failed)} not, "
          f"not made here: {' '.join(unseen) or 'none'}")
    return 1 if failed else 77 if len(unseen) == len(made) else 0


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the folder is removed on the way out
    parser = argparse.ArgumentParser(usage=__doc__.partition("usage: ")[2])
    parser.add_argument("action", choices=["list", "make", "run", "table", "check"])
    parser.add_argument("names", nargs="*")
    parser.add_argument("--record", metavar="DIR")
    options = parser.parse_args()
    if options.action == "list":
        for name in selected(options.names):
            print(f"{name}\t{makers[name][0].__doc__}")
        return 0
    if options.action == "make":
        return run(options.names, False)
    if not os.access(TIDEWAIT, os.X_OK):
        sys.exit(f"causes.py: TIDEWAIT={TIDEWAIT} is no program")
    if options.action == "run":
        return run(options.names, True, options.record)
    if options.action == "table":
        for name, row in rows(options.record).items():
            print(row or f"|  {name}\n:  -\n:  not made here\n:  -")
        return 0
    return check(options.names[0], options.record)


if __name__ == "__main__":
    sys.exit(main())
