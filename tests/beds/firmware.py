"""Small firmware images: a few drivers as edk2 has them, in a section compressed by LZMA."""

from __future__ import annotations

import lzma
from uuid import UUID

from pvehooks.formats import firmwaredrivers as drivers

USUAL, MNP, RNG_DXE, VIRTIO_RNG = drivers._USUAL[1], drivers._MNP, drivers._RNG, drivers._VIRTIO_RNG


def driver(guid: bytes, depex: bytes = b"\x06\x08", kind: int = 7) -> bytes:
    """A file of FFS: GUID, checksum, type, attributes, size, state; then its section DXE_DEPEX and some code."""
    body = (4 + len(depex)).to_bytes(3, "little") + b"\x13" + depex + b"\x90" * 32
    return guid + bytes(2) + bytes([kind, 0]) + (24 + len(body)).to_bytes(3, "little") + b"\xf8" + body


def section(data: bytes, guid: UUID | None = None) -> bytes:
    """A section EFI_SECTION_GUID_DEFINED."""
    packed = lzma.compress(data, format=lzma.FORMAT_ALONE)
    name = drivers._LZMA if guid is None else guid.bytes_le
    return (24 + len(packed)).to_bytes(3, "little") + b"\x02" + name + (24).to_bytes(2, "little") + b"\x01\x00" + packed


def image(*, network: bool = True, needs_entropy: bool = True, cpu: bool = True, device: bool = True, release: str = "2025.02-8") -> bytes:
    """An image with these drivers."""
    wait = b"\x02" + UUID("3152bca5-eade-433d-862e-c01cdc291f44").bytes_le + b"\x08"
    parts = [driver(USUAL)]
    parts += [driver(MNP, wait if needs_entropy else b"\x06\x08")] if network else []
    parts += [driver(RNG_DXE)] if cpu else []
    parts += [driver(VIRTIO_RNG)] if device else []
    return b"\xff" * 64 + section(b"".join(parts) + f"@{release}".encode("utf-16-le") + bytes(4096)) + b"\xff" * 64
