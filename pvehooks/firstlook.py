"""The first look: when this package was first seen in this cluster, and which guests were there then, as they were.

Kept in pmxcfs, /etc/pve/pvehooks/first-look.json, about 20 bytes a guest.
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
    from collections.abc import Mapping

    from pvehooks.host import Host
    from pvehooks.values import GuestConfig

PATH = f"{records.PVE}/pvehooks/first-look.json"
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


class FirstLook(NamedTuple):
    """When (epoch seconds), on which node, and the guests' fingerprints by VMID; not `stored` while it is not in pmxcfs."""

    time: int
    node: str
    guests: Mapping[int, str]
    stored: bool = True

    def acquaintance(self, vmid: int, ctime: int | None, fingerprint: str) -> Acquaintance:
        """How the guest relates to this look; `ctime` is its meta ctime, which tells more than its VMID does."""
        old = ctime < self.time if ctime is not None else vmid in self.guests
        return Acquaintance(untouched=old and self.guests.get(vmid) == fingerprint, old=old)


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


def read(host: Host) -> FirstLook | None:
    """The first look as stored; None if there was none, or the file is empty or broken. Raises records.RecordsUnavailable."""
    content = records.read_pmxcfs(host, PATH, _MAX_BYTES)
    document = records.load_object(content) if content and len(content) <= _MAX_BYTES else None
    if document is None:
        return None
    version, time, node, guests = (document.get(key) for key in ("version", "time", "node", "guests"))
    if not isinstance(time, int) or not isinstance(node, str) or not isinstance(guests, dict):
        return None
    if not _is_number(version) or not _is_number(time) or not node.isprintable():
        return None
    found = {int(vmid): mark for vmid, mark in guests.items() if _VMID.fullmatch(vmid) and _is_fingerprint(mark)}
    return FirstLook(time, node, found) if len(found) == len(guests) else None


def create(host: Host, node: str, guests: Mapping[int, str]) -> FirstLook:
    """Stores that now is the first look, at these guests; if there is one already, that one stays and is given.

    Where pmxcfs takes no writes now, the look is given all the same, not `stored`: call it again later.
    """
    look = FirstLook(int(host.now()), node, dict(guests), stored=False)
    document = {"version": VERSION, "time": look.time, "node": node, "guests": {str(vmid): mark for vmid, mark in guests.items()}}
    content = json.dumps(document, separators=(",", ":"), sort_keys=True).encode() + b"\n"
    try:
        earlier = read(host)
        if earlier is not None:
            return earlier
        records.write_pmxcfs(host, PATH, content, _MAX_BYTES)
    except records.RecordsUnavailable:
        return look
    return look._replace(stored=True)


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < records.MAX_NUMBER


def _is_fingerprint(value: object) -> bool:
    return isinstance(value, str) and _FINGERPRINT.fullmatch(value) is not None
