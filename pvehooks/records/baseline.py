"""The baseline: when this package was installed on a node, and fingerprints of the guests that existed then.

Stored in pmxcfs, /etc/pve/pvehooks/first-look/NODE.json, about 20 bytes per guest; a node writes its own file and reads all, for guests
that move to it.
"""

from __future__ import annotations

import json
import re

from pvehooks import records
from pvehooks.errors import PmxcfsAway
from pvehooks.values import BaselineStatus
from pvehooks.values.base import NamedTuple, sha1
from pvehooks.values.stubs import former_of, is_stub

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pvehooks.host import Host
    from pvehooks.values import GuestConfig

DIRECTORY = f"{records.PVE}/pvehooks/first-look"
VERSION = 1

# The size limit of a file in pmxcfs.
_MAX_BYTES = 1 << 20
_FINGERPRINT = re.compile(r"[0-9a-f]{8}")
_VMID = re.compile(r"[1-9][0-9]{2,8}")
# Options that PVE sets and removes without an edit by a user: locks, suspending (QemuServer.pm vm_suspend), snapshots
# (AbstractConfig.pm), a new generation id on rollback and restore.
_PVE_OWN = frozenset(
    (
        "digest",
        "lock",
        "parent",
        "running-nets-host-mtu",
        "runningcpu",
        "runningmachine",
        "snapshots",
        "snapstate",
        "snaptime",
        "vmgenid",
        "vmstate",
    )
)


NOT_IN_BASELINE = BaselineStatus(untouched=False, old=False)


class KnownGuest(NamedTuple):
    """A guest's fingerprint, and when (epoch seconds) it was taken."""

    fingerprint: str
    time: int


class Baseline(NamedTuple):
    """When (epoch seconds) the package was installed on a node, and its guests then, by VMID; not `stored` until it is in pmxcfs."""

    time: int
    node: str
    guests: Mapping[int, KnownGuest]
    stored: bool = True

    def status(self, vmid: int, ctime: int | None, fingerprint: str) -> BaselineStatus:
        """How the guest relates to this baseline; `ctime` is its meta ctime, which is more reliable than its VMID."""
        known = self.guests.get(vmid)
        there = known is not None and (ctime is None or ctime <= known.time)
        untouched = there and known is not None and known.fingerprint == fingerprint
        return BaselineStatus(untouched=untouched, old=there or (ctime is not None and ctime < self.time))


def fingerprint(config: GuestConfig) -> str:
    """8 hex digits that change when the guest is edited, live or pending, and not when PVE applies pending changes.

    The guard's hookscript counts as the former hookscript, and tags of ours do not count: neither is an edit by a user.
    Lines that the parser does not accept count unchanged: what it accepts depends on the node's CPU models and on our version.
    """
    options = {**config.main, **config.pending}
    for name in (*config.pending_delete, *_PVE_OWN):
        options.pop(name, None)
    present = str(options.get("hookscript", ""))
    if is_stub(present):
        options["hookscript"] = former_of(present)
        if not options["hookscript"]:
            del options["hookscript"]
    if "pvehooks-" in str(options.get("tags", "")):
        from pvehooks.values import guesttags

        options["tags"] = guesttags.without_ours(str(options["tags"]))
        if not options["tags"]:
            del options["tags"]
    lines = [f"{name}: {value}" for name, value in options.items()]
    if config.dropped:
        lines += [line.text.strip() for line in config.dropped if line.section in ("", "PENDING")]
    return sha1("\n".join(sorted(lines)).encode("utf-8", "surrogateescape")).hex()[:8]


def path(node: str) -> str:
    """The file of a node's baseline."""
    return f"{DIRECTORY}/{node}.json"


def paths(host: Host) -> tuple[str, ...]:
    """The existing files, one per node. Raises PmxcfsAway."""
    return tuple(f"{DIRECTORY}/{name}" for name in records.names(host, DIRECTORY) if name.endswith(".json"))


def read(host: Host, node: str) -> Baseline | None:
    """The node's own baseline with the guests of all nodes' baselines, the latest entry of each.

    None if the node has none, or its file is empty or broken. Raises PmxcfsAway.
    """
    all_nodes = {path: read_file(host, path) for path in paths(host)}
    own = all_nodes.get(path(node))
    return joined(own, (each for each in all_nodes.values() if each is not None)) if own else None


def joined(own: Baseline, others: Iterable[Baseline]) -> Baseline:
    """The baseline with the guests of others added."""
    guests = dict(own.guests)
    for other in others:
        for vmid, known in other.guests.items():
            if vmid not in guests or guests[vmid].time < known.time:
                guests[vmid] = known
    return own._replace(guests=guests)


def read_file(host: Host, path: str) -> Baseline | None:
    """A stored baseline; None if there is none, or the file is empty or broken. Raises PmxcfsAway."""
    content = records.read(host, path, _MAX_BYTES)
    document = records.load_object(content) if content and len(content) <= _MAX_BYTES else None
    if document is None:
        return None
    version, time, node, guests = (document.get(key) for key in ("version", "time", "node", "guests"))
    if not isinstance(time, int) or not isinstance(node, str) or not isinstance(guests, dict):
        return None
    if not _is_number(version) or not _is_number(time) or not node.isprintable():
        return None
    found = {int(vmid): known for vmid, value in guests.items() if _VMID.fullmatch(vmid) and (known := _known_guest(value, time))}
    return Baseline(time, node, found) if len(found) == len(guests) else None


def write(host: Host, baseline: Baseline) -> Baseline:
    """Stores the baseline of its node; returns it not `stored` if pmxcfs accepts no writes now."""
    guests = {str(vmid): known.fingerprint if known.time == baseline.time else [*known] for vmid, known in baseline.guests.items()}
    document = {"version": VERSION, "time": baseline.time, "node": baseline.node, "guests": guests}
    content = json.dumps(document, separators=(",", ":"), sort_keys=True).encode() + b"\n"
    try:
        records.write(host, path(baseline.node), content, _MAX_BYTES)
    except PmxcfsAway:
        return baseline._replace(stored=False)
    return baseline._replace(stored=True)


def remove_unfinished(host: Host, node: str) -> None:
    """Removes what is left of interrupted writes of the node's baseline. Raises PmxcfsAway."""
    directory, _, name = path(node).rpartition("/")
    records.remove_unfinished(host, directory, lambda each: each == name)


def _known_guest(value: object, time: int) -> KnownGuest | None:
    """A fingerprint with the baseline's time, or one with its own time."""
    text, when = value if isinstance(value, list) and len(value) == 2 else (value, time)
    if isinstance(text, str) and _FINGERPRINT.fullmatch(text) and _is_number(when):
        return KnownGuest(text, when)
    return None


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < records.MAX_NUMBER
