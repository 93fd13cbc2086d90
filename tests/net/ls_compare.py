"""Compares `tidewait ls` with ss(8) in the network namespace it runs in, socket by socket.

usage: ls_compare.py TIDEWAIT tcp|udp|unix|holders

Both are asked until they agree, five times at most: sockets come and go. Prints the difference otherwise.
"""
import collections
import json
import re
import subprocess
import sys


def lines(*command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.decode().splitlines()


def rows(*arguments):
    return [json.loads(line) for line in lines(TIDEWAIT, "ls", "--jsonl", *arguments)]


def plain(endpoint):
    """ss writes * for [::] when IPv4 is meant as well."""
    return re.sub(r"^\*:", "[::]:", endpoint)


def inet_of_ss(letter):
    for line in lines("ss", "-Han" + letter):
        state, received, sent, local, remote = line.split()[:5]
        yield state, received, sent, plain(local), plain(remote)


def inet_of_table(letter):
    for line in lines(TIDEWAIT, "ls", "-He" + letter):
        words = line.split()
        if words[1] != "BOUND":  # ss of iproute2 6.1 has no word for it
            yield tuple(words[1:6])


def inet_of_json(letter):
    def endpoint(address, port):
        return ("[%s]:%s" if ":" in address else "%s:%s") % (address, port or "*")

    for row in rows("-" + letter):
        if row["state"] != "BOUND":
            yield (row["state"], str(row["recv_q"]), str(row["send_q"]), endpoint(row["laddr"], row["lport"]),
                   endpoint(row["raddr"], row["rport"]))


def unix_of_ss():
    for line in lines("ss", "-Hxan"):
        kind, state, received, sent, path, inode, _, peer = line.split()[:8]
        yield kind, state, received, sent, path, inode, peer


def unix_of_json():
    kinds = {"stream": "u_str", "dgram": "u_dgr", "seqpacket": "u_seq"}
    for row in rows("-x"):
        yield (kinds[row["type"]], row["state"], str(row["recv_q"]), str(row["send_q"]),
               row.get("path", "*").replace("\0", "@"), str(row["inode"]), str(row.get("peer_inode", 0)))


def holders_of_ss():
    for letter in "tux":
        for line in lines("ss", "-Hanp" + letter):
            words = line.split()
            # ss has a column with the kind when Unix sockets are asked for.
            names = words[4] + " " + words[5] if letter == "x" else plain(words[3]) + " " + plain(words[4])
            for holder in re.findall(r'\("([^"]*)",pid=(\d+),fd=(\d+)\)', line):
                yield (names,) + holder


def holders_of_json():
    for row in rows("-tuxp"):
        if row["state"] == "BOUND":
            continue
        if row["proto"] == "unix":
            names = "%s %s" % (row.get("path", "*").replace("\0", "@"), row["inode"])
        else:
            form = "[%s]:%s" if row["family"] == "ipv6" else "%s:%s"
            names = " ".join(form % (row[a], row[p] or "*") for a, p in (("laddr", "lport"), ("raddr", "rport")))
        for holder in row.get("holders", []):
            yield names, holder["comm"], str(holder["pid"]), str(holder["fd"])


def compare(ours, theirs):
    """What one has and the other has not."""
    ours, theirs = collections.Counter(ours()), collections.Counter(theirs())
    if not theirs:
        return ["ss has nothing"]
    return (["ls only: %s" % (row,) for row in (ours - theirs).elements()] +
            ["ss only: %s" % (row,) for row in (theirs - ours).elements()])


TIDEWAIT, WHAT = sys.argv[1:]
PAIRS = {
    "tcp": [(lambda: inet_of_table("t"), lambda: inet_of_ss("t")), (lambda: inet_of_json("t"), lambda: inet_of_ss("t"))],
    "udp": [(lambda: inet_of_table("u"), lambda: inet_of_ss("u")), (lambda: inet_of_json("u"), lambda: inet_of_ss("u"))],
    "unix": [(unix_of_json, unix_of_ss)],
    "holders": [(holders_of_json, holders_of_ss)],
}
for pair in PAIRS[WHAT]:
    for _ in range(5):
        difference = compare(*pair)
        if not difference:
            break
    else:
        print("\n".join(difference))
        sys.exit(1)
