"""The answer of `why` is that of the real bind() with the same options, made right after: for many
situations, by chance but always the same ones."""
import random
import socket
import time

from causes_kit import NOBODY, abort, bound, connected, held, name_of, try_as
from kit import case, need_user, why

SEED, SITUATIONS = 7, 200
ADDRESSES = ["0.0.0.0", "127.0.0.1", "127.0.0.2", "[::]", "[::1]", "[::ffff:127.0.0.1]"]


def some(dice, names, chance=0.5):
    return {name: True for name in names if dice.random() < chance}


def make(dice, port):
    """One socket, or what is left of one; what it is in words. A bind() that fails makes nothing."""
    kind = dice.choice(["listening", "listening", "bound", "udp", "accepted", "client", "time-wait", "late"])
    address = dice.choice(ADDRESSES)
    flags = some(dice, ["ra", "rp", "v6only"])
    if not address.startswith("["):
        flags.pop("v6only", None)
    where = f"{address}:{port}"
    try:
        if kind in ("listening", "bound", "udp"):
            bound(where, listening=kind == "listening", udp=kind == "udp", **flags)
        elif kind == "late":  # SO_REUSEADDR and SO_REUSEPORT are set when it is too late for the bucket
            sock = bound(where, listening=dice.random() < 0.5)
            sock.setsockopt(socket.SOL_SOCKET, dice.choice([socket.SO_REUSEADDR, socket.SO_REUSEPORT]), 1)
        else:
            make_connection(kind, where, flags)
    except OSError as error:
        return f"{kind} {where} {flags}: {name_of(error)}"
    return f"{kind} {where} {flags}"


def make_connection(kind, where, flags):
    address, _, port = where.rpartition(":")
    host = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(address, address)
    flags.pop("v6only", None)
    if kind == "client":  # from the port, to another one
        other = bound(f"{host}:7100", ra=True)
        connected(f"{host}:7100", f"{host}:{port}", **flags)
        held.append(other.accept()[0])
        return
    server = bound(where, **flags)
    client = connected(f"{host}:{port}")
    peer = server.accept()[0]
    server.close()
    held.append(peer)
    if kind == "time-wait":
        peer.close()
        client.close()


def clear():
    """Nothing of the sockets is left but TIME_WAITs; so each situation has a port of its own."""
    for sock in held:
        try:
            abort(sock)
        except OSError:  # closed already
            pass
    held.clear()


def real(address, udp, flags):
    try:
        bound(address, udp=udp, listening=False, **flags).close()
    except OSError as error:
        return name_of(error)
    return None


def is_guess(said):
    """Without a trial the options of a TIME_WAIT cannot be known. That has to be said."""
    return said["trial"] is None and any("options of the other socket that are not visible" in item["text"]
                                         for item in said["evidence"])


def situation(dice, port, user):
    """Asks and tries in turn: asking must not change what the kernel says."""
    made = [make(dice, port) for _ in range(dice.choice([0, 1, 1, 1, 2]))]
    udp = dice.random() < 0.2
    flags = some(dice, ["ra", "rp", "v6only"], 0.4)
    address = dice.choice(ADDRESSES + ["10.9.9.9"])
    if not address.startswith("["):
        flags.pop("v6only", None)
    words = {"ra": "--reuseaddr", "rp": "--reuseport", "v6only": "--v6only"}
    arguments = [words[flag] for flag in flags] + [f"{address}:{port}" + ("/udp" if udp else "")]
    if user is not None:
        arguments = ["--as", str(user)] + arguments
    time.sleep(0.03)  # the kernel tells who opened a connection when it is quiet

    def bind():
        return try_as(user, real, f"{address}:{port}", udp, flags)
    wanted = bind()
    for extra in ([], ["--no-trial"]):
        answer = why("--json", *extra, *arguments)
        said = answer.verdict()
        before = f"{port}: with {made}: why {' '.join(extra + arguments)}: {said['errno']} ({said['cause']}, " \
                 f"trial {said['trial']}, exit code {answer.code}, disagrees {said['disagrees']})"
        if said["disagrees"] or answer.code != (said["errno"] is not None) or (
                said["errno"] != wanted and not is_guess(said)):
            yield f"{before}, but bind() says {wanted}: {said['summary']}"
        if bind() != wanted:
            yield f"{before}: bind() said {wanted} before, and {bind()} now"
    clear()


def agree(seed, user=None):
    dice = random.Random(seed)
    wrong = [text for number in range(SITUATIONS) for text in situation(dice, 8000 + number, user)]
    assert not wrong, f"{len(wrong)} of {2 * SITUATIONS} answers:\n" + "\n".join(wrong)


@case("ipv6")
def same_user(world):
    agree(SEED)


@case("root", "ipv6")
def other_user(world):
    need_user(NOBODY)
    agree(SEED + 1, NOBODY)
