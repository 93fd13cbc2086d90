#!/usr/bin/env python3
"""Whether records of `tidewait load --json` balance and expressions hold in them.

usage: field.py FILE... [-- EXPRESSION...]

An expression is Python on the record's fields, nested ones by points: 'errors.refused == 3'. Tells
what does not hold, with the record, and ends with 1 then."""
import json
import sys


class Fields(dict):
    """An object whose members are attributes too."""

    __getattr__ = dict.__getitem__


def failures_of(errors):
    rest = sum(n for name, n in errors.items() if name not in ("address", "other_errno"))
    return rest + sum(errors.address.values())


def unbalanced(r):
    """Which of the accounts that hold in every record do not."""
    accounts = {
        "attempted = opened + not opened": r.attempted == r.opened + r.not_opened,
        "opened = completed + aborted + failures":
            r.opened == r.completed + r.aborted + failures_of(r.errors),
        "failed = all failures": r.failed == failures_of(r.errors),
        "closed by = completed": sum(r.closed_by.values()) == r.completed,
        "latencies = completed": r.latency_us.total.count == r.completed,
        "nothing is negative": min(r.attempted, r.opened, r.not_opened, r.completed, r.aborted) >= 0,
        "schema": r.schema == "tidewait.run/1",
    }
    return [name for name, holds in accounts.items() if not holds]


def check(path, expressions):
    try:
        with open(path, encoding="utf-8") as file:
            record = json.load(file, object_hook=Fields)
    except (OSError, ValueError) as error:
        print(f"{path}: no record: {error}")
        return False
    wrong = unbalanced(record)
    for expression in expressions:
        try:
            if not eval(expression, {"sum": sum, "all": all, "abs": abs}, record):
                wrong.append(expression)
        except (KeyError, TypeError, NameError, AttributeError) as error:
            wrong.append(f"{expression} ({type(error).__name__}: {error})")
    for what in wrong:
        print(f"{path}: does not hold: {what}")
    if wrong:
        shown = {key: value for key, value in record.items() if key not in ("latency_us", "series")}
        print(json.dumps(shown))
    return not wrong


def main():
    arguments = sys.argv[1:]
    split = arguments.index("--") if "--" in arguments else len(arguments)
    results = [check(path, arguments[split + 1:]) for path in arguments[:split]]
    sys.exit(not all(results))


main()
