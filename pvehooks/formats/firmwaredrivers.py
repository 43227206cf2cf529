"""The drivers within UEFI firmware, as far as they decide about network boot: the network's, and those that give it random numbers.

They lie in a firmware volume that is one section of the image, compressed by LZMA. Each driver is a file with a GUID of its own; its section
DXE_DEPEX lists the protocols that it waits for.
Source: UEFI Platform Initialization Specification, volume 3 (EFI_GUID_DEFINED_SECTION, EFI_FFS_FILE_HEADER, DXE_DEPEX); edk2, FILE_GUID of
the modules named below. Compared with images of Debian's edk2 2022.11 and 2025.02 by tests/kernel/test_netboot.py.
"""

from __future__ import annotations

import lzma
import re
from collections.abc import Iterator
from uuid import UUID

from pvehooks.values.images import FirmwareNetwork

_LZMA = UUID("ee4e5898-3914-4259-9d6e-dc7bd79403cf").bytes_le
_SECTION_GUID_DEFINED = 2
_FILE_DRIVER = 7
_HEADER = 24
# Modules of edk2: those that any of its firmware has (DiskIoDxe, BdsDxe); the lowest part of the network (MnpDxe); random numbers of the CPU
# (RngDxe) and of a device (VirtioRngDxe).
_USUAL = (UUID("6b38f7b4-ad98-40e9-9093-aca2b5a253c4").bytes_le, UUID("6d33944a-ec75-4855-a54d-809c75241f6c").bytes_le)
_MNP = UUID("025bbfc7-e6a9-4b8b-82ad-6815a1aeaf4a").bytes_le
_RNG = UUID("b981a835-6ee8-4f4c-ae0b-210aa0bfbf01").bytes_le
_VIRTIO_RNG = UUID("58e26f0d-cbac-4bba-b70f-18221415665a").bytes_le
# The operation PUSH of a DXE_DEPEX with the GUID of EFI_RNG_PROTOCOL.
_WAITS_FOR_RNG = b"\x02" + UUID("3152bca5-eade-433d-862e-c01cdc291f44").bytes_le
# "2025.02-8+deb13u1", "edk2-stable202502": the version that the firmware shows, in UTF-16. edk2 is released in these months.
_RELEASE = re.compile(rb"(2\x000\x00[2-4]\x00[0-9]\x00)(?:[.-]\x00)?(0\x00[258]\x00|1\x001\x00)")
# In bytes: what an image may unpack to (OVMF has 16 MiB), and the memory for that.
_MOST = 48 << 20
_MOST_MEMORY = 64 << 20


def read(content: bytes) -> FirmwareNetwork | None:
    """What the drivers in an image decide; None where none are found: no firmware, or compressed in another way."""
    room = _MOST
    for section in _sections(content):
        volume, whole = _unpacked(section, room)
        room -= len(volume)
        if whole and _has_drivers(volume):
            return _network(volume)
    return _network(content) if _has_drivers(content) else None


def essence(content: bytes) -> bytes:
    """A few bytes of which `read` says the same as of the image, b"" where it says nothing."""
    found = read(content)
    if found is None:
        return b""
    there = [(_USUAL[0], True), (_MNP, found.there), (_RNG, found.cpu), (_VIRTIO_RNG, found.device)]
    waits = {_MNP: _WAITS_FOR_RNG} if found.needs_entropy else {}
    parts = [_file(guid, waits.get(guid, b"")) for guid, is_there in there if is_there]
    return b"".join(parts) + found.release.encode("utf-16-le")


def is_image(content: bytes) -> bool:
    """Whether a file begins with a firmware volume."""
    return content[40:44] == b"_FVH"


def is_essence(content: bytes) -> bool:
    """Whether a file is what `essence` leaves of an image."""
    return content.startswith(_USUAL[0])


def _file(guid: bytes, content: bytes) -> bytes:
    """A driver's file: GUID, checksums, type, attributes, size, state, content."""
    return guid + bytes(2) + bytes((_FILE_DRIVER, 0)) + (_HEADER + len(content)).to_bytes(3, "little") + bytes(1) + content


def _sections(content: bytes) -> Iterator[memoryview]:
    """The data of the sections that are compressed by LZMA."""
    at = content.find(_LZMA)
    while at >= 0:
        start = at - 4
        if start >= 0 and content[start + 3] == _SECTION_GUID_DEFINED:
            size = int.from_bytes(content[start : start + 3], "little")
            data = int.from_bytes(content[at + 16 : at + 18], "little")
            yield memoryview(content)[start + data : start + size]
        at = content.find(_LZMA, at + 1)


def _unpacked(section: memoryview, room: int) -> tuple[bytes, bool]:
    """What a section holds, at most so many bytes, and whether that is all; nothing where it is damaged."""
    if room <= 0:
        return b"", False
    unpacker = lzma.LZMADecompressor(format=lzma.FORMAT_ALONE, memlimit=_MOST_MEMORY)
    try:
        return unpacker.decompress(section, max_length=room), unpacker.eof
    except (lzma.LZMAError, EOFError):
        return b"", False


def _driver(volume: bytes, guid: bytes) -> bytes:
    """The file of the driver with this GUID, b"" where there is none."""
    at = volume.find(guid)
    while at >= 0:
        if at + _HEADER <= len(volume) and volume[at + 18] == _FILE_DRIVER:
            return volume[at : at + int.from_bytes(volume[at + 20 : at + 23], "little")]
        at = volume.find(guid, at + 1)
    return b""


def _has_drivers(volume: bytes) -> bool:
    return any(_driver(volume, guid) for guid in _USUAL)


def _network(volume: bytes) -> FirmwareNetwork:
    stack = _driver(volume, _MNP)
    named = _RELEASE.search(volume)
    return FirmwareNetwork(
        there=bool(stack),
        needs_entropy=_WAITS_FOR_RNG in stack,
        cpu=bool(_driver(volume, _RNG)),
        device=bool(_driver(volume, _VIRTIO_RNG)),
        release=".".join(part.decode("utf-16-le") for part in named.groups()) if named else "",
    )
