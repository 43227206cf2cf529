"""The labels that ZFS leaves on a disk of a pool, made by hand: what udev recognises one by."""

from __future__ import annotations

import struct
from pathlib import Path

LABEL = 256 << 10
PAIRS = 16 << 10
UBERBLOCKS = 128 << 10
UBERBLOCK_MAGIC = 0x00BAB10C
# sys/nvpair.h
_UINT64, _STRING = 8, 9


def _text(text: str) -> bytes:
    raw = text.encode()
    return struct.pack(">I", len(raw)) + raw + bytes(-len(raw) % 4)


def _pair(name: str, kind: int, value: bytes) -> bytes:
    body = _text(name) + struct.pack(">II", kind, 1) + value
    # The size in memory is of no interest to readers of the encoded form.
    return struct.pack(">II", len(body) + 8, len(body) + 8) + body


def _label(pool: str, guid: int, disk: int) -> bytes:
    """Pairs in XDR (lib/libnvpair), then the ring of uberblocks; module/zfs/vdev_label.c has the layout."""
    numbers = {"version": 5000, "state": 0, "txg": 4, "pool_guid": guid, "top_guid": disk, "guid": disk}
    pairs = _pair("name", _STRING, _text(pool)) + b"".join(
        _pair(name, _UINT64, struct.pack(">Q", value)) for name, value in numbers.items()
    )
    head = struct.pack(">BBHII", 1, 1, 0, 0, 1)
    label = bytearray(LABEL)
    encoded = head + pairs + bytes(8)
    label[PAIRS : PAIRS + len(encoded)] = encoded
    for number in range(8):
        uberblock = struct.pack("<QQQQQ", UBERBLOCK_MAGIC, 5000, 4 + number, (guid + disk) % 2**64, 1700000000)
        label[UBERBLOCKS + number * 1024 : UBERBLOCKS + number * 1024 + len(uberblock)] = uberblock
    return bytes(label)


def write_label(image: Path, pool: str, guid: int, disk: int) -> None:
    """Writes the four labels, two at the start and two at the end, into a disk's image."""
    size = image.stat().st_size // LABEL * LABEL
    with image.open("r+b") as file:
        for place in (0, LABEL, size - 2 * LABEL, size - LABEL):
            file.seek(place)
            file.write(_label(pool, guid, disk))
