"""The first look: since when this package is on a node, and which guests were there then, as they were.

Kept in pmxcfs, /etc/pve/pvehooks/first-look/NODE.json, about 20 bytes a guest; a node writes its own and reads all, for the guests that
move to it.
"""

from __future__ import annotations

import json
import re

from pvehooks import records
from pvehooks.values import Acquaintance
from pvehooks.values.base import NamedTuple
from pvehooks.values.digests import sha1
from pvehooks.values.stubs import former_of, is_stub

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pvehooks.host import Host
    from pvehooks.values import GuestConfig

DIRECTORY = f"{records.PVE}/pvehooks/first-look"
# One for all nodes, as 0.1.0 had it at first: it is read, and no more written.
OF_CLUSTER = f"{DIRECTORY}.json"
VERSION = 1

# pmxcfs' limit of a file.
_MAX_BYTES = 1 << 20
_FINGERPRINT = re.compile(r"[0-9a-f]{8}")
_VMID = re.compile(r"[1-9][0-9]{2,8}")
# What PVE sets and takes away without anybody editing the guest: locks, suspending (QemuServer.pm vm_suspend), snapshots
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


STRANGER = Acquaintance(untouched=False, old=False)


class Noted(NamedTuple):
    """A guest's fingerprint, and when (epoch seconds) it had that one."""

    mark: str
    time: int


class FirstLook(NamedTuple):
    """Since when (epoch seconds) a node has the package, and the guests that were noted, by VMID; not `stored` while it is not in pmxcfs."""

    time: int
    node: str
    guests: Mapping[int, Noted]
    stored: bool = True

    def acquaintance(self, vmid: int, ctime: int | None, fingerprint: str) -> Acquaintance:
        """How the guest relates to this look; `ctime` is its meta ctime, which tells more than its VMID does."""
        noted = self.guests.get(vmid)
        there = noted is not None and (ctime is None or ctime <= noted.time)
        untouched = there and noted is not None and noted.mark == fingerprint
        return Acquaintance(untouched=untouched, old=there or (ctime is not None and ctime < self.time))


def fingerprint(config: GuestConfig) -> str:
    """8 hex digits that change when somebody edits the guest, now or pending, and not when PVE applies what is pending.

    The guard's hookscript counts as the one that was there before it: to attach it is no edit of a person's.
    Lines that the parser does not take count as they stand: what it takes changes with the node's CPU models and with us.
    """
    options = {**config.main, **config.pending}
    for name in (*config.pending_delete, *_PVE_OWN):
        options.pop(name, None)
    present = str(options.get("hookscript", ""))
    if is_stub(present):
        options["hookscript"] = former_of(present)
        if not options["hookscript"]:
            del options["hookscript"]
    lines = [f"{name}: {value}" for name, value in options.items()]
    if config.dropped:
        lines += [line.text.strip() for line in config.dropped if line.section in ("", "PENDING")]
    return sha1("\n".join(sorted(lines)).encode("utf-8", "surrogateescape")).hex()[:8]


def path(node: str) -> str:
    """The file of a node's look."""
    return f"{DIRECTORY}/{node}.json"


def files(host: Host) -> tuple[str, ...]:
    """The files that there are, that of the whole cluster first. Raises RecordsUnavailable."""
    return (OF_CLUSTER, *(f"{DIRECTORY}/{name}" for name in records.names_pmxcfs(host, DIRECTORY) if name.endswith(".json")))


def read(host: Host, node: str) -> FirstLook | None:
    """What is known on the node: its own time, and what was noted of guests there and elsewhere, the latest of each.

    None while there was no look at it, or its file is empty or broken. Raises records.RecordsUnavailable.
    """
    looks = {path: read_file(host, path) for path in files(host)}
    own = looks.get(path(node)) or looks[OF_CLUSTER]
    return joined(own, (look for look in looks.values() if look is not None)) if own else None


def joined(own: FirstLook, others: Iterable[FirstLook]) -> FirstLook:
    """The look with what others noted besides."""
    guests = dict(own.guests)
    for look in others:
        for vmid, noted in look.guests.items():
            if vmid not in guests or guests[vmid].time < noted.time:
                guests[vmid] = noted
    return own._replace(guests=guests)


def read_file(host: Host, path: str) -> FirstLook | None:
    """A look as stored; None if there is none, or the file is empty or broken. Raises records.RecordsUnavailable."""
    content = records.read_pmxcfs(host, path, _MAX_BYTES)
    document = records.load_object(content) if content and len(content) <= _MAX_BYTES else None
    if document is None:
        return None
    version, time, node, guests = (document.get(key) for key in ("version", "time", "node", "guests"))
    if not isinstance(time, int) or not isinstance(node, str) or not isinstance(guests, dict):
        return None
    if not _is_number(version) or not _is_number(time) or not node.isprintable():
        return None
    found = {int(vmid): noted for vmid, value in guests.items() if _VMID.fullmatch(vmid) and (noted := _noted(value, time))}
    return FirstLook(time, node, found) if len(found) == len(guests) else None


def write(host: Host, look: FirstLook) -> FirstLook:
    """Stores the look as its node's; where pmxcfs takes no writes now, it is given back not `stored`."""
    guests = {str(vmid): noted.mark if noted.time == look.time else [*noted] for vmid, noted in look.guests.items()}
    document = {"version": VERSION, "time": look.time, "node": look.node, "guests": guests}
    content = json.dumps(document, separators=(",", ":"), sort_keys=True).encode() + b"\n"
    try:
        records.write_pmxcfs(host, path(look.node), content, _MAX_BYTES)
    except records.RecordsUnavailable:
        return look._replace(stored=False)
    return look._replace(stored=True)


def _noted(value: object, time: int) -> Noted | None:
    """A fingerprint of the look's time, or one with a time of its own."""
    mark, when = value if isinstance(value, list) and len(value) == 2 else (value, time)
    if isinstance(mark, str) and _FINGERPRINT.fullmatch(mark) and _is_number(when):
        return Noted(mark, when)
    return None


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < records.MAX_NUMBER
