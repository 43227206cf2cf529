"""A guest's disks, images and volumes: which there are, where a new one would go, what can be snapshotted."""

from __future__ import annotations

import re

from pvehooks.derived.once import once
from pvehooks.values import Guest, Node, Value
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


_DISK = re.compile(r"(?:ide|sata|scsi|virtio)\d+", re.ASCII)
# Options that hold a disk or an image in a drive (qemu-server, Drive.pm, valid_drive_names), and a suspended guest's memory.
_DRIVES = frozenset(
    f"{bus}{number}"
    for bus, count in (("ide", 4), ("scsi", 31), ("virtio", 16), ("sata", 6), ("efidisk", 1), ("tpmstate", 1))
    for number in range(count)
) | {"vmstate"}
NO_DRIVES = ("efidisk0", "tpmstate0", "vmstate")
"""Those of them that are no drive of the guest's."""
# A volume id (pve-storage, Storage.pm, parse_volume_id); a path or `none` is no such.
_VOLUME = re.compile(r"([a-z][a-z0-9._-]*[a-z0-9]):(.+)", re.IGNORECASE | re.ASCII)


def is_disk(guest: Guest, name: str) -> bool:
    """Whether the option is a virtual disk and no CD-ROM drive."""
    return bool(_DISK.fullmatch(name)) and ",media=cdrom," not in f",{guest.options.get(name)},"


@once
def disks(guest: Guest) -> tuple[str, ...]:
    """Its virtual disks, CD-ROM drives not among them, in the order in which PVE looks for one to boot from."""
    found = [name for name in guest.options if name in _PLACES and is_disk(guest, name)]
    return tuple(name for name in sorted(found, key=_PLACES.__getitem__) if guest.properties(name).get("file", "none") != "none")


@once
def volumes(guest: Guest) -> tuple[tuple[str, str, str], ...]:
    """(option, storage, name there) of all that a start activates."""
    found = [(option, _VOLUME.fullmatch(file)) for option, file in drives(guest)]
    return tuple((option, match[1], match[2]) for option, match in found if match)


@once
def drives(guest: Guest) -> tuple[tuple[str, str], ...]:
    """(option, volume or path) of all that holds a disk or an image."""
    return tuple((option, _volume(guest, option, value)) for option, value in guest.options.items() if option in _DRIVES)


def _volume(guest: Guest, option: str, value: Value) -> str:
    first = str(value).partition(",")[0]
    if "=" not in first:
        return first
    return str(guest.properties(option).get("file", ""))


def is_iso(volume: str) -> bool:
    """Whether the volume, by its name on its storage, is an ISO image."""
    return volume.startswith("iso/")


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
