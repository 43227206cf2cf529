"""What the rules on a guest's own disks share: which disks it has, where a new one would go, what can be snapshotted. No rules here."""

from __future__ import annotations

import re
from functools import lru_cache

from pvehooks.rules.entropy import is_disk
from pvehooks.values import Guest, Node
from pvehooks.values.storages import Storage

# What each plugin's volume_has_feature says of `snapshot` and a volume in use (pve-storage 9.1, PVE/Storage/*Plugin.pm; 8 says the same).
_ALWAYS = ("lvmthin", "rbd", "zfspool", "zfs")
_NEVER = ("iscsi", "iscsidirect", "esxi", "pbs")
# With or without snapshot-as-volume-chain: qcow2 alone.
_BY_FORMAT = {
    **dict.fromkeys(("dir", "nfs", "cifs", "cephfs", "glusterfs", "lvm"), frozenset({"qcow2"})),
    "btrfs": frozenset({"qcow2", "raw", "subvol"}),
}
# Drive.pm, valid_drive_names.
_BUSES = (("ide", 4), ("scsi", 31), ("virtio", 16), ("sata", 6))
_PLACES = {name: place for place, name in enumerate(f"{bus}{number}" for bus, count in _BUSES for number in range(count))}
_FORMAT = re.compile(r"\.(raw|qcow2|vmdk|subvol)\Z")


@lru_cache(maxsize=1)
def disks(guest: Guest) -> tuple[str, ...]:
    """Its virtual disks, CD-ROM drives not among them, in the order in which PVE looks for one to boot from."""
    found = [name for name in guest.options if name in _PLACES and is_disk(guest, name)]
    return tuple(name for name in sorted(found, key=_PLACES.__getitem__) if guest.properties(name).get("file", "none") != "none")


def volume_of(guest: Guest, option: str) -> tuple[str, str]:
    """The storage of a disk and the volume's name there, ('', path) for what is no volume of a storage."""
    volid = str(guest.properties(option).get("file", ""))
    storage, colon, name = volid.partition(":")
    return (storage, name) if colon and not volid.startswith("/") else ("", volid)


def format_of(guest: Guest, option: str) -> str:
    """The format of a disk: what the option says, else the end of the volume's name, else raw."""
    match = _FORMAT.search(volume_of(guest, option)[1])
    return match[1] if match else str(guest.properties(option).get("format", "raw"))


def new_volume(guest: Guest, *, like: str = "") -> str:
    """What to type for a new volume of the guest, beside `like` or its first disk; STORAGE stands for what a person has to choose."""
    beside = next((name for name in (like, *disks(guest)) if name and volume_of(guest, name)[0]), "")
    return f"{volume_of(guest, beside)[0]}:1" if beside else "STORAGE:1"


def can_snapshot(storage: Storage, form: str) -> bool | None:
    """Whether PVE can snapshot a volume of that format there; None for a storage whose plugin is not PVE's own."""
    if storage.type in _ALWAYS:
        return True
    if storage.type in _NEVER:
        return False
    formats = _BY_FORMAT.get(storage.type)
    return None if formats is None else form in formats


def arch_of(guest: Guest, node: Node) -> str:
    """The guest's architecture: what its config says, else the node's ("aarch64" where its CPU has ARM's features), else "x86_64"."""
    native = "aarch64" if isinstance(node.cpu_flags, frozenset) and "asimd" in node.cpu_flags else "x86_64"
    return str(guest.options.get("arch", native))
