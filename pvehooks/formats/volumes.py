"""Disks as PVE's code treats them: parse_drive, drive_is_cdrom and drive_is_cloudinit in PVE/QemuServer/Drive.pm."""

import re
from collections.abc import Iterator, Mapping

from pvehooks.formats.propertystring import PropertyError, parse
from pvehooks.values import Value

DRIVES = (
    *(f"ide{number}" for number in range(4)),
    *(f"scsi{number}" for number in range(31)),
    *(f"virtio{number}" for number in range(16)),
    *(f"sata{number}" for number in range(6)),
    "efidisk0",
    "tpmstate0",
)
"""The options that hold a disk in use, in the order in which PVE goes through them."""

_CLOUDINIT = r"[:/](?:vm-[0-9]+-)?cloudinit(?:\.(?:raw|qcow|qcow2|qed|vmdk|cloop))?\Z"
_NEEDED = (
    ("mbps_max", "mbps"),
    ("mbps_rd_max", "mbps_rd"),
    ("mbps_wr_max", "mbps_wr"),
    ("bps_max_length", "mbps_max"),
    ("bps_rd_max_length", "mbps_rd_max"),
    ("bps_wr_max_length", "mbps_wr_max"),
    ("iops_max_length", "iops_max"),
    ("iops_rd_max_length", "iops_rd_max"),
    ("iops_wr_max_length", "iops_wr_max"),
)
_EXCLUSIVE = (("mbps_rd", "mbps"), ("mbps_wr", "mbps"), ("iops_rd", "iops"), ("iops_wr", "iops"))
# What most disks have and what PVE never skips one for.
_NEVER_SKIPPED = frozenset(
    ("file", "size", "iothread", "discard", "ssd", "cache", "aio", "backup", "replicate", "efitype", "pre-enrolled-keys")
)

Drive = Mapping[str, Value]


def drive(option: str, text: str) -> Drive | None:
    """The parts of a disk option, None where PVE skips the disk although its reader accepts the line."""
    try:
        parts = parse(option, text)
    except PropertyError:
        return None
    if parts.keys() <= _NEVER_SKIPPED:
        return parts
    for speed in ("bps", "bps_rd", "bps_wr"):
        if speed in parts:
            if f"m{speed}" in parts:
                return None
            # Drive.pm divides defined(...), so 1, by 2**20 here: whatever the speed, the megabytes come out as this true string.
            parts[f"m{speed}"] = "0.000"
            del parts[speed]
    true = {key for key, value in parts.items() if value not in (0, "0", "")}
    if any(key in true and other not in true for key, other in _NEEDED):
        return None
    if any(key in true and other in true for key, other in _EXCLUSIVE):
        return None
    if is_cdrom(parts) and ("snapshot" in true or "format" in true or option.startswith("virtio")):
        return None
    return parts


def drives(values: Mapping[str, Value]) -> Iterator[tuple[str, Drive]]:
    """The disks of a section that PVE goes through (foreach_volume), in its order."""
    for option in DRIVES:
        if option in values:
            parts = drive(option, str(values[option]))
            if parts is not None:
                yield option, parts


def is_cdrom(parts: Drive) -> bool:
    """A CD-ROM drive, also one that carries cloud-init data."""
    return parts.get("media") == "cdrom"


def is_cloudinit(parts: Drive) -> bool:
    """A drive with generated cloud-init data."""
    return re.search(_CLOUDINIT, str(parts.get("file", ""))) is not None
